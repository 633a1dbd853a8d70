package retryablehttp

import (
	"bufio"
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"regexp"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// posts are the ways to send a POST through a client.
var posts = map[string]func(c *Client, target string, header http.Header) (*http.Response, error){
	"Do": func(c *Client, target string, header http.Header) (*http.Response, error) {
		req, err := NewRequest("POST", target, []byte(content))
		if err != nil {
			return nil, err
		}
		req.Header = header
		return c.Do(req)
	},
	"StandardClient": func(c *Client, target string, header http.Header) (*http.Response, error) {
		req, err := http.NewRequest("POST", target, strings.NewReader(content))
		if err != nil {
			return nil, err
		}
		req.Header = header
		return c.StandardClient().Do(req)
	},
	"RoundTripper": func(c *Client, target string, header http.Header) (*http.Response, error) {
		req, err := http.NewRequest("POST", target, strings.NewReader(content))
		if err != nil {
			return nil, err
		}
		req.Header = header
		return (&RoundTripper{Client: c}).RoundTrip(req)
	},
}

// listenRaw serves connections of a loopback socket by hand, each until serve returns, and
// all of them to the end of the test at most.
func listenRaw(t testing.TB, serve func(conn net.Conn, n int)) string {
	addr, shut := serveRaw(t, serve)
	t.Cleanup(func() { shut(true) })
	return addr
}

// serveRaw is listenRaw with a function that stops listening and waits until all that
// was accepted is served, or closes it.
func serveRaw(t testing.TB, serve func(conn net.Conn, n int)) (addr string, shut func(kill bool)) {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	var serving sync.WaitGroup
	var mu sync.Mutex
	var open []net.Conn
	serving.Go(func() {
		for n := 1; ; n++ {
			conn, err := listener.Accept()
			if err != nil {
				return
			}
			mu.Lock()
			open = append(open, conn)
			mu.Unlock()
			serving.Go(func() {
				defer conn.Close()
				serve(conn, n)
			})
		}
	})
	return listener.Addr().String(), func(kill bool) {
		listener.Close()
		mu.Lock()
		for _, conn := range open {
			if kill {
				conn.Close()
			}
		}
		mu.Unlock()
		serving.Wait()
	}
}

// resetConn ends a TCP connection with a RST.
func resetConn(conn net.Conn) {
	conn.(*net.TCPConn).SetLinger(0)
	conn.Close()
}

// closedPort gives the address of a port where nobody listens.
func closedPort(t testing.TB) string {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	defer listener.Close()
	return listener.Addr().String()
}

// readRequest reads one request with its body.
func readRequest(conn net.Conn) {
	req, err := http.ReadRequest(bufio.NewReader(conn))
	if err == nil {
		io.Copy(io.Discard, req.Body)
	}
}

// testTLS gives a server's certificate and a client's trust in it.
func testTLS(t testing.TB) (server, client *tls.Config) {
	s := httptest.NewUnstartedServer(nil)
	s.StartTLS()
	s.Close()
	roots := x509.NewCertPool()
	roots.AddCert(s.Certificate())
	return &tls.Config{Certificates: s.TLS.Certificates},
		&tls.Config{RootCAs: roots, ServerName: "example.com"}
}

// watched is a client with SafeRetryPolicy that notes what Unsent says of each attempt.
func watched(rt http.RoundTripper) (*Client, *[]bool) {
	unsent := new([]bool)
	return &Client{
		RetryMax:   2,
		Backoff:    noWait,
		HTTPClient: &http.Client{Transport: rt},
		CheckRetry: func(ctx context.Context, resp *http.Response, err error) (bool, error) {
			*unsent = append(*unsent, Unsent(err))
			return SafeRetryPolicy(ctx, resp, err)
		},
	}, unsent
}

// Safe writes: Unsent and SafeRetryPolicy over real sockets.
func TestUnsentOverRealSockets(t *testing.T) {
	serverTLS, clientTLS := testTLS(t)
	plain := func(t *testing.T, serve func(net.Conn)) (string, *http.Transport) {
		addr := listenRaw(t, func(conn net.Conn, _ int) { serve(conn) })
		return "http://" + addr, &http.Transport{}
	}
	secure := func(t *testing.T, server *tls.Config, serve func(net.Conn)) (string, *http.Transport) {
		addr := listenRaw(t, func(conn net.Conn, _ int) {
			secured := tls.Server(conn, server)
			if secured.Handshake() == nil {
				serve(secured)
			}
		})
		return "https://" + addr, &http.Transport{TLSClientConfig: clientTLS}
	}
	proxied := func(t *testing.T, proxy string) (string, *http.Transport) {
		u, err := url.Parse("http://" + proxy)
		require.NoError(t, err)
		return "https://example.com", &http.Transport{Proxy: http.ProxyURL(u), TLSClientConfig: clientTLS}
	}
	proxyAnswers := func(answer string) func(*testing.T) (string, *http.Transport) {
		return func(t *testing.T) (string, *http.Transport) {
			return proxied(t, listenRaw(t, func(conn net.Conn, _ int) {
				http.ReadRequest(bufio.NewReader(conn))
				io.WriteString(conn, answer)
			}))
		}
	}
	for name, tc := range map[string]struct {
		setup     func(*testing.T) (string, *http.Transport)
		unsent    bool
		permanent bool // one attempt though unsent
	}{
		"dial refused": {setup: func(t *testing.T) (string, *http.Transport) {
			return "http://" + closedPort(t), &http.Transport{}
		}, unsent: true},
		"name not found": {setup: func(*testing.T) (string, *http.Transport) {
			resolver := &net.Resolver{PreferGo: true, Dial: func(context.Context, string, string) (net.Conn, error) {
				return nil, errors.New("no network")
			}}
			return "http://host.invalid", &http.Transport{DialContext: (&net.Dialer{Resolver: resolver}).DialContext}
		}, unsent: true},
		"dial that fails in its own words": {setup: func(*testing.T) (string, *http.Transport) {
			return "http://host", &http.Transport{DialContext: func(context.Context, string, string) (net.Conn, error) {
				return nil, errors.New("tunnel is down")
			}}
		}, unsent: true},
		"certificate does not verify": {setup: func(t *testing.T) (string, *http.Transport) {
			target, rt := secure(t, serverTLS, readRequest)
			rt.TLSClientConfig = nil
			return target, rt
		}, unsent: true, permanent: true},
		"peer closes in the TLS handshake": {setup: func(t *testing.T) (string, *http.Transport) {
			target, rt := plain(t, func(conn net.Conn) { conn.Read(make([]byte, 5)) })
			rt.TLSClientConfig = clientTLS
			return strings.Replace(target, "http", "https", 1), rt
		}, unsent: true},
		"peer resets in the TLS handshake": {setup: func(t *testing.T) (string, *http.Transport) {
			target, rt := plain(t, func(conn net.Conn) { conn.Read(make([]byte, 5)); resetConn(conn) })
			rt.TLSClientConfig = clientTLS
			return strings.Replace(target, "http", "https", 1), rt
		}, unsent: true},
		"garbage in the TLS handshake": {setup: func(t *testing.T) (string, *http.Transport) {
			target, rt := plain(t, func(conn net.Conn) { io.WriteString(conn, "220 mail ready\r\n") })
			return strings.Replace(target, "http", "https", 1), rt
		}, unsent: true},
		"TLS handshake timeout": {setup: func(t *testing.T) (string, *http.Transport) {
			target, rt := plain(t, func(conn net.Conn) { io.Copy(io.Discard, conn) })
			rt.TLSHandshakeTimeout = 10 * time.Millisecond
			return strings.Replace(target, "http", "https", 1), rt
		}, unsent: true},
		"HTTP server behind https": {setup: func(t *testing.T) (string, *http.Transport) {
			target, rt := plain(t, func(conn net.Conn) {
				io.WriteString(conn, "HTTP/1.1 400 Bad Request\r\n\r\n")
				io.Copy(io.Discard, conn)
			})
			return strings.Replace(target, "http", "https", 1), rt
		}, unsent: true, permanent: true},
		"client certificate missing, TLS 1.2": {setup: func(t *testing.T) (string, *http.Transport) {
			needy := serverTLS.Clone() // with TLS 1.3 the request may be out before the alert
			needy.ClientAuth, needy.MaxVersion = tls.RequireAnyClientCert, tls.VersionTLS12
			return secure(t, needy, readRequest)
		}, unsent: true},
		"proxy down": {setup: func(t *testing.T) (string, *http.Transport) {
			return proxied(t, closedPort(t))
		}, unsent: true},
		"proxy refuses CONNECT with 407":    {setup: proxyAnswers("HTTP/1.1 407 Proxy Authentication Required\r\n\r\n"), unsent: true},
		"proxy refuses CONNECT with 502":    {setup: proxyAnswers("HTTP/1.1 502 Bad Gateway\r\n\r\n"), unsent: true},
		"proxy closes in CONNECT":           {setup: proxyAnswers(""), unsent: true},
		"proxy answers CONNECT in nonsense": {setup: proxyAnswers("hello\r\n\r\n"), unsent: true},
		"proxy resets in CONNECT": {setup: func(t *testing.T) (string, *http.Transport) {
			return proxied(t, listenRaw(t, func(conn net.Conn, _ int) {
				http.ReadRequest(bufio.NewReader(conn))
				resetConn(conn)
			}))
		}, unsent: true},
		"reset after the request was written": {setup: func(t *testing.T) (string, *http.Transport) {
			return plain(t, func(conn net.Conn) { readRequest(conn); resetConn(conn) })
		}},
		"closed after the request was written": {setup: func(t *testing.T) (string, *http.Transport) {
			return plain(t, readRequest)
		}},
		"reset while the request was written": {setup: func(t *testing.T) (string, *http.Transport) {
			return plain(t, func(conn net.Conn) { conn.Read(make([]byte, 1)); resetConn(conn) })
		}},
		"reset while the request was written, TLS": {setup: func(t *testing.T) (string, *http.Transport) {
			return secure(t, serverTLS, func(conn net.Conn) {
				conn.Read(make([]byte, 1))
				resetConn(conn.(*tls.Conn).NetConn())
			})
		}},
		"malformed answer": {setup: func(t *testing.T) (string, *http.Transport) {
			return plain(t, func(conn net.Conn) { readRequest(conn); io.WriteString(conn, "hello\r\n\r\n") })
		}},
		"cut in the answer's header": {setup: func(t *testing.T) (string, *http.Transport) {
			return plain(t, func(conn net.Conn) { readRequest(conn); io.WriteString(conn, "HTTP/1.1 200 OK\r\nContent-") })
		}},
		"no answer in time": {setup: func(t *testing.T) (string, *http.Transport) {
			target, rt := plain(t, func(conn net.Conn) { io.Copy(io.Discard, conn) })
			rt.ResponseHeaderTimeout = 10 * time.Millisecond
			return target, rt
		}},
		"TLS connection that never reads": {setup: func(t *testing.T) (string, *http.Transport) {
			target, rt := secure(t, serverTLS, func(conn net.Conn) { io.Copy(io.Discard, conn) })
			rt.ResponseHeaderTimeout = 10 * time.Millisecond
			return target, rt
		}},
	} {
		for way, post := range posts {
			t.Run(name+"/"+way, func(t *testing.T) {
				target, rt := tc.setup(t)
				defer rt.CloseIdleConnections()
				client, unsent := watched(rt)
				resp, err := post(client, target, http.Header{})
				require.Nil(t, resp)
				require.Error(t, err)
				want := []bool{tc.unsent}
				if tc.unsent && !tc.permanent {
					want = []bool{true, true, true}
				}
				assert.Equal(t, want, *unsent, "%v", err)
				assert.Equal(t, tc.unsent, Unsent(err), "%v", err)
				var giveUp *GiveUpError
				require.ErrorAs(t, err, &giveUp)
				assert.Equal(t, len(want), giveUp.Attempts)
			})
		}
	}
}

// Safe writes: a reset while a large body is being written.
func TestResetWhileTheBodyIsWrittenMayBeSent(t *testing.T) {
	addr := listenRaw(t, func(conn net.Conn, _ int) {
		io.CopyN(io.Discard, conn, 100_000)
		resetConn(conn)
	})
	client, unsent := watched(&http.Transport{})
	defer client.CloseIdleConnections()
	_, err := client.Post("http://"+addr, "", make([]byte, 32<<20))
	require.Error(t, err)
	assert.Equal(t, []bool{false}, *unsent)
	assert.False(t, Unsent(err))
}

// noticedConn tells when its client has closed it.
type noticedConn struct {
	net.Conn
	closed func()
}

func (c noticedConn) Close() error {
	defer c.closed()
	return c.Conn.Close()
}

// Safe writes: a server that closed the idle connection and is down for a moment.
func TestPostSurvivesARestartOfTheServer(t *testing.T) {
	var hits atomic.Int32
	start := func(addr string) *httptest.Server {
		server := httptest.NewUnstartedServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { hits.Add(1) }))
		if addr != "" {
			listener, err := net.Listen("tcp", addr)
			require.NoError(t, err)
			server.Listener.Close()
			server.Listener = listener
		}
		server.Start()
		return server
	}
	server := start("")
	closed := make(chan struct{})
	client, unsent := watched(&http.Transport{DialContext: func(ctx context.Context, network, addr string) (net.Conn, error) {
		conn, err := new(net.Dialer).DialContext(ctx, network, addr)
		if err != nil {
			return nil, err
		}
		return noticedConn{conn, sync.OnceFunc(func() { close(closed) })}, nil
	}})
	resp, err := client.Post(server.URL, "", content)
	require.NoError(t, err)
	resp.Body.Close()
	server.Close()
	<-closed
	client.Backoff = func(_, _ time.Duration, n int, _ *http.Response) time.Duration {
		if n == 1 {
			closed = make(chan struct{})
			server = start(server.Listener.Addr().String())
		}
		return 0
	}
	resp, err = client.Post(server.URL, "", content)
	require.NoError(t, err)
	resp.Body.Close()
	client.CloseIdleConnections()
	server.Close()
	assert.Equal(t, []bool{false, true, true, false}, *unsent, "answered; refused, refused, answered")
	assert.EqualValues(t, 2, hits.Load())
}

// Safe writes: time limits before and after the first byte.
func TestUnsentOfAnAttemptTimeout(t *testing.T) {
	for way, post := range posts {
		t.Run(way, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				client, unsent := watched(&http.Transport{DialContext: func(context.Context, string, string) (net.Conn, error) {
					time.Sleep(time.Hour)
					return nil, errLost
				}})
				client.AttemptTimeout = time.Second
				_, err := post(client, "http://host", http.Header{})
				assert.ErrorIs(t, err, ErrAttemptTimeout)
				assert.Equal(t, []bool{true, true, true}, *unsent, "no connection came")
				assert.True(t, Unsent(err))
				time.Sleep(2 * time.Hour) // net/http lets a dial go on
			})
			synctest.Test(t, func(t *testing.T) {
				client, unsent := watched(&http.Transport{DialContext: func(context.Context, string, string) (net.Conn, error) {
					ours, theirs := net.Pipe()
					go func() {
						defer theirs.Close()
						io.Copy(io.Discard, theirs)
					}()
					return ours, nil
				}})
				client.AttemptTimeout = time.Second
				_, err := post(client, "http://host", http.Header{})
				assert.ErrorIs(t, err, ErrAttemptTimeout)
				assert.Equal(t, []bool{false}, *unsent, "no answer came")
				assert.False(t, Unsent(err))
			})
		})
	}
}

// Safe writes: a transport that does not report to httptrace is believed only what its
// errors' types say.
func TestTransportThatDoesNotReportIsNotTakenForUnsent(t *testing.T) {
	for name, tc := range map[string]struct {
		err    error
		unsent bool
	}{
		"nil":                     {nil, false},
		"a text":                  {errors.New("dial tcp 127.0.0.1:80: connect: connection refused"), false},
		"EOF":                     {io.EOF, false},
		"reset":                   {&net.OpError{Op: "read", Net: "tcp", Err: syscall.ECONNRESET}, false},
		"write":                   {&net.OpError{Op: "write", Net: "tcp", Err: syscall.EPIPE}, false},
		"refused, without a dial": {syscall.ECONNREFUSED, false},
		"timeout":                 {ErrAttemptTimeout, false},
		"alert":                   {&net.OpError{Op: "remote error", Err: tls.AlertError(40)}, false},
		"dial":                    {&net.OpError{Op: "dial", Net: "tcp", Err: syscall.ECONNREFUSED}, true},
		"dial, wrapped":           {fmt.Errorf("sending: %w", &net.OpError{Op: "dial", Err: errLost}), true},
		"proxy":                   {&net.OpError{Op: "proxyconnect", Net: "tcp", Err: errLost}, true},
		"name":                    {&net.DNSError{Name: "host"}, true},
	} {
		t.Run(name, func(t *testing.T) {
			assert.Equal(t, tc.unsent, Unsent(tc.err))
			if tc.err == nil {
				return
			}
			for way, post := range posts {
				client, unsent := watched(roundTripFunc(func(*http.Request) (*http.Response, error) { return nil, tc.err }))
				_, err := post(client, "http://host", http.Header{})
				assert.Equal(t, tc.unsent, Unsent(err), way)
				assert.ErrorIs(t, err, tc.err, way)
				attempts := 1
				if tc.unsent {
					attempts = 3
				}
				assert.Len(t, *unsent, attempts, way)
			}
		})
	}
}

var (
	errRefused = &net.OpError{Op: "dial", Net: "tcp", Err: syscall.ECONNREFUSED}
	errReset   = &net.OpError{Op: "read", Net: "tcp", Err: syscall.ECONNRESET}
)

// Safe writes: the error of a call is about all of its attempts.
func TestUnsentOfACallIsAboutAllItsAttempts(t *testing.T) {
	always := func(context.Context, *http.Response, error) (bool, error) { return true, nil }
	for name, tc := range map[string]struct {
		steps  []func(*http.Request) (*http.Response, error)
		unsent bool
	}{
		"refused, refused":  {steps: []func(*http.Request) (*http.Response, error){failure(errRefused), failure(errRefused)}, unsent: true},
		"reset, refused":    {steps: []func(*http.Request) (*http.Response, error){failure(errReset), failure(errRefused)}},
		"refused, reset":    {steps: []func(*http.Request) (*http.Response, error){failure(errRefused), failure(errReset)}},
		"answered, refused": {steps: []func(*http.Request) (*http.Response, error){status(503), failure(errRefused)}},
		"refused, answered": {steps: []func(*http.Request) (*http.Response, error){failure(errRefused), status(503)}},
	} {
		for way, post := range posts {
			t.Run(name+"/"+way, func(t *testing.T) {
				client, _ := scripted(tc.steps...)
				client.CheckRetry, client.RetryMax = always, 1
				_, err := post(client, "http://host", http.Header{})
				require.Error(t, err)
				assert.Equal(t, tc.unsent, Unsent(err))
			})
			t.Run(name+"/"+way+"/cut short in the wait", func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					client, _ := scripted(tc.steps...)
					client.CheckRetry, client.RetryMax, client.MaxElapsedTime = always, 1, time.Second
					client.Backoff = func(time.Duration, time.Duration, int, *http.Response) time.Duration { return time.Hour }
					_, err := post(client, "http://host", http.Header{})
					require.ErrorIs(t, err, ErrMaxElapsedTime)
					assert.Equal(t, strings.HasPrefix(name, "refused"), Unsent(err))
				})
			})
		}
	}
}

// Safe writes: also the error that an ErrorHandler passes on, when it is asked about the
// call it ended.
func TestUnsentOfAnErrorThatAnErrorHandlerPassesOn(t *testing.T) {
	for way, post := range posts {
		t.Run(way, func(t *testing.T) {
			client, _ := scripted(failure(errReset), failure(errRefused))
			client.CheckRetry = func(context.Context, *http.Response, error) (bool, error) { return true, nil }
			client.RetryMax, client.ErrorHandler = 1, PassthroughErrorHandler
			_, err := post(client, "http://host", http.Header{})
			require.ErrorIs(t, err, errRefused)
			assert.False(t, Unsent(err), "the first attempt was sent")

			client, _ = scripted(failure(errRefused))
			client.RetryMax, client.ErrorHandler = 1, PassthroughErrorHandler
			_, err = post(client, "http://host", http.Header{})
			assert.True(t, Unsent(err))
		})
	}
}

// Safe writes: nothing was sent when the call ended before its first attempt.
func TestUnsentOfACallThatNeverBegan(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	reader, _ := io.Pipe()
	client, sent := scripted(status(200))
	client.CheckRetry = SafeRetryPolicy
	req, err := NewRequestWithContext(ctx, "POST", "http://host", reader)
	require.NoError(t, err)
	cancel()
	_, err = client.Do(req)
	require.ErrorIs(t, err, context.Canceled)
	assert.True(t, Unsent(err))
	assert.Empty(t, sent.seen)
}

// Safe writes: which statuses are retried, with and without a key.
func TestSafeRetryPolicyByStatus(t *testing.T) {
	retryAfter := []string{"Retry-After", "0"}
	for _, tc := range []struct {
		status                int
		header                []string
		get, post, postWithID bool
	}{
		{status: 200},
		{status: 400},
		{status: 501},
		{status: 408, get: true, postWithID: true},
		{status: 408, header: retryAfter, get: true, postWithID: true},
		{status: 429, get: true, post: true, postWithID: true},
		{status: 429, header: retryAfter, get: true, post: true, postWithID: true},
		{status: 500, get: true, postWithID: true},
		{status: 500, header: retryAfter, get: true, postWithID: true},
		{status: 502, get: true, postWithID: true},
		{status: 503, get: true, postWithID: true},
		{status: 503, header: retryAfter, get: true, post: true, postWithID: true},
		{status: 504, header: retryAfter, get: true, postWithID: true},
		{status: 999, header: retryAfter, get: true, postWithID: true},
	} {
		for _, method := range []string{"GET", "HEAD", "OPTIONS", "TRACE", "PUT", "DELETE", "POST", "PATCH", "CONNECT", "LOCK", "post"} {
			for key, header := range map[string]http.Header{
				"":      {},
				"key":   {"Idempotency-Key": {"1"}},
				"X-key": {"X-Idempotency-Key": {"1"}},
			} {
				want := tc.post
				switch method {
				case "GET", "HEAD", "OPTIONS", "TRACE", "PUT", "DELETE":
					want = tc.get
				default:
					if key != "" {
						want = tc.postWithID
					}
				}
				client, sent := scripted(status(tc.status, tc.header...))
				client.CheckRetry, client.RetryMax = SafeRetryPolicy, 1
				req, err := NewRequest(method, "http://host/", nil)
				require.NoError(t, err)
				req.Header = header
				attempts := 1
				if want {
					attempts = 2
				}
				client.Do(req)
				assert.Len(t, sent.seen, attempts, "Do: %s, %d %v, %s", method, tc.status, tc.header, key)
				sent.seen = nil
				(&RoundTripper{Client: client}).RoundTrip(req.Request)
				assert.Len(t, sent.seen, attempts, "RoundTripper: %s, %d %v, %s", method, tc.status, tc.header, key)
			}
		}
	}
}

// Safe writes: a status that is not retried is the answer, with its body.
func TestRefusedPostIsAnsweredNotGivenUp(t *testing.T) {
	client, sent := scripted(status(500))
	client.CheckRetry = SafeRetryPolicy
	resp, err := client.Post("http://host/", "", content)
	require.NoError(t, err)
	body, err := io.ReadAll(resp.Body)
	require.NoError(t, err)
	assert.Equal(t, "body of a 500", string(body))
	assert.Len(t, sent.seen, 1)
}

// Safe writes: idempotent requests are retried as DefaultRetryPolicy does.
func TestSafeRetryPolicyRetriesIdempotentRequests(t *testing.T) {
	for _, method := range []string{"GET", "HEAD", "OPTIONS", "TRACE", "PUT", "DELETE", "POST+key"} {
		method, keyed := strings.CutSuffix(method, "+key")
		client, sent := scripted(failure(errReset), status(500), status(200))
		client.CheckRetry = SafeRetryPolicy
		req, err := NewRequest(method, "http://host/", nil)
		require.NoError(t, err)
		if keyed {
			req.Header.Set("Idempotency-Key", "1")
		}
		_, err = client.Do(req)
		require.NoError(t, err, method)
		assert.Len(t, sent.seen, 3, method)
		sent.seen = nil
		_, err = client.StandardClient().Do(req.Request)
		require.NoError(t, err, method)
		assert.Len(t, sent.seen, 3, method)
	}
	// What DefaultRetryPolicy does not retry is not retried here either.
	client, sent := scripted(failure(ErrBodyLength))
	client.CheckRetry = SafeRetryPolicy
	_, err := client.Get("http://host/")
	require.Error(t, err)
	assert.Len(t, sent.seen, 1)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	retry, err := SafeRetryPolicy(ctx, nil, errRefused)
	assert.False(t, retry)
	assert.ErrorIs(t, err, context.Canceled)
}

// hops is a transport that answers by path, and notes method and path of each request.
type hops struct {
	answers map[string][]func(*http.Request) (*http.Response, error)
	seen    []string
	keys    []string
}

func (h *hops) RoundTrip(req *http.Request) (*http.Response, error) {
	if req.Body != nil {
		io.Copy(io.Discard, req.Body)
		req.Body.Close()
	}
	h.seen = append(h.seen, req.Method+" "+req.URL.Path)
	h.keys = append(h.keys, req.Header.Get("Idempotency-Key"))
	steps := h.answers[req.URL.Path]
	if len(steps) > 1 {
		h.answers[req.URL.Path] = steps[1:]
	}
	return steps[0](req)
}

func redirect(code int, to string) func(*http.Request) (*http.Response, error) {
	return status(code, "Location", to)
}

// Safe writes: once a redirect was answered the request was acted on.
func TestRedirectedPostIsNotRepeatedFromItsStart(t *testing.T) {
	type steps = []func(*http.Request) (*http.Response, error)
	later := status(503, "Retry-After", "0")
	for _, tc := range []struct {
		name     string
		code     int
		then     steps // of /2
		do       []string
		standard []string // where each hop is a call of its own
	}{
		{name: "see other, refused", code: 303, then: steps{failure(errRefused), status(200)},
			do: []string{"POST /1", "GET /2"}, standard: []string{"POST /1", "GET /2", "GET /2"}},
		{name: "see other, reset", code: 303, then: steps{failure(errReset), status(200)},
			do: []string{"POST /1", "GET /2"}, standard: []string{"POST /1", "GET /2", "GET /2"}},
		{name: "see other, 503", code: 303, then: steps{later, status(200)},
			do: []string{"POST /1", "GET /2"}, standard: []string{"POST /1", "GET /2", "GET /2"}},
		{name: "found, 429", code: 302, then: steps{status(429), status(200)},
			do: []string{"POST /1", "GET /2"}, standard: []string{"POST /1", "GET /2", "GET /2"}},
		{name: "temporary, refused", code: 307, then: steps{failure(errRefused), status(200)},
			do: []string{"POST /1", "POST /2"}, standard: []string{"POST /1", "POST /2", "POST /2"}},
		{name: "temporary, reset", code: 307, then: steps{failure(errReset), status(200)},
			do: []string{"POST /1", "POST /2"}, standard: []string{"POST /1", "POST /2"}},
		{name: "permanent, 503 with Retry-After", code: 308, then: steps{later, status(200)},
			do: []string{"POST /1", "POST /2", "POST /1", "POST /2"}, standard: []string{"POST /1", "POST /2", "POST /2"}},
		{name: "temporary, 500", code: 307, then: steps{status(500), status(200)},
			do: []string{"POST /1", "POST /2"}, standard: []string{"POST /1", "POST /2"}},
	} {
		for _, way := range []string{"Do", "StandardClient"} {
			t.Run(tc.name+"/"+way, func(t *testing.T) {
				transport := &hops{answers: map[string]steps{"/1": {redirect(tc.code, "/2")}, "/2": tc.then}}
				client, unsent := watched(transport)
				_, err := posts[way](client, "http://host/1", http.Header{})
				want := tc.do
				if way == "StandardClient" {
					want = tc.standard
				}
				assert.Equal(t, want, transport.seen)
				if err != nil {
					assert.False(t, (*unsent)[0] && way == "Do", "the first hop was answered")
					if way == "Do" {
						assert.False(t, Unsent(err))
					}
				}
			})
		}
	}
}

// Safe writes: the same over sockets, where httptrace reports.
func TestRedirectToARefusedDialIsNotUnsent(t *testing.T) {
	for _, code := range []int{303, 307} {
		var hits atomic.Int32
		server := httptest.NewServer(http.RedirectHandler("http://"+closedPort(t), code))
		inner := server.Config.Handler
		server.Config.Handler = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			hits.Add(1)
			inner.ServeHTTP(w, r)
		})
		client, unsent := watched(&http.Transport{})
		_, err := client.Post(server.URL, "", content)
		require.Error(t, err)
		assert.False(t, Unsent(err))
		assert.Equal(t, []bool{false}, *unsent)
		assert.EqualValues(t, 1, hits.Load())

		_, err = client.StandardClient().Post(server.URL, "", strings.NewReader(content))
		require.Error(t, err)
		assert.False(t, Unsent(err), "each hop is a call, but the request was one")
		assert.EqualValues(t, 2, hits.Load())
		client.CloseIdleConnections()
		server.Close()
	}
}

// Safe writes: a policy of the user's own that calls SafeRetryPolicy or Unsent.
func TestWrappedPoliciesSeeWhatSafeRetryPolicySees(t *testing.T) {
	for name, policy := range map[string]CheckRetry{
		"calls SafeRetryPolicy": func(ctx context.Context, resp *http.Response, err error) (bool, error) {
			return SafeRetryPolicy(ctx, resp, err)
		},
		"with a context of its own": func(ctx context.Context, resp *http.Response, err error) (bool, error) {
			ctx, cancel := context.WithCancel(ctx)
			defer cancel()
			return SafeRetryPolicy(ctx, resp, err)
		},
		"with a context that knows nothing": func(_ context.Context, resp *http.Response, err error) (bool, error) {
			return SafeRetryPolicy(context.Background(), resp, err)
		},
		"calls Unsent": func(_ context.Context, _ *http.Response, err error) (bool, error) {
			return Unsent(err), nil
		},
		"calls Unsent of a wrapped error": func(_ context.Context, _ *http.Response, err error) (bool, error) {
			return Unsent(fmt.Errorf("wrapped: %w", err)), nil
		},
	} {
		for _, way := range []string{"Do", "StandardClient"} {
			t.Run(name+"/"+way, func(t *testing.T) {
				run := func(rt http.RoundTripper, target string) (*Client, error) {
					client := &Client{CheckRetry: policy, RetryMax: 2, Backoff: noWait, HTTPClient: &http.Client{Transport: rt}}
					_, err := posts[way](client, target, http.Header{})
					return client, err
				}
				// The dialer's error has no type: only httptrace can tell.
				dials := 0
				_, err := run(&http.Transport{DialContext: func(context.Context, string, string) (net.Conn, error) {
					dials++
					return nil, errors.New("tunnel is down")
				}}, "http://host/")
				assert.True(t, Unsent(err))
				assert.Equal(t, 3, dials)

				var reset atomic.Int32
				client, err := run(&http.Transport{}, "http://"+listenRaw(t, func(conn net.Conn, _ int) {
					reset.Add(1)
					readRequest(conn)
					resetConn(conn)
				}))
				client.CloseIdleConnections()
				assert.False(t, Unsent(err))
				assert.EqualValues(t, 1, reset.Load())

				// A POST that was redirected to a GET is still a POST, for Do.
				transport := &hops{answers: map[string][]func(*http.Request) (*http.Response, error){
					"/1": {redirect(303, "/2")},
					"/2": {status(500)},
				}}
				run(transport, "http://host/1")
				assert.Equal(t, "POST /1", transport.seen[0])
				assert.NotContains(t, transport.seen[1:], "POST /1")
			})
		}
	}
}

// Safe writes: observing changes neither the errors nor their text.
func TestObservingAnAttemptLeavesItsErrorAsItIs(t *testing.T) {
	target := "http://" + closedPort(t)
	for way, post := range posts {
		safe, _ := watched(&http.Transport{})
		plain := &Client{RetryMax: 2, Backoff: noWait, HTTPClient: &http.Client{Transport: &http.Transport{}}}
		_, want := post(plain, target, http.Header{})
		_, got := post(safe, target, http.Header{})
		assert.EqualError(t, got, want.Error(), way)
		assert.ErrorIs(t, got, syscall.ECONNREFUSED)
		var op *net.OpError
		assert.ErrorAs(t, got, &op)
	}
	client := &Client{HTTPClient: &http.Client{Transport: &http.Transport{DialContext: func(context.Context, string, string) (net.Conn, error) {
		return nil, errLost
	}}}}
	client.CheckRetry = func(_ context.Context, _ *http.Response, err error) (bool, error) {
		assert.IsType(t, &url.Error{}, err, "as http.Client gives it")
		assert.Equal(t, `Post "http://host": connection lost`, err.Error())
		assert.ErrorIs(t, err, errLost)
		return false, nil
	}
	_, err := client.Post("http://host", "", content)
	assert.EqualError(t, err, `POST http://host giving up after 1 attempt(s): Post "http://host": connection lost`)
}

// Safe writes: IdempotencyKey, once for each call, on every attempt and hop.
func TestIdempotencyKeyIsTheSameOnEveryAttemptAndHop(t *testing.T) {
	type steps = []func(*http.Request) (*http.Response, error)
	for _, code := range []int{301, 302, 303, 307, 308} {
		for way, post := range posts {
			t.Run(fmt.Sprint(code, way), func(t *testing.T) {
				transport := &hops{answers: map[string]steps{
					"/1": {status(503), failure(errReset), redirect(code, "/2")},
					"/2": {failure(errReset), status(503), redirect(code, "/3")},
					"/3": {status(503), status(200)},
				}}
				calls := 0
				client := &Client{RetryMax: 9, Backoff: noWait, HTTPClient: &http.Client{Transport: transport}}
				client.CheckRetry = SafeRetryPolicy
				client.IdempotencyKey = func(req *http.Request) string {
					assert.Equal(t, "POST", req.Method)
					assert.Equal(t, "/1", req.URL.Path)
					calls++
					return fmt.Sprint("key ", calls)
				}
				for call := 1; call <= 2; call++ {
					transport.keys = nil
					header := http.Header{"A": {"b"}}
					resp, err := post(client, "http://host/1", header)
					require.NoError(t, err)
					resp.Body.Close()
					require.NotEmpty(t, transport.keys)
					if call == 1 {
						require.GreaterOrEqual(t, len(transport.keys), 3)
					}
					for _, key := range transport.keys {
						assert.Equal(t, fmt.Sprint("key ", call), key)
					}
					assert.Equal(t, call, calls, "made once for each call")
					assert.Equal(t, http.Header{"A": {"b"}}, header, "the caller's")
				}
			})
		}
	}
}

// Safe writes: whom IdempotencyKey gives a key, and whom it leaves alone.
func TestIdempotencyKeyIsForRequestsThatNeedOne(t *testing.T) {
	for _, tc := range []struct {
		method string
		header http.Header
		made   string
		want   []string
	}{
		{method: "POST", made: "made", want: []string{"made"}},
		{method: "PATCH", made: "made", want: []string{"made"}},
		{method: "LOCK", made: "made", want: []string{"made"}},
		{method: "POST", header: http.Header{"Idempotency-Key": {"own"}}, made: "made", want: []string{"own"}},
		{method: "POST", header: http.Header{"Idempotency-Key": {"a", "b"}}, made: "made", want: []string{"a", "b"}},
		{method: "GET", header: http.Header{"Idempotency-Key": {"own"}}, made: "made", want: []string{"own"}},
		{method: "POST", made: ""},
		{method: "GET", made: "made"}, {method: "", made: "made"}, {method: "HEAD", made: "made"},
		{method: "PUT", made: "made"}, {method: "DELETE", made: "made"},
		{method: "OPTIONS", made: "made"}, {method: "TRACE", made: "made"},
	} {
		client, sent := scripted(status(503), status(200))
		client.IdempotencyKey = func(*http.Request) string { return tc.made }
		send := map[string]func(*http.Request) error{
			"Do": func(r *http.Request) error {
				req, err := FromRequest(r)
				require.NoError(t, err)
				_, err = client.Do(req)
				return err
			},
			"RoundTripper": func(r *http.Request) error {
				_, err := (&RoundTripper{Client: client}).RoundTrip(r)
				return err
			},
		}
		for way, send := range send {
			sent.seen = nil
			req := mustRequest(t, "http://host/")
			req.Method, req.Header = tc.method, tc.header.Clone()
			require.NoError(t, send(req))
			require.Len(t, sent.seen, 2)
			for _, got := range sent.seen {
				assert.Equal(t, tc.want, got.Header.Values("Idempotency-Key"), "%s, %s %v", way, tc.method, tc.header)
			}
			assert.Equal(t, tc.header, req.Header, "the caller's map")
		}
	}
}

// Safe writes: a call with a key is retried by SafeRetryPolicy.
func TestIdempotencyKeyMakesAPostSafe(t *testing.T) {
	for way, post := range posts {
		client, sent := scripted(failure(errReset), status(500), status(408), status(200))
		client.CheckRetry, client.IdempotencyKey = SafeRetryPolicy, NewIdempotencyKey
		resp, err := post(client, "http://host/", http.Header{})
		require.NoError(t, err, way)
		assert.Equal(t, 200, resp.StatusCode)
		assert.Len(t, sent.seen, 4, way)
	}
}

// Safe writes: what a hook or PrepareRetry does to the key stays on its attempt.
func TestIdempotencyKeyOutlivesHooks(t *testing.T) {
	client, sent := scripted(status(503))
	client.RetryMax, client.IdempotencyKey = 3, func(*http.Request) string { return "key" }
	client.RequestLogHook = func(_ Logger, req *http.Request, n int) {
		assert.Equal(t, "key", req.Header.Get("Idempotency-Key"), n)
		req.Header.Del("Idempotency-Key")
	}
	client.PrepareRetry = func(req *http.Request) error {
		assert.Equal(t, "key", req.Header.Get("Idempotency-Key"))
		return nil
	}
	_, err := client.Post("http://host/", "", content)
	require.Error(t, err)
	assert.Len(t, sent.seen, 4)
}

// Safe writes: NewIdempotencyKey gives UUIDs of version 4 (RFC 9562 §5.4).
func TestWhatAnInnerClientKnowsToBeSentIsSent(t *testing.T) {
	posts := 0
	inner := &Client{HTTPClient: &http.Client{Transport: roundTripFunc(func(req *http.Request) (*http.Response, error) {
		if req.Method == "POST" {
			posts++
			return respond(req, 303, "", "Location", "/done"), nil
		}
		return nil, &net.OpError{Op: "dial", Err: errLost}
	})}}
	outer := &Client{RetryMax: 3, Backoff: noWait, CheckRetry: SafeRetryPolicy}
	refused := true
	outer.HTTPClient = &http.Client{Transport: roundTripFunc(func(req *http.Request) (*http.Response, error) {
		if refused { // so that the next attempt is marked
			refused = false
			return nil, &net.OpError{Op: "dial", Err: errLost}
		}
		wrapped, err := FromRequest(req)
		if err != nil {
			return nil, err
		}
		return inner.Do(wrapped)
	})}
	_, err := outer.Post("http://host/", "", "x")
	require.Error(t, err)
	assert.Equal(t, 1, posts)
	assert.False(t, Unsent(err))
}

func TestNewIdempotencyKeyIsARandomUUID(t *testing.T) {
	form := regexp.MustCompile(`^[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$`)
	seen := map[string]bool{}
	digits := make([]map[rune]bool, 36)
	for range 10_000 {
		key := NewIdempotencyKey(nil)
		require.Regexp(t, form, key)
		require.False(t, seen[key])
		seen[key] = true
		for i, digit := range key {
			if digits[i] == nil {
				digits[i] = map[rune]bool{}
			}
			digits[i][digit] = true
		}
	}
	for i, got := range digits {
		want := 16
		switch i {
		case 8, 13, 18, 23, 14: // hyphens and version
			want = 1
		case 19: // variant
			want = 4
		}
		assert.Len(t, got, want, "position %d", i)
	}
}

// Safe writes: plain text from a server that has got the request over TLS. The error has
// the same type as for a server that knows no TLS.
func TestPlainTextAfterTheHandshakeIsNotUnsent(t *testing.T) {
	config, trusting := testTLS(t)
	config.MaxVersion = tls.VersionTLS12
	var applied atomic.Int32
	addr := listenRaw(t, func(conn net.Conn, _ int) {
		readRequest(tls.Server(conn, config))
		applied.Add(1)
		io.WriteString(conn, "HTTP/1.1 502 Bad Gateway\r\nContent-Length: 0\r\n\r\n")
	})
	for name, policy := range map[string]CheckRetry{"default": DefaultRetryPolicy, "safe": SafeRetryPolicy} {
		for _, jar := range []http.CookieJar{nil, noCookies{}} { // with one, http.Client sends
			applied.Store(0)
			client := &Client{CheckRetry: policy, HTTPClient: &http.Client{Jar: jar, Transport: &http.Transport{TLSClientConfig: trusting}}}
			_, err := client.Post("https://"+addr, "", content)
			require.ErrorIs(t, err, http.ErrSchemeMismatch)
			assert.False(t, Unsent(err), name)
			assert.EqualValues(t, 1, applied.Load())
			client.CloseIdleConnections()
		}
	}
}

// Safe writes: a server that answers the handshake in plain text has not got the request,
// as the error says by itself.
func TestPlainTextInsteadOfAHandshakeIsUnsent(t *testing.T) {
	server := httptest.NewServer(http.NotFoundHandler())
	defer server.Close()
	for _, jar := range []http.CookieJar{nil, noCookies{}} {
		client := &Client{HTTPClient: &http.Client{Jar: jar, Transport: &http.Transport{}}}
		_, err := client.Post("https"+strings.TrimPrefix(server.URL, "http"), "", content)
		require.ErrorIs(t, err, http.ErrSchemeMismatch)
		assert.True(t, Unsent(err))
	}
	assert.True(t, Unsent(tls.RecordHeaderError{Conn: &net.TCPConn{}}))
	assert.False(t, Unsent(tls.RecordHeaderError{}), "a later record")
}

type noCookies struct{}

func (noCookies) SetCookies(*url.URL, []*http.Cookie) {}
func (noCookies) Cookies(*url.URL) []*http.Cookie     { return nil }
