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

// Protocol is what a Server speaks.
type Protocol string

const (
	// HTTP1 is HTTP/1.1 in the clear.
	HTTP1 Protocol = "HTTP/1.1"
	// HTTPS is HTTP/1.1 over TLS.
	HTTPS Protocol = "HTTPS"
	// HTTP2 is HTTP/2 over TLS, agreed on by ALPN.
	HTTP2 Protocol = "HTTP/2"
)

// Server runs a script over real connections on the loopback interface.
//
// A step is taken when the headers of a request have arrived, so connections that a
// client opens ahead and never uses take none. A step that a Server cannot
// produce (Refuse, Err, a fault of HTTP/2 on HTTP/1.1) is an error of the test,
// and is answered with a 501 that says so. The methods may be called by any number
// of goroutines.
type Server struct {
	// URL is where the server listens, such as https://127.0.0.1:45678, without
	// a path.
	URL string

	protocol Protocol
	script   script
	listener net.Listener
	tls      *tls.Config // nil: in the clear
	client   *http.Client

	closing chan struct{} // closed by Close
	running sync.WaitGroup

	mu       sync.Mutex
	closed   bool
	accepted int
	conns    map[net.Conn]struct{} // the open ones
}

// NewServer starts a Server that serves the steps in order. The caller closes it.
// Like httptest.NewServer it panics if it cannot listen.
func NewServer(protocol Protocol, steps ...Step) *Server {
	return startServer(&Server{protocol: protocol, script: script{steps: steps}})
}

// NewServerFunc starts a Server that asks choose for the step of each attempt.
// choose is given the attempt without its body, and is not called by two goroutines
// at once. The step's Times means nothing here.
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

// Certificate returns the server's certificate, nil for a server in the clear.
func (s *Server) Certificate() *x509.Certificate {
	if s.tls == nil {
		return nil
	}
	return s.tls.Certificates[0].Leaf
}

// Attempts returns the records of all attempts so far, in the order in which they
// came.
func (s *Server) Attempts() []Attempt { return s.script.Attempts() }

// Accepted returns how many connections have been accepted so far.
func (s *Server) Accepted() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.accepted
}

// OpenConns returns how many connections are open. A connection that its client
// has closed counts until the server has noticed, which takes a moment.
func (s *Server) OpenConns() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.conns)
}

// Close stops listening, breaks all connections and waits until all goroutines of
// the server have ended. It may be called more than once.
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
		// Under the lock, so that Close cannot be waiting already.
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

// serve serves one connection until it is over.
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

// next records an attempt and says what is to happen to it, which is a 501 if the
// server cannot do what the script says.
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

// A link is a connection with the socket beneath it.
type link struct {
	net.Conn // tcp, or TLS over it
	tcp      *net.TCPConn
	number   int
}

// reset breaks the connection with a TCP RST.
func (l *link) reset() {
	l.tcp.SetLinger(0)
	l.tcp.Close()
}

// closeWrite tells the client that nothing more will come.
func (l *link) closeWrite() {
	if secure, ok := l.Conn.(*tls.Conn); ok {
		secure.CloseWrite()
	}
	l.tcp.CloseWrite()
}

// finish ends the connection in good order: the client is told, and what it is
// still sending is taken in until it has closed its side. To close at once would
// send a RST, which can destroy an answer that the client has not read yet.
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
