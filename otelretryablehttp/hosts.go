package otelretryablehttp

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"go.opentelemetry.io/otel/metric"

	"github.com/a0b132ce/retryablehttp"
)

// ObserveHosts records the state of c.Budget and c.Gate for the given hosts whenever metrics
// are collected. A host is as in a URL, such as "api.example.com" or "api.example.com:8443".
// A Budget that is not PerHost is recorded once, without a host. A nil Budget or Gate is not
// recorded; it is an error if both are nil, if a host is malformed, or if there is none
// although one is needed. Of o only MeterProvider is used. c need not be instrumented.
//
// Unregister of the result ends the recording. Until then the MeterProvider keeps the Budget
// and the Gate in memory.
func ObserveHosts(c *retryablehttp.Client, o Options, hosts ...string) (metric.Registration, error) {
	if err := checkHosts(c, hosts); err != nil {
		return nil, err
	}
	h := observedHosts{budget: c.Budget, gate: c.Gate}
	for _, host := range hosts {
		h.hosts = append(h.hosts, observedHost{host, metric.WithAttributes(serverOf(host, "")...)})
	}
	meter := o.meter()
	var errs [4]error
	h.balance, errs[0] = meter.Float64ObservableGauge("retryablehttp.budget.balance", metric.WithUnit("{token}"),
		metric.WithDescription("Tokens for retries that Client.Budget has."))
	h.closed, errs[1] = meter.Float64ObservableGauge("retryablehttp.gate.closed", metric.WithUnit("s"),
		metric.WithDescription("Time for which Client.Gate will send no attempt."))
	h.rate, errs[2] = meter.Float64ObservableGauge("retryablehttp.gate.rate", metric.WithUnit("{attempt}/s"),
		metric.WithDescription("Attempts per second that Client.Gate sends at most, 0 if there is no limit."))
	h.waiting, errs[3] = meter.Int64ObservableGauge("retryablehttp.gate.waiting", metric.WithUnit("{attempt}"),
		metric.WithDescription("Attempts that Client.Gate holds back."))
	if err := errors.Join(errs[:]...); err != nil {
		return nil, err
	}
	return meter.RegisterCallback(h.observe, h.balance, h.closed, h.rate, h.waiting)
}

func checkHosts(c *retryablehttp.Client, hosts []string) error {
	switch {
	case c == nil:
		return errors.New("otelretryablehttp: nil Client")
	case c.Budget == nil && c.Gate == nil:
		return errors.New("otelretryablehttp: the Client has neither a Budget nor a Gate")
	case len(hosts) == 0 && (c.Budget == nil || c.Budget.PerHost):
		return errors.New("otelretryablehttp: no host to observe")
	}
	for i, host := range hosts {
		if host == "" || strings.ContainsAny(host, "/@?# ") {
			return fmt.Errorf("otelretryablehttp: host %d is not as in a URL, such as example.com:8443", i+1)
		}
	}
	return nil
}

// observedHosts is what one call of ObserveHosts records.
type observedHosts struct {
	budget *retryablehttp.Budget // nil: not observed
	gate   *retryablehttp.Gate   // nil: not observed
	hosts  []observedHost

	balance, closed, rate metric.Float64Observable
	waiting               metric.Int64Observable
}

type observedHost struct {
	host  string
	about metric.MeasurementOption
}

func (h *observedHosts) observe(_ context.Context, to metric.Observer) error {
	if h.budget != nil && !h.budget.PerHost {
		to.ObserveFloat64(h.balance, h.budget.Balance(""))
	}
	for _, host := range h.hosts {
		if h.budget != nil && h.budget.PerHost {
			to.ObserveFloat64(h.balance, h.budget.Balance(host.host), host.about)
		}
		if h.gate != nil {
			state := h.gate.State(host.host)
			to.ObserveFloat64(h.closed, state.Closed.Seconds(), host.about)
			to.ObserveFloat64(h.rate, state.Rate, host.about)
			to.ObserveInt64(h.waiting, int64(state.Waiting), host.about)
		}
	}
	return nil
}
