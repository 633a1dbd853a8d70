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

// roundTripFunc is a transport made of a function.
type roundTripFunc func(*http.Request) (*http.Response, error)

func (f roundTripFunc) RoundTrip(req *http.Request) (*http.Response, error) { return f(req) }

// respond makes a response as a transport would.
func respond(req *http.Request, status int, body string, header ...string) *http.Response {
	resp := &http.Response{
		StatusCode: status,
		Status:     http.StatusText(status),
		Header:     http.Header{},
		Body:       io.NopCloser(strings.NewReader(body)),
		Request:    req,
	}
	for i := 0; i+1 < len(header); i += 2 {
		resp.Header.Set(header[i], header[i+1])
	}
	return resp
}

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

func TestGiveUpErrorTellsTheStory(t *testing.T) {
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
		assert.Equal(t, "GET http://u:xxxxx@host/path?token=REDACTED giving up after 3 attempt(s)", err.Error())
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

// script answers the attempts of a call one after the other; the last step repeats.
type script struct {
	steps []func(*http.Request) (*http.Response, error)
	seen  []*http.Request
}

func (s *script) RoundTrip(req *http.Request) (*http.Response, error) {
	step := s.steps[min(len(s.seen), len(s.steps)-1)]
	s.seen = append(s.seen, req)
	if req.Body != nil {
		io.Copy(io.Discard, req.Body)
		req.Body.Close()
	}
	return step(req)
}

func status(code int, header ...string) func(*http.Request) (*http.Response, error) {
	return func(req *http.Request) (*http.Response, error) {
		return respond(req, code, "body of a "+strconv.Itoa(code), header...), nil
	}
}

func failure(err error) func(*http.Request) (*http.Response, error) {
	return func(*http.Request) (*http.Response, error) { return nil, err }
}

var errLost = errors.New("connection lost")

// scripted is a client without waits whose attempts come to the given steps.
func scripted(steps ...func(*http.Request) (*http.Response, error)) (*Client, *script) {
	s := &script{steps: steps}
	return &Client{RetryMax: 4, Backoff: noWait, HTTPClient: &http.Client{Transport: s}}, s
}

// Spec 1, defaults of NewClient.
func TestNewClientDefaults(t *testing.T) {
	client := NewClient()
	assert.Equal(t, time.Second, client.RetryWaitMin)
	assert.Equal(t, 30*time.Second, client.RetryWaitMax)
	assert.Equal(t, 4, client.RetryMax)
	assert.NotNil(t, client.HTTPClient)
	assert.NotNil(t, client.CheckRetry)
	assert.NotNil(t, client.Backoff)
	assert.Nil(t, client.Logger)
	assert.Nil(t, client.ErrorHandler)
	_, ok := client.HTTPClient.Transport.(*http.Transport)
	assert.True(t, ok, "net/http's own transport")
	assert.NotSame(t, client.HTTPClient.Transport, NewClient().HTTPClient.Transport)
}

// Spec 1, the published names and their shapes. That this compiles is the test.
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

// Spec 1, a zero Client works.
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
	assert.EqualError(t, err, "giving up after 1 attempt(s)")
}

// Spec 1, nil fields mean defaults: also the waits, when nobody has set a Backoff.
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

// Bad input: a clear error, nothing sent, no panic.
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
	for field, broken := range map[string]func(*Client){
		"RetryWaitMin":   func(c *Client) { c.RetryWaitMin = -1 },
		"RetryWaitMax":   func(c *Client) { c.RetryWaitMax = -time.Second },
		"AttemptTimeout": func(c *Client) { c.AttemptTimeout = -1 },
		"MaxElapsedTime": func(c *Client) { c.MaxElapsedTime = -1 },
	} {
		client, sent := scripted(status(200))
		broken(client)
		_, err = client.Get("http://host/")
		assert.ErrorContains(t, err, "retryablehttp: Client."+field+" is negative")
		assert.Empty(t, sent.seen)
	}
	assert.Empty(t, sent.seen)

	client.HTTPClient.Transport = &RoundTripper{Client: client}
	_, err = client.Get("http://host/")
	assert.ErrorContains(t, err, "RoundTripper of the same Client")
}

// Spec 1, a policy or handler that returns neither response nor error.
func TestNeitherResponseNorErrorIsAnError(t *testing.T) {
	client, _ := scripted(status(500))
	client.ErrorHandler = func(resp *http.Response, _ error, _ int) (*http.Response, error) { return nil, nil }
	_, err := client.Get("http://host/")
	assert.EqualError(t, err, "retryablehttp: ErrorHandler returned neither a response nor an error")

	client, _ = scripted(func(*http.Request) (*http.Response, error) { return nil, nil })
	_, err = client.Get("http://host/")
	assert.ErrorContains(t, err, "nil *Response with a nil error")
	_, err = (&RoundTripper{Client: client}).RoundTrip(mustRequest(t, "http://host/"))
	assert.ErrorContains(t, err, "nil *Response with a nil error")
}

// Spec 2, the order of one call's steps.
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
		"body", "request hook 2, body true", "send", "policy 201 <nil>", "handler 201", "response hook 201",
	}, events)
}

// Spec 2, on giving up the error is the PrepareRetry error, else the policy's, else the
// handler's, else the transport's.
func TestWhichErrorSpeaksForTheCall(t *testing.T) {
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
				cause := tc.want.Error()
				if tc.want == errLost {
					cause = `Get "http://host/": ` + cause
				}
				text += ": " + cause
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
			require.NoError(t, err, "the handler's answer is the answer")
			assert.Equal(t, 299, resp.StatusCode)
		})
	}
}

// Spec 2, CheckRetry says stop: the response is the answer, whatever its status.
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

// Spec 2, PassthroughErrorHandler.
func TestPassthroughErrorHandler(t *testing.T) {
	client, _ := scripted(status(503))
	client.ErrorHandler = PassthroughErrorHandler
	resp, err := client.Get("http://host/")
	require.NoError(t, err)
	assert.Equal(t, 503, resp.StatusCode)
	client.CheckRetry = ErrorPropagatedRetryPolicy
	resp, err = client.Get("http://host/")
	require.EqualError(t, err, "unexpected HTTP status Service Unavailable")
	assert.Equal(t, 503, resp.StatusCode)
	resp, err = (&RoundTripper{Client: client}).RoundTrip(mustRequest(t, "http://host/"))
	require.EqualError(t, err, "unexpected HTTP status Service Unavailable")
	assert.Nil(t, resp, "never a response together with an error")
}

// slowBody gives its bytes one at a time, every interval, until it is closed.
type slowBody struct {
	interval time.Duration
	left     int
	closed   chan struct{}
	closes   atomic.Int32
}

func newSlowBody(interval time.Duration, n int) *slowBody {
	return &slowBody{interval: interval, left: n, closed: make(chan struct{})}
}

func (b *slowBody) Read(p []byte) (int, error) {
	if b.left == 0 {
		return 0, io.EOF
	}
	timer := time.NewTimer(b.interval)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-b.closed:
		return 0, errors.New("read on closed body")
	}
	b.left--
	p[0] = 'x'
	return 1, nil
}

func (b *slowBody) Close() error {
	if b.closes.Add(1) == 1 {
		close(b.closed)
	}
	return nil
}

func slow(body *slowBody) func(*http.Request) (*http.Response, error) {
	return func(req *http.Request) (*http.Response, error) {
		resp := respond(req, 503, "")
		resp.Body = body
		return resp, nil
	}
}

// Spec 4, draining.
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
		"comes slowly, there's none":    {0, 700 * time.Microsecond, 10, 7 * time.Millisecond, 7 * time.Millisecond},
		"comes slowly, short wait":      {5 * time.Millisecond, 700 * time.Microsecond, 10, 5 * time.Millisecond, 5 * time.Millisecond},
		"comes too slowly":              {0, 400 * time.Microsecond, 100, 10 * time.Millisecond, 10 * time.Millisecond},
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

// Spec 4, draining: at most 64 KiB, and the end of a body of just so many is found.
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

type countingBody struct {
	io.Reader
	mu   sync.Mutex
	read int
}

func (b *countingBody) Read(p []byte) (int, error) {
	n, err := b.Reader.Read(p)
	b.mu.Lock()
	defer b.mu.Unlock()
	b.read += n
	return n, err
}

func (b *countingBody) Close() error { return nil }

// Spec 4, connection pool: error bodies of just 64 KiB, without a Content-Length, cost no
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

// Spec 4, draining: at most 64 KiB. Spec 2, the body that was drained for a retry that
// never came is readable.
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

// Spec 4, giving up: the body of the last response, at most 64 KiB within at most 1 s.
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

// A body that neither ends nor heeds Close costs a goroutine, not the call.
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

type stuckBody struct{ release chan struct{} }

func (b stuckBody) Read([]byte) (int, error) { <-b.release; return 0, io.EOF }
func (b stuckBody) Close() error             { <-b.release; return nil }

// Spec 4, deadline.
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
				assert.ErrorContains(t, err, "unexpected HTTP status", "the last cause")
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

// Spec 4, Retry-After: a wait longer than RetryAfterMax means give up at once.
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
			_, err := client.Get("http://host/")
			require.Error(t, err, "the wait is longer than RetryAfterMax, and so is what the server asks")
			client.RetryWaitMin = time.Second
			sent.seen = nil
			_, err = client.Get("http://host/")
			require.NoError(t, err)
		})
	})
}

// Spec 4, cancel: a cause and the last attempt's failure are both matched; within an
// attempt as well.
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

// Spec 4, headers.
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
				assert.Equal(t, []string{"p"}, req.Header["X-Prepare"])
				assert.Equal(t, "/x/prepare/hook", req.URL.Path)
			}
		}
		assert.Equal(t, http.Header{"X-Mine": {"m"}}, httpReq.Header)
		assert.Equal(t, "/x", httpReq.URL.Path)
	}
}

// Spec 4, one attempt: AttemptTimeout.
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
			assert.EqualError(t, err, `GET http://host/ giving up after 2 attempt(s): Get "http://host/": attempt timed out (Client.AttemptTimeout exceeded)`)
			var giveUp *GiveUpError
			require.ErrorAs(t, err, &giveUp)
			assert.True(t, giveUp.Timeout())
			_, err = client.StandardClient().Get("http://host/")
			assert.EqualError(t, err, `Get "http://host/": giving up after 2 attempt(s): attempt timed out (Client.AttemptTimeout exceeded)`)
		})
	})
	t.Run("does not cut the reading of the body", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			client, sent := scripted(func(req *http.Request) (*http.Response, error) {
				resp := respond(req, 200, "")
				resp.Body = newSlowBody(time.Second, 10)
				return resp, nil
			})
			client.AttemptTimeout = time.Second
			resp, err := client.Get("http://host/")
			require.NoError(t, err)
			data, err := io.ReadAll(resp.Body)
			require.NoError(t, err)
			assert.Len(t, data, 10)
			require.NoError(t, resp.Body.Close())
			assert.ErrorIs(t, sent.seen[0].Context().Err(), context.Canceled, "nothing of the attempt is left")
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

// Spec 4, all attempts: MaxElapsedTime.
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
			assert.ErrorContains(t, err, "unexpected HTTP status")
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

// Spec 4, watching: OnAttempt and AttemptNumber.
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
			assert.Same(t, sent.seen[i], a.Request)
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

// Spec 4, giving up: O(1) memory in the number of attempts.
func TestGivingUpHoldsNothingOfEarlierAttempts(t *testing.T) {
	client, _ := scripted(failure(errLost))
	client.RetryMax = 10_000
	_, err := client.Get("http://host/")
	assert.ErrorIs(t, err, errLost)
	assert.Less(t, len(err.Error()), 200)
}

// Spec 4, connection pool: other work of the same client goes on undisturbed by a call
// that fails.
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

// RetryWaitMin and RetryWaitMax have their defaults each by itself, where Backoff is nil.
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
