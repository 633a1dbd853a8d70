package retryablehttp

import (
	"context"
	"sync"
	"sync/atomic"
)

// CallValue returns the place of a value that all attempts of one call share. It is for
// transports that remember what a call has sent: ctx is the context of the request that the
// transport was given. CallValue returns nil if ctx does not belong to an attempt. Any
// number of goroutines may call it.
//
// Transports that use different keys do not see each other's values. A key must be
// comparable and not nil; use a pointer or a value of an unexported type. The place is empty
// at first and is dropped with the call. The attempts of a client nested in another are those
// of the outer client's call.
func CallValue(ctx context.Context, key any) *atomic.Value {
	a := attemptOf(ctx)
	if a == nil || a.shared == nil {
		return nil
	}
	return a.shared.values.of(key)
}

// shared is what the attempts of a call have in common.
type shared struct {
	key    nestedKey // for clients in the transport
	values callValues
}

// callValues is a list of values. The first one, which is the only one of most calls, needs
// no allocation.
type callValues struct {
	mu    sync.Mutex // the first one's guards the list
	key   any        // nil if there is no value yet
	value atomic.Value
	next  *callValues
}

// of returns the place of the value with the given key. It must be called on the first one
// of the list.
func (first *callValues) of(key any) *atomic.Value {
	first.mu.Lock()
	defer first.mu.Unlock()
	v := first
	for v.key != nil && v.key != key {
		if v.next == nil {
			v.next = new(callValues)
		}
		v = v.next
	}
	v.key = key
	return &v.value
}
