package failover

import (
	"net/http"
	"time"

	"github.com/a0b132ce/retryablehttp"
)

const (
	defaultRestMin = 1 * time.Second
	defaultRestMax = 30 * time.Second
)

// health is what is known of an endpoint from the requests that were sent to it.
// Transport.mu guards it.
type health struct {
	inFlight int
	picked   uint64    // the value of Transport.picks when it was picked last
	failures int       // in a row; the endpoint rests unless it is 0
	err      error     // the last failure
	until    time.Time // when the rest ends
	probing  bool      // a request is under way that finds out whether the endpoint is back
	epoch    uint64    // counts the changes of failures
}

func (h *health) well() bool { return h.failures == 0 }

// due reports whether the endpoint may get its probe.
func (h *health) due(now time.Time) bool {
	return h.failures > 0 && !h.probing && !now.Before(h.until)
}

// verdict is what a result says about the endpoint.
type verdict int8

const (
	verdictNone verdict = iota // for example because the caller has canceled the request
	verdictWell
	verdictFailed
)

// record notes the result of x and reports whether it has changed the health. Many requests
// may be under way when an endpoint fails. Only the first failure counts: the results of
// requests that were sent before a change say nothing about the time after it.
func (h *health) record(x *exchange, v verdict, err error, until time.Time) bool {
	if x.probe {
		h.probing = false
	}
	switch {
	case x.epoch != h.epoch, v == verdictNone, v == verdictWell && h.well():
		return false
	case v == verdictWell:
		h.failures, h.err, h.until = 0, nil, time.Time{}
	default:
		h.failures++
		h.err, h.until = err, until
	}
	h.epoch++
	return true
}

// rest returns how long an endpoint rests after it has failed the given number of times in
// a row, the last time with resp, which may be nil.
func (t *Transport) rest(failures int, resp *http.Response) time.Duration {
	least, most := t.RestMin, t.RestMax
	if least <= 0 {
		least = defaultRestMin
	}
	if most <= 0 {
		most = defaultRestMax
	}
	rest := retryablehttp.ExponentialJitterBackoff(least, most, failures-1, nil)
	asked := retryablehttp.DefaultBackoff(0, 0, 0, resp) // its Retry-After
	return min(max(rest, asked), most)
}

// Status is the state of an endpoint at some time.
type Status struct {
	// URL is the URL of the endpoint, without user information.
	URL string
	// InFlight is the number of requests that were sent and whose responses have not been
	// read to the end or closed.
	InFlight int
	// Failures is how many times in a row the endpoint has failed. 0 means that it is well.
	Failures int
	// RestUntil is when the rest of the endpoint ends. It is zero if the endpoint is well.
	RestUntil time.Time
	// Err is the last failure, as the transport has returned it. It is nil if the endpoint
	// is well.
	Err error
}

func (e *endpoint) status() Status {
	return Status{
		URL:       e.shown,
		InFlight:  e.health.inFlight,
		Failures:  e.health.failures,
		RestUntil: e.health.until,
		Err:       e.health.err,
	}
}
