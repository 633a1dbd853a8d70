package retrytest

import (
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"sync"
)

// Protocol is the protocol of a Server.
type Protocol string

const (
	// HTTP1 is HTTP/1.1 without TLS.
	HTTP1 Protocol = "HTTP/1.1"
	// HTTPS is HTTP/1.1 over TLS.
	HTTPS Protocol = "HTTPS"
	// HTTP2 is HTTP/2 over TLS, negotiated with ALPN.
	HTTP2 Protocol = "HTTP/2"
)

// Server runs a script over real connections on the loopback interface.
//
// A request takes its step when its header has arrived, so a connection that the client
// opens and does not use takes no step. For a step that a Server cannot perform (Refuse,
// Err, a fault of HTTP/2 on HTTP/1.1) it sends a 501 that says so. Any number of
// goroutines may call the methods.
type Server struct {
	// URL is the server's address, such as https://127.0.0.1:45678, without a
	// path.
	URL string

	protocol Protocol
	script   script
	listener net.Listener
	tls      *tls.Config // nil for HTTP1
	client   *http.Client

	closing chan struct{} // closed by Close
	running sync.WaitGroup

	mu       sync.Mutex
	closed   bool
	accepted int
	conns    map[net.Conn]struct{} // the open ones
}

// NewServer starts a Server that performs the steps in order. The caller must close it.
// NewServer panics if it cannot listen, as httptest.NewServer does.
func NewServer(protocol Protocol, steps ...Step) *Server {
	return startServer(&Server{protocol: protocol, script: script{steps: steps}})
}

// NewServerFunc starts a Server that calls choose for the step of each attempt. The
// argument of choose has no body. No two goroutines call choose at the same time. The
// step's Times is ignored.
func NewServerFunc(protocol Protocol, choose func(Attempt) Step) *Server {
	return startServer(&Server{protocol: protocol, script: script{choose: choose}})
}

func startServer(s *Server) *Server {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		panic(fmt.Sprintf("retrytest: cannot listen: %v", err))
	}
	s.listener = listener
	s.closing = make(chan struct{})
	s.conns = map[net.Conn]struct{}{}
	s.URL = "http://" + listener.Addr().String()
	transport := &http.Transport{MaxIdleConnsPerHost: 100}
	switch s.protocol {
	case HTTP1:
	case HTTPS, HTTP2:
		s.URL = "https://" + listener.Addr().String()
		cert := certificate()
		s.tls = &tls.Config{Certificates: []tls.Certificate{cert}, NextProtos: []string{"http/1.1"}}
		if s.protocol == HTTP2 {
			s.tls.NextProtos = []string{"h2"}
			transport.ForceAttemptHTTP2 = true
		}
		pool := x509.NewCertPool()
		pool.AddCert(cert.Leaf)
		transport.TLSClientConfig = &tls.Config{RootCAs: pool}
	default:
		panic(fmt.Sprintf("retrytest: unknown protocol %q", s.protocol))
	}
	s.client = &http.Client{Transport: transport}
	s.running.Go(s.accept)
	return s
}

// Client returns a client that trusts the server's certificate and speaks its
// protocol. Every call returns the same one. It keeps up to 100 idle connections,
// which Close closes.
func (s *Server) Client() *http.Client { return s.client }

// Certificate returns the server's certificate, nil for a server without TLS.
func (s *Server) Certificate() *x509.Certificate {
	if s.tls == nil {
		return nil
	}
	return s.tls.Certificates[0].Leaf
}

// Attempts returns the records of all attempts so far, in the order of their arrival.
func (s *Server) Attempts() []Attempt { return s.script.Attempts() }

// Accepted returns how many connections have been accepted so far.
func (s *Server) Accepted() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.accepted
}

// OpenConns returns how many connections are open. A connection that the client closes
// is counted until the server notices, a moment later.
func (s *Server) OpenConns() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.conns)
}

// Close stops listening, closes all connections and waits until all goroutines of the
// server have ended. It may be called more than once.
func (s *Server) Close() {
	s.client.CloseIdleConnections()
	s.mu.Lock()
	if !s.closed {
		s.closed = true
		close(s.closing)
		s.listener.Close()
		for conn := range s.conns {
			conn.Close()
		}
	}
	s.mu.Unlock()
	s.running.Wait()
}

// accept serves the connections that clients open, until the listener is closed.
func (s *Server) accept() {
	for {
		conn, err := s.listener.Accept()
		if err != nil {
			return
		}
		s.mu.Lock()
		if s.closed {
			s.mu.Unlock()
			conn.Close()
			return
		}
		s.accepted++
		number := s.accepted
		s.conns[conn] = struct{}{}
		// The lock is held, so that Close is not waiting yet.
		s.running.Go(func() {
			s.serve(conn.(*net.TCPConn), number)
			conn.Close()
			s.mu.Lock()
			delete(s.conns, conn)
			s.mu.Unlock()
		})
		s.mu.Unlock()
	}
}

// serve serves one connection until it ends.
func (s *Server) serve(tcp *net.TCPConn, number int) {
	link := &link{Conn: tcp, tcp: tcp, number: number}
	if s.tls != nil {
		secure := tls.Server(tcp, s.tls)
		if err := secure.Handshake(); err != nil {
			return
		}
		link.Conn = secure
		if secure.ConnectionState().NegotiatedProtocol == "h2" {
			serveHTTP2(s, link)
			return
		}
	}
	serveHTTP1(s, link)
}

// next records an attempt and returns its step. It returns a 501 if the server cannot
// perform the step.
func (s *Server) next(a Attempt, http2 bool) (Step, *record) {
	step, rec, err := s.script.next(a)
	switch {
	case err != nil:
	case step.Fault == Refuse, step.Err != nil:
		err = fmt.Errorf("retrytest: attempt %d: a Server cannot refuse connections or fail with an error value", a.Number)
	case !http2 && (step.Fault == RefuseStream || step.Fault == ResetStream || step.Fault == GoAway):
		err = fmt.Errorf("retrytest: attempt %d: fault %q needs HTTP/2", a.Number, step.Fault)
	}
	if err != nil {
		step = Step{Status: http.StatusNotImplemented, Body: err.Error()}
	}
	return step, rec
}

// A link is a connection and the socket below it.
type link struct {
	net.Conn // tcp, or TLS over it
	tcp      *net.TCPConn
	number   int
}

// reset ends the connection with a TCP RST.
func (l *link) reset() {
	l.tcp.SetLinger(0)
	l.tcp.Close()
}

// closeWrite closes the sending side of the connection.
func (l *link) closeWrite() {
	if secure, ok := l.Conn.(*tls.Conn); ok {
		secure.CloseWrite()
	}
	l.tcp.CloseWrite()
}

// finish closes the sending side of the connection, and discards what the client sends
// until it closes its side. Closing the connection at once would send a RST if the client
// is still writing, and the client could lose a response that it has not read yet.
func (l *link) finish() {
	l.closeWrite()
	io.Copy(io.Discard, l.tcp)
}

// certificate returns the certificate of httptest, which is valid for 127.0.0.1, ::1 and
// example.com.
var certificate = sync.OnceValue(func() tls.Certificate {
	donor := httptest.NewUnstartedServer(nil)
	donor.StartTLS()
	defer donor.Close()
	cert := donor.TLS.Certificates[0]
	cert.Leaf = donor.Certificate()
	return cert
})
