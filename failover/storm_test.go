package failover_test

import (
	"math/rand/v2"
	"net/http"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/a0b132ce/retryablehttp"
	"github.com/a0b132ce/retryablehttp/failover"
)

// storm is what a hundred seconds of calls came to.
type storm struct {
	calls, failed, retried int
	p50, p99               time.Duration
}

// runStorm sends 50 requests a second for 100 s to three endpoints that take 10 to 20 ms.
// From 20 s to 60 s one of them
// does what fault says, if it is not nil.
func runStorm(t *testing.T, mode failover.Mode, method string, fault roundTripFunc) storm {
	net := newNetwork()
	random := rand.New(rand.NewPCG(1, 2))
	var mu sync.Mutex
	serve := func(req *http.Request) (*http.Response, error) {
		mu.Lock()
		d := 10*time.Millisecond + time.Duration(random.Int64N(int64(10*time.Millisecond)))
		mu.Unlock()
		return after(d, status(200))(req)
	}
	for _, host := range []string{"a", "b", "c"} {
		net.set(host, serve)
	}
	transport := &failover.Transport{Service: "service", Base: net, Mode: mode}
	require.NoError(t, transport.SetEndpoints(endpoints("a", "b", "c")...))
	client, attempts := calls(transport)
	client.CheckRetry = retryablehttp.SafeRetryPolicy
	client.AttemptTimeout = 500 * time.Millisecond

	var result storm
	var times []time.Duration
	var wg sync.WaitGroup
	for i := range 5000 {
		switch i {
		case 1000:
			if fault != nil {
				net.set("a", fault)
			}
		case 3000:
			net.set("a", serve)
		}
		wg.Go(func() {
			start := time.Now()
			req, err := retryablehttp.NewRequest(method, "http://service/", nil)
			assert.NoError(t, err)
			resp, err := client.Do(req)
			mu.Lock()
			defer mu.Unlock()
			times = append(times, time.Since(start))
			if err != nil {
				result.failed++
				return
			}
			resp.Body.Close()
		})
		time.Sleep(20 * time.Millisecond)
	}
	wg.Wait()
	slices.Sort(times)
	result.calls = len(times)
	result.retried = int(attempts.Load()) - result.calls
	result.p50, result.p99 = times[len(times)/2], times[len(times)*99/100]
	assert.Equal(t, []bool{true, true, true}, well(transport), "it is back")
	return result
}

// One of three endpoints is dead for 40 seconds: no call fails, and hardly any is delayed.
// An endpoint that refuses connections costs no attempt. One that hangs costs an attempt of
// those that are sent to it before the first timeout, and of each probe.
func TestStorm(t *testing.T) {
	for _, mode := range []failover.Mode{failover.Ordered, failover.RoundRobin, failover.LeastLoaded} {
		run := func(method string, fault roundTripFunc) (result storm) {
			synctest.Test(t, func(t *testing.T) { result = runStorm(t, mode, method, fault) })
			t.Logf("mode %d: %+v", mode, result)
			return result
		}
		calm := run("GET", nil)
		for _, tc := range []struct {
			method  string
			fault   roundTripFunc
			retried int // at most
		}{
			{"GET", refuse, 0},
			{"POST", refuse, 0},
			{"GET", hang, calm.calls / 100},
		} {
			got := run(tc.method, tc.fault)
			assert.Equal(t, 5000, got.calls)
			assert.Zero(t, got.failed)
			assert.LessOrEqual(t, got.retried, tc.retried)
			assert.InDelta(t, calm.p99, got.p99, float64(500*time.Microsecond))
		}
	}
}
