package pipeline_test

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"runtime"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/a0b132ce/retryablehttp/pipeline"
)

// platform is the last part of what Telemetry sends.
func platform() string {
	version, _, _ := strings.Cut(runtime.Version(), " ")
	return fmt.Sprintf(" (%s; %s)", version, runtime.GOOS)
}

func TestP10Telemetry(t *testing.T) {
	widgets := pipeline.Telemetry{Module: "a/b/widgets", Version: "v1.2.3"}
	with := func(change func(*pipeline.Telemetry)) pipeline.Telemetry {
		p := widgets
		change(&p)
		return p
	}
	app := func(id string) pipeline.Telemetry {
		return with(func(p *pipeline.Telemetry) { p.ApplicationID = id })
	}
	module := func(path string) pipeline.Telemetry {
		return with(func(p *pipeline.Telemetry) { p.Module = path })
	}
	const product = "widgets/v1.2.3"
	for _, c := range []struct {
		name   string
		policy pipeline.Telemetry
		given  string
		want   string
	}{
		{"no application", widgets, "", product + platform()},
		{"after it what the request has", widgets, "mine/1", product + platform() + " mine/1"},
		{"application", app("my app"), "mine/1", "my/app " + product + platform() + " mine/1"},
		{"long application", app("this one is far too long to fit"), "mine/1", "this/one/is/far/too/long " + product + platform() + " mine/1"},
		{"blank application", app("  "), "", product + platform()},
		{"cut within a character", app(strings.Repeat("a", 23) + "é"), "", strings.Repeat("a", 23) + "- " + product + platform()},
		{"line breaks and the like", app("a\r\nX: (1)\té"), "", "a--X-/-1--- " + product + platform()},
		{"disabled", with(func(p *pipeline.Telemetry) { p.Disabled = true }), "mine/1", "mine/1"},
		{"disabled and none", pipeline.Telemetry{Disabled: true}, "", ""},
		{"zero value", pipeline.Telemetry{}, "", "retryablehttp" + platform()},
		{"no version", pipeline.Telemetry{Module: "a/b"}, "", "b" + platform()},
		{"major version", module("a/b/widgets/v2"), "", product + platform()},
		{"two digits", module("a/b/widgets/v12/"), "", product + platform()},
		{"not a major version", module("a/vault"), "", "vault/v1.2.3" + platform()},
		{"a number", module("a/7"), "", "7/v1.2.3" + platform()},
		{"v alone", module("a/v"), "", "v/v1.2.3" + platform()},
		{"one element", module("v2"), "", "v2/v1.2.3" + platform()},
		{"odd names", pipeline.Telemetry{Module: "a/wid gets", Version: "(devel)\n"}, "", "wid-gets/-devel--" + platform()},
	} {
		t.Run(c.name, func(t *testing.T) {
			server := serve(step{status: 503}, step{status: 200})
			for _, policies := range [][]pipeline.Policy{
				{c.policy, fast()},
				{fast(), c.policy},
				{pipeline.PolicyFunc(c.policy.Do)}, // which New does not know
			} {
				req := newRequest(t, "GET", "http://h/")
				if c.given != "" {
					req.Raw().Header.Set("User-Agent", c.given)
				}
				pl := over(server, policies...)
				for range 2 {
					_, err := pl.Do(req)
					require.NoError(t, err)
				}
			}
			for _, got := range server.seen {
				assert.Equal(t, c.want, got.header.Get("User-Agent"))
			}
		})
	}
}

func TestP10TelemetryOverASocket(t *testing.T) {
	var got []string
	server := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) { got = append(got, r.UserAgent()) }))
	defer server.Close()
	for _, policy := range []pipeline.Telemetry{{Module: "x/widgets"}, {Disabled: true}} {
		resp, err := pipeline.New(server.Client(), policy).Do(newRequest(t, "GET", server.URL))
		require.NoError(t, err)
		resp.Body.Close()
	}
	assert.Equal(t, []string{"widgets" + platform(), "Go-http-client/1.1"}, got)
}

// The header is made once for each pipeline.
func TestTelemetryCostsNoAllocation(t *testing.T) {
	shared := []string{"widgets"}
	cheapest := pipeline.PolicyFunc(func(req *pipeline.Request) (*http.Response, error) {
		req.Raw().Header["User-Agent"] = shared
		return req.Next()
	})
	cost := func(policy pipeline.Policy) float64 {
		pl := over(fixed(http.StatusNoContent), policy)
		return testing.AllocsPerRun(100, func() {
			_, err := pl.Do(newRequest(t, "GET", "http://h/"))
			assert.NoError(t, err)
		})
	}
	assert.Equal(t, cost(cheapest), cost(pipeline.Telemetry{Module: "x/widgets", ApplicationID: "app"}))
}

// fixed returns a RoundTripper that responds with a status and no body.
func fixed(status int) http.RoundTripper {
	return roundTripper(func(r *http.Request) (*http.Response, error) {
		return &http.Response{StatusCode: status, Body: http.NoBody, Request: r}, nil
	})
}
