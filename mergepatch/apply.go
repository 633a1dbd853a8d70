package mergepatch

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
)

// MediaType is the Content-Type of a merge patch (RFC 7396, section 4).
const MediaType = "application/merge-patch+json"

// The errors of [Apply]. Each comes with the *json.SyntaxError that says what is wrong and
// at which offset.
var (
	ErrInvalidDocument = errors.New("mergepatch: invalid document")
	ErrInvalidPatch    = errors.New("mergepatch: invalid patch")
)

// Apply returns document with patch applied (RFC 7396, section 2). A patch that is not an
// object, such as null, replaces the whole document. Apply does not change its arguments.
// Applying the same patch to the result again gives the same bytes.
//
// The result has no insignificant white space. Apart from that, names and values are
// copied as they are written: numbers keep their digits and strings their escapes. The
// members of an object stay in the order of the document, and new ones follow in the order
// of the patch. Names are compared as encoding/json decodes them, which replaces invalid
// Unicode. If a name occurs twice in an object, the last value counts. Arrays are copied
// as they are, with the objects in them.
//
// Each argument must be one JSON value. Otherwise the error wraps [ErrInvalidDocument] or
// [ErrInvalidPatch]. That includes an empty argument: to start from nothing, pass {} as
// the document. It also includes a value that is nested more than 10,000 levels deep, the
// limit of encoding/json. The size of the arguments is not limited: limit what is read
// from a request. Time and memory grow in proportion to it.
func Apply(document, patch []byte) ([]byte, error) {
	d, err := compact(document)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrInvalidDocument, err)
	}
	p, err := compact(patch)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrInvalidPatch, err)
	}
	target, _ := parse(d)
	change, _ := parse(p)
	return write(make([]byte, 0, len(d)+len(p)), merge(target, change)), nil
}

// compact returns a copy of text without white space. The error is a *json.SyntaxError.
func compact(text []byte) ([]byte, error) {
	var value json.RawMessage
	if err := json.Unmarshal(text, &value); err != nil { // Compact's error has no offset
		return nil, err
	}
	var b bytes.Buffer
	err := json.Compact(&b, value)
	return b.Bytes(), err
}

// merge is the function MergePatch of RFC 7396, section 2. Its arguments and its result
// are each an *object or the text of another value. It changes and reuses target.
func merge(target, patch any) any {
	p, ok := patch.(*object)
	if !ok {
		return patch
	}
	t, ok := target.(*object)
	if !ok {
		t = newObject()
	}
	for _, name := range p.names {
		m := p.members[name]
		if text, ok := m.value.([]byte); ok && string(text) == "null" {
			delete(t.members, name)
			continue
		}
		m.value = merge(t.members[name].value, m.value)
		t.set(name, m)
	}
	return t
}

// An object is a JSON object whose members have an order.
type object struct {
	names   []string // in order, removed members included
	members map[string]member
}

type member struct {
	rawName []byte // as it is written, with quotes and escapes
	value   any    // an *object or the text of another value
}

func newObject() *object {
	return &object{members: make(map[string]member)}
}

// set adds a member, or replaces the value of the one with that name.
func (o *object) set(name string, m member) {
	if old, ok := o.members[name]; ok {
		m.rawName = old.rawName
	} else {
		o.names = append(o.names, name)
	}
	o.members[name] = m
}

// parse returns the value at the start of text, an *object or the text of another value,
// and the text that follows. Its argument is valid JSON without white space.
func parse(text []byte) (value any, rest []byte) {
	if text[0] != '{' {
		n := length(text)
		return text[:n], text[n:]
	}
	o := newObject()
	rest = text[1:]
	for rest[0] != '}' {
		rest = bytes.TrimPrefix(rest, []byte(","))
		n := length(rest)
		m := member{rawName: rest[:n]}
		m.value, rest = parse(rest[n+1:])
		var name string
		_ = json.Unmarshal(m.rawName, &name) // a valid string
		o.set(name, m)
	}
	return o, rest[1:]
}

// length returns the length of the value at the start of text: up to the first comma,
// colon or closing brace that is neither in a string nor in a nested value.
func length(text []byte) int {
	depth := 0
	quoted := false
	for i := 0; i < len(text); i++ {
		switch c := text[i]; {
		case c == '"':
			quoted = !quoted
		case quoted && c == '\\':
			i++ // the next character does not end the string
		case quoted:
		case c == '[' || c == '{':
			depth++
		case depth == 0 && (c == ',' || c == ':' || c == '}'):
			return i
		case c == ']' || c == '}':
			depth--
		}
	}
	return len(text)
}

// write appends the text of value, an *object or the text of another value, to b.
func write(b []byte, value any) []byte {
	o, ok := value.(*object)
	if !ok {
		return append(b, value.([]byte)...)
	}
	b = append(b, '{')
	separator := ""
	for _, name := range o.names {
		m, ok := o.members[name]
		if !ok {
			continue
		}
		b = append(b, separator...)
		b = append(b, m.rawName...)
		b = append(b, ':')
		b = write(b, m.value)
		separator = ","
	}
	return append(b, '}')
}
