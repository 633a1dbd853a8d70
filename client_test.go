package retryablehttp

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log"
	"log/slog"
	"net"
	"net/http"
	"net/http/cookiejar"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func TestUploadOfAFileIsRetriedWhole(t *testing.T) {
	content := strings.Repeat("0123456789", 10_000)
	name := filepath.Join(t.TempDir(), "upload")
	require.NoError(t, os.WriteFile(name, []byte("skip"+content), 0o600))
	file, err := os.Open(name)
	require.NoError(t, err)
	defer file.Close()
	_, err = file.Seek(4, io.SeekStart)
	require.NoError(t, err)

	var calls atomic.Int32
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if calls.Add(1) < 3 {
			w.WriteHeader(http.StatusServiceUnavailable)
			return
		}
		assert.EqualValues(t, len(content), r.ContentLength)
		body, err := io.ReadAll(r.Body)
		assert.NoError(t, err)
		w.Write(body)
	}))
	defer server.Close()

	client := NewClient()
	client.RetryWaitMin, client.RetryWaitMax = time.Millisecond, time.Millisecond
	resp, err := client.Post(server.URL, "text/plain", file)
	require.NoError(t, err)
	defer resp.Body.Close()
	got, err := io.ReadAll(resp.Body)
	require.NoError(t, err)
	assert.Equal(t, content, string(got))
	assert.EqualValues(t, 3, calls.Load())

	offset, err := file.Seek(0, io.SeekCurrent)
	require.NoError(t, err, "the caller's file stays open")
	assert.EqualValues(t, 4, offset)
}

func TestGiveUpErrorFields(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		client := NewClient()
		client.RetryMax = 2
		client.Backoff = DefaultBackoff
		client.HTTPClient = &http.Client{Transport: roundTripFunc(func(req *http.Request) (*http.Response, error) {
			time.Sleep(time.Second)
			return respond(req, 503, "busy"), nil
		})}
		resp, err := client.Get("http://u:secret@host/path?token=secret")
		require.Nil(t, resp)
		var giveUp *GiveUpError
		require.ErrorAs(t, err, &giveUp)
		assert.Equal(t, "GET http://u:xxxxx@host/path?token=REDACTED giving up after 3 attempt(s): unexpected HTTP status 503 Service Unavailable", err.Error())
		assert.Equal(t, 3, giveUp.Attempts)
		assert.Equal(t, 6*time.Second, giveUp.Elapsed)
		assert.Equal(t, ReasonRetriesUsedUp, giveUp.Reason)
		body, err := io.ReadAll(giveUp.Response.Body)
		require.NoError(t, err)
		assert.Equal(t, "busy", string(body))
	})
}

func TestCancelDuringTheWait(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithCancelCause(t.Context())
		cause := errors.New("changed my mind")
		time.AfterFunc(400*time.Millisecond, func() { cancel(cause) })
		lost := errors.New("connection lost")
		client := NewClient()
		client.HTTPClient = &http.Client{Transport: roundTripFunc(func(*http.Request) (*http.Response, error) {
			return nil, lost
		})}
		req, err := NewRequestWithContext(ctx, "GET", "http://host/", nil)
		require.NoError(t, err)
		start := time.Now()
		_, err = client.Do(req)
		assert.Equal(t, 400*time.Millisecond, time.Since(start))
		assert.ErrorIs(t, err, context.Canceled)
		assert.ErrorIs(t, err, cause)
		assert.ErrorIs(t, err, lost)
	})
}

// docs/spec.md, 1.2: the defaults of NewClient.
func TestNewClientDefaults(t *testing.T) {
	client := NewClient()
	assert.Equal(t, time.Second, client.RetryWaitMin)
	assert.Equal(t, 30*time.Second, client.RetryWaitMax)
	assert.Equal(t, 4, client.RetryMax)
	assert.NotNil(t, client.HTTPClient)
	assert.NotNil(t, client.CheckRetry)
	assert.NotNil(t, client.Backoff)
	assert.Implements(t, (*Logger)(nil), client.Logger, "a hook written for the published default finds one")
	assert.Nil(t, client.ErrorHandler)
	_, ok := client.HTTPClient.Transport.(*http.Transport)
	assert.True(t, ok, "net/http's own transport")
	assert.NotSame(t, client.HTTPClient.Transport, NewClient().HTTPClient.Transport)
}

// docs/spec.md, 1.1: the published names and their shapes. The test is that this compiles.
var (
	_ func() *Client                                                             = NewClient
	_ func(*Client, *Request) (*http.Response, error)                            = (*Client).Do
	_ func(string) (*http.Response, error)                                       = Get
	_ func(string) (*http.Response, error)                                       = Head
	_ func(string, string, any) (*http.Response, error)                          = Post
	_ func(string, url.Values) (*http.Response, error)                           = PostForm
	_ func(*Client, string) (*http.Response, error)                              = (*Client).Get
	_ func(*Client, string) (*http.Response, error)                              = (*Client).Head
	_ func(*Client, string, string, any) (*http.Response, error)                 = (*Client).Post
	_ func(*Client, string, url.Values) (*http.Response, error)                  = (*Client).PostForm
	_ func(*Client) *http.Client                                                 = (*Client).StandardClient
	_ func(*Client)                                                              = (*Client).CloseIdleConnections
	_ func(string, string, any) (*Request, error)                                = NewRequest
	_ func(context.Context, string, string, any) (*Request, error)               = NewRequestWithContext
	_ func(*http.Request) (*Request, error)                                      = FromRequest
	_ func(*Request, context.Context) *Request                                   = (*Request).WithContext
	_ func(*Request, any) error                                                  = (*Request).SetBody
	_ func(*Request) ([]byte, error)                                             = (*Request).BodyBytes
	_ func(*Request, io.Writer) (int64, error)                                   = (*Request).WriteTo
	_ func(*Request, ResponseHandlerFunc)                                        = (*Request).SetResponseHandler
	_ CheckRetry                                                                 = DefaultRetryPolicy
	_ CheckRetry                                                                 = ErrorPropagatedRetryPolicy
	_ Backoff                                                                    = DefaultBackoff
	_ Backoff                                                                    = LinearJitterBackoff
	_ Backoff                                                                    = RateLimitLinearJitterBackoff
	_ ErrorHandler                                                               = PassthroughErrorHandler
	_ http.RoundTripper                                                          = &RoundTripper{Client: &Client{}}
	_ io.WriterTo                                                                = (*Request)(nil)
	_ Logger                                                                     = (*log.Logger)(nil)
	_ LeveledLogger                                                              = (*slog.Logger)(nil)
	_ LenReader                                                                  = (*strings.Reader)(nil)
	_ func(resp *http.Response, err error, numTries int) (*http.Response, error) = ErrorHandler(nil)
	_ func(Logger, *http.Request, int)                                           = RequestLogHook(nil)
	_ func(Logger, *http.Response)                                               = ResponseLogHook(nil)
	_ func(*http.Request) error                                                  = PrepareRetry(nil)
	_ func(*http.Response) error                                                 = ResponseHandlerFunc(nil)
	_ func() (io.Reader, error)                                                  = ReaderFunc(nil)
	_ func(time.Duration, time.Duration, int, *http.Response) time.Duration      = Backoff(nil)
	_ func(ctx context.Context, resp *http.Response, err error) (bool, error)    = CheckRetry(nil)
	_                                                                            = Request{Request: &http.Request{}}
	_                                                                            = Client{HTTPClient: nil, Logger: nil, RetryWaitMin: 0, RetryWaitMax: 0, RetryMax: 0, RequestLogHook: nil, ResponseLogHook: nil, CheckRetry: nil, Backoff: nil, ErrorHandler: nil, PrepareRetry: nil}
)

// docs/spec.md, 1.3: a zero Client makes one attempt.
func TestZeroClientMakesOneAttempt(t *testing.T) {
	hits := 0
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		hits++
		w.WriteHeader(500)
	}))
	defer server.Close()
	var client Client
	defer client.CloseIdleConnections()
	_, err := client.Get(server.URL)
	assert.ErrorContains(t, err, "giving up after 1 attempt(s)")
	assert.Equal(t, 1, hits)
	client.RetryMax = -3
	_, err = client.Get(server.URL)
	assert.ErrorContains(t, err, "giving up after 1 attempt(s)")
	_, err = (&RoundTripper{Client: &client}).RoundTrip(mustRequest(t, server.URL))
	assert.EqualError(t, err, "giving up after 1 attempt(s): unexpected HTTP status 500 Internal Server Error")
}

// docs/spec.md, 1.3: without a Backoff the default waits apply.
func TestClientWithoutABackoffStillWaits(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		client, _ := scripted(status(500))
		client.Backoff, client.RetryMax = nil, 1
		start := time.Now()
		_, err := client.Get("http://host/")
		require.Error(t, err)
		assert.GreaterOrEqual(t, time.Since(start), time.Second)
		assert.LessOrEqual(t, time.Since(start), 2*time.Second)
	})
}

// docs/spec.md, 1.5: unusable input is an error, and nothing is sent.
func TestBadInputIsAnErrorAndNothingIsSent(t *testing.T) {
	client, sent := scripted(status(200))
	_, err := client.Do(nil)
	assert.EqualError(t, err, "retryablehttp: nil Request")
	_, err = client.Do(&Request{})
	assert.EqualError(t, err, "retryablehttp: nil Request")
	_, err = client.Do(&Request{Request: &http.Request{}})
	assert.EqualError(t, err, "retryablehttp: nil Request.URL")
	_, err = (&RoundTripper{Client: client}).RoundTrip(nil)
	assert.EqualError(t, err, "retryablehttp: nil Request")
	_, err = (&RoundTripper{Client: client}).RoundTrip(&http.Request{})
	assert.EqualError(t, err, "retryablehttp: nil Request.URL")
	for _, target := range []string{"://", "http://host:port/", "http://ho st/", "%"} {
		_, err = client.Get(target)
		assert.ErrorContains(t, err, "parse", target)
	}
	_, err = NewRequest("bad method", "http://host/", nil)
	assert.ErrorContains(t, err, "invalid method")
	//lint:ignore SA1012 that it is refused is the point
	_, err = NewRequestWithContext(nil, "GET", "http://host/", nil)
	assert.ErrorContains(t, err, "nil Context")
	assert.Empty(t, sent.seen)

	client.HTTPClient.Transport = &RoundTripper{Client: client}
	_, err = client.Get("http://host/")
	assert.ErrorContains(t, err, "RoundTripper of the same Client")
}

// docs/spec.md, 4.21: negative settings mean off.
func TestNegativeSettingsMeanOff(t *testing.T) {
	store := newStore(testObject)
	store.responses = []storeResponse{{keep: 5, end: errLost}}
	client := store.client(-1)
	client.RetryMax, client.RetryWaitMin, client.RetryWaitMax, client.Backoff = -1, -1, -time.Second, nil
	client.AttemptTimeout, client.MaxElapsedTime, client.RetryAfterMax = -1, -1, -1
	client.BufferMax, client.ReplayMax = -1, -1
	_, err := download(t, client)
	assert.ErrorIs(t, err, errLost, "neither read ahead nor resumed")
	assert.Len(t, store.seen, 1)

	client, sent := scripted(status(503), status(200))
	client.RetryMax, client.RetryWaitMin, client.RetryWaitMax, client.Backoff = 1, -1, -1, nil
	_, err = client.Get("http://host/")
	require.NoError(t, err, "and no wait")
	assert.Len(t, sent.seen, 2)
}

// docs/spec.md, 1.5: an ErrorHandler or transport that returns neither a response nor an
// error.
func TestNeitherResponseNorErrorIsAnError(t *testing.T) {
	client, _ := scripted(status(500))
	client.ErrorHandler = func(resp *http.Response, _ error, _ int) (*http.Response, error) { return nil, nil }
	_, err := client.Get("http://host/")
	assert.EqualError(t, err, "retryablehttp: ErrorHandler returned neither a response nor an error")

	client, _ = scripted(func(*http.Request) (*http.Response, error) { return nil, nil })
	_, err = client.Get("http://host/")
	assert.ErrorContains(t, err, "nil *Response with a nil error", "as net/http says it")
	_, err = (&RoundTripper{Client: client}).RoundTrip(mustRequest(t, "http://host/"))
	assert.ErrorContains(t, err, "returned neither a response nor an error")
}

// docs/spec.md, section 2: the order of the steps of a call.
func TestTheOrderOfACall(t *testing.T) {
	var events []string
	note := func(format string, args ...any) { events = append(events, fmt.Sprintf(format, args...)) }
	client, _ := scripted(
		func(req *http.Request) (*http.Response, error) { note("send"); return status(500)(req) },
		func(req *http.Request) (*http.Response, error) { note("send"); return status(200)(req) },
		func(req *http.Request) (*http.Response, error) { note("send"); return status(201)(req) },
	)
	client.RequestLogHook = func(_ Logger, req *http.Request, n int) {
		note("request hook %d, body %t", n, req.Body != nil)
	}
	client.CheckRetry = func(ctx context.Context, resp *http.Response, err error) (bool, error) {
		note("policy %d %v", resp.StatusCode, err)
		return DefaultRetryPolicy(ctx, resp, err)
	}
	client.ResponseLogHook = func(_ Logger, resp *http.Response) { note("response hook %d", resp.StatusCode) }
	client.Backoff = func(_, _ time.Duration, n int, _ *http.Response) time.Duration { note("backoff %d", n); return 0 }
	client.PrepareRetry = func(*http.Request) error { note("prepare"); return nil }
	req, err := NewRequest("POST", "http://host/", ReaderFunc(func() (io.Reader, error) {
		note("body")
		return strings.NewReader("x"), nil
	}))
	require.NoError(t, err)
	req.SetResponseHandler(func(resp *http.Response) error {
		note("handler %d", resp.StatusCode)
		if resp.StatusCode == 200 {
			return errLost
		}
		return nil
	})
	resp, err := client.Do(req)
	require.NoError(t, err)
	assert.Equal(t, 201, resp.StatusCode)
	assert.Equal(t, []string{
		"body", "request hook 0, body true", "send", "policy 500 <nil>", "response hook 500", "backoff 0", "prepare",
		"body", "request hook 1, body true", "send", "policy 200 <nil>", "handler 200", "policy 200 connection lost", "backoff 1", "prepare",
		"body", "request hook 2, body true", "send", "policy 201 <nil>", "handler 201", "policy 201 <nil>", "response hook 201",
	}, events)
}

// docs/spec.md, 2.11: the cause is the error of PrepareRetry, else of the policy, else of
// the response handler, else of the transport.
func TestErrorThatTheCallReturns(t *testing.T) {
	errPolicy, errHandler, errPrepare := errors.New("policy"), errors.New("handler"), errors.New("prepare")
	policy := func(retry bool, err error) CheckRetry {
		return func(context.Context, *http.Response, error) (bool, error) { return retry, err }
	}
	refuse := func(*http.Response) error { return errHandler }
	for name, tc := range map[string]struct {
		step     func(*http.Request) (*http.Response, error)
		policy   CheckRetry
		handler  ResponseHandlerFunc
		prepare  PrepareRetry
		want     error
		attempts int
		reason   Reason
	}{
		"transport, retried":     {failure(errLost), DefaultRetryPolicy, nil, nil, errLost, 5, ReasonRetriesUsedUp},
		"transport, not retried": {failure(errLost), policy(false, nil), nil, nil, errLost, 1, ReasonNotRetryable},
		"policy over transport":  {failure(errLost), policy(true, errPolicy), nil, nil, errPolicy, 5, ReasonRetriesUsedUp},
		"policy says stop":       {status(200), policy(false, errPolicy), refuse, nil, errPolicy, 1, ReasonNotRetryable},
		"handler":                {status(200), DefaultRetryPolicy, refuse, nil, errHandler, 5, ReasonRetriesUsedUp},
		"handler, not retried":   {status(200), policy(false, nil), refuse, nil, errHandler, 1, ReasonNotRetryable},
		"prepare over policy":    {status(500), ErrorPropagatedRetryPolicy, nil, func(*http.Request) error { return errPrepare }, errPrepare, 1, ReasonPrepareRetry},
		"status only":            {status(500), DefaultRetryPolicy, refuse, nil, nil, 5, ReasonRetriesUsedUp},
	} {
		t.Run(name, func(t *testing.T) {
			client, sent := scripted(tc.step)
			client.CheckRetry, client.PrepareRetry = tc.policy, tc.prepare
			req, err := NewRequest("GET", "http://host/", nil)
			require.NoError(t, err)
			req.SetResponseHandler(tc.handler)
			resp, err := client.Do(req)
			assert.Nil(t, resp)
			var giveUp *GiveUpError
			require.ErrorAs(t, err, &giveUp)
			assert.Equal(t, tc.reason, giveUp.Reason)
			assert.Equal(t, tc.attempts, giveUp.Attempts)
			assert.Len(t, sent.seen, tc.attempts)
			text := fmt.Sprintf("GET http://host/ giving up after %d attempt(s)", tc.attempts)
			if tc.want != nil {
				assert.ErrorIs(t, err, tc.want)
				text += ": " + tc.want.Error()
			} else {
				text += ": unexpected HTTP status 500 Internal Server Error"
			}
			assert.EqualError(t, err, text)

			client.ErrorHandler = func(resp *http.Response, err error, n int) (*http.Response, error) {
				assert.Equal(t, tc.attempts, n)
				if tc.want == nil {
					assert.NoError(t, err)
				} else {
					assert.ErrorIs(t, err, tc.want)
					assert.NotErrorAs(t, err, new(*GiveUpError), "the bare cause")
				}
				if resp != nil {
					data, readErr := io.ReadAll(resp.Body)
					assert.NoError(t, readErr)
					assert.Contains(t, string(data), "body of a ")
				}
				return respond(nil, 299, ""), nil
			}
			resp, err = client.Do(req)
			require.NoError(t, err, "the call returns the response of the handler")
			assert.Equal(t, 299, resp.StatusCode)
		})
	}
}

// docs/spec.md, 2.3: a response that the policy accepts is returned, whatever its status.
func TestPolicyThatAcceptsA500(t *testing.T) {
	client, _ := scripted(status(500))
	client.CheckRetry = func(context.Context, *http.Response, error) (bool, error) { return false, nil }
	resp, err := client.Get("http://host/")
	require.NoError(t, err)
	assert.Equal(t, 500, resp.StatusCode)
	data, err := io.ReadAll(resp.Body)
	require.NoError(t, err)
	assert.Equal(t, "body of a 500", string(data))
}

// docs/spec.md, 4.23: PassthroughErrorHandler.
func TestPassthroughErrorHandler(t *testing.T) {
	client, _ := scripted(status(503))
	client.ErrorHandler = PassthroughErrorHandler
	resp, err := client.Get("http://host/")
	require.NoError(t, err)
	assert.Equal(t, 503, resp.StatusCode)
	client.CheckRetry = ErrorPropagatedRetryPolicy
	resp, err = client.Get("http://host/")
	require.EqualError(t, err, "unexpected HTTP status 503 Service Unavailable")
	assert.Equal(t, 503, resp.StatusCode)
	resp, err = (&RoundTripper{Client: client}).RoundTrip(mustRequest(t, "http://host/"))
	require.EqualError(t, err, "unexpected HTTP status 503 Service Unavailable")
	assert.Nil(t, resp, "never a response together with an error")
}

// docs/spec.md, 4.2: reading the refused response does not delay the retry.
func TestDrainingNeverDelaysTheRetry(t *testing.T) {
	for name, tc := range map[string]struct {
		wait, interval time.Duration
		bytes          int
		starts         time.Duration // of the second attempt
		closed         time.Duration // of the first response's body
	}{
		"arrives at once":               {time.Second, 0, 100, time.Second, 0},
		"arrives within the wait":       {time.Second, time.Millisecond, 50, time.Second, 50 * time.Millisecond},
		"longer than 100 ms":            {time.Second, time.Millisecond, 4096, time.Second, 100 * time.Millisecond},
		"longer than the wait":          {50 * time.Millisecond, 100 * time.Millisecond, 4096, 50 * time.Millisecond, 50 * time.Millisecond},
		"stalls, and the wait is short": {5 * time.Millisecond, time.Hour, 1, 5 * time.Millisecond, 5 * time.Millisecond},
		"stalls, and there's no wait":   {0, time.Hour, 1, 5 * time.Millisecond, 5 * time.Millisecond},
		"arrives, and there's none":     {0, 100 * time.Microsecond, 3, 300 * time.Microsecond, 300 * time.Microsecond},
		"comes slowly, there's none":    {0, 700 * time.Microsecond, 10, 5 * time.Millisecond, 5 * time.Millisecond},
		"comes slowly, short wait":      {5 * time.Millisecond, 700 * time.Microsecond, 10, 5 * time.Millisecond, 5 * time.Millisecond},
		"comes too slowly":              {0, 400 * time.Microsecond, 100, 5 * time.Millisecond, 5 * time.Millisecond},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				start := time.Now()
				var second, closed time.Duration
				body := newSlowBody(tc.interval, tc.bytes)
				var watch sync.WaitGroup
				watch.Go(func() { <-body.closed; closed = time.Since(start) })
				client, _ := scripted(slow(body), func(req *http.Request) (*http.Response, error) {
					second = time.Since(start)
					return status(200)(req)
				})
				client.Backoff = func(_, _ time.Duration, _ int, _ *http.Response) time.Duration { return tc.wait }
				_, err := client.Get("http://host/")
				require.NoError(t, err)
				watch.Wait()
				assert.Equal(t, tc.starts, second)
				assert.Equal(t, tc.closed, closed)
				assert.EqualValues(t, 1, body.closes.Load(), "closed once")
			})
		})
	}
}

// docs/spec.md, 4.2: at most 64 KiB are read, and the end of a body of exactly 64 KiB is
// found.
func TestDrainingReadsAtMost64KiB(t *testing.T) {
	for _, tc := range []struct{ size, read int }{{1 << 20, 64 << 10}, {64 << 10, 64 << 10}} {
		body := &countingBody{Reader: plainReader{io.LimitReader(zeroReader{}, int64(tc.size))}}
		client, _ := scripted(func(req *http.Request) (*http.Response, error) {
			resp := respond(req, 503, "")
			resp.Body, resp.ContentLength = body, -1
			return resp, nil
		}, status(200))
		client.Backoff = func(time.Duration, time.Duration, int, *http.Response) time.Duration { return 10 * time.Millisecond }
		_, err := client.Get("http://host/")
		require.NoError(t, err)
		body.mu.Lock()
		assert.Equal(t, tc.read, body.read)
		body.mu.Unlock()
	}
}

type zeroReader struct{}

func (zeroReader) Read(p []byte) (int, error) { return len(p), nil }

// docs/spec.md, 4.2: an error body of exactly 64 KiB without a Content-Length costs no
// connection.
func TestBodyOf64KiBKeepsItsConnection(t *testing.T) {
	var conns atomic.Int32
	hits := 0
	server := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		if hits++; hits%2 == 1 {
			w.WriteHeader(503)
			w.Write(make([]byte, 64<<10))
		}
	}))
	server.Config.ConnState = func(_ net.Conn, state http.ConnState) {
		if state == http.StateNew {
			conns.Add(1)
		}
	}
	server.Start()
	defer server.Close()
	client := &Client{RetryMax: 1, HTTPClient: server.Client()}
	client.Backoff = func(time.Duration, time.Duration, int, *http.Response) time.Duration { return 50 * time.Millisecond }
	for range 3 {
		resp, err := client.Get(server.URL)
		require.NoError(t, err)
		resp.Body.Close()
	}
	assert.EqualValues(t, 1, conns.Load())
}

// docs/spec.md, 2.13: up to 64 KiB of a body that was drained for a retry that was not
// sent are kept.
func TestDrainedBodyIsKeptForTheErrorHandler(t *testing.T) {
	for _, size := range []int{0, 1, 511, 512, 513, 65535, 65536, 65537, 200_000} {
		for name, end := range map[string]func(*Client, context.CancelFunc){
			"PrepareRetry": func(c *Client, _ context.CancelFunc) {
				c.PrepareRetry = func(*http.Request) error { return errors.New("no") }
			},
			"cancel": func(_ *Client, cancel context.CancelFunc) { time.AfterFunc(time.Second, cancel) },
		} {
			t.Run(fmt.Sprint(name, size), func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					sent := strings.Repeat("0123456789abcdef", size/16+1)[:size]
					client, _ := scripted(func(req *http.Request) (*http.Response, error) {
						resp := respond(req, 503, "")
						resp.Body = &closeCounter{Reader: strings.NewReader(sent)} // not recognised as memory
						return resp, nil
					})
					client.Backoff = func(_, _ time.Duration, _ int, _ *http.Response) time.Duration { return time.Minute }
					ctx, cancel := context.WithCancel(t.Context())
					defer cancel()
					end(client, cancel)
					req, err := NewRequestWithContext(ctx, "GET", "http://host/", nil)
					require.NoError(t, err)
					want := sent[:min(size, 64<<10)]

					_, err = client.Do(req)
					var giveUp *GiveUpError
					require.ErrorAs(t, err, &giveUp)
					got, err := io.ReadAll(giveUp.Response.Body)
					require.NoError(t, err)
					assert.Equal(t, want, string(got))
				})
			})
		}
	}
}

// docs/spec.md, 4.12: up to 64 KiB of the last response are read, within 1 s.
func TestLastBodyIsReadWithinASecond(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		body := newSlowBody(300*time.Millisecond, 100)
		client, _ := scripted(slow(body))
		client.RetryMax = 0
		start := time.Now()
		_, err := client.Get("http://host/")
		assert.Equal(t, time.Second, time.Since(start))
		var giveUp *GiveUpError
		require.ErrorAs(t, err, &giveUp)
		got, err := io.ReadAll(giveUp.Response.Body)
		assert.Equal(t, "xxx", string(got))
		assert.ErrorContains(t, err, "cut off")
		synctest.Wait()
		assert.EqualValues(t, 1, body.closes.Load())
	})
}

// A body that neither ends nor returns from Read after Close costs a goroutine but does
// not delay the call.
func TestBodyThatBlocksForGoodHangsNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		release := make(chan struct{})
		client, _ := scripted(func(req *http.Request) (*http.Response, error) {
			resp := respond(req, 503, "")
			resp.Body = stuckBody{release}
			return resp, nil
		})
		client.RetryMax = 2
		start := time.Now()
		_, err := client.Get("http://host/")
		assert.Error(t, err)
		assert.LessOrEqual(t, time.Since(start), 1100*time.Millisecond)
		close(release)
	})
}

// docs/spec.md, 4.3: a wait that would outlast the deadline is not begun.
func TestWaitThatWouldOutlastTheDeadlineIsNotBegun(t *testing.T) {
	for name, header := range map[string][]string{
		"backoff": nil, "hostile seconds": {"Retry-After", "86400"}, "huge": {"Retry-After", "999999999999999999"},
		"year 9999": {"Retry-After", "Fri, 31 Dec 9999 23:59:59 GMT"},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				ctx, cancel := context.WithTimeout(t.Context(), time.Second)
				defer cancel()
				client, sent := scripted(status(503, header...))
				client.Backoff = DefaultBackoff
				client.RetryWaitMin, client.RetryWaitMax = time.Second, time.Minute
				client.CheckRetry = ErrorPropagatedRetryPolicy
				req, err := NewRequestWithContext(ctx, "GET", "http://host/", nil)
				require.NoError(t, err)
				start := time.Now()
				_, err = client.Do(req)
				assert.Zero(t, time.Since(start))
				assert.Len(t, sent.seen, 1)
				assert.ErrorIs(t, err, context.DeadlineExceeded)
				assert.ErrorContains(t, err, "; last response: 503 Service Unavailable")
				var giveUp *GiveUpError
				require.ErrorAs(t, err, &giveUp)
				assert.Equal(t, ReasonDeadline, giveUp.Reason)
				assert.True(t, giveUp.Timeout())

				handled := 0
				client.ErrorHandler = func(resp *http.Response, err error, _ int) (*http.Response, error) {
					handled++
					assert.ErrorIs(t, err, context.DeadlineExceeded)
					return resp, nil
				}
				resp, err := client.Do(req)
				require.NoError(t, err)
				assert.Equal(t, 1, handled)
				data, err := io.ReadAll(resp.Body)
				require.NoError(t, err)
				assert.Equal(t, "body of a 503", string(data))
			})
		})
	}
}

// docs/spec.md, 4.6: a call fails at once if it would obey a Retry-After of more than
// RetryAfterMax.
func TestRetryAfterMax(t *testing.T) {
	for _, tc := range []struct {
		asked    string
		limit    time.Duration
		attempts int
		waited   time.Duration
	}{
		{"300", 0, 2, 5 * time.Minute},
		{"301", 0, 1, 0},
		{"999999999999999999", 0, 1, 0},
		{"Fri, 31 Dec 9999 23:59:59 GMT", 0, 1, 0},
		{"10", 10 * time.Second, 2, 10 * time.Second},
		{"11", 10 * time.Second, 1, 0},
		{"86400", -1, 2, 24 * time.Hour},
	} {
		synctest.Test(t, func(t *testing.T) {
			client, sent := scripted(status(429, "Retry-After", tc.asked), status(200))
			client.Backoff, client.RetryAfterMax = DefaultBackoff, tc.limit
			start := time.Now()
			_, err := client.Get("http://host/")
			assert.Equal(t, tc.waited, time.Since(start), "%+v", tc)
			assert.Len(t, sent.seen, tc.attempts, "%+v", tc)
			if tc.attempts == 2 {
				assert.NoError(t, err)
				return
			}
			var giveUp *GiveUpError
			require.ErrorAs(t, err, &giveUp)
			assert.Equal(t, ReasonRetryAfter, giveUp.Reason)
			assert.ErrorContains(t, err, "server asks to wait")
		})
	}
	t.Run("a backoff that ignores Retry-After is not stopped by it", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			client, sent := scripted(status(429, "Retry-After", "86400"), status(200))
			client.Backoff = LinearJitterBackoff
			client.RetryWaitMin = 10 * time.Minute
			start := time.Now()
			_, err := client.Get("http://host/")
			require.NoError(t, err)
			assert.Equal(t, 10*time.Minute, time.Since(start), "longer than RetryAfterMax")
			assert.Len(t, sent.seen, 2)
		})
	})
}

// docs/spec.md, 4.4: after a cancel during an attempt the error matches the cause of the
// cancel and the last attempt's error.
func TestCancelDuringAnAttempt(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithCancelCause(t.Context())
		cause := errors.New("changed my mind")
		time.AfterFunc(time.Second, func() { cancel(cause) })
		client, _ := scripted(func(req *http.Request) (*http.Response, error) {
			<-req.Context().Done()
			return nil, req.Context().Err()
		})
		req, err := NewRequestWithContext(ctx, "GET", "http://host/", nil)
		require.NoError(t, err)
		_, err = client.Do(req)
		assert.ErrorIs(t, err, context.Canceled)
		assert.ErrorIs(t, err, cause)
		assert.EqualError(t, err, "GET http://host/ giving up after 1 attempt(s): context canceled: changed my mind")
		var giveUp *GiveUpError
		require.ErrorAs(t, err, &giveUp)
		assert.Equal(t, ReasonCanceled, giveUp.Reason)
		assert.False(t, giveUp.Timeout())
	})
}

// docs/spec.md, 4.15: what a hook adds to an attempt is not in the next one.
func TestWhatHooksAddDoesNotPileUp(t *testing.T) {
	jar, err := cookiejar.New(nil)
	require.NoError(t, err)
	client, sent := scripted(status(503, "Set-Cookie", "a=b"), status(503), status(200))
	client.HTTPClient.Jar = jar
	client.RequestLogHook = func(_ Logger, req *http.Request, n int) {
		req.Header.Add("X-Hook", strconv.Itoa(n))
		req.URL.Path += "/hook"
	}
	client.PrepareRetry = func(req *http.Request) error {
		req.Header.Add("X-Prepare", "p")
		req.URL.Path += "/prepare"
		return nil
	}
	for _, roundTripper := range []bool{false, true} {
		sent.seen = nil
		httpReq, err := http.NewRequest("PUT", "http://host/x", strings.NewReader("body"))
		require.NoError(t, err)
		httpReq.Header.Set("X-Mine", "m")
		if roundTripper {
			_, err = (&RoundTripper{Client: client}).RoundTrip(httpReq)
		} else {
			var req *Request
			req, err = FromRequest(httpReq)
			require.NoError(t, err)
			_, err = client.Do(req)
		}
		require.NoError(t, err)
		require.Len(t, sent.seen, 3)
		for n, req := range sent.seen {
			assert.Equal(t, []string{strconv.Itoa(n)}, req.Header["X-Hook"])
			assert.Equal(t, "m", req.Header.Get("X-Mine"))
			assert.LessOrEqual(t, len(req.Header["Cookie"]), 1)
			if n > 0 {
				assert.Equal(t, slices.Repeat([]string{"p"}, n), req.Header["X-Prepare"], "what PrepareRetry changes persists")
				assert.Equal(t, "/x"+strings.Repeat("/prepare", n)+"/hook", req.URL.Path)
			}
		}
		assert.Equal(t, http.Header{"X-Mine": {"m"}}, httpReq.Header)
		assert.Equal(t, "/x", httpReq.URL.Path)
	}
}

// docs/spec.md, 4.17: AttemptTimeout.
func TestAttemptTimeout(t *testing.T) {
	stall := func(req *http.Request) (*http.Response, error) {
		<-req.Context().Done()
		return nil, req.Context().Err()
	}
	t.Run("is an ordinary failure that is retried", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			ctx, cancel := context.WithTimeout(t.Context(), time.Hour)
			defer cancel()
			client, sent := scripted(stall, stall, status(200))
			client.AttemptTimeout = 3 * time.Second
			var saw []error
			client.CheckRetry = func(ctx context.Context, resp *http.Response, err error) (bool, error) {
				saw = append(saw, err)
				assert.NoError(t, ctx.Err())
				return DefaultRetryPolicy(ctx, resp, err)
			}
			req, err := NewRequestWithContext(ctx, "GET", "http://host/", nil)
			require.NoError(t, err)
			start := time.Now()
			resp, err := client.Do(req)
			require.NoError(t, err)
			resp.Body.Close()
			assert.Equal(t, 6*time.Second, time.Since(start))
			assert.Len(t, sent.seen, 3)
			for _, err := range saw[:2] {
				assert.ErrorIs(t, err, ErrAttemptTimeout)
				assert.NotErrorIs(t, err, context.DeadlineExceeded)
				assert.NotErrorIs(t, err, context.Canceled)
				var timeout interface{ Timeout() bool }
				require.ErrorAs(t, err, &timeout)
				assert.True(t, timeout.Timeout())
			}
		})
	})
	t.Run("ends the call when the retries are used up", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			client, _ := scripted(stall)
			client.AttemptTimeout, client.RetryMax = time.Second, 1
			_, err := client.Get("http://host/")
			assert.EqualError(t, err, `GET http://host/ giving up after 2 attempt(s): attempt timed out (Client.AttemptTimeout exceeded)`)
			var giveUp *GiveUpError
			require.ErrorAs(t, err, &giveUp)
			assert.True(t, giveUp.Timeout())
			_, err = client.StandardClient().Get("http://host/")
			assert.EqualError(t, err, `Get "http://host/": giving up after 2 attempt(s): attempt timed out (Client.AttemptTimeout exceeded)`)
		})
	})
	t.Run("does not cut the reading of the body", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			var done <-chan struct{}
			client, _ := scripted(func(req *http.Request) (*http.Response, error) {
				done = req.Context().Done()
				resp := respond(req, 200, "")
				resp.Body = newSlowBody(time.Second, 10)
				return resp, nil
			})
			client.AttemptTimeout = time.Second
			req, err := NewRequestWithContext(t.Context(), "GET", "http://host/", nil)
			require.NoError(t, err)
			resp, err := client.Do(req)
			require.NoError(t, err)
			data, err := io.ReadAll(resp.Body)
			require.NoError(t, err)
			assert.Len(t, data, 10)
			assert.NoError(t, resp.Request.Context().Err())
			require.NoError(t, resp.Body.Close())
			select {
			case <-done:
			default:
				t.Error("something of the attempt is left")
			}
			assert.NoError(t, resp.Request.Context().Err(), "the next request may be made with it")

			client, _ = scripted(status(302, "Location", "/2"), status(200))
			client.AttemptTimeout = time.Second
			resp, err = client.Get("http://host/")
			require.NoError(t, err)
			require.NoError(t, resp.Body.Close())
			assert.Equal(t, "/2", resp.Request.URL.Path)
			assert.NoError(t, resp.Request.Context().Err(), "of a hop")
		})
	})
	t.Run("leaves a switched protocol writable", func(t *testing.T) {
		client, _ := scripted(func(req *http.Request) (*http.Response, error) {
			resp := respond(req, 101, "")
			resp.Body = readWriteCloser{resp.Body, io.Discard}
			return resp, nil
		})
		client.AttemptTimeout = time.Minute
		resp, err := client.Get("http://host/")
		require.NoError(t, err)
		defer resp.Body.Close()
		assert.Implements(t, (*io.ReadWriteCloser)(nil), resp.Body)
	})
}

type readWriteCloser struct {
	io.ReadCloser
	io.Writer
}

// The error of a call that has no time for a wait says how long that is, and whether the
// server asked for it.
func TestErrorOfAWaitThatIsTooLong(t *testing.T) {
	for name, test := range map[string]struct {
		step func(*http.Request) (*http.Response, error)
		due  string
	}{
		"drawn":     {status(503), "is due in 20s; last response: 503 Service Unavailable"},
		"asked for": {status(503, "Retry-After", "180"), "is due in 3m0s (the server asks to wait 3m0s by Retry-After); last response: 503 Service Unavailable"},
	} {
		for limit, want := range map[string]error{"deadline": context.DeadlineExceeded, "MaxElapsedTime": ErrMaxElapsedTime} {
			t.Run(name+"/"+limit, func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					client, _ := scripted(test.step)
					client.Backoff, client.RetryWaitMin, client.RetryWaitMax = DefaultBackoff, 20*time.Second, 20*time.Second
					ctx := t.Context()
					if limit == "deadline" {
						var cancel context.CancelFunc
						ctx, cancel = context.WithTimeout(ctx, 10*time.Second)
						defer cancel()
					} else {
						client.MaxElapsedTime = 10 * time.Second
					}
					req, err := NewRequestWithContext(ctx, "GET", "http://host/", nil)
					require.NoError(t, err)
					_, err = client.Do(req)
					assert.ErrorIs(t, err, want)
					assert.ErrorContains(t, err, ": the next attempt "+test.due)
				})
			})
		}
	}
}

// docs/spec.md, 4.18: MaxElapsedTime.
func TestMaxElapsedTime(t *testing.T) {
	t.Run("stops before a wait that cannot fit", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			client, sent := scripted(status(500))
			client.MaxElapsedTime = 10 * time.Second
			client.Backoff = func(_, _ time.Duration, _ int, _ *http.Response) time.Duration { return 4 * time.Second }
			start := time.Now()
			_, err := client.Get("http://host/")
			assert.Equal(t, 8*time.Second, time.Since(start))
			assert.Len(t, sent.seen, 3)
			assert.ErrorIs(t, err, ErrMaxElapsedTime)
			var giveUp *GiveUpError
			require.ErrorAs(t, err, &giveUp)
			assert.Equal(t, ReasonMaxElapsedTime, giveUp.Reason)
			assert.True(t, giveUp.Timeout())
			assert.ErrorContains(t, err, "; last response: 500 Internal Server Error")
		})
	})
	t.Run("ends an attempt that is still running", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			client, sent := scripted(status(500), func(req *http.Request) (*http.Response, error) {
				<-req.Context().Done()
				return nil, context.Cause(req.Context())
			})
			client.MaxElapsedTime, client.AttemptTimeout = 10*time.Second, time.Minute
			start := time.Now()
			_, err := client.Get("http://host/")
			assert.Equal(t, 10*time.Second, time.Since(start))
			assert.Len(t, sent.seen, 2)
			assert.ErrorIs(t, err, ErrMaxElapsedTime)
			var giveUp *GiveUpError
			require.ErrorAs(t, err, &giveUp)
			assert.Equal(t, ReasonMaxElapsedTime, giveUp.Reason)
			assert.True(t, giveUp.Timeout())
			assert.NotErrorIs(t, err, context.DeadlineExceeded)
		})
	})
	t.Run("does not cut the reading of the body", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			client, _ := scripted(func(req *http.Request) (*http.Response, error) {
				resp := respond(req, 200, "")
				resp.Body = newSlowBody(time.Second, 10)
				return resp, nil
			})
			client.MaxElapsedTime = time.Second
			resp, err := client.Get("http://host/")
			require.NoError(t, err)
			data, err := io.ReadAll(resp.Body)
			require.NoError(t, err)
			assert.Len(t, data, 10)
			resp.Body.Close()
		})
	})
}

// docs/spec.md, 4.19 and 4.20: OnAttempt and AttemptNumber.
func TestOnAttemptSeesEachAttemptOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		began := time.Now()
		client, sent := scripted(status(503), failure(errLost), func(req *http.Request) (*http.Response, error) {
			time.Sleep(time.Second)
			return status(200)(req)
		})
		client.Backoff = DefaultBackoff
		client.RetryWaitMin, client.RetryWaitMax = 2*time.Second, time.Minute
		var got []Attempt
		client.OnAttempt = func(a Attempt) { got = append(got, a) }
		resp, err := client.Get("http://host/")
		require.NoError(t, err)
		require.Len(t, got, 3)
		for i, a := range got {
			assert.Equal(t, i+1, a.Number)
			assert.Equal(t, i+1, AttemptNumber(a.Request.Context()))
			assert.Equal(t, sent.seen[i].URL, a.Request.URL)
		}
		assert.Equal(t, 503, got[0].Response.StatusCode)
		assert.Equal(t, []any{true, 2 * time.Second, ReasonStatus}, []any{got[0].Retry, got[0].Wait, got[0].Reason})
		assert.Nil(t, got[1].Response)
		assert.ErrorIs(t, got[1].Err, errLost)
		assert.Equal(t, []any{true, 4 * time.Second, ReasonTransportError}, []any{got[1].Retry, got[1].Wait, got[1].Reason})
		assert.Same(t, resp, got[2].Response)
		assert.Equal(t, began.Add(6*time.Second), got[2].Start)
		assert.Equal(t, time.Second, got[2].Duration)
		assert.Equal(t, []any{false, time.Duration(0), Reason("")}, []any{got[2].Retry, got[2].Wait, got[2].Reason})

		got = nil
		client.RetryMax = 0
		sent.seen = nil
		_, err = client.Get("http://host/")
		require.Error(t, err)
		require.Len(t, got, 1)
		assert.Equal(t, []any{false, ReasonRetriesUsedUp}, []any{got[0].Retry, got[0].Reason})
	})
	assert.Equal(t, 1, AttemptNumber(context.Background()))
}

// docs/spec.md, 4.12: a GiveUpError holds nothing of earlier attempts.
func TestGiveUpErrorHoldsNothingOfEarlierAttempts(t *testing.T) {
	client, _ := scripted(failure(errLost))
	client.RetryMax = 10_000
	_, err := client.Get("http://host/")
	assert.ErrorIs(t, err, errLost)
	assert.Less(t, len(err.Error()), 200)
}

// docs/spec.md, 1.4 and 4.1: a call that fails does not disturb other calls of the same
// client.
func TestSharedClientIsSafeForConcurrentUse(t *testing.T) {
	client := &Client{RetryMax: 3, Backoff: noWait, HTTPClient: &http.Client{Transport: roundTripFunc(func(req *http.Request) (*http.Response, error) {
		if AttemptNumber(req.Context()) < 3 {
			return respond(req, 503, "no"), nil
		}
		data, err := io.ReadAll(req.Body)
		if err != nil {
			return nil, err
		}
		return respond(req, 200, string(data)), nil
	})}}
	inMemory, err := NewRequest("POST", "http://host/", content)
	require.NoError(t, err)
	onDisk, err := NewRequest("POST", "http://host/", tempFile(t, content))
	require.NoError(t, err)
	var calls sync.WaitGroup
	for i := range 8 {
		shared := []*Request{inMemory, onDisk}[i%2]
		calls.Go(func() {
			for range 50 {
				resp, err := client.Do(shared)
				if assert.NoError(t, err) {
					data, err := io.ReadAll(resp.Body)
					assert.NoError(t, err)
					assert.Equal(t, content, string(data))
				}
			}
		})
	}
	calls.Wait()
}

func TestPostFormAndHead(t *testing.T) {
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("X-Got", r.Method+" "+r.Header.Get("Content-Type")+" "+r.FormValue("a"))
	}))
	defer server.Close()
	client := NewClient()
	defer client.CloseIdleConnections()
	resp, err := client.PostForm(server.URL, url.Values{"a": {"b c"}})
	require.NoError(t, err)
	resp.Body.Close()
	assert.Equal(t, "POST application/x-www-form-urlencoded b c", resp.Header.Get("X-Got"))
	resp, err = client.Head(server.URL)
	require.NoError(t, err)
	resp.Body.Close()
	assert.Equal(t, "HEAD", resp.Header.Get("X-Got"))
}

// docs/spec.md, 1.3: RetryWaitMin and RetryWaitMax have separate defaults if Backoff is
// nil.
func TestDefaultWaitsEachByItself(t *testing.T) {
	for _, tc := range []struct{ min, max, least, most time.Duration }{
		{0, 0, time.Second, 30 * time.Second},
		{3 * time.Second, 0, 3 * time.Second, 30 * time.Second},
		{0, 200 * time.Millisecond, 200 * time.Millisecond, 200 * time.Millisecond},
		{0, 2 * time.Second, time.Second, 2 * time.Second},
	} {
		synctest.Test(t, func(t *testing.T) {
			client, _ := scripted(status(503), status(200))
			client.Backoff, client.RetryWaitMin, client.RetryWaitMax = nil, tc.min, tc.max
			start := time.Now()
			_, err := client.Get("http://host/")
			require.NoError(t, err)
			assert.GreaterOrEqual(t, time.Since(start), tc.least)
			assert.LessOrEqual(t, time.Since(start), tc.most)
		})
	}
}

// docs/spec.md, 2.10 and 4.20: a policy gets the number of the attempt, and PrepareRetry
// the response that caused the retry.
func TestWhatPoliciesAndPrepareRetryAreTold(t *testing.T) {
	for way, send := range sends {
		client, _ := scripted(status(503), failure(errLost), status(503), status(200))
		var numbers []int
		client.CheckRetry = func(ctx context.Context, resp *http.Response, err error) (bool, error) {
			numbers = append(numbers, AttemptNumber(ctx))
			return SafeRetryPolicy(ctx, resp, err)
		}
		var causes []int
		client.PrepareRetry = func(req *http.Request) error {
			if req.Response == nil {
				causes = append(causes, 0)
				return nil
			}
			causes = append(causes, req.Response.StatusCode)
			data, err := io.ReadAll(req.Response.Body)
			assert.Equal(t, "body of a 503", string(data))
			return err
		}
		req := mustRequest(t, "http://host/")
		require.NoError(t, send(client, req), way)
		assert.Equal(t, []int{1, 2, 3, 4}, numbers, way)
		assert.Equal(t, []int{503, 0, 503}, causes, way)
		assert.Nil(t, req.Response)
	}
}

// docs/spec.md, 4.3: the error of a deadline during an attempt contains the status of the
// attempt before.
func TestDeadlineDuringAnAttemptKeepsTheStatusBeforeIt(t *testing.T) {
	for name, tc := range map[string]struct {
		set  func(*Client)
		want string
	}{
		"deadline":       {func(*Client) {}, "GET http://host/ giving up after 2 attempt(s): context deadline exceeded; last response: 503 Service Unavailable"},
		"MaxElapsedTime": {func(c *Client) { c.MaxElapsedTime = time.Second }, "GET http://host/ giving up after 2 attempt(s): Client.MaxElapsedTime exceeded; last response: 503 Service Unavailable"},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				ctx, cancel := context.WithTimeout(t.Context(), 2*time.Second)
				defer cancel()
				client, _ := scripted(status(503), func(req *http.Request) (*http.Response, error) {
					<-req.Context().Done()
					return nil, context.Cause(req.Context())
				})
				tc.set(client)
				req, err := NewRequestWithContext(ctx, "GET", "http://host/", nil)
				require.NoError(t, err)
				_, err = client.Do(req)
				assert.EqualError(t, err, tc.want)
			})
		})
	}
}

// docs/spec.md, 2.20: an error whose Permanent method returns true ends the call.
func TestPermanentErrorIsNotRetried(t *testing.T) {
	for permanent, attempts := range map[bool]int{true: 1, false: 5} {
		client, sent := scripted(failure(fmt.Errorf("wrapped: %w", decided(permanent))))
		_, err := client.Get("http://host/")
		assert.ErrorIs(t, err, decided(permanent))
		assert.Len(t, sent.seen, attempts)
	}
}

type decided bool

func (decided) Error() string     { return "decided" }
func (d decided) Permanent() bool { return bool(d) }
