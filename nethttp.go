package retryablehttp

import (
	"bytes"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"os"
	"reflect"
	"slices"
	"strings"
	"syscall"
	"time"
)

// This file holds what depends on texts and internals of net/http, crypto/tls and io which
// their documentation does not promise. Each was seen in Go 1.26; nethttp_test.go fails
// where a later version is different. Four more places depend on net/http: drain.go and
// buffer.go close its response bodies while they are read, closeRedirected in prepare.go
// closes what http.Client leaves open, and unsent.go relies on the order of httptrace's
// events.

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

// certificateAlert reports whether the peer ended the handshake over a certificate.
// crypto/tls returns such an alert as a *net.OpError whose Op is "remote error" and whose
// Err is of an unexported type with the text of the alert.
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
	return slices.ContainsFunc(certificateAlerts, func(alert tls.AlertError) bool { return text == alert.Error() })
}

// certificateAlerts are the alerts of RFC 8446 §6.2 that are about a certificate.
var certificateAlerts = []tls.AlertError{
	42,  // bad_certificate
	43,  // unsupported_certificate
	44,  // certificate_revoked
	45,  // certificate_expired
	46,  // certificate_unknown
	48,  // unknown_ca
	113, // bad_certificate_status_response
	116, // certificate_required
}

// plainHTTP reports whether an HTTP server answered a TLS handshake. http.Client returns
// ErrSchemeMismatch for it, the transport below it the record that it read.
func plainHTTP(err error) bool {
	var record tls.RecordHeaderError
	return errors.Is(err, http.ErrSchemeMismatch) || errors.As(err, &record) && startsHTTP(record)
}

func startsHTTP(record tls.RecordHeaderError) bool { return string(record.RecordHeader[:]) == "HTTP/" }

// refusedByProxy reports whether a proxy answered CONNECT with a status that will be the
// same next time. Of that response net/http keeps only the text of the status.
func refusedByProxy(err error) bool {
	for ; err != nil; err = errors.Unwrap(err) {
		switch err.Error() {
		case http.StatusText(http.StatusProxyAuthRequired), http.StatusText(http.StatusForbidden):
			return true
		}
	}
	return false
}

// invalidRequest reports whether net/http refused to send the request as it is. Where
// net/http returns an error of a type, that decides. The other errors are known by how
// their text begins, which is never a piece of a URL.
func invalidRequest(err error) bool {
	var addr *net.AddrError
	if errorIs[url.InvalidHostError](err) || errorIs[url.EscapeError](err) ||
		errors.As(err, &addr) && addr.Err == "invalid port" {
		return true
	}
	return saysInvalid(err)
}

func saysInvalid(err error) bool {
	if err == nil {
		return false
	}
	if outer, ok := err.(*url.Error); ok {
		return outer.Op == "parse" || saysInvalid(outer.Err)
	}
	switch outer := err.(type) {
	case interface{ Unwrap() error }:
		if saysInvalid(outer.Unwrap()) {
			return true
		}
	case interface{ Unwrap() []error }:
		return slices.ContainsFunc(outer.Unwrap(), saysInvalid)
	}
	text := err.Error()
	return strings.HasPrefix(text, "stopped after ") && strings.HasSuffix(text, " redirects") ||
		slices.ContainsFunc(invalidRequestTexts, func(start string) bool { return strings.HasPrefix(text, start) })
}

var invalidRequestTexts = []string{
	"unsupported protocol scheme",
	"net/http: invalid method",
	"net/http: invalid header",
	"net/http: invalid trailer",
	"net/http: can't write control character in Request.URL",
	"invalid Trailer key",
	"http: nil Request.",
	"http: Request.RequestURI can't be set",
	"http: no Host in request URL",
	"http: Request.ContentLength=", // … with nil Body
	"http: ContentLength=",         // … with Body length …
	"http2: request body larger than specified content length",
	"http2: invalid ", // … Upgrade request header, and the like
	"http2: request header list larger than peer's advertised limit",
	"failed to parse Location header", // of a redirect
}

// withBodyLength makes net/http's errors for a body of another length than declared match
// ErrBodyLength.
func withBodyLength(err error) error {
	for inner := err; inner != nil; inner = errors.Unwrap(inner) {
		text := inner.Error()
		if strings.HasPrefix(text, "http: ContentLength=") || // … with Body length …
			text == "http2: request body larger than specified content length" {
			if outer, ok := err.(*url.Error); ok {
				return &url.Error{Op: outer.Op, URL: outer.URL, Err: fmt.Errorf("%w: %w", ErrBodyLength, outer.Err)}
			}
			return fmt.Errorf("%w: %w", ErrBodyLength, err)
		}
	}
	return err
}

// isURL reports whether text, of a *url.Error, is u. http.Client hides the password.
func isURL(text string, u *url.URL) bool {
	full := u.String()
	if _, has := u.User.Password(); has && text != full {
		full = strings.Replace(full, u.User.String()+"@", u.User.Username()+":***@", 1)
	}
	return text == full
}

// refusedByPeer reports whether an HTTP/2 server has said that it will not process the
// request. Only err itself counts, not what it wraps.
func refusedByPeer(err error) bool {
	if stream, ok := err.(interface{ As(any) bool }); ok {
		var target http2StreamError
		return stream.As(&target) && target.Code == 7 // REFUSED_STREAM
	}
	// For a GOAWAY whose last stream is an earlier one net/http has two errors, one for
	// the first stream of a connection. Their texts are fixed, but for the name of a code
	// at the end.
	text := err.Error()
	return text == "http2: Transport received Server's graceful shutdown GOAWAY" ||
		strings.HasPrefix(text, "http2: Transport received GOAWAY from server ErrCode:")
}

// http2StreamError has the fields of the error of that name in net/http, which
// errors.As converts to any such type.
type http2StreamError struct {
	StreamID uint32
	Code     uint32
	Cause    error
}

func (e http2StreamError) Error() string {
	return fmt.Sprintf("stream %d: code %d", e.StreamID, e.Code)
}

// withoutNopCloser returns the reader in a body that io.NopCloser has made, and any other
// body itself. net/http looks into these bodies in the same way.
func withoutNopCloser(body io.Reader) io.Reader {
	if t := reflect.TypeOf(body); t == nopCloser || t == nopCloserWriterTo {
		return reflect.ValueOf(body).Field(0).Interface().(io.Reader)
	}
	return body
}

// io.NopCloser has a type of its own for readers with a WriteTo method.
var (
	nopCloser         = reflect.TypeOf(io.NopCloser(struct{ io.Reader }{}))
	nopCloserWriterTo = reflect.TypeOf(io.NopCloser(new(bytes.Buffer)))
)

// reopened returns a body for req that net/http sends by sendfile: if its body is a
// section of a file, the file opened again by its name. If anything does not fit, the body
// stays as it is.
func reopened(req *http.Request, rt http.RoundTripper) io.ReadCloser {
	section := sectionIn(req.Body)
	if section == nil || req.ContentLength != section.Size() || !checksLength(rt, req) {
		return req.Body
	}
	source, start, size := section.Outer()
	given, ok := source.(*os.File)
	if !ok {
		return req.Body
	}
	if info, err := os.Stat(given.Name()); err != nil || !info.Mode().IsRegular() {
		return req.Body
	}
	file, err := os.Open(given.Name())
	if err != nil {
		return req.Body
	}
	mine, err := file.Stat()
	yours, givenErr := given.Stat()
	_, seekErr := file.Seek(start, io.SeekStart)
	if errors.Join(err, givenErr, seekErr) != nil || !os.SameFile(mine, yours) {
		file.Close()
		return req.Body
	}
	req.Body.Close()
	return &fileBody{Closer: file, file: file, end: start + size}
}

// fileBody reads a file from its offset to end, even if the file grows. Package net uses
// sendfile for any reader that is a syscall.Conn.
type fileBody struct {
	io.Closer
	file *os.File
	end  int64
}

func (b *fileBody) SyscallConn() (syscall.RawConn, error) { return b.file.SyscallConn() }

func (b *fileBody) Read(p []byte) (int, error) {
	at, err := b.file.Seek(0, io.SeekCurrent) // sendfile moves it
	switch {
	case err != nil:
		return 0, err
	case at >= b.end:
		return 0, io.EOF
	}
	return b.file.Read(p[:min(int64(len(p)), b.end-at)])
}

// checksLength reports whether rt sends req by HTTP/1, which checks the length of a body.
func checksLength(rt http.RoundTripper, req *http.Request) bool {
	t, ok := rt.(*http.Transport)
	return ok && req.URL.Scheme == "http" && (t.Protocols == nil || !t.Protocols.UnencryptedHTTP2())
}

// unencryptedHTTP2 reports whether rt sends req by HTTP/2 without TLS. net/http prefers HTTP/1
// if both are on.
func unencryptedHTTP2(rt http.RoundTripper, req *http.Request) bool {
	t, ok := rt.(*http.Transport)
	return ok && req.URL.Scheme == "http" && t.Protocols != nil && t.Protocols.UnencryptedHTTP2() && !t.Protocols.HTTP1()
}

// sectionIn returns the section that a body reads, nil if it is not one.
func sectionIn(body io.ReadCloser) *io.SectionReader {
	if r, ok := body.(*streamReader); ok {
		return r.section
	}
	section, _ := withoutNopCloser(body).(*io.SectionReader)
	return section
}

// ownConnection returns a transport like t that makes a connection for each request and
// closes it afterwards, so that a request avoids the connections of t.
func ownConnection(t *http.Transport) *http.Transport {
	once := t.Clone()
	once.DisableKeepAlives = true
	// An HTTP/2 connection that no request came to use is not closed otherwise.
	once.IdleConnTimeout = time.Second
	if once.TLSNextProto["h2"] != nil {
		// golang.org/x/net/http2.ConfigureTransport has put it there. It would find the
		// connection in that package's pool; net/http's own HTTP/2 does not.
		once.TLSNextProto, once.ForceAttemptHTTP2 = nil, true
	}
	return once
}

// errorIs reports whether err wraps an error of type E.
func errorIs[E error](err error) bool {
	var target E
	return errors.As(err, &target)
}

// keepsBody reports whether a redirect sends the request's body again.
func keepsBody(status int) bool {
	return status == http.StatusTemporaryRedirect || status == http.StatusPermanentRedirect
}

// refusedRedirect reports whether the error came from http.Client.CheckRedirect, by
// default after ten redirects. Only then does http.Client return a response, the
// redirect, beside its error.
func refusedRedirect(resp *http.Response, err error) bool {
	if resp == nil || resp.StatusCode < 300 || resp.StatusCode > 399 {
		return false
	}
	_, fromClient := err.(*url.Error)
	return fromClient
}

// idempotentOp reports whether the Op of a *url.Error, in which http.Client writes the
// method with one capital, is an idempotent method.
func idempotentOp(op string) bool {
	return idempotentMethod(&http.Request{Method: strings.ToUpper(op)})
}
