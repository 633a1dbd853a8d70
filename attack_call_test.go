package retryablehttp

import (
	"bufio"
	"bytes"
	"compress/gzip"
	"context"
	"errors"
	"fmt"
	"io"
	"math"
	"net"
	"net/http"
	"net/http/cookiejar"
	"net/http/httptest"
	"net/http/httptrace"
	"net/url"
	"os"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// F20: the error of an attempt that was applied wraps an unsent error of another call.
func TestF20ObservationOutweighsWrappedErrors(t *testing.T) {
	var applied atomic.Int32
	server := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		if _, err := io.ReadAll(r.Body); err == nil {
			applied.Add(1)
		}
	}))
	defer server.Close()
	nobody := "http://" + closedPort(t)
	audits := map[string]func(ctx context.Context) error{
		"net/http, unwrapped": func(ctx context.Context) error {
			req, _ := http.NewRequestWithContext(ctx, "POST", nobody, nil)
			_, err := http.DefaultTransport.RoundTrip(req)
			return err
		},
		"net/http, wrapped": func(ctx context.Context) error {
			_, err := http.Get(nobody)
			return fmt.Errorf("audit: %w", err)
		},
		"this library": func(ctx context.Context) error {
			req, _ := NewRequestWithContext(ctx, "POST", nobody, nil)
			_, err := (&Client{CheckRetry: SafeRetryPolicy}).Do(req)
			return err
		},
	}
	for name, audit := range audits {
		for way, post := range posts {
			t.Run(name+"/"+way, func(t *testing.T) {
				applied.Store(0)
				client := &Client{RetryMax: 4, Backoff: noWait, CheckRetry: SafeRetryPolicy}
				client.HTTPClient = &http.Client{Transport: roundTripFunc(func(req *http.Request) (*http.Response, error) {
					resp, err := http.DefaultTransport.RoundTrip(req)
					if err != nil {
						return nil, err
					}
					resp.Body.Close()
					return nil, audit(req.Context())
				})}
				_, err := post(client, server.URL, http.Header{})
				require.Error(t, err)
				assert.EqualValues(t, 1, applied.Load())
				assert.False(t, Unsent(err))
			})
		}
	}
	t.Run("a transport that reports nothing", func(t *testing.T) {
		for way, post := range posts {
			applied := 0
			client := &Client{RetryMax: 4, Backoff: noWait, CheckRetry: SafeRetryPolicy}
			client.HTTPClient = &http.Client{Transport: roundTripFunc(func(req *http.Request) (*http.Response, error) {
				applied++
				return nil, audits["this library"](req.Context())
			})}
			_, err := post(client, "http://host/", http.Header{})
			require.Error(t, err, way)
			assert.Equal(t, 1, applied, way)
			assert.False(t, Unsent(err), way)
		}
	})
	t.Run("a body that is a failed download", func(t *testing.T) {
		addr := listenRaw(t, func(conn net.Conn, _ int) { io.Copy(io.Discard, conn) })
		attempts := 0
		client := &Client{RetryMax: 4, Backoff: noWait, CheckRetry: SafeRetryPolicy, HTTPClient: &http.Client{Transport: &http.Transport{}}}
		client.OnAttempt = func(Attempt) { attempts++ }
		_, err := client.Post("http://"+addr, "", ReaderFunc(func() (io.Reader, error) {
			return readFunc(func([]byte) (int, error) {
				_, err := http.Get(nobody)
				return 0, err
			}), nil
		}))
		require.Error(t, err)
		assert.Equal(t, 1, attempts, "its header was sent")
		assert.False(t, Unsent(err))
	})
}

// F21: net/http itself sends a request with a key again on a dead connection, and that dial
// is refused.
func TestF21RepetitionOfNetHTTPIsNotUnsent(t *testing.T) {
	var applied atomic.Int32
	addr, shut := serveRaw(t, func(conn net.Conn, _ int) {
		reader := bufio.NewReader(conn)
		for {
			req, err := http.ReadRequest(reader)
			if err != nil {
				return
			}
			io.Copy(io.Discard, req.Body)
			if applied.Add(1) == 2 {
				return // applied, and the connection is dead
			}
			io.WriteString(conn, "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")
		}
	})
	client := &Client{RetryMax: 2, Backoff: noWait, CheckRetry: SafeRetryPolicy, IdempotencyKey: NewIdempotencyKey, HTTPClient: &http.Client{Transport: &http.Transport{}}}
	resp, err := client.Post("http://"+addr, "", content)
	require.NoError(t, err)
	resp.Body.Close()
	go shut(false) // accepts no other connection
	require.Eventually(t, func() bool {
		conn, err := net.Dial("tcp", addr)
		if err == nil {
			conn.Close()
		}
		return err != nil
	}, 10*time.Second, time.Millisecond)
	_, err = client.Post("http://"+addr, "", content)
	require.Error(t, err)
	assert.EqualValues(t, 2, applied.Load())
	assert.ErrorContains(t, err, "dial")
	assert.False(t, Unsent(err))
}

// aggregate is an error of a type without equality.
type aggregate []error

func (a aggregate) Error() string   { return fmt.Sprint([]error(a)) }
func (a aggregate) Unwrap() []error { return a }

// F22: the type of an error cannot be compared.
func TestF22ErrorsWithoutEquality(t *testing.T) {
	failsEverywhereWith(t, aggregate{errLost})
}

// failsEverywhereWith checks that a call fails with an error of the transport or of the
// policy, in every way and under settings that look into the error.
func failsEverywhereWith(t *testing.T, failed error) {
	for way, send := range sends {
		for name, set := range map[string]func(*Client){
			"plain":      func(*Client) {},
			"limits":     func(c *Client) { c.AttemptTimeout, c.MaxElapsedTime, c.BufferMax = time.Minute, time.Minute, 10 },
			"propagated": func(c *Client) { c.CheckRetry = ErrorPropagatedRetryPolicy },
			"safe":       func(c *Client) { c.CheckRetry = SafeRetryPolicy },
			"handler":    func(c *Client) { c.ErrorHandler = PassthroughErrorHandler },
			"policy": func(c *Client) {
				c.CheckRetry = func(context.Context, *http.Response, error) (bool, error) { return false, failed }
			},
		} {
			client, _ := scripted(failure(failed))
			client.RetryMax = 1
			set(client)
			err := send(client, mustRequest(t, "http://host/"))
			assert.ErrorIs(t, err, errLost, "%s, %s", way, name)
		}
	}
}

// F23: a POST times out before it is sent.
func TestF23TimeoutBeforeSendingIsATimeout(t *testing.T) {
	attemptTimeout := func(c *Client) { c.AttemptTimeout = 50 * time.Millisecond }
	clientTimeout := func(c *Client) { c.HTTPClient.Timeout = 50 * time.Millisecond }
	silent := "http://" + listen(t)
	for stage, tc := range map[string]struct {
		target string
		rt     func() *http.Transport
		limits map[string]func(*Client)
	}{
		"dial": {
			target: "http://127.0.0.1:1",
			rt: func() *http.Transport {
				return &http.Transport{DialContext: (&net.Dialer{Timeout: time.Nanosecond}).DialContext}
			},
			limits: map[string]func(*Client){"the dialer's": func(*Client) {}},
		},
		"dial that hangs": {
			target: "http://host",
			rt: func() *http.Transport {
				return &http.Transport{DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
					<-ctx.Done()
					return nil, ctx.Err()
				}}
			},
			limits: map[string]func(*Client){"AttemptTimeout": attemptTimeout, "HTTPClient.Timeout": clientTimeout},
		},
		"TLS handshake": {
			target: strings.Replace(silent, "http:", "https:", 1),
			rt:     func() *http.Transport { return &http.Transport{} },
			limits: map[string]func(*Client){
				"TLSHandshakeTimeout": func(c *Client) {
					c.HTTPClient.Transport.(*http.Transport).TLSHandshakeTimeout = 50 * time.Millisecond
				},
				"AttemptTimeout": attemptTimeout, "HTTPClient.Timeout": clientTimeout,
			},
		},
		"CONNECT of a proxy": {
			target: "https://host",
			rt: func() *http.Transport {
				proxy, err := url.Parse(silent)
				require.NoError(t, err)
				return &http.Transport{Proxy: http.ProxyURL(proxy)}
			},
			limits: map[string]func(*Client){"AttemptTimeout": attemptTimeout, "HTTPClient.Timeout": clientTimeout},
		},
		"wait for a connection of the pool": {
			target: silent,
			rt: func() *http.Transport {
				rt := &http.Transport{MaxConnsPerHost: 1}
				ctx, cancel := context.WithCancel(context.Background())
				var others sync.WaitGroup
				connected := make(chan struct{})
				others.Go(func() { // has the one connection to the end of the test
					trace := &httptrace.ClientTrace{GotConn: func(httptrace.GotConnInfo) { close(connected) }}
					req := mustRequest(t, silent).WithContext(httptrace.WithClientTrace(ctx, trace))
					_, err := rt.RoundTrip(req)
					assert.Error(t, err)
				})
				t.Cleanup(func() { cancel(); others.Wait() })
				<-connected
				return rt
			},
			limits: map[string]func(*Client){"AttemptTimeout": attemptTimeout, "HTTPClient.Timeout": clientTimeout},
		},
	} {
		for limit, set := range tc.limits {
			for way, post := range posts {
				t.Run(stage+"/"+limit+"/"+way, func(t *testing.T) {
					attempts := 0
					client := &Client{RetryMax: 1, Backoff: noWait, HTTPClient: &http.Client{Transport: tc.rt()}}
					defer client.CloseIdleConnections()
					client.CheckRetry = func(ctx context.Context, resp *http.Response, err error) (bool, error) {
						attempts++
						outer, ok := err.(*url.Error)
						assert.True(t, ok && outer.Timeout(), "for the policy: %T %[1]v", err)
						assert.True(t, Unsent(err), "for the policy")
						return SafeRetryPolicy(ctx, resp, err)
					}
					set(client)
					_, err := post(client, tc.target, http.Header{})
					var giveUp *GiveUpError
					require.ErrorAs(t, err, &giveUp)
					assert.True(t, giveUp.Timeout())
					assert.True(t, Unsent(err))
					var netErr net.Error
					require.ErrorAs(t, giveUp.Err, &netErr)
					assert.True(t, netErr.Timeout())
					assert.Equal(t, 2, attempts, "what was not sent is retried")
				})
			}
		}
	}
}

// F24: a transport uses the attempt's context for requests of its own.
func TestF24OnlyTheRequestThatIsSentIsNested(t *testing.T) {
	t.Run("a middleware fetches a token", func(t *testing.T) {
		tokens, asked := scripted(status(503), status(503), status(200))
		outer, sent := scripted(status(503), status(200))
		rt := outer.HTTPClient.Transport
		outer.HTTPClient.Transport = roundTripFunc(func(req *http.Request) (*http.Response, error) {
			token, err := NewRequestWithContext(req.Context(), "POST", "http://tokens/", nil)
			require.NoError(t, err)
			resp, err := tokens.Do(token)
			require.NoError(t, err)
			assert.Equal(t, 200, resp.StatusCode)
			return rt.RoundTrip(req)
		})
		_, err := outer.Get("http://host/")
		require.NoError(t, err)
		assert.Len(t, asked.seen, 4)
		assert.Len(t, sent.seen, 2)
	})
	t.Run("a handler behind an in-process transport", func(t *testing.T) {
		backend, asked := scripted(status(503), status(200))
		handler := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			req, err := NewRequestWithContext(r.Context(), "GET", "http://backend/", nil)
			require.NoError(t, err)
			resp, err := backend.Do(req)
			require.NoError(t, err)
			assert.Equal(t, 200, resp.StatusCode)
		})
		client := &Client{HTTPClient: &http.Client{Transport: roundTripFunc(func(req *http.Request) (*http.Response, error) {
			w := httptest.NewRecorder()
			handler.ServeHTTP(w, req)
			return w.Result(), nil
		})}}
		_, err := client.Get("http://host/")
		require.NoError(t, err)
		assert.Len(t, asked.seen, 2)
	})
}

// F25: a call is made with a context that came out of another call's retry.
func TestF25CallWithTheContextOfAnotherCallsRetry(t *testing.T) {
	server := httptest.NewServer(http.NotFoundHandler())
	defer server.Close()
	first, _ := scripted(status(503), status(503), status(200))
	var contexts []context.Context
	first.RequestLogHook = func(_ Logger, req *http.Request, _ int) { contexts = append(contexts, req.Context()) }
	first.OnAttempt = func(a Attempt) { contexts = append(contexts, a.Request.Context()) }
	resp, err := first.Get("http://" + server.Listener.Addr().String())
	require.NoError(t, err)
	contexts = append(contexts, resp.Request.Context())

	var seen []int
	below := &http.Transport{Proxy: func(req *http.Request) (*url.URL, error) {
		seen = append(seen, AttemptNumber(req.Context()))
		return nil, nil
	}}
	defer below.CloseIdleConnections()
	for name, rt := range map[string]http.RoundTripper{"*http.Transport": below, "another": through(below)} {
		for _, ctx := range contexts {
			ctx = context.WithoutCancel(ctx) // of an attempt, which is over
			seen = nil
			client := &Client{RetryMax: 1, Backoff: noWait, HTTPClient: &http.Client{Transport: rt}}
			client.CheckRetry = func(ctx context.Context, _ *http.Response, _ error) (bool, error) {
				seen = append(seen, AttemptNumber(ctx))
				return true, nil
			}
			req, err := NewRequestWithContext(ctx, "GET", server.URL, nil)
			require.NoError(t, err)
			_, err = client.Do(req)
			require.Error(t, err)
			assert.Equal(t, []int{1, 1, 2, 2}, seen, name)
		}
	}
}

// F26: a nested client with a key; a middleware sends two requests to one path in one attempt
// and one in the next.
func TestF26NoKeyIsSharedByTwoRequests(t *testing.T) {
	inner, sent := scripted(status(200), status(503), status(200))
	inner.IdempotencyKey = NewIdempotencyKey
	below := &RoundTripper{Client: inner}
	made := 0
	outer := &Client{RetryMax: 4, Backoff: noWait, HTTPClient: &http.Client{Transport: roundTripFunc(func(req *http.Request) (*http.Response, error) {
		var resp *http.Response
		for made < 2 { // what has succeeded is not sent again
			part, err := http.NewRequestWithContext(req.Context(), "POST", req.URL.String(), strings.NewReader(fmt.Sprint("part ", made)))
			require.NoError(t, err)
			if resp, err = below.RoundTrip(part); err != nil || resp.StatusCode != 200 {
				return resp, err
			}
			made++
		}
		return resp, nil
	})}}
	_, err := outer.Post("http://host/", "", content)
	require.NoError(t, err)
	require.Equal(t, []string{"part 0", "part 1", "part 1"}, sent.bodies)
	keys := map[string]string{}
	for i, req := range sent.seen {
		key := req.Header.Get("Idempotency-Key")
		require.Len(t, key, 36)
		if other, ok := keys[key]; ok {
			assert.Equal(t, other, sent.bodies[i])
		}
		keys[key] = sent.bodies[i]
	}
}

// F27: attempts time out under a limit on connections, in the dial, and with a protocol of
// the program's own.
func TestF27RetriesKeepWithinTheLimitsOfTheTransport(t *testing.T) {
	t.Run("MaxConnsPerHost", func(t *testing.T) {
		var open, most atomic.Int32
		server := httptest.NewUnstartedServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) { <-r.Context().Done() }))
		server.EnableHTTP2 = true
		server.StartTLS()
		defer server.Close()
		rt := server.Client().Transport.(*http.Transport).Clone()
		rt.MaxConnsPerHost = 2
		rt.DialContext = func(ctx context.Context, network, addr string) (net.Conn, error) {
			conn, err := new(net.Dialer).DialContext(ctx, network, addr)
			if err != nil {
				return nil, err
			}
			n := open.Add(1)
			for old := most.Load(); n > old && !most.CompareAndSwap(old, n); old = most.Load() {
			}
			return noticedConn{conn, func() { open.Add(-1) }}, nil
		}
		client := &Client{RetryMax: 4, Backoff: noWait, AttemptTimeout: 50 * time.Millisecond, HTTPClient: &http.Client{Transport: rt}}
		defer client.CloseIdleConnections()
		var calls sync.WaitGroup
		for range 6 {
			calls.Go(func() {
				_, err := client.Get(server.URL)
				assert.Error(t, err)
			})
		}
		calls.Wait()
		assert.LessOrEqual(t, most.Load(), int32(2))
	})
	t.Run("a dial that timed out leaves the pool to its retries", func(t *testing.T) {
		server := httptest.NewServer(http.NotFoundHandler())
		defer server.Close()
		var dials atomic.Int32
		rt := &http.Transport{DialContext: func(ctx context.Context, network, addr string) (net.Conn, error) {
			if dials.Add(1) == 1 {
				<-ctx.Done()
				return nil, ctx.Err()
			}
			return new(net.Dialer).DialContext(ctx, network, addr)
		}}
		client := &Client{RetryMax: 1, Backoff: noWait, AttemptTimeout: 50 * time.Millisecond, HTTPClient: &http.Client{Transport: rt}}
		defer client.CloseIdleConnections()
		for range 3 {
			resp, err := client.Get(server.URL)
			require.NoError(t, err)
			io.Copy(io.Discard, resp.Body)
			resp.Body.Close()
		}
		assert.LessOrEqual(t, dials.Load(), int32(2), "the retry's connection serves the other calls")
	})
	t.Run("RegisterProtocol", func(t *testing.T) {
		for name, first := range map[string]func(*http.Request) (*http.Response, error){
			"408":     status(408),
			"timeout": failure(ErrAttemptTimeout),
		} {
			_, sent := scripted(first, status(200))
			rt := &http.Transport{}
			rt.RegisterProtocol("http", sent)
			client := &Client{RetryMax: 1, Backoff: noWait, AttemptTimeout: time.Minute, HTTPClient: &http.Client{Transport: rt}}
			_, err := client.Get("http://host.invalid/")
			require.NoError(t, err, name)
			assert.Len(t, sent.seen, 2, name)
		}
	})
}

var gzipReaders = sync.Pool{New: func() any { return new(gzip.Reader) }}

// pooledGzip is the body that a gzip middleware makes, with a reader from a pool: closing it
// while it is read gives the reader to somebody else.
type pooledGzip struct {
	body io.ReadCloser
	zr   *gzip.Reader
	n    int // written by Read and Close without a lock
}

func (b *pooledGzip) Read(p []byte) (int, error) {
	b.n++
	if b.zr == nil {
		b.zr = gzipReaders.Get().(*gzip.Reader)
		if err := b.zr.Reset(b.body); err != nil {
			return 0, err
		}
	}
	return b.zr.Read(p)
}

func (b *pooledGzip) Close() error {
	b.n++
	if b.zr != nil {
		gzipReaders.Put(b.zr)
		b.zr = nil
	}
	return b.body.Close()
}

// F28: the body of a refused response is slow, and of a middleware. The race detector judges.
func TestF28BodyOfAMiddlewareIsNotClosedWhileItIsRead(t *testing.T) {
	var hits atomic.Int32
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if hits.Add(1) > 1 {
			return
		}
		w.WriteHeader(503)
		zw := gzip.NewWriter(w)
		io.WriteString(zw, strings.Repeat(content, 100))
		zw.Flush()
		w.(http.Flusher).Flush()
		<-r.Context().Done() // stalls
	}))
	defer server.Close()
	rt := &http.Transport{DisableCompression: true}
	defer rt.CloseIdleConnections()
	client := &Client{RetryMax: 1, Backoff: noWait, HTTPClient: &http.Client{Transport: roundTripFunc(func(req *http.Request) (*http.Response, error) {
		resp, err := rt.RoundTrip(req)
		if err == nil && resp.StatusCode == 503 {
			resp.Body = &pooledGzip{body: resp.Body}
		}
		return resp, err
	})}}
	resp, err := client.Get(server.URL)
	require.NoError(t, err)
	resp.Body.Close()

	t.Run("a panic in its Read", func(t *testing.T) {
		client, _ := scripted(func(req *http.Request) (*http.Response, error) {
			resp := respond(req, 503, "")
			resp.Body = io.NopCloser(readFunc(func([]byte) (int, error) { panic("in Read") }))
			return resp, nil
		})
		assert.PanicsWithValue(t, "in Read", func() { client.Get("http://host/") })
	})
}

// F29: refused redirects and URLs without a scheme.
func TestF29SecretsOfRedirectsAndRelativeURLs(t *testing.T) {
	for name, tc := range map[string]struct {
		location string
		check    func(*http.Request, []*http.Request) error
	}{
		"refused":          {"/callback?code=SECRET", func(*http.Request, []*http.Request) error { return errors.New("no redirects") }},
		"ten of them":      {"/callback?code=SECRET", nil},
		"without a scheme": {"//user:SECRET@host/callback?code=SECRET", func(*http.Request, []*http.Request) error { return errors.New("no redirects") }},
	} {
		for way, send := range sends {
			if way == "RoundTripper" {
				continue // leaves redirects to others
			}
			t.Run(name+"/"+way, func(t *testing.T) {
				client, _ := scripted(status(302, "Location", tc.location))
				client.HTTPClient.CheckRedirect = tc.check
				lacks := func(where string, err error) {
					if err != nil {
						assert.NotContains(t, err.Error(), "SECRET", where)
						var inner *url.Error
						if errors.As(err, &inner) {
							assert.NotContains(t, inner.URL, "SECRET", where)
						}
					}
				}
				client.CheckRetry = func(ctx context.Context, resp *http.Response, err error) (bool, error) {
					lacks("policy", err)
					return DefaultRetryPolicy(ctx, resp, err)
				}
				client.OnAttempt = func(a Attempt) { lacks("OnAttempt", a.Err) }
				client.ErrorHandler = func(_ *http.Response, err error, _ int) (*http.Response, error) {
					lacks("ErrorHandler", err)
					return nil, err
				}
				err := send(client, mustRequest(t, "http://host/?key=SECRET"))
				require.Error(t, err)
				if way == "Do" {
					lacks("result", err)
				}
				// The *url.Error of the http.Client of StandardClient is not of this library.
				client.ErrorHandler = nil
				client.HTTPClient.Transport = roundTripFunc(func(req *http.Request) (*http.Response, error) {
					if req.URL.Path == "/" {
						return respond(req, 302, "", "Location", tc.location), nil
					}
					return nil, errors.New("lost " + req.URL.String())
				})
				client.HTTPClient.CheckRedirect = nil // to the URL that fails
				err = send(client, mustRequest(t, "http://host/?key=SECRET"))
				var giveUp *GiveUpError
				require.ErrorAs(t, err, &giveUp)
				lacks("GiveUpError", giveUp)
				lacks("the error inside", giveUp.Err)
				assert.NotContains(t, giveUp.URL, "SECRET")
				var outer *url.Error
				require.ErrorAs(t, err, &outer)
				lacks("the error in the *url.Error", outer.Err)
			})
		}
	}
}

// F30: HTTPClient.Timeout through a RoundTripper, as through a Client.
func TestF30ClientTimeoutIsADeadline(t *testing.T) {
	server := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) { <-r.Context().Done() }))
	defer server.Close()
	for way, send := range sends {
		client := &Client{HTTPClient: &http.Client{Transport: &http.Transport{}, Timeout: 50 * time.Millisecond}}
		err := send(client, mustRequest(t, server.URL))
		assert.ErrorIs(t, err, context.DeadlineExceeded, way)
		var giveUp *GiveUpError
		require.ErrorAs(t, err, &giveUp)
		assert.True(t, giveUp.Timeout())
		client.CloseIdleConnections()
	}
}

// F31: a 503 with Set-Cookie, as a challenge sends it. Client.Do keeps the cookie;
// StandardClient, whose http.Client sees the last response only, does not.
func TestF31CookieOfARetriedResponse(t *testing.T) {
	for way, want := range map[string]int{"Do": 200, "StandardClient": 503} {
		jar, err := cookiejar.New(nil)
		require.NoError(t, err)
		client, _ := scripted(func(req *http.Request) (*http.Response, error) {
			if _, err := req.Cookie("passed"); err != nil {
				return respond(req, 503, "", "Set-Cookie", "passed=yes"), nil
			}
			return respond(req, 200, ""), nil
		})
		client.HTTPClient.Jar, client.ErrorHandler = jar, PassthroughErrorHandler
		var resp *http.Response
		if way == "Do" {
			resp, err = client.Get("http://host/")
		} else {
			resp, err = client.StandardClient().Get("http://host/")
		}
		require.NoError(t, err)
		assert.Equal(t, want, resp.StatusCode, way)
	}
}

// F32: a text of an error that is not a URL.
func TestF32QuotedTextIsNotTakenForAURL(t *testing.T) {
	client, _ := scripted(failure(errors.New(`unknown plan: try "try plan #3" or "ask?" of "a@b"`)))
	client.RetryMax = 0
	_, err := client.Get("http://host/")
	assert.ErrorContains(t, err, `unknown plan: try "try plan #3" or "ask?" of "a@b"`)
}

// settledGoroutines returns the number of goroutines once it stays the same.
func settledGoroutines() int {
	n, same := runtime.NumGoroutine(), 0
	for same < 20 {
		time.Sleep(2 * time.Millisecond)
		if now := runtime.NumGoroutine(); now != n {
			n, same = now, 0
		}
		same++
	}
	return n
}

// F33: HTTPClient.Timeout with Client.Do costs what it costs with net/http.
func TestF33ClientTimeoutCostsWhatNetHTTPCosts(t *testing.T) {
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.(http.Flusher).Flush()
		<-r.Context().Done()
	}))
	defer server.Close()
	hc := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}, Timeout: time.Hour}
	client := NewClient()
	client.HTTPClient = hc
	typeOfBody := func(get func(string) (*http.Response, error)) string {
		resp, err := get(server.URL)
		require.NoError(t, err)
		defer resp.Body.Close()
		return fmt.Sprintf("%T", resp.Body)
	}
	assert.Equal(t, typeOfBody(hc.Get), typeOfBody(client.Get), "nothing is around the body")

	const open = 50
	goroutines := func(get func(string) (*http.Response, error)) int {
		before := settledGoroutines()
		for range open {
			resp, err := get(server.URL)
			require.NoError(t, err)
			defer resp.Body.Close()
		}
		return settledGoroutines() - before
	}
	// Each response has goroutines of net/http, at the server too.
	assert.InDelta(t, goroutines(hc.Get), goroutines(client.Get), open/2, "goroutines for %d open responses", open)

	hc.Transport = registered(still(200))
	httpReq := mustRequest(t, "http://host/")
	req, err := FromRequest(httpReq)
	require.NoError(t, err)
	count := func(do func() (*http.Response, error)) float64 {
		return testing.AllocsPerRun(20, func() {
			resp, err := do()
			require.NoError(t, err)
			resp.Body.Close()
		})
	}
	// Goroutines of net/http and of other tests can only add to a count.
	plain, ours := math.Inf(1), math.Inf(1)
	for range 100 {
		plain = min(plain, count(func() (*http.Response, error) { return hc.Do(httpReq) }))
		if ours = min(ours, count(func() (*http.Response, error) { return client.Do(req) })); ours <= plain {
			break
		}
	}
	assert.LessOrEqual(t, ours, plain)
}

// F34: requests that HTTP/2 cannot carry, and a bad Trailer key.
func TestF34RequestsThatHTTP2RefusesAreSentOnce(t *testing.T) {
	server := httptest.NewUnstartedServer(http.NotFoundHandler())
	server.EnableHTTP2 = true
	server.StartTLS()
	defer server.Close()
	for name, spoil := range map[string]func(*http.Request){
		"Upgrade":           func(r *http.Request) { r.Header.Set("Upgrade", "other") },
		"Connection":        func(r *http.Request) { r.Header.Set("Connection", "upgrade") },
		"Transfer-Encoding": func(r *http.Request) { r.Header.Set("Transfer-Encoding", "gzip") },
		"Host":              func(r *http.Request) { r.Host = "a b" },
		"Trailer":           func(r *http.Request) { r.Trailer = http.Header{"Content-Length": nil} },
	} {
		attempts := 0
		client := &Client{RetryMax: 4, Backoff: noWait, HTTPClient: server.Client(), OnAttempt: func(Attempt) { attempts++ }}
		req, err := NewRequest("POST", server.URL, []byte(content))
		require.NoError(t, err)
		spoil(req.Request)
		_, err = client.Do(req)
		assert.Error(t, err, name)
		assert.Equal(t, 1, attempts, name)
	}
	plain := httptest.NewServer(http.NotFoundHandler())
	defer plain.Close()
	attempts := 0
	client := &Client{RetryMax: 4, Backoff: noWait, HTTPClient: plain.Client(), OnAttempt: func(Attempt) { attempts++ }}
	req, err := NewRequest("POST", plain.URL, plainReader{strings.NewReader(content)})
	require.NoError(t, err)
	req.Trailer = http.Header{"Content-Length": nil}
	_, err = client.Do(req)
	assert.Error(t, err)
	assert.Equal(t, 1, attempts)
}

// F35: a Retry-After that no backoff obeys.
func TestF35RetryAfterCountsOnlyWhereItIsObeyed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		client, sent := scripted(status(500, "Retry-After", "3600"), status(200))
		client.Backoff, client.RetryWaitMin, client.RetryWaitMax = DefaultBackoff, 10*time.Minute, time.Hour
		start := time.Now()
		_, err := client.Get("http://host/")
		require.NoError(t, err)
		assert.Equal(t, 10*time.Minute, time.Since(start))
		assert.Len(t, sent.seen, 2)

		client, _ = scripted(status(500, "Retry-After", "400"), status(200)) // less than the wait, more than RetryAfterMax
		client.Backoff, client.RetryWaitMin, client.RetryWaitMax = DefaultBackoff, 10*time.Minute, time.Hour
		_, err = client.Get("http://host/")
		assert.NoError(t, err)
		client, _ = scripted(status(500, "Retry-After", "400")) // obeyed by a Backoff of the caller's
		client.Backoff = func(time.Duration, time.Duration, int, *http.Response) time.Duration { return 400 * time.Second }
		_, err = client.Get("http://host/")
		assert.ErrorContains(t, err, "server asks to wait 6m40s")
	})
}

// F36: a call is canceled in the wait after an attempt that timed out.
func TestF36CancelAfterATimeoutIsACancel(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		for _, handler := range []ErrorHandler{nil, PassthroughErrorHandler} {
			ctx, cancel := context.WithCancel(t.Context())
			client, _ := scripted(func(req *http.Request) (*http.Response, error) {
				<-req.Context().Done()
				return nil, context.Cause(req.Context())
			})
			client.AttemptTimeout, client.ErrorHandler = time.Second, handler
			client.Backoff = func(time.Duration, time.Duration, int, *http.Response) time.Duration { return time.Hour }
			time.AfterFunc(2*time.Second, cancel)
			req, err := NewRequestWithContext(ctx, "GET", "http://host/", nil)
			require.NoError(t, err)
			_, err = client.Do(req)
			assert.ErrorIs(t, err, context.Canceled)
			assert.ErrorIs(t, err, ErrAttemptTimeout, "the last cause")
			assert.False(t, os.IsTimeout(err))
			var timeout interface{ Timeout() bool }
			require.ErrorAs(t, err, &timeout)
			assert.False(t, timeout.Timeout())
			_, err = client.StandardClient().Do(req.Request)
			var outer *url.Error
			require.ErrorAs(t, err, &outer)
			assert.False(t, outer.Timeout())
		}
	})
}

// F37: a nil in Unwrap() []error; a nil function as the Logger; a logger with levels and
// Printf (docs/spec.md, 4.10 and 4.11).
func TestF37NilsInErrorsAndUnusualLoggers(t *testing.T) {
	t.Run("nil in Unwrap", func(t *testing.T) {
		failsEverywhereWith(t, aggregate{errLost, nil, aggregate{nil}})
		failsEverywhereWith(t, fmt.Errorf("wrapped: %w", aggregate{nil, errLost}))
	})
	t.Run("nil function as the Logger", func(t *testing.T) {
		for way, send := range sends {
			client, sent := scripted(status(200))
			client.Logger = printfFunc(nil)
			err := send(client, mustRequest(t, "http://host/"))
			assert.ErrorContains(t, err, "retryablehttp: Client.Logger is a nil retryablehttp.printfFunc", way)
			assert.Empty(t, sent.seen, way)
		}
	})
	t.Run("levels and Printf", func(t *testing.T) {
		for way, send := range sends {
			var out bytes.Buffer
			client, _ := scripted(status(503), failure(errLost), status(200))
			client.Logger = struct {
				leveledOnly
				printfFunc
			}{leveledOnly{lines(&out)}, func(string, ...any) { t.Error("Printf") }}
			require.NoError(t, send(client, mustRequest(t, "http://host/")))
			assert.Contains(t, out.String(), "level=DEBUG", way)
			assert.Contains(t, out.String(), "level=ERROR", way)
		}
	})
}

// F38: a Client is copied while it is in use over a transport that is not *http.Transport.
// The race detector judges.
func TestF38ClientMayBeCopiedInUse(t *testing.T) {
	client := &Client{RetryMax: 3, Backoff: noWait, HTTPClient: &http.Client{Transport: roundTripFunc(func(req *http.Request) (*http.Response, error) {
		return respond(req, 503, ""), nil
	})}}
	var calls sync.WaitGroup
	for range 4 {
		calls.Go(func() {
			copied := *client
			_, err := copied.Get("http://host/")
			assert.Error(t, err)
			_, err = client.Post("http://host/", "", content)
			assert.Error(t, err)
		})
	}
	calls.Wait()
}

// F39: Request.Cancel is closed.
func TestF39RequestCancelEndsTheCall(t *testing.T) {
	for way, send := range sends {
		for name, after := range map[string]time.Duration{"during the wait": 1500 * time.Millisecond, "during the attempt": 500 * time.Millisecond} {
			t.Run(way+"/"+name, func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					cancel := make(chan struct{})
					client, _ := scripted(func(req *http.Request) (*http.Response, error) {
						select {
						case <-time.After(time.Second):
							return respond(req, 503, ""), nil
						case <-requestCancel(req):
							return nil, errors.New("net/http: request canceled")
						}
					})
					client.Backoff = func(time.Duration, time.Duration, int, *http.Response) time.Duration { return time.Hour }
					httpReq := mustRequest(t, "http://host/")
					//lint:ignore SA1019 it still has to work
					httpReq.Cancel = cancel
					time.AfterFunc(after, func() { close(cancel) })
					start := time.Now()
					err := send(client, httpReq)
					assert.Equal(t, after, time.Since(start))
					assert.ErrorIs(t, err, context.Canceled)
					var giveUp *GiveUpError
					require.ErrorAs(t, err, &giveUp)
					assert.Equal(t, ReasonCanceled, giveUp.Reason)
					assert.Equal(t, 1, giveUp.Attempts)
				})
			})
		}
	}
}
