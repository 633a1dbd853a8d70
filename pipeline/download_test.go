package pipeline_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"math"
	"net/http"
	"net/http/httptest"
	"os"
	"runtime"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"testing/iotest"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/a0b132ce/retryablehttp/pipeline"
)

// bodyOf returns a RoundTripper whose responses have the given body.
func bodyOf(status int, length int64, body func() io.ReadCloser) http.RoundTripper {
	return roundTripper(func(r *http.Request) (*http.Response, error) {
		return &http.Response{StatusCode: status, Header: http.Header{}, Body: body(), ContentLength: length, Request: r}, nil
	})
}

func TestBodyDownloadReadsUpToItsLimit(t *testing.T) {
	const mib = 1 << 20
	for _, c := range []struct {
		name      string
		limit     int64
		size      int
		announced bool
		buffered  bool
	}{
		{"empty, length unknown", 0, 0, false, true},
		{"small", 0, 3, true, true},
		{"small, length unknown", 0, 3, false, true},
		{"more than the first read, length unknown", 0, 5000, false, true},
		{"more than 64 KiB", 0, 100_000, true, true},
		{"at the default limit", 0, 4 * mib, true, true},
		{"at the default limit, length unknown", 0, 4 * mib, false, true},
		{"above the default limit", 0, 4*mib + 1, true, false},
		{"above the default limit, length unknown", 0, 4*mib + 1, false, false},
		{"at the limit", 10, 10, true, true},
		{"at the limit, length unknown", 10, 10, false, true},
		{"above the limit", 10, 11, true, false},
		{"above the limit, length unknown", 10, 11, false, false},
		{"far above the limit, length unknown", 10, 5000, false, false},
		{"largest limit", math.MaxInt64, 5000, false, true},
		{"off", -1, 3, true, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			want := bytes.Repeat([]byte("x"), c.size)
			length := int64(-1)
			if c.announced {
				length = int64(c.size)
			}
			for how, wrap := range map[string]func(io.Reader) io.Reader{
				"whole":      func(r io.Reader) io.Reader { return r },
				"end early":  iotest.DataErrReader,
				"in halves":  iotest.HalfReader,
				"no WriteTo": func(r io.Reader) io.Reader { return struct{ io.Reader }{r} },
			} {
				t.Run(how, func(t *testing.T) {
					var body *trackedBody
					rt := bodyOf(200, length, func() io.ReadCloser {
						body = &trackedBody{ReadCloser: io.NopCloser(wrap(bytes.NewReader(want)))}
						return body
					})
					resp, err := over(rt, fast(), pipeline.BodyDownload{Limit: c.limit}).Do(newRequest(t, "GET", "http://h/"))
					require.NoError(t, err)
					assert.Equal(t, c.buffered, body.ended && body.closed)
					if !c.buffered {
						assert.False(t, body.closed)
						assert.Equal(t, !c.announced, body.read, "the length tells before")
					} else {
						data, err := pipeline.Payload(resp)
						require.NoError(t, err)
						again, err := pipeline.Payload(resp)
						require.NoError(t, err)
						assert.True(t, bytes.Equal(want, data) && bytes.Equal(want, again))
						if c.announced {
							assert.LessOrEqual(t, cap(data), c.size+1)
						} else {
							assert.LessOrEqual(t, cap(data), max(512, 2*c.size))
						}
					}
					got, err := io.ReadAll(resp.Body)
					require.NoError(t, err)
					assert.True(t, bytes.Equal(want, got))
					require.NoError(t, resp.Body.Close())
					assert.True(t, body.closed)
				})
			}
		})
	}
}

// A body that is not read, but passed on.
func TestBodyDownloadLeavesAlone(t *testing.T) {
	for _, c := range []struct {
		name, method string
		status       int
		options      []pipeline.CallOption
		read         bool
	}{
		{"GET", "GET", 200, nil, true},
		{"HEAD", "HEAD", 200, nil, false},
		{"CONNECT", "CONNECT", 200, nil, false},
		{"101", "GET", 101, nil, false},
		{"204", "GET", 204, nil, false},
		{"304", "GET", 304, nil, false},
		{"Stream", "GET", 200, []pipeline.CallOption{pipeline.Stream()}, false},
		{"Stream 399", "GET", 399, []pipeline.CallOption{pipeline.Stream()}, false},
		{"Stream 400", "GET", 400, []pipeline.CallOption{pipeline.Stream()}, true},
		{"Stream 503", "GET", 503, []pipeline.CallOption{pipeline.Stream()}, true},
		{"Stream HEAD 503", "HEAD", 503, []pipeline.CallOption{pipeline.Stream()}, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			body := &trackedBody{ReadCloser: io.NopCloser(strings.NewReader("abc"))}
			client := transporter(bodyOf(c.status, 3, func() io.ReadCloser { return body }).RoundTrip) // an http.Client removes that of HEAD
			resp, err := pipeline.New(client, pipeline.BodyDownload{}).Do(newRequest(t, c.method, "http://h/", c.options...))
			require.NoError(t, err)
			assert.Equal(t, c.read, body.ended)
			assert.Equal(t, c.read, body.closed)
			if !c.read {
				assert.Same(t, body, resp.Body)
			}
		})
	}
	resp, err := over(bodyOf(200, 0, func() io.ReadCloser { return http.NoBody }), pipeline.BodyDownload{}).Do(newRequest(t, "GET", "http://h/"))
	require.NoError(t, err)
	assert.Equal(t, http.NoBody, resp.Body)
}

// A transport may leave ContentLength 0 although there is a body.
func TestBodyDownloadOfALengthThatIsNotSet(t *testing.T) {
	rt := bodyOf(200, 0, func() io.ReadCloser { return io.NopCloser(strings.NewReader("abc")) })
	resp, err := over(rt, pipeline.BodyDownload{}).Do(newRequest(t, "GET", "http://h/"))
	require.NoError(t, err)
	assert.Equal(t, "abc", text(t, resp))
}

func TestBodyDownloadErrors(t *testing.T) {
	broken := errors.New("connection lost")
	for _, c := range []struct {
		name   string
		length int64
		body   func() io.Reader
		close  error
		want   error
	}{
		{"read error", -1, func() io.Reader { return iotest.ErrReader(broken) }, nil, broken},
		{"read error after some", 100, func() io.Reader {
			return io.MultiReader(strings.NewReader("abc"), iotest.ErrReader(broken))
		}, nil, broken},
		{"end before the announced length", 4, func() io.Reader { return strings.NewReader("abc") }, nil, io.ErrUnexpectedEOF},
		{"close error", 3, func() io.Reader { return strings.NewReader("abc") }, broken, broken},
	} {
		t.Run(c.name, func(t *testing.T) {
			for method, tries := range map[string]int{"GET": 4, "POST": 1} {
				var opened, closed int
				rt := bodyOf(200, c.length, func() io.ReadCloser {
					opened++
					return closeWith{c.body(), func() error { closed++; return c.close }}
				})
				resp, err := over(rt, fast(), pipeline.BodyDownload{}).Do(newRequest(t, method, "http://h/"))
				require.ErrorIs(t, err, c.want)
				assert.ErrorContains(t, err, "pipeline: reading the response body: ")
				assert.Nil(t, resp)
				assert.Equal(t, tries, opened, method)
				assert.Equal(t, tries, closed)
			}
		})
	}
}

type closeWith struct {
	io.Reader
	close func() error
}

func (c closeWith) Close() error { return c.close() }

// The server cuts the first response off.
func TestTruncatedBodyIsAFailedTry(t *testing.T) {
	for _, c := range []struct {
		method string
		key    bool
		limit  int64
		tries  int32
		fails  bool
	}{
		{"GET", false, 0, 2, false},
		{"PUT", false, 0, 2, false},
		{"POST", false, 0, 1, true},
		{"POST", true, 0, 2, false},
		{"GET", false, -1, 1, true}, // the caller sees it while reading
	} {
		t.Run(fmt.Sprint(c), func(t *testing.T) {
			var tries atomic.Int32
			server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				w.Header().Set("Content-Length", "6")
				w.Write([]byte("abc"))
				w.(http.Flusher).Flush()
				if tries.Add(1) == 1 {
					panic(http.ErrAbortHandler)
				}
				w.Write([]byte("def"))
			}))
			defer server.Close()
			req := newRequest(t, c.method, server.URL)
			if c.key {
				withKey(req)
			}
			resp, err := pipeline.New(server.Client(), fast(), pipeline.BodyDownload{Limit: c.limit}).Do(req)
			if err == nil {
				var data []byte
				data, err = pipeline.Payload(resp)
				assert.Equal(t, !c.fails, string(data) == "abcdef")
			}
			assert.Equal(t, c.fails, err != nil)
			if c.fails {
				assert.ErrorIs(t, err, io.ErrUnexpectedEOF)
			}
			assert.Equal(t, c.tries, tries.Load())
		})
	}
}

func TestTrailersOfADownloadedBody(t *testing.T) {
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Trailer", "X-Sum")
		io.WriteString(w, strings.Repeat("abc", 10_000))
		w.Header().Set("X-Sum", "42")
	}))
	defer server.Close()
	for _, limit := range []int64{0, 10} { // buffered and streamed
		resp, err := pipeline.New(server.Client(), fast(), pipeline.BodyDownload{Limit: limit}).Do(newRequest(t, "GET", server.URL))
		require.NoError(t, err)
		if limit == 0 {
			assert.Equal(t, "42", resp.Trailer.Get("X-Sum"))
		}
		assert.Len(t, text(t, resp), 30_000)
		assert.Equal(t, "42", resp.Trailer.Get("X-Sum"))
	}
}

// A caller that goes away while the body comes gets the error of its context.
func TestBodyDownloadIsCanceled(t *testing.T) {
	begun, done := make(chan struct{}), make(chan struct{})
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		io.WriteString(w, "abc")
		w.(http.Flusher).Flush()
		close(begun)
		<-done
	}))
	defer server.Close()
	defer close(done)
	ctx, cancel := context.WithCancel(context.Background())
	go func() { <-begun; cancel() }()
	_, err := pipeline.New(server.Client(), fast(), pipeline.BodyDownload{}).Do(newRequest(t, "GET", server.URL).Clone(ctx))
	assert.ErrorIs(t, err, context.Canceled)
}

// What is announced and does not come costs no memory.
func TestBodyDownloadDoesNotTrustTheLength(t *testing.T) {
	const limit = 1 << 40
	rt := bodyOf(200, limit, func() io.ReadCloser { return io.NopCloser(strings.NewReader("abc")) })
	pl := over(rt, pipeline.BodyDownload{Limit: limit})
	before := totalAlloc()
	_, err := pl.Do(newRequest(t, "GET", "http://h/"))
	require.ErrorIs(t, err, io.ErrUnexpectedEOF)
	assert.Less(t, totalAlloc()-before, uint64(1<<20))
}

func totalAlloc() uint64 {
	var stats runtime.MemStats
	runtime.ReadMemStats(&stats)
	return stats.TotalAlloc
}

func TestLargeDownloadsAreStreamed(t *testing.T) {
	const size = 256 << 20
	block := make([]byte, 64<<10)
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/announced" {
			w.Header().Set("Content-Length", strconv.Itoa(size))
		}
		for range size / len(block) {
			w.Write(block)
		}
	}))
	defer server.Close()
	pl := pipeline.New(server.Client(), fast(), pipeline.BodyDownload{})
	for _, path := range []string{"/announced", "/unknown"} {
		for name, options := range map[string][]pipeline.CallOption{"as it is": nil, "Stream": {pipeline.Stream()}} {
			t.Run(path+" "+name, func(t *testing.T) {
				before := totalAlloc()
				resp, err := pl.Do(newRequest(t, "GET", server.URL+path, options...))
				require.NoError(t, err)
				n, err := io.Copy(struct{ io.Writer }{io.Discard}, resp.Body)
				require.NoError(t, err)
				require.NoError(t, resp.Body.Close())
				assert.EqualValues(t, size, n)
				allowed := uint64(1 << 20)
				if path == "/unknown" && options == nil {
					allowed += 3 * 4 << 20 // up to the limit, in buffers of twice the size each
				}
				assert.Less(t, totalAlloc()-before, allowed, "bytes allocated for all of it")
			})
		}
	}
}

// A small body of known length costs its buffer and what Payload returns it from.
func TestBodyDownloadCostsTwoAllocations(t *testing.T) {
	body := &rereadable{}
	pl := func(policies ...pipeline.Policy) pipeline.Pipeline {
		return pipeline.New(transporter(bodyOf(200, 3, func() io.ReadCloser { body.Reset("abc"); return body }).RoundTrip), policies...)
	}
	cost := func(pl pipeline.Pipeline) float64 {
		return testing.AllocsPerRun(100, func() {
			resp, err := pl.Do(newRequest(t, "GET", "http://h/"))
			assert.NoError(t, err)
			resp.Body.Close()
		})
	}
	assert.Equal(t, 2.0, cost(pl(pipeline.BodyDownload{}))-cost(pl()))
	assert.Equal(t, 0.0, cost(pl(pipeline.BodyDownload{Limit: -1}))-cost(pl()))
}

type rereadable struct{ strings.Reader }

func (*rereadable) Close() error { return nil }

func ExampleStream() {
	server := roundTripper(func(r *http.Request) (*http.Response, error) {
		return &http.Response{StatusCode: http.StatusOK, Body: io.NopCloser(strings.NewReader("a large file")), Request: r}, nil
	})
	pl := pipeline.New(&http.Client{Transport: server}, pipeline.Retry{}, pipeline.BodyDownload{})
	req, err := pipeline.NewRequest(context.Background(), http.MethodGet, "http://example.com/file", pipeline.Stream())
	if err != nil {
		fmt.Println(err)
		return
	}
	resp, err := pl.Do(req)
	if err != nil {
		fmt.Println(err)
		return
	}
	defer resp.Body.Close()
	io.Copy(os.Stdout, resp.Body)
	// Output: a large file
}
