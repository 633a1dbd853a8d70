package pipeline_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/a0b132ce/retryablehttp"
	"github.com/a0b132ce/retryablehttp/pipeline"
)

func TestR01LastResponseIsReturned(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		server := serve(step{status: 500, body: "oops"})
		body := counted("stuff")
		req := withKey(newRequest(t, "POST", "http://h/"))
		require.NoError(t, req.SetBody(body, ""))
		resp, err := over(server, pipeline.Retry{}).Do(req)
		require.NoError(t, err)
		assert.Equal(t, 500, resp.StatusCode)
		assert.Equal(t, "oops", text(t, resp))
		require.Equal(t, 4, server.tries(), "by default there are 3 retries")
		for _, try := range server.seen {
			assert.Equal(t, "stuff", try.body)
		}
		assert.Equal(t, 1, body.closed())
	})
}

// What R01 shows with an Idempotency-Key is not done without one: the server may have acted.
func TestR01PostWithoutAKeyIsSentOnce(t *testing.T) {
	for _, outcome := range []step{{status: 500}, {err: io.ErrUnexpectedEOF}} {
		server := serve(outcome)
		req := newRequest(t, "POST", "http://h/")
		require.NoError(t, req.SetBody(counted("stuff"), ""))
		resp, err := over(server, fast()).Do(req)
		assert.ErrorIs(t, err, outcome.err)
		assert.Equal(t, outcome.err == nil, resp != nil)
		assert.Equal(t, 1, server.tries())
	}
	server := serve(step{status: 429}, step{status: 503, header: header("Retry-After", "0")}, step{status: 200})
	req := newRequest(t, "POST", "http://h/")
	require.NoError(t, req.SetBody(counted("stuff"), ""))
	_, err := over(server, fast()).Do(req)
	require.NoError(t, err)
	assert.Equal(t, 3, server.tries(), "the server has refused it before acting on it")
}

func TestR02BodyIsSentFromItsStart(t *testing.T) {
	for name, wrap := range map[string]func(*closeCounter) io.ReadSeekCloser{
		"ReaderAt":  func(c *closeCounter) io.ReadSeekCloser { return c },
		"seek only": func(c *closeCounter) io.ReadSeekCloser { return seekOnly{c} },
	} {
		t.Run(name, func(t *testing.T) {
			server := serve(step{status: 408}, step{status: 500}, step{status: 200})
			body := counted("0123456789")
			_, err := body.Seek(4, io.SeekStart)
			require.NoError(t, err)
			req := withKey(newRequest(t, "POST", "http://h/"))
			require.NoError(t, req.SetBody(wrap(body), ""))
			resp, err := over(server, fast()).Do(req)
			require.NoError(t, err)
			assert.Equal(t, 200, resp.StatusCode)
			require.Equal(t, 3, server.tries())
			for _, try := range server.seen {
				assert.Equal(t, "0123456789", try.body)
				assert.EqualValues(t, 10, try.length)
			}
			assert.Equal(t, 1, body.closed())
		})
	}
}

func TestR03Statuses(t *testing.T) {
	for _, code := range []int{408, 429, 500, 502, 503, 504} {
		server := serve(step{status: code}, step{status: 200})
		resp, err := over(server, fast()).Do(newRequest(t, "GET", "http://h/"))
		require.NoError(t, err)
		assert.Equal(t, 200, resp.StatusCode, code)
		assert.Equal(t, 2, server.tries(), code)
	}
	for _, code := range []int{400, 401, 403, 404, 409, 412, 413, 425, 501, 505} {
		server := serve(step{status: code}, step{status: 200})
		resp, err := over(server, fast()).Do(newRequest(t, "GET", "http://h/"))
		require.NoError(t, err)
		assert.Equal(t, code, resp.StatusCode)
		assert.Equal(t, 1, server.tries(), code)
	}
}

func TestR04RetriesOff(t *testing.T) {
	for _, n := range []int{0, -1} {
		server := serve(step{status: 408}, step{status: 200})
		resp, err := over(server, fast(retryMax(n))).Do(newRequest(t, "GET", "http://h/"))
		require.NoError(t, err)
		assert.Equal(t, 408, resp.StatusCode)
		assert.Equal(t, 1, server.tries())
	}
}

func retryMax(n int) func(*retryablehttp.Client) {
	return func(c *retryablehttp.Client) { c.RetryMax = n }
}

func TestR05TransportErrors(t *testing.T) {
	failure := errors.New("E")
	server := serve(step{err: failure})
	req := withKey(newRequest(t, "POST", "http://h/"))
	require.NoError(t, req.SetBody(counted("stuff"), ""))
	resp, err := over(server, fast()).Do(req)
	assert.ErrorIs(t, err, failure)
	assert.Nil(t, resp)
	assert.Equal(t, 4, server.tries())

	t.Run("neither a response nor an error", func(t *testing.T) {
		n := 0
		nothing := transporter(func(r *http.Request) (*http.Response, error) {
			if n++; n < 3 {
				return nil, nil
			}
			return &http.Response{StatusCode: 200, Request: r}, nil
		})
		resp, err := pipeline.New(nothing, fast()).Do(withKey(newRequest(t, "POST", "http://h/")))
		require.NoError(t, err)
		assert.Equal(t, 200, resp.StatusCode)
		assert.Equal(t, 3, n)
	})
}

// permanentError is not retried.
type permanentError struct{}

func (permanentError) Error() string   { return "of no use" }
func (permanentError) Permanent() bool { return true }

func TestR06PermanentErrors(t *testing.T) {
	server := serve(step{status: 408}, step{err: fmt.Errorf("wrapped: %w", permanentError{})})
	_, err := over(server, fast()).Do(newRequest(t, "GET", "http://h/"))
	assert.ErrorIs(t, err, permanentError{})
	assert.Equal(t, 2, server.tries())
}

func TestR08RetryAfter(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		for _, c := range []struct {
			value string
			least time.Duration
			most  time.Duration
		}{
			{"1", time.Second, 1100 * time.Millisecond},
			{"date", 2 * time.Second, 3300 * time.Millisecond},
		} {
			if c.value == "date" {
				c.value = time.Now().Add(3 * time.Second).UTC().Format(http.TimeFormat)
			}
			server := serve(step{status: 503, header: header("Retry-After", c.value)}, step{status: 200})
			_, err := over(server, fast()).Do(newRequest(t, "GET", "http://h/"))
			require.NoError(t, err)
			require.Equal(t, 2, server.tries())
			assert.GreaterOrEqual(t, server.gaps()[0], c.least)
			assert.LessOrEqual(t, server.gaps()[0], c.most)
		}
	})
}

func TestR10RetryAfterOfNoUse(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		for _, value := range []string{"garbage", "0", "-5", "1.5", "Fri, 31 Dec 1999 23:59:59 GMT"} {
			server := serve(step{status: 503, header: header("Retry-After", value)}, step{status: 200})
			_, err := over(server, fast()).Do(newRequest(t, "GET", "http://h/"))
			require.NoError(t, err)
			require.Equal(t, 2, server.tries(), value)
			assert.LessOrEqual(t, server.gaps()[0], 2*time.Millisecond, value)
		}
	})
}

// The root's jitter is between a wait and its double, and in the upper half of the cap.
func TestR11GapsGrowUpToTheCap(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		for range 50 {
			server := serve(step{status: 503})
			pl := over(server, fast(func(c *retryablehttp.Client) {
				c.RetryWaitMin, c.RetryWaitMax = 100*time.Millisecond, 500*time.Millisecond
			}))
			_, err := pl.Do(newRequest(t, "GET", "http://h/"))
			require.NoError(t, err)
			gaps := server.gaps()
			require.Len(t, gaps, 3)
			for i, within := range [][2]time.Duration{{100, 200}, {200, 400}, {250, 500}} {
				assert.GreaterOrEqual(t, gaps[i], within[0]*time.Millisecond)
				assert.LessOrEqual(t, gaps[i], within[1]*time.Millisecond)
			}
		}
	})
}

func TestR12TheCallersContextEndsTheCall(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		slow := fast(func(c *retryablehttp.Client) { c.RetryWaitMin, c.RetryWaitMax = 10*time.Second, time.Minute })
		ctx, cancel := context.WithTimeout(t.Context(), 300*time.Millisecond)
		defer cancel()
		server := serve(step{status: 503})
		start := time.Now()
		req, err := pipeline.NewRequest(ctx, "GET", "http://h/")
		require.NoError(t, err)
		resp, err := over(server, slow).Do(req)
		assert.ErrorIs(t, err, context.DeadlineExceeded)
		assert.ErrorContains(t, err, "503", "the error says what the last response was")
		assert.Nil(t, resp)
		assert.Equal(t, 1, server.tries())
		assert.Less(t, time.Since(start), 600*time.Millisecond)

		ctx, cancel = context.WithCancel(t.Context())
		tries := 0
		hangs := roundTripper(func(r *http.Request) (*http.Response, error) {
			tries++
			cancel()
			<-r.Context().Done()
			return nil, r.Context().Err()
		})
		req, err = pipeline.NewRequest(ctx, "GET", "http://h/")
		require.NoError(t, err)
		_, err = over(hangs, slow).Do(req)
		assert.ErrorIs(t, err, context.Canceled)
		assert.Equal(t, 1, tries)
	})
}

func TestR14ThePredicateDecides(t *testing.T) {
	predicate := func(retry func(*http.Response) bool) func(*retryablehttp.Client) {
		return func(c *retryablehttp.Client) {
			c.CheckRetry = func(_ context.Context, resp *http.Response, err error) (bool, error) {
				assert.NotEqual(t, resp == nil, err == nil)
				return retry(resp), nil
			}
		}
	}
	server := serve(step{status: 408}, step{status: 200})
	_, err := over(server, fast(predicate(func(r *http.Response) bool { return r.StatusCode != 408 && r.StatusCode != 200 }))).Do(newRequest(t, "GET", "http://h/"))
	require.NoError(t, err)
	assert.Equal(t, 1, server.tries())
	server = serve(step{status: 404}, step{status: 200})
	_, err = over(server, fast(predicate(func(r *http.Response) bool { return r.StatusCode == 404 }))).Do(newRequest(t, "GET", "http://h/"))
	require.NoError(t, err)
	assert.Equal(t, 2, server.tries())
}

func TestR15StatusList(t *testing.T) {
	statuses := func(codes ...int) func(*retryablehttp.Client) {
		return func(c *retryablehttp.Client) { c.CheckRetry = pipeline.RetryStatuses(codes...) }
	}
	for _, c := range []struct {
		name   string
		method string
		first  step
		codes  []int
		tries  int
	}{
		{"418 is listed", "GET", step{status: 418}, []int{418}, 2},
		{"503 is not", "GET", step{status: 503}, []int{418}, 1},
		{"empty list", "GET", step{status: 503}, nil, 1},
		{"a POST is not repeated", "POST", step{status: 418}, []int{418}, 1},
		{"a POST that was refused is", "POST", step{status: 429}, []int{429}, 2},
		{"a transport error is retried in any case", "GET", step{err: io.ErrUnexpectedEOF}, nil, 2},
	} {
		server := serve(c.first, step{status: 200})
		_, err := over(server, fast(statuses(c.codes...))).Do(newRequest(t, c.method, "http://h/"))
		require.NoError(t, err, c.name)
		assert.Equal(t, c.tries, server.tries(), c.name)
	}
	server := serve(step{err: io.ErrUnexpectedEOF})
	_, err := over(server, fast(statuses())).Do(newRequest(t, "GET", "http://h/"))
	assert.ErrorIs(t, err, io.ErrUnexpectedEOF)
	assert.Equal(t, 4, server.tries())
}

func TestR16OneCallOverridesAndKeepsTheRest(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		nine := make([]step, 10)
		for i := range nine {
			nine[i].status = 408
		}
		nine[9].status = 200
		client := &retryablehttp.Client{RetryMax: 3, RetryWaitMin: 10 * time.Second, RetryWaitMax: 10 * time.Second}
		ten := pipeline.CallRetry(func(c *retryablehttp.Client) { c.RetryMax = 10 })
		server := serve(nine...)
		pl := over(server, pipeline.Retry{Client: client})
		resp, err := pl.Do(newRequest(t, "GET", "http://h/", ten))
		require.NoError(t, err)
		assert.Equal(t, 200, resp.StatusCode)
		require.Equal(t, 10, server.tries())
		for _, gap := range server.gaps() {
			assert.Equal(t, 10*time.Second, gap, "the waits are still the client's")
		}
		server.seen = server.seen[:8]
		_, err = pl.Do(newRequest(t, "GET", "http://h/"))
		require.NoError(t, err)
		assert.Equal(t, 10, server.tries())
		assert.Equal(t, 3, client.RetryMax)
		server.seen = nil
		req, err := pipeline.NewRequest(retryablehttp.WithRetryMax(t.Context(), 1), "GET", "http://h/")
		require.NoError(t, err)
		_, err = pl.Do(req)
		require.NoError(t, err)
		assert.Equal(t, 2, server.tries(), "the context overrides too")
	})
}

func TestB13ThePredicateGetsAResponseOrAnError(t *testing.T) {
	cut := roundTripper(func(r *http.Request) (*http.Response, error) {
		return &http.Response{StatusCode: 200, Request: r, Body: io.NopCloser(failing{}), ContentLength: 10}, nil
	})
	asked := 0
	read := pipeline.PolicyFunc(func(req *pipeline.Request) (*http.Response, error) {
		resp, err := req.Next()
		if err == nil {
			_, err = io.ReadAll(resp.Body)
		}
		return resp, err // both, against the contract
	})
	_, err := over(cut, fast(func(c *retryablehttp.Client) {
		c.CheckRetry = func(_ context.Context, resp *http.Response, err error) (bool, error) {
			asked++
			assert.Nil(t, resp)
			assert.ErrorIs(t, err, io.ErrUnexpectedEOF)
			return asked < 3, nil
		}
	}), read).Do(newRequest(t, "GET", "http://h/"))
	assert.ErrorIs(t, err, io.ErrUnexpectedEOF)
	assert.Equal(t, 3, asked)
}

type failing struct{}

func (failing) Read([]byte) (int, error) { return 0, io.ErrUnexpectedEOF }

func TestEachTryHasItsOwnHeaderAndURL(t *testing.T) {
	server := serve(step{status: 503}, step{status: 503}, step{status: 200})
	add := pipeline.PolicyFunc(func(req *pipeline.Request) (*http.Response, error) {
		req.Raw().Header.Add("X-Try", "1")
		query := req.Raw().URL.Query()
		query.Add("try", "1")
		req.Raw().URL.RawQuery = query.Encode()
		return req.Next()
	})
	req := newRequest(t, "GET", "http://h/?a=b")
	_, err := over(server, fast(), add).Do(req)
	require.NoError(t, err)
	require.Equal(t, 3, server.tries())
	for _, try := range server.seen {
		assert.Equal(t, []string{"1"}, try.header["X-Try"])
		assert.Equal(t, "http://h/?a=b&try=1", try.url)
	}
	assert.Empty(t, req.Raw().Header)
	assert.Equal(t, "a=b", req.Raw().URL.RawQuery)
}

func TestErrorHandlerOfTheClientIsKept(t *testing.T) {
	server := serve(step{status: 503})
	_, err := over(server, fast(func(c *retryablehttp.Client) {
		c.ErrorHandler = func(resp *http.Response, err error, n int) (*http.Response, error) {
			resp.Body.Close()
			return nil, fmt.Errorf("own error after %d", n)
		}
	})).Do(newRequest(t, "GET", "http://h/"))
	assert.ErrorContains(t, err, "own error after 4")
}

// Retries do not multiply if the transport retries too.
func TestNestedRetries(t *testing.T) {
	server := serve(step{status: 503})
	inner := &retryablehttp.Client{HTTPClient: &http.Client{Transport: server}, RetryMax: 3}
	_, err := pipeline.New(inner.StandardClient(), fast()).Do(newRequest(t, "GET", "http://h/"))
	require.NoError(t, err)
	assert.Equal(t, 4, server.tries())
}

// The zero Retry ends an attempt that gets no response.
func TestZeroRetryEndsATryThatHangs(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := 0
		hangs := roundTripper(func(r *http.Request) (*http.Response, error) {
			if n++; n == 1 {
				<-r.Context().Done()
				return nil, r.Context().Err()
			}
			return &http.Response{StatusCode: 200, Request: r}, nil
		})
		start := time.Now()
		_, err := over(hangs, pipeline.Retry{}).Do(newRequest(t, "GET", "http://h/"))
		require.NoError(t, err)
		assert.Equal(t, 2, n)
		assert.Less(t, time.Since(start), 35*time.Second)
	})
}
