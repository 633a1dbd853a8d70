package main

import (
	"fmt"
	"math"
	"slices"
)

// A goal is a limit that this library is meant to keep.
type goal struct {
	about  string
	atMost bool // otherwise at least
	limit  float64
	format func(float64) string
	// needs are the experiments that it is computed from.
	needs []experiment
	// of computes it, once for each run.
	of func(*study) []float64
}

// goal returns a goal for a metric of one experiment.
func (e experiment) goal(about string, m metric, atMost bool, limit float64) goal {
	return goal{
		about: about, atMost: atMost, limit: limit, format: m.format, needs: []experiment{e},
		of: func(st *study) []float64 { return st.values(e, m) },
	}
}

func (e experiment) atMost(about string, m metric, limit float64) goal {
	return e.goal(about, m, true, limit)
}

func (e experiment) atLeast(about string, m metric, limit float64) goal {
	return e.goal(about, m, false, limit)
}

// ratio is the goal that a metric of one experiment is at most 0.15 of another's.
func ratio(about string, m metric, of, to experiment) goal {
	return goal{
		about: about, atMost: true, limit: 0.15, format: times, needs: []experiment{of, to},
		of: func(st *study) []float64 {
			smallest := slices.Min(st.values(to, m))
			return each(st.values(of, m), func(v float64) float64 { return v / smallest })
		},
	}
}

// change is the goal that a metric of one experiment differs from another's by at most 10 %.
func change(about string, m metric, of, from experiment) goal {
	return goal{
		about: about, atMost: true, limit: 10, format: percent, needs: []experiment{of, from},
		of: func(st *study) []float64 {
			base := st.values(from, m)[0]
			return each(st.values(of, m), func(v float64) float64 { return 100 * math.Abs(v/base-1) })
		},
	}
}

// each returns f of each value.
func each(values []float64, f func(float64) float64) []float64 {
	var all []float64
	for _, v := range values {
		all = append(all, f(v))
	}
	return all
}

// goals are the rows of the table of goals.
func goals() []goal {
	var (
		outage          = experiment{"outage", "recommended"}
		brownout        = experiment{"brownout", "recommended"}
		waiting         = experiment{"brownout-closed", "recommended"}
		outageClients   = experiment{"outage-clients", "recommended"}
		brownoutClients = experiment{"brownout-clients", "recommended"}
		failover        = experiment{"endpoint", "failover"}
		hedge           = experiment{"hedging", "hedge"}
		notHedged       = experiment{"hedging", "recommended"}
		few             = experiment{growth(growthCallers[0]).name, "recommended"}
		many            = experiment{growth(growthCallers[len(growthCallers)-1]).name, "recommended"}
	)
	return []goal{
		outage.atMost("attempts in the peak 100 ms ÷ calls", amplification, 1.5),
		outage.atLeast("goodput in the 2 s after, calls/s", goodputAfter, 400),
		outage.atMost("success rate back at 99 %", recovery, 1),
		outage.atLeast("calls begun in the outage that succeed", savedDuring, 90),
		brownout.atLeast("goodput in the 2 s after, calls/s", goodputAfter, 400),
		brownout.atLeast("calls that succeed", saved, 85),
		brownout.atLeast("calls that succeed (stretch)", saved, 95),
		brownout.atLeast("goodput during, calls/s (stretch)", goodputDuring, 200),
		waiting.atLeast("calls that succeed", saved, 99),
		waiting.atMost("attempts per call", callAttempts, 1.1),
		outageClients.atMost("attempts in the peak 200 ms ÷ calls", amplificationIn200ms, 1.5),
		outageClients.atMost("attempts in the peak second ÷ calls", amplificationPerSecond, 1.5),
		outageClients.atMost("success rate back at 99 %", recovery, 2),
		outageClients.atLeast("calls begun in the outage that succeed", savedDuring, 85),
		brownoutClients.atMost("attempts in the peak 200 ms ÷ calls", amplificationIn200ms, 1.5),
		brownoutClients.atMost("attempts in the peak second ÷ calls", amplificationPerSecond, 1.5),
		brownoutClients.atMost("success rate back at 99 %", recovery, 2),
		brownoutClients.atLeast("calls that succeed", saved, 85),
		failover.atMost("failed calls", failedCalls, 0),
		failover.atMost("p99 during, more than before", extraLatency, 1),
		failover.atMost("attempts per call of the library", sentPerCall, 1),
		ratio("p99.9 ÷ p99.9 without hedging", tailLatency, hedge, notHedged),
		hedge.atMost("extra requests", extraRequests, 2),
		change(fmt.Sprintf("peak, change from %d callers", growthCallers[0]), amplificationPerSecond, many, few),
	}
}

// met reports whether every run kept the limit.
func (g goal) met(values []float64) bool {
	if g.atMost {
		return slices.Max(values) <= g.limit
	}
	return slices.Min(values) >= g.limit
}

// row is a row of the table of goals. ok is false if the goal's scenario was not chosen.
func (g goal) row(st *study) (row []string, ok bool) {
	for _, e := range g.needs {
		if !slices.ContainsFunc(st.scenarios, func(s *scenario) bool { return s.name == e.scenario }) ||
			!slices.ContainsFunc(st.libraries, func(l *library) bool { return l.name == e.library }) {
			return nil, false
		}
	}
	sign := "at least "
	if g.atMost {
		sign = "at most "
	}
	row = []string{g.needs[0].scenario, g.about, sign + g.format(g.limit), "not measured", "not measured"}
	for _, e := range g.needs {
		if len(st.results[e]) == 0 {
			return row, true
		}
	}
	values := g.of(st)
	row[3], row[4] = span(values, g.format), "MISSED"
	if g.met(values) {
		row[4] = "met"
	}
	return row, true
}
