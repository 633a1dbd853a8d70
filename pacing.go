package retryablehttp

import (
	"container/list"
	"context"
	"fmt"
	"math"
	"net/http"
	"time"
)

// paced reports whether Client.Gate and Client.Budget apply: in nested clients, those of the
// outermost one that has any do.
func (c *call) paced() bool {
	return (c.client.Gate != nil || c.client.Budget != nil) &&
		(c.outer == nil || c.outer.client.Gate == nil && c.outer.client.Budget == nil)
}

// admit waits until an attempt may be sent, as far as other calls are concerned. a is the
// attempt before. It returns why the call ends instead.
func (c *call) admit(a *attempt) *ending {
	var h *gateHost
	if c.client.Gate != nil {
		h = c.client.Gate.of(c.req.URL.Host)
		if s := c.fits(a, h.closedFor()); s != nil {
			return s
		}
	}
	if a.number > 0 || c.resumption > 0 {
		if s := c.withdraw(a); s != nil {
			return s
		}
	}
	if h == nil {
		return nil
	}
	c.past.admitted = time.Now()
	if place := h.enter(c.past.admitted); place != nil {
		s := c.queue(a, &h.bucket, place)
		c.past.admitted = time.Now()
		return s
	}
	return nil
}

// withdraw takes a token of the Budget for a retry.
func (c *call) withdraw(a *attempt) *ending {
	budget := c.client.Budget
	if budget == nil {
		return nil
	}
	h := budget.of(c.req.URL.Host)
	place, ok := budget.withdraw(h, c.left())
	switch {
	case !ok:
		return c.exhausted(a)
	case place != nil:
		return c.queue(a, &h.bucket, place)
	}
	return nil
}

// refused reports whether the Budget has no token for a retry and lets none wait for one.
// The call then need not wait for the Backoff.
func (c *call) refused() bool {
	budget := c.client.Budget
	return budget != nil && budget.refuses(budget.of(c.req.URL.Host), c.left())
}

// exhausted returns how a call ends for which the Budget has no token.
func (c *call) exhausted(a *attempt) *ending {
	return &ending{ReasonBudget, &stopError{why: ErrBudgetExhausted, last: a.causeOrStatus()}}
}

// queue waits until it is the turn of a place.
func (c *call) queue(a *attempt, b *bucket, place *list.Element) *ending {
	began := now()
	defer func() { c.past.waited += now() - began }()
	var over <-chan time.Time
	if limit := c.client.MaxElapsedTime; limit > 0 {
		timer := time.NewTimer(limit - c.elapsed())
		defer timer.Stop()
		over = timer.C
	}
	select {
	case <-place.Value.(chan struct{}):
		return nil
	case <-over:
		b.leave(place)
		return &ending{ReasonMaxElapsedTime, &stopError{
			why:    ErrMaxElapsedTime,
			detail: "while waiting for other calls to the host",
			last:   a.causeOrStatus(),
		}}
	case <-c.ctx.Done():
	case <-requestCancel(c.req):
	}
	b.leave(place)
	return c.interrupted(a)
}

// left returns how much time the call has.
func (c *call) left() time.Duration {
	left := time.Duration(math.MaxInt64)
	if deadline, ok := c.ctx.Deadline(); ok {
		left = time.Until(deadline)
	}
	if limit := c.client.MaxElapsedTime; limit > 0 {
		left = min(left, limit-c.elapsed())
	}
	return left
}

// fits returns why the call ends if the host accepts no attempt for longer than the call has
// time.
func (c *call) fits(a *attempt, closed time.Duration) *ending {
	if closed == 0 || closed < c.left() {
		return nil
	}
	stop := &stopError{
		why:    ErrMaxElapsedTime,
		detail: fmt.Sprintf("%s accepts no requests for another %s", c.req.URL.Host, closed),
		last:   a.causeOrStatus(),
	}
	if deadline, ok := c.ctx.Deadline(); ok && closed >= time.Until(deadline) {
		stop.why = context.DeadlineExceeded
		return &ending{ReasonDeadline, stop}
	}
	return &ending{ReasonMaxElapsedTime, stop}
}

// learn tells the Gate and the Budget the result of an attempt.
func (c *call) learn(a *attempt) {
	host := c.req.URL.Host
	served := a.err == nil && servedStatus(a.resp.StatusCode)
	if served && c.client.Budget != nil {
		c.client.Budget.Deposit(host)
	}
	if c.client.Gate == nil {
		return
	}
	if a.err == nil && a.resp.Request != nil && a.resp.Request.URL != nil {
		host = a.resp.Request.URL.Host // after redirects
	}
	h := c.client.Gate.of(host)
	refused := a.err != nil && Unsent(a.err) && c.ctx.Err() == nil && !permanent(nil, a.err) ||
		a.err == nil && refusal(a.resp.StatusCode)
	if !served && !refused {
		return
	}
	if served && !h.watched.Load() && a.resp.Header["Ratelimit"] == nil {
		return // the host is well
	}
	h.observe(c.past.admitted, time.Now(), served)
	if a.err != nil {
		return
	}
	c.pause(a, h, host, refused)
}

// pause closes the gate of a host for as long as a response asks to wait.
func (c *call) pause(a *attempt, h *gateHost, host string, refused bool) {
	if value := a.resp.Header["Ratelimit"]; value != nil {
		if _, readable := rateLimitOf(a.resp.Header); !readable {
			c.log.unreadable(a.req, "RateLimit", value[0])
		}
	}
	p, ok := pauseOf(a.resp, refused)
	if !ok || p.wait <= 0 {
		return
	}
	wait := p.wait
	if limit := c.client.retryAfterMax(); limit >= 0 {
		wait = min(wait, limit)
	}
	c.log.paused(a.req, host, p.wait, wait)
	h.close(time.Now(), wait, p.rate)
}

// servedStatus reports whether a response is one of a server that does its work.
func servedStatus(status int) bool {
	return status < 500 && status != http.StatusTooManyRequests && status != 0 || status == http.StatusNotImplemented
}
