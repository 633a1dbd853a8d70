package pipeline_test

import (
	"context"
	"io"
	"net/http"
	"strings"
	"testing"

	"github.com/a0b132ce/retryablehttp/pipeline"
)

type stub struct{}

func (stub) RoundTrip(r *http.Request) (*http.Response, error) {
	if r.Body != nil {
		io.Copy(io.Discard, r.Body)
		r.Body.Close()
	}
	return &http.Response{StatusCode: 200, Header: http.Header{}, Body: io.NopCloser(strings.NewReader("abc")), ContentLength: 3, Request: r}, nil
}

func BenchmarkGet(b *testing.B) {
	hc := &http.Client{Transport: stub{}}
	b.Run("nethttp", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			req, _ := http.NewRequestWithContext(context.Background(), "GET", "http://h/x", nil)
			resp, err := hc.Do(req)
			if err != nil {
				b.Fatal(err)
			}
			resp.Body.Close()
		}
	})
	bench := func(pl pipeline.Pipeline) func(b *testing.B) {
		return func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				req, _ := pipeline.NewRequest(context.Background(), "GET", "http://h/x")
				resp, err := pl.Do(req)
				if err != nil {
					b.Fatal(err)
				}
				resp.Body.Close()
			}
		}
	}
	b.Run("none", bench(pipeline.New(hc)))
	b.Run("retry", bench(pipeline.New(hc, pipeline.Retry{})))
}
