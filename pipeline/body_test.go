package pipeline_test

import (
	"bytes"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/a0b132ce/retryablehttp/pipeline"
)

func TestP08SetBody(t *testing.T) {
	server := serve(step{status: 200})
	pl := over(server)
	for _, c := range []struct {
		name   string
		set    func(*pipeline.Request) error
		body   string
		length int64
		ctype  string
	}{
		{"body and type", func(r *pipeline.Request) error { return r.SetBody(counted("stuff"), "a/b") }, "stuff", 5, "a/b"},
		{"empty body", func(r *pipeline.Request) error { return r.SetBody(counted(""), "a/b") }, "", 0, "a/b"},
		{"nil body", func(r *pipeline.Request) error { return r.SetBody(nil, "") }, "", 0, ""},
		{"body replaced by nil", func(r *pipeline.Request) error {
			return errors.Join(r.SetBody(counted("stuff"), "a/b"), r.SetBody(nil, "c/d"))
		}, "", 0, "c/d"},
		{"JSON", func(r *pipeline.Request) error { return r.SetJSON(map[string]int{"n": 1}) }, `{"n":1}`, 7, "application/json"},
		{"JSON with a type that is set already", func(r *pipeline.Request) error {
			r.Raw().Header.Set("Content-Type", "application/merge-patch+json")
			return r.SetJSON(1)
		}, `1`, 1, "application/merge-patch+json"},
		{"XML", func(r *pipeline.Request) error {
			r.Raw().Header.Set("Content-Type", "text/plain")
			return r.SetXML(struct {
				XMLName struct{} `xml:"a"`
				B       int      `xml:"b"`
			}{B: 1})
		}, `<?xml version="1.0" encoding="UTF-8"?>` + "\n<a><b>1</b></a>", 54, "application/xml"},
		{"bytes", func(r *pipeline.Request) error { return r.SetBytes([]byte("x"), "a/b") }, "x", 1, "a/b"},
	} {
		t.Run(c.name, func(t *testing.T) {
			req := newRequest(t, "PUT", "http://h/")
			require.NoError(t, c.set(req))
			_, err := pl.Do(req)
			require.NoError(t, err)
			got := server.seen[len(server.seen)-1]
			assert.Equal(t, c.body, got.body)
			assert.Equal(t, c.length, got.length)
			assert.Equal(t, c.ctype, got.header.Get("Content-Type"))
			assert.Equal(t, c.body == "", req.Body() == nil)
		})
	}
	req := newRequest(t, "PUT", "http://h/")
	assert.Error(t, req.SetJSON(func() {}))
	assert.Error(t, req.SetXML(func() {}))
	dir, err := os.Open(t.TempDir())
	require.NoError(t, err)
	defer dir.Close()
	assert.ErrorContains(t, req.SetBody(dir, ""), "directory")
	assert.NoError(t, req.RewindBody())
}

func TestBodyReadsTheWholeBodyBesideWhatIsSent(t *testing.T) {
	for name, body := range map[string]io.ReadSeekCloser{
		"ReaderAt":  counted("stuff"),
		"seek only": seekOnly{counted("stuff")},
		"in memory": pipeline.NopCloser(strings.NewReader("stuff")),
	} {
		t.Run(name, func(t *testing.T) {
			sign := pipeline.PolicyFunc(func(req *pipeline.Request) (*http.Response, error) {
				for range 2 {
					all, err := io.ReadAll(req.Body())
					assert.NoError(t, err)
					assert.Equal(t, "stuff", string(all))
				}
				resp, err := req.Next() // sends it
				assert.NoError(t, err)
				resp.Body.Close()
				assert.NoError(t, req.RewindBody())
				return req.Next()
			})
			server := serve(step{status: 503}, step{status: 200})
			req := newRequest(t, "PUT", "http://h/")
			require.NoError(t, req.SetBody(body, ""))
			_, err := over(server, fast(), sign).Do(req)
			require.NoError(t, err)
			assert.Equal(t, 2, server.tries())
			for _, got := range server.seen {
				assert.Equal(t, "stuff", got.body)
			}
		})
	}
	raw, err := http.NewRequest("PUT", "http://h/", io.NopCloser(io.MultiReader(strings.NewReader("once"))))
	require.NoError(t, err)
	req, err := pipeline.FromRequest(raw)
	require.NoError(t, err)
	assert.Nil(t, req.Body())
	assert.ErrorContains(t, req.RewindBody(), "only once")
}

func TestBodyIsClosedOnceWhenNobodyReadsIt(t *testing.T) {
	body := counted("stuff")
	reading, finish := make(chan struct{}), make(chan struct{})
	var late io.ReadCloser
	early := roundTripper(func(r *http.Request) (*http.Response, error) {
		late = r.Body
		_, err := late.Read(make([]byte, 1))
		assert.NoError(t, err)
		close(reading)
		return &http.Response{StatusCode: 200, Request: r}, nil // the upload goes on
	})
	go func() { <-reading; close(finish) }()
	req := newRequest(t, "PUT", "http://h/")
	require.NoError(t, req.SetBody(body, ""))
	_, err := over(early).Do(req)
	require.NoError(t, err)
	<-finish
	assert.Zero(t, body.closed(), "the transport still reads it")
	rest, err := io.ReadAll(late)
	require.NoError(t, err)
	assert.Equal(t, "tuff", string(rest))
	require.NoError(t, late.Close())
	require.NoError(t, late.Close())
	assert.Equal(t, 1, body.closed())
	_, err = late.Read(make([]byte, 1))
	assert.ErrorIs(t, err, http.ErrBodyReadAfterClose)
	unread := req.Body()
	_, err = unread.Read(make([]byte, 1))
	assert.ErrorContains(t, err, "after the call")
	assert.Equal(t, 1, body.closed())
}

func TestBodyOfAReplacedRequestIsClosed(t *testing.T) {
	first, second := counted("1"), counted("2")
	req := newRequest(t, "PUT", "http://h/")
	require.NoError(t, req.SetBody(first, ""))
	require.NoError(t, req.SetBody(second, ""))
	_, err := over(serve(step{status: 200})).Do(req)
	require.NoError(t, err)
	assert.Equal(t, []int{1, 1}, []int{first.closed(), second.closed()})
}

func file(t *testing.T, content string) *os.File {
	path := filepath.Join(t.TempDir(), "body.json")
	require.NoError(t, os.WriteFile(path, []byte(content), 0o600))
	f, err := os.Open(path)
	require.NoError(t, err)
	return f
}

func TestB2FileIsSentAgainAfterRedirectsAndRetries(t *testing.T) {
	const content = `{"n": 1}`
	var target string
	handler := func(steps *atomic.Int32, statuses ...int) http.HandlerFunc {
		return func(w http.ResponseWriter, r *http.Request) {
			body, err := io.ReadAll(r.Body)
			assert.NoError(t, err)
			assert.Equal(t, content, string(body))
			if status := statuses[steps.Add(1)-1]; status == 307 {
				http.Redirect(w, r, target, status)
			} else {
				w.WriteHeader(status)
			}
		}
	}
	var atHome, elsewhere atomic.Int32
	second := httptest.NewServer(handler(&elsewhere, 503, 200))
	defer second.Close()
	target = second.URL
	first := httptest.NewServer(handler(&atHome, 307, 307))
	defer first.Close()
	f := file(t, content)
	req := newRequest(t, "PUT", first.URL)
	require.NoError(t, req.SetBody(f, "application/json"))
	resp, err := pipeline.New(first.Client(), fast()).Do(req)
	require.NoError(t, err)
	resp.Body.Close()
	assert.Equal(t, 200, resp.StatusCode)
	assert.Equal(t, []int32{2, 2}, []int32{atHome.Load(), elsewhere.Load()})
	assert.ErrorIs(t, f.Close(), os.ErrClosed)
}

// A server that refuses while the body is still being sent must not get a mix of two tries.
func TestB3EarlyAnswerDuringALargeUpload(t *testing.T) {
	content := bytes.Repeat([]byte("0123456789abcdef"), 16<<20/16)
	for name, newBody := range map[string]func() io.ReadSeekCloser{
		"ReaderAt":  func() io.ReadSeekCloser { return &closeCounter{Reader: bytes.NewReader(content)} },
		"seek only": func() io.ReadSeekCloser { return seekOnly{&closeCounter{Reader: bytes.NewReader(content)}} },
	} {
		t.Run(name, func(t *testing.T) {
			for range 5 {
				var tries atomic.Int32
				server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
					if tries.Add(1) == 1 {
						io.CopyN(io.Discard, r.Body, 1<<20)
						w.WriteHeader(503)
						return
					}
					got, err := io.ReadAll(r.Body)
					assert.NoError(t, err)
					assert.True(t, bytes.Equal(content, got))
				}))
				req := newRequest(t, "PUT", server.URL)
				require.NoError(t, req.SetBody(newBody(), ""))
				resp, err := pipeline.New(server.Client(), fast()).Do(req)
				require.NoError(t, err)
				resp.Body.Close()
				assert.Equal(t, 200, resp.StatusCode)
				assert.Equal(t, int32(2), tries.Load())
				server.Close()
			}
		})
	}
}
