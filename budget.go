package retryablehttp

import (
	"cmp"
	"container/list"
	"fmt"
	"math"
	"sync/atomic"
	"time"

	"github.com/a0b132ce/retryablehttp/internal/hosts"
)

const (
	defaultBudgetRatio        = 0.2
	defaultBudgetMinPerSecond = 1
	defaultBudgetMaxWaiting   = 10_000

	budgetMaxPerSecond = 1e9

	// budgetMax is how many tokens are saved up for a bad time. A host that has become
	// bad gets no more retries than these and the floor, before one succeeds.
	budgetMax = 10
)

// Budget limits retries to a share of the calls that succeed, plus a floor, so that
// retries do not turn a short outage into a long one. It is a token bucket: each success
// earns Ratio tokens, each second MinPerSecond, and each retry takes one when it is sent.
// It holds 10 tokens at most and begins with 10.
//
// A retry that finds no token waits for the next one, in order of arrival. So the calls
// of an outage are retried at the rate that the host turns out to bear. A call fails at
// once, with ErrBudgetExhausted, its last response and [ReasonBudget], if MaxWaiting retries
// wait already, or if its deadline or MaxElapsedTime is certain to pass before there is a
// token.
//
// Any number of Clients and goroutines may share a Budget. The zero Budget has the
// defaults. Set the fields before the first use.
type Budget struct {
	// Ratio is the number of tokens that a success earns, between 0 and 1. 0 means 0.2,
	// as with Finagle and Linkerd; negative means none. A greater number is an error
	// of each call, and counts as none elsewhere.
	Ratio float64

	// MinPerSecond is the number of tokens that each second earns. 0 means 1; negative
	// means none: then only a call with a deadline or MaxElapsedTime waits for a token. It
	// is for each process: many small ones that share a server add up. A number above 1e9
	// is an error of each call, and counts as none elsewhere.
	MinPerSecond float64

	// MaxWaiting is the number of retries that may wait for a token. 0 means 10,000;
	// negative means none, so that a call without a token fails at once.
	MaxWaiting int

	// PerHost keeps a bucket for each host instead of one for all.
	PerHost bool

	all   budgetHost
	hosts hosts.Map[budgetHost]
}

// budgetHost is the bucket of one host.
type budgetHost struct {
	full atomic.Bool // more success earns nothing; may be false although the bucket is full
	bucket
}

// Deposit adds what a success of the host earns. A Client does so for each response that
// is not a failure of the server.
func (b *Budget) Deposit(host string) {
	h := b.of(host)
	if h.full.Load() {
		return
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	b.begin(h)
	at := time.Now()
	h.fill(at)
	h.tokens = min(h.tokens+b.ratio(), h.max)
	h.serve(at)
	h.full.Store(h.tokens == h.max)
}

// TryWithdraw takes a token for a retry to the host. It reports false if there is none, or
// if retries wait for one.
func (b *Budget) TryWithdraw(host string) bool {
	h := b.of(host)
	h.mu.Lock()
	defer h.mu.Unlock()
	b.begin(h)
	h.full.Store(false)
	return h.tryTake(time.Now())
}

// Balance returns how many tokens there are for the host, from 0 to 10.
func (b *Budget) Balance(host string) float64 {
	h := b.of(host)
	h.mu.Lock()
	defer h.mu.Unlock()
	b.begin(h)
	h.fill(time.Now())
	return max(h.tokens, 0)
}

// withdraw takes a token, or a place in the queue for one if that may take up to the
// given time. It reports false if there is neither.
func (b *Budget) withdraw(h *budgetHost, limit time.Duration) (*list.Element, bool) {
	h.mu.Lock()
	defer h.mu.Unlock()
	b.begin(h)
	h.full.Store(false)
	at := time.Now()
	if h.tryTake(at) {
		return nil, true
	}
	if !b.mayWait(h, at, limit) {
		return nil, false
	}
	return h.join(at), true
}

// mayWait reports whether one more call may wait for a token, which has the given time left.
// If successes earn tokens, nobody knows how long that takes. h.mu is held.
func (b *Budget) mayWait(h *budgetHost, at time.Time, limit time.Duration) bool {
	waiting := h.waiting.Len()
	if waiting >= b.maxWaiting() {
		return false
	}
	switch {
	case h.rate <= 0: // without a limit it could take for ever
		return b.ratio() > 0 && limit < math.MaxInt64
	case b.ratio() > 0:
		return true
	}
	h.fill(at)
	return (float64(waiting+1)-h.tokens)/h.rate < limit.Seconds()
}

// refuses reports whether a retry that came now would be refused.
func (b *Budget) refuses(h *budgetHost, limit time.Duration) bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	b.begin(h)
	at := time.Now()
	return (h.waiting.Len() > 0 || h.due(at) > 0) && !b.mayWait(h, at, limit)
}

// ratio returns Ratio, 0 if it is not usable.
func (b *Budget) ratio() float64 {
	if ratio := cmp.Or(b.Ratio, defaultBudgetRatio); ratio > 0 && ratio <= 1 {
		return ratio
	}
	return 0
}

func (b *Budget) maxWaiting() int { return max(cmp.Or(b.MaxWaiting, defaultBudgetMaxWaiting), 0) }

func (b *Budget) of(host string) *budgetHost {
	if !b.PerHost {
		return &b.all
	}
	return b.hosts.Of(host, func(h *budgetHost) bool {
		h.mu.Lock()
		defer h.mu.Unlock()
		b.begin(h)
		h.fill(time.Now())
		return h.tokens == h.max && h.waiting.Len() == 0
	})
}

// begin fills a bucket that is new. h.mu is held.
func (b *Budget) begin(h *budgetHost) {
	if h.max == 0 {
		h.max, h.tokens, h.at = budgetMax, budgetMax, time.Now()
		if rate := cmp.Or(b.MinPerSecond, defaultBudgetMinPerSecond); rate > 0 && rate <= budgetMaxPerSecond {
			h.rate = rate
		}
	}
}

// check returns an error for settings that make no sense.
func (b *Budget) check() error {
	if b == nil || b.Ratio <= 1 && b.MinPerSecond <= budgetMaxPerSecond {
		return nil
	}
	return fmt.Errorf("retryablehttp: Budget with Ratio %v and MinPerSecond %v, want at most 1 and %v", b.Ratio, b.MinPerSecond, float64(budgetMaxPerSecond))
}
