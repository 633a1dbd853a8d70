package otelretryablehttp

import (
	"errors"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/metric"
	"go.opentelemetry.io/otel/semconv/v1.43.0/httpconv"

	"github.com/a0b132ce/retryablehttp"
)

// metrics are the instruments that calls and requests record to.
type metrics struct {
	requestDuration httpconv.ClientRequestDuration
	callDuration    metric.Float64Histogram
	callAttempts    metric.Int64Histogram
	callWaitTime    metric.Float64Histogram
	retries         metric.Int64Counter
	hedges          metric.Int64Counter
}

// callSeconds are the bounds of the buckets for calls: those of http.client.request.duration,
// and longer ones, because a call that waits may take minutes.
var callSeconds = metric.WithExplicitBucketBoundaries(0.005, 0.01, 0.025, 0.05, 0.075, 0.1, 0.25, 0.5, 0.75, 1, 2.5, 5, 7.5, 10, 30, 60, 120, 300)

func newMetrics(meter metric.Meter) (m metrics, err error) {
	var errs [6]error
	m.requestDuration, errs[0] = httpconv.NewClientRequestDuration(meter)
	m.callDuration, errs[1] = meter.Float64Histogram("retryablehttp.call.duration", metric.WithUnit("s"), callSeconds,
		metric.WithDescription("Duration of calls, up to the header of the response, with all attempts and waits."))
	m.callAttempts, errs[2] = meter.Int64Histogram("retryablehttp.call.attempts", metric.WithUnit("{attempt}"),
		metric.WithExplicitBucketBoundaries(0, 1, 2, 3, 4, 5, 6, 8, 10, 15, 20),
		metric.WithDescription("Number of attempts of calls."))
	m.callWaitTime, errs[3] = meter.Float64Histogram("retryablehttp.call.wait_time", metric.WithUnit("s"), callSeconds,
		metric.WithDescription("Time that calls have waited before attempts, if they have waited at all."))
	m.retries, errs[4] = meter.Int64Counter("retryablehttp.retries", metric.WithUnit("{retry}"),
		metric.WithDescription("Number of retries that were made, by the reason for them."))
	m.hedges, errs[5] = meter.Int64Counter("retryablehttp.hedges", metric.WithUnit("{hedge}"),
		metric.WithDescription("Number of requests that were slow enough for a second attempt, by what became of that."))
	return m, errors.Join(errs[:]...)
}

// called records the end of a call.
func (m *metrics) called(o retryablehttp.Outcome, target, failure []attribute.KeyValue) {
	ctx := o.Request.Context()
	if !m.callDuration.Enabled(ctx) && !m.callAttempts.Enabled(ctx) && !m.callWaitTime.Enabled(ctx) {
		return
	}
	about := attributes(target, failure...)
	m.callDuration.Record(ctx, o.Elapsed.Seconds(), about)
	m.callAttempts.Record(ctx, int64(o.Attempts), about)
	if o.Waited > 0 {
		m.callWaitTime.Record(ctx, o.Waited.Seconds(), about)
	}
}

// attributes returns the attributes of a measurement.
func attributes(target []attribute.KeyValue, more ...attribute.KeyValue) metric.MeasurementOption {
	return metric.WithAttributeSet(attribute.NewSet(append(target[:len(target):len(target)], more...)...))
}
