package otelretryablehttp

import (
	"context"
	"net/http"
	"strconv"
	"sync/atomic"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/codes"
	semconv "go.opentelemetry.io/otel/semconv/v1.43.0"
	"go.opentelemetry.io/otel/trace"

	"github.com/a0b132ce/retryablehttp"
)

// call is a call of an instrumented Client. The contexts of its requests contain it.
type call struct {
	*telemetry
	span   trace.Span
	target []attribute.KeyValue // the attributes of its metrics
	last   retryablehttp.Reason // why the last attempt is retried
	sent   atomic.Int32         // requests, those of redirects and hedges included
}

type callKey struct{}

// callOf returns the innermost call that ctx belongs to, nil if there is none.
func callOf(ctx context.Context) *call {
	c, _ := ctx.Value(callKey{}).(*call)
	return c
}

// callOf returns the call that req belongs to, nil if it is not one of t.
func (t *telemetry) callOf(req *http.Request) *call {
	if c := callOf(req.Context()); c != nil && c.telemetry == t {
		return c
	}
	return nil
}

// start begins the span of a call and returns the context of the call.
func (t *telemetry) start(ctx context.Context, req *http.Request) context.Context {
	target, about := t.describe(req)
	c := &call{telemetry: t, target: target}
	ctx, c.span = t.tracer.Start(ctx, t.callName(req), trace.WithAttributes(about...))
	return context.WithValue(ctx, callKey{}, c)
}

// attempted records a finished attempt.
func (c *call) attempted(a retryablehttp.Attempt) {
	ctx := a.Request.Context()
	if a.Number > 1 && c.metrics.retries.Enabled(ctx) {
		c.metrics.retries.Add(ctx, 1, attributes(c.target, reasonKey.String(string(c.last))))
	}
	c.last = a.Reason
	if !a.Retry || !c.span.IsRecording() {
		return
	}
	about := []attribute.KeyValue{
		attemptKey.Int(a.Number),
		reasonKey.String(string(a.Reason)),
		waitTimeKey.Float64(a.Wait.Seconds()),
	}
	if a.Response != nil {
		about = append(about, semconv.HTTPResponseStatusCode(a.Response.StatusCode))
	}
	if a.Err != nil { // redacted by the Client
		about = append(about, semconv.ExceptionMessage(a.Err.Error()))
	}
	c.span.AddEvent("retryablehttp.retry", trace.WithAttributes(about...))
}

// done records the end of the call.
func (c *call) done(o retryablehttp.Outcome) {
	var failure []attribute.KeyValue
	if failed(o) {
		failure = append(failure, semconv.ErrorTypeKey.String(callErrorType(o)))
		if o.Reason != "" {
			failure = append(failure, reasonKey.String(string(o.Reason)))
		}
	}
	c.metrics.called(o, c.target, failure)
	if c.span.IsRecording() {
		c.span.SetAttributes(failure...)
		c.describeEnd(o)
	}
	c.span.End()
}

func (c *call) describeEnd(o retryablehttp.Outcome) {
	c.span.SetAttributes(attemptsKey.Int(o.Attempts), waitTimeKey.Float64(o.Waited.Seconds()))
	if o.Status != 0 {
		c.span.SetAttributes(semconv.HTTPResponseStatusCode(o.Status))
	}
	if o.Resumption != 0 {
		c.span.SetAttributes(resumptionKey.Int(o.Resumption))
	}
	if !failed(o) {
		return
	}
	text := string(o.Reason)
	if err, ok := o.Err.(*retryablehttp.GiveUpError); ok {
		text = err.Error() // redacted; an error of an ErrorHandler need not be
	}
	c.span.SetStatus(codes.Error, text)
}

// failed reports whether a call failed. The error of a nested client has no Reason; an
// ErrorHandler may return no error.
func failed(o retryablehttp.Outcome) bool { return o.Reason != "" || o.Err != nil }

// callErrorType returns the error.type of a call that failed.
func callErrorType(o retryablehttp.Outcome) string {
	switch {
	case o.Reason == retryablehttp.ReasonCanceled:
		return errorCanceled
	case o.Reason == retryablehttp.ReasonDeadline || o.Reason == retryablehttp.ReasonMaxElapsedTime:
		return errorTimeout
	case statusIsError(o.Status):
		return strconv.Itoa(o.Status)
	}
	return errorType(o.Request.Context(), o.Err)
}
