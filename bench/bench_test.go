package main

import (
	"bytes"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// The test binary is its own server, as the command is.
func TestMain(m *testing.M) {
	if isServer() {
		serve()
		return
	}
	os.Exit(m.Run())
}

// missedGoals are explained in docs/benchmarks.md, "Goals that are missed".
var missedGoals = []string{"pipeline-get-allocs", "pipeline-get-stream-allocs", "pipeline-post-allocs", "pipeline-post-stream-allocs"}

// What can be counted must come out exactly, in the smallest run too. Timings are for the
// full run to judge.
func TestCountedGoalsAreMet(t *testing.T) {
	var out bytes.Buffer
	goals, err := run(&out, "^(success|features|pipeline|retry|pool|retryafter)$", 1, true, 1)
	if err != nil {
		t.Fatal(err)
	}
	counted := 0
	for _, g := range goals {
		if strings.HasSuffix(g.name, "-time") {
			if g.err != nil {
				t.Errorf("%s: %v", g.name, g.err)
			}
			continue
		}
		counted++
		if g.met() == slices.Contains(missedGoals, g.name) {
			t.Errorf("%s: %g %s, limit %g, error %v", g.name, g.figure, g.unit, g.limit, g.err)
		}
	}
	if counted == 0 {
		t.Error("nothing was counted")
	}
	if t.Failed() {
		t.Log(out.String())
	}
}

func TestTablesAreWrittenBetweenTheMarkers(t *testing.T) {
	path := filepath.Join(t.TempDir(), "benchmarks.md")
	for _, tables := range []string{"first\n", "second\n"} {
		p, err := readPage(path)
		if err != nil {
			t.Fatal(err)
		}
		if err := p.write(tables); err != nil {
			t.Fatal(err)
		}
		want := strings.Replace(newPage, beginTable, beginTable+tables, 1)
		if got, err := os.ReadFile(path); err != nil || string(got) != want {
			t.Errorf("after writing %q: %q, error %v", tables, got, err)
		}
	}
	if err := os.WriteFile(path, []byte("no markers"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := readPage(path); err == nil {
		t.Error("a page without markers was accepted")
	}
}

func TestMedian(t *testing.T) {
	for _, test := range []struct {
		of   []float64
		want float64
	}{
		{nil, 0},
		{[]float64{3}, 3},
		{[]float64{4, 1}, 2.5},
		{[]float64{9, 1, 2}, 2},
	} {
		if got := median(test.of); got != test.want {
			t.Errorf("median(%v) = %v, want %v", test.of, got, test.want)
		}
	}
}
