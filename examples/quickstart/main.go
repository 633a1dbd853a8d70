// Quickstart sends requests to servers that fail in several ways, prints each attempt and
// checks each result. It needs no network and takes about a second.
//
//	go run ./examples/quickstart
package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"strings"
	"sync/atomic"
	"time"

	"github.com/a0b132ce/retryablehttp"
)

func main() {
	file := must(os.Open(must(os.Executable()))) // any large file will do
	content := must(os.ReadFile(file.Name()))

	fmt.Println("GET: the connection is reset, then the server stalls, then it asks to wait for 1 second")
	client := newClient()
	client.AttemptTimeout = 200 * time.Millisecond
	body := read(client.Get(newServer(content, "reset", "stall", "ask to wait 1", "send").url))
	check(bytes.Equal(body, content), "the client received the whole body (%d bytes)", len(body))

	fmt.Println("\nPOST of a file: the server refuses it halfway, then redirects it to /storage")
	server := newServer(content, "refuse", "redirect", "echo")
	body = read(newClient().Post(server.url, "application/octet-stream", file))
	check(bytes.Equal(body, content), "the server received the whole file (%d bytes)", len(body))

	fmt.Println("\nPOST of an order with SafeRetryPolicy: the server accepts it, but the response is lost")
	client = newClient()
	client.CheckRetry = retryablehttp.SafeRetryPolicy
	server = newServer(content, "order")
	_, err := client.Post(server.url, "text/plain", "one book")
	check(err != nil && server.orders.Load() == 1, "the request is not sent again and the server has 1 order")

	fmt.Println("\nThe same with IdempotencyKey: the server recognizes the second request by its key")
	client.IdempotencyKey = retryablehttp.NewIdempotencyKey
	server = newServer(content, "order")
	read(client.Post(server.url, "text/plain", "one book"))
	check(server.orders.Load() == 1, "the request is sent again with the same key and the server has 1 order")

	fmt.Println("\nGET with a deadline in 5 seconds: the server asks to wait for 60 seconds")
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()
	server = newServer(content, "ask to wait 60")
	req := must(retryablehttp.NewRequestWithContext(ctx, http.MethodGet, server.url, nil))
	_, err = newClient().Do(req)
	var giveUp *retryablehttp.GiveUpError
	check(errors.As(err, &giveUp) && giveUp.Reason == retryablehttp.ReasonDeadline && ctx.Err() == nil, "the error says: %v", err)
	check(string(read(giveUp.Response, nil)) == "down for maintenance", "the error has the last response with its body")
}

// newClient returns a client that waits only briefly and prints each attempt.
func newClient() *retryablehttp.Client {
	client := retryablehttp.NewClient()
	client.RetryWaitMin, client.RetryWaitMax = 10*time.Millisecond, 100*time.Millisecond
	client.OnAttempt = func(a retryablehttp.Attempt) {
		outcome, next := "", "the call returns the response"
		for err := a.Err; err != nil; err = errors.Unwrap(err) {
			outcome, _, _ = strings.Cut(err.Error(), " (") // of the innermost error
		}
		if a.Response != nil {
			outcome = a.Response.Status + " " + a.Response.Request.URL.Path
		}
		if a.Retry {
			next = fmt.Sprintf("retry in %d ms", a.Wait.Milliseconds())
		} else if a.Reason != "" {
			next = "the call fails: " + string(a.Reason)
		}
		fmt.Printf("  attempt %d  %4d ms  %-25s  %s\n", a.Number, a.Duration.Milliseconds(), outcome, next)
	}
	return client
}

func read(resp *http.Response, err error) []byte {
	defer must(resp, err).Body.Close()
	return must(io.ReadAll(resp.Body))
}

func must[T any](value T, err error) T {
	if err != nil {
		log.Fatal("unexpected error: ", err)
	}
	return value
}

func check(ok bool, format string, args ...any) {
	if !ok {
		log.Fatalf("check failed: "+format, args...)
	}
	fmt.Printf("  ok: "+format+"\n", args...)
}

// A server handles each request by the next of its steps. It repeats the last one.
type server struct {
	url              string
	content          []byte
	steps            []string
	requests, orders atomic.Int32
	lastKey          atomic.Value // the Idempotency-Key of the last order
}

func newServer(content []byte, steps ...string) *server {
	s := &server{content: content, steps: steps}
	s.url = httptest.NewServer(s).URL
	return s
}

func (s *server) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	switch step := s.steps[min(int(s.requests.Add(1)), len(s.steps))-1]; step {
	case "send":
		w.Write(s.content)
	case "stall":
		time.Sleep(5 * time.Second) // much longer than AttemptTimeout
	case "ask to wait 1", "ask to wait 60":
		w.Header().Set("Retry-After", strings.TrimPrefix(step, "ask to wait "))
		w.WriteHeader(http.StatusServiceUnavailable)
		io.WriteString(w, "down for maintenance")
	case "refuse":
		io.CopyN(io.Discard, r.Body, r.ContentLength/2)
		w.WriteHeader(http.StatusServiceUnavailable)
	case "redirect":
		http.Redirect(w, r, "/storage", http.StatusTemporaryRedirect)
	case "echo":
		body, _ := io.ReadAll(r.Body)
		w.Write(body)
	case "order":
		if key := r.Header.Get("Idempotency-Key"); key != "" && s.lastKey.Swap(key) == key {
			return // this order was accepted before
		}
		s.orders.Add(1)
		fallthrough
	case "reset":
		conn, _, _ := http.NewResponseController(w).Hijack()
		conn.(*net.TCPConn).SetLinger(0) // makes Close reset the connection
		conn.Close()
	}
}
