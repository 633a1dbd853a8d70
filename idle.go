package retryablehttp

import (
	"net/http"
	"time"
)

// idleBodyMin is the length from which on a request body in memory is watched. A shorter one
// leaves this process at once, in one write with the header.
const idleBodyMin = 64 << 10

// idleTimer ends an attempt when one of its bodies stands still.
type idleTimer struct {
	limit time.Duration
	timer *time.Timer
}

// newIdleTimer returns a timer that is not running.
func newIdleTimer(limit time.Duration, expired func()) *idleTimer {
	timer := time.AfterFunc(limit, expired)
	timer.Stop()
	return &idleTimer{limit, timer}
}

func (t *idleTimer) start() {
	if t != nil {
		t.timer.Reset(t.limit)
	}
}

func (t *idleTimer) stop() {
	if t != nil {
		t.timer.Stop()
	}
}

// watchBody makes the response's body end with the attempt, and end it if the server sends
// nothing for too long.
func (c *call) watchBody(a *attempt) {
	ctx := a.ctx
	if ctx == nil || a.err != nil || a.resp.Body == http.NoBody || a.resp.StatusCode == http.StatusSwitchingProtocols {
		return
	}
	var idle *idleTimer
	if limit := c.client.BodyIdleTimeout; limit > 0 {
		idle = newIdleTimer(limit, func() { ctx.end(ErrBodyIdleTimeout) })
	}
	if idle != nil || ctx.whole != nil {
		a.resp.Body = &responseBody{a.resp.Body, ctx, idle}
	}
}

// watchSending ends the attempt if the server takes nothing of the request body for too
// long. Once a response has come, it may have reason not to.
func (c *call) watchSending(a *attempt) {
	ctx, limit := a.ctx, c.client.BodyIdleTimeout
	if limit <= 0 {
		return
	}
	a.body.idle = newIdleTimer(limit, func() {
		if ctx.sending.Load() {
			ctx.end(ErrBodyIdleTimeout)
		}
	})
}
