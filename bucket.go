package retryablehttp

import (
	"container/list"
	"math"
	"sync"
	"sync/atomic"
	"time"
)

// timerSlack is by how much a timer may be late, in seconds.
const timerSlack = 0.005

// bucket is a token bucket. Those who find it empty may wait for tokens in order of
// arrival.
type bucket struct {
	mu      sync.Mutex // guards the rest
	max     float64    // tokens that it holds; more at a high rate, see fill
	rate    float64    // tokens per second
	tokens  float64    // at the time at
	at      time.Time
	closed  time.Time   // until then no token is taken
	taken   int         // tokens, since the owner began to count
	waiting list.List   // of chan struct{}, closed when a token is taken for the one who waits
	timer   *time.Timer // for the first of them
}

// fill adds the tokens of the time that has passed. mu is held.
func (b *bucket) fill(now time.Time) {
	if now.After(b.at) {
		// A timer may be late: what it has missed of a high rate is made up for.
		b.tokens = min(b.tokens+now.Sub(b.at).Seconds()*b.rate, max(b.max, b.rate*timerSlack))
		b.at = now
	}
}

// due returns how long it takes until there is a token. mu is held.
func (b *bucket) due(now time.Time) time.Duration {
	b.fill(now)
	wait := max(b.closed.Sub(now), 0)
	const enough = 1 - 1e-6 // as good as a token: seconds are not exact
	switch {
	case b.tokens >= enough:
		return wait
	case b.rate <= 0:
		return math.MaxInt64
	}
	seconds := (1 - b.tokens) / b.rate
	return max(wait, time.Duration(min(math.Ceil(seconds*1e9), math.MaxInt64/2)))
}

// tryTake takes a token, unless there is none or somebody waits for it. mu is held.
func (b *bucket) tryTake(now time.Time) bool {
	if b.waiting.Len() > 0 || b.due(now) > 0 {
		return false
	}
	b.take()
	return true
}

func (b *bucket) take() {
	b.tokens--
	b.taken++
}

// join returns a place at the end of the queue. mu is held.
func (b *bucket) join(now time.Time) *list.Element {
	place := b.waiting.PushBack(make(chan struct{}))
	b.serve(now)
	return place
}

// leave gives up a place in the queue, and a token that was taken for it. mu is not held.
func (b *bucket) leave(place *list.Element) {
	b.mu.Lock()
	defer b.mu.Unlock()
	select {
	case <-place.Value.(chan struct{}):
		b.tokens++
	default:
		b.waiting.Remove(place)
	}
	b.serve(time.Now())
}

// giveBack gives a token back that was not used. mu is not held.
func (b *bucket) giveBack() {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.tokens++
	b.serve(time.Now())
}

// serve takes tokens for those who wait, and sets the timer for the next token. mu is
// held.
func (b *bucket) serve(at time.Time) {
	for b.waiting.Len() > 0 {
		if wait := b.due(at); wait > 0 {
			b.wake(wait)
			return
		}
		b.take()
		close(b.waiting.Remove(b.waiting.Front()).(chan struct{}))
	}
	if b.timer != nil {
		b.timer.Stop()
	}
}

// wake sets the timer. A new one costs less than Reset, for which the runtime may look at
// all timers of the program.
func (b *bucket) wake(after time.Duration) {
	if b.timer != nil {
		b.timer.Stop()
	}
	if after == math.MaxInt64 { // only more tokens help
		return
	}
	b.timer = time.AfterFunc(after, func() {
		b.mu.Lock()
		defer b.mu.Unlock()
		b.serve(time.Now())
	})
}

// meter measures how often something happens, over the last one to two seconds. It needs
// no lock: a count that is lost at the turn of a second does not matter.
type meter struct {
	second         atomic.Int64 // the current one
	count, earlier atomic.Int64 // in it, and in the one before
}

func (m *meter) add(now time.Time) {
	m.turn(now)
	m.count.Add(1)
}

func (m *meter) turn(now time.Time) {
	second := now.Unix()
	last := m.second.Load()
	if last == second || !m.second.CompareAndSwap(last, second) {
		return
	}
	count := m.count.Swap(0)
	if second != last+1 {
		count = 0
	}
	m.earlier.Store(count)
}

// perSecond returns the rate: the average or, if that is more, the rate of the current
// second. The latter counts after a start or a rest.
func (m *meter) perSecond(now time.Time) float64 {
	m.turn(now)
	part := float64(now.Nanosecond()) / 1e9
	earlier, count := float64(m.earlier.Load()), float64(m.count.Load())
	average := (earlier + count) / (1 + part)
	if count < meterEnough {
		return average
	}
	return max(average, count/max(part, meterMin))
}

const (
	meterEnough = 10   // events from which on the current second counts by itself
	meterMin    = 0.25 // of a second, likewise
)
