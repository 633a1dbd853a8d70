package retryablehttp

import (
	"context"
	"net/http"
	"sync"
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
	client *Client
	number int
	// suspect tells that the connection of the attempt before is not to be used.
	suspect bool
	first   *attemptContext // of the call's marks; nil for itself

	// What the attempts of a call have in common, held by the first mark.
	mu   sync.Mutex
	keys map[keyOwner]string
}

// keyOwner tells whose Idempotency-Key it is: a transport may send several requests, to
// fetch a token for example, and by several clients.
type keyOwner struct {
	client      *Client
	method, url string
}

// sharedKey gives the requests of a nested client the same Idempotency-Key in all
// attempts of the client that retries.
func (c *attemptContext) sharedKey(nested *Client, req *http.Request) string {
	if c.first != nil {
		c = c.first
	}
	owner := keyOwner{nested, req.Method, req.URL.String()}
	c.mu.Lock()
	defer c.mu.Unlock()
	key, ok := c.keys[owner]
	if !ok {
		key = nested.IdempotencyKey(req)
		if c.keys == nil {
			c.keys = make(map[keyOwner]string)
		}
		c.keys[owner] = key
	}
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
