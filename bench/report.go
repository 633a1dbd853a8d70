package main

import (
	"fmt"
	"io"
	"strings"
)

// table is written as Markdown.
type table struct {
	title  string
	note   string
	header []string
	rows   [][]string
}

func (t *table) add(cells ...any) {
	row := make([]string, len(cells))
	for i, c := range cells {
		row[i] = fmt.Sprint(c)
	}
	t.rows = append(t.rows, row)
}

// addFailed adds the row of a contender that failed.
func (t *table) addFailed(name string, err error) {
	row := make([]string, len(t.header))
	row[0], row[1] = name, "failed: "+oneLine(err)
	t.rows = append(t.rows, row)
}

func oneLine(err error) string {
	s := strings.NewReplacer("\n", " ", "|", "/").Replace(err.Error())
	if len(s) > 120 {
		s = s[:120] + "…"
	}
	return s
}

func (t *table) write(w io.Writer) {
	if t.title != "" {
		fmt.Fprintf(w, "### %s\n\n", t.title)
	}
	if t.note != "" {
		fmt.Fprintf(w, "%s\n\n", t.note)
	}
	fmt.Fprintf(w, "| %s |\n|---|%s\n", strings.Join(t.header, " | "), strings.Repeat("---:|", len(t.header)-1))
	for _, row := range t.rows {
		fmt.Fprintf(w, "| %s |\n", strings.Join(row, " | "))
	}
	fmt.Fprintln(w)
}

// A goal is a limit that this library should meet.
type goal struct {
	name   string
	figure float64
	limit  float64
	atMost bool // otherwise at least
	unit   string
	err    error // it could not be measured
}

func (g goal) met() bool {
	if g.err != nil {
		return false
	}
	if g.atMost {
		return g.figure <= g.limit
	}
	return g.figure >= g.limit
}

func (b *bench) atMost(name string, figure, limit float64, unit string, err error) {
	b.goals = append(b.goals, goal{name, figure, limit, true, unit, err})
}

func (b *bench) atLeast(name string, figure, limit float64, unit string, err error) {
	b.goals = append(b.goals, goal{name, figure, limit, false, unit, err})
}

// writeGoals writes one row for each goal.
func (b *bench) writeGoals() {
	t := &table{
		note:   "What this library is meant to reach, and what it reached in this run. The first word of a name is the case.",
		header: []string{"goal", "limit", "measured", "unit", "result"},
	}
	for _, g := range b.goals {
		sign, result := "at least", "missed"
		if g.atMost {
			sign = "at most"
		}
		if g.met() {
			result = "met"
		}
		figure := fmt.Sprintf("%.4g", g.figure)
		if g.err != nil {
			figure = "failed: " + oneLine(g.err)
		}
		t.add(g.name, fmt.Sprintf("%s %g", sign, g.limit), figure, g.unit, result)
	}
	fmt.Fprint(b.out, "## Goals\n\n")
	t.write(b.out)
}
