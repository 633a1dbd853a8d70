package pipeline

import (
	"context"
	"net/http"
	"sync/atomic"
)

// NewMiddleware returns a Policy that sends requests through a RoundTripper which mw wraps
// around the rest of the pipeline. Any middleware that is written for an http.Client can be
// used in a pipeline this way, for example for tracing or metrics.
//
// A middleware that sends requests elsewhere, such as a failover.Transport, belongs below the
// pipeline, in its transport. A request whose host a middleware changes counts as one to another
// origin.
//
// mw is called once. The base that it gets passes the request, as mw has changed it, to the
// next policy. Like any RoundTripper it does not modify the request that it is given. The
// request must have a context that is derived from the one mw was given, because the base
// finds the call by it. The base may be called several times, also at once.
func NewMiddleware(mw func(http.RoundTripper) http.RoundTripper) Policy {
	m := &middleware{}
	if mw != nil {
		m.outer = mw(m)
	}
	return PolicyFunc(m.do)
}

// middleware is a RoundTripper below another one. It finds its request by the context, of
// which it is the key.
type middleware struct{ outer http.RoundTripper }

var (
	errNilMiddleware   error = permanent("pipeline: the middleware, or the RoundTripper that it returned, is nil")
	errOutsidePipeline error = permanent("pipeline: a middleware has sent a request whose context is not derived from that of the pipeline's request")
)

func (m *middleware) do(req *Request) (*http.Response, error) {
	if m.outer == nil {
		return nil, errNilMiddleware
	}
	if err := req.useBody(); err != nil { // the middleware closes it
		return nil, err
	}
	ctx := &middlewareContext{Context: req.raw.Context(), in: m, req: *req}
	resp, err := m.outer.RoundTrip(req.raw.WithContext(ctx))
	if !ctx.passedOn.Load() {
		req.body.used = false // not every middleware closes the body then
	}
	return resp, err
}

// middlewareContext is the context of a request that is in a middleware.
type middlewareContext struct {
	context.Context
	in       *middleware
	req      Request
	passedOn atomic.Bool // the base was called
}

func (c *middlewareContext) Value(key any) any {
	if key == c.in {
		return c
	}
	return c.Context.Value(key)
}

// RoundTrip passes a request of the middleware to the next policy.
func (m *middleware) RoundTrip(r *http.Request) (*http.Response, error) {
	if r == nil || r.URL == nil {
		return nil, errNilRequest
	}
	ctx, ok := r.Context().Value(m).(*middlewareContext)
	if !ok {
		if r.Body != nil {
			r.Body.Close()
		}
		return nil, errOutsidePipeline
	}
	ctx.passedOn.Store(true)
	req := &ctx.req
	inner := Request{r.WithContext(r.Context()), req.op, req.next, req.body}
	inner.body.used = false
	u := *r.URL
	inner.raw.URL, inner.raw.Header = &u, r.Header.Clone()
	if r.Header == nil {
		inner.raw.Header = http.Header{}
	}
	resp, err := inner.Next()
	inner.closeUnused()
	return resp, err
}
