package otelretryablehttp_test

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.opentelemetry.io/otel/attribute"
	sdk "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/trace"

	"github.com/a0b132ce/retryablehttp"
	"github.com/a0b132ce/retryablehttp/otelretryablehttp"
	"github.com/a0b132ce/retryablehttp/retrytest"
)

// What is recorded of a request, by the conventions for HTTP client spans.
func TestAttributesOfARequest(t *testing.T) {
	for name, test := range map[string]struct {
		method, url, host string
		known             []string
		span              string
		want              map[string]any
	}{
		"port":            {url: "http://example.com:8080/", want: map[string]any{"server.address": "example.com", "server.port": int64(8080)}},
		"https":           {url: "https://example.com/", want: map[string]any{"server.port": int64(443)}},
		"IPv6":            {url: "http://[::1]:8080/", want: map[string]any{"server.address": "::1", "server.port": int64(8080)}},
		"Host":            {url: "http://10.0.0.1:8080/", host: "example.com:81", want: map[string]any{"server.address": "example.com", "server.port": int64(81), "url.full": "http://10.0.0.1:8080/"}},
		"no method":       {url: "http://example.com/", want: map[string]any{"http.request.method": "GET", "http.request.method_original": nil}},
		"QUERY":           {method: "QUERY", url: "http://example.com/", span: "QUERY", want: map[string]any{"http.request.method": "QUERY"}},
		"unknown method":  {method: "get", url: "http://example.com/", span: "HTTP", want: map[string]any{"http.request.method": "_OTHER", "http.request.method_original": "get"}},
		"KnownMethods":    {method: "PURGE", known: []string{"PURGE"}, url: "http://example.com/", span: "PURGE", want: map[string]any{"http.request.method": "PURGE"}},
		"no KnownMethods": {method: "POST", known: []string{}, url: "http://example.com/", span: "HTTP", want: map[string]any{"http.request.method": "_OTHER"}},
	} {
		t.Run(name, func(t *testing.T) {
			r := newRecorder(t)
			r.options.KnownMethods = test.known
			c := r.client(respond(200))
			req, err := retryablehttp.NewRequest(http.MethodGet, test.url, nil)
			require.NoError(t, err)
			req.Method, req.Host = test.method, test.host
			resp, err := c.Do(req)
			require.NoError(t, err)
			resp.Body.Close()

			spans := r.spans.GetSpans()
			require.Len(t, spans, 2)
			request, call := spans[0], spans[1]
			if test.span == "" {
				test.span = "GET"
			}
			assert.Equal(t, test.span, request.Name)
			for key, want := range test.want {
				assert.Equal(t, want, value(request, key), key)
				assert.Equal(t, want, value(call, key), key)
			}
			if test.span == "HTTP" {
				assert.Equal(t, "HTTP", call.Name)
			} else {
				assert.Equal(t, "HTTP "+test.span, call.Name)
			}
		})
	}
}

func TestStatusOfARequest(t *testing.T) {
	for code, want := range map[int]string{101: "unset", 204: "unset", 304: "unset", 399: "unset", 400: "Error", 404: "Error", 501: "Error", 600: "Error"} {
		r := newRecorder(t)
		c := r.client(respond(code))
		c.CheckRetry = func(context.Context, *http.Response, error) (bool, error) { return false, nil }
		require.NoError(t, get(c, "http://example.com/"))
		span := r.one("GET")
		assert.Equal(t, want, status(span), code)
		assert.Equal(t, int64(code), value(span, "http.response.status_code"))
		assert.Equal(t, "2", value(span, "network.protocol.version"))
		if want == "unset" {
			assert.Nil(t, value(span, "error.type"), code)
		} else {
			assert.Equal(t, fmt.Sprint(code), value(span, "error.type"))
		}
	}
}

func TestProtocolVersion(t *testing.T) {
	for _, test := range []struct {
		major, minor int
		want         any
	}{{0, 0, nil}, {1, 0, "1.0"}, {1, 1, "1.1"}, {2, 0, "2"}, {3, 0, "3"}} {
		r := newRecorder(t)
		c := r.client(roundTripFunc(func(*http.Request) (*http.Response, error) {
			return &http.Response{StatusCode: 200, ProtoMajor: test.major, ProtoMinor: test.minor, Body: http.NoBody}, nil
		}))
		require.NoError(t, get(c, "http://example.com/"))
		assert.Equal(t, test.want, value(r.one("GET"), "network.protocol.version"))
	}
}

// The values of error.type that the package documentation lists.
func TestErrorTypes(t *testing.T) {
	stall := retrytest.Step{Fault: retrytest.Stall}
	fail := func(err error) retrytest.Step { return retrytest.Step{Err: err} }
	for name, test := range map[string]struct {
		step retrytest.Step
		set  func(*retryablehttp.Client)
		want string
	}{
		"AttemptTimeout":      {stall, func(c *retryablehttp.Client) { c.AttemptTimeout = time.Second }, "timeout"},
		"MaxElapsedTime":      {stall, func(c *retryablehttp.Client) { c.MaxElapsedTime = time.Second }, "timeout"},
		"HTTPClient.Timeout":  {stall, func(c *retryablehttp.Client) { c.HTTPClient.Timeout = time.Second }, "timeout"},
		"deadline":            {stall, nil, "timeout"}, // of the caller
		"timeout":             {fail(&net.OpError{Op: "dial", Err: timeout{}}), nil, "timeout"},
		"canceled":            {fail(fmt.Errorf("by the transport: %w", context.Canceled)), nil, "canceled"},
		"DNS":                 {fail(&net.OpError{Op: "dial", Err: &net.DNSError{Err: "no such host", IsTimeout: true}}), nil, "name_resolution"},
		"refused":             {retrytest.Step{Fault: retrytest.Refuse}, nil, "connect"},
		"proxy":               {fail(&net.OpError{Op: "proxyconnect", Err: errors.New("Forbidden")}), nil, "connect"},
		"reset":               {retrytest.Step{Fault: retrytest.Reset}, nil, "connection"},
		"closed":              {retrytest.Step{Fault: retrytest.Close}, nil, "connection"},
		"closed in a header":  {fail(io.ErrUnexpectedEOF), nil, "connection"},
		"certificate":         {fail(&tls.CertificateVerificationError{Err: x509.UnknownAuthorityError{}}), nil, "tls"},
		"alert":               {fail(&net.OpError{Op: "remote error", Err: errors.New("tls: bad certificate")}), nil, "tls"},
		"alert of its own":    {fail(&net.OpError{Op: "local error", Err: errors.New("tls: bad record MAC")}), nil, "tls"},
		"alert over QUIC":     {fail(tls.AlertError(42)), nil, "tls"},
		"not TLS":             {fail(tls.RecordHeaderError{Msg: "first record does not look like a TLS handshake"}), nil, "tls"},
		"error of its own":    {fail(errors.New("s3cret")), nil, "_OTHER"},
		"HTTP/2 stream error": {retrytest.Step{Fault: retrytest.RefuseStream}, nil, "_OTHER"},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				r := newRecorder(t)
				c := newClient(script(test.step))
				c.RetryMax = 0
				if test.set != nil {
					test.set(c)
				}
				require.NoError(t, otelretryablehttp.Instrument(c, r.options))
				ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
				defer cancel()
				req, err := retryablehttp.NewRequestWithContext(ctx, http.MethodGet, "http://example.com/", nil)
				require.NoError(t, err)
				_, err = c.Do(req)
				require.Error(t, err)
				span := r.one("GET")
				assert.Equal(t, test.want, value(span, "error.type"))
				assert.Equal(t, "Error", status(span), "without a text")
				if name != "canceled" { // the same class for the call
					assert.Equal(t, test.want, value(r.one("HTTP GET"), "error.type"))
				}
			})
		})
	}
}

// http.Client.Timeout cancels a request in an old way too, which may come first.
func TestTimeoutThatIsNotYetInTheContext(t *testing.T) {
	r := newRecorder(t)
	c := r.client(roundTripFunc(func(*http.Request) (*http.Response, error) {
		return nil, errors.New("net/http: request canceled")
	}))
	c.RetryMax = 0
	req, err := retryablehttp.NewRequestWithContext(late{t.Context()}, http.MethodGet, "http://example.com/", nil)
	require.NoError(t, err)
	_, err = c.Do(req)
	require.Error(t, err)
	assert.Equal(t, "timeout", value(r.one("GET"), "error.type"))
}

// late is a context whose deadline has passed, but which has not noticed.
type late struct{ context.Context }

func (late) Deadline() (time.Time, bool) { return time.Now(), true }

type timeout struct{}

func (timeout) Error() string { return "timeout" }
func (timeout) Timeout() bool { return true }

// Each hop of a redirect has a span, and counts as resent.
func TestRedirectsHaveSpans(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRecorder(t)
		c := r.client(script(
			retrytest.Step{Status: 302, Header: http.Header{"Location": {"/next"}}},
			retrytest.Step{Status: 503},
			retrytest.Step{Status: 302, Header: http.Header{"Location": {"/next"}}},
			retrytest.Step{},
		))
		require.NoError(t, get(c, "http://example.com/first"))

		call, attempts := r.one("HTTP GET"), r.find("GET")
		require.Len(t, attempts, 4)
		for i, want := range []struct {
			url          string
			resent, made any
		}{
			{"http://example.com/first", nil, int64(1)},
			{"http://example.com/next", int64(1), int64(1)},
			{"http://example.com/first", int64(2), int64(2)},
			{"http://example.com/next", int64(3), int64(2)},
		} {
			assert.Equal(t, want.url, value(attempts[i], "url.full"))
			assert.Equal(t, want.resent, value(attempts[i], "http.request.resend_count"))
			assert.Equal(t, want.made, value(attempts[i], "retryablehttp.attempt"))
			assert.Equal(t, call.SpanContext.SpanID(), attempts[i].Parent.SpanID())
		}
		assert.Equal(t, int64(2), value(call, "retryablehttp.attempts"))
	})
}

// The server of each attempt learns the span of that attempt. The caller's header is not
// changed, nor does the response show another request.
func TestHeadersArePropagated(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRecorder(t)
		transport := script(retrytest.Step{Status: 503}, retrytest.Step{})
		c := r.client(transport)
		req, err := retryablehttp.NewRequest(http.MethodGet, "http://example.com/", nil)
		require.NoError(t, err)
		req.Header.Set("Traceparent", "of the caller")
		resp, err := c.Do(req)
		require.NoError(t, err)
		resp.Body.Close()

		spans, sent := r.find("GET"), transport.Attempts()
		require.Len(t, spans, 2)
		for i, span := range spans {
			want := fmt.Sprintf("00-%s-%s-01", span.SpanContext.TraceID(), span.SpanContext.SpanID())
			assert.Equal(t, want, sent[i].Header.Get("Traceparent"))
		}
		assert.Equal(t, http.Header{"Traceparent": {"of the caller"}}, req.Header)
		assert.Equal(t, req.Header, resp.Request.Header)
	})
}

func TestHeaderThatIsNilIsNotChanged(t *testing.T) {
	r := newRecorder(t)
	transport := script(retrytest.Step{})
	c := r.client(transport)
	req, err := http.NewRequest(http.MethodGet, "http://example.com/", nil)
	require.NoError(t, err)
	req.Header = nil
	resp, err := (&retryablehttp.RoundTripper{Client: c}).RoundTrip(req)
	require.NoError(t, err)
	resp.Body.Close()
	assert.Nil(t, req.Header)
	assert.NotEmpty(t, transport.Attempts()[0].Header.Get("Traceparent"))
}

// A transport below sees the span of its request, for spans of its own.
func TestSpanIsInTheContextOfTheTransport(t *testing.T) {
	r := newRecorder(t)
	var seen trace.SpanContext
	c := r.client(roundTripFunc(func(req *http.Request) (*http.Response, error) {
		seen = trace.SpanContextFromContext(req.Context())
		return respond(200)(req)
	}))
	require.NoError(t, get(c, "http://example.com/"))
	assert.Equal(t, r.one("GET").SpanContext.SpanID(), seen.SpanID())
}

// A sampler sees the attributes that the conventions say are important for it.
func TestSamplerSeesTheAttributes(t *testing.T) {
	r := newRecorder(t)
	sampler := &recordingSampler{seen: map[string][]attribute.KeyValue{}}
	r.options.TracerProvider = sdk.NewTracerProvider(sdk.WithSampler(sampler), sdk.WithSyncer(r.spans))
	transport := script(retrytest.Step{})
	require.NoError(t, get(r.client(transport), "http://example.com/"))
	want := target(map[string]any{"url.full": "http://example.com/"})
	assert.Equal(t, want, values(sampler.seen["HTTP GET"]))
	assert.Equal(t, want, values(sampler.seen["GET"], "retryablehttp.attempt"))
	assert.Empty(t, r.spans.GetSpans())
	assert.Regexp(t, "^00-[0-9a-f]{32}-[0-9a-f]{16}-00$", transport.Attempts()[0].Header.Get("Traceparent"), "is propagated, as not sampled")
}

type recordingSampler struct {
	seen map[string][]attribute.KeyValue
}

func (s *recordingSampler) ShouldSample(p sdk.SamplingParameters) sdk.SamplingResult {
	s.seen[p.Name] = p.Attributes
	return sdk.SamplingResult{Decision: sdk.Drop}
}
func (s *recordingSampler) Description() string { return "recordingSampler" }

// With Base, the transport of the Client is not used.
func TestTransportAsBaseOfARoundTripper(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRecorder(t)
		base := script(
			retrytest.Step{Status: 503},
			retrytest.Step{Status: 302, Header: http.Header{"Location": {"/next"}}},
			retrytest.Step{},
		)
		c := r.client(script())
		std := &http.Client{Transport: &retryablehttp.RoundTripper{Client: c, Base: &otelretryablehttp.Transport{Base: base}}}
		resp, err := std.Get("http://example.com/first")
		require.NoError(t, err)
		resp.Body.Close()

		calls, attempts := r.find("HTTP GET"), r.find("GET")
		require.Len(t, calls, 2, "each hop of a redirect is a call")
		require.Len(t, attempts, 3)
		for i, call := range []int{0, 0, 1} {
			assert.Equal(t, calls[call].SpanContext.SpanID(), attempts[i].Parent.SpanID())
			assert.Equal(t, []any{nil, int64(1), nil}[i], value(attempts[i], "http.request.resend_count"))
		}
	})
}

// A request that belongs to no call of an instrumented Client is passed on as it is.
func TestRequestOutsideACall(t *testing.T) {
	var got *http.Request
	base := roundTripFunc(func(req *http.Request) (*http.Response, error) {
		got = req
		return respond(200)(req)
	})
	transport := &otelretryablehttp.Transport{Base: base}
	req, err := http.NewRequest(http.MethodGet, "http://example.com/", nil)
	require.NoError(t, err)
	resp, err := transport.RoundTrip(req)
	require.NoError(t, err)
	resp.Body.Close()
	assert.Same(t, req, got)

	require.NoError(t, get(newClient(transport), "http://example.com/"))
	_, err = transport.RoundTrip(nil)
	require.EqualError(t, err, "otelretryablehttp: nil Request")
}

// A transport that breaks its contract does not break a span.
func TestBrokenTransport(t *testing.T) {
	for name, base := range map[string]roundTripFunc{
		"panics":          func(*http.Request) (*http.Response, error) { panic("s3cret") },
		"returns neither": func(*http.Request) (*http.Response, error) { return nil, nil },
	} {
		t.Run(name, func(t *testing.T) {
			r := newRecorder(t)
			c := newClient(base)
			c.RetryMax = 0
			require.NoError(t, otelretryablehttp.Instrument(c, r.options))
			func() {
				defer func() { recover() }()
				_, err := c.Get("http://example.com/")
				require.Error(t, err)
			}()
			span := r.one("GET")
			assert.Equal(t, "Error", status(span))
			assert.Equal(t, "_OTHER", value(span, "error.type"))
			assert.Empty(t, span.Events, "the text of a panic may hold secrets")
			if name == "panics" {
				assert.Empty(t, r.find("HTTP GET"))
			}
		})
	}
}

func TestCloseIdleConnections(t *testing.T) {
	base := &closer{RoundTripper: respond(200)}
	c := newRecorder(t).client(base)
	c.CloseIdleConnections()
	assert.Equal(t, 1, base.closed)
	(&otelretryablehttp.Transport{Base: respond(200)}).CloseIdleConnections()
}

type closer struct {
	http.RoundTripper
	closed int
}

func (c *closer) CloseIdleConnections() { c.closed++ }
