package retryablehttp

import (
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"net/http/cookiejar"
	"net/http/httptest"
	"net/url"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// Spec 4, StandardClient and RoundTripper: one *url.Error layer, no repeated text.
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

// Spec 4, StandardClient: CheckRedirect, Jar and Timeout work, hop by hop.
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

// Spec 4, RoundTripper: the Timeout of the http.Client around it is the call's deadline,
// that of Client.HTTPClient is each attempt's.
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

// Spec 4, RoundTripper: redirects and cookies are left to the http.Client around it.
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

// Spec 4, RoundTripper: never a response together with an error.
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

// Spec 4, RoundTripper: CloseIdleConnections reaches the pool. Spec 1, a nil Client.
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

// The response of a call belongs to the request that it was asked for.
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

// Spec 4, RoundTripper: a policy, OnAttempt and an ErrorHandler are told what they are told
// of a Client's attempt, a *url.Error; the caller gets one such layer.
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
			"Do":             `GET http://host/path giving up after 1 attempt(s): Get "http://host/path": connection lost`,
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
