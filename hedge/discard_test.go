package hedge_test

import (
	"context"
	"io"
	"net/http"
	"runtime"
	"strings"
	"testing"
	"testing/synctest"
	"time"
	"weak"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/a0b132ce/retryablehttp/hedge"
)

// A lost response is read for 100 ms at most.
func TestEndlessLoserIsCutOff(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newService(step{after: 120 * ms, status: 503, body: "endless", drip: time.Hour}, step{after: 50 * ms, body: "second"})
		_, body := get(t, &hedge.Transport{Base: s, Delay: 100 * ms, Budget: anyLoad()})
		assert.Equal(t, "second", body)
		synctest.Wait()
		assert.NoError(t, s.seen()[0].req.Context().Err(), "it is still being read")
		time.Sleep(100 * ms)
		s.over(t)
	})
}

// A lost response is read to its end, or 64 KiB of it.
func TestLoserIsDrained(t *testing.T) {
	for size, want := range map[int]int{1000: 1000, 1 << 20: 64 << 10} {
		synctest.Test(t, func(t *testing.T) {
			unread := strings.NewReader(strings.Repeat("x", size))
			transport := &hedge.Transport{
				Base: newService(step{after: 150 * ms, body: "first"}),
				Alternative: roundTripFunc(func(*http.Request) (*http.Response, error) {
					return &http.Response{StatusCode: 503, Body: io.NopCloser(unread)}, nil
				}),
				Delay: 100 * ms, Budget: anyLoad(),
			}
			_, body := get(t, transport)
			assert.Equal(t, "first", body)
			synctest.Wait()
			assert.Equal(t, want, size-unread.Len())
		})
	}
}

// stubborn returns a transport that does not heed the context of a request.
func stubborn(s *service) http.RoundTripper {
	return roundTripFunc(func(req *http.Request) (*http.Response, error) {
		return s.RoundTrip(req.WithContext(context.WithoutCancel(req.Context())))
	})
}

// A transport that does not heed the context may return a response after the race. Only
// the first attempt makes the caller wait for it.
func TestLateResponseIsClosed(t *testing.T) {
	for name, tc := range map[string]struct {
		steps []step
		took  time.Duration
	}{
		"of the first":  {[]step{{after: 200 * ms, body: "late"}, {after: 10 * ms, body: "won"}}, 200 * ms},
		"of the second": {[]step{{after: 150 * ms, body: "won"}, {after: 200 * ms, body: "late"}}, 150 * ms},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := newService(tc.steps...)
				start := time.Now()
				_, body := get(t, &hedge.Transport{Base: stubborn(s), Delay: 100 * ms, Budget: anyLoad()})
				assert.Equal(t, "won", body)
				assert.Equal(t, tc.took, time.Since(start))
				time.Sleep(time.Second)
				assert.Zero(t, s.openBodies())
			})
		})
	}
}

// The response comes just when the delay is over. No attempt goes on after the race.
func TestResponseAtTheDelay(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		for range 2000 {
			at := time.NewTimer(100 * ms)
			s := newService(step{after: time.Hour})
			transport := &hedge.Transport{Delay: 100 * ms, Budget: anyLoad(), Alternative: s,
				Base: roundTripFunc(func(*http.Request) (*http.Response, error) {
					<-at.C
					return &http.Response{StatusCode: 200}, nil
				})}
			get(t, transport)
			s.over(t)
		}
	})
}

// The timers of races that are over are stopped: they do not keep requests in memory. The
// runtime removes stopped timers only when there are many.
func TestTimerEndsWithTheRace(t *testing.T) {
	transport := &hedge.Transport{Base: roundTripFunc(func(*http.Request) (*http.Response, error) {
		return &http.Response{StatusCode: 200}, nil
	}), Delay: time.Hour}
	var requests []weak.Pointer[http.Request]
	for range 1000 {
		req := newRequest(t, "GET")
		_, err := transport.RoundTrip(req)
		require.NoError(t, err)
		requests = append(requests, weak.Make(req))
	}
	runtime.GC()
	kept := 0
	for _, req := range requests {
		if req.Value() != nil {
			kept++
		}
	}
	assert.Less(t, kept, len(requests)/2)
}
