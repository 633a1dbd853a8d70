package pipeline_test

import (
	"io"
	"net/http"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"

	"github.com/a0b132ce/retryablehttp/pipeline"
)

// What the usual policies allocate for a GET, more than net/http does for the same request:
// the User-Agent, which net/http copies, takes 3, a body in memory 2, and the rest 8.
func TestAllocationsOfTheUsualPolicies(t *testing.T) {
	hc := &http.Client{Transport: roundTripper(func(r *http.Request) (*http.Response, error) {
		return &http.Response{
			StatusCode: 200, Header: http.Header{}, Request: r,
			Body: io.NopCloser(strings.NewReader("abc")), ContentLength: 3,
		}, nil
	})}
	pl := pipeline.New(hc, pipeline.Telemetry{}, pipeline.StatusError{}, pipeline.Retry{},
		pipeline.Headers{}, pipeline.Logging{}, pipeline.BodyDownload{})
	plain := testing.AllocsPerRun(200, func() {
		req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "http://h/x", nil)
		if err != nil {
			t.Fatal(err)
		}
		resp, err := hc.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		resp.Body.Close()
	})
	for name, c := range map[string]struct {
		option pipeline.CallOption
		more   float64
	}{
		"in memory": {nil, 13},
		"streamed":  {pipeline.Stream(), 11},
	} {
		got := testing.AllocsPerRun(200, func() {
			req, err := pipeline.NewRequest(t.Context(), http.MethodGet, "http://h/x", c.option)
			if err != nil {
				t.Fatal(err)
			}
			resp, err := pl.Do(req)
			if err != nil {
				t.Fatal(err)
			}
			resp.Body.Close()
		})
		assert.LessOrEqual(t, got-plain, c.more, name)
	}
}
