package retrytest

import (
	"net/http"
	"strconv"
	"time"
)

// Step says what happens to one attempt, in this order: the request's body is read
// (Read), time passes (Delay), and the response is sent (Status, Header, Body, Chunked,
// Drip). A failure (Fault or Err) replaces the response or cuts it off (After). The zero
// Step reads the whole request and sends a 200 with an empty body at once.
type Step struct {
	// Times is how many attempts in a row the step serves. 0 means 1, and
	// Forever (or any negative number) all that follow.
	Times int

	// Read is how many bytes of the request's body are read. 0 means all of it,
	// HeadersOnly (or any negative number) none. If the body is not read to its
	// end, the client may still be writing when the response arrives. After such a
	// response a Server discards the rest of the body on HTTP/1.1, and on HTTP/2
	// it tells the client to stop (RST_STREAM with NO_ERROR, RFC 9113 §8.1).
	Read int64

	// Delay is the time between reading the request and what follows.
	Delay time.Duration

	// Status is the response's status code, from 200 to 999. 0 means 200.
	Status int
	// Header is the response's header. Content-Length and Transfer-Encoding are
	// set as required by the body.
	Header http.Header
	// Body is the response's body.
	Body string
	// Chunked sends the body without its length: in one chunk on HTTP/1.1,
	// without Content-Length on HTTP/2. The response of a Transport has a
	// ContentLength of -1.
	Chunked bool
	// Drip is the time before each byte of the body. 0 sends the body at once.
	Drip time.Duration
	// Close ends the connection after the response: by Connection: close on
	// HTTP/1.1, by a graceful GOAWAY on HTTP/2.
	Close bool

	// Fault is the failure. The zero value is none.
	Fault Fault
	// After is how much of the response is sent before Fault or Err. 0 means
	// nothing, HeadersOnly (or any negative number) the header, and n the header
	// and n bytes of the body.
	After int
	// Code is the HTTP/2 error code of the fault ResetStream (RFC 9113 §7). 0 is
	// NO_ERROR.
	Code uint32

	// Err is the error that a Transport returns, for failures that are not a
	// Fault. A Server cannot produce it.
	Err error
}

const (
	// HeadersOnly means no byte of a body, in Step.Read and Step.After.
	HeadersOnly = -1
	// Forever means all attempts that follow, in Step.Times.
	Forever = -1
)

// Fault is a kind of failure.
type Fault string

// Faults of the connection.
const (
	// Refuse is a connection that is refused (ECONNREFUSED). Only a Transport can
	// produce it. For a real one, use the URL of a Server that has been closed.
	Refuse Fault = "refuse"
	// Reset is a connection that the peer resets (TCP RST, ECONNRESET).
	Reset Fault = "reset"
	// Close is a connection that the peer closes (TCP FIN) before the response is
	// complete. The body is then shorter than its Content-Length, or its last
	// chunk is missing.
	Close Fault = "close"
	// Stall is a peer that keeps the connection open and sends nothing. It ends
	// when the client closes the connection or resets the stream and, on a
	// Transport, when the request is canceled or the response's body is closed. If
	// Step.Read stops before the end of the request's body, a Server cannot notice
	// that an HTTP/1.1 client has closed the connection, which then stays open
	// until Server.Close.
	Stall Fault = "stall"
)

// Faults of HTTP/2. A Transport returns errors with the text of net/http's.
const (
	// RefuseStream is RST_STREAM with REFUSED_STREAM: the request was not
	// processed and may be sent again (RFC 9113 §8.7).
	RefuseStream Fault = "refuse stream"
	// ResetStream is RST_STREAM with Step.Code.
	ResetStream Fault = "reset stream"
	// GoAway is a GOAWAY whose last stream is the one before the request's: the
	// request was not processed, and the connection accepts no more requests (RFC
	// 9113 §6.8). For a GOAWAY after the response, use Step.Close.
	GoAway Fault = "goaway"
)

// status returns the status code of the response.
func (s *Step) status() int {
	if s.Status == 0 {
		return http.StatusOK
	}
	return s.Status
}

// header returns the header of the response, with its Content-Length.
func (s *Step) header() http.Header {
	h := http.Header{}
	for name, values := range s.Header {
		for _, value := range values {
			h.Add(name, value) // makes the name canonical, as a client does
		}
	}
	h.Del("Transfer-Encoding")
	h.Del("Content-Length")
	if !s.Chunked && mayHaveBody(s.status()) {
		h.Set("Content-Length", strconv.Itoa(len(s.Body)))
	}
	return h
}

// bodyFor returns the body of the response to a request with the given method.
func (s *Step) bodyFor(method string) string {
	if method == http.MethodHead || !mayHaveBody(s.status()) {
		return ""
	}
	return s.Body
}

// mayHaveBody reports whether a response with the status, to a request other than HEAD,
// can have a body (RFC 9110 §6.4.1).
func mayHaveBody(status int) bool {
	return status >= 200 && status != http.StatusNoContent && status != http.StatusNotModified
}

// failure reports whether the step fails, and how many bytes of the body are sent before
// that. -1 means that the failure replaces the response.
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
