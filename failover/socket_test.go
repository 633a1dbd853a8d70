package failover_test

import (
	"context"
	"crypto/tls"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/a0b132ce/retryablehttp"
	"github.com/a0b132ce/retryablehttp/failover"
)

// tlsServer is an HTTPS server with the certificate of httptest, which is for example.com
// and 127.0.0.1. It counts its open connections and records the names that clients ask for.
type tlsServer struct {
	*httptest.Server
	open  atomic.Int32
	mu    sync.Mutex
	names []string
}

func newTLSServer(t *testing.T, http2 bool, handler http.HandlerFunc) *tlsServer {
	s := &tlsServer{Server: httptest.NewUnstartedServer(handler)}
	s.EnableHTTP2 = http2
	s.TLS = &tls.Config{GetConfigForClient: func(hello *tls.ClientHelloInfo) (*tls.Config, error) {
		s.mu.Lock()
		defer s.mu.Unlock()
		s.names = append(s.names, hello.ServerName)
		return nil, nil
	}}
	s.Config.ConnState = func(_ net.Conn, state http.ConnState) {
		switch state {
		case http.StateNew:
			s.open.Add(1)
		case http.StateClosed, http.StateHijacked:
			s.open.Add(-1)
		}
	}
	s.Config.ErrorLog = quiet
	s.StartTLS()
	t.Cleanup(s.Close)
	return s
}

// base returns a transport that trusts the certificate of httptest.
func (s *tlsServer) base(t *testing.T) *http.Transport {
	base := newTransport(t)
	base.TLSClientConfig = s.Client().Transport.(*http.Transport).TLSClientConfig.Clone()
	return base
}

func protocol(w http.ResponseWriter, r *http.Request) { io.WriteString(w, r.Proto+" "+r.Host) }

func TestServerName(t *testing.T) {
	server := newTLSServer(t, true, protocol)
	for name, tc := range map[string]struct {
		configure func(*http.Transport)
		endpoint  failover.Endpoint
		want      string
		sni       string
	}{
		"of the URL":    {func(t *http.Transport) { t.ForceAttemptHTTP2 = true }, failover.Endpoint{}, "HTTP/2.0 " + host(server.Server), ""},
		"another":       {func(t *http.Transport) { t.ForceAttemptHTTP2 = true }, failover.Endpoint{ServerName: "example.com"}, "HTTP/2.0 " + host(server.Server), "example.com"},
		"with Host":     {func(t *http.Transport) { t.ForceAttemptHTTP2 = true }, failover.Endpoint{ServerName: "example.com", Host: "shop.example"}, "HTTP/2.0 shop.example", "example.com"},
		"HTTP/1":        {func(*http.Transport) {}, failover.Endpoint{ServerName: "example.com"}, "HTTP/1.1 " + host(server.Server), "example.com"},
		"no HTTP/2":     {func(t *http.Transport) { t.Protocols = new(http.Protocols); t.Protocols.SetHTTP1(true) }, failover.Endpoint{ServerName: "example.com"}, "HTTP/1.1 " + host(server.Server), "example.com"},
		"no TLS config": {func(t *http.Transport) { t.TLSClientConfig = nil }, failover.Endpoint{ServerName: "example.com"}, "", "example.com"},
		"not the peer":  {func(*http.Transport) {}, failover.Endpoint{ServerName: "other.test"}, "", "other.test"},
	} {
		t.Run(name, func(t *testing.T) {
			base := server.base(t)
			tc.configure(base)
			server.mu.Lock()
			server.names = nil
			server.mu.Unlock()
			tc.endpoint.URL = server.URL
			transport := &failover.Transport{Service: "service", Base: base}
			require.NoError(t, transport.SetEndpoints(tc.endpoint))
			defer transport.CloseIdleConnections()
			resp, err := transport.RoundTrip(newRequest(t, "GET", "http://service/", nil))
			if tc.want == "" {
				var certificate *tls.CertificateVerificationError
				require.ErrorAs(t, err, &certificate)
				assert.Equal(t, []bool{false}, well(transport))
			} else {
				assert.Equal(t, tc.want, text(t, resp, err))
			}
			server.mu.Lock()
			defer server.mu.Unlock()
			assert.Equal(t, []string{tc.sni}, server.names)
		})
	}
}

// A copy of a transport that speaks HTTP/2 by default does so too.
func TestServerNameKeepsHTTP2(t *testing.T) {
	server := newTLSServer(t, true, protocol)
	base := newTransport(t)
	warm := backends(t, base, "127.0.0.1:1")
	_, err := warm.RoundTrip(newRequest(t, "GET", "http://service/", nil))
	require.Error(t, err)
	base.TLSClientConfig.RootCAs = server.base(t).TLSClientConfig.RootCAs // net/http has made the config
	transport := &failover.Transport{Service: "service", Base: base}
	require.NoError(t, transport.SetEndpoints(failover.Endpoint{URL: server.URL, ServerName: "example.com"}))
	defer transport.CloseIdleConnections()
	resp, err := transport.RoundTrip(newRequest(t, "GET", "http://service/", nil))
	assert.Contains(t, text(t, resp, err), "HTTP/2.0")
}

// The connections of an endpoint with a ServerName are its own. They are closed when the
// endpoint goes, or when CloseIdleConnections is called, and kept when it stays.
func TestConnectionsOfAServerName(t *testing.T) {
	for _, http2 := range []bool{false, true} {
		hold := make(chan struct{})
		server := newTLSServer(t, http2, func(w http.ResponseWriter, r *http.Request) {
			if r.URL.Path == "/hold" {
				http.NewResponseController(w).Flush()
				<-hold
			}
			protocol(w, r)
		})
		base := server.base(t)
		base.ForceAttemptHTTP2 = http2
		transport := &failover.Transport{Service: "service", Base: base}
		here := failover.Endpoint{URL: server.URL, ServerName: "example.com"}
		there := failover.Endpoint{URL: "https://127.0.0.1:1", ServerName: "example.com"}
		set := func(endpoints ...failover.Endpoint) { require.NoError(t, transport.SetEndpoints(endpoints...)) }
		closes := func() {
			assert.Eventually(t, func() bool { return server.open.Load() == 0 }, 5*time.Second, time.Millisecond)
		}
		set(here)
		get(t, transport)
		assert.EqualValues(t, 1, server.open.Load())
		set(there, here)
		set(here, there)
		get(t, transport)
		assert.EqualValues(t, 1, server.open.Load(), "it is the same connection")

		transport.CloseIdleConnections()
		closes()
		get(t, transport)
		set(there)
		closes()

		set(here)
		resp, err := transport.RoundTrip(newRequest(t, "GET", "http://service/hold", nil))
		require.NoError(t, err)
		set(there)
		assert.EqualValues(t, 1, server.open.Load(), "requests under way are not interrupted")
		close(hold)
		assert.Contains(t, text(t, resp, err), "HTTP/")
		if !http2 { // a connection of HTTP/2 may be idle only some time after its last response
			closes()
		}
		set(here)
		get(t, transport)
		here.ServerName = "127.0.0.1"
		set(here)
		if !http2 {
			closes()
		}
		server.CloseClientConnections()
		closes()
		transport.CloseIdleConnections()
	}
}

// An endpoint that is not there costs no attempt, for a POST either.
func TestARefusedConnectionCostsNoAttempt(t *testing.T) {
	server := serve(t, func(w http.ResponseWriter, r *http.Request) { io.Copy(w, r.Body) })
	for name, policy := range map[string]retryablehttp.CheckRetry{"default": nil, "safe": retryablehttp.SafeRetryPolicy} {
		for _, method := range []string{"GET", "POST"} {
			t.Run(name+" "+method, func(t *testing.T) {
				transport := backends(t, newTransport(t), "127.0.0.1:1", host(server))
				client, attempts := calls(transport)
				client.CheckRetry = policy
				req, err := retryablehttp.NewRequest(method, "http://service/", "content")
				require.NoError(t, err)
				resp, err := client.Do(req)
				assert.Equal(t, "content", text(t, resp, err))
				assert.EqualValues(t, 1, attempts.Load())
				assert.Equal(t, []bool{false, true}, well(transport))
			})
		}
	}
}

// A POST that finds its idle connection closed, and its server gone, goes on as well.
func TestAServerThatGoesAwayBetweenRequests(t *testing.T) {
	echo := func(w http.ResponseWriter, r *http.Request) { io.Copy(w, r.Body) }
	first, second := httptest.NewServer(http.HandlerFunc(echo)), serve(t, echo)
	var closed atomic.Int32
	base := newTransport(t)
	base.DialContext = func(ctx context.Context, network, addr string) (net.Conn, error) {
		conn, err := new(net.Dialer).DialContext(ctx, network, addr)
		return &countedConn{conn, &closed}, err
	}
	transport := backends(t, base, host(first), host(second))
	client, attempts := calls(transport)
	client.CheckRetry = retryablehttp.SafeRetryPolicy
	post := func() {
		resp, err := client.Post("http://service/", "", "content")
		assert.Equal(t, "content", text(t, resp, err))
	}
	post()
	first.Close()
	require.Eventually(t, func() bool { return closed.Load() == 1 }, 5*time.Second, time.Millisecond)
	post()
	assert.EqualValues(t, 2, attempts.Load())
	assert.Equal(t, []bool{false, true}, well(transport))
}

// countedConn counts the connections that the client has closed.
type countedConn struct {
	net.Conn
	closed *atomic.Int32
}

func (c *countedConn) Close() error {
	c.closed.Add(1)
	return c.Conn.Close()
}

// An attempt may time out before there is a connection. Of that the error says nothing, but
// the POST was not sent.
func TestADialThatHangsLeavesThePostUnsent(t *testing.T) {
	server := serve(t, func(w http.ResponseWriter, r *http.Request) { io.Copy(w, r.Body) })
	base := newTransport(t)
	base.DialContext = func(ctx context.Context, network, addr string) (net.Conn, error) {
		if strings.HasSuffix(addr, ":1") {
			<-ctx.Done()
			return nil, ctx.Err()
		}
		return new(net.Dialer).DialContext(ctx, network, addr)
	}
	transport := backends(t, base, "127.0.0.1:1", host(server))
	client, attempts := calls(transport)
	client.CheckRetry = retryablehttp.SafeRetryPolicy
	client.AttemptTimeout = 50 * time.Millisecond
	resp, err := client.Post("http://service/", "", "content")
	assert.Equal(t, "content", text(t, resp, err))
	assert.EqualValues(t, 2, attempts.Load())
}

// A POST that was sent and not answered is not sent elsewhere.
func TestAPostThatWasSentIsNotSentElsewhere(t *testing.T) {
	var received atomic.Int32
	first := serve(t, func(w http.ResponseWriter, r *http.Request) {
		io.Copy(io.Discard, r.Body)
		if received.Add(1) == 1 {
			panic(http.ErrAbortHandler)
		}
		io.WriteString(w, "first")
	})
	second := serve(t, func(http.ResponseWriter, *http.Request) { t.Error("sent elsewhere") })
	client, attempts := calls(backends(t, newTransport(t), host(first), host(second)))
	resp, err := client.Post("http://service/", "", "content")
	assert.Equal(t, "first", text(t, resp, err))
	assert.EqualValues(t, 2, attempts.Load())
}

// net/http itself repeats a request with an Idempotency-Key on a new connection. If that is
// refused, the error says that nothing was sent, but the request was sent before.
func TestARequestThatNetHTTPHasRepeatedIsNotUnsent(t *testing.T) {
	var first *httptest.Server
	var received atomic.Int32
	first = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		io.Copy(io.Discard, r.Body)
		if received.Add(1) == 2 {
			first.Listener.Close()
			panic(http.ErrAbortHandler)
		}
	}))
	defer first.Close()
	second := serve(t, func(http.ResponseWriter, *http.Request) { t.Error("sent elsewhere") })
	transport := backends(t, newTransport(t), host(first), host(second))
	send := func() error {
		req := newRequest(t, "POST", "http://service/", strings.NewReader("content"))
		req.Header.Set("Idempotency-Key", "1")
		resp, err := transport.RoundTrip(req)
		if err == nil {
			text(t, resp, err)
		}
		return err
	}
	require.NoError(t, send())
	err := send()
	require.Error(t, err)
	assert.True(t, retryablehttp.Unsent(err), "by its type")
	assert.EqualValues(t, 2, received.Load())
}

func TestAnUpgradedConnectionIsUsable(t *testing.T) {
	server := serve(t, func(w http.ResponseWriter, r *http.Request) {
		conn, buffered, err := http.NewResponseController(w).Hijack()
		if !assert.NoError(t, err) {
			return
		}
		defer conn.Close()
		io.WriteString(conn, "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: echo\r\n\r\n")
		line, err := buffered.ReadString('\n')
		assert.NoError(t, err)
		io.WriteString(conn, line)
	})
	transport := backends(t, newTransport(t), host(server))
	req := newRequest(t, "GET", "http://service/", nil)
	req.Header.Set("Connection", "Upgrade")
	req.Header.Set("Upgrade", "echo")
	resp, err := transport.RoundTrip(req)
	require.NoError(t, err)
	_, err = io.WriteString(resp.Body.(io.Writer), "hello\n")
	require.NoError(t, err)
	assert.Equal(t, "hello\n", text(t, resp, err))
	assert.Equal(t, []int{0}, inFlight(transport))
}
