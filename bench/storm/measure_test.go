package main

import (
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
)

// tenSeconds is a run of 10 s with 100 calls/s that take 1 to 100 ms. A call fails if fails
// says so for the time of its beginning.
func tenSeconds(fails func(time.Duration) bool) *result {
	m := &meter{}
	for i := range 1000 {
		begin := time.Duration(i) * 10 * time.Millisecond
		m.attemptBegun(begin)
		m.callBegun(begin)
		end := begin + time.Duration(i%100+1)*time.Millisecond
		ok := !fails(begin)
		if ok {
			m.attemptEnded(end, answered)
		} else {
			m.attemptEnded(end, refused)
		}
		m.callEnded(callRecord{begin, end, ok})
	}
	return &result{
		scenario: &scenario{rate: 100, from: 2 * time.Second, to: 4 * time.Second, run: 10 * time.Second},
		bins:     m.bins, calls: m.calls,
	}
}

func between(from, to time.Duration) func(time.Duration) bool {
	return func(t time.Duration) bool { return from <= t && t < to }
}

func TestMeasures(t *testing.T) {
	r := tenSeconds(between(2*time.Second, 3*time.Second))
	assert.NoError(t, r.check())
	assert.Equal(t, 1000, r.attempts())
	assert.Equal(t, 900, r.sum(0, time.Hour, func(b bin) int { return b.answers }))
	assert.Equal(t, 100, r.sum(0, time.Hour, func(b bin) int { return b.refusals }))
	assert.Equal(t, 100, r.failures())
	assert.Equal(t, 0.9, r.success(0, r.scenario.run))
	assert.Equal(t, 0.5, r.success(r.scenario.from, r.scenario.to))
	assert.Equal(t, 1.0, r.success(time.Hour, 2*time.Hour))
	assert.InDelta(t, 50, r.goodput(r.scenario.from, r.scenario.to), 5)
	assert.Equal(t, 100.0, r.peak(time.Second))
	assert.Equal(t, 100.0, r.peak(binWidth))
	assert.Zero(t, r.latency(2*time.Second, 3*time.Second, 0.5), "no call succeeded")

	r.calls = append(r.calls, callRecord{begin: r.scenario.run, end: r.scenario.run})
	assert.Equal(t, 100, r.failures(), "later calls are not measured")
}

func TestLatency(t *testing.T) {
	r := &result{calls: []callRecord{
		{0, 4, true}, {0, 1, true}, {0, 100, false}, {1, 3, true}, {1, 4, true}, {9, 100, true},
	}}
	for p, want := range map[float64]time.Duration{0: 1, 0.25: 1, 0.26: 2, 0.5: 2, 0.75: 3, 0.76: 4, 1: 4} {
		assert.Equal(t, want, r.latency(0, 9, p), p)
	}
	assert.Equal(t, time.Duration(3), r.latency(1, 9, 1))
}

func TestPeakIsThatOfTheWindowWithTheMost(t *testing.T) {
	m := &meter{}
	for i := range 30 {
		m.attemptBegun(time.Duration(i) * 10 * time.Millisecond) // 3 bins of 10
	}
	for range 40 {
		m.attemptBegun(1500 * time.Millisecond)
	}
	for range 1000 {
		m.attemptBegun(time.Minute) // after the run
	}
	r := result{scenario: &scenario{run: 3 * time.Second}, bins: m.bins}
	assert.Equal(t, 400.0, r.peak(binWidth))
	assert.Equal(t, 40.0, r.peak(time.Second))
}

func TestRecovery(t *testing.T) {
	for _, test := range []struct {
		name  string
		fails func(time.Duration) bool
		want  time.Duration
	}{
		{"nothing fails", between(0, 0), 0},
		{"nothing fails after the fault", between(2*time.Second, 4*time.Second), 0},
		{"calls fail for 1.5 s more", between(2*time.Second, 5500*time.Millisecond), 1500 * time.Millisecond},
		{"and again in between", func(t time.Duration) bool {
			return between(2*time.Second, 4*time.Second)(t) || between(7*time.Second, 7200*time.Millisecond)(t)
		}, 3200 * time.Millisecond},
		{"1 of 100 fails", func(t time.Duration) bool { return t%time.Second == 0 }, 0},
		{"2 of 100 fail", func(t time.Duration) bool { return t%(500*time.Millisecond) == 0 }, never},
		{"the last calls fail", between(9900*time.Millisecond, 10*time.Second), never},
	} {
		t.Run(test.name, func(t *testing.T) {
			assert.Equal(t, test.want, tenSeconds(test.fails).recovery())
		})
	}
}

func TestCheckFindsWhatIsLost(t *testing.T) {
	m := &meter{}
	m.attemptBegun(0)
	assert.EqualError(t, (&result{bins: m.bins}).check(), "1 attempts began and 0 ended")
	m.attemptEnded(time.Second, silent)
	assert.NoError(t, (&result{bins: m.bins}).check())
	m.callBegun(0)
	assert.EqualError(t, (&result{bins: m.bins}).check(), "1 calls began and 0 ended")
	m.callEnded(callRecord{0, time.Second, false})
	assert.NoError(t, (&result{bins: m.bins}).check())
}
