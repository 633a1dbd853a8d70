package retrytest

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"strings"
	"time"
)

// http1Conn is an HTTP/1.1 connection. One goroutine serves its requests.
type http1Conn struct {
	server *Server
	link   *link
	in     *bufio.Reader
	out    *bufio.Writer
	body   bool // the body of the current request has not been read to its end
}

// serveHTTP1 serves the connection l until it ends.
func serveHTTP1(s *Server, l *link) {
	c := &http1Conn{server: s, link: l, in: bufio.NewReader(l), out: bufio.NewWriter(l)}
	for c.serveRequest() {
	}
}

// serveRequest serves one request. It reports whether the connection can serve another.
func (c *http1Conn) serveRequest() bool {
	if _, err := c.in.Peek(1); err != nil {
		return false
	}
	req, err := http.ReadRequest(c.in)
	if err != nil {
		// Servers do so. It makes net/http return ErrSchemeMismatch to a TLS client.
		c.out.WriteString("HTTP/1.1 400 Bad Request\r\nConnection: close\r\nContent-Length: 0\r\n\r\n")
		c.out.Flush()
		c.link.finish()
		return false
	}
	step, rec := c.server.next(Attempt{
		Method:        req.Method,
		URL:           req.URL.RequestURI(),
		Host:          req.Host,
		Header:        req.Header,
		ContentLength: req.ContentLength,
		Conn:          c.link.number,
	}, false)
	c.body = req.ContentLength != 0
	err = c.readBody(req, &step, rec)
	rec.end(err)
	if err != nil || !c.pause(step.Delay) {
		return false
	}
	if !c.respond(req.Method, &step) {
		return false
	}
	if step.Close || req.Close {
		c.link.finish()
		return false
	}
	// After an early response the client may write the rest of the body, and then use
	// the connection again.
	_, err = io.Copy(io.Discard, req.Body)
	return err == nil
}

// readBody reads the request's body as far as the step says.
func (c *http1Conn) readBody(req *http.Request, step *Step, rec *record) error {
	if step.Read < 0 {
		return nil
	}
	if c.body && strings.EqualFold(req.Header.Get("Expect"), "100-continue") {
		c.out.WriteString("HTTP/1.1 100 Continue\r\n\r\n")
		c.out.Flush()
	}
	if step.Read > 0 {
		if _, err := io.CopyN(rec, req.Body, step.Read); err != io.EOF {
			return err
		}
	} else if _, err := io.Copy(rec, req.Body); err != nil {
		return err
	}
	c.body = false
	return nil
}

// respond sends the step's response, or makes its fault. It reports whether the connection
// can still be used.
func (c *http1Conn) respond(method string, step *Step) bool {
	body := step.bodyFor(method)
	sent, fails := step.failure(body)
	if sent < 0 {
		c.makeFault(step.Fault)
		return false
	}
	chunked := step.Chunked && mayHaveBody(step.status())
	header := step.header()
	if chunked {
		header.Set("Transfer-Encoding", "chunked")
	}
	if step.Close {
		header.Set("Connection", "close")
	}
	chunked = chunked && body != "" // a response to HEAD has no body
	fmt.Fprintf(c.out, "HTTP/1.1 %03d %s\r\n", step.status(), http.StatusText(step.status()))
	header.Write(c.out)
	c.out.WriteString("\r\n")
	if chunked {
		fmt.Fprintf(c.out, "%x\r\n", len(body))
	}
	if !c.write(body[:sent], step.Drip) {
		return false
	}
	if fails {
		c.makeFault(step.Fault)
		return false
	}
	switch {
	case chunked:
		c.out.WriteString("\r\n0\r\n\r\n")
	case step.Chunked && method != http.MethodHead && mayHaveBody(step.status()):
		c.out.WriteString("0\r\n\r\n")
	}
	return c.out.Flush() == nil
}

// write sends what is buffered and then data, one byte after each drip if that is
// positive. It reports whether the connection can still be used.
func (c *http1Conn) write(data string, drip time.Duration) bool {
	if drip <= 0 {
		c.out.WriteString(data)
		return c.out.Flush() == nil
	}
	for i := range len(data) {
		if c.out.Flush() != nil || !c.pause(drip) {
			return false
		}
		c.out.WriteByte(data[i])
	}
	return c.out.Flush() == nil
}

// makeFault makes a fault.
func (c *http1Conn) makeFault(fault Fault) {
	switch fault {
	case Reset:
		c.link.reset()
	case Close:
		c.link.finish()
	case Stall:
		if c.body {
			<-c.server.closing
			return
		}
		// A client that has the whole response may send another request before it
		// closes the connection.
		io.Copy(io.Discard, c.in)
	}
}

// pause waits for d. It reports whether the client is still there.
func (c *http1Conn) pause(d time.Duration) bool {
	if d <= 0 {
		return true
	}
	timer := time.NewTimer(d)
	defer timer.Stop()
	if !c.body {
		// The client has sent its whole request, so reading blocks until it closes the
		// connection.
		c.link.SetReadDeadline(time.Now().Add(d))
		defer c.link.SetReadDeadline(time.Time{})
		switch _, err := c.in.Peek(1); {
		case errors.Is(err, os.ErrDeadlineExceeded):
			return true
		case err != nil:
			return false
		}
	}
	select {
	case <-timer.C:
		return true
	case <-c.server.closing:
		return false
	}
}
