package failover_test

import (
	"context"
	"io"
	"log"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/a0b132ce/retryablehttp"
	"github.com/a0b132ce/retryablehttp/failover"
)

// network is a transport in memory. Each host does what its function says; a host without
// one responds with 200 and its name.
type network struct {
	mu    sync.Mutex
	hosts map[string]roundTripFunc
	sent  []*http.Request
}

type roundTripFunc func(*http.Request) (*http.Response, error)

func (f roundTripFunc) RoundTrip(req *http.Request) (*http.Response, error) { return f(req) }

func newNetwork() *network { return &network{hosts: make(map[string]roundTripFunc)} }

func (n *network) set(host string, f roundTripFunc) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.hosts[host] = f
}

func (n *network) RoundTrip(req *http.Request) (*http.Response, error) {
	n.mu.Lock()
	n.sent = append(n.sent, req)
	f := n.hosts[req.URL.Host]
	n.mu.Unlock()
	if f == nil {
		f = status(http.StatusOK)
	}
	if req.Body != nil {
		defer req.Body.Close()
	}
	return f(req)
}

// took returns the hosts that requests were sent to since the last call.
func (n *network) took() []string {
	n.mu.Lock()
	defer n.mu.Unlock()
	var hosts []string
	for _, req := range n.sent {
		hosts = append(hosts, req.URL.Host)
	}
	n.sent = nil
	return hosts
}

// last returns the last request that was sent.
func (n *network) last() *http.Request {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.sent[len(n.sent)-1]
}

func status(code int, header ...string) roundTripFunc {
	return func(req *http.Request) (*http.Response, error) {
		if req.Body != nil {
			if _, err := io.Copy(io.Discard, req.Body); err != nil {
				return nil, err
			}
		}
		return respond(req, code, header...), nil
	}
}

// respond returns a response whose body is the host of the request.
func respond(req *http.Request, code int, header ...string) *http.Response {
	resp := &http.Response{
		StatusCode: code,
		Header:     http.Header{},
		Body:       io.NopCloser(strings.NewReader(req.URL.Host)),
		Request:    req,
	}
	for i := 0; i+1 < len(header); i += 2 {
		resp.Header.Set(header[i], header[i+1])
	}
	return resp
}

func failure(err error) roundTripFunc {
	return func(*http.Request) (*http.Response, error) { return nil, err }
}

// refuse is a host on which nothing listens.
var refuse = failure(errRefused)

var errRefused error = &net.OpError{Op: "dial", Net: "tcp", Err: os.NewSyscallError("connect", syscall.ECONNREFUSED)}

// reset is a host that reads the request and breaks the connection.
func reset(req *http.Request) (*http.Response, error) {
	if req.Body != nil {
		if _, err := io.Copy(io.Discard, req.Body); err != nil {
			return nil, err
		}
	}
	return nil, &net.OpError{Op: "read", Net: "tcp", Err: os.NewSyscallError("read", syscall.ECONNRESET)}
}

// hang is a host that never responds.
func hang(req *http.Request) (*http.Response, error) {
	<-req.Context().Done()
	return nil, context.Cause(req.Context())
}

// after is a host that takes its time.
func after(d time.Duration, f roundTripFunc) roundTripFunc {
	return func(req *http.Request) (*http.Response, error) {
		timer := time.NewTimer(d)
		defer timer.Stop()
		select {
		case <-timer.C:
			return f(req)
		case <-req.Context().Done():
			return nil, context.Cause(req.Context())
		}
	}
}

// gate is a host that holds requests until they are let through.
type gate struct {
	arrived, open chan struct{}
}

func newGate() gate { return gate{make(chan struct{}, 100), make(chan struct{})} }

func (g gate) then(f roundTripFunc) roundTripFunc {
	return func(req *http.Request) (*http.Response, error) {
		g.arrived <- struct{}{}
		select {
		case <-g.open:
			return f(req)
		case <-req.Context().Done():
			return nil, context.Cause(req.Context())
		}
	}
}

// backends returns a Transport for http://service/ over base with the given hosts.
func backends(t testing.TB, base http.RoundTripper, hosts ...string) *failover.Transport {
	t.Helper()
	transport := &failover.Transport{Service: "service", Base: base}
	require.NoError(t, transport.SetEndpoints(endpoints(hosts...)...))
	return transport
}

func endpoints(hosts ...string) []failover.Endpoint {
	var endpoints []failover.Endpoint
	for _, host := range hosts {
		endpoints = append(endpoints, failover.Endpoint{URL: "http://" + host})
	}
	return endpoints
}

// calls returns a client that retries without waiting. The counter is the number of its
// attempts.
func calls(transport http.RoundTripper) (*retryablehttp.Client, *atomic.Int64) {
	attempts := new(atomic.Int64)
	client := retryablehttp.NewClient()
	client.HTTPClient = &http.Client{Transport: transport}
	client.Backoff = func(_, _ time.Duration, _ int, _ *http.Response) time.Duration { return 0 }
	client.OnAttempt = func(retryablehttp.Attempt) { attempts.Add(1) }
	return client, attempts
}

func newRequest(t testing.TB, method, url string, body io.Reader) *http.Request {
	t.Helper()
	req, err := http.NewRequest(method, url, body)
	require.NoError(t, err)
	return req
}

// get sends a GET through rt and returns the body of the response.
func get(t testing.TB, rt http.RoundTripper) string {
	t.Helper()
	resp, err := rt.RoundTrip(newRequest(t, "GET", "http://service/", nil))
	return text(t, resp, err)
}

func text(t testing.TB, resp *http.Response, err error) string {
	t.Helper()
	require.NoError(t, err)
	body, err := io.ReadAll(resp.Body)
	assert.NoError(t, err)
	assert.NoError(t, resp.Body.Close())
	return string(body)
}

// well reports which endpoints are well.
func well(transport *failover.Transport) []bool {
	var result []bool
	for _, s := range transport.Endpoints() {
		result = append(result, s.Failures == 0)
	}
	return result
}

func inFlight(transport *failover.Transport) []int {
	var result []int
	for _, s := range transport.Endpoints() {
		result = append(result, s.InFlight)
	}
	return result
}

// countedBody is a request body that counts how often it is closed.
type countedBody struct {
	io.Reader
	closed atomic.Int32
}

func newCountedBody(content string) *countedBody {
	return &countedBody{Reader: strings.NewReader(content)}
}

func (b *countedBody) Close() error {
	b.closed.Add(1)
	return nil
}

func count(list []string, s string) int {
	n := 0
	for _, x := range list {
		if x == s {
			n++
		}
	}
	return n
}

func sorted(list []string) []string { return slices.Sorted(slices.Values(list)) }

// serve starts a server on a loopback socket.
func serve(t testing.TB, handler http.HandlerFunc) *httptest.Server {
	server := httptest.NewServer(handler)
	t.Cleanup(server.Close)
	return server
}

func host(server *httptest.Server) string { return server.Listener.Addr().String() }

// newTransport returns a transport with a connection pool of its own.
func newTransport(t testing.TB) *http.Transport {
	transport := &http.Transport{}
	t.Cleanup(transport.CloseIdleConnections)
	return transport
}

// quiet is a log of a server that nobody reads.
var quiet = log.New(io.Discard, "", 0)
