package retryablehttp

import (
	"bufio"
	"crypto/tls"
	"crypto/x509"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"
)

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

// noticedConn tells when its client has closed it.
type noticedConn struct {
	net.Conn
	closed func()
}

func (c noticedConn) Close() error {
	defer c.closed()
	return c.Conn.Close()
}

// listen accepts connections and says nothing.
func listen(t *testing.T) string {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	t.Cleanup(func() { l.Close() })
	return l.Addr().String()
}
