package hedge_test

import (
	"math"
	"math/rand/v2"
	"net/http"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/a0b132ce/retryablehttp"
	"github.com/a0b132ce/retryablehttp/hedge"
)

// shapes are distributions of response times around 10 ms.
var shapes = map[string]func(*rand.Rand) float64{
	"constant":    func(*rand.Rand) float64 { return 1 },
	"exponential": func(r *rand.Rand) float64 { return 0.5 + 0.5*r.ExpFloat64() },
	"log-normal":  func(r *rand.Rand) float64 { return math.Exp(0.5 * r.NormFloat64()) },
	"Pareto":      func(r *rand.Rand) float64 { return 0.5 * math.Pow(1-r.Float64(), -1/2.5) },
}

// storm sends many requests by several callers in virtual time. It returns the 99.9th
// percentile of what they took, and the share of second attempts. Of the responses 1 %
// are 100 times slower.
func storm(t *testing.T, shape func(*rand.Rand) float64, transport *hedge.Transport) (p999 time.Duration, extra float64) {
	const callers, each = 50, 400
	var mu sync.Mutex // guards random and took
	random := rand.New(rand.NewPCG(1, 1))
	var took []time.Duration
	var attempts atomic.Int64
	transport.Base = roundTripFunc(func(req *http.Request) (*http.Response, error) {
		attempts.Add(1)
		mu.Lock()
		d := time.Duration(shape(random) * float64(10*time.Millisecond))
		if random.Float64() < 0.01 {
			d *= 100
		}
		mu.Unlock()
		if err := wait(req.Context(), d); err != nil {
			return nil, err
		}
		return &http.Response{StatusCode: 200, Body: http.NoBody}, nil
	})
	synctest.Test(t, func(t *testing.T) {
		var group sync.WaitGroup
		for range callers {
			group.Go(func() {
				for range each {
					start := time.Now()
					if _, err := transport.RoundTrip(newRequest(t, "GET")); err != nil {
						t.Error(err)
					}
					mu.Lock()
					took = append(took, time.Since(start))
					mu.Unlock()
				}
			})
		}
		group.Wait()
	})
	slices.Sort(took)
	return took[len(took)*999/1000], float64(attempts.Load())/float64(len(took)) - 1
}

// With the defaults the 99.9th percentile falls to at most 0.15 times, for at most 2 % more
// requests.
func TestStorm(t *testing.T) {
	for name, shape := range shapes {
		t.Run(name, func(t *testing.T) {
			without, none := storm(t, shape, &hedge.Transport{Delay: -1})
			require.Zero(t, none)
			with, extra := storm(t, shape, new(hedge.Transport))
			ratio := float64(with) / float64(without)
			t.Logf("%v instead of %v: %.3fx, for %.2f %% more requests", with, without, ratio, 100*extra)
			assert.LessOrEqual(t, ratio, 0.15)
			assert.LessOrEqual(t, extra, 0.02)
		})
	}
}

// The share of second attempts stays at 1.5 %, although each of them wins, which hides how
// long the first attempt would have taken.
func TestCanceledLosersDoNotMoveThePercentile(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		random := rand.New(rand.NewPCG(1, 1))
		base := roundTripFunc(func(req *http.Request) (*http.Response, error) {
			if err := wait(req.Context(), time.Duration(random.ExpFloat64()*float64(10*time.Millisecond))); err != nil {
				return nil, err
			}
			return &http.Response{StatusCode: 200}, nil
		})
		second := newService(step{})
		transport := &hedge.Transport{Base: base, Alternative: second, Budget: &retryablehttp.Budget{Ratio: 1, MinPerSecond: -1}}
		const n = 20_000
		for range n {
			get(t, transport)
		}
		assert.InDelta(t, 0.015, float64(len(second.seen()))/n, 0.002)
		second.over(t)
	})
}

// A request that its caller cancels early, or that fails early, tells nothing about the
// response time of the host. One that has taken longer than the delay does.
func TestWhatCountsAsAResponseTime(t *testing.T) {
	for name, tc := range map[string]struct {
		step
		counts bool
	}{
		"good":        {step{after: 2 * ms}, true},
		"fails early": {step{after: 2 * ms, err: errLost}, false},
		"bad early":   {step{after: 2 * ms, status: 500}, false},
		"fails late":  {step{after: 20 * ms, err: errLost}, true},
		"bad late":    {step{after: 20 * ms, status: 429}, true},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				var delay time.Duration
				current := step{after: 10 * ms}
				transport := &hedge.Transport{
					Base:    roundTripFunc(func(req *http.Request) (*http.Response, error) { return newService(current).RoundTrip(req) }),
					Budget:  &retryablehttp.Budget{Ratio: -1, MinPerSecond: -1},
					OnHedge: func(h hedge.Hedge) { delay = h.Delay },
				}
				send := func(s step, n int) {
					current = s
					for range n {
						if resp, err := transport.RoundTrip(newRequest(t, "GET")); err == nil {
							resp.Body.Close()
						}
					}
				}
				send(step{after: 10 * ms}, 200)
				send(tc.step, 4096) // more than are remembered
				send(step{after: time.Second}, 1)
				assert.Equal(t, tc.counts, delay < 10*ms || delay > 11*ms, "delay %v", delay)
			})
		})
	}
}

// Before there were 100 good responses, nothing is hedged. They have earned a token of the
// default budget by then.
func TestWarmUpIsNotHedged(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newService(step{after: 10 * ms})
		transport := &hedge.Transport{Base: s}
		send := func(n int, step step) (attempts int) {
			s.steps[0] = step
			before := len(s.seen())
			for range n {
				get(t, transport)
			}
			return len(s.seen()) - before
		}
		require.Equal(t, 99, send(99, step{after: 10 * ms}))
		require.Equal(t, 50, send(50, step{after: 10 * ms, status: 503}))
		assert.Equal(t, 1, send(1, step{after: time.Second}))
		assert.Equal(t, 2, send(1, step{after: time.Second}))
	})
}

// Each host has a percentile of its own.
func TestHostsAreApart(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newService(step{after: 10 * ms})
		transport := &hedge.Transport{Base: s, Budget: anyLoadFor("another")}
		for range 100 {
			get(t, transport)
		}
		s.steps[0].after = time.Second
		req := newRequest(t, "GET")
		req.URL.Host = "another"
		resp, err := transport.RoundTrip(req)
		require.NoError(t, err)
		read(t, resp)
		assert.Len(t, s.seen(), 101)
	})
}
