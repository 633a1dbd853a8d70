package main

import (
	"bytes"
	"encoding/xml"
	"errors"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// faked is a study of one scenario with one library, in which the share of calls that succeed is
// as given, one run each.
func faked(t *testing.T, scenario, library string, successes ...int) *study {
	st, err := newStudy(scenario, library, 1, 1)
	require.NoError(t, err)
	for _, n := range successes {
		r := &result{scenario: st.scenarios[0]}
		for i := range 100 {
			r.calls = append(r.calls, callRecord{begin: r.scenario.from, end: r.scenario.to, ok: i < n})
		}
		e := experiment{scenario, library}
		st.results[e] = append(st.results[e], r)
	}
	return st
}

func TestGoalIsMetIfEveryRunMeetsIt(t *testing.T) {
	goal := experiment{"outage", "recommended"}.atLeast("calls", savedDuring, 90)
	for _, test := range []struct {
		successes []int
		want      []string
	}{
		{[]int{95, 91, 90}, []string{"outage", "calls", "at least 90.0 %", "90.0 % – 95.0 %", "met"}},
		{[]int{95, 89, 95}, []string{"outage", "calls", "at least 90.0 %", "89.0 % – 95.0 %", "MISSED"}},
		{nil, []string{"outage", "calls", "at least 90.0 %", "not measured", "not measured"}},
	} {
		row, ok := goal.row(faked(t, "outage", "recommended", test.successes...))
		assert.True(t, ok)
		assert.Equal(t, test.want, row)
	}
	upper := experiment{"outage", "recommended"}.atMost("calls", savedDuring, 90)
	row, _ := upper.row(faked(t, "outage", "recommended", 89, 91))
	assert.Equal(t, []string{"outage", "calls", "at most 90.0 %", "89.0 % – 91.0 %", "MISSED"}, row)

	_, ok := goal.row(faked(t, "brownout", "recommended", 100))
	assert.False(t, ok, "another scenario was chosen")
	_, ok = goal.row(faked(t, "outage", "none", 100))
	assert.False(t, ok, "another library was chosen")
}

func TestRatioAndChange(t *testing.T) {
	st := faked(t, "outage", "recommended", 50, 55)
	e := experiment{"outage", "recommended"}
	other := experiment{"outage", "none"}
	st.results[other] = faked(t, "outage", "none", 40, 50).results[other]
	assert.InDeltaSlice(t, []float64{1.25, 1.375}, ratio("", saved, e, other).of(st), 1e-9)
	assert.InDeltaSlice(t, []float64{25, 37.5}, change("", saved, e, other).of(st), 1e-9)
	assert.InDeltaSlice(t, []float64{20, 0}, change("", saved, other, e).of(st), 1e-9)
}

// Every name that is written somewhere is the name of something.
func TestNames(t *testing.T) {
	st, err := newStudy("", "", 1, 1)
	require.NoError(t, err)
	assert.Len(t, st.scenarios, len(scenarios()))
	assert.Len(t, st.libraries, len(libraries))
	known := make(map[experiment]bool)
	for _, s := range scenarios() {
		for _, name := range s.libraries {
			find(t, name)
			known[experiment{s.name, name}] = true
			assert.Contains(t, styles, name)
		}
	}
	for _, g := range goals() {
		for _, e := range g.needs {
			assert.True(t, known[e], e)
		}
	}
}

func TestUnknownNames(t *testing.T) {
	_, err := newStudy("outages", "", 1, 1)
	assert.ErrorContains(t, err, `no scenario "outages"; there are outage, brownout,`)
	_, err = newStudy("", "curl", 1, 1)
	assert.ErrorContains(t, err, `no library "curl"; there are recommended, `)
	_, err = newStudy("outage", "failover", 1, 1)
	assert.ErrorContains(t, err, `library "failover" takes no part`)
}

// A small study writes its page, its figures and its series.
func TestPresent(t *testing.T) {
	st, err := newStudy("", "", 1, 2)
	require.NoError(t, err)
	st.scenarios = []*scenario{small(outage("outage")), small(badEndpoint()), small(growth(100)), small(growth(1000))}
	dir := t.TempDir()
	var out bytes.Buffer
	require.NoError(t, st.measure(io.Discard))
	require.NoError(t, st.write(&out, dir, true))

	page, err := os.ReadFile(filepath.Join(dir, "storm.md"))
	require.NoError(t, err)
	for _, want := range []string{
		"## Outage of 2 s",
		"](storm/outage.svg)",
		"| outage | attempts in the peak 100 ms ÷ calls | at most 1.50x |",
		"| **this library**, `NewClient()` |",
		"| callers | 20 | 20 |", // small has made them equal
	} {
		assert.True(t, strings.Contains(string(page), want), want)
		assert.True(t, strings.Contains(out.String(), want), want)
	}
	assert.True(t, strings.Contains(out.String(), "\n   1.1         5         5         0         5         0         0         0\n"), "series")
	assert.False(t, strings.Contains(string(page), "   1.1  "), "series")
	assert.Equal(t, 1, strings.Count(string(page), "## From 100 to 100,000 callers"))
	for name := range strings.SplitSeq("outage endpoint", " ") {
		svg, err := os.ReadFile(filepath.Join(dir, "storm", name+".svg"))
		require.NoError(t, err)
		assert.Less(t, len(svg), 60_000)
		wellFormed(t, svg)
		assert.True(t, strings.Contains(string(svg), "hashicorp/go-retryablehttp"), "legend")
	}
	entries, err := os.ReadDir(filepath.Join(dir, "storm"))
	require.NoError(t, err)
	assert.Len(t, entries, 2)

	assert.Len(t, st.results[experiment{"outage", "none"}], 2)
	assert.Len(t, st.results[experiment{"growth-100", "none"}], 1)
	assert.True(t, slices.Contains(st.contenders(badEndpoint()), find(t, "failover")))

	out.Reset()
	require.NoError(t, st.write(&out, "", false))
	assert.True(t, strings.Contains(out.String(), "## Outage of 2 s"), "printed only")
	assert.False(t, strings.Contains(out.String(), "]("), "figures")
}

func wellFormed(t *testing.T, svg []byte) {
	d := xml.NewDecoder(bytes.NewReader(svg))
	for {
		_, err := d.Token()
		if errors.Is(err, io.EOF) {
			return
		}
		require.NoError(t, err)
	}
}

func TestTablesAreWrittenBetweenTheMarkers(t *testing.T) {
	path := filepath.Join(t.TempDir(), "storm.md")
	for _, tables := range []string{"first\n", "second\n"} {
		require.NoError(t, writePage(path, tables))
		got, err := os.ReadFile(path)
		require.NoError(t, err)
		assert.Equal(t, strings.Replace(newPage, beginTables, beginTables+tables, 1), string(got))
	}
	require.NoError(t, os.WriteFile(path, []byte("no markers"), 0o600))
	assert.Error(t, writePage(path, "third\n"))
}

func TestFormats(t *testing.T) {
	assert.Equal(t, "never", seconds(never.Seconds()))
	assert.Equal(t, "12 ms", milliseconds(12.3))
	assert.Equal(t, "0 ms", milliseconds(-0.3))
	assert.Equal(t, "1.2 s", milliseconds(1234))
	assert.Equal(t, "1.5 s", seconds((1500 * time.Millisecond).Seconds()))
	assert.Equal(t, "1.00x – 1.26x", span([]float64{1, 1.26, 1.1}, times))
	assert.Equal(t, "1.00x", span([]float64{1, 1.001}, times))
}
