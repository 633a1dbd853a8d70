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
	origin  *http.Request // what the caller asked for; never modified
	handler ResponseHandlerFunc
	follow  bool    // redirects, as http.Client does; a RoundTripper does not
	spent   bool    // GetBody opens the body of every attempt, the first one's too
	stream  *stream // of a one-shot origin.Body, else nil
	resumes bool    // the reading of another call's answer

	ctx      context.Context // origin's
	journal  journal
	check    CheckRetry
	retryMax int
	observe  bool          // whether the policy may ask what was sent
	outer    *Client       // in whose transport the call is made, which does the retrying; else nil
	start    time.Duration // on the clock of now

	forPolicy *policyContext // c.ctx with c.origin, once it is needed

	attempts int
	mark     *attemptContext // of the last attempt, nil if it needed none
	seen     observation     // of the last attempt
	verdict  *verdict        // on its response, if that is known before its body is read
	sent     bool            // some attempt may have been
	suspect  bool            // the connection of the last attempt
	drained  *drain          // of the last response, while it may still be needed
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

// passOn is what a nested call returns: what came of its attempt, for another client to
// judge.
func (o *outcome) passOn() (*http.Response, error) {
	err := o.err
	switch {
	case o.policyErr != nil && !o.retry:
		err = o.policyErr
	case o.handlerErr != nil:
		err = o.handlerErr
	}
	if err != nil && o.resp != nil {
		o.resp.Body.Close()
		return nil, err
	}
	return o.resp, err
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
	if stream := c.stream; stream != nil {
		answered := false
		defer func() { stream.finish(answered) }()
		// A transport may wait for a read that is under way; only closing the source
		// ends one that has nothing to give.
		stopWatching := context.AfterFunc(c.ctx, func() { stream.finish(false) })
		defer stopWatching()
		if stop := c.readAhead(); stop != nil {
			return c.giveUp(nil, stop)
		}
		resp, err := c.run()
		answered = err == nil
		return resp, err
	}
	return c.run()
}

func (c *call) run() (*http.Response, error) {
	var last outcome
	for {
		req, stop := c.nextRequest()
		if stop != nil {
			if stop.reason == ReasonBody {
				stop.err = withLast(stop.err, &last)
			}
			return c.giveUp(last.resp, stop)
		}
		last = c.attempt(req)
		if c.outer != nil {
			c.report(req, &last, Attempt{})
			if last.answer() && c.outer.ResumeMax == 0 {
				return c.resumable(last.resp), nil
			}
			return last.passOn()
		}
		if last.answer() {
			c.report(req, &last, Attempt{})
			return c.resumable(last.resp), nil
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

// begin checks what the call was given and settles what holds for all its attempts,
// before anything is sent.
func (c *call) begin() error {
	err := errNilURL
	if c.origin.URL != nil {
		c.journal, err = c.client.validate()
	}
	if err != nil {
		if c.stream != nil {
			c.stream.finish(false)
		} else if c.origin.Body != nil && !c.spent {
			c.origin.Body.Close()
		}
		return err
	}
	c.ctx = c.origin.Context()
	c.start = now()
	c.check, c.retryMax = c.client.checkRetry(), c.client.RetryMax
	if o, ok := c.ctx.Value(overridesKey{}).(*overrides); ok {
		c.override(o)
	}
	// An earlier hop of a redirect that an http.Client follows has been answered.
	c.sent = c.origin.Response != nil
	mark := markOf(c.ctx)
	if mark != nil && mark.client != c.client && mark.sending.Load() {
		c.outer = mark.client
		c.outer.foundNested()
		c.suspect = c.suspect || mark.suspect
	}
	if newKey := c.client.IdempotencyKey; newKey != nil {
		if c.outer != nil {
			newKey = func(req *http.Request) string { return mark.sharedKey(c.client, req) }
		}
		c.origin = withIdempotencyKey(c.origin, newKey)
	}
	c.observe = !idempotent(c.origin) && !neverAsks(c.check)
	return nil
}

func (c *call) override(o *overrides) {
	if o.hasRetryMax {
		c.retryMax = o.retryMax
	}
	if o.checkRetry != nil {
		c.check = o.checkRetry
	}
}

// readAhead finds out whether a one-shot body is short enough to be kept whole.
func (c *call) readAhead() *stop {
	ctx := c.ctx
	if limit := c.client.MaxElapsedTime; limit > 0 {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, limit)
		defer cancel()
	}
	c.stream.allow(c.client.replayMax())
	if c.outer != nil { // and may have done so, up to the last byte it may keep
		c.attachStream()
		return nil
	}
	err := c.stream.readAhead(ctx)
	switch {
	case err == nil:
		c.attachStream()
		return nil
	case c.ctx.Err() != nil:
		return c.interrupted(&outcome{})
	case ctx.Err() != nil:
		return &stop{ReasonMaxElapsedTime, &stopError{why: ErrMaxElapsedTime, detail: "the request body has not come"}}
	case errors.Is(err, ErrNotReplayable):
		return &stop{ReasonNotReplayable, err}
	}
	return &stop{ReasonBody, fmt.Errorf("reading the request body: %w", err)}
}

func (c *call) attachStream() {
	c.origin, c.spent = c.stream.attach(c.origin), true
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
	if retry || c.outer == nil && c.client.mayNest(req) {
		c.mark = c.mark.next(ctx, c.client, c.attempts+1, c.suspect)
		ctx = c.mark
	}
	c.seen, c.verdict = observation{}, nil
	if c.observe {
		c.seen.trace = new(sendTrace)
		ctx = c.seen.trace.attach(ctx)
	}
	open := (retry || c.spent) && req.GetBody != nil && req.Body != nil && req.Body != http.NoBody
	given := !open && needsFit(req, c.follow)
	switch {
	case c.mayChange(retry):
		req = req.Clone(ctx)
		req.Trailer = c.origin.Trailer // which the body fills in when it is sent
	case ctx != c.ctx || open || given:
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
	} else if given {
		fitBody(req)
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
	if c.attempts == 1 && !c.journal.silent() { // those that follow are announced by logRetry
		c.journal.sending(req, c.client.redact(req.URL))
	}
	if hook := c.client.RequestLogHook; hook != nil {
		hook(c.journal.hookLogger(c.ctx), req, c.attempts-1)
	}
	if c.client.OnAttempt != nil {
		o.start = time.Now()
	}
	c.mark.setSending(true)
	o.resp, o.err = c.send(req)
	c.mark.setSending(false)
	if c.client.OnAttempt != nil {
		o.took = time.Since(o.start)
	}
	if o.err != nil {
		o.err = mark(o.err, c.seen.unsent(o.err))
	}
	if c.attempts == 1 && c.mark != nil {
		c.client.foundNone(req) // unless a nested client has met the mark
		if o.resp != nil && o.resp.Request == req && !c.mayChange(false) {
			o.resp.Request = c.origin // as it is for the calls that need no mark
		}
	}
	if below := c.attemptsBelow(o.resp, o.err); below > 0 {
		c.client.foundNested()
		c.attempts += below
	}
	c.sent = c.sent || o.err == nil || !Unsent(o.err)
	c.suspect = c.suspect || suspicious(o.resp, o.err)

	if c.watchesReads() && o.err == nil && o.resp.Body != http.NoBody && o.resp.StatusCode != http.StatusSwitchingProtocols {
		o.resp.Body = &watchedBody{ReadCloser: o.resp.Body}
	}
	if v := c.verdict; v != nil && o.err == nil {
		o.retry, o.policyErr = v.retry, v.err
	} else {
		o.retry, o.policyErr = c.ask(o.resp, o.err)
	}
	if c.handler != nil && o.answer() {
		if o.handlerErr = c.handler(o.resp); o.handlerErr != nil {
			o.retry, o.policyErr = c.ask(o.resp, o.handlerErr)
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

// attemptsBelow is how many attempts more than this one were made by a client in the
// transport that did not know of this call. They were sent, so they count.
func (c *call) attemptsBelow(resp *http.Response, err error) int {
	if c.outer != nil {
		return 0 // the mark is the outer one's
	}
	if err != nil {
		var below *GiveUpError
		if errors.As(err, &below) {
			return max(below.Attempts-1, 0)
		}
		return 0
	}
	if resp.StatusCode < 400 || resp.Request == nil {
		return 0
	}
	if mark := markOf(resp.Request.Context()); mark != nil && mark.client != c.client {
		return mark.number - 1
	}
	return 0
}

// ask asks the policy. Where the outcome may not be an answer, the context tells which
// request the call is about.
func (c *call) ask(resp *http.Response, err error) (bool, error) {
	ctx := c.ctx
	if err != nil || resp.StatusCode >= 400 || resp.StatusCode == 0 {
		ctx = c.contextForPolicy()
	}
	return c.check(ctx, resp, err)
}

func (c *call) contextForPolicy() context.Context {
	if c.forPolicy == nil {
		c.forPolicy = &policyContext{c.ctx, c.origin}
	}
	return c.forPolicy
}

// send performs the exchange within the limits of an attempt.
func (c *call) send(req *http.Request) (*http.Response, error) {
	rt := c.client.transport()
	if c.suspect {
		rt = fresh(rt, req)
	}
	limit := c.startLimit(req.Context())
	if limit == nil {
		resp, err := c.exchange(rt, req)
		return c.complete(req, resp, err)
	}
	limited := req.WithContext(limit.ctx)
	resp, err := c.exchange(rt, limited)
	resp, err = limit.settle(c.complete(limited, resp, err))
	if resp != nil && resp.Request != nil && resp.Request.Context() == limit.ctx {
		// The limit ends with the body; the request may be asked for its context later.
		if resp.Request == limited {
			resp.Request = req
		} else {
			resp.Request = resp.Request.WithContext(req.Context())
		}
	}
	if err != nil && err == limit.expired() {
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
	case c.client.MaxElapsedTime > 0 && c.elapsed() >= c.client.MaxElapsedTime && errors.Is(o.err, ErrMaxElapsedTime):
		return 0, &stop{ReasonMaxElapsedTime, o.err}
	case errors.Is(o.err, ErrNotReplayable): // for a redirect, or another try of HTTP/2
		return 0, &stop{ReasonNotReplayable, o.err}
	case c.stream != nil && c.stream.failure() != nil:
		return 0, &stop{ReasonBody, withLast(c.stream.failure(), o)}
	case !o.retry:
		return 0, &stop{ReasonNotRetryable, o.cause()}
	case c.attempts > c.retryMax:
		return 0, &stop{ReasonRetriesUsedUp, o.cause()}
	case c.stream != nil && !c.stream.hold():
		return 0, &stop{ReasonNotReplayable, &stopError{
			why:    ErrNotReplayable,
			detail: "more of it was read than Client.ReplayMax allows to keep",
			last:   o.last(),
		}}
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
		cause := s.err
		if c.sent && Unsent(cause) {
			cause = mark(cause, false) // it may become the call's, which is about all attempts
		}
		resp, err := handler(resp, cause, c.attempts)
		if resp == nil && err == nil {
			err = errors.New("retryablehttp: ErrorHandler returned neither a response nor an error")
		}
		return resp, err
	}
	if resp != nil && c.drained == nil {
		holdLast(c.ctx, resp, c.lastBodyTime(s.reason))
	}
	if !c.follow {
		s.err = c.bare(s.err)
	}
	s.err = c.redactError(s.err)
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
		unsent:      !c.sent,
	}
}

// lastBodyTime is how long the body of the last response may hold up the error.
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

func (c *call) logRetry(req *http.Request, o *outcome, wait time.Duration) {
	if c.journal.silent() {
		return
	}
	status := 0
	if o.resp != nil {
		status = o.resp.StatusCode
	}
	c.journal.retrying(req, c.client.redact(req.URL), status, wait, c.retryMax-c.attempts+1)
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

// withLast adds to an error what the last attempt has failed of, unless that is the same.
func withLast(err error, o *outcome) error {
	cause := o.cause()
	switch {
	case cause == nil:
		return err
	case errors.Is(cause, err):
		return cause
	}
	return &stopError{why: err, last: cause}
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
