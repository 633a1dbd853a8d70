// Safewrites sends orders to a server that loses some of its answers after it has acted,
// with three clients, and counts what was ordered: DefaultRetryPolicy orders some things
// twice, SafeRetryPolicy never, and with an Idempotency-Key everything is ordered exactly
// once.
//
//	go run ./examples/safewrites
package main

import (
	"errors"
	"fmt"
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"sync"
	"time"

	"github.com/a0b132ce/retryablehttp"
)

const orders = 40

func main() {
	log.SetFlags(0)

	fmt.Printf("%d orders each, to a server that loses every fourth answer and refuses every fifth request\n\n", orders)
	fmt.Println("                                   once  twice or more  error, perhaps ordered  error, not ordered")

	r := run(func(*retryablehttp.Client) {})
	show("DefaultRetryPolicy", r)
	must(r.doubled > 0, "DefaultRetryPolicy: no order was doubled, so the server is not as bad as it should be")

	r = run(func(c *retryablehttp.Client) {
		c.CheckRetry = retryablehttp.SafeRetryPolicy
	})
	show("SafeRetryPolicy", r)
	must(r.doubled == 0, "SafeRetryPolicy: an order was doubled")
	must(r.lost == 0, "SafeRetryPolicy: an order that got an answer was not made")
	must(r.unknown > 0 && r.unsent == 0, "SafeRetryPolicy: an error that is not as it should be")

	r = run(func(c *retryablehttp.Client) {
		c.CheckRetry = retryablehttp.SafeRetryPolicy
		c.IdempotencyKey = retryablehttp.NewIdempotencyKey
	})
	show("SafeRetryPolicy and IdempotencyKey", r)
	must(r.once == orders && r.unknown == 0 && r.unsent == 0, "IdempotencyKey: not every order was made exactly once")

	// Where nobody listens nothing can have been ordered, and the error says so.
	closed := httptest.NewServer(nil)
	closed.Close()
	client := newClient()
	client.CheckRetry = retryablehttp.SafeRetryPolicy
	_, err := client.Post(closed.URL, "text/plain", "an order")
	var giveUp *retryablehttp.GiveUpError
	must(errors.As(err, &giveUp), "nobody listens: not a *GiveUpError")
	fmt.Printf("\nnobody listens: %d attempts, unsent %t\n", giveUp.Attempts, retryablehttp.Unsent(err))
	must(retryablehttp.Unsent(err) && giveUp.Attempts == client.RetryMax+1, "nobody listens: not as it should be")
}

func newClient() *retryablehttp.Client {
	client := retryablehttp.NewClient()
	client.RetryMax = 6
	client.RetryWaitMin, client.RetryWaitMax = time.Millisecond, 4*time.Millisecond
	return client
}

// result counts orders by what has become of them.
type result struct {
	once, doubled int // made
	unknown       int // ended in an error that leaves open whether it was made
	unsent        int // ended in an error that says that it was not
	lost          int // answered, but not made
}

// run sends the orders with a client that has the given settings.
func run(settings func(*retryablehttp.Client)) result {
	shop := &shop{made: map[string]int{}, keys: map[string]bool{}}
	server := httptest.NewServer(shop)
	defer server.Close()
	client := newClient()
	defer client.CloseIdleConnections()
	settings(client)

	var r result
	for i := range orders {
		path := fmt.Sprintf("/orders/%d", i)
		resp, err := client.Post(server.URL+path, "application/json", []byte(`{"item": "tea", "count": 1}`))
		switch {
		case err == nil:
			io.Copy(io.Discard, resp.Body)
			resp.Body.Close()
			if shop.count(path) == 0 {
				r.lost++
			}
		case retryablehttp.Unsent(err):
			r.unsent++
		default:
			r.unknown++
		}
		switch n := shop.count(path); {
		case n == 1:
			r.once++
		case n > 1:
			r.doubled++
		}
	}
	return r
}

// shop is a server that makes each order it is sent, except those whose key it knows.
type shop struct {
	mu       sync.Mutex
	requests int
	made     map[string]int // by path
	keys     map[string]bool
}

func (s *shop) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if _, err := io.ReadAll(r.Body); err != nil {
		return
	}
	s.mu.Lock()
	s.requests++
	n := s.requests
	if n%5 == 0 { // before acting
		s.mu.Unlock()
		w.Header().Set("Retry-After", "0")
		w.WriteHeader(http.StatusServiceUnavailable)
		return
	}
	if key := r.Header.Get("Idempotency-Key"); key == "" || !s.keys[key] {
		s.made[r.URL.Path]++
		s.keys[key] = true
	}
	s.mu.Unlock()
	if n%4 == 0 { // after acting: the connection breaks, and the answer is lost
		panic(http.ErrAbortHandler)
	}
	w.WriteHeader(http.StatusCreated)
}

func (s *shop) count(path string) int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.made[path]
}

func show(name string, r result) {
	fmt.Printf("%-34s %5d %14d %23d %19d\n", name, r.once, r.doubled, r.unknown, r.unsent)
}

func must(ok bool, what string) {
	if !ok {
		log.Fatal(what)
	}
}
