package main

import (
	"fmt"
	"net/http"
	"time"
)

// success measures calls that succeed at once, without a network: what a library
// costs when it has nothing to do.
func (b *bench) success() error {
	get := request{Method: http.MethodGet, URL: "http://stub.example/thing"}
	post := request{Method: http.MethodPost, URL: get.URL, Body: &payload{bytes: make([]byte, 1024), size: 1024}}
	rounds, slice := pick(b, 4*b.rounds, 3), pick(b, 5*time.Millisecond, 2*time.Millisecond)
	for _, form := range []struct {
		name, title string
		prepare     func(client) (call, error)
		allocs      int // that our Client may add; our RoundTripper none
		timed       bool
	}{
		{"success-get", "GET, prepared request", func(c client) (call, error) { return c.Prepare(get) }, 0, true},
		{"success-get-url", "GET, Get(url)", func(c client) (call, error) {
			return func() (*http.Response, error) { return c.Get(get.URL) }, nil
		}, 1, false},
		{"success-post-1KiB", "POST of 1 KiB []byte, new request for each call", func(c client) (call, error) { return c.Prepare(post) }, 0, true},
	} {
		t := &table{
			title:  form.title + ", 200 at once, stub transport",
			header: []string{"", "time per call", "ratio to net/http", "allocations", "above net/http"},
		}
		rows := b.stubRace(contenders(), func() *stub { return &stub{} }, form.prepare, rounds, slice)
		b.writeStubRows(t, rows)
		for i, c := range contenders() {
			name, limit := form.name, 0
			switch c.(type) {
			case ours:
				name, limit = name+"-client", form.allocs
			case oursRoundTripper:
				name += "-roundtripper"
			default:
				continue
			}
			row := rows[i]
			b.atMost(name+"-allocs", float64(row.allocs-rows[0].allocs), float64(limit), "allocations above net/http", row.err)
			if form.timed {
				b.atMost(name+"-time", row.ratio, 1.05, "ratio to net/http", row.err)
			}
		}
	}
	return nil
}

// stubRow is what was measured of one contender on a stub.
type stubRow struct {
	name string
	timing
	allocs int
}

// stubRace times contenders and counts their allocations, each with a stub of its own.
func (b *bench) stubRace(cs []contender, newStub func() *stub, prepare func(client) (call, error), rounds int, slice time.Duration) []stubRow {
	rows := make([]stubRow, len(cs))
	racers := make([]racer, len(cs))
	for i, c := range cs {
		rows[i].name = c.Name()
		call, err := prepare(c.New(newStub(), settings{Retries: 2}))
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
			t.addFailed(row.name, row.err)
			continue
		}
		t.add(row.name, formatDuration(row.perOp), fmt.Sprintf("%.3f", row.ratio), row.allocs, fmt.Sprintf("%+d", row.allocs-rows[0].allocs))
	}
	t.write(b.out)
}
