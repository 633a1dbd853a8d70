package hedge_test

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/http/httptrace"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/a0b132ce/retryablehttp/hedge"
)

// server is a server on a loopback socket that counts its connections.
type server struct {
	*httptest.Server
	conns atomic.Int32
}

func newServer(t *testing.T, http2 bool, handler http.HandlerFunc) *server {
	s := &server{Server: httptest.NewUnstartedServer(handler)}
	s.Config.ConnState = func(_ net.Conn, state http.ConnState) {
		if state == http.StateNew {
			s.conns.Add(1)
		}
	}
	if s.EnableHTTP2 = http2; http2 {
		s.StartTLS()
	} else {
		s.Start()
	}
	t.Cleanup(s.Close)
	return s
}

// client returns a client that hedges after a delay that is short, but long enough for the
// first request to reach the server first.
func (s *server) client(base http.RoundTripper) *http.Client {
	return &http.Client{Transport: &hedge.Transport{Base: base, Delay: 20 * ms, Budget: anyLoadFor(s.Listener.Addr().String())}}
}

// receive waits for a value, which must come.
func receive[T any](t *testing.T, c <-chan T) (v T) {
	t.Helper()
	select {
	case v = <-c:
	case <-time.After(10 * time.Second):
		t.Error("nothing came for 10 s")
	}
	return v
}

// The server sees the loser end, and the winner's body arrives whole. Over HTTP/1 that
// costs the loser's connection, over HTTP/2 nothing.
func TestLosersConnection(t *testing.T) {
	for name, tc := range map[string]struct {
		http2 bool
		conns int32 // for a request, the race, and a request after it
	}{
		"HTTP/1": {false, 2},
		"HTTP/2": {true, 1},
	} {
		t.Run(name, func(t *testing.T) {
			body := strings.Repeat("x", 1<<20)
			var requests atomic.Int32
			canceled := make(chan struct{})
			s := newServer(t, tc.http2, func(w http.ResponseWriter, r *http.Request) {
				if requests.Add(1) == 2 {
					<-r.Context().Done()
					close(canceled)
					return
				}
				io.WriteString(w, body)
			})
			plain, client := s.Client(), s.client(s.Client().Transport)
			// The first one makes the connection, which may take longer than the delay.
			for _, client := range []*http.Client{plain, client, plain} {
				resp, err := client.Get(s.URL)
				require.NoError(t, err)
				_, got := read(t, resp)
				assert.Equal(t, len(body), len(got))
			}
			receive(t, canceled)
			assert.Equal(t, tc.conns, s.conns.Load())
			assert.EqualValues(t, 4, requests.Load())
			client.CloseIdleConnections()
		})
	}
}

// A response that came and lost is drained, so that its connection is used again.
func TestDrainedLoserKeepsItsConnection(t *testing.T) {
	var requests atomic.Int32
	second, refused := make(chan struct{}), make(chan struct{})
	s := newServer(t, false, func(w http.ResponseWriter, _ *http.Request) {
		if requests.Add(1) == 1 {
			<-second // until there are two
			http.Error(w, strings.Repeat("x", 10_000), http.StatusServiceUnavailable)
			return
		}
		close(second)
		<-refused // until the other response is there
		io.WriteString(w, "won")
	})
	client := s.client(roundTripFunc(func(req *http.Request) (*http.Response, error) {
		resp, err := s.Client().Transport.RoundTrip(req)
		if err == nil && resp.StatusCode == http.StatusServiceUnavailable {
			close(refused)
		}
		return resp, err
	}))
	idle := make(chan error, 2)
	ctx := httptrace.WithClientTrace(context.Background(), &httptrace.ClientTrace{
		PutIdleConn: func(err error) { idle <- err },
	})
	req, err := http.NewRequestWithContext(ctx, "GET", s.URL, nil)
	require.NoError(t, err)
	resp, err := client.Do(req)
	require.NoError(t, err)
	_, body := read(t, resp)
	assert.Equal(t, "won", body)
	for range 2 {
		assert.NoError(t, receive(t, idle))
	}
	s.Client().CloseIdleConnections()
}

// A request that switches protocols is sent once, however long it takes, and its
// connection works.
func TestUpgrade(t *testing.T) {
	var requests atomic.Int32
	s := newServer(t, false, func(w http.ResponseWriter, r *http.Request) {
		requests.Add(1)
		time.Sleep(60 * ms)
		conn, rw, err := http.NewResponseController(w).Hijack()
		if !assert.NoError(t, err) {
			return
		}
		defer conn.Close()
		fmt.Fprint(rw, "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: echo\r\n\r\n")
		rw.Flush()
		line, _ := rw.ReadString('\n')
		fmt.Fprint(rw, line)
		rw.Flush()
	})
	client := s.client(s.Client().Transport)
	req, err := http.NewRequest("GET", s.URL, nil)
	require.NoError(t, err)
	req.Header.Set("Connection", "Upgrade")
	req.Header.Set("Upgrade", "echo")
	resp, err := client.Do(req)
	require.NoError(t, err)
	defer resp.Body.Close()
	conn, ok := resp.Body.(io.ReadWriteCloser)
	require.True(t, ok, "%T", resp.Body)
	fmt.Fprintln(conn, "hello")
	line, err := bufio.NewReader(conn).ReadString('\n')
	require.NoError(t, err)
	assert.Equal(t, "hello\n", line)
	assert.EqualValues(t, 1, requests.Load())
}

// A trace in the caller's context gets the events of both attempts.
func TestTraceGetsBothAttempts(t *testing.T) {
	var requests, wrote atomic.Int32
	s := newServer(t, false, func(_ http.ResponseWriter, r *http.Request) {
		if requests.Add(1) == 1 {
			<-r.Context().Done()
		}
	})
	ctx := httptrace.WithClientTrace(context.Background(), &httptrace.ClientTrace{
		WroteRequest: func(httptrace.WroteRequestInfo) { wrote.Add(1) },
	})
	req, err := http.NewRequestWithContext(ctx, "GET", s.URL, nil)
	require.NoError(t, err)
	client := s.client(s.Client().Transport)
	resp, err := client.Do(req)
	require.NoError(t, err)
	read(t, resp)
	assert.EqualValues(t, 2, wrote.Load())
	client.CloseIdleConnections()
}
