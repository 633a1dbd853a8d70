package hedge_test

import (
	"io"
	"net/http"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/a0b132ce/retryablehttp"
	"github.com/a0b132ce/retryablehttp/hedge"
)

// numbers records the attempt number of each request.
type numbers struct {
	http.RoundTripper
	mu  sync.Mutex
	all []int
}

func (n *numbers) RoundTrip(req *http.Request) (*http.Response, error) {
	n.mu.Lock()
	n.all = append(n.all, retryablehttp.AttemptNumber(req.Context()))
	n.mu.Unlock()
	return n.RoundTripper.RoundTrip(req)
}

// Below a client, each attempt may be sent twice; both have its number.
func TestBelowAClient(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newService(
			step{after: 150 * ms, status: 503}, step{after: time.Second, status: 503},
			step{after: time.Hour}, step{after: 10 * ms, body: "done"},
		)
		counted := &numbers{RoundTripper: s}
		client := retryablehttp.NewClient()
		client.AttemptTimeout = 30 * time.Second
		client.HTTPClient.Transport = &hedge.Transport{Base: counted, Delay: 100 * ms, Budget: anyLoad()}
		attempts := 0
		client.OnAttempt = func(retryablehttp.Attempt) { attempts++ }
		resp, err := client.Get("http://host/")
		require.NoError(t, err)
		_, body := read(t, resp)
		assert.Equal(t, "done", body)
		assert.Equal(t, 2, attempts)
		assert.Equal(t, []int{1, 1, 2, 2}, counted.all)
		time.Sleep(time.Second)
		s.over(t)
	})
}

// AttemptTimeout ends both.
func TestAttemptTimeoutOfAClient(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newService(step{after: time.Hour})
		client := &retryablehttp.Client{AttemptTimeout: time.Second, HTTPClient: &http.Client{
			Transport: &hedge.Transport{Base: s, Delay: 100 * ms, Budget: anyLoad()}}}
		_, err := client.Get("http://host/")
		assert.ErrorIs(t, err, retryablehttp.ErrAttemptTimeout)
		assert.Len(t, s.seen(), 2)
		s.over(t)
	})
}

// A body that SetBody accepts can be read by both attempts, also one that can be read only
// once.
func TestBodiesOfAClient(t *testing.T) {
	const content = "the whole content"
	for name, body := range map[string]func() any{
		"bytes":         func() any { return []byte(content) },
		"io.Reader":     func() any { return struct{ io.Reader }{newRequestBody(content)} },
		"io.ReadSeeker": func() any { return struct{ io.ReadSeeker }{newRequestBody(content).Reader.(io.ReadSeeker)} },
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := newService(step{after: time.Second})
				client := &retryablehttp.Client{HTTPClient: &http.Client{
					Transport: &hedge.Transport{Base: s, Delay: 100 * ms, Budget: anyLoad()}}}
				req, err := retryablehttp.NewRequest("GET", "http://host/", body())
				require.NoError(t, err)
				resp, err := client.Do(req)
				require.NoError(t, err)
				read(t, resp)
				require.Len(t, s.seen(), 2)
				for _, a := range s.seen() {
					assert.Equal(t, content, a.body)
				}
				s.over(t)
			})
		})
	}
}

// Above a client, each of the two makes retries of its own.
func TestAboveAClient(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newService(step{status: 503}, step{body: "done"})
		counted := &numbers{RoundTripper: s}
		client := &http.Client{Transport: &hedge.Transport{
			Base:   &retryablehttp.RoundTripper{Base: counted}, // waits for 1 s at least
			Delay:  100 * ms,
			Budget: anyLoad(),
		}}
		resp, err := client.Get("http://host/")
		require.NoError(t, err)
		_, body := read(t, resp)
		assert.Equal(t, "done", body)
		assert.Equal(t, []int{1, 1}, counted.all, "the second call had no need to wait")
		s.over(t)
	})
}
