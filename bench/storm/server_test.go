package main

import (
	"math/rand/v2"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func newServer(c condition) *server {
	s := &server{rand: rand.New(rand.NewPCG(1, 1))}
	s.change(0, c)
	return s
}

// load sends rate requests a second, evenly spaced, for a minute, and returns how many of
// each outcome there are in a second.
func load(s *server, rate int) map[outcome]float64 {
	const duration = 60
	counts := make(map[outcome]float64)
	for i := range rate * duration {
		o, _ := s.arrive(time.Duration(i) * time.Second / time.Duration(rate))
		counts[o] += 1.0 / duration
	}
	return counts
}

// A server that is busy does exactly capacity units of work: x + refusal·(a-x) = capacity.
func TestServerConservesWork(t *testing.T) {
	for _, test := range []struct {
		name                                   string
		capacity, refusal                      float64
		rate                                   int
		wantAnswers, wantRefusals, unreachable float64
	}{
		{"below its capacity", 500, 0.25, 400, 400, 0, 0},
		{"at its capacity", 500, 0.25, 500, 500, 0, 0},
		{"outage over, calls and as many retries", 500, 0.25, 800, 400, 400, 0},
		{"brownout without retries", 250, 0.5, 400, 100, 300, 0},
		{"after the brownout with a retry for each call", 500, 0.5, 800, 200, 600, 0},
		{"refusals take the whole capacity", 500, 0.5, 1000, 0, 1000, 0},
		{"refusals take more than the capacity", 500, 0.5, 1500, 0, 1000, 500},
	} {
		t.Run(test.name, func(t *testing.T) {
			got := load(newServer(condition{capacity: test.capacity, refusal: test.refusal}), test.rate)
			// The queue fills once, which is as much work as fits into it.
			slack := test.capacity*queueForRefusals.Seconds()/60/min(1, test.refusal) + 1
			assert.InDelta(t, test.wantAnswers, got[answered], slack)
			assert.InDelta(t, test.wantRefusals, got[refused], slack)
			assert.InDelta(t, test.unreachable, got[unreachable], slack)
			if busy := test.rate > int(test.capacity); busy {
				assert.InDelta(t, test.capacity, got[answered]+test.refusal*got[refused], slack)
			}
		})
	}
}

// Requests that arrive at the same time are answered, then refused, then not even that.
func TestServerQueue(t *testing.T) {
	s := newServer(condition{capacity: 500, refusal: 0.5})
	var outcomes []outcome
	var last time.Duration
	for range 2000 {
		o, after := s.arrive(0)
		if o != unreachable {
			require.Greater(t, after, last, "work is done in the order of arrival")
			last = after
		}
		outcomes = append(outcomes, o)
	}
	for i, o := range outcomes {
		switch {
		case i <= 25: // 25 units are 50 ms of work
			require.Equal(t, answered, o, i)
		case i <= 25+949: // 500 units are a second of work
			require.Equal(t, refused, o, i)
		default:
			require.Equal(t, unreachable, o, i)
		}
	}
	assert.InDelta(t, 1001*time.Millisecond, last, 10)
}

func TestServerAnswersAfterItsWorkAndLatency(t *testing.T) {
	s := newServer(condition{capacity: 100, latency: 10 * time.Millisecond})
	_, first := s.arrive(0)
	_, second := s.arrive(0)
	assert.InDelta(t, 20*time.Millisecond, first, float64(time.Millisecond), "10 ms of work and the latency")
	assert.InDelta(t, 30*time.Millisecond, second, float64(time.Millisecond))
	_, later := s.arrive(time.Minute)
	assert.InDelta(t, 20*time.Millisecond, later, float64(time.Millisecond), "the work before is done")
}

// Work that waits when the capacity changes takes as long as the new capacity says.
func TestServerChange(t *testing.T) {
	s := newServer(condition{capacity: 100})
	for range 4 {
		s.arrive(0)
	}
	s.change(20*time.Millisecond, condition{capacity: 50}) // 2 of 4 are done
	_, after := s.arrive(40 * time.Millisecond)            // 1 more
	assert.InDelta(t, 40*time.Millisecond, after, 10)
}

func TestServerConditions(t *testing.T) {
	t.Run("down", func(t *testing.T) {
		s := newServer(condition{capacity: 500, refusal: 0.25, down: true})
		assert.Equal(t, map[outcome]float64{refused: 400}, rounded(load(s, 400)))
	})
	t.Run("gone", func(t *testing.T) {
		s := newServer(condition{capacity: 500, refusal: 0.25, gone: true})
		assert.Equal(t, map[outcome]float64{unreachable: 400}, rounded(load(s, 400)))
		assert.Zero(t, s.work)
	})
	t.Run("lost", func(t *testing.T) {
		got := load(newServer(condition{capacity: 500, lost: 0.25}), 400)
		assert.InDelta(t, 100, got[silent], 5)
		assert.InDelta(t, 300, got[answered], 5)
	})
	t.Run("slow", func(t *testing.T) {
		s := newServer(condition{capacity: 1000, latency: time.Millisecond, slow: 0.1})
		slow := 0
		for i := range 10_000 {
			if _, after := s.arrive(time.Duration(i) * time.Second); after > 50*time.Millisecond {
				slow++
			}
		}
		assert.InDelta(t, 1000, slow, 100)
	})
}

func rounded(counts map[outcome]float64) map[outcome]float64 {
	for o, n := range counts {
		counts[o] = float64(int(n + 0.5))
	}
	return counts
}
