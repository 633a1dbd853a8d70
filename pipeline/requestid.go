package pipeline

import (
	"cmp"
	"net/http"

	"github.com/a0b132ce/retryablehttp"
)

// RequestID is a Policy that sends a random id with each call, the same on every attempt. An id
// that the request has already is kept. Wherever the policy stands, and however many there
// are, a call has one id.
type RequestID struct {
	// Header is the name of the header. "" means X-Request-Id.
	Header string
}

type callID string

// Do implements [Policy].
func (p RequestID) Do(req *Request) (*http.Response, error) {
	header, name := req.Raw().Header, cmp.Or(p.Header, "X-Request-Id")
	if header.Get(name) == "" {
		id, ok := Value[callID](req)
		if !ok {
			id = callID(NewUUID())
			SetValue(req, id)
		}
		header.Set(name, string(id))
	}
	return req.Next()
}

// NewUUID returns a random UUID (RFC 9562 §5.4, version 4), such as
// "3f0c1f6e-6f43-4a52-9c0d-8a3b1c9e7d25".
func NewUUID() string { return retryablehttp.NewIdempotencyKey(nil) }
