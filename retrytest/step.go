package retrytest

import (
	"net/http"
	"strconv"
	"time"
)

// Step says what happens to one attempt. In this order: some or all of the
// request's body is read (Read), time passes (Delay), and the answer is sent
// (Status, Header, Body, Chunked, Drip), unless a failure (Fault or Err) takes
// its place or breaks it off (After). The zero Step reads the whole request and
// answers 200 with an empty body at once.
type Step struct {
	// Times is how many attempts in a row the step serves. 0 means 1, and
	// Forever (or any negative number) all that follow.
	Times int

	// Read is how many bytes of the request's body are read. 0 means all of it,
	// HeadersOnly (or any negative number) none. An answer or a failure that
	// comes before the body has been read is an early one: the client may still
	// be writing. After an early answer a Server discards the rest of the body
	// on HTTP/1.1, and on HTTP/2 tells the client to stop (RST_STREAM with
	// NO_ERROR, RFC 9113 §8.1).
	Read int64

	// Delay is the time between the reading and what follows it.
	Delay time.Duration

	// Status is the answer's status code, from 200 to 999. 0 means 200.
	Status int
	// Header is the answer's header. Content-Length and Transfer-Encoding are
	// set as the body needs them.
	Header http.Header
	// Body is the answer's body.
	Body string
	// Chunked sends the body without saying how long it is: in one chunk on
	// HTTP/1.1, without Content-Length on HTTP/2, with ContentLength -1 from a
	// Transport.
	Chunked bool
	// Drip is the time before each single byte of the body. 0 sends the body at
	// once.
	Drip time.Duration
	// Close ends the connection after the answer: by Connection: close on
	// HTTP/1.1, by a graceful GOAWAY on HTTP/2.
	Close bool

	// Fault is what goes wrong, if anything does.
	Fault Fault
	// After tells where in the answer Fault or Err strikes. 0 means in place of
	// the answer; HeadersOnly (or any negative number), when the headers and
	// none of the body have been sent; n, when n bytes of the body have been
	// sent as well.
	After int
	// Code is the HTTP/2 error code of a ResetStream (RFC 9113 §7). 0 is
	// NO_ERROR.
	Code uint32

	// Err is the error of an attempt on a Transport, for failures that no Fault
	// describes. A Server cannot produce it.
	Err error
}

const (
	// HeadersOnly stands for none of a body, in Step.Read and Step.After.
	HeadersOnly = -1
	// Forever stands for all the attempts that follow, in Step.Times.
	Forever = -1
)

// Fault is a way to fail.
type Fault string

// Faults of the connection.
const (
	// Refuse is a connection that cannot be made (ECONNREFUSED). Only a
	// Transport can produce it: a Server is there. To have a real one, use the
	// URL of a Server that has been closed.
	Refuse Fault = "refuse"
	// Reset is a connection broken by the peer (TCP RST, ECONNRESET).
	Reset Fault = "reset"
	// Close is a connection ended by the peer in good order, but in the wrong
	// place (TCP FIN). In the midst of a body it makes a truncated one: a
	// Content-Length that is not met, or a broken chunk.
	Close Fault = "close"
	// Stall is a peer that falls silent with the connection open. It ends when
	// the client leaves, by closing the connection, resetting the stream or, on a
	// Transport, by cancelling the request or closing the response's body. A
	// Server that was to read only part of the request's body (Step.Read) stops
	// reading too, which leaves it unable to notice that an HTTP/1.1 client has
	// left: such a connection stays open until Server.Close.
	Stall Fault = "stall"
)

// Faults of HTTP/2. A Transport fails with errors worded like net/http's.
const (
	// RefuseStream is RST_STREAM with REFUSED_STREAM: the request was not
	// processed and may be sent again (RFC 9113 §8.7).
	RefuseStream Fault = "refuse stream"
	// ResetStream is RST_STREAM with Step.Code.
	ResetStream Fault = "reset stream"
	// GoAway is a GOAWAY whose last stream is the one before the request's: the
	// request was not processed, and the connection takes no more (RFC 9113
	// §6.8). The graceful kind, after an answer, is Step.Close.
	GoAway Fault = "goaway"
)

// status is the status code of the answer.
func (s *Step) status() int {
	if s.Status == 0 {
		return http.StatusOK
	}
	return s.Status
}

// header is the header of the answer, with the
// Content-Length that belongs to it.
func (s *Step) header() http.Header {
	h := http.Header{}
	for name, values := range s.Header {
		for _, value := range values {
			h.Add(name, value) // as a client that parses it would
		}
	}
	h.Del("Transfer-Encoding")
	h.Del("Content-Length")
	if !s.Chunked && mayHaveBody(s.status()) {
		h.Set("Content-Length", strconv.Itoa(len(s.Body)))
	}
	return h
}

// bodyFor is the body of the answer to a request with the given method.
func (s *Step) bodyFor(method string) string {
	if method == http.MethodHead || !mayHaveBody(s.status()) {
		return ""
	}
	return s.Body
}

// mayHaveBody is the rule of RFC 9110 §6.4.1, HEAD aside.
func mayHaveBody(status int) bool {
	return status >= 200 && status != http.StatusNoContent && status != http.StatusNotModified
}

// failure reports whether the step fails at all, and how many bytes of the body are
// sent before it does; -1 means in place of the answer.
func (s *Step) failure(body string) (sent int, fails bool) {
	switch {
	case s.Fault == "" && s.Err == nil:
		return len(body), false
	case s.After == 0:
		return -1, true
	case s.After < 0:
		return 0, true
	}
	return min(s.After, len(body)), true
}
