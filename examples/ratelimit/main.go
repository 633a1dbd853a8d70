// Ratelimit limits a client with golang.org/x/time/rate, below the retries and above them.
//
// Below the retries, every attempt waits for a token. The service never gets more requests
// than the limit allows. The wait counts towards Client.AttemptTimeout and MaxElapsedTime.
//
// Above the retries, every call waits for a token, and its retries do not. The service may
// get 1 + RetryMax times as many requests. The wait counts towards no limit of the Client.
//
// In both places the deadline of the request's context limits the wait. Use one limiter
// for each service, and share it among goroutines.
//
//	go -C examples/ratelimit run .
package main

import (
	"errors"
	"fmt"
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"os"
	"sync/atomic"
	"time"

	"golang.org/x/time/rate"

	"github.com/a0b132ce/retryablehttp"
)

const interval = 50 * time.Millisecond // between two tokens

func main() {
	log.SetFlags(0)
	var received atomic.Int32
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if received.Add(1)%2 == 1 {
			w.WriteHeader(http.StatusServiceUnavailable)
		}
	}))
	defer server.Close()
	if err := run(os.Stdout, server.Client().Transport, server.URL); err != nil {
		log.Fatal(err)
	}
}

func run(out io.Writer, base http.RoundTripper, url string) error {
	fmt.Fprintf(out, "4 calls, one token every %s. The first attempt of each call fails. Requests are sent at\n", interval)
	return errors.Join(
		show(out, "limiter below the retries", below, base, url, 7*interval),
		show(out, "limiter above the retries", above, base, url, 3*interval),
	)
}

func below(base http.RoundTripper) http.RoundTripper {
	return retries(&limited{base, rate.NewLimiter(rate.Every(interval), 1)})
}

func above(base http.RoundTripper) http.RoundTripper {
	return &limited{retries(base), rate.NewLimiter(rate.Every(interval), 1)}
}

func retries(base http.RoundTripper) http.RoundTripper {
	client := retryablehttp.NewClient()
	client.RetryWaitMin, client.RetryWaitMax = 10*time.Millisecond, 10*time.Millisecond
	return &retryablehttp.RoundTripper{Client: client, Base: base}
}

// limited is a transport that waits for a token before it sends a request.
type limited struct {
	base    http.RoundTripper
	limiter *rate.Limiter
}

func (l *limited) RoundTrip(req *http.Request) (*http.Response, error) {
	if err := l.limiter.Wait(req.Context()); err != nil {
		if req.Body != nil {
			req.Body.Close() // a transport closes the body even if it sends nothing
		}
		return nil, permanent{err}
	}
	return l.base.RoundTrip(req)
}

// permanent is an error that the policies of retryablehttp do not retry. The error of Wait
// is one: the next token comes after the deadline, so a retry would get none either.
type permanent struct{ error }

func (permanent) Permanent() bool { return true }
func (p permanent) Unwrap() error { return p.error }

// show makes 4 calls, prints when each request was sent, and checks that the last one was
// not sent too early.
func show(out io.Writer, title string, order func(http.RoundTripper) http.RoundTripper,
	base http.RoundTripper, url string, earliest time.Duration) error {
	sent := &recorder{base: base, start: time.Now()}
	client := &http.Client{Transport: order(sent)}
	for range 4 {
		resp, err := client.Get(url)
		if err != nil {
			return err
		}
		resp.Body.Close()
	}
	fmt.Fprintf(out, "%s: %v\n", title, sent.times)
	if last := sent.times[len(sent.times)-1]; last < earliest {
		return fmt.Errorf("%s: the last request was sent after %s, want at least %s", title, last, earliest)
	}
	return nil
}

// recorder is a transport that records when each request is sent. It is for one goroutine.
type recorder struct {
	base  http.RoundTripper
	start time.Time
	times []time.Duration
}

func (r *recorder) RoundTrip(req *http.Request) (*http.Response, error) {
	r.times = append(r.times, time.Since(r.start).Round(time.Millisecond))
	return r.base.RoundTrip(req)
}
