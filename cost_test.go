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

// The transport of these tests allocates nothing of its own.
func still(status int) http.RoundTripper {
	resp := &http.Response{StatusCode: status, Header: http.Header{}, Body: http.NoBody}
	return roundTripFunc(func(req *http.Request) (*http.Response, error) {
		if req.Body != nil {
			req.Body.Close()
		}
		resp.Request = req
		return resp, nil
	})
}

// Spec 5, the success path.
func TestSuccessPathAddsNoAllocation(t *testing.T) {
	standard := &http.Client{Transport: still(200)}
	client := NewClient()
	client.HTTPClient = standard
	ours := client.StandardClient()
	data := bytes.Repeat([]byte("x"), 1024)

	count := func(f func() (*http.Response, error)) float64 {
		return testing.AllocsPerRun(200, func() {
			if _, err := f(); err != nil {
				t.Error(err)
			}
		})
	}
	get := mustRequest(t, "http://host/path")
	prepared, err := FromRequest(get)
	require.NoError(t, err)
	plain := count(func() (*http.Response, error) { return standard.Do(get) })
	assert.LessOrEqual(t, count(func() (*http.Response, error) { return client.Do(prepared) }), plain, "Do, no body")
	assert.LessOrEqual(t, count(func() (*http.Response, error) { return ours.Do(get) }), plain, "RoundTripper, no body")

	assert.LessOrEqual(t,
		count(func() (*http.Response, error) { return client.Get("http://host/path") }),
		count(func() (*http.Response, error) { return standard.Get("http://host/path") })+1, "Get")

	post, err := http.NewRequest("POST", "http://host/path", bytes.NewReader(data))
	require.NoError(t, err)
	assert.LessOrEqual(t,
		count(func() (*http.Response, error) { return ours.Do(post) }),
		count(func() (*http.Response, error) { return standard.Do(post) }), "RoundTripper, body")

	assert.LessOrEqual(t,
		count(func() (*http.Response, error) {
			req, err := NewRequest("POST", "http://host/path", data)
			if err != nil {
				return nil, err
			}
			return client.Do(req)
		}),
		count(func() (*http.Response, error) {
			req, err := http.NewRequest("POST", "http://host/path", bytes.NewReader(data))
			if err != nil {
				return nil, err
			}
			return standard.Do(req)
		}), "NewRequest and Do, []byte")
}

// Spec 5, a retry costs a bounded number of allocations, whatever the body's size.
func TestRetryCostDoesNotDependOnTheBody(t *testing.T) {
	client := NewClient()
	client.Backoff = noWait
	client.RetryMax = 8
	client.ErrorHandler = PassthroughErrorHandler
	client.HTTPClient = &http.Client{Transport: still(503)}
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
	assert.LessOrEqual(t, small, float64(9*3+1), "context, request and reader of each attempt; what the policy is told")
	assert.LessOrEqual(t, cost(strings.NewReader(strings.Repeat("x", 1<<20))), float64(9*3+1))
	assert.LessOrEqual(t, cost(tempFile(t, "on disk")), float64(9*3+1))
}

// Spec 5, bodies that can be opened again are streamed.
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
