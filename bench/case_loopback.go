package main

import (
	"errors"
	"fmt"
	"net/http"
	"sync"
	"time"
)

// loopback measures calls that succeed at once over a connection that is kept.
func (b *bench) loopback() error {
	get := request{Method: http.MethodGet, URL: b.server.Data + "/plain/loopback?size=512"}
	for _, mode := range []struct {
		title   string
		workers int
	}{
		{"one call after the other", 1},
		{"8 goroutines", 8},
	} {
		t := &table{
			title:  "GET of 512 bytes over loopback, " + mode.title,
			header: []string{"", "time per call", "ratio to net/http"},
		}
		var racers []racer
		for _, c := range contenders() {
			transport := newTransport()
			defer transport.CloseIdleConnections()
			client := c.New(transport, settings{Retries: 2})
			calls := make([]call, mode.workers)
			var err error
			for i := range calls {
				if calls[i], err = client.Prepare(get); err != nil {
					return err
				}
			}
			racers = append(racers, racer{c.Name(), func(n int) error { return inParallel(calls, n) }})
		}
		for i, row := range b.race(racers, pick(b, b.rounds/2, 3), pick(b, 40*time.Millisecond, 5*time.Millisecond)) {
			if row.err != nil {
				t.addFailed(racers[i].name, row.err)
				continue
			}
			t.add(racers[i].name, formatDuration(row.perOp), fmt.Sprintf("%.3f", row.ratio))
		}
		t.write(b.out)
	}
	return nil
}

// inParallel makes n calls, each of calls its share of them in a goroutine.
func inParallel(calls []call, n int) error {
	if len(calls) == 1 {
		return times(calls[0])(n)
	}
	errs := make([]error, len(calls))
	var wg sync.WaitGroup
	for i, c := range calls {
		share := n / len(calls)
		if i < n%len(calls) {
			share++
		}
		wg.Go(func() { errs[i] = times(c)(share) })
	}
	wg.Wait()
	return errors.Join(errs...)
}
