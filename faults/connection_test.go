package faults_test

import (
	"context"
	"crypto/tls"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/a0b132ce/retryablehttp"
)

// patchyServer is an HTTP/2 server in memory that sends no responses on some connections.
type patchyServer struct {
	silent   sync.Map         // the numbers of these connections
	requests [10]atomic.Int32 // by number of the connection
}

// transport returns a transport to the server.
func (s *patchyServer) transport(t *testing.T, server, trusting *tls.Config) *http.Transport {
	return pipeTransport(t, server, trusting, func(p *h2Peer, n int) {
		p.serve(func(stream uint32) {
			s.requests[n].Add(1)
			if _, ok := s.silent.Load(n); !ok {
				p.writeOK(stream, true)
			}
		})
	})
}

// get sends a GET in one of the ways and expects a response.
func get(t *testing.T, way string, client *retryablehttp.Client, url string) {
	t.Helper()
	req, err := http.NewRequest("GET", url, nil)
	require.NoError(t, err)
	resp, err := ways[way](client, req)
	require.NoError(t, err)
	readBody(t, resp)
}

type roundTripFunc func(*http.Request) (*http.Response, error)

func (f roundTripFunc) RoundTrip(req *http.Request) (*http.Response, error) { return f(req) }

// The second attempt reaches an HTTP/2 server that has stopped to respond on one
// connection but accepts new ones.
func TestSecondAttemptLeavesASilentHTTP2Connection(t *testing.T) {
	serverTLS, trusting := testTLS(t)
	nested := map[string]func(*retryablehttp.Client) *retryablehttp.Client{
		"": func(c *retryablehttp.Client) *retryablehttp.Client { return c },
		"/nested": func(c *retryablehttp.Client) *retryablehttp.Client {
			return &retryablehttp.Client{HTTPClient: c.StandardClient()}
		},
		"/nested, behind a middleware": func(c *retryablehttp.Client) *retryablehttp.Client {
			inner := &retryablehttp.RoundTripper{Client: c}
			return &retryablehttp.Client{HTTPClient: &http.Client{Transport: roundTripFunc(func(req *http.Request) (*http.Response, error) {
				return inner.RoundTrip(req.Clone(req.Context()))
			})}}
		},
	}
	for way := range ways {
		for nesting, outer := range nested {
			t.Run(way+nesting, func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					var server patchyServer
					rt := server.transport(t, serverTLS, trusting)
					defer rt.CloseIdleConnections()
					client := outer(&retryablehttp.Client{HTTPClient: &http.Client{Transport: rt}, Backoff: noWait})
					client.RetryMax, client.Backoff, client.AttemptTimeout = 1, noWait, 2*time.Second
					get(t, way, client, "https://host/")
					require.EqualValues(t, 1, server.requests[1].Load())
					server.silent.Store(1, true)
					start := time.Now()
					get(t, way, client, "https://host/")
					assert.Equal(t, 2*time.Second, time.Since(start), "one attempt timed out, the next got its response")
					assert.EqualValues(t, 2, server.requests[1].Load())
					assert.EqualValues(t, 1, server.requests[2].Load(), "on a new connection")
				})
			})
		}
	}
}

// So does it over HTTP/2 without TLS, where the connection does not tell what it speaks.
func TestF140SecondAttemptLeavesASilentConnectionOfUnencryptedHTTP2(t *testing.T) {
	for way := range ways {
		t.Run(way, func(t *testing.T) {
			var silent sync.Map // addresses of clients
			var protocols http.Protocols
			protocols.SetUnencryptedHTTP2(true)
			server := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				if _, ok := silent.Load(r.RemoteAddr); ok {
					<-r.Context().Done()
				}
				io.WriteString(w, r.RemoteAddr)
			}))
			server.Config.Protocols = &protocols
			server.Start()
			defer server.Close()
			defer server.CloseClientConnections()
			rt := &http.Transport{Protocols: &protocols}
			defer rt.CloseIdleConnections()
			client := &retryablehttp.Client{RetryMax: 1, Backoff: noWait, HTTPClient: &http.Client{Transport: rt}}
			resp, err := client.Get(server.URL)
			require.NoError(t, err)
			require.Equal(t, 2, resp.ProtoMajor)
			silent.Store(readBody(t, resp), true)
			client.AttemptTimeout = 200 * time.Millisecond
			var first error
			client.OnAttempt = func(a retryablehttp.Attempt) {
				if a.Number == 1 {
					first = a.Err
					client.AttemptTimeout = 0 // on a slow machine the second takes longer
				}
			}
			get(t, way, client, server.URL)
			assert.ErrorIs(t, first, retryablehttp.ErrAttemptTimeout)
		})
	}
}

// With another transport around net/http's, as for tracing or tokens, the first retry may
// still take the silent connection; the second does not.
func TestThirdAttemptLeavesASilentHTTP2ConnectionBehindATransport(t *testing.T) {
	serverTLS, trusting := testTLS(t)
	for way := range ways {
		t.Run(way, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				var server patchyServer
				rt := server.transport(t, serverTLS, trusting)
				defer rt.CloseIdleConnections()
				wrapped := roundTripFunc(func(req *http.Request) (*http.Response, error) {
					return rt.RoundTrip(req.Clone(req.Context()))
				})
				client := &retryablehttp.Client{
					RetryMax: 2, Backoff: noWait, AttemptTimeout: 2 * time.Second,
					HTTPClient: &http.Client{Transport: wrapped},
				}
				get(t, way, client, "https://host/")
				server.silent.Store(1, true)
				start := time.Now()
				get(t, way, client, "https://host/")
				assert.Equal(t, 4*time.Second, time.Since(start))
				assert.EqualValues(t, 1, server.requests[2].Load(), "on a new connection")
			})
		})
	}
}

// A retry that times out before its new connection is there leaves neither a dial nor a
// connection behind. Nobody else could use that connection.
func TestF136FreshConnectionDoesNotOutliveItsAttempt(t *testing.T) {
	serverTLS, trusting := testTLS(t)
	for name, dial := range map[string]func(context.Context) error{
		"dial in progress": func(ctx context.Context) error { <-ctx.Done(); return ctx.Err() },
		"connected late":   func(context.Context) error { time.Sleep(3 * time.Second); return nil },
	} {
		for way := range ways {
			t.Run(name+"/"+way, func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					var dialing, connected, open atomic.Int32
					rt := pipeTransport(t, serverTLS, trusting, func(p *h2Peer, n int) {
						connected.Add(1)
						open.Add(1)
						defer open.Add(-1)
						p.serve(func(uint32) {}) // it never responds
					})
					connect := rt.DialContext
					rt.DialTLSContext = func(ctx context.Context, network, addr string) (net.Conn, error) {
						dialing.Add(1)
						defer dialing.Add(-1)
						if connected.Load() > 0 {
							if err := dial(ctx); err != nil {
								return nil, err
							}
						}
						conn, err := connect(ctx, network, addr)
						if err != nil {
							return nil, err
						}
						config := trusting.Clone()
						config.NextProtos = []string{"h2"}
						secure := tls.Client(conn, config)
						return secure, secure.Handshake()
					}
					client := &retryablehttp.Client{RetryMax: 1, Backoff: noWait, AttemptTimeout: 2 * time.Second, HTTPClient: &http.Client{Transport: rt}}
					req, err := http.NewRequest("GET", "https://host/", nil)
					require.NoError(t, err)
					_, err = ways[way](client, req)
					require.ErrorIs(t, err, retryablehttp.ErrAttemptTimeout)
					require.EqualValues(t, 1, open.Load(), "connections")
					rt.CloseIdleConnections()
					time.Sleep(5 * time.Second)
					assert.Zero(t, dialing.Load(), "dials")
					assert.Zero(t, open.Load(), "connections")
				})
			})
		}
	}
}

// The other connections stay in the pool: the suspect one, on which another call may be
// in progress, and those to other servers.
func TestFreshConnectionLeavesThePoolAlone(t *testing.T) {
	serverTLS, trusting := testTLS(t)
	synctest.Test(t, func(t *testing.T) {
		var server patchyServer
		rt := server.transport(t, serverTLS, trusting)
		defer rt.CloseIdleConnections()
		client := &retryablehttp.Client{RetryMax: 1, Backoff: noWait, AttemptTimeout: 2 * time.Second, HTTPClient: &http.Client{Transport: rt}}
		get(t, "Do", client, "https://host/")
		get(t, "Do", client, "https://other/")
		server.silent.Store(1, true)
		get(t, "Do", client, "https://host/")
		server.silent.Delete(1)
		get(t, "Do", client, "https://host/")
		get(t, "Do", client, "https://other/")
		assert.EqualValues(t, 3, server.requests[1].Load(), "host: the first, the one without a response, the last")
		assert.EqualValues(t, 2, server.requests[2].Load(), "other: the same connection twice")
		assert.EqualValues(t, 1, server.requests[3].Load(), "the retry")
		assert.Zero(t, server.requests[4].Load(), "no further connection")
	})
}

// The pings of NewClient's transport detect a dead HTTP/2 connection when there is no
// AttemptTimeout. net/http then uses another connection.
func TestDeadHTTP2ConnectionIsFoundByPings(t *testing.T) {
	serverTLS, trusting := testTLS(t)
	synctest.Test(t, func(t *testing.T) {
		var requests [4]atomic.Int32
		rt := pipeTransport(t, serverTLS, trusting, func(p *h2Peer, n int) {
			p.serve(func(stream uint32) {
				if requests[n].Add(1) == 2 && n == 1 {
					io.Copy(io.Discard, p.conn) // ignores pings
				}
				p.writeOK(stream, true)
			})
		})
		defer rt.CloseIdleConnections()
		rt.HTTP2 = retryablehttp.NewClient().HTTPClient.Transport.(*http.Transport).HTTP2
		client := &retryablehttp.Client{RetryMax: 1, Backoff: noWait, HTTPClient: &http.Client{Transport: rt}}
		get(t, "Do", client, "https://host/")
		start := time.Now()
		get(t, "Do", client, "https://host/")
		assert.Equal(t, 20*time.Second, time.Since(start), "15 s of silence, 5 s for the ping")
		assert.EqualValues(t, 1, requests[2].Load())
	})
}
