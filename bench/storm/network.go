package main

import (
	"context"
	"fmt"
	"math/rand/v2"
	"net"
	"net/http"
	"os"
	"sync"
	"syscall"
	"time"
)

// A network is the http.RoundTripper below every library. It takes the requests to the
// servers and counts the attempts. It waits on timers alone, so that it takes no time
// in a bubble.
type network struct {
	scenario *scenario
	start    time.Time
	meter    *meter

	mu      sync.Mutex
	servers []*server
	next    int // the server that gets the next request for balancedHost
}

// balancedHost is the name of the service. Its requests go to the servers in turn. Those for
// hostName(i) go to the i-th server.
const balancedHost = "service.example"

func hostName(i int) string { return fmt.Sprintf("endpoint-%d.example", i+1) }

// newNetwork makes the servers of a scenario. Its time begins now.
func newNetwork(s *scenario, m *meter, random *rand.Rand) *network {
	n := &network{scenario: s, start: time.Now(), meter: m}
	for range max(1, s.endpoints) {
		server := &server{rand: rand.New(rand.NewPCG(random.Uint64(), random.Uint64()))}
		server.change(0, s.normal)
		n.servers = append(n.servers, server)
	}
	return n
}

// endpoints returns the URL of each server.
func (n *network) endpoints() []string {
	urls := make([]string, len(n.servers))
	for i := range urls {
		urls[i] = "http://" + hostName(i)
	}
	return urls
}

// fail begins and ends the fault.
func (n *network) fail() {
	time.Sleep(n.scenario.from)
	n.change(n.scenario.fault)
	time.Sleep(n.scenario.to - n.scenario.from)
	n.change(n.scenario.normal)
}

// change sets the condition of the first server.
func (n *network) change(c condition) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.servers[0].change(n.now(), c)
}

// now returns the time since the beginning of the run.
func (n *network) now() time.Duration { return time.Since(n.start) }

// RoundTrip implements http.RoundTripper.
func (n *network) RoundTrip(req *http.Request) (*http.Response, error) {
	if req.Body != nil {
		req.Body.Close() // what is sent is not looked at
	}
	if err := context.Cause(req.Context()); err != nil {
		return nil, err // as *http.Transport does, before anything is sent
	}
	outcome, after := n.arrive(req.URL.Host)
	if err := wait(req.Context(), outcome, after); err != nil {
		n.meter.attemptEnded(n.now(), silent)
		return nil, err
	}
	n.meter.attemptEnded(n.now(), outcome)
	switch outcome {
	case answered:
		return response(req, http.StatusOK), nil
	case refused:
		return response(req, http.StatusServiceUnavailable), nil
	}
	return nil, &net.OpError{Op: "dial", Net: "tcp", Err: os.NewSyscallError("connect", syscall.ECONNREFUSED)}
}

// arrive hands a request to its server.
func (n *network) arrive(host string) (outcome, time.Duration) {
	n.mu.Lock()
	defer n.mu.Unlock()
	now := n.now()
	n.meter.attemptBegun(now)
	if host == balancedHost {
		n.next = (n.next + 1) % len(n.servers)
		return n.servers[n.next].arrive(now)
	}
	for i, s := range n.servers {
		if host == hostName(i) {
			return s.arrive(now)
		}
	}
	return unreachable, 0
}

// wait waits for the response, and returns an error if the context ends before it comes.
func wait(ctx context.Context, o outcome, after time.Duration) error {
	if o == silent {
		<-ctx.Done()
		return context.Cause(ctx)
	}
	t := time.NewTimer(after)
	defer t.Stop()
	select {
	case <-t.C:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

func response(req *http.Request, status int) *http.Response {
	return &http.Response{
		Status:     fmt.Sprintf("%d %s", status, http.StatusText(status)),
		StatusCode: status,
		Proto:      "HTTP/1.1",
		ProtoMajor: 1,
		ProtoMinor: 1,
		Header:     make(http.Header),
		Body:       http.NoBody,
		Request:    req,
	}
}
