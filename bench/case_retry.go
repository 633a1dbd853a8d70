package main

import (
	"fmt"
	"net/http"
	"time"
)

// retry measures calls that are answered with two 503 and then with a 200, with no
// wait between.
func (b *bench) retry() error {
	b.retryStub("without a body", "retry-stub", 0, false)
	b.retryStub("with a body of 100 bytes in memory", "retry-stub-memory", 100, true)
	b.retryStub("with a body of 100 bytes of an unknown type", "retry-stub-body", 100, false)
	for _, kib := range []int{4, 64} {
		if err := b.retryLoopback(kib); err != nil {
			return err
		}
	}
	return nil
}

// retriers are the contenders that retry, the limit first.
func retriers() []contender { return contenders()[1:] }

func (b *bench) retryStub(what, name string, size int, memory bool) {
	get := request{Method: http.MethodGet, URL: "http://stub.example/thing"}
	rows := b.stubRace(retriers(),
		func() *stub { return &stub{fails: 2, errorBody: size, memory: memory} },
		func(c client) (call, error) { return c.Prepare(get) },
		pick(b, 3*b.rounds, 3), pick(b, 5*time.Millisecond, 2*time.Millisecond))
	b.writeStubRows(&table{
		title:  "GET, 503 twice " + what + ", then 200, stub transport",
		header: []string{"", "time per call", "ratio to the loop", "allocations", "above the loop"},
	}, rows)
	row := rows[1]
	b.atMost(name+"-client-allocs", float64(row.allocs-rows[0].allocs), 6, "allocations above the loop", row.err)
	b.atMost(name+"-client-time", row.ratio, 1.2, "ratio to the loop", row.err)
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
		header: []string{"", "time per call", "ratio to the loop", "new connections per call"},
	}
	rows := b.race(racers, pick(b, b.rounds/2, 3), pick(b, 40*time.Millisecond, 5*time.Millisecond))
	for i, row := range rows {
		if row.err != nil {
			t.addFailed(racers[i].name, row.err)
			continue
		}
		t.add(racers[i].name, formatDuration(row.perOp), fmt.Sprintf("%.3f", row.ratio), fmt.Sprintf("%.3g", conns[i]))
	}
	t.write(b.out)
	name := fmt.Sprintf("retry-loopback-%dKiB-client", kib)
	b.atMost(name+"-conns", conns[1], 0, "new connections per call", rows[1].err)
	b.atMost(name+"-time", rows[1].ratio, 1.1, "ratio to the loop", rows[1].err)
	return nil
}

// connsPerCall counts the connections that the server accepts after the first call.
func (b *bench) connsPerCall(c call) (float64, error) {
	if err := finish(c); err != nil {
		return 0, err
	}
	before, err := b.server.accepted()
	if err != nil {
		return 0, err
	}
	calls := pick(b, 500, 50)
	if err := times(c)(calls); err != nil {
		return 0, err
	}
	after, err := b.server.accepted()
	return float64(after-before) / float64(calls), err
}
