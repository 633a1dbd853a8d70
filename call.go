package retryablehttp

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net/http"
	"time"
)

// call is one Client.Do or RoundTripper.RoundTrip.
type call struct {
	settings
	handler    ResponseHandlerFunc // may be nil
	resumption int                 // of another call's response body: its number, 0 for none

	req     *http.Request // the caller's or, if private, a copy that PrepareRetry may change
	private bool
	body    callBody

	// Settled before the first attempt.
	ctx   context.Context // the caller's
	key   string          // the Idempotency-Key to add, "" for none
	outer *attemptContext // of the client in whose transport the call is made, which does the retrying
	start time.Duration   // on the clock of now

	past past
}

// settings say how a call is made. A request for the rest of its response's body is made
// with the same.
type settings struct {
	client    *Client
	base      http.RoundTripper // RoundTripper.Base; nil means the client's transport
	redirects bool              // are followed: Client.Do, not a RoundTripper

	// Settled before the first attempt, of the client and the caller's context.
	log      callLog
	check    CheckRetry
	retryMax int
}

// past is what the attempts of a call leave to later ones.
type past struct {
	sent      bool // an attempt may have reached a server
	suspect   suspicion
	lastCause error         // of the last attempt that failed
	shared    *shared       // by all attempts
	drained   *bodyStart    // of the last response that was drained, nil if none was
	admitted  time.Time     // by the Gate
	gated     time.Duration // how long it had to wait there
	waited    time.Duration
	reason    Reason // why the call has failed, empty if it has not
}

// ending says why and with what error a call fails.
type ending struct {
	reason Reason
	err    error
}

func (c *call) do() (*http.Response, error) {
	if err := c.begin(); err != nil {
		c.discardBody()
		return nil, err
	}
	var a attempt
	answered, returned := false, false
	defer func() {
		if !returned { // a callback or the body has panicked
			a.abandon()
		}
		c.finishBody(answered)
	}()
	resp, err := c.attempts(&a)
	if err != nil && !c.redirects { // the http.Client around it adds the URL
		if resp != nil { // from an ErrorHandler
			resp.Body.Close()
		}
		resp, err = nil, withoutURL(err, c.client.redact(c.req.URL))
	}
	c.done(&a, err)
	answered, returned = err == nil, true
	return resp, err
}

// begin checks what the call was given and settles what holds for all its attempts,
// before anything is sent.
func (c *call) begin() (err error) {
	if c.req.URL == nil {
		return errNilURL
	}
	if c.base == nil && c.client.callsItself() {
		return errors.New("retryablehttp: the transport of Client.HTTPClient is a RoundTripper of the same Client")
	}
	if c.log, err = newCallLog(c.client.Logger); err != nil {
		return err
	}
	if err = c.client.Budget.check(); err != nil {
		return err
	}
	c.start = now()
	if start := c.client.OnStart; start != nil {
		if ctx := start(c.req); ctx != nil {
			c.req = c.req.WithContext(ctx)
		}
	}
	c.ctx = c.req.Context()
	c.check, c.retryMax = c.client.CheckRetry, c.client.RetryMax
	if c.check == nil {
		c.check = DefaultRetryPolicy
	}
	o := overridesOf(c.ctx)
	if o.hasRetryMax {
		c.retryMax = o.retryMax
	}
	if o.checkRetry != nil {
		c.check = o.checkRetry
	}
	c.past.sent = c.req.Response != nil // an earlier hop of a redirect that an http.Client follows
	if c.outer = nestedIn(c.req); c.outer != nil {
		c.raise(c.outer.suspect)
	}
	if newKey := c.client.IdempotencyKey; newKey != nil {
		c.key = keyFor(c.req, newKey, c.outer)
	}
	return nil
}

// finishBody ends the use of the request body. If the call was answered, its transport may
// still be sending.
func (c *call) finishBody(answered bool) {
	if c.body.asGiven { // no attempt was made
		c.req.Body.Close()
	}
	if c.body.stream != nil {
		c.body.stream.finish(answered, c.ctx.Err() != nil || isTimeout(c.past.lastCause))
	} else if c.body.nextAttempt != nil && !answered {
		c.body.nextAttempt()
	}
}

// discardBody closes the request body of a call that sends nothing.
func (c *call) discardBody() {
	switch {
	case c.body.stream != nil:
		c.body.stream.finish(false, true)
	case c.body.asGiven:
		c.req.Body.Close()
	}
}

// readAhead finds out whether a body without a known length is short.
func (c *call) readAhead(stream *stream) *ending {
	kept := c.client.replayMax()
	stream.keep(kept)
	if !c.body.readAhead || kept == 0 || c.outer != nil { // the outer client has done so
		return nil
	}
	ctx := c.ctx
	if limit := c.client.MaxElapsedTime; limit > 0 {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, limit)
		defer cancel()
	}
	err := stream.readAhead(ctx, min(kept, readAheadMax))
	switch {
	case c.ctx.Err() != nil:
		return c.interrupted(new(attempt))
	case ctx.Err() != nil:
		return &ending{ReasonMaxElapsedTime, &stopError{why: ErrMaxElapsedTime, detail: "while reading the request body"}}
	case err != nil:
		return &ending{ReasonBody, c.redactError(fmt.Errorf("reading the request body: %w", err))}
	}
	// Trailers can only be sent in chunks.
	if length, ok := stream.complete(); ok && c.req.ContentLength <= 0 && len(c.req.Trailer) == 0 {
		copied := *c.req
		if copied.ContentLength = length; length == 0 {
			copied.Body, c.body.open = http.NoBody, nil
		}
		c.req = &copied
	}
	return nil
}

// attempts makes attempts until one is accepted or the call fails. a is the current one.
func (c *call) attempts(a *attempt) (*http.Response, error) {
	if stream := c.body.stream; stream != nil {
		stream.watch(c.ctx)
		if s := c.readAhead(stream); s != nil {
			return c.fail(a, s)
		}
	}
	for {
		if s := c.next(a); s != nil {
			return c.fail(a, s)
		}
		c.send(a)
		c.judge(a)
		c.learn(a)
		switch {
		case c.outer != nil:
			c.report(a, Attempt{})
			return a.result()
		case a.accepted():
			c.report(a, Attempt{})
			if a.number > 1 && !c.log.silent() {
				c.log.succeeded(a.req, c.client.redact(a.req.URL), a.resp, a.number)
			}
			return a.resp, nil
		}
		wait, s := c.plan(a)
		c.past.lastCause = a.causeOrStatus()
		if s == nil {
			c.report(a, Attempt{Retry: true, Wait: wait, Reason: a.retryReason()})
			s = c.wait(a, wait)
		} else {
			c.report(a, Attempt{Reason: s.reason})
		}
		if s != nil {
			return c.fail(a, s)
		}
	}
}

// next makes a the next attempt, which is admitted and prepared. It returns why the call ends
// instead; a is then the last one still.
func (c *call) next(a *attempt) *ending {
	if s := c.admit(a); s != nil {
		return s
	}
	next := attempt{number: a.number + 1}
	if s := c.prepare(&next, a.resp); s != nil {
		if s.reason == ReasonBody {
			s.err = withLast(s.err, a)
		}
		return s
	}
	*a = next
	return nil
}

// judge asks the policy, and the response handler about a response that the policy
// accepts.
func (c *call) judge(a *attempt) {
	if a.err == nil && a.resp.StatusCode == http.StatusRequestTimeout && a.resp.ProtoMajor == 2 && a.resp.TLS != nil {
		c.raise(suspectHTTP2) // net/http would use the connection again, which the server may be closing
	}
	c.ask(a, a.err)
	if a.accepted() {
		c.handle(a)
	}
	url := ""
	if !c.log.silent() {
		url = c.client.redact(a.req.URL)
	}
	if failure := cmp.Or(a.handlerErr, a.err); failure != nil {
		c.log.attemptFailed(a.req, url, failure)
	} else if hook := c.client.ResponseLogHook; hook != nil {
		shown := a.resp
		if c.resumption > 0 { // the body must get to the reader of the first response whole
			copied := *a.resp
			copied.Body = http.NoBody
			shown = &copied
		}
		hook(hookLogger(c.ctx, c.client.Logger), shown)
	}
}

// handle prepares a response that the policy accepts for the caller. It runs the response
// handler and then asks the policy again.
func (c *call) handle(a *attempt) {
	if a.ctx != nil {
		a.ctx.keep(a.resp)
	}
	c.makeResumable(a)
	if c.handler == nil {
		return
	}
	body := a.resp.Body
	a.handlerErr = c.redactError(c.handler(a.resp))
	c.ask(a, a.handlerErr)
	if !a.accepted() {
		if resumed, ok := body.(*resumedBody); ok {
			resumed.abandoned = true
		}
		a.resp.Body = body // the handler may have replaced it
	}
}

// ask asks the policy about the response of an attempt and an error of it.
func (c *call) ask(a *attempt, err error) {
	a.retry, a.policyErr = c.check(c.policyContext(a), a.resp, err)
	if err == nil || !matches(a.policyErr, err) { // else it has no secrets any more
		a.policyErr = c.redactError(a.policyErr)
	}
}

// policyContext returns the context for the policy, in which it finds the attempt.
func (c *call) policyContext(a *attempt) context.Context {
	switch {
	case a.ctx != nil && a.ctx.lasts():
		return a.ctx
	case a.number == 1 && a.err == nil && a.resp.StatusCode > 0 && a.resp.StatusCode < 400 && (a.ctx == nil || attemptOf(c.ctx) == nil):
		return c.ctx // neither the number nor the request make a difference
	}
	return c.newContext(a)
}

// plan returns how long to wait before the next attempt, or why there is none.
func (c *call) plan(a *attempt) (time.Duration, *ending) {
	if s := c.endedByAttempt(a); s != nil {
		return 0, s
	}
	if c.refused() {
		return 0, c.exhausted(a)
	}
	wait := c.shortened(c.client.backoff(a.number, a.resp), c.left(), a.resp)
	if reason, why := c.overrun(wait); why != nil {
		return 0, &ending{reason, &stopError{why: why, detail: nextDue(wait, a.resp), last: a.causeOrStatus()}}
	}
	if limit := c.client.retryAfterMax(); limit >= 0 && wait > limit {
		asked, ok := obeyed(a.resp, wait)
		if !ok || asked <= limit {
			return wait, nil
		}
		return 0, &ending{ReasonRetryAfter, &stopError{
			why:  fmt.Errorf("server asks to wait %s (Retry-After), longer than Client.RetryAfterMax allows (%s)", asked, limit),
			last: a.causeOrStatus(),
		}}
	}
	return wait, nil
}

// overrun returns why the call ends if it would still wait when its time is over, or no error.
func (c *call) overrun(wait time.Duration) (Reason, error) {
	switch deadline, ok := c.ctx.Deadline(); {
	case ok && wait >= time.Until(deadline):
		return ReasonDeadline, context.DeadlineExceeded
	case c.client.MaxElapsedTime > 0 && wait >= c.client.MaxElapsedTime-c.elapsed():
		return ReasonMaxElapsedTime, ErrMaxElapsedTime
	}
	return "", nil
}

// nextDue says when the next attempt would be made, and whether a server asked for the wait.
func nextDue(wait time.Duration, resp *http.Response) string {
	due := "the next attempt is due in " + wait.Round(time.Millisecond).String()
	if asked, ok := obeyed(resp, wait); ok {
		due += fmt.Sprintf(" (the server asks to wait %s by Retry-After)", asked)
	}
	return due
}

// shortened returns a wait that ExponentialJitterBackoff has drawn or, if the call has less
// time left, a shorter one, but never one that is shorter than allowed or asked for.
func (s *settings) shortened(wait, left time.Duration, resp *http.Response) time.Duration {
	if wait < left || s.client.Backoff != nil && !sameFunc[Backoff](s.client.Backoff, ExponentialJitterBackoff) {
		return wait
	}
	least, _ := s.client.waits()
	if asked, ok := askedToWait(resp); ok {
		least = max(least, asked)
	}
	if least >= left {
		return wait
	}
	return between(least, least+(left-least)/2) // the attempt needs time too
}

// endedByAttempt returns why the call ends with this attempt, however long the wait would
// be.
func (c *call) endedByAttempt(a *attempt) *ending {
	stream := c.body.stream
	switch {
	case c.canceled():
		return c.interrupted(a)
	case errors.Is(a.err, ErrMaxElapsedTime) && c.client.MaxElapsedTime > 0 && c.elapsed() >= c.client.MaxElapsedTime:
		return &ending{ReasonMaxElapsedTime, &stopError{why: a.err, last: c.past.lastCause}}
	case errors.Is(a.err, ErrNotReplayable): // for a redirect, or a repetition by HTTP/2
		return &ending{ReasonNotReplayable, a.err}
	case stream != nil && stream.sourceErr() != nil:
		return &ending{ReasonBody, withLast(c.redactError(stream.sourceErr()), a)}
	case !a.retry:
		return &ending{ReasonNotRetryable, a.cause()}
	case a.number > max(c.retryMax, 0):
		return &ending{ReasonRetriesUsedUp, a.cause()}
	case c.body.nextAttempt != nil && !c.body.nextAttempt():
		return &ending{ReasonNotReplayable, &stopError{
			why:    ErrNotReplayable,
			detail: "more of it was read than Client.ReplayMax allows to keep",
			last:   a.causeOrStatus(),
		}}
	}
	return nil
}

// canceled reports whether the caller has ended the call.
func (c *call) canceled() bool {
	select {
	case <-requestCancel(c.req):
		return true
	default:
		return c.ctx.Err() != nil
	}
}

// requestCancel returns the older way to end a request than its context, which net/http
// still follows.
func requestCancel(req *http.Request) <-chan struct{} {
	//lint:ignore SA1019 callers may still set it
	return req.Cancel
}

// interrupted returns how a call ends that the caller has ended.
func (c *call) interrupted(a *attempt) *ending {
	ctxErr := c.ctx.Err()
	if ctxErr == nil { // by Request.Cancel
		ctxErr = context.Canceled
	}
	s := &ending{reason: ReasonCanceled}
	if errors.Is(ctxErr, context.DeadlineExceeded) {
		s.reason = ReasonDeadline
	}
	err := &stopError{why: ctxErr, cause: c.redactError(causeOf(c.ctx)), last: c.past.lastCause, canceled: s.reason == ReasonCanceled}
	// An attempt that the same event has ended says nothing of its own.
	if a.resp != nil || a.err != nil && !matches(a.err, err.why) && !(err.cause != nil && matches(a.err, err.cause)) {
		last := *a
		if matches(a.policyErr, ctxErr) {
			last.policyErr = nil
		}
		err.last = last.causeOrStatus()
	}
	s.err = err
	return s
}

// causeOf returns the cause that ctx was canceled with, nil if that is its error.
func causeOf(ctx context.Context) error {
	if cause := context.Cause(ctx); !matches(ctx.Err(), cause) {
		return cause
	}
	return nil
}

// wait waits before the next attempt and drains the response meanwhile. It returns why the
// call ends if the caller ends it.
func (c *call) wait(a *attempt, wait time.Duration) *ending {
	if !c.log.silent() {
		c.log.retrying(a.req, c.client.redact(a.req.URL), a.resp, a.causeOrStatus(), a.number, wait, c.retryMax-a.number+1)
	}
	began := now()
	defer func() { c.past.waited += now() - began }()
	var due <-chan time.Time
	if wait > 0 {
		timer := time.NewTimer(wait)
		defer timer.Stop()
		due = timer.C
	}
	c.drain(a, min(max(wait, drainGrace), drainTime), c.ctx.Done())
	if due != nil {
		select {
		case <-due:
		case <-c.ctx.Done():
		case <-requestCancel(c.req):
		}
	}
	if c.canceled() {
		return c.interrupted(a)
	}
	return nil
}

// fail ends the call without success. a is the last attempt.
func (c *call) fail(a *attempt, s *ending) (*http.Response, error) {
	c.past.reason = s.reason
	shown := c.client.redact(c.req.URL)
	c.log.callFailed(c.req, shown, a.number, s.reason, cmp.Or(s.err, a.causeOrStatus()))
	if handler := c.client.ErrorHandler; handler != nil {
		if a.ctx != nil && a.resp != nil && !a.drained {
			a.ctx.keep(a.resp)
		}
		cause := s.err
		if c.past.sent && Unsent(cause) {
			cause = annotate(cause, false, "") // it may become the call's, which is about all attempts
		}
		resp, err := handler(a.resp, cause, a.number)
		if resp == nil && err == nil {
			err = errors.New("retryablehttp: ErrorHandler returned neither a response nor an error")
		}
		return resp, err
	}
	canceled := c.ctx.Done()
	if c.ctx.Err() != nil {
		canceled = nil // the time is short in any case
	}
	c.drain(a, c.lastBodyTime(s.reason), canceled)
	if !c.redirects {
		s.err = withoutURL(s.err, shown)
	}
	return nil, &GiveUpError{
		Method:      method(c.req),
		URL:         shown,
		Attempts:    a.number,
		Elapsed:     c.elapsed(),
		Reason:      s.reason,
		Err:         s.err,
		Response:    a.resp,
		omitRequest: !c.redirects,
		unsent:      !c.past.sent,
	}
}

// lastBodyTime returns how long the body of the last response may delay the error.
func (c *call) lastBodyTime(reason Reason) time.Duration {
	switch reason {
	case ReasonCanceled, ReasonDeadline, ReasonMaxElapsedTime, ReasonRetryAfter:
		return urgentBodyTime
	}
	if limit := c.client.MaxElapsedTime; limit > 0 {
		return min(lastBodyTime, max(limit-c.elapsed(), urgentBodyTime))
	}
	return lastBodyTime
}

// report calls OnAttempt with what the attempt and result tell.
func (c *call) report(a *attempt, result Attempt) {
	if c.client.OnAttempt == nil {
		return
	}
	req := a.req
	if a.ctx != nil { // which ends with the attempt
		req = req.WithContext(c.newContext(a))
	}
	result.Number, result.Request, result.Response, result.Err = a.number, req, a.resp, a.cause()
	result.Start, result.Duration = a.start, a.took
	c.client.OnAttempt(result)
}

// done calls OnDone.
func (c *call) done(a *attempt, err error) {
	if c.client.OnDone == nil {
		return
	}
	elapsed := c.elapsed()
	outcome := Outcome{
		Request:    c.req,
		Method:     method(c.req),
		URL:        c.client.redact(c.req.URL),
		Start:      time.Now().Add(-elapsed),
		Elapsed:    elapsed,
		Waited:     c.past.waited,
		Attempts:   a.number,
		Reason:     c.past.reason,
		Err:        err,
		Resumption: c.resumption,
	}
	if a.resp != nil {
		outcome.Status = a.resp.StatusCode
	}
	c.client.OnDone(outcome)
}

// transport returns what sends the attempts.
func (s *settings) transport() http.RoundTripper {
	if s.base != nil {
		return s.base
	}
	return s.client.transport()
}

// epoch is where the clock of now starts.
var epoch = time.Now()

// now reads the clock for what needs only the difference of two readings. It takes half of
// the time of time.Now.
func now() time.Duration { return time.Since(epoch) }

func (c *call) elapsed() time.Duration { return now() - c.start }
