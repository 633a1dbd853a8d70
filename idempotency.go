package retryablehttp

import (
	"crypto/rand"
	"encoding/hex"
	"net/http"
	"strings"
	"sync"
)

const idempotencyKey = "Idempotency-Key"

// NewIdempotencyKey returns a random UUID (RFC 9562, version 4). It can be assigned to
// [Client.IdempotencyKey].
func NewIdempotencyKey(*http.Request) string {
	var u [16]byte
	rand.Read(u[:])         // never fails
	u[6] = u[6]&0x0f | 0x40 // the version
	u[8] = u[8]&0x3f | 0x80 // the variant
	text := []byte("xxxxxxxx-xxxx-xxxx-xxxx-xxxxxxxxxxxx")
	for _, part := range [...]struct{ at, from, to int }{{0, 0, 4}, {9, 4, 6}, {14, 6, 8}, {19, 8, 10}, {24, 10, 16}} {
		hex.Encode(text[part.at:], u[part.from:part.to])
	}
	return string(text)
}

// idempotent reports whether repeating the request has the effect of sending it once:
// its method says so (RFC 9110 §9.2.2), or it carries a key by which the server
// recognizes the repetition. net/http's Transport looks for the same headers.
func idempotent(req *http.Request) bool {
	if idempotentMethod(req) {
		return true
	}
	return hasKey(req, idempotencyKey) || hasKey(req, "X-Idempotency-Key")
}

// hasKey reports whether a header of the request is there and not blank. A blank one does
// not tell a server anything.
func hasKey(req *http.Request, name string) bool {
	for key, values := range req.Header {
		if strings.EqualFold(key, name) && strings.TrimSpace(strings.Join(values, "")) != "" {
			return true
		}
	}
	return false
}

func idempotentMethod(req *http.Request) bool {
	switch req.Method {
	case "", http.MethodGet, http.MethodHead, http.MethodOptions, http.MethodTrace, http.MethodPut, http.MethodDelete:
		return true
	}
	return false
}

// keyFor returns the Idempotency-Key that a call adds to req, "" for none. A hop of a
// redirect that an http.Client follows has the key of the request that was redirected.
func keyFor(req *http.Request, newKey func(*http.Request) string, outer *attemptContext) string {
	if hasKey(req, idempotencyKey) {
		return ""
	}
	if from := req.Response; from != nil && from.Request != nil {
		if key := from.Request.Header.Get(idempotencyKey); key != "" {
			return key
		}
	}
	switch {
	case idempotentMethod(req):
		return ""
	case outer != nil && hasBody(req) && sameBody(outer.request.Body, req.Body):
		return outer.shared.key.get(func() string { return newKey(req) })
	}
	return newKey(req)
}

// nestedKey is the Idempotency-Key that a client in the transport of another one adds to
// the other's request, so that it is the same in all attempts of the other client. A
// request with another body is another request, and has a key of its own.
type nestedKey struct {
	mu    sync.Mutex
	value string
}

func (k *nestedKey) get(newKey func() string) string {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.value == "" {
		k.value = newKey()
	}
	return k.value
}
