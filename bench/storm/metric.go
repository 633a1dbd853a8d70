package main

import (
	"fmt"
	"math"
	"time"
)

// A metric is a number that is computed from one run.
type metric struct {
	title  string // of a column
	of     func(*result) float64
	format func(float64) string
}

var (
	peakAttempts = metric{"peak attempts/s", func(r *result) float64 { return r.peak(binWidth) }, whole}
	// amplification is taken over 100 ms, the shortest time that is measured.
	amplification = metric{"peak ÷ calls", func(r *result) float64 { return r.peak(binWidth) / r.scenario.rate }, times}
	// amplificationIn200ms is in the figures.
	amplificationIn200ms = metric{"peak ÷ calls", func(r *result) float64 { return r.peak(2*binWidth) / r.scenario.rate }, times}
	// amplificationPerSecond varies less if there are few callers.
	amplificationPerSecond = metric{"peak ÷ calls", func(r *result) float64 { return r.peak(time.Second) / r.scenario.rate }, times}

	goodputDuring = metric{"goodput/s during", func(r *result) float64 { return r.goodput(r.scenario.from, r.scenario.to) }, whole}
	goodputAfter  = metric{"goodput/s 2 s after", func(r *result) float64 {
		return r.goodput(r.scenario.to, r.scenario.to+2*time.Second)
	}, whole}
	recovery     = metric{"back at 99 %", func(r *result) float64 { return r.recovery().Seconds() }, seconds}
	savedDuring  = metric{"begun during: succeed", func(r *result) float64 { return 100 * r.success(r.scenario.from, r.scenario.to) }, percent}
	saved        = metric{"all calls: succeed", func(r *result) float64 { return 100 * r.success(0, r.scenario.run) }, percent}
	callAttempts = metric{"attempts/call", func(r *result) float64 { return float64(r.attempts()) / float64(len(r.calls)) }, hundredths}
	slowestCalls = metric{"p99", func(r *result) float64 { return 1000 * r.latency(0, r.scenario.run, 0.99).Seconds() }, milliseconds}

	failedCalls  = metric{"failed calls", func(r *result) float64 { return float64(r.failures()) }, whole}
	extraLatency = metric{"p99 during − p99 before", func(r *result) float64 {
		return 1000 * (r.latency(r.scenario.from, r.scenario.to, 0.99) - r.latency(0, r.scenario.from, 0.99)).Seconds()
	}, milliseconds}
	// sentPerCall counts an attempt of the library once, whatever a transport below the
	// library makes of it.
	sentPerCall     = metric{"attempts/call of the library", func(r *result) float64 { return float64(r.sent) / float64(len(r.calls)) }, thousandths}
	requestsPerCall = metric{"requests/call at the servers", callAttempts.of, thousandths}

	typicalLatency = metric{"p50", func(r *result) float64 { return 1000 * r.latency(0, r.scenario.run, 0.5).Seconds() }, milliseconds}
	tailLatency    = metric{"p99.9", func(r *result) float64 { return 1000 * r.latency(0, r.scenario.run, 0.999).Seconds() }, milliseconds}
	extraRequests  = metric{"extra requests", func(r *result) float64 { return 100 * (callAttempts.of(r) - 1) }, percent}
)

var (
	faultColumns = []metric{
		peakAttempts, amplification, goodputDuring, goodputAfter, recovery, savedDuring, saved, callAttempts, slowestCalls,
	}
	// Calls that begin together are many attempts at the peak, whatever the library does.
	togetherColumns = []metric{goodputDuring, goodputAfter, recovery, savedDuring, saved, callAttempts, slowestCalls}
	endpointColumns = []metric{failedCalls, extraLatency, sentPerCall, requestsPerCall}
	hedgingColumns  = []metric{typicalLatency, tailLatency, extraRequests, failedCalls}
)

func whole(v float64) string       { return fmt.Sprintf("%.0f", v) }
func hundredths(v float64) string  { return fmt.Sprintf("%.2f", v) }
func thousandths(v float64) string { return fmt.Sprintf("%.3f", v) }
func times(v float64) string       { return fmt.Sprintf("%.2fx", v) }
func percent(v float64) string     { return fmt.Sprintf("%.1f %%", v) }

func milliseconds(v float64) string {
	if v >= 1000 {
		return seconds(v / 1000)
	}
	return fmt.Sprintf("%.0f ms", math.Round(v)+0) // no -0
}

func seconds(v float64) string {
	if v >= never.Seconds() {
		return "never"
	}
	return fmt.Sprintf("%.1f s", v)
}
