// Trace prints the spans of a call that is retried twice: by a status and after a timeout.
// It needs no network and takes less than a second.
//
//	go run ./examples/trace
package main

import (
	"context"
	"fmt"
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"os"
	"time"

	"go.opentelemetry.io/otel/exporters/stdout/stdouttrace"
	"go.opentelemetry.io/otel/propagation"
	"go.opentelemetry.io/otel/sdk/trace"

	"github.com/a0b132ce/retryablehttp"
	"github.com/a0b132ce/retryablehttp/otelretryablehttp"
)

func main() {
	log.SetFlags(0)
	exporter, err := stdouttrace.New(stdouttrace.WithWriter(os.Stdout), stdouttrace.WithPrettyPrint())
	if err != nil {
		log.Fatal(err)
	}
	provider := trace.NewTracerProvider(trace.WithBatcher(exporter))
	server := newServer()
	defer server.Close()

	client := retryablehttp.Recommended()
	client.RetryWaitMin, client.RetryWaitMax = 10*time.Millisecond, 100*time.Millisecond
	client.AttemptTimeout = 200 * time.Millisecond
	err = otelretryablehttp.Instrument(client, otelretryablehttp.Options{
		TracerProvider: provider,
		Propagator:     propagation.TraceContext{},
	})
	if err != nil {
		log.Fatal(err)
	}
	resp, err := client.Get(server.URL + "/things?key=s3cret")
	if err != nil {
		log.Fatal(err)
	}
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		log.Fatal(err)
	}
	resp.Body.Close()
	if err := provider.Shutdown(context.Background()); err != nil { // prints the spans
		log.Fatal(err)
	}
	fmt.Printf("The server saw the span of the last attempt: traceparent %s\n", body)
}

// newServer starts a server that refuses the first request, does not answer the second and
// serves the third.
func newServer() *httptest.Server {
	requests := 0 // they come one after another
	return httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch requests++; requests {
		case 1:
			w.WriteHeader(http.StatusServiceUnavailable)
		case 2:
			<-r.Context().Done()
		default:
			fmt.Fprint(w, r.Header.Get("Traceparent"))
		}
	}))
}
