package retryablehttp

import (
	"context"
	"crypto/rand"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/http/httptrace"
	"net/url"
	"reflect"
	"strings"
	"sync/atomic"
)

// SafeRetryPolicy retries what [DefaultRetryPolicy] retries, but a request that is not
// idempotent only when repeating it cannot do harm:
//
//   - it was provably not sent (see [Unsent]);
//   - it carries an Idempotency-Key (see [Client.IdempotencyKey]), by which the
//     server recognises the repetition;
//   - the server refused it before acting: 429, or 503 with Retry-After, and no
//     redirect but 307 and 308 came before.
//
// Idempotent are GET, HEAD, OPTIONS, TRACE, PUT and DELETE (RFC 9110 §9.2.2). A status
// that would be retried for these is the answer for others.
func SafeRetryPolicy(ctx context.Context, resp *http.Response, err error) (bool, error) {
	retry, policyErr := DefaultRetryPolicy(ctx, resp, err)
	if !retry || policyErr != nil {
		return retry, policyErr
	}
	switch {
	case repeatable(ctx, resp, err):
		return true, nil
	case resp == nil:
		return Unsent(err), nil
	}
	return err == nil && refusedBeforeActing(resp), nil
}

func refusedBeforeActing(resp *http.Response) bool {
	for req := resp.Request; req != nil && req.Response != nil; req = req.Response.Request {
		switch req.Response.StatusCode {
		case http.StatusTemporaryRedirect, http.StatusPermanentRedirect:
		default:
			return false // whoever redirects a POST to a GET has dealt with it
		}
	}
	return resp.StatusCode == http.StatusTooManyRequests ||
		resp.StatusCode == http.StatusServiceUnavailable && resp.Header.Get("Retry-After") != ""
}

// repeatable reports whether the request of the call is idempotent. A policy is told
// which it is by its context; when called by others it goes by what it can see.
func repeatable(ctx context.Context, resp *http.Response, err error) bool {
	if req, ok := ctx.Value(requestKey{}).(*http.Request); ok {
		return idempotent(req)
	}
	if resp != nil {
		return resp.Request != nil && idempotentChain(resp.Request)
	}
	outer, ok := err.(*url.Error)
	if !ok {
		return false
	}
	switch outer.Op { // as http.Client writes methods
	case "Get", "Head", "Options", "Trace", "Put", "Delete":
		return true
	}
	return false
}

// idempotentChain reports whether a request and those that were redirected to it are all
// idempotent.
func idempotentChain(req *http.Request) bool {
	for idempotent(req) {
		if req.Response == nil || req.Response.Request == nil {
			return true
		}
		req = req.Response.Request
	}
	return false
}

// idempotent reports whether repeating the request has the effect of sending it once:
// its method says so (RFC 9110 §9.2.2), or it carries a key that lets the server
// recognise the repetition. net/http's Transport goes by the same headers.
func idempotent(req *http.Request) bool {
	if idempotentMethod(req) {
		return true
	}
	_, standard := req.Header[idempotencyKey]
	_, custom := req.Header["X-Idempotency-Key"]
	return standard || custom
}

func idempotentMethod(req *http.Request) bool {
	switch req.Method {
	case "", http.MethodGet, http.MethodHead, http.MethodOptions, http.MethodTrace, http.MethodPut, http.MethodDelete:
		return true
	}
	return false
}

const idempotencyKey = "Idempotency-Key"

// NewIdempotencyKey gives a random UUID (RFC 9562, version 4). It can be assigned to
// [Client.IdempotencyKey] as it is.
func NewIdempotencyKey(*http.Request) string {
	var u [16]byte
	rand.Read(u[:]) // never fails
	u[6] = u[6]&0x0f | 0x40
	u[8] = u[8]&0x3f | 0x80
	return fmt.Sprintf("%x-%x-%x-%x-%x", u[:4], u[4:6], u[6:8], u[8:10], u[10:])
}

// withIdempotencyKey gives the request its key, unless it has one or needs none. A
// hop of a redirect takes over the key of the request that was redirected.
func withIdempotencyKey(req *http.Request, newKey func(*http.Request) string) *http.Request {
	if _, ok := req.Header[idempotencyKey]; ok {
		return req
	}
	var key string
	if from := req.Response; from != nil && from.Request != nil {
		key = from.Request.Header.Get(idempotencyKey)
	}
	if key == "" && !idempotentMethod(req) {
		key = newKey(req)
	}
	if key == "" {
		return req
	}
	copied := *req
	copied.Header = req.Header.Clone()
	if copied.Header == nil {
		copied.Header = http.Header{}
	}
	copied.Header.Set(idempotencyKey, key)
	return &copied
}

// Unsent reports whether the request that an error is about provably never reached a
// server that could act on it: looking up the name, dialing, the proxy's CONNECT or
// the TLS handshake failed; the first byte of the request was never written; or an
// HTTP/2 server said that it has not processed it (REFUSED_STREAM, or a GOAWAY that
// excludes it, RFC 9113 §8.7). False means that it may have been sent.
//
// It answers for the error that a [CheckRetry] sees, which is about one attempt, and
// for the error of a call, which is about all of its attempts. What goes by the types
// of errors is known for every error; what has to be observed on the connection is
// observed for requests that are not idempotent, when the policy is neither
// [DefaultRetryPolicy] nor [ErrorPropagatedRetryPolicy], which do not ask.
func Unsent(err error) bool {
	if err == nil {
		return false
	}
	var giveUp *GiveUpError
	if errors.As(err, &giveUp) {
		return giveUp.unsent
	}
	var observed *observedError
	if errors.As(err, &observed) {
		return observed.unsent
	}
	return unsentByType(err)
}

func unsentByType(err error) bool {
	var op *net.OpError
	return errors.As(err, &op) && (op.Op == "dial" || op.Op == "proxyconnect") ||
		errorIs[*net.DNSError](err) ||
		errorIs[*tls.CertificateVerificationError](err) ||
		notTLS(err) ||
		refusedByPeer(err)
}

// notTLS reports whether the first thing that came from the server was no TLS. The error
// for a later record is of the same type, but without the connection.
func notTLS(err error) bool {
	var record tls.RecordHeaderError
	return errors.As(err, &record) && record.Conn != nil
}

// refusedByPeer reports whether an HTTP/2 server has said that it will not process the
// request.
func refusedByPeer(err error) bool {
	var stream http2StreamError
	if errors.As(err, &stream) {
		return stream.Code == 7 // REFUSED_STREAM
	}
	// For a GOAWAY whose last stream is an earlier one net/http has two errors, one for
	// the first stream of a connection, and neither has a type. Their texts are fixed, but
	// for the name of a code at the end.
	for ; err != nil; err = errors.Unwrap(err) {
		text := err.Error()
		if text == "http2: Transport received Server's graceful shutdown GOAWAY" ||
			strings.HasPrefix(text, "http2: Transport received GOAWAY from server ErrCode:") {
			return true
		}
	}
	return false
}

// http2StreamError has the fields of the error of that name in net/http, which
// converts itself to any such type for errors.As.
type http2StreamError struct {
	StreamID uint32
	Code     uint32
	Cause    error
}

func (e http2StreamError) Error() string {
	return fmt.Sprintf("stream %d: code %d", e.StreamID, e.Code)
}

// observedError carries what was observed of an attempt where the error's type says
// otherwise or nothing.
type observedError struct {
	error
	unsent bool
}

func (e *observedError) Unwrap() error { return e.error }

// observation is what is known of one attempt besides its outcome.
type observation struct {
	answered bool // a response has come, if only a redirect
	trace    *sendTrace
}

// sendTrace watches for the first byte of a request. A transport that does not report
// to httptrace leaves it as it is.
type sendTrace struct {
	asked atomic.Bool // for a connection
	got   atomic.Bool // one, on which another goroutine may begin to write at any time
	began atomic.Bool // the header of the request
	ended atomic.Bool // writing it, or the attempt at it
}

func (t *sendTrace) attach(ctx context.Context) context.Context {
	return httptrace.WithClientTrace(ctx, &httptrace.ClientTrace{
		GetConn: func(string) { t.asked.Store(true) },
		GotConn: func(httptrace.GotConnInfo) {
			t.ended.Store(false) // it may be net/http's second try within the attempt
			t.got.Store(true)
		},
		WroteHeaderField: func(string, []string) { t.began.Store(true) },
		WroteHeaders:     func() { t.began.Store(true) },
		WroteRequest:     func(httptrace.WroteRequestInfo) { t.ended.Store(true) },
	})
}

// mayHaveSent reports whether the request may be on its way, or get there yet.
func (t *sendTrace) mayHaveSent() bool {
	return t.began.Load() || t.got.Load() && !t.ended.Load()
}

// unsent judges the error of the attempt.
func (o *observation) unsent(err error) bool {
	switch {
	case o.answered, knownSent(err):
		return false
	case refusedByPeer(err):
		return true
	case o.trace != nil && o.trace.mayHaveSent():
		return false
	case o.trace != nil && o.trace.asked.Load():
		return true
	}
	return Unsent(err)
}

// knownSent reports whether a client in the transport has found that the request may have
// been sent.
func knownSent(err error) bool {
	var giveUp *GiveUpError
	var observed *observedError
	return errors.As(err, &giveUp) && !giveUp.unsent || errors.As(err, &observed) && !observed.unsent
}

// mark makes an error say for Unsent what is known.
func mark(err error, unsent bool) error {
	if err == nil || unsent == Unsent(err) {
		return err
	}
	if outer, ok := err.(*url.Error); ok { // stays outermost
		return &url.Error{Op: outer.Op, URL: outer.URL, Err: &observedError{outer.Err, unsent}}
	}
	return &observedError{err, unsent}
}

// neverAsks reports whether a policy is one that does not call Unsent, so that nothing
// needs to be observed for it.
func neverAsks(check CheckRetry) bool {
	p := reflect.ValueOf(check).Pointer()
	return p == defaultPolicy || p == propagatedPolicy
}

var (
	defaultPolicy    = reflect.ValueOf(DefaultRetryPolicy).Pointer()
	propagatedPolicy = reflect.ValueOf(ErrorPropagatedRetryPolicy).Pointer()
)
