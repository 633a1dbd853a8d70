package main

import (
	"net/http"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/a0b132ce/retryablehttp"
	"github.com/a0b132ce/retryablehttp/retrytest"
)

// newTestClient has the defaults of production, so the tests are about them too.
// The transport is all that differs.
func newTestClient(transport http.RoundTripper) *retryablehttp.Client {
	client := retryablehttp.NewClient()
	client.HTTPClient = &http.Client{Transport: transport}
	return client
}

func TestStockSurvivesAnOutage(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		service := retrytest.NewTransport(
			retrytest.Step{Fault: retrytest.Refuse},
			retrytest.Step{Status: 503, Body: "restarting"},
			retrytest.Step{Body: `{"stock": 7}`},
		)
		start := time.Now()
		n, err := stock(newTestClient(service), "http://stock.example/7")
		require.NoError(t, err)
		assert.Equal(t, 7, n)
		assert.Len(t, service.Attempts(), 3)

		// These seconds did not pass: in a synctest bubble time jumps to the next
		// timer as soon as every goroutine waits. The waits are jittered: 1 to
		// 2 s and then 2 to 4 s.
		waited := time.Since(start)
		assert.GreaterOrEqual(t, waited, 3*time.Second)
		assert.LessOrEqual(t, waited, 6*time.Second)
	})
}

func TestStockGivesUp(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		service := retrytest.NewTransport(retrytest.Step{Status: 500, Times: retrytest.Forever})
		_, err := stock(newTestClient(service), "http://stock.example/7")
		var giveUp *retryablehttp.GiveUpError
		require.ErrorAs(t, err, &giveUp)
		assert.Equal(t, 5, giveUp.Attempts)
		assert.Equal(t, retryablehttp.ReasonRetriesUsedUp, giveUp.Reason)
	})
}

// Any http.RoundTripper can stand in for the service. This one is a function.
type transport func(*http.Request) (*http.Response, error)

func (t transport) RoundTrip(req *http.Request) (*http.Response, error) { return t(req) }

func TestStockObeysRetryAfter(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		start := time.Now()
		service := transport(func(req *http.Request) (*http.Response, error) {
			resp := &http.Response{StatusCode: 429, Header: http.Header{}, Body: http.NoBody, Request: req}
			if time.Since(start) < time.Minute {
				resp.Header.Set("Retry-After", "60")
				return resp, nil
			}
			resp.StatusCode = 404
			return resp, nil
		})
		_, err := stock(newTestClient(service), "http://stock.example/7")
		require.ErrorContains(t, err, "404")
		assert.Equal(t, time.Minute, time.Since(start))
	})
}
