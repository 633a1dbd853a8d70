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

// sends are the ways to send a request; each closes the answer.
var sends = map[string]func(*Client, *http.Request) error{
	"Do": func(c *Client, r *http.Request) error {
		req, err := FromRequest(r)
		if err != nil {
			return err
		}
		return done(c.Do(req))
	},
	"RoundTripper":   func(c *Client, r *http.Request) error { return done((&RoundTripper{Client: c}).RoundTrip(r)) },
	"StandardClient": func(c *Client, r *http.Request) error { return done(c.StandardClient().Do(r)) },
}

func done(resp *http.Response, err error) error {
	if err != nil {
		return err
	}
	io.Copy(io.Discard, resp.Body)
	return resp.Body.Close()
}

// Fresh connections: HTTP/1.1, after a 408 and after a timeout.
func TestRetryUsesANewConnectionOfHTTP1(t *testing.T) {
	for way, send := range sends {
		for name, fail := range map[string]http.HandlerFunc{
			"408": func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusRequestTimeout) },
			"timeout": func(_ http.ResponseWriter, r *http.Request) {
				<-r.Context().Done()
			},
		} {
			t.Run(name+"/"+way, func(t *testing.T) {
				var hits atomic.Int32
				server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
					if hits.Add(1) == 3 {
						fail(w, r)
					}
				}))
				defer server.Close()
				client := &Client{RetryMax: 1, Backoff: noWait, HTTPClient: &http.Client{Transport: &http.Transport{}}}
				defer client.CloseIdleConnections()
				if name == "timeout" {
					client.AttemptTimeout = 200 * time.Millisecond
				}
				var conns []string
				var reused []bool
				request := func() *http.Request {
					ctx := httptrace.WithClientTrace(t.Context(), &httptrace.ClientTrace{GotConn: func(info httptrace.GotConnInfo) {
						conns = append(conns, info.Conn.LocalAddr().String())
						reused = append(reused, info.Reused)
					}})
					return mustRequest(t, server.URL).WithContext(ctx)
				}
				for range 3 { // the third meets the failure
					require.NoError(t, send(client, request()))
				}
				assert.Equal(t, []bool{false, true, true, false}, reused)
				require.NoError(t, send(client, request()))
				assert.NotContains(t, conns[:3], conns[3], "the retry's own")
				if name == "408" {
					assert.Equal(t, conns[0], conns[4], "the pool still has the old one")
				}
			})
		}
	}
}

// Fresh connections: a retry for another reason uses the pool.
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

// Fresh connections: the new connection is made as the transport makes its others.
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

// Fresh connections: HTTP/2 that another package has put into the transport, as
// golang.org/x/net/http2.ConfigureTransport does, has a pool of its own, in which the
// suspect connection still is.
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
				return respond(req, http.StatusRequestTimeout, ""), nil
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

// Fresh connections: a scheme that was registered with the transport still works.
func TestRetryOfARegisteredSchemeAfterATimeout(t *testing.T) {
	rt := &http.Transport{}
	attempts := 0
	rt.RegisterProtocol("memory", roundTripFunc(func(req *http.Request) (*http.Response, error) {
		if attempts++; attempts == 1 {
			return respond(req, http.StatusRequestTimeout, ""), nil
		}
		return respond(req, 200, ""), nil
	}))
	client := &Client{RetryMax: 1, Backoff: noWait, HTTPClient: &http.Client{Transport: rt}}
	require.NoError(t, sends["Do"](client, mustRequest(t, "memory://host/")))
	assert.Equal(t, 2, attempts)
}

// Fresh connections: NewClient's transport pings HTTP/2 connections, and the package's
// own client is one.
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

// Fresh connections: the one that timed out is not used again by this call, also when the
// retry came to something else.
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

// Fresh connections: the rest of a download that timed out comes over another one.
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
