package hedge_test

import (
	"context"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/a0b132ce/retryablehttp/hedge"
)

// BenchmarkNoHedge measures what a Transport costs when the response comes in time: on a
// stub that does nothing, and over a loopback connection. A request with a deadline is
// measured for comparison.
func BenchmarkNoHedge(b *testing.B) {
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		io.WriteString(w, "hello")
	}))
	defer server.Close()
	stub := roundTripFunc(func(req *http.Request) (*http.Response, error) {
		return &http.Response{StatusCode: 200, Body: io.NopCloser(strings.NewReader("hello")), Request: req}, nil
	})
	for name, base := range map[string]http.RoundTripper{"stub": stub, "loopback": server.Client().Transport} {
		b.Run(name+"/none", func(b *testing.B) { send(b, base, server.URL, 0) })
		b.Run(name+"/deadline", func(b *testing.B) { send(b, base, server.URL, time.Second) })
		b.Run(name+"/delay", func(b *testing.B) { send(b, &hedge.Transport{Base: base, Delay: time.Second}, server.URL, 0) })
		b.Run(name+"/percentile", func(b *testing.B) { send(b, &hedge.Transport{Base: base}, server.URL, 0) })
	}
}

func send(b *testing.B, rt http.RoundTripper, url string, timeout time.Duration) {
	b.ReportAllocs()
	req, err := http.NewRequest("GET", url, nil)
	if err != nil {
		b.Fatal(err)
	}
	for b.Loop() {
		sent, cancel := req, func() {}
		if timeout > 0 {
			var ctx context.Context
			ctx, cancel = context.WithTimeout(req.Context(), timeout)
			sent = req.WithContext(ctx)
		}
		resp, err := rt.RoundTrip(sent)
		if err != nil {
			b.Fatal(err)
		}
		io.Copy(io.Discard, resp.Body)
		resp.Body.Close()
		cancel()
	}
}
