package conformance

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"strconv"
	"sync"
	"time"

	"github.com/a0b132ce/retryablehttp"
)

// A tap sits between the client and its transport and takes down what passes. It
// also does what a script cannot: respond with status 0, and read a body late.
type tap struct {
	play *play
	next http.RoundTripper

	mu       sync.Mutex
	sends    []send
	lateBody io.ReadCloser
	late     string
	lateErr  error
}

// send is one request that the client has sent, redirects included.
type send struct {
	start, end time.Time
	attempt    int
	length     string
}

func (t *tap) CloseIdleConnections() {
	if next, ok := t.next.(interface{ CloseIdleConnections() }); ok {
		next.CloseIdleConnections()
	}
}

func (t *tap) RoundTrip(req *http.Request) (*http.Response, error) {
	length := strconv.FormatInt(req.ContentLength, 10)
	if req.ContentLength < 0 || req.ContentLength == 0 && req.Body != nil && req.Body != http.NoBody {
		length = "unknown"
	}
	t.mu.Lock()
	number := len(t.sends)
	t.sends = append(t.sends, send{start: time.Now(), attempt: retryablehttp.AttemptNumber(req.Context()), length: length})
	t.mu.Unlock()
	t.play.event("send %d", number+1)

	step, _ := t.play.scenario.Step(number + 1)
	out := req
	if step.Late || t.lateBody != nil {
		copied := *req
		out = &copied
		if step.Late {
			t.lateBody, out.Body = req.Body, nil
		} else {
			out.Body = &lateReading{req.Body, t}
		}
	}
	resp, err := t.next.RoundTrip(out)
	if resp != nil && step.Status == 0 {
		resp.StatusCode, resp.Status = 0, ""
	}
	t.mu.Lock()
	t.sends[number].end = time.Now()
	t.mu.Unlock()
	return resp, err
}

// lateReading is a body that has the body of the attempt before read along with it.
type lateReading struct {
	io.ReadCloser
	tap *tap
}

func (b *lateReading) Read(p []byte) (int, error) {
	b.readLate()
	n, err := b.ReadCloser.Read(p[:1])
	b.readLate()
	return n, err
}

func (b *lateReading) Close() error {
	b.tap.lateBody.Close()
	return b.ReadCloser.Close()
}

func (b *lateReading) readLate() {
	if b.tap.lateErr != nil {
		return
	}
	var one [1]byte
	n, err := b.tap.lateBody.Read(one[:])
	b.tap.late += string(one[:n])
	b.tap.lateErr = err
}

func (t *tap) count() int {
	t.mu.Lock()
	defer t.mu.Unlock()
	return len(t.sends)
}

func (t *tap) all() []send {
	t.mu.Lock()
	defer t.mu.Unlock()
	return append([]send(nil), t.sends...)
}

// waits are the times from the end of each request to the start of the next, from
// the given one on.
func (t *tap) waits(first int) []time.Duration {
	var waits []time.Duration
	sends := t.all()
	for i := first + 1; i < len(sends); i++ {
		waits = append(waits, sends[i].start.Sub(sends[i-1].end))
	}
	return waits
}

// stepError is the error of the transport that a step gives, nil if it gives none.
func (p *play) stepError(step Step) error {
	switch step.Failure {
	case "":
	case "certificate-untrusted":
		return x509.UnknownAuthorityError{}
	case "certificate-hostname":
		return x509.HostnameError{Certificate: &x509.Certificate{}, Host: "example.com"}
	case "certificate-expired":
		return x509.CertificateInvalidError{Cert: &x509.Certificate{}, Reason: x509.Expired}
	case "certificate-verification":
		return &tls.CertificateVerificationError{Err: errors.New("no good")}
	case "certificate-constraint":
		return x509.ConstraintViolationError{}
	case "certificate-insecure":
		return x509.InsecureAlgorithmError(x509.SHA1WithRSA)
	case "certificate-critical-extension":
		return x509.UnhandledCriticalExtension{}
	case "certificate-roots":
		return x509.SystemRootsError{Err: errors.New("none found")}
	case "alert-bad-certificate":
		return alert(42)
	case "alert-certificate-expired":
		return alert(45)
	case "alert-unknown-ca":
		return alert(48)
	case "alert-certificate-required":
		return alert(116)
	case "alert-handshake-failure":
		return alert(40)
	case "alert-internal-error":
		return alert(80)
	case "plain-http":
		return tls.RecordHeaderError{Msg: "first record does not look like a TLS handshake", RecordHeader: [5]byte([]byte("HTTP/"))}
	case "name-lookup":
		return &net.OpError{Op: "dial", Net: "tcp", Err: &net.DNSError{Err: "server misbehaving", Name: "example.com", IsTemporary: true}}
	case "proxy-connect":
		return &net.OpError{Op: "proxyconnect", Net: "tcp", Err: errors.New("no route to host")}
	case "timeout":
		return &net.OpError{Op: "read", Net: "tcp", Err: os.ErrDeadlineExceeded}
	default:
		return fmt.Errorf("failure %q is not known here", step.Failure)
	}
	if step.Error != "" {
		return p.error(step.Error)
	}
	return nil
}

// alert is how crypto/tls reports an alert of the peer.
func alert(n uint8) error {
	return &net.OpError{Op: "remote error", Err: tls.AlertError(n)}
}
