package retryablehttp

import (
	"context"
	"io"
	"math"
	"net/http"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/a0b132ce/retryablehttp/internal/hosts"
)

// host is a transport that records when attempts are sent to it. Each takes a millisecond.
type host struct {
	start   time.Time
	respond func(at time.Duration, req *http.Request) (*http.Response, error)

	mu    sync.Mutex
	times []time.Duration // of the attempts, from the start
	urls  []string
}

func newHost(respond func(at time.Duration, req *http.Request) (*http.Response, error)) *host {
	return &host{start: time.Now(), respond: respond}
}

func (h *host) RoundTrip(req *http.Request) (*http.Response, error) {
	at := time.Since(h.start)
	h.mu.Lock()
	h.times, h.urls = append(h.times, at), append(h.urls, req.URL.String())
	h.mu.Unlock()
	time.Sleep(time.Millisecond)
	return h.respond(at, req)
}

// until returns the number of attempts before a time.
func (h *host) until(limit time.Duration) int {
	h.mu.Lock()
	defer h.mu.Unlock()
	n := 0
	for _, at := range h.times {
		if at < limit {
			n++
		}
	}
	return n
}

// unavailable answers 503 until a time, and 200 from then on.
func unavailable(until time.Duration, header ...string) func(time.Duration, *http.Request) (*http.Response, error) {
	return func(at time.Duration, req *http.Request) (*http.Response, error) {
		if at < until {
			return respond(req, 503, "", header...), nil
		}
		return respond(req, 200, ""), nil
	}
}

// clientOf returns a client that retries at once.
func clientOf(rt http.RoundTripper) *Client {
	return &Client{RetryMax: 4, Backoff: noWait, HTTPClient: &http.Client{Transport: rt}}
}

// spread makes n calls at regular intervals, and returns their errors.
func spread(c *Client, n int, every time.Duration, timeout time.Duration) []error {
	errs := make([]error, n)
	var group sync.WaitGroup
	for i := range n {
		group.Go(func() {
			time.Sleep(time.Duration(i) * every)
			ctx, cancel := context.WithTimeout(context.Background(), timeout)
			defer cancel()
			req, err := NewRequestWithContext(ctx, "GET", "http://host/", nil)
			if err == nil {
				_, err = c.Do(req)
			}
			errs[i] = err
		})
	}
	group.Wait()
	return errs
}

func failed(errs []error) int {
	n := 0
	for _, err := range errs {
		if err != nil {
			n++
		}
	}
	return n
}

func TestBudgetThatMayNotWaitFailsAtOnceWithTheLastResponse(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHost(unavailable(time.Hour))
		client := clientOf(h)
		client.Budget = &Budget{MaxWaiting: -1, MinPerSecond: -1}
		client.RetryMax = 100
		client.Backoff = func(_, _ time.Duration, _ int, _ *http.Response) time.Duration { return time.Second }
		began := time.Now()
		_, err := client.Get("http://host/")
		assert.Less(t, time.Since(began), (budgetMax+1)*time.Second) // no wait after the last attempt
		var gaveUp *GiveUpError
		require.ErrorAs(t, err, &gaveUp)
		assert.ErrorIs(t, err, ErrBudgetExhausted)
		assert.Equal(t, ReasonBudget, gaveUp.Reason)
		assert.Equal(t, 1+budgetMax, gaveUp.Attempts)
		assert.Equal(t, 503, gaveUp.Response.StatusCode)
		assert.ErrorContains(t, err, "no token in Client.Budget for a retry; last response: 503 Service Unavailable")

		client.ErrorHandler = PassthroughErrorHandler
		resp, err := client.Get("http://host/")
		require.NoError(t, err)
		assert.Equal(t, 503, resp.StatusCode)
	})
}

func TestBudgetPacesRetriesInOrderOfArrival(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHost(unavailable(time.Hour))
		client := clientOf(h)
		client.RetryMax = 1
		client.Budget = &Budget{MinPerSecond: 2, Ratio: -1}
		var mu sync.Mutex
		var order []int
		client.OnAttempt = func(a Attempt) {
			mu.Lock()
			defer mu.Unlock()
			if a.Number == 2 {
				order = append(order, a.Request.Context().Value(nameKey{}).(int))
			}
		}
		var group sync.WaitGroup
		for i := range budgetMax + 4 {
			group.Go(func() {
				time.Sleep(time.Duration(i) * 10 * time.Millisecond)
				req, err := NewRequestWithContext(context.WithValue(t.Context(), nameKey{}, i), "GET", "http://host/", nil)
				assert.NoError(t, err)
				_, err = client.Do(req)
				assert.Error(t, err)
			})
		}
		group.Wait()
		assert.IsIncreasing(t, order)
		require.Len(t, h.times, 2*(budgetMax+4))
		paced := h.times[len(h.times)-4:]
		for i := 1; i < 4; i++ {
			assert.InDelta(t, 0.5, (paced[i] - paced[i-1]).Seconds(), 0.001)
		}
	})
}

type nameKey struct{}

func TestBudgetEarnsFromSuccessesOnly(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		budget := &Budget{MinPerSecond: -1}
		for range budgetMax {
			require.True(t, budget.TryWithdraw("host"))
		}
		assert.False(t, budget.TryWithdraw("host"))
		h := newHost(func(_ time.Duration, req *http.Request) (*http.Response, error) {
			switch req.URL.Path {
			case "/400":
				return respond(req, 400, ""), nil
			case "/500":
				return respond(req, 500, ""), nil
			case "/501":
				return respond(req, 501, ""), nil
			}
			return nil, errLost
		})
		client := clientOf(h)
		client.Budget, client.RetryMax = budget, 0
		for path, earned := range map[string]float64{"/400": 0.2, "/500": 0, "/501": 0.2, "/lost": 0} {
			before := budget.Balance("host")
			_, _ = client.Get("http://host" + path)
			assert.InDelta(t, earned, budget.Balance("host")-before, 1e-9, path)
		}
		for range 1000 {
			budget.Deposit("host")
		}
		assert.Equal(t, float64(budgetMax), budget.Balance("host"))
		require.True(t, budget.TryWithdraw("host"))
		budget.Deposit("host")
		assert.InDelta(t, budgetMax-0.8, budget.Balance("host"), 1e-9)
	})
}

func TestBudgetCountsRetriesWhenTheyAreSent(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		client := clientOf(newHost(unavailable(time.Hour)))
		client.Budget = &Budget{MinPerSecond: -1}
		client.Backoff = func(_, _ time.Duration, _ int, _ *http.Response) time.Duration { return time.Minute }
		ctx, cancel := context.WithCancel(t.Context())
		req, err := NewRequestWithContext(ctx, "GET", "http://host/", nil)
		require.NoError(t, err)
		go func() {
			time.Sleep(time.Second)
			cancel()
		}()
		_, err = client.Do(req)
		assert.ErrorIs(t, err, context.Canceled)
		assert.Equal(t, float64(budgetMax), client.Budget.Balance("host"))
	})
}

func TestBudgetMayBeSharedOrKeptPerHost(t *testing.T) {
	for perHost, left := range map[bool]float64{false: 0, true: budgetMax} {
		budget := &Budget{MinPerSecond: -1, PerHost: perHost}
		for range budgetMax {
			require.True(t, budget.TryWithdraw("one"))
		}
		assert.Equal(t, left, budget.Balance("other"), "PerHost %t", perHost)
	}
}

func TestBudgetForgetsHostsItNeedNotKeep(t *testing.T) {
	budget := &Budget{PerHost: true, MinPerSecond: -1}
	for i := range 3 * hosts.Max {
		budget.Deposit("host" + string(rune(i)))
	}
	assert.LessOrEqual(t, budget.hosts.Len(), hosts.Max)
	assert.True(t, budget.TryWithdraw("kept"))
	for i := range 3 * hosts.Max {
		budget.Deposit("other" + string(rune(i)))
	}
	assert.Equal(t, float64(budgetMax-1), budget.Balance("kept"))
}

// A retry whose token is certain to come too late is not waited for. If successes earn
// tokens nothing is certain.
func TestBudgetAndTheDeadline(t *testing.T) {
	for name, tc := range map[string]struct {
		ratio  float64
		took   time.Duration
		reason Reason
	}{
		"certain":   {-1, 2 * time.Millisecond, ReasonBudget},
		"uncertain": {0.2, time.Second, ReasonDeadline},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				client := clientOf(newHost(unavailable(time.Hour)))
				client.Budget = &Budget{MinPerSecond: 0.5, Ratio: tc.ratio}
				for client.Budget.TryWithdraw("host") {
				}
				began := time.Now()
				errs := spread(client, 1, 0, time.Second)
				var gaveUp *GiveUpError
				require.ErrorAs(t, errs[0], &gaveUp)
				assert.Equal(t, tc.reason, gaveUp.Reason)
				assert.Equal(t, 503, gaveUp.Response.StatusCode)
				assert.InDelta(t, tc.took.Seconds(), time.Since(began).Seconds(), 0.01)
			})
		})
	}
}

func TestMaxElapsedTimeEndsTheWaitForAToken(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		client := clientOf(newHost(unavailable(time.Hour)))
		client.Budget = &Budget{MinPerSecond: -1}
		client.MaxElapsedTime = time.Second
		for client.Budget.TryWithdraw("host") {
		}
		began := time.Now()
		_, err := client.Get("http://host/")
		assert.ErrorIs(t, err, ErrMaxElapsedTime)
		assert.ErrorContains(t, err, "last response: 503")
		assert.Equal(t, time.Second, time.Since(began))
	})
}

func TestTokenOfACallThatIsCanceledGoesToTheNext(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHost(unavailable(time.Hour))
		client := clientOf(h)
		client.RetryMax = 1
		client.Budget = &Budget{MinPerSecond: 1, Ratio: -1}
		for client.Budget.TryWithdraw("host") {
		}
		ctx, cancel := context.WithCancel(t.Context())
		var group sync.WaitGroup
		for i, ctx := range []context.Context{ctx, t.Context()} {
			group.Go(func() {
				time.Sleep(time.Duration(i) * 10 * time.Millisecond)
				req, err := NewRequestWithContext(ctx, "GET", "http://host/", nil)
				assert.NoError(t, err)
				_, err = client.Do(req)
				assert.Error(t, err)
			})
		}
		time.Sleep(500 * time.Millisecond)
		cancel()
		group.Wait()
		require.Len(t, h.times, 3)
		assert.InDelta(t, 1, h.times[2].Seconds(), 0.01)
	})
}

// Nor does a call that ends between getting a token and using it take it along.
func TestTokenThatIsNotUsedIsGivenBack(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := &bucket{max: 10, at: time.Now()}
		place := b.join(time.Now())
		b.giveBack() // is for the one who waits
		<-place.Value.(chan struct{})
		b.leave(place)
		assert.Equal(t, 1.0, b.tokens)

		client := clientOf(newHost(unavailable(time.Hour, "Retry-After", "30")))
		client.Gate, client.Budget = new(Gate), &Budget{MinPerSecond: -1}
		errs := spread(client, 1, 0, time.Minute)
		assert.Error(t, errs[0])
		spent := budgetMax - client.Budget.Balance("host")
		ctx, cancel := context.WithCancel(t.Context())
		time.AfterFunc(time.Second, cancel)
		req, err := NewRequestWithContext(ctx, "GET", "http://host/", nil)
		require.NoError(t, err)
		_, err = client.Do(req)
		assert.ErrorIs(t, err, context.Canceled)
		assert.Equal(t, spent, budgetMax-client.Budget.Balance("host"))
	})
}

// If only a success earns a token, a call that nothing ends does not wait for one: it may be
// the only call.
func TestBudgetWithoutAFloorHangsNoCall(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		client := clientOf(newHost(unavailable(time.Hour)))
		client.RetryMax = 100
		client.Budget = &Budget{MinPerSecond: -1}
		_, err := client.Get("http://host/")
		assert.ErrorIs(t, err, ErrBudgetExhausted)
	})
}

func TestBodyIsClosedIfTheGateEndsTheCall(t *testing.T) {
	for name, getBody := range map[string]bool{"with GetBody": true, "without": false} {
		client := clientOf(still(200))
		client.Gate, client.MaxElapsedTime = new(Gate), time.Second
		client.Gate.of("host").close(time.Now(), pause{wait: time.Minute}, time.Hour, false)
		body := &closeCounter{Reader: strings.NewReader("data")}
		req, err := http.NewRequest("POST", "http://host/", body)
		require.NoError(t, err)
		if getBody {
			req.GetBody = func() (io.ReadCloser, error) { return io.NopCloser(strings.NewReader("data")), nil }
		}
		_, err = (&RoundTripper{Client: client}).RoundTrip(req)
		assert.ErrorIs(t, err, ErrMaxElapsedTime)
		assert.Equal(t, 1, body.closed, name)
	}
}

func TestBudgetLimitsOutagesOfManyClients(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHost(unavailable(2 * time.Second))
		client := clientOf(h)
		client.Budget = new(Budget)
		client.Backoff = ExponentialJitterBackoff
		client.RetryWaitMin, client.RetryWaitMax = time.Second, 30*time.Second
		errs := spread(client, 600, 25*time.Millisecond, 15*time.Second) // 40 a second, for 15 s
		assert.Zero(t, failed(errs))
		assert.LessOrEqual(t, h.until(2*time.Second), 80+budgetMax+2)
	})
}

func TestRetriesOfNestedClientsTakeATokenEach(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		budget := &Budget{MinPerSecond: -1}
		h := newHost(unavailable(time.Hour))
		inner := clientOf(h)
		inner.Budget = budget
		outer := clientOf(&RoundTripper{Client: inner})
		outer.Budget = budget
		_, err := outer.Get("http://host/")
		assert.Error(t, err)
		assert.Len(t, h.times, 5)
		assert.Equal(t, float64(budgetMax-4), budget.Balance("host"))
	})
}

func TestBudgetThatMakesNoSenseIsAnError(t *testing.T) {
	for _, budget := range []*Budget{
		{Ratio: 1.5}, {Ratio: math.NaN()}, {Ratio: math.Inf(1)}, {MinPerSecond: math.NaN()}, {MinPerSecond: math.Inf(1)},
	} {
		client, script := scripted(status(200))
		client.Budget = budget
		_, err := client.Get("http://host/")
		assert.ErrorContains(t, err, "Ratio")
		assert.Empty(t, script.seen)
	}
}

// Who uses a Budget without a Client gets no error, and nothing more than the 10 tokens.
func TestBudgetThatMakesNoSenseEarnsNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		for _, budget := range []*Budget{{Ratio: 5, MinPerSecond: -1}, {Ratio: math.NaN(), MinPerSecond: math.NaN()}} {
			for budget.TryWithdraw("host") {
			}
			budget.Deposit("host")
			time.Sleep(time.Hour)
			assert.Zero(t, budget.Balance("host"))
		}
	})
}

// A request for the rest of a body repeats work of the server, as a retry does.
func TestResumptionTakesAToken(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		client, _ := scripted(
			func(req *http.Request) (*http.Response, error) { return silent(req, "12345"), nil },
			func(req *http.Request) (*http.Response, error) {
				resp := respond(req, 206, "67890", "Etag", `"v1"`, "Content-Range", "bytes 5-9/10")
				resp.ContentLength = 5
				return resp, nil
			})
		client.BodyIdleTimeout, client.ResumeMax = time.Second, 1
		client.Budget = &Budget{MinPerSecond: -1, Ratio: -1}
		resp, err := client.Get("http://host/")
		require.NoError(t, err)
		_, err = io.ReadAll(resp.Body)
		require.NoError(t, err)
		resp.Body.Close()
		assert.Equal(t, float64(budgetMax-1), client.Budget.Balance("host"))
	})
}

func TestBudgetAllocatesNothing(t *testing.T) {
	for _, perHost := range []bool{false, true} {
		budget := &Budget{PerHost: perHost}
		assert.Zero(t, testing.AllocsPerRun(100, func() {
			budget.Deposit("host")
			budget.TryWithdraw("host")
		}))
	}
}

func BenchmarkBudget(b *testing.B) {
	budget := new(Budget)
	b.Run("Deposit/full", func(b *testing.B) {
		b.RunParallel(func(pb *testing.PB) {
			for pb.Next() {
				budget.Deposit("host")
			}
		})
	})
	b.Run("TryWithdraw/empty", func(b *testing.B) {
		b.RunParallel(func(pb *testing.PB) {
			for pb.Next() {
				budget.TryWithdraw("host")
			}
		})
	})
}
