package main

import (
	"fmt"
	"math"
	"net/http"
	"time"
)

// retry measures calls that get a 503 twice and then a 200, without a wait.
func (b *bench) retry() error {
	b.retryStub("GET, 503 twice without a body, then 200, no network", "retry-stub", request{Method: http.MethodGet, URL: stubURL}, 0, 8)
	b.retryStub("GET, 503 twice with a body of 100 bytes, then 200, no network", "retry-stub-body", request{Method: http.MethodGet, URL: stubURL}, 100, 28)
	b.retryStub("POST of 1 KiB, given as a `[]byte`, 503 twice without a body, then 200, no network", "retry-stub-post", postKiB, 0, 12)
	for _, kib := range []int{4, 64} {
		if err := b.retryLoopback(kib); err != nil {
			return err
		}
	}
	return nil
}

// postKiB is a POST of 1 KiB to a stub.
var postKiB = request{Method: http.MethodPost, URL: stubURL, Body: &payload{bytes: make([]byte, 1024), size: 1024}}

// retriers are the contenders that retry, the limit first.
func retriers() []contender { return contenders()[1:] }

// retryStub measures retries without a network. allocs is what this library may add to
// the allocations of the loop.
func (b *bench) retryStub(title, name string, r request, errorBody int, allocs float64) {
	rows := b.stubRace(retriers(),
		func() http.RoundTripper { return (&stub{fails: 2, errorBody: errorBody}).behindTransport() },
		func(c client) (call, error) { return c.Prepare(r) },
		pick(b, 3*b.rounds, 3), pick(b, 5*time.Millisecond, 2*time.Millisecond))
	b.writeStubRows(&table{
		title:  title,
		header: []string{"", "time per call", "ratio to the loop", "allocations", "more than the loop"},
	}, rows)
	for _, row := range rows {
		if own, ok := ownName(row.contender); ok {
			b.atMost(name+"-"+own+"-allocs", float64(row.allocs-rows[0].allocs), allocs, "allocations more than the loop", row.err)
			b.atMost(name+"-"+own+"-time", row.ratio, 1.5, "ratio to the loop", row.err)
		}
	}
}

func (b *bench) retryLoopback(kib int) error {
	var racers []racer
	conns := make([]float64, len(retriers())) // new ones for each call
	for i, c := range retriers() {
		transport := newTransport()
		defer transport.CloseIdleConnections()
		call, err := c.New(transport, settings{Retries: 2}).Prepare(request{
			Method: http.MethodGet,
			URL:    fmt.Sprintf("%s/flaky/retry-%d-%d?fails=2&size=%d", b.server.Data, kib, i, kib<<10),
		})
		if err == nil {
			conns[i], err = b.connsPerCall(call)
		}
		racers = append(racers, racer{c.Name(), func(n int) error {
			if err != nil {
				return err
			}
			return times(call)(n)
		}})
	}
	t := &table{
		title:  fmt.Sprintf("GET, 503 twice with a body of %d KiB, then 200, over loopback", kib),
		header: []string{"", "time per call", "ratio to the loop", "CPU per call", "ratio to the loop", "new connections per call"},
	}
	for i, row := range b.race(racers, pick(b, max(b.rounds/2, 1), 3), pick(b, 40*time.Millisecond, 5*time.Millisecond)) {
		if own, ok := ownName(retriers()[i]); ok {
			name := fmt.Sprintf("retry-loopback-%dKiB-%s", kib, own)
			b.atMost(name+"-conns", conns[i], 0, "new connections per call", row.err)
			b.atMost(name+"-time", row.ratio, 1.1, "ratio to the loop", row.err)
		}
		if row.err != nil {
			t.addFailed(racers[i].name, row.err)
			continue
		}
		t.add(racers[i].name, formatDuration(row.perOp), formatRatio(row.ratio), formatDuration(row.cpu), formatRatio(row.cpuRatio), fmt.Sprintf("%.3g", conns[i]))
	}
	t.write(b.out)
	return nil
}

// connsPerCall counts the connections that the server accepts after the first call. A quick
// run counts up to three times and returns the smallest figure: the libraries give up a body
// that takes too long, and on a busy machine any body may.
func (b *bench) connsPerCall(c call) (float64, error) {
	if err := finish(c); err != nil {
		return 0, err
	}
	calls := pick(b, 500, 50)
	fewest := int64(math.MaxInt64)
	for range pick(b, 1, 3) {
		before, err := b.server.accepted()
		if err != nil {
			return 0, err
		}
		if err := times(c)(calls); err != nil {
			return 0, err
		}
		after, err := b.server.accepted()
		if err != nil {
			return 0, err
		}
		if fewest = min(fewest, after-before); fewest == 0 {
			break
		}
	}
	return float64(fewest) / float64(calls), nil
}
