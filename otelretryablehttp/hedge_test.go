package otelretryablehttp_test

import (
	"net/http"
	"reflect"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/a0b132ce/retryablehttp"
	"github.com/a0b132ce/retryablehttp/hedge"
	"github.com/a0b132ce/retryablehttp/otelretryablehttp"
	"github.com/a0b132ce/retryablehttp/retrytest"
)

// Each of the two attempts of a hedged request has a span, and the hedge is counted.
func TestHedge(t *testing.T) {
	slow, fast := retrytest.Step{Delay: 3 * time.Second}, retrytest.Step{}
	for name, test := range map[string]struct {
		steps  []retrytest.Step
		budget *retryablehttp.Budget
		result string
		errors []any // error.type of each attempt
	}{
		"won":      {[]retrytest.Step{slow, fast}, nil, "won", []any{"canceled", nil}},
		"lost":     {[]retrytest.Step{{Delay: 2 * time.Second}, slow}, nil, "lost", []any{nil, "canceled"}},
		"not sent": {[]retrytest.Step{slow}, emptyBudget(), "not_sent", []any{nil}},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				r := newRecorder(t)
				c := r.client(&hedge.Transport{Base: script(test.steps...), Delay: time.Second, Budget: test.budget})
				require.NoError(t, get(c, "http://example.com/"))
				synctest.Wait() // for the attempt that has lost

				call, attempts := r.one("HTTP GET"), r.find("GET")
				require.Len(t, attempts, len(test.errors))
				for i, attempt := range attempts {
					assert.Equal(t, call.SpanContext.SpanID(), attempt.Parent.SpanID())
					assert.Equal(t, test.errors[i], value(attempt, "error.type"))
					assert.Equal(t, []any{nil, int64(1)}[i], value(attempt, "http.request.resend_count"))
					assert.Equal(t, int64(1), value(attempt, "retryablehttp.attempt"))
				}
				assert.Equal(t, "1", r.metrics()["retryablehttp.hedges{http.request.method=GET,retryablehttp.hedge.result="+test.result+",server.address=example.com,server.port=80} {hedge}"])
			})
		})
	}
}

// The hedge.Transport of the Client is copied whole, and not changed.
func TestHedgeTransportIsCopied(t *testing.T) {
	r := newRecorder(t)
	base, alternative := respond(200), respond(201)
	original := &hedge.Transport{
		Base: &base, Alternative: &alternative, Delay: 1, Percentile: 2, Budget: new(retryablehttp.Budget),
		OnHedge: func(hedge.Hedge) {},
	}
	c := r.client(original)
	copied := c.HTTPClient.Transport.(*hedge.Transport)
	assert.NotSame(t, original, copied)
	assert.Same(t, &base, original.Base)
	assert.Equal(t, &otelretryablehttp.Transport{Base: &base}, copied.Base)
	assert.Equal(t, &otelretryablehttp.Transport{Base: &alternative}, copied.Alternative)
	assert.NotNil(t, copied.OnHedge)

	from, to := reflect.ValueOf(original).Elem(), reflect.ValueOf(copied).Elem()
	for i := range from.NumField() {
		switch field := from.Type().Field(i); {
		case !field.IsExported() || field.Name == "Base" || field.Name == "Alternative" || field.Name == "OnHedge":
		default:
			require.False(t, from.Field(i).IsZero(), "the test does not set %s", field.Name)
			assert.Equal(t, from.Field(i).Interface(), to.Field(i).Interface(), field.Name)
		}
	}
}

// An OnHedge that was set is called too.
func TestOnHedgeOfTheTransportIsCalled(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRecorder(t)
		var seen []hedge.Hedge
		c := r.client(&hedge.Transport{
			Base:    script(retrytest.Step{Delay: 3 * time.Second}, retrytest.Step{}),
			Delay:   time.Second,
			OnHedge: func(h hedge.Hedge) { seen = append(seen, h) },
		})
		require.NoError(t, get(c, "http://example.com/"))
		synctest.Wait()
		require.Len(t, seen, 1)
		assert.True(t, seen[0].Won)
		assert.Len(t, r.metrics(), 5, "two requests, the hedge, and duration and attempts of the call")
	})
}

func TestZeroHedgeTransport(t *testing.T) {
	c := newRecorder(t).client(new(hedge.Transport))
	copied := c.HTTPClient.Transport.(*hedge.Transport)
	assert.Equal(t, new(otelretryablehttp.Transport), copied.Base)
	assert.Nil(t, copied.Alternative, "the second attempt goes to Base")
}

// A hedge.Transport whose Base is itself fails as before.
func TestHedgeTransportThatIsItsOwnBase(t *testing.T) {
	loop := new(hedge.Transport)
	loop.Base = loop
	c := newRecorder(t).client(loop)
	c.RetryMax = 0
	require.ErrorContains(t, get(c, "http://example.com/"), "the Base of a Transport is the Transport itself")
}

// A hedge.Transport elsewhere is given a Transport and OnHedge by hand. A hedge outside a
// call is ignored.
func TestHedgeInABase(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRecorder(t)
		hedging := &hedge.Transport{
			Base:    &otelretryablehttp.Transport{Base: script(retrytest.Step{Delay: 3 * time.Second}, retrytest.Step{}, retrytest.Step{Delay: 3 * time.Second}, retrytest.Step{})},
			Delay:   time.Second,
			OnHedge: otelretryablehttp.OnHedge,
		}
		for _, rt := range []http.RoundTripper{hedging, &retryablehttp.RoundTripper{Client: r.client(script()), Base: hedging}} {
			resp, err := (&http.Client{Transport: rt}).Get("http://example.com/")
			require.NoError(t, err)
			resp.Body.Close()
		}
		synctest.Wait()
		assert.Len(t, r.find("GET"), 2)
		assert.Equal(t, "1", r.metrics()["retryablehttp.hedges{http.request.method=GET,retryablehttp.hedge.result=won,server.address=example.com,server.port=80} {hedge}"])
	})
}
