package retryablehttp

import (
	"fmt"
	"net/http"
	"regexp"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// docs/spec.md, 6.8: IdempotencyKey is called once for each call, and all attempts and
// redirect hops send its key.
func TestIdempotencyKeyIsTheSameOnEveryAttemptAndHop(t *testing.T) {
	type steps = []func(*http.Request) (*http.Response, error)
	for _, code := range []int{301, 302, 303, 307, 308} {
		for way, post := range posts {
			t.Run(fmt.Sprint(code, way), func(t *testing.T) {
				transport := &hops{responses: map[string]steps{
					"/1": {status(503), failure(errReset), redirect(code, "/2")},
					"/2": {failure(errReset), status(503), redirect(code, "/3")},
					"/3": {status(503), status(200)},
				}}
				calls := 0
				client := &Client{RetryMax: 9, Backoff: noWait, HTTPClient: &http.Client{Transport: transport}}
				client.CheckRetry = SafeRetryPolicy
				client.IdempotencyKey = func(req *http.Request) string {
					assert.Equal(t, "POST", req.Method)
					assert.Equal(t, "/1", req.URL.Path)
					calls++
					return fmt.Sprint("key ", calls)
				}
				for call := 1; call <= 2; call++ {
					transport.keys = nil
					header := http.Header{"A": {"b"}}
					resp, err := post(client, "http://host/1", header)
					require.NoError(t, err)
					resp.Body.Close()
					require.NotEmpty(t, transport.keys)
					if call == 1 {
						require.GreaterOrEqual(t, len(transport.keys), 3)
					}
					for _, key := range transport.keys {
						assert.Equal(t, fmt.Sprint("key ", call), key)
					}
					assert.Equal(t, call, calls, "made once for each call")
					assert.Equal(t, http.Header{"A": {"b"}}, header, "the caller's")
				}
			})
		}
	}
}

// docs/spec.md, 6.8: which requests get a key.
func TestIdempotencyKeyIsForRequestsThatNeedOne(t *testing.T) {
	for _, tc := range []struct {
		method string
		header http.Header
		made   string
		want   []string
	}{
		{method: "POST", made: "made", want: []string{"made"}},
		{method: "PATCH", made: "made", want: []string{"made"}},
		{method: "LOCK", made: "made", want: []string{"made"}},
		{method: "POST", header: http.Header{"Idempotency-Key": {"own"}}, made: "made", want: []string{"own"}},
		{method: "POST", header: http.Header{"Idempotency-Key": {"a", "b"}}, made: "made", want: []string{"a", "b"}},
		{method: "GET", header: http.Header{"Idempotency-Key": {"own"}}, made: "made", want: []string{"own"}},
		{method: "POST", made: ""},
		{method: "GET", made: "made"}, {method: "", made: "made"}, {method: "HEAD", made: "made"},
		{method: "PUT", made: "made"}, {method: "DELETE", made: "made"},
		{method: "OPTIONS", made: "made"}, {method: "TRACE", made: "made"},
	} {
		client, sent := scripted(status(503), status(200))
		client.IdempotencyKey = func(*http.Request) string { return tc.made }
		send := map[string]func(*http.Request) error{
			"Do": func(r *http.Request) error {
				req, err := FromRequest(r)
				require.NoError(t, err)
				_, err = client.Do(req)
				return err
			},
			"RoundTripper": func(r *http.Request) error {
				_, err := (&RoundTripper{Client: client}).RoundTrip(r)
				return err
			},
		}
		for way, send := range send {
			sent.seen = nil
			req := mustRequest(t, "http://host/")
			req.Method, req.Header = tc.method, tc.header.Clone()
			require.NoError(t, send(req))
			require.Len(t, sent.seen, 2)
			for _, got := range sent.seen {
				assert.Equal(t, tc.want, got.Header.Values("Idempotency-Key"), "%s, %s %v", way, tc.method, tc.header)
			}
			assert.Equal(t, tc.header, req.Header, "the caller's map")
		}
	}
}

// docs/spec.md, 6.7: SafeRetryPolicy retries a POST with a key.
func TestIdempotencyKeyMakesAPostSafe(t *testing.T) {
	for way, post := range posts {
		client, sent := scripted(failure(errReset), status(500), status(408), status(200))
		client.CheckRetry, client.IdempotencyKey = SafeRetryPolicy, NewIdempotencyKey
		resp, err := post(client, "http://host/", http.Header{})
		require.NoError(t, err, way)
		assert.Equal(t, 200, resp.StatusCode)
		assert.Len(t, sent.seen, 4, way)
	}
}

// docs/spec.md, 6.8: a key that RequestLogHook removes is sent again by the next attempt.
func TestIdempotencyKeyOutlivesHooks(t *testing.T) {
	client, sent := scripted(status(503))
	client.RetryMax, client.IdempotencyKey = 3, func(*http.Request) string { return "key" }
	client.RequestLogHook = func(_ Logger, req *http.Request, n int) {
		assert.Equal(t, "key", req.Header.Get("Idempotency-Key"), n)
		req.Header.Del("Idempotency-Key")
	}
	client.PrepareRetry = func(req *http.Request) error {
		assert.Equal(t, "key", req.Header.Get("Idempotency-Key"))
		return nil
	}
	req, err := NewRequest("POST", "http://host/", content)
	require.NoError(t, err)
	_, err = client.Do(req)
	require.Error(t, err)
	assert.Len(t, sent.seen, 4)
	assert.Empty(t, req.Header, "the key is of the call: the next one has its own")
}

func TestNewIdempotencyKeyIsARandomUUID(t *testing.T) {
	form := regexp.MustCompile(`^[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$`)
	seen := map[string]bool{}
	digits := make([]map[rune]bool, 36)
	for range 10_000 {
		key := NewIdempotencyKey(nil)
		require.Regexp(t, form, key)
		require.False(t, seen[key])
		seen[key] = true
		for i, digit := range key {
			if digits[i] == nil {
				digits[i] = map[rune]bool{}
			}
			digits[i][digit] = true
		}
	}
	for i, got := range digits {
		want := 16
		switch i {
		case 8, 13, 18, 23, 14: // hyphens and version
			want = 1
		case 19: // variant
			want = 4
		}
		assert.Len(t, got, want, "position %d", i)
	}
}
