package retryablehttp

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"runtime"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// docs/spec.md, 2.20: net/http still uses every text by which nethttp.go recognizes an
// invalid request.
func TestTextsOfInvalidRequestsAreThoseOfNetHTTP(t *testing.T) {
	handler := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/redirect" {
			w.Header().Set("Location", "http://host/%zz")
			w.WriteHeader(302)
		}
		io.Copy(io.Discard, r.Body)
	})
	plain, h2 := httptest.NewServer(handler), httptest.NewUnstartedServer(handler)
	defer plain.Close()
	h2.EnableHTTP2 = true
	h2.Config.MaxHeaderBytes = 1 << 10
	h2.StartTLS()
	defer h2.Close()
	opaque := func(r *http.Request, length int64) {
		r.Body, r.GetBody, r.ContentLength = io.NopCloser(plainReader{strings.NewReader(content)}), nil, length
	}
	spoil := map[string]func(*http.Request){
		"unsupported protocol scheme":                                    func(r *http.Request) { r.URL.Scheme = "gopher" },
		"net/http: invalid method":                                       func(r *http.Request) { r.Method = "GE T" },
		"net/http: invalid header":                                       func(r *http.Request) { r.Header["Bad Name"] = nil },
		"net/http: invalid trailer":                                      func(r *http.Request) { r.Trailer = http.Header{"Bad Name": nil} },
		"net/http: can't write control character in Request.URL":         func(r *http.Request) { r.URL.RawQuery = "\n" },
		"invalid Trailer key":                                            func(r *http.Request) { opaque(r, -1); r.Trailer = http.Header{"Content-Length": nil} },
		"http: nil Request.":                                             func(r *http.Request) { r.Header = nil },
		"http: Request.RequestURI can't be set":                          func(r *http.Request) { r.RequestURI = "/" },
		"http: no Host in request URL":                                   func(r *http.Request) { r.URL.Host = "" },
		"http: Request.ContentLength=":                                   func(r *http.Request) { r.ContentLength = 7 },
		"http: ContentLength=":                                           func(r *http.Request) { opaque(r, 1000) }, // the server cannot respond before
		"failed to parse Location header":                                func(r *http.Request) { r.URL.Path = "/redirect" },
		"http2: invalid ":                                                func(r *http.Request) { r.Header.Set("Upgrade", "x") },
		"http2: request body larger than specified content length":       func(r *http.Request) { opaque(r, 3) },
		"http2: request header list larger than peer's advertised limit": func(r *http.Request) { r.Header.Set("X", strings.Repeat("x", 1<<20)) },
	}
	for _, text := range invalidRequestTexts {
		t.Run(text, func(t *testing.T) {
			require.Contains(t, spoil, text)
			server := plain
			if strings.HasPrefix(text, "http2: ") {
				server = h2
			}
			if server == h2 { // the server has told its limits by then
				resp, err := server.Client().Get(server.URL)
				require.NoError(t, err)
				resp.Body.Close()
			}
			send := func() error {
				req := mustRequest(t, server.URL)
				req.Method = "POST"
				spoil[text](req)
				var resp *http.Response
				var err error
				if text == "http: nil Request." { // http.Client adds what is missing
					resp, err = server.Client().Transport.RoundTrip(req)
				} else {
					resp, err = server.Client().Do(req)
				}
				if resp != nil {
					resp.Body.Close()
				}
				return err
			}
			err := send()
			// When net/http closes the connection over the request, its own read of the
			// connection rarely fails first.
			for tries := 1; tries < 5 && errors.Is(err, net.ErrClosed); tries++ {
				err = send()
			}
			require.Error(t, err)
			var texts []string
			for ; err != nil; err = unwrap(err) {
				texts = append(texts, err.Error())
			}
			assert.Condition(t, func() bool {
				for _, got := range texts {
					if strings.HasPrefix(got, text) {
						return true
					}
				}
				return false
			}, "%q", texts)
		})
	}
}

func unwrap(err error) error {
	if outer, ok := err.(interface{ Unwrap() error }); ok {
		return outer.Unwrap()
	}
	return nil
}

// docs/spec.md, 2.20: a proxy that responds to CONNECT with 403 or 407 is a permanent
// error, one that responds with 503 is not.
func TestProxyThatRefusesConnect(t *testing.T) {
	for status, attempts := range map[int]int{403: 1, 407: 1, 503: 3} {
		proxy := listenRaw(t, func(conn net.Conn, _ int) {
			if _, err := http.ReadRequest(bufio.NewReader(conn)); err == nil {
				fmt.Fprintf(conn, "HTTP/1.1 %d %s\r\nContent-Length: 0\r\n\r\n", status, http.StatusText(status))
			}
		})
		for way, send := range sends {
			made := 0
			client := &Client{RetryMax: 2, Backoff: noWait, OnAttempt: func(Attempt) { made++ }}
			client.HTTPClient = &http.Client{Transport: &http.Transport{Proxy: http.ProxyURL(&url.URL{Scheme: "http", Host: proxy})}}
			err := send(client, mustRequest(t, "https://host.invalid/"))
			assert.ErrorContains(t, err, http.StatusText(status), way)
			assert.Equal(t, attempts, made, "%d, %s", status, way)
		}
	}
}

// withoutNopCloser returns the reader that io.NopCloser was given.
func TestWithoutNopCloser(t *testing.T) {
	for _, reader := range []io.Reader{bytes.NewReader(nil), strings.NewReader(""), new(bytes.Buffer), plainReader{}, io.NewSectionReader(nil, 0, 0)} {
		assert.Equal(t, reader, withoutNopCloser(io.NopCloser(reader)))
		assert.Equal(t, reader, withoutNopCloser(reader))
	}
}

// sendfileConn records what net/http asks a connection to read from.
type sendfileConn struct {
	net.Conn
	from *[]io.Reader
}

func (c sendfileConn) ReadFrom(r io.Reader) (int64, error) {
	*c.from = append(*c.from, r)
	return io.Copy(struct{ io.Writer }{c.Conn}, r)
}

// docs/spec.md, 5.3: net/http gives the connection the file itself, which the connection
// sends by sendfile.
func TestFileIsSentBySendfile(t *testing.T) {
	var got []string
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		data, _ := io.ReadAll(r.Body)
		if got = append(got, string(data)); len(got)%2 == 1 {
			w.WriteHeader(503)
		}
	}))
	defer server.Close()
	data := strings.Repeat(content, 1000)
	for way, send := range map[string]func(*Client, *os.File) (*http.Response, error){
		"Post": func(c *Client, f *os.File) (*http.Response, error) { return c.Post(server.URL, "", f) },
		"Post of a function": func(c *Client, f *os.File) (*http.Response, error) {
			return c.Post(server.URL, "", func() (io.Reader, error) {
				again, err := os.Open(f.Name())
				if err == nil {
					_, err = again.Seek(4, io.SeekStart)
				}
				return again, err
			})
		},
		"StandardClient": func(c *Client, f *os.File) (*http.Response, error) {
			req, err := http.NewRequest("POST", server.URL, f)
			if err != nil {
				return nil, err
			}
			req.ContentLength = int64(len(data))
			return c.StandardClient().Do(req)
		},
	} {
		t.Run(way, func(t *testing.T) {
			file := tempFile(t, "skip"+data)
			_, err := file.Seek(4, io.SeekStart)
			require.NoError(t, err)
			var from []io.Reader
			rt := &http.Transport{DialContext: func(ctx context.Context, network, addr string) (net.Conn, error) {
				conn, err := new(net.Dialer).DialContext(ctx, network, addr)
				return sendfileConn{conn, &from}, err
			}}
			client := &Client{RetryMax: 1, Backoff: noWait, HTTPClient: &http.Client{Transport: rt}}
			got = nil
			resp, err := send(client, file)
			require.NoError(t, err)
			resp.Body.Close()
			client.CloseIdleConnections()
			assert.Equal(t, []string{data, data}, got)
			require.Len(t, from, 2)
			for _, r := range from {
				limited, ok := r.(*io.LimitedReader)
				require.True(t, ok, "%T", r)
				assert.Implements(t, (*syscall.Conn)(nil), limited.R)
			}
		})
	}
}

// docs/spec.md, 5.3: a file that cannot or should not be sent by sendfile is sent by
// sections.
func TestFileThatIsNotSentBySendfile(t *testing.T) {
	rt := &http.Transport{}
	for name, spoil := range map[string]func(*testing.T, *os.File, *http.Request){
		"removed": func(t *testing.T, f *os.File, _ *http.Request) { require.NoError(t, os.Remove(f.Name())) },
		"replaced": func(t *testing.T, f *os.File, _ *http.Request) {
			require.NoError(t, os.Remove(f.Name()))
			require.NoError(t, os.WriteFile(f.Name(), []byte(content), 0o600))
		},
		"https":      func(_ *testing.T, _ *os.File, r *http.Request) { r.URL.Scheme = "https" },
		"chunked":    func(_ *testing.T, _ *os.File, r *http.Request) { r.ContentLength = -1 },
		"not a file": func(_ *testing.T, _ *os.File, r *http.Request) { r.Body = io.NopCloser(strings.NewReader(content)) },
	} {
		t.Run(name, func(t *testing.T) {
			file := tempFile(t, content)
			req := mustRequest(t, "http://host/")
			req.Body, req.ContentLength = io.NopCloser(io.NewSectionReader(file, 0, int64(len(content)))), int64(len(content))
			assert.IsType(t, new(fileBody), reopened(req, rt), "otherwise it is")
			assert.Equal(t, req.Body, reopened(req, roundTripFunc(nil)), "another transport")
			if runtime.GOOS == "windows" && strings.HasPrefix(name, "re") {
				t.Skip("an open file cannot be removed")
			}
			spoil(t, file, req)
			assert.Equal(t, req.Body, reopened(req, rt))
		})
	}
}

// A file that grows while it is sent is sent up to the size it had.
func TestFileThatGrowsWhileItIsSent(t *testing.T) {
	const size = 4 << 20
	var grow func()
	var got atomic.Int64
	server := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		io.ReadFull(r.Body, make([]byte, 1000))
		grow()
		n, _ := io.Copy(io.Discard, r.Body)
		got.Store(n + 1000)
	}))
	defer server.Close()
	for way, send := range map[string]func(*Client, *os.File) (*http.Response, error){
		"Post": func(c *Client, f *os.File) (*http.Response, error) { return c.Post(server.URL, "", f) },
		"Post of a function": func(c *Client, f *os.File) (*http.Response, error) {
			return c.Post(server.URL, "", func() (io.Reader, error) { return os.Open(f.Name()) })
		},
		"RoundTripper": func(c *Client, f *os.File) (*http.Response, error) {
			req, err := http.NewRequest("POST", server.URL, f)
			if err != nil {
				return nil, err
			}
			req.ContentLength = size
			return c.StandardClient().Do(req)
		},
	} {
		t.Run(way, func(t *testing.T) {
			file := tempFile(t, strings.Repeat("x", size))
			grow = func() {
				more, err := os.OpenFile(file.Name(), os.O_APPEND|os.O_WRONLY, 0)
				if assert.NoError(t, err) {
					more.WriteString("more")
					more.Close()
				}
			}
			resp, err := send(&Client{HTTPClient: server.Client()}, file)
			require.NoError(t, err)
			resp.Body.Close()
			assert.EqualValues(t, size, got.Load())
		})
	}
	file := tempFile(t, content)
	_, err := file.Seek(4, io.SeekStart)
	require.NoError(t, err)
	data, err := io.ReadAll(&fileBody{Closer: file, file: file, end: 9}) // as without sendfile
	require.NoError(t, err)
	assert.Equal(t, content[4:9], string(data))
}

func TestURLOfAnErrorIsThatOfTheRequest(t *testing.T) {
	for _, raw := range []string{"http://host/a?b=c", "http://user@host/", "http://user:secret@host/a", "http://us%3Aer:se%40cret@host/"} {
		req := mustRequest(t, raw)
		_, err := (&http.Client{Transport: roundTripFunc(func(*http.Request) (*http.Response, error) { return nil, errLost })}).Do(req)
		var outer *url.Error
		require.ErrorAs(t, err, &outer)
		assert.True(t, isURL(outer.URL, req.URL), outer.URL)
		assert.False(t, isURL(outer.URL, mustRequest(t, "http://user:secret@host/elsewhere").URL))
	}
}
