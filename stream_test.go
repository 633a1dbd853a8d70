package retryablehttp

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"runtime"
	"strings"
	"testing"
	"testing/iotest"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// docs/spec.md, 7.1 and 7.5: a short body is read ahead, unless it is of an http.Request.
func TestShortOneShotBodyHasAContentLength(t *testing.T) {
	for name, send := range streamings {
		t.Run(name, func(t *testing.T) {
			source := newOnceSource(content)
			client, sent := scripted(status(503), status(200))
			client.ReplayMax = int64(len(content)) // no longer than that
			require.NoError(t, second(send(t.Context(), client, "http://host/", 0, source)))
			for _, req := range sent.seen {
				if name == "NewRequest" {
					assert.EqualValues(t, len(content), req.ContentLength)
				} else {
					assert.Zero(t, req.ContentLength, "as net/http sends it")
				}
			}
			assert.Equal(t, len(content), source.read, "no byte twice")
			assert.Equal(t, 1, source.closes)
		})
	}
}

// docs/spec.md, 7.3: a retry sends what was kept and goes on with the source.
func TestLongOneShotBodyIsReplayedAndContinued(t *testing.T) {
	data := strings.Repeat(content, 100)
	for name, send := range streamings {
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
					return respond(req, 200, ""), req.Body.Close()
				})
				require.NoError(t, second(send(t.Context(), client, "http://host/", 0, source)))
				assert.Equal(t, len(data), source.read)
				assert.Equal(t, 1, source.closes)
			})
		}
	}
}

// docs/spec.md, 7.4: after more than ReplayMax was read the call fails.
func TestOneShotBodyOfWhichTooMuchWasRead(t *testing.T) {
	for name, send := range streamings {
		for _, limit := range []int64{100, -1} {
			t.Run(fmt.Sprint(name, limit), func(t *testing.T) {
				source := newOnceSource(strings.Repeat(content, 100))
				client, sent := scripted()
				sent.steps = []func(*http.Request) (*http.Response, error){failure(errLost)}
				client.ReplayMax = limit
				err := second(send(t.Context(), client, "http://host/", 0, source))
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

// docs/spec.md, 7.2: a body that no attempt has read can be sent, although nothing is
// kept.
func TestUntouchedBodySurvivesARefusedConnection(t *testing.T) {
	for name, send := range streamings {
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
			require.NoError(t, second(send(t.Context(), client, "http://host/", 0, source)))
			assert.Equal(t, 1, source.closes)
		})
	}
}

// docs/spec.md, 7.6: a source that fails.
func TestOneShotBodyThatFails(t *testing.T) {
	boom := errors.New("boom")
	for name, tc := range map[string]struct {
		reader io.Reader
		want   string
	}{
		"at once":       {iotest.ErrReader(boom), "boom"},
		"midway":        {io.MultiReader(strings.NewReader(content), iotest.ErrReader(boom)), "boom"},
		"after a while": {io.MultiReader(strings.NewReader(strings.Repeat(content, 100)), iotest.ErrReader(boom)), "boom"},
		"n > len(p)":    {tooMuch{}, "invalid read of the request body: it returned "},
	} {
		for way, send := range streamings {
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
				err := second(send(t.Context(), client, "http://host/", 0, source))
				var giveUp *GiveUpError
				require.ErrorAs(t, err, &giveUp)
				assert.Equal(t, ReasonBody, giveUp.Reason)
				assert.ErrorContains(t, err, tc.want)
				if way == "NewRequest" && name != "after a while" {
					assert.ErrorContains(t, err, "reading the request body: ", "before it is sent")
				}
				assert.Equal(t, 1, source.closes)
			})
		}
	}
}

type tooMuch struct{}

func (tooMuch) Read(p []byte) (int, error) { return len(p) + 1, nil }

// docs/spec.md, 4.24: a source that has nothing to give does not outlast the context.
func TestSlowOneShotBodyHeedsTheContext(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		start := time.Now()
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		reader, _ := io.Pipe()
		client, _ := scripted()
		client.HTTPClient.Transport = roundTripFunc(func(req *http.Request) (*http.Response, error) {
			assert.Equal(t, 200*time.Millisecond, time.Since(start), "it is sent, since its writer may wait for the server")
			_, err := io.Copy(io.Discard, req.Body)
			return nil, errors.Join(err, req.Body.Close())
		})
		req, err := NewRequestWithContext(ctx, "POST", "http://host/", reader)
		require.NoError(t, err)
		_, err = client.Do(req)
		assert.ErrorIs(t, err, context.DeadlineExceeded)
		assert.Equal(t, time.Second, time.Since(start))
	})
	synctest.Test(t, func(t *testing.T) {
		reader, _ := io.Pipe()
		client, _ := scripted()
		client.HTTPClient.Transport = roundTripFunc(func(req *http.Request) (*http.Response, error) {
			<-req.Context().Done() // as net/http, which reads the body elsewhere
			return nil, errors.Join(context.Cause(req.Context()), req.Body.Close())
		})
		client.MaxElapsedTime = 2 * time.Second
		start := time.Now()
		_, err := client.Post("http://host/", "", reader)
		assert.ErrorIs(t, err, ErrMaxElapsedTime)
		assert.Equal(t, 2*time.Second, time.Since(start))
	})
}

// docs/spec.md, section 7: an attempt that got an early response may go on sending.
func TestEarlyResponseLetsTheBodyGoOn(t *testing.T) {
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

// docs/spec.md, 7.3: the bytes of a Read that ends after the next attempt has begun are
// not lost.
func TestLateReadOfAnEarlierAttemptIsKept(t *testing.T) {
	reader, writer := io.Pipe()
	s := newStream(reader)
	s.keep(4)
	old, err := s.newReader()
	require.NoError(t, err)
	late := make(chan error)
	go func() {
		n, err := old.Read(make([]byte, 100))
		assert.Zero(t, n)
		late <- err
	}()
	for len(s.turn) == 0 { // until the read is under way
		runtime.Gosched()
	}
	require.True(t, s.nextAttempt())
	current, err := s.newReader()
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

// docs/spec.md, 7.7: a second call with the same Request.
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
		for at := 0; at < len(want); {
			p := make([]byte, random.IntN(int(size)+1)+1)
			n := kept.readAt(p, int64(at))
			if n == 0 || !bytes.Equal(p[:n], want[at:at+n]) {
				t.Fatalf("read %d at %d", n, at)
			}
			at += n
		}
	})
}

// docs/spec.md, 4.22: copies of a Request share its body.
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

// docs/spec.md, 3.19: a ReadAt that returns more than len(p).
func TestReaderAtThatReturnsAWrongCount(t *testing.T) {
	client, _ := scripted()
	client.HTTPClient.Transport = roundTripFunc(func(req *http.Request) (*http.Response, error) {
		_, err := io.ReadAll(req.Body)
		return nil, err
	})
	_, err := client.Post("http://host/", "", wrongReaderAt{strings.NewReader(content)})
	assert.ErrorIs(t, err, ErrBodyLength)
}

type wrongReaderAt struct{ *strings.Reader }

func (r wrongReaderAt) ReadAt(p []byte, _ int64) (int, error) { return len(p) + 1, nil }

// docs/spec.md, 7.6: the call's error contains the failure of the source, also after an
// earlier response.
func TestSourceThatFailsAfterAResponse(t *testing.T) {
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

// docs/spec.md, 3.15: a transport that reads a body after closing it does not read the
// closed source.
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

// docs/spec.md, 3.10: the readers of one attempt share what is kept. A reader of an
// earlier attempt gets nothing, whether it has begun to read or not.
func TestReadersOfAnAttemptThatIsOver(t *testing.T) {
	s := newStream(io.NopCloser(plainReader{strings.NewReader(content)}))
	s.keep(10)
	begun, err := s.newReader()
	require.NoError(t, err)
	unread, err := s.newReader()
	require.NoError(t, err)
	_, err = io.ReadFull(begun, make([]byte, 3))
	require.NoError(t, err)
	require.True(t, s.nextAttempt())
	for _, old := range []io.Reader{begun, unread} {
		_, err = old.Read(make([]byte, 3))
		assert.Equal(t, errSuperseded, err)
	}
	current, err := s.newReader()
	require.NoError(t, err)
	other, err := s.newReader()
	require.NoError(t, err)
	start := make([]byte, 5)
	_, err = io.ReadFull(other, start)
	require.NoError(t, err)
	assert.Equal(t, content[:5], string(start))
	got, err := io.ReadAll(current)
	require.NoError(t, err)
	assert.Equal(t, content, string(got))
	_, err = other.Read(start)
	assert.ErrorIs(t, err, ErrNotReplayable, "current has read more than is kept")
}

// docs/spec.md, 7.4: a stream of which a hook has read more than is kept is not sent in
// part.
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
