package main

import (
	"bufio"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"time"
)

// upload measures a large upload that has to be sent twice: the server reads it
// whole before its 503, and reads it whole again before its 200.
func (b *bench) upload() error {
	mib := pick(b, int64(256), 8)
	path, _, err := b.randomFile("upload", mib<<20)
	if err != nil {
		return err
	}
	// A round is run for each group, so that those that are compared with the same
	// row run close to each other.
	groups := [][]*uploadRow{{}, {}, {}}
	groupOf := map[kind]int{file: 0, section: 0, withGetBody: 1, opaque: 2}
	for _, k := range []kind{file, section, withGetBody, opaque} {
		for _, c := range retriers() {
			_, isLoop := c.(loop)
			if k == section && !isLoop {
				continue // for comparison only
			}
			sent := k
			if k == opaque && isLoop {
				sent = withGetBody // without, it cannot retry; the others are to be compared with something
			}
			transport := newTransport()
			defer transport.CloseIdleConnections()
			g := groupOf[k]
			call, err := c.New(transport, settings{Retries: 2, Keep: mib << 20}).Prepare(request{
				Method: http.MethodPut,
				URL:    fmt.Sprintf("%s/upload/upload-%d-%d?size=%d", b.server.Data, g, len(groups[g]), mib<<20),
				Body:   &payload{kind: sent, path: path, size: mib << 20},
			})
			if errors.Is(err, errUnsupported) {
				continue
			}
			if err != nil {
				return err
			}
			groups[g] = append(groups[g], &uploadRow{contender: c, kind: k, sent: sent, call: call})
		}
	}
	rounds := pick(b, max(b.rounds*3/10, 1), 1)
	for round := range rounds + 1 { // the first makes connections and is not counted
		for _, rows := range groups {
			b.uploadRound(rows, round > 0)
		}
	}
	t := &table{
		title: fmt.Sprintf("Upload of a file of %d MiB, sent twice: 503 after the whole body, then 200, over loopback", mib),
		note: "Throughput is that of both sendings. The ratio is to the hand-written loop with the same kind of body; beside opaque bodies, which it could not send again, it sends one with GetBody; this library is set to keep all of them (ReplayMax), as the others do without being asked. " +
			"Heap is the highest rise during a call, garbage included, over the rounds.",
		header: []string{"", "body given as", "throughput", "ratio to the loop", "peak extra heap"},
	}
	for _, r := range slices.Concat(groups...) {
		if r.err != nil {
			t.add(r.Name(), r.sent, "failed: "+oneLine(r.err), "", fmt.Sprintf("%.2f MiB", float64(r.heap)/(1<<20)))
		} else {
			t.add(r.Name(), r.sent, fmt.Sprintf("%.0f MiB/s", float64(2*mib)/median(r.took)),
				fmt.Sprintf("%.3f", median(r.ratio)), fmt.Sprintf("%.2f MiB", float64(r.heap)/(1<<20)))
		}
	}
	t.write(b.out)
	for _, r := range slices.Concat(groups...) {
		heap := float64(r.heap) / (1 << 20)
		switch {
		case r.contender == ours{} && r.kind == file:
			b.atLeast("upload-file-client-throughput", median(r.ratio), 0.9, "ratio to the loop", r.err)
			b.atMost("upload-file-client-heap", heap, 1, "MiB", r.err)
		case r.contender == oursRoundTripper{} && r.kind == file:
			b.atLeast("upload-file-roundtripper-throughput", median(r.ratio), 0.9, "ratio to the loop", r.err)
			b.atMost("upload-file-roundtripper-heap", heap, 1, "MiB", r.err)
		case r.contender == oursRoundTripper{} && r.kind == withGetBody:
			b.atLeast("upload-getbody-roundtripper-throughput", median(r.ratio), 0.95, "ratio to the loop", r.err)
			b.atMost("upload-getbody-roundtripper-heap", heap, 1, "MiB", r.err)
		}
	}
	return nil
}

// uploadRow is one contender with one kind of body.
type uploadRow struct {
	contender
	kind, sent kind
	call       call

	took, ratio []float64 // for each round
	heap        int64     // the highest of all rounds
	err         error
}

// uploadRound runs each row once and compares it with the first.
func (b *bench) uploadRound(rows []*uploadRow, count bool) {
	took := make([]float64, len(rows))
	for _, i := range b.rand.Perm(len(rows)) {
		r := rows[i]
		if r.err != nil {
			continue
		}
		var d time.Duration
		var heap int64
		d, heap, r.err = measureHeap(func() error { return finish(r.call) })
		took[i] = d.Seconds()
		if count {
			r.heap = max(r.heap, heap)
		}
	}
	for i, r := range rows {
		if count && r.err == nil && rows[0].err == nil {
			r.took = append(r.took, took[i])
			r.ratio = append(r.ratio, took[0]/took[i])
		}
	}
}

// randomFile makes a file whose every part differs from every other, and tells its
// checksum.
func (b *bench) randomFile(name string, size int64) (path string, crc uint32, err error) {
	path = filepath.Join(b.dir, name)
	f, err := os.Create(path)
	if err != nil {
		return "", 0, err
	}
	defer f.Close()
	source := rand.NewChaCha8([32]byte{1})
	w := bufio.NewWriterSize(f, 1<<20)
	buf := make([]byte, 64<<10)
	for left := size; left > 0; left -= int64(len(buf)) {
		source.Read(buf)
		if _, err := w.Write(buf); err != nil {
			return "", 0, err
		}
	}
	if err := w.Flush(); err != nil {
		return "", 0, err
	}
	if _, err := f.Seek(0, 0); err != nil {
		return "", 0, err
	}
	_, crc, err = receive(f, true)
	return path, crc, err
}
