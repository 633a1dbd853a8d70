package problem

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"strings"
	"unicode"
)

// MediaType is the media type of a problem document (RFC 9457 §3).
const MediaType = "application/problem+json"

const (
	typeBase  = "https://api-toolkit.dev/problems/"
	maxDecode = 1 << 20
)

var (
	// ErrMalformed is wrapped by the errors of Decode and Problem.UnmarshalJSON for data
	// that is not one JSON object.
	ErrMalformed = errors.New("problem: malformed document")

	// ErrTooLarge is returned by Decode for a document larger than 1 MiB.
	ErrTooLarge = errors.New("problem: document larger than 1 MiB")
)

// Problem is a problem details object (RFC 9457 §3.1). The zero value is an object without
// members.
//
// A Problem and a *Problem are errors. Use errors.As to find one, not ==, which panics if
// both errors hold a Problem. Calling Error on a nil *Problem panics.
type Problem struct {
	// Type is a URI reference that identifies the kind of problem. "" is left out and means
	// "about:blank".
	Type string

	// Title is a short summary of the kind of problem. "" is left out.
	Title string

	// Status is the HTTP status code. 0 is left out. Write replaces it.
	Status int

	// Detail explains this occurrence of the problem. "" is left out.
	Detail string

	// Instance is a URI reference that identifies this occurrence. "" is left out.
	Instance string

	// Extensions has further members. The value of each must be encodable as JSON. A member
	// with an empty name, or with the name of one of the five members above, is left out.
	// Decoding stores numbers as json.Number.
	Extensions map[string]any
}

// New returns a problem whose title is the text of status, such as "Not Found", and whose
// type is named after it, such as https://api-toolkit.dev/problems/not-found. The type of
// status 500 ends in internal-error. Title and type are empty if net/http does not know
// status.
func New(status int, detail string) Problem {
	p := Problem{Status: status, Title: http.StatusText(status), Detail: detail}
	switch {
	case status == http.StatusInternalServerError:
		p.Type = typeBase + "internal-error"
	case p.Title != "":
		p.Type = typeBase + strings.NewReplacer(" ", "-", "'", "").Replace(strings.ToLower(p.Title))
	}
	return p
}

// Error returns "Title: Detail" in one line. Control characters are replaced by spaces. If
// both are empty, it returns a text made of Type and Status.
func (p Problem) Error() string {
	text := p.Title
	switch {
	case text == "":
		text = p.Detail
	case p.Detail != "":
		text += ": " + p.Detail
	}
	if text == "" {
		text = strings.TrimSpace("problem " + p.Type)
		if p.Status != 0 {
			text += " (status " + strconv.Itoa(p.Status) + ")"
		}
	}
	return strings.Map(func(r rune) rune {
		if unicode.IsControl(r) {
			return ' '
		}
		return r
	}, text)
}

// standard reports whether RFC 9457 §3.1 defines a member with this name.
func standard(name string) bool {
	switch name {
	case "type", "title", "status", "detail", "instance":
		return true
	}
	return false
}

// MarshalJSON returns p as a JSON object with its members in alphabetical order. It returns
// an error if an extension cannot be encoded.
func (p Problem) MarshalJSON() ([]byte, error) {
	members := make(map[string]any, len(p.Extensions)+5)
	for name, value := range p.Extensions {
		if name != "" && !standard(name) {
			members[name] = value
		}
	}
	for name, value := range map[string]string{
		"type": p.Type, "title": p.Title, "detail": p.Detail, "instance": p.Instance,
	} {
		if value != "" {
			members[name] = value
		}
	}
	if p.Status != 0 {
		members["status"] = p.Status
	}
	return json.Marshal(members)
}

// UnmarshalJSON replaces p by the object in data. A standard member of a wrong type is
// ignored (RFC 9457 §3.1), as is a status that is not an integer. Null is an empty problem.
// An error wraps ErrMalformed and leaves p as it was.
func (p *Problem) UnmarshalJSON(data []byte) error {
	var members map[string]any
	decoder := json.NewDecoder(bytes.NewReader(data))
	decoder.UseNumber()
	if err := decoder.Decode(&members); err != nil {
		return fmt.Errorf("%w: %w", ErrMalformed, err)
	}
	if _, err := decoder.Token(); err != io.EOF {
		return fmt.Errorf("%w: data after the object", ErrMalformed)
	}
	text := func(name string) string {
		s, _ := members[name].(string)
		return s
	}
	read := Problem{
		Type: text("type"), Title: text("title"),
		Detail: text("detail"), Instance: text("instance"),
	}
	if number, ok := members["status"].(json.Number); ok {
		if status, err := strconv.Atoi(number.String()); err == nil {
			read.Status = status
		}
	}
	for name, value := range members {
		if name == "" || standard(name) {
			continue
		}
		if read.Extensions == nil {
			read.Extensions = make(map[string]any)
		}
		read.Extensions[name] = value
	}
	*p = read
	return nil
}

// Decode reads one problem document from r, which must end after it. The document may have
// at most 1 MiB and 10,000 levels of nesting. An error wraps ErrMalformed or ErrTooLarge, or
// is the error of r. Decode does not look at a Content-Type.
func Decode(r io.Reader) (Problem, error) {
	data, err := io.ReadAll(io.LimitReader(r, maxDecode+1))
	switch {
	case err != nil:
		return Problem{}, fmt.Errorf("problem: reading the document: %w", err)
	case len(data) > maxDecode:
		return Problem{}, ErrTooLarge
	}
	var p Problem
	err = p.UnmarshalJSON(data)
	return p, err
}

// Write writes p as the response, with member status set to status. A status that is not
// from 200 to 999 means 500. If an extension cannot be encoded, the response is a plain text
// with status 500. Write removes a Content-Length that was set for another body, and leaves
// other header fields as they are.
func Write(w http.ResponseWriter, status int, p Problem) {
	if status < 200 || status > 999 {
		status = http.StatusInternalServerError
	}
	p.Status = status
	body, err := json.Marshal(p)
	if err != nil {
		http.Error(w, http.StatusText(http.StatusInternalServerError), http.StatusInternalServerError)
		return
	}
	w.Header().Del("Content-Length")
	w.Header().Set("Content-Type", MediaType)
	w.WriteHeader(status)
	w.Write(append(body, '\n'))
}
