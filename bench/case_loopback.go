package main

import (
	"errors"
	"net/http"
	"sync"
	"time"
)

// loopback measures calls that succeed at once over connections that are kept.
func (b *bench) loopback() error {
	kib := make([]byte, 1024)
	get := request{Method: http.MethodGet, URL: b.server.Data + "/plain/loopback?size=512"}
	post := request{Method: http.MethodPost, URL: get.URL + "&body=1024", Body: &payload{bytes: kib, size: 1024}}
	postReader := post
	postReader.Body = &payload{kind: opaque, bytes: kib, size: 1024, chunked: true}
	const serial, parallel = ", one call after the other", ", from 8 goroutines"
	for _, l := range []struct {
		name, title, note string
		request           request
		goroutines        int
	}{
		{"get", "GET of 512 bytes" + serial, "", get, 1},
		{"get-parallel", "GET of 512 bytes" + parallel, "", get, 8},
		{"post", "POST of 1 KiB, given as a `[]byte`" + serial, "", post, 1},
		{"post-parallel", "POST of 1 KiB, given as a `[]byte`" + parallel, "", post, 8},
		{"", "POST of 1 KiB, given as an `io.Reader` of an unknown type and length" + serial,
			"net/http sends such a body in chunks. A `Client` of this library, and any library that reads the whole body before it sends it, sends a Content-Length.",
			postReader, 1},
	} {
		t := &table{
			title:  l.title + ", over loopback",
			note:   l.note,
			header: []string{"", "time per call", "ratio to net/http", "CPU per call", "ratio to net/http"},
		}
		var cs []contender
		var racers []racer
		for _, c := range contenders() {
			transport := newTransport()
			defer transport.CloseIdleConnections()
			client := c.New(transport, settings{Retries: 2})
			calls := make([]call, l.goroutines)
			var err error
			for i := range calls {
				if calls[i], err = client.Prepare(l.request); err != nil {
					break
				}
			}
			if errors.Is(err, errUnsupported) {
				continue
			}
			if err != nil {
				return err
			}
			cs = append(cs, c)
			racers = append(racers, racer{c.Name(), func(n int) error { return inParallel(calls, n) }})
		}
		for i, row := range b.race(racers, pick(b, 2*b.rounds, 3), pick(b, 20*time.Millisecond, 5*time.Millisecond)) {
			if own, ok := ownName(cs[i]); ok && l.name != "" {
				b.atMost("loopback-"+l.name+"-"+own+"-time", row.ratio, 1.03, "ratio to net/http", row.err)
			}
			if row.err != nil {
				t.addFailed(racers[i].name, row.err)
				continue
			}
			t.add(racers[i].name, formatDuration(row.perOp), formatRatio(row.ratio), formatDuration(row.cpu), formatRatio(row.cpuRatio))
		}
		t.write(b.out)
	}
	return nil
}

// inParallel makes n calls, and each of calls its share of them in a goroutine.
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
