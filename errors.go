package retryablehttp

import (
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"time"
)

// GiveUpError is how a call without an [ErrorHandler] ends when it has no answer
// that its policy accepts. It reads
//
//	GET https://example.com/things?key=REDACTED giving up after 3 attempt(s): cause
//
// without the cause when there is none (a status that was retried has none,
// unless the policy gives one). A [RoundTripper] leaves method and URL to the
// error of the http.Client around it. [errors.Is] and [errors.As] reach the
// cause.
type GiveUpError struct {
	Method string
	// URL is the request's URL as Client.RedactURL shows it.
	URL string
	// Attempts is how many attempts were made, at least 1 unless the body of
	// the first could not be opened or read ahead.
	Attempts int
	// Elapsed is the time from the start of the call to its end, waits
	// included.
	Elapsed time.Duration
	// Reason tells why no further attempt was made.
	Reason Reason
	// Err is the cause, nil when there is none besides the status of Response.
	Err error
	// Response is the last attempt's response, nil when that attempt got none.
	// Its body holds up to 64 KiB, as much as arrived within a second, and need
	// not be closed. If the body broke off or took longer, reading it ends in
	// an error.
	Response *http.Response

	redact      func(*url.URL) string
	omitRequest bool
	unsent      bool // all of its attempts are, provably
}

// Error gives one line of text. URLs in the text of the cause are redacted.
func (e *GiveUpError) Error() string {
	text := fmt.Sprintf("giving up after %d attempt(s)", e.Attempts)
	if !e.omitRequest {
		text = e.Method + " " + e.URL + " " + text
	}
	if e.Err == nil {
		return text
	}
	redact := e.redact
	if redact == nil {
		redact = redactURL
	}
	return text + ": " + redactText(e.Err.Error(), redact)
}

// Unwrap returns Err.
func (e *GiveUpError) Unwrap() error { return e.Err }

// Timeout reports whether the call ended because time ran out: the caller's
// deadline, MaxElapsedTime, or a timeout of the last attempt.
func (e *GiveUpError) Timeout() bool {
	if e.Reason == ReasonCanceled {
		return false
	}
	var timeout interface{ Timeout() bool }
	return e.Reason == ReasonDeadline || e.Reason == ReasonMaxElapsedTime ||
		errors.As(e.Err, &timeout) && timeout.Timeout()
}

// ErrAttemptTimeout is matched by the error of an attempt that
// [Client.AttemptTimeout] ended. Its Timeout method reports true. It does not
// match [context.DeadlineExceeded], which is the caller's own deadline.
var ErrAttemptTimeout error = &timeoutError{"attempt timed out (Client.AttemptTimeout exceeded)"}

// ErrMaxElapsedTime is matched by the error of a call that
// [Client.MaxElapsedTime] ended. Its Timeout method reports true.
var ErrMaxElapsedTime error = &timeoutError{"Client.MaxElapsedTime exceeded"}

// errClientTimeout is for a RoundTripper what http.Client.Timeout is elsewhere.
var errClientTimeout error = &timeoutError{"attempt timed out (Client.HTTPClient.Timeout exceeded)"}

type timeoutError struct{ text string }

func (e *timeoutError) Error() string   { return e.text }
func (e *timeoutError) Timeout() bool   { return true }
func (e *timeoutError) Temporary() bool { return true }

// SettingError is the error of a call whose client has a setting that cannot work.
// Nothing is sent.
type SettingError struct {
	// Field is the name of the Client's field.
	Field string
	// Problem tells what is wrong with it.
	Problem string
}

// Error gives one line of text.
func (e *SettingError) Error() string {
	return "retryablehttp: Client." + e.Field + " " + e.Problem
}

// Errors for values that a call cannot work with. Nothing is sent.
var (
	errNilRequest = errors.New("retryablehttp: nil Request")
	errNilURL     = errors.New("retryablehttp: nil Request.URL")
)

// stopError is the cause of a call that was stopped from outside the policy: by
// its context, by a limit of the client, or by what a server asked for. It
// matches why it was stopped, the cause that a context was given for it, and what
// the last attempt had come to.
type stopError struct {
	why    error
	detail string // of the text; may be empty
	cause  error  // of the context; nil if it has none of its own
	last   error  // nil if the last attempt had no error and no status
}

func (e *stopError) Error() string {
	text := e.why.Error()
	if e.cause != nil {
		text += ": " + e.cause.Error()
	}
	if e.detail != "" {
		text += ": " + e.detail
	}
	if e.last != nil && !errors.Is(e.last, e.why) && (e.cause == nil || !errors.Is(e.last, e.cause)) {
		text += "; last attempt: " + e.last.Error()
	}
	return text
}

func (e *stopError) Unwrap() []error {
	errs := []error{e.why}
	if e.cause != nil {
		errs = append(errs, e.cause)
	}
	if e.last != nil {
		errs = append(errs, e.last)
	}
	return errs
}
