package main

import (
	"bytes"
	"fmt"
	"net/http"
	"strings"
	"time"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore/policy"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore/runtime"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore/streaming"

	"github.com/a0b132ce/retryablehttp/pipeline"
)

// pipelines measures what a pipeline of policies adds to a call of net/http that succeeds at
// once, beside azcore. Both have their default settings and the policies that are usual, but
// no credential. A call makes its request, and reads the response of 1 KiB to its end.
func (b *bench) pipelines() error {
	hc := &http.Client{Transport: (&stub{object: true}).behindTransport()}
	azure := runtime.NewPipeline("example.com/widgets", "v1.0.0", runtime.PipelineOptions{}, &policy.ClientOptions{Transport: hc})
	ours := pipeline.New(hc,
		pipeline.Telemetry{Module: "example.com/widgets", Version: "v1.0.0"},
		pipeline.Retry{},
		pipeline.Headers{},
		pipeline.Logging{},
		pipeline.BodyDownload{},
	)
	body := make([]byte, 1024)
	plain := func(method string) call {
		return func() (*http.Response, error) {
			req, err := newHTTPRequest(method, body)
			if err != nil {
				return nil, err
			}
			return hc.Do(req)
		}
	}
	rounds, slice := pick(b, 4*b.rounds, 3), pick(b, 5*time.Millisecond, 2*time.Millisecond)
	for _, form := range []struct {
		name, title, method string
		stream              bool
	}{
		{"get", "GET of 1 KiB, read into memory", http.MethodGet, false},
		{"get-stream", "GET of 1 KiB, as a stream", http.MethodGet, true},
		{"post", "POST of 1 KiB, the response of 1 KiB read into memory", http.MethodPost, false},
		{"post-stream", "POST of 1 KiB, the response of 1 KiB as a stream", http.MethodPost, true},
	} {
		rows := []struct {
			name   string
			call   call
			allocs int
		}{
			{name: "net/http", call: plain(form.method)},
			{name: "this library's pipeline", call: func() (*http.Response, error) {
				var option pipeline.CallOption
				if form.stream {
					option = pipeline.Stream()
				}
				req, err := pipeline.NewRequest(request{}.context(), form.method, stubURL, option)
				if err == nil && form.method == http.MethodPost {
					err = req.SetBytes(body, "application/octet-stream")
				}
				if err != nil {
					return nil, err
				}
				return ours.Do(req)
			}},
			{name: "Azure azcore", call: func() (*http.Response, error) {
				req, err := runtime.NewRequest(request{}.context(), form.method, stubURL)
				if err == nil && form.method == http.MethodPost {
					err = req.SetBody(streaming.NopCloser(bytes.NewReader(body)), "application/octet-stream")
				}
				if err != nil {
					return nil, err
				}
				if form.stream {
					runtime.SkipBodyDownload(req)
				}
				return azure.Do(req)
			}},
		}
		racers := make([]racer, len(rows))
		for i := range rows {
			var err error
			if rows[i].allocs, err = allocs(rows[i].call); err != nil {
				return err
			}
			racers[i] = racer{rows[i].name, times(rows[i].call)}
		}
		timings := b.race(racers, rounds, slice)
		t := &table{
			title:  form.title + ", no network",
			header: []string{"", "time per call", "more than net/http", "share of azcore's", "allocations", "more than net/http", "share of azcore's"},
		}
		last := len(rows) - 1
		timeShare := func(i int) float64 { return (timings[i].ratio - 1) / (timings[last].ratio - 1) }
		allocShare := func(i int) float64 {
			return float64(rows[i].allocs-rows[0].allocs) / float64(rows[last].allocs-rows[0].allocs)
		}
		for i, row := range rows {
			if err := timings[i].err; err != nil {
				return err
			}
			t.add(row.name, formatDuration(timings[i].perOp), formatDuration(timings[i].perOp-timings[0].perOp), formatRatio(timeShare(i)),
				row.allocs, fmt.Sprintf("%+d", row.allocs-rows[0].allocs), formatRatio(allocShare(i)))
		}
		t.write(b.out)
		name := "pipeline-" + strings.ToLower(form.name)
		b.atMost(name+"-allocs", allocShare(1), 0.3333, "share of azcore's allocations more than net/http", nil)
		b.atMost(name+"-time", timeShare(1), 0.3333, "share of azcore's time more than net/http", nil)
	}
	return nil
}

// newHTTPRequest returns a request of net/http, a POST with the body.
func newHTTPRequest(method string, body []byte) (*http.Request, error) {
	if method == http.MethodPost {
		return http.NewRequest(method, stubURL, bytes.NewReader(body))
	}
	return http.NewRequest(method, stubURL, nil)
}
