package retryablehttp

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"testing/iotest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

const content = "the quick brown fox jumps over the lazy dog"

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

// Spec 3, every row.
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

// Spec 3, nil and http.NoBody; *bytes.Buffer; empty bodies of every kind.
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

// Spec 3, anything else.
func TestUnusableBodiesAreAnError(t *testing.T) {
	var nilFile *os.File
	var nilFunc ReaderFunc
	for want, raw := range map[string]any{
		"cannot handle type int":                        1,
		"cannot handle type map[string]string":          map[string]string{},
		"cannot handle nil *os.File":                    nilFile,
		"cannot handle nil *bytes.Buffer":               (*bytes.Buffer)(nil),
		"cannot handle nil retryablehttp.ReaderFunc":    nilFunc,
		"cannot handle nil func() (io.Reader, error)":   (func() (io.Reader, error))(nil),
		"cannot handle type struct {}":                  struct{}{},
		"cannot handle type func() *strings.Reader":     func() *strings.Reader { return nil },
		"cannot handle type *struct { a int }":          &struct{ a int }{},
		"cannot handle type []string":                   []string{"a"},
		"cannot handle type retryablehttp.plainWriter":  plainWriter{},
		"cannot handle nil *retryablehttp.closeCounter": (*closeCounter)(nil),
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

func noWait(_, _ time.Duration, _ int, _ *http.Response) time.Duration { return 0 }

// Spec 3, ReaderFunc: one call per attempt.
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

// Spec 2, permanent errors: a body shorter or longer than its declared length.
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

// Spec 3, other io.ReadSeeker: an earlier attempt's late read can never see or move it.
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
		n, err := old.Read(make([]byte, 100))
		assert.Zero(t, n)
		assert.ErrorIs(t, err, errSuperseded, "not io.EOF: a chunked body would pass for complete")
	})
	got, err := io.ReadAll(current)
	late.Wait()
	require.NoError(t, err)
	assert.Equal(t, content, string(got))
}

// Spec 3, io.ReaderAt with io.Seeker: two attempts can read at once.
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

// Spec 3, FromRequest and RoundTripper never read a body that comes with GetBody.
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

// Spec 3, FromRequest: the caller's body is closed exactly once, on every path.
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
			assert.EqualValues(t, len(content), req.ContentLength)
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
		"unusable logger":  {Logger: 1},
		"negative setting": {AttemptTimeout: -1},
	} {
		given := &closeCounter{Reader: strings.NewReader(content)}
		httpReq, err := http.NewRequest("POST", "http://host/", given)
		require.NoError(t, err)
		_, err = (&RoundTripper{Client: client}).RoundTrip(httpReq)
		require.Error(t, err)
		assert.Equal(t, 1, given.closed, name)
	}
}

// A Body that a user of net/http sets on the embedded request.
func TestBodySetOnTheEmbeddedRequest(t *testing.T) {
	req, err := NewRequest("POST", "http://host/", nil)
	require.NoError(t, err)
	req.Body = io.NopCloser(strings.NewReader(content))
	attempts := 0
	_, err = (&Client{RetryMax: 2, Backoff: noWait, HTTPClient: &http.Client{Transport: roundTripFunc(func(req *http.Request) (*http.Response, error) {
		attempts++
		got, err := io.ReadAll(req.Body)
		assert.NoError(t, err)
		assert.Equal(t, content, string(got))
		return respond(req, 500, ""), nil
	})}}).Do(req)
	require.Error(t, err)
	assert.Equal(t, 3, attempts)
}

// Spec 3: the caller's *http.Request is never modified.
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

// Spec 3, io.ReaderAt with io.Seeker: a file that does not tell its size is read as what it
// is, and not sent as if it were empty.
func TestFileThatSeemsEmpty(t *testing.T) {
	file, err := os.Open("/proc/self/cmdline")
	if err != nil {
		t.Skip("this system has no /proc: ", err)
	}
	defer file.Close()
	want, err := os.ReadFile("/proc/self/cmdline")
	require.NoError(t, err)
	require.NotEmpty(t, want)
	var got []string
	client := &Client{RetryMax: 1, Backoff: noWait, HTTPClient: &http.Client{Transport: roundTripFunc(func(req *http.Request) (*http.Response, error) {
		data, err := io.ReadAll(req.Body)
		got = append(got, string(data))
		assert.EqualValues(t, len(want), req.ContentLength)
		return respond(req, 503, ""), err
	})}}
	_, err = client.Post("http://host/", "", file)
	require.Error(t, err)
	assert.Equal(t, []string{string(want), string(want)}, got)
}
