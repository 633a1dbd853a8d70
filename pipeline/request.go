package pipeline

import (
	"context"
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"sync/atomic"

	"github.com/a0b132ce/retryablehttp/internal/origin"
	"github.com/a0b132ce/retryablehttp/internal/redact"
)

// Request is a request on its way through a pipeline. It is for one goroutine at a time. A
// policy that calls Next in another goroutine, or several times at once, clones it for each.
type Request struct {
	raw  *http.Request
	op   *operation
	next int  // the index of the policy that Next calls
	body body // of raw
}

// operation is what all requests of one call share.
type operation struct {
	stages    *stages
	transport Transporter
	home      origin.Origin // credentials are sent only there
	given     http.Header   // of RoundTrip: what the http.Client sends, also to another origin
	running   atomic.Bool   // the call has begun and not ended

	mu     sync.Mutex
	values []any         // pointers to values of different types
	bodies []*callerBody // that are closed at the end of the call

	// Memory for what most calls need once.
	first    [1]any
	attempts attempts
	retried  atomic.Bool // attempts is in use
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
// A Body without GetBody can be read only once: [Retry] keeps the bytes that were read, up to
// the ReplayMax of its client.
func FromRequest(raw *http.Request) (*Request, error) {
	switch {
	case raw == nil || raw.URL == nil:
		return nil, errNilRequest
	case strings.ToLower(raw.URL.Scheme) != "http" && strings.ToLower(raw.URL.Scheme) != "https":
		return nil, fmt.Errorf("pipeline: scheme of URL %s is neither http nor https", redact.URL(raw.URL))
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
	both.body = bodyOf(raw)
	return &both.Request, nil
}

// Raw returns the request that is sent. A policy may change it in place. After [Retry] it is
// a copy for this attempt. Change its header by the methods of [http.Header]: slices of values
// may be shared with other requests.
//
// A Body that is assigned is sent instead. Set ContentLength to its length, or to -1 if that is
// unknown. Set GetBody too if the body may be sent again, for a retry or a redirect with status
// 307 or 308. Close the old body, or read it to its end.
func (r *Request) Raw() *http.Request { return r.raw }

// Next passes the request to the next policy or, after the last one, to the transport. It
// returns a response or an error, never both. A policy may call it again with the same body,
// which is then sent from its start; a body that can be read only once is an error. Next
// fails outside of a Policy's Do and after the end of the call.
func (r *Request) Next() (*http.Response, error) {
	if r == nil || r.raw == nil {
		return nil, errNilRequest
	}
	if !r.op.running.Load() {
		return nil, errNotInPipeline
	}
	s := r.op.stages
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
	if err := r.useBody(); err != nil {
		return nil, err
	}
	raw := r.raw
	if r.Foreign() {
		raw = raw.Clone(raw.Context())
		keepPublic(raw.Header, r.op.given)
		keepPublic(raw.Trailer, nil)
		if raw.URL != nil {
			raw.Host = raw.URL.Host
		}
	}
	resp, err := r.op.transport.Do(raw)
	if err != nil && resp != nil { // http.Client: CheckRedirect has refused a redirect
		err = asPermanent(err)
	}
	return resp, err
}

// Foreign reports whether the origin of the request's URL differs from the call's origin: the
// first request's, or the one set by [CallOrigin]. Only harmless header fields are sent
// to it (see [New]). If Foreign is true, do not fetch or add credentials.
func (r *Request) Foreign() bool {
	return r.op.home != (origin.Origin{}) && (r.raw.URL == nil || origin.Of(r.raw.URL) != r.op.home)
}

// CallOrigin sets the origin, given as a URL, that the credentials of a call belong to. It is
// for requests to a URL that came from a server, such as the link to the next page. If u is nil
// or has no scheme or host, all requests of the call are foreign.
func CallOrigin(u *url.URL) CallOption {
	return func(r *Request) { r.op.home = origin.Of(u) }
}

// Clone returns a copy of the request, with a deep copy of Raw whose context is ctx, and a
// body of its own, so that both may be sent at once. Both belong to the same call: they share
// its values. If the body can be read only once, sending the clone fails.
func (r *Request) Clone(ctx context.Context) *Request {
	r.checkBody()
	clone := &Request{raw: r.raw.Clone(ctx), op: r.op, next: r.next}
	clone.raw.Body = r.open()
	clone.body = bodyOf(clone.raw)
	clone.body.once = r.body.once
	return clone
}

// CallValue returns a CallOption that sets a value as [SetValue] does.
func CallValue[T any](v T) CallOption {
	return func(r *Request) { SetValue(r, v) }
}

// SetValue sets the value of type T of the call that the request belongs to. All attempts and
// clones of the request see it. Use a type of your own as the key.
func SetValue[T any](r *Request, v T) {
	r.op.mu.Lock()
	defer r.op.mu.Unlock()
	for _, set := range r.op.values {
		if to, ok := set.(*T); ok {
			*to = v
			return
		}
	}
	r.op.values = append(r.op.values, &v)
}

// Value returns the value of type T that was set by [SetValue] or [CallValue].
func Value[T any](r *Request) (v T, ok bool) {
	r.op.mu.Lock()
	defer r.op.mu.Unlock()
	for _, set := range r.op.values {
		if from, ok := set.(*T); ok {
			return *from, true
		}
	}
	return v, false
}

// captured is where CaptureResponse puts the response.
type captured struct{ to **http.Response }

// CaptureResponse returns a CallOption that stores the response of the call in to, also if a
// policy returned it within an error (see [ResponseError]). It is the response that Do
// returns, so its body may have been read. If there is none, *to becomes nil. The response in a
// [TokenError] is not stored. A nil to is ignored.
func CaptureResponse(to **http.Response) CallOption {
	if to == nil {
		return func(*Request) {}
	}
	return CallValue(captured{to})
}
