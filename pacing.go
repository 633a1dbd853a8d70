package retryablehttp

import (
	"container/list"
	"errors"
	"fmt"
	"math"
	"net/http"
	"net/url"
	"strings"
	"time"
)

// paced reports whether Client.Gate and Client.Budget apply. Those of nested clients do not.
func (c *call) paced() bool {
	return (c.client.Gate != nil || c.client.Budget != nil) && c.outer == nil
}

// admit waits until an attempt may be sent, as far as other calls are concerned. a is the
// attempt before. It returns why the call ends instead.
func (c *call) admit(a *attempt) *ending {
	if !c.paced() {
		return nil
	}
	if s := c.fits(a); s != nil {
		return s
	}
	if a.number > 0 || c.resumption > 0 {
		if s := c.withdraw(a); s != nil {
			return s
		}
	}
	gate := c.client.Gate
	if gate == nil {
		return nil
	}
	h := gate.of(hostOf(c.req.URL))
	c.past.admitted = time.Now()
	place := h.enter(c.past.admitted, c.past.gated)
	if place == nil {
		return nil
	}
	s := c.queueAtGate(a, h, place)
	if s != nil && c.client.Budget != nil && (a.number > 0 || c.resumption > 0) {
		c.client.Budget.of(hostOf(c.req.URL)).giveBack()
	}
	c.past.admitted = time.Now()
	return s
}

// queueAtGate waits until it is the turn of a place at the gate, but in all attempts of the
// call together no longer than RetryAfterMax.
func (c *call) queueAtGate(a *attempt, h *gateHost, place *list.Element) *ending {
	began := now()
	defer func() { c.past.gated += now() - began }()
	if limit := c.client.retryAfterMax(); limit >= 0 {
		return c.queue(a, &h.bucket, place, limit-c.past.gated, c.tooLong(a))
	}
	return c.queue(a, &h.bucket, place, math.MaxInt64, nil)
}

// tooLong returns how a call ends that would wait for a host for longer than RetryAfterMax.
func (c *call) tooLong(a *attempt) *ending {
	return &ending{ReasonRetryAfter, &stopError{
		why: fmt.Errorf("%s has to be waited for longer than Client.RetryAfterMax allows (%s)",
			c.req.URL.Host, c.client.retryAfterMax()),
		last: a.causeOrStatus(),
	}}
}

// withdraw takes a token of the Budget for a retry.
func (c *call) withdraw(a *attempt) *ending {
	budget := c.client.Budget
	if budget == nil {
		return nil
	}
	h := budget.of(hostOf(c.req.URL))
	place, ok := budget.withdraw(h, c.left())
	switch {
	case !ok:
		return c.exhausted(a)
	case place != nil:
		return c.queue(a, &h.bucket, place, math.MaxInt64, nil)
	}
	return nil
}

// refused reports whether the Budget has no token for a retry and lets none wait for one.
// The call then need not wait for the Backoff.
func (c *call) refused() bool {
	budget := c.client.Budget
	return budget != nil && c.paced() && budget.refuses(budget.of(hostOf(c.req.URL)), c.left())
}

// exhausted returns how a call ends for which the Budget has no token.
func (c *call) exhausted(a *attempt) *ending {
	return &ending{ReasonBudget, &stopError{why: ErrBudgetExhausted, last: a.causeOrStatus()}}
}

// queue waits until it is the turn of a place. It ends the call in the given way after limit.
func (c *call) queue(a *attempt, b *bucket, place *list.Element, limit time.Duration, over *ending) *ending {
	began := now()
	defer func() { c.past.waited += now() - began }()
	if max := c.client.MaxElapsedTime; max > 0 && max-c.elapsed() < limit {
		limit = max - c.elapsed()
		over = &ending{ReasonMaxElapsedTime, &stopError{
			why:    ErrMaxElapsedTime,
			detail: "while waiting for other calls to the host",
			last:   a.causeOrStatus(),
		}}
	}
	timer := time.NewTimer(limit)
	defer timer.Stop()
	select {
	case <-place.Value.(chan struct{}):
		return nil
	case <-timer.C:
		b.leave(place)
		return over
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

// fits returns why the call ends if the host accepts no attempt for longer than the call may
// wait.
func (c *call) fits(a *attempt) *ending {
	if c.client.Gate == nil {
		return nil
	}
	closed := c.client.Gate.of(hostOf(c.req.URL)).closedFor()
	if closed == 0 {
		return nil
	}
	if reason, why := c.overrun(closed); why != nil {
		return &ending{reason, c.closed(a, closed, why)}
	}
	if limit := c.client.retryAfterMax(); limit >= 0 && closed > limit-c.past.gated {
		return c.tooLong(a)
	}
	return nil
}

// closed returns the error of a call that cannot wait for a host.
func (c *call) closed(a *attempt, closed time.Duration, why error) error {
	return &stopError{
		why:    why,
		detail: fmt.Sprintf("%s accepts no requests for another %s", c.req.URL.Host, closed.Round(time.Millisecond)),
		last:   a.causeOrStatus(),
	}
}

// learn tells the Gate and the Budget the result of an attempt.
func (c *call) learn(a *attempt) {
	if !c.paced() {
		return
	}
	host := hostOf(c.req.URL)
	if c.client.Budget != nil && a.err == nil && servedStatus(a.resp.StatusCode) {
		c.client.Budget.Deposit(host)
	}
	if c.client.Gate == nil {
		return
	}
	h := c.client.Gate.of(host)
	result := c.gateResult(a)
	if result == resultServed && !h.watched.Load() && a.resp.Header["Ratelimit"] == nil {
		return // the host is well
	}
	h.observe(c.past.admitted, time.Now(), result)
	if a.err == nil {
		c.pause(a, h, result == resultRefused)
	}
}

// gateResult returns what the result of an attempt says about the load of its host.
func (c *call) gateResult(a *attempt) result {
	switch {
	case a.err == nil && refusal(a.resp.StatusCode):
		return resultRefused
	case a.err == nil:
		return resultServed
	case !c.canceled() && notConnected(a.err) && !permanent(nil, a.err):
		return resultRefused
	}
	return resultUnknown
}

// notConnected reports whether an error says that nothing was sent: a connection was not made,
// or a stream of one was refused.
func notConnected(err error) bool {
	for ; err != nil; err = errors.Unwrap(err) {
		if unsentByType(err) {
			return true
		}
	}
	return false
}

// pause closes the gate of a host for as long as a response asks to wait.
func (c *call) pause(a *attempt, h *gateHost, refused bool) {
	p, ok := pauseOf(a.resp, refused)
	if !ok || p.wait <= 0 {
		if value := a.resp.Header["Ratelimit"]; refused && value != nil {
			c.log.unreadable(a.req, "RateLimit", value[0])
		}
		return
	}
	limit := c.client.retryAfterMax()
	if limit < 0 {
		limit = math.MaxInt64
	}
	c.log.paused(a.req, c.req.URL.Host, p.wait, min(p.wait, limit))
	h.close(time.Now(), p, limit, refused)
}

// servedStatus reports whether a response is one of a server that does its work.
func servedStatus(status int) bool {
	return status < 500 && status != http.StatusTooManyRequests && status != 0 || status == http.StatusNotImplemented
}

// hostOf returns the host of a URL in one form, so that all its spellings share a Budget and a
// Gate.
func hostOf(u *url.URL) string {
	host := strings.ToLower(u.Host)
	switch u.Scheme {
	case "http":
		return strings.TrimSuffix(host, ":80")
	case "https":
		return strings.TrimSuffix(host, ":443")
	}
	return host
}
