package otelretryablehttp_test

import (
	"fmt"
	"log"
	"net/http"
	"net/http/httptest"
	"sync/atomic"
	"time"

	sdk "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/sdk/trace/tracetest"

	"github.com/a0b132ce/retryablehttp"
	"github.com/a0b132ce/retryablehttp/hedge"
	"github.com/a0b132ce/retryablehttp/otelretryablehttp"
)

// A server that fails once, and the spans of the call.
func ExampleInstrument() {
	var requests atomic.Int32
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		if requests.Add(1) == 1 {
			w.WriteHeader(http.StatusServiceUnavailable)
		}
	}))
	defer server.Close()
	exporter := tracetest.NewInMemoryExporter() // a program has one that sends the spans

	client := retryablehttp.Recommended()
	client.RetryWaitMin, client.RetryWaitMax = time.Millisecond, time.Millisecond
	err := otelretryablehttp.Instrument(client, otelretryablehttp.Options{
		TracerProvider: sdk.NewTracerProvider(sdk.WithSyncer(exporter)),
	})
	if err != nil {
		log.Fatal(err)
	}
	resp, err := client.Get(server.URL)
	if err != nil {
		log.Fatal(err)
	}
	resp.Body.Close()
	client.CloseIdleConnections()

	for _, span := range exporter.GetSpans() { // in the order in which they ended
		fmt.Println(span.SpanKind, span.Name)
		for _, a := range span.Attributes {
			switch a.Key {
			case "error.type", "http.response.status_code", "http.request.resend_count", "retryablehttp.attempts":
				fmt.Printf("  %s=%s\n", a.Key, a.Value.String())
			}
		}
	}
	// Output:
	// client GET
	//   http.response.status_code=503
	//   error.type=503
	// client GET
	//   http.request.resend_count=1
	//   http.response.status_code=200
	// internal HTTP GET
	//   retryablehttp.attempts=2
	//   http.response.status_code=200
}

// An http.Client that retries through a RoundTripper with a Base, in which each attempt may
// be hedged.
func ExampleTransport() {
	client := retryablehttp.NewClient()
	if err := otelretryablehttp.Instrument(client, otelretryablehttp.Options{}); err != nil {
		log.Fatal(err)
	}
	existing := &http.Client{}
	existing.Transport = &retryablehttp.RoundTripper{
		Client: client,
		Base: &hedge.Transport{
			Base:    &otelretryablehttp.Transport{Base: existing.Transport},
			OnHedge: otelretryablehttp.OnHedge,
		},
	}
}
