package failover_test

import (
	"errors"
	"io"
	"math/rand/v2"
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

func TestRequestsThatCannotBeSent(t *testing.T) {
	resp, err := backends(t, newNetwork(), "a").RoundTrip(nil)
	assert.Nil(t, resp)
	assert.EqualError(t, err, "failover: nil Request")
	for name, tc := range map[string]struct {
		transport *failover.Transport
		change    func(*http.Request)
		want      string
	}{
		"no endpoints": {&failover.Transport{Service: "service"}, func(*http.Request) {}, "failover: no endpoints; call Transport.SetEndpoints"},
		"nil URL":      {backends(t, newNetwork(), "a"), func(r *http.Request) { r.URL = nil }, "failover: nil Request.URL"},
		"opaque URL":   {backends(t, newNetwork(), "a"), func(r *http.Request) { r.URL.Opaque = "//service/x" }, "failover: Request.URL.Opaque is set"},
	} {
		t.Run(name, func(t *testing.T) {
			body := newCountedBody("x")
			req := newRequest(t, "PUT", "http://service/", body)
			tc.change(req)
			resp, err := tc.transport.RoundTrip(req)
			assert.Nil(t, resp)
			require.EqualError(t, err, tc.want)
			assert.EqualValues(t, 1, body.closed.Load())
			retry, _ := retryablehttp.DefaultRetryPolicy(t.Context(), nil, err)
			assert.False(t, retry)
		})
	}
}

func TestOrderedPicksTheFirst(t *testing.T) {
	net := newNetwork()
	transport := backends(t, net, "a", "b", "c")
	for range 5 {
		assert.Equal(t, "a", get(t, transport))
	}
	net.set("a", refuse)
	net.set("b", refuse)
	for range 5 {
		assert.Equal(t, "c", get(t, transport))
	}
}

// The share of an endpoint that rests goes to the others in equal parts.
func TestRoundRobinIsEven(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		net := newNetwork()
		transport := &failover.Transport{Service: "service", Base: net, Mode: failover.RoundRobin}
		require.NoError(t, transport.SetEndpoints(endpoints("a", "b", "c", "d")...))
		for range 8 {
			get(t, transport)
		}
		assert.Equal(t, strings.Fields("a b c d a b c d"), net.took())
		net.set("b", refuse)
		for range 2 {
			get(t, transport)
		}
		net.took()
		for range 300 {
			get(t, transport)
		}
		hosts := net.took()
		assert.Equal(t, []int{100, 0, 100, 100}, []int{count(hosts, "a"), count(hosts, "b"), count(hosts, "c"), count(hosts, "d")})
	})
}

// Of two endpoints, LeastLoaded always takes the idle one; of many it does so often.
func TestLeastLoadedPicksTheLessLoaded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		net := newNetwork()
		transport := &failover.Transport{Service: "service", Base: net, Mode: failover.LeastLoaded}
		require.NoError(t, transport.SetEndpoints(endpoints("a", "b")...))
		busy := newGate()
		net.set("a", busy.then(status(200)))
		var wg sync.WaitGroup
		for transport.Endpoints()[0].InFlight == 0 {
			wg.Go(func() { get(t, transport) })
			synctest.Wait()
		}
		for range 50 {
			assert.Equal(t, "b", get(t, transport))
		}
		close(busy.open)
		wg.Wait()
		assert.Equal(t, []int{0, 0}, inFlight(transport))

		net.took()
		net.set("a", nil)
		for range 1000 {
			get(t, transport)
		}
		assert.InDelta(t, 500, count(net.took(), "a"), 100, "none is loaded")
	})
}

// A slow endpoint gets few requests, although it does not fail.
func TestLeastLoadedSparesASlowEndpoint(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		net := newNetwork()
		net.set("a", after(time.Second, status(200)))
		net.set("b", after(10*time.Millisecond, status(200)))
		net.set("c", after(10*time.Millisecond, status(200)))
		transport := &failover.Transport{Service: "service", Base: net, Mode: failover.LeastLoaded}
		require.NoError(t, transport.SetEndpoints(endpoints("a", "b", "c")...))
		var wg sync.WaitGroup
		for range 1000 {
			wg.Go(func() { get(t, transport) })
			time.Sleep(5 * time.Millisecond)
		}
		wg.Wait()
		assert.Less(t, count(net.took(), "a"), 100)
	})
}

func TestARequestIsInFlightUntilItsBodyIsDone(t *testing.T) {
	for name, finish := range map[string]func(*http.Response){
		"closed":      func(resp *http.Response) { resp.Body.Close() },
		"read":        func(resp *http.Response) { io.ReadAll(resp.Body) },
		"both, twice": func(resp *http.Response) { io.ReadAll(resp.Body); resp.Body.Close(); resp.Body.Close() },
	} {
		transport := backends(t, newNetwork(), "a")
		var open []*http.Response
		for range 2 {
			resp, err := transport.RoundTrip(newRequest(t, "GET", "http://service/", nil))
			require.NoError(t, err)
			open = append(open, resp)
		}
		assert.Equal(t, []int{2}, inFlight(transport))
		finish(open[0])
		assert.Equal(t, []int{1}, inFlight(transport), name)
		finish(open[1])
		assert.Equal(t, []int{0}, inFlight(transport), name)
	}
}

type readWriteCloser struct {
	io.ReadCloser
	io.Writer
}

// The body of 101 Switching Protocols is an io.Writer.
func TestABodyThatIsAWriterStaysOne(t *testing.T) {
	net := newNetwork()
	var written strings.Builder
	net.set("a", func(req *http.Request) (*http.Response, error) {
		resp := respond(req, 101)
		resp.Body = readWriteCloser{resp.Body, &written}
		return resp, nil
	})
	transport := backends(t, net, "a")
	resp, err := transport.RoundTrip(newRequest(t, "GET", "http://service/", nil))
	require.NoError(t, err)
	_, err = io.WriteString(resp.Body.(io.ReadWriteCloser), "hello")
	require.NoError(t, err)
	assert.Equal(t, "hello", written.String())
	assert.Equal(t, []int{1}, inFlight(transport))
	assert.Equal(t, "a", text(t, resp, nil))
	assert.Equal(t, []int{0}, inFlight(transport))

	net.set("a", nil)
	resp, err = transport.RoundTrip(newRequest(t, "GET", "http://service/", nil))
	require.NoError(t, err)
	assert.NotImplements(t, (*io.Writer)(nil), resp.Body)
	resp.Body.Close()
}

// A transport that breaks the contract of http.RoundTripper does not make this one break it.
func TestATransportThatBreaksItsContract(t *testing.T) {
	net := newNetwork()
	transport := backends(t, net, "a")
	send := func() (*http.Response, error) {
		return transport.RoundTrip(newRequest(t, "GET", "http://service/", nil))
	}
	body := newCountedBody("x")
	net.set("a", func(req *http.Request) (*http.Response, error) {
		return &http.Response{StatusCode: 200, Body: body}, io.ErrUnexpectedEOF
	})
	resp, err := send()
	assert.Nil(t, resp)
	assert.ErrorIs(t, err, io.ErrUnexpectedEOF)
	assert.EqualValues(t, 1, body.closed.Load())

	net.set("a", func(*http.Request) (*http.Response, error) { return nil, nil })
	resp, err = send()
	assert.Nil(t, resp)
	assert.EqualError(t, err, "failover: the transport returned neither a response nor an error")

	net.set("a", func(*http.Request) (*http.Response, error) { return &http.Response{StatusCode: 200}, nil })
	resp, err = send()
	assert.Empty(t, text(t, resp, err))
	assert.Equal(t, []int{0}, inFlight(transport))
}

func TestAPanicOfATransportLeavesNothingBehind(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		net := newNetwork()
		net.set("a", refuse)
		transport := backends(t, net, "a", "b")
		get(t, transport)
		time.Sleep(2 * time.Second)
		net.set("a", func(*http.Request) (*http.Response, error) { panic("lost") })
		assert.PanicsWithValue(t, "lost", func() { transport.RoundTrip(newRequest(t, "GET", "http://service/", nil)) })
		assert.Equal(t, []int{0, 0}, inFlight(transport))
		net.set("a", nil)
		assert.Equal(t, "a", get(t, transport), "the probe is made again")
	})
}

func TestEndpointsAreReplaced(t *testing.T) {
	net := newNetwork()
	transport := backends(t, net, "a", "b")
	net.set("a", refuse)
	get(t, transport)
	old := newGate()
	net.set("b", old.then(status(200)))
	var wg sync.WaitGroup
	wg.Go(func() { assert.Equal(t, "b", get(t, transport)) })
	<-old.arrived

	require.NoError(t, transport.SetEndpoints(failover.Endpoint{URL: "http://u:p@a"}, failover.Endpoint{URL: "http://c"}))
	net.took()
	assert.Equal(t, "c", get(t, transport))
	assert.Equal(t, []string{"c"}, net.took(), "a keeps its health")
	close(old.open)
	wg.Wait()
	assert.Equal(t, []int{0, 0}, inFlight(transport))

	require.NoError(t, transport.SetEndpoints(endpoints("b")...))
	require.NoError(t, transport.SetEndpoints(endpoints("a")...))
	assert.Equal(t, []bool{true}, well(transport), "it is a new one")
}

// The count of requests in flight goes on when an endpoint is in both sets.
func TestRequestsInFlightOutliveAReplacement(t *testing.T) {
	transport := backends(t, newNetwork(), "a")
	resp, err := transport.RoundTrip(newRequest(t, "GET", "http://service/", nil))
	require.NoError(t, err)
	require.NoError(t, transport.SetEndpoints(endpoints("b", "a")...))
	assert.Equal(t, []int{0, 1}, inFlight(transport))
	resp.Body.Close()
	assert.Equal(t, []int{0, 0}, inFlight(transport))
}

// Many callers, endpoints that fail at random, and sets that change: every call ends, and
// nothing stays counted.
func TestAnything(t *testing.T) {
	seed := rand.Uint64()
	t.Log("seed", seed)
	synctest.Test(t, func(t *testing.T) {
		var mu sync.Mutex
		random := rand.New(rand.NewPCG(seed, 0))
		draw := func(n int) int {
			mu.Lock()
			defer mu.Unlock()
			return random.IntN(n)
		}
		net := newNetwork()
		hosts := []string{"a", "b", "c", "d", "e"}
		faults := []roundTripFunc{refuse, reset, hang, status(503), status(500), status(503, "Retry-After", "3"), status(200), status(200), status(200)}
		for _, host := range hosts {
			net.set(host, func(req *http.Request) (*http.Response, error) {
				return after(time.Duration(draw(20))*time.Millisecond, faults[draw(len(faults))])(req)
			})
		}
		for _, mode := range []failover.Mode{failover.Ordered, failover.RoundRobin, failover.LeastLoaded} {
			transport := &failover.Transport{Service: "service", Base: net, Mode: mode, OnChange: func(failover.Status) {}}
			require.NoError(t, transport.SetEndpoints(endpoints(hosts...)...))
			client, _ := calls(transport)
			client.AttemptTimeout = 100 * time.Millisecond
			client.CheckRetry = retryablehttp.SafeRetryPolicy
			var wg sync.WaitGroup
			for range 20 {
				wg.Go(func() {
					for range 50 {
						body := newCountedBody("content")
						req := newRequest(t, []string{"GET", "POST", "PUT"}[draw(3)], "http://service/", body)
						req.GetBody = func() (io.ReadCloser, error) { return io.NopCloser(strings.NewReader("content")), nil }
						wrapped, err := retryablehttp.FromRequest(req)
						assert.NoError(t, err)
						if resp, err := client.Do(wrapped); err == nil {
							io.Copy(io.Discard, resp.Body)
							resp.Body.Close()
						}
						assert.EqualValues(t, 1, body.closed.Load())
					}
				})
			}
			wg.Go(func() {
				for range 30 {
					time.Sleep(time.Duration(draw(50)) * time.Millisecond)
					some := draw(4)
					assert.NoError(t, transport.SetEndpoints(endpoints(hosts[some:]...)...))
				}
				assert.NoError(t, transport.SetEndpoints(endpoints(hosts...)...))
			})
			wg.Wait()
			for _, s := range transport.Endpoints() {
				assert.Zero(t, s.InFlight)
			}
		}
	})
}

// The only allocation is the copied request, which holds the response body too.
func TestSuccessPathAllocations(t *testing.T) {
	resp := &http.Response{StatusCode: 200, Header: http.Header{}}
	base := roundTripFunc(func(req *http.Request) (*http.Response, error) {
		resp.Body, resp.Request = http.NoBody, req
		return resp, nil
	})
	for _, mode := range []failover.Mode{failover.Ordered, failover.RoundRobin, failover.LeastLoaded} {
		transport := &failover.Transport{Service: "service", Base: base, Mode: mode}
		require.NoError(t, transport.SetEndpoints(endpoints("a", "b", "c")...))
		req := newRequest(t, "GET", "http://service/", nil)
		assert.EqualValues(t, 1, testing.AllocsPerRun(200, func() {
			if _, err := transport.RoundTrip(req); err != nil {
				t.Error(err)
			}
		}), mode)

		client, _ := calls(base)
		through, _ := calls(transport)
		client.OnAttempt, through.OnAttempt = nil, nil
		allocations := func(c *retryablehttp.Client) float64 {
			return testing.AllocsPerRun(200, func() {
				if _, err := c.Get("http://service/"); err != nil {
					t.Error(err)
				}
			})
		}
		assert.EqualValues(t, 1, allocations(through)-allocations(client), mode)
	}
}

func BenchmarkRoundTrip(b *testing.B) {
	base := roundTripFunc(func(req *http.Request) (*http.Response, error) {
		return &http.Response{StatusCode: 200, Body: http.NoBody, Request: req}, nil
	})
	for name, mode := range map[string]failover.Mode{"Ordered": failover.Ordered, "RoundRobin": failover.RoundRobin, "LeastLoaded": failover.LeastLoaded} {
		for _, method := range []string{"GET", "POST"} {
			b.Run(name+"/"+method, func(b *testing.B) {
				transport := &failover.Transport{Service: "service", Base: base, Mode: mode}
				require.NoError(b, transport.SetEndpoints(endpoints("a", "b", "c")...))
				b.ReportAllocs()
				b.RunParallel(func(pb *testing.PB) {
					req := newRequest(b, method, "http://service/", nil)
					for pb.Next() {
						if _, err := transport.RoundTrip(req); err != nil {
							b.Error(err)
						}
					}
				})
			})
		}
	}
}

var errLost = errors.New("connection lost")
