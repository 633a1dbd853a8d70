package retrytest_test

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"io"
	"net/http"
	"runtime"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/a0b132ce/retryablehttp/retrytest"
)

var protocols = []retrytest.Protocol{retrytest.HTTP1, retrytest.HTTPS, retrytest.HTTP2}

// overAll runs a test on every protocol, with a server of the given steps, and
// checks that no connection is left behind.
func overAll(t *testing.T, protocols []retrytest.Protocol, steps []retrytest.Step, test func(*testing.T, *retrytest.Server)) {
	t.Helper()
	for _, protocol := range protocols {
		t.Run(string(protocol), func(t *testing.T) {
			server := retrytest.NewServer(protocol, steps...)
			defer server.Close()
			test(t, server)
			require.Eventually(t, func() bool {
				// A client may need a moment to see that a connection is idle.
				server.Client().CloseIdleConnections()
				return server.OpenConns() == 0
			}, 5*time.Second, time.Millisecond, "open connections")
		})
	}
}

func get(t *testing.T, server *retrytest.Server) (*http.Response, string, error) {
	t.Helper()
	resp, err := server.Client().Get(server.URL + "/path?q=1")
	if err != nil {
		return nil, "", err
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	return resp, string(body), err
}

func TestServerAnswersAndRecords(t *testing.T) {
	long := strings.Repeat("long", 50_000)
	steps := []retrytest.Step{
		{Status: 503, Header: http.Header{"Retry-After": {"1"}}, Body: "busy"},
		{Body: long, Chunked: true, Header: http.Header{"Long": {long[:40_000]}}},
		{Status: 204},
		{Chunked: true},
	}
	overAll(t, protocols, steps, func(t *testing.T, server *retrytest.Server) {
		req, err := http.NewRequest("POST", server.URL+"/path?q=1", strings.NewReader(long))
		require.NoError(t, err)
		req.Header.Set("X-Question", "why?")
		resp, err := server.Client().Do(req)
		require.NoError(t, err)
		body, err := io.ReadAll(resp.Body)
		require.NoError(t, err)
		resp.Body.Close()
		assert.Equal(t, 503, resp.StatusCode)
		assert.Equal(t, "1", resp.Header.Get("Retry-After"))
		assert.Equal(t, "busy", string(body))
		assert.EqualValues(t, 4, resp.ContentLength)

		resp, got, err := get(t, server)
		require.NoError(t, err)
		assert.Equal(t, 200, resp.StatusCode)
		assert.EqualValues(t, -1, resp.ContentLength)
		assert.Equal(t, long, got)
		assert.Equal(t, long[:40_000], resp.Header.Get("Long"))

		resp, got, err = get(t, server)
		require.NoError(t, err)
		assert.Equal(t, 204, resp.StatusCode)
		assert.Empty(t, got)

		_, got, err = get(t, server)
		require.NoError(t, err)
		assert.Empty(t, got)

		attempts := server.Attempts()
		require.Len(t, attempts, 4)
		first := attempts[0]
		assert.Equal(t, 1, first.Number)
		assert.Equal(t, "POST", first.Method)
		assert.Equal(t, "/path?q=1", first.URL)
		assert.Equal(t, server.URL[strings.Index(server.URL, "//")+2:], first.Host)
		assert.Equal(t, "why?", first.Header.Get("X-Question"))
		assert.EqualValues(t, len(long), first.ContentLength)
		assert.True(t, first.BodyRead)
		assert.NoError(t, first.BodyErr)
		assert.EqualValues(t, len(long), first.BodySize)
		assert.Equal(t, sha256.Sum256([]byte(long)), first.BodySHA256)
		assert.Equal(t, long, string(first.Body))
		assert.Equal(t, sha256.Sum256(nil), attempts[1].BodySHA256)
		assert.Equal(t, 1, server.Accepted())
		assert.Equal(t, 1, attempts[3].Conn)
	})
}

func TestServerSpeaksTheProtocol(t *testing.T) {
	overAll(t, protocols, []retrytest.Step{{}}, func(t *testing.T, server *retrytest.Server) {
		resp, _, err := get(t, server)
		require.NoError(t, err)
		major := 1
		if strings.HasSuffix(t.Name(), "HTTP/2") {
			major = 2
		}
		assert.Equal(t, major, resp.ProtoMajor)
	})
}

func TestServerFaultsReachTheClient(t *testing.T) {
	body := strings.Repeat("b", 10_000)
	for _, test := range []struct {
		name      string
		step      retrytest.Step
		protocols []retrytest.Protocol
		body      int // bytes of body that arrive; -1: not even headers
		check     func(error) bool
	}{
		{"reset", retrytest.Step{Fault: retrytest.Reset}, protocols[:2], -1, isReset},
		{"reset of HTTP/2", retrytest.Step{Fault: retrytest.Reset}, protocols[2:], -1, func(err error) bool { return isReset(err) || isEOF(err) }}, // net/http has both names for it
		{"reset after headers", retrytest.Step{Body: body, Fault: retrytest.Reset, After: retrytest.HeadersOnly}, protocols, -2, nil},
		{"close", retrytest.Step{Fault: retrytest.Close}, protocols, -1, isEOF},
		{"close after headers", retrytest.Step{Body: body, Fault: retrytest.Close, After: retrytest.HeadersOnly}, protocols, 0, isEOF},
		{"truncated", retrytest.Step{Body: body, Fault: retrytest.Close, After: 5000}, protocols, 5000, isEOF},
		{"broken chunk", retrytest.Step{Body: body, Chunked: true, Fault: retrytest.Close, After: 5000}, protocols, 5000, isEOF},
		{"chunked without an end", retrytest.Step{Body: body, Chunked: true, Fault: retrytest.Close, After: 10_000}, protocols, 10_000, isEOF},
		{"stream reset", retrytest.Step{Fault: retrytest.ResetStream, Code: 2}, protocols[2:], -1, says("INTERNAL_ERROR")},
		{"stream reset in the body", retrytest.Step{Body: body, Fault: retrytest.ResetStream, Code: 11, After: 9}, protocols[2:], 9, says("ENHANCE_YOUR_CALM")},
	} {
		t.Run(test.name, func(t *testing.T) {
			overAll(t, test.protocols, []retrytest.Step{test.step}, func(t *testing.T, server *retrytest.Server) {
				resp, got, err := get(t, server)
				require.Error(t, err)
				switch test.body {
				case -1:
					assert.Nil(t, resp)
				case -2: // a RST may overtake the headers
				default:
					require.NotNil(t, resp)
					assert.Len(t, got, test.body)
				}
				if test.check != nil {
					assert.True(t, test.check(err), "%v", err)
				}
			})
		})
	}
}

func isReset(err error) bool {
	return errors.Is(err, syscall.ECONNRESET) || runtime.GOOS == "windows" && errors.Is(err, syscall.Errno(10054))
}

func isEOF(err error) bool { return errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) }
func says(text string) func(error) bool {
	return func(err error) bool { return strings.Contains(err.Error(), text) }
}

func TestServerNoticesThatAClientLeavesAStall(t *testing.T) {
	for name, step := range map[string]retrytest.Step{
		"before the headers": {Fault: retrytest.Stall},
		"in the body":        {Body: "half", Fault: retrytest.Stall, After: 2},
		"a long delay":       {Delay: time.Hour},
		"a slow drip":        {Body: "half", Drip: time.Hour},
	} {
		t.Run(name, func(t *testing.T) {
			overAll(t, protocols, []retrytest.Step{step}, func(t *testing.T, server *retrytest.Server) {
				ctx, cancel := context.WithTimeout(t.Context(), 30*time.Millisecond)
				defer cancel()
				req, err := http.NewRequestWithContext(ctx, "GET", server.URL, nil)
				require.NoError(t, err)
				resp, err := server.Client().Do(req)
				if err == nil {
					_, err = io.ReadAll(resp.Body)
					resp.Body.Close()
				}
				require.ErrorIs(t, err, context.DeadlineExceeded)
			})
		})
	}
}

func TestServerDripsByteByByte(t *testing.T) {
	overAll(t, protocols, []retrytest.Step{{Body: "drip", Drip: 5 * time.Millisecond}}, func(t *testing.T, server *retrytest.Server) {
		start := time.Now()
		_, body, err := get(t, server)
		require.NoError(t, err)
		assert.Equal(t, "drip", body)
		assert.GreaterOrEqual(t, time.Since(start), 20*time.Millisecond)
	})
}

func TestServerAnswersEarly(t *testing.T) {
	for name, step := range map[string]retrytest.Step{
		"and keeps the connection": {Read: retrytest.HeadersOnly, Status: 503, Body: "no"},
		"and closes it":            {Read: retrytest.HeadersOnly, Status: 503, Body: "no", Close: true},
		"having read a part":       {Read: 1000, Status: 503, Body: "no"},
	} {
		t.Run(name, func(t *testing.T) {
			overAll(t, protocols, []retrytest.Step{step}, func(t *testing.T, server *retrytest.Server) {
				upload := &endless{stop: make(chan struct{})}
				defer close(upload.stop)
				resp, err := server.Client().Post(server.URL, "", upload)
				require.NoError(t, err)
				body, err := io.ReadAll(resp.Body)
				require.NoError(t, err)
				resp.Body.Close()
				assert.Equal(t, 503, resp.StatusCode)
				assert.Equal(t, "no", string(body))
				attempt := server.Attempts()[0]
				assert.EqualValues(t, max(step.Read, 0), attempt.BodySize)
				assert.NoError(t, attempt.BodyErr)
			})
		})
	}
}

// endless is a body that sends 256 KiB and then waits.
type endless struct {
	sent int
	stop chan struct{}
}

func (e *endless) Read(p []byte) (int, error) {
	if e.sent > 256<<10 {
		<-e.stop
		return 0, io.ErrUnexpectedEOF
	}
	clear(p)
	e.sent += len(p)
	return len(p), nil
}

func TestServerResetsAnUploadPartway(t *testing.T) {
	overAll(t, protocols, []retrytest.Step{{Read: 100_000, Fault: retrytest.Reset}}, func(t *testing.T, server *retrytest.Server) {
		_, err := server.Client().Post(server.URL, "", bytes.NewReader(make([]byte, 8<<20)))
		require.Error(t, err)
		attempt := server.Attempts()[0]
		assert.EqualValues(t, 100_000, attempt.BodySize)
		assert.Equal(t, sha256.Sum256(make([]byte, 100_000)), attempt.BodySHA256)
	})
}

func TestServerRecordsAnUploadThatBreaksOff(t *testing.T) {
	overAll(t, protocols, []retrytest.Step{{}}, func(t *testing.T, server *retrytest.Server) {
		broken := errors.New("disk error")
		_, err := server.Client().Post(server.URL, "", io.MultiReader(strings.NewReader("half"), &failing{broken}))
		require.ErrorIs(t, err, broken)
		require.Eventually(t, func() bool { a := server.Attempts(); return len(a) == 1 && a[0].BodyRead }, 5*time.Second, time.Millisecond)
		assert.Error(t, server.Attempts()[0].BodyErr)
	})
}

type failing struct{ err error }

func (f *failing) Read([]byte) (int, error) { return 0, f.err }

func TestServerContinuesAnExpectingClient(t *testing.T) {
	overAll(t, protocols, []retrytest.Step{{}, {Read: retrytest.HeadersOnly, Status: 417}}, func(t *testing.T, server *retrytest.Server) {
		server.Client().Transport.(*http.Transport).ExpectContinueTimeout = time.Hour
		for _, want := range []int{200, 417} {
			req, err := http.NewRequest("POST", server.URL, strings.NewReader("question"))
			require.NoError(t, err)
			req.Header.Set("Expect", "100-continue")
			resp, err := server.Client().Do(req)
			require.NoError(t, err)
			resp.Body.Close()
			assert.Equal(t, want, resp.StatusCode)
		}
		attempts := server.Attempts()
		assert.Equal(t, "question", string(attempts[0].Body))
		assert.Empty(t, attempts[1].Body)
	})
}

func TestServerCloseAfterTheAnswerCostsTheConnection(t *testing.T) {
	overAll(t, protocols, []retrytest.Step{{Body: "1", Close: true, Times: 3}}, func(t *testing.T, server *retrytest.Server) {
		for i := range 3 {
			_, body, err := get(t, server)
			require.NoError(t, err)
			assert.Equal(t, "1", body)
			// On HTTP/2 the GOAWAY arrives after the response.
			require.Eventually(t, func() bool { return server.OpenConns() == 0 }, 5*time.Second, time.Millisecond)
			assert.Equal(t, i+1, server.Accepted())
		}
	})
}

// net/http sends again what was not processed, so both faults can be seen at work.
func TestServerRefusesBeforeProcessing(t *testing.T) {
	for fault, conns := range map[retrytest.Fault]int{retrytest.RefuseStream: 1, retrytest.GoAway: 2} {
		t.Run(string(fault), func(t *testing.T) {
			overAll(t, protocols[2:], []retrytest.Step{{}, {Fault: fault}, {Body: "done"}}, func(t *testing.T, server *retrytest.Server) {
				_, _, err := get(t, server)
				require.NoError(t, err)
				_, body, err := get(t, server)
				require.NoError(t, err)
				assert.Equal(t, "done", body)
				assert.Len(t, server.Attempts(), 3)
				assert.Equal(t, conns, server.Accepted())
			})
		})
	}
}

func TestServerTellsWhatItCannotDo(t *testing.T) {
	for _, test := range []struct {
		protocols []retrytest.Protocol
		steps     []retrytest.Step
		says      string
	}{
		{protocols, nil, "the script is over: no step for attempt 1 (GET /path?q=1)"},
		{protocols, []retrytest.Step{{Fault: retrytest.Refuse}}, "cannot refuse"},
		{protocols, []retrytest.Step{{Err: errors.New("x")}}, "error value"},
		{protocols[:2], []retrytest.Step{{Fault: retrytest.GoAway}}, "needs HTTP/2"},
	} {
		t.Run(test.says, func(t *testing.T) {
			overAll(t, test.protocols, test.steps, func(t *testing.T, server *retrytest.Server) {
				resp, body, err := get(t, server)
				require.NoError(t, err)
				assert.Equal(t, 501, resp.StatusCode)
				assert.Contains(t, body, test.says)
			})
		})
	}
}

func TestServerServesConcurrentStreamsWithinTheirWindows(t *testing.T) {
	server := retrytest.NewServerFunc(retrytest.HTTP2, func(a retrytest.Attempt) retrytest.Step {
		return retrytest.Step{Body: strings.Repeat(a.URL, 1<<20)}
	})
	defer server.Close()
	_, _, err := get(t, server)
	require.NoError(t, err)
	paths := []string{"/1", "/2", "/3", "/4", "/5", "/6", "/7", "/8"}
	errs := make(chan error, len(paths))
	for _, path := range paths {
		go func() {
			upload := strings.Repeat(path, 1<<20)
			resp, err := server.Client().Post(server.URL+path, "", strings.NewReader(upload))
			if err == nil {
				defer resp.Body.Close()
				var body []byte
				if body, err = io.ReadAll(resp.Body); err == nil && string(body) != upload {
					err = errors.New("wrong body from " + path)
				}
			}
			errs <- err
		}()
	}
	for range paths {
		assert.NoError(t, <-errs)
	}
	for _, a := range server.Attempts()[1:] {
		assert.Equal(t, sha256.Sum256([]byte(strings.Repeat(a.URL, 1<<20))), a.BodySHA256)
	}
	assert.Equal(t, 1, server.Accepted())
}

// The header blocks of a connection share a compression table, whose size the client sets.
func TestServerCompressesHeadersWithinTheTableOfTheClient(t *testing.T) {
	for _, size := range []int{0, 1, 100, 1 << 20} { // 0 is the default
		t.Run(strconv.Itoa(size), func(t *testing.T) {
			server := retrytest.NewServerFunc(retrytest.HTTP2, func(a retrytest.Attempt) retrytest.Step {
				return retrytest.Step{Header: http.Header{"Same": {"in every response"}, "Path": {a.URL}}}
			})
			defer server.Close()
			server.Client().Transport.(*http.Transport).HTTP2 = &http.HTTP2Config{MaxDecoderHeaderTableSize: size}
			for i := range 10 {
				path := "/" + strings.Repeat(strconv.Itoa(i), 1000*i)
				resp, err := server.Client().Get(server.URL + path)
				require.NoError(t, err)
				resp.Body.Close()
				assert.Equal(t, "in every response", resp.Header.Get("Same"))
				assert.Equal(t, path, resp.Header.Get("Path"))
			}
			assert.Equal(t, 1, server.Accepted())
		})
	}
}

func TestServerCloseEndsEverything(t *testing.T) {
	for _, protocol := range protocols {
		t.Run(string(protocol), func(t *testing.T) {
			server := retrytest.NewServer(protocol, retrytest.Step{Read: 1, Fault: retrytest.Stall, Times: retrytest.Forever})
			done := make(chan error, 1)
			go func() {
				_, err := server.Client().Post(server.URL, "", bytes.NewReader(make([]byte, 16<<20)))
				done <- err
			}()
			require.Eventually(t, func() bool { return len(server.Attempts()) == 1 }, 5*time.Second, time.Millisecond)
			server.Close()
			server.Close()
			assert.Error(t, <-done)
			assert.Zero(t, server.OpenConns())
		})
	}
}
