package lro

import (
	"context"
	"errors"
	"fmt"
	"net/http"

	"github.com/a0b132ce/retryablehttp"
	"github.com/a0b132ce/retryablehttp/internal/redact"
	"github.com/a0b132ce/retryablehttp/pipeline"
)

var (
	// ErrNotDone is returned by Result for an operation that is in progress.
	ErrNotDone = errors.New("lro: the operation is in progress")

	// ErrDone is returned by ResumeToken for an operation that has ended.
	ErrDone = errors.New("lro: the operation has ended")
)

// OperationError is the error of an operation that has failed or was canceled.
type OperationError struct {
	// State is Failed or Canceled.
	State State

	// Response has the code, the message and the problem details of the service. Its
	// StatusCode is the status code of the poll, which may be 200. Response is never nil.
	Response *pipeline.ResponseError
}

// Error returns one line, such as "lro: operation failed: QuotaExceeded: too many disks".
func (e *OperationError) Error() string {
	text := "lro: operation " + e.State.String()
	details := e.Response.Code
	switch code := e.Response.StatusCode; {
	case details != "" && e.Response.Message != "":
		details += ": " + e.Response.Message
	case details == "" && e.Response.Message == "" && code >= 300:
		details = fmt.Sprintf("%d %s", code, http.StatusText(code))
	default:
		details += e.Response.Message
	}
	if details != "" {
		text += ": " + redact.Line(details, maxText, redact.URL)
	}
	return text
}

// Unwrap returns Response.
func (e *OperationError) Unwrap() error { return e.Response }

// maxText is how many bytes of a text of the service an error shows.
const maxText = 1024

// ProtocolError is the error for a response that does not follow the protocol of the
// operation or is larger than Options.MaxBody. It says nothing about the state of the operation.
type ProtocolError struct {
	// Reason is a short description in one line.
	Reason string

	// Response is the response. Its body can be read by [pipeline.Payload] unless it was too
	// large.
	Response *http.Response
}

// Error returns the reason after "lro: ".
func (e *ProtocolError) Error() string { return "lro: " + e.Reason }

// Permanent returns true: a policy should not retry the request.
func (e *ProtocolError) Permanent() bool { return true }

// transientStatus reports whether the status of an error means that the same request may soon
// succeed. A 202 is an error only in response to the request for the result.
func transientStatus(code int) bool {
	switch code {
	case http.StatusAccepted, http.StatusRequestTimeout, http.StatusTooManyRequests:
		return true
	}
	return code >= 500 && code != http.StatusNotImplemented
}

// unrelated reports whether a status says nothing about the operation or its result, only
// about the request.
func unrelated(code int) bool {
	return transientStatus(code) || code == http.StatusUnauthorized
}

// transient reports whether a request that failed with err may soon succeed.
func transient(err error) bool {
	var status *pipeline.ResponseError
	if errors.As(err, &status) {
		return transientStatus(status.StatusCode)
	}
	again, _ := retryablehttp.DefaultRetryPolicy(context.Background(), nil, err)
	return again
}
