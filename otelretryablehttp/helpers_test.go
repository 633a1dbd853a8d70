package otelretryablehttp_test

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/codes"
	"go.opentelemetry.io/otel/propagation"
	"go.opentelemetry.io/otel/sdk/metric"
	"go.opentelemetry.io/otel/sdk/metric/metricdata"
	"go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/sdk/trace/tracetest"

	"github.com/a0b132ce/retryablehttp"
	"github.com/a0b132ce/retryablehttp/otelretryablehttp"
	"github.com/a0b132ce/retryablehttp/retrytest"
)

// recorder keeps in memory what instrumented clients record.
type recorder struct {
	t       testing.TB
	spans   *tracetest.InMemoryExporter
	reader  *metric.ManualReader
	options otelretryablehttp.Options
}

func newRecorder(t testing.TB) *recorder {
	r := &recorder{t: t, spans: tracetest.NewInMemoryExporter(), reader: metric.NewManualReader()}
	r.options = otelretryablehttp.Options{
		TracerProvider: trace.NewTracerProvider(trace.WithSyncer(r.spans)),
		MeterProvider:  metric.NewMeterProvider(metric.WithReader(r.reader)),
		Propagator:     propagation.TraceContext{},
	}
	return r
}

// client returns an instrumented Client that waits for exactly 1 s before each retry.
func (r *recorder) client(transport http.RoundTripper) *retryablehttp.Client {
	c := newClient(transport)
	require.NoError(r.t, otelretryablehttp.Instrument(c, r.options))
	return c
}

func newClient(transport http.RoundTripper) *retryablehttp.Client {
	return &retryablehttp.Client{
		HTTPClient: &http.Client{Transport: transport},
		RetryMax:   2,
		Backoff:    func(_, _ time.Duration, _ int, _ *http.Response) time.Duration { return time.Second },
	}
}

// find returns the spans with the given name, in the order in which they began.
func (r *recorder) find(name string) tracetest.SpanStubs {
	spans := slices.DeleteFunc(slices.Clone(r.spans.GetSpans()), func(s tracetest.SpanStub) bool { return s.Name != name })
	slices.SortStableFunc(spans, func(a, b tracetest.SpanStub) int { return a.StartTime.Compare(b.StartTime) })
	return spans
}

// one returns the only span with the given name.
func (r *recorder) one(name string) tracetest.SpanStub {
	r.t.Helper()
	spans := r.find(name)
	require.Len(r.t, spans, 1)
	return spans[0]
}

// values returns the values of attributes as a map, without the given keys.
func values(attributes []attribute.KeyValue, without ...attribute.Key) map[string]any {
	m := map[string]any{}
	for _, a := range attributes {
		if !slices.Contains(without, a.Key) {
			m[string(a.Key)] = a.Value.AsInterface()
		}
	}
	return m
}

// value returns the value of an attribute of a span, nil if it has none.
func value(span tracetest.SpanStub, key string) any { return values(span.Attributes)[key] }

// target are the attributes of a GET to the URL of most tests.
func target(more map[string]any) map[string]any {
	m := map[string]any{"http.request.method": "GET", "server.address": "example.com", "server.port": int64(80)}
	for key, value := range more {
		m[key] = value
	}
	return m
}

// status returns the status of a span in one line.
func status(span tracetest.SpanStub) string {
	if span.Status.Code == codes.Unset {
		return "unset"
	}
	return strings.TrimSpace(fmt.Sprint(span.Status.Code, " ", span.Status.Description))
}

// metrics returns every data point, by the name of the metric and the attributes, as text.
func (r *recorder) metrics() map[string]string {
	r.t.Helper()
	var data metricdata.ResourceMetrics
	require.NoError(r.t, r.reader.Collect(context.Background(), &data))
	m := map[string]string{}
	for _, scope := range data.ScopeMetrics {
		for _, metric := range scope.Metrics {
			addPoints(m, metric)
		}
	}
	return m
}

func addPoints(m map[string]string, metric metricdata.Metrics) {
	key := func(set attribute.Set) string {
		return metric.Name + "{" + set.Encoded(attribute.DefaultEncoder()) + "} " + metric.Unit
	}
	switch data := metric.Data.(type) {
	case metricdata.Histogram[float64]:
		for _, p := range data.DataPoints {
			m[key(p.Attributes)] = fmt.Sprintf("%d, sum %g", p.Count, p.Sum)
		}
	case metricdata.Histogram[int64]:
		for _, p := range data.DataPoints {
			m[key(p.Attributes)] = fmt.Sprintf("%d, sum %d", p.Count, p.Sum)
		}
	case metricdata.Sum[int64]:
		for _, p := range data.DataPoints {
			m[key(p.Attributes)] = fmt.Sprint(p.Value)
		}
	case metricdata.Gauge[float64]:
		for _, p := range data.DataPoints {
			m[key(p.Attributes)] = format(p.Value)
		}
	case metricdata.Gauge[int64]:
		for _, p := range data.DataPoints {
			m[key(p.Attributes)] = fmt.Sprint(p.Value)
		}
	default:
		panic(fmt.Sprintf("%T", data))
	}
}

func format(v float64) string { return fmt.Sprintf("%.3g", v) }

// get sends a GET and reads the response.
func get(c *retryablehttp.Client, url string) error {
	resp, err := c.Get(url)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	_, err = io.Copy(io.Discard, resp.Body)
	return err
}

func script(steps ...retrytest.Step) *retrytest.Transport { return retrytest.NewTransport(steps...) }

// roundTripFunc is a transport.
type roundTripFunc func(*http.Request) (*http.Response, error)

func (f roundTripFunc) RoundTrip(req *http.Request) (*http.Response, error) { return f(req) }

// respond returns a transport that sends an empty response with a status.
func respond(status int) roundTripFunc {
	return func(req *http.Request) (*http.Response, error) {
		return &http.Response{StatusCode: status, ProtoMajor: 2, Header: http.Header{}, Body: http.NoBody, Request: req}, nil
	}
}
