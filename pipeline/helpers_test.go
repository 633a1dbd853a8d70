package pipeline_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/a0b132ce/retryablehttp"
	"github.com/a0b132ce/retryablehttp/pipeline"
)

// step is what a scripted transport does with one request.
type step struct {
	status int
	header http.Header
	body   string
	err    error
}

func header(pairs ...string) http.Header {
	h := http.Header{}
	for i := 0; i < len(pairs); i += 2 {
		h.Add(pairs[i], pairs[i+1])
	}
	return h
}

// scripted is a RoundTripper that answers as its steps say; the last one repeats. It records
// what it gets.
type scripted struct {
	steps []step

	mu    sync.Mutex
	seen  []seen
	start time.Time
}

type seen struct {
	method, url string
	header      http.Header
	length      int64
	body        string
	at          time.Duration // since the first
}

func serve(steps ...step) *scripted { return &scripted{steps: steps} }

func (s *scripted) RoundTrip(r *http.Request) (*http.Response, error) {
	got := seen{method: r.Method, url: r.URL.String(), header: r.Header.Clone(), length: r.ContentLength}
	if r.Body != nil {
		body, err := io.ReadAll(r.Body)
		r.Body.Close()
		if err != nil {
			return nil, err
		}
		got.body = string(body)
	}
	if err := r.Context().Err(); err != nil {
		return nil, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.start.IsZero() {
		s.start = time.Now()
	}
	got.at = time.Since(s.start)
	next := s.steps[min(len(s.seen), len(s.steps)-1)]
	s.seen = append(s.seen, got)
	if next.err != nil {
		return nil, next.err
	}
	h := next.header.Clone()
	if h == nil {
		h = http.Header{}
	}
	return &http.Response{
		StatusCode: next.status, Status: fmt.Sprint(next.status, " ", http.StatusText(next.status)), Header: h, Request: r,
		Body: io.NopCloser(strings.NewReader(next.body)), ContentLength: int64(len(next.body)),
	}, nil
}

func (s *scripted) tries() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.seen)
}

func (s *scripted) gaps() []time.Duration {
	var gaps []time.Duration
	for i := 1; i < len(s.seen); i++ {
		gaps = append(gaps, s.seen[i].at-s.seen[i-1].at)
	}
	return gaps
}

// over returns a pipeline of policies over a RoundTripper.
func over(rt http.RoundTripper, policies ...pipeline.Policy) pipeline.Pipeline {
	return pipeline.New(&http.Client{Transport: rt}, policies...)
}

// fast returns a Retry with the default rules that hardly waits.
func fast(change ...func(*retryablehttp.Client)) pipeline.Retry {
	c := &retryablehttp.Client{RetryMax: 3, RetryWaitMin: time.Millisecond, RetryWaitMax: 2 * time.Millisecond}
	for _, f := range change {
		f(c)
	}
	return pipeline.Retry{Client: c}
}

func newRequest(t testing.TB, method, url string, options ...pipeline.CallOption) *pipeline.Request {
	t.Helper()
	req, err := pipeline.NewRequest(context.Background(), method, url, options...)
	require.NoError(t, err)
	return req
}

// withKey makes a request safe to repeat.
func withKey(req *pipeline.Request) *pipeline.Request {
	req.Raw().Header.Set("Idempotency-Key", "k1")
	return req
}

// closeCounter is a request body that counts its closes and fails when it is used afterwards.
type closeCounter struct {
	*bytes.Reader
	mu     sync.Mutex
	closes int
}

func counted(text string) *closeCounter {
	return &closeCounter{Reader: bytes.NewReader([]byte(text))}
}

func (c *closeCounter) ReadAt(p []byte, off int64) (int, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.closes > 0 {
		return 0, errors.New("read after close")
	}
	return c.Reader.ReadAt(p, off)
}

func (c *closeCounter) Close() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.closes++
	return nil
}

func (c *closeCounter) closed() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.closes
}

// seekOnly is a body that can be read from one place at a time.
type seekOnly struct{ *closeCounter }

func (s seekOnly) ReadAt() {} // hides the ReadAt of the reader

func text(t testing.TB, resp *http.Response) string {
	t.Helper()
	body, err := io.ReadAll(resp.Body)
	require.NoError(t, err)
	require.NoError(t, resp.Body.Close())
	return string(body)
}
