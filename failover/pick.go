package failover

import (
	"math/rand/v2"
	"time"
)

// Mode is how a [Transport] picks one of the endpoints that are well.
type Mode int

const (
	// Ordered picks the first endpoint, in the order of SetEndpoints. The others are
	// backups.
	Ordered Mode = iota
	// RoundRobin picks the endpoint that was picked the longest time ago.
	RoundRobin
	// LeastLoaded takes two endpoints at random and picks the one with fewer requests in
	// flight (the power of two choices, Mitzenmacher 2001).
	LeastLoaded
)

// rank is how well an endpoint fits a request. Less is better.
type rank int8

const (
	rankWell         rank = iota // or its rest is over, and the request may be its probe
	rankDue                      // its rest is over; a call that has been delayed once prefers another
	rankTried                    // it is well, but this call has tried it
	rankResting                  // and this call has not tried it
	rankTriedResting             // and this call has tried it
	rankUsed                     // this request was sent to it, and not received
)

// pick returns the best endpoint for x, nil if the request of x was sent to all of them.
func (t *Transport) pick(x *exchange, now time.Time) *endpoint {
	var few [16]*endpoint // more need an allocation
	best, least := few[:0], rankUsed
	first := !x.past.hasTried(nil, x.attempt)
	for _, e := range t.endpoints {
		switch r := x.rank(e, first, now); {
		case r < least:
			least, best = r, append(best[:0], e)
		case r == least && r < rankUsed:
			best = append(best, e)
		}
	}
	switch {
	case len(best) == 0:
		return nil
	case least == rankWell || least == rankTried:
		return t.Mode.pick(best)
	}
	return leastOf(best, func(a, b *endpoint) bool { return a.health.until.Before(b.health.until) })
}

// rank returns how well e fits x. first reports whether the call has tried nothing yet.
func (x *exchange) rank(e *endpoint, first bool, now time.Time) rank {
	tried := !first && x.past.hasTried(e, x.attempt)
	switch due := e.health.due(now); {
	case tried && x.past.usedFor(x.original, e):
		return rankUsed
	case e.health.well() && tried:
		return rankTried
	case e.health.well(), due && first:
		return rankWell
	case tried:
		return rankTriedResting
	case due:
		return rankDue
	}
	return rankResting
}

func (m Mode) pick(from []*endpoint) *endpoint {
	switch {
	case m == RoundRobin:
		return leastOf(from, func(a, b *endpoint) bool { return a.health.picked < b.health.picked })
	case m == LeastLoaded && len(from) > 1:
		i, j := rand.IntN(len(from)), rand.IntN(len(from)-1)
		if j >= i {
			j++
		}
		if from[j].health.inFlight < from[i].health.inFlight {
			i = j
		}
		return from[i]
	}
	return from[0]
}

// leastOf returns the first of the endpoints that no other is less than.
func leastOf(from []*endpoint, less func(a, b *endpoint) bool) *endpoint {
	least := from[0]
	for _, e := range from[1:] {
		if less(e, least) {
			least = e
		}
	}
	return least
}
