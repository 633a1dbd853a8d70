package otelretryablehttp

import (
	"context"
	"crypto/tls"
	"errors"
	"io"
	"net"
	"time"
)

// Values of error.type for requests without a response. The package documentation lists
// them.
const (
	errorCanceled   = "canceled"
	errorTimeout    = "timeout"
	errorName       = "name_resolution"
	errorTLS        = "tls"
	errorConnect    = "connect"
	errorConnection = "connection"
	errorOther      = "_OTHER"
)

// errorType returns the class of an error. ctx is the context of the request; what ended it
// outweighs the error that a transport made of that.
func errorType(ctx context.Context, err error) string {
	deadline, limited := ctx.Deadline()
	var op *net.OpError
	switch {
	case ctx.Err() != nil && isTimeout(context.Cause(ctx)):
		return errorTimeout
	case ctx.Err() != nil:
		return errorCanceled
	case limited && !time.Now().Before(deadline):
		return errorTimeout // http.Client.Timeout may cancel a request just before its context ends
	case errors.Is(err, context.Canceled):
		return errorCanceled
	case errorIs[*net.DNSError](err):
		return errorName
	case isTimeout(err):
		return errorTimeout
	case isTLS(err):
		return errorTLS
	case errors.As(err, &op) && (op.Op == "dial" || op.Op == "proxyconnect"):
		return errorConnect
	case op != nil, errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF):
		return errorConnection
	}
	return errorOther
}

func isTimeout(err error) bool {
	var timeout interface{ Timeout() bool }
	return errors.As(err, &timeout) && timeout.Timeout()
}

// isTLS reports whether the TLS handshake failed. crypto/tls returns an alert as a
// *net.OpError.
func isTLS(err error) bool {
	var op *net.OpError
	return errorIs[*tls.CertificateVerificationError](err) || errorIs[tls.RecordHeaderError](err) ||
		errorIs[tls.AlertError](err) || errors.As(err, &op) && (op.Op == "remote error" || op.Op == "local error")
}

// errorIs reports whether err wraps an error of type E.
func errorIs[E error](err error) bool {
	var target E
	return errors.As(err, &target)
}

// statusIsError reports whether a status is an error to a client, by the conventions for
// HTTP spans.
func statusIsError(status int) bool { return status >= 400 }
