package retrytest_test

import (
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/a0b132ce/retryablehttp"
	"github.com/a0b132ce/retryablehttp/retrytest"
)

// The server resets the first connection, cuts off the second response, and sends the
// third one whole.
func ExampleServer() {
	server := retrytest.NewServer(retrytest.HTTP2,
		retrytest.Step{Read: retrytest.HeadersOnly, Fault: retrytest.Reset},
		retrytest.Step{Status: 500, Body: strings.Repeat("x", 1000), Fault: retrytest.Close, After: 10},
		retrytest.Step{Body: "done"},
	)
	defer server.Close()
	client := retryablehttp.NewClient()
	client.HTTPClient = server.Client()
	client.RetryWaitMin, client.RetryWaitMax = time.Millisecond, time.Millisecond

	resp, err := client.Post(server.URL, "text/plain", "question")
	if err != nil {
		fmt.Println(err)
		return
	}
	defer resp.Body.Close()
	body, _ := io.ReadAll(resp.Body)
	fmt.Printf("%s after %d attempts on %d connections\n", body, len(server.Attempts()), server.Accepted())
	// Output:
	// done after 3 attempts on 3 connections
}
