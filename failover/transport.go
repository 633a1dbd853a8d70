package failover

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/a0b132ce/retryablehttp"
)

// Transport is an [http.RoundTripper] that sends each request to one of a set of equivalent
// endpoints. Set its fields, then call [Transport.SetEndpoints]. Do not change the fields
// afterwards. Any number of goroutines may use it. The package documentation says how it
// works.
type Transport struct {
	// Service is the host, and the port if there is one, of the requests that go to the
	// endpoints, as it stands in their URLs: "orders" for http://orders/things. It need not
	// exist. Requests to other hosts go to Base as they are. It must be set.
	Service string

	// Base sends the requests. Nil means http.DefaultTransport.
	Base http.RoundTripper

	// Mode is how to pick one of the endpoints that are well. 0 means Ordered.
	Mode Mode

	// RestMin and RestMax are how long an endpoint rests after its first failure, and at
	// most. 0 or less means 1 s and 30 s. The n-th rest in a row is a random time between
	// RestMin·2^(n-1) and twice that, or the time of a 503's Retry-After if that is longer,
	// but never more than RestMax.
	RestMin, RestMax time.Duration

	// SharedKeys says that an endpoint recognizes an Idempotency-Key that another endpoint
	// has seen, because they keep the keys in one place. A request with such a key (or an
	// X-Idempotency-Key) may then be repeated at any endpoint.
	SharedKeys bool

	// OnChange, if not nil, is called when an endpoint has failed and begins to rest, and
	// when it is well again. Many goroutines may call it at once; later changes may be
	// reported earlier.
	OnChange func(Status)

	mu        sync.Mutex // guards the rest, and the health of all endpoints
	endpoints []*endpoint
	picks     uint64 // how often an endpoint was picked

	// copies has the number of users of each copy of Base. These are the endpoint, until it
	// is removed, and its requests in flight.
	copies map[*http.Transport]int
}

var _ http.RoundTripper = (*Transport)(nil)

// ErrEndpointRemoved is matched by the error of a request that must not be sent to a second
// endpoint and whose endpoint was removed. It has a method Permanent that returns true, so
// that the policies of package retryablehttp do not retry it.
var ErrEndpointRemoved error = permanentError("failover: the endpoint that may have acted on the request was removed")

type permanentError string

func (e permanentError) Error() string   { return string(e) }
func (e permanentError) Permanent() bool { return true }

const (
	errNoEndpoints = permanentError("failover: no endpoints; call Transport.SetEndpoints")
	errNilRequest  = permanentError("failover: nil Request")
	errNilURL      = permanentError("failover: nil Request.URL")
	errOpaque      = permanentError("failover: Request.URL.Opaque is set")
)

// SetEndpoints replaces the endpoints. It may be called at any time. Requests under way are
// not interrupted, and new ones go to the new endpoints. An endpoint that is in both sets,
// that is, with the same URL (apart from user information) and Host, keeps its health and,
// if its ServerName is the same, its connections. The idle connections of other endpoints
// with a ServerName are closed at once, and their other connections a second after the last
// request of the endpoint has ended. Connections of Base are closed by its IdleConnTimeout.
//
// It returns an error, and changes nothing, if there are no endpoints, if one is invalid or
// if two are the same, or if Service or Mode is invalid.
func (t *Transport) SetEndpoints(endpoints ...Endpoint) error {
	next, err := t.check(endpoints)
	if err != nil {
		return fmt.Errorf("failover: %w", err)
	}
	t.mu.Lock()
	var unused []*http.Transport
	for _, old := range t.endpoints {
		i := slices.IndexFunc(next, func(e *endpoint) bool { return e.key == old.key })
		if i >= 0 {
			next[i].health = old.health
		}
		if i >= 0 && next[i].serverName == old.serverName {
			next[i].own = old.own
		} else if old.own != nil {
			unused = append(unused, old.own)
			t.release(old.own)
		}
	}
	for _, e := range next {
		if e.serverName != "" && e.own == nil {
			e.own = withServerName(t.base().(*http.Transport), e.serverName)
			if t.copies == nil {
				t.copies = make(map[*http.Transport]int)
			}
			t.copies[e.own] = 1
		}
	}
	t.endpoints = next
	t.mu.Unlock()
	for _, own := range unused {
		own.CloseIdleConnections()
	}
	return nil
}

// check checks the settings and the endpoints of a new set.
func (t *Transport) check(given []Endpoint) ([]*endpoint, error) {
	switch {
	case !validHost(t.Service):
		return nil, fmt.Errorf("Transport.Service %q is not a host", t.Service)
	case t.Mode < Ordered || t.Mode > LeastLoaded:
		return nil, fmt.Errorf("invalid Transport.Mode %d", t.Mode)
	case t.base() == http.RoundTripper(t):
		return nil, errors.New("Transport.Base is the Transport itself")
	case len(given) == 0:
		return nil, errors.New("no endpoints")
	}
	var endpoints []*endpoint
	for i, g := range given {
		e, err := newEndpoint(g)
		if err != nil {
			return nil, fmt.Errorf("endpoint %d: %w", i+1, err)
		}
		if base, ok := t.base().(*http.Transport); e.serverName != "" && (!ok || base == nil) {
			return nil, fmt.Errorf("endpoint %d: ServerName needs Transport.Base to be an *http.Transport", i+1)
		}
		if e.transport == http.RoundTripper(t) {
			return nil, fmt.Errorf("endpoint %d: Endpoint.Transport is the Transport itself", i+1)
		}
		if j := slices.IndexFunc(endpoints, func(other *endpoint) bool { return other.key == e.key }); j >= 0 {
			return nil, fmt.Errorf("endpoints %d and %d are the same", j+1, i+1)
		}
		e.health = new(health)
		endpoints = append(endpoints, e)
	}
	return endpoints, nil
}

// Endpoints returns the state of the endpoints, in their order.
func (t *Transport) Endpoints() []Status {
	t.mu.Lock()
	defer t.mu.Unlock()
	statuses := make([]Status, len(t.endpoints))
	for i, e := range t.endpoints {
		statuses[i] = e.status()
	}
	return statuses
}

// release notes that a copy of Base, which may be nil, has one user less. If that was the
// last one, the connections of the copy are closed after removedTime. t.mu must be held.
func (t *Transport) release(own *http.Transport) {
	if own == nil {
		return
	}
	if t.copies[own]--; t.copies[own] > 0 {
		return
	}
	time.AfterFunc(removedTime, func() {
		own.CloseIdleConnections()
		t.mu.Lock()
		defer t.mu.Unlock()
		delete(t.copies, own)
	})
}

// CloseIdleConnections closes the idle connections of Base and of all endpoints, also of
// those with a ServerName that were removed. [http.Client.CloseIdleConnections] calls it.
func (t *Transport) CloseIdleConnections() {
	t.mu.Lock()
	transports := []http.RoundTripper{t.base()}
	for _, e := range t.endpoints {
		transports = append(transports, t.roundTripper(e))
	}
	for own := range t.copies {
		transports = append(transports, own)
	}
	t.mu.Unlock()
	for _, rt := range transports {
		(&http.Client{Transport: rt}).CloseIdleConnections()
	}
}

// RoundTrip implements [http.RoundTripper]. The error comes from the last endpoint that the
// request was sent to.
func (t *Transport) RoundTrip(req *http.Request) (*http.Response, error) {
	switch {
	case req == nil:
		return nil, errNilRequest
	case req.URL == nil:
		closeBody(req.Body)
		return nil, errNilURL
	case !strings.EqualFold(req.URL.Host, t.Service):
		return roundTrip(t.base(), req)
	}
	if err := req.Context().Err(); err != nil { // nothing of it is the fault of an endpoint
		closeBody(req.Body)
		return nil, context.Cause(req.Context())
	}
	call := retryablehttp.CallValue(req.Context(), t)
	x, err := t.begin(req, call, nil)
	if err != nil {
		closeBody(req.Body)
		return nil, err
	}
	body := req.Body
	for {
		resp, err := x.send(body)
		if err == nil || !x.movesOn(err) {
			return resp, err
		}
		var nextErr error
		if body, nextErr = bodyAgain(req); nextErr != nil {
			return nil, err
		}
		if x, nextErr = t.begin(req, call, x); nextErr != nil {
			closeBody(body)
			return nil, err
		}
	}
}

// begin picks the endpoint for a request. What was sent before is the value of the call or,
// outside of a call, past.
func (t *Transport) begin(req *http.Request, call *atomic.Value, past *exchange) (*exchange, error) {
	if req.URL.Opaque != "" {
		return nil, errOpaque
	}
	x := &exchange{transport: t, original: req, past: past, attempt: retryablehttp.AttemptNumber(req.Context())}
	if !t.repeatable(req) {
		x.seen = new(observer)
	}
	now := time.Now()
	t.mu.Lock()
	defer t.mu.Unlock()
	if call != nil {
		x.past, _ = call.Load().(*exchange)
	}
	if err := t.assign(x, now); err != nil {
		return nil, err
	}
	if call != nil {
		call.Store(x)
	}
	return x, nil
}

// assign gives x its endpoint.
func (t *Transport) assign(x *exchange, now time.Time) error {
	if acted := x.past.acted(); acted != nil && x.seen != nil {
		i := slices.IndexFunc(t.endpoints, func(e *endpoint) bool { return e.key == acted.endpoint.key })
		if i < 0 {
			return ErrEndpointRemoved
		}
		x.endpoint, x.bound = t.endpoints[i], true
	} else if x.endpoint = t.pick(x, now); x.endpoint == nil {
		return errNoEndpoints
	}
	h := x.endpoint.health
	x.probe, x.epoch = h.due(now), h.epoch
	h.probing = h.probing || x.probe
	h.inFlight++
	if own := x.endpoint.own; own != nil {
		t.copies[own]++
	}
	t.picks++
	h.picked = t.picks
	return nil
}

func (t *Transport) base() http.RoundTripper {
	if t.Base == nil {
		return http.DefaultTransport
	}
	return t.Base
}

// roundTripper returns what sends the requests to e.
func (t *Transport) roundTripper(e *endpoint) http.RoundTripper {
	switch {
	case e.transport != nil:
		return e.transport
	case e.own != nil:
		return e.own
	}
	return t.base()
}
