package pipeline_test

import (
	"context"
	"errors"
	"fmt"
	"log"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"

	"github.com/a0b132ce/retryablehttp/pipeline"
)

// The record of a response. Header fields and query values that are not allowed are hidden.
func ExampleLogging() {
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Date", "Thu, 01 Jan 2026 00:00:00 GMT")
		w.Header().Set("Set-Cookie", "session=1234")
		w.Header().Set("X-Region", "north")
	}))
	defer server.Close()

	logger := slog.New(slog.NewTextHandler(os.Stdout, &slog.HandlerOptions{
		Level: slog.LevelDebug,
		ReplaceAttr: func(_ []string, a slog.Attr) slog.Attr {
			switch a.Key {
			case slog.TimeKey, "duration", "url": // different each time
				return slog.Attr{}
			}
			return a
		},
	}))
	pl := pipeline.New(server.Client(), pipeline.Retry{}, pipeline.Logging{
		Logger:       logger,
		Categories:   []pipeline.Category{pipeline.LogResponse, pipeline.LogError},
		AllowHeaders: []string{"X-Region"},
	})
	req, err := pipeline.NewRequest(context.Background(), http.MethodGet, server.URL+"/?key=1234")
	if err != nil {
		log.Fatal(err)
	}
	resp, err := pl.Do(req)
	if err != nil {
		log.Fatal(err)
	}
	resp.Body.Close()
	fmt.Println(pl.RedactURL(req.Raw().URL) == server.URL+"/?key=REDACTED")
	// Output:
	// level=DEBUG msg=response category=response method=GET attempt=1 status=200 headers.Content-Length=0 headers.Date="Thu, 01 Jan 2026 00:00:00 GMT" headers.Set-Cookie=REDACTED headers.X-Region=north
	// true
}

// A status becomes an error that says what the service has said.
func ExampleStatusError() {
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.WriteHeader(http.StatusNotFound)
		fmt.Fprint(w, `{"error": {"code": "WidgetNotFound", "message": "There is no widget 7."}}`)
	}))
	defer server.Close()

	pl := pipeline.New(server.Client(), pipeline.StatusError{}, pipeline.Retry{})
	req, err := pipeline.NewRequest(context.Background(), http.MethodGet, server.URL+"/widgets/7")
	if err != nil {
		log.Fatal(err)
	}
	_, err = pl.Do(req)
	var service *pipeline.ResponseError
	if errors.As(err, &service) {
		fmt.Println(service.StatusCode, service.Code)
		fmt.Println(service.Message)
	}
	fmt.Println(errors.Is(err, &pipeline.ResponseError{StatusCode: http.StatusNotFound}))
	// Output:
	// 404 WidgetNotFound
	// There is no widget 7.
	// true
}
