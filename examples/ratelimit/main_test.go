package main

import (
	"context"
	"io"
	"net/http"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"
	"golang.org/x/time/rate"

	"github.com/a0b132ce/retryablehttp"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// Over a socket the times vary by some milliseconds.
func TestOutputInVirtualTime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var out strings.Builder
		requests := 0
		require.NoError(t, run(&out, transportFunc(func(req *http.Request) (*http.Response, error) {
			requests++
			if requests%2 == 1 {
				return &http.Response{StatusCode: http.StatusServiceUnavailable}, nil
			}
			return service.RoundTrip(req)
		}), "http://service.test"))

		assert.Equal(t, `4 calls, one token every 50ms. The first attempt of each call fails. Requests are sent at
limiter below the retries: [0s 50ms 100ms 150ms 200ms 250ms 300ms 350ms]
limiter above the retries: [0s 10ms 50ms 60ms 100ms 110ms 150ms 160ms]
`, out.String())
	})
}

func TestRequestBeforeItsTokenIsAnError(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		assert.Error(t, show(io.Discard, "limiter above the retries", above, service, "http://service.test", 4*interval))
	})
}

// The waits count as the package comment says.
func TestWaitForATokenCountsTowardsLimits(t *testing.T) {
	for _, test := range []struct {
		name  string
		order func(*retryablehttp.Client, http.RoundTripper) http.RoundTripper
		limit func(*retryablehttp.Client)
		want  error
	}{
		{"below, AttemptTimeout", limitBelow, limitAttempts, retryablehttp.ErrAttemptTimeout},
		{"below, MaxElapsedTime", limitBelow, limitCall, retryablehttp.ErrMaxElapsedTime},
		{"above, AttemptTimeout", limitAbove, limitAttempts, nil},
		{"above, MaxElapsedTime", limitAbove, limitCall, nil},
	} {
		t.Run(test.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				client := retryablehttp.NewClient()
				client.RetryMax = 1
				test.limit(client)
				transport := test.order(client, service)
				standard := &http.Client{Transport: transport}

				_, err := standard.Get("http://service.test") // takes the first token
				require.NoError(t, err)
				_, err = standard.Get("http://service.test")
				assert.ErrorIs(t, err, test.want)
			})
		})
	}
}

func limitBelow(client *retryablehttp.Client, base http.RoundTripper) http.RoundTripper {
	return &retryablehttp.RoundTripper{Client: client, Base: &limited{base, rate.NewLimiter(rate.Every(time.Minute), 1)}}
}

func limitAbove(client *retryablehttp.Client, base http.RoundTripper) http.RoundTripper {
	return &limited{&retryablehttp.RoundTripper{Client: client, Base: base}, rate.NewLimiter(rate.Every(time.Minute), 1)}
}

func limitAttempts(client *retryablehttp.Client) { client.AttemptTimeout = time.Second }
func limitCall(client *retryablehttp.Client)     { client.MaxElapsedTime = time.Second }

func TestDeadlineBeforeTheNextTokenIsNotRetried(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		transport := below(service)
		resp, err := transport.RoundTrip(newRequest(t, t.Context(), nil))
		require.NoError(t, err)
		resp.Body.Close()
		ctx, cancel := context.WithTimeout(t.Context(), interval/2)
		defer cancel()
		start := time.Now()

		_, err = transport.RoundTrip(newRequest(t, ctx, nil))

		var giveUp *retryablehttp.GiveUpError
		require.ErrorAs(t, err, &giveUp)
		assert.Equal(t, 1, giveUp.Attempts)
		assert.Equal(t, retryablehttp.ReasonNotRetryable, giveUp.Reason)
		assert.Zero(t, time.Since(start))
	})
}

func TestBodyIsClosedIfThereIsNoToken(t *testing.T) {
	never := &limited{service, rate.NewLimiter(0, 0)}
	body := &closer{Reader: strings.NewReader("one book")}

	_, err := never.RoundTrip(newRequest(t, t.Context(), body))

	require.Error(t, err)
	assert.True(t, body.closed)
}

func newRequest(t *testing.T, ctx context.Context, body io.Reader) *http.Request {
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, "http://service.test/orders", body)
	require.NoError(t, err)
	return req
}

var service transportFunc = func(*http.Request) (*http.Response, error) {
	return &http.Response{StatusCode: http.StatusOK, Body: http.NoBody}, nil
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
