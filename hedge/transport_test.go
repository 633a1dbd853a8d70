package hedge_test

import (
	"context"
	"errors"
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

	"github.com/a0b132ce/retryablehttp"
	"github.com/a0b132ce/retryablehttp/hedge"
)

const ms = time.Millisecond

// A race has two attempts; the first may take longer than the delay of 100 ms.
func TestFirstGoodResponseIsReturned(t *testing.T) {
	for name, tc := range map[string]struct {
		first, second step
		attempts      int
		body          string
		err           error
		took          time.Duration
	}{
		"in time": {
			step{after: 99 * ms, body: "first"}, step{},
			1, "first", nil, 99 * ms},
		"failed in time": {
			step{after: 99 * ms, err: errLost}, step{},
			1, "", errLost, 99 * ms},
		"bad in time": {
			step{after: 99 * ms, status: 503, body: "first"}, step{},
			1, "first", nil, 99 * ms},
		"second wins": {
			step{after: time.Hour}, step{after: 10 * ms, body: "second"},
			2, "second", nil, 110 * ms},
		"first wins late": {
			step{after: 150 * ms, body: "first"}, step{after: time.Hour},
			2, "first", nil, 150 * ms},
		"a client error is good": {
			step{after: time.Hour}, step{after: 10 * ms, status: 404, body: "second"},
			2, "second", nil, 110 * ms},
		"first fails, second is good": {
			step{after: 120 * ms, err: errLost}, step{after: 50 * ms, body: "second"},
			2, "second", nil, 150 * ms},
		"first is a 500, second is good": {
			step{after: 120 * ms, status: 500, body: "first"}, step{after: 50 * ms, body: "second"},
			2, "second", nil, 150 * ms},
		"second fails, first is good": {
			step{after: 150 * ms, body: "first"}, step{after: 10 * ms, err: errLost},
			2, "first", nil, 150 * ms},
		"second is a 429, first is good": {
			step{after: 150 * ms, body: "first"}, step{after: 10 * ms, status: 429, body: "second"},
			2, "first", nil, 150 * ms},
		"both are bad, second ends first": {
			step{after: 150 * ms, status: 503, body: "first"}, step{after: 10 * ms, status: 429, body: "second"},
			2, "first", nil, 150 * ms},
		"both are bad, first ends first": {
			step{after: 120 * ms, status: 503, body: "first"}, step{after: 50 * ms, err: errors.New("refused")},
			2, "first", nil, 150 * ms},
		"both fail": {
			step{after: 120 * ms, err: errLost}, step{after: 50 * ms, err: errors.New("refused")},
			2, "", errLost, 150 * ms},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := newService(tc.first, tc.second)
				transport := &hedge.Transport{Base: s, Delay: 100 * ms, Budget: anyLoad()}
				start := time.Now()
				resp, err := transport.RoundTrip(newRequest(t, "GET"))
				assert.Equal(t, tc.took, time.Since(start))
				if tc.err != nil {
					require.ErrorIs(t, err, tc.err)
					assert.Nil(t, resp)
				} else {
					require.NoError(t, err)
					_, body := read(t, resp)
					assert.Equal(t, tc.body, body)
				}
				require.Len(t, s.seen(), tc.attempts)
				if tc.attempts == 2 {
					assert.Equal(t, 100*ms, s.seen()[1].time.Sub(start), "when the second attempt was sent")
				}
				time.Sleep(time.Second) // nothing is sent later
				assert.Len(t, s.seen(), tc.attempts)
				s.over(t)
			})
		})
	}
}

func TestLoserIsCanceledAtOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		for _, steps := range [][]step{
			{{after: time.Hour}, {after: 10 * ms, body: "won", drip: time.Second}},
			{{after: 150 * ms, body: "won", drip: time.Second}, {after: time.Hour}},
		} {
			s := newService(steps...)
			resp, err := (&hedge.Transport{Base: s, Delay: 100 * ms, Budget: anyLoad()}).RoundTrip(newRequest(t, "GET"))
			require.NoError(t, err)
			synctest.Wait()
			for i, a := range s.seen() {
				assert.Equal(t, steps[i].after == time.Hour, a.req.Context().Err() != nil, "attempt %d", i+1)
			}
			_, body := read(t, resp)
			assert.Equal(t, "won", body)
			s.over(t)
		}
	})
}

// The context of the winner lasts until its body is read or closed, and no longer.
func TestWinnersContextEndsWithItsBody(t *testing.T) {
	for name, finish := range map[string]func(*testing.T, io.ReadCloser){
		"closed unread": func(t *testing.T, b io.ReadCloser) { require.NoError(t, b.Close()) },
		"closed early": func(t *testing.T, b io.ReadCloser) {
			_, err := io.ReadFull(b, make([]byte, 3))
			require.NoError(t, err)
			require.NoError(t, b.Close())
		},
		"read to its end": func(t *testing.T, b io.ReadCloser) {
			data, err := io.ReadAll(b)
			require.NoError(t, err)
			assert.Equal(t, "whole body", string(data))
		},
	} {
		for _, first := range []time.Duration{time.Millisecond, time.Hour} {
			t.Run(name, func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					s := newService(step{after: first, body: "whole body", drip: time.Second}, step{body: "whole body", drip: time.Second})
					resp, err := (&hedge.Transport{Base: s, Delay: 100 * ms, Budget: anyLoad()}).RoundTrip(newRequest(t, "GET"))
					require.NoError(t, err)
					time.Sleep(time.Hour)
					attempts := s.seen()
					winner := attempts[len(attempts)-1]
					require.NoError(t, winner.req.Context().Err())
					finish(t, resp.Body)
					require.Error(t, winner.req.Context().Err())
					resp.Body.Close()
					s.over(t)
				})
			})
		}
	}
}

func TestBodyKeepsWriterTo(t *testing.T) {
	for _, body := range []io.Reader{strings.NewReader("content"), struct{ io.Reader }{strings.NewReader("content")}} {
		var ctx context.Context
		resp, err := (&hedge.Transport{Delay: time.Hour, Base: roundTripFunc(func(req *http.Request) (*http.Response, error) {
			ctx = req.Context()
			return &http.Response{StatusCode: 200, Body: io.NopCloser(body)}, nil
		})}).RoundTrip(newRequest(t, "GET"))
		require.NoError(t, err)
		_, before := body.(io.WriterTo)
		_, after := resp.Body.(io.WriterTo)
		assert.Equal(t, before, after)
		var b strings.Builder
		_, err = io.Copy(&b, resp.Body)
		require.NoError(t, err)
		assert.Equal(t, "content", b.String())
		assert.Error(t, ctx.Err())
	}
}

func TestEmptyBodyStaysAsItIs(t *testing.T) {
	var ctx context.Context
	resp, err := (&hedge.Transport{Delay: time.Hour, Base: roundTripFunc(func(req *http.Request) (*http.Response, error) {
		ctx = req.Context()
		return &http.Response{StatusCode: 204, Body: http.NoBody}, nil
	})}).RoundTrip(newRequest(t, "HEAD"))
	require.NoError(t, err)
	assert.Equal(t, http.NoBody, resp.Body)
	assert.Error(t, ctx.Err())
}

// Some servers switch protocols unasked. The body then stays as it is: net/http makes it
// an io.ReadWriteCloser.
func TestSwitchedProtocolKeepsItsBody(t *testing.T) {
	type connection struct {
		io.Reader
		io.WriteCloser
	}
	body := connection{}
	var ctx context.Context
	resp, err := (&hedge.Transport{Delay: time.Hour, Base: roundTripFunc(func(req *http.Request) (*http.Response, error) {
		ctx = req.Context()
		return &http.Response{StatusCode: 101, Body: body}, nil
	})}).RoundTrip(newRequest(t, "GET"))
	require.NoError(t, err)
	assert.Equal(t, body, resp.Body)
	assert.Error(t, ctx.Err(), "nobody would end it later")
}

func TestOnlySafeRequestsAreHedged(t *testing.T) {
	withBody := func(get func() (io.ReadCloser, error)) *http.Request {
		req := newRequest(t, "GET")
		req.Body, req.GetBody = newRequestBody("content"), get
		return req
	}
	upgrade := newRequest(t, "GET")
	upgrade.Header.Set("Upgrade", "websocket")
	for name, tc := range map[string]struct {
		req    *http.Request
		hedged bool
	}{
		"GET":                    {newRequest(t, "GET"), true},
		"no method":              {&http.Request{URL: newRequest(t, "GET").URL}, true},
		"HEAD":                   {newRequest(t, "HEAD"), true},
		"OPTIONS":                {newRequest(t, "OPTIONS"), true},
		"TRACE":                  {newRequest(t, "TRACE"), true},
		"POST":                   {newRequest(t, "POST"), false},
		"PUT":                    {newRequest(t, "PUT"), false},
		"DELETE":                 {newRequest(t, "DELETE"), false},
		"CONNECT":                {newRequest(t, "CONNECT"), false},
		"get":                    {newRequest(t, "get"), false},
		"Upgrade":                {upgrade, false},
		"body without GetBody":   {withBody(nil), false},
		"body with GetBody":      {withBody(func() (io.ReadCloser, error) { return newRequestBody("content"), nil }), true},
		"GetBody without a body": {&http.Request{URL: upgrade.URL, Body: http.NoBody, GetBody: func() (io.ReadCloser, error) { panic("called") }}, true},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := newService(step{after: time.Second})
				resp, err := (&hedge.Transport{Base: s, Delay: 100 * ms, Budget: anyLoad()}).RoundTrip(tc.req)
				require.NoError(t, err)
				read(t, resp)
				if !tc.hedged {
					require.Len(t, s.seen(), 1)
					assert.Same(t, tc.req, s.seen()[0].req, "passed on as it is")
					return
				}
				assert.Len(t, s.seen(), 2)
				s.over(t)
			})
		})
	}
}

func TestRequestWithoutURLIsPassedOn(t *testing.T) {
	resp, err := new(hedge.Transport).RoundTrip(&http.Request{Header: http.Header{}})
	assert.ErrorContains(t, err, "nil Request.URL", "the error of net/http")
	assert.Nil(t, resp)
}

// Each attempt reads a whole body of its own, which is closed once.
func TestBothAttemptsReadTheRequestBody(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newService(step{after: time.Hour}, step{after: time.Second})
		req := newRequest(t, "GET")
		first, second := newRequestBody("content"), newRequestBody("content")
		req.Body, req.ContentLength = first, int64(len("content"))
		req.GetBody = func() (io.ReadCloser, error) { return second, nil }
		resp, err := (&hedge.Transport{Base: s, Delay: 100 * ms, Budget: anyLoad()}).RoundTrip(req)
		require.NoError(t, err)
		read(t, resp)
		for i, a := range s.seen() {
			assert.Equal(t, "content", a.body, "attempt %d", i+1)
			assert.EqualValues(t, len("content"), a.req.ContentLength)
		}
		assert.Equal(t, 1, first.closes)
		assert.Equal(t, 1, second.closes)
		assert.Same(t, first, req.Body)
		s.over(t)
	})
}

func TestGetBodyFails(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newService(step{after: time.Second, body: "first"})
		req := newRequest(t, "GET")
		body := newRequestBody("content")
		req.Body, req.GetBody = body, func() (io.ReadCloser, error) { return nil, errLost }
		resp, err := (&hedge.Transport{Base: s, Delay: 100 * ms, Budget: anyLoad()}).RoundTrip(req)
		require.NoError(t, err)
		read(t, resp)
		assert.Len(t, s.seen(), 1)
		assert.Equal(t, 1, body.closes)
		s.over(t)
	})
}

// Many transports change the request that they are given. That reaches neither the caller's
// request nor the other attempt.
func TestCallersRequestIsNotModified(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newService(step{after: time.Second}, step{after: time.Second})
		var mu sync.Mutex
		var authorization []string
		meddling := roundTripFunc(func(req *http.Request) (*http.Response, error) {
			mu.Lock()
			authorization = append(authorization, req.Header.Get("Authorization"))
			mu.Unlock()
			req.Header.Set("Authorization", "token")
			req.URL.Host = "elsewhere"
			req.Close = true
			return s.RoundTrip(req)
		})
		req := newRequest(t, "GET")
		req.Header.Set("Accept", "text/plain")
		before := req.Clone(req.Context())
		resp, err := (&hedge.Transport{Base: meddling, Delay: 100 * ms, Budget: anyLoad()}).RoundTrip(req)
		require.NoError(t, err)
		read(t, resp)
		assert.Equal(t, before, req)
		assert.Equal(t, []string{"", ""}, authorization)
		assert.Equal(t, "text/plain", s.seen()[1].req.Header.Get("Accept"))
		s.over(t)
	})
}

// The response's request is the caller's, or what a transport below has made of it, with
// a context that does not end with the attempt.
func TestRequestOfTheResponse(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		for name, alternative := range map[string]http.RoundTripper{
			"as sent": newService(step{}),
			"unset": roundTripFunc(func(*http.Request) (*http.Response, error) {
				return &http.Response{StatusCode: 200}, nil
			}),
		} {
			req := newRequest(t, "GET")
			resp, err := (&hedge.Transport{Base: newService(step{after: time.Hour}), Alternative: alternative, Delay: 100 * ms, Budget: anyLoad()}).RoundTrip(req)
			require.NoError(t, err, name)
			assert.Same(t, req, resp.Request, name)
			require.NotNil(t, resp.Body, name)
			read(t, resp)
		}
		replica := newService(step{})
		resp, err := (&hedge.Transport{
			Base: newService(step{after: time.Hour}),
			Alternative: roundTripFunc(func(req *http.Request) (*http.Response, error) {
				req = req.Clone(req.Context())
				req.URL.Host = "replica"
				return replica.RoundTrip(req)
			}),
			Delay: 100 * ms, Budget: anyLoad(),
		}).RoundTrip(newRequest(t, "GET"))
		require.NoError(t, err)
		read(t, resp)
		assert.Equal(t, "replica", resp.Request.URL.Host)
		assert.NoError(t, resp.Request.Context().Err())
		replica.over(t)
	})
}

func TestCallersCancelEndsBothAttempts(t *testing.T) {
	cause := errors.New("the caller's reason")
	for _, after := range []time.Duration{50 * ms, 150 * ms} {
		synctest.Test(t, func(t *testing.T) {
			s := newService(step{after: time.Hour})
			ctx, cancel := context.WithCancelCause(context.Background())
			time.AfterFunc(after, func() { cancel(cause) })
			start := time.Now()
			resp, err := (&hedge.Transport{Base: s, Delay: 100 * ms, Budget: anyLoad()}).RoundTrip(newRequest(t, "GET").WithContext(ctx))
			assert.ErrorIs(t, err, cause)
			assert.Nil(t, resp)
			assert.Equal(t, after, time.Since(start))
			s.over(t)
			time.Sleep(time.Second)
			assert.Len(t, s.seen(), int(1+after/(100*ms)))
		})
	}
}

// A bad response of the first attempt is not held back when the caller cancels the wait for
// the second, even if that does not heed the context.
func TestCancelDuringTheWaitForTheSecond(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		first, second := newService(step{after: 120 * ms, status: 503}), newService(step{after: time.Second})
		for _, alternative := range []http.RoundTripper{second, stubborn(second)} {
			ctx, cancel := context.WithTimeout(context.Background(), 200*ms)
			defer cancel()
			start := time.Now()
			transport := &hedge.Transport{Base: first, Alternative: alternative, Delay: 100 * ms, Budget: anyLoad()}
			resp, err := transport.RoundTrip(newRequest(t, "GET").WithContext(ctx))
			require.NoError(t, err)
			assert.Equal(t, 503, resp.StatusCode)
			assert.Equal(t, 200*ms, time.Since(start))
			resp.Body.Close()
			first.over(t)
			time.Sleep(time.Second) // until the second attempt has ended
			assert.Zero(t, second.openBodies())
		}
	})
}

func TestAlternativeSendsTheSecondAttempt(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		base, alternative := newService(step{after: time.Second}), newService(step{after: 10 * ms, body: "elsewhere"})
		transport := &hedge.Transport{Base: base, Alternative: alternative, Delay: 100 * ms, Budget: anyLoad()}
		_, body := get(t, transport)
		assert.Equal(t, "elsewhere", body)
		assert.Len(t, base.seen(), 1)
		assert.Len(t, alternative.seen(), 1)
		base.over(t)
		alternative.over(t)

		transport.CloseIdleConnections()
		assert.Equal(t, 1, base.idle)
		assert.Equal(t, 1, alternative.idle)
	})
}

func TestCloseIdleConnectionsOfABaseWithoutAny(t *testing.T) {
	(&hedge.Transport{Base: roundTripFunc(nil)}).CloseIdleConnections()
}

// saved is how many tokens a new Budget has.
const saved = 10

// empty returns a Budget without tokens.
func empty(ratio float64) *retryablehttp.Budget {
	budget := &retryablehttp.Budget{Ratio: ratio, MinPerSecond: -1}
	for budget.TryWithdraw("host") {
	}
	return budget
}

// The default budget lets 2 % of the requests be sent twice, however slow the host is.
func TestDefaultBudget(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newService(step{after: time.Second})
		transport := &hedge.Transport{Base: s, Delay: 100 * ms}
		for range 1000 {
			get(t, transport)
		}
		assert.InDelta(t, 1020+saved, len(s.seen()), 1)
	})
}

// A response that is not good deposits nothing, so that an outage gets no second attempts.
func TestBadResponsesEarnNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		for _, delay := range []time.Duration{0, 100 * ms} {
			s := newService(step{after: time.Second, status: 503})
			transport := &hedge.Transport{Base: s, Delay: delay, Budget: empty(1)}
			for range 200 {
				get(t, transport)
			}
			assert.Len(t, s.seen(), 200)
		}
	})
}

func TestOnHedge(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newService(
			step{after: 50 * ms},                           // in time
			step{after: time.Second}, step{after: 10 * ms}, // second wins
			step{after: 150 * ms}, step{after: time.Hour}, // first wins
			step{after: time.Second}, // the budget is used up
		)
		var got []hedge.Hedge
		budget := empty(0.5)
		budget.Deposit("host")
		budget.Deposit("host")
		transport := &hedge.Transport{Base: s, Delay: 100 * ms, Budget: budget, OnHedge: func(h hedge.Hedge) { got = append(got, h) }}
		req := newRequest(t, "GET")
		for range 4 {
			resp, err := transport.RoundTrip(req)
			require.NoError(t, err)
			read(t, resp)
		}
		assert.Equal(t, []hedge.Hedge{
			{Request: req, Delay: 100 * ms, Elapsed: 110 * ms, Sent: true, Won: true},
			{Request: req, Delay: 100 * ms, Elapsed: 150 * ms, Sent: true},
			{Request: req, Delay: 100 * ms, Elapsed: time.Second},
		}, got)
		s.over(t)
	})
}

func TestNegativeMeansOff(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		for _, transport := range []*hedge.Transport{{Delay: -1}, {Percentile: -1}, {Delay: ms, Percentile: math.Inf(-1)}} {
			s := newService(step{after: time.Hour})
			transport.Base, transport.Budget = s, anyLoad()
			req := newRequest(t, "GET")
			resp, err := transport.RoundTrip(req)
			require.NoError(t, err)
			read(t, resp)
			require.Len(t, s.seen(), 1)
			assert.Same(t, req, s.seen()[0].req)
		}
	})
}

func TestUnusableSettingsAreErrors(t *testing.T) {
	before := http.DefaultTransport
	defer func() { http.DefaultTransport = before }()
	itself := new(hedge.Transport)
	http.DefaultTransport = itself
	for want, transport := range map[string]*hedge.Transport{
		"hedge: Transport.Percentile is 100.5, want a number up to 100": {Base: newService(step{}), Percentile: 100.5},
		"hedge: Transport.Percentile is +Inf, want a number up to 100":  {Base: newService(step{}), Percentile: math.Inf(1)},
		"hedge: Transport.Percentile is NaN, want a number up to 100":   {Base: newService(step{}), Percentile: math.NaN(), Delay: time.Second},
		"hedge: the Base of a Transport is the Transport itself":        itself,
	} {
		for _, method := range []string{"GET", "POST"} {
			req := newRequest(t, method)
			body := newRequestBody("content")
			req.Body = body
			resp, err := transport.RoundTrip(req)
			assert.EqualError(t, err, want)
			assert.Nil(t, resp)
			assert.Equal(t, 1, body.closes)
		}
	}
	_, err := (&hedge.Transport{Base: newService(step{})}).RoundTrip(nil)
	assert.EqualError(t, err, "hedge: nil Request")
}

func TestBadTransports(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		both := newService(step{})
		for want, base := range map[string]http.RoundTripper{
			"hedge: transport hedge_test.roundTripFunc returned neither a response nor an error": roundTripFunc(func(*http.Request) (*http.Response, error) { return nil, nil }),
			errLost.Error(): roundTripFunc(func(req *http.Request) (*http.Response, error) {
				resp, _ := both.RoundTrip(req)
				return resp, errLost
			}),
		} {
			resp, err := (&hedge.Transport{Base: base, Delay: time.Second}).RoundTrip(newRequest(t, "GET"))
			assert.EqualError(t, err, want)
			assert.Nil(t, resp)
		}
		both.over(t)
	})
}
