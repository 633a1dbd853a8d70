package otelretryablehttp

import (
	"context"
	"errors"
	"net/http"
	"net/url"

	"go.opentelemetry.io/otel"
	"go.opentelemetry.io/otel/metric"
	"go.opentelemetry.io/otel/propagation"
	semconv "go.opentelemetry.io/otel/semconv/v1.43.0"
	"go.opentelemetry.io/otel/trace"

	"github.com/a0b132ce/retryablehttp"
)

// scope is the name under which spans and metrics are found.
const scope = "github.com/a0b132ce/retryablehttp/otelretryablehttp"

// Options says where spans and metrics go. The zero Options uses the providers that the
// program has set with package otel, before or after [Instrument]. Without any, nothing is
// recorded.
type Options struct {
	// TracerProvider makes the spans. Nil means otel.GetTracerProvider().
	TracerProvider trace.TracerProvider

	// MeterProvider takes the metrics. Nil means otel.GetMeterProvider().
	MeterProvider metric.MeterProvider

	// Propagator writes the header fields by which a server finds the span of its
	// request, such as traceparent. Nil means otel.GetTextMapPropagator(), which writes
	// none unless the program has set one.
	Propagator propagation.TextMapPropagator

	// KnownMethods are the methods that are recorded as they are; any other becomes
	// "_OTHER". Nil means the methods of RFC 9110 §9.3, PATCH and QUERY.
	KnownMethods []string
}

// Instrument makes c record spans and metrics. Call it when all other fields of c are set,
// and before the first call.
//
// It sets OnStart, OnAttempt and OnDone to functions that first call those that c has. It
// replaces HTTPClient by a copy, so that a shared one is not changed, and the Transport of
// the copy by a [Transport] around it. A [Transport] that is there is kept. A
// hedge.Transport is replaced by a copy with a [Transport] around its Base and its
// Alternative, and with [OnHedge]. If HTTPClient is nil, the one of [retryablehttp.NewClient]
// takes its place.
//
// URLs are recorded as c.RedactURL formats them. To instrument a Client again has no
// effect. It is an error if c is nil, if it is the transport of itself, or if the
// MeterProvider refuses a metric; c is then unchanged.
func Instrument(c *retryablehttp.Client, o Options) error {
	if c == nil {
		return errors.New("otelretryablehttp: nil Client")
	}
	httpClient, err := instrumentHTTPClient(c)
	if err != nil {
		return err
	}
	t, err := newTelemetry(o, c.RedactURL)
	if err != nil {
		return err
	}
	c.HTTPClient = httpClient
	onStart, onAttempt, onDone := c.OnStart, c.OnAttempt, c.OnDone
	c.OnStart = func(req *http.Request) context.Context {
		ctx := req.Context()
		if onStart != nil {
			ctx = onStart(req)
		}
		if callOf(ctx) != callOf(req.Context()) {
			return ctx // the Client was instrumented before
		}
		return t.start(ctx, req)
	}
	c.OnAttempt = func(a retryablehttp.Attempt) {
		if onAttempt != nil {
			onAttempt(a)
		}
		if call := t.callOf(a.Request); call != nil {
			call.attempted(a)
		}
	}
	c.OnDone = func(o retryablehttp.Outcome) {
		if onDone != nil {
			onDone(o)
		}
		if call := t.callOf(o.Request); call != nil {
			call.done(o)
		}
	}
	return nil
}

// instrumentHTTPClient returns a copy of the HTTPClient of c with another transport.
func instrumentHTTPClient(c *retryablehttp.Client) (*http.Client, error) {
	if c.HTTPClient == nil {
		c = retryablehttp.NewClient()
	}
	// The Client recognizes such a loop, but not through another transport.
	if rt, ok := c.HTTPClient.Transport.(*retryablehttp.RoundTripper); ok && rt.Base == nil && rt.Client == c {
		return nil, errors.New("otelretryablehttp: the transport of Client.HTTPClient is a RoundTripper of the same Client")
	}
	copied := *c.HTTPClient
	copied.Transport = instrumentTransport(copied.Transport)
	return &copied, nil
}

// telemetry is what the calls of an instrumented Client share.
type telemetry struct {
	tracer     trace.Tracer
	propagator propagation.TextMapPropagator
	metrics    metrics
	methods    map[string]bool
	redact     func(*url.URL) string
}

func newTelemetry(o Options, redact func(*url.URL) string) (*telemetry, error) {
	if o.TracerProvider == nil {
		o.TracerProvider = otel.GetTracerProvider()
	}
	if o.Propagator == nil {
		o.Propagator = otel.GetTextMapPropagator()
	}
	if redact == nil {
		redact = redactURL
	}
	m, err := newMetrics(o.meter())
	return &telemetry{
		tracer:     o.TracerProvider.Tracer(scope, trace.WithSchemaURL(semconv.SchemaURL)),
		propagator: o.Propagator,
		metrics:    m,
		methods:    knownMethods(o.KnownMethods),
		redact:     redact,
	}, err
}

func (o *Options) meter() metric.Meter {
	if o.MeterProvider == nil {
		o.MeterProvider = otel.GetMeterProvider()
	}
	return o.MeterProvider.Meter(scope, metric.WithSchemaURL(semconv.SchemaURL))
}
