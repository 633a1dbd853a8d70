package retryablehttp

import (
	"context"
	"math/rand/v2"
	"net"
	"net/http"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func TestGateHoldsBackOtherCallsAfterRetryAfter(t *testing.T) {
	for _, code := range []int{429, 503} {
		synctest.Test(t, func(t *testing.T) {
			h := newHost(unavailable(5*time.Millisecond, "Retry-After", "10"))
			h.respond = func(at time.Duration, req *http.Request) (*http.Response, error) {
				if at == 0 {
					return respond(req, code, "", "Retry-After", "10"), nil
				}
				return respond(req, 200, ""), nil
			}
			client := clientOf(h)
			client.Gate = new(Gate)
			client.Backoff = DefaultBackoff
			errs := spread(client, 50, 10*time.Millisecond, time.Minute)
			assert.Zero(t, failed(errs))
			assert.Equal(t, 1, h.until(10*time.Second))

			// They leave spread out: not two in the same millisecond.
			times := slices.Sorted(slices.Values(h.times))[1:]
			for i := 1; i < len(times); i++ {
				assert.Greater(t, times[i]-times[i-1], time.Millisecond)
			}
			assert.Less(t, times[len(times)-1], 20*time.Second)
		})
	}
}

// Clients that were told the same do not all come back at the same time.
func TestGatesOfManyClientsReopenSpreadOut(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var opened []time.Duration
		for range 100 {
			h := new(gateHost)
			h.close(time.Now(), pause{wait: time.Minute}, time.Hour, false)
			opened = append(opened, time.Until(h.closed))
		}
		assert.GreaterOrEqual(t, slices.Min(opened), time.Minute)
		assert.LessOrEqual(t, slices.Max(opened), 66*time.Second+time.Nanosecond)
		assert.Greater(t, slices.Max(opened)-slices.Min(opened), 4*time.Second)
	})
}

func TestGateLetsCallsFailFastThatHaveNoTime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHost(unavailable(time.Hour, "Retry-After", "30"))
		client := clientOf(h)
		client.Gate = new(Gate)
		client.RetryMax = 0
		_, err := client.Get("http://host/")
		require.Error(t, err)

		began := time.Now()
		errs := spread(client, 1, 0, 10*time.Second)
		var gaveUp *GiveUpError
		require.ErrorAs(t, errs[0], &gaveUp)
		assert.ErrorIs(t, errs[0], context.DeadlineExceeded)
		assert.Equal(t, ReasonDeadline, gaveUp.Reason)
		assert.Zero(t, gaveUp.Attempts)
		assert.ErrorContains(t, errs[0], "host accepts no requests for another 3")
		assert.Zero(t, time.Since(began))

		client.MaxElapsedTime = 10 * time.Second
		_, err = client.Get("http://host/")
		assert.ErrorIs(t, err, ErrMaxElapsedTime)
		assert.Zero(t, time.Since(began))
		assert.Len(t, h.times, 1)
	})
}

func TestGateIsClosedNoLongerThanRetryAfterMax(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		for _, header := range [][2]string{
			{"Retry-After", "99999999999999999999"},
			{"Retry-After", "Fri, 31 Dec 9999 23:59:59 GMT"},
			{"X-RateLimit-Reset", "253402300799"},
			{"RateLimit", `"x";r=0;t=1e300`},
			{"Retry-After-Ms", "1e308"},
		} {
			h := newHost(func(_ time.Duration, req *http.Request) (*http.Response, error) {
				return respond(req, 429, "", header[0], header[1]), nil
			})
			client := clientOf(h)
			client.Gate = new(Gate)
			client.RetryMax = 0
			client.RetryAfterMax = time.Minute
			_, err := client.Get("http://host/")
			require.Error(t, err)
			closed := client.Gate.State("host").Closed
			assert.Equal(t, time.Minute, closed+time.Since(h.start)-time.Millisecond, header)
		}
	})
}

func TestGateKeepsHostsApart(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHost(func(_ time.Duration, req *http.Request) (*http.Response, error) {
			if req.URL.Host == "busy" {
				return respond(req, 503, "", "Retry-After", "60"), nil
			}
			return respond(req, 200, ""), nil
		})
		client := clientOf(h)
		client.Gate, client.RetryMax = new(Gate), 0
		_, err := client.Get("http://busy/")
		require.Error(t, err)
		_, err = client.Get("http://idle/")
		require.NoError(t, err)
		assert.Equal(t, GateState{}, client.Gate.State("idle"))
		assert.NotZero(t, client.Gate.State("busy").Closed)
	})
}

// Without a word from the host the gate learns what it bears: first attempts wait too, so
// that next to nothing is spent on refusals, and all calls end well.
func TestGateLearnsTheRateThatAHostBears(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var mu sync.Mutex
		var work time.Duration // when the server has done all
		refused := 0
		h := newHost(nil)
		h.respond = func(at time.Duration, req *http.Request) (*http.Response, error) {
			mu.Lock()
			defer mu.Unlock()
			each := 10 * time.Millisecond // 100/s
			if 2*time.Second <= at && at < 6*time.Second {
				each *= 2 // 50/s
			}
			work = max(work, at)
			if work > at+5*each {
				work += each / 2
				refused++
				return respond(req, 503, ""), nil
			}
			work += each
			return respond(req, 200, ""), nil
		}
		client := clientOf(h)
		client.Gate, client.RetryMax = new(Gate), 10
		client.Backoff = ExponentialJitterBackoff
		client.RetryWaitMin, client.RetryWaitMax = 500*time.Millisecond, 30*time.Second
		errs := spread(client, 1000, 12500*time.Microsecond, 15*time.Second) // 80/s for 12.5 s
		assert.Zero(t, failed(errs))
		assert.Less(t, refused, 300) // some 5,000 without a Gate, and 813 calls fail
		served := h.until(6*time.Second) - h.until(2*time.Second)
		assert.Greater(t, served, 4*40)
		time.Sleep(gateMemory + 1)
		assert.Equal(t, GateState{}, client.Gate.State("host"))
	})
}

// failingAtRandom answers a share of the requests with 503, and the others with 200.
func failingAtRandom(seed uint64, share float64, header ...string) func(time.Duration, *http.Request) (*http.Response, error) {
	var mu sync.Mutex
	random := rand.New(rand.NewPCG(seed, 2))
	return func(_ time.Duration, req *http.Request) (*http.Response, error) {
		mu.Lock()
		defer mu.Unlock()
		if random.Float64() < share {
			return respond(req, 503, "", header...), nil
		}
		return respond(req, 200, ""), nil
	}
}

// Refusals that do not come from load are left to the retries: fewer attempts would not
// help.
func TestGateDoesNotHoldBackWhereThatIsOfNoUse(t *testing.T) {
	for _, share := range []float64{0.03, 0.1, 0.33, 0.6} {
		synctest.Test(t, func(t *testing.T) {
			h := newHost(failingAtRandom(1, share))
			client := clientOf(h)
			client.Gate, client.RetryMax = new(Gate), 100
			client.Backoff = func(_, _ time.Duration, _ int, _ *http.Response) time.Duration { return 10 * time.Millisecond }
			began := time.Now()
			errs := spread(client, 2000, 2500*time.Microsecond, 10*time.Second) // 400/s for 5 s
			assert.Zero(t, failed(errs), share)
			assert.Less(t, time.Since(began), 6*time.Second, share)
		})
	}
}

func TestGateTakesConnectionsThatAreRefusedAsRefusals(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHost(func(at time.Duration, req *http.Request) (*http.Response, error) {
			if at < time.Second || at >= 3*time.Second {
				return respond(req, 200, ""), nil
			}
			return nil, &net.OpError{Op: "dial", Net: "tcp", Err: connRefused}
		})
		client := clientOf(h)
		client.Gate, client.RetryMax = new(Gate), 10
		client.Backoff = func(_, _ time.Duration, _ int, _ *http.Response) time.Duration { return 100 * time.Millisecond }
		errs := spread(client, 500, 10*time.Millisecond, 10*time.Second) // 100/s for 5 s
		assert.Zero(t, failed(errs))
		assert.Less(t, h.until(3*time.Second)-h.until(time.Second), 60) // of 200 first attempts
	})
}

func TestGateForgetsAHostThatNobodyUses(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := new(gateHost)
		for range 10 {
			h.observe(time.Now(), time.Now(), resultRefused)
			time.Sleep(gateInterval)
		}
		require.True(t, h.limited)
		time.Sleep(gateMemory + 1)
		assert.Nil(t, h.enter(time.Now(), 0))
		assert.False(t, h.watched.Load())
	})
}

// A few results do not tell load from chance, so a call that has waited for long leaves.
func TestGateWithFewRequestsHoldsACallBackOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := new(gateHost)
		for range 3 {
			h.observe(time.Now(), time.Now(), resultRefused)
			time.Sleep(gateInterval)
		}
		require.True(t, h.limited)
		assert.NotNil(t, h.enter(time.Now(), time.Hour), "it serves nothing")
		h.observe(time.Now(), time.Now(), resultServed)
		assert.NotNil(t, h.enter(time.Now(), 0))
		assert.Nil(t, h.enter(time.Now(), gatePatience*time.Second))
		h.timer.Stop()
	})
}

func TestCanceledCallLeavesTheGate(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHost(unavailable(time.Hour, "Retry-After", "30"))
		client := clientOf(h)
		client.Gate, client.RetryMax = new(Gate), 0
		_, err := client.Get("http://host/")
		require.Error(t, err)
		ctx, cancel := context.WithCancel(t.Context())
		time.AfterFunc(time.Second, cancel)
		req, err := NewRequestWithContext(ctx, "POST", "http://host/", plainReader{newOnceSource("data")})
		require.NoError(t, err)
		began := time.Now()
		_, err = client.Do(req)
		assert.ErrorIs(t, err, context.Canceled)
		assert.Equal(t, time.Second, time.Since(began))
		assert.Zero(t, client.Gate.State("host").Waiting)
	})
}

func TestGateAllocatesNothingWhileAHostIsWell(t *testing.T) {
	client := NewClient()
	client.HTTPClient = &http.Client{Transport: registered(still(200))}
	req, err := NewRequest("GET", "http://host/", nil)
	require.NoError(t, err)
	count := func() float64 {
		return testing.AllocsPerRun(100, func() {
			if _, err := client.Do(req); err != nil {
				t.Error(err)
			}
		})
	}
	without := count()
	client.Gate, client.Budget = new(Gate), new(Budget)
	assert.Equal(t, without, count())
}

func BenchmarkGate(b *testing.B) {
	gate := new(Gate)
	b.RunParallel(func(pb *testing.PB) {
		for pb.Next() {
			h := gate.of("host")
			at := time.Now()
			h.enter(at, 0)
			h.observe(at, at, resultServed)
		}
	})
}

func TestPauseOf(t *testing.T) {
	synctest.Test(t, func(t *testing.T) { // the bubble's clock starts at 946684800
		for _, tc := range []struct {
			refused bool
			header  []string
			want    pause
			ok      bool
		}{
			{true, nil, pause{}, false},
			{true, []string{"Retry-After", "7"}, pause{wait: 7 * time.Second}, true},
			{true, []string{"Retry-After", "-7"}, pause{}, false},
			{true, []string{"Retry-After-Ms", "150"}, pause{wait: 150 * time.Millisecond}, true},
			{true, []string{"Retry-After", "7", "Retry-After-Ms", "150"}, pause{wait: 7 * time.Second}, true},
			{true, []string{"RateLimit", `"a";r=0;t=30`}, pause{wait: 30 * time.Second}, true},
			{true, []string{"RateLimit", `"a";r=5;t=30`}, pause{}, false},
			{true, []string{"RateLimit-Reset", "12", "RateLimit-Remaining", "0"}, pause{wait: 12 * time.Second}, true},
			{true, []string{"X-RateLimit-Reset", "12", "X-RateLimit-Remaining", "4999"}, pause{}, false},
			{true, []string{"X-RateLimit-Reset", "946684700"}, pause{wait: 0}, true},
			{true, []string{"RateLimit", `"a";r=0;t=30`, "RateLimit-Policy", `"a";q=1e308;w=1e-308`}, pause{wait: 30 * time.Second}, true},
			{true, []string{"RateLimit", `"a";r=5;t=30, "b";r=0;t=10`}, pause{wait: 10 * time.Second}, true},
			{true, []string{"RateLimit", `"a";r=0;t=30, "b";r=0;t=10`}, pause{wait: 30 * time.Second}, true},
			{true, []string{"RateLimit", `"a";r=0;t=30`, "RateLimit-Policy", `"b";q=1;w=1, "a";q=100;w=50`}, pause{30 * time.Second, 2}, true},
			{true, []string{"RateLimit", `"a";r=0;t=30`, "RateLimit-Policy", `"a";q=100;w=0`}, pause{wait: 30 * time.Second}, true},
			{true, []string{"RateLimit", "limit=100, remaining=0, reset=30"}, pause{wait: 30 * time.Second}, true},
			{true, []string{"RateLimit", "nonsense"}, pause{}, false},
			{true, []string{"RateLimit", `"a";r=-1;t=NaN`}, pause{}, false},
			{true, []string{"RateLimit-Reset", "12"}, pause{wait: 12 * time.Second}, true},
			{true, []string{"X-RateLimit-Reset", "12.5"}, pause{wait: 12500 * time.Millisecond}, true},
			{true, []string{"X-RateLimit-Reset", "1e400"}, pause{}, false},
			{true, []string{"X-RateLimit-Reset", "1000000000"}, pause{wait: 53315200 * time.Second}, true},
			{false, []string{"Retry-After", "7"}, pause{}, false},
			{false, []string{"X-RateLimit-Reset", "12", "X-RateLimit-Remaining", "0"}, pause{}, false},
			{false, []string{"RateLimit", `"a";r=5;t=30`}, pause{}, false},
			{false, []string{"RateLimit", `"a";r=0;t=30`}, pause{wait: 30 * time.Second}, true},
			{false, []string{"RateLimit", "limit=100, remaining=0, reset=30"}, pause{wait: 30 * time.Second}, true},
			{false, []string{"RateLimit", "reset=30"}, pause{}, false},
		} {
			got, ok := pauseOf(respond(nil, 429, "", tc.header...), tc.refused)
			assert.Equal(t, tc.ok, ok, "%+v", tc)
			assert.Equal(t, tc.want, got, "%+v", tc)
		}
	})
}

func FuzzRateLimit(f *testing.F) {
	f.Add(`"a";r=0;t=30`, `"a";q=100;w=50`)
	f.Add("limit=100, remaining=0, reset=30", "")
	f.Add(`;;,=;r;t=,"`, `q=w`)
	f.Fuzz(func(t *testing.T, limit, policy string) {
		header := http.Header{"Ratelimit": {limit}, "Ratelimit-Policy": {policy}}
		p, ok := rateLimitOf(header)
		if ok && (p.wait < 0 || !(p.rate >= 0) || !(p.remaining >= 0)) {
			t.Errorf("%+v", p)
		}
	})
}

// BenchmarkClientWithGate measures calls on a stub by all processors, with and without a
// Gate and a Budget.
func BenchmarkClientWithGate(b *testing.B) {
	for name, client := range map[string]*Client{
		"without": {},
		"gate":    {Gate: new(Gate)},
		"both":    {Gate: new(Gate), Budget: new(Budget)},
	} {
		client.HTTPClient = &http.Client{Transport: registered(still(200))}
		b.Run(name, func(b *testing.B) {
			b.RunParallel(func(pb *testing.PB) {
				req, err := NewRequest("GET", "http://host/", nil)
				for pb.Next() && err == nil {
					_, err = client.Do(req)
				}
				if err != nil {
					b.Error(err)
				}
			})
		})
	}
}

// A program that makes one call after the other gets its rate back after a pause.
func TestGateLetsASequentialProgramRecover(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHost(unavailable(1, "Retry-After", "1"))
		client := clientOf(h)
		client.Gate = new(Gate)
		client.Backoff = DefaultBackoff
		for range 5000 {
			_, err := client.Get("http://host/")
			require.NoError(t, err)
		}
		assert.Less(t, time.Since(h.start), 20*time.Second) // 5 s without a Gate
		assert.Equal(t, GateState{}, client.Gate.State("host"))
	})
}

// One of many refusals may come from one bad server of several: it does not speak for the
// host.
func TestRandomRetryAfterDoesNotCloseABusyHost(t *testing.T) {
	for _, share := range []float64{0.01, 0.05, 0.1} {
		synctest.Test(t, func(t *testing.T) {
			h := newHost(failingAtRandom(1, share, "Retry-After", "1"))
			client := clientOf(h)
			client.Gate, client.Backoff = new(Gate), DefaultBackoff
			errs := spread(client, 2000, 5*time.Millisecond, 10*time.Second) // 200/s for 10 s
			assert.Zero(t, failed(errs), share)
		})
	}
}

// At few requests a second, chance makes a refusal of every third look like a busy host.
func TestRandomRefusalsDoNotThrottleAHostWithFewRequests(t *testing.T) {
	for share, limit := range map[float64]int{0.2: 3, 0.3: 15} { // of 300 calls
		for _, every := range []time.Duration{100 * time.Millisecond, 500 * time.Millisecond} {
			for seed := range uint64(6) {
				synctest.Test(t, func(t *testing.T) {
					h := newHost(failingAtRandom(seed, share))
					client := clientOf(h)
					client.Gate, client.RetryMax = new(Gate), 10
					client.Backoff = func(_, _ time.Duration, _ int, _ *http.Response) time.Duration { return 500 * time.Millisecond }
					errs := spread(client, 300, every, 10*time.Second)
					assert.Less(t, failed(errs), limit, "%v, seed %d", share, seed)
				})
			}
		}
	}
}

// What a host redirects to may refuse, and a transport may change the host: what counts is
// where the attempts were sent.
func TestGateOfAHostThatRedirects(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHost(nil)
		h.respond = func(at time.Duration, req *http.Request) (*http.Response, error) {
			switch {
			case req.URL.Host == "other":
				return respond(req, 200, ""), nil
			case at < time.Second:
				return nil, &net.OpError{Op: "dial", Net: "tcp", Err: connRefused}
			}
			return respond(req, 302, "", "Location", "http://other/"), nil
		}
		client := clientOf(h)
		client.Gate, client.RetryMax = new(Gate), 10
		client.Backoff = func(_, _ time.Duration, _ int, _ *http.Response) time.Duration { return 200 * time.Millisecond }
		errs := spread(client, 2000, 10*time.Millisecond, 10*time.Second)
		assert.Zero(t, failed(errs))
	})
}

// Errors other than refusals do not keep the rate down.
func TestGateOpensAlthoughTheHostFailsOtherwise(t *testing.T) {
	for name, share := range map[string]float64{"some": 0.2, "all": 1} {
		synctest.Test(t, func(t *testing.T) {
			random := rand.New(rand.NewPCG(1, 2))
			var mu sync.Mutex
			h := newHost(nil)
			h.respond = func(at time.Duration, req *http.Request) (*http.Response, error) {
				mu.Lock()
				defer mu.Unlock()
				switch failing := random.Float64() < share; {
				case at < 2*time.Second:
					return respond(req, 503, ""), nil
				case failing && share == 1:
					return respond(req, 500, ""), nil
				case failing:
					return nil, errLost
				}
				return respond(req, 200, ""), nil
			}
			client := clientOf(h)
			client.Gate, client.RetryMax = new(Gate), 3
			client.Backoff = func(_, _ time.Duration, _ int, _ *http.Response) time.Duration { return 500 * time.Millisecond }
			spread(client, 2000, 5*time.Millisecond, 10*time.Second) // 200/s for 10 s
			assert.Greater(t, h.until(10*time.Second)-h.until(6*time.Second), 700, name)
		})
	}
}

// After an announced pause those who have waited do not make a second outage.
func TestCallsLeaveNoFasterThanBeforeAfterALongPause(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var mu sync.Mutex
		var work time.Duration
		h := newHost(nil)
		h.respond = func(at time.Duration, req *http.Request) (*http.Response, error) {
			mu.Lock()
			defer mu.Unlock()
			const each = 20 * time.Millisecond // 50/s
			work = max(work, at)
			switch {
			case 2*time.Second <= at && at < 4*time.Second:
				return respond(req, 503, "", "Retry-After", "20"), nil
			case work > at+5*each:
				work += each / 4
				return respond(req, 503, ""), nil
			}
			work += each
			return respond(req, 200, ""), nil
		}
		client := Recommended()
		client.HTTPClient = &http.Client{Transport: h}
		errs := spread(client, 2000, 25*time.Millisecond, time.Minute) // 40/s for 50 s
		assert.Less(t, failed(errs), 40)
		for at := 20 * time.Second; at < 40*time.Second; at += time.Second {
			assert.Less(t, h.until(at+time.Second)-h.until(at), 66)
		}
	})
}

// Each call that leaves may close the gate again. That bounds no caller's wait, but its own
// RetryAfterMax does.
func TestRetryAfterMaxLimitsTheWaitOfEachCall(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHost(unavailable(24*time.Hour, "Retry-After", "60"))
		client := clientOf(h)
		client.Gate, client.RetryMax, client.RetryAfterMax = new(Gate), 0, time.Minute
		var group sync.WaitGroup
		for range 30 {
			group.Go(func() {
				_, err := client.Get("http://host/")
				assert.Error(t, err)
				assert.LessOrEqual(t, time.Since(h.start), time.Minute+2*time.Millisecond)
			})
		}
		group.Wait()

		hasty := clientOf(h)
		hasty.Gate, hasty.RetryAfterMax = client.Gate, time.Second
		began := time.Now()
		_, err := hasty.Get("http://host/")
		var gaveUp *GiveUpError
		require.ErrorAs(t, err, &gaveUp)
		assert.Equal(t, ReasonRetryAfter, gaveUp.Reason)
		assert.Zero(t, time.Since(began))
	})
}

// The host was refused and is well now: a batch of calls is not held back for long.
func TestGateDoesNotHoldBackABatchForLong(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHost(unavailable(time.Second))
		client := clientOf(h)
		client.Gate, client.RetryMax = new(Gate), 0
		for range 2 {
			_, err := client.Get("http://host/")
			assert.Error(t, err)
			time.Sleep(100 * time.Millisecond)
		}
		time.Sleep(2 * time.Second)
		began := time.Now()
		assert.Zero(t, failed(spread(client, 1000, 0, 10*time.Second)))
		assert.Less(t, time.Since(began), 5*time.Second)
	})
}

// An attempt that a caller or a limit has ended says nothing about the host, nor does a
// transport that sends nothing.
func TestGateIgnoresWhatTheHostHasNothingToDoWith(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		client, _ := scripted(failure(openBreaker{}))
		client.Gate = new(Gate)
		for range 10 {
			_, err := client.Get("http://host/")
			assert.Error(t, err)
		}
		assert.Equal(t, GateState{}, client.Gate.State("host"))

		client, _ = scripted(func(req *http.Request) (*http.Response, error) {
			<-req.Context().Done()
			return nil, &net.OpError{Op: "dial", Net: "tcp", Err: req.Context().Err()}
		})
		client.Gate = new(Gate)
		for range 10 {
			ctx, cancel := context.WithCancel(t.Context())
			time.AfterFunc(gateInterval, cancel)
			req, err := NewRequestWithContext(ctx, "GET", "http://host/", nil)
			require.NoError(t, err)
			_, err = client.Do(req)
			assert.Error(t, err)
		}
		assert.Equal(t, GateState{}, client.Gate.State("host"))
	})
}

func TestSpellingsOfAHostShareAGate(t *testing.T) {
	client := clientOf(still(200))
	client.Gate, client.MaxElapsedTime = new(Gate), time.Second
	client.Gate.of("host").close(time.Now(), pause{wait: time.Minute}, time.Hour, false)
	for _, target := range []string{"http://host/", "http://HOST/", "http://host:80/"} {
		_, err := client.Get(target)
		assert.ErrorIs(t, err, ErrMaxElapsedTime, target)
	}
	for _, target := range []string{"https://host:80/", "http://host:8080/"} {
		_, err := client.Get(target)
		assert.NoError(t, err, target)
	}
}

// The clock is not virtual here: a timer that is late must not cost tokens.
func TestBucketKeepsItsRateOnTheRealClock(t *testing.T) {
	b := &bucket{max: 1, rate: 5000, at: time.Now()}
	began := time.Now()
	for range 1000 {
		b.mu.Lock()
		place := b.join(time.Now())
		b.mu.Unlock()
		<-place.Value.(chan struct{})
	}
	assert.Greater(t, time.Since(began), 150*time.Millisecond)
	assert.Equal(t, 1000, b.taken)
	late := &bucket{max: 1, rate: 5000, at: began}
	for range 10 {
		late.join(began)
	}
	late.serve(began.Add(2 * time.Millisecond))
	assert.Equal(t, 10, late.taken)
}

func TestRetryAfterMaxCountsTheWaitsOfAllAttempts(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHost(unavailable(time.Hour, "Retry-After", "40"))
		client := clientOf(h)
		client.Gate, client.RetryAfterMax = new(Gate), time.Minute
		_, err := client.Get("http://host/")
		var gaveUp *GiveUpError
		require.ErrorAs(t, err, &gaveUp)
		assert.Equal(t, ReasonRetryAfter, gaveUp.Reason)
		assert.Equal(t, 2, gaveUp.Attempts)
		assert.Less(t, time.Since(h.start), time.Minute)
	})
}

// limited returns a host whose rate is limited to 100/s, at the given time.
func limited(at time.Time) *gateHost {
	h := &gateHost{}
	h.watch(at)
	h.limited, h.measured, h.known, h.rate = true, true, 100, 100
	return h
}

func TestRateRisesOnlyIfTheHostKeepsUp(t *testing.T) {
	for back, rises := range map[int]bool{100: true, 90: false} {
		h := limited(time.Now())
		h.queued, h.served, h.taken, h.back = true, 100, 100, back
		h.raise(0, 0.1)
		assert.Equal(t, rises, h.rate > 100, back)
	}
}

func TestLimitStaysWhileAttemptsHaveToWait(t *testing.T) {
	for queued, stays := range map[bool]bool{true: true, false: false} {
		h := limited(time.Now())
		for range gateCalm {
			h.queued = queued
			h.raise(0, 0.1)
		}
		assert.Equal(t, stays, h.limited, queued)
	}
}

func TestResultsOfEarlierAttemptsDoNotCount(t *testing.T) {
	at := time.Now()
	h := limited(at)
	h.observe(at.Add(-1), at, resultRefused)
	assert.Zero(t, h.refused)
	h.observe(at, at, resultRefused)
	assert.Equal(t, 1, h.refused)
}
