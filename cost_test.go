package retryablehttp

import (
	"bytes"
	"io"
	"net/http"
	"runtime"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// docs/spec.md, 5.1: no allocation over *http.Transport, and at most two over another
// transport, which mark the attempt.
func TestSuccessPathAddsNoAllocation(t *testing.T) {
	data := bytes.Repeat([]byte("x"), 1024)
	for name, tc := range map[string]struct {
		transport http.RoundTripper
		more      float64
	}{
		"*http.Transport": {registered(still(200)), 0},
		"another":         {still(200), 2},
	} {
		t.Run(name, func(t *testing.T) {
			standard := &http.Client{Transport: tc.transport}
			client := NewClient()
			client.HTTPClient = standard
			ours := client.StandardClient()
			compare := func(what string, our, their func() (*http.Response, error)) {
				count := func(f func() (*http.Response, error)) float64 {
					return testing.AllocsPerRun(200, func() {
						if _, err := f(); err != nil {
							t.Error(err)
						}
					})
				}
				assert.LessOrEqual(t, count(our), count(their)+tc.more, what)
			}
			get := mustRequest(t, "http://host/path")
			prepared, err := FromRequest(get)
			require.NoError(t, err)
			plain := func() (*http.Response, error) { return standard.Do(get) }
			compare("Do", func() (*http.Response, error) { return client.Do(prepared) }, plain)
			compare("RoundTripper", func() (*http.Response, error) { return ours.Do(get) }, plain)
			compare("Get",
				func() (*http.Response, error) { return client.Get("http://host/path") },
				func() (*http.Response, error) { return standard.Get("http://host/path") })
			compare("NewRequest and Do",
				func() (*http.Response, error) {
					req, err := NewRequest("GET", "http://host/path", nil)
					if err != nil {
						return nil, err
					}
					return client.Do(req)
				},
				func() (*http.Response, error) {
					req, err := http.NewRequest("GET", "http://host/path", nil)
					if err != nil {
						return nil, err
					}
					return standard.Do(req)
				})

			post, err := http.NewRequest("POST", "http://host/path", bytes.NewReader(data))
			require.NoError(t, err)
			compare("RoundTripper, body",
				func() (*http.Response, error) { return ours.Do(post) },
				func() (*http.Response, error) { return standard.Do(post) })
			// Requests that are there before the call; the reader that NewRequest makes is
			// one allocation more than http.NewRequest's, which uses the caller's.
			var requests []*Request
			var httpRequests []*http.Request
			for range 201 {
				req, err := NewRequest("POST", "http://host/path", data)
				require.NoError(t, err)
				httpReq, err := http.NewRequest("POST", "http://host/path", bytes.NewReader(data))
				require.NoError(t, err)
				requests, httpRequests = append(requests, req), append(httpRequests, httpReq)
			}
			compare("Do, body",
				func() (*http.Response, error) {
					req := requests[0]
					requests = requests[1:]
					return client.Do(req)
				},
				func() (*http.Response, error) {
					req := httpRequests[0]
					httpRequests = httpRequests[1:]
					return standard.Do(req)
				})
		})
	}
}

// docs/spec.md, 5.2: the allocations of a retry have a bound that does not depend on the
// size of the body.
func TestRetryCostDoesNotDependOnTheBody(t *testing.T) {
	client := NewClient()
	client.Backoff = noWait
	client.RetryMax = 8
	client.ErrorHandler = PassthroughErrorHandler
	client.HTTPClient = &http.Client{Transport: registered(still(503))}
	cost := func(body any) float64 {
		req, err := NewRequest("POST", "http://host/", body)
		require.NoError(t, err)
		return testing.AllocsPerRun(100, func() {
			if _, err := client.Do(req); err != nil {
				t.Error(err)
			}
		})
	}
	small, large := cost([]byte("x")), cost(make([]byte, 8<<20))
	assert.Equal(t, small, large)
	assert.Equal(t, cost("x"), cost(strings.Repeat("x", 1<<20)))
	assert.Equal(t, cost(tempFile(t, "on disk")), cost(tempFile(t, strings.Repeat("on disk", 10_000))))
	plain := testing.AllocsPerRun(100, func() {
		req, err := http.NewRequest("POST", "http://host/", bytes.NewReader([]byte("x")))
		require.NoError(t, err)
		_, err = client.HTTPClient.Do(req)
		require.NoError(t, err)
	})
	assert.LessOrEqual(t, small, 9*(plain+4), "a request of net/http, the contexts of the attempt and of the policy, and the status")
}

// docs/spec.md, 5.3: bodies that can be opened again are not kept in memory.
func TestRetriedUploadIsStreamed(t *testing.T) {
	const size = 64 << 20
	source := io.NewSectionReader(zeros{}, 0, size)
	for name, send := range map[string]func(*Client) error{
		"Client": func(c *Client) error { _, err := c.Post("http://host/", "", source); return err },
		"RoundTripper with GetBody": func(c *Client) error {
			open := func() (io.ReadCloser, error) {
				return io.NopCloser(plainReader{io.NewSectionReader(zeros{}, 0, size)}), nil
			}
			req := mustRequest(t, "http://host/")
			req.Body, _ = open()
			req.GetBody, req.ContentLength = open, size
			_, err := c.StandardClient().Do(req)
			return err
		},
	} {
		var n int64
		buf := make([]byte, 32<<10)
		attempts := 0
		client := &Client{RetryMax: 2, Backoff: noWait, HTTPClient: &http.Client{Transport: roundTripFunc(func(req *http.Request) (*http.Response, error) {
			attempts++
			n, _ = io.CopyBuffer(struct{ io.Writer }{io.Discard}, req.Body, buf)
			req.Body.Close()
			if attempts < 3 {
				return respond(req, 503, ""), nil
			}
			return respond(req, 200, ""), nil
		})}}
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		require.NoError(t, send(client), name)
		runtime.ReadMemStats(&after)
		assert.Equal(t, 3, attempts, name)
		assert.EqualValues(t, size, n, name)
		assert.Less(t, after.TotalAlloc-before.TotalAlloc, uint64(64<<10), "%s: bytes allocated to send %d three times", name, size)
	}
}

type zeros struct{}

func (zeros) ReadAt(p []byte, _ int64) (int, error) { return len(p), nil }

func TestFailedResponsesOfACallShareOneBuffer(t *testing.T) {
	big := strings.Repeat("x", drainMax)
	step := func(req *http.Request) (*http.Response, error) { return respond(req, 503, big), nil }
	client, _ := scripted(step)
	client.RetryMax = 19
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	_, err := client.Get("http://host/")
	runtime.ReadMemStats(&after)
	require.Error(t, err)
	assert.Less(t, after.TotalAlloc-before.TotalAlloc, uint64(8*drainMax)) // 20 of their own would be 50 times drainMax
}

func TestBodyOfAnEarlierResponseNeverShowsALaterOne(t *testing.T) {
	client, _ := scripted(
		func(req *http.Request) (*http.Response, error) { return respond(req, 503, "first"), nil },
		func(req *http.Request) (*http.Response, error) { return respond(req, 503, "later"), nil })
	client.RetryMax = 1
	var first *http.Response
	client.PrepareRetry = func(req *http.Request) error {
		first = req.Response
		return nil
	}
	_, err := client.Get("http://host/")
	var gaveUp *GiveUpError
	require.ErrorAs(t, err, &gaveUp)
	data, err := io.ReadAll(first.Body)
	assert.ErrorIs(t, err, http.ErrBodyReadAfterClose)
	assert.Empty(t, data)
	data, err = io.ReadAll(gaveUp.Response.Body)
	assert.NoError(t, err)
	assert.Equal(t, "later", string(data))
}
