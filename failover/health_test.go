package failover_test

import (
	"context"
	"errors"
	"io"
	"net/http"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/a0b132ce/retryablehttp"
	"github.com/a0b132ce/retryablehttp/failover"
)

func TestAnEndpointThatFailsRests(t *testing.T) {
	for name, host := range map[string]roundTripFunc{
		"refused":     refuse,
		"reset":       reset,
		"cut off":     failure(io.ErrUnexpectedEOF),
		"status 503":  status(503),
		"with a wait": status(503, "Retry-After", "1"),
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				net := newNetwork()
				net.set("a", host)
				transport := backends(t, net, "a", "b")
				resp, err := transport.RoundTrip(newRequest(t, "GET", "http://service/", nil))
				if err == nil {
					resp.Body.Close()
				}
				state := transport.Endpoints()[0]
				assert.Equal(t, 1, state.Failures)
				assert.Error(t, state.Err)
				assert.WithinRange(t, state.RestUntil, time.Now().Add(time.Second), time.Now().Add(2*time.Second))
				net.took()
				assert.Equal(t, "b", get(t, transport))
				assert.Equal(t, []string{"b"}, net.took())
			})
		})
	}
}

func TestAnEndpointThatRespondsDoesNotRest(t *testing.T) {
	for _, code := range []int{200, 304, 404, 429, 500, 501, 505} {
		net := newNetwork()
		net.set("a", status(code))
		transport := backends(t, net, "a", "b")
		get(t, transport)
		assert.Equal(t, []bool{true, true}, well(transport), code)
	}
}

// A gateway says 502 or 504 for a server that is gone.
func TestAnEndpointWhoseGatewayFailsRests(t *testing.T) {
	for _, code := range []int{502, 503, 504} {
		net := newNetwork()
		net.set("a", status(code))
		transport := backends(t, net, "a", "b")
		get(t, transport)
		assert.Equal(t, []bool{false, true}, well(transport), code)
	}
}

func TestAContextThatIsOverIsNotTheFaultOfAnEndpoint(t *testing.T) {
	net := newNetwork()
	transport := backends(t, net, "a", "b")
	ctx, cancel := context.WithDeadline(t.Context(), time.Now().Add(-time.Second))
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, "GET", "http://service/", nil)
	require.NoError(t, err)
	_, err = transport.RoundTrip(req)
	assert.ErrorIs(t, err, context.DeadlineExceeded)
	assert.Empty(t, net.took())
	assert.Equal(t, []bool{true, true}, well(transport))
}

func TestRestsGrow(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		net := newNetwork()
		net.set("a", refuse)
		transport := &failover.Transport{Service: "service", Base: net, RestMin: time.Second, RestMax: 20 * time.Second}
		require.NoError(t, transport.SetEndpoints(endpoints("a", "b")...))
		rests := make(map[time.Duration]bool)
		for n, want := range []struct{ least, most time.Duration }{
			{1 * time.Second, 2 * time.Second},
			{2 * time.Second, 4 * time.Second},
			{4 * time.Second, 8 * time.Second},
			{8 * time.Second, 16 * time.Second},
			{10 * time.Second, 20 * time.Second},
			{10 * time.Second, 20 * time.Second},
		} {
			assert.Equal(t, "b", get(t, transport)) // probes a first
			state := transport.Endpoints()[0]
			rest := time.Until(state.RestUntil)
			assert.Equal(t, n+1, state.Failures)
			assert.GreaterOrEqual(t, rest, want.least)
			assert.LessOrEqual(t, rest, want.most)
			rests[rest] = true
			time.Sleep(rest - time.Nanosecond)
			net.took()
			get(t, transport)
			assert.Equal(t, []string{"b"}, net.took(), "it still rests")
			time.Sleep(time.Nanosecond)
		}
		assert.Len(t, rests, 6, "the rests are random")

		net.set("a", nil)
		assert.Equal(t, "a", get(t, transport))
		assert.Equal(t, []bool{true, true}, well(transport))
		assert.Zero(t, transport.Endpoints()[0].RestUntil)
		assert.NoError(t, transport.Endpoints()[0].Err)
		net.set("a", refuse)
		get(t, transport)
		assert.LessOrEqual(t, time.Until(transport.Endpoints()[0].RestUntil), 2*time.Second, "a success ends the growth")
	})
}

func TestRetryAfterLengthensTheRest(t *testing.T) {
	for value, want := range map[string]time.Duration{"10": 10 * time.Second, "3600": 30 * time.Second} {
		synctest.Test(t, func(t *testing.T) {
			net := newNetwork()
			net.set("a", status(503, "Retry-After", value))
			transport := backends(t, net, "a", "b")
			get(t, transport)
			assert.Equal(t, want, time.Until(transport.Endpoints()[0].RestUntil), value)
		})
	}
}

func TestOneProbeAtATime(t *testing.T) {
	for _, mode := range []failover.Mode{failover.Ordered, failover.RoundRobin, failover.LeastLoaded} {
		synctest.Test(t, func(t *testing.T) {
			net := newNetwork()
			net.set("a", refuse)
			transport := &failover.Transport{Service: "service", Base: net, Mode: mode}
			require.NoError(t, transport.SetEndpoints(endpoints("a", "b")...))
			for transport.Endpoints()[0].Failures == 0 {
				get(t, transport)
			}
			time.Sleep(2 * time.Second)
			net.took()

			probe := newGate()
			net.set("a", probe.then(status(200)))
			var wg sync.WaitGroup
			for range 20 {
				wg.Go(func() { get(t, transport) })
			}
			synctest.Wait()
			assert.Equal(t, 1, count(net.took(), "a"), mode)
			close(probe.open)
			wg.Wait()
			assert.Equal(t, []bool{true, true}, well(transport), mode)
		})
	}
}

// While all endpoints rest, requests may go to one that has a probe under way. They do not
// end that.
func TestOtherRequestsDoNotEndAProbe(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		net := newNetwork()
		net.set("a", refuse)
		net.set("b", status(503, "Retry-After", "20"))
		transport := backends(t, net, "a", "b")
		get(t, transport)
		time.Sleep(2 * time.Second)
		probe := newGate()
		net.set("a", probe.then(status(200)))
		net.set("b", nil)
		var wg sync.WaitGroup
		for range 2 {
			wg.Go(func() { assert.Equal(t, "a", get(t, transport)) })
			synctest.Wait()
		}
		time.Sleep(20 * time.Second)
		assert.Equal(t, "b", get(t, transport))
		close(probe.open)
		wg.Wait()
	})
}

// The outcome of a probe that was canceled is not known: the next request is another one.
func TestACanceledProbeIsMadeAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		net := newNetwork()
		net.set("a", refuse)
		transport := backends(t, net, "a", "b")
		get(t, transport)
		time.Sleep(2 * time.Second)
		net.set("a", hang)
		ctx, cancel := context.WithTimeoutCause(t.Context(), time.Second, errors.New("the caller has lost interest"))
		defer cancel()
		_, err := transport.RoundTrip(newRequest(t, "GET", "http://service/", nil).WithContext(ctx))
		require.Error(t, err)
		assert.Equal(t, 1, transport.Endpoints()[0].Failures)
		net.set("a", nil)
		assert.Equal(t, "a", get(t, transport))
	})
}

func TestACallerThatCancelsDoesNotRestTheEndpoint(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		net := newNetwork()
		net.set("a", hang)
		transport := backends(t, net, "a", "b")
		for _, cause := range []error{nil, errors.New("another hedge has won")} {
			ctx, cancel := context.WithCancelCause(t.Context())
			time.AfterFunc(time.Second, func() { cancel(cause) })
			_, err := transport.RoundTrip(newRequest(t, "GET", "http://service/", nil).WithContext(ctx))
			require.Error(t, err)
		}
		assert.Equal(t, []bool{true, true}, well(transport))
		assert.Equal(t, []int{0, 0}, inFlight(transport))
	})
}

func TestAnEndpointThatTimesOutRests(t *testing.T) {
	for name, configure := range map[string]func(*retryablehttp.Client){
		"AttemptTimeout":     func(c *retryablehttp.Client) { c.AttemptTimeout = time.Second },
		"http.Client":        func(c *retryablehttp.Client) { c.HTTPClient.Timeout = time.Second },
		"both":               func(c *retryablehttp.Client) { c.AttemptTimeout, c.HTTPClient.Timeout = time.Second, time.Minute },
		"the other way":      func(c *retryablehttp.Client) { c.AttemptTimeout, c.HTTPClient.Timeout = time.Minute, time.Second },
		"with a retry limit": func(c *retryablehttp.Client) { c.AttemptTimeout, c.MaxElapsedTime = time.Second, time.Minute },
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				net := newNetwork()
				net.set("a", hang)
				transport := backends(t, net, "a", "b")
				client, attempts := calls(transport)
				configure(client)
				resp, err := client.Get("http://service/")
				assert.Equal(t, "b", text(t, resp, err))
				assert.EqualValues(t, 2, attempts.Load())
				assert.Equal(t, []bool{false, true}, well(transport))
			})
		})
	}
}

// A deadline of the caller is the only timeout that some programs have.
func TestADeadlineThatPassesRestsTheEndpoint(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		net := newNetwork()
		net.set("a", hang)
		transport := backends(t, net, "a", "b")
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		_, err := transport.RoundTrip(newRequest(t, "GET", "http://service/", nil).WithContext(ctx))
		require.ErrorIs(t, err, context.DeadlineExceeded)
		assert.Equal(t, []bool{false, true}, well(transport))
	})
}

// All requests that are under way when an endpoint fails count as one failure, and those of
// them that end later, well or not, change nothing.
func TestAFailureOfManyRequestsCountsOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		net := newNetwork()
		early, late := newGate(), newGate()
		transport := backends(t, net, "a", "b")
		var wg sync.WaitGroup
		send := func(host roundTripFunc, n int) {
			net.set("a", host)
			for range n {
				wg.Go(func() {
					if resp, err := transport.RoundTrip(newRequest(t, "GET", "http://service/", nil)); err == nil {
						resp.Body.Close()
					}
				})
			}
			synctest.Wait()
		}
		send(early.then(reset), 50)
		send(late.then(status(200)), 50)
		close(early.open)
		synctest.Wait()
		assert.Equal(t, 1, transport.Endpoints()[0].Failures)
		close(late.open)
		wg.Wait()
		assert.Equal(t, 1, transport.Endpoints()[0].Failures, "they were sent before the failure")
	})
}

func TestAllRestMeansTheOneWhoseRestEndsFirst(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		net := newNetwork()
		net.set("a", status(503, "Retry-After", "20"))
		net.set("b", status(503, "Retry-After", "10"))
		net.set("c", status(503, "Retry-After", "15"))
		transport := &failover.Transport{Service: "service", Base: net, Mode: failover.RoundRobin}
		require.NoError(t, transport.SetEndpoints(endpoints("a", "b", "c")...))
		for range 3 {
			get(t, transport)
		}
		assert.Equal(t, []bool{false, false, false}, well(transport))
		net.set("b", nil)
		assert.Equal(t, "b", get(t, transport))
		assert.Equal(t, []bool{false, true, false}, well(transport), "it was well before its rest was over")
	})
}

// All endpoints are sent the request, once each, before the caller gets the error.
func TestRefusedEverywhere(t *testing.T) {
	net := newNetwork()
	for _, host := range []string{"a", "b", "c"} {
		net.set(host, refuse)
	}
	transport := backends(t, net, "a", "b", "c")
	for range 2 {
		resp, err := transport.RoundTrip(newRequest(t, "POST", "http://service/", strings.NewReader("x")))
		assert.Nil(t, resp)
		assert.ErrorIs(t, err, errRefused)
		assert.True(t, retryablehttp.Unsent(err))
		assert.Equal(t, []string{"a", "b", "c"}, sorted(net.took()))
	}
	assert.Equal(t, []int{0, 0, 0}, inFlight(transport))
}

// A bad request says nothing about the endpoint.
func TestABadRequestDoesNotRestTheEndpoint(t *testing.T) {
	transport := backends(t, nil, "127.0.0.1:1")
	req := newRequest(t, "GET", "http://service/", nil)
	req.Header["bad name"] = []string{"x"}
	_, err := transport.RoundTrip(req)
	require.Error(t, err)
	assert.Equal(t, []bool{true}, well(transport))
}

func TestChangesAreReported(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		net := newNetwork()
		net.set("a", refuse)
		var seen []failover.Status
		transport := &failover.Transport{Service: "service", Base: net}
		transport.OnChange = func(s failover.Status) {
			seen = append(seen, s)
			transport.Endpoints() // may be called from here
		}
		require.NoError(t, transport.SetEndpoints(failover.Endpoint{URL: "http://user:secret@a/p"}, failover.Endpoint{URL: "http://b"}))
		get(t, transport)
		time.Sleep(2 * time.Second)
		net.set("a", nil)
		for range 3 {
			get(t, transport)
		}
		require.Len(t, seen, 2)
		assert.Equal(t, "http://a/p", seen[0].URL)
		assert.Equal(t, 1, seen[0].Failures)
		assert.ErrorIs(t, seen[0].Err, errRefused)
		assert.Equal(t, failover.Status{URL: "http://a/p", InFlight: 1}, seen[1])
	})
}

// An endpoint is judged by the error of its connection, not by an error of the request body.
func TestABodyThatFailsDoesNotRestTheEndpoint(t *testing.T) {
	server := serve(t, func(w http.ResponseWriter, r *http.Request) { io.Copy(io.Discard, r.Body) })
	other := serve(t, func(w http.ResponseWriter, r *http.Request) { t.Error("the request has gone on") })
	for _, method := range []string{"POST", "PUT"} {
		for name, fault := range map[string]error{"reset": io.ErrUnexpectedEOF, "dial": errRefused} {
			t.Run(method+" "+name, func(t *testing.T) {
				transport := backends(t, newTransport(t), host(server), host(other))
				body := newCountedBody("")
				body.Reader = io.MultiReader(strings.NewReader("some"), failingReader{fault})
				req := newRequest(t, method, "http://service/", body)
				req.GetBody = func() (io.ReadCloser, error) { return http.NoBody, nil }
				_, err := transport.RoundTrip(req)
				require.ErrorIs(t, err, fault)
				assert.Equal(t, []bool{true, true}, well(transport))
				assert.EqualValues(t, 1, body.closed.Load())
			})
		}
	}
}

type failingReader struct{ err error }

func (r failingReader) Read([]byte) (int, error) { return 0, r.err }

// An attempt that times out because the body keeps it waiting is not the endpoint's fault.
func TestABodyThatBlocksDoesNotRestTheEndpoint(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		net := newNetwork()
		net.set("a", func(req *http.Request) (*http.Response, error) {
			go io.Copy(io.Discard, req.Body)
			return hang(req)
		})
		transport := backends(t, net, "a")
		r, w := io.Pipe()
		defer w.Close()
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		_, err := transport.RoundTrip(newRequest(t, "POST", "http://service/", r).WithContext(ctx))
		require.ErrorIs(t, err, context.DeadlineExceeded)
		assert.Equal(t, []bool{true}, well(transport))
	})
}

// A client of the core ends the Read of such a body.
func TestABodyThatBlocksInACallDoesNotRestTheEndpoint(t *testing.T) {
	server := serve(t, func(w http.ResponseWriter, r *http.Request) { io.Copy(io.Discard, r.Body) })
	transport := backends(t, newTransport(t), host(server))
	client, _ := calls(transport)
	client.AttemptTimeout, client.RetryMax = 50*time.Millisecond, 0
	r, w := io.Pipe()
	defer w.Close()
	_, err := client.Post("http://service/", "", r)
	require.ErrorIs(t, err, retryablehttp.ErrAttemptTimeout)
	assert.Equal(t, []bool{true}, well(transport))
}
