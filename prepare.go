package retryablehttp

import (
	"context"
	"errors"
	"io"
	"net/http"
	"net/http/httptrace"
	"os"
	"sync/atomic"
)

// prepare makes the request of an attempt, which is the call's own where nothing has to
// differ. last is the response of the attempt before, nil if it got none.
func (c *call) prepare(a *attempt, last *http.Response) *ending {
	if a.number > 1 && c.client.PrepareRetry != nil {
		if err := c.prepareRetry(last); err != nil {
			return &ending{ReasonPrepareRetry, c.redactError(err)}
		}
	}
	c.setContext(a)
	a.req = c.req
	switch {
	case c.changesRequest():
		a.req = c.req.Clone(c.attemptContext(a))
		a.req.Trailer = c.req.Trailer // the body fills it in while it is sent
		c.addKey(a.req)
	case a.ctx != nil:
		c.ownRequest(a)
	}
	if c.past.suspect > suspectNone {
		c.ownRequest(a)
		a.req.Close = true // so that HTTP/2 does not use the connection again
	}
	if err := c.setBody(a); errors.Is(err, ErrNotReplayable) {
		return &ending{ReasonNotReplayable, err}
	} else if err != nil {
		return &ending{ReasonBody, c.redactError(err)}
	}
	if a.ctx != nil {
		a.ctx.request = a.req
	}
	return nil
}

func (c *call) attemptContext(a *attempt) context.Context {
	if a.ctx != nil {
		return a.ctx
	}
	return c.req.Context()
}

// ownRequest makes sure that the attempt's request may be changed.
func (c *call) ownRequest(a *attempt) {
	if a.req != c.req {
		return
	}
	if a.own == nil {
		a.own = new(http.Request)
	}
	*a.own = *c.req.WithContext(c.attemptContext(a))
	a.req = a.own
}

// changesRequest reports whether something may change the header or the URL that an
// attempt sends, which then are the attempt's own.
func (c *call) changesRequest() bool {
	return c.client.RequestLogHook != nil || c.client.PrepareRetry != nil || c.key != "" ||
		c.redirects && c.client.httpClient().Jar != nil
}

// addKey adds the call's Idempotency-Key, unless there is one.
func (c *call) addKey(req *http.Request) {
	if c.key == "" || hasKey(req, idempotencyKey) {
		return
	}
	if req.Header == nil {
		req.Header = http.Header{}
	}
	req.Header.Set(idempotencyKey, c.key)
}

// prepareRetry lets Client.PrepareRetry change the request of the attempts that follow.
func (c *call) prepareRetry(last *http.Response) error {
	if !c.private {
		c.req, c.private = c.req.Clone(c.ctx), true
	}
	var unread *lazyBody
	if c.body.open != nil {
		unread = &lazyBody{open: c.body.open, nextAttempt: c.body.nextAttempt}
		c.req.Body, c.req.GetBody = unread, c.body.open
	}
	length, response := c.req.ContentLength, c.req.Response
	c.req.Response = last
	c.addKey(c.req)
	err := c.client.PrepareRetry(c.req)
	c.req.Response = response
	if c.key != "" && c.req.Header.Get(idempotencyKey) == c.key {
		c.req.Header.Del(idempotencyKey) // it is the key of this call, not of the Request
	}
	if err == nil && c.req.URL == nil {
		err = errNilURL
	}
	if err != nil || c.req.Body == unread {
		return err
	}
	if !hasBody(c.req) { // the body is the original one
		c.req.ContentLength = length
		return nil
	}
	if c.body.open != nil && c.req.GetBody != nil && sameFunc(c.req.GetBody, c.body.open) {
		c.req.GetBody = nil // it opens the body before
	}
	c.finishBody(false)
	c.body = bodyOf(c.req)
	if c.body.stream != nil {
		c.body.stream.keep(c.client.replayMax())
	}
	return nil
}

// setContext gives the attempt a context of its own if it needs one: to be found by its
// number, by clients in the transport, to be observed, or to be ended.
func (c *call) setContext(a *attempt) {
	_, plain := c.transport().(*http.Transport)
	timed := c.client.AttemptTimeout > 0 || c.client.MaxElapsedTime > 0 || c.client.BodyIdleTimeout > 0 || !c.redirects && c.client.httpClient().Timeout > 0
	writing := c.asksUnsent() && !idempotentMethod(c.req)
	marked := c.outer == nil && (!plain || a.number > 1 || attemptOf(c.ctx) != nil)
	if !timed && !marked && !writing {
		return
	}
	all := new(struct { // one allocation
		ctx  attemptContext
		req  http.Request
		seen observer
	})
	a.ctx, a.own = &all.ctx, &all.req
	ctx := c.req.Context()
	if writing || timed {
		a.seen = &all.seen
		a.seen.writing = writing
		ctx = httptrace.WithClientTrace(ctx, a.seen.trace())
	}
	a.ctx.Context = ctx
	a.ctx.client = c.client
	a.ctx.number = a.number
	a.ctx.suspect = c.past.suspect
	a.ctx.asksUnsent = c.asksUnsent()
	a.ctx.endable = timed || !plain
	if c.outer != nil {
		a.ctx.number, a.ctx.shared = c.outer.number, c.outer.shared
		return
	}
	if c.past.shared == nil {
		c.past.shared = &a.ctx.firstShared
	}
	a.ctx.shared = c.past.shared
}

// setBody gives the attempt its request body.
func (c *call) setBody(a *attempt) error {
	if c.body.open == nil {
		return nil
	}
	given := c.body.asGiven && !wasSent(c.req)
	c.body.asGiven = false
	if !given {
		body, err := openBody(c.body.open)
		if err != nil {
			return err
		}
		if r, ok := body.(*streamReader); ok {
			r.use() // the transport closes it
		}
		c.ownRequest(a)
		a.req.Body, a.req.GetBody = body, c.body.open
		a.req.Body = reopened(a.req, c.transport())
	}
	if err := c.checkBody(a); err != nil {
		a.req.Body.Close()
		return err
	}
	if a.body != nil && c.redirects {
		a.closeRedirected()
	}
	return nil
}

// checkBody makes sure that the attempt's body has the length that the request declares,
// if need be while it is read. A transport gets the very Body of a caller's request where
// net/http checks that itself and nothing ends the call before the body does.
func (c *call) checkBody(a *attempt) error {
	body, ofFunc := a.req.Body.(*sentBody)
	ofFunc = ofFunc && body.ofFunc
	if ofFunc {
		c.ownRequest(a)
		if a.req.ContentLength == 0 {
			a.req.ContentLength = body.length
		}
		a.req.Body = body.ReadCloser
	}
	reader := withoutNopCloser(a.req.Body)
	_, file := reader.(*fileBody)
	_, callersFile := reader.(*os.File)
	_, lazy := c.req.Body.(*lazyBody)
	switch {
	case standardReader(reader):
		n := int64(reader.(LenReader).Len())
		if a.req.ContentLength > 0 && n != a.req.ContentLength {
			return lengthError(a.req.ContentLength, n)
		}
		if c.client.BodyIdleTimeout <= 0 || n <= idleBodyMin {
			return nil
		}
	case a.req.Body == http.NoBody, file && c.client.BodyIdleTimeout <= 0 && checksLength(c.transport(), a.req):
		return nil // net/http sends a file by sendfile, unless something is around it
	case !ofFunc && !lazy && c.body.stream == nil && a.seen == nil && c.client.BodyIdleTimeout <= 0 && (c.ctx.Done() == nil || callersFile) &&
		(a.req.ContentLength <= 0 || checksLength(c.transport(), a.req)):
		return nil
	}
	c.ownRequest(a)
	a.body = &sentBody{ReadCloser: a.req.Body, length: a.req.ContentLength}
	if c.body.stream != nil && !checksLength(c.transport(), a.req) {
		a.body.closing = make(chan struct{}) // the source stays open for a retry
	}
	c.watchSending(a)
	a.req.Body = a.body
	return nil
}

// closeRedirected makes sure that a body which http.Client opens for a redirect can be
// closed: http.Client leaves it open when it does not follow the redirect after all.
func (a *attempt) closeRedirected() {
	open, last := a.req.GetBody, new(atomic.Pointer[sentBody])
	if open == nil {
		return
	}
	a.redirected = last
	first := a.body
	a.req.GetBody = func() (io.ReadCloser, error) {
		body, err := openBody(open)
		if err == nil {
			again := &sentBody{ReadCloser: body, length: first.length, ctx: first.ctx, timeout: first.timeout}
			if first.closing != nil {
				again.closing = make(chan struct{})
			}
			last.Store(again) // two attempts of package hedge may do so at once
			body = again
		}
		return body, err
	}
}

// wasSent reports whether the Body of a request in memory was read before.
func wasSent(req *http.Request) bool {
	reader := withoutNopCloser(req.Body)
	return standardReader(reader) && reader.(LenReader).Len() == 0 && req.ContentLength > 0
}
