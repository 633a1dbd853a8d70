package retrytest_test

import (
	"encoding/json"
	"fmt"
	"net/http"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/a0b132ce/retryablehttp"
	"github.com/a0b132ce/retryablehttp/retrytest"
)

// stock is the code under test: it asks a service how many of an item there are. It
// takes its client as an argument, so that a test can replace the transport.
func stock(client *retryablehttp.Client, url string) (int, error) {
	resp, err := client.Get(url)
	if err != nil {
		return 0, fmt.Errorf("asking for the stock: %w", err)
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		return 0, fmt.Errorf("asking for the stock: status %d", resp.StatusCode)
	}
	var item struct{ Stock int }
	if err := json.NewDecoder(resp.Body).Decode(&item); err != nil {
		return 0, fmt.Errorf("reading the stock: %w", err)
	}
	return item.Stock, nil
}

// newTestClient returns a client with the settings of production. Only the transport
// differs.
func newTestClient(transport http.RoundTripper) *retryablehttp.Client {
	client := retryablehttp.NewClient()
	client.HTTPClient = &http.Client{Transport: transport}
	return client
}

// testStockSurvivesAnOutage waits for more than 30 s of virtual time, which take no real
// time: in a synctest bubble the clock jumps to the next timer as soon as every goroutine
// waits.
func testStockSurvivesAnOutage(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		service := retrytest.NewTransport(
			retrytest.Step{Fault: retrytest.Refuse},
			retrytest.Step{Status: 503, Header: http.Header{"Retry-After": {"30"}}, Body: "restarting"},
			retrytest.Step{Body: `{"stock": 7}`},
		)
		n, err := stock(newTestClient(service), "http://stock.example/7")
		require.NoError(t, err)
		assert.Equal(t, 7, n)

		attempts := service.Attempts()
		require.Len(t, attempts, 3)
		assert.Equal(t, "GET", attempts[2].Method)
		assert.Equal(t, "http://stock.example/7", attempts[2].URL)
		first := attempts[1].Time.Sub(attempts[0].Time) // the default backoff with its jitter
		assert.GreaterOrEqual(t, first, 1*time.Second)
		assert.LessOrEqual(t, first, 2*time.Second)
		assert.InDelta(t, 31.5, attempts[2].Time.Sub(attempts[1].Time).Seconds(), 1.5, "Retry-After, and up to a tenth more")
		assert.Zero(t, service.OpenBodies(), "response bodies that were not closed")
	})
}

// testStockGivesUp checks the error of a call whose retries are used up.
func testStockGivesUp(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		service := retrytest.NewTransport(retrytest.Step{Status: 500, Times: retrytest.Forever})
		_, err := stock(newTestClient(service), "http://stock.example/7")
		var giveUp *retryablehttp.GiveUpError
		require.ErrorAs(t, err, &giveUp)
		assert.Equal(t, 5, giveUp.Attempts)
		assert.Equal(t, retryablehttp.ReasonRetriesUsedUp, giveUp.Reason)
		assert.Len(t, service.Attempts(), 5)
	})
}

// The tests of code that retries run in virtual time. In your own test file their names
// begin with Test.
func ExampleTransport() {
	var t *testing.T
	testStockSurvivesAnOutage(t)
	testStockGivesUp(t)
}
