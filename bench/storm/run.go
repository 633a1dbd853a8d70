package main

import (
	"context"
	"errors"
	"math/rand/v2"
	"net/http"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

// runInBubble runs a scenario in virtual time.
//
// synctest.Test wants a *testing.T. It uses it only if something fails or is to be cleaned up at
// the end, neither of which happens here, so that an empty one serves in a program.
func runInBubble(s *scenario, l *library, seed uint64) (r *result, err error) {
	synctest.Test(new(testing.T), func(*testing.T) { r, err = run(s, l, seed) })
	if err == nil {
		err = r.check()
	}
	return r, err
}

// run runs a scenario with one library, in the bubble of its caller. It returns when the
// last call has ended.
func run(s *scenario, l *library, seed uint64) (*result, error) {
	seedLibraries(seed)
	m := &meter{}
	var crowds []*crowd
	for i := range max(1, s.copies) {
		random := rand.New(rand.NewPCG(seed, uint64(i)))
		n := newNetwork(s, m, random)
		clients, err := newClients(s, l, n)
		if err != nil {
			return nil, err
		}
		crowds = append(crowds, &crowd{scenario: s, network: n, clients: clients, rand: random})
	}
	var all sync.WaitGroup
	for _, c := range crowds {
		all.Go(c.network.fail)
		all.Go(c.callAll)
	}
	all.Wait()
	return &result{scenario: s, bins: m.bins, calls: m.calls, sent: m.sent}, nil
}

// newClients makes the clients of a scenario, which send through n.
func newClients(s *scenario, l *library, n *network) ([]sender, error) {
	clients := make([]sender, max(1, s.clients))
	for i := range clients {
		var rt http.RoundTripper = n
		if l.below != nil {
			var err error
			if rt, err = l.below(rt, n.endpoints()); err != nil {
				return nil, err
			}
		}
		clients[i] = l.new(counted{rt, n.meter})
	}
	return clients, nil
}

// counted counts the attempts of a library.
type counted struct {
	http.RoundTripper
	meter *meter
}

func (c counted) RoundTrip(req *http.Request) (*http.Response, error) {
	c.meter.sentBy()
	return c.RoundTripper.RoundTrip(req)
}

// A crowd is the callers of a run.
type crowd struct {
	*scenario
	network *network
	clients []sender
	rand    *rand.Rand
	calls   sync.WaitGroup
}

// callAll makes all calls and returns when they have ended.
func (c *crowd) callAll() {
	if c.wait {
		c.callAndWait()
	} else {
		c.callInTime()
	}
	c.calls.Wait()
}

// turn returns the time of the i-th turn. Turns are evenly spaced, each at a random moment of
// its space.
func (c *crowd) turn(i int) time.Duration {
	at := time.Duration((float64(i) + c.rand.Float64()) / c.rate * float64(time.Second))
	if c.together && c.from <= at && at < c.to {
		second := at.Truncate(time.Second)
		at = second + (at-second)/50
	}
	return at
}

// callInTime begins every call when its turn comes.
func (c *crowd) callInTime() {
	for i := 0; ; i++ {
		at := c.turn(i)
		if at >= c.run+c.tail {
			return
		}
		time.Sleep(at - c.network.now())
		c.calls.Go(func() { c.call(i % c.callers) })
	}
}

// callAndWait begins every call when its turn has come and the last call of its caller has
// ended.
func (c *crowd) callAndWait() {
	period := time.Duration(float64(c.callers) / c.rate * float64(time.Second))
	for caller := range c.callers {
		at := c.turn(caller)
		c.calls.Go(func() {
			for ; at < c.run+c.tail; at = max(at+period, c.network.now()) {
				time.Sleep(at - c.network.now())
				c.call(caller)
			}
		})
	}
}

// call makes one call.
func (c *crowd) call(caller int) {
	begin := c.network.now()
	c.network.meter.callBegun(begin)
	err := get(c.clients[caller%len(c.clients)])
	c.network.meter.callEnded(callRecord{begin, c.network.now(), err == nil})
}

// get sends a GET and returns an error unless it ends with a 200.
func get(client sender) error {
	ctx, cancel := context.WithTimeout(context.Background(), callTimeout)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+balancedHost+"/", nil)
	if err != nil {
		return err
	}
	resp, err := client.Do(req)
	if resp != nil && resp.Body != nil {
		resp.Body.Close()
	}
	if err == nil && resp.StatusCode != http.StatusOK {
		err = errors.New(resp.Status)
	}
	return err
}
