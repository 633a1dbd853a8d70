package hedge_test

import (
	"context"
	"errors"
	"io"
	"net/http"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/a0b132ce/retryablehttp"
	"github.com/a0b132ce/retryablehttp/hedge"
)

var errLost = errors.New("connection lost")

// anyLoad allows a second attempt for every request of a test to http://host.
func anyLoad() *retryablehttp.Budget { return anyLoadFor("host") }

func anyLoadFor(host string) *retryablehttp.Budget {
	b := &retryablehttp.Budget{Ratio: 1, MinPerSecond: -1}
	for range 100 {
		b.Deposit(host)
	}
	return b
}

// step is what happens to one attempt. The zero step is a 200 at once.
type step struct {
	after  time.Duration // until the response
	status int           // 0 means 200
	err    error
	panics any
	body   string
	drip   time.Duration // until each byte of the body
}

// service is a transport in memory. It responds to the attempts one after the other; the
// last step repeats. It heeds the context of each request.
type service struct {
	steps []step

	mu       sync.Mutex
	attempts []*seen
	open     int // response bodies that were not closed
	idle     int // calls of CloseIdleConnections
}

// seen is what a service has seen of an attempt.
type seen struct {
	req  *http.Request
	time time.Time
	body string
}

func newService(steps ...step) *service { return &service{steps: steps} }

func (s *service) RoundTrip(req *http.Request) (*http.Response, error) {
	a := &seen{req: req, time: time.Now()}
	s.mu.Lock()
	step := s.steps[min(len(s.attempts), len(s.steps)-1)]
	s.attempts = append(s.attempts, a)
	s.mu.Unlock()
	if req.Body != nil {
		defer req.Body.Close()
		data, err := io.ReadAll(req.Body)
		if err != nil {
			return nil, err
		}
		a.body = string(data)
	}
	if err := wait(req.Context(), step.after); err != nil {
		return nil, err
	}
	if step.panics != nil {
		panic(step.panics)
	}
	if step.err != nil {
		return nil, step.err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.open++
	return &http.Response{
		StatusCode: max(step.status, 200),
		Body:       &responseBody{service: s, ctx: req.Context(), drip: step.drip, unread: step.body},
		Request:    req,
	}, nil
}

func (s *service) CloseIdleConnections() { s.idle++ }

func (s *service) seen() []*seen {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.attempts
}

// over checks that the contexts of all attempts have ended and that all response bodies
// were closed.
func (s *service) over(t testing.TB) {
	t.Helper()
	synctest.Wait()
	assert.Zero(t, s.openBodies(), "response bodies that were not closed")
	for i, a := range s.seen() {
		assert.Error(t, a.req.Context().Err(), "the context of attempt %d goes on", i+1)
	}
}

func (s *service) openBodies() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.open
}

// responseBody is the body of a response, which ends early if the context does.
type responseBody struct {
	service *service
	ctx     context.Context
	drip    time.Duration
	unread  string
	closed  sync.Once
}

func (b *responseBody) Read(p []byte) (int, error) {
	if err := wait(b.ctx, b.drip); err != nil {
		return 0, err
	}
	if b.unread == "" {
		return 0, io.EOF
	}
	if b.drip > 0 {
		p = p[:1]
	}
	n := copy(p, b.unread)
	b.unread = b.unread[n:]
	return n, nil
}

func (b *responseBody) Close() error {
	b.closed.Do(func() {
		b.service.mu.Lock()
		defer b.service.mu.Unlock()
		b.service.open--
	})
	return nil
}

func wait(ctx context.Context, d time.Duration) error {
	if ctx.Err() == nil && d > 0 {
		timer := time.NewTimer(d)
		defer timer.Stop()
		select {
		case <-timer.C:
		case <-ctx.Done():
		}
	}
	return context.Cause(ctx)
}

// roundTripFunc is a transport made of a function.
type roundTripFunc func(*http.Request) (*http.Response, error)

func (f roundTripFunc) RoundTrip(req *http.Request) (*http.Response, error) { return f(req) }

// requestBody is a request body that counts how often it is closed.
type requestBody struct {
	io.Reader
	mu     sync.Mutex
	closes int
}

func newRequestBody(data string) *requestBody { return &requestBody{Reader: strings.NewReader(data)} }

func (b *requestBody) Close() error {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.closes++
	return nil
}

func newRequest(t testing.TB, method string) *http.Request {
	req, err := http.NewRequest(method, "http://host/path?key=s3cret", nil)
	require.NoError(t, err)
	return req
}

// get sends a GET, reads the response to its end and returns its status and its body.
func get(t testing.TB, transport *hedge.Transport) (int, string) {
	t.Helper()
	resp, err := transport.RoundTrip(newRequest(t, "GET"))
	require.NoError(t, err)
	return read(t, resp)
}

func read(t testing.TB, resp *http.Response) (int, string) {
	t.Helper()
	data, err := io.ReadAll(resp.Body)
	require.NoError(t, err)
	require.NoError(t, resp.Body.Close())
	return resp.StatusCode, string(data)
}
