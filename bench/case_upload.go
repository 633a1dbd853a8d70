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

// upload measures a large upload that has to be sent twice: the server reads all of it
// before its 503, and again before its 200.
func (b *bench) upload() error {
	mib := pick(b, int64(256), 8)
	path, _, err := b.randomFile("upload", mib<<20)
	if err != nil {
		return err
	}
	// Rows of one kind of body run close to each other, because they are compared with
	// the first of them.
	var groups [][]*uploadRow
	for g, k := range []kind{file, withGetBody, opaque} {
		groups = append(groups, nil)
		for _, c := range retriers() {
			sent := k
			if _, isLoop := c.(loop); isLoop && k == opaque {
				sent = withGetBody // it cannot send an opaque body again
			}
			transport := newTransport()
			defer transport.CloseIdleConnections()
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
		note: "File: an `*os.File`, given to `http.NewRequest` or to the library's own function. The hand-written loop opens the file for each attempt and gives `net/http` the `*os.File`, which it sends by sendfile. " +
			"With GetBody: a reader of an unknown type that can be opened again. Opaque: such a reader that can be read only once. " +
			"The loop cannot send an opaque body again, so the rows with opaque bodies are compared with a loop that has a GetBody. " +
			"In this library ReplayMax is set to the size of the file; the others keep all of an opaque body without being asked.\n\n" +
			"Throughput counts both attempts, and so does the CPU time of the client's process. The extra heap is the highest of all rounds, garbage included.",
		header: []string{"", "body given as", "throughput", "ratio to the loop", "CPU per GiB", "peak extra heap"},
	}
	for _, r := range slices.Concat(groups...) {
		heap := float64(r.heap) / (1 << 20)
		if r.err != nil {
			t.add(r.Name(), r.sent, "failed: "+oneLine(r.err), "", "", fmt.Sprintf("%.2f MiB", heap))
		} else {
			t.add(r.Name(), r.sent, fmt.Sprintf("%.0f MiB/s", float64(2*mib)/median(r.took)), formatRatio(median(r.ratio)),
				formatCPU(median(r.cpu), 2*mib), fmt.Sprintf("%.2f MiB", heap))
		}
		if own, ok := ownName(r.contender); ok && r.kind != opaque {
			name := "upload-" + map[kind]string{file: "file-", withGetBody: "getbody-"}[r.kind] + own
			b.atLeast(name+"-throughput", median(r.ratio), 0.95, "ratio to the loop", r.err)
			b.atMost(name+"-heap", heap, 1, "MiB", r.err)
		}
	}
	t.write(b.out)
	return nil
}

// formatCPU returns the CPU time per GiB of something that has handled a number of MiB.
func formatCPU(seconds float64, mib int64) string {
	return fmt.Sprintf("%.2f s", seconds*1024/float64(mib))
}

// uploadRow is one contender with one kind of body.
type uploadRow struct {
	contender
	kind, sent kind
	call       call

	took, cpu, ratio []float64 // for each round, in seconds
	heap             int64     // the highest of all rounds
	err              error
}

// uploadRound runs each row once and compares it with the first.
func (b *bench) uploadRound(rows []*uploadRow, count bool) {
	used := make([]usage, len(rows))
	for _, i := range b.rand.Perm(len(rows)) {
		if r := rows[i]; r.err == nil {
			used[i], r.err = measure(func() error { return finish(r.call) })
		}
	}
	for i, r := range rows {
		if !count {
			continue
		}
		r.heap = max(r.heap, used[i].heap)
		if r.err == nil && rows[0].err == nil {
			r.took = append(r.took, used[i].took.Seconds())
			r.cpu = append(r.cpu, used[i].cpu.Seconds())
			r.ratio = append(r.ratio, used[0].took.Seconds()/used[i].took.Seconds())
		}
	}
}

// randomFile makes a file whose parts all differ from each other, and returns its
// checksum. It seems to be an hour old: this library does not use sendfile for a file that
// may still be growing.
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
	if _, crc, err = receive(f, true); err != nil {
		return "", 0, err
	}
	hourAgo := time.Now().Add(-time.Hour)
	return path, crc, os.Chtimes(path, hourAgo, hourAgo)
}
