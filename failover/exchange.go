package failover

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptrace"
	"net/url"
	"strings"
	"sync/atomic"
	"time"

	"github.com/a0b132ce/retryablehttp"
)

// exchange is one request that is sent to one endpoint, from the choice of the endpoint to
// the end of the response's body, which it is itself. Its request and URL are part of it, so
// that all of it takes one allocation.
type exchange struct {
	io.ReadCloser // the response's body
	ended         atomic.Bool

	transport *Transport
	endpoint  *endpoint
	original  *http.Request // the caller's
	sent      http.Request
	url       url.URL // of sent
	body      *watchedBody
	seen      *observer // nil if the request may be repeated

	attempt int       // its number in the call
	past    *exchange // what the call has sent before it, nil if nothing
	probe   bool
	epoch   uint64 // of the endpoint's health, when the endpoint was picked
	bound   bool   // to the endpoint, which may have acted on an earlier request of the call

	// Transport.mu guards the rest.
	responded bool // there is a response
	untouched bool // the endpoint has not acted on the request
}

// hasTried reports whether the call has sent something to e, or to any endpoint if e is
// nil, that failed, that has no response yet, or that was an earlier attempt. A request that
// the same attempt has sent and got a response for is another one: it was redirected, for
// example.
func (x *exchange) hasTried(e *endpoint, attempt int) bool {
	for ; x != nil; x = x.past {
		if (e == nil || x.endpoint.key == e.key) && (!x.responded || x.attempt < attempt) {
			return true
		}
	}
	return false
}

// usedFor reports whether this very request was sent to e.
func (x *exchange) usedFor(req *http.Request, e *endpoint) bool {
	for ; x != nil; x = x.past {
		if x.original == req && x.endpoint.key == e.key {
			return true
		}
	}
	return false
}

// acted returns the request of the call that must not be repeated and that its endpoint may
// have acted on, nil if there is none.
func (x *exchange) acted() *exchange {
	for ; x != nil; x = x.past {
		if x.seen != nil && !x.untouched {
			return x
		}
	}
	return nil
}

// send sends the request with the given body. It returns a response or an error.
func (x *exchange) send(body io.ReadCloser) (*http.Response, error) {
	req := x.original
	if x.seen != nil {
		req = req.WithContext(httptrace.WithClientTrace(req.Context(), x.seen.trace()))
	}
	x.sent, x.url = *req, *req.URL
	x.endpoint.resolve(&x.url)
	x.sent.URL, x.sent.Host = &x.url, x.endpoint.host
	x.endpoint.addHeader(&x.sent)
	x.sent.Body, x.body = watch(body)

	returned := false
	defer func() {
		if !returned { // the transport has panicked
			x.settle(verdictNone, nil, nil)
			x.end()
		}
	}()
	resp, err := roundTrip(x.transport.roundTripper(x.endpoint), &x.sent)
	returned = true
	if err != nil {
		x.settle(x.judge(err), nil, err)
		x.end()
		return nil, err
	}
	v := verdictWell
	switch code := resp.StatusCode; code {
	case http.StatusBadGateway, http.StatusServiceUnavailable, http.StatusGatewayTimeout:
		v, err = verdictFailed, fmt.Errorf("HTTP status %d %s", code, http.StatusText(code))
	}
	x.settle(v, resp, err)
	x.deliver(resp)
	return resp, nil
}

// deliver makes the response one to the caller's request.
func (x *exchange) deliver(resp *http.Response) {
	x.endpoint.relocate(resp, &x.url, x.original.URL)
	resp.Request = x.original
	if resp.Body == http.NoBody {
		x.end()
		return
	}
	x.ReadCloser = resp.Body
	resp.Body = x
	if w, ok := x.ReadCloser.(io.Writer); ok { // 101 Switching Protocols
		resp.Body = struct {
			*exchange
			io.Writer
		}{x, w}
	}
}

// judge returns what an error says about the endpoint. An endpoint has failed if the
// connection could not be made, has broken or has timed out. It has not if the caller has
// canceled the request, or if the request itself was bad.
func (x *exchange) judge(err error) verdict {
	if x.body.atFault() {
		return verdictNone
	}
	ctx := x.original.Context()
	if ctx.Err() != nil {
		var timeout interface{ Timeout() bool }
		if errors.As(context.Cause(ctx), &timeout) && timeout.Timeout() {
			return verdictFailed // AttemptTimeout, http.Client.Timeout, or a deadline
		}
		return verdictNone
	}
	retry, _ := retryablehttp.DefaultRetryPolicy(ctx, nil, err)
	if retry || retryablehttp.Unsent(err) { // a certificate may be permanently wrong
		return verdictFailed
	}
	return verdictNone
}

// unsent reports whether the request of a failed exchange provably did not reach the
// endpoint.
func (x *exchange) unsent(err error) bool {
	switch {
	case x.body.atFault():
		return false // err may be the body's
	case x.seen != nil:
		return x.seen.unsent(err)
	}
	return retryablehttp.Unsent(err)
}

// movesOn reports whether the request may be sent to another endpoint after err, without
// the caller's knowing.
func (x *exchange) movesOn(err error) bool {
	return !x.bound && x.unsent(err) && x.original.Context().Err() == nil
}

// settle records the result of the exchange.
func (x *exchange) settle(v verdict, resp *http.Response, err error) {
	t, h := x.transport, x.endpoint.health
	untouched := resp == nil && err != nil && x.unsent(err) || resp != nil && refused(resp)
	t.mu.Lock()
	x.responded, x.untouched = resp != nil, untouched
	var until time.Time
	if v == verdictFailed {
		until = time.Now().Add(t.rest(h.failures+1, resp))
	}
	changed := h.record(x, v, err, until)
	status := x.endpoint.status()
	t.mu.Unlock()
	if changed && t.OnChange != nil {
		t.OnChange(status)
	}
}

// refused reports whether a server has refused a request before acting on it, as
// retryablehttp.SafeRetryPolicy sees it.
func refused(resp *http.Response) bool {
	const none = 1 // no Retry-After is a nanosecond
	return resp.StatusCode == http.StatusTooManyRequests ||
		resp.StatusCode == http.StatusServiceUnavailable && retryablehttp.DefaultBackoff(none, none, 0, resp) != none
}

// end ends the exchange. The endpoint has one request less in flight.
func (x *exchange) end() {
	if x.ended.Swap(true) {
		return
	}
	x.transport.mu.Lock()
	x.endpoint.health.inFlight--
	x.transport.release(x.endpoint.own)
	x.transport.mu.Unlock()
}

// Read reads the response's body.
func (x *exchange) Read(p []byte) (int, error) {
	n, err := x.ReadCloser.Read(p)
	if err != nil {
		x.end()
	}
	return n, err
}

// Close closes the response's body.
func (x *exchange) Close() error {
	defer x.end()
	return x.ReadCloser.Close()
}

// roundTrip calls a transport and holds it to its contract.
func roundTrip(rt http.RoundTripper, req *http.Request) (*http.Response, error) {
	resp, err := rt.RoundTrip(req)
	switch {
	case err != nil:
		if resp != nil && resp.Body != nil {
			resp.Body.Close()
		}
		return nil, err
	case resp == nil:
		return nil, errors.New("failover: the transport returned neither a response nor an error")
	case resp.Body == nil:
		resp.Body = http.NoBody
	}
	return resp, nil
}

// repeatable reports whether a request may be sent to a second endpoint after a first one
// may have acted on it.
func (t *Transport) repeatable(req *http.Request) bool {
	switch req.Method {
	case "", http.MethodGet, http.MethodHead, http.MethodOptions, http.MethodTrace, http.MethodPut, http.MethodDelete:
		return true
	}
	return t.SharedKeys && strings.TrimSpace(req.Header.Get("Idempotency-Key")+req.Header.Get("X-Idempotency-Key")) != ""
}

// observer watches how far net/http gets with a request that must not reach two endpoints.
// A transport that does not report to httptrace leaves it as it is.
type observer struct {
	asked atomic.Bool // for a connection
	given atomic.Bool // a connection
	began atomic.Bool // writing the request
}

func (o *observer) trace() *httptrace.ClientTrace {
	return &httptrace.ClientTrace{
		GetConn:          func(string) { o.asked.Store(true) },
		GotConn:          func(httptrace.GotConnInfo) { o.given.Store(true) },
		WroteHeaderField: func(string, []string) { o.began.Store(true) },
	}
}

// unsent judges the error of the request. What was observed outweighs its type, because the
// error of a request body may be of the same type.
func (o *observer) unsent(err error) bool {
	switch {
	case o.began.Load():
		return false
	case o.asked.Load() && !o.given.Load():
		return true // also after a timeout, of which the error says nothing
	}
	return retryablehttp.Unsent(err)
}
