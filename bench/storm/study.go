package main

import (
	"cmp"
	"fmt"
	"io"
	"slices"
	"time"
)

// A study is what one run of this program measures.
type study struct {
	seed      uint64 // of the first run; the next have the next seeds
	runs      int    // of each scenario with each library
	scenarios []*scenario
	libraries []*library
	results   map[experiment][]*result
}

// An experiment is a scenario with a library, by their names.
type experiment struct{ scenario, library string }

// newStudy chooses by name. An empty name means all.
func newStudy(scenarioName, libraryName string, seed uint64, runs int) (*study, error) {
	st := &study{seed: seed, runs: max(1, runs), results: make(map[experiment][]*result)}
	for _, s := range scenarios() {
		if cmp.Or(scenarioName, s.name) == s.name {
			st.scenarios = append(st.scenarios, s)
		}
	}
	if len(st.scenarios) == 0 {
		return nil, fmt.Errorf("no scenario %q; there are %s", scenarioName, names(scenarios(), func(s *scenario) string { return s.name }))
	}
	for _, l := range libraries {
		if cmp.Or(libraryName, l.name) == l.name {
			st.libraries = append(st.libraries, l)
		}
	}
	if len(st.libraries) == 0 {
		return nil, fmt.Errorf("no library %q; there are %s", libraryName, names(libraries, func(l *library) string { return l.name }))
	}
	if !slices.ContainsFunc(st.scenarios, func(s *scenario) bool { return len(st.contenders(s)) > 0 }) {
		return nil, fmt.Errorf("library %q takes no part in the chosen scenarios", libraryName)
	}
	return st, nil
}

// contenders returns the chosen libraries that take part in a scenario.
func (st *study) contenders(s *scenario) []*library {
	var chosen []*library
	for _, l := range st.libraries {
		if slices.Contains(s.libraries, l.name) {
			chosen = append(chosen, l)
		}
	}
	return chosen
}

// measure runs everything, and writes to progress how long it took.
func (st *study) measure(progress io.Writer) error {
	for _, s := range st.scenarios {
		begin := time.Now()
		for _, l := range st.contenders(s) {
			for i := range st.runsOf(s) {
				r, err := runInBubble(s, l, st.seed+uint64(i))
				if err != nil {
					return fmt.Errorf("scenario %s with %s: %w", s.name, l.name, err)
				}
				e := experiment{s.name, l.name}
				st.results[e] = append(st.results[e], r)
			}
		}
		fmt.Fprintf(progress, "%-16s %s\n", s.name, time.Since(begin).Round(100*time.Millisecond))
	}
	return nil
}

// runsOf returns how often a scenario runs with each library. With many callers, chance
// has little effect and a run takes long.
func (st *study) runsOf(s *scenario) int {
	if s.growth {
		return 1
	}
	return st.runs
}

// values returns a metric of each run of an experiment, nil if there was none.
func (st *study) values(e experiment, m metric) []float64 {
	var v []float64
	for _, r := range st.results[e] {
		v = append(v, m.of(r))
	}
	return v
}

// names joins the names of some things for an error.
func names[T any](all []T, name func(T) string) string {
	var text string
	for i, v := range all {
		if i > 0 {
			text += ", "
		}
		text += name(v)
	}
	return text
}
