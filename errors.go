package retryablehttp

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"time"
)

// GiveUpError is returned when a call fails and [Client.ErrorHandler] is nil. Its
// text is
//
//	GET https://example.com/things?key=REDACTED giving up after 3 attempt(s): cause
//
// where the cause is Err or, if Err is nil, the status of Response. An error of
// [RoundTripper.RoundTrip] leaves out method and URL, because the http.Client around
// it adds them. [errors.Is] and [errors.As] find Err and what it wraps.
type GiveUpError struct {
	Method string
	// URL is the request's URL, redacted (see Client.RedactURL).
	URL string
	// Attempts is the number of attempts that were made. One whose request net/http
	// refused to send counts too. It is 0 if the call ended before the first one, while
	// the request body was opened or read or while the call waited for Client.Gate.
	Attempts int
	// Elapsed is the time from the start of the call to its end, waits included.
	Elapsed time.Duration
	// Reason says why no further attempt was made.
	Reason Reason
	// Err is the cause. It is nil if the status of Response is the only cause.
	Err error
	// Response is the last attempt's response, nil if that attempt got none. Its
	// Body holds up to 64 KiB, as far as they arrived within a second, and need not
	// be closed. Reading a body that was cut off or took longer ends in an error.
	Response *http.Response

	omitRequest bool // from the text
	unsent      bool // every attempt
}

// Error returns one line of text without secrets.
func (e *GiveUpError) Error() string {
	text := fmt.Sprintf("giving up after %d attempt(s)", e.Attempts)
	if !e.omitRequest {
		text = e.Method + " " + e.URL + " " + text
	}
	switch {
	case e.Err != nil:
		return text + ": " + withoutURL(e.Err, e.URL).Error()
	case e.Response != nil:
		return text + ": " + newStatusError(e.Response).Error()
	}
	return text
}

// Unwrap returns Err.
func (e *GiveUpError) Unwrap() error { return e.Err }

// Timeout reports whether the call failed because time ran out: the caller's deadline,
// MaxElapsedTime, or a timeout of the last attempt.
func (e *GiveUpError) Timeout() bool {
	switch e.Reason {
	case ReasonCanceled:
		return false
	case ReasonDeadline, ReasonMaxElapsedTime:
		return true
	}
	return isTimeout(e.Err)
}

// Unsent reports whether no attempt was sent: it is what the function [Unsent] returns for
// the error.
func (e *GiveUpError) Unsent() bool { return e.unsent }

// ErrAttemptTimeout is matched by the error of an attempt that took longer than
// [Client.AttemptTimeout]. It is a timeout: it has a method Timeout that returns true. It
// does not match [context.DeadlineExceeded], which is the caller's own deadline.
var ErrAttemptTimeout error = &timeoutError{text: "attempt timed out (Client.AttemptTimeout exceeded)"}

// ErrMaxElapsedTime is matched by the error of a call that took longer than
// [Client.MaxElapsedTime]. It is a timeout: it has a method Timeout that returns true.
var ErrMaxElapsedTime error = &timeoutError{text: "Client.MaxElapsedTime exceeded"}

// ErrBodyIdleTimeout is matched by the error of a request or response body that has stood
// still for longer than [Client.BodyIdleTimeout]. It is a timeout: it has a method Timeout
// that returns true.
var ErrBodyIdleTimeout error = &timeoutError{text: "body stood still (Client.BodyIdleTimeout exceeded)"}

// ErrBudgetExhausted is matched by the error of a call that was not retried because
// [Client.Budget] had no token for it.
var ErrBudgetExhausted = errors.New("no token in Client.Budget for a retry")

// errClientTimeout ends an attempt through a RoundTripper that took longer than
// Client.HTTPClient.Timeout. As with http.Client it matches context.DeadlineExceeded.
var errClientTimeout error = &timeoutError{"attempt timed out (Client.HTTPClient.Timeout exceeded)", context.DeadlineExceeded}

// errBodyCut ends the body of a failed response that did not arrive in time.
var errBodyCut error = &timeoutError{text: "response body took too long and was cut off"}

type timeoutError struct {
	text string
	is   error // may be nil
}

func (e *timeoutError) Error() string   { return e.text }
func (e *timeoutError) Timeout() bool   { return true }
func (e *timeoutError) Temporary() bool { return true }
func (e *timeoutError) Unwrap() error   { return e.is }

// Errors for requests that no call can send.
var (
	errNilRequest = errors.New("retryablehttp: nil Request")
	errNilURL     = errors.New("retryablehttp: nil Request.URL")
)

// stopError is the cause of a call that was ended by more than the result of its last
// attempt: by its context, a limit of the client such as MaxElapsedTime, Budget or
// ReplayMax, the wait that a server asked for, or a request body that failed. It matches
// all of its parts.
type stopError struct {
	why    error
	detail string // may be empty
	cause  error  // given to context.WithCancelCause or the like; may be nil
	last   error  // what the last attempt failed with, or its status; may be nil

	canceled bool // by the caller
}

func (e *stopError) Error() string {
	text := e.why.Error()
	if e.cause != nil {
		text += ": " + e.cause.Error()
	}
	if e.detail != "" {
		text += ": " + e.detail
	}
	if e.last == nil || matches(e.last, e.why) || e.cause != nil && matches(e.last, e.cause) {
		return text
	}
	if status, ok := e.last.(statusError); ok {
		return text + "; last response: " + string(status)
	}
	return text + "; last error: " + e.last.Error()
}

func (e *stopError) Unwrap() []error {
	errs := []error{e.why}
	for _, err := range []error{e.cause, e.last} {
		if err != nil {
			errs = append(errs, err)
		}
	}
	return errs
}

// Timeout reports whether the call was ended by a timeout, whatever the last attempt
// failed with.
func (e *stopError) Timeout() bool   { return isTimeout(e.why) }
func (e *stopError) Temporary() bool { return false }

// matches reports what errors.Is does, and false where that panics because the errors
// cannot be compared.
func matches(err, target error) (is bool) {
	defer func() { recover() }()
	return errors.Is(err, target)
}

// isTimeout reports whether err, or the first error it wraps that can tell, is a
// timeout.
func isTimeout(err error) bool {
	var timeout interface{ Timeout() bool }
	return errors.As(err, &timeout) && timeout.Timeout()
}

// statusError is the cause of a call that failed with a status, for example "503
// Service Unavailable".
type statusError string

func (e statusError) Error() string { return "unexpected HTTP status " + string(e) }

func newStatusError(resp *http.Response) error {
	if resp.Status != "" {
		return statusError(resp.Status)
	}
	return statusError(strings.TrimSpace(fmt.Sprintf("%d %s", resp.StatusCode, http.StatusText(resp.StatusCode))))
}

// withoutURL returns err without the *url.Error around it, or around its parts, that
// repeats the given URL.
func withoutURL(err error, shown string) error {
	switch outer := err.(type) {
	case *url.Error:
		if outer.URL == shown && outer.Err != nil {
			return outer.Err
		}
	case *stopError:
		bare := *outer
		bare.why, bare.last = withoutURL(outer.why, shown), withoutURL(outer.last, shown)
		return &bare
	}
	return err
}

// withLast adds to an error what the last attempt failed with, unless that is the same.
func withLast(err error, a *attempt) error {
	last := a.causeOrStatus()
	switch {
	case last == nil:
		return err
	case matches(last, err):
		return last
	}
	return &stopError{why: err, last: last}
}
