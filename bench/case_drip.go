package main

import (
	"context"
	"fmt"
	"net/http"
	"sync"
	"time"
)

// drip measures how long a retry is held up by the body of the response before it,
// which comes at 1 byte per 100 ms and would take 7 minutes.
func (b *bench) drip() error {
	limit := pick(b, 5*time.Second, time.Second)
	t := &table{
		title:  "503 with a body of 4 KiB that comes at 1 byte per 100 ms, then 200",
		note:   fmt.Sprintf("The caller's deadline is %s.", limit),
		header: []string{"", "time from the 503 to the retry"},
	}
	cs := retriers()
	results := make([]seen, len(cs))
	errs := make([]error, len(cs))
	var wg sync.WaitGroup
	for i, c := range cs { // all at once: they only wait
		wg.Go(func() {
			ctx, cancel := context.WithTimeout(context.Background(), limit)
			defer cancel()
			transport := newTransport()
			defer transport.CloseIdleConnections()
			key := fmt.Sprint("drip", i)
			call, err := c.New(transport, settings{Retries: 2}).Prepare(request{
				Context: ctx, Method: http.MethodGet, URL: b.server.Data + "/drip/" + key,
			})
			if err == nil {
				err = finish(call)
			}
			errs[i] = err
			results[i], err = b.server.seen(key)
			if err != nil {
				errs[i] = err
			}
		})
	}
	wg.Wait()
	for i, c := range cs {
		if results[i].Attempts < 2 {
			t.add(c.Name(), fmt.Sprintf("> %s", limit))
			continue
		}
		if errs[i] != nil {
			t.addFailed(c.Name(), errs[i])
			continue
		}
		t.add(c.Name(), formatDuration(results[i].Retry))
	}
	t.write(b.out)
	return nil
}
