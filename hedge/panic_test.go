package hedge_test

import (
	"io"
	"net/http"
	"runtime"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/a0b132ce/retryablehttp/hedge"
)

// A panic of a transport or a callback reaches the caller's goroutine and leaves nothing
// behind.
func TestPanicReachesTheCaller(t *testing.T) {
	for name, tc := range map[string]struct {
		steps    []step
		onHedge  func(hedge.Hedge)
		getBody  func() (io.ReadCloser, error)
		attempts int
	}{
		"first, alone":          {steps: []step{{panics: "oops"}}, attempts: 1},
		"first, of two":         {steps: []step{{after: 150 * ms, panics: "oops"}, {after: time.Hour}}, attempts: 2},
		"second":                {steps: []step{{after: time.Hour}, {panics: "oops"}}, attempts: 2},
		"second, first was bad": {steps: []step{{after: 120 * ms, status: 503}, {after: 50 * ms, panics: "oops"}}, attempts: 2},
		"OnHedge":               {steps: []step{{after: time.Hour}, {body: "won"}}, onHedge: func(hedge.Hedge) { panic("oops") }, attempts: 2},
		"GetBody":               {steps: []step{{after: time.Hour}}, getBody: func() (io.ReadCloser, error) { panic("oops") }, attempts: 1},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := newService(tc.steps...)
				transport := &hedge.Transport{Base: s, Delay: 100 * ms, Budget: anyLoad(), OnHedge: tc.onHedge}
				req := newRequest(t, "GET")
				if tc.getBody != nil {
					req.Body, req.GetBody = newRequestBody("content"), tc.getBody
				}
				assert.PanicsWithValue(t, "oops", func() { _, _ = transport.RoundTrip(req) })
				assert.Len(t, s.seen(), tc.attempts)
				s.over(t)
			})
		})
	}
}

// A transport that panics when its request is canceled has nobody to tell.
func TestPanicOfALoserIsDropped(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newService(step{after: 150 * ms, body: "first"})
		transport := &hedge.Transport{Base: s, Delay: 100 * ms, Budget: anyLoad(),
			Alternative: roundTripFunc(func(req *http.Request) (*http.Response, error) {
				<-req.Context().Done()
				panic("oops")
			})}
		_, body := get(t, transport)
		assert.Equal(t, "first", body)
		s.over(t)
	})
}

// A test's transport may call t.FailNow, which ends the goroutine.
func TestTransportEndsTheGoroutine(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newService(step{after: 150 * ms, status: 503, body: "first"})
		transport := &hedge.Transport{Base: s, Delay: 100 * ms, Budget: anyLoad(),
			Alternative: roundTripFunc(func(*http.Request) (*http.Response, error) {
				runtime.Goexit()
				return nil, nil
			})}
		_, body := get(t, transport)
		assert.Equal(t, "first", body)
		s.over(t)
	})
}

type panicBody struct{ closed *bool }

func (panicBody) Read([]byte) (int, error) { panic("oops") }
func (b panicBody) Close() error           { *b.closed = true; return nil }

func TestBodyOfALoserPanics(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		closed := false
		transport := &hedge.Transport{Delay: 100 * ms, Budget: anyLoad(),
			Base: roundTripFunc(func(*http.Request) (*http.Response, error) {
				time.Sleep(120 * ms)
				return &http.Response{StatusCode: 503, Body: panicBody{&closed}}, nil
			}),
			Alternative: newService(step{after: 50 * ms, body: "second"})}
		_, body := get(t, transport)
		assert.Equal(t, "second", body)
		synctest.Wait()
		require.True(t, closed)
	})
}
