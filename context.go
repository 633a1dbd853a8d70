package retryablehttp

import (
	"context"
	"net/http"
	"sync"
	"sync/atomic"
)

// WithRetryMax returns a context whose calls make up to n retries, whatever
// [Client.RetryMax] says. 0 and negative numbers mean none.
func WithRetryMax(ctx context.Context, n int) context.Context {
	o := overridesOf(ctx)
	o.retryMax, o.hasRetryMax = n, true
	return context.WithValue(ctx, overridesKey{}, &o)
}

// WithCheckRetry returns a context whose calls are decided by policy, whatever
// [Client.CheckRetry] says. Nil means what it means there.
func WithCheckRetry(ctx context.Context, policy CheckRetry) context.Context {
	if policy == nil {
		policy = DefaultRetryPolicy
	}
	o := overridesOf(ctx)
	o.checkRetry = policy
	return context.WithValue(ctx, overridesKey{}, &o)
}

// overrides is what a context changes about the client.
type overrides struct {
	retryMax    int
	hasRetryMax bool
	checkRetry  CheckRetry // nil: not changed
}

type overridesKey struct{}

func overridesOf(ctx context.Context) overrides {
	if o, ok := ctx.Value(overridesKey{}).(*overrides); ok {
		return *o
	}
	return overrides{}
}

// AttemptNumber tells a transport, by the context of the request it is given, which
// attempt of its call this is: 1, 2, and so on. It is 1 for a context that no retry
// has marked.
func AttemptNumber(ctx context.Context) int {
	if mark := markOf(ctx); mark != nil {
		return mark.number
	}
	return 1
}

// attemptContext marks the context of an attempt: with its number, for AttemptNumber,
// and with its client, so that another client in the transport below knows that it is
// not the one to retry.
type attemptContext struct {
	context.Context
	client  *Client
	number  int
	suspect bool            // the connection of the attempt before is not to be used
	sending atomic.Bool     // the context may be in use after the attempt, by anyone
	first   *attemptContext // of the call's marks; nil for itself

	mu    sync.Mutex
	keyed map[keyOwner]int    // how often a key was asked for in this attempt
	keys  map[keyOwner]string // of all attempts; the first mark has them
}

// next makes the mark of the next attempt; c is that of the last, nil if there was none.
func (c *attemptContext) next(ctx context.Context, client *Client, number int, suspect bool) *attemptContext {
	mark := &attemptContext{Context: ctx, client: client, number: number, suspect: suspect}
	if c != nil {
		mark.first = c.root()
	}
	return mark
}

func (c *attemptContext) root() *attemptContext {
	if c.first != nil {
		return c.first
	}
	return c
}

func (c *attemptContext) setSending(sending bool) {
	if c != nil {
		c.sending.Store(sending)
	}
}

// keyOwner tells one Idempotency-Key from the others of an attempt. A transport may send
// several requests, to fetch a token for example, by several clients, and it may sign
// their URLs.
type keyOwner struct {
	client             *Client
	method, host, path string
	nth                int // with the same of the above, from 1
}

// sharedKey gives the requests of a nested client the same Idempotency-Key in all
// attempts of the client that retries.
func (c *attemptContext) sharedKey(nested *Client, req *http.Request) string {
	owner := keyOwner{client: nested, method: req.Method, host: req.URL.Host, path: req.URL.Path}
	c.mu.Lock()
	if c.keyed == nil {
		c.keyed = make(map[keyOwner]int)
	}
	c.keyed[owner]++
	owner.nth = c.keyed[owner]
	c.mu.Unlock()

	shared := c.root()
	shared.mu.Lock()
	key, ok := shared.keys[owner]
	shared.mu.Unlock()
	if ok {
		return key
	}
	key = nested.IdempotencyKey(req)
	shared.mu.Lock()
	defer shared.mu.Unlock()
	if shared.keys == nil {
		shared.keys = make(map[keyOwner]string)
	}
	shared.keys[owner] = key
	return key
}

type attemptKey struct{}

func (c *attemptContext) Value(key any) any {
	if _, ok := key.(attemptKey); ok {
		return c
	}
	return c.Context.Value(key)
}

// markOf returns the innermost mark of a context, nil if it has none.
func markOf(ctx context.Context) *attemptContext {
	mark, _ := ctx.Value(attemptKey{}).(*attemptContext)
	return mark
}

// policyContext tells a policy which request the call was asked to send.
type policyContext struct {
	context.Context
	request *http.Request
}

type requestKey struct{}

func (c *policyContext) Value(key any) any {
	if _, ok := key.(requestKey); ok {
		return c.request
	}
	return c.Context.Value(key)
}

// What a client knows of its transport.
const (
	nestsUnknown int32 = iota
	nestsNone
	nestsClient
)

// mayNest reports whether a call has to mark even its first attempt, because another
// client of this package may be in the transport. One that is hidden in a transport of
// an unknown kind is found by the mark of the first call; where none is found the calls
// that follow need not pay for a mark.
func (c *Client) mayNest(req *http.Request) bool {
	switch c.transport().(type) {
	case *http.Transport:
		return false
	case *RoundTripper:
		return true
	}
	return atomic.LoadInt32(c.nestsFor(req)) != nestsNone
}

// nestsFor tells idempotent requests, which a cache may have answered, from the others:
// these are the ones that an Idempotency-Key has to reach.
func (c *Client) nestsFor(req *http.Request) *int32 {
	if idempotentMethod(req) {
		return &c.nests[0]
	}
	return &c.nests[1]
}

// foundNone notes that a request has met no other client, which does not count if another
// one has.
func (c *Client) foundNone(req *http.Request) {
	atomic.CompareAndSwapInt32(c.nestsFor(req), nestsUnknown, nestsNone)
}

func (c *Client) foundNested() {
	for i := range c.nests {
		if atomic.LoadInt32(&c.nests[i]) != nestsClient {
			atomic.StoreInt32(&c.nests[i], nestsClient)
		}
	}
}
