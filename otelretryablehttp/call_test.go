package otelretryablehttp_test

import (
	"context"
	"errors"
	"io"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.opentelemetry.io/otel/trace"

	"github.com/a0b132ce/retryablehttp"
	"github.com/a0b132ce/retryablehttp/otelretryablehttp"
	"github.com/a0b132ce/retryablehttp/retrytest"
)

// A call whose first attempt gets a 503 and whose second gets no response.
func TestCallThatIsRetried(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRecorder(t)
		c := r.client(script(
			retrytest.Step{Status: 503, Delay: 10 * time.Millisecond},
			retrytest.Step{Fault: retrytest.Reset, Delay: 20 * time.Millisecond},
			retrytest.Step{Delay: 30 * time.Millisecond},
		))
		begin := time.Now()
		require.NoError(t, get(c, "http://example.com/things?key=s3cret"))

		require.Len(t, r.spans.GetSpans(), 4)
		call := r.one("HTTP GET")
		assert.Equal(t, trace.SpanKindInternal, call.SpanKind)
		assert.False(t, call.Parent.IsValid())
		assert.Equal(t, "unset", status(call))
		assert.Equal(t, target(map[string]any{
			"url.full":                  "http://example.com/things?key=REDACTED",
			"http.response.status_code": int64(200),
			"retryablehttp.attempts":    int64(3),
			"retryablehttp.wait_time":   2.0,
		}), values(call.Attributes))
		assert.Equal(t, begin, call.StartTime)
		assert.Equal(t, 2060*time.Millisecond, call.EndTime.Sub(begin))

		attempts := r.find("GET")
		require.Len(t, attempts, 3)
		for i, want := range []map[string]any{
			{"http.response.status_code": int64(503), "network.protocol.version": "1.1", "error.type": "503", "retryablehttp.attempt": int64(1)},
			{"http.request.resend_count": int64(1), "error.type": "connection", "retryablehttp.attempt": int64(2)},
			{"http.request.resend_count": int64(2), "http.response.status_code": int64(200), "network.protocol.version": "1.1", "retryablehttp.attempt": int64(3)},
		} {
			attempt := attempts[i]
			want["url.full"] = "http://example.com/things?key=REDACTED"
			assert.Equal(t, target(want), values(attempt.Attributes))
			assert.Equal(t, []string{"Error", "Error", "unset"}[i], status(attempt))
			assert.Equal(t, trace.SpanKindClient, attempt.SpanKind)
			assert.Equal(t, call.SpanContext.SpanID(), attempt.Parent.SpanID())
			assert.Equal(t, time.Duration(i+1)*10*time.Millisecond, attempt.EndTime.Sub(attempt.StartTime))
			assert.Empty(t, attempt.Events)
		}
	})
}

func TestRetryWaitsAreEvents(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRecorder(t)
		c := r.client(script(retrytest.Step{Status: 503}, retrytest.Step{Fault: retrytest.Refuse}, retrytest.Step{}))
		begin := time.Now()
		require.NoError(t, get(c, "http://example.com/?key=s3cret"))

		events := r.one("HTTP GET").Events
		require.Len(t, events, 2)
		for i, want := range []map[string]any{
			{"retryablehttp.reason": "status", "http.response.status_code": int64(503)},
			{
				"retryablehttp.reason": "transport error",
				"exception.message":    `Get "http://example.com/?key=REDACTED": dial tcp: connect: connection refused`,
			},
		} {
			want["retryablehttp.attempt"], want["retryablehttp.wait_time"] = int64(i+1), 1.0
			assert.Equal(t, "retryablehttp.retry", events[i].Name)
			assert.Equal(t, want, values(events[i].Attributes))
			assert.Equal(t, time.Duration(i)*time.Second, events[i].Time.Sub(begin))
		}
	})
}

// The span of a request ends with the header. What happens to a body that the Client reads
// is in the event.
func TestBodyThatIsCutOff(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRecorder(t)
		c := newClient(script(retrytest.Step{Body: "0123456789", Drip: time.Second, Fault: retrytest.Close, After: 4}, retrytest.Step{}))
		c.BufferMax = 100
		require.NoError(t, otelretryablehttp.Instrument(c, r.options))
		require.NoError(t, get(c, "http://example.com/"))

		first := r.find("GET")[0]
		assert.Equal(t, "unset", status(first))
		assert.Equal(t, first.StartTime, first.EndTime)
		events := r.one("HTTP GET").Events
		require.Len(t, events, 1)
		assert.Equal(t, 4*time.Second, events[0].Time.Sub(first.EndTime))
		assert.Contains(t, values(events[0].Attributes)["exception.message"], "unexpected EOF")
	})
}

// The span of a call that fails says why. With an accepted status the call has not failed,
// whatever it is.
func TestCallThatFails(t *testing.T) {
	refused := script(retrytest.Step{Fault: retrytest.Refuse, Times: retrytest.Forever})
	unavailable := script(retrytest.Step{Status: 503, Times: retrytest.Forever})
	const gaveUp = "Error GET http://example.com/?key=REDACTED giving up after "
	for name, test := range map[string]struct {
		transport http.RoundTripper
		set       func(*retryablehttp.Client)
		timeout   time.Duration // of the context
		reason    any
		errorType any
		status    string
	}{
		"accepted 404":   {transport: script(retrytest.Step{Status: 404}), status: "unset"},
		"status":         {transport: unavailable, reason: "retries used up", errorType: "503", status: gaveUp + "3 attempt(s): unexpected HTTP status 503 Service Unavailable"},
		"no response":    {transport: refused, reason: "retries used up", errorType: "connect", status: gaveUp + "3 attempt(s): dial tcp: connect: connection refused"},
		"not retryable":  {transport: script(retrytest.Step{Err: permanent{}}), reason: "not retryable", errorType: "_OTHER", status: gaveUp + "1 attempt(s): permanent"},
		"deadline":       {transport: unavailable, timeout: 1500 * time.Millisecond, reason: "deadline", errorType: "timeout", status: gaveUp + "2 attempt(s): context deadline exceeded: the next attempt is due in 1s; last response: 503 Service Unavailable"},
		"MaxElapsedTime": {transport: unavailable, set: func(c *retryablehttp.Client) { c.MaxElapsedTime = time.Second }, reason: "max elapsed time", errorType: "timeout", status: gaveUp + "1 attempt(s): Client.MaxElapsedTime exceeded: the next attempt is due in 1s; last response: 503 Service Unavailable"},
		"budget":         {transport: unavailable, set: func(c *retryablehttp.Client) { c.Budget = emptyBudget() }, reason: "budget", errorType: "503", status: gaveUp + "1 attempt(s): no token in Client.Budget for a retry; last response: 503 Service Unavailable"},
		"PassthroughErrorHandler": {transport: unavailable, set: func(c *retryablehttp.Client) { c.ErrorHandler = retryablehttp.PassthroughErrorHandler },
			reason: "retries used up", errorType: "503", status: "Error retries used up"},
		"ErrorHandler with a secret": {transport: unavailable, set: func(c *retryablehttp.Client) {
			c.ErrorHandler = func(*http.Response, error, int) (*http.Response, error) { return nil, errors.New("s3cret") }
		}, reason: "retries used up", errorType: "503", status: "Error retries used up"},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				r := newRecorder(t)
				c := newClient(test.transport)
				if test.set != nil {
					test.set(c)
				}
				require.NoError(t, otelretryablehttp.Instrument(c, r.options))
				ctx, cancel := context.WithCancel(t.Context())
				if test.timeout > 0 {
					ctx, cancel = context.WithTimeout(t.Context(), test.timeout)
				}
				defer cancel()
				req, err := retryablehttp.NewRequestWithContext(ctx, http.MethodGet, "http://example.com/?key=s3cret", nil)
				require.NoError(t, err)
				if resp, err := c.Do(req); err == nil {
					resp.Body.Close()
				}
				call := r.one("HTTP GET")
				assert.Equal(t, test.reason, value(call, "retryablehttp.reason"))
				assert.Equal(t, test.errorType, value(call, "error.type"))
				assert.Equal(t, test.status, status(call))
			})
		})
	}
}

// permanent is an error that is not retried.
type permanent struct{}

func (permanent) Error() string   { return "permanent" }
func (permanent) Permanent() bool { return true }

func emptyBudget() *retryablehttp.Budget {
	b := &retryablehttp.Budget{MinPerSecond: -1, MaxWaiting: -1}
	for b.TryWithdraw("") {
	}
	return b
}

func TestCanceledCall(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRecorder(t)
		c := r.client(script(retrytest.Step{Status: 503}, retrytest.Step{Fault: retrytest.Stall}))
		ctx, cancel := context.WithCancelCause(t.Context())
		time.AfterFunc(1500*time.Millisecond, func() { cancel(errors.New("shutting down")) })
		req, err := retryablehttp.NewRequestWithContext(ctx, http.MethodGet, "http://example.com/", nil)
		require.NoError(t, err)
		_, err = c.Do(req)
		require.ErrorIs(t, err, context.Canceled)

		call := r.one("HTTP GET")
		assert.Equal(t, "canceled", value(call, "retryablehttp.reason"))
		assert.Equal(t, "canceled", value(call, "error.type"))
		assert.Equal(t, 1.0, value(call, "retryablehttp.wait_time"))
		attempts := r.find("GET")
		require.Len(t, attempts, 2)
		assert.Equal(t, "canceled", value(attempts[1], "error.type"))
		assert.Equal(t, "Error", status(attempts[1]))
	})
}

// A call that fails before its first attempt has a span too.
func TestCallWithoutAttempts(t *testing.T) {
	r := newRecorder(t)
	c := r.client(script())
	_, err := c.Post("http://example.com/", "text/plain", retryablehttp.ReaderFunc(func() (io.Reader, error) {
		return nil, errors.New("no body")
	}))
	require.Error(t, err)
	call := r.one("HTTP POST")
	assert.Equal(t, int64(0), value(call, "retryablehttp.attempts"))
	assert.Equal(t, "request body failed", value(call, "retryablehttp.reason"))
	assert.Equal(t, "_OTHER", value(call, "error.type"))
}

// The span of a call is a child of the caller's span.
func TestCallIsAChildOfTheCallersSpan(t *testing.T) {
	r := newRecorder(t)
	c := r.client(script(retrytest.Step{}))
	ctx, parent := r.options.TracerProvider.Tracer("test").Start(t.Context(), "caller")
	req, err := retryablehttp.NewRequestWithContext(ctx, http.MethodGet, "http://example.com/", nil)
	require.NoError(t, err)
	resp, err := c.Do(req)
	require.NoError(t, err)
	resp.Body.Close()
	assert.Equal(t, parent.SpanContext().SpanID(), r.one("HTTP GET").Parent.SpanID())
}

// What is requested after a download was cut off is a call of its own, below the first.
func TestResumptionIsACall(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRecorder(t)
		etag := http.Header{"Etag": {`"v1"`}}
		rest := http.Header{"Etag": {`"v1"`}, "Content-Range": {"bytes 4-9/10"}}
		c := newClient(script(
			retrytest.Step{Header: etag, Body: "0123456789", Fault: retrytest.Close, After: 4},
			retrytest.Step{Status: 206, Header: rest, Body: "456789"},
		))
		c.ResumeMax = 1
		require.NoError(t, otelretryablehttp.Instrument(c, r.options))
		require.NoError(t, get(c, "http://example.com/"))

		calls := r.find("HTTP GET")
		require.Len(t, calls, 2)
		assert.Nil(t, value(calls[0], "retryablehttp.resumption"))
		assert.Equal(t, int64(1), value(calls[1], "retryablehttp.resumption"))
		assert.Equal(t, calls[0].SpanContext.TraceID(), calls[1].SpanContext.TraceID())
		attempts := r.find("GET")
		require.Len(t, attempts, 2)
		assert.Equal(t, calls[1].SpanContext.SpanID(), attempts[1].Parent.SpanID())
		assert.Nil(t, value(attempts[1], "http.request.resend_count"), "another request")
	})
}

// A client in the transport of another one makes one attempt for each of the outer one.
func TestNestedClient(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRecorder(t)
		inner := r.client(script(retrytest.Step{Fault: retrytest.Reset}, retrytest.Step{}))
		outer := r.client(&retryablehttp.RoundTripper{Client: inner})
		require.NoError(t, get(outer, "http://example.com/"))

		calls, attempts := r.find("HTTP GET"), r.find("GET")
		require.Len(t, calls, 3)
		require.Len(t, attempts, 4, "two of each client")
		failed := 0
		for _, call := range calls {
			if value(call, "error.type") == "connection" {
				failed++
				assert.Equal(t, "Error", status(call))
				assert.Nil(t, value(call, "retryablehttp.reason"), "the outer client decides")
			}
		}
		assert.Equal(t, 1, failed)
	})
}

// No secret gets into a span, wherever it comes from.
func TestSpansHaveNoSecrets(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRecorder(t)
		transport := script(
			retrytest.Step{Err: errors.New("proxy http://user:s3cret@proxy/ refused http://example.com/?key=s3cret")},
			retrytest.Step{Err: &url.Error{Op: "Get", URL: "http://example.com/?key=s3cret", Err: errors.New("failed")}},
			retrytest.Step{Status: 302, Header: http.Header{"Location": {"/next?token=s3cret#s3cret"}, "Set-Cookie": {"s3cret"}}},
			retrytest.Step{Status: 503, Body: "s3cret"},
		)
		c := r.client(transport)
		req, err := retryablehttp.NewRequest(http.MethodGet, "http://s3cret-user:s3cret@example.com/?key=s3cret#s3cret", nil)
		require.NoError(t, err)
		req.Header.Set("Authorization", "s3cret")
		_, err = c.Do(req)
		require.Error(t, err)
		require.Len(t, transport.Attempts(), 4)

		assert.Equal(t, "http://REDACTED:REDACTED@example.com/?key=REDACTED#REDACTED", value(r.one("HTTP GET"), "url.full"))
		for _, span := range r.spans.GetSpans() {
			texts := []string{span.Name, span.Status.Description}
			for _, a := range span.Attributes {
				texts = append(texts, a.Value.String())
			}
			for _, event := range span.Events {
				for _, a := range event.Attributes {
					texts = append(texts, a.Value.String())
				}
			}
			// The library shows the user name in the error of a call.
			text := strings.ReplaceAll(strings.Join(texts, "\n"), "s3cret-user", "")
			assert.NotContains(t, text, "s3cret")
		}
		for point := range r.metrics() {
			assert.NotContains(t, point, "s3cret")
		}
	})
}

func TestRedactURLOfTheClient(t *testing.T) {
	r := newRecorder(t)
	c := newClient(script(retrytest.Step{}))
	c.RedactURL = func(u *url.URL) string { return u.Scheme + "://" + u.Host + "/…" }
	require.NoError(t, otelretryablehttp.Instrument(c, r.options))
	require.NoError(t, get(c, "http://example.com/secret/path"))
	for _, span := range r.spans.GetSpans() {
		assert.Equal(t, "http://example.com/…", value(span, "url.full"))
	}
}
