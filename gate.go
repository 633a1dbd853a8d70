package retryablehttp

import (
	"container/list"
	"math/rand/v2"
	"net/http"
	"sync/atomic"
	"time"

	"github.com/a0b132ce/retryablehttp/internal/hosts"
)

const (
	// gateInterval is how long results are counted before the rate is changed, and
	// gateLongInterval how long if there are too few to tell.
	gateInterval     = 100 * time.Millisecond
	gateLongInterval = time.Second
	// gateEnough is how many results tell what share of the attempts is refused after
	// gateInterval, gateFew how many do after gateLongInterval.
	gateEnough = 20
	gateFew    = 5
	// gateHighRate is the rate, in attempts per second, below which a client has too few
	// results to tell load from chance. Below gateLowRate one refusal speaks for the host.
	gateHighRate = 20
	gateLowRate  = 5
	// gateNotice is how long a host has to refuse all before a Retry-After speaks for it, in
	// seconds.
	gateNotice = 0.05
	// gateBadShare is the share of refusals from which on a host has more than it bears,
	// gateDownShare the one from which on it bears nothing.
	gateBadShare    = 0.12
	gateFewBadShare = 0.4
	gateFineShare   = 0.05
	gateDownShare   = 0.9
	// gateMinRate and gateMinShare bound the rate from below, in attempts per second and as
	// a share of the rate that the host has borne.
	gateMinRate  = 1
	gateMinShare = 0.05
	// gateStart is the share of the known rate up to which the rate grows fourfold in each
	// interval, and gateFewStart the share if the known rate is below gateHighRate: the host
	// may have many such clients, and each knows the rate less well.
	gateStart    = 0.7
	gateFewStart = 0.62
	// Above gateStart the rate grows by two shares of itself in each interval: gateStep for
	// each response that the host has served in it, and gateFineStep for each response since
	// the last refusal. gateGrowth is the largest share in a second.
	gateGrowth   = 1
	gateStep     = 0.005
	gateFineStep = 0.001
	// gatePatience is how many seconds a call waits at most, of a client with a known rate
	// below gateHighRate, if a part of the attempts is refused. Its few results do not tell
	// load from one bad server of several, and then a lower rate would only keep the calls
	// waiting.
	gatePatience = 3
	// gateCalm is after how many intervals in which nobody had to wait a host is well.
	gateCalm = 10
	// gateMemory is how long something is known about a host that nobody uses.
	gateMemory = 5 * time.Second
	// gateSpread is over how many seconds those leave who have waited for a host that was
	// closed.
	gateSpread = 5
	// gateTolerance is how long refusals are ignored after lowering the rate did not help.
	gateTolerance = 2 * time.Second
)

// Gate holds back attempts to hosts that refuse them, so that all calls together send a
// host what it can bear, and in order of arrival. It acts on 429 and 503, on connections
// that cannot be made, and on a RateLimit field that says that no request is left.
//
// If a refusal says when the host accepts requests again, by Retry-After (RFC 9110
// §10.2.3), Retry-After-Ms, RateLimit (draft-ietf-httpapi-ratelimit-headers),
// RateLimit-Reset or X-RateLimit-Reset, no attempt is sent before, and afterwards they leave
// spread out. A host with many requests has to refuse all of them for 50 ms first, because
// one refusal may come from one bad server of several. No call waits for a Gate for longer
// than its Client.RetryAfterMax.
//
// To a host that refuses more than an eighth of the attempts, they are sent at a lower rate:
// what it has served, or a twentieth of the former rate if it serves nothing. The rate
// rises while the host serves all, and the limit is gone a second after nobody had to wait
// for it. If a lower rate does not lower the share of refusals, there is no limit. A client
// that sends fewer than 20 attempts per second cannot tell; its calls wait for 3 s at most
// while the host serves any.
//
// A call that comes while no attempt is sent fails at once if its deadline or MaxElapsedTime
// passes before. Others wait in order of arrival until then. While a host is well, an
// attempt takes no lock and never waits.
//
// Any number of Clients and goroutines may share a Gate. The zero Gate is ready to use.
type Gate struct {
	hosts hosts.Map[gateHost]
}

// GateState is what a [Gate] knows about a host.
type GateState struct {
	// Closed is for how long no attempt is sent.
	Closed time.Duration
	// Rate is the number of attempts per second that are sent at most, 0 if there is no
	// limit.
	Rate float64
	// Waiting is the number of attempts that wait.
	Waiting int
}

// State returns what the Gate knows about a host, which may have a port.
func (g *Gate) State(host string) GateState {
	h := g.of(host)
	if !h.watched.Load() {
		return GateState{}
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.stale(time.Now()) {
		return GateState{}
	}
	state := GateState{Closed: max(time.Until(h.closed), 0), Waiting: h.waiting.Len()}
	if h.limited {
		state.Rate = h.rate
	}
	return state
}

func (g *Gate) of(host string) *gateHost {
	return g.hosts.Of(host, func(h *gateHost) bool {
		h.mu.Lock()
		defer h.mu.Unlock()
		return !h.watched.Load() || h.stale(time.Now())
	})
}

// gateHost is the state of a host.
type gateHost struct {
	recent    meter       // attempts
	watched   atomic.Bool // false: the host is well, and what follows is not used
	bucket                // limits the attempts if limited
	limited   bool
	announced bool      // the host has said which rate it bears
	streak    int       // refusals in a row
	fine      int       // other responses in a row
	measured  bool      // a part of the attempts was refused since it is limited
	known     float64   // the rate that the host has borne
	down      bool      // it has served nothing
	calm      int       // intervals in a row in which nobody has waited
	ignored   time.Time // until then, refusals are

	// The current interval. Results of attempts that were sent before do not count.
	since           time.Time
	served, refused int
	back            int    // results, whenever the attempts were sent
	queued          bool   // an attempt had to wait
	before          sample // of the interval before the rate was lowered
}

// result is what the result of an attempt says about the load of its host.
type result int

const (
	resultUnknown result = iota // nothing
	resultServed                // it does its work, well or not
	resultRefused               // it has too much of it
)

// sample is what the results of an interval show.
type sample struct {
	served float64 // attempts per second
	share  float64 // of refusals
}

// enter lets an attempt leave, or returns its place among those that wait. waited is how long
// the call has waited before.
func (h *gateHost) enter(at time.Time, waited time.Duration) *list.Element {
	h.recent.add(at)
	if !h.watched.Load() {
		return nil
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.stale(at) {
		h.limited = false
		h.watched.Store(false)
	}
	if !h.limited || h.tryTake(at) {
		return nil
	}
	impatient := h.known < gateHighRate && !h.down && !at.Before(h.closed)
	if impatient && waited.Seconds() >= gatePatience {
		h.take()
		return nil
	}
	h.queued = true
	place := h.join(at)
	if impatient {
		h.rate = max(h.rate, float64(h.waiting.Len())/gatePatience)
	}
	if at.Before(h.closed) && !h.announced { // so that it does not take too long when the host is open again
		h.learn(at)
		h.rate = max(h.rate, min(float64(h.waiting.Len())/gateSpread, h.known))
	}
	return place
}

// stale reports whether nobody has used the host for so long that nothing is known about
// it any more. mu is held.
func (h *gateHost) stale(at time.Time) bool {
	return h.waiting.Len() == 0 && at.Sub(h.since) > gateMemory
}

// closedFor returns how long no attempt will be sent.
func (h *gateHost) closedFor() time.Duration {
	if !h.watched.Load() {
		return 0
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	return max(time.Until(h.closed), 0)
}

// observe takes the result of an attempt into account.
func (h *gateHost) observe(sent, at time.Time, r result) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if !h.watched.Load() {
		if r != resultRefused {
			return
		}
		h.watch(at)
		sent = at
	}
	h.back++
	switch r {
	case resultServed:
		h.streak = 0
		h.fine++
	case resultRefused:
		h.streak++
		h.fine = 0
	}
	if sent.Before(h.since) || r == resultUnknown {
		return
	}
	if r == resultServed {
		if h.down { // until now
			h.down = false
			h.begin(at)
			h.rate = max(h.rate, min(4*h.rate, h.start()))
		}
		h.served++
	} else {
		h.refused++
	}
	h.learn(at)
	if h.told(at) {
		h.decide(at)
	}
}

// watch begins to look at results. mu is held.
func (h *gateHost) watch(at time.Time) {
	h.known, h.measured, h.announced, h.streak, h.fine = gateMinRate, false, false, 0, 0
	h.max, h.tokens, h.at = 1, 1, at
	h.begin(at)
	h.watched.Store(true)
}

// begin begins an interval. mu is held.
func (h *gateHost) begin(at time.Time) {
	h.since, h.served, h.refused, h.taken, h.back, h.queued = at, 0, 0, 0, 0, false
}

// learn takes the rate of the attempts, those that wait included, as the one that the host
// bears, as long as nothing better is known. mu is held.
func (h *gateHost) learn(at time.Time) {
	if !h.measured {
		h.known = max(h.known, h.recent.perSecond(at))
	}
}

// told reports whether the results of the interval tell enough. mu is held.
func (h *gateHost) told(at time.Time) bool {
	elapsed, n := at.Sub(h.since), h.served+h.refused
	switch {
	case h.served == 0:
		return n >= 2 && elapsed >= gateInterval/2
	case h.refused == 0:
		return elapsed >= gateInterval
	}
	return elapsed >= gateInterval && n >= gateEnough || elapsed >= gateLongInterval && n >= gateFew
}

// decide ends an interval. mu is held.
func (h *gateHost) decide(at time.Time) {
	elapsed := max(at.Sub(h.since), time.Millisecond).Seconds()
	seen := sample{
		served: float64(h.served) / elapsed,
		share:  float64(h.refused) / float64(h.served+h.refused),
	}
	h.fill(at)
	before := h.before
	h.before = sample{}
	switch {
	case before.served > 0 && seen.served < 0.9*before.served && seen.share > 0.5*before.share && seen.share < gateDownShare:
		h.rate, h.ignored = 2*h.known, at.Add(gateTolerance) // a lower rate is of no use
	case seen.share > h.badShare() && (!at.Before(h.ignored) || seen.share >= gateDownShare):
		h.lower(seen, at)
	case at.Before(h.ignored):
		h.raise(0, elapsed)
	default:
		h.raise(seen.share, elapsed)
	}
	if !h.limited && seen.share <= h.badShare() && !at.Before(h.ignored) {
		h.watched.Store(false)
	}
	h.begin(at)
	h.serve(at)
}

// badShare returns the share of refusals from which on the host has more than it bears. A
// few results tell less than many. mu is held.
func (h *gateHost) badShare() float64 {
	if h.served+h.refused < gateEnough {
		return gateFewBadShare
	}
	return gateBadShare
}

// lower lowers the rate to what the host serves. mu is held.
func (h *gateHost) lower(seen sample, at time.Time) {
	rate := h.rate
	if !h.limited {
		rate = h.known
	}
	if h.down = seen.share >= gateDownShare; !h.down {
		h.known, h.measured, h.before = rate, true, seen
		h.rate = max(0.7*rate, seen.served)
	} else {
		h.rate = max(0.5*rate, seen.served)
		h.tokens = 0.5 - rand.Float64() // so that many clients do not send their next attempts together
	}
	h.rate = max(h.rate, gateMinRate, gateMinShare*max(h.known, h.recent.perSecond(at)))
	h.limited, h.calm = true, 0
}

// start returns the rate up to which the rate grows fast. mu is held.
func (h *gateHost) start() float64 {
	if h.known < gateHighRate {
		return gateFewStart * h.known
	}
	return gateStart * h.known
}

// raise raises the rate, the faster the longer the host has served all. mu is held.
func (h *gateHost) raise(share, elapsed float64) {
	if !h.limited {
		return
	}
	if !h.queued && h.waiting.Len() == 0 {
		if h.calm++; h.calm >= gateCalm {
			h.limited = false
		}
		return
	}
	h.calm = 0
	switch {
	case h.rate < h.start():
		h.rate = min(4*h.rate, h.start())
	case share > gateFineShare:
		h.rate *= 1.01
	case h.taken-h.back <= h.taken/20+1: // else the host takes longer for more
		h.rate *= 1 + min(gateGrowth*elapsed, gateStep*float64(h.served)+gateFineStep*float64(h.fine))
	}
}

// convincing returns how many refusals in a row speak for the whole host. One does if the
// host has few requests. If it has many, one may come from one bad server of several. mu is
// held.
func (h *gateHost) convincing(at time.Time) int {
	rate := h.recent.perSecond(at)
	if rate < gateLowRate {
		return 1
	}
	return max(2, int(rate*gateNotice))
}

// close lets no attempt leave for a while, at most for limit. Afterwards they leave at the
// given rate or, if it is 0, at half the rate of before. mu is not held.
func (h *gateHost) close(at time.Time, p pause, limit time.Duration, refused bool) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if !h.watched.Load() {
		h.watch(at)
	}
	if refused && h.streak < h.convincing(at) {
		return
	}
	wait := saturatingAdd(p.wait, rand.N(min(p.wait, limit)/10+1)) // so that not all clients come back together
	until := at.Add(min(wait, limit))
	if !until.After(h.closed) {
		return
	}
	h.learn(at)
	if !h.limited {
		h.limited, h.rate = true, max(h.known/2, gateHighRate) // the host has said that it is ready then
	}
	if h.announced = p.rate > 0; h.announced {
		h.known = max(p.rate, gateMinRate)
		h.rate = h.known
	}
	h.fill(at)
	h.closed, h.calm = until, 0
	h.before = sample{}
	h.begin(until)
	h.serve(at)
}

// refusal reports whether a status says that the server has more to do than it can bear.
func refusal(status int) bool {
	return status == http.StatusTooManyRequests || status == http.StatusServiceUnavailable
}
