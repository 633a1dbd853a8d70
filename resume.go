package retryablehttp

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"slices"
	"sync"
	"time"

	"github.com/a0b132ce/retryablehttp/internal/byterange"
)

// ErrRepresentationChanged is matched by the [*ResumeError] of a body that cannot be
// resumed because the server has another version of the object by now.
var ErrRepresentationChanged = byterange.ErrChanged

// ResumeError is returned by a response body that was cut off and could not be resumed:
// the bytes read so far are right, the rest is missing. See [Client.ResumeMax].
type ResumeError struct {
	// URL is the URL of the object, redacted (see Client.RedactURL).
	URL string
	// Offset is the number of bytes of the body that were read.
	Offset int64
	// Err says why the rest could not be read.
	Err error
}

// Error returns one line of text without secrets.
func (e *ResumeError) Error() string {
	return fmt.Sprintf("resuming %s after %d bytes: %s", e.URL, e.Offset, e.Err)
}

// Unwrap returns Err.
func (e *ResumeError) Unwrap() error { return e.Err }

// Timeout reports whether Err is a timeout.
func (e *ResumeError) Timeout() bool { return isTimeout(e.Err) }

// makeResumable gives a response that the policy accepts a body that survives a cut, if
// Client.ResumeMax allows it and the response says how to recognize the rest.
func (c *call) makeResumable(a *attempt) {
	if c.client.ResumeMax <= 0 {
		return
	}
	resp, source := a.resp, a.resp.Request
	if source == nil {
		source = a.req
	}
	if c.resumption > 0 || c.outer != nil && c.outer.client.ResumeMax > 0 ||
		resp.Body == http.NoBody || method(c.req) != http.MethodGet || method(source) != http.MethodGet {
		return
	}
	span, ok := byterange.Of(resp, c.req.Header.Get("Range"))
	if !ok {
		return
	}
	ctx, cancel := context.WithCancel(c.ctx)
	resp.Body = &resumedBody{
		settings: c.settings,
		callers:  c.ctx,
		ctx:      ctx,
		cancel:   cancel,
		asked:    c.req,
		source:   source,
		open:     c.body.open,
		http2:    resp.ProtoMajor == 2,
		span:     span,
		at:       span.First,
		due:      span.Last,
		body:     resp.Body,
	}
}

// resumedBody is a response's body that goes on with the rest when it is cut off. As with
// the bodies of net/http, Close may be called while Read is under way.
type resumedBody struct {
	settings
	callers context.Context // of the call
	ctx     context.Context // of the requests for the rest, derived from it
	cancel  context.CancelFunc
	asked   *http.Request // what the call was asked to send
	source  *http.Request // the request that the response answers, after all redirects
	open    bodyFunc      // opens the body of asked, nil if there is none
	http2   bool          // the response came over HTTP/2

	span      byterange.Span
	at        int64 // offset of the next byte in the object
	due       int64 // offset of the last byte that the response announces, -1 if it does not
	resumed   int   // how often
	fruitless int   // how often since the last byte came
	abandoned bool  // by the call: it is not resumed any more
	cutOff    error // what the current response ended with; the rest is to be requested
	failed    error // what Read returns from now on

	mu     sync.Mutex // guards the rest
	body   io.ReadCloser
	closed bool
}

func (b *resumedBody) Read(p []byte) (int, error) {
	for b.failed == nil {
		if cause := b.cutOff; cause != nil {
			b.cutOff = nil
			if b.failed = cause; !b.abandoned {
				b.failed = b.resume(cause)
			}
			continue
		}
		b.mu.Lock()
		body, closed := b.body, b.closed
		b.mu.Unlock()
		if closed {
			return 0, http.ErrBodyReadAfterClose
		}
		n, err := body.Read(p)
		n = b.advance(n, err)
		if n > 0 || err == nil {
			return n, nil
		}
	}
	b.cancel()
	return 0, b.failed
}

// advance records the result of a read, and returns how many of its bytes belong to the
// body.
func (b *resumedBody) advance(n int, err error) int {
	b.at += int64(n)
	if n > 0 {
		b.fruitless = 0
	}
	switch over := b.at - b.due - 1; {
	case b.due >= 0 && over > 0:
		n, b.at = n-int(over), b.due+1
		b.failed = b.error(errors.New("the body is longer than was announced"))
	case err == nil:
	case b.span.Last >= 0 && b.at > b.span.Last, b.span.Last < 0 && err == io.EOF:
		b.failed = io.EOF // complete; an error after the last byte does not matter
	case err == io.EOF:
		b.cutOff = io.ErrUnexpectedEOF
	default:
		b.cutOff = b.redactError(err)
	}
	return n
}

// Close ends the reading, and a request for the rest.
func (b *resumedBody) Close() error {
	b.mu.Lock()
	b.closed = true
	body := b.body
	b.mu.Unlock()
	b.cancel()
	return body.Close()
}

func (b *resumedBody) error(err error) error {
	return &ResumeError{URL: b.client.redact(b.source.URL), Offset: b.at - b.span.First, Err: err}
}

// resume replaces a body that was cut off by one that holds the rest. It returns what
// reading ends with if that cannot be.
func (b *resumedBody) resume(cause error) error {
	if b.callers.Err() != nil {
		return cause
	}
	old, closed := b.replace(http.NoBody) // so that Close leaves the old one to this
	if closed {
		return http.ErrBodyReadAfterClose
	}
	old.Close()
	rest, err := b.requestRest(cause)
	if err != nil {
		rest = http.NoBody
	}
	if _, closed = b.replace(rest); closed { // by a Close that has ended the request, or has come just after it
		rest.Close()
		return http.ErrBodyReadAfterClose
	}
	return err
}

// replace replaces the body that is read, unless Close was called, and returns the one
// before.
func (b *resumedBody) replace(body io.ReadCloser) (old io.ReadCloser, closed bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if old = b.body; !b.closed {
		b.body = body
	}
	return old, b.closed
}

// requestRest waits, as before any retry, and requests the rest.
func (b *resumedBody) requestRest(cause error) (io.ReadCloser, error) {
	if err := b.mayResume(cause); err != nil {
		return nil, err
	}
	b.resumed++
	b.fruitless++
	wait := b.client.backoff(b.fruitless, nil)
	deadline, ok := b.ctx.Deadline()
	if ok {
		wait = b.shortened(wait, time.Until(deadline), nil)
	}
	if ok && wait >= time.Until(deadline) {
		return nil, b.error(&stopError{why: context.DeadlineExceeded, detail: nextDue(wait, nil), last: cause})
	}
	if !b.log.silent() {
		b.log.resuming(b.asked, b.client.redact(b.source.URL), b.at, cause)
	}
	sleep(b.ctx, wait)
	switch {
	case b.callers.Err() != nil:
		return nil, b.error(&stopError{why: b.callers.Err(), cause: b.redactError(causeOf(b.callers)), last: cause})
	case b.ctx.Err() != nil: // by Close
		return nil, cause
	}
	req := b.request()
	call := call{settings: b.settings, resumption: b.resumed, req: req, body: bodyOf(req)}
	if isTimeout(cause) && b.http2 {
		call.raise(suspectHTTP2)
	}
	resp, err := call.do()
	if err != nil {
		if resp != nil {
			resp.Body.Close()
		}
		return nil, b.error(err)
	}
	if b.due, err = b.accept(resp); err != nil {
		resp.Body.Close()
		if err != io.EOF {
			err = b.error(err)
		}
		return nil, err
	}
	return resp.Body, nil
}

// sleep waits, at most until the context is done.
func sleep(ctx context.Context, wait time.Duration) {
	timer := time.NewTimer(wait)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-ctx.Done():
	}
}

// request returns the request for the rest. It goes to where the response came from, after
// all redirects: the first URL may lead to another object by now. Of the caller's header
// it has what that request still carried; net/http does not send credentials on
// to other hosts.
func (b *resumedBody) request() *http.Request {
	req := b.source.Clone(b.ctx)
	req.Response, req.Close, req.Header = nil, b.asked.Close, http.Header{}
	for name, values := range b.asked.Header {
		if _, carried := b.source.Header[name]; carried && (name != "Cookie" || b.source.URL.Host == b.asked.URL.Host) {
			req.Header[name] = slices.Clone(values)
		}
	}
	for _, condition := range []string{"If-Match", "If-None-Match", "If-Modified-Since", "If-Unmodified-Since"} {
		req.Header.Del(condition)
	}
	req.Header.Set("Range", b.span.Header(b.at))
	req.Header.Set("If-Range", b.span.Validator)
	if hasBody(req) { // and it was sent
		if req.GetBody == nil {
			req.GetBody = b.open
		}
		req.Body = &lazyBody{open: req.GetBody}
	}
	return req
}

// mayResume returns nil if the policy agrees to resume after cause and ResumeMax is not
// reached. Otherwise it returns the error that reading ends in.
func (b *resumedBody) mayResume(cause error) error {
	policy := &attemptContext{Context: b.ctx, client: b.client, number: 1, request: b.asked}
	again, policyErr := b.check(policy, nil, cause)
	switch {
	case policyErr != nil:
		return b.error(b.redactError(policyErr))
	case !again:
		return cause
	case b.resumed >= b.client.ResumeMax:
		return b.error(fmt.Errorf("cut off again after %d resumption(s): %w", b.resumed, cause))
	}
	return nil
}

// accept checks that a response holds the rest of the very object. It returns the offset
// of the last byte that it announces, or io.EOF if there is no rest.
func (b *resumedBody) accept(resp *http.Response) (int64, error) {
	if from := resp.Request; from != nil && from.URL != nil && from.URL.String() != b.source.URL.String() {
		return 0, fmt.Errorf("redirected to another URL: %s", b.client.redact(from.URL))
	}
	return b.span.Accept(resp, b.at)
}
