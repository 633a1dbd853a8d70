package main

import (
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"time"
)

// flakyServer misbehaves by a plan: what it does depends on the path and on how
// often that path was asked for.
type flakyServer struct {
	url   string
	close func()

	mu       sync.Mutex
	requests map[string][]time.Time // by path
	bodies   map[string]int         // accepted, by path
}

func newFlakyServer() *flakyServer {
	s := &flakyServer{requests: make(map[string][]time.Time), bodies: make(map[string]int)}
	server := httptest.NewServer(s)
	s.url, s.close = server.URL, server.Close
	return s
}

func (s *flakyServer) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	s.mu.Lock()
	s.requests[r.URL.Path] = append(s.requests[r.URL.Path], time.Now())
	n := len(s.requests[r.URL.Path])
	s.mu.Unlock()

	plan := plans[r.URL.Path]
	if strings.HasPrefix(r.URL.Path, "/crowd/") {
		plan = []act{reset, busy, accept}
	}
	if plan == nil {
		http.NotFound(w, r)
		return
	}
	plan[min(n, len(plan))-1](s, w, r) // the last act goes on for ever
}

// seen tells when requests for path came.
func (s *flakyServer) seen(path string) []time.Time {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.requests[path])
}

// accepted tells how many bodies were accepted below a path.
func (s *flakyServer) accepted(prefix string) (n int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for path, bodies := range s.bodies {
		if strings.HasPrefix(path, prefix) {
			n += bodies
		}
	}
	return n
}

// An act is one way to answer.
type act func(*flakyServer, http.ResponseWriter, *http.Request)

var plans = map[string][]act{
	"/ask-to-wait": {waitOneSecond, accept},
	"/upload":      {reset, busy, redirect},
	"/stall":       {stall, accept},
	"/moved":       {busy, redirect},
	"/busy":        {busy, accept},
	"/down":        {busy},
	"/storage":     {accept},
}

func accept(s *flakyServer, w http.ResponseWriter, r *http.Request) {
	body, err := io.ReadAll(r.Body)
	if err != nil {
		return // whoever sent it is gone
	}
	if r.Method == http.MethodGet {
		io.WriteString(w, "hello")
		return
	}
	s.mu.Lock()
	s.bodies[r.URL.Path]++
	s.mu.Unlock()
	io.WriteString(w, describe(body))
}

func busy(_ *flakyServer, w http.ResponseWriter, _ *http.Request) {
	w.WriteHeader(http.StatusServiceUnavailable)
	io.WriteString(w, "come back later")
}

func waitOneSecond(s *flakyServer, w http.ResponseWriter, r *http.Request) {
	w.Header().Set("Retry-After", "1")
	busy(s, w, r)
}

func redirect(_ *flakyServer, w http.ResponseWriter, r *http.Request) {
	http.Redirect(w, r, "/storage", http.StatusTemporaryRedirect)
}

// reset breaks the connection in the middle of the request's body.
func reset(_ *flakyServer, w http.ResponseWriter, r *http.Request) {
	io.CopyN(io.Discard, r.Body, 500)
	conn, _, err := http.NewResponseController(w).Hijack()
	if err != nil {
		panic(fmt.Sprintf("quickstart: %v", err))
	}
	conn.(*net.TCPConn).SetLinger(0) // a reset, not an orderly end
	conn.Close()
}

// stall does not answer as long as the client waits.
func stall(_ *flakyServer, _ http.ResponseWriter, r *http.Request) {
	<-r.Context().Done()
}
