// Observe logs calls with a *slog.Logger, counts attempts with OnAttempt, and sends the
// number of each attempt in a header.
//
//	go run ./examples/observe
package main

import (
	"fmt"
	"log"
	"log/slog"
	"maps"
	"net/http"
	"net/http/httptest"
	"os"
	"slices"
	"strconv"
	"sync"
	"time"

	"github.com/a0b132ce/retryablehttp"
)

func main() {
	log.SetFlags(0)
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if attempt, _ := strconv.Atoi(r.Header.Get("X-Attempt")); attempt < 3 {
			w.WriteHeader(http.StatusTooManyRequests)
		}
	}))
	defer server.Close()

	var metrics counters
	client := retryablehttp.NewClient()
	client.RetryWaitMin, client.RetryWaitMax = 5*time.Millisecond, 20*time.Millisecond
	client.OnAttempt = metrics.observe
	client.HTTPClient.Transport = &numbered{next: client.HTTPClient.Transport}
	client.Logger = slog.New(slog.NewTextHandler(os.Stdout, &slog.HandlerOptions{Level: slog.LevelDebug}))

	for range 3 {
		resp, err := client.Get(server.URL + "/things?key=s3cret")
		if err != nil {
			log.Fatal(err)
		}
		resp.Body.Close()
	}

	fmt.Println()
	for _, name := range slices.Sorted(maps.Keys(metrics.n)) {
		fmt.Printf("%-26s %d\n", name, metrics.n[name])
	}
	if metrics.n["attempts{status=200}"] != 3 || metrics.n["attempts{status=429}"] != 6 {
		log.Fatal("the counters are wrong")
	}
}

// numbered sets a header to the number of the attempt. It sends a copy of the request,
// because a transport must not modify the request that it is given.
type numbered struct{ next http.RoundTripper }

func (t *numbered) RoundTrip(req *http.Request) (*http.Response, error) {
	copied := req.Clone(req.Context())
	copied.Header.Set("X-Attempt", strconv.Itoa(retryablehttp.AttemptNumber(req.Context())))
	return t.next.RoundTrip(copied)
}

// counters is a placeholder for a metrics library.
type counters struct {
	mu sync.Mutex // concurrent calls call observe concurrently
	n  map[string]int
}

func (c *counters) observe(a retryablehttp.Attempt) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.n == nil {
		c.n = make(map[string]int)
	}
	status := "none"
	if a.Response != nil {
		status = strconv.Itoa(a.Response.StatusCode)
	}
	c.n["attempts{status="+status+"}"]++
	if a.Retry {
		c.n["retries{reason="+string(a.Reason)+"}"]++
	}
	// a.Duration and a.Wait can be added to histograms.
}
