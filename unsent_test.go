package retryablehttp

import (
	"bufio"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/http/httptrace"
	"net/url"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// watched is a client with SafeRetryPolicy that notes what Unsent says of each attempt.
func watched(rt http.RoundTripper) (*Client, *[]bool) {
	unsent := new([]bool)
	return &Client{
		RetryMax:   2,
		Backoff:    noWait,
		HTTPClient: &http.Client{Transport: rt},
		CheckRetry: func(ctx context.Context, resp *http.Response, err error) (bool, error) {
			*unsent = append(*unsent, Unsent(err))
			return SafeRetryPolicy(ctx, resp, err)
		},
	}, unsent
}

// docs/spec.md, section 6: Unsent and SafeRetryPolicy over sockets.
func TestUnsentOverRealSockets(t *testing.T) {
	serverTLS, clientTLS := testTLS(t)
	plain := func(t *testing.T, serve func(net.Conn)) (string, *http.Transport) {
		addr := listenRaw(t, func(conn net.Conn, _ int) { serve(conn) })
		return "http://" + addr, &http.Transport{}
	}
	secure := func(t *testing.T, server *tls.Config, serve func(net.Conn)) (string, *http.Transport) {
		addr := listenRaw(t, func(conn net.Conn, _ int) {
			secured := tls.Server(conn, server)
			if secured.Handshake() == nil {
				serve(secured)
			}
		})
		return "https://" + addr, &http.Transport{TLSClientConfig: clientTLS}
	}
	proxied := func(t *testing.T, proxy string) (string, *http.Transport) {
		u, err := url.Parse("http://" + proxy)
		require.NoError(t, err)
		return "https://example.com", &http.Transport{Proxy: http.ProxyURL(u), TLSClientConfig: clientTLS}
	}
	proxyResponds := func(response string) func(*testing.T) (string, *http.Transport) {
		return func(t *testing.T) (string, *http.Transport) {
			return proxied(t, listenRaw(t, func(conn net.Conn, _ int) {
				http.ReadRequest(bufio.NewReader(conn))
				io.WriteString(conn, response)
			}))
		}
	}
	for name, tc := range map[string]struct {
		setup     func(*testing.T) (string, *http.Transport)
		unsent    bool
		permanent bool // one attempt though unsent
	}{
		"dial refused": {setup: func(t *testing.T) (string, *http.Transport) {
			return "http://" + closedPort(t), &http.Transport{}
		}, unsent: true},
		"name not found": {setup: func(*testing.T) (string, *http.Transport) {
			resolver := &net.Resolver{PreferGo: true, Dial: func(context.Context, string, string) (net.Conn, error) {
				return nil, errors.New("no network")
			}}
			return "http://host.invalid", &http.Transport{DialContext: (&net.Dialer{Resolver: resolver}).DialContext}
		}, unsent: true},
		"dial that fails in its own words": {setup: func(*testing.T) (string, *http.Transport) {
			return "http://host", &http.Transport{DialContext: func(context.Context, string, string) (net.Conn, error) {
				return nil, errors.New("tunnel is down")
			}}
		}, unsent: true},
		"certificate does not verify": {setup: func(t *testing.T) (string, *http.Transport) {
			target, rt := secure(t, serverTLS, readRequest)
			rt.TLSClientConfig = nil
			return target, rt
		}, unsent: true, permanent: true},
		"peer closes in the TLS handshake": {setup: func(t *testing.T) (string, *http.Transport) {
			target, rt := plain(t, func(conn net.Conn) { conn.Read(make([]byte, 5)) })
			rt.TLSClientConfig = clientTLS
			return strings.Replace(target, "http", "https", 1), rt
		}, unsent: true},
		"peer resets in the TLS handshake": {setup: func(t *testing.T) (string, *http.Transport) {
			target, rt := plain(t, func(conn net.Conn) { conn.Read(make([]byte, 5)); resetConn(conn) })
			rt.TLSClientConfig = clientTLS
			return strings.Replace(target, "http", "https", 1), rt
		}, unsent: true},
		"garbage in the TLS handshake": {setup: func(t *testing.T) (string, *http.Transport) {
			target, rt := plain(t, func(conn net.Conn) { io.WriteString(conn, "220 mail ready\r\n") })
			return strings.Replace(target, "http", "https", 1), rt
		}, unsent: true},
		"TLS handshake timeout": {setup: func(t *testing.T) (string, *http.Transport) {
			target, rt := plain(t, func(conn net.Conn) { io.Copy(io.Discard, conn) })
			rt.TLSHandshakeTimeout = 10 * time.Millisecond
			return strings.Replace(target, "http", "https", 1), rt
		}, unsent: true},
		"HTTP server behind https": {setup: func(t *testing.T) (string, *http.Transport) {
			target, rt := plain(t, func(conn net.Conn) {
				io.WriteString(conn, "HTTP/1.1 400 Bad Request\r\n\r\n")
				io.Copy(io.Discard, conn)
			})
			return strings.Replace(target, "http", "https", 1), rt
		}, unsent: true, permanent: true},
		"client certificate missing, TLS 1.2": {setup: func(t *testing.T) (string, *http.Transport) {
			needy := serverTLS.Clone() // with TLS 1.3 the request may be out before the alert
			needy.ClientAuth, needy.MaxVersion = tls.RequireAnyClientCert, tls.VersionTLS12
			return secure(t, needy, readRequest)
		}, unsent: true},
		"proxy down": {setup: func(t *testing.T) (string, *http.Transport) {
			return proxied(t, closedPort(t))
		}, unsent: true},
		"proxy refuses CONNECT with 407":          {setup: proxyResponds("HTTP/1.1 407 Proxy Authentication Required\r\n\r\n"), unsent: true, permanent: true},
		"proxy refuses CONNECT with 502":          {setup: proxyResponds("HTTP/1.1 502 Bad Gateway\r\n\r\n"), unsent: true},
		"proxy closes in CONNECT":                 {setup: proxyResponds(""), unsent: true},
		"proxy responds to CONNECT with nonsense": {setup: proxyResponds("hello\r\n\r\n"), unsent: true},
		"proxy resets in CONNECT": {setup: func(t *testing.T) (string, *http.Transport) {
			return proxied(t, listenRaw(t, func(conn net.Conn, _ int) {
				http.ReadRequest(bufio.NewReader(conn))
				resetConn(conn)
			}))
		}, unsent: true},
		"reset after the request was written": {setup: func(t *testing.T) (string, *http.Transport) {
			return plain(t, func(conn net.Conn) { readRequest(conn); resetConn(conn) })
		}},
		"closed after the request was written": {setup: func(t *testing.T) (string, *http.Transport) {
			return plain(t, readRequest)
		}},
		"reset while the request was written": {setup: func(t *testing.T) (string, *http.Transport) {
			return plain(t, func(conn net.Conn) { conn.Read(make([]byte, 1)); resetConn(conn) })
		}},
		"reset while the request was written, TLS": {setup: func(t *testing.T) (string, *http.Transport) {
			return secure(t, serverTLS, func(conn net.Conn) {
				conn.Read(make([]byte, 1))
				resetConn(conn.(*tls.Conn).NetConn())
			})
		}},
		"malformed response": {setup: func(t *testing.T) (string, *http.Transport) {
			return plain(t, func(conn net.Conn) { readRequest(conn); io.WriteString(conn, "hello\r\n\r\n") })
		}},
		"cut off in the response's header": {setup: func(t *testing.T) (string, *http.Transport) {
			return plain(t, func(conn net.Conn) { readRequest(conn); io.WriteString(conn, "HTTP/1.1 200 OK\r\nContent-") })
		}},
		"no response in time": {setup: func(t *testing.T) (string, *http.Transport) {
			target, rt := plain(t, func(conn net.Conn) { io.Copy(io.Discard, conn) })
			rt.ResponseHeaderTimeout = 10 * time.Millisecond
			return target, rt
		}},
		"TLS connection that never reads": {setup: func(t *testing.T) (string, *http.Transport) {
			target, rt := secure(t, serverTLS, func(conn net.Conn) { io.Copy(io.Discard, conn) })
			rt.ResponseHeaderTimeout = 10 * time.Millisecond
			return target, rt
		}},
	} {
		for way, post := range posts {
			t.Run(name+"/"+way, func(t *testing.T) {
				target, rt := tc.setup(t)
				defer rt.CloseIdleConnections()
				client, unsent := watched(rt)
				resp, err := post(client, target, http.Header{})
				require.Nil(t, resp)
				require.Error(t, err)
				want := []bool{tc.unsent}
				if tc.unsent && !tc.permanent {
					want = []bool{true, true, true}
				}
				assert.Equal(t, want, *unsent, "%v", err)
				assert.Equal(t, tc.unsent, Unsent(err), "%v", err)
				var giveUp *GiveUpError
				require.ErrorAs(t, err, &giveUp)
				assert.Equal(t, len(want), giveUp.Attempts)
			})
		}
	}
}

// docs/spec.md, 6.3: a reset while a large body is written.
func TestResetWhileTheBodyIsWrittenMayBeSent(t *testing.T) {
	addr := listenRaw(t, func(conn net.Conn, _ int) {
		io.CopyN(io.Discard, conn, 100_000)
		resetConn(conn)
	})
	client, unsent := watched(&http.Transport{})
	defer client.CloseIdleConnections()
	_, err := client.Post("http://"+addr, "", make([]byte, 32<<20))
	require.Error(t, err)
	assert.Equal(t, []bool{false}, *unsent)
	assert.False(t, Unsent(err))
}

// docs/spec.md, 6.2: a server that has closed the idle connection and is down for a
// moment.
func TestPostSurvivesARestartOfTheServer(t *testing.T) {
	var hits atomic.Int32
	start := func(addr string) *httptest.Server {
		server := httptest.NewUnstartedServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { hits.Add(1) }))
		if addr != "" {
			listener, err := net.Listen("tcp", addr)
			require.NoError(t, err)
			server.Listener.Close()
			server.Listener = listener
		}
		server.Start()
		return server
	}
	server := start("")
	closed := make(chan struct{})
	client, unsent := watched(&http.Transport{DialContext: func(ctx context.Context, network, addr string) (net.Conn, error) {
		conn, err := new(net.Dialer).DialContext(ctx, network, addr)
		if err != nil {
			return nil, err
		}
		return noticedConn{conn, sync.OnceFunc(func() { close(closed) })}, nil
	}})
	resp, err := client.Post(server.URL, "", content)
	require.NoError(t, err)
	resp.Body.Close()
	server.Close()
	<-closed
	client.Backoff = func(_, _ time.Duration, n int, _ *http.Response) time.Duration {
		if n == 1 {
			closed = make(chan struct{})
			server = start(server.Listener.Addr().String())
		}
		return 0
	}
	resp, err = client.Post(server.URL, "", content)
	require.NoError(t, err)
	resp.Body.Close()
	client.CloseIdleConnections()
	server.Close()
	assert.Equal(t, []bool{false, true, true, false}, *unsent, "response; refused, refused, response")
	assert.EqualValues(t, 2, hits.Load())
}

// docs/spec.md, 6.2 and 6.3: time limits before and after the first byte.
func TestUnsentOfAnAttemptTimeout(t *testing.T) {
	for way, post := range posts {
		t.Run(way, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				client, unsent := watched(&http.Transport{DialContext: func(context.Context, string, string) (net.Conn, error) {
					time.Sleep(time.Hour)
					return nil, errLost
				}})
				client.AttemptTimeout = time.Second
				_, err := post(client, "http://host", http.Header{})
				assert.ErrorIs(t, err, ErrAttemptTimeout)
				assert.Equal(t, []bool{true, true, true}, *unsent, "no connection came")
				assert.True(t, Unsent(err))
				time.Sleep(2 * time.Hour) // net/http lets a dial go on
			})
			synctest.Test(t, func(t *testing.T) {
				client, unsent := watched(&http.Transport{DialContext: func(context.Context, string, string) (net.Conn, error) {
					ours, theirs := net.Pipe()
					go func() {
						defer theirs.Close()
						io.Copy(io.Discard, theirs)
					}()
					return ours, nil
				}})
				client.AttemptTimeout = time.Second
				_, err := post(client, "http://host", http.Header{})
				assert.ErrorIs(t, err, ErrAttemptTimeout)
				assert.Equal(t, []bool{false}, *unsent, "no response came")
				assert.False(t, Unsent(err))
			})
		})
	}
}

// docs/spec.md, 6.3: for a transport that does not report to httptrace only the types of
// its errors count.
func TestTransportThatDoesNotReportIsNotTakenForUnsent(t *testing.T) {
	for name, tc := range map[string]struct {
		err    error
		unsent bool
	}{
		"nil":                     {nil, false},
		"a text":                  {errors.New("dial tcp 127.0.0.1:80: connect: connection refused"), false},
		"EOF":                     {io.EOF, false},
		"reset":                   {&net.OpError{Op: "read", Net: "tcp", Err: syscall.ECONNRESET}, false},
		"write":                   {&net.OpError{Op: "write", Net: "tcp", Err: syscall.EPIPE}, false},
		"refused, without a dial": {syscall.ECONNREFUSED, false},
		"timeout":                 {ErrAttemptTimeout, false},
		"alert":                   {&net.OpError{Op: "remote error", Err: tls.AlertError(40)}, false},
		"dial":                    {&net.OpError{Op: "dial", Net: "tcp", Err: syscall.ECONNREFUSED}, true},
		"proxy":                   {&net.OpError{Op: "proxyconnect", Net: "tcp", Err: errLost}, true},
		"name":                    {&net.DNSError{Name: "host"}, true},
	} {
		t.Run(name, func(t *testing.T) {
			assert.Equal(t, tc.unsent, Unsent(tc.err))
			if tc.err == nil {
				return
			}
			for way, post := range posts {
				client, unsent := watched(roundTripFunc(func(*http.Request) (*http.Response, error) { return nil, tc.err }))
				_, err := post(client, "http://host", http.Header{})
				assert.Equal(t, tc.unsent, Unsent(err), way)
				assert.ErrorIs(t, err, tc.err, way)
				attempts := 1
				if tc.unsent {
					attempts = 3
				}
				assert.Len(t, *unsent, attempts, way)
			}
		})
	}
	// A transport that wraps such an error may speak of another request that it has made.
	wrapped := fmt.Errorf("audit: %w", &net.OpError{Op: "dial", Err: errLost})
	assert.True(t, Unsent(wrapped), "of an error alone nothing else is known")
	for way, post := range posts {
		client, unsent := watched(roundTripFunc(func(*http.Request) (*http.Response, error) { return nil, wrapped }))
		_, err := post(client, "http://host", http.Header{})
		assert.False(t, Unsent(err), way)
		assert.Equal(t, []bool{false}, *unsent, way)
	}
}

var (
	errRefused = &net.OpError{Op: "dial", Net: "tcp", Err: syscall.ECONNREFUSED}
	errReset   = &net.OpError{Op: "read", Net: "tcp", Err: syscall.ECONNRESET}
)

// docs/spec.md, 6.2: Unsent of the error of a call is about all of its attempts.
func TestUnsentOfACallIsAboutAllItsAttempts(t *testing.T) {
	always := func(context.Context, *http.Response, error) (bool, error) { return true, nil }
	for name, tc := range map[string]struct {
		steps  []func(*http.Request) (*http.Response, error)
		unsent bool
	}{
		"refused, refused":  {steps: []func(*http.Request) (*http.Response, error){failure(errRefused), failure(errRefused)}, unsent: true},
		"reset, refused":    {steps: []func(*http.Request) (*http.Response, error){failure(errReset), failure(errRefused)}},
		"refused, reset":    {steps: []func(*http.Request) (*http.Response, error){failure(errRefused), failure(errReset)}},
		"response, refused": {steps: []func(*http.Request) (*http.Response, error){status(503), failure(errRefused)}},
		"refused, response": {steps: []func(*http.Request) (*http.Response, error){failure(errRefused), status(503)}},
	} {
		for way, post := range posts {
			t.Run(name+"/"+way, func(t *testing.T) {
				client, _ := scripted(tc.steps...)
				client.CheckRetry, client.RetryMax = always, 1
				_, err := post(client, "http://host", http.Header{})
				require.Error(t, err)
				assert.Equal(t, tc.unsent, Unsent(err))
			})
			t.Run(name+"/"+way+"/cut short in the wait", func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					client, _ := scripted(tc.steps...)
					client.CheckRetry, client.RetryMax, client.MaxElapsedTime = always, 1, time.Second
					client.Backoff = func(time.Duration, time.Duration, int, *http.Response) time.Duration { return time.Hour }
					_, err := post(client, "http://host", http.Header{})
					require.ErrorIs(t, err, ErrMaxElapsedTime)
					assert.Equal(t, strings.HasPrefix(name, "refused"), Unsent(err))
				})
			})
		}
	}
}

// docs/spec.md, 6.2: so is Unsent of the cause that an ErrorHandler returns.
func TestUnsentOfAnErrorThatAnErrorHandlerPassesOn(t *testing.T) {
	for way, post := range posts {
		t.Run(way, func(t *testing.T) {
			client, _ := scripted(failure(errReset), failure(errRefused))
			client.CheckRetry = func(context.Context, *http.Response, error) (bool, error) { return true, nil }
			client.RetryMax, client.ErrorHandler = 1, PassthroughErrorHandler
			_, err := post(client, "http://host", http.Header{})
			require.ErrorIs(t, err, errRefused)
			assert.False(t, Unsent(err), "the first attempt was sent")

			client, _ = scripted(failure(errRefused))
			client.RetryMax, client.ErrorHandler = 1, PassthroughErrorHandler
			_, err = post(client, "http://host", http.Header{})
			assert.True(t, Unsent(err))
		})
	}
}

// docs/spec.md, 6.2: a call that ended before its first attempt was not sent.
func TestUnsentOfACallThatNeverBegan(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	reader, _ := io.Pipe()
	client, sent := scripted(status(200))
	client.CheckRetry = SafeRetryPolicy
	req, err := NewRequestWithContext(ctx, "POST", "http://host", reader)
	require.NoError(t, err)
	cancel()
	_, err = client.Do(req)
	require.ErrorIs(t, err, context.Canceled)
	assert.True(t, Unsent(err))
	assert.Empty(t, sent.seen)
}

// hops is a transport that responds by path, and notes method and path of each request.
type hops struct {
	responses map[string][]func(*http.Request) (*http.Response, error)
	seen      []string
	keys      []string
}

func (h *hops) RoundTrip(req *http.Request) (*http.Response, error) {
	if req.Body != nil {
		io.Copy(io.Discard, req.Body)
		req.Body.Close()
	}
	h.seen = append(h.seen, req.Method+" "+req.URL.Path)
	h.keys = append(h.keys, req.Header.Get("Idempotency-Key"))
	steps := h.responses[req.URL.Path]
	if len(steps) > 1 {
		h.responses[req.URL.Path] = steps[1:]
	}
	return steps[0](req)
}

// docs/spec.md, 6.6: a redirect to a host that refuses the dial, over sockets.
func TestRedirectToARefusedDialIsNotUnsent(t *testing.T) {
	for _, code := range []int{303, 307} {
		var hits atomic.Int32
		server := httptest.NewServer(http.RedirectHandler("http://"+closedPort(t), code))
		inner := server.Config.Handler
		server.Config.Handler = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			hits.Add(1)
			inner.ServeHTTP(w, r)
		})
		client, unsent := watched(&http.Transport{})
		_, err := client.Post(server.URL, "", content)
		require.Error(t, err)
		assert.False(t, Unsent(err))
		assert.Equal(t, []bool{false}, *unsent)
		assert.EqualValues(t, 1, hits.Load())

		_, err = client.StandardClient().Post(server.URL, "", strings.NewReader(content))
		require.Error(t, err)
		assert.False(t, Unsent(err), "each hop is a call, but the request was one")
		assert.EqualValues(t, 2, hits.Load())
		client.CloseIdleConnections()
		server.Close()
	}
}

// docs/spec.md, 6.2: a program's own policy that calls SafeRetryPolicy or Unsent.
func TestWrappedPoliciesSeeWhatSafeRetryPolicySees(t *testing.T) {
	for name, policy := range map[string]CheckRetry{
		"calls SafeRetryPolicy": func(ctx context.Context, resp *http.Response, err error) (bool, error) {
			return SafeRetryPolicy(ctx, resp, err)
		},
		"with a context of its own": func(ctx context.Context, resp *http.Response, err error) (bool, error) {
			ctx, cancel := context.WithCancel(ctx)
			defer cancel()
			return SafeRetryPolicy(ctx, resp, err)
		},
		"with a context that knows nothing": func(_ context.Context, resp *http.Response, err error) (bool, error) {
			return SafeRetryPolicy(context.Background(), resp, err)
		},
		"calls Unsent": func(_ context.Context, _ *http.Response, err error) (bool, error) {
			return Unsent(err), nil
		},
		"calls Unsent of a wrapped error": func(_ context.Context, _ *http.Response, err error) (bool, error) {
			return Unsent(fmt.Errorf("wrapped: %w", err)), nil
		},
	} {
		for _, way := range []string{"Do", "StandardClient"} {
			t.Run(name+"/"+way, func(t *testing.T) {
				run := func(rt http.RoundTripper, target string) (*Client, error) {
					client := &Client{CheckRetry: policy, RetryMax: 2, Backoff: noWait, HTTPClient: &http.Client{Transport: rt}}
					_, err := posts[way](client, target, http.Header{})
					return client, err
				}
				// The dialer's error has no type: only httptrace can tell.
				dials := 0
				_, err := run(&http.Transport{DialContext: func(context.Context, string, string) (net.Conn, error) {
					dials++
					return nil, errors.New("tunnel is down")
				}}, "http://host/")
				assert.True(t, Unsent(err))
				assert.Equal(t, 3, dials)

				var reset atomic.Int32
				client, err := run(&http.Transport{}, "http://"+listenRaw(t, func(conn net.Conn, _ int) {
					reset.Add(1)
					readRequest(conn)
					resetConn(conn)
				}))
				client.CloseIdleConnections()
				assert.False(t, Unsent(err))
				assert.EqualValues(t, 1, reset.Load())

				// A POST that was redirected to a GET is still a POST, for Do.
				transport := &hops{responses: map[string][]func(*http.Request) (*http.Response, error){
					"/1": {redirect(303, "/2")},
					"/2": {status(500)},
				}}
				run(transport, "http://host/1")
				assert.Equal(t, "POST /1", transport.seen[0])
				assert.NotContains(t, transport.seen[1:], "POST /1")
			})
		}
	}
}

// docs/spec.md, 6.2: observing an attempt changes neither its error nor the text.
func TestObservingAnAttemptLeavesItsErrorAsItIs(t *testing.T) {
	target := "http://" + closedPort(t)
	for way, post := range posts {
		safe, _ := watched(&http.Transport{})
		plain := &Client{RetryMax: 2, Backoff: noWait, HTTPClient: &http.Client{Transport: &http.Transport{}}}
		_, want := post(plain, target, http.Header{})
		_, got := post(safe, target, http.Header{})
		assert.EqualError(t, got, want.Error(), way)
		assert.ErrorIs(t, got, connRefused)
		var op *net.OpError
		assert.ErrorAs(t, got, &op)
	}
	client := &Client{HTTPClient: &http.Client{Transport: &http.Transport{DialContext: func(context.Context, string, string) (net.Conn, error) {
		return nil, errLost
	}}}}
	client.CheckRetry = func(_ context.Context, _ *http.Response, err error) (bool, error) {
		assert.IsType(t, &url.Error{}, err, "as http.Client gives it")
		assert.Equal(t, `Post "http://host": connection lost`, err.Error())
		assert.ErrorIs(t, err, errLost)
		return false, nil
	}
	_, err := client.Post("http://host", "", content)
	assert.EqualError(t, err, `POST http://host giving up after 1 attempt(s): connection lost`)
}

// docs/spec.md, 6.2 and 10.3: what an inner client knows to be sent is sent for the outer
// client.
func TestWhatAnInnerClientKnowsToBeSentIsSent(t *testing.T) {
	posts := 0
	inner := &Client{HTTPClient: &http.Client{Transport: roundTripFunc(func(req *http.Request) (*http.Response, error) {
		if req.Method == "POST" {
			posts++
			return respond(req, 303, "", "Location", "/done"), nil
		}
		return nil, &net.OpError{Op: "dial", Err: errLost}
	})}}
	outer := &Client{RetryMax: 3, Backoff: noWait, CheckRetry: SafeRetryPolicy}
	refused := true
	outer.HTTPClient = &http.Client{Transport: roundTripFunc(func(req *http.Request) (*http.Response, error) {
		if refused { // so that the next attempt is marked
			refused = false
			return nil, &net.OpError{Op: "dial", Err: errLost}
		}
		wrapped, err := FromRequest(req)
		if err != nil {
			return nil, err
		}
		return inner.Do(wrapped)
	})}
	_, err := outer.Post("http://host/", "", "x")
	require.Error(t, err)
	assert.Equal(t, 1, posts)
	assert.False(t, Unsent(err))
}

// docs/spec.md, 6.3: a server that got the request over TLS and responds in plain text.
// The error has the same type as for a server without TLS.
func TestPlainTextAfterTheHandshakeIsNotUnsent(t *testing.T) {
	config, trusting := testTLS(t)
	config.MaxVersion = tls.VersionTLS12
	var applied atomic.Int32
	addr := listenRaw(t, func(conn net.Conn, _ int) {
		readRequest(tls.Server(conn, config))
		applied.Add(1)
		io.WriteString(conn, "HTTP/1.1 502 Bad Gateway\r\nContent-Length: 0\r\n\r\n")
	})
	for name, policy := range map[string]CheckRetry{"default": DefaultRetryPolicy, "safe": SafeRetryPolicy} {
		for _, jar := range []http.CookieJar{nil, noCookies{}} { // with one, http.Client sends
			applied.Store(0)
			client := &Client{CheckRetry: policy, HTTPClient: &http.Client{Jar: jar, Transport: &http.Transport{TLSClientConfig: trusting}}}
			_, err := client.Post("https://"+addr, "", content)
			require.ErrorIs(t, err, http.ErrSchemeMismatch)
			assert.False(t, Unsent(err), name)
			assert.EqualValues(t, 1, applied.Load())
			client.CloseIdleConnections()
		}
	}
}

// docs/spec.md, 6.2: a server that responds to the handshake in plain text has not got
// the request.
func TestPlainTextInsteadOfAHandshakeIsUnsent(t *testing.T) {
	server := httptest.NewServer(http.NotFoundHandler())
	defer server.Close()
	for _, jar := range []http.CookieJar{nil, noCookies{}} {
		client := &Client{CheckRetry: SafeRetryPolicy, HTTPClient: &http.Client{Jar: jar, Transport: &http.Transport{}}}
		_, err := client.Post("https"+strings.TrimPrefix(server.URL, "http"), "", content)
		require.ErrorIs(t, err, http.ErrSchemeMismatch)
		assert.True(t, Unsent(err))
	}
	assert.True(t, Unsent(tls.RecordHeaderError{Conn: &net.TCPConn{}}))
	assert.False(t, Unsent(tls.RecordHeaderError{}), "a later record")
}

type noCookies struct{}

func (noCookies) SetCookies(*url.URL, []*http.Cookie) {}
func (noCookies) Cookies(*url.URL) []*http.Cookie     { return nil }

type openBreaker struct{}

func (openBreaker) Error() string { return "circuit breaker open" }
func (openBreaker) Unsent() bool  { return true }

// A transport of another package can say that it has not sent a request, but what was
// observed on a connection outweighs it.
func TestErrorOfATransportCanSayThatNothingWasSent(t *testing.T) {
	for name, tc := range map[string]struct {
		used bool
		want int
	}{"not sent": {false, 2}, "sent all the same": {true, 1}} {
		client, script := scripted(
			func(req *http.Request) (*http.Response, error) {
				if trace := httptrace.ContextClientTrace(req.Context()); tc.used && trace != nil {
					trace.GetConn("host:80")
					trace.GotConn(httptrace.GotConnInfo{})
					trace.WroteHeaders()
				}
				return nil, openBreaker{}
			},
			status(200))
		client.CheckRetry = SafeRetryPolicy
		_, err := client.Post("http://host/", "text/plain", []byte("data"))
		assert.Equal(t, tc.want == 1, err != nil, name)
		assert.Len(t, script.seen, tc.want, name)
	}
	assert.True(t, Unsent(fmt.Errorf("wrapped: %w", openBreaker{})))
}
