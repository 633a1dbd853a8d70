package retryablehttp

import (
	"context"
	"io"
	"net/http"
	"time"
)

// A limit bounds one attempt in time: until its headers have come, or until its
// body has been closed as well.
type limit struct {
	ctx     context.Context
	cancel  context.CancelCauseFunc
	headers *time.Timer // nil: no limit
	why     error       // what the attempt fails with when headers expires
	body    *time.Timer // nil: no limit
}

// startLimit derives a context for an attempt that ends with why as its cause when
// the headers take too long, and with errClientTimeout when the whole does. A
// duration of 0 is no limit.
func startLimit(parent context.Context, headers time.Duration, why error, whole time.Duration) *limit {
	ctx, cancel := context.WithCancelCause(parent)
	l := &limit{ctx: ctx, cancel: cancel, why: why}
	if headers > 0 {
		l.headers = time.AfterFunc(headers, func() { cancel(why) })
	}
	if whole > 0 {
		l.body = time.AfterFunc(whole, func() { cancel(errClientTimeout) })
	}
	return l
}

// expired returns why the limit ended the attempt, nil if it did not.
func (l *limit) expired() error {
	cause := context.Cause(l.ctx)
	if cause == l.why || cause == errClientTimeout {
		return cause
	}
	return nil
}

// settle ends the limit on the headers, now that the attempt has come to resp or
// err, and returns what it has come to. What is left ends with the response's body.
func (l *limit) settle(resp *http.Response, err error) (*http.Response, error) {
	if l.headers != nil && !l.headers.Stop() {
		l.cancel(l.why) // its goroutine may not have come to it yet
	}
	if expired := l.expired(); expired != nil {
		if resp != nil {
			resp.Body.Close()
		}
		return nil, l.end(expired)
	}
	if err != nil || resp.Body == http.NoBody {
		return resp, l.end(err)
	}
	if rw, ok := resp.Body.(io.ReadWriteCloser); ok { // 101 Switching Protocols
		resp.Body = &limitedConn{limitedBody{rw, l}, rw}
	} else {
		resp.Body = &limitedBody{resp.Body, l}
	}
	return resp, nil
}

// end releases the context and the timers.
func (l *limit) end(err error) error {
	if l.body != nil {
		l.body.Stop()
	}
	l.cancel(nil)
	return err
}

// limitedBody ends the limit of an attempt with its body.
type limitedBody struct {
	io.ReadCloser
	limit *limit
}

func (b *limitedBody) Read(p []byte) (int, error) {
	n, err := b.ReadCloser.Read(p)
	if err == nil {
		return n, nil
	}
	if expired := b.limit.expired(); expired != nil && err != io.EOF {
		err = expired
	}
	return n, b.limit.end(err)
}

func (b *limitedBody) Close() error {
	return b.limit.end(b.ReadCloser.Close())
}

type limitedConn struct {
	limitedBody
	io.Writer
}
