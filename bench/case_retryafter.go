package main

import (
	"context"
	"fmt"
	"net/http"
	"net/url"
	"time"
)

// retryAfter measures what a hostile Retry-After does to a caller with a deadline.
func (b *bench) retryAfter() error {
	deadline := pick(b, time.Second, 200*time.Millisecond)
	t := &table{
		title:  fmt.Sprintf("503 with a Retry-After that is too long, caller's deadline %s, 4 retries allowed", deadline),
		note:   "For each value of Retry-After: the time until the call ends (the longest of the trials) and the number of attempts. A call that ends at the deadline has waited in vain. More than one attempt ignores what the server asked for.",
		header: []string{"", "86400 s: time", "attempts", "10^18 s: time", "attempts", "year 9999: time", "attempts"},
	}
	values := []string{"86400", "999999999999999999", "Fri, 31 Dec 9999 23:59:59 GMT"}
	for i, c := range retriers() {
		cells := []any{c.Name()}
		for j, value := range values {
			var worst time.Duration
			attempts := 0
			spent := time.Now()
			for trial := 0; trial < 5 && time.Since(spent) < deadline/2; trial++ {
				key := fmt.Sprintf("after-%d-%d-%d", i, j, trial)
				transport := newTransport()
				client := c.New(transport, settings{Retries: 4, ObeyRetryAfter: true})
				// The connection is there before the clock starts.
				warm, err := client.Prepare(request{Method: http.MethodGet, URL: b.server.Data + "/plain/after?size=2"})
				if err == nil {
					err = finish(warm)
				}
				if err != nil {
					return err
				}
				ctx, cancel := context.WithTimeout(context.Background(), deadline)
				call, err := client.Prepare(request{
					Context: ctx, Method: http.MethodGet,
					URL: b.server.Data + "/after/" + key + "?value=" + url.QueryEscape(value),
				})
				if err != nil {
					cancel()
					return err
				}
				start := time.Now()
				finish(call) // fails one way or the other
				worst = max(worst, time.Since(start))
				cancel()
				transport.CloseIdleConnections()
				k, err := b.server.seen(key)
				if err != nil {
					return err
				}
				attempts = max(attempts, k.Attempts)
			}
			cells = append(cells, formatDuration(worst), attempts)
			if _, ok := c.(ours); ok {
				name := []string{"seconds", "huge", "date"}[j]
				b.atMost("retryafter-"+name+"-time", float64(worst)/float64(time.Millisecond), 10, "ms until the call ends", nil)
				b.atMost("retryafter-"+name+"-attempts", float64(attempts), 1, "attempts", nil)
			}
		}
		t.add(cells...)
	}
	t.write(b.out)
	return nil
}
