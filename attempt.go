package retryablehttp

import (
	"net/http"
	"time"
)

// Attempt describes one finished attempt to [Client.OnAttempt].
type Attempt struct {
	// Number counts the attempts of a call from 1. It includes those that a client
	// hidden in the transport has made by itself.
	Number int
	// Request is the request as it was sent. It must not be modified.
	Request *http.Request
	// Response is nil when the attempt got none. Its body belongs to the call.
	Response *http.Response
	// Err is the error of the attempt, the policy's or the response handler's,
	// nil when none of them had one.
	Err error
	// Start is when the attempt was sent, Duration how long it took until
	// response headers (the end of the body, as far as Client.BodyMax has it read)
	// or an error.
	Start    time.Time
	Duration time.Duration
	// Retry tells whether another attempt follows, Wait after how long. A
	// cancel during the wait, or a PrepareRetry that fails, can still prevent it.
	Retry bool
	Wait  time.Duration
	// Reason tells why the attempt is retried, or why the call gives up. It is
	// empty when the response is the answer.
	Reason Reason
}

// Reason says in a word or two why an attempt was followed by another, or why none
// followed.
type Reason string

// Why an attempt is followed by another.
const (
	ReasonStatus          Reason = "status"           // the policy retries this response
	ReasonTransportError  Reason = "transport error"  // no response
	ReasonAttemptTimeout  Reason = "attempt timeout"  // none within AttemptTimeout
	ReasonResponseHandler Reason = "response handler" // the handler refused the response
)

// Why a call gives up.
const (
	ReasonRetriesUsedUp  Reason = "retries used up"      // RetryMax
	ReasonNotRetryable   Reason = "not retryable"        // the policy said stop
	ReasonCanceled       Reason = "canceled"             // the request's context
	ReasonDeadline       Reason = "deadline"             // the context's deadline passed, or the wait would have passed it
	ReasonMaxElapsedTime Reason = "max elapsed time"     // the same for MaxElapsedTime
	ReasonRetryAfter     Reason = "Retry-After too long" // longer than RetryAfterMax
	ReasonNotReplayable  Reason = "not replayable"       // a one-shot body of which more than ReplayMax was read
	ReasonPrepareRetry   Reason = "PrepareRetry failed"
	ReasonBody           Reason = "request body failed" // it could not be opened or, a one-shot body, not be read
)
