package otelretryablehttp

import (
	"context"
	"errors"
	"net/http"
	"strconv"
	"time"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/codes"
	semconv "go.opentelemetry.io/otel/semconv/v1.43.0"
	"go.opentelemetry.io/otel/trace"

	"github.com/a0b132ce/retryablehttp"
)

// Transport is an [http.RoundTripper] that records a span and the duration of each request
// of an instrumented Client. It sends a copy of the request, with the header fields that
// Options.Propagator adds. A request that is not part of a call of an instrumented Client is
// passed to Base as it is.
//
// [Instrument] puts a Transport around the one of its Client. Where the requests of a Client
// take another way, put one there: into [retryablehttp.RoundTripper.Base], or around what
// sends the requests in a chain of transports, after Instrument. A request that passes two
// Transports has two spans.
//
// The span begins before Base is called and ends when Base returns: with the header of the
// response, or an error. The zero Transport is ready to use. Any number of goroutines may
// share one.
type Transport struct {
	// Base sends the requests. Nil means http.DefaultTransport.
	Base http.RoundTripper
}

var _ http.RoundTripper = (*Transport)(nil)

// RoundTrip implements [http.RoundTripper].
func (t *Transport) RoundTrip(req *http.Request) (*http.Response, error) {
	if req == nil {
		return nil, errors.New("otelretryablehttp: nil Request")
	}
	c := callOf(req.Context())
	if c == nil || req.URL == nil {
		return t.base().RoundTrip(req)
	}
	return c.roundTrip(t.base(), req)
}

// CloseIdleConnections closes the idle connections of Base.
// [http.Client.CloseIdleConnections] calls it.
func (t *Transport) CloseIdleConnections() {
	if base, ok := t.base().(interface{ CloseIdleConnections() }); ok {
		base.CloseIdleConnections()
	}
}

func (t *Transport) base() http.RoundTripper {
	if t.Base != nil {
		return t.Base
	}
	return http.DefaultTransport
}

// roundTrip sends a request of the call with a span of its own.
func (c *call) roundTrip(base http.RoundTripper, req *http.Request) (resp *http.Response, err error) {
	start := time.Now()
	ctx, r := c.begin(req)
	// In a deferred function, because base may panic. Not span.End itself, which would
	// record what it panicked with.
	defer func() { r.end(ctx, time.Since(start), resp, err) }()
	sent := req.WithContext(ctx)
	c.propagator.Inject(ctx, &ownHeader{req: sent})
	resp, err = base.RoundTrip(sent)
	if resp != nil && resp.Request == sent {
		resp.Request = req // as without a Transport
	}
	return resp, err
}

// request is a request of a call: an attempt, or one of the hops or hedges of an attempt.
type request struct {
	call   *call
	span   trace.Span
	target []attribute.KeyValue // the attributes of its metrics
}

// begin begins the span of a request and returns the context that it is sent with.
func (c *call) begin(req *http.Request) (context.Context, request) {
	target, about := c.describe(req)
	about = append(about, attemptKey.Int(retryablehttp.AttemptNumber(req.Context())))
	if resent := int(c.sent.Add(1)) - 1; resent > 0 {
		about = append(about, semconv.HTTPRequestResendCount(resent))
	}
	ctx, span := c.tracer.Start(req.Context(), c.requestName(req), trace.WithSpanKind(trace.SpanKindClient), trace.WithAttributes(about...))
	return ctx, request{c, span, target}
}

// end records the result of the request. Neither resp nor err is set if the transport has
// panicked.
func (r *request) end(ctx context.Context, took time.Duration, resp *http.Response, err error) {
	if duration := r.call.metrics.requestDuration; duration.Enabled(ctx) || r.span.IsRecording() {
		result := resultOf(ctx, resp, err)
		duration.Inst().Record(ctx, took.Seconds(), attributes(r.target, result...))
		r.span.SetAttributes(result...)
		if err != nil || resp == nil || statusIsError(resp.StatusCode) {
			r.span.SetStatus(codes.Error, "") // the text of err may hold secrets
		}
	}
	r.span.End()
}

// resultOf returns the attributes of the result of a request.
func resultOf(ctx context.Context, resp *http.Response, err error) []attribute.KeyValue {
	if err != nil || resp == nil {
		return []attribute.KeyValue{semconv.ErrorTypeKey.String(errorType(ctx, err))}
	}
	result := []attribute.KeyValue{semconv.HTTPResponseStatusCode(resp.StatusCode)}
	if version := protocolVersion(resp); version != "" {
		result = append(result, semconv.NetworkProtocolVersion(version))
	}
	if statusIsError(resp.StatusCode) {
		result = append(result, semconv.ErrorTypeKey.String(strconv.Itoa(resp.StatusCode)))
	}
	return result
}

// ownHeader sets fields of the header of a request, which becomes a copy before the first
// is set.
type ownHeader struct {
	req    *http.Request
	copied bool
}

// Get, Set and Keys implement propagation.TextMapCarrier.
func (h *ownHeader) Get(key string) string { return h.req.Header.Get(key) }

func (h *ownHeader) Set(key, value string) {
	if !h.copied {
		h.req.Header, h.copied = h.req.Header.Clone(), true
		if h.req.Header == nil {
			h.req.Header = http.Header{}
		}
	}
	h.req.Header.Set(key, value)
}

func (h *ownHeader) Keys() []string {
	keys := make([]string, 0, len(h.req.Header))
	for key := range h.req.Header {
		keys = append(keys, key)
	}
	return keys
}
