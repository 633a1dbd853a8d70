package retryablehttp

import (
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"net/http/cookiejar"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// docs/spec.md, 4.13: one *url.Error layer, and no text twice.
func TestRoundTripperErrorsAreWrappedOnce(t *testing.T) {
	client, _ := scripted(failure(errLost))
	_, err := client.StandardClient().Get("http://host/path")
	assert.EqualError(t, err, `Get "http://host/path": giving up after 5 attempt(s): connection lost`)
	assert.ErrorIs(t, err, errLost)
	var outer *url.Error
	require.ErrorAs(t, err, &outer)
	assert.NotErrorAs(t, outer.Err, new(*url.Error))
	var giveUp *GiveUpError
	require.ErrorAs(t, err, &giveUp)
	assert.Equal(t, "http://host/path", giveUp.URL)
}

// docs/spec.md, 4.13: CheckRedirect, Jar and Timeout work, hop by hop.
func TestStandardClientBehavesAsAnHTTPClient(t *testing.T) {
	var hops []string
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		cookie, _ := r.Cookie("a")
		hops = append(hops, r.URL.Path+" "+cookieValue(cookie))
		switch r.URL.Path {
		case "/start":
			http.SetCookie(w, &http.Cookie{Name: "a", Value: "b"})
			http.Redirect(w, r, "/next", http.StatusFound)
		case "/next":
			if len(hops) == 2 {
				w.WriteHeader(503)
			}
		}
	}))
	defer server.Close()
	jar, err := cookiejar.New(nil)
	require.NoError(t, err)
	client := NewClient()
	client.Backoff = noWait
	client.HTTPClient.Jar = jar
	redirects := 0
	client.HTTPClient.CheckRedirect = func(req *http.Request, via []*http.Request) error {
		redirects++
		return nil
	}
	standard := client.StandardClient()
	defer standard.CloseIdleConnections()
	assert.Same(t, jar, standard.Jar)
	resp, err := standard.Get(server.URL + "/start")
	require.NoError(t, err)
	resp.Body.Close()
	assert.Equal(t, []string{"/start ", "/next b", "/next b"}, hops)
	assert.Equal(t, 1, redirects)

	standard.CheckRedirect = func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }
	resp, err = standard.Get(server.URL + "/start")
	require.NoError(t, err)
	resp.Body.Close()
	assert.Equal(t, 302, resp.StatusCode)
}

func cookieValue(c *http.Cookie) string {
	if c == nil {
		return ""
	}
	return c.Value
}

// docs/spec.md, 4.14: the Timeout of the http.Client around a RoundTripper is the
// deadline of the call, the Timeout of Client.HTTPClient limits each attempt.
func TestTimeoutsOfTheClientsAroundAndBelow(t *testing.T) {
	stall := func(req *http.Request) (*http.Response, error) {
		<-req.Context().Done()
		return nil, context.Cause(req.Context())
	}
	synctest.Test(t, func(t *testing.T) {
		client, sent := scripted(stall, stall, status(200))
		client.HTTPClient.Timeout = 3 * time.Second
		start := time.Now()
		resp, err := client.StandardClient().Get("http://host/")
		require.NoError(t, err)
		resp.Body.Close()
		assert.Equal(t, 6*time.Second, time.Since(start))
		assert.Len(t, sent.seen, 3)
	})
	synctest.Test(t, func(t *testing.T) {
		client, sent := scripted(stall)
		client.HTTPClient.Timeout = 3 * time.Second
		standard := client.StandardClient()
		standard.Timeout = 5 * time.Second
		start := time.Now()
		_, err := standard.Get("http://host/")
		assert.Equal(t, 5*time.Second, time.Since(start))
		assert.Len(t, sent.seen, 2)
		var timeout interface{ Timeout() bool }
		require.ErrorAs(t, err, &timeout)
		assert.True(t, timeout.Timeout())
		assert.ErrorIs(t, err, context.DeadlineExceeded)
	})
	t.Run("the body is bounded too", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			client, _ := scripted(func(req *http.Request) (*http.Response, error) {
				body := newSlowBody(time.Second, 10)
				context.AfterFunc(req.Context(), func() { body.Close() })
				resp := respond(req, 200, "")
				resp.Body = body
				return resp, nil
			})
			client.HTTPClient.Timeout = 3500 * time.Millisecond
			resp, err := client.StandardClient().Get("http://host/")
			require.NoError(t, err)
			data, err := io.ReadAll(resp.Body)
			assert.Len(t, data, 3)
			var timeout interface{ Timeout() bool }
			require.ErrorAs(t, err, &timeout)
			assert.True(t, timeout.Timeout())
			resp.Body.Close()
		})
	})
}

// docs/spec.md, 4.14: a RoundTripper leaves redirects and cookies to the http.Client
// around it.
func TestBareRoundTripperDoesNotFollowRedirects(t *testing.T) {
	client, sent := scripted(status(302, "Location", "/next", "Set-Cookie", "a=b"))
	jar, err := cookiejar.New(nil)
	require.NoError(t, err)
	client.HTTPClient.Jar = jar
	resp, err := (&RoundTripper{Client: client}).RoundTrip(mustRequest(t, "http://host/"))
	require.NoError(t, err)
	assert.Equal(t, 302, resp.StatusCode)
	assert.Len(t, sent.seen, 1)
	assert.Empty(t, jar.Cookies(sent.seen[0].URL))
}

// docs/spec.md, 4.14: never a response together with an error.
func TestRoundTripperClosesTheResponseItDoesNotReturn(t *testing.T) {
	body := &closeCounter{Reader: strings.NewReader("x")}
	client, _ := scripted(func(req *http.Request) (*http.Response, error) {
		resp := respond(req, 500, "")
		resp.Body = body
		return resp, nil
	})
	client.RetryMax = 0
	refused := errors.New("refused")
	client.ErrorHandler = func(resp *http.Response, _ error, _ int) (*http.Response, error) { return resp, refused }
	resp, err := (&RoundTripper{Client: client}).RoundTrip(mustRequest(t, "http://host/"))
	assert.Nil(t, resp)
	assert.Equal(t, refused, err)
	assert.Equal(t, 1, body.closed)

	body = &closeCounter{Reader: strings.NewReader("x")}
	client.HTTPClient.Transport = roundTripFunc(func(req *http.Request) (*http.Response, error) {
		resp := respond(req, 500, "")
		resp.Body = body
		return resp, errLost // against the contract of http.RoundTripper
	})
	client.ErrorHandler = nil
	resp, err = (&RoundTripper{Client: client}).RoundTrip(mustRequest(t, "http://host/"))
	assert.Nil(t, resp)
	assert.ErrorIs(t, err, errLost)
	assert.Equal(t, 1, body.closed)
}

// docs/spec.md, 4.14: CloseIdleConnections reaches the pool, also if Client is nil.
func TestCloseIdleConnectionsReachesThePool(t *testing.T) {
	var open atomic.Int32
	server := httptest.NewUnstartedServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {}))
	closed := make(chan struct{}, 10)
	server.Config.ConnState = func(_ net.Conn, state http.ConnState) {
		switch state {
		case http.StateNew:
			open.Add(1)
		case http.StateClosed:
			open.Add(-1)
			closed <- struct{}{}
		}
	}
	server.Start()
	defer server.Close()
	for _, rt := range []*RoundTripper{{Client: NewClient()}, {}} {
		standard := &http.Client{Transport: rt}
		resp, err := standard.Get(server.URL)
		require.NoError(t, err)
		resp.Body.Close()
		assert.EqualValues(t, 1, open.Load())
		standard.CloseIdleConnections()
		<-closed
		assert.Zero(t, open.Load())
	}
}

// The Request of a response is the one that it is for.
func TestResponseCarriesItsRequest(t *testing.T) {
	client, _ := scripted(func(req *http.Request) (*http.Response, error) {
		resp := respond(req, 200, "")
		resp.Request, resp.Body = nil, nil
		return resp, nil
	})
	req := mustRequest(t, "http://host/")
	resp, err := (&RoundTripper{Client: client}).RoundTrip(req)
	require.NoError(t, err)
	assert.Same(t, req, resp.Request)
	assert.NotNil(t, resp.Body)
}

// docs/spec.md, 4.14: the policy, OnAttempt and the ErrorHandler of a RoundTripper get a
// *url.Error, as those of Client.Do; the error of the call has one such layer.
func TestRoundTripperTellsThePolicyAURLError(t *testing.T) {
	for way, send := range sends {
		client, sent := scripted(failure(errLost))
		isURLError := func(where string, err error) {
			outer, ok := err.(*url.Error)
			if assert.True(t, ok, "%s, %s: %T", way, where, err) {
				assert.Equal(t, "http://host/path", outer.URL)
				assert.Equal(t, "Get", outer.Op)
				assert.Equal(t, errLost, outer.Err)
			}
		}
		client.CheckRetry = func(_ context.Context, _ *http.Response, err error) (bool, error) {
			isURLError("policy", err)
			return false, err
		}
		client.OnAttempt = func(a Attempt) { isURLError("OnAttempt", a.Err) }
		err := send(client, mustRequest(t, "http://host/path"))
		require.ErrorIs(t, err, errLost)
		assert.Len(t, sent.seen, 1)
		want := map[string]string{
			"Do":             `GET http://host/path giving up after 1 attempt(s): connection lost`,
			"RoundTripper":   "giving up after 1 attempt(s): connection lost",
			"StandardClient": `Get "http://host/path": giving up after 1 attempt(s): connection lost`,
		}
		assert.EqualError(t, err, want[way])

		client.ErrorHandler = func(_ *http.Response, err error, _ int) (*http.Response, error) {
			isURLError("ErrorHandler", err)
			return nil, err
		}
		err = send(client, mustRequest(t, "http://host/path"))
		switch way {
		case "RoundTripper":
			assert.Equal(t, errLost, err)
		default:
			assert.EqualError(t, err, `Get "http://host/path": connection lost`)
		}
	}

	client, _ := scripted(status(503))
	client.PrepareRetry = func(*http.Request) error { return &url.Error{Op: "Get", URL: "http://tokens/", Err: errLost} }
	err := sends["RoundTripper"](client, mustRequest(t, "http://host/path"))
	assert.ErrorContains(t, err, "http://tokens/", "of another request")
}

// docs/spec.md, 4.23: PassthroughErrorHandler returns a response or an error, and both
// only if a callback has failed, so that a caller who returns on an error leaks no body.
func TestPassthroughErrorHandlerReturnsOneOfThem(t *testing.T) {
	one := []byte("x")
	for name, tc := range map[string]struct {
		set  func(*Client)
		body any
	}{
		"Retry-After":     {func(c *Client) { c.Backoff = DefaultBackoff }, one},
		"MaxElapsedTime":  {func(c *Client) { c.MaxElapsedTime = time.Minute; c.RetryAfterMax = -1; c.Backoff = DefaultBackoff }, one},
		"retries used up": {func(c *Client) { c.RetryMax = 0 }, one},
		"not replayable":  {func(c *Client) { c.ReplayMax = -1 }, plainReader{strings.NewReader(content)}},
		"body fails":      {func(*Client) {}, failsOnRetry()},
	} {
		t.Run(name, func(t *testing.T) {
			client, _ := scripted(status(429, "Retry-After", "3600"))
			client.ErrorHandler = PassthroughErrorHandler
			tc.set(client)
			resp, err := client.Post("http://host/", "", tc.body)
			require.NoError(t, err)
			assert.Equal(t, 429, resp.StatusCode)
			data, err := io.ReadAll(resp.Body)
			require.NoError(t, err)
			assert.Equal(t, "body of a 429", string(data))
		})
	}
	t.Run("deadline", func(t *testing.T) {
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		client, _ := scripted(status(429, "Retry-After", "200"))
		client.ErrorHandler, client.Backoff = PassthroughErrorHandler, DefaultBackoff
		resp, err := (&RoundTripper{Client: client}).RoundTrip(mustRequest(t, "http://host/").WithContext(ctx))
		require.NoError(t, err)
		assert.Equal(t, 429, resp.StatusCode)
	})
	t.Run("cancel", func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		client, _ := scripted(status(503))
		client.ErrorHandler = PassthroughErrorHandler
		client.Backoff = func(time.Duration, time.Duration, int, *http.Response) time.Duration { cancel(); return time.Hour }
		req, err := NewRequestWithContext(ctx, "GET", "http://host/", nil)
		require.NoError(t, err)
		resp, err := client.Do(req)
		assert.ErrorIs(t, err, context.Canceled)
		assert.Nil(t, resp)
	})
	t.Run("the policy's own error comes beside the response", func(t *testing.T) {
		client, _ := scripted(status(503))
		client.ErrorHandler, client.CheckRetry = PassthroughErrorHandler, ErrorPropagatedRetryPolicy
		resp, err := client.Get("http://host/")
		assert.EqualError(t, err, "unexpected HTTP status 503 Service Unavailable")
		assert.Equal(t, 503, resp.StatusCode)
	})
	t.Run("no connection leaks", func(t *testing.T) {
		server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Retry-After", "3600")
			w.WriteHeader(429)
			io.WriteString(w, "slow down")
		}))
		defer server.Close()
		var open atomic.Int32
		rt := &http.Transport{DialContext: func(ctx context.Context, network, addr string) (net.Conn, error) {
			conn, err := new(net.Dialer).DialContext(ctx, network, addr)
			open.Add(1)
			return noticedConn{conn, func() { open.Add(-1) }}, err
		}}
		client := NewClient()
		client.HTTPClient.Transport, client.ErrorHandler = rt, PassthroughErrorHandler
		for range 100 {
			resp, err := client.Get(server.URL)
			require.NoError(t, err)
			resp.Body.Close()
		}
		client.CloseIdleConnections()
		require.Eventually(t, func() bool { return open.Load() == 0 }, 10*time.Second, time.Millisecond)

		proxy := httptest.NewServer(&httputil.ReverseProxy{
			Rewrite: func(r *httputil.ProxyRequest) {
				r.Out.URL.Scheme, r.Out.URL.Host = "http", strings.TrimPrefix(server.URL, "http://")
			},
			Transport: &RoundTripper{Client: client},
		})
		defer proxy.Close()
		resp, err := http.Get(proxy.URL)
		require.NoError(t, err)
		defer resp.Body.Close()
		data, err := io.ReadAll(resp.Body)
		require.NoError(t, err)
		assert.Equal(t, 429, resp.StatusCode)
		assert.Equal(t, "slow down", string(data))
		client.CloseIdleConnections()
	})
}

func failsOnRetry() ReaderFunc {
	opened := 0
	return func() (io.Reader, error) {
		if opened++; opened > 1 {
			return nil, errLost
		}
		return strings.NewReader(content), nil
	}
}

// docs/spec.md, 3.13: a file that is the Body of an http.Request is sent by sections at
// every attempt, and closed once.
func TestFileOfAStandardRequestIsRetriedAtAnySize(t *testing.T) {
	for way, send := range sends {
		for kind, open := range map[string]func(*closedFile) io.Reader{
			"*os.File":                          func(f *closedFile) io.Reader { return f.File },
			"io.ReaderAt and io.Seeker":         func(f *closedFile) io.Reader { return f },
			"without Close, by http.NewRequest": func(f *closedFile) io.Reader { return io.NewSectionReader(f, 0, int64(len(content))) },
		} {
			t.Run(kind+"/"+way, func(t *testing.T) {
				file := &closedFile{File: tempFile(t, content)}
				client, sent := scripted(status(503), failure(errLost), status(200))
				client.ReplayMax = 5
				req, err := http.NewRequest("POST", "http://host/", open(file))
				require.NoError(t, err)
				require.NoError(t, send(client, req))
				assert.Equal(t, []string{content, content, content}, sent.bodies)
				for _, r := range sent.seen {
					assert.Zero(t, r.ContentLength, "what net/http would put on the wire")
				}
				switch kind {
				case "*os.File":
					_, err := file.Stat()
					assert.ErrorIs(t, err, os.ErrClosed)
				case "io.ReaderAt and io.Seeker":
					assert.Equal(t, 1, file.closes)
				}
			})
		}
	}
}

type closedFile struct {
	*os.File
	closes int
}

func (f *closedFile) Close() error {
	f.closes++
	return f.File.Close()
}

// docs/spec.md, 4.14: a RoundTripper with a Base sends through it and cannot call itself.
func TestRoundTripperBase(t *testing.T) {
	client, sent := scripted(status(503), status(200))
	existing := &http.Client{Transport: sent}
	client.HTTPClient = existing
	existing.Transport = &RoundTripper{Client: client, Base: existing.Transport}
	resp, err := existing.Get("http://host/")
	require.NoError(t, err)
	assert.Equal(t, 200, resp.StatusCode)
	assert.Len(t, sent.seen, 2)

	_, sent = scripted(status(200))
	rt := &RoundTripper{Base: sent}
	resp, err = rt.RoundTrip(mustRequest(t, "http://host/"))
	require.NoError(t, err)
	assert.Equal(t, 200, resp.StatusCode)
	assert.Equal(t, 4, rt.Client.RetryMax, "a client of NewClient")
}

// docs/spec.md, 4.14: the first use sets a nil Client, once.
func TestRoundTripperWithoutAClient(t *testing.T) {
	server := httptest.NewServer(http.NotFoundHandler())
	defer server.Close()
	rt := &RoundTripper{}
	var calls sync.WaitGroup
	for range 4 {
		calls.Go(func() {
			resp, err := (&http.Client{Transport: rt}).Get(server.URL)
			if assert.NoError(t, err) {
				resp.Body.Close()
			}
		})
	}
	calls.Wait()
	require.NotNil(t, rt.Client)
	rt.CloseIdleConnections()
}
