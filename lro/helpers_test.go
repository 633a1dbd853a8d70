package lro_test

import (
	"context"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/a0b132ce/retryablehttp/lro"
	"github.com/a0b132ce/retryablehttp/pipeline"
)

// widget is the result of the operations.
type widget struct {
	Size int    `json:"size"`
	Name string `json:"name"`
}

const (
	home   = "https://svc.example"
	orig   = home + "/orig"
	loc    = home + "/loc"
	status = home + "/st"
)

// step is one response of a service.
type step func(*http.Request) (*http.Response, error)

// answer responds with a status, a body and header fields (name, value, …).
func answer(code int, body string, header ...string) step {
	return func(r *http.Request) (*http.Response, error) {
		resp := &http.Response{StatusCode: code, Header: http.Header{}, Body: io.NopCloser(strings.NewReader(body)), Request: r}
		for i := 0; i+1 < len(header); i += 2 {
			resp.Header.Set(header[i], header[i+1])
		}
		return resp, nil
	}
}

func failure(err error) step {
	return func(*http.Request) (*http.Response, error) { return nil, err }
}

// service is a transport in memory. It responds with its steps in order and repeats the last.
type service struct {
	t     testing.TB
	steps []step
	sent  []*http.Request
	at    []time.Time
	open  int // bodies that are not closed
}

func serve(t testing.TB, steps ...step) *service {
	s := &service{t: t, steps: steps}
	t.Cleanup(func() { assert.Zero(t, s.open, "bodies that were not closed") })
	return s
}

func (s *service) RoundTrip(r *http.Request) (*http.Response, error) {
	if err := r.Context().Err(); err != nil {
		return nil, err
	}
	s.sent, s.at = append(s.sent, r), append(s.at, time.Now())
	next := s.steps[0]
	if len(s.steps) > 1 {
		s.steps = s.steps[1:]
	}
	resp, err := next(r)
	if resp != nil && resp.Body != nil {
		s.open++
		resp.Body = &trackedBody{ReadCloser: resp.Body, s: s}
	}
	return resp, err
}

type trackedBody struct {
	io.ReadCloser
	s      *service
	closed bool
}

func (b *trackedBody) Close() error {
	if !b.closed {
		b.closed = true
		b.s.open--
	}
	return b.ReadCloser.Close()
}

// took returns the methods and URLs of the requests since the last call. A GET is shown as
// its URL.
func (s *service) took() []string {
	took := []string{}
	for _, r := range s.sent {
		if r.Method == http.MethodGet {
			took = append(took, r.URL.String())
		} else {
			took = append(took, r.Method+" "+r.URL.String())
		}
	}
	s.sent = nil
	return took
}

// gaps returns the times between the requests.
func (s *service) gaps() []time.Duration {
	var gaps []time.Duration
	for i := 1; i < len(s.at); i++ {
		gaps = append(gaps, s.at[i].Sub(s.at[i-1]))
	}
	return gaps
}

func (s *service) pipeline(policies ...pipeline.Policy) pipeline.Pipeline {
	return pipeline.New(&http.Client{Transport: s}, policies...)
}

// initial sends the request that starts the operation.
func initial(t testing.TB, pl pipeline.Pipeline, method, url string) *http.Response {
	t.Helper()
	req, err := pipeline.NewRequest(context.Background(), method, url)
	require.NoError(t, err)
	resp, err := pl.Do(req)
	require.NoError(t, err)
	return resp
}

// begin starts an operation at orig.
func begin(t testing.TB, s *service, method string, opts *lro.Options[widget]) *lro.Poller[widget] {
	t.Helper()
	pl := s.pipeline()
	p, err := lro.New(initial(t, pl, method, orig), pl, opts)
	require.NoError(t, err)
	s.took()
	return p
}

// quick waits for a millisecond only.
var quick = &lro.WaitOptions{Interval: time.Millisecond}

// codeOf returns the code of the service in an error.
func codeOf(t testing.TB, err error) string {
	t.Helper()
	var e *pipeline.ResponseError
	require.ErrorAs(t, err, &e)
	return e.Code
}
