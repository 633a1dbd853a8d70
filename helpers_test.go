package retryablehttp

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"testing/iotest"
	"time"

	"github.com/stretchr/testify/require"
)

const content = "the quick brown fox jumps over the lazy dog"

// ways are the ways to send a request of net/http.
var ways = map[string]func(*Client, *http.Request) (*http.Response, error){
	"Do": func(c *Client, r *http.Request) (*http.Response, error) {
		req, err := FromRequest(r)
		if err != nil {
			return nil, err
		}
		return c.Do(req)
	},
	"RoundTripper": func(c *Client, r *http.Request) (*http.Response, error) {
		return (&RoundTripper{Client: c}).RoundTrip(r)
	},
	"StandardClient": func(c *Client, r *http.Request) (*http.Response, error) {
		return c.StandardClient().Do(r)
	},
}

// sends are the ways, with the response read and closed.
var sends = each(ways, func(way func(*Client, *http.Request) (*http.Response, error)) func(*Client, *http.Request) error {
	return func(c *Client, r *http.Request) error {
		resp, err := way(c, r)
		if err != nil {
			return err
		}
		io.Copy(io.Discard, resp.Body)
		return resp.Body.Close()
	}
})

// gets are the ways to send a GET with a context.
var gets = each(ways, func(way func(*Client, *http.Request) (*http.Response, error)) func(context.Context, *Client) (*http.Response, error) {
	return func(ctx context.Context, c *Client) (*http.Response, error) {
		req, err := http.NewRequestWithContext(ctx, "GET", "http://host/", nil)
		if err != nil {
			return nil, err
		}
		return way(c, req)
	}
})

// posts are the ways to send content by POST.
var posts = each(ways, func(way func(*Client, *http.Request) (*http.Response, error)) func(*Client, string, http.Header) (*http.Response, error) {
	return func(c *Client, target string, header http.Header) (*http.Response, error) {
		req, err := http.NewRequest("POST", target, strings.NewReader(content))
		if err != nil {
			return nil, err
		}
		req.Header = header
		return way(c, req)
	}
})

// streamings are the ways to send a body of which only a reader is given, with a length
// that is 0 if it is unknown.
var streamings = map[string]func(ctx context.Context, c *Client, target string, length int64, body io.Reader) (*http.Response, error){
	"NewRequest": func(ctx context.Context, c *Client, target string, _ int64, body io.Reader) (*http.Response, error) {
		req, err := NewRequestWithContext(ctx, "POST", target, body)
		if err != nil {
			return nil, err
		}
		return c.Do(req)
	},
	"FromRequest":  streaming("Do"),
	"RoundTripper": streaming("RoundTripper"),
}

func streaming(way string) func(ctx context.Context, c *Client, target string, length int64, body io.Reader) (*http.Response, error) {
	return func(ctx context.Context, c *Client, target string, length int64, body io.Reader) (*http.Response, error) {
		req, err := http.NewRequestWithContext(ctx, "POST", target, body)
		if err != nil {
			return nil, err
		}
		req.ContentLength = length
		return ways[way](c, req)
	}
}

// each returns a map of what f makes of the values.
func each[A, B any](m map[string]A, f func(A) B) map[string]B {
	result := make(map[string]B, len(m))
	for name, value := range m {
		result[name] = f(value)
	}
	return result
}

// roundTripFunc is a transport made of a function.
type roundTripFunc func(*http.Request) (*http.Response, error)

func (f roundTripFunc) RoundTrip(req *http.Request) (*http.Response, error) { return f(req) }

// respond makes a response as a transport would.
func respond(req *http.Request, status int, body string, header ...string) *http.Response {
	resp := &http.Response{
		StatusCode: status,
		Status:     fmt.Sprintf("%d %s", status, http.StatusText(status)),
		Header:     http.Header{},
		Body:       io.NopCloser(strings.NewReader(body)),
		Request:    req,
	}
	for i := 0; i+1 < len(header); i += 2 {
		resp.Header.Set(header[i], header[i+1])
	}
	return resp
}

// script responds to the attempts of a call one after the other; the last step repeats.
type script struct {
	steps  []func(*http.Request) (*http.Response, error)
	seen   []*http.Request
	bodies []string // of those that have one
}

func (s *script) RoundTrip(req *http.Request) (*http.Response, error) {
	step := s.steps[min(len(s.seen), len(s.steps)-1)]
	s.seen = append(s.seen, req)
	if req.Body != nil {
		data, _ := io.ReadAll(req.Body)
		s.bodies = append(s.bodies, string(data))
		req.Body.Close()
	}
	return step(req)
}

func status(code int, header ...string) func(*http.Request) (*http.Response, error) {
	return func(req *http.Request) (*http.Response, error) {
		return respond(req, code, "body of a "+strconv.Itoa(code), header...), nil
	}
}

func failure(err error) func(*http.Request) (*http.Response, error) {
	return func(*http.Request) (*http.Response, error) { return nil, err }
}

var errLost = errors.New("connection lost")

// scripted is a client without waits whose attempts come to the given steps.
func scripted(steps ...func(*http.Request) (*http.Response, error)) (*Client, *script) {
	s := &script{steps: steps}
	return &Client{RetryMax: 4, Backoff: noWait, HTTPClient: &http.Client{Transport: s}}, s
}

// slowBody gives its bytes one at a time, every interval, until it is closed or the
// request of its response is over.
type slowBody struct {
	ctx      context.Context
	interval time.Duration
	left     int
	closed   chan struct{}
	closes   atomic.Int32
}

func newSlowBody(interval time.Duration, n int) *slowBody {
	return &slowBody{ctx: context.Background(), interval: interval, left: n, closed: make(chan struct{})}
}

func (b *slowBody) Read(p []byte) (int, error) {
	if b.left == 0 {
		return 0, io.EOF
	}
	timer := time.NewTimer(b.interval)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-b.closed:
		return 0, errors.New("read on closed body")
	case <-b.ctx.Done():
		return 0, b.ctx.Err()
	}
	b.left--
	p[0] = 'x'
	return 1, nil
}

func (b *slowBody) Close() error {
	if b.closes.Add(1) == 1 {
		close(b.closed)
	}
	return nil
}

func slow(body *slowBody) func(*http.Request) (*http.Response, error) {
	return func(req *http.Request) (*http.Response, error) {
		resp := respond(req, 503, "")
		body.ctx = req.Context()
		resp.Body = body
		return resp, nil
	}
}

type countingBody struct {
	io.Reader
	mu   sync.Mutex
	read int
}

func (b *countingBody) Read(p []byte) (int, error) {
	n, err := b.Reader.Read(p)
	b.mu.Lock()
	defer b.mu.Unlock()
	b.read += n
	return n, err
}

func (b *countingBody) Close() error { return nil }

type stuckBody struct{ release chan struct{} }

func (b stuckBody) Read([]byte) (int, error) { <-b.release; return 0, io.EOF }

func (b stuckBody) Close() error { <-b.release; return nil }

// Readers of each kind the table of bodies knows, stripped of what other kinds go by.
type (
	plainReader struct{ io.Reader }
	plainSeeker struct{ io.ReadSeeker }
)

// closeCounter counts how often it is closed.
type closeCounter struct {
	io.Reader
	closed int
}

func (c *closeCounter) Close() error {
	c.closed++
	return nil
}

func advanced[S io.ReadSeeker](t testing.TB, s S, by int64) S {
	_, err := s.Seek(by, io.SeekStart)
	require.NoError(t, err)
	return s
}

func tempFile(t testing.TB, data string) *os.File {
	name := filepath.Join(t.TempDir(), "body")
	require.NoError(t, os.WriteFile(name, []byte(data), 0o600))
	file, err := os.Open(name)
	require.NoError(t, err)
	t.Cleanup(func() { file.Close() })
	return file
}

// bodyKinds gives each kind of raw body, holding content.
func bodyKinds(t testing.TB) map[string]any {
	half := int64(len("skip"))
	partlyRead := bytes.NewBufferString("skip" + content)
	partlyRead.Next(int(half))
	fn := func() (io.Reader, error) { return strings.NewReader(content), nil }
	return map[string]any{
		"[]byte":                      []byte(content),
		"string":                      content,
		"*bytes.Buffer":               bytes.NewBufferString(content),
		"*bytes.Buffer, partly read":  partlyRead,
		"*bytes.Reader":               bytes.NewReader([]byte(content)),
		"*bytes.Reader at an offset":  advanced(t, bytes.NewReader([]byte("skip"+content)), half),
		"*strings.Reader":             strings.NewReader(content),
		"*strings.Reader at offset":   advanced(t, strings.NewReader("skip"+content), half),
		"*os.File":                    tempFile(t, content),
		"*os.File at an offset":       advanced(t, tempFile(t, "skip"+content), half),
		"*io.SectionReader":           io.NewSectionReader(strings.NewReader("ab"+content+"cd"), 2, int64(len(content))),
		"*io.SectionReader at offset": advanced(t, io.NewSectionReader(strings.NewReader("ab"+content+"cd"), 0, int64(len(content))+2), 2),
		"io.ReadSeeker":               plainSeeker{strings.NewReader(content)},
		"io.ReadSeeker at an offset":  plainSeeker{advanced(t, strings.NewReader("skip"+content), half)},
		"ReaderFunc":                  ReaderFunc(fn),
		"func() (io.Reader, error)":   fn,
		"ReaderFunc without a length": ReaderFunc(func() (io.Reader, error) { return plainReader{strings.NewReader(content)}, nil }),
		"ReaderFunc of files":         ReaderFunc(func() (io.Reader, error) { return tempFile(t, content), nil }),
		"io.Reader":                   plainReader{strings.NewReader(content)},
		"io.Reader byte by byte":      plainReader{iotest.OneByteReader(strings.NewReader(content))},
	}
}

func noWait(_, _ time.Duration, _ int, _ *http.Response) time.Duration { return 0 }

// onceSource is a one-shot body that counts what is done to it.
type onceSource struct {
	io.Reader
	read   int
	closes int
}

func newOnceSource(data string) *onceSource {
	return &onceSource{Reader: plainReader{strings.NewReader(data)}}
}

func (s *onceSource) Read(p []byte) (int, error) {
	n, err := s.Reader.Read(p)
	s.read += n
	return n, err
}

func (s *onceSource) Close() error {
	s.closes++
	return nil
}

// through hides the type of the transport below.
func through(rt http.RoundTripper) http.RoundTripper {
	return roundTripFunc(func(req *http.Request) (*http.Response, error) {
		return rt.RoundTrip(req.Clone(req.Context()))
	})
}

// nest puts one client into the transport of another, in several ways.
var nestings = map[string]func(outer, inner *Client){
	"StandardClient": func(outer, inner *Client) { outer.HTTPClient = inner.StandardClient() },
	"RoundTripper": func(outer, inner *Client) {
		outer.HTTPClient = &http.Client{Transport: &RoundTripper{Client: inner}}
	},
	"behind a middleware": func(outer, inner *Client) {
		outer.HTTPClient = &http.Client{Transport: through(&RoundTripper{Client: inner})}
	},
	"behind a middleware, by Do": func(outer, inner *Client) {
		outer.HTTPClient = &http.Client{Transport: roundTripFunc(func(req *http.Request) (*http.Response, error) {
			wrapped, err := FromRequest(req.Clone(req.Context()))
			if err != nil {
				return nil, err
			}
			return inner.Do(wrapped)
		})}
	},
}

func mustRequest(t testing.TB, target string) *http.Request {
	req, err := http.NewRequest("GET", target, nil)
	require.NoError(t, err)
	return req
}

// still is a transport that allocates nothing of its own.
func still(status int) http.RoundTripper {
	resp := &http.Response{StatusCode: status, Status: "as is", Header: http.Header{}, Body: http.NoBody}
	return roundTripFunc(func(req *http.Request) (*http.Response, error) {
		if req.Body != nil {
			req.Body.Close()
		}
		resp.Request = req
		return resp, nil
	})
}

// registered returns net/http's own transport with rt behind it.
func registered(rt http.RoundTripper) http.RoundTripper {
	t := &http.Transport{}
	t.RegisterProtocol("http", rt)
	return t
}

type readFunc func([]byte) (int, error)

func (f readFunc) Read(p []byte) (int, error) { return f(p) }

func redirect(code int, to string) func(*http.Request) (*http.Response, error) {
	return status(code, "Location", to)
}

// second returns the error of a call whose response is of no interest.
func second(_ *http.Response, err error) error { return err }

// connReset and connRefused are the errors of the operating system. On Windows those of
// package syscall are others.
var (
	connReset   = systemError(syscall.ECONNRESET, 10054)
	connRefused = systemError(syscall.ECONNREFUSED, 10061)
)

func systemError(unix, windows syscall.Errno) error {
	if runtime.GOOS == "windows" {
		return windows
	}
	return unix
}
