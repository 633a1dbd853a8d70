package failover_test

import (
	"context"
	"crypto/tls"
	"io"
	"net"
	"net/http"
	"runtime"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/a0b132ce/retryablehttp/failover"
)

// handshakeTime is how long a TLS handshake with a pipeServer takes.
const handshakeTime = 200 * time.Millisecond

// pipeServer is an HTTPS server in memory, for use in a synctest bubble. It responds with its
// protocol; a request for /hold gets the rest of its response when release is closed.
type pipeServer struct {
	base           *http.Transport // a transport whose connections all go to the server
	release        chan struct{}
	dialed, closed atomic.Int32 // connections
}

func newPipeServer(t *testing.T, certified *tlsServer, protocols *http.Protocols) *pipeServer {
	s := &pipeServer{release: make(chan struct{})}
	listener := &pipeListener{conns: make(chan net.Conn), done: make(chan struct{})}
	server := &http.Server{
		Protocols: protocols,
		ErrorLog:  quiet,
		TLSConfig: &tls.Config{
			Certificates:           certified.TLS.Certificates,
			SessionTicketsDisabled: true, // a net.Pipe has no buffer for them
			GetConfigForClient: func(*tls.ClientHelloInfo) (*tls.Config, error) {
				time.Sleep(handshakeTime)
				return nil, nil
			},
		},
		Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			http.NewResponseController(w).Flush()
			if r.URL.Path == "/hold" {
				select {
				case <-s.release:
				case <-r.Context().Done():
					panic(http.ErrAbortHandler)
				}
			}
			io.WriteString(w, r.Proto)
		}),
	}
	go server.ServeTLS(listener, "", "")
	t.Cleanup(func() { server.Close() })
	s.base = certified.base(t)
	s.base.Protocols = protocols
	s.base.DialContext = func(context.Context, string, string) (net.Conn, error) {
		client, accepted := net.Pipe()
		s.dialed.Add(1)
		t.Cleanup(func() { client.Close() })
		listener.conns <- accepted
		return &countedConn{client, &s.closed}, nil
	}
	return s
}

// pipeTest runs test in a synctest bubble. The HTTP/2 server of Go 1.25 keeps channels in a
// sync.Pool, but a channel must not be used outside its bubble. The second GC frees them.
func pipeTest(t *testing.T, test func(*testing.T)) {
	defer runtime.GC()
	defer runtime.GC()
	synctest.Test(t, test)
}

type pipeListener struct {
	conns chan net.Conn
	done  chan struct{}
}

func (l *pipeListener) Accept() (net.Conn, error) {
	select {
	case conn := <-l.conns:
		return conn, nil
	case <-l.done:
		return nil, net.ErrClosed
	}
}

func (l *pipeListener) Close() error {
	close(l.done)
	return nil
}

func (l *pipeListener) Addr() net.Addr { return &net.TCPAddr{} }

func protocols(http2 bool) *http.Protocols {
	p := new(http.Protocols)
	p.SetHTTP1(!http2)
	p.SetHTTP2(http2)
	return p
}

// A connection of a removed endpoint with a ServerName is closed a second after the last
// request of the endpoint, or by CloseIdleConnections, in whatever state it was when the
// endpoint was removed.
func TestF141ConnectionsOfARemovedEndpointAreClosed(t *testing.T) {
	certified := newTLSServer(t, true, protocol)
	here := failover.Endpoint{URL: "https://127.0.0.1", ServerName: "example.com"}
	renamed := failover.Endpoint{URL: here.URL, ServerName: "127.0.0.1"}
	there := failover.Endpoint{URL: "https://127.0.0.2"}

	type state struct {
		*pipeServer
		send   func(ctx context.Context) (*http.Response, error) // to /hold
		remove func()
	}
	background := context.Background()
	finish := func(t *testing.T, s state, resp *http.Response) {
		assert.Zero(t, s.closed.Load(), "requests under way are not interrupted")
		close(s.release)
		body, err := io.ReadAll(resp.Body) // and no Close
		assert.NoError(t, err)
		assert.Equal(t, resp.Proto, string(body))
	}
	scripts := map[string]func(t *testing.T, s state){
		"idle": func(t *testing.T, s state) {
			resp, err := s.send(background)
			require.NoError(t, err)
			finish(t, s, resp)
			synctest.Wait()
			s.remove()
			synctest.Wait()
			assert.EqualValues(t, 1, s.closed.Load(), "at once")
		},
		"body read later": func(t *testing.T, s state) {
			resp, err := s.send(background)
			require.NoError(t, err)
			s.remove()
			time.Sleep(time.Hour)
			finish(t, s, resp)
		},
		"body closed later": func(t *testing.T, s state) {
			resp, err := s.send(background)
			require.NoError(t, err)
			s.remove()
			assert.NoError(t, resp.Body.Close())
		},
		"body canceled later": func(t *testing.T, s state) {
			ctx, cancel := context.WithCancel(background)
			resp, err := s.send(ctx)
			require.NoError(t, err)
			s.remove()
			cancel()
			_, err = io.ReadAll(resp.Body)
			assert.ErrorIs(t, err, context.Canceled)
		},
		"two bodies": func(t *testing.T, s state) {
			first, err := s.send(background)
			require.NoError(t, err)
			second, err := s.send(background)
			require.NoError(t, err)
			s.remove()
			if first.ProtoMajor == 2 { // HTTP/1 closes the connection of a body that was not read
				assert.NoError(t, first.Body.Close())
				time.Sleep(time.Hour)
			} else {
				defer first.Body.Close()
			}
			finish(t, s, second)
		},
		"handshake": func(t *testing.T, s state) {
			ctx, cancel := context.WithTimeout(background, handshakeTime/2)
			defer cancel()
			time.AfterFunc(handshakeTime/4, s.remove)
			_, err := s.send(ctx)
			assert.ErrorIs(t, err, context.DeadlineExceeded)
		},
		"handshake that nobody waits for": func(t *testing.T, s state) {
			ctx, cancel := context.WithTimeout(background, handshakeTime/2)
			defer cancel()
			_, err := s.send(ctx)
			assert.ErrorIs(t, err, context.DeadlineExceeded)
			s.remove()
		},
	}
	closers := map[string]func(*failover.Transport){
		"a second later":       func(*failover.Transport) { time.Sleep(failover.RemovedTime + handshakeTime) },
		"CloseIdleConnections": (*failover.Transport).CloseIdleConnections,
	}
	for _, http2 := range []bool{false, true} {
		for by, next := range map[string]failover.Endpoint{"removed": there, "renamed": renamed} {
			for how, script := range scripts {
				for when, closeAll := range closers {
					t.Run(protocols(http2).String()+" "+by+" "+how+" "+when, func(t *testing.T) {
						pipeTest(t, func(t *testing.T) {
							s := newPipeServer(t, certified, protocols(http2))
							transport := &failover.Transport{Service: "service", Base: s.base}
							require.NoError(t, transport.SetEndpoints(here))
							script(t, state{
								pipeServer: s,
								send: func(ctx context.Context) (*http.Response, error) {
									return transport.RoundTrip(newRequest(t, "GET", "http://service/hold", nil).WithContext(ctx))
								},
								remove: func() { require.NoError(t, transport.SetEndpoints(next)) },
							})
							synctest.Wait()
							closeAll(transport)
							synctest.Wait()
							assert.Positive(t, s.dialed.Load())
							assert.GreaterOrEqual(t, s.closed.Load(), s.dialed.Load())
							time.Sleep(failover.RemovedTime)
							synctest.Wait()
							kept := 0
							if next.ServerName != "" {
								kept = 1
							}
							assert.Equal(t, kept, transport.Copies())
						})
					})
				}
			}
		}
	}
}

// The connection of an endpoint that stays is kept for 90 s between requests.
func TestF141ConnectionsOfEndpointsThatStayAreKept(t *testing.T) {
	certified := newTLSServer(t, true, protocol)
	for _, http2 := range []bool{false, true} {
		pipeTest(t, func(t *testing.T) {
			s := newPipeServer(t, certified, protocols(http2))
			transport := &failover.Transport{Service: "service", Base: s.base, Mode: failover.RoundRobin}
			for range 3 {
				require.NoError(t, transport.SetEndpoints(
					failover.Endpoint{URL: "https://127.0.0.1", ServerName: "example.com"},
					failover.Endpoint{URL: "https://127.0.0.2", ServerName: "example.com"},
				))
				for range 4 {
					get(t, transport)
					time.Sleep(40 * time.Second)
				}
			}
			assert.EqualValues(t, 2, s.dialed.Load())
			assert.Zero(t, s.closed.Load())
			assert.Equal(t, 2, transport.Copies())
			time.Sleep(time.Minute)
			synctest.Wait()
			assert.EqualValues(t, 2, s.closed.Load())
		})
	}
}

// closable is a transport that counts the calls of CloseIdleConnections.
type closable struct {
	http.RoundTripper
	calls int
}

func (c *closable) CloseIdleConnections() { c.calls++ }

func TestF141CloseIdleConnectionsOfBaseAndOfTheEndpoints(t *testing.T) {
	var base, own closable
	transport := &failover.Transport{Service: "service", Base: &base}
	require.NoError(t, transport.SetEndpoints(failover.Endpoint{URL: "http://a", Transport: &own}))
	transport.CloseIdleConnections()
	assert.Equal(t, 1, base.calls)
	assert.Equal(t, 1, own.calls)
}
