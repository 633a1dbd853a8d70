package failover_test

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"net/http/httptrace"
	"os"
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

// Where the attempts of one call go, if the first endpoint does this. The policy is the
// default one, which retries all of it.
func TestWhereTheAttemptsGo(t *testing.T) {
	const key = "Idempotency-Key"
	for name, tc := range map[string]struct {
		method string
		header string // name of a header that the request has
		shared bool   // Transport.SharedKeys
		a      roundTripFunc
		want   string // the hosts, b responds
		tries  int64  // attempts of the core
	}{
		"GET, refused":                  {"GET", "", false, refuse, "a b", 1},
		"GET, reset":                    {"GET", "", false, reset, "a b", 2},
		"GET, 500":                      {"GET", "", false, status(500), "a b", 2},
		"GET, 503":                      {"GET", "", false, status(503), "a b", 2},
		"GET, 429":                      {"GET", "", false, status(429), "a b", 2},
		"PUT, refused":                  {"PUT", "", false, refuse, "a b", 1},
		"PUT, reset":                    {"PUT", "", false, reset, "a b", 2},
		"DELETE, 500":                   {"DELETE", "", false, status(500), "a b", 2},
		"POST, refused":                 {"POST", "", false, refuse, "a b", 1},
		"POST, name not found":          {"POST", "", false, failure(errNotFound), "a b", 1},
		"POST, reset":                   {"POST", "", false, reset, "a a a", 3},
		"POST, 500":                     {"POST", "", false, status(500), "a a a", 3},
		"POST, 503":                     {"POST", "", false, status(503), "a a a", 3},
		"POST, 503 with Retry-After":    {"POST", "", false, status(503, "Retry-After", "0"), "a b", 2},
		"POST, 503 with a bad one":      {"POST", "", false, status(503, "Retry-After", "soon"), "a a a", 3},
		"POST, 429":                     {"POST", "", false, status(429), "a b", 2},
		"PATCH, reset":                  {"PATCH", "", false, reset, "a a a", 3},
		"POST with a key, reset":        {"POST", key, false, reset, "a a a", 3},
		"POST with a shared key, reset": {"POST", key, true, reset, "a b", 2},
		"POST with the other key":       {"POST", "X-" + key, true, reset, "a b", 2},
		"POST without a key, shared":    {"POST", "", true, reset, "a a a", 3},
	} {
		t.Run(name, func(t *testing.T) {
			network := newNetwork()
			network.set("a", tc.a)
			transport := &failover.Transport{Service: "service", Base: network, SharedKeys: tc.shared}
			require.NoError(t, transport.SetEndpoints(endpoints("a", "b", "c")...))
			client, attempts := calls(transport)
			client.RetryMax = 2
			req, err := retryablehttp.NewRequest(tc.method, "http://service/", "content")
			require.NoError(t, err)
			if tc.header != "" {
				req.Header.Set(tc.header, "1")
			}
			if resp, err := client.Do(req); err == nil {
				assert.Equal(t, "b", text(t, resp, nil))
			}
			assert.Equal(t, strings.Fields(tc.want), network.took())
			assert.Equal(t, tc.tries, attempts.Load())
			assert.Equal(t, []int{0, 0, 0}, inFlight(transport))
		})
	}
}

var errNotFound = &net.OpError{Op: "dial", Net: "tcp", Err: &net.DNSError{Err: "no such host", Name: "a", IsNotFound: true}}

// All endpoints are tried once before one is tried again, also if they stay well.
func TestEveryAttemptGoesToTheNextBestEndpoint(t *testing.T) {
	for mode, want := range map[failover.Mode]string{failover.Ordered: "a b c a a", failover.RoundRobin: "a b c a b"} {
		network := newNetwork()
		for _, host := range []string{"a", "b", "c"} {
			network.set(host, status(500))
		}
		transport := &failover.Transport{Service: "service", Base: network, Mode: mode}
		require.NoError(t, transport.SetEndpoints(endpoints("a", "b", "c")...))
		client, _ := calls(transport)
		client.RetryMax = 4
		_, err := client.Get("http://service/")
		require.Error(t, err)
		assert.Equal(t, strings.Fields(want), network.took())
		_, err = client.Get("http://service/")
		require.Error(t, err)
		hosts := network.took()
		assert.Equal(t, []string{"a", "b", "c"}, sorted(hosts[:3]), "a call knows only its own attempts")
	}
}

// A call that was delayed once prefers an endpoint that is well to making a probe; and a
// probe to an endpoint that it has tried.
func TestRetriesArePoorProbes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		network := newNetwork()
		network.set("a", refuse)
		network.set("b", refuse)
		transport := backends(t, network, "a", "b", "c")
		get(t, transport)
		time.Sleep(2 * time.Second)
		network.set("a", reset)
		network.set("b", status(200))
		network.took()
		client, _ := calls(transport)
		resp, err := client.Get("http://service/")
		text(t, resp, err)
		assert.Equal(t, []string{"a", "c"}, network.took())

		network.set("c", status(500))
		require.NoError(t, transport.SetEndpoints(endpoints("c", "b")...))
		resp, err = client.Get("http://service/")
		text(t, resp, err)
		assert.Equal(t, []string{"c", "b"}, network.took())
	})
}

// Of endpoints that rest, the next attempt takes one that the call has not tried.
func TestRetriesWhileAllRest(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		network := newNetwork()
		network.set("a", status(503, "Retry-After", "20"))
		network.set("b", status(503, "Retry-After", "10"))
		transport := &failover.Transport{Service: "service", Base: network, Mode: failover.RoundRobin}
		require.NoError(t, transport.SetEndpoints(endpoints("a", "b")...))
		get(t, transport)
		get(t, transport)
		network.took()
		network.set("b", reset)
		client, _ := calls(transport)
		client.RetryMax = 1
		_, err := client.Get("http://service/")
		require.Error(t, err)
		assert.Equal(t, []string{"b", "a"}, network.took())
	})
}

// A POST that may have been acted on stays at its endpoint, also if that refuses it later.
func TestAPostStaysAtAnEndpointThatRefusesItLater(t *testing.T) {
	network := newNetwork()
	requests := 0
	network.set("a", func(req *http.Request) (*http.Response, error) {
		if requests++; requests == 1 {
			return reset(req)
		}
		return refuse(req)
	})
	client, attempts := calls(backends(t, network, "a", "b"))
	client.RetryMax = 2
	_, err := client.Post("http://service/", "", "content")
	require.ErrorIs(t, err, errRefused)
	assert.Equal(t, []string{"a", "a", "a"}, network.took())
	assert.EqualValues(t, 3, attempts.Load())
}

// A transport in between may send a request of its own, to get a token for example. If that
// may be repeated, it does not bind a POST to its endpoint.
func TestAGetDoesNotBindAPost(t *testing.T) {
	network := newNetwork()
	transport := backends(t, network, "a", "b")
	client, _ := calls(roundTripFunc(func(req *http.Request) (*http.Response, error) {
		resp, err := transport.RoundTrip(newRequest(t, "GET", "http://service/token", nil).WithContext(req.Context()))
		assert.Equal(t, "a", text(t, resp, err))
		network.set("a", refuse)
		return transport.RoundTrip(req)
	}))
	resp, err := client.Post("http://service/", "", "content")
	assert.Equal(t, "b", text(t, resp, err))
}

func TestAPostDoesNotBindAGet(t *testing.T) {
	network := newNetwork()
	transport := backends(t, network, "a", "b")
	client, _ := calls(roundTripFunc(func(req *http.Request) (*http.Response, error) {
		resp, err := transport.RoundTrip(newRequest(t, "POST", "http://service/token", nil).WithContext(req.Context()))
		assert.Equal(t, "a", text(t, resp, err))
		network.set("a", refuse)
		return transport.RoundTrip(req)
	}))
	resp, err := client.Get("http://service/")
	assert.Equal(t, "b", text(t, resp, err))
}

// Nothing is sent any more when the caller has canceled the request.
func TestACanceledRequestGoesNowhere(t *testing.T) {
	network := newNetwork()
	ctx, cancel := context.WithCancel(t.Context())
	network.set("a", func(req *http.Request) (*http.Response, error) {
		cancel()
		return refuse(req)
	})
	transport := backends(t, network, "a", "b")
	_, err := transport.RoundTrip(newRequest(t, "GET", "http://service/", nil).WithContext(ctx))
	require.ErrorIs(t, err, errRefused)
	assert.Equal(t, []string{"a"}, network.took())
}

// A connection that was given may have been written to, until there is proof that it was
// not.
func TestAPostThatWasGivenAConnectionMayHaveBeenSent(t *testing.T) {
	for given, want := range map[bool]string{false: "a b", true: "a a"} {
		network := newNetwork()
		network.set("a", func(req *http.Request) (*http.Response, error) {
			trace := httptrace.ContextClientTrace(req.Context())
			trace.GetConn("a:80")
			if given {
				trace.GotConn(httptrace.GotConnInfo{})
			}
			network.set("a", nil)
			return nil, errLost
		})
		client, _ := calls(backends(t, network, "a", "b"))
		resp, err := client.Post("http://service/", "", "content")
		text(t, resp, err)
		hosts := network.took()
		assert.Equal(t, strings.Fields(want), hosts)
	}
}

// net/http looks at the types of bodies in memory and of files.
func TestBodiesThatNetHTTPKnowsAreSentAsTheyAre(t *testing.T) {
	file, err := os.Open(os.DevNull)
	require.NoError(t, err)
	for _, body := range []io.Reader{strings.NewReader("x"), bytes.NewReader([]byte("x")), bytes.NewBufferString("x"), file} {
		network := newNetwork()
		req := newRequest(t, "POST", "http://service/", body)
		resp, err := backends(t, network, "a").RoundTrip(req)
		text(t, resp, err)
		assert.Equal(t, fmt.Sprintf("%T", req.Body), fmt.Sprintf("%T", network.last().Body))
	}
}

// The body is sent whole to the endpoint that takes it.
func TestTheBodyIsSentAgain(t *testing.T) {
	for name, body := range map[string]any{
		"bytes":  []byte("content"),
		"stream": io.MultiReader(strings.NewReader("content")),
		"opened": retryablehttp.ReaderFunc(func() (io.Reader, error) { return newCountedBody("content"), nil }),
	} {
		t.Run(name, func(t *testing.T) {
			network := newNetwork()
			network.set("a", refuse)
			network.set("b", func(req *http.Request) (*http.Response, error) {
				got, err := io.ReadAll(req.Body)
				assert.NoError(t, err)
				assert.Equal(t, "content", string(got))
				return respond(req, 200), nil
			})
			client, attempts := calls(backends(t, network, "a", "b"))
			resp, err := client.Post("http://service/", "", body)
			assert.Equal(t, "b", text(t, resp, err))
			assert.EqualValues(t, 1, attempts.Load())
		})
	}
}

// A body that can be read only once is not sent to another endpoint within a RoundTrip. In
// a call the next attempt does so, if the client keeps the body.
func TestABodyThatCanBeReadOnlyOnce(t *testing.T) {
	network := newNetwork()
	network.set("a", refuse)
	transport := backends(t, network, "a", "b")
	body := newCountedBody("content")
	_, err := transport.RoundTrip(newRequest(t, "PUT", "http://service/", body))
	require.ErrorIs(t, err, errRefused)
	assert.EqualValues(t, 1, body.closed.Load())

	transport = backends(t, network, "a", "b")
	body = newCountedBody("content")
	rt := &retryablehttp.RoundTripper{Base: transport, Client: &retryablehttp.Client{RetryMax: 1, RetryWaitMax: 1}}
	resp, err := rt.RoundTrip(newRequest(t, "POST", "http://service/", body))
	assert.Equal(t, "b", text(t, resp, err))
	assert.EqualValues(t, 1, body.closed.Load())
}

// All bodies are closed once: the first one, and the ones of GetBody.
func TestEveryBodyIsClosedOnce(t *testing.T) {
	network := newNetwork()
	transport := backends(t, network, "a", "b", "c")
	for name, hosts := range map[string]map[string]roundTripFunc{
		"sent":           {},
		"refused":        {"a": refuse},
		"refused twice":  {"a": refuse, "b": refuse},
		"refused by all": {"a": refuse, "b": refuse, "c": refuse},
		"reset":          {"a": reset},
		"closed twice":   {"a": func(req *http.Request) (*http.Response, error) { req.Body.Close(); return reset(req) }},
		"refused, reset": {"a": refuse, "b": reset},
		"refused, removed": {"a": func(req *http.Request) (*http.Response, error) {
			transport.SetEndpoints(endpoints("a")...)
			return refuse(req)
		}},
	} {
		t.Run(name, func(t *testing.T) {
			for _, host := range []string{"a", "b", "c"} {
				network.set(host, hosts[host])
			}
			require.NoError(t, transport.SetEndpoints(endpoints("d")...))
			require.NoError(t, transport.SetEndpoints(endpoints("a", "b", "c")...))
			bodies := []*countedBody{newCountedBody("content")}
			req := newRequest(t, "PUT", "http://service/", bodies[0])
			req.GetBody = func() (io.ReadCloser, error) {
				bodies = append(bodies, newCountedBody("content"))
				return bodies[len(bodies)-1], nil
			}
			if resp, err := transport.RoundTrip(req); err == nil {
				resp.Body.Close()
			}
			for _, body := range bodies {
				assert.EqualValues(t, 1, body.closed.Load())
			}
		})
	}
}

func TestABodyThatCannotBeOpenedAgain(t *testing.T) {
	network := newNetwork()
	network.set("a", refuse)
	transport := backends(t, network, "a", "b")
	req := newRequest(t, "PUT", "http://service/", newCountedBody(""))
	req.GetBody = func() (io.ReadCloser, error) { return nil, errLost }
	_, err := transport.RoundTrip(req)
	assert.ErrorIs(t, err, errRefused)
	assert.Equal(t, []int{0, 0}, inFlight(transport))
}

func TestTheEndpointThatMayHaveActedWasRemoved(t *testing.T) {
	network := newNetwork()
	network.set("a", reset)
	transport := backends(t, network, "a", "b")
	client, attempts := calls(transport)
	client.PrepareRetry = func(*http.Request) error { return transport.SetEndpoints(endpoints("b", "c")...) }
	_, err := client.Post("http://service/", "", "content")
	require.ErrorIs(t, err, failover.ErrEndpointRemoved)
	assert.EqualValues(t, 2, attempts.Load(), "it is permanent")
	assert.Equal(t, []string{"a"}, network.took())
	assert.False(t, retryablehttp.Unsent(err))

	require.NoError(t, transport.SetEndpoints(endpoints("a", "b")...))
	resp, err := client.Get("http://service/")
	assert.Contains(t, "bc", text(t, resp, err), "a GET goes on")
}

// A retry at the same endpoint uses the endpoint as it is now.
func TestARetryAtTheSameEndpointUsesItsNewCredentials(t *testing.T) {
	network := newNetwork()
	network.set("a", reset)
	transport := backends(t, network, "b", "a")
	require.NoError(t, transport.SetEndpoints(endpoints("a", "b")...))
	client, _ := calls(transport)
	client.PrepareRetry = func(*http.Request) error {
		network.set("a", nil)
		return transport.SetEndpoints(failover.Endpoint{URL: "http://b"}, failover.Endpoint{URL: "http://a", Header: http.Header{"X-Key": {"new"}}})
	}
	resp, err := client.Post("http://service/", "", "content")
	assert.Equal(t, "a", text(t, resp, err))
	assert.Equal(t, "new", network.last().Header.Get("X-Key"))
}

// The hops of a redirect are requests of one attempt. They do not avoid each other's
// endpoint, and a POST that is redirected stays at the endpoint that may have acted on it.
func TestRedirectsWithinACall(t *testing.T) {
	for _, tc := range []struct {
		method string
		status int
	}{{"GET", 302}, {"POST", 303}, {"POST", 307}} {
		network := newNetwork()
		network.set("a", func(req *http.Request) (*http.Response, error) {
			if req.URL.Path == "/x" {
				return respond(req, 200), nil
			}
			return respond(req, tc.status, "Location", "http://a/x"), nil
		})
		client, attempts := calls(backends(t, network, "a", "b"))
		req, err := retryablehttp.NewRequest(tc.method, "http://service/", "content")
		require.NoError(t, err)
		resp, err := client.Do(req)
		assert.Equal(t, "a", text(t, resp, err))
		assert.Equal(t, "http://service/x", resp.Request.URL.String())
		assert.EqualValues(t, 1, attempts.Load())
		assert.Equal(t, []string{"a", "a"}, network.took())
	}
}

// Requests that a transport in between sends at the same time for one call go to different
// endpoints, also in the ordered mode.
func TestHedgedRequestsGoToDifferentEndpoints(t *testing.T) {
	for _, mode := range []failover.Mode{failover.Ordered, failover.RoundRobin, failover.LeastLoaded} {
		synctest.Test(t, func(t *testing.T) {
			network := newNetwork()
			for _, host := range []string{"a", "b", "c"} {
				network.set(host, hang)
			}
			transport := &failover.Transport{Service: "service", Base: network, Mode: mode}
			require.NoError(t, transport.SetEndpoints(endpoints("a", "b", "c")...))
			hedge := roundTripFunc(func(req *http.Request) (*http.Response, error) {
				ctx, cancel := context.WithCancel(req.Context())
				var wg sync.WaitGroup
				for range 3 {
					wg.Go(func() {
						_, err := transport.RoundTrip(req.WithContext(ctx))
						assert.Error(t, err)
					})
				}
				synctest.Wait()
				assert.Equal(t, []int{1, 1, 1}, inFlight(transport), mode)
				cancel()
				wg.Wait()
				return respond(req, 200), nil
			})
			client, _ := calls(hedge)
			resp, err := client.Get("http://service/")
			text(t, resp, err)
			assert.Equal(t, []bool{true, true, true}, well(transport))
		})
	}
}

// The client of the core around a whole http.Client, and one in another.
func TestOtherWaysToMakeACall(t *testing.T) {
	for name, wrap := range map[string]func(*retryablehttp.Client, http.RoundTripper) http.RoundTripper{
		"RoundTripper": func(c *retryablehttp.Client, rt http.RoundTripper) http.RoundTripper {
			return &retryablehttp.RoundTripper{Client: c, Base: rt}
		},
		"nested": func(c *retryablehttp.Client, rt http.RoundTripper) http.RoundTripper {
			inner := &retryablehttp.RoundTripper{Client: &retryablehttp.Client{RetryMax: 9}, Base: rt}
			return &retryablehttp.RoundTripper{Client: c, Base: inner}
		},
	} {
		for _, tc := range []struct{ method, want string }{{"GET", "a b"}, {"POST", "a a a"}} {
			t.Run(name+" "+tc.method, func(t *testing.T) {
				network := newNetwork()
				network.set("a", status(500))
				client, _ := calls(nil)
				client.RetryMax = 2
				rt := wrap(client, backends(t, network, "a", "b"))
				if resp, err := rt.RoundTrip(newRequest(t, tc.method, "http://service/", strings.NewReader("x"))); err == nil {
					text(t, resp, nil)
				}
				assert.Equal(t, strings.Fields(tc.want), network.took())
			})
		}
	}
}

// A server acts on every request that it reads, unless it says that it has refused it. No
// POST is acted on by two servers, whatever fails and whatever the policy retries.
func TestNoPostIsActedOnByTwoEndpoints(t *testing.T) {
	seed := rand.Uint64()
	t.Log("seed", seed)
	synctest.Test(t, func(t *testing.T) {
		random := rand.New(rand.NewPCG(seed, 0))
		acted := make(map[string]map[string]bool) // call -> hosts
		moved := 0
		var mu sync.Mutex
		serve := func(req *http.Request) (*http.Response, error) {
			mu.Lock()
			choice := random.IntN(8)
			delay := time.Duration(random.IntN(50)) * time.Millisecond
			call := req.Header.Get("X-Call")
			refused := choice == 0 || choice == 1 || choice == 2
			if acted[call] == nil {
				acted[call] = make(map[string]bool)
			}
			if refused && len(acted[call]) == 0 {
				moved++
			}
			if !refused {
				acted[call][req.URL.Host] = true
			}
			mu.Unlock()
			steps := []roundTripFunc{refuse, status(429), status(503, "Retry-After", "0"), reset, hang, status(500), status(503), status(200)}
			return after(delay, steps[choice])(req)
		}
		network := newNetwork()
		hosts := []string{"a", "b", "c"}
		for _, host := range hosts {
			network.set(host, serve)
		}
		transport := &failover.Transport{Service: "service", Base: network, Mode: failover.LeastLoaded}
		require.NoError(t, transport.SetEndpoints(endpoints(hosts...)...))
		client, _ := calls(transport)
		client.AttemptTimeout = 100 * time.Millisecond
		var wg sync.WaitGroup
		for caller := range 10 {
			wg.Go(func() {
				for i := range 100 {
					req, err := retryablehttp.NewRequest("POST", "http://service/", "content")
					assert.NoError(t, err)
					req.Header.Set("X-Call", fmt.Sprint(caller, "/", i))
					if resp, err := client.Do(req); err == nil {
						resp.Body.Close()
					}
				}
			})
		}
		wg.Wait()
		twice := 0
		for _, hosts := range acted {
			if len(hosts) > 1 {
				twice++
			}
		}
		assert.Len(t, acted, 1000)
		assert.Greater(t, moved, 100, "requests that were refused went on")
		assert.Zero(t, twice)
	})
}

// A download that is cut off goes on at another endpoint, if that has the same object.
func TestADownloadIsResumedElsewhere(t *testing.T) {
	const object = "the quick brown fox jumps over the lazy dog"
	for tag, want := range map[string]error{`"1"`: nil, `"2"`: retryablehttp.ErrRepresentationChanged} {
		first := serve(t, func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("ETag", `"1"`)
			w.Header().Set("Content-Length", fmt.Sprint(len(object)))
			io.WriteString(w, object[:9])
			http.NewResponseController(w).Flush()
			panic(http.ErrAbortHandler)
		})
		second := serve(t, func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("ETag", tag)
			http.ServeContent(w, r, "", time.Time{}, strings.NewReader(object))
		})
		transport := backends(t, newTransport(t), host(first), host(second))
		client, _ := calls(transport)
		client.ResumeMax = 1
		resp, err := client.Get("http://service/")
		require.NoError(t, err)
		require.NoError(t, transport.SetEndpoints(endpoints(host(second))...))
		body, err := io.ReadAll(resp.Body)
		resp.Body.Close()
		if want != nil {
			assert.ErrorIs(t, err, want)
			continue
		}
		assert.NoError(t, err)
		assert.Equal(t, object, string(body))
	}
}
