package retryablehttp

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"slices"
	"strings"
)

// CheckRetry decides after each attempt whether another may follow. ctx is the
// caller's context; resp and err are what the attempt gave, or what a
// [ResponseHandlerFunc] said of its response. Both are non-nil when the handler
// refused the response, and when a redirect was refused (see
// [http.Client.Do]), in which case the body is already closed.
//
// On true the client waits and tries again, if its limits allow. On false the
// outcome stands: a response without an error is the call's answer. An error
// returned beside either is what the call reports when it gives up. A CheckRetry
// is called by many goroutines at once and must leave the body of a response that
// it accepts unread.
type CheckRetry func(ctx context.Context, resp *http.Response, err error) (bool, error)

// DefaultRetryPolicy retries transport errors unless they are permanent, the
// statuses 0, 429 and 500 up except 501, and 408 when the request is idempotent
// (RFC 9110 §9.2.2). A context that is done ends the call with the context's
// error.
//
// Permanent are: a certificate that does not verify or that the peer rejects, an
// HTTP server behind an https URL, an unsupported scheme, a malformed URL, an
// invalid method, header or trailer, a refused redirect, and a request body that is
// shorter or longer than declared or cannot be sent again.
func DefaultRetryPolicy(ctx context.Context, resp *http.Response, err error) (bool, error) {
	if ctxErr := ctx.Err(); ctxErr != nil {
		return false, ctxErr
	}
	if err != nil {
		return !permanent(resp, err), nil
	}
	return retryableStatus(ctx, resp), nil
}

// ErrorPropagatedRetryPolicy decides as [DefaultRetryPolicy] does, and gives the
// reason as an error: that of a status is "unexpected HTTP status 503 Service
// Unavailable", that of a permanent error the error itself. It becomes the call's
// when the call gives up.
func ErrorPropagatedRetryPolicy(ctx context.Context, resp *http.Response, err error) (bool, error) {
	retry, policyErr := DefaultRetryPolicy(ctx, resp, err)
	switch {
	case policyErr != nil:
		return retry, policyErr
	case err != nil && !retry:
		return false, err
	case err == nil && retry:
		return true, statusError(resp)
	}
	return retry, nil
}

func statusError(resp *http.Response) error {
	status := resp.Status
	if status == "" {
		status = strings.TrimSpace(fmt.Sprintf("%d %s", resp.StatusCode, http.StatusText(resp.StatusCode)))
	}
	return fmt.Errorf("unexpected HTTP status %s", status)
}

func retryableStatus(ctx context.Context, resp *http.Response) bool {
	switch code := resp.StatusCode; {
	case code == http.StatusRequestTimeout:
		return repeatable(ctx, resp, nil)
	case code == http.StatusTooManyRequests, code == 0:
		return true
	default:
		return code >= 500 && code != http.StatusNotImplemented
	}
}

// permanent reports whether the error of an attempt will be the same next time.
func permanent(resp *http.Response, err error) bool {
	return refusedRedirect(resp, err) ||
		certificateError(err) ||
		plainHTTP(err) ||
		errors.Is(err, ErrBodyLength) ||
		errors.Is(err, ErrNotReplayable) ||
		invalidRequest(err)
}

// refusedRedirect reports whether the error came from http.Client.CheckRedirect,
// by default after ten redirects. That is the one case in which http.Client
// returns a response, the redirect, beside its error.
func refusedRedirect(resp *http.Response, err error) bool {
	if resp == nil || resp.StatusCode < 300 || resp.StatusCode > 399 {
		return false
	}
	_, fromClient := err.(*url.Error)
	return fromClient
}

// certificateError reports whether either side rejected the other's certificate.
func certificateError(err error) bool {
	return errorIs[*tls.CertificateVerificationError](err) ||
		errorIs[x509.UnknownAuthorityError](err) ||
		errorIs[x509.HostnameError](err) ||
		errorIs[x509.CertificateInvalidError](err) ||
		errorIs[x509.ConstraintViolationError](err) ||
		errorIs[x509.InsecureAlgorithmError](err) ||
		errorIs[x509.UnhandledCriticalExtension](err) ||
		errorIs[x509.SystemRootsError](err) ||
		certificateAlert(err)
}

// certificateAlert reports whether the peer ended the handshake over a
// certificate. crypto/tls gives such an alert as a *net.OpError whose Op is
// "remote error" and whose Err is of an unexported type with the text of the
// alert, and nothing else, as its text.
func certificateAlert(err error) bool {
	var op *net.OpError
	var alert tls.AlertError
	var text string
	switch {
	case errors.As(err, &alert):
		text = alert.Error()
	case errors.As(err, &op) && op.Op == "remote error" && op.Err != nil:
		text = op.Err.Error()
	default:
		return false
	}
	for _, alert := range certificateAlerts {
		if text == alert.Error() {
			return true
		}
	}
	return false
}

// The alerts of RFC 8446 §6.2 that speak of a certificate.
var certificateAlerts = [...]tls.AlertError{
	42,  // bad_certificate
	43,  // unsupported_certificate
	44,  // certificate_revoked
	45,  // certificate_expired
	46,  // certificate_unknown
	48,  // unknown_ca
	113, // bad_certificate_status_response
	116, // certificate_required
}

// plainHTTP reports whether an HTTP server answered a TLS handshake. http.Client
// says so with ErrSchemeMismatch, the transport below it with the record.
func plainHTTP(err error) bool {
	var record tls.RecordHeaderError
	return errors.Is(err, http.ErrSchemeMismatch) ||
		errors.As(err, &record) && string(record.RecordHeader[:]) == "HTTP/"
}

// invalidRequest reports whether net/http refused to send the request as it is.
// Where net/http gives such an error a type, that decides. Most have none and
// are known by how their text begins; only innermost errors are looked at,
// whose beginning is always net/http's own words and never a piece of a URL.
func invalidRequest(err error) bool {
	var addr *net.AddrError
	if errorIs[url.InvalidHostError](err) || errorIs[url.EscapeError](err) ||
		errors.As(err, &addr) && addr.Err == "invalid port" {
		return true
	}
	return saysInvalid(err)
}

func saysInvalid(err error) bool {
	if parse, ok := err.(*url.Error); ok && parse.Op == "parse" {
		return true
	}
	switch outer := err.(type) {
	case interface{ Unwrap() error }:
		if inner := outer.Unwrap(); inner != nil {
			return saysInvalid(inner)
		}
	case interface{ Unwrap() []error }:
		return slices.ContainsFunc(outer.Unwrap(), saysInvalid)
	}
	text := err.Error()
	if strings.HasPrefix(text, "stopped after ") && strings.HasSuffix(text, " redirects") {
		return true
	}
	for _, words := range invalidRequestWords {
		if strings.HasPrefix(text, words) {
			return true
		}
	}
	return false
}

var invalidRequestWords = [...]string{
	"unsupported protocol scheme",
	"net/http: invalid method",
	"net/http: invalid header",
	"net/http: invalid trailer",
	"net/http: nil Request.Header",
	"http: nil Request.",
	"http: Request.RequestURI can't be set",
	"http: no Host in request URL",
	"http: ContentLength=", // … with Body length …
	"http: Request.ContentLength=",
	"http2: request body larger than specified content length",
	"failed to parse Location header", // of a redirect
}

// errorIs reports whether err wraps an error of type E.
func errorIs[E error](err error) bool {
	var target E
	return errors.As(err, &target)
}
