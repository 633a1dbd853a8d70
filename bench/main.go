// Command bench measures retryablehttp beside other libraries and prints tables in
// Markdown. Run it in this directory with
//
//	go run .
//
// That writes the tables into docs/benchmarks.md as well. With -case or -quick they are
// only printed.
//
// It starts itself a second time as the server of the network cases, on loopback,
// so that the heap, the allocations and the CPU time that it measures are the clients' alone.
package main

import (
	"bytes"
	"flag"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"regexp"
	"runtime"
	"time"
)

// A bench is one run.
type bench struct {
	out    io.Writer
	rounds int
	quick  bool
	rand   *rand.Rand
	server *serverProcess
	dir    string // for files to upload
	goals  []goal
}

// A benchCase measures one thing and writes its tables. To add one, write a file
// with such a function, and list it in cases.
type benchCase struct {
	name, title string
	run         func(*bench) error
}

var cases = []benchCase{
	{"success", "Success at the first attempt, without a network", (*bench).success},
	{"features", "Optional features", (*bench).features},
	{"pipeline", "Pipelines of policies", (*bench).pipelines},
	{"loopback", "Success at the first attempt, over loopback", (*bench).loopback},
	{"retry", "Retries", (*bench).retry},
	{"upload", "Uploads that are retried", (*bench).upload},
	{"download", "Downloads", (*bench).download},
	{"pool", "Connections kept while other calls fail", (*bench).pool},
	{"early503", "503 in the middle of an upload", (*bench).early503},
	{"drip", "Slow body of a 503", (*bench).drip},
	{"retryafter", "Retry-After that is too long", (*bench).retryAfter},
}

func main() {
	if isServer() {
		serve()
		return
	}
	var (
		pattern = flag.String("case", "", "run only the cases whose name matches this `regexp`, and do not write docs/benchmarks.md")
		rounds  = flag.Int("rounds", 40, "how many rounds to run; fast cases run a multiple of it, slow ones a fraction")
		quick   = flag.Bool("quick", false, "a small run that shows that everything works; its timings say little, so docs/benchmarks.md is not written")
		seed    = flag.Uint64("seed", 1, "draws the order within the rounds")
	)
	flag.Parse()
	var err error
	if *pattern != "" || *quick {
		_, err = run(os.Stdout, *pattern, *rounds, *quick, *seed)
	} else {
		err = runAndWrite(*rounds, *seed)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
}

// runAndWrite runs all cases and writes their tables into docs/benchmarks.md.
func runAndWrite(rounds int, seed uint64) error {
	p, err := readPage(pagePath) // before anything is measured, in case it cannot be written
	if err != nil {
		return err
	}
	var tables bytes.Buffer
	if _, err := run(io.MultiWriter(os.Stdout, &tables), "", rounds, false, seed); err != nil {
		return err
	}
	return p.write(tables.String())
}

// run runs the cases and returns the goals with what was measured.
func run(out io.Writer, pattern string, rounds int, quick bool, seed uint64) ([]goal, error) {
	chosen, err := regexp.Compile(pattern)
	if err != nil {
		return nil, err
	}
	dir, err := os.MkdirTemp("", "bench")
	if err != nil {
		return nil, err
	}
	defer os.RemoveAll(dir)
	server, err := startServer()
	if err != nil {
		return nil, err
	}
	defer server.stop()
	if quick {
		rounds = min(rounds, 3)
	}
	b := &bench{
		out:    out,
		rounds: max(rounds, 1),
		quick:  quick,
		rand:   rand.New(rand.NewPCG(seed, 0)),
		server: server,
		dir:    dir,
	}
	fmt.Fprintf(out, "Measured on %s with %s on %s/%s, %d CPUs, %d rounds, seed %d.\n\n",
		time.Now().Format(time.DateOnly), runtime.Version(), runtime.GOOS, runtime.GOARCH, runtime.NumCPU(), b.rounds, seed)
	if quick {
		fmt.Fprint(out, "This was a quick run; its timings say little.\n\n")
	}
	for _, c := range cases {
		if !chosen.MatchString(c.name) {
			continue
		}
		start := time.Now()
		fmt.Fprintf(out, "## %s\n\n", c.title)
		if err := c.run(b); err != nil {
			return nil, fmt.Errorf("case %s: %w", c.name, err)
		}
		fmt.Fprintf(os.Stderr, "%-10s %s\n", c.name, time.Since(start).Round(100*time.Millisecond))
	}
	b.writeGoals()
	return b.goals, nil
}

// pick is one of two settings, for a full and for a quick run.
func pick[T any](b *bench, full, quick T) T {
	if b.quick {
		return quick
	}
	return full
}
