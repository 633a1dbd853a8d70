package retryablehttp

import (
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"os"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// allZero reads without an end.
var allZero = readFunc(func(p []byte) (int, error) { return len(p), nil })

// silent sends its first bytes, and then nothing until the request of its response is over.
func silent(req *http.Request, first string) *http.Response {
	resp := respond(req, 200, "", "Etag", `"v1"`, "Accept-Ranges", "bytes")
	resp.ContentLength = 10
	resp.Body = io.NopCloser(io.MultiReader(strings.NewReader(first), readFunc(func([]byte) (int, error) {
		<-req.Context().Done()
		return 0, req.Context().Err()
	})))
	return resp
}

func TestSilentResponseBodyIsCut(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		for name, send := range ways {
			client, _ := scripted(func(req *http.Request) (*http.Response, error) { return silent(req, "12345"), nil })
			client.BodyIdleTimeout = time.Second
			resp, err := send(client, mustRequest(t, "http://host/"))
			require.NoError(t, err, name)
			began := time.Now()
			data, err := io.ReadAll(resp.Body)
			assert.Equal(t, "12345", string(data), name)
			assert.ErrorIs(t, err, ErrBodyIdleTimeout, name)
			assert.True(t, isTimeout(err), name)
			assert.Equal(t, time.Second, time.Since(began), name)
			resp.Body.Close()
		}
	})
}

// What counts is the wait for one Read, not how long the caller takes or the whole body.
func TestSlowResponseBodyIsNotCut(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		body := newSlowBody(900*time.Millisecond, 5)
		client, _ := scripted(func(req *http.Request) (*http.Response, error) {
			resp := respond(req, 200, "")
			resp.Body = body
			return resp, nil
		})
		client.BodyIdleTimeout = time.Second
		resp, err := client.Get("http://host/")
		require.NoError(t, err)
		for range 5 {
			time.Sleep(time.Minute)
			n, err := resp.Body.Read(make([]byte, 1))
			assert.NoError(t, err)
			assert.Equal(t, 1, n)
		}
		resp.Body.Close()
	})
}

func TestBufferMaxMakesASilentBodyAFailedAttempt(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		client, script := scripted(
			func(req *http.Request) (*http.Response, error) { return silent(req, "12345"), nil },
			status(200))
		client.BodyIdleTimeout, client.BufferMax = time.Second, 1<<20
		var causes []error
		client.OnAttempt = func(a Attempt) { causes = append(causes, a.Err) }
		resp, err := client.Get("http://host/")
		require.NoError(t, err)
		data, err := io.ReadAll(resp.Body)
		assert.NoError(t, err)
		assert.Equal(t, "body of a 200", string(data))
		assert.Len(t, script.seen, 2)
		assert.ErrorIs(t, causes[0], ErrBodyIdleTimeout)
	})
}

func TestResumeMaxHealsASilentBody(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		client, script := scripted(
			func(req *http.Request) (*http.Response, error) { return silent(req, "12345"), nil },
			func(req *http.Request) (*http.Response, error) {
				resp := respond(req, 206, "67890", "Etag", `"v1"`, "Content-Range", "bytes 5-9/10")
				resp.ContentLength = 5
				return resp, nil
			})
		client.BodyIdleTimeout, client.ResumeMax = time.Second, 1
		resp, err := client.Get("http://host/")
		require.NoError(t, err)
		data, err := io.ReadAll(resp.Body)
		assert.NoError(t, err)
		assert.Equal(t, "1234567890", string(data))
		assert.Len(t, script.seen, 2)
		resp.Body.Close()
	})
}

// A server that takes nothing more of a request body fails the attempt, whatever the body
// is. Once it has responded it may have reason not to.
func TestRequestBodyThatTheServerStopsTakingIsCut(t *testing.T) {
	file := tempFile(t, strings.Repeat("x", 16<<20))
	for name, body := range map[string]func() any{
		"in memory": func() any { return make([]byte, 16<<20) },
		"file":      func() any { return file },
		"stream":    func() any { return io.LimitReader(allZero, 16<<20) },
		"function": func() any {
			return ReaderFunc(func() (io.Reader, error) { return io.LimitReader(allZero, 16<<20), nil })
		},
	} {
		t.Run(name, func(t *testing.T) {
			release := make(chan struct{})
			addr := listenRaw(t, func(conn net.Conn, _ int) {
				_, _ = conn.Read(make([]byte, 1024)) // and no more
				<-release
			})
			defer close(release)
			client := NewClient()
			client.RetryMax, client.BodyIdleTimeout = 0, 200*time.Millisecond
			began := time.Now()
			ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
			defer cancel()
			req, err := NewRequestWithContext(ctx, "POST", "http://"+addr, body())
			require.NoError(t, err)
			_, err = client.Do(req)
			assert.ErrorIs(t, err, ErrBodyIdleTimeout)
			assert.Less(t, time.Since(began), 10*time.Second)
			client.CloseIdleConnections()
		})
	}
	_ = os.Remove(file.Name())
}

func TestSlowSourceIsNotTheServersSilence(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		client, script := scripted(status(200))
		client.BodyIdleTimeout = time.Second
		source := newSlowBody(5*time.Second, 3)
		resp, err := client.Post("http://host/", "text/plain", struct{ io.Reader }{source})
		require.NoError(t, err)
		assert.Equal(t, 200, resp.StatusCode)
		assert.Equal(t, []string{"xxx"}, script.bodies)
	})
}

func TestBodyIdleTimeoutEndsWithTheBody(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		client, _ := scripted(status(200))
		client.BodyIdleTimeout = time.Second
		resp, err := client.Get("http://host/")
		require.NoError(t, err)
		_, err = io.ReadAll(resp.Body)
		require.NoError(t, err)
		time.Sleep(time.Hour)
		_, err = resp.Body.Read(make([]byte, 1))
		assert.Equal(t, io.EOF, err)
		assert.False(t, errors.Is(resp.Request.Context().Err(), ErrBodyIdleTimeout))
	})
}
