package main

import (
	"fmt"
	"net/http"
	"time"
)

// success measures calls that succeed at once, without a network: what a library
// costs when it has nothing to do.
func (b *bench) success() error {
	get := request{Method: http.MethodGet, URL: stubURL}
	behindTransport := func() http.RoundTripper { return new(stub).behindTransport() }
	rounds, slice := pick(b, 4*b.rounds, 3), pick(b, 5*time.Millisecond, 2*time.Millisecond)
	for _, form := range []struct {
		name, title  string
		newTransport func() http.RoundTripper
		prepare      func(client) (call, error)
		allocs       map[string]float64 // that this library may add, by ownName; 0 unless it is there
		timed        bool
	}{
		{"get", "GET, prepared request", behindTransport, func(c client) (call, error) { return c.Prepare(get) }, nil, true},
		{"get-url", "GET, `Get(url)`", behindTransport, func(c client) (call, error) {
			return func() (*http.Response, error) { return c.Get(get.URL) }, nil
		}, nil, true},
		{"post-1KiB", "POST of 1 KiB, given as a `[]byte`, new request for each call", behindTransport,
			func(c client) (call, error) { return c.Prepare(postKiB) }, map[string]float64{"client": 3}, true}, // by NewRequest, not by Do
		{"get-own-transport", "GET, prepared request, an `http.RoundTripper` that is not an `*http.Transport`",
			func() http.RoundTripper { return new(stub) }, func(c client) (call, error) { return c.Prepare(get) }, map[string]float64{"client": 2, "roundtripper": 2}, false},
	} {
		t := &table{
			title:  form.title + ", 200 at the first attempt, no network",
			header: []string{"", "time per call", "ratio to net/http", "allocations", "more than net/http"},
		}
		rows := b.stubRace(contenders(), form.newTransport, form.prepare, rounds, slice)
		b.writeStubRows(t, rows)
		for _, row := range rows {
			own, ok := ownName(row.contender)
			if !ok {
				continue
			}
			name := "success-" + form.name + "-" + own
			b.atMost(name+"-allocs", float64(row.allocs-rows[0].allocs), form.allocs[own], "allocations more than net/http", row.err)
			if form.timed {
				b.atMost(name+"-time", row.ratio, 1.05, "ratio to net/http", row.err)
			}
		}
	}
	return nil
}

// stubRow is what was measured of one contender on a stub.
type stubRow struct {
	contender
	timing
	allocs int
}

// stubRace times contenders and counts their allocations, each with a transport of its own.
func (b *bench) stubRace(cs []contender, newTransport func() http.RoundTripper, prepare func(client) (call, error), rounds int, slice time.Duration) []stubRow {
	rows := make([]stubRow, len(cs))
	racers := make([]racer, len(cs))
	for i, c := range cs {
		rows[i].contender = c
		call, err := prepare(c.New(newTransport(), settings{Retries: 2}))
		if err == nil {
			rows[i].allocs, err = allocs(call)
		}
		racers[i] = racer{c.Name(), func(n int) error {
			if err != nil {
				return err
			}
			return times(call)(n)
		}}
	}
	for i, t := range b.race(racers, rounds, slice) {
		rows[i].timing = t
	}
	return rows
}

// writeStubRows writes a table in which allocations are compared with the
// first row's.
func (b *bench) writeStubRows(t *table, rows []stubRow) {
	for _, row := range rows {
		if row.err != nil {
			t.addFailed(row.Name(), row.err)
			continue
		}
		t.add(row.Name(), formatDuration(row.perOp), formatRatio(row.ratio), row.allocs, fmt.Sprintf("%+d", row.allocs-rows[0].allocs))
	}
	t.write(b.out)
}
