package retryablehttp

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"sync/atomic"
	"time"
)

// sentBody is the body of one attempt, unless it is in memory or a file. It delivers the
// declared length or an error that matches ErrBodyLength, returns when the attempt is
// over or it is closed, whatever its source does, and records why reading it failed.
type sentBody struct {
	io.ReadCloser
	length int64 // 0 if unknown
	ofFunc bool  // length is what the reader of a ReaderFunc tells
	read   int64

	ctx     context.Context  // of the attempt; nil if nothing ends it
	timeout <-chan time.Time // of the http.Client; may be nil
	idle    *idleTimer       // runs between two reads; may be nil
	closing chan struct{}    // is closed by Close; nil if closing the source ends a Read
	result  chan readResult
	buf     []byte

	reading atomic.Bool           // the source, in a goroutine of its own
	closed  atomic.Bool           // http.Client closes a body twice when it does not follow a redirect
	failed  atomic.Pointer[error] // of a Read before Close; nil if none has failed
}

type readResult struct {
	n   int
	err error
}

func (b *sentBody) Read(p []byte) (int, error) {
	b.idle.stop()
	n, err := b.readSource(p)
	if n, err = b.check(n, len(p), err); err != nil && err != io.EOF && !b.closed.Load() {
		failure := err
		b.failed.Store(&failure)
	}
	if err == nil && (b.length <= 0 || b.read < b.length) {
		b.idle.start()
	}
	return n, err
}

// readSource reads in a goroutine of its own if the attempt may be over before the source
// gives something. net/http's HTTP/1 waits for a read that is under way. HTTP/2 closes the
// body when a response has come, and waits then.
func (b *sentBody) readSource(p []byte) (int, error) {
	if b.ctx == nil && b.closing == nil {
		r := readSafely(b.ReadCloser, p)
		return r.n, r.err
	}
	if b.closed.Load() { // the buffer may be in use
		return 0, http.ErrBodyReadAfterClose
	}
	if len(b.buf) < len(p) {
		b.buf = make([]byte, len(p))
		b.result = make(chan readResult, 1)
	}
	buf, result := b.buf[:len(p)], b.result
	var ended <-chan struct{}
	if b.ctx != nil {
		ended = b.ctx.Done()
	}
	b.reading.Store(true)
	go func() { result <- readSafely(b.ReadCloser, buf) }()
	select {
	case r := <-result:
		b.reading.Store(false)
		if r.n > 0 && r.n <= len(p) {
			copy(p, buf[:r.n])
		}
		return r.n, r.err
	case <-b.closing:
		return 0, http.ErrBodyReadAfterClose
	case <-ended:
		return 0, context.Cause(b.ctx)
	case <-b.timeout:
		return 0, errClientTimeout
	}
}

// readSafely returns a panic as an error: it would end the program in a goroutine of the
// transport.
func readSafely(r io.Reader, p []byte) (result readResult) {
	defer func() {
		if v := recover(); v != nil {
			result = readResult{0, &bodyPanic{v}}
		}
	}()
	n, err := r.Read(p)
	return readResult{n, err}
}

type bodyPanic struct{ value any }

func (e *bodyPanic) Error() string { return fmt.Sprintf("request body panicked: %v", e.value) }

// repanic panics, in the goroutine of the caller, if err says that the request body did.
func repanic(err error) {
	var body *bodyPanic
	if errors.As(err, &body) {
		panic(body.value)
	}
}

func (b *sentBody) check(n, size int, err error) (int, error) {
	if n < 0 || n > size {
		return 0, invalidCount(n, size)
	}
	before := b.read
	b.read += int64(n)
	switch {
	case b.length <= 0:
	case b.read > b.length:
		return int(max(b.length-before, 0)), lengthError(b.length, b.read)
	case err == io.EOF && b.read < b.length:
		return n, lengthError(b.length, b.read)
	}
	return n, err
}

func (b *sentBody) Close() error {
	if b.closed.Swap(true) {
		return nil
	}
	b.idle.stop()
	if b.closing != nil {
		close(b.closing)
	}
	return b.ReadCloser.Close()
}
