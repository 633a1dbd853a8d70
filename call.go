package retryablehttp

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"time"
)

// A call is one Client.Do or RoundTripper.RoundTrip, from its first attempt to its
// answer.
type call struct {
	client  *Client
	origin  *http.Request // the caller's; never modified
	handler ResponseHandlerFunc
	follow  bool // redirects, as http.Client does; a RoundTripper does not
	spent   bool // origin.Body was sent by an earlier call

	ctx      context.Context // origin's
	journal  journal
	start    time.Duration // on the clock of now
	attempts int
	drained  *drain // of the last response, while it may still be needed
}

// outcome is what one attempt has come to.
type outcome struct {
	resp       *http.Response
	err        error // of the transport
	retry      bool  // the policy's decision
	policyErr  error
	handlerErr error

	start time.Time // start and took are measured only for OnAttempt
	took  time.Duration
}

// cause is the error that speaks for the outcome.
func (o *outcome) cause() error {
	switch {
	case o.policyErr != nil:
		return o.policyErr
	case o.handlerErr != nil:
		return o.handlerErr
	}
	return o.err
}

// answer reports whether the response is what the call returns.
func (o *outcome) answer() bool {
	return !o.retry && o.cause() == nil
}

// stop says why and with what error a call gives up.
type stop struct {
	reason Reason
	err    error
}

func (c *call) do() (*http.Response, error) {
	if err := c.begin(); err != nil {
		return nil, err
	}
	var last outcome
	for {
		req, stop := c.nextRequest()
		if stop != nil {
			return c.giveUp(last.resp, stop)
		}
		last = c.attempt(req)
		if last.answer() {
			c.report(req, &last, Attempt{})
			return last.resp, nil
		}
		wait, stop := c.plan(&last)
		if stop != nil {
			c.report(req, &last, Attempt{Reason: stop.reason})
			return c.giveUp(last.resp, stop)
		}
		c.report(req, &last, Attempt{Retry: true, Wait: wait, Reason: last.retryReason()})
		c.logRetry(req, &last, wait)
		if c.drained = pause(c.ctx, last.resp, wait); c.ctx.Err() != nil {
			return c.giveUp(last.resp, c.interrupted(&last))
		}
	}
}

// begin checks what the call was given, before anything is sent.
func (c *call) begin() error {
	err := errNilURL
	if c.origin.URL != nil {
		c.journal, err = c.client.check()
	}
	if err != nil {
		if c.origin.Body != nil && !c.spent {
			c.origin.Body.Close()
		}
		return err
	}
	if !c.spent {
		if c.origin, err = replayable(c.origin); err != nil {
			return err
		}
	}
	c.ctx = c.origin.Context()
	c.start = now()
	return nil
}

// epoch is where the clock of now starts.
var epoch = time.Now()

// now reads the clock for what needs only the difference of two readings. It costs
// half of what time.Now does, which a call that succeeds at once would notice.
func now() time.Duration { return time.Since(epoch) }

func (c *call) elapsed() time.Duration { return now() - c.start }

// nextRequest makes the request of the next attempt. That is the caller's own where
// nothing about it has to differ.
func (c *call) nextRequest() (*http.Request, *stop) {
	req, ctx := c.origin, c.ctx
	retry := c.attempts > 0
	if retry {
		ctx = &attemptContext{ctx, c.attempts + 1}
	}
	open := req.GetBody != nil && (retry || c.spent || req.Body == nil)
	switch {
	case c.mayChange(retry):
		req = req.Clone(ctx)
	case retry || open:
		req = req.WithContext(ctx)
	}
	if retry && c.client.PrepareRetry != nil {
		if open {
			req.Body = nil // it was the last attempt's; GetBody has this one's
		}
		if err := c.client.PrepareRetry(req); err != nil {
			return nil, &stop{ReasonPrepareRetry, err}
		}
	}
	if open {
		if err := openBody(req); err != nil {
			return nil, &stop{ReasonBody, err}
		}
	}
	c.drained.discard()
	c.drained = nil
	c.attempts++
	return req, nil
}

// mayChange reports whether something that this call runs may change the request it
// sends: the hooks, and http.Client where it adds cookies.
func (c *call) mayChange(retry bool) bool {
	return c.client.RequestLogHook != nil ||
		retry && c.client.PrepareRetry != nil ||
		c.follow && c.client.httpClient().Jar != nil
}

// attempt sends one request and has the outcome judged.
func (c *call) attempt(req *http.Request) (o outcome) {
	if !c.journal.silent() {
		c.journal.sending(req, c.client.redact(req.URL))
	}
	if hook := c.client.RequestLogHook; hook != nil {
		hook(c.journal.hookLogger(c.ctx), req, c.attempts-1)
	}
	if c.client.OnAttempt != nil {
		o.start = time.Now()
	}
	o.resp, o.err = c.send(req)
	if c.client.OnAttempt != nil {
		o.took = time.Since(o.start)
	}

	check := c.client.checkRetry()
	o.retry, o.policyErr = check(c.ctx, o.resp, o.err)
	if c.handler != nil && o.answer() {
		if o.handlerErr = c.handler(o.resp); o.handlerErr != nil {
			o.retry, o.policyErr = check(c.ctx, o.resp, o.handlerErr)
		}
	}

	failure := o.err
	if o.handlerErr != nil {
		failure = o.handlerErr
	}
	if failure != nil {
		if !c.journal.silent() {
			c.journal.failed(req, c.client.redact(req.URL), &redactedError{failure, c.client.redact})
		}
	} else if hook := c.client.ResponseLogHook; hook != nil {
		hook(c.journal.hookLogger(c.ctx), o.resp)
	}
	return o
}

// send performs the exchange within the limits of an attempt.
func (c *call) send(req *http.Request) (*http.Response, error) {
	limit := c.startLimit(req.Context())
	if limit == nil {
		return c.exchange(req)
	}
	resp, err := limit.settle(c.exchange(req.WithContext(limit.ctx)))
	if expired := limit.expired(); err != nil && err == expired && c.follow {
		err = c.urlError(req, err)
	}
	return resp, err
}

// startLimit starts what bounds the next attempt in time, nil if nothing does.
func (c *call) startLimit(ctx context.Context) *limit {
	headers, why := c.client.AttemptTimeout, ErrAttemptTimeout
	if c.client.MaxElapsedTime > 0 {
		left := max(c.client.MaxElapsedTime-c.elapsed(), 1)
		if headers == 0 || left <= headers {
			headers, why = left, ErrMaxElapsedTime
		}
	}
	var whole time.Duration
	if !c.follow { // otherwise http.Client sees to it
		whole = c.client.httpClient().Timeout
	}
	if headers <= 0 && whole <= 0 {
		return nil
	}
	return startLimit(ctx, headers, why, whole)
}

// plan says how long to wait before the next attempt, or why there is none.
func (c *call) plan(o *outcome) (time.Duration, *stop) {
	switch {
	case c.ctx.Err() != nil:
		return 0, c.interrupted(o)
	case errors.Is(o.err, ErrMaxElapsedTime):
		return 0, &stop{ReasonMaxElapsedTime, o.err}
	case !o.retry:
		return 0, &stop{ReasonNotRetryable, o.cause()}
	case c.attempts > c.client.RetryMax:
		return 0, &stop{ReasonRetriesUsedUp, o.cause()}
	}
	wait := c.client.backoff(c.attempts, o.resp)
	if deadline, ok := c.ctx.Deadline(); ok && wait >= time.Until(deadline) {
		return 0, &stop{ReasonDeadline, &stopError{
			why:    context.DeadlineExceeded,
			detail: fmt.Sprintf("the next attempt is due in %s, after the deadline", wait),
			last:   o.last(),
		}}
	}
	if limit := c.client.MaxElapsedTime; limit > 0 && wait >= limit-c.elapsed() {
		return 0, &stop{ReasonMaxElapsedTime, &stopError{
			why:    ErrMaxElapsedTime,
			detail: fmt.Sprintf("the next attempt is due in %s, %s after the first", wait, saturatingAdd(wait, c.elapsed())),
			last:   o.last(),
		}}
	}
	if limit := c.client.retryAfterMax(); limit >= 0 && wait > limit && o.resp != nil {
		if asked, ok := parseRetryAfter(o.resp.Header.Get("Retry-After"), time.Now); ok && asked > limit {
			return 0, &stop{ReasonRetryAfter, &stopError{
				why:  fmt.Errorf("server asks to wait %s (Retry-After), longer than Client.RetryAfterMax allows (%s)", asked, limit),
				last: o.last(),
			}}
		}
	}
	return wait, nil
}

// interrupted is how a call ends whose context is done.
func (c *call) interrupted(o *outcome) *stop {
	ctxErr := c.ctx.Err()
	s := &stop{reason: ReasonCanceled}
	if errors.Is(ctxErr, context.DeadlineExceeded) {
		s.reason = ReasonDeadline
	}
	last := *o
	if errors.Is(o.policyErr, ctxErr) { // says nothing about the attempt
		last.policyErr = nil
	}
	err := &stopError{why: ctxErr, last: last.last()}
	if cause := context.Cause(c.ctx); cause != ctxErr {
		err.cause = cause
	}
	s.err = err
	return s
}

// giveUp ends the call without an answer. resp is the last attempt's response.
func (c *call) giveUp(resp *http.Response, s *stop) (*http.Response, error) {
	if c.drained != nil {
		c.drained.keep(resp)
	}
	if handler := c.client.ErrorHandler; handler != nil {
		resp, err := handler(resp, s.err, c.attempts)
		if resp == nil && err == nil {
			err = errors.New("retryablehttp: ErrorHandler returned neither a response nor an error")
		}
		return resp, err
	}
	if resp != nil && c.drained == nil {
		holdLast(c.ctx, resp, c.lastBodyTime(s.reason))
	}
	return nil, &GiveUpError{
		Method:      method(c.origin),
		URL:         c.client.redact(c.origin.URL),
		Attempts:    c.attempts,
		Elapsed:     c.elapsed(),
		Reason:      s.reason,
		Err:         s.err,
		Response:    resp,
		redact:      c.client.redact,
		omitRequest: !c.follow,
	}
}

// lastBodyTime is how long the body of the last response may hold up the error.
func (c *call) lastBodyTime(reason Reason) time.Duration {
	switch reason {
	case ReasonCanceled, ReasonDeadline, ReasonMaxElapsedTime, ReasonRetryAfter:
		return drainGrace // to end at once is the point
	}
	if limit := c.client.MaxElapsedTime; limit > 0 {
		return min(lastBodyTime, max(limit-c.elapsed(), drainGrace))
	}
	return lastBodyTime
}

func (c *call) logRetry(req *http.Request, o *outcome, wait time.Duration) {
	if c.journal.silent() {
		return
	}
	status := 0
	if o.resp != nil {
		status = o.resp.StatusCode
	}
	c.journal.retrying(req, c.client.redact(req.URL), status, wait, c.client.RetryMax-c.attempts+1)
}

// report tells OnAttempt what has become of an attempt; what the outcome does not
// hold is given in a.
func (c *call) report(req *http.Request, o *outcome, a Attempt) {
	if c.client.OnAttempt == nil {
		return
	}
	a.Number, a.Request, a.Response, a.Err = c.attempts, req, o.resp, o.cause()
	a.Start, a.Duration = o.start, o.took
	c.client.OnAttempt(a)
}

// last is the cause or, where there is none, the status.
func (o *outcome) last() error {
	if cause := o.cause(); cause != nil || o.resp == nil {
		return cause
	}
	return statusError(o.resp)
}

func (o *outcome) retryReason() Reason {
	switch {
	case o.handlerErr != nil:
		return ReasonResponseHandler
	case errors.Is(o.err, ErrAttemptTimeout):
		return ReasonAttemptTimeout
	case o.err != nil:
		return ReasonTransportError
	}
	return ReasonStatus
}
