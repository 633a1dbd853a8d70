package retrytest_test

import (
	"context"
	"crypto/sha256"
	"errors"
	"io"
	"net"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"syscall"
	"testing"
	"testing/iotest"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/a0b132ce/retryablehttp/retrytest"
)

// trackedBody counts its Close calls.
type trackedBody struct {
	io.Reader
	mu     sync.Mutex
	closed int
}

func (b *trackedBody) Close() error {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.closed++
	return nil
}

func post(t *testing.T, body string) (*http.Request, *trackedBody) {
	t.Helper()
	tracked := &trackedBody{Reader: strings.NewReader(body)}
	req, err := http.NewRequestWithContext(t.Context(), "POST", "http://host/path", tracked)
	require.NoError(t, err)
	req.ContentLength = int64(len(body))
	return req, tracked
}

func TestTransportServesStepsInOrderAndThenTellsThatTheScriptIsOver(t *testing.T) {
	transport := retrytest.NewTransport(
		retrytest.Step{Status: 503, Times: 2},
		retrytest.Step{Body: "done", Header: http.Header{"X": {"y"}}},
	)
	for _, want := range []int{503, 503, 200} {
		req, body := post(t, "question")
		resp, err := transport.RoundTrip(req)
		require.NoError(t, err)
		assert.Equal(t, want, resp.StatusCode)
		assert.Equal(t, 1, body.closed)
		if want == 200 {
			got, err := io.ReadAll(resp.Body)
			require.NoError(t, err)
			assert.Equal(t, "done", string(got))
			assert.Equal(t, "200 OK", resp.Status)
			assert.EqualValues(t, 4, resp.ContentLength)
			assert.Equal(t, http.Header{"X": {"y"}, "Content-Length": {"4"}}, resp.Header)
		}
		require.NoError(t, resp.Body.Close())
	}
	req, body := post(t, "question")
	resp, err := transport.RoundTrip(req)
	assert.Nil(t, resp)
	assert.ErrorIs(t, err, retrytest.ErrScriptOver)
	assert.EqualError(t, err, "retrytest: the script is over: no step for attempt 4 (POST http://host/path)")
	assert.Equal(t, 1, body.closed)
	assert.Zero(t, transport.OpenBodies())

	attempts := transport.Attempts()
	require.Len(t, attempts, 4)
	assert.Equal(t, 3, attempts[2].Number)
	assert.Equal(t, "POST", attempts[2].Method)
	assert.Equal(t, "http://host/path", attempts[2].URL)
	assert.Equal(t, "host", attempts[2].Host)
	assert.Equal(t, "question", string(attempts[2].Body))
	assert.Equal(t, sha256.Sum256([]byte("question")), attempts[2].BodySHA256)
	assert.EqualValues(t, 8, attempts[2].ContentLength)
	assert.ErrorIs(t, attempts[3].BodyErr, retrytest.ErrScriptOver)
}

func TestTransportRepeatsTheLastStepOnlyWhenAsked(t *testing.T) {
	transport := retrytest.NewTransport(retrytest.Step{Status: 500, Times: retrytest.Forever}, retrytest.Step{})
	for range 100 {
		req, _ := post(t, "")
		resp, err := transport.RoundTrip(req)
		require.NoError(t, err)
		assert.Equal(t, 500, resp.StatusCode)
		assert.Equal(t, http.NoBody, resp.Body)
	}
}

func TestTransportZeroValueHasNoSteps(t *testing.T) {
	req, _ := post(t, "")
	_, err := new(retrytest.Transport).RoundTrip(req)
	assert.ErrorIs(t, err, retrytest.ErrScriptOver)
}

func TestTransportErrorIsPermanentWhenTheScriptIsOver(t *testing.T) {
	_, err := (&http.Client{Transport: retrytest.NewTransport()}).Get("http://host/")
	require.ErrorIs(t, err, retrytest.ErrScriptOver)
	var permanent interface{ Permanent() bool }
	require.ErrorAs(t, err, &permanent)
	assert.True(t, permanent.Permanent())

	for _, fault := range []retrytest.Fault{retrytest.Refuse, retrytest.Reset, retrytest.Close, retrytest.RefuseStream, retrytest.GoAway} {
		_, err := (&http.Client{Transport: retrytest.NewTransport(retrytest.Step{Fault: fault})}).Get("http://host/")
		require.Error(t, err)
		assert.NotErrorAs(t, err, &permanent, "%s", fault)
	}
}

func TestTransportAsksTheFunctionForEachStep(t *testing.T) {
	transport := retrytest.NewTransportFunc(func(a retrytest.Attempt) retrytest.Step {
		a.Header.Set("Changed", "yes")
		return retrytest.Step{Status: 200 + a.Number}
	})
	for want := 201; want < 203; want++ {
		req, _ := post(t, "")
		resp, err := transport.RoundTrip(req)
		require.NoError(t, err)
		assert.Equal(t, want, resp.StatusCode)
		assert.Empty(t, req.Header)
	}
	assert.Empty(t, transport.Attempts()[0].Header)
}

func TestTransportFaultsAreTheErrorsOfNetHTTP(t *testing.T) {
	custom := errors.New("custom")
	is := func(target error) func(error) bool { return func(err error) bool { return errors.Is(err, target) } }
	for _, test := range []struct {
		name  string
		step  retrytest.Step
		read  string
		check func(error) bool
	}{
		{"refuse", retrytest.Step{Fault: retrytest.Refuse}, "", is(syscall.ECONNREFUSED)},
		{"reset before the body", retrytest.Step{Read: retrytest.HeadersOnly, Fault: retrytest.Reset}, "", is(syscall.ECONNRESET)},
		{"reset in the body", retrytest.Step{Read: 4, Fault: retrytest.Reset}, "ques", is(syscall.ECONNRESET)},
		{"reset after the body", retrytest.Step{Fault: retrytest.Reset}, "question", is(syscall.ECONNRESET)},
		{"read more than there is", retrytest.Step{Read: 400, Fault: retrytest.Reset}, "question", is(syscall.ECONNRESET)},
		{"close", retrytest.Step{Fault: retrytest.Close}, "question", is(io.EOF)},
		{"refuse stream", retrytest.Step{Fault: retrytest.RefuseStream}, "question", says("REFUSED_STREAM")},
		{"reset stream", retrytest.Step{Fault: retrytest.ResetStream, Code: 99}, "question", says("unknown error code 0x63")},
		{"goaway", retrytest.Step{Fault: retrytest.GoAway}, "question", says("GOAWAY")},
		{"error", retrytest.Step{Err: custom}, "question", is(custom)},
		{"unknown", retrytest.Step{Fault: "nonsense"}, "question", says(`unknown fault "nonsense"`)},
	} {
		t.Run(test.name, func(t *testing.T) {
			transport := retrytest.NewTransport(test.step)
			req, body := post(t, "question")
			resp, err := transport.RoundTrip(req)
			assert.Nil(t, resp)
			require.Error(t, err)
			assert.True(t, test.check(err), "%v", err)
			assert.Equal(t, 1, body.closed)
			assert.Equal(t, test.read, string(transport.Attempts()[0].Body))
			if test.step.Fault == retrytest.Refuse {
				var op *net.OpError
				require.ErrorAs(t, err, &op)
				assert.Equal(t, "dial", op.Op)
			}
		})
	}
}

func TestTransportFaultsInTheResponseBody(t *testing.T) {
	custom := errors.New("custom")
	for _, test := range []struct {
		name string
		step retrytest.Step
		body string
		err  error
	}{
		{"headers only", retrytest.Step{Body: "answer", Fault: retrytest.Close, After: retrytest.HeadersOnly}, "", io.ErrUnexpectedEOF},
		{"truncated", retrytest.Step{Body: "answer", Fault: retrytest.Close, After: 3}, "ans", io.ErrUnexpectedEOF},
		{"reset", retrytest.Step{Body: "answer", Chunked: true, Fault: retrytest.Reset, After: 3}, "ans", syscall.ECONNRESET},
		{"error", retrytest.Step{Body: "answer", Err: custom, After: 100}, "answer", custom},
	} {
		t.Run(test.name, func(t *testing.T) {
			transport := retrytest.NewTransport(test.step)
			req, _ := post(t, "")
			resp, err := transport.RoundTrip(req)
			require.NoError(t, err)
			if test.step.Chunked {
				assert.EqualValues(t, -1, resp.ContentLength)
			} else {
				assert.EqualValues(t, 6, resp.ContentLength)
			}
			assert.Equal(t, 1, transport.OpenBodies())
			got, err := io.ReadAll(resp.Body)
			assert.Equal(t, test.body, string(got))
			assert.ErrorIs(t, err, test.err)
			assert.Zero(t, transport.OpenBodies())
			assert.NoError(t, resp.Body.Close())
			_, err = resp.Body.Read(make([]byte, 1))
			assert.Error(t, err)
		})
	}
}

func TestTransportHEADHasTheHeaderAlone(t *testing.T) {
	transport := retrytest.NewTransport(retrytest.Step{Body: "answer"})
	req, err := http.NewRequest("HEAD", "http://host", nil)
	require.NoError(t, err)
	resp, err := transport.RoundTrip(req)
	require.NoError(t, err)
	assert.EqualValues(t, 6, resp.ContentLength)
	assert.Equal(t, http.NoBody, resp.Body)
}

func TestTransportWaitsInVirtualTime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		transport := retrytest.NewTransport(retrytest.Step{Delay: time.Hour, Body: "0123456789", Drip: time.Minute})
		start := time.Now()
		req, _ := post(t, "")
		resp, err := transport.RoundTrip(req)
		require.NoError(t, err)
		assert.Equal(t, time.Hour, time.Since(start))
		_, err = io.ReadAll(resp.Body)
		require.NoError(t, err)
		assert.Equal(t, 70*time.Minute, time.Since(start))
		assert.Equal(t, start, transport.Attempts()[0].Time)
	})
}

func TestTransportObeysTheContextWhereverItWaits(t *testing.T) {
	pipe := func() io.ReadCloser { r, _ := io.Pipe(); return r }
	for name, test := range map[string]struct {
		step retrytest.Step
		body func() io.ReadCloser
	}{
		"delay":          {step: retrytest.Step{Delay: time.Hour}},
		"stall":          {step: retrytest.Step{Fault: retrytest.Stall}},
		"stalled body":   {step: retrytest.Step{Body: "body", Fault: retrytest.Stall, After: 2}},
		"drip":           {step: retrytest.Step{Body: "body", Drip: time.Hour}},
		"request body":   {body: pipe},
		"part of a body": {step: retrytest.Step{Read: 10}, body: pipe},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				cause := errors.New("changed my mind")
				ctx, cancel := context.WithTimeoutCause(t.Context(), time.Second, cause)
				defer cancel()
				transport := retrytest.NewTransport(test.step)
				req, err := http.NewRequestWithContext(ctx, "POST", "http://host", nil)
				require.NoError(t, err)
				if test.body != nil {
					req.Body = test.body()
				}
				start := time.Now()
				resp, err := transport.RoundTrip(req)
				if err == nil {
					_, err = io.ReadAll(resp.Body)
					resp.Body.Close()
				}
				assert.ErrorIs(t, err, cause)
				assert.Equal(t, time.Second, time.Since(start))
				assert.Zero(t, transport.OpenBodies())
			})
		})
	}
}

func TestTransportFailsAtOnceWhenTheContextIsDone(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	req, body := post(t, "question")
	transport := retrytest.NewTransport(retrytest.Step{})
	_, err := transport.RoundTrip(req.WithContext(ctx))
	assert.ErrorIs(t, err, context.Canceled)
	assert.Equal(t, 1, body.closed)
	assert.Empty(t, transport.Attempts()[0].Body)
}

func TestTransportStalledBodyEndsWithClose(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		transport := retrytest.NewTransport(retrytest.Step{Body: "body", Fault: retrytest.Stall, After: retrytest.HeadersOnly})
		req, _ := post(t, "")
		resp, err := transport.RoundTrip(req)
		require.NoError(t, err)
		time.AfterFunc(time.Minute, func() { resp.Body.Close() })
		start := time.Now()
		_, err = io.ReadAll(resp.Body)
		assert.Error(t, err)
		assert.Equal(t, time.Minute, time.Since(start))
		assert.Zero(t, transport.OpenBodies())
	})
}

func TestTransportFailsWhenTheRequestBodyDoes(t *testing.T) {
	broken := errors.New("disk error")
	transport := retrytest.NewTransport(retrytest.Step{Times: 2})
	req, _ := post(t, "")
	body := &trackedBody{Reader: iotest.ErrReader(broken)}
	req.Body, req.ContentLength = body, 10
	_, err := transport.RoundTrip(req)
	assert.ErrorIs(t, err, broken)
	assert.Equal(t, 1, body.closed)
	assert.ErrorIs(t, transport.Attempts()[0].BodyErr, broken)

	req, _ = post(t, "short")
	req.ContentLength = 10
	_, err = transport.RoundTrip(req)
	assert.EqualError(t, err, "http: ContentLength=10 with Body length 5")
}

func TestTransportKeepsNoMoreThanMaxRecordedOfABody(t *testing.T) {
	transport := retrytest.NewTransport(retrytest.Step{})
	large := strings.Repeat("x", retrytest.MaxRecorded+10)
	req, _ := post(t, large)
	_, err := transport.RoundTrip(req)
	require.NoError(t, err)
	attempt := transport.Attempts()[0]
	assert.Len(t, attempt.Body, retrytest.MaxRecorded)
	assert.EqualValues(t, len(large), attempt.BodySize)
	assert.Equal(t, sha256.Sum256([]byte(large)), attempt.BodySHA256)
}

func TestTransportIsSafeForManyGoroutines(t *testing.T) {
	transport := retrytest.NewTransport(retrytest.Step{Body: "answer", Times: 100})
	client := &http.Client{Transport: transport}
	var wg sync.WaitGroup
	for range 100 {
		wg.Go(func() {
			resp, err := client.PostForm("http://host", url.Values{"a": {"b"}})
			if assert.NoError(t, err) {
				io.Copy(io.Discard, resp.Body)
				resp.Body.Close()
			}
		})
	}
	wg.Wait()
	assert.Len(t, transport.Attempts(), 100)
	assert.Zero(t, transport.OpenBodies())
}

// The tests of the example.
func TestStockSurvivesAnOutage(t *testing.T) { testStockSurvivesAnOutage(t) }
func TestStockGivesUp(t *testing.T)          { testStockGivesUp(t) }

func TestTransportHeaderIsCanonical(t *testing.T) {
	client := &http.Client{Transport: retrytest.NewTransport(retrytest.Step{Header: http.Header{"ETag": {`"a"`}}})}
	resp, err := client.Get("http://host/")
	require.NoError(t, err)
	assert.Equal(t, `"a"`, resp.Header.Get("ETag"))
}

// What errors.As finds in an error of net/http for a stream that a peer has reset.
type streamError struct {
	StreamID uint32
	Code     uint32
	Cause    error
}

func (e streamError) Error() string { return "" }

func TestTransportStreamErrorsAreAsThoseOfNetHTTP(t *testing.T) {
	for code, step := range map[uint32]retrytest.Step{
		7: {Fault: retrytest.RefuseStream},
		8: {Fault: retrytest.ResetStream, Code: 8},
	} {
		_, err := (&http.Client{Transport: retrytest.NewTransport(step)}).Get("http://host/")
		var stream streamError
		require.ErrorAs(t, err, &stream)
		assert.Equal(t, code, stream.Code)
		assert.NotErrorAs(t, err, new(otherError))
	}
}

// otherError has other fields.
type otherError struct{ Code uint32 }

func (e otherError) Error() string { return "" }
