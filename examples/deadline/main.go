// Deadline shows five calls that fail, and what a *GiveUpError says about each.
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

	// The call fails at once, because the next attempt would be after the deadline.
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()
	err := get(ctx, newClient(), server.URL+"?wait=60")
	show("deadline in 5 seconds, Retry-After: 60", err)
	check(errors.Is(err, context.DeadlineExceeded))

	client := newClient()
	client.RetryAfterMax = time.Minute
	err = get(context.Background(), client, server.URL+"?wait=3600")
	show("RetryAfterMax of 1 minute, Retry-After: 3600", err)
	check(!errors.Is(err, context.DeadlineExceeded))

	client = newClient()
	client.RetryMax, client.MaxElapsedTime = 1000, 100*time.Millisecond
	err = get(context.Background(), client, server.URL)
	show("MaxElapsedTime of 100 ms", err)
	check(errors.Is(err, retryablehttp.ErrMaxElapsedTime))

	cause := errors.New("the user closed the window")
	ctx, cancelCause := context.WithCancelCause(context.Background())
	time.AfterFunc(50*time.Millisecond, func() { cancelCause(cause) })
	client = newClient()
	client.RetryMax = 1000
	err = get(ctx, client, server.URL)
	show("context canceled after 50 ms", err)
	check(errors.Is(err, context.Canceled) && errors.Is(err, cause))

	err = get(context.Background(), newClient(), server.URL)
	show("RetryMax of 4", err)
	check(err != nil)
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

// show prints the fields of a *GiveUpError.
func show(title string, err error) {
	var giveUp *retryablehttp.GiveUpError
	if !errors.As(err, &giveUp) {
		log.Fatalf("%s: not a *GiveUpError: %v", title, err)
	}
	fmt.Println(title)
	fmt.Printf("  reason         %s\n", giveUp.Reason)
	fmt.Printf("  attempts       %d in %s\n", giveUp.Attempts, giveUp.Elapsed.Round(time.Millisecond))
	fmt.Printf("  timeout        %t\n", giveUp.Timeout())
	if giveUp.Response != nil { // the last attempt got a response
		body, _ := io.ReadAll(giveUp.Response.Body)
		fmt.Printf("  last response  %s: %s\n", giveUp.Response.Status, body)
	}
	if giveUp.Err != nil { // nil if the status is the only cause
		fmt.Printf("  error          %v\n", giveUp.Err)
	}
	fmt.Println()
}

func check(ok bool) {
	if !ok {
		log.Fatal("unexpected error")
	}
}
