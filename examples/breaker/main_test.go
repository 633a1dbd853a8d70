package main

import (
	"context"
	"errors"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/failsafe-go/failsafe-go/circuitbreaker"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// Example runs the program, whose waits take some 400 ms of real time.
func Example() {
	main()
	// Output:
	// Each call makes up to 4 attempts. The breaker opens after 3 failures in a row.
	//
	// The service is down, breaker inside the retries
	//   call 1: requests sent: 3, result: giving up after 4 attempt(s): circuit breaker open
	//   call 2: requests sent: 0, result: giving up after 1 attempt(s): circuit breaker open
	//
	// The service is down, breaker around the retries
	//   call 1: requests sent: 4, result: giving up after 4 attempt(s): unexpected HTTP status 503 Service Unavailable
	//   call 2: requests sent: 4, result: giving up after 4 attempt(s): unexpected HTTP status 503 Service Unavailable
	//   call 3: requests sent: 4, result: giving up after 4 attempt(s): unexpected HTTP status 503 Service Unavailable
	//   call 4: requests sent: 0, result: circuit breaker open
	//
	// The service fails 3 requests, breaker inside the retries
	//   call 1: requests sent: 3, result: giving up after 4 attempt(s): circuit breaker open
	//   call 2: requests sent: 0, result: giving up after 1 attempt(s): circuit breaker open
	//
	// The service fails 3 requests, breaker around the retries
	//   call 1: requests sent: 4, result: 200 OK
	//   call 2: requests sent: 1, result: 200 OK
	//
	// The service fails 4 requests, breaker inside the retries, open for less than a wait
	//   call 1: requests sent: 4, result: giving up after 4 attempt(s): unexpected HTTP status 503 Service Unavailable
	//   call 2: requests sent: 1, result: 200 OK
}

func TestRefusedRequestIsNotSentAndItsBodyIsClosed(t *testing.T) {
	sent := false
	b := &breaker{transportFunc(func(*http.Request) (*http.Response, error) {
		sent = true
		return nil, errors.New("no response")
	}), newState(time.Minute), circuitbreaker.ErrOpen}
	b.state.Open()
	body := &closer{Reader: strings.NewReader("one book")}
	req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, "http://shop.test/orders", body)
	require.NoError(t, err)

	_, err = b.RoundTrip(req)

	require.ErrorIs(t, err, circuitbreaker.ErrOpen)
	assert.False(t, sent)
	assert.True(t, body.closed)
}

func TestOneResultEndsTheHalfOpenState(t *testing.T) {
	for _, test := range []struct {
		name string
		resp *http.Response
		err  error
		want circuitbreaker.State
	}{
		{"response", &http.Response{StatusCode: http.StatusNotFound}, nil, circuitbreaker.ClosedState},
		{"server error", &http.Response{StatusCode: http.StatusInternalServerError}, nil, circuitbreaker.OpenState},
		{"canceled by the caller", nil, context.Canceled, circuitbreaker.OpenState},
	} {
		t.Run(test.name, func(t *testing.T) {
			b := &breaker{transportFunc(func(*http.Request) (*http.Response, error) {
				return test.resp, test.err
			}), newState(time.Minute), circuitbreaker.ErrOpen}
			b.state.HalfOpen()
			req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "http://shop.test/", nil)
			require.NoError(t, err)

			resp, err := b.RoundTrip(req)

			assert.Same(t, test.resp, resp)
			assert.Equal(t, test.err, err)
			assert.Equal(t, test.want, b.state.State())
		})
	}
}

type transportFunc func(*http.Request) (*http.Response, error)

func (f transportFunc) RoundTrip(req *http.Request) (*http.Response, error) { return f(req) }

type closer struct {
	io.Reader
	closed bool
}

func (c *closer) Close() error {
	c.closed = true
	return nil
}
