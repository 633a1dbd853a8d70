package main

import (
	"fmt"
	"math"
	"slices"
	"sync"
	"time"
)

// binWidth is the resolution in time of everything that is counted.
const binWidth = 100 * time.Millisecond

// A bin counts what happened in one binWidth.
type bin struct {
	calls     int // begun
	attempts  int // sent
	answers   int // 200 that reached the client
	refusals  int // 503 that reached the client
	errors    int // attempts that ended without a response
	succeeded int // calls that ended with a 200
	failed    int // calls that ended otherwise
}

// A callRecord is one call, from its beginning to its end.
type callRecord struct {
	begin, end time.Duration
	ok         bool
}

// A meter counts. It may be used by any number of goroutines.
type meter struct {
	mu    sync.Mutex
	bins  []bin
	calls []callRecord
	sent  int // by the library, before a transport below it may send more
}

// at returns the bin of a time. The caller holds mu.
func (m *meter) at(t time.Duration) *bin {
	i := int(t / binWidth)
	for len(m.bins) <= i {
		m.bins = append(m.bins, bin{})
	}
	return &m.bins[i]
}

func (m *meter) attemptBegun(now time.Duration) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.at(now).attempts++
}

func (m *meter) attemptEnded(now time.Duration, o outcome) {
	m.mu.Lock()
	defer m.mu.Unlock()
	switch b := m.at(now); o {
	case answered:
		b.answers++
	case refused:
		b.refusals++
	default:
		b.errors++
	}
}

func (m *meter) callBegun(now time.Duration) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.at(now).calls++
}

func (m *meter) callEnded(c callRecord) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.calls = append(m.calls, c)
	if end := m.at(c.end); c.ok {
		end.succeeded++
	} else {
		end.failed++
	}
}

// sentBy counts an attempt of the library.
func (m *meter) sentBy() {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.sent++
}

// A result is what was measured in one run of a scenario.
type result struct {
	scenario *scenario
	bins     []bin
	calls    []callRecord
	sent     int
}

// check returns an error if something was lost: every call must have ended, and every attempt
// must have ended in one of three ways.
func (r *result) check() error {
	var sum bin
	for _, b := range r.bins {
		sum.calls += b.calls
		sum.attempts += b.attempts
		sum.answers += b.answers
		sum.refusals += b.refusals
		sum.errors += b.errors
		sum.succeeded += b.succeeded
		sum.failed += b.failed
	}
	if ended := sum.answers + sum.refusals + sum.errors; sum.attempts != ended {
		return fmt.Errorf("%d attempts began and %d ended", sum.attempts, ended)
	}
	if ended := sum.succeeded + sum.failed; sum.calls != ended {
		return fmt.Errorf("%d calls began and %d ended", sum.calls, ended)
	}
	return nil
}

// sum adds up one count of the bins that begin in [from, to).
func (r *result) sum(from, to time.Duration, count func(bin) int) int {
	n := 0
	for i := int(from / binWidth); i < int(to/binWidth) && i < len(r.bins); i++ {
		n += count(r.bins[i])
	}
	return n
}

// perSecond is sum as a rate, for one copy of the scenario.
func (r *result) perSecond(from, to time.Duration, count func(bin) int) float64 {
	return float64(r.sum(from, to, count)) / (to - from).Seconds() / float64(max(1, r.scenario.copies))
}

// attempts returns the number of all attempts.
func (r *result) attempts() int { return r.sum(0, math.MaxInt64, binAttempts) }

func binAttempts(b bin) int  { return b.attempts }
func binSucceeded(b bin) int { return b.succeeded }

// peak returns the most attempts per second of any window of this width.
func (r *result) peak(window time.Duration) float64 {
	most := 0.0
	for from := time.Duration(0); from+window <= r.scenario.run; from += binWidth {
		most = max(most, r.perSecond(from, from+window, binAttempts))
	}
	return most
}

// goodput returns the calls per second that succeeded, by the time of their end, in [from, to).
func (r *result) goodput(from, to time.Duration) float64 {
	return r.perSecond(from, to, binSucceeded)
}

// success returns the share of the calls begun in [from, to) that succeeded, however long
// they took. It is 1 if there are none.
func (r *result) success(from, to time.Duration) float64 {
	begun, ok := 0, 0
	for _, c := range r.calls {
		if from <= c.begin && c.begin < to {
			begun++
			if c.ok {
				ok++
			}
		}
	}
	if begun == 0 {
		return 1
	}
	return float64(ok) / float64(begun)
}

// failures returns the number of the measured calls that failed.
func (r *result) failures() int {
	n := 0
	for _, c := range r.calls {
		if c.begin < r.scenario.run && !c.ok {
			n++
		}
	}
	return n
}

// never is the time of what does not happen.
const never = time.Duration(math.MaxInt64)

// recovery returns how long after the end of the fault the success rate is back: from then
// to the end of the run at least 99 % of the calls begun in any second succeed.
func (r *result) recovery() time.Duration {
	back := never
	for from := r.scenario.run - time.Second; from >= r.scenario.to; from -= binWidth {
		if r.success(from, from+time.Second) < 0.99 {
			break
		}
		back = from - r.scenario.to
	}
	return back
}

// latency returns how long the calls took that began in [from, to) and succeeded: the share
// p of them at most that long. It is 0 if there are none.
func (r *result) latency(from, to time.Duration, p float64) time.Duration {
	var took []time.Duration
	for _, c := range r.calls {
		if c.ok && from <= c.begin && c.begin < to {
			took = append(took, c.end-c.begin)
		}
	}
	if len(took) == 0 {
		return 0
	}
	slices.Sort(took)
	return took[max(0, int(math.Ceil(p*float64(len(took))))-1)]
}
