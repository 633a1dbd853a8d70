package otelretryablehttp

import (
	"net/http"

	"github.com/a0b132ce/retryablehttp/hedge"
)

// OnHedge counts a hedge in retryablehttp.hedges. Assign it to [hedge.Transport.OnHedge];
// [Instrument] does so if the transport of its Client is a *hedge.Transport. A hedge that is
// not part of a call of an instrumented Client is ignored. It may be called by many
// goroutines at once.
func OnHedge(h hedge.Hedge) {
	ctx := h.Request.Context()
	c := callOf(ctx)
	if c == nil || !c.metrics.hedges.Enabled(ctx) {
		return
	}
	result := "lost"
	switch {
	case h.Won:
		result = "won"
	case !h.Sent:
		result = "not_sent"
	}
	c.metrics.hedges.Add(ctx, 1, attributes(c.targetOf(h.Request), hedgeResultKey.String(result)))
}

// instrumentTransport returns a transport that does what rt does, with a Transport around
// what sends the requests.
func instrumentTransport(rt http.RoundTripper) http.RoundTripper {
	if hedging, ok := rt.(*hedge.Transport); ok {
		return instrumentHedge(hedging)
	}
	return transportAround(rt)
}

func transportAround(rt http.RoundTripper) http.RoundTripper {
	if t, ok := rt.(*Transport); ok {
		return t
	}
	return &Transport{Base: rt}
}

// instrumentHedge returns a copy of t in which each of the two attempts has a span. It is a
// copy because t may be in use.
func instrumentHedge(t *hedge.Transport) *hedge.Transport {
	if _, done := t.Base.(*Transport); done {
		return t
	}
	copied := &hedge.Transport{
		Base:       transportAround(t.Base),
		Delay:      t.Delay,
		Percentile: t.Percentile,
		Budget:     t.Budget,
		OnHedge:    OnHedge,
	}
	if t.Alternative != nil {
		copied.Alternative = transportAround(t.Alternative)
	}
	if before := t.OnHedge; before != nil {
		copied.OnHedge = func(h hedge.Hedge) {
			before(h)
			OnHedge(h)
		}
	}
	return copied
}
