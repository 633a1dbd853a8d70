package retryablehttp

import (
	"context"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
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
