package pipeline

import (
	"context"
	"net/http"
)

// NewMiddleware returns a Policy that sends requests through a RoundTripper which mw wraps
// around the rest of the pipeline. Any middleware that is written for an http.Client can be
// used in a pipeline this way, for example for tracing or metrics.
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
	errNilMiddleware   error = permanentError("pipeline: the middleware, or the RoundTripper that it returned, is nil")
	errOutsidePipeline error = permanentError("pipeline: a middleware has sent a request whose context is not derived from that of the pipeline's request")
)

func (m *middleware) do(req *Request) (*http.Response, error) {
	if m.outer == nil {
		return nil, errNilMiddleware
	}
	ctx := &middlewareContext{req.raw.Context(), m, *req}
	return m.outer.RoundTrip(req.raw.WithContext(ctx))
}

// middlewareContext is the context of a request that is in a middleware.
type middlewareContext struct {
	context.Context
	in  *middleware
	req Request
}

func (c *middlewareContext) Value(key any) any {
	if key == c.in {
		return &c.req
	}
	return c.Context.Value(key)
}

// RoundTrip passes a request of the middleware to the next policy.
func (m *middleware) RoundTrip(r *http.Request) (*http.Response, error) {
	if r == nil || r.URL == nil {
		return nil, errNilRequest
	}
	req, ok := r.Context().Value(m).(*Request)
	if !ok {
		if r.Body != nil {
			r.Body.Close()
		}
		return nil, errOutsidePipeline
	}
	inner := Request{r.WithContext(r.Context()), req.op, req.next, req.once}
	u := *r.URL
	inner.raw.URL, inner.raw.Header = &u, r.Header.Clone()
	if r.Header == nil {
		inner.raw.Header = http.Header{}
	}
	resp, err := inner.Next()
	if !req.op.sent.Swap(true) && inner.raw.Body != nil {
		inner.raw.Body.Close()
	}
	return resp, err
}
