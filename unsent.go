package retryablehttp

import (
	"crypto/tls"
	"errors"
	"net"
	"net/http/httptrace"
	"net/url"
	"sync/atomic"
)

// Unsent reports whether the request that an error is about provably never reached a
// server that could act on it: looking up the name, dialing, the proxy's CONNECT or
// the TLS handshake failed; the first byte of the request was never written; or an
// HTTP/2 server said that it has not processed it (REFUSED_STREAM, or a GOAWAY that
// excludes it, RFC 9113 §8.7). An error of a transport that knows has a method Unsent()
// bool; an open circuit breaker should return such an error. False means that the request may
// have been sent.
//
// err is an error that a [CheckRetry] was given, which is about one attempt, or the error
// of a call, which is about all of its attempts. What is written is observed for requests
// whose method is not idempotent, unless the policy is [DefaultRetryPolicy] or
// [ErrorPropagatedRetryPolicy], which do not ask. For other requests only the type of the
// error is known. It does not tell that net/http has sent an idempotent request before,
// on a connection that turned out to be dead.
func Unsent(err error) bool {
	var declared interface{ Unsent() bool }
	if errors.As(err, &declared) {
		return declared.Unsent()
	}
	return notConnected(err)
}

// unsentByType judges one error, without what it wraps.
func unsentByType(err error) bool {
	switch err := err.(type) {
	case *net.OpError:
		return err.Op == "dial" || err.Op == "proxyconnect"
	case *net.DNSError, *tls.CertificateVerificationError:
		return true
	case tls.RecordHeaderError:
		return err.Conn != nil // the server's first record; later ones come without
	}
	return refusedByPeer(err)
}

// attemptError is the error of an attempt, with what the call has observed of it.
type attemptError struct {
	error
	unsent bool
	note   string // may be empty
}

func (e *attemptError) Error() string   { return e.error.Error() + e.note }
func (e *attemptError) Unwrap() error   { return e.error }
func (e *attemptError) Unsent() bool    { return e.unsent }
func (e *attemptError) Temporary() bool { return false }

// Timeout is for the *url.Error around it, which asks no other error.
func (e *attemptError) Timeout() bool { return isTimeout(e.error) }

// annotate returns err with what was observed. A *url.Error stays outermost.
func annotate(err error, unsent bool, note string) error {
	if outer, ok := err.(*url.Error); ok {
		return &url.Error{Op: outer.Op, URL: outer.URL, Err: &attemptError{outer.Err, unsent, note}}
	}
	return &attemptError{err, unsent, note}
}

// asksUnsent reports whether a policy may call Unsent.
func asksUnsent(check CheckRetry) bool {
	return !sameFunc[CheckRetry](check, DefaultRetryPolicy) && !sameFunc[CheckRetry](check, ErrorPropagatedRetryPolicy)
}

// observer watches what becomes of the request of one attempt. A transport that does not
// report to httptrace leaves it as it is.
type observer struct {
	clientTrace httptrace.ClientTrace

	writing  bool         // of the request is observed too, not only its connections
	answered bool         // a response has come
	asked    atomic.Bool  // for a connection
	conns    atomic.Int32 // how many were given; net/http may try more than one
	http2    atomic.Bool  // the last one speaks HTTP/2
	began    atomic.Bool  // writing the header, on any of them
	written  atomic.Bool  // the request on the last one, or writing it has failed
}

// trace returns the hooks of o, those that are needed.
func (o *observer) trace() *httptrace.ClientTrace {
	t := &o.clientTrace
	t.GotConn = func(info httptrace.GotConnInfo) {
		o.written.Store(false)
		o.conns.Add(1)
		o.http2.Store(speaksHTTP2(info.Conn))
	}
	if o.writing {
		t.GetConn = func(string) { o.asked.Store(true) }
		t.WroteHeaderField = func(string, []string) { o.began.Store(true) }
		t.WroteHeaders = func() { o.began.Store(true) }
		t.WroteRequest = func(httptrace.WroteRequestInfo) { o.written.Store(true) }
	}
	return t
}

func speaksHTTP2(conn net.Conn) bool {
	secure, ok := conn.(interface{ ConnectionState() tls.ConnectionState })
	return ok && secure.ConnectionState().NegotiatedProtocol == "h2"
}

// mayHaveSent reports whether some of the request may be on its way, or may yet be: a
// connection that was given may be written to at any time.
func (o *observer) mayHaveSent() bool {
	return o.began.Load() || o.conns.Load() > 0 && !o.written.Load()
}

// unsent judges the error of the attempt. What was observed outweighs what the error
// wraps, which may be about another request: one that a transport made besides, or that
// the request's body comes from. plain reports whether the transport is net/http's own.
func (o *observer) unsent(err error, plain, bodyFailed bool) bool {
	direct := withoutURLErrors(err)
	switch {
	case o.answered:
		return false
	case !o.asked.Load(), ofAClient(direct):
		return unsentDirectly(direct)
	case refusedByPeer(direct):
		return !bodyFailed && (plain || o.conns.Load() == 1)
	}
	return !o.mayHaveSent()
}

// ofAClient reports whether a client of this package in the transport has made err.
func ofAClient(err error) bool {
	switch err.(type) {
	case *attemptError, *GiveUpError:
		return true
	}
	return false
}

// unsentDirectly judges an error without what it wraps.
func unsentDirectly(err error) bool {
	switch err := err.(type) {
	case *attemptError: // of a client nested in this one
		return err.unsent
	case *GiveUpError: // of a client that is not
		return false
	case interface{ Unsent() bool }:
		return err.Unsent()
	}
	return unsentByType(err)
}

func withoutURLErrors(err error) error {
	for {
		outer, ok := err.(*url.Error)
		if !ok || outer.Err == nil {
			return err
		}
		err = outer.Err
	}
}
