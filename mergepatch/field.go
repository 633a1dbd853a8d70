package mergepatch

import (
	"bytes"
	"encoding/json"
	"errors"
)

// ErrAbsent is wrapped by the error of json.Marshal for a [Field] that is absent and not
// left out. The usual cause is a json tag without omitzero.
var ErrAbsent = errors.New("mergepatch: absent field cannot be encoded: add omitzero to its json tag")

// The states of a Field.
const (
	absent = iota
	null
	present
)

// Field is a member of a merge patch: absent, null or a value of type T. The zero Field is
// absent. A Field is a value like an int: copy it freely, and compare it with == if T is
// comparable. Many goroutines may read a Field, but not while one changes it.
//
// A Field in a struct needs the omitzero option in its json tag, which leaves it out while
// it is absent.
type Field[T any] struct {
	state uint8
	value T // the zero value unless state is present
}

// Of returns a Field with the value v. It is encoded as encoding/json encodes v, so a nil
// pointer, slice, map or interface is sent as null, which removes the member.
func Of[T any](v T) Field[T] {
	return Field[T]{state: present, value: v}
}

// Null returns a Field that is null: the patch removes the member.
func Null[T any]() Field[T] {
	return Field[T]{state: null}
}

// Get returns the value of f and true, or the zero value and false if f is absent or null.
func (f Field[T]) Get() (T, bool) {
	return f.value, f.state == present
}

// IsNull reports whether f is null: made by [Null], or decoded from null. A nil pointer
// that was passed to [Of] is a value and not null.
func (f Field[T]) IsNull() bool {
	return f.state == null
}

// IsZero reports whether f is absent. The omitzero option of encoding/json calls it.
func (f Field[T]) IsZero() bool {
	return f.state == absent
}

// MarshalJSON returns null or the encoded value. If f is absent, the error is [ErrAbsent].
func (f Field[T]) MarshalJSON() ([]byte, error) {
	switch f.state {
	case absent:
		return nil, ErrAbsent
	case null:
		return []byte("null"), nil
	}
	var text bytes.Buffer
	encoder := json.NewEncoder(&text)
	encoder.SetEscapeHTML(false)    // the encoder that calls MarshalJSON escapes, or not
	err := encoder.Encode(&f.value) // the address, for a T whose pointer has MarshalJSON
	return bytes.TrimSuffix(text.Bytes(), []byte("\n")), err
}

// UnmarshalJSON makes f null if data is null, and otherwise a value. Nothing of the old
// value is kept. After an error f is unchanged. encoding/json does not call it for a
// missing member, so decode into a new struct.
func (f *Field[T]) UnmarshalJSON(data []byte) error {
	if string(bytes.Trim(data, " \t\r\n")) == "null" {
		*f = Null[T]()
		return nil
	}
	var v T
	if err := json.Unmarshal(data, &v); err != nil {
		return err
	}
	*f = Of(v)
	return nil
}
