// Safewrites sends orders to a server whose connection is sometimes closed after it has
// accepted an order, and counts the accepted orders. With DefaultRetryPolicy some orders
// are accepted twice. With SafeRetryPolicy none is, but some calls fail. With an
// IdempotencyKey, which the server recognizes, each order is accepted exactly once.
//
//	go run ./examples/safewrites
package main

import (
	"fmt"
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
	fmt.Printf("%d orders; the server closes the connection after every 4th request and refuses every 5th with a 503\n\n", orders)
	fmt.Printf("%-36s %13s %14s %12s\n", "", "accepted once", "accepted twice", "calls failed")

	client := newClient()
	r := send(client)
	show("DefaultRetryPolicy", r)
	check(r.twice > 0 && r.failed == 0, "DefaultRetryPolicy: no order was accepted twice, or a call failed")

	client.CheckRetry = retryablehttp.SafeRetryPolicy
	r = send(client)
	show("SafeRetryPolicy", r)
	check(r.twice == 0, "SafeRetryPolicy: an order was accepted twice")
	check(r.failed > 0, "SafeRetryPolicy: no call failed")

	client.IdempotencyKey = retryablehttp.NewIdempotencyKey
	r = send(client)
	show("SafeRetryPolicy and IdempotencyKey", r)
	check(r.once == orders && r.failed == 0, "IdempotencyKey: not every order was accepted exactly once")

	// A call that failed may have sent its order. Unsent reports whether it provably did not.
	closed := httptest.NewServer(nil)
	closed.Close()
	_, err := client.Post(closed.URL, "text/plain", "one book")
	fmt.Printf("\nconnection refused: Unsent is %t\n", retryablehttp.Unsent(err))
	check(retryablehttp.Unsent(err), "the order may have been sent")
}

func newClient() *retryablehttp.Client {
	client := retryablehttp.NewClient()
	client.RetryMax = 6
	client.RetryWaitMin, client.RetryWaitMax = time.Millisecond, 4*time.Millisecond
	return client
}

// result counts orders.
type result struct{ once, twice, failed int }

// send sends the orders to a new server.
func send(client *retryablehttp.Client) (r result) {
	shop := &shop{accepted: map[string]int{}, keys: map[string]bool{}}
	server := httptest.NewServer(shop)
	defer server.Close()

	for i := range orders {
		path := fmt.Sprintf("/orders/%d", i)
		resp, err := client.Post(server.URL+path, "text/plain", "one book")
		if err != nil {
			check(!retryablehttp.Unsent(err), "the order was sent, but Unsent is true")
			r.failed++
		} else {
			resp.Body.Close()
			check(shop.count(path) > 0, "the server did not accept an order that it confirmed")
		}
		switch shop.count(path) {
		case 0:
		case 1:
			r.once++
		default:
			r.twice++
		}
	}
	return r
}

// shop is a server that accepts each order that it receives, but only one for each key.
type shop struct {
	mu       sync.Mutex
	requests int
	accepted map[string]int // by path
	keys     map[string]bool
}

func (s *shop) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.requests++
	if s.requests%5 == 0 {
		w.Header().Set("Retry-After", "0")
		w.WriteHeader(http.StatusServiceUnavailable)
		return
	}
	if key := r.Header.Get("Idempotency-Key"); key == "" || !s.keys[key] {
		s.accepted[r.URL.Path]++
		s.keys[key] = true
	}
	if s.requests%4 == 0 {
		panic(http.ErrAbortHandler) // closes the connection without a response
	}
	w.WriteHeader(http.StatusCreated)
}

func (s *shop) count(path string) int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.accepted[path]
}

func show(name string, r result) {
	fmt.Printf("%-36s %13d %14d %12d\n", name, r.once, r.twice, r.failed)
}

func check(ok bool, failure string) {
	if !ok {
		log.Fatal(failure)
	}
}
