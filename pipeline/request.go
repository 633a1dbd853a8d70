package pipeline

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"reflect"
	"strings"
	"sync"
	"sync/atomic"

	"github.com/a0b132ce/retryablehttp/internal/redact"
)

// Request is a request on its way through a pipeline. It is for one goroutine at a time. A
// policy that calls Next in another goroutine, or several times at once, clones it for each.
type Request struct {
	raw  *http.Request
	op   *operation
	next int  // the index of the policy that Next calls
	once bool // the body can be read only once, and GetBody repeats what was read of it
}

// operation is what all requests of one call share.
type operation struct {
	stages    *stages
	transport Transporter
	home      origin        // credentials are sent only there
	bodies    []*callerBody // that are closed at the end of the call
	sent      atomic.Bool   // the transport was called, and closes the body of the request

	mu     sync.Mutex
	values []value

	// Memory for what most calls need once.
	first   [1]value
	tries   tries
	retried atomic.Bool // tries is in use
}

type value struct {
	key reflect.Type
	val any
}

// CallOption changes how one request is sent. The methods of an API client take
// ...CallOption and pass them to [NewRequest].
type CallOption func(*Request)

// NewRequest returns a request. The endpoint must be an absolute URL with the scheme http or
// https and a host.
func NewRequest(ctx context.Context, method, endpoint string, options ...CallOption) (*Request, error) {
	raw, err := http.NewRequestWithContext(ctx, method, endpoint, nil)
	if err != nil {
		return nil, fmt.Errorf("pipeline: %w", redact.ParseError(err))
	}
	req, err := FromRequest(raw)
	if err != nil {
		return nil, err
	}
	for _, option := range options {
		if option != nil {
			option(req)
		}
	}
	return req, nil
}

// FromRequest returns a Request that sends raw, which the pipeline's policies then change.
// A Body without GetBody can be read only once: [Retry] keeps what is read of it, up to the
// ReplayMax of its client.
func FromRequest(raw *http.Request) (*Request, error) {
	switch {
	case raw == nil || raw.URL == nil:
		return nil, errNilRequest
	case strings.ToLower(raw.URL.Scheme) != "http" && strings.ToLower(raw.URL.Scheme) != "https":
		return nil, fmt.Errorf("pipeline: URL %s has not the scheme http or https", redact.URL(raw.URL))
	case raw.URL.Hostname() == "":
		return nil, fmt.Errorf("pipeline: URL %s has no host", redact.URL(raw.URL))
	}
	if raw.Header == nil {
		raw.Header = http.Header{}
	}
	both := &struct {
		Request
		operation
	}{}
	both.raw, both.op, both.values = raw, &both.operation, both.first[:0]
	return &both.Request, nil
}

// Raw returns the request that is sent. A policy may change it in place. After [Retry] it is
// a copy for this try, whose header and URL may be changed too.
func (r *Request) Raw() *http.Request { return r.raw }

// Next passes the request to the next policy or, after the last one, to the transport. It
// returns a response or an error, never both. It fails outside of a Policy's Do.
func (r *Request) Next() (*http.Response, error) {
	if r == nil || r.raw == nil {
		return nil, errNilRequest
	}
	s := r.op.stages
	if s == nil {
		return nil, errNotInPipeline
	}
	var resp *http.Response
	var err error
	if i := r.next; i < len(s.policies) {
		r.next++
		resp, err = s.policies[i].Do(r)
		r.next = i // for the policy that has called Next, which may do so again
	} else {
		resp, err = r.send()
	}
	switch {
	case err != nil:
		if resp != nil && resp.Body != nil {
			resp.Body.Close()
		}
		return nil, err
	case resp == nil:
		return nil, errNothing
	case resp.Body == nil:
		resp.Body = http.NoBody
	}
	return resp, nil
}

// send calls the transport.
func (r *Request) send() (*http.Response, error) {
	raw := r.raw
	if r.Foreign() {
		raw = raw.Clone(raw.Context())
		keepPublic(raw.Header)
	}
	r.op.sent.Store(true)
	resp, err := r.op.transport.Do(raw)
	if err != nil {
		err = redact.Error(err, r.op.stages.show)
	}
	return resp, err
}

// Foreign reports whether the request goes to another origin than the call's own, which is
// that of the first request unless [CallOrigin] says otherwise. Only harmless header fields
// are sent there (see [New]). A policy that adds a secret should not even ask for it then.
func (r *Request) Foreign() bool { return originOf(r.raw.URL) != r.op.home }

// CallOrigin sets the origin, given as a URL, that the credentials of a call belong to. It is
// for requests to a URL that came from a server, such as the link to the next page.
func CallOrigin(u *url.URL) CallOption {
	return func(r *Request) { r.op.home = originOf(u) }
}

// Clone returns a copy of the request, with a deep copy of Raw whose context is ctx. Both
// belong to the same call: they share its values.
func (r *Request) Clone(ctx context.Context) *Request {
	return &Request{r.raw.Clone(ctx), r.op, r.next, r.once}
}

// CallValue returns a CallOption that sets a value as [SetValue] does.
func CallValue[T any](v T) CallOption {
	return func(r *Request) { SetValue(r, v) }
}

// SetValue sets the value of type T of the call that the request belongs to. All tries and
// clones of the request see it. Use a type of your own as the key.
func SetValue[T any](r *Request, v T) {
	key := reflect.TypeFor[T]()
	r.op.mu.Lock()
	defer r.op.mu.Unlock()
	for i := range r.op.values {
		if r.op.values[i].key == key {
			r.op.values[i].val = v
			return
		}
	}
	r.op.values = append(r.op.values, value{key, v})
}

// Value returns the value of type T that was set by [SetValue] or [CallValue].
func Value[T any](r *Request) (v T, ok bool) {
	key := reflect.TypeFor[T]()
	r.op.mu.Lock()
	defer r.op.mu.Unlock()
	for i := range r.op.values {
		if r.op.values[i].key == key {
			return r.op.values[i].val.(T), true
		}
	}
	return v, false
}

// captured is where CaptureResponse puts the response.
type captured struct{ to **http.Response }

// CaptureResponse returns a CallOption that stores the response of the call in to, also if a
// policy returned it within an error (see [ResponseError]). It is the response that Do
// returns, so its body may have been read.
func CaptureResponse(to **http.Response) CallOption {
	return CallValue(captured{to})
}

func hasAnyPrefix(s string, prefixes ...string) bool {
	for _, prefix := range prefixes {
		if strings.HasPrefix(s, prefix) {
			return true
		}
	}
	return false
}

var errOneShot = errors.New("pipeline: the request body can be read only once")
