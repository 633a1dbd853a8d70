package retryablehttp

import (
	"bufio"
	"context"
	"io"
	"math"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// wireServer writes its responses byte by byte as they are given, and closes the connection
// after each. A response that ends in RESET resets it.
func wireServer(t *testing.T, responses ...string) (string, *atomic.Int32) {
	t.Helper()
	var requests atomic.Int32
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		n := int(requests.Add(1))
		conn, _, err := w.(http.Hijacker).Hijack()
		if !assert.NoError(t, err) {
			return
		}
		defer conn.Close()
		response, reset := strings.CutSuffix(responses[min(n, len(responses))-1], "RESET")
		_, err = io.WriteString(conn, response)
		assert.NoError(t, err)
		if reset {
			assert.NoError(t, conn.(*net.TCPConn).SetLinger(0))
		}
	}))
	t.Cleanup(server.Close)
	return server.URL, &requests
}

// docs/spec.md, 9.1: a body that is cut off fails the attempt, and the next attempt gets
// the response. Without BufferMax, reading the body returns the error.
func TestTruncatedBodyIsAFailedAttempt(t *testing.T) {
	const whole = "HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\n0123456789"
	for name, tc := range map[string]struct {
		broken string
		cause  error
	}{
		"Content-Length not met":     {"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\n01234", io.ErrUnexpectedEOF},
		"nothing after the header":   {"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\n", io.ErrUnexpectedEOF},
		"chunk cut":                  {"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\na\r\n01234", io.ErrUnexpectedEOF},
		"last chunk lacking":         {"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\na\r\n0123456789\r\n", io.ErrUnexpectedEOF},
		"chunk size that is no size": {"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nxyz\r\n0123456789\r\n0\r\n\r\n", nil},
		"reset":                      {"HTTP/1.1 200 OK\r\nContent-Length: 100000\r\n\r\n01234RESET", connReset},
	} {
		t.Run(name, func(t *testing.T) {
			url, requests := wireServer(t, tc.broken, tc.broken, whole)
			client := NewClient()
			defer client.CloseIdleConnections()
			client.Backoff, client.BufferMax, client.RetryMax = noWait, 1<<20, 2
			var attempts []Attempt
			client.OnAttempt = func(a Attempt) { attempts = append(attempts, a) }
			resp, err := client.Get(url)
			require.NoError(t, err)
			data, err := io.ReadAll(resp.Body)
			require.NoError(t, err)
			assert.Equal(t, "0123456789", string(data))
			require.NoError(t, resp.Body.Close())
			assert.EqualValues(t, 3, requests.Load())
			require.Len(t, attempts, 3)
			for _, a := range attempts[:2] {
				assert.Error(t, a.Err)
				assert.False(t, Unsent(a.Err))
				assert.Nil(t, a.Response)
				assert.Equal(t, ReasonTransportError, a.Reason)
			}

			requests.Store(0)
			client.RetryMax = 1
			_, err = client.Get(url)
			var giveUp *GiveUpError
			require.ErrorAs(t, err, &giveUp)
			assert.Equal(t, ReasonRetriesUsedUp, giveUp.Reason)
			assert.Equal(t, 2, giveUp.Attempts)
			assert.Nil(t, giveUp.Response)
			assert.False(t, Unsent(err))
			if tc.cause != nil {
				assert.ErrorIs(t, err, tc.cause)
			}
			assert.NotContains(t, err.Error(), "\n")

			requests.Store(0)
			client.BufferMax = 0
			resp, err = client.Get(url)
			require.NoError(t, err, "off")
			_, err = io.ReadAll(resp.Body)
			assert.Error(t, err)
			resp.Body.Close()
			assert.EqualValues(t, 1, requests.Load())
		})
	}
}

// docs/spec.md, 9.1: the connection of a buffered body is used again, although nobody has
// closed the body.
func TestCompleteResponseNeedsNoClose(t *testing.T) {
	var connections atomic.Int32
	server := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		io.WriteString(w, "0123456789")
	}))
	server.Config.ConnState = func(_ net.Conn, state http.ConnState) {
		if state == http.StateNew {
			connections.Add(1)
		}
	}
	server.Start()
	defer server.Close()
	client := NewClient()
	defer client.CloseIdleConnections()
	client.BufferMax = 10
	for range 5 {
		resp, err := client.Get(server.URL)
		require.NoError(t, err)
		assert.EqualValues(t, 10, resp.ContentLength)
	}
	assert.EqualValues(t, 1, connections.Load())
}

// docs/spec.md, 9.1 and 9.3: a body of at most BufferMax bytes is read before the call
// returns, and a longer one is returned as it comes.
func TestBufferMaxIsTheLongestThatIsReadWhole(t *testing.T) {
	for name, tc := range map[string]struct {
		bodyMax int64
		length  int
		chunked bool
		whole   bool
	}{
		"off":                                  {0, 10, false, false},
		"shorter":                              {100, 10, false, true},
		"as long":                              {100, 100, false, true},
		"one longer":                           {100, 101, false, false},
		"much longer":                          {100, 10_000, false, false},
		"unknown length, shorter":              {100, 10, true, true},
		"unknown length, as long":              {100, 100, true, true},
		"unknown length, one longer":           {100, 101, true, false},
		"unknown length, much longer":          {100, 10_000, true, false},
		"of one byte":                          {1, 1, false, true},
		"empty, unknown length":                {1, 0, true, true},
		"no limit to speak of":                 {math.MaxInt64, 10_000, false, true},
		"no limit to speak of, chunked":        {math.MaxInt64, 10_000, true, true},
		"nearly no limit to speak of, chunked": {math.MaxInt64 - 1, 10_000, true, true},
	} {
		t.Run(name, func(t *testing.T) {
			object := strings.Repeat("0123456789abcdef", tc.length/16+1)[:tc.length]
			store := newStore(object)
			store.chunked = tc.chunked
			store.responses = []storeResponse{{keep: tc.length, end: errLost}}
			if tc.length > 0 && !tc.chunked && tc.whole {
				store.responses[0].keep-- // else all of it has come
			}
			client := store.client(0)
			client.BufferMax, client.RetryMax = tc.bodyMax, 1
			resp, err := client.Get("http://host/")
			require.NoError(t, err)
			data, err := io.ReadAll(resp.Body)
			assert.True(t, object == string(data), "%d of %d bytes", len(data), len(object))
			if tc.whole {
				store.assertClosed(t) // without the caller
			}
			require.NoError(t, resp.Body.Close())
			store.assertClosed(t)
			if tc.whole {
				assert.NoError(t, err)
				assert.Len(t, store.seen, 2, "a failed attempt, and one that did not fail")
			} else {
				assert.ErrorIs(t, err, errLost)
				assert.Len(t, store.seen, 1)
			}
		})
	}
	t.Run("a longer body is not read ahead by more than tells that it is", func(t *testing.T) {
		for _, chunked := range []bool{false, true} {
			store := newStore(strings.Repeat("x", 10_000))
			store.chunked = chunked
			client := store.client(0)
			client.BufferMax = 100
			resp, err := client.Get("http://host/")
			require.NoError(t, err)
			ahead := 10_000 - len(store.bodies[0].data)
			if chunked {
				assert.Equal(t, 101, ahead)
			} else {
				assert.Zero(t, ahead)
			}
			require.NoError(t, resp.Body.Close(), "without reading it")
			store.assertClosed(t)
		}
	})
}

// docs/spec.md, 9.1: a body that ends before its Content-Length fails the attempt, also
// if the transport returns io.EOF.
func TestEndBeforeTheContentLengthIsAFailedAttempt(t *testing.T) {
	store := newStore(testObject)
	store.responses = []storeResponse{{keep: 99, end: io.EOF}, {keep: 0, end: io.EOF}}
	client := store.client(0)
	client.BufferMax, client.RetryMax = 100, 2
	got, err := download(t, client)
	require.NoError(t, err)
	assert.Equal(t, testObject, got)
	assert.Len(t, store.seen, 3)

	store.seen = nil
	client.RetryMax = 1
	_, err = client.Get("http://host/?key=secret")
	assert.EqualError(t, err, `GET http://host/?key=REDACTED giving up after 2 attempt(s): unexpected EOF`)
	assert.ErrorIs(t, err, io.ErrUnexpectedEOF)

	store.seen = nil
	_, err = client.StandardClient().Get("http://host/")
	assert.EqualError(t, err, `Get "http://host/": giving up after 2 attempt(s): unexpected EOF`)
	assert.ErrorIs(t, err, io.ErrUnexpectedEOF)
	store.assertClosed(t)
}

// docs/spec.md, 9.3: a response that has no body, or whose body is a connection, is not
// read.
func TestResponsesWithoutABodyAreComplete(t *testing.T) {
	for name, tc := range map[string]struct {
		method string
		status int
		length int64
		body   io.ReadCloser
	}{
		"HEAD": {"HEAD", 200, 100, http.NoBody},
		"HEAD, as a transport of another kind has it": {"HEAD", 200, 100, io.NopCloser(strings.NewReader(""))},
		"204":                       {"GET", 204, 0, http.NoBody},
		"204, as HTTP/2 has it":     {"GET", 204, -1, io.NopCloser(strings.NewReader(""))},
		"204 with a Content-Length": {"GET", 204, 100, io.NopCloser(strings.NewReader(""))},
		"304":                       {"GET", 304, 0, http.NoBody},
		"304, as HTTP/2 has it":     {"GET", 304, 100, io.NopCloser(strings.NewReader(""))},
		"101":                       {"GET", 101, 0, readWriteCloser{stuckBody{}, io.Discard}},
	} {
		t.Run(name, func(t *testing.T) {
			client, sent := scripted(func(req *http.Request) (*http.Response, error) {
				resp := respond(req, tc.status, "")
				resp.Body, resp.ContentLength = tc.body, tc.length
				return resp, nil
			})
			client.BufferMax = 1000
			req, err := NewRequest(tc.method, "http://host/", nil)
			require.NoError(t, err)
			resp, err := client.Do(req)
			require.NoError(t, err)
			assert.Len(t, sent.seen, 1)
			assert.Equal(t, tc.length, resp.ContentLength)
			if tc.status == 101 {
				assert.Equal(t, tc.body, resp.Body, "the connection is the caller's")
			}
		})
	}
}

// docs/spec.md, section 9: HTTP/2, where a response without a body has a Body of another
// type.
func TestCompleteResponsesOverHTTP2(t *testing.T) {
	var requests atomic.Int32
	server := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		n := requests.Add(1)
		switch r.URL.Path {
		case "/304":
			w.Header().Set("Content-Length", "100")
			w.WriteHeader(304)
		case "/head":
			w.Header().Set("Content-Length", "100")
		case "/reset":
			if n == 1 {
				io.WriteString(w, "01234")
				w.(http.Flusher).Flush()
				panic(http.ErrAbortHandler)
			}
			io.WriteString(w, "0123456789")
		}
	}))
	server.EnableHTTP2 = true
	server.StartTLS()
	defer server.Close()
	client := &Client{RetryMax: 1, Backoff: noWait, BufferMax: 1000, HTTPClient: server.Client()}
	for path, want := range map[string]struct {
		method, body string
		requests     int32
	}{
		"/304": {"GET", "", 1}, "/head": {"HEAD", "", 1}, "/empty": {"GET", "", 1}, "/reset": {"GET", "0123456789", 2},
	} {
		requests.Store(0)
		req, err := NewRequest(want.method, server.URL+path, nil)
		require.NoError(t, err)
		resp, err := client.Do(req)
		require.NoError(t, err, path)
		assert.Equal(t, 2, resp.ProtoMajor)
		if path != "/304" { // which net/http takes for cut when it is read
			data, err := io.ReadAll(resp.Body)
			require.NoError(t, err, path)
			assert.Equal(t, want.body, string(data), path)
		}
		assert.Equal(t, want.requests, requests.Load(), path)
		require.NoError(t, resp.Body.Close())
	}
}

// docs/spec.md, 9.3: a body whose status is retried is not buffered.
func TestBodyOfARetriedStatusIsNotReadWhole(t *testing.T) {
	for _, code := range []int{0, 408, 429, 500, 503, 599} {
		synctest.Test(t, func(t *testing.T) {
			client, sent := scripted(func(req *http.Request) (*http.Response, error) {
				resp := respond(req, code, "")
				body := newSlowBody(time.Hour, 10)
				body.ctx = req.Context()
				resp.Body = body
				return resp, nil
			}, status(200))
			client.BufferMax = 1000
			start := time.Now()
			_, err := client.Get("http://host/")
			require.NoError(t, err)
			assert.Less(t, time.Since(start), time.Second)
			assert.Len(t, sent.seen, 2)
		})
	}
	t.Run("that of a status which only the policy accepts is not", func(t *testing.T) {
		store := newStore(testObject)
		store.responses = []storeResponse{{bend: func(r *http.Response) { r.StatusCode = 500 }, keep: 5, end: errLost}}
		client := store.client(0)
		client.BufferMax = 1000
		asked := 0
		client.CheckRetry = func(ctx context.Context, resp *http.Response, err error) (bool, error) {
			asked++
			return SafeRetryPolicy(ctx, resp, err)
		}
		resp, err := client.Post("http://host/", "", "x")
		require.NoError(t, err)
		data, err := io.ReadAll(resp.Body)
		assert.ErrorIs(t, err, errLost)
		assert.Equal(t, testObject[:5], string(data))
		assert.Equal(t, 1, asked)
	})
	t.Run("that of an error status that is returned is", func(t *testing.T) {
		for _, code := range []int{400, 404, 501} {
			store := newStore(testObject)
			store.responses = []storeResponse{
				{bend: func(r *http.Response) { r.StatusCode = code }, keep: 5, end: errLost},
				{bend: func(r *http.Response) { r.StatusCode = code }},
			}
			client := store.client(0)
			client.BufferMax, client.RetryMax = 1000, 1
			resp, err := client.Get("http://host/")
			require.NoError(t, err)
			data, err := io.ReadAll(resp.Body)
			require.NoError(t, err)
			assert.Equal(t, testObject, string(data))
			assert.Len(t, store.seen, 2)
		}
	})
	t.Run("408 is returned to a POST", func(t *testing.T) {
		client, sent := scripted(status(408))
		client.BufferMax = 1000
		resp, err := client.Post("http://host/", "", "x")
		require.NoError(t, err)
		data, err := io.ReadAll(resp.Body)
		require.NoError(t, err)
		assert.Equal(t, "body of a 408", string(data))
		assert.Len(t, sent.seen, 1)
	})
}

// docs/spec.md, 9.2: AttemptTimeout, MaxElapsedTime, HTTPClient.Timeout and the caller's
// context end the reading.
func TestStalledBodyIsAFailedAttempt(t *testing.T) {
	stalled := storeResponse{keep: 40, stall: time.Hour, end: errLost}
	for name, tc := range map[string]struct {
		set     func(*Client)
		timeout time.Duration // of the caller
		fails   error
		took    time.Duration
		sent    int
	}{
		"AttemptTimeout": {set: func(c *Client) { c.AttemptTimeout = 3 * time.Second }, took: 6 * time.Second, sent: 3},
		"AttemptTimeout, retries used up": {set: func(c *Client) { c.AttemptTimeout, c.RetryMax = 3*time.Second, 1 },
			took: 6 * time.Second, sent: 2, fails: ErrAttemptTimeout},
		"MaxElapsedTime":        {set: func(c *Client) { c.MaxElapsedTime = 5 * time.Second }, took: 5 * time.Second, sent: 1, fails: ErrMaxElapsedTime},
		"HTTPClient.Timeout":    {set: func(c *Client) { c.HTTPClient.Timeout = 2 * time.Second }, took: 4 * time.Second, sent: 3},
		"the caller's deadline": {set: func(*Client) {}, timeout: 7 * time.Second, took: 7 * time.Second, sent: 1, fails: context.DeadlineExceeded},
	} {
		for _, standard := range []bool{false, true} {
			t.Run(name, func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					store := newStore(testObject)
					store.responses = []storeResponse{stalled, stalled}
					client := store.client(0)
					client.BufferMax, client.RetryMax = 1000, 4
					tc.set(client)
					ctx := t.Context()
					if tc.timeout > 0 {
						var cancel context.CancelFunc
						ctx, cancel = context.WithTimeout(ctx, tc.timeout)
						defer cancel()
					}
					req, err := NewRequestWithContext(ctx, "GET", "http://host/", nil)
					require.NoError(t, err)
					start := time.Now()
					var resp *http.Response
					if standard {
						resp, err = client.StandardClient().Do(req.Request)
					} else {
						resp, err = client.Do(req)
					}
					assert.Equal(t, tc.took, time.Since(start))
					assert.Len(t, store.seen, tc.sent)
					synctest.Wait()
					store.assertClosed(t)
					if tc.fails == nil {
						require.NoError(t, err)
						data, err := io.ReadAll(resp.Body)
						require.NoError(t, err)
						assert.Equal(t, testObject, string(data))
						require.NoError(t, resp.Body.Close())
						return
					}
					assert.ErrorIs(t, err, tc.fails)
					var giveUp *GiveUpError
					require.ErrorAs(t, err, &giveUp)
					assert.True(t, giveUp.Timeout())
				})
			})
		}
	}
	t.Run("cancel", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			store := newStore(testObject)
			store.responses = []storeResponse{stalled}
			client := store.client(0)
			client.BufferMax, client.RetryMax = 1000, 4
			ctx, cancel := context.WithCancel(t.Context())
			time.AfterFunc(time.Second, cancel)
			req, err := NewRequestWithContext(ctx, "GET", "http://host/", nil)
			require.NoError(t, err)
			start := time.Now()
			_, err = client.Do(req)
			assert.ErrorIs(t, err, context.Canceled)
			assert.Equal(t, time.Second, time.Since(start))
			assert.Len(t, store.seen, 1)
			store.assertClosed(t)
		})
	})
	t.Run("what streams is not cut", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			client, _ := scripted(func(req *http.Request) (*http.Response, error) {
				resp := respond(req, 200, "")
				resp.Body, resp.ContentLength = newSlowBody(time.Second, 10), 10
				return resp, nil
			})
			client.AttemptTimeout, client.BufferMax = 2*time.Second, 9
			resp, err := client.Get("http://host/")
			require.NoError(t, err)
			data, err := io.ReadAll(resp.Body)
			require.NoError(t, err)
			assert.Len(t, data, 10)
			require.NoError(t, resp.Body.Close())
		})
	})
}

// docs/spec.md, 9.4: the policy decides on the error, and the request counts as sent.
func TestPolicyDecidesOnAnIncompleteResponse(t *testing.T) {
	for name, tc := range map[string]struct {
		policy CheckRetry
		method string
		sent   int
		cause  error // errLost unless set
	}{
		"safe, POST, error of a kind that means unsent elsewhere": {SafeRetryPolicy, "POST", 1, &net.OpError{Op: "dial", Err: errLost}},
		"default, GET":  {DefaultRetryPolicy, "GET", 2, nil},
		"default, POST": {DefaultRetryPolicy, "POST", 2, nil},
		"safe, GET":     {SafeRetryPolicy, "GET", 2, nil},
		"safe, POST":    {SafeRetryPolicy, "POST", 1, nil},
		"none":          {func(context.Context, *http.Response, error) (bool, error) { return false, nil }, "GET", 1, nil},
	} {
		t.Run(name, func(t *testing.T) {
			store := newStore(testObject)
			cut := cutAt40
			if tc.cause != nil {
				cut.end = tc.cause
			}
			store.responses = []storeResponse{cut}
			client := store.client(9)
			client.BufferMax, client.RetryMax, client.CheckRetry = 1000, 4, tc.policy
			req, err := NewRequest(tc.method, "http://host/", "body")
			require.NoError(t, err)
			resp, err := client.Do(req)
			assert.Len(t, store.seen, tc.sent)
			if tc.sent == 2 {
				require.NoError(t, err)
				data, err := io.ReadAll(resp.Body)
				require.NoError(t, err)
				assert.Equal(t, testObject, string(data))
				return
			}
			var giveUp *GiveUpError
			require.ErrorAs(t, err, &giveUp)
			assert.Equal(t, ReasonNotRetryable, giveUp.Reason)
			assert.ErrorIs(t, err, errLost)
			assert.False(t, Unsent(err))
		})
	}
}

// docs/spec.md, section 9: a response handler gets the whole body, and the caller gets
// what the handler has not read.
func TestHandlerOfACompleteResponse(t *testing.T) {
	store := newStore(testObject)
	store.responses = []storeResponse{cutAt40}
	client := store.client(0)
	client.BufferMax, client.RetryMax = 100, 1
	req, err := NewRequest("GET", "http://host/", nil)
	require.NoError(t, err)
	handled := 0
	req.SetResponseHandler(func(resp *http.Response) error {
		handled++
		_, err := io.CopyN(io.Discard, resp.Body, 30)
		return err
	})
	resp, err := client.Do(req)
	require.NoError(t, err)
	data, err := io.ReadAll(resp.Body)
	require.NoError(t, err)
	assert.Equal(t, testObject[30:], string(data))
	assert.Equal(t, 1, handled, "not with a part")
}

// docs/spec.md, sections 8 and 9: a short body that is cut off is requested again, a long
// one is resumed.
func TestCompleteResponsesAndResumptions(t *testing.T) {
	for name, tc := range map[string]struct {
		bodyMax int64
		chunked bool
		keep    int
		ranges  []string
	}{
		"short":                               {100, false, 40, []string{"", ""}},
		"long":                                {99, false, 40, []string{"", `bytes=40-99 "v1"`}},
		"unknown length, breaks before":       {50, true, 40, []string{"", ""}},
		"unknown length, breaks at BufferMax": {50, true, 50, []string{"", ""}},
		"unknown length, breaks behind":       {50, true, 60, []string{"", `bytes=60- "v1"`}},
		"unknown length, breaks just behind":  {50, true, 51, []string{"", `bytes=51- "v1"`}},
	} {
		t.Run(name, func(t *testing.T) {
			store := newStore(testObject)
			store.chunked = tc.chunked
			store.responses = []storeResponse{{keep: tc.keep, end: errLost}}
			client := store.client(1)
			client.BufferMax, client.RetryMax = tc.bodyMax, 1
			got, err := download(t, client)
			require.NoError(t, err)
			assert.Equal(t, testObject, got)
			assert.Equal(t, tc.ranges, store.ranges())
			store.assertClosed(t)
		})
	}
	t.Run("the rest of a long one is not read ahead, however short", func(t *testing.T) {
		store := newStore(testObject)
		store.responses = []storeResponse{{keep: 95, end: errLost}, {keep: 2, end: errLost}}
		client := store.client(2)
		client.BufferMax = 99
		got, err := download(t, client)
		require.NoError(t, err)
		assert.Equal(t, testObject, got)
		assert.Equal(t, []string{"", `bytes=95-99 "v1"`, `bytes=97-99 "v1"`}, store.ranges())
	})
}

// docs/spec.md, 9.3: the body of a redirect is not buffered, the body of its target is.
func TestCompleteResponseBehindARedirect(t *testing.T) {
	store := newStore(testObject)
	redirect := storeResponse{handler: func(req *http.Request) (*http.Response, error) {
		return respond(req, 302, "", "Location", "http://host/elsewhere"), nil
	}}
	store.responses = []storeResponse{redirect, cutAt40, redirect}
	client := store.client(0)
	client.BufferMax, client.RetryMax = 100, 1
	got, err := download(t, client)
	require.NoError(t, err)
	assert.Equal(t, testObject, got)
	assert.Len(t, store.seen, 4)
}

// docs/spec.md, sections 8 and 9: BufferMax and ResumeMax allocate nothing if they are 0,
// and ResumeMax nothing for a response that cannot be resumed.
func TestBufferMaxAndResumeMaxCostNothingWhenOff(t *testing.T) {
	resp := &http.Response{StatusCode: 200, Header: http.Header{"Etag": {`"v1"`}}, ContentLength: 10}
	body := io.NopCloser(bufio.NewReader(strings.NewReader("")))
	transport := roundTripFunc(func(req *http.Request) (*http.Response, error) {
		resp.Request, resp.Body = req, body
		return resp, nil
	})
	count := func(do func() (*http.Response, error)) float64 {
		return testing.AllocsPerRun(200, func() {
			if _, err := do(); err != nil {
				t.Error(err)
			}
		})
	}
	r := mustRequest(t, "http://host/")
	standard := &http.Client{Transport: transport}
	plain := count(func() (*http.Response, error) { return standard.Do(r) })
	req, err := FromRequest(r)
	require.NoError(t, err)
	client := &Client{RetryMax: 4, HTTPClient: standard}
	assert.LessOrEqual(t, count(func() (*http.Response, error) { return client.Do(req) }), plain+2, "off, over a transport that needs a mark")
	off := count(func() (*http.Response, error) { return client.Do(req) })
	client.ResumeMax, client.BufferMax = 9, 5
	resp.Header.Del("Etag")
	assert.LessOrEqual(t, count(func() (*http.Response, error) { return client.Do(req) }), off, "on, too long a body that cannot be resumed")
	resp.Header.Set("Etag", `"v1"`)
	on := count(func() (*http.Response, error) { return client.Do(req) })
	t.Logf("allocations: net/http %.0f, off %.0f, on %.0f", plain, off, on)
	assert.LessOrEqual(t, on, off+3, "on: the body and what it remembers of the call")
}
