package pipeline

import (
	"crypto/rand"
	"encoding/hex"
	"net/http"
)

// RequestID is a Policy that sends a random id with each call, the same on every attempt. An id
// that the request has already is kept. Wherever the policy stands, and however many there
// are, a call has one id.
type RequestID struct {
	// Header is the name of the header. "" means X-Request-Id.
	Header string
}

// callID is the id of a call, as the values of a header.
type callID [1]string

// Do implements [Policy].
func (p RequestID) Do(req *Request) (*http.Response, error) {
	name := "X-Request-Id"
	if p.Header != "" {
		name = http.CanonicalHeaderKey(p.Header)
	}
	header := req.Raw().Header
	if header.Get(name) == "" {
		id, ok := Value[*callID](req)
		if !ok {
			id = &callID{NewUUID()}
			SetValue(req, id)
		}
		header[name] = id[:]
	}
	return req.Next()
}

// NewUUID returns a random UUID (RFC 9562 §5.4, version 4), such as
// "3f0c1f6e-6f43-4a52-9c0d-8a3b1c9e7d25".
func NewUUID() string {
	var id [16]byte
	rand.Read(id[:])
	id[6] = id[6]&0x0f | 0x40 // the version
	id[8] = id[8]&0x3f | 0x80 // the variant
	var text [36]byte
	for _, part := range [...]struct{ at, from, to int }{{0, 0, 4}, {9, 4, 6}, {14, 6, 8}, {19, 8, 10}, {24, 10, 16}} {
		hex.Encode(text[part.at:], id[part.from:part.to])
	}
	text[8], text[13], text[18], text[23] = '-', '-', '-', '-'
	return string(text[:])
}
