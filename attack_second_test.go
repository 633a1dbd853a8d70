package retryablehttp

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// Faults that a second hunt found. docs/attacks.md lists them.

// watchedContext counts the functions and contexts that wait for its end.
type watchedContext struct {
	context.Context
	done    chan struct{}
	waiting atomic.Int32
}

func newWatchedContext() *watchedContext {
	return &watchedContext{Context: context.Background(), done: make(chan struct{})}
}

func (c *watchedContext) Done() <-chan struct{} { return c.done }

func (c *watchedContext) AfterFunc(func()) (stop func() bool) {
	c.waiting.Add(1)
	return sync.OnceValue(func() bool { c.waiting.Add(-1); return true })
}

// F40: attempts of a long-lived context fail.
func TestF40FailedAttemptsLeaveNothingInTheContext(t *testing.T) {
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.WriteHeader(503)
		io.WriteString(w, "busy")
	}))
	defer server.Close()
	for name, set := range map[string]func(*Client){
		"AttemptTimeout":    func(c *Client) { c.AttemptTimeout = time.Minute },
		"another transport": func(c *Client) { c.HTTPClient = &http.Client{Transport: through(server.Client().Transport)} },
		"PassthroughErrorHandler": func(c *Client) {
			c.AttemptTimeout, c.ErrorHandler = time.Minute, PassthroughErrorHandler
		},
		"no retry": func(c *Client) {
			c.AttemptTimeout, c.RetryMax, c.ErrorHandler = time.Minute, 0, PassthroughErrorHandler
		},
	} {
		for way, send := range ways {
			ctx := newWatchedContext()
			client := &Client{RetryMax: 3, Backoff: noWait, HTTPClient: server.Client()}
			set(client)
			req, err := http.NewRequestWithContext(ctx, "GET", server.URL, nil)
			require.NoError(t, err)
			if resp, err := send(client, req); err == nil {
				io.Copy(io.Discard, resp.Body)
				resp.Body.Close()
			}
			assert.Eventually(t, func() bool { return ctx.waiting.Load() == 0 }, 5*time.Second, time.Millisecond, "%s, %s", name, way)
		}
	}
}

// F41: requests without a body, and a client in the transport of a client in the transport
// of another.
func TestF41KeysOfNestedClients(t *testing.T) {
	inner, sent := scripted(status(503))
	inner.IdempotencyKey = NewIdempotencyKey
	below := &RoundTripper{Client: inner}
	outer := &Client{HTTPClient: &http.Client{Transport: roundTripFunc(func(req *http.Request) (*http.Response, error) {
		for range 2 {
			if resp, err := below.RoundTrip(req); err == nil {
				resp.Body.Close()
			}
		}
		return below.RoundTrip(req)
	})}}
	outer.Post("http://host/charge", "", nil)
	keys := map[string]bool{}
	for _, req := range sent.seen {
		keys[req.Header.Get("Idempotency-Key")] = true
	}
	assert.Len(t, sent.seen, 3)
	assert.Len(t, keys, 3, "nothing tells whether they are one request")

	sent.seen = nil
	middle := &Client{AttemptTimeout: time.Minute, HTTPClient: &http.Client{Transport: below}}
	outer = &Client{RetryMax: 2, Backoff: noWait, HTTPClient: &http.Client{Transport: &RoundTripper{Client: middle}}}
	outer.Post("http://host/charge", "", content)
	clear(keys)
	for _, req := range sent.seen {
		keys[req.Header.Get("Idempotency-Key")] = true
	}
	assert.Len(t, sent.seen, 3)
	assert.Len(t, keys, 1)
}

// F42: a body is shorter than declared behind a redirect over HTTP/2.
func TestF42ShortBodyBehindARedirect(t *testing.T) {
	for name, body := range map[string]func(io.ReaderAt) any{
		"ReaderAt": func(source io.ReaderAt) any { return io.NewSectionReader(source, 0, 1000) },
		"function": func(source io.ReaderAt) any {
			return func() (io.Reader, error) { return io.NewSectionReader(source, 0, 1000), nil }
		},
	} {
		t.Run(name, func(t *testing.T) {
			redirected := make(chan struct{})
			server := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				if r.URL.Path == "/" {
					http.Redirect(w, r, "/b", http.StatusTemporaryRedirect)
					return
				}
				close(redirected)
				io.Copy(io.Discard, r.Body)
			}))
			server.EnableHTTP2 = true
			server.StartTLS()
			defer server.Close()
			short := strings.NewReader(strings.Repeat("x", 400))
			source := readerAtFunc(func(p []byte, offset int64) (int, error) {
				if offset >= 400 {
					<-redirected // so that nobody has seen the end before
				}
				return short.ReadAt(p[:min(int64(len(p)), max(400-offset, 1))], offset)
			})
			client := &Client{HTTPClient: server.Client()}
			_, err := client.Post(server.URL, "", body(source))
			assert.ErrorIs(t, err, ErrBodyLength)
		})
	}
}

// F44: a response handler refuses a response whose body was resumed.
func TestF44RefusedResumedBodyIsClosed(t *testing.T) {
	var closed [2]atomic.Int32
	client, sent := scripted(func(req *http.Request) (*http.Response, error) {
		resp := respond(req, 200, "", "ETag", `"1"`)
		resp.ContentLength = 10
		resp.Body = readCloser{io.MultiReader(strings.NewReader("0123"), errReader{errLost}), closeFunc(func() error { closed[0].Add(1); return nil })}
		return resp, nil
	}, func(req *http.Request) (*http.Response, error) {
		resp := respond(req, 206, "", "ETag", `"1"`, "Content-Range", "bytes 4-9/10")
		resp.ContentLength = 6
		resp.Body = readCloser{strings.NewReader("456789"), closeFunc(func() error { closed[1].Add(1); return nil })}
		return resp, nil
	})
	client.ResumeMax, client.RetryMax = 3, 0
	ctx := newWatchedContext()
	req, err := NewRequestWithContext(ctx, "GET", "http://host/", nil)
	require.NoError(t, err)
	req.SetResponseHandler(func(resp *http.Response) error {
		io.ReadFull(resp.Body, make([]byte, 6))
		return errors.New("bad checksum")
	})
	_, err = client.Do(req)
	require.ErrorContains(t, err, "bad checksum")
	assert.Len(t, sent.seen, 2)
	for i := range closed {
		assert.EqualValues(t, 1, closed[i].Load(), i)
	}
	assert.Eventually(t, func() bool { return ctx.waiting.Load() == 0 }, 5*time.Second, time.Millisecond)

	for name, handler := range map[string]ResponseHandlerFunc{
		"reads nothing":     func(*http.Response) error { return errors.New("bad checksum") },
		"replaces the body": func(resp *http.Response) error { resp.Body = http.NoBody; return errors.New("bad checksum") },
	} {
		sent.seen = nil
		closed[0].Store(0)
		req.SetResponseHandler(handler)
		_, err = client.Do(req)
		require.ErrorContains(t, err, "bad checksum")
		assert.Len(t, sent.seen, 1, "not resumed when it is drained: %s", name)
		assert.EqualValues(t, 1, closed[0].Load(), name)
	}
}

type errReader struct{ err error }

func (r errReader) Read([]byte) (int, error) { return 0, r.err }

// F45: the cause of a cancel quotes a URL.
func TestF45SecretOfACause(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithCancelCause(t.Context())
		client, _ := scripted(status(503))
		client.Backoff = func(time.Duration, time.Duration, int, *http.Response) time.Duration { return time.Hour }
		cause := errors.New(`Get "https://host/?token=SECRET": EOF`)
		time.AfterFunc(time.Second, func() { cancel(cause) })
		req, err := NewRequestWithContext(ctx, "GET", "http://host/", nil)
		require.NoError(t, err)
		_, err = client.Do(req)
		assert.ErrorIs(t, err, cause)
		assert.NotContains(t, err.Error(), "SECRET")
		assert.ErrorContains(t, err, "token=REDACTED")
	})
}

// F46: a body that is read by sections is not closed while it is read.
func TestF46SectionsAreNotClosedWhileTheyAreRead(t *testing.T) {
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(503) }))
	defer server.Close()
	source := &sectionSource{Reader: strings.NewReader(strings.Repeat("x", 3<<20)), resume: make(chan struct{}), closed: make(chan bool, 1)}
	req, err := http.NewRequest("POST", server.URL, source)
	require.NoError(t, err)
	req.ContentLength = 3 << 20
	_, err = (&RoundTripper{Client: &Client{HTTPClient: server.Client()}}).RoundTrip(req)
	require.Error(t, err)
	time.AfterFunc(20*time.Millisecond, func() { close(source.resume) })
	assert.False(t, <-source.closed, "read while it was closed")
}

// sectionSource is an io.ReaderAt whose reads behind the start wait for resume.
type sectionSource struct {
	*strings.Reader
	resume  chan struct{}
	reading atomic.Int32
	closed  chan bool // whether it was being read
}

func (s *sectionSource) ReadAt(p []byte, offset int64) (int, error) {
	s.reading.Add(1)
	defer s.reading.Add(-1)
	if offset > 0 {
		<-s.resume
	}
	return s.Reader.ReadAt(p[:min(len(p), 1000)], offset)
}

func (s *sectionSource) Close() error {
	s.closed <- s.reading.Load() > 0
	return nil
}

// F47: HTTPClient.Timeout is set and the attempts are observed.
func TestF47ObservedAttemptsNeedNoGoroutines(t *testing.T) {
	const responses = 20
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		io.Copy(io.Discard, r.Body)
		w.(http.Flusher).Flush()
		<-r.Context().Done()
	}))
	defer server.Close()
	open := func(post func() (*http.Response, error)) int {
		before := settledGoroutines()
		var bodies []io.Closer
		for range responses {
			resp, err := post()
			require.NoError(t, err)
			bodies = append(bodies, resp.Body)
		}
		opened := settledGoroutines() - before
		for _, body := range bodies {
			body.Close()
		}
		server.CloseClientConnections()
		return opened
	}
	hc := &http.Client{Transport: &http.Transport{}, Timeout: time.Minute}
	defer hc.CloseIdleConnections()
	plain := open(func() (*http.Response, error) { return hc.Post(server.URL, "", strings.NewReader(content)) })
	client := &Client{HTTPClient: hc, CheckRetry: SafeRetryPolicy}
	ours := open(func() (*http.Response, error) { return client.Post(server.URL, "", content) })
	assert.LessOrEqual(t, ours, plain+responses/4, "net/http: %d", plain)
}

// taggedError cannot be compared with another of its type.
type taggedError struct {
	tag string
	err error
}

func (e taggedError) Error() string { return e.tag }

type errorList []error

func (e errorList) Error() string { return "list" }

// F48: an error has fields that cannot be compared.
func TestF48ErrorsWithoutEqualityInTheirFields(t *testing.T) {
	cause := taggedError{"decode", errorList{errLost}}
	client, _ := scripted(status(200))
	client.RetryMax = 1
	client.CheckRetry = func(_ context.Context, _ *http.Response, err error) (bool, error) { return err != nil, err }
	req, err := NewRequest("GET", "http://host/", nil)
	require.NoError(t, err)
	req.SetResponseHandler(func(*http.Response) error { return cause })
	assert.NotPanics(t, func() { _, err = client.Do(req) })
	assert.ErrorContains(t, err, "decode")

	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithCancelCause(t.Context())
		cancel(cause)
		req, err := NewRequestWithContext(ctx, "GET", "http://host/", nil)
		require.NoError(t, err)
		client, _ := scripted(failure(cause))
		assert.NotPanics(t, func() { _, err = client.Do(req) })
		assert.ErrorIs(t, err, context.Canceled)
	})
}

// F49: a callback removes the URL.
func TestF49RequestWithoutAURL(t *testing.T) {
	client, _ := scripted(status(503), status(200))
	client.PrepareRetry = func(req *http.Request) error { req.URL = nil; return nil }
	_, err := client.Get("http://host/")
	assert.ErrorIs(t, err, errNilURL)
	client, sent := scripted(status(503), status(200))
	client.RequestLogHook = func(_ Logger, req *http.Request, _ int) { req.URL = nil }
	_, err = client.Get("http://host/")
	assert.NoError(t, err)
	assert.Len(t, sent.seen, 2)
}

// F50: a call is made with the context of another call's third attempt.
func TestF50AttemptNumberOfAnotherCall(t *testing.T) {
	var numbers []int
	other, _ := scripted(status(200))
	other.CheckRetry = func(ctx context.Context, _ *http.Response, _ error) (bool, error) {
		numbers = append(numbers, AttemptNumber(ctx))
		return false, nil
	}
	client := &Client{RetryMax: 4, Backoff: noWait, HTTPClient: &http.Client{Transport: roundTripFunc(func(req *http.Request) (*http.Response, error) {
		if AttemptNumber(req.Context()) < 3 {
			return respond(req, 503, ""), nil
		}
		token, err := NewRequestWithContext(req.Context(), "GET", "http://token/", nil)
		require.NoError(t, err)
		_, err = other.Do(token)
		require.NoError(t, err)
		return respond(req, 200, ""), nil
	})}}
	_, err := client.Get("http://host/")
	require.NoError(t, err)
	assert.Equal(t, []int{1}, numbers)
}

// F52: a call is canceled after its response came before its body was sent.
func TestF52CancelAfterAnEarlyResponseClosesTheSource(t *testing.T) {
	release := make(chan struct{})
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		http.NewResponseController(w).EnableFullDuplex()
		w.(http.Flusher).Flush()
		<-release
	}))
	defer server.Close()
	defer close(release)
	for way, send := range ways {
		source := &blockedSource{first: strings.NewReader("hello"), closed: make(chan struct{})}
		ctx, cancel := context.WithCancel(t.Context())
		req, err := http.NewRequestWithContext(ctx, "POST", server.URL, source)
		require.NoError(t, err)
		resp, err := send(&Client{HTTPClient: server.Client()}, req)
		require.NoError(t, err)
		cancel()
		resp.Body.Close()
		select {
		case <-source.closed:
		case <-time.After(5 * time.Second):
			t.Error("not closed", way)
			source.Close()
		}
	}
}

// blockedSource gives first and then nothing until it is closed.
type blockedSource struct {
	first  io.Reader
	closed chan struct{}
	once   sync.Once
}

func (s *blockedSource) Read(p []byte) (int, error) {
	if n, err := s.first.Read(p); err == nil {
		return n, nil
	}
	<-s.closed
	return 0, io.ErrClosedPipe
}

func (s *blockedSource) Close() error {
	s.once.Do(func() { close(s.closed) })
	return nil
}

// F54: over HTTP/2 the response body stalls, and so does the request body.
func TestF54BufferingHeedsEveryLimit(t *testing.T) {
	release := make(chan struct{})
	server := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		io.WriteString(w, "abc")
		w.(http.Flusher).Flush()
		select {
		case <-r.Context().Done():
		case <-release:
		}
	}))
	server.EnableHTTP2 = true
	server.StartTLS()
	defer server.Close()
	defer close(release)
	const limit = 100 * time.Millisecond
	for name, set := range map[string]func(*Client, *http.Request) *http.Request{
		"AttemptTimeout":     func(c *Client, r *http.Request) *http.Request { c.AttemptTimeout = limit; return r },
		"MaxElapsedTime":     func(c *Client, r *http.Request) *http.Request { c.MaxElapsedTime = limit; return r },
		"HTTPClient.Timeout": func(c *Client, r *http.Request) *http.Request { c.HTTPClient.Timeout = limit; return r },
		"deadline": func(_ *Client, r *http.Request) *http.Request {
			ctx, cancel := context.WithTimeout(t.Context(), limit)
			t.Cleanup(cancel)
			return r.WithContext(ctx)
		},
		"cancel": func(_ *Client, r *http.Request) *http.Request {
			ctx, cancel := context.WithCancel(t.Context())
			time.AfterFunc(limit, cancel)
			return r.WithContext(ctx)
		},
	} {
		for way, send := range sends {
			t.Run(name+"/"+way, func(t *testing.T) {
				rt := server.Client().Transport.(*http.Transport).Clone()
				defer rt.CloseIdleConnections()
				client := &Client{BufferMax: 1 << 10, HTTPClient: &http.Client{Transport: rt}}
				req, err := http.NewRequest("POST", server.URL, bytes.NewReader(make([]byte, 3<<20)))
				require.NoError(t, err)
				done := make(chan error, 1)
				go func() { done <- send(client, set(client, req)) }()
				select {
				case err := <-done:
					assert.Error(t, err)
					var timeout interface{ Timeout() bool }
					assert.Equal(t, name != "cancel", errors.As(err, &timeout) && timeout.Timeout(), "%v", err)
				case <-time.After(10 * time.Second):
					t.Fatal("still running")
				}
			})
		}
	}
}

// F55: the Idempotency-Key of a request is blank.
func TestF55BlankIdempotencyKeyIsNone(t *testing.T) {
	for _, header := range []http.Header{
		{"Idempotency-Key": {""}}, {"Idempotency-Key": {"  "}}, {"Idempotency-Key": nil}, {"X-Idempotency-Key": {""}},
	} {
		for _, way := range []string{"Do", "RoundTripper", "StandardClient"} {
			client, sent := scripted(failure(errLost))
			client.CheckRetry = SafeRetryPolicy
			_, err := posts[way](client, "http://host/", header.Clone())
			assert.Error(t, err)
			assert.Len(t, sent.seen, 1, "%s %v", way, header)

			client, sent = scripted(failure(errLost), status(200))
			client.CheckRetry, client.IdempotencyKey = SafeRetryPolicy, func(*http.Request) string { return "generated" }
			_, err = posts[way](client, "http://host/", header.Clone())
			assert.NoError(t, err)
			if assert.Len(t, sent.seen, 2) {
				assert.Equal(t, []string{"generated"}, sent.seen[1].Header["Idempotency-Key"])
			}
		}
	}
	client, sent := scripted(status(200))
	client.IdempotencyKey = NewIdempotencyKey
	_, err := posts["Do"](client, "http://host/", http.Header{"idempotency-key": {"mine"}})
	require.NoError(t, err)
	assert.NotContains(t, sent.seen[0].Header, "Idempotency-Key", "one in another spelling is the caller's")
}

// F56: a 503 has a Retry-After that is not valid.
func TestF56InvalidRetryAfterIsNoRefusal(t *testing.T) {
	for value, attempts := range map[string]int{"soon": 1, "-1": 1, "+1": 1, "1.5": 1, "1, 2": 1, "0x10": 1, "": 1, "0": 2, " 1 ": 2} {
		synctest.Test(t, func(t *testing.T) {
			client, sent := scripted(status(503, "Retry-After", value), status(200))
			client.CheckRetry = SafeRetryPolicy
			resp, err := client.Post("http://host/", "", content)
			require.NoError(t, err)
			resp.Body.Close()
			assert.Len(t, sent.seen, attempts, "%q", value)
		})
	}
}

// F57: PrepareRetry assigns a Body, once.
func TestF57BodyOfPrepareRetryPersists(t *testing.T) {
	for way, post := range posts {
		for _, body := range []string{strings.ToUpper(content), "shorter"} {
			client, sent := scripted(status(503), status(503), status(503), status(200))
			var read []string
			client.PrepareRetry = func(req *http.Request) error {
				if len(sent.seen) == 1 {
					req.Body, req.ContentLength = io.NopCloser(plainReader{strings.NewReader(body)}), int64(len(body))
					return nil
				}
				data, err := io.ReadAll(req.Body)
				read = append(read, string(data))
				req.Body, _ = req.GetBody()
				return err
			}
			resp, err := post(client, "http://host/", nil)
			require.NoError(t, err)
			resp.Body.Close()
			assert.Equal(t, []string{content, body, body, body}, sent.bodies, way)
			assert.Equal(t, []string{body, body}, read)
		}
	}
}

// F58: a Body with a GetBody gives nothing, and only the context ends the call.
func TestF58BodyWithGetBodyHeedsTheContext(t *testing.T) {
	server := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) { io.Copy(io.Discard, r.Body) }))
	defer server.Close()
	release := make(chan struct{})
	defer close(release)
	for name, read := range map[string]func([]byte) (int, error){
		"blocks":          func([]byte) (int, error) { <-release; return 0, io.EOF },
		"negative count":  func([]byte) (int, error) { return -1, nil },
		"count too large": func(p []byte) (int, error) { return len(p) + 1, nil },
	} {
		for way, send := range sends {
			ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
			defer cancel()
			req, err := http.NewRequestWithContext(ctx, "POST", server.URL, io.NopCloser(readFunc(read)))
			require.NoError(t, err)
			req.GetBody = func() (io.ReadCloser, error) { return io.NopCloser(readFunc(read)), nil }
			start := time.Now()
			err = send(&Client{HTTPClient: server.Client()}, req)
			assert.Less(t, time.Since(start), 5*time.Second)
			if name == "blocks" {
				assert.ErrorIs(t, err, context.DeadlineExceeded, way)
			} else {
				assert.ErrorIs(t, err, ErrInvalidRead, "%s %s", name, way)
			}
		}
	}
}

// F59: a callback panics and the caller recovers.
func TestF59PanicOfACallbackLeaksNothing(t *testing.T) {
	for name, set := range map[string]func(*Client){
		"CheckRetry": func(c *Client) {
			c.CheckRetry = func(context.Context, *http.Response, error) (bool, error) { panic("callback") }
		},
		"Backoff": func(c *Client) {
			c.Backoff = func(time.Duration, time.Duration, int, *http.Response) time.Duration { panic("callback") }
		},
		"ResponseLogHook": func(c *Client) { c.ResponseLogHook = func(Logger, *http.Response) { panic("callback") } },
		"OnAttempt":       func(c *Client) { c.OnAttempt = func(Attempt) { panic("callback") } },
		"ErrorHandler": func(c *Client) {
			c.RetryMax, c.ErrorHandler = 0, func(*http.Response, error, int) (*http.Response, error) { panic("callback") }
		},
		"PrepareRetry": func(c *Client) { c.PrepareRetry = func(*http.Request) error { panic("callback") } },
	} {
		t.Run(name, func(t *testing.T) {
			ctx := newWatchedContext()
			var closes atomic.Int32
			client, _ := scripted(func(req *http.Request) (*http.Response, error) {
				resp := respond(req, 503, "")
				resp.Body = readCloser{strings.NewReader("busy"), closeFunc(func() error { closes.Add(1); return nil })}
				return resp, nil
			})
			client.AttemptTimeout = time.Minute
			set(client)
			req, err := NewRequestWithContext(ctx, "GET", "http://host/", nil)
			require.NoError(t, err)
			assert.PanicsWithValue(t, "callback", func() { client.Do(req) })
			assert.EqualValues(t, 1, closes.Load())
			assert.Zero(t, ctx.waiting.Load())
		})
	}
}

// F60: a client is its own transport.
func TestF60CloseIdleConnectionsOfAClientThatCallsItself(t *testing.T) {
	client := NewClient()
	client.HTTPClient = client.StandardClient()
	client.CloseIdleConnections()
	_, err := client.Get("http://host/")
	assert.ErrorContains(t, err, "RoundTripper of the same Client")
}
