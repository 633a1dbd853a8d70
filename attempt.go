package retryablehttp

import (
	"errors"
	"io"
	"net/http"
	"sync/atomic"
	"time"
)

// Attempt describes one finished attempt to [Client.OnAttempt].
type Attempt struct {
	// Number is the attempt's number within its call, from 1.
	Number int
	// Request is the request as it was sent. Do not modify it.
	Request *http.Request
	// Response is nil if the attempt got none. Do not read or close its body.
	Response *http.Response
	// Err is the error of the policy, the response handler or the attempt, nil if there
	// is none.
	Err error
	// Start is when the attempt was sent. Duration is the time until the response's
	// headers, the end of a body that Client.BufferMax has read, or an error.
	Start    time.Time
	Duration time.Duration
	// Retry reports whether another attempt follows, after Wait. A cancel during the wait,
	// Client.Budget, Client.Gate, or a PrepareRetry that fails, can still prevent it.
	Retry bool
	Wait  time.Duration
	// Reason says why the attempt is retried, or why the call fails. It is empty if the
	// response is accepted.
	Reason Reason
}

// Outcome describes one finished call to [Client.OnDone].
type Outcome struct {
	// Request is the request of the call, which was not sent as it is. Do not modify it.
	Request *http.Request
	Method  string
	// URL is the request's URL, redacted (see Client.RedactURL).
	URL string
	// Start is when the call began. Elapsed is the time from then until it returned: the
	// headers of a response, the end of a body that Client.BufferMax has read, or an
	// error. Waited is how much of it was spent waiting before attempts, for Backoff,
	// Client.Budget and Client.Gate.
	Start   time.Time
	Elapsed time.Duration
	Waited  time.Duration
	// Attempts is the number of attempts that were made, 0 if the call ended before.
	Attempts int
	// Status is the status code of the last attempt's response, 0 if it got none.
	Status int
	// Reason says why the call has failed. It is empty if it has not, and in the transport
	// of another client, which judges the result.
	Reason Reason
	// Err is the error that the call returned, nil if there is none.
	Err error
	// Resumption is not 0 if the call requested the rest of a response body that was cut
	// off (see Client.ResumeMax): 1 for the first time that the body was resumed, and so
	// on.
	Resumption int
}

// Reason says why an attempt is followed by another, or why the call fails.
type Reason string

// Reasons for a retry.
const (
	ReasonStatus          Reason = "status"           // the policy retries this response
	ReasonTransportError  Reason = "transport error"  // no response
	ReasonAttemptTimeout  Reason = "attempt timeout"  // none within AttemptTimeout
	ReasonResponseHandler Reason = "response handler" // the handler refused the response
)

// Reasons for the failure of a call.
const (
	ReasonRetriesUsedUp  Reason = "retries used up"      // RetryMax
	ReasonNotRetryable   Reason = "not retryable"        // the policy said stop
	ReasonCanceled       Reason = "canceled"             // the request's context was canceled
	ReasonDeadline       Reason = "deadline"             // the context's deadline passed, or the wait would have passed it
	ReasonMaxElapsedTime Reason = "max elapsed time"     // the same for MaxElapsedTime
	ReasonRetryAfter     Reason = "Retry-After too long" // longer than RetryAfterMax
	ReasonBudget         Reason = "budget"               // Client.Budget has no token for the retry
	ReasonNotReplayable  Reason = "not replayable"       // more than ReplayMax was read of a body that can be read only once
	ReasonPrepareRetry   Reason = "PrepareRetry failed"
	ReasonBody           Reason = "request body failed" // opening it or, if it can be read only once, reading it
)

// attempt is one attempt of a call. It is prepared, sent, judged and reported.
type attempt struct {
	number int
	req    *http.Request
	own    *http.Request   // the memory of req if that is not the call's; may be nil
	ctx    *attemptContext // nil if the attempt needs none
	seen   *observer       // nil if it is not observed
	body   *sentBody       // of req; nil if it is in memory or a file

	redirected *atomic.Pointer[sentBody] // the last body that was opened for a redirect; may be nil

	resp          *http.Response
	err           error         // of the transport
	transportBody io.ReadCloser // of resp as *http.Transport returned it; nil for other transports
	drained       bool          // the body of resp was read

	retry      bool // the policy's decision
	policyErr  error
	handlerErr error

	start time.Time // start and took are for OnAttempt and BufferMax
	took  time.Duration
}

// cause returns the error that explains the result, nil if only a status does.
func (a *attempt) cause() error {
	switch {
	case a.policyErr != nil:
		return a.policyErr
	case a.handlerErr != nil:
		return a.handlerErr
	}
	return a.err
}

// causeOrStatus returns the cause or, if there is none, an error for the status.
func (a *attempt) causeOrStatus() error {
	if cause := a.cause(); cause != nil || a.resp == nil {
		return cause
	}
	return newStatusError(a.resp)
}

// accepted reports whether the call returns the response.
func (a *attempt) accepted() bool { return !a.retry && a.cause() == nil }

// lastBody returns the request body that was opened last, nil if none is watched.
func (a *attempt) lastBody() *sentBody {
	if a.redirected != nil {
		if last := a.redirected.Load(); last != nil {
			return last
		}
	}
	return a.body
}

// result returns what a nested call returns: the outcome as it is, for the outer client
// to judge.
func (a *attempt) result() (*http.Response, error) {
	err := a.err
	switch {
	case a.policyErr != nil && !a.retry:
		err = a.policyErr
	case a.handlerErr != nil:
		err = a.handlerErr
	}
	switch {
	case a.resp == nil:
	case err != nil:
		a.resp.Body.Close()
		return nil, err
	case a.ctx != nil:
		a.ctx.keep(a.resp)
	}
	return a.resp, err
}

// abandon releases what the attempt holds.
func (a *attempt) abandon() {
	if a.resp != nil && a.resp.Body != nil {
		a.resp.Body.Close()
	}
	if a.ctx != nil {
		a.ctx.release()
	}
}

func (a *attempt) retryReason() Reason {
	switch {
	case a.handlerErr != nil:
		return ReasonResponseHandler
	case errors.Is(a.err, ErrAttemptTimeout):
		return ReasonAttemptTimeout
	case a.err != nil:
		return ReasonTransportError
	}
	return ReasonStatus
}
