package main

import (
	"fmt"
	"io"
	"runtime"
	"slices"
	"strings"
	"time"
)

// report writes the tables in Markdown. figures is the folder of the figures as the text
// refers to it; "" leaves them out.
func (st *study) report(w io.Writer, figures string) {
	fmt.Fprintf(w, "Measured on %s with %s, seeds %d to %d.\n\n",
		time.Now().Format(time.DateOnly), runtime.Version(), st.seed, st.seed+uint64(st.runs)-1)
	st.writeGoals(w)
	grown := false
	for _, s := range st.scenarios {
		switch {
		case !s.growth:
			fmt.Fprintf(w, "## %s\n\n%s\n\n", s.title, s.about)
			if figures != "" && s.plotted {
				fmt.Fprintf(w, "![Goodput and attempts over time](%s/%s)\n\n", figures, s.figure())
			}
			st.writeScenario(w, s)
		case !grown:
			st.writeGrowth(w)
			grown = true
		}
	}
	st.writePolicies(w)
}

// writeScenario writes the table of one scenario.
func (st *study) writeScenario(w io.Writer, s *scenario) {
	t := table{header: []string{""}}
	for _, m := range s.columns {
		t.header = append(t.header, m.title)
	}
	for _, l := range st.contenders(s) {
		row := []string{l.title}
		for _, m := range s.columns {
			row = append(row, span(st.values(experiment{s.name, l.name}, m), m.format))
		}
		t.rows = append(t.rows, row)
	}
	t.write(w)
}

// writeGrowth writes one table for all numbers of callers.
func (st *study) writeGrowth(w io.Writer) {
	fmt.Fprint(w, "## From 100 to 100,000 callers\n\nAn outage of 2 s. Each caller makes 0.4 calls/s, all share one client, and the capacity "+
		"of the server grows with their number. The table shows the attempts in the second with the most of them, divided by the "+
		"calls in a second. There is one run of each. Fewer than 10,000 callers are simulated several times side by side, which "+
		"makes 10,000 in all; the table shows the average.\n\n")
	t := table{header: []string{"callers"}}
	var grown []*scenario
	for _, s := range st.scenarios {
		if s.growth {
			grown = append(grown, s)
			t.header = append(t.header, fmt.Sprint(s.callers))
		}
	}
	for _, l := range st.contenders(grown[0]) {
		row := []string{l.title}
		for _, s := range grown {
			row = append(row, span(st.values(experiment{s.name, l.name}, amplificationPerSecond), times))
		}
		t.rows = append(t.rows, row)
	}
	t.write(w)
}

// writeGoals writes a row for each goal whose scenario was chosen.
func (st *study) writeGoals(w io.Writer) {
	t := table{header: []string{"scenario", "goal", "limit", "measured", "result"}, text: true}
	for _, g := range goals() {
		if row, ok := g.row(st); ok {
			t.rows = append(t.rows, row)
		}
	}
	if len(t.rows) > 0 {
		fmt.Fprint(w, "## Goals\n\nThey are goals of this library, `Recommended()`. A goal is met if every run meets it.\n\n")
		t.write(w)
	}
}

// writePolicies writes what the libraries do.
func (st *study) writePolicies(w io.Writer) {
	fmt.Fprint(w, "## Policies\n\n")
	t := table{header: []string{"", "policy"}, text: true}
	for _, l := range st.libraries {
		t.rows = append(t.rows, []string{l.title, l.policy})
	}
	t.write(w)
}

// writeSeries writes the bins of the first run of each experiment.
func (st *study) writeSeries(w io.Writer) {
	for _, s := range st.scenarios {
		for _, l := range st.contenders(s) {
			fmt.Fprintf(w, "%s, %s\n%6s %9s %9s %9s %9s %9s %9s %9s\n", s.name, l.name,
				"s", "calls", "attempts", "answers", "refusals", "errors", "succeeded", "failed")
			for i, b := range st.results[experiment{s.name, l.name}][0].bins {
				fmt.Fprintf(w, "%6.1f %9d %9d %9d %9d %9d %9d %9d\n", float64(i)*binWidth.Seconds(),
					b.calls, b.attempts, b.answers, b.refusals, b.errors, b.succeeded, b.failed)
			}
			fmt.Fprintln(w)
		}
	}
}

// span formats the lowest and the highest value, or one if they look the same.
func span(values []float64, format func(float64) string) string {
	lowest, highest := format(slices.Min(values)), format(slices.Max(values))
	if lowest == highest {
		return lowest
	}
	return lowest + " – " + highest
}

// A table is written as Markdown.
type table struct {
	header []string
	rows   [][]string
	text   bool // otherwise all columns but the first are numbers
}

func (t *table) write(w io.Writer) {
	column := "---:|"
	if t.text {
		column = "---|"
	}
	fmt.Fprintf(w, "| %s |\n|---|%s\n", strings.Join(t.header, " | "), strings.Repeat(column, len(t.header)-1))
	for _, row := range t.rows {
		fmt.Fprintf(w, "| %s |\n", strings.Join(row, " | "))
	}
	fmt.Fprintln(w)
}
