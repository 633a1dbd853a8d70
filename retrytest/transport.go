package retrytest

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"reflect"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"golang.org/x/net/http2"
)

// Transport is an [http.RoundTripper] that runs a script in memory. It returns the errors
// that net/http returns for the same faults on a real connection, obeys the request's
// context, and always closes the request's body. Any number of goroutines may use it. The
// zero Transport has no steps.
//
// It waits only on channels and timers, so it can be used in a testing/synctest bubble.
type Transport struct {
	script script
	open   atomic.Int64
}

var _ http.RoundTripper = (*Transport)(nil)

// NewTransport returns a Transport that performs the steps in order.
func NewTransport(steps ...Step) *Transport {
	return &Transport{script: script{steps: steps}}
}

// NewTransportFunc returns a Transport that calls choose for the step of each attempt. The
// argument of choose has no body. No two goroutines call choose at the same time. The
// step's Times is ignored.
func NewTransportFunc(choose func(Attempt) Step) *Transport {
	return &Transport{script: script{choose: choose}}
}

// Attempts returns the records of all attempts so far, in the order of their arrival.
func (t *Transport) Attempts() []Attempt { return t.script.Attempts() }

// OpenBodies returns how many responses have a body that was neither closed nor read to
// its end. It is 0 after the calls of a client that leaks nothing.
func (t *Transport) OpenBodies() int { return int(t.open.Load()) }

// RoundTrip implements [http.RoundTripper].
func (t *Transport) RoundTrip(req *http.Request) (*http.Response, error) {
	ctx := req.Context()
	body := req.Body
	if body == nil {
		body = http.NoBody
	}
	attempt := Attempt{Method: methodOf(req), Host: req.Host, Header: req.Header.Clone(), ContentLength: req.ContentLength}
	if body != http.NoBody && req.ContentLength == 0 {
		attempt.ContentLength = -1
	}
	if req.URL != nil {
		attempt.URL = req.URL.String()
		if attempt.Host == "" {
			attempt.Host = req.URL.Host
		}
	}
	step, rec, err := t.script.next(attempt)
	if err == nil {
		err = context.Cause(ctx)
	}
	if err != nil || step.Fault == Refuse {
		body.Close()
		rec.end(err)
		if err == nil {
			err = step.error()
		}
		return nil, err
	}
	if err := readBody(ctx, rec, body, step.Read, req.ContentLength); err != nil {
		return nil, err
	}
	if err := sleep(ctx, nil, step.Delay); err != nil {
		return nil, err
	}
	payload := step.bodyFor(attempt.Method)
	sent, fails := step.failure(payload)
	if sent < 0 {
		if step.Fault == Stall && step.Err == nil {
			<-ctx.Done()
			return nil, context.Cause(ctx)
		}
		return nil, step.error()
	}
	resp := &http.Response{
		StatusCode: step.status(),
		Status:     statusLine(step.status()),
		Proto:      "HTTP/1.1", ProtoMajor: 1, ProtoMinor: 1,
		Header:        step.header(),
		Close:         step.Close,
		Request:       req,
		Body:          http.NoBody,
		ContentLength: int64(len(payload)),
	}
	switch {
	case attempt.Method == http.MethodHead && mayHaveBody(step.status()):
		resp.ContentLength = int64(len(step.Body))
	case step.Chunked && mayHaveBody(step.status()):
		resp.ContentLength = -1
		resp.TransferEncoding = []string{"chunked"}
	}
	if payload != "" || fails {
		t.open.Add(1)
		b := &responseBody{transport: t, ctx: ctx, unread: payload[:sent], drip: step.Drip, end: io.EOF, closed: make(chan struct{})}
		switch {
		case fails && step.Fault == Stall && step.Err == nil:
			b.end = nil
		case fails && step.Fault == Close && step.Err == nil:
			b.end = io.ErrUnexpectedEOF
		case fails:
			b.end = step.error()
		}
		resp.Body = b
	}
	return resp, nil
}

// CloseIdleConnections does nothing, because a Transport has no connections.
func (t *Transport) CloseIdleConnections() {}

// readBody reads the request's body as far as the step says, and closes it. It returns
// when ctx is done, even if a Read of the body is still blocked, as net/http's transport
// does.
func readBody(ctx context.Context, rec *record, body io.ReadCloser, read, declared int64) error {
	if read < 0 || body == http.NoBody {
		rec.end(nil)
		return body.Close()
	}
	var once sync.Once
	closeBody := func() { once.Do(func() { body.Close() }) }
	done := make(chan error, 1)
	go func() {
		var err error
		if read > 0 {
			if _, err = io.CopyN(rec, body, read); err == io.EOF {
				err = nil
			}
		} else {
			_, err = io.Copy(rec, body)
			if err == nil && declared > 0 && rec.size != declared {
				err = fmt.Errorf("http: ContentLength=%d with Body length %d", declared, rec.size)
			}
		}
		rec.end(err)
		closeBody()
		done <- err
	}()
	select {
	case err := <-done:
		return err
	case <-ctx.Done():
		closeBody()
		return context.Cause(ctx)
	}
}

// sleep waits until d is over, ctx is done or closed is closed. A nil channel is never
// closed.
func sleep(ctx context.Context, closed <-chan struct{}, d time.Duration) error {
	if d <= 0 {
		return context.Cause(ctx)
	}
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-closed:
		return errBodyClosed
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

var errBodyClosed = errors.New("http: read on closed response body")

// responseBody is the body of a response. It ends with the step's failure, if any.
type responseBody struct {
	transport *Transport
	ctx       context.Context
	drip      time.Duration
	end       error // returned after unread; nil means to stall

	mu     sync.Mutex // one Read at a time
	unread string

	once   sync.Once
	closed chan struct{}
	ended  sync.Once
}

// Read implements io.Reader.
func (b *responseBody) Read(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	select {
	case <-b.closed:
		return 0, errBodyClosed
	default:
	}
	if err := context.Cause(b.ctx); err != nil {
		return 0, err
	}
	if len(p) == 0 {
		return 0, nil
	}
	if b.unread == "" {
		if b.end != nil {
			b.through()
			return 0, b.end
		}
		select {
		case <-b.closed:
			return 0, errBodyClosed
		case <-b.ctx.Done():
			return 0, context.Cause(b.ctx)
		}
	}
	if b.drip > 0 {
		p = p[:1]
		if err := sleep(b.ctx, b.closed, b.drip); err != nil {
			return 0, err
		}
	}
	n := copy(p, b.unread)
	b.unread = b.unread[n:]
	return n, nil
}

// Close implements io.Closer. It ends a Read that is blocked.
func (b *responseBody) Close() error {
	b.once.Do(func() { close(b.closed) })
	b.through()
	return nil
}

// through counts the body as closed.
func (b *responseBody) through() {
	b.ended.Do(func() { b.transport.open.Add(-1) })
}

// error returns the error that a client gets for the step's failure.
func (s *Step) error() error {
	if s.Err != nil {
		return s.Err
	}
	switch s.Fault {
	case Refuse:
		return &net.OpError{Op: "dial", Net: "tcp", Err: os.NewSyscallError("connect", syscall.ECONNREFUSED)}
	case Reset:
		return &net.OpError{Op: "read", Net: "tcp", Err: os.NewSyscallError("read", syscall.ECONNRESET)}
	case Close:
		return io.EOF
	case RefuseStream:
		return resetByPeer(http2.ErrCodeRefusedStream)
	case ResetStream:
		return resetByPeer(http2.ErrCode(s.Code))
	case GoAway:
		return errors.New("http2: Transport received Server's graceful shutdown GOAWAY")
	}
	return fmt.Errorf("retrytest: unknown fault %q", s.Fault)
}

// streamError is the error of net/http for a stream that the peer has reset. Like that
// error, it assigns itself in errors.As to any struct type with the same fields.
type streamError struct{ http2.StreamError }

func (e streamError) As(target any) bool {
	to, from := reflect.ValueOf(target).Elem(), reflect.ValueOf(e.StreamError)
	if to.Kind() != reflect.Struct || to.NumField() != from.NumField() {
		return false
	}
	for i := range to.NumField() {
		if to.Type().Field(i).Name != from.Type().Field(i).Name || !from.Field(i).CanConvert(to.Field(i).Type()) {
			return false
		}
	}
	for i := range to.NumField() {
		to.Field(i).Set(from.Field(i).Convert(to.Field(i).Type()))
	}
	return true
}

var errFromPeer = errors.New("received from peer")

// resetByPeer returns the error of a stream that the peer has reset with code.
func resetByPeer(code http2.ErrCode) error {
	return streamError{http2.StreamError{StreamID: 1, Code: code, Cause: errFromPeer}}
}

func statusLine(code int) string {
	if text := http.StatusText(code); text != "" {
		return fmt.Sprintf("%d %s", code, text)
	}
	return fmt.Sprint(code)
}

func methodOf(req *http.Request) string {
	if req.Method == "" {
		return http.MethodGet
	}
	return req.Method
}
