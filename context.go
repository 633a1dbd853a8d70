package retryablehttp

import (
	"context"
	"io"
	"net/http"
	"sync"
	"sync/atomic"
	"time"
)

// WithRetryMax returns a context whose calls make up to n retries, whatever
// [Client.RetryMax] says. 0 and negative numbers mean none.
func WithRetryMax(ctx context.Context, n int) context.Context {
	o := overridesOf(ctx)
	o.retryMax, o.hasRetryMax = n, true
	return context.WithValue(ctx, overridesKey{}, &o)
}

// WithCheckRetry returns a context whose calls use policy, whatever
// [Client.CheckRetry] says. Nil means [DefaultRetryPolicy].
func WithCheckRetry(ctx context.Context, policy CheckRetry) context.Context {
	if policy == nil {
		policy = DefaultRetryPolicy
	}
	o := overridesOf(ctx)
	o.checkRetry = policy
	return context.WithValue(ctx, overridesKey{}, &o)
}

// overrides are the settings of a Client that a context replaces.
type overrides struct {
	retryMax    int
	hasRetryMax bool
	checkRetry  CheckRetry // nil: not replaced
}

type overridesKey struct{}

func overridesOf(ctx context.Context) overrides {
	if o, ok := ctx.Value(overridesKey{}).(*overrides); ok {
		return *o
	}
	return overrides{}
}

// AttemptNumber returns the number of the attempt that ctx belongs to, starting at 1. It
// is for transports, hooks and policies, which get such a context; for any other it
// returns 1.
func AttemptNumber(ctx context.Context) int {
	if a := attemptOf(ctx); a != nil {
		return a.number
	}
	return 1
}

// attemptContext is the context of an attempt's request. Transports, hooks and policies
// find the attempt in it, and it can be ended apart from the caller's context. It derives
// no context of its own before somebody waits for its end, so that it costs next to
// nothing in memory.
type attemptContext struct {
	context.Context // the caller's
	client          *Client
	number          int
	request         *http.Request // as it is sent
	suspect         suspicion     // as in call
	asksUnsent      bool          // of the client's policy
	sending         atomic.Bool   // before and afterwards the context may be in use elsewhere
	shared          *shared       // by all attempts of the call
	firstShared     shared        // what shared points to in all of them

	mu      sync.Mutex // guards the rest
	endable bool
	live    context.Context // ends before the caller's; nil until somebody waits for it
	cancel  context.CancelCauseFunc
	ended   error // why end was called first

	headers, whole *time.Timer // nil without a limit
	headersErr     error       // what the first ends the context with
}

type attemptKey struct{}

// attemptOf returns the innermost attemptContext that ctx is derived from, nil if none.
func attemptOf(ctx context.Context) *attemptContext {
	a, _ := ctx.Value(attemptKey{}).(*attemptContext)
	return a
}

// nestedIn returns the attempt of another call whose transport has made req, nil if there
// is none. A transport may use the attempt's context for requests of its own, to fetch a
// token for example: only the request that the other call is sending is nested in it.
func nestedIn(req *http.Request) *attemptContext {
	a := attemptOf(req.Context())
	if a == nil || !a.sending.Load() {
		return nil
	}
	inner, outer := firstHop(req), firstHop(a.request)
	if method(inner) != method(outer) || inner.URL.Host != outer.URL.Host || inner.URL.Path != outer.URL.Path {
		return nil
	}
	return a
}

// firstHop returns the request whose redirects led to req.
func firstHop(req *http.Request) *http.Request {
	for req.Response != nil && req.Response.Request != nil {
		req = req.Response.Request
	}
	return req
}

func (a *attemptContext) Value(key any) any {
	if _, ok := key.(attemptKey); ok {
		return a
	}
	return a.current().Value(key)
}

func (a *attemptContext) Err() error { return a.current().Err() }

func (a *attemptContext) Done() <-chan struct{} {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.live == nil && !a.endable {
		return a.Context.Done()
	}
	a.derive()
	return a.live.Done()
}

func (a *attemptContext) current() context.Context {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.live == nil {
		return a.Context
	}
	return a.live
}

func (a *attemptContext) derive() {
	if a.live == nil {
		a.live, a.cancel = context.WithCancelCause(a.Context)
	}
}

// end ends the context, unless it was released.
func (a *attemptContext) end(why error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.endable {
		if a.ended == nil {
			a.ended = why
		}
		a.derive()
		a.cancel(why)
	}
}

// limit ends the context with why after headers, unless settle is called before, and with
// errClientTimeout after whole. Zero means no limit.
func (a *attemptContext) limit(headers time.Duration, why error, whole time.Duration) {
	if headers > 0 {
		a.headersErr = why
		a.headers = time.AfterFunc(headers, func() { a.end(why) })
	}
	if whole > 0 {
		a.whole = time.AfterFunc(whole, func() { a.end(errClientTimeout) })
	}
}

// settle stops the time limit for the headers and returns the attempt's result. A limit
// for the whole attempt ends with the response's body.
func (a *attemptContext) settle(resp *http.Response, err error) (*http.Response, error) {
	if a.headers != nil && !a.headers.Stop() {
		a.end(a.headersErr) // the timer has fired, but its function may not have run yet
	}
	a.sending.Store(false)
	if ended := a.endedBy(); ended != nil {
		if resp != nil {
			resp.Body.Close()
		}
		resp, err = nil, ended
	}
	if err != nil || resp.Body == http.NoBody || resp.StatusCode == http.StatusSwitchingProtocols {
		a.release()
		return resp, err
	}
	return resp, nil
}

// keep prepares the context for a response that the call returns: it lasts as long as the
// caller's from now on, and what it holds is released with the response's body.
func (a *attemptContext) keep(resp *http.Response) {
	a.mu.Lock()
	defer a.mu.Unlock()
	switch _, wrapped := resp.Body.(*responseBody); {
	case wrapped || !a.endable:
	case a.live == nil:
		a.endable = false
	case a.Context.Done() != nil:
		resp.Body = &responseBody{resp.Body, a, nil}
	}
}

// lasts reports whether the context cannot end before the caller's.
func (a *attemptContext) lasts() bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.live == nil && !a.endable
}

func (a *attemptContext) endedBy() error {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.ended
}

// release ends the context for those who still wait for its end, and frees what it holds.
func (a *attemptContext) release() {
	if a.whole != nil {
		a.whole.Stop()
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	a.endable = false
	if a.cancel != nil {
		a.cancel(nil)
	}
}

// responseBody releases the context of its attempt when it is read to its end or closed.
type responseBody struct {
	io.ReadCloser
	ctx  *attemptContext
	idle *idleTimer // runs while it is read; may be nil
}

func (b *responseBody) Read(p []byte) (int, error) {
	b.idle.start()
	n, err := b.ReadCloser.Read(p)
	b.idle.stop()
	if err == nil {
		return n, nil
	}
	if ended := b.ctx.endedBy(); ended != nil && err != io.EOF {
		err = ended
	}
	b.ctx.release()
	return n, err
}

func (b *responseBody) Close() error {
	defer b.ctx.release()
	return b.ReadCloser.Close()
}

// withoutContext returns the body that a responseBody was made of.
func withoutContext(body io.ReadCloser) io.ReadCloser {
	if b, ok := body.(*responseBody); ok {
		return b.ReadCloser
	}
	return body
}
