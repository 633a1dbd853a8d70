package hedge

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"sync"
	"time"
)

// A race is a request that may be sent twice. The first attempt runs in the goroutine of
// the caller, so that a request whose response comes in time needs no other. The second
// runs in the goroutine of a timer.
type race struct {
	transport *Transport
	req       *http.Request // the caller's
	times     *histogram    // of the host; nil if the delay is fixed
	delay     time.Duration
	start     time.Time

	mu     sync.Mutex
	first  attempt
	second *attempt // nil if it was not sent
	due    bool     // the delay passed before the first attempt ended
	winner *attempt // whose result is returned; nil until that is decided
}

// An attempt is one of the two. The rest is set when it has ended.
type attempt struct {
	cancel context.CancelFunc
	done   chan struct{} // closed when the second attempt has ended; nil for the first

	resp     *http.Response
	err      error
	panicked any // what the transport panicked with
}

// good reports whether a result is returned without waiting for the other attempt.
func good(resp *http.Response, err error) bool {
	return err == nil && resp.StatusCode < 500 && resp.StatusCode != http.StatusTooManyRequests
}

// run sends the request and returns the result. It waits for the second attempt only if
// the first has no good response.
func (r *race) run() (*http.Response, error) {
	returned := false
	defer func() {
		if !returned { // a transport or OnHedge has panicked
			r.settle().lose()
		}
	}()
	r.sendFirst()
	if second := r.awaited(); second != nil {
		select {
		case <-second.done:
		case <-r.req.Context().Done():
		}
	}
	w, t := r.settle(), r.transport
	if w.panicked != nil {
		panic(w.panicked)
	}
	if good(w.resp, w.err) {
		t.budget().Deposit(r.req.URL.Host)
	}
	if r.due && t.OnHedge != nil {
		t.OnHedge(Hedge{Request: r.req, Delay: r.delay, Elapsed: time.Since(r.start), Sent: r.second != nil, Won: w == r.second})
	}
	returned = true
	if w.err != nil {
		w.cancel()
		return nil, w.err
	}
	return bindContext(w.resp, w.cancel), nil
}

// sendFirst makes the first attempt, and starts the timer of the second.
func (r *race) sendFirst() {
	ctx, cancel := context.WithCancel(r.req.Context())
	r.first.cancel = cancel
	timer := time.AfterFunc(r.delay, r.sendSecond)
	defer timer.Stop()
	resp, err := roundTrip(r.transport.base(), r.req.Clone(ctx), r.req)
	r.measure(time.Since(r.start), good(resp, err))
	r.end(&r.first, resp, err)
}

// measure adds the time of the first attempt to those of the host. Second attempts are
// left out, because only slow requests have one. An attempt without a good response, such
// as one that has lost, would have taken longer than it did. If it took at least the
// delay, it is above the percentile in any case, and its time counts: otherwise each
// second attempt that wins would lower the delay. If it took less, nothing is known.
func (r *race) measure(took time.Duration, good bool) {
	if r.times != nil && (good || took >= r.delay) {
		r.times.add(took, r.transport.percentile())
	}
}

// sendSecond makes the second attempt, if it may be made.
func (r *race) sendSecond() {
	a, req := r.begin()
	if a == nil {
		return
	}
	resp, err := (*http.Response)(nil), errNoResult // as long as the transport has not returned
	defer func() {
		a.panicked = recover()
		r.end(a, resp, err)
		close(a.done)
	}()
	if hasBody(req) {
		body, openErr := req.GetBody()
		if openErr != nil {
			err = openErr
			return
		}
		req.Body = body
	}
	resp, err = roundTrip(r.transport.alternative(), req, r.req)
}

// begin returns the second attempt and its request, nil if it must not be sent.
func (r *race) begin() (*attempt, *http.Request) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.winner != nil {
		return nil, nil
	}
	r.due = true
	if !r.transport.budget().TryWithdraw(r.req.URL.Host) {
		return nil, nil
	}
	ctx, cancel := context.WithCancel(r.req.Context())
	r.second = &attempt{cancel: cancel, done: make(chan struct{})}
	// Copied here, because the caller may change the request after the race.
	return r.second, r.req.Clone(ctx)
}

// end records the result of an attempt, which decides the race if it is good.
func (r *race) end(a *attempt, resp *http.Response, err error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	a.resp, a.err = resp, err
	switch {
	case r.winner != nil:
		a.lose()
	case a.panicked != nil || good(resp, err):
		r.win(a)
	}
}

// awaited returns the second attempt if its result is needed, after the first has ended.
func (r *race) awaited() *attempt {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.winner != nil {
		return nil
	}
	return r.second
}

// settle returns the winner, which is the first attempt if there is none yet.
func (r *race) settle() *attempt {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.winner == nil {
		r.win(&r.first)
	}
	return r.winner
}

// win decides the race. r.mu is held.
func (r *race) win(a *attempt) {
	r.winner = a
	switch {
	case a != &r.first:
		r.first.lose()
	case r.second != nil:
		r.second.lose()
	}
}

// lose ends an attempt whose result is not returned. The race's mu is held, or the race
// is over.
func (a *attempt) lose() {
	if a.resp != nil {
		go discard(a.resp, a.cancel)
		return
	}
	a.cancel()
}

var errNoResult = errors.New("hedge: the transport did not return")

// roundTrip sends sent, which is req or a copy of it, and holds the transport to its contract.
func roundTrip(rt http.RoundTripper, sent, req *http.Request) (*http.Response, error) {
	resp, err := rt.RoundTrip(sent)
	switch {
	case err != nil:
		if resp != nil && resp.Body != nil {
			resp.Body.Close()
		}
		return nil, err
	case resp == nil:
		return nil, fmt.Errorf("hedge: transport %T returned neither a response nor an error", rt)
	}
	if resp.Body == nil {
		resp.Body = http.NoBody
	}
	if resp.Request == nil || resp.Request == sent {
		resp.Request = req
	} else { // a copy that a transport has made, with a context that ends with the attempt
		resp.Request = resp.Request.WithContext(req.Context())
	}
	return resp, nil
}
