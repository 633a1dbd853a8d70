package hedge

import (
	"cmp"
	"errors"
	"fmt"
	"net/http"
	"sync"
	"time"

	"github.com/a0b132ce/retryablehttp"
	"github.com/a0b132ce/retryablehttp/internal/hosts"
)

const (
	// defaultPercentile lets 1.5 % of the requests pass the delay. If 1 % of the responses
	// are slow, the 99th percentile lies between the fast ones and the slow ones, and in
	// some windows among the slow ones, which then are not hedged. The 98th needs all that
	// defaultShare allows. In the distributions of TestStorm the 99.9th percentile fell to
	// at most 0.06 times with 98.5, to 0.11 with 98, and in one of them not at all with 99.
	defaultPercentile = 98.5

	// defaultShare is what second attempts may add to the load, as a share of the good
	// responses.
	defaultShare = 0.02
)

// Transport is an [http.RoundTripper] that sends a request a second time if no response
// has come after a delay, and returns the first good response. The zero Transport sends by
// [http.DefaultTransport] and chooses the delay by itself. Set the fields before the first
// request. After that any number of goroutines may use the Transport; it must not be
// copied. Functions in the fields may be called by many goroutines at once.
//
// A request is hedged if its method is safe (GET, HEAD, OPTIONS or TRACE, RFC 9110
// §9.2.1), if it has no Upgrade header, and if it has no body or a GetBody. The readers
// that GetBody returns must not depend on each other, because both attempts read at the
// same time. Every other request is passed to Base as it is.
type Transport struct {
	// Base sends the first attempt. Nil means http.DefaultTransport. It must heed the
	// context of the request, as *http.Transport does: RoundTrip returns only when the
	// first attempt has ended.
	Base http.RoundTripper

	// Alternative sends the second attempt, for example over connections of its own or
	// to another address. Nil means Base.
	Alternative http.RoundTripper

	// Delay is how long to wait for the first attempt before the second is sent. 0 means
	// the Percentile of the host's recent response times. Negative means that no request
	// is hedged.
	Delay time.Duration

	// Percentile, between 0 and 100, is the percentile of the response times of a host
	// after which a request is hedged, if Delay is 0. So about 100-Percentile percent of
	// the requests are candidates for a second attempt, which Budget must allow for. 0
	// means 98.5. Negative means that no request is hedged. A number above 100 or NaN is
	// an error of each request.
	//
	// A response time ends with the response's header. The last 1,024 to 2,048 of a host
	// count, however old they are: those of good responses, and those of attempts that
	// ended without one after the delay. The percentile is rounded up, by at most 1/16 or
	// 4 µs. The first 100 good responses of a host are not hedged.
	Percentile float64

	// Budget limits the second attempts: each good response is a deposit for its host, each
	// second attempt takes one token. Nil means a budget of 2 % without a minimum. The
	// Budget should not be shared with a client, where retries take the tokens too.
	Budget *retryablehttp.Budget

	// OnHedge, if not nil, is called for each request whose first attempt took longer than
	// the delay, before RoundTrip returns and by the same goroutine.
	OnHedge func(Hedge)

	hosts         hosts.Map[histogram]
	once          sync.Once // sets defaultBudget
	defaultBudget *retryablehttp.Budget
}

var _ http.RoundTripper = (*Transport)(nil)

// Hedge describes a request whose first attempt took longer than the delay.
type Hedge struct {
	// Request is the request that RoundTrip was given. Do not modify it.
	Request *http.Request
	// Delay is how long the Transport waited before the second attempt.
	Delay time.Duration
	// Elapsed is the time until RoundTrip had its result.
	Elapsed time.Duration
	// Sent reports whether a second attempt was made. If not, the Budget was used up.
	Sent bool
	// Won reports whether RoundTrip returns the response of the second attempt.
	Won bool
}

// RoundTrip implements [http.RoundTripper]. It returns the first good response: one that
// is neither a 429 nor a 5xx. If the attempt that ends first has no good response, it waits
// for the other one. If neither has one, it returns the result of the first attempt. A
// result that comes before the delay is returned, whatever it is.
//
// RoundTrip does not modify req: each attempt of a hedged request sends a copy. If a
// transport panics, RoundTrip panics, unless the result is already decided.
func (t *Transport) RoundTrip(req *http.Request) (*http.Response, error) {
	if err := t.check(req); err != nil {
		if req != nil && req.Body != nil {
			req.Body.Close()
		}
		return nil, err
	}
	if t.Delay < 0 || t.Percentile < 0 || !hedgeable(req) {
		return t.base().RoundTrip(req)
	}
	r := &race{transport: t, req: req, delay: t.Delay, start: time.Now()}
	if t.Delay == 0 {
		r.times = t.hosts.Of(req.URL.Host, nil)
		r.delay = r.times.percentile()
		if r.delay == 0 {
			return t.warmUp(r)
		}
	}
	return r.run()
}

// warmUp sends a request once, to learn how long a response takes.
func (t *Transport) warmUp(r *race) (*http.Response, error) {
	resp, err := roundTrip(t.base(), r.req, r.req)
	if good(resp, err) {
		r.times.add(time.Since(r.start), t.percentile())
		t.budget().Deposit(r.req.URL.Host)
	}
	return resp, err
}

// CloseIdleConnections closes the idle connections of Base and Alternative.
// [http.Client.CloseIdleConnections] calls it.
func (t *Transport) CloseIdleConnections() {
	for _, rt := range []http.RoundTripper{t.base(), t.Alternative} {
		if c, ok := rt.(interface{ CloseIdleConnections() }); ok {
			c.CloseIdleConnections()
		}
	}
}

func (t *Transport) check(req *http.Request) error {
	switch {
	case req == nil:
		return errors.New("hedge: nil Request")
	case !(t.Percentile <= 100): // includes NaN
		return fmt.Errorf("hedge: Transport.Percentile is %v, want a number up to 100", t.Percentile)
	case t.base() == http.RoundTripper(t):
		return errors.New("hedge: the Base of a Transport is the Transport itself")
	}
	return nil
}

func (t *Transport) base() http.RoundTripper {
	if t.Base != nil {
		return t.Base
	}
	return http.DefaultTransport
}

func (t *Transport) alternative() http.RoundTripper {
	if t.Alternative != nil {
		return t.Alternative
	}
	return t.base()
}

func (t *Transport) percentile() float64 { return cmp.Or(t.Percentile, defaultPercentile) }

func (t *Transport) budget() *retryablehttp.Budget {
	if t.Budget != nil {
		return t.Budget
	}
	t.once.Do(func() {
		t.defaultBudget = &retryablehttp.Budget{Ratio: defaultShare, MinPerSecond: -1}
	})
	return t.defaultBudget
}

// hedgeable reports whether req may be sent twice at the same time.
func hedgeable(req *http.Request) bool {
	switch req.Method {
	case "", http.MethodGet, http.MethodHead, http.MethodOptions, http.MethodTrace:
	default:
		return false
	}
	// An upgraded connection belongs to the caller: a second one could not be taken back.
	_, upgrade := req.Header["Upgrade"]
	return req.URL != nil && !upgrade && (!hasBody(req) || req.GetBody != nil)
}

func hasBody(req *http.Request) bool { return req.Body != nil && req.Body != http.NoBody }
