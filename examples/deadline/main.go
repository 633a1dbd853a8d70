// Deadline shows the ways in which a call runs out of time or of retries, and what a
// program can tell from the error.
//
//	go run ./examples/deadline
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"time"

	"github.com/a0b132ce/retryablehttp"
)

func main() {
	log.SetFlags(0)
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Retry-After", r.URL.Query().Get("wait"))
		w.WriteHeader(http.StatusServiceUnavailable)
		io.WriteString(w, "down for maintenance")
	}))
	defer server.Close()

	// The deadline is a second away and the server asks for a minute: there is no
	// point in waiting, so the call does not.
	ctx, cancel := context.WithTimeout(context.Background(), time.Second)
	defer cancel()
	err := get(ctx, newClient(), server.URL+"?wait=60")
	explain("the wait would outlast the deadline", err)
	must(errors.Is(err, context.DeadlineExceeded))

	// Without a deadline the client's own patience counts.
	client := newClient()
	client.RetryAfterMax = time.Minute
	err = get(context.Background(), client, server.URL+"?wait=3600")
	explain("the server asks for more than RetryAfterMax", err)
	must(!errors.Is(err, context.DeadlineExceeded))

	client = newClient()
	client.RetryMax, client.MaxElapsedTime = 1000, 100*time.Millisecond
	err = get(context.Background(), client, server.URL)
	explain("MaxElapsedTime is over before the retries are", err)
	must(errors.Is(err, retryablehttp.ErrMaxElapsedTime))

	cause := errors.New("the user went away")
	ctx2, cancel2 := context.WithCancelCause(context.Background())
	time.AfterFunc(50*time.Millisecond, func() { cancel2(cause) })
	client = newClient()
	client.RetryMax = 1000
	err = get(ctx2, client, server.URL)
	explain("the call is canceled with a cause", err)
	must(errors.Is(err, context.Canceled) && errors.Is(err, cause))

	err = get(context.Background(), newClient(), server.URL)
	explain("the retries are used up", err)
	must(err != nil)
}

func newClient() *retryablehttp.Client {
	client := retryablehttp.NewClient()
	client.RetryWaitMin, client.RetryWaitMax = 5*time.Millisecond, 20*time.Millisecond
	return client
}

func get(ctx context.Context, client *retryablehttp.Client, url string) error {
	req, err := retryablehttp.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return err
	}
	resp, err := client.Do(req)
	if err != nil {
		return err
	}
	return resp.Body.Close()
}

// explain shows what a *GiveUpError knows.
func explain(title string, err error) {
	var giveUp *retryablehttp.GiveUpError
	if !errors.As(err, &giveUp) {
		log.Fatalf("%s: not a *GiveUpError: %v", title, err)
	}
	fmt.Printf("%s\n", title)
	fmt.Printf("  reason    %s\n", giveUp.Reason)
	fmt.Printf("  attempts  %d in %s\n", giveUp.Attempts, giveUp.Elapsed.Round(time.Millisecond))
	fmt.Printf("  timeout   %t\n", giveUp.Timeout())
	if giveUp.Response != nil {
		body, _ := io.ReadAll(giveUp.Response.Body)
		fmt.Printf("  last      %s: %s\n", giveUp.Response.Status, body)
	}
	if giveUp.Err != nil { // a status alone is no error
		fmt.Printf("  cause     %v\n", giveUp.Err)
	}
	fmt.Println()
}

func must(ok bool) {
	if !ok {
		log.Fatal("not the error that was expected")
	}
}
