// Breaker composes a circuit breaker of failsafe-go with retries, in both orders.
//
// Inside the retries, the breaker counts attempts. It opens in the middle of a call, and
// from then on the service gets no requests, not even retries. That protects a service
// that is overloaded, but a failure that the next retry would repair may open it.
//
// Around the retries, the breaker counts calls. It opens only after failures that retries
// did not repair, so after more requests. While it is open, a call costs no attempt.
//
// Use one breaker for each service, and share it among goroutines.
//
//	go -C examples/breaker run .
package main

import (
	"errors"
	"fmt"
	"log"
	"net/http"
	"net/http/httptest"
	"sync/atomic"
	"time"

	"github.com/failsafe-go/failsafe-go/circuitbreaker"

	"github.com/a0b132ce/retryablehttp"
)

func main() {
	log.SetFlags(0)
	fmt.Println("Each call makes up to 4 attempts. The breaker opens after 3 failures in a row.")
	show("The service is down, breaker inside the retries", inside, 1000, 3, 0)
	show("The service is down, breaker around the retries", around, 1000, 4, 4, 4, 0)
	show("The service fails 3 requests, breaker inside the retries", inside, 3, 3, 0)
	show("The service fails 3 requests, breaker around the retries", around, 3, 4, 1)
	show("The service fails 4 requests, breaker inside the retries, open for less than a wait", insideBriefly, 4, 4, 1)
}

// inside puts the breaker inside the retries. It stays open for longer than a call lasts,
// so the retries of a refused attempt would be refused too: the error is permanent.
func inside(base http.RoundTripper) http.RoundTripper {
	return retries(&breaker{base, newState(time.Minute), permanent{unsent{circuitbreaker.ErrOpen}}})
}

// insideBriefly does the same with a breaker that is open for less than the wait before a
// retry. The error is not permanent: the retry finds out whether the service is back.
func insideBriefly(base http.RoundTripper) http.RoundTripper {
	return retries(&breaker{base, newState(10 * time.Millisecond), unsent{circuitbreaker.ErrOpen}})
}

// around puts the breaker around the retries. No retry policy sees its error.
func around(base http.RoundTripper) http.RoundTripper {
	return &breaker{retries(base), newState(time.Minute), unsent{circuitbreaker.ErrOpen}}
}

func retries(base http.RoundTripper) http.RoundTripper {
	client := retryablehttp.NewClient()
	client.RetryMax = 3
	client.RetryWaitMin, client.RetryWaitMax = 15*time.Millisecond, 20*time.Millisecond
	return &retryablehttp.RoundTripper{Client: client, Base: base}
}

func newState(open time.Duration) circuitbreaker.CircuitBreaker[any] {
	return circuitbreaker.NewBuilder[any]().WithFailureThreshold(3).WithSuccessThreshold(1).WithDelay(open).Build()
}

// breaker is a transport that sends no request while its circuit breaker is open.
// failsafehttp has one too, which reads request bodies into memory before it sends them.
type breaker struct {
	base  http.RoundTripper
	state circuitbreaker.CircuitBreaker[any]
	open  error // what RoundTrip returns while the circuit breaker is open
}

func (b *breaker) RoundTrip(req *http.Request) (*http.Response, error) {
	if !b.state.TryAcquirePermit() {
		if req.Body != nil {
			req.Body.Close() // a transport closes the body even if it sends nothing
		}
		return nil, b.open
	}
	resp, err := b.base.RoundTrip(req)
	if err != nil || resp.StatusCode >= 500 {
		b.state.RecordFailure() // also if the caller canceled: every permit needs a result
	} else {
		b.state.RecordSuccess()
	}
	return resp, err
}

// permanent is an error that the policies of retryablehttp do not retry.
type permanent struct{ error }

func (permanent) Permanent() bool { return true }
func (p permanent) Unwrap() error { return p.error }

// unsent is an error of a request that was not sent, which SafeRetryPolicy may repeat.
type unsent struct{ error }

func (unsent) Unsent() bool    { return true }
func (u unsent) Unwrap() error { return u.error }

// show calls a service that fails its first requests, and checks how many requests each
// call sends.
func show(title string, order func(http.RoundTripper) http.RoundTripper, failures int32, requests ...int32) {
	fmt.Printf("\n%s\n", title)
	var received atomic.Int32
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if received.Add(1) <= failures {
			w.WriteHeader(http.StatusServiceUnavailable)
		}
	}))
	defer server.Close()
	client := &http.Client{Transport: order(server.Client().Transport)}
	for i, want := range requests {
		before := received.Load()
		resp, err := client.Get(server.URL)
		result := fmt.Sprint(errors.Unwrap(err)) // without the method and the URL
		if err == nil {
			result = resp.Status
			resp.Body.Close()
		}
		sent := received.Load() - before
		fmt.Printf("  call %d: requests sent: %d, result: %s\n", i+1, sent, result)
		if sent != want {
			log.Fatalf("want %d requests", want)
		}
	}
}
