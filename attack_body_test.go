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
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/iotest"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// The tests of the attack_*_test.go files are named after the rows of docs/attacks.md.

// F01: the URL of a download leads to another object by the time that it is resumed, and
// validators do not tell.
func TestF01ResumedBodyIsOfOneObject(t *testing.T) {
	const size = 1 << 20
	objects := map[string][]byte{"/v1.bin": bytes.Repeat([]byte("1"), size), "/v2.bin": bytes.Repeat([]byte("2"), size)}
	for name, tc := range map[string]struct {
		moved bool // /v1.bin itself leads elsewhere after the cut
		whole bool
	}{
		"the first URL leads elsewhere": {false, true},
		"the final URL leads elsewhere": {true, false},
	} {
		t.Run(name, func(t *testing.T) {
			var cut atomic.Bool
			server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				switch {
				case r.URL.Path == "/latest" && !cut.Load():
					http.Redirect(w, r, "/v1.bin", http.StatusFound)
					return
				case r.URL.Path == "/latest", tc.moved && cut.Load() && r.URL.Path == "/v1.bin":
					http.Redirect(w, r, "/v2.bin", http.StatusFound)
					return
				}
				w.Header().Set("ETag", `"1"`)
				object := objects[r.URL.Path]
				if !cut.Swap(true) {
					w.Header().Set("Content-Length", strconv.Itoa(size))
					w.Write(object[:300_000])
					panic(http.ErrAbortHandler)
				}
				http.ServeContent(w, r, "", time.Time{}, bytes.NewReader(object))
			}))
			defer server.Close()
			client := &Client{ResumeMax: 3, Backoff: noWait, HTTPClient: server.Client()}
			resp, err := client.Get(server.URL + "/latest")
			require.NoError(t, err)
			defer resp.Body.Close()
			data, err := io.ReadAll(resp.Body)
			if tc.whole {
				require.NoError(t, err)
				assert.Len(t, data, size)
			} else {
				assert.ErrorAs(t, err, new(*ResumeError))
			}
			assert.True(t, bytes.HasPrefix(objects["/v1.bin"], data), "of one object only")
		})
	}
}

// F02: PrepareRetry takes GetBody away, or replaces the whole request.
func TestF02PrepareRetryMayReplaceTheBodyOrTheRequest(t *testing.T) {
	another, err := http.NewRequest("PUT", "http://host/another", strings.NewReader("another"))
	require.NoError(t, err)
	for name, tc := range map[string]struct {
		prepare PrepareRetry
		want    []string
	}{
		"no GetBody": {func(req *http.Request) error { req.GetBody = nil; return nil }, []string{content, content, content}},
		"no body":    {func(req *http.Request) error { req.Body, req.GetBody = nil, nil; return nil }, []string{content, content, content}},
		"reads Body": {func(req *http.Request) error { _, err := io.ReadAll(req.Body); return err }, []string{content, content, content}},
		"another Body": {func(req *http.Request) error {
			req.Body = io.NopCloser(strings.NewReader("other"))
			req.ContentLength = 5
			return nil
		}, []string{content, "other", "other"}},
		"one-shot Body": {func(req *http.Request) error {
			req.Body, req.GetBody = io.NopCloser(plainReader{strings.NewReader("once")}), nil
			req.ContentLength = -1
			return nil
		}, []string{content, "once", "once"}},
		"whole request": {func(req *http.Request) error {
			*req = *another.Clone(context.Background())
			req.Body, _ = another.GetBody()
			return nil
		}, []string{content, "another", "another"}},
		"without a body": {func(req *http.Request) error {
			*req = *mustRequest(t, "http://host/x")
			req.Method = "POST"
			return nil
		}, []string{content, content, content}},
	} {
		for kind, raw := range map[string]func() any{
			"bytes":  func() any { return []byte(content) },
			"seeker": func() any { return plainSeeker{strings.NewReader(content)} },
			"stream": func() any { return plainReader{strings.NewReader(content)} },
		} {
			t.Run(name+"/"+kind, func(t *testing.T) {
				client, sent := scripted(status(503), status(503), status(200))
				client.PrepareRetry = tc.prepare
				_, err := client.Post("http://host/", "", raw())
				require.NoError(t, err)
				assert.Equal(t, tc.want, sent.bodies)

				client, sent = scripted(status(503), status(503), status(200))
				client.PrepareRetry = tc.prepare
				req, err := NewRequest("POST", "http://host/", raw())
				require.NoError(t, err)
				_, err = client.StandardClient().Do(req.Request)
				require.NoError(t, err)
				assert.Equal(t, tc.want, sent.bodies)
			})
		}
	}
}

// countedConn counts what is written at once.
type countedConn struct {
	net.Conn
	writes *[]int
}

func (c countedConn) Write(p []byte) (int, error) {
	*c.writes = append(*c.writes, len(p))
	return c.Conn.Write(p)
}

// F03: header and body of a small request leave in one write, at the first attempt and in
// retries.
func TestF03SmallRequestIsOneWrite(t *testing.T) {
	var hits atomic.Int32
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		io.Copy(io.Discard, r.Body)
		if hits.Add(1) == 1 {
			w.WriteHeader(503)
		}
	}))
	defer server.Close()
	data := strings.Repeat("x", 500)
	raw := map[string]func() any{
		"[]byte":                func() any { return []byte(data) },
		"string":                func() any { return data },
		"*bytes.Buffer":         func() any { return bytes.NewBufferString(data) },
		"*bytes.Reader":         func() any { return bytes.NewReader([]byte(data)) },
		"*strings.Reader":       func() any { return strings.NewReader(data) },
		"short io.Reader":       func() any { return plainReader{strings.NewReader(data)} },
		"ReaderFunc of readers": func() any { return ReaderFunc(func() (io.Reader, error) { return strings.NewReader(data), nil }) },
	}
	for kind, make := range raw {
		for way, send := range map[string]func(*Client) (*http.Response, error){
			"Post": func(c *Client) (*http.Response, error) { return c.Post(server.URL, "text/plain", make()) },
			"Do": func(c *Client) (*http.Response, error) {
				req, err := NewRequest("POST", server.URL, make())
				if err != nil {
					return nil, err
				}
				return c.Do(req)
			},
			"StandardClient": func(c *Client) (*http.Response, error) {
				body, ok := make().(io.Reader)
				if _, opaque := body.(plainReader); !ok || opaque {
					body = strings.NewReader(data)
				}
				return c.StandardClient().Post(server.URL, "text/plain", body)
			},
		} {
			t.Run(kind+"/"+way, func(t *testing.T) {
				hits.Store(0)
				var writes []int
				rt := &http.Transport{DialContext: func(ctx context.Context, network, addr string) (net.Conn, error) {
					conn, err := new(net.Dialer).DialContext(ctx, network, addr)
					return countedConn{conn, &writes}, err
				}}
				client := &Client{RetryMax: 1, Backoff: noWait, HTTPClient: &http.Client{Transport: rt}}
				resp, err := send(client)
				require.NoError(t, err)
				resp.Body.Close()
				client.CloseIdleConnections()
				require.Len(t, writes, 2, "one for each attempt")
				for _, n := range writes {
					assert.Greater(t, n, len(data))
				}
			})
		}
	}
}

// slowSeeker is an io.ReadSeeker whose first Read takes ten minutes.
type slowSeeker struct {
	io.ReadSeeker
	reading chan struct{} // closed when the first Read begins
	reads   atomic.Int32
}

func (s *slowSeeker) Read(p []byte) (int, error) {
	if s.reads.Add(1) == 1 {
		close(s.reading)
		time.Sleep(10 * time.Minute)
	}
	return s.ReadSeeker.Read(p)
}

// F04: an io.ReadSeeker without ReadAt is in a slow Read when the retry begins. Time is
// virtual, so the call must return exactly when it is ended.
func TestF04SlowSeekerDoesNotDelayTheEndOfTheCall(t *testing.T) {
	cause := errors.New("no longer needed")
	for name, tc := range map[string]struct {
		end  func(*Client, context.Context) (context.Context, context.CancelFunc)
		want error
	}{
		"deadline": {func(_ *Client, ctx context.Context) (context.Context, context.CancelFunc) {
			return context.WithTimeout(ctx, 3*time.Second)
		}, context.DeadlineExceeded},
		"cancel": {func(_ *Client, ctx context.Context) (context.Context, context.CancelFunc) {
			ctx, cancel := context.WithCancelCause(ctx)
			timer := time.AfterFunc(3*time.Second, func() { cancel(cause) })
			return ctx, func() { timer.Stop(); cancel(nil) }
		}, cause},
		"MaxElapsedTime": {func(c *Client, ctx context.Context) (context.Context, context.CancelFunc) {
			c.MaxElapsedTime = 3 * time.Second
			return ctx, func() {}
		}, ErrMaxElapsedTime},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				seeker := &slowSeeker{ReadSeeker: strings.NewReader(content), reading: make(chan struct{})}
				var connections atomic.Int32
				rt := &http.Transport{DialContext: func(context.Context, string, string) (net.Conn, error) {
					client, server := net.Pipe()
					first := connections.Add(1) == 1
					go func() {
						defer server.Close()
						http.ReadRequest(bufio.NewReader(server))
						if first {
							<-seeker.reading
							io.WriteString(server, "HTTP/1.1 503 Service Unavailable\r\nContent-Length: 0\r\n\r\n")
						}
						io.Copy(io.Discard, server)
					}()
					return client, nil
				}}
				client := &Client{RetryMax: 4, Backoff: noWait, HTTPClient: &http.Client{Transport: rt}}
				ctx, cancel := tc.end(client, t.Context())
				defer cancel()
				req, err := NewRequestWithContext(ctx, "POST", "http://host/", seeker)
				require.NoError(t, err)
				start := time.Now()
				_, err = client.Do(req)
				assert.ErrorIs(t, err, tc.want)
				assert.Equal(t, 3*time.Second, time.Since(start), "the Read takes ten minutes")
				assert.EqualValues(t, 1, seeker.reads.Load())
				assert.EqualValues(t, 2, connections.Load(), "a retry has begun")
				time.Sleep(10 * time.Minute) // until the Read has returned
				rt.CloseIdleConnections()
			})
		})
	}
}

// sliceBody is a body of a type without equality.
type sliceBody struct {
	io.Reader
	_ []int
}

func (sliceBody) Close() error { return nil }

// F05: Body is replaced between two calls, and its type has no equality.
func TestF05ReplacedBodyIsSent(t *testing.T) {
	client, sent := scripted(status(200))
	req, err := NewRequest("POST", "http://host/", nil)
	require.NoError(t, err)
	for _, want := range []string{"first", "second"} {
		req.Body = sliceBody{Reader: strings.NewReader(want)}
		_, err = client.Do(req)
		require.NoError(t, err)
	}
	assert.Equal(t, []string{"first", "second"}, sent.bodies)

	httpReq := mustRequest(t, "http://host/")
	httpReq.Body = sliceBody{Reader: strings.NewReader("first")}
	httpReq.GetBody = func() (io.ReadCloser, error) { return sliceBody{Reader: strings.NewReader("again")}, nil }
	client, sent = scripted(status(503), status(200))
	client.ReplayMax = -1
	req, err = FromRequest(httpReq)
	require.NoError(t, err)
	_, err = client.Do(req)
	require.NoError(t, err)
	assert.Equal(t, []string{"first", "again"}, sent.bodies, "its GetBody belongs to it")
}

// watchedSource records whether it is closed while it is read.
type watchedSource struct {
	reader          io.Reader
	mu              sync.Mutex
	reading, during bool
	closes          int
	started, closed chan struct{}
}

func (s *watchedSource) Read(p []byte) (int, error) {
	s.mu.Lock()
	if !s.reading && s.started != nil {
		close(s.started)
		s.started = nil
	}
	s.reading = true
	s.mu.Unlock()
	n, err := s.reader.Read(p)
	s.mu.Lock()
	s.reading = false
	s.mu.Unlock()
	return n, err
}

func (s *watchedSource) Close() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.during = s.during || s.reading
	if s.closes++; s.closes == 1 {
		close(s.closed)
	}
	return nil
}

// F06: an early 503 over HTTP/1 ends the call while the source is read, and nobody cancels.
func TestF06SourceIsClosedAfterItsRead(t *testing.T) {
	for way, send := range streamings {
		t.Run(way, func(t *testing.T) {
			pipe, writer := io.Pipe()
			source := &watchedSource{reader: pipe, started: make(chan struct{}), closed: make(chan struct{})}
			addr := listenRaw(t, func(conn net.Conn, _ int) {
				req, err := http.ReadRequest(bufio.NewReader(conn))
				if err != nil {
					return
				}
				io.ReadFull(req.Body, make([]byte, 1000))
				io.WriteString(conn, "HTTP/1.1 503 Service Unavailable\r\nContent-Length: 0\r\n\r\n")
				io.Copy(io.Discard, conn)
			})
			go writer.Write(make([]byte, 1000))
			client := &Client{ReplayMax: -1, HTTPClient: &http.Client{Transport: &http.Transport{}}}
			defer client.CloseIdleConnections()
			_, err := send(t.Context(), client, "http://"+addr, 0, source)
			require.Error(t, err)
			source.mu.Lock()
			assert.True(t, source.reading, "there is no more")
			assert.Zero(t, source.closes)
			source.mu.Unlock()
			writer.Close()
			select {
			case <-source.closed:
			case <-time.After(10 * time.Second):
				t.Fatal("never closed")
			}
			source.mu.Lock()
			defer source.mu.Unlock()
			assert.False(t, source.during, "closed while it was read")
			assert.Equal(t, 1, source.closes)
		})
	}
}

// F07: a switched protocol keeps all that net/http's body can do.
func TestF07SwitchedProtocolKeepsCloseWrite(t *testing.T) {
	addr := listenRaw(t, func(conn net.Conn, _ int) {
		reader := bufio.NewReader(conn)
		if _, err := http.ReadRequest(reader); err != nil {
			return
		}
		io.WriteString(conn, "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: echo\r\n\r\n")
		data, _ := io.ReadAll(reader) // to the end that CloseWrite makes
		fmt.Fprintf(conn, "got %q", data)
	})
	for name, set := range map[string]func(*Client){
		"AttemptTimeout": func(c *Client) { c.AttemptTimeout = 30 * time.Second },
		"MaxElapsedTime": func(c *Client) { c.MaxElapsedTime = 30 * time.Second },
		"a cancelable context over another transport": func(c *Client) { c.HTTPClient.Transport = through(c.HTTPClient.Transport) },
	} {
		t.Run(name, func(t *testing.T) {
			client := &Client{HTTPClient: &http.Client{Transport: &http.Transport{}}}
			set(client)
			req, err := NewRequestWithContext(t.Context(), "GET", "http://"+addr, nil)
			require.NoError(t, err)
			req.Header.Set("Connection", "Upgrade")
			req.Header.Set("Upgrade", "echo")
			resp, err := client.Do(req)
			require.NoError(t, err)
			defer resp.Body.Close()
			conn, ok := resp.Body.(interface {
				io.ReadWriteCloser
				CloseWrite() error
			})
			require.True(t, ok, "%T", resp.Body)
			_, err = io.WriteString(conn, "last words")
			require.NoError(t, err)
			require.NoError(t, conn.CloseWrite())
			response, err := io.ReadAll(conn)
			require.NoError(t, err)
			assert.Equal(t, `got "last words"`, string(response))
		})
	}
}

// F08: a body that is shorter or longer than declared, of every kind over every protocol.
// The server responds only after the call, so that it cannot be faster than the client.
func TestF08WrongLengthIsAnErrorOverEveryProtocol(t *testing.T) {
	var complete atomic.Int32
	handler := http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		_, err := io.ReadAll(r.Body)
		// Over HTTP/1.1 the server cannot know that there is more than declared.
		if err == nil && (r.ProtoMajor == 2 || r.URL.Path == "/shorter") {
			complete.Add(1)
		}
		select {
		case <-r.Context().Done():
		case <-time.After(5 * time.Second):
		}
	})
	h1, h1TLS, h2 := httptest.NewServer(handler), httptest.NewTLSServer(handler), httptest.NewUnstartedServer(handler)
	defer h1.Close()
	defer h1TLS.Close()
	h2.EnableHTTP2 = true
	h2.StartTLS()
	defer h2.Close()
	h2c := httptest.NewUnstartedServer(handler)
	h2c.Config.Protocols = new(http.Protocols)
	h2c.Config.Protocols.SetUnencryptedHTTP2(true)
	h2c.Start()
	defer h2c.Close()
	clear := &http.Transport{Protocols: new(http.Protocols)}
	clear.Protocols.SetUnencryptedHTTP2(true)

	bodies := map[string]func(*testing.T, string) *Request{}
	for kind := range bodyKinds(t) {
		bodies[kind] = func(t *testing.T, target string) *Request {
			req, err := NewRequest("POST", target, bodyKinds(t)[kind])
			require.NoError(t, err)
			return req
		}
	}
	for kind, open := range map[string]func(*testing.T) io.ReadCloser{
		"reader of an http.Request":        func(*testing.T) io.ReadCloser { return newOnceSource(content) },
		"*bytes.Reader of an http.Request": func(*testing.T) io.ReadCloser { return io.NopCloser(bytes.NewReader([]byte(content))) },
		"io.ReadSeeker of an http.Request": func(*testing.T) io.ReadCloser { return io.NopCloser(plainSeeker{strings.NewReader(content)}) },
		"*os.File of an http.Request":      func(t *testing.T) io.ReadCloser { return tempFile(t, content) },
		"SectionReader of an http.Request": func(*testing.T) io.ReadCloser {
			return io.NopCloser(io.NewSectionReader(strings.NewReader(content), 0, int64(len(content))))
		},
		"byte by byte of an http.Request": func(*testing.T) io.ReadCloser { return io.NopCloser(iotest.OneByteReader(strings.NewReader(content))) },
	} {
		for name, getBody := range map[string]bool{kind: false, kind + ", GetBody": true} {
			bodies[name] = func(t *testing.T, target string) *Request {
				req, err := http.NewRequest("POST", target, open(t))
				require.NoError(t, err)
				if getBody {
					req.GetBody = func() (io.ReadCloser, error) { return open(t), nil }
				}
				wrapped, err := FromRequest(req)
				require.NoError(t, err)
				return wrapped
			}
		}
	}
	for protocol, server := range map[string]struct {
		url    string
		client *http.Client
	}{
		"HTTP/1.1":          {h1.URL, h1.Client()},
		"HTTP/1.1 over TLS": {h1TLS.URL, h1TLS.Client()},
		"HTTP/2":            {h2.URL, h2.Client()},
		"h2c":               {h2c.URL, &http.Client{Transport: clear}},
	} {
		for kind, body := range bodies {
			for _, length := range []int{1, len(content) - 1, len(content) + 1, len(content) + 100_000} {
				for way, send := range map[string]func(*Client, *Request) (*http.Response, error){
					"Do":             func(c *Client, req *Request) (*http.Response, error) { return c.Do(req) },
					"StandardClient": func(c *Client, req *Request) (*http.Response, error) { return c.StandardClient().Do(req.Request) },
				} {
					t.Run(fmt.Sprintf("%s/%s/%d/%s", protocol, kind, length, way), func(t *testing.T) {
						// When net/http closes the connection over the body, its own read of the
						// connection rarely fails first. Such an attempt is retried.
						closed := 0
						client := &Client{RetryMax: 9, Backoff: noWait, HTTPClient: server.client, OnAttempt: func(a Attempt) {
							if errors.Is(a.Err, net.ErrClosed) {
								closed++
							}
						}}
						path := "/shorter"
						if length < len(content) {
							path = "/longer"
						}
						req := body(t, server.url+path)
						req.ContentLength = int64(length)
						_, err := send(client, req)
						assert.ErrorIs(t, err, ErrBodyLength)
						var giveUp *GiveUpError
						require.ErrorAs(t, err, &giveUp)
						assert.LessOrEqual(t, giveUp.Attempts, 1+closed)
					})
					if t.Failed() { // each of the others may take as long as the server waits
						return
					}
				}
			}
		}
		assert.Zero(t, complete.Load(), "%s: requests that the server took for complete", protocol)
		server.client.CloseIdleConnections()
	}
}

// readerAfter returns a reader that begins when start is closed.
func readerAfter(start <-chan struct{}, r io.Reader) io.Reader {
	return readFunc(func(p []byte) (int, error) {
		<-start
		return r.Read(p)
	})
}

// F08, limit: over HTTP/1.1 net/http sends the declared bytes before it looks for more. A
// server that responds to them has got a part of the body, and the call succeeds as with
// net/http alone.
func TestF08ServerMayRespondBeforeALongerBodyIsNoticed(t *testing.T) {
	declared := strings.Repeat("x", 10_000) // more than net/http's write buffer
	var got string
	server := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		data, err := io.ReadAll(r.Body)
		assert.NoError(t, err)
		got = string(data)
	}))
	defer server.Close()
	for way, send := range map[string]func(*Client, *http.Request) (*http.Response, error){
		"net/http":       func(c *Client, req *http.Request) (*http.Response, error) { return c.HTTPClient.Do(req) },
		"Do":             ways["Do"],
		"RoundTripper":   ways["RoundTripper"],
		"StandardClient": ways["StandardClient"],
	} {
		t.Run(way, func(t *testing.T) {
			more := make(chan struct{})
			body := io.MultiReader(strings.NewReader(declared), readerAfter(more, strings.NewReader("more")))
			req, err := http.NewRequest("POST", server.URL, body)
			require.NoError(t, err)
			req.ContentLength = int64(len(declared))
			client := &Client{RetryMax: 2, Backoff: noWait, HTTPClient: server.Client()}
			resp, err := send(client, req)
			close(more)
			require.NoError(t, err)
			resp.Body.Close()
			assert.Equal(t, declared, got, "the declared bytes and no more")
		})
	}
}

// F137: the transport returns a response although it could not read the whole request body,
// as net/http may over TLS.
func TestF137RequestBodyThatFailsIsAnError(t *testing.T) {
	reads := func(status int) roundTripFunc {
		return func(req *http.Request) (*http.Response, error) {
			io.Copy(io.Discard, req.Body)
			req.Body.Close()
			return respond(req, status, ""), nil
		}
	}
	cut := func() io.Reader { return io.MultiReader(strings.NewReader("cont"), errReader{errLost}) }
	for way, send := range ways {
		for _, status := range []int{200, 399, 400} {
			for name, test := range map[string]struct {
				body   io.Reader
				length int64
				want   error
			}{
				"short":         {plainReader{strings.NewReader(content)}, int64(len(content)) + 1, ErrBodyLength},
				"long":          {plainReader{strings.NewReader(content)}, int64(len(content)) - 1, ErrBodyLength},
				"source failed": {cut(), int64(len(content)), errLost},
			} {
				t.Run(fmt.Sprintf("%s/%s/%d", way, name, status), func(t *testing.T) {
					req, err := http.NewRequest("POST", "http://host/", test.body)
					require.NoError(t, err)
					req.ContentLength = test.length
					resp, err := send(&Client{HTTPClient: &http.Client{Transport: reads(status)}}, req)
					if status < 400 {
						assert.ErrorIs(t, err, test.want)
						return
					}
					require.NoError(t, err)
					assert.Equal(t, status, resp.StatusCode)
				})
			}
		}
		t.Run(way+"/closed early", func(t *testing.T) {
			early := roundTripFunc(func(req *http.Request) (*http.Response, error) {
				req.Body.Close()
				_, err := req.Body.Read(make([]byte, 1))
				assert.Error(t, err)
				return respond(req, 200, ""), nil
			})
			req, err := http.NewRequest("POST", "http://host/", errReader{errLost})
			require.NoError(t, err)
			_, err = send(&Client{HTTPClient: &http.Client{Transport: early}}, req)
			assert.NoError(t, err)
		})
	}
	for fails := 1; fails <= 2; fails++ {
		t.Run(fmt.Sprintf("redirect/body %d fails", fails), func(t *testing.T) {
			opened := 0
			body := ReaderFunc(func() (io.Reader, error) {
				if opened++; opened == fails {
					return cut(), nil
				}
				return plainReader{strings.NewReader(content)}, nil
			})
			client, _ := scripted(func(req *http.Request) (*http.Response, error) {
				if req.URL.Path == "/" {
					resp, err := reads(307)(req)
					resp.Header.Set("Location", "/next")
					return resp, err
				}
				return reads(200)(req)
			})
			client.RetryMax = 0
			_, err := client.Post("http://host/", "", body)
			if fails == 1 {
				assert.NoError(t, err)
			} else {
				assert.ErrorIs(t, err, errLost)
			}
		})
	}
}

// F139: net/http drops a body that it got from GetBody, or sends one of them.
func TestF139SourceIsClosedIfABodyOfGetBodyIsDropped(t *testing.T) {
	long := strings.Repeat(content, 1000)
	over := func(transport roundTripFunc) *Client { return &Client{HTTPClient: &http.Client{Transport: transport}} }
	for way, send := range ways {
		t.Run(way+"/dropped", func(t *testing.T) {
			source := newOnceSource(long)
			req, err := http.NewRequest("POST", "http://host/", source)
			require.NoError(t, err)
			client := over(func(req *http.Request) (*http.Response, error) {
				_, err := req.GetBody()
				require.NoError(t, err)
				io.Copy(io.Discard, req.Body)
				req.Body.Close()
				return respond(req, 200, ""), nil
			})
			resp, err := send(client, req)
			require.NoError(t, err)
			resp.Body.Close()
			assert.Equal(t, 1, source.closes)
		})
		t.Run(way+"/sent after the response", func(t *testing.T) {
			source := newOnceSource(long)
			req, err := http.NewRequest("POST", "http://host/", source)
			require.NoError(t, err)
			var again io.ReadCloser
			client := over(func(req *http.Request) (*http.Response, error) {
				again, err = req.GetBody()
				require.NoError(t, err)
				_, err = again.Read(make([]byte, 1))
				require.NoError(t, err)
				req.Body.Close()
				return respond(req, 200, ""), nil
			})
			resp, err := send(client, req)
			require.NoError(t, err)
			resp.Body.Close()
			assert.Zero(t, source.closes)
			rest, err := io.ReadAll(again)
			require.NoError(t, err)
			assert.Equal(t, long[1:], string(rest))
			again.Close()
			assert.Equal(t, 1, source.closes)
		})
	}
	t.Run("not read before the response", func(t *testing.T) {
		source := newOnceSource(long)
		req, err := http.NewRequest("POST", "http://host/", source)
		require.NoError(t, err)
		var body io.ReadCloser
		client := over(func(req *http.Request) (*http.Response, error) {
			body = req.Body
			return respond(req, 200, ""), nil
		})
		resp, err := ways["Do"](client, req)
		require.NoError(t, err)
		resp.Body.Close()
		sent, err := io.ReadAll(body)
		require.NoError(t, err)
		assert.Equal(t, long, string(sent))
		body.Close()
		assert.Equal(t, 1, source.closes)
	})
}

// F142: two attempts of package hedge open the body again at once.
func TestF142BodyIsOpenedAgainByTwoAtOnce(t *testing.T) {
	twice := roundTripFunc(func(req *http.Request) (*http.Response, error) {
		var both sync.WaitGroup
		for range 2 {
			both.Go(func() {
				body, err := req.GetBody()
				if assert.NoError(t, err) {
					io.Copy(io.Discard, body)
					body.Close()
				}
			})
		}
		both.Wait()
		req.Body.Close()
		return respond(req, 200, ""), nil
	})
	client := &Client{HTTPClient: &http.Client{Transport: twice}}
	resp, err := client.Post("http://host/", "", func() (io.Reader, error) { return plainReader{strings.NewReader(content)}, nil })
	require.NoError(t, err)
	resp.Body.Close()
}

// F143: http.Client closes the body of a redirect that it cannot follow again, below and
// above a client in the transport of another.
func TestF143BodyIsClosedOnceByNestedClients(t *testing.T) {
	for _, location := range []string{"://", "/next"} {
		for name, nest := range map[string]func(*Client) *Client{
			"one client": func(c *Client) *Client { return c },
			"nested":     func(c *Client) *Client { return &Client{HTTPClient: c.StandardClient()} },
		} {
			t.Run(name+" "+location, func(t *testing.T) {
				client := nest(&Client{HTTPClient: &http.Client{Transport: roundTripFunc(func(req *http.Request) (*http.Response, error) {
					io.Copy(io.Discard, req.Body)
					req.Body.Close()
					return respond(req, 307, "", "Location", location), nil
				})}})
				var opened []*onceSource
				_, err := client.Post("http://host/", "", func() (io.Reader, error) {
					opened = append(opened, newOnceSource(content))
					return opened[len(opened)-1], nil
				})
				require.Error(t, err)
				require.NotEmpty(t, opened)
				for i, source := range opened {
					assert.Equal(t, 1, source.closes, "body %d of %d", i+1, len(opened))
				}
			})
		}
	}
}

// F09: a file of a ReaderFunc that grows while it is sent, and a file whose size is a lie.
func TestF09FilesThatAreNotAsLongAsTheySay(t *testing.T) {
	var got []string
	var grow func()
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if grow != nil {
			grow()
		}
		data, err := io.ReadAll(r.Body)
		assert.NoError(t, err)
		if got = append(got, string(data)); len(got) == 1 {
			w.WriteHeader(503)
		}
	}))
	defer server.Close()
	client := &Client{RetryMax: 1, Backoff: noWait, HTTPClient: server.Client()}

	t.Run("grows", func(t *testing.T) {
		name := filepath.Join(t.TempDir(), "log")
		start := strings.Repeat(content, 20_000) // more than a socket buffers
		require.NoError(t, os.WriteFile(name, []byte(start), 0o600))
		opened := func() (io.Reader, error) { return os.Open(name) }
		grow = func() {
			f, err := os.OpenFile(name, os.O_APPEND|os.O_WRONLY, 0)
			require.NoError(t, err)
			defer f.Close()
			_, err = f.WriteString("more")
			require.NoError(t, err)
		}
		defer func() { grow = nil }()
		got = nil
		resp, err := client.Post(server.URL, "", ReaderFunc(opened))
		require.NoError(t, err)
		resp.Body.Close()
		assert.Equal(t, start, got[0], "the bytes up to the size it had when it was opened")
		assert.Equal(t, start+"more", got[1])

		file, err := os.Open(name)
		require.NoError(t, err)
		defer file.Close()
		before, err := os.ReadFile(name)
		require.NoError(t, err)
		got = nil
		resp, err = client.Post(server.URL, "", file)
		require.NoError(t, err)
		resp.Body.Close()
		assert.Equal(t, []string{string(before), string(before)}, got, "the same for a file")
	})
	t.Run("is shorter than its size", func(t *testing.T) {
		lying := lyingFile(t)
		if lying == "" {
			t.Skip("this system has no file that is shorter than its size, such as those of sysfs on Linux")
		}
		want, err := os.ReadFile(lying)
		require.NoError(t, err)
		for name, raw := range map[string]func() any{
			"ReaderFunc": func() any { return ReaderFunc(func() (io.Reader, error) { return os.Open(lying) }) },
			"*os.File": func() any {
				file, err := os.Open(lying)
				require.NoError(t, err)
				t.Cleanup(func() { file.Close() })
				return file
			},
		} {
			got = nil
			resp, err := client.Post(server.URL, "", raw())
			require.NoError(t, err, name)
			resp.Body.Close()
			assert.Equal(t, []string{string(want), string(want)}, got, name)
		}
	})
}

// lyingFile returns the name of a file that is shorter than its size, "" if there is none.
func lyingFile(t *testing.T) string {
	names, _ := filepath.Glob("/sys/kernel/*")
	more, _ := filepath.Glob("/sys/block/*/size")
	for _, name := range append(names, more...) {
		info, err := os.Stat(name)
		require.NoError(t, err)
		if !info.Mode().IsRegular() {
			continue
		}
		if data, err := os.ReadFile(name); err == nil && len(data) > 0 && int64(len(data)) < info.Size() {
			return name
		}
	}
	return ""
}

// F10: a source that gives nothing does not outlast a time limit, and the error names it.
func TestF10TimeoutNamesTheBodyThatGivesNothing(t *testing.T) {
	handler := http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) { io.Copy(io.Discard, r.Body) })
	h1, h2 := httptest.NewServer(handler), httptest.NewUnstartedServer(handler)
	defer h1.Close()
	h2.EnableHTTP2 = true
	h2.StartTLS()
	defer h2.Close()
	for protocol, server := range map[string]*httptest.Server{"HTTP/1.1": h1, "HTTP/2": h2} {
		for way, send := range streamings {
			for name, set := range map[string]func(*Client){
				"AttemptTimeout":     func(c *Client) { c.AttemptTimeout = 50 * time.Millisecond },
				"HTTPClient.Timeout": func(c *Client) { c.HTTPClient.Timeout = 50 * time.Millisecond },
			} {
				t.Run(protocol+"/"+name+"/"+way, func(t *testing.T) {
					pipe, writer := io.Pipe()
					defer writer.Close()
					rt := server.Client().Transport.(*http.Transport).Clone()
					defer rt.CloseIdleConnections()
					client := &Client{RetryMax: 1, Backoff: noWait, HTTPClient: &http.Client{Transport: rt}}
					set(client)
					returned := make(chan error)
					go func() {
						_, err := send(t.Context(), client, server.URL, 0, pipe)
						returned <- err
					}()
					select {
					case err := <-returned:
						var giveUp *GiveUpError
						require.ErrorAs(t, err, &giveUp)
						assert.True(t, giveUp.Timeout())
						assert.ErrorContains(t, err, "while waiting for the request body")
					case <-time.After(10 * time.Second):
						t.Fatal("the call does not end")
					}
				})
			}
		}
	}
}

// F11: a caller writes a part into a pipe, waits for the server's reaction, and writes on.
func TestF11CallerMayWaitForTheServerBeforeItWritesOn(t *testing.T) {
	heard := make(chan string)
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		part := make([]byte, 5)
		io.ReadFull(r.Body, part)
		heard <- string(part)
		rest, _ := io.ReadAll(r.Body)
		w.Write(rest)
	}))
	defer server.Close()
	for way, send := range streamings {
		t.Run(way, func(t *testing.T) {
			pipe, writer := io.Pipe()
			client := &Client{RetryMax: 1, Backoff: noWait, HTTPClient: server.Client()}
			go func() {
				io.WriteString(writer, "hello")
				select {
				case part := <-heard:
					assert.Equal(t, "hello", part)
				case <-time.After(10 * time.Second):
					t.Error("the server has heard nothing")
				}
				io.WriteString(writer, " world")
				writer.Close()
			}()
			resp, err := send(t.Context(), client, server.URL, 0, pipe)
			require.NoError(t, err)
			data, err := io.ReadAll(resp.Body)
			require.NoError(t, err)
			resp.Body.Close()
			assert.Equal(t, " world", string(data))
		})
	}
	t.Run("Post waits 200 ms", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			pipe, writer := io.Pipe()
			start := time.Now()
			client := &Client{HTTPClient: &http.Client{Transport: roundTripFunc(func(req *http.Request) (*http.Response, error) {
				assert.Equal(t, 350*time.Millisecond, time.Since(start), "since it has given something last")
				writer.Close()
				data, err := io.ReadAll(req.Body)
				assert.Equal(t, "hello", string(data))
				return respond(req, 200, ""), errors.Join(err, req.Body.Close())
			})}}
			go func() {
				time.Sleep(150 * time.Millisecond)
				io.WriteString(writer, "hello")
			}()
			_, err := client.Post("http://host/", "", pipe)
			require.NoError(t, err)
		})
	})
}

type closeFunc func() error

func (f closeFunc) Close() error { return f() }

// F12: the source panics.
func TestF12PanicOfTheSourceReachesTheCaller(t *testing.T) {
	server := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) { io.Copy(io.Discard, r.Body) }))
	defer server.Close()
	panics := readFunc(func([]byte) (int, error) { panic("source") })
	ways := map[string]func(*Client, context.Context, io.ReadCloser) (*http.Response, error){
		"read ahead": func(client *Client, ctx context.Context, source io.ReadCloser) (*http.Response, error) {
			req, err := NewRequestWithContext(ctx, "POST", server.URL, source)
			require.NoError(t, err)
			return client.Do(req)
		},
		"not read ahead": func(client *Client, ctx context.Context, source io.ReadCloser) (*http.Response, error) {
			client.ReplayMax = -1
			req, err := NewRequestWithContext(ctx, "POST", server.URL, source)
			require.NoError(t, err)
			return client.Do(req)
		},
		"of a RoundTripper": func(client *Client, ctx context.Context, source io.ReadCloser) (*http.Response, error) {
			req, err := http.NewRequestWithContext(ctx, "POST", server.URL, source)
			require.NoError(t, err)
			return (&RoundTripper{Client: client}).RoundTrip(req)
		},
		"of a function": func(client *Client, ctx context.Context, source io.ReadCloser) (*http.Response, error) {
			req, err := NewRequestWithContext(ctx, "POST", server.URL, func() (io.Reader, error) { return source, nil })
			require.NoError(t, err)
			return client.Do(req)
		},
	}
	for name, send := range ways {
		t.Run(name, func(t *testing.T) {
			for _, cancelable := range []bool{false, true} {
				var closes atomic.Int32
				source := readCloser{panics, closeFunc(func() error { closes.Add(1); return nil })}
				client := &Client{RetryMax: 3, Backoff: noWait, HTTPClient: server.Client()}
				ctx := context.Background()
				if cancelable {
					var cancel context.CancelFunc
					ctx, cancel = context.WithCancel(ctx)
					defer cancel()
				}
				assert.PanicsWithValue(t, "source", func() { send(client, ctx, source) })
				assert.Eventually(t, func() bool { return closes.Load() == 1 }, 5*time.Second, time.Millisecond, "closed once")
			}
		})
	}
}

// F12, limit: a Body with a GetBody of the caller's is given to net/http as it is, and
// panics in net/http's goroutine, which ends the program, as with net/http alone.
func TestF12PanicOfABodyWithGetBodyEndsTheProgram(t *testing.T) {
	const sender = "RETRYABLEHTTP_TEST_SENDER"
	if sender := os.Getenv(sender); sender != "" {
		server := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) { io.Copy(io.Discard, r.Body) }))
		req, err := http.NewRequest("POST", server.URL, &closeCounter{Reader: readFunc(func([]byte) (int, error) { panic("source") })})
		require.NoError(t, err)
		req.GetBody = func() (io.ReadCloser, error) { return req.Body, nil }
		defer func() { // only a panic in this goroutine gets here
			recover()
			os.Exit(0)
		}()
		if sender == "net/http" {
			http.DefaultClient.Do(req)
		} else {
			ways[sender](&Client{}, req)
		}
		return
	}
	for _, name := range []string{"net/http", "Do", "RoundTripper", "StandardClient"} {
		cmd := exec.Command(os.Args[0], "-test.run=^"+t.Name()+"$")
		cmd.Env = append(os.Environ(), sender+"="+name)
		output, err := cmd.CombinedOutput()
		assert.Error(t, err, name)
		assert.Contains(t, string(output), "panic: source", name)
	}
}

// F13: a response that announces trailers, which a resumption would lose, is not resumed.
func TestF13ResponseWithTrailersIsNotResumed(t *testing.T) {
	var hits atomic.Int32
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("ETag", `"1"`)
		w.Header().Set("Trailer", "X-Sum")
		if hits.Add(1) == 1 {
			io.WriteString(w, "hello")
			w.(http.Flusher).Flush()
			panic(http.ErrAbortHandler)
		}
	}))
	defer server.Close()
	client := &Client{ResumeMax: 3, Backoff: noWait, HTTPClient: server.Client()}
	resp, err := client.Get(server.URL)
	require.NoError(t, err)
	defer resp.Body.Close()
	_, err = io.ReadAll(resp.Body)
	assert.ErrorIs(t, err, io.ErrUnexpectedEOF)
	assert.EqualValues(t, 1, hits.Load())
}

// emptyForNow is a reader whose Len is 0 until it is read.
type emptyForNow struct{ io.Reader }

func (emptyForNow) Len() int { return 0 }

// F14: a file at its end is an empty body; a reader without a length for now is sent; a
// directory is an error before anything is sent.
func TestF14ReadersThatSeemEmpty(t *testing.T) {
	client, sent := scripted(status(200))
	file := tempFile(t, content)
	_, err := file.Seek(0, io.SeekEnd)
	require.NoError(t, err)
	_, err = client.Post("http://host/", "", file)
	require.NoError(t, err)
	assert.Equal(t, http.NoBody, sent.seen[0].Body)

	for _, raw := range []any{
		emptyForNow{strings.NewReader(content)},
		ReaderFunc(func() (io.Reader, error) { return emptyForNow{strings.NewReader(content)}, nil }),
	} {
		_, err = client.Post("http://host/", "", raw)
		require.NoError(t, err)
	}
	assert.Equal(t, []string{"", content, content}, sent.bodies)

	directory, err := os.Open(t.TempDir())
	require.NoError(t, err)
	defer directory.Close()
	sent.seen = nil
	_, err = client.Post("http://host/", "", directory)
	assert.ErrorContains(t, err, "directory")
	assert.Empty(t, sent.seen)
}

// F15: a request with a body that can be read only once is sent a second time.
func TestF15OneShotBodyOfARequestIsSentAgainWhole(t *testing.T) {
	client, sent := scripted(status(200))
	httpReq, err := http.NewRequest("POST", "http://host/", newOnceSource(content))
	require.NoError(t, err)
	req, err := FromRequest(httpReq)
	require.NoError(t, err)
	for range 2 {
		_, err = client.Do(req)
		require.NoError(t, err)
	}
	assert.Equal(t, []string{content, content}, sent.bodies)

	// A RoundTripper cannot recognize a Body that was read before. As with net/http, only
	// the declared length tells.
	var got []string
	server := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		if data, err := io.ReadAll(r.Body); err == nil {
			got = append(got, string(data))
		}
	}))
	defer server.Close()
	for name, rt := range map[string]http.RoundTripper{
		"net/http":     server.Client().Transport,
		"RoundTripper": &RoundTripper{Client: &Client{HTTPClient: server.Client()}},
	} {
		got = nil
		httpReq, err := http.NewRequest("POST", server.URL, newOnceSource(content))
		require.NoError(t, err)
		for range 2 {
			resp, err := rt.RoundTrip(httpReq)
			require.NoError(t, err, name)
			resp.Body.Close()
			assert.Equal(t, 200, resp.StatusCode, name)
		}
		assert.Equal(t, []string{content, ""}, got, "%s: without a length the second body is empty", name)

		httpReq, err = http.NewRequest("POST", server.URL, newOnceSource(content))
		require.NoError(t, err)
		httpReq.ContentLength = int64(len(content))
		resp, err := rt.RoundTrip(httpReq)
		require.NoError(t, err, name)
		resp.Body.Close()
		_, err = rt.RoundTrip(httpReq)
		require.Error(t, err, name)
		if name == "RoundTripper" {
			assert.ErrorIs(t, err, ErrBodyLength)
		}
	}
}
