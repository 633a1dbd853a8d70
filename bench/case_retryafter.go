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
		title:  fmt.Sprintf("Hostile Retry-After on a 503, caller's deadline %s, 4 retries allowed", deadline),
		note:   "Time until the call ends (the longest of the trials) and attempts made. With an ending at the deadline the caller has waited for nothing; many attempts at once are what the server asked to be spared.",
		header: []string{"", "86400", "", "999999999999999999", "", "year 9999", ""},
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
				b.atMost("hostile-retry-after-"+name+"-time", float64(worst)/float64(time.Millisecond), 10, "ms until the call ends", nil)
				b.atMost("hostile-retry-after-"+name+"-attempts", float64(attempts), 1, "attempts", nil)
			}
		}
		t.add(cells...)
	}
	t.write(b.out)
	return nil
}
