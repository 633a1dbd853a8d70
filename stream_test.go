package retryablehttp

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"strings"
	"testing"
	"testing/iotest"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

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

// sendings are the three ways to send a one-shot body.
var sendings = map[string]func(*testing.T, *Client, *onceSource) error{
	"NewRequest": func(t *testing.T, c *Client, s *onceSource) error {
		req, err := NewRequest("POST", "http://host/", s)
		require.NoError(t, err)
		_, err = c.Do(req)
		return err
	},
	"FromRequest": func(t *testing.T, c *Client, s *onceSource) error {
		httpReq, err := http.NewRequest("POST", "http://host/", s)
		require.NoError(t, err)
		req, err := FromRequest(httpReq)
		require.NoError(t, err)
		_, err = c.Do(req)
		return err
	},
	"RoundTripper": func(t *testing.T, c *Client, s *onceSource) error {
		httpReq, err := http.NewRequest("POST", "http://host/", s)
		require.NoError(t, err)
		_, err = (&RoundTripper{Client: c}).RoundTrip(httpReq)
		return err
	},
}

// Streamed bodies: one that is short enough is known whole before it is sent.
func TestShortOneShotBodyHasAContentLength(t *testing.T) {
	for name, send := range sendings {
		t.Run(name, func(t *testing.T) {
			source := newOnceSource(content)
			client, sent := scripted(status(503), status(200))
			client.ReplayMax = int64(len(content)) // no longer than that
			require.NoError(t, send(t, client, source))
			for _, req := range sent.seen {
				assert.EqualValues(t, len(content), req.ContentLength)
			}
			assert.Equal(t, len(content), source.read, "no byte twice")
			assert.Equal(t, 1, source.closes)
		})
	}
}

// Streamed bodies: a retry replays what was kept and goes on from the source.
func TestLongOneShotBodyIsReplayedAndContinued(t *testing.T) {
	data := strings.Repeat(content, 100)
	for name, send := range sendings {
		for _, before := range []int{0, 1, 99, 100} { // bytes the first attempts take
			t.Run(fmt.Sprint(name, before), func(t *testing.T) {
				source := newOnceSource(data)
				attempts := 0
				client, _ := scripted()
				client.ReplayMax = 100
				client.HTTPClient.Transport = roundTripFunc(func(req *http.Request) (*http.Response, error) {
					attempts++
					assert.Zero(t, req.ContentLength, "unknown")
					if attempts < 4 {
						got, err := io.ReadAll(io.LimitReader(req.Body, int64(before)))
						assert.NoError(t, err)
						assert.Equal(t, data[:before], string(got))
						assert.NoError(t, req.Body.Close())
						return respond(req, 503, ""), nil
					}
					got, err := io.ReadAll(req.Body)
					assert.NoError(t, err)
					assert.Equal(t, data, string(got))
					assert.Equal(t, 1, source.closes, "at its end")
					return respond(req, 200, ""), req.Body.Close()
				})
				require.NoError(t, send(t, client, source))
				assert.Equal(t, len(data), source.read)
				assert.Equal(t, 1, source.closes)
			})
		}
	}
}

// Streamed bodies: once more than ReplayMax was read the call gives up.
func TestOneShotBodyOfWhichTooMuchWasRead(t *testing.T) {
	for name, send := range sendings {
		for _, limit := range []int64{100, -1} {
			t.Run(fmt.Sprint(name, limit), func(t *testing.T) {
				source := newOnceSource(strings.Repeat(content, 100))
				client, sent := scripted()
				sent.steps = []func(*http.Request) (*http.Response, error){failure(errLost)}
				client.ReplayMax = limit
				err := send(t, client, source)
				var giveUp *GiveUpError
				require.ErrorAs(t, err, &giveUp)
				assert.Equal(t, ReasonNotReplayable, giveUp.Reason)
				assert.ErrorIs(t, err, ErrNotReplayable)
				assert.ErrorIs(t, err, errLost)
				assert.Len(t, sent.seen, 1)
				assert.Equal(t, 1, source.closes)
			})
		}
	}
}

// Streamed bodies: with nothing kept, a body that was not touched can still be sent.
func TestUntouchedBodySurvivesARefusedConnection(t *testing.T) {
	for name, send := range sendings {
		t.Run(name, func(t *testing.T) {
			source := newOnceSource(content)
			attempts := 0
			client, _ := scripted()
			client.ReplayMax = -1
			client.HTTPClient.Transport = roundTripFunc(func(req *http.Request) (*http.Response, error) {
				if attempts++; attempts < 3 {
					return nil, errors.Join(errLost, req.Body.Close())
				}
				got, err := io.ReadAll(req.Body)
				assert.NoError(t, err)
				assert.Equal(t, content, string(got))
				return respond(req, 200, ""), req.Body.Close()
			})
			require.NoError(t, send(t, client, source))
			assert.Equal(t, 1, source.closes)
		})
	}
}

// Streamed bodies: a source that fails.
func TestOneShotBodyThatFails(t *testing.T) {
	boom := errors.New("boom")
	for name, tc := range map[string]struct {
		reader io.Reader
		want   string
	}{
		"at once":       {iotest.ErrReader(boom), "reading the request body: boom"},
		"midway":        {io.MultiReader(strings.NewReader(content), iotest.ErrReader(boom)), "reading the request body: boom"},
		"after a while": {io.MultiReader(strings.NewReader(strings.Repeat(content, 100)), iotest.ErrReader(boom)), "boom"},
		"n > len(p)":    {tooMuch{}, "request body: Read returned 16385 for a buffer of 16384 bytes"},
	} {
		for way, send := range sendings {
			t.Run(name+way, func(t *testing.T) {
				source := &onceSource{Reader: tc.reader}
				client, sent := scripted(func(req *http.Request) (*http.Response, error) {
					_, err := io.ReadAll(req.Body)
					return nil, err
				})
				sent.steps = nil
				client.HTTPClient.Transport = roundTripFunc(func(req *http.Request) (*http.Response, error) {
					_, err := io.ReadAll(req.Body)
					return nil, errors.Join(err, req.Body.Close())
				})
				client.ReplayMax = 1 << 20
				if name == "after a while" {
					client.ReplayMax = 100
				}
				err := send(t, client, source)
				var giveUp *GiveUpError
				require.ErrorAs(t, err, &giveUp)
				assert.Equal(t, ReasonBody, giveUp.Reason)
				assert.ErrorContains(t, err, tc.want)
				assert.Equal(t, 1, source.closes)
			})
		}
	}
}

type tooMuch struct{}

func (tooMuch) Read(p []byte) (int, error) { return len(p) + 1, nil }

// Streamed bodies: a source that has nothing to give does not outlast the context.
func TestSlowOneShotBodyHeedsTheContext(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		reader, _ := io.Pipe()
		client, sent := scripted(status(200))
		req, err := NewRequestWithContext(ctx, "POST", "http://host/", reader)
		require.NoError(t, err)
		start := time.Now()
		_, err = client.Do(req)
		assert.ErrorIs(t, err, context.DeadlineExceeded)
		assert.Equal(t, time.Second, time.Since(start))
		assert.Empty(t, sent.seen)
	})
	synctest.Test(t, func(t *testing.T) {
		reader, _ := io.Pipe()
		client, _ := scripted(status(200))
		client.MaxElapsedTime = 2 * time.Second
		start := time.Now()
		_, err := client.Post("http://host/", "", reader)
		assert.ErrorIs(t, err, ErrMaxElapsedTime)
		assert.Equal(t, 2*time.Second, time.Since(start))
	})
}

// Streamed bodies: an attempt that is answered early may go on sending.
func TestEarlyAnswerLetsTheBodyGoOn(t *testing.T) {
	source := newOnceSource(strings.Repeat(content, 100))
	client, _ := scripted()
	client.ReplayMax = 10
	var body io.ReadCloser
	client.HTTPClient.Transport = roundTripFunc(func(req *http.Request) (*http.Response, error) {
		body = req.Body
		io.CopyN(io.Discard, body, 50)
		return respond(req, 200, ""), nil
	})
	_, err := client.Post("http://host/", "", source)
	require.NoError(t, err)
	assert.Zero(t, source.closes)
	rest, err := io.ReadAll(body)
	require.NoError(t, err)
	assert.Len(t, rest, 100*len(content)-50)
	require.NoError(t, body.Close())
	assert.Equal(t, 1, source.closes)
}

// Streamed bodies: a read that is under way when the next attempt begins is not lost.
func TestLateReadOfAnEarlierAttemptIsKept(t *testing.T) {
	reader, writer := io.Pipe()
	s := newStream(reader, 0)
	s.allow(4)
	old, err := s.reader()
	require.NoError(t, err)
	late := make(chan error)
	go func() {
		n, err := old.Read(make([]byte, 100))
		assert.Zero(t, n)
		late <- err
	}()
	for s.turn.TryLock() { // until the read is under way
		s.turn.Unlock()
	}
	require.True(t, s.hold())
	current, err := s.reader()
	require.NoError(t, err)
	go func() {
		writer.Write([]byte("0123456789"))
		writer.Write([]byte("abc"))
		writer.Close()
	}()
	assert.Equal(t, errSuperseded, <-late)
	got, err := io.ReadAll(current)
	require.NoError(t, err)
	assert.Equal(t, "0123456789abc", string(got))
}

// Streamed bodies: sending the same Request again.
func TestOneShotRequestCanBeSentAgainAsLongAsItIsKept(t *testing.T) {
	for limit, again := range map[int64]bool{0: true, 10: false} {
		source := newOnceSource(content)
		client, sent := scripted(status(200))
		client.ReplayMax = limit
		req, err := NewRequest("POST", "http://host/", source)
		require.NoError(t, err)
		_, err = client.Do(req)
		require.NoError(t, err)
		_, err = client.Do(req)
		if again {
			assert.NoError(t, err)
		} else {
			assert.ErrorIs(t, err, ErrNotReplayable)
			assert.Len(t, sent.seen, 1)
		}
		assert.Equal(t, 1, source.closes)
	}
}

func FuzzChunks(f *testing.F) {
	f.Add(uint64(1), uint16(3))
	f.Add(uint64(2), uint16(60_000))
	f.Fuzz(func(t *testing.T, seed uint64, size uint16) {
		random := rand.New(rand.NewPCG(seed, 0))
		var kept chunks
		var want []byte
		for range 20 {
			p := bytes.Repeat([]byte{byte(random.Uint32())}, random.IntN(int(size)+1))
			kept.append(p)
			want = append(want, p...)
		}
		var at position
		for at.n < int64(len(want)) {
			before := at.n
			if random.IntN(2) == 0 {
				n := min(random.IntN(int(size)+1), len(want)-int(at.n))
				kept.skip(&at, n)
				if at.n != before+int64(n) {
					t.Fatalf("skip %d: at %d after %d", n, at.n, before)
				}
				continue
			}
			p := make([]byte, random.IntN(int(size)+1)+1)
			n := kept.read(p, &at)
			if n == 0 || !bytes.Equal(p[:n], want[before:before+int64(n)]) || at.n != before+int64(n) {
				t.Fatalf("read %d at %d", n, before)
			}
		}
	})
}

// Streamed bodies: copies of a request share its one-shot body.
func TestCopiesOfARequestShareItsOneShotBody(t *testing.T) {
	source := newOnceSource(content)
	var got []string
	client, _ := scripted(func(req *http.Request) (*http.Response, error) { return respond(req, 200, ""), nil })
	client.HTTPClient.Transport = roundTripFunc(func(req *http.Request) (*http.Response, error) {
		data, err := io.ReadAll(req.Body)
		got = append(got, string(data))
		return respond(req, 200, ""), err
	})
	req, err := NewRequest("POST", "http://host/", source)
	require.NoError(t, err)
	for range 2 {
		_, err = client.Do(req.WithContext(t.Context()))
		require.NoError(t, err)
	}
	data, err := req.WithContext(t.Context()).BodyBytes()
	require.NoError(t, err)
	assert.Equal(t, content, string(data))
	_, err = client.Do(req)
	require.NoError(t, err)
	assert.Equal(t, []string{content, content, content}, got)

	httpReq, err := http.NewRequest("POST", "http://host/", strings.NewReader(content))
	require.NoError(t, err)
	req, err = FromRequest(httpReq)
	require.NoError(t, err)
	got = nil
	for range 2 {
		_, err = client.Do(req.WithContext(t.Context()))
		require.NoError(t, err)
	}
	assert.Equal(t, []string{content, content}, got)

	req.Body, req.GetBody = io.NopCloser(plainReader{strings.NewReader("another")}), nil
	req.ContentLength = 0
	_, err = client.Do(req)
	require.NoError(t, err)
	assert.Equal(t, "another", got[2], "a Body that replaces the first")
}

// Streamed bodies: a ReaderAt that returns n > len(p).
func TestReaderAtThatReturnsAWrongCount(t *testing.T) {
	client, _ := scripted()
	client.HTTPClient.Transport = roundTripFunc(func(req *http.Request) (*http.Response, error) {
		_, err := io.ReadAll(req.Body)
		return nil, err
	})
	_, err := client.Post("http://host/", "", wrongReaderAt{strings.NewReader(content)})
	assert.ErrorIs(t, err, ErrInvalidRead)
}

type wrongReaderAt struct{ *strings.Reader }

func (r wrongReaderAt) ReadAt(p []byte, _ int64) (int, error) { return len(p) + 1, nil }

// Streams: a failure of the source is told, though the server's answer came first.
func TestFailureOfTheSourceBehindAnAnswer(t *testing.T) {
	boom := errors.New("disk failed")
	client, _ := scripted(func(req *http.Request) (*http.Response, error) {
		io.Copy(io.Discard, req.Body)
		req.Body.Close()
		return respond(req, 503, ""), nil
	})
	client.ReplayMax = 4
	_, err := client.Post("http://host/", "", io.MultiReader(strings.NewReader(content), iotest.ErrReader(boom)))
	var giveUp *GiveUpError
	require.ErrorAs(t, err, &giveUp)
	assert.Equal(t, ReasonBody, giveUp.Reason)
	assert.ErrorIs(t, err, boom)
	assert.Equal(t, 503, giveUp.Response.StatusCode)
}

// Streams: a transport that reads on after it has closed the body gets nothing of a source
// that is closed.
func TestReadAfterCloseDoesNotReachTheSource(t *testing.T) {
	source := newOnceSource(strings.Repeat(content, 10))
	var body io.ReadCloser
	client := &Client{ReplayMax: 4, HTTPClient: &http.Client{Transport: roundTripFunc(func(req *http.Request) (*http.Response, error) {
		body = req.Body
		body.Close()
		return respond(req, 200, ""), nil
	})}}
	_, err := client.Post("http://host/", "", source)
	require.NoError(t, err)
	assert.Equal(t, 1, source.closes)
	before := source.read
	n, err := body.Read(make([]byte, 100))
	assert.Zero(t, n)
	assert.ErrorIs(t, err, http.ErrBodyReadAfterClose)
	assert.Equal(t, before, source.read)
}

// Spec 3: readers of one body that can be read at one place only. The one of an earlier
// attempt gets nothing, begun or not; nor does one that has begun once another is opened.
func TestReadersOfAnAttemptThatIsOver(t *testing.T) {
	opened, length := rewind(struct{ io.ReadSeeker }{strings.NewReader(content)}, 0, int64(len(content)))
	s := newStream(io.NopCloser(strings.NewReader(content)), length)
	s.allow(10)
	attempt := func(open bodyFunc) (io.Reader, error) {
		req := mustRequest(t, "http://host/")
		req.GetBody = open
		err := openBody(req)
		return req.Body, err
	}
	for kind, open := range map[string]bodyFunc{"seeker": opened, "stream": s.reader} {
		first, err := attempt(open)
		require.NoError(t, err)
		begun, err := open()
		require.NoError(t, err)
		n, err := begun.Read(make([]byte, 3))
		require.NoError(t, err)
		require.Equal(t, 3, n)
		_, err = open()
		require.NoError(t, err)
		_, err = begun.Read(make([]byte, 3))
		assert.Equal(t, errSuperseded, err, kind)

		if kind == "stream" {
			require.True(t, s.hold())
		}
		second, err := attempt(open)
		require.NoError(t, err)
		_, err = first.Read(make([]byte, 3))
		assert.Equal(t, errSuperseded, err, kind)
		got, err := io.ReadAll(second)
		require.NoError(t, err)
		assert.Equal(t, content, string(got), kind)
	}
}

// Streamed bodies: one that a hook has read beyond what is kept is not sent in part.
func TestStreamThatAHookHasReadIsNotSentInPart(t *testing.T) {
	client, _ := scripted(status(200))
	client.ReplayMax = 10
	client.RequestLogHook = func(_ Logger, req *http.Request, _ int) {
		body, err := req.GetBody()
		require.NoError(t, err)
		io.Copy(io.Discard, body)
	}
	client.HTTPClient.Transport = roundTripFunc(func(req *http.Request) (*http.Response, error) {
		_, err := io.ReadAll(req.Body)
		return nil, err
	})
	_, err := client.Post("http://host/", "", newOnceSource(content))
	assert.ErrorIs(t, err, ErrNotReplayable)
}
