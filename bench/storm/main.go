//go:debug randseednop=0

// Command storm shows what retries do to a server that fails for a while or is overloaded. It
// runs the real code of this library and of others, with thousands of callers, against a
// model of a server with limited capacity. The goroutines are in a testing/synctest bubble,
// whose clock jumps to the next timer, so that only the computing takes time. Run it in the
// directory bench with
//
//	go run -tags seeded -ldflags=-checklinkname=0 ./storm
//	go run -tags seeded -ldflags=-checklinkname=0 ./storm -scenario outage -library recommended -series
//
// The first takes about 5 minutes and writes docs/storm.md and the figures in docs/storm. With
// -scenario or -library the tables are only printed. Without the tag and the flag, which let
// the program seed math/rand/v2, two runs with the same seed differ a little.
package main

import (
	"bytes"
	"flag"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"runtime"
)

func main() {
	var (
		scenario = flag.String("scenario", "", "run only the scenario with this `name`")
		library  = flag.String("library", "", "run only the library with this `name`")
		seed     = flag.Uint64("seed", 1, "of the first run; it draws the times of the calls, the latencies and what the libraries draw")
		runs     = flag.Int("runs", 5, "how often to run each scenario with each library, with as many seeds")
		out      = flag.String("out", "../docs", "the `folder` to write storm.md and storm/*.svg to; empty means nowhere")
		series   = flag.Bool("series", false, "print what was counted in each 100 ms of the first run")
	)
	flag.Parse()
	if *scenario != "" || *library != "" {
		*out = ""
	}
	if *out != "" && seedGlobalV2 == nil {
		fmt.Fprintln(os.Stderr, "storm: only a program built with -tags seeded -ldflags=-checklinkname=0 writes the page")
		os.Exit(2)
	}
	// In virtual time next to nothing happens at the same moment. More processors only add
	// to the cost, and to the ways in which goroutines that do wake together may be ordered.
	runtime.GOMAXPROCS(1)
	st, err := newStudy(*scenario, *library, *seed, *runs)
	if err == nil {
		err = st.measure(os.Stderr)
	}
	if err == nil {
		err = st.write(os.Stdout, *out, *series)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "storm:", err)
		os.Exit(1)
	}
}

// write prints what was measured, and writes the page and the figures into the folder out
// unless that is empty.
func (st *study) write(w io.Writer, out string, series bool) error {
	if series {
		st.writeSeries(w)
	}
	if out == "" {
		st.report(w, "")
		return nil
	}
	var text bytes.Buffer
	st.report(io.MultiWriter(w, &text), "storm")
	if err := st.drawFigures(filepath.Join(out, "storm")); err != nil {
		return err
	}
	return writePage(filepath.Join(out, "storm.md"), text.String())
}
