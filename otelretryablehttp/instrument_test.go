package otelretryablehttp_test

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"sync"
	"testing"
	"testing/synctest"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.opentelemetry.io/otel"
	"go.opentelemetry.io/otel/metric"
	metricnoop "go.opentelemetry.io/otel/metric/noop"
	tracenoop "go.opentelemetry.io/otel/trace/noop"

	"github.com/a0b132ce/retryablehttp"
	"github.com/a0b132ce/retryablehttp/hedge"
	"github.com/a0b132ce/retryablehttp/otelretryablehttp"
	"github.com/a0b132ce/retryablehttp/retrytest"
)

// The functions that a Client had are called before the recording, so that they may add to
// the span of the call, and a span that OnStart begins is its parent.
func TestFunctionsOfTheClientAreCalled(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRecorder(t)
		tracer := r.options.TracerProvider.Tracer("test")
		var log []string
		c := newClient(script(retrytest.Step{Status: 503}, retrytest.Step{}))
		c.OnStart = func(req *http.Request) context.Context {
			ctx, span := tracer.Start(req.Context(), "mine")
			span.End()
			log = append(log, "start")
			return ctx
		}
		c.OnAttempt = func(a retryablehttp.Attempt) { log = append(log, fmt.Sprint("attempt ", a.Number)) }
		c.OnDone = func(o retryablehttp.Outcome) {
			log = append(log, fmt.Sprint("done ", o.Attempts, ", spans ended: ", len(r.spans.GetSpans())))
		}
		require.NoError(t, otelretryablehttp.Instrument(c, r.options))
		require.NoError(t, get(c, "http://example.com/"))
		assert.Equal(t, []string{"start", "attempt 1", "attempt 2", "done 2, spans ended: 3"}, log)
		assert.Equal(t, r.one("mine").SpanContext.SpanID(), r.one("HTTP GET").Parent.SpanID())
	})
}

func TestHTTPClientIsCopied(t *testing.T) {
	r := newRecorder(t)
	base := script(retrytest.Step{Times: retrytest.Forever})
	shared := &http.Client{Transport: base, Timeout: 7}
	c := &retryablehttp.Client{HTTPClient: shared}
	require.NoError(t, otelretryablehttp.Instrument(c, r.options))
	assert.Equal(t, &http.Client{Transport: base, Timeout: 7}, shared)
	assert.Equal(t, &http.Client{Transport: &otelretryablehttp.Transport{Base: base}, Timeout: 7}, c.HTTPClient)
}

// A nil HTTPClient, which uses the package's pool, becomes one with the same settings.
func TestNilHTTPClient(t *testing.T) {
	r := newRecorder(t)
	c := new(retryablehttp.Client)
	require.NoError(t, otelretryablehttp.Instrument(c, r.options))
	base, ok := c.HTTPClient.Transport.(*otelretryablehttp.Transport).Base.(*http.Transport)
	require.True(t, ok)
	assert.NotSame(t, http.DefaultTransport, base)
	assert.NotNil(t, base.HTTP2)
}

// A Transport that is there is not put into another one.
func TestTransportIsKept(t *testing.T) {
	r := newRecorder(t)
	transport := &otelretryablehttp.Transport{Base: script(retrytest.Step{})}
	c := r.client(transport)
	assert.Same(t, transport, c.HTTPClient.Transport)
	require.NoError(t, get(c, "http://example.com/"))
	assert.Len(t, r.spans.GetSpans(), 2)
}

func TestInstrumentTwice(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r, other := newRecorder(t), newRecorder(t)
		c := r.client(script(retrytest.Step{Status: 503}, retrytest.Step{}))
		require.NoError(t, otelretryablehttp.Instrument(c, r.options))
		require.NoError(t, otelretryablehttp.Instrument(c, other.options))
		require.NoError(t, get(c, "http://example.com/"))
		assert.Len(t, r.spans.GetSpans(), 3)
		assert.Len(t, r.one("HTTP GET").Events, 1)
		assert.Equal(t, "1", r.metrics()["retryablehttp.retries{http.request.method=GET,retryablehttp.reason=status,server.address=example.com,server.port=80} {retry}"])
		assert.Empty(t, other.spans.GetSpans())
		assert.Empty(t, other.metrics())
	})
}

func TestInstrumentTwiceCountsAHedgeOnce(t *testing.T) {
	c := retryablehttp.NewClient()
	c.HTTPClient.Transport = &hedge.Transport{}
	require.NoError(t, otelretryablehttp.Instrument(c, otelretryablehttp.Options{}))
	once := c.HTTPClient.Transport
	require.NoError(t, otelretryablehttp.Instrument(c, otelretryablehttp.Options{}))
	assert.Same(t, once, c.HTTPClient.Transport)
}

func TestInstrumentRefusesBadInput(t *testing.T) {
	require.EqualError(t, otelretryablehttp.Instrument(nil, otelretryablehttp.Options{}), "otelretryablehttp: nil Client")

	c := retryablehttp.NewClient()
	c.HTTPClient.Transport = &retryablehttp.RoundTripper{Client: c}
	before := c.HTTPClient
	require.EqualError(t, otelretryablehttp.Instrument(c, otelretryablehttp.Options{}),
		"otelretryablehttp: the transport of Client.HTTPClient is a RoundTripper of the same Client")
	assert.Same(t, before, c.HTTPClient)

	c = retryablehttp.NewClient()
	before = c.HTTPClient
	err := otelretryablehttp.Instrument(c, otelretryablehttp.Options{MeterProvider: brokenProvider{}})
	require.ErrorIs(t, err, errBroken)
	assert.Same(t, before, c.HTTPClient)
	assert.Nil(t, c.OnStart)
	assert.Nil(t, c.OnAttempt)
	assert.Nil(t, c.OnDone)
}

var errBroken = errors.New("broken")

// brokenProvider makes meters that cannot make one of the instruments.
type brokenProvider struct{ metricnoop.MeterProvider }

func (brokenProvider) Meter(string, ...metric.MeterOption) metric.Meter { return brokenMeter{} }

type brokenMeter struct{ metricnoop.Meter }

func (brokenMeter) Int64Counter(string, ...metric.Int64CounterOption) (metric.Int64Counter, error) {
	return nil, errBroken
}

func (brokenMeter) Int64ObservableGauge(string, ...metric.Int64ObservableGaugeOption) (metric.Int64ObservableGauge, error) {
	return nil, errBroken
}

// The zero Options uses the providers of package otel.
func TestGlobalProviders(t *testing.T) {
	r := newRecorder(t)
	defer setGlobals(noSDK())
	tracer := otel.GetTracerProvider()
	transport := script(retrytest.Step{Times: retrytest.Forever})
	before, after := newClient(transport), newClient(transport)
	require.NoError(t, otelretryablehttp.Instrument(before, otelretryablehttp.Options{}))
	require.NoError(t, get(before, "http://example.com/"))
	assert.Empty(t, transport.Attempts()[0].Header.Get("Traceparent"))

	setGlobals(r.options)
	require.NoError(t, otelretryablehttp.Instrument(after, otelretryablehttp.Options{}))
	clients := []*retryablehttp.Client{after, before}
	if _, replaced := tracer.(tracenoop.TracerProvider); replaced {
		clients = clients[:1] // with -count: package otel forwards only to the first provider
	}
	for i, c := range clients {
		require.NoError(t, get(c, "http://example.com/"))
		assert.Len(t, r.spans.GetSpans(), 2*(i+1))
		assert.NotEmpty(t, transport.Attempts()[i+1].Header.Get("Traceparent"))
	}
	assert.NotEmpty(t, r.metrics())
	scope := r.find("GET")[0].InstrumentationScope
	assert.Equal(t, "github.com/a0b132ce/retryablehttp/otelretryablehttp", scope.Name)
	assert.Equal(t, "https://opentelemetry.io/schemas/1.43.0", scope.SchemaURL)
}

func setGlobals(o otelretryablehttp.Options) {
	otel.SetTracerProvider(o.TracerProvider)
	otel.SetMeterProvider(o.MeterProvider)
	otel.SetTextMapPropagator(o.Propagator)
}

// Many goroutines share a Client: each call has its own spans.
func TestCallsAtTheSameTime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRecorder(t)
		c := r.client(roundTripFunc(func(req *http.Request) (*http.Response, error) {
			if retryablehttp.AttemptNumber(req.Context()) < 3 {
				return respond(503)(req)
			}
			return respond(200)(req)
		}))
		var wait sync.WaitGroup
		for range 50 {
			wait.Go(func() { assert.NoError(t, get(c, "http://example.com/")) })
		}
		wait.Wait()

		attempts := map[string]int{}
		for _, span := range r.find("GET") {
			attempts[span.Parent.SpanID().String()]++
		}
		calls := r.find("HTTP GET")
		assert.Len(t, calls, 50)
		for _, call := range calls {
			assert.Equal(t, 3, attempts[call.SpanContext.SpanID().String()])
			assert.Len(t, call.Events, 2)
		}
		assert.Equal(t, "100", r.metrics()["retryablehttp.retries{http.request.method=GET,retryablehttp.reason=status,server.address=example.com,server.port=80} {retry}"])
	})
}
