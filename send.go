package retryablehttp

import (
	"crypto/tls"
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/a0b132ce/retryablehttp/internal/redact"
)

// send sends the attempt's request and records the result.
func (c *call) send(a *attempt) {
	if a.number == 1 && !c.log.silent() {
		c.log.sending(a.req, c.client.redact(a.req.URL)) // those that follow are announced by retrying
	}
	if hook := c.client.RequestLogHook; hook != nil {
		hook(hookLogger(c.ctx, c.client.Logger), a.req, a.number-1)
		if a.req.URL == nil {
			a.req.URL = c.req.URL // a hook may change it, not remove it
		}
	}
	if c.client.OnAttempt != nil || c.client.BufferMax > 0 {
		a.start = time.Now()
		defer func() { a.took = time.Since(a.start) }()
	}
	if a.ctx != nil {
		a.ctx.sending.Store(true)
		c.startLimits(a.ctx)
	}
	if a.body != nil {
		c.limitBody(a)
	}
	a.resp, a.err = c.exchange(a)
	if a.resp != nil && a.seen != nil {
		a.seen.answered = true
	}
	c.refuseCutRequest(a)
	c.watchBody(a)
	c.buffer(a)
	if a.ctx != nil {
		a.resp, a.err = a.ctx.settle(a.resp, a.err)
	}
	if a.err != nil {
		repanic(a.err)
		c.observe(a)
		return
	}
	c.past.sent = true
	if a.resp.Request != nil {
		a.resp.Request = c.lasting(a, a.resp.Request)
	}
}

// refuseCutRequest replaces a response that reports success by the error of the request body,
// if reading the body failed before. net/http may return the response of a server that does
// not mind: over TLS a server learns that the connection is being closed while it can still
// respond.
func (c *call) refuseCutRequest(a *attempt) {
	body := a.lastBody()
	if a.resp == nil || a.resp.StatusCode >= 400 || body == nil {
		return
	}
	if failure := body.failed.Load(); failure != nil {
		a.resp.Body.Close()
		a.resp, a.err = nil, c.urlError(a.req, *failure)
	}
}

// lasting returns a request of the attempt as others may keep it: with a context that does
// not end with the attempt.
func (c *call) lasting(a *attempt, req *http.Request) *http.Request {
	switch {
	case req == a.req && !c.changesRequest():
		return c.req // what is different about a.req is for the transport alone
	case a.ctx == nil:
		return req
	}
	return req.WithContext(c.newContext(a))
}

// newContext returns a context in which the attempt is found.
func (c *call) newContext(a *attempt) *attemptContext {
	return &attemptContext{Context: c.ctx, client: c.client, number: a.number, request: a.req}
}

// startLimits starts what limits the attempt in time.
func (c *call) startLimits(ctx *attemptContext) {
	headers, why := c.client.AttemptTimeout, ErrAttemptTimeout
	if limit := c.client.MaxElapsedTime; limit > 0 {
		if left := max(limit-c.elapsed(), 1); headers <= 0 || left <= headers {
			headers, why = left, ErrMaxElapsedTime
		}
	}
	var whole time.Duration
	if !c.redirects { // otherwise http.Client sees to it
		whole = c.client.httpClient().Timeout
	}
	ctx.limit(headers, why, whole)
}

// limitBody makes the request body end with the attempt, if something may end that.
func (c *call) limitBody(a *attempt) {
	if c.redirects && c.client.httpClient().Timeout > 0 { // of which the request's context says nothing
		a.body.timeout = time.After(c.client.httpClient().Timeout)
	}
	if c.ctx.Done() != nil || a.body.timeout != nil || a.ctx != nil && (a.ctx.headers != nil || a.ctx.whole != nil) || a.body.idle != nil {
		a.body.ctx = a.req.Context()
	}
}

// exchange sends the request as net/http would, and returns what net/http would.
func (c *call) exchange(a *attempt) (*http.Response, error) {
	rt := c.transport()
	t, plain := rt.(*http.Transport)
	own := plain && c.past.suspect == suspectHTTP2
	if own {
		t = ownConnection(t)
		defer t.CloseIdleConnections() // also ends a dial that the attempt has not waited for
		rt = t
	}
	var resp *http.Response
	var err error
	if c.redirects {
		hc := c.client.httpClient()
		if own {
			copied := *hc
			copied.Transport = rt
			hc = &copied
		}
		resp, err = hc.Do(a.req)
		if last := a.lastBody(); last != a.body && resp != nil && keepsBody(resp.StatusCode) {
			last.Close() // http.Client leaves it open if it does not follow the redirect
		}
	} else if resp, err = roundTrip(rt, a.req); err != nil {
		err = c.urlError(a.req, err) // a policy is told the same as for a Client
	}
	if scheme := a.req.URL.Scheme; plain && resp != nil && (scheme == "http" || scheme == "https") {
		a.transportBody = resp.Body
	}
	return resp, err
}

// roundTrip calls a transport and holds it to its contract.
func roundTrip(rt http.RoundTripper, req *http.Request) (*http.Response, error) {
	u := req.URL
	resp, err := rt.RoundTrip(req)
	if req.URL == nil { // the transport has modified the request
		req.URL = u
	}
	switch {
	case err != nil:
		if resp != nil && resp.Body != nil {
			resp.Body.Close()
		}
		if record, ok := err.(tls.RecordHeaderError); ok && startsHTTP(record) {
			err = fmt.Errorf("%w: %w", http.ErrSchemeMismatch, err) // http.Client does the like
		}
		return nil, err
	case resp == nil:
		return nil, fmt.Errorf("transport %T returned neither a response nor an error", rt)
	}
	if resp.Body == nil {
		resp.Body = http.NoBody
	}
	if resp.Request == nil {
		resp.Request = req
	}
	return resp, nil
}

// urlError wraps the error of a transport as http.Client does.
func (c *call) urlError(req *http.Request, err error) error {
	m := method(req)
	_, first := utf8.DecodeRuneInString(m)
	return &url.Error{Op: m[:first] + strings.ToLower(m[first:]), URL: req.URL.String(), Err: err}
}

func (s *settings) redactError(err error) error { return redact.Error(err, s.client.redact) }

// observe adds to the error of an attempt what is known of it besides, and removes secrets
// from it.
func (c *call) observe(a *attempt) {
	err := withBodyLength(a.err)
	if a.ctx != nil && a.ctx.endedBy() != nil {
		err = c.urlError(a.req, err)
	}
	unsent := c.unsent(a, err)
	c.past.sent = c.past.sent || !unsent
	if isTimeout(err) {
		c.suspectConnection(a, unsent)
	}
	note := ""
	if a.body != nil && a.body.reading.Load() && isTimeout(err) {
		note = " while waiting for the request body"
	}
	if a.err = c.redactError(err); note != "" || c.asksUnsent() && Unsent(a.err) != unsent {
		a.err = annotate(a.err, unsent, note)
	}
}

// unsent reports whether the request of a failed attempt was provably not sent.
func (c *call) unsent(a *attempt, err error) bool {
	if outer, ok := err.(*url.Error); ok && !isURL(outer.URL, a.req.URL) {
		return false // it was redirected
	}
	if a.seen != nil && a.seen.writing {
		_, plain := c.transport().(*http.Transport)
		return a.seen.unsent(err, plain, a.body != nil && a.body.failed.Load() != nil)
	}
	if idempotent(a.req) && !idempotentMethod(a.req) {
		return false // net/http may have sent it before, on a connection that was dead
	}
	return unsentDirectly(withoutURLErrors(err))
}

// asksUnsent reports whether the policy, or the one of the client that this call is nested
// in, may call Unsent.
func (c *call) asksUnsent() bool {
	return asksUnsent(c.check) || c.outer != nil && c.outer.asksUnsent
}

// suspicion is what is thought of the connections that the call has used. HTTP/1 closes
// one on which an attempt has timed out; HTTP/2 goes on using it.
type suspicion int8

const (
	suspectNone  suspicion = iota
	suspectMaybe           // one may be dead, and of HTTP/2
	suspectHTTP2           // one of HTTP/2 may be dead
)

// suspectConnection notes that the connection of an attempt that timed out may be dead.
func (c *call) suspectConnection(a *attempt, unsent bool) {
	switch {
	case a.seen != nil && (a.seen.http2.Load() || unencryptedHTTP2(c.transport(), a.req)):
		c.raise(suspectHTTP2)
	case a.seen == nil && !unsent:
		c.raise(suspectMaybe)
	}
}

// raise raises the suspicion. With MaxConnsPerHost nothing is suspected: net/http stops
// counting a connection that it will not use again, so a retry would exceed the limit.
func (c *call) raise(s suspicion) {
	if t, ok := c.transport().(*http.Transport); !ok || t.MaxConnsPerHost == 0 {
		c.past.suspect = max(c.past.suspect, s)
	}
}
