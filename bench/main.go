// Command bench measures retryablehttp beside its peers and writes the figures to
// stdout as Markdown. Run it in this directory with
//
//	go run .
//
// It starts itself a second time as the server of the network cases, on loopback,
// so that the heap and the allocations that it measures are the clients' alone.
package main

import (
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
	name string
	run  func(*bench) error
}

var cases = []benchCase{
	{"success", (*bench).success},
	{"features", (*bench).features},
	{"loopback", (*bench).loopback},
	{"retry", (*bench).retry},
	{"upload", (*bench).upload},
	{"download", (*bench).download},
	{"pool", (*bench).pool},
	{"early503", (*bench).early503},
	{"drip", (*bench).drip},
	{"retryafter", (*bench).retryAfter},
}

func main() {
	if isServer() {
		serve()
		return
	}
	var (
		pattern = flag.String("case", "", "run only the cases whose name matches this `regexp`")
		rounds  = flag.Int("rounds", 40, "how many rounds the cases over loopback run; those without a network run more, slow ones fewer")
		quick   = flag.Bool("quick", false, "a small run that shows that everything works; its timings say little")
		seed    = flag.Uint64("seed", 1, "draws the order within the rounds")
	)
	flag.Parse()
	if _, err := run(os.Stdout, *pattern, *rounds, *quick, *seed); err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
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
	fmt.Fprintf(out, "# retryablehttp beside its peers\n\n%s %s/%s, %d CPUs, %d rounds, seed %d",
		runtime.Version(), runtime.GOOS, runtime.GOARCH, runtime.NumCPU(), b.rounds, seed)
	if quick {
		fmt.Fprint(out, ", quick: the timings say little")
	}
	fmt.Fprint(out, "\n\n")
	for _, c := range cases {
		if !chosen.MatchString(c.name) {
			continue
		}
		start := time.Now()
		fmt.Fprintf(out, "## %s\n\n", c.name)
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
