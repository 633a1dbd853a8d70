package otelretryablehttp_test

import (
	"net/http"
	"net/http/httptest"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	metricnoop "go.opentelemetry.io/otel/metric/noop"
	"go.opentelemetry.io/otel/propagation"
	sdk "go.opentelemetry.io/otel/sdk/trace"
	tracenoop "go.opentelemetry.io/otel/trace/noop"

	"github.com/a0b132ce/retryablehttp"
	"github.com/a0b132ce/retryablehttp/otelretryablehttp"
)

func noSDK() otelretryablehttp.Options {
	return otelretryablehttp.Options{
		TracerProvider: tracenoop.NewTracerProvider(),
		MeterProvider:  metricnoop.NewMeterProvider(),
		Propagator:     propagation.NewCompositeTextMapPropagator(),
	}
}

// Without an SDK a call of one attempt makes few allocations more. The transport is not an
// *http.Transport in both cases.
func TestCostWithoutAnSDK(t *testing.T) {
	plain := newClient(respond(200))
	instrumented := newClient(respond(200))
	require.NoError(t, otelretryablehttp.Instrument(instrumented, noSDK()))
	cost := allocations(t, instrumented) - allocations(t, plain)
	t.Logf("%.0f allocations", cost)
	assert.LessOrEqual(t, cost, 30.0)
}

func allocations(t *testing.T, c *retryablehttp.Client) float64 {
	return testing.AllocsPerRun(100, func() { assert.NoError(t, get(c, "http://example.com/things?key=value")) })
}

func BenchmarkCall(b *testing.B) {
	server := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {}))
	defer server.Close()
	without := noSDK()
	for _, transport := range []struct {
		name, url string
		new       func() http.RoundTripper
	}{
		{"stub", "http://example.com/things?key=value", func() http.RoundTripper { return respond(200) }},
		{"loopback", server.URL + "/things?key=value", func() http.RoundTripper { return http.DefaultTransport.(*http.Transport).Clone() }},
	} {
		for name, options := range map[string]*otelretryablehttp.Options{
			"plain": nil,
			"noSDK": &without,
			"SDK":   {TracerProvider: sdk.NewTracerProvider(), MeterProvider: newRecorder(b).options.MeterProvider, Propagator: propagation.TraceContext{}},
		} {
			b.Run(transport.name+"/"+name, func(b *testing.B) {
				c := newClient(transport.new())
				if options != nil {
					require.NoError(b, otelretryablehttp.Instrument(c, *options))
				}
				defer c.CloseIdleConnections()
				b.ReportAllocs()
				for b.Loop() {
					if err := get(c, transport.url); err != nil {
						b.Fatal(err)
					}
				}
			})
		}
	}
}
