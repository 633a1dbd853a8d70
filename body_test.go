package retryablehttp

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/iotest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// docs/spec.md, section 3: every kind of body.
func TestEveryBodyKindIsSentWholeOnEveryAttempt(t *testing.T) {
	for kind, raw := range bodyKinds(t) {
		t.Run(kind, func(t *testing.T) {
			var lengths []int64
			client := &Client{RetryMax: 3, Backoff: noWait, HTTPClient: &http.Client{Transport: roundTripFunc(func(req *http.Request) (*http.Response, error) {
				got, err := io.ReadAll(req.Body)
				require.NoError(t, err)
				require.NoError(t, req.Body.Close())
				require.Equal(t, content, string(got))
				lengths = append(lengths, req.ContentLength)
				return respond(req, 503, ""), nil
			})}}
			req, err := NewRequest("PUT", "http://host/", raw)
			require.NoError(t, err)
			for range 2 { // a Request can be sent again
				lengths = nil
				_, err = client.Do(req)
				require.ErrorContains(t, err, "giving up after 4 attempt(s)")
				want := int64(len(content))
				if kind == "ReaderFunc without a length" {
					want = 0 // unknown, beside a non-nil Body
				}
				assert.Equal(t, []int64{want, want, want, want}, lengths)
			}
			data, err := req.BodyBytes()
			require.NoError(t, err)
			assert.Equal(t, content, string(data))
			var buf bytes.Buffer
			n, err := req.WriteTo(&buf)
			require.NoError(t, err)
			assert.EqualValues(t, len(content), n)
			assert.Equal(t, content, buf.String())
		})
	}
}

// docs/spec.md, 3.1 to 3.8 and 3.12: an empty body of any kind has length 0.
func TestEmptyBodiesHaveLengthZero(t *testing.T) {
	for kind, raw := range map[string]any{
		"nil": nil, "NoBody": http.NoBody, "[]byte": []byte{}, "nil []byte": []byte(nil), "string": "", "buffer": &bytes.Buffer{},
		"reader": bytes.NewReader(nil), "seeker": plainSeeker{strings.NewReader("")}, "plain": plainReader{strings.NewReader("")},
		"func": ReaderFunc(func() (io.Reader, error) { return strings.NewReader(""), nil }), "file": tempFile(t, ""),
	} {
		t.Run(kind, func(t *testing.T) {
			req, err := NewRequest("POST", "http://host/", raw)
			require.NoError(t, err)
			data, err := req.BodyBytes()
			require.NoError(t, err)
			assert.Empty(t, data)
			client := &Client{HTTPClient: &http.Client{Transport: roundTripFunc(func(req *http.Request) (*http.Response, error) {
				assert.Zero(t, req.ContentLength)
				assert.True(t, req.Body == nil || req.Body == http.NoBody)
				return respond(req, 200, ""), nil
			})}}
			_, err = client.Do(req)
			require.NoError(t, err)
		})
	}
}

// docs/spec.md, 3.9: values that are not a body are an error.
func TestUnusableBodiesAreAnError(t *testing.T) {
	var nilFile *os.File
	var nilFunc ReaderFunc
	const kinds = ", want a []byte, a string, an io.Reader or a function that returns one"
	for want, raw := range map[string]any{
		"retryablehttp: cannot handle type int" + kinds:                       1,
		"retryablehttp: cannot handle type map[string]string" + kinds:         map[string]string{},
		"retryablehttp: cannot handle nil *os.File":                           nilFile,
		"retryablehttp: cannot handle nil *bytes.Buffer":                      (*bytes.Buffer)(nil),
		"retryablehttp: cannot handle nil retryablehttp.ReaderFunc":           nilFunc,
		"retryablehttp: cannot handle nil func() (io.Reader, error)":          (func() (io.Reader, error))(nil),
		"retryablehttp: cannot handle type struct {}" + kinds:                 struct{}{},
		"retryablehttp: cannot handle type func() *strings.Reader" + kinds:    func() *strings.Reader { return nil },
		"retryablehttp: cannot handle type *struct { a int }" + kinds:         &struct{ a int }{},
		"retryablehttp: cannot handle type []string" + kinds:                  []string{"a"},
		"retryablehttp: cannot handle type retryablehttp.plainWriter" + kinds: plainWriter{},
		"retryablehttp: cannot handle nil *retryablehttp.closeCounter":        (*closeCounter)(nil),
	} {
		_, err := NewRequest("POST", "http://host/", raw)
		assert.EqualError(t, err, want)

		req, err := NewRequest("POST", "http://host/", "before")
		require.NoError(t, err)
		require.EqualError(t, req.SetBody(raw), want)
		data, err := req.BodyBytes()
		require.NoError(t, err)
		assert.Equal(t, "before", string(data), "a refused body leaves the request as it was")
		assert.EqualValues(t, len("before"), req.ContentLength)
	}
}

type plainWriter struct{ io.Writer }

// docs/spec.md, 3.7: a ReaderFunc is called once for each attempt, and its readers are
// closed.
func TestReaderFuncIsCalledOncePerAttemptAndItsReadersClosed(t *testing.T) {
	var readers []*closeCounter
	req, err := NewRequest("POST", "http://host/", ReaderFunc(func() (io.Reader, error) {
		readers = append(readers, &closeCounter{Reader: strings.NewReader(content)})
		return readers[len(readers)-1], nil
	}))
	require.NoError(t, err)
	assert.Empty(t, readers, "nothing is opened before it is sent")
	client := &Client{RetryMax: 2, Backoff: noWait, HTTPClient: &http.Client{Transport: roundTripFunc(func(req *http.Request) (*http.Response, error) {
		io.Copy(io.Discard, req.Body)
		req.Body.Close()
		return respond(req, 500, ""), nil
	})}}
	_, err = client.Do(req)
	require.Error(t, err)
	require.Len(t, readers, 3)
	for _, r := range readers {
		assert.Equal(t, 1, r.closed)
	}
}

func TestReaderFuncFailures(t *testing.T) {
	boom := errors.New("boom")
	for want, fn := range map[string]ReaderFunc{
		"boom": func() (io.Reader, error) { return nil, boom },
		"body function returned neither a reader nor an error": func() (io.Reader, error) { return nil, nil },
	} {
		req, err := NewRequest("POST", "http://host/", fn)
		require.NoError(t, err)
		_, err = (&Client{RetryMax: 3, Backoff: noWait, HTTPClient: &http.Client{Transport: roundTripFunc(func(*http.Request) (*http.Response, error) {
			t.Error("nothing may be sent")
			return nil, boom
		})}}).Do(req)
		var giveUp *GiveUpError
		require.ErrorAs(t, err, &giveUp)
		assert.Equal(t, ReasonBody, giveUp.Reason)
		assert.Equal(t, "POST http://host/ giving up after 0 attempt(s): "+want, err.Error())
	}
}

// docs/spec.md, 3.19: a body that is shorter or longer than declared is not retried.
func TestBodyThatDoesNotHaveItsLength(t *testing.T) {
	for name, raw := range map[string]func(t *testing.T) any{
		"short ReaderFunc": func(*testing.T) any {
			return ReaderFunc(func() (io.Reader, error) { return lengthLiar{strings.NewReader("ab"), 3}, nil })
		},
		"long ReaderFunc": func(*testing.T) any {
			return ReaderFunc(func() (io.Reader, error) { return lengthLiar{strings.NewReader("abcd"), 3}, nil })
		},
		"file that shrank": func(t *testing.T) any { return tempFile(t, "abc") },
	} {
		t.Run(name, func(t *testing.T) {
			body := raw(t)
			req, err := NewRequest("POST", "http://host/", body)
			require.NoError(t, err)
			if file, ok := body.(*os.File); ok {
				require.NoError(t, os.Truncate(file.Name(), 1))
			}
			attempts := 0
			_, err = (&Client{RetryMax: 3, Backoff: noWait, HTTPClient: &http.Client{Transport: roundTripFunc(func(req *http.Request) (*http.Response, error) {
				attempts++
				got, err := io.ReadAll(req.Body)
				assert.LessOrEqual(t, len(got), 3)
				return nil, err
			})}}).Do(req)
			require.ErrorIs(t, err, ErrBodyLength)
			assert.Equal(t, 1, attempts)
		})
	}
}

type lengthLiar struct {
	io.Reader
	n int
}

func (l lengthLiar) Len() int { return l.n }

// docs/spec.md, 3.10: a late read of an earlier attempt takes no bytes of an
// io.ReadSeeker from a later one.
func TestLateReadOfAnEarlierAttemptCannotStealFromASeeker(t *testing.T) {
	req, err := NewRequest("POST", "http://host/", plainSeeker{strings.NewReader(content)})
	require.NoError(t, err)
	old, err := req.GetBody()
	require.NoError(t, err)
	first := make([]byte, 5)
	_, err = io.ReadFull(old, first)
	require.NoError(t, err)

	current, err := req.GetBody()
	require.NoError(t, err)
	var late sync.WaitGroup
	late.Go(func() {
		rest, err := io.ReadAll(iotest.OneByteReader(old))
		assert.NoError(t, err)
		assert.Equal(t, content[5:], string(rest))
	})
	got, err := io.ReadAll(iotest.OneByteReader(current))
	late.Wait()
	require.NoError(t, err)
	assert.Equal(t, content, string(got))
}

// docs/spec.md, 3.5: two attempts can read a file at the same time.
func TestTwoAttemptsCanReadAFileAtOnce(t *testing.T) {
	file := tempFile(t, strings.Repeat(content, 1000))
	req, err := NewRequest("POST", "http://host/", file)
	require.NoError(t, err)
	var readers sync.WaitGroup
	for range 4 {
		body, err := req.GetBody()
		require.NoError(t, err)
		readers.Go(func() {
			got, err := io.ReadAll(body)
			assert.NoError(t, err)
			assert.Equal(t, len(content)*1000, len(got))
			assert.NoError(t, body.Close())
		})
	}
	readers.Wait()
	_, err = file.Stat()
	assert.NoError(t, err, "a caller's file stays open")
}

// docs/spec.md, 3.13: a body with GetBody is not read before it is sent.
func TestFromRequestSendsTheGivenBodyFirst(t *testing.T) {
	given := &closeCounter{Reader: strings.NewReader(content)}
	var opened []*closeCounter
	httpReq, err := http.NewRequest("POST", "http://host/", given)
	require.NoError(t, err)
	httpReq.GetBody = func() (io.ReadCloser, error) {
		opened = append(opened, &closeCounter{Reader: strings.NewReader(content)})
		return opened[len(opened)-1], nil
	}
	for _, send := range []func(*Client) error{
		func(c *Client) error { _, err := (&RoundTripper{Client: c}).RoundTrip(httpReq); return err },
		func(c *Client) error {
			req, err := FromRequest(httpReq)
			require.NoError(t, err)
			assert.Same(t, httpReq, req.Request)
			_, err = c.Do(req)
			return err
		},
	} {
		*given = closeCounter{Reader: strings.NewReader(content)}
		opened = nil
		var bodies []io.Reader
		err = send(&Client{RetryMax: 2, Backoff: noWait, HTTPClient: &http.Client{Transport: roundTripFunc(func(req *http.Request) (*http.Response, error) {
			bodies = append(bodies, req.Body)
			got, err := io.ReadAll(req.Body)
			assert.NoError(t, err)
			assert.Equal(t, content, string(got))
			req.Body.Close()
			return nil, io.ErrUnexpectedEOF
		})}})
		require.ErrorIs(t, err, io.ErrUnexpectedEOF)
		require.Len(t, opened, 2)
		assert.Equal(t, []io.Reader{given, opened[0], opened[1]}, bodies, "the first attempt gets the very Body")
		for _, body := range append(opened, given) {
			assert.Equal(t, 1, body.closed)
		}
		assert.Same(t, given, httpReq.Body, "the caller's Body field is as it was")
	}
}

// docs/spec.md, 3.13 and 3.15: a body without GetBody is kept and sent again, and closed
// once on every path.
func TestBodyWithoutGetBodyIsReplayedAndClosedOnce(t *testing.T) {
	for _, roundTripper := range []bool{false, true} {
		given := &closeCounter{Reader: strings.NewReader(content)}
		httpReq, err := http.NewRequest("POST", "http://host/", given)
		require.NoError(t, err)
		attempts := 0
		client := &Client{RetryMax: 2, Backoff: noWait, HTTPClient: &http.Client{Transport: roundTripFunc(func(req *http.Request) (*http.Response, error) {
			attempts++
			got, err := io.ReadAll(req.Body)
			assert.NoError(t, err)
			assert.Equal(t, content, string(got))
			assert.Zero(t, req.ContentLength, "nothing is read ahead")
			req.Body.Close()
			return respond(req, 502, ""), nil
		})}}
		if roundTripper {
			_, err = (&RoundTripper{Client: client}).RoundTrip(httpReq)
		} else {
			var req *Request
			req, err = FromRequest(httpReq)
			require.NoError(t, err)
			_, err = client.Do(req)
		}
		require.Error(t, err)
		assert.Equal(t, 3, attempts)
		assert.Equal(t, 1, given.closed)
		assert.Same(t, given, httpReq.Body)
		assert.Nil(t, httpReq.GetBody)
		assert.Zero(t, httpReq.ContentLength)
	}
}

func TestBodyIsClosedWhenTheCallIsRefused(t *testing.T) {
	for name, client := range map[string]*Client{
		"unusable logger": {Logger: 1},
	} {
		given := &closeCounter{Reader: strings.NewReader(content)}
		httpReq, err := http.NewRequest("POST", "http://host/", given)
		require.NoError(t, err)
		_, err = (&RoundTripper{Client: client}).RoundTrip(httpReq)
		require.Error(t, err)
		assert.Equal(t, 1, given.closed, name)
	}
}

// A program may set Body on the embedded http.Request.
func TestBodySetOnTheEmbeddedRequest(t *testing.T) {
	for name, raw := range map[string]any{
		"nothing":  nil,
		"bytes":    []byte("old"),
		"buffer":   bytes.NewBufferString("old"),
		"reader":   strings.NewReader("old"),
		"function": func() (io.Reader, error) { return strings.NewReader("old"), nil },
		"file":     tempFile(t, "old"),
		"stream":   plainReader{strings.NewReader("old")},
	} {
		t.Run(name, func(t *testing.T) {
			req, err := NewRequest("POST", "http://host/", raw)
			require.NoError(t, err)
			derived := req.Clone(t.Context())
			client, sent := scripted(status(500), status(307, "Location", "/"), status(200))
			for _, req := range []*Request{req, derived} {
				sent.seen, sent.bodies = nil, nil
				req.Body = io.NopCloser(plainReader{strings.NewReader("new")})
				_, err = client.Do(req)
				require.NoError(t, err)
				assert.Equal(t, []string{"new", "new", "new"}, sent.bodies)
				data, err := req.BodyBytes()
				require.NoError(t, err)
				assert.Equal(t, "new", string(data))
			}
		})
	}
	req, err := NewRequest("POST", "http://host/", "old")
	require.NoError(t, err)
	req.Body = io.NopCloser(strings.NewReader("new"))
	req.GetBody = func() (io.ReadCloser, error) { return io.NopCloser(strings.NewReader("new again")), nil }
	req.ContentLength = -1
	client, sent := scripted(status(500), status(200))
	_, err = client.Do(req)
	require.NoError(t, err)
	assert.Equal(t, []string{"new", "new again"}, sent.bodies, "a GetBody that was replaced too")
}

// docs/spec.md, 3.14: the caller's *http.Request is not modified.
func TestSetBodyLeavesTheRequestGivenToFromRequestAlone(t *testing.T) {
	httpReq, err := http.NewRequest("POST", "http://host/", strings.NewReader("old"))
	require.NoError(t, err)
	before := *httpReq
	req, err := FromRequest(httpReq)
	require.NoError(t, err)
	require.NoError(t, req.SetBody("new body"))
	assert.Equal(t, before.Body, httpReq.Body)
	assert.EqualValues(t, 3, httpReq.ContentLength)
	assert.EqualValues(t, 8, req.ContentLength)
}

func TestWithContextKeepsBodyAndHandler(t *testing.T) {
	req, err := NewRequest("POST", "http://host/", content)
	require.NoError(t, err)
	handled := 0
	req.SetResponseHandler(func(*http.Response) error { handled++; return nil })
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	derived := req.WithContext(ctx)
	assert.Equal(t, ctx, derived.Context())
	assert.Equal(t, context.Background(), req.Context())
	data, err := derived.BodyBytes()
	require.NoError(t, err)
	assert.Equal(t, content, string(data))
	_, err = (&Client{HTTPClient: &http.Client{Transport: roundTripFunc(func(req *http.Request) (*http.Response, error) {
		return respond(req, 200, ""), nil
	})}}).Do(derived)
	require.NoError(t, err)
	assert.Equal(t, 1, handled)
}

func TestFromRequestOfNothing(t *testing.T) {
	_, err := FromRequest(nil)
	assert.ErrorIs(t, err, errNilRequest)
}

func FuzzSetBodyWithOffsetReaders(f *testing.F) {
	f.Add([]byte(content), uint16(4), uint8(3), uint8(0))
	f.Add([]byte{}, uint16(9), uint8(0), uint8(1))
	f.Add([]byte("ab"), uint16(2), uint8(1), uint8(2))
	f.Fuzz(func(t *testing.T, data []byte, offset uint16, steal, kind uint8) {
		var raw io.ReadSeeker
		switch kind % 3 {
		case 0:
			raw = bytes.NewReader(data)
		case 1:
			raw = io.NewSectionReader(bytes.NewReader(data), 0, int64(len(data)))
		default:
			raw = plainSeeker{bytes.NewReader(data)}
		}
		if _, err := raw.Seek(int64(offset), io.SeekStart); err != nil {
			t.Fatal(err)
		}
		want := data[min(int(offset), len(data)):]
		req, err := NewRequest("PUT", "http://host/", raw)
		if err != nil || req.ContentLength != int64(len(want)) {
			t.Fatalf("length %d, error %v", req.ContentLength, err)
		}
		for range 2 {
			stale, err := req.GetBody()
			if err != nil {
				t.Fatal(err)
			}
			io.CopyN(io.Discard, stale, int64(steal))
			fresh, err := req.GetBody()
			if err != nil {
				t.Fatal(err)
			}
			if got, err := io.ReadAll(fresh); err != nil || !bytes.Equal(got, want) {
				t.Fatalf("got %q, %v; want %q", got, err, want)
			}
		}
	})
}

// docs/spec.md, 2.2 and 2.10: a hook may read the body through GetBody, for example to
// sign it, and may or may not close that reader.
func TestHookMayLookAtTheBody(t *testing.T) {
	for kind := range bodyKinds(t) {
		for name, look := range map[string]func(io.ReadCloser){
			"reads and closes it": func(b io.ReadCloser) { io.Copy(io.Discard, b); b.Close() },
			"reads it":            func(b io.ReadCloser) { io.Copy(io.Discard, b) },
			"reads some of it":    func(b io.ReadCloser) { b.Read(make([]byte, 3)); b.Close() },
			"closes it":           func(b io.ReadCloser) { b.Close() },
			"forgets it":          func(io.ReadCloser) {},
		} {
			t.Run(kind+"/"+name, func(t *testing.T) {
				raw := bodyKinds(t)[kind]
				var got []string
				client := &Client{RetryMax: 2, Backoff: noWait, HTTPClient: &http.Client{Transport: roundTripFunc(func(req *http.Request) (*http.Response, error) {
					data, err := io.ReadAll(req.Body)
					got = append(got, string(data))
					req.Body.Close()
					return respond(req, 503, ""), err
				})}}
				client.RequestLogHook = func(_ Logger, req *http.Request, _ int) {
					body, err := req.GetBody()
					if assert.NoError(t, err) {
						look(body)
					}
				}
				_, err := client.Post("http://host/", "", raw)
				require.Error(t, err)
				assert.Equal(t, []string{content, content, content}, got)
			})
		}
	}
}

// A hook may call GetBody of a request without a body, as in the published library. That
// GetBody is not used for a Body that is set later.
func TestGetBodyOfARequestWithoutABody(t *testing.T) {
	client, sent := scripted(status(503), status(200))
	client.RequestLogHook = func(_ Logger, req *http.Request, _ int) {
		body, err := req.GetBody()
		assert.NoError(t, err)
		assert.Equal(t, http.NoBody, body)
	}
	_, err := client.Get("http://host/")
	require.NoError(t, err)
	assert.Nil(t, sent.seen[1].Body)

	client.RequestLogHook, sent.seen = nil, nil
	sent.steps = []func(*http.Request) (*http.Response, error){status(503), status(200)}
	req, err := NewRequest("POST", "http://host/", nil)
	require.NoError(t, err)
	req.Body = io.NopCloser(strings.NewReader(content))
	_, err = client.Do(req)
	require.NoError(t, err)
	assert.Equal(t, []string{content, content}, sent.bodies)
}

// docs/spec.md, 3.1: a request whose Body is nil or http.NoBody has no body, also if it
// has a GetBody.
func TestRequestWithoutABodySendsNone(t *testing.T) {
	for way, send := range sends {
		for _, none := range []io.ReadCloser{nil, http.NoBody} {
			req, err := http.NewRequest("POST", "http://host/", strings.NewReader(content))
			require.NoError(t, err)
			req.Body, req.ContentLength = none, 0
			var got []io.ReadCloser
			client := &Client{RetryMax: 1, Backoff: noWait, HTTPClient: &http.Client{Transport: roundTripFunc(func(req *http.Request) (*http.Response, error) {
				got = append(got, req.Body)
				return respond(req, 503, ""), nil
			})}}
			require.Error(t, send(client, req))
			assert.Equal(t, []io.ReadCloser{none, none}, got, way)
		}
	}
}

// docs/spec.md, section 3: net/http can send the http.Request of a Request.
func TestEmbeddedRequestCanBeSentByNetHTTP(t *testing.T) {
	var got []string
	server := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		data, _ := io.ReadAll(r.Body)
		got = append(got, string(data))
	}))
	defer server.Close()
	for kind, raw := range bodyKinds(t) {
		req, err := NewRequest("POST", server.URL, raw)
		require.NoError(t, err)
		got = nil
		resp, err := server.Client().Do(req.Request)
		require.NoError(t, err, kind)
		resp.Body.Close()
		assert.Equal(t, []string{content}, got, kind)

		if req.GetBody == nil {
			continue
		}
		req, err = NewRequest("POST", server.URL, bodyKinds(t)[kind])
		require.NoError(t, err)
		got = nil
		for range 2 {
			resp, err := (&RoundTripper{Client: &Client{HTTPClient: server.Client()}}).RoundTrip(req.Request)
			require.NoError(t, err, kind)
			resp.Body.Close()
		}
		assert.Equal(t, []string{content, content}, got, kind)
	}
}

// trailing fills in a trailer when it ends, as a body that is hashed on its way does.
type trailing struct {
	io.Reader
	trailer http.Header
}

func (b *trailing) Read(p []byte) (int, error) {
	n, err := b.Reader.Read(p)
	if err == io.EOF {
		b.trailer.Set("X-Sum", "42")
	}
	return n, err
}

func (b *trailing) Close() error { return nil }

// docs/spec.md, 3.22: every attempt sends the trailers, also after a body that can be
// read only once.
func TestTrailersAreSent(t *testing.T) {
	for way, send := range sends {
		for _, oneShot := range []bool{false, true} {
			for _, hook := range []bool{false, true} {
				var got []string
				server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
					io.Copy(io.Discard, r.Body)
					if got = append(got, r.Trailer.Get("X-Sum")); len(got) == 1 {
						w.WriteHeader(503)
					}
				}))
				client := &Client{RetryMax: 1, Backoff: noWait, HTTPClient: server.Client()}
				if hook {
					client.RequestLogHook = func(Logger, *http.Request, int) {}
				}
				req := mustRequest(t, server.URL)
				req.Method, req.Trailer = "POST", http.Header{"X-Sum": nil}
				open := func() (io.ReadCloser, error) {
					return &trailing{strings.NewReader(content), req.Trailer}, nil
				}
				req.Body, _ = open()
				if !oneShot {
					req.GetBody = open
				}
				require.NoError(t, send(client, req))
				assert.Equal(t, []string{"42", "42"}, got, "%s, one-shot %t, hook %t", way, oneShot, hook)
				server.Close()
			}
		}
	}
}

// docs/spec.md, 3.19: a short body is an error over HTTP/2, where net/http does not check
// the length, also for a RoundTripper, whose first attempt sends the Body as it is.
func TestShortBodyOfARoundTripperOverHTTP2(t *testing.T) {
	var whole atomic.Int32
	server := httptest.NewUnstartedServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		if _, err := io.ReadAll(r.Body); err == nil {
			whole.Add(1)
		}
	}))
	server.EnableHTTP2 = true
	server.StartTLS()
	defer server.Close()
	for way, send := range sends {
		attempts := 0
		client := &Client{RetryMax: 3, Backoff: noWait, HTTPClient: server.Client(), OnAttempt: func(Attempt) { attempts++ }}
		req := mustRequest(t, server.URL)
		req.Method, req.ContentLength = "POST", 100
		req.GetBody = func() (io.ReadCloser, error) { return io.NopCloser(plainReader{strings.NewReader(content)}), nil }
		req.Body, _ = req.GetBody()
		assert.ErrorIs(t, send(client, req), ErrBodyLength, way)
		assert.Equal(t, 1, attempts, way)
	}
	assert.Zero(t, whole.Load())
}

// docs/spec.md, 3.15: the body that http.Client opens for a redirect is closed if the
// redirect is not followed.
func TestBodyOpenedForARedirectThatIsNotFollowedIsClosed(t *testing.T) {
	for _, code := range []int{307, 308} {
		var readers []*closeCounter
		client, _ := scripted(status(code, "Location", "/2"))
		client.HTTPClient.CheckRedirect = func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }
		resp, err := client.Post("http://host/", "", ReaderFunc(func() (io.Reader, error) {
			readers = append(readers, &closeCounter{Reader: strings.NewReader(content)})
			return readers[len(readers)-1], nil
		}))
		require.NoError(t, err)
		assert.Equal(t, code, resp.StatusCode)
		for i, reader := range readers {
			assert.Equal(t, 1, reader.closed, "reader %d of %d", i+1, len(readers))
		}
	}
}

// docs/spec.md, 3.15: Close may be called during a Read and does not wait for it. Run
// with -race.
func TestCloseDoesNotWaitForARead(t *testing.T) {
	for name, wrap := range map[string]func(*blockedSeeker) io.ReadCloser{
		"a Request's Body": func(s *blockedSeeker) io.ReadCloser {
			req, err := NewRequest("POST", "http://host/", s)
			require.NoError(t, err)
			return req.Body
		},
		"an attempt's body": func(s *blockedSeeker) io.ReadCloser {
			req, err := NewRequest("POST", "http://host/", s)
			require.NoError(t, err)
			body, err := req.GetBody()
			require.NoError(t, err)
			return body
		},
	} {
		t.Run(name, func(t *testing.T) {
			seeker := &blockedSeeker{strings.NewReader(content), make(chan struct{}), make(chan struct{})}
			body := wrap(seeker)
			closed := make(chan struct{})
			var readers sync.WaitGroup
			readers.Go(func() { body.Read(make([]byte, 10)) })
			<-seeker.reading
			readers.Go(func() {
				body.Close()
				close(closed)
			})
			select {
			case <-closed:
			case <-time.After(10 * time.Second):
				t.Error("Close waits")
			}
			close(seeker.free)
			readers.Wait()
		})
	}
	req, err := NewRequest("POST", "http://host/", &blockedSeeker{Seeker: strings.NewReader(content)})
	require.NoError(t, err)
	require.NoError(t, req.Body.Close())
	_, err = req.Body.Read(make([]byte, 10))
	assert.ErrorIs(t, err, http.ErrBodyReadAfterClose)
}

// blockedSeeker tells when it is read, and goes on when free is closed.
type blockedSeeker struct {
	io.Seeker
	reading, free chan struct{}
}

func (s *blockedSeeker) Read([]byte) (int, error) {
	close(s.reading)
	<-s.free
	return 0, io.EOF
}
