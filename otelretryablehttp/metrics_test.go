package otelretryablehttp_test

import (
	"context"
	"net/http"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.opentelemetry.io/otel/sdk/metric/metricdata"

	"github.com/a0b132ce/retryablehttp"
	"github.com/a0b132ce/retryablehttp/otelretryablehttp"
	"github.com/a0b132ce/retryablehttp/retrytest"
)

// Every metric of two calls: one that is retried twice and succeeds, and one that fails.
func TestMetrics(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRecorder(t)
		c := r.client(script(
			retrytest.Step{Status: 503, Delay: 100 * time.Millisecond},
			retrytest.Step{Fault: retrytest.Refuse},
			retrytest.Step{Delay: 300 * time.Millisecond},
			retrytest.Step{Status: 500, Times: 3},
		))
		require.NoError(t, get(c, "http://example.com/some/path?key=value"))
		_, err := c.Post("https://example.com:8443/other", "text/plain", "body")
		require.Error(t, err)

		const (
			ok       = "{http.request.method=GET,server.address=example.com,server.port=80}"
			failed   = "{error.type=500,http.request.method=POST,retryablehttp.reason=retries used up,server.address=example.com,server.port=8443}"
			first    = "http.client.request.duration{"
			firstEnd = "server.address=example.com,server.port=80} s"
		)
		assert.Equal(t, map[string]string{
			first + "error.type=503,http.request.method=GET,http.response.status_code=503,network.protocol.version=1.1," + firstEnd:                                     "1, sum 0.1",
			first + "error.type=connect,http.request.method=GET," + firstEnd:                                                                                            "1, sum 0",
			first + "http.request.method=GET,http.response.status_code=200,network.protocol.version=1.1," + firstEnd:                                                    "1, sum 0.3",
			first + "error.type=500,http.request.method=POST,http.response.status_code=500,network.protocol.version=1.1,server.address=example.com,server.port=8443} s": "3, sum 0",

			"retryablehttp.call.duration" + ok + " s":             "1, sum 2.4",
			"retryablehttp.call.attempts" + ok + " {attempt}":     "1, sum 3",
			"retryablehttp.call.wait_time" + ok + " s":            "1, sum 2",
			"retryablehttp.call.duration" + failed + " s":         "1, sum 2",
			"retryablehttp.call.attempts" + failed + " {attempt}": "1, sum 3",
			"retryablehttp.call.wait_time" + failed + " s":        "1, sum 2",
			"retryablehttp.retries{http.request.method=GET,retryablehttp.reason=status,server.address=example.com,server.port=80} {retry}":          "1",
			"retryablehttp.retries{http.request.method=GET,retryablehttp.reason=transport error,server.address=example.com,server.port=80} {retry}": "1",
			"retryablehttp.retries{http.request.method=POST,retryablehttp.reason=status,server.address=example.com,server.port=8443} {retry}":       "2",
		}, r.metrics())
	})
}

// A call that has not waited is not in the distribution of waits.
func TestCallWithoutWaits(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRecorder(t)
		require.NoError(t, get(r.client(script(retrytest.Step{})), "http://example.com/"))
		points := r.metrics()
		assert.Len(t, points, 3, "the durations of request and call, and the attempts")
		for point := range points {
			assert.NotContains(t, point, "wait_time")
		}
	})
}

// A retry that was planned but not made is not counted.
func TestRetryThatIsNotMade(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRecorder(t)
		c := r.client(script(retrytest.Step{Status: 503}))
		ctx, cancel := context.WithCancel(t.Context())
		time.AfterFunc(time.Second/2, cancel)
		req, err := retryablehttp.NewRequestWithContext(ctx, http.MethodGet, "http://example.com/", nil)
		require.NoError(t, err)
		_, err = c.Do(req)
		require.ErrorIs(t, err, context.Canceled)
		call := r.one("HTTP GET")
		require.Len(t, call.Events, 1)
		assert.Equal(t, "canceled", value(call, "error.type"), "rather than the status of the attempt before")
		for point := range r.metrics() {
			assert.NotContains(t, point, "retries")
		}
	})
}

// The bounds of the buckets are seconds.
func TestBuckets(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRecorder(t)
		require.NoError(t, get(r.client(script(retrytest.Step{Status: 503}, retrytest.Step{})), "http://example.com/"))
		var data metricdata.ResourceMetrics
		require.NoError(t, r.reader.Collect(t.Context(), &data))
		seconds := []float64{0.005, 0.01, 0.025, 0.05, 0.075, 0.1, 0.25, 0.5, 0.75, 1, 2.5, 5, 7.5, 10}
		longer := append(seconds[:len(seconds):len(seconds)], 30, 60, 120, 300)
		for _, m := range data.ScopeMetrics[0].Metrics {
			assert.NotEmpty(t, m.Description)
			switch m.Name {
			case "http.client.request.duration":
				assert.Equal(t, seconds, m.Data.(metricdata.Histogram[float64]).DataPoints[0].Bounds)
			case "retryablehttp.call.duration", "retryablehttp.call.wait_time":
				assert.Equal(t, longer, m.Data.(metricdata.Histogram[float64]).DataPoints[0].Bounds)
			case "retryablehttp.call.attempts":
				assert.Equal(t, []float64{0, 1, 2, 3, 4, 5, 6, 8, 10, 15, 20}, m.Data.(metricdata.Histogram[int64]).DataPoints[0].Bounds)
			}
		}
	})
}

func TestObserveHosts(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRecorder(t)
		c := newClient(script(
			retrytest.Step{Status: 429, Header: http.Header{"Retry-After": {"100"}}},
		))
		c.RetryMax = 0
		c.Budget, c.Gate = &retryablehttp.Budget{MinPerSecond: -1, PerHost: true}, new(retryablehttp.Gate)
		c.Budget.TryWithdraw("example.com:8080")
		registration, err := otelretryablehttp.ObserveHosts(c, r.options, "example.com:8080", "other.example")
		require.NoError(t, err)

		const here, there = "{server.address=example.com,server.port=8080} ", "{server.address=other.example} "
		well := map[string]string{
			"retryablehttp.budget.balance" + here + "{token}": "9", "retryablehttp.budget.balance" + there + "{token}": "10",
			"retryablehttp.gate.closed" + here + "s": "0", "retryablehttp.gate.closed" + there + "s": "0",
			"retryablehttp.gate.rate" + here + "{attempt}/s": "0", "retryablehttp.gate.rate" + there + "{attempt}/s": "0",
			"retryablehttp.gate.waiting" + here + "{attempt}": "0", "retryablehttp.gate.waiting" + there + "{attempt}": "0",
		}
		assert.Equal(t, well, r.metrics())

		require.Error(t, get(c, "http://example.com:8080/"))
		ctx, cancel := context.WithCancel(t.Context())
		held := make(chan struct{})
		go func() { // an attempt that waits
			defer close(held)
			req, err := retryablehttp.NewRequestWithContext(ctx, http.MethodGet, "http://example.com:8080/", nil)
			require.NoError(t, err)
			_, err = c.Do(req)
			assert.ErrorIs(t, err, context.Canceled)
		}()
		time.Sleep(10 * time.Second) // of virtual time
		state, points := c.Gate.State("example.com:8080"), r.metrics()
		assert.InDelta(t, 95*time.Second, state.Closed, float64(6*time.Second))
		assert.Equal(t, "1", points["retryablehttp.gate.waiting"+here+"{attempt}"])
		assert.Equal(t, "0", points["retryablehttp.gate.waiting"+there+"{attempt}"])
		assert.Equal(t, format(state.Closed.Seconds()), points["retryablehttp.gate.closed"+here+"s"])
		require.NotZero(t, state.Rate)
		assert.Equal(t, format(state.Rate), points["retryablehttp.gate.rate"+here+"{attempt}/s"])
		cancel()
		<-held

		require.NoError(t, registration.Unregister())
		assert.Empty(t, r.metrics())
	})
}

// A Budget for all hosts has one balance. A field that is nil is not observed.
func TestObserveABudgetOrAGate(t *testing.T) {
	const balance = "retryablehttp.budget.balance"
	for name, test := range map[string]struct {
		client retryablehttp.Client
		hosts  []string
		want   map[string]string
	}{
		"shared budget": {retryablehttp.Client{Budget: new(retryablehttp.Budget)}, nil,
			map[string]string{balance + "{} {token}": "10"}},
		"shared budget with hosts": {retryablehttp.Client{Budget: new(retryablehttp.Budget)}, []string{"example.com"},
			map[string]string{balance + "{} {token}": "10"}},
		"budget of each host": {retryablehttp.Client{Budget: &retryablehttp.Budget{PerHost: true}}, []string{"example.com"},
			map[string]string{balance + "{server.address=example.com} {token}": "10"}},
		"gate": {retryablehttp.Client{Gate: new(retryablehttp.Gate)}, []string{"example.com"}, map[string]string{
			"retryablehttp.gate.closed{server.address=example.com} s":          "0",
			"retryablehttp.gate.rate{server.address=example.com} {attempt}/s":  "0",
			"retryablehttp.gate.waiting{server.address=example.com} {attempt}": "0",
		}},
	} {
		t.Run(name, func(t *testing.T) {
			r := newRecorder(t)
			_, err := otelretryablehttp.ObserveHosts(&test.client, r.options, test.hosts...)
			require.NoError(t, err)
			assert.Equal(t, test.want, r.metrics())
		})
	}
}

func TestObserveHostsRefusesBadInput(t *testing.T) {
	gated := &retryablehttp.Client{Gate: new(retryablehttp.Gate)}
	for name, test := range map[string]struct {
		client *retryablehttp.Client
		hosts  []string
		want   string
	}{
		"nil":              {nil, []string{"example.com"}, "otelretryablehttp: nil Client"},
		"nothing":          {new(retryablehttp.Client), []string{"example.com"}, "otelretryablehttp: the Client has neither a Budget nor a Gate"},
		"no host":          {gated, nil, "otelretryablehttp: no host to observe"},
		"no host, PerHost": {&retryablehttp.Client{Budget: &retryablehttp.Budget{PerHost: true}}, nil, "otelretryablehttp: no host to observe"},
		"empty":            {gated, []string{""}, "otelretryablehttp: host 1 is not as in a URL, such as example.com:8443"},
		"URL":              {gated, []string{"example.com", "https://user:s3cret@example.com"}, "otelretryablehttp: host 2 is not as in a URL, such as example.com:8443"},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := otelretryablehttp.ObserveHosts(test.client, otelretryablehttp.Options{}, test.hosts...)
			require.EqualError(t, err, test.want)
		})
	}
	_, err := otelretryablehttp.ObserveHosts(gated, otelretryablehttp.Options{MeterProvider: brokenProvider{}}, "example.com")
	require.ErrorIs(t, err, errBroken)
}
