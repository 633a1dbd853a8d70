package main

import (
	"math/rand/v2"
	"time"
)

// A condition says how a server behaves for a while.
type condition struct {
	// capacity is the work that the server does in a second. An answer is 1.
	capacity float64
	// refusal is the work of a 503.
	refusal float64
	// latency is the time from the end of the work to the response at the client, on average.
	// It varies by a tenth. This also keeps two requests from arriving at the same nanosecond,
	// where the order of the goroutines, which is random, would decide.
	latency time.Duration
	// slow is the share of the answers, from 0 to 1, that take slowFactor·latency.
	slow float64
	// failing is the share of the requests, from 0 to 1, that get a 503 whatever the load.
	failing float64
	// down makes a 503 of every response.
	down bool
	// gone makes the server refuse every connection, without work.
	gone bool
	// lost is the share of the requests, from 0 to 1, that get no response at all, because
	// they are sent over a connection whose other end has gone.
	lost float64
}

// slowFactor is by how much a slow answer is slower than the others.
const slowFactor = 100

// The queue of a server. Work that waits is counted by the time that it takes.
const (
	// queueForAnswers is the most work that may be ahead of a request that is answered. With
	// more ahead of it, a request is refused with a 503.
	queueForAnswers = 50 * time.Millisecond
	// queueForRefusals is the most work that may be ahead of a request that gets a 503. With
	// more ahead of it, its connection is refused, which costs nothing.
	queueForRefusals = time.Second
)

// An outcome is what a server makes of a request.
type outcome int

const (
	answered    outcome = iota // 200
	refused                    // 503
	unreachable                // the connection is refused
	silent                     // no response ever comes
)

// A server does its work in the order of arrival and never rests while there is some. So
// of a requests in a second that are too many it answers x, where
//
//	x + refusal·(a-x) = capacity
//
// and none if refusal·a alone exceeds the capacity.
//
// Times are measured from the beginning of the run and must not decrease from call to call.
// The zero server has no capacity; call change first. It is for one goroutine at a time.
type server struct {
	condition
	rand *rand.Rand

	last time.Duration // when work was computed
	work float64       // what was left to do then
}

// change sets the condition from now on.
func (s *server) change(now time.Duration, c condition) {
	s.advance(now)
	s.condition = c
}

// advance does the work of the time since the last call.
func (s *server) advance(now time.Duration) {
	s.work = max(0, s.work-s.capacity*(now-s.last).Seconds())
	s.last = now
}

// arrive returns what becomes of a request that arrives now, and how long after now
// the client learns of it.
func (s *server) arrive(now time.Duration) (outcome, time.Duration) {
	s.advance(now)
	if s.gone {
		return unreachable, s.delay()
	}
	if s.lost > 0 && s.rand.Float64() < s.lost {
		return silent, 0
	}
	ahead := s.queued()
	switch {
	case ahead > queueForRefusals:
		return unreachable, s.delay()
	case s.down || s.failing > 0 && s.rand.Float64() < s.failing || ahead > queueForAnswers:
		s.work += s.refusal
		return refused, s.queued() + s.delay()
	}
	s.work++
	delay := s.delay()
	if s.slow > 0 && s.rand.Float64() < s.slow {
		delay *= slowFactor
	}
	return answered, s.queued() + delay
}

// queued returns the time that the work takes that is left to do.
func (s *server) queued() time.Duration {
	return time.Duration(s.work / s.capacity * float64(time.Second))
}

// delay returns a latency.
func (s *server) delay() time.Duration {
	return time.Duration((0.9 + 0.2*s.rand.Float64()) * float64(s.latency))
}
