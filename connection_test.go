package retryablehttp

import (
	"context"
	"crypto/tls"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/http/httptrace"
	"net/url"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// docs/spec.md, 11.1: a timeout closes the connection of HTTP/1.1, and the retry uses a
// new one.
func TestRetryUsesANewConnectionOfHTTP1(t *testing.T) {
	for way, send := range sends {
		t.Run(way, func(t *testing.T) {
			var hits atomic.Int32
			server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				if hits.Add(1) == 3 {
					<-r.Context().Done()
				}
			}))
			defer server.Close()
			client := &Client{RetryMax: 1, Backoff: noWait, AttemptTimeout: 200 * time.Millisecond, HTTPClient: &http.Client{Transport: &http.Transport{}}}
			defer client.CloseIdleConnections()
			var conns []string
			var reused []bool
			request := func() *http.Request {
				ctx := httptrace.WithClientTrace(t.Context(), &httptrace.ClientTrace{GotConn: func(info httptrace.GotConnInfo) {
					conns = append(conns, info.Conn.LocalAddr().String())
					reused = append(reused, info.Reused)
				}})
				return mustRequest(t, server.URL).WithContext(ctx)
			}
			for range 4 { // the third meets the failure
				require.NoError(t, send(client, request()))
			}
			assert.Equal(t, []bool{false, true, true, false, true}, reused, "the pool has the retry's connection")
			assert.NotContains(t, conns[:3], conns[3])
		})
	}
}

// docs/spec.md, 11.1: a retry for another reason uses the pool.
func TestRetryAfterA503ReusesItsConnection(t *testing.T) {
	var hits atomic.Int32
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		if hits.Add(1) < 3 {
			w.WriteHeader(503)
		}
	}))
	defer server.Close()
	var conns atomic.Int32
	rt := &http.Transport{}
	rt.DialContext = func(ctx context.Context, network, addr string) (net.Conn, error) {
		conns.Add(1)
		return new(net.Dialer).DialContext(ctx, network, addr)
	}
	client := &Client{RetryMax: 2, Backoff: noWait, HTTPClient: &http.Client{Transport: rt}}
	defer client.CloseIdleConnections()
	require.NoError(t, sends["Do"](client, mustRequest(t, server.URL)))
	assert.EqualValues(t, 1, conns.Load())
}

// docs/spec.md, 11.1: the new connection has the settings of the transport.
func TestFreshConnectionKeepsTheSettingsOfTheTransport(t *testing.T) {
	var proxied atomic.Int32
	proxy := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if proxied.Add(1) == 1 {
			w.WriteHeader(http.StatusRequestTimeout)
		}
	}))
	defer proxy.Close()
	u, err := url.Parse(proxy.URL)
	require.NoError(t, err)
	client := &Client{RetryMax: 1, Backoff: noWait, HTTPClient: &http.Client{Transport: &http.Transport{Proxy: http.ProxyURL(u)}}}
	require.NoError(t, sends["Do"](client, mustRequest(t, "http://host.invalid/")))
	assert.EqualValues(t, 2, proxied.Load())
	client.CloseIdleConnections()
}

// docs/spec.md, 11.1: golang.org/x/net/http2.ConfigureTransport adds a pool of its own,
// which contains the connection that timed out.
func TestFreshConnectionPassesByTheHTTP2OfOtherPackages(t *testing.T) {
	server := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Proto", r.Proto)
	}))
	server.EnableHTTP2 = true
	server.StartTLS()
	defer server.Close()
	pooled := 0
	rt := server.Client().Transport.(*http.Transport).Clone()
	rt.TLSNextProto = map[string]func(string, *tls.Conn) http.RoundTripper{
		"h2": func(_ string, conn *tls.Conn) http.RoundTripper {
			conn.Close()
			return roundTripFunc(func(req *http.Request) (*http.Response, error) {
				pooled++
				resp := respond(req, http.StatusRequestTimeout, "")
				resp.ProtoMajor, resp.TLS = 2, &tls.ConnectionState{}
				return resp, nil
			})
		},
	}
	client := &Client{RetryMax: 1, Backoff: noWait, HTTPClient: &http.Client{Transport: rt}}
	resp, err := client.Get(server.URL)
	require.NoError(t, err)
	resp.Body.Close()
	assert.Equal(t, 1, pooled, "the first attempt")
	assert.Equal(t, "HTTP/2.0", resp.Header.Get("Proto"))
	client.CloseIdleConnections()
}

// docs/spec.md, 11.1: a scheme that is registered with the transport works after a
// timeout.
func TestRetryOfARegisteredSchemeAfterATimeout(t *testing.T) {
	rt := &http.Transport{}
	attempts := 0
	rt.RegisterProtocol("memory", roundTripFunc(func(req *http.Request) (*http.Response, error) {
		if attempts++; attempts == 1 {
			resp := respond(req, http.StatusRequestTimeout, "")
			resp.ProtoMajor = 2
			return resp, nil
		}
		return respond(req, 200, ""), nil
	}))
	client := &Client{RetryMax: 1, Backoff: noWait, HTTPClient: &http.Client{Transport: rt}}
	require.NoError(t, sends["Do"](client, mustRequest(t, "memory://host/")))
	assert.Equal(t, 2, attempts)
}

// docs/spec.md, 11.2: the transports of NewClient and of the package-level functions ping
// HTTP/2 connections.
func TestNewClientPingsHTTP2Connections(t *testing.T) {
	for _, client := range []*Client{NewClient(), defaultClient} {
		rt, ok := client.HTTPClient.Transport.(*http.Transport)
		require.True(t, ok)
		require.NotNil(t, rt.HTTP2)
		assert.Equal(t, 15*time.Second, rt.HTTP2.SendPingTimeout)
		assert.Equal(t, 5*time.Second, rt.HTTP2.PingTimeout)
		assert.True(t, rt.ForceAttemptHTTP2)
	}
}

// docs/spec.md, 11.1: the call does not use the connection that timed out again, also
// after a retry that failed for another reason.
func TestSuspectConnectionIsLeftForTheWholeCall(t *testing.T) {
	var from []string
	server := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		from = append(from, r.RemoteAddr)
		w.WriteHeader([]int{200, 408, 503, 200, 200}[len(from)-1])
	}))
	server.EnableHTTP2 = true
	server.StartTLS()
	defer server.Close()
	client := &Client{RetryMax: 2, Backoff: noWait, HTTPClient: server.Client()}
	for range 3 {
		require.NoError(t, sends["Do"](client, mustRequest(t, server.URL)))
	}
	assert.Equal(t, from[0], from[1])
	assert.NotEqual(t, from[0], from[2])
	assert.NotEqual(t, from[0], from[3])
	assert.Equal(t, from[0], from[4], "the next call")
}

// docs/spec.md, 11.1: the rest of a download that timed out is requested over another
// connection.
func TestResumptionLeavesASuspectConnection(t *testing.T) {
	var from []string
	server := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		from = append(from, r.RemoteAddr)
		w.Header().Set("ETag", `"v1"`)
		if len(from) > 1 {
			http.ServeContent(w, r, "", time.Time{}, strings.NewReader(testObject))
			return
		}
		w.Header().Set("Content-Length", strconv.Itoa(len(testObject)))
		io.WriteString(w, testObject[:40])
		w.(http.Flusher).Flush()
		<-r.Context().Done()
	}))
	server.EnableHTTP2 = true
	server.StartTLS()
	defer server.Close()
	hc := server.Client()
	hc.Timeout = 300 * time.Millisecond
	client := &Client{ResumeMax: 1, Backoff: noWait, HTTPClient: hc}
	resp, err := client.Get(server.URL)
	require.NoError(t, err)
	data, err := io.ReadAll(resp.Body)
	require.NoError(t, err)
	resp.Body.Close()
	assert.Equal(t, testObject, string(data))
	require.Len(t, from, 2)
	assert.NotEqual(t, from[0], from[1])
}
