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

// http1Conn is a connection of HTTP/1.1. One goroutine serves it, one request after
// the other.
type http1Conn struct {
	server *Server
	link   *link
	in     *bufio.Reader
	out    *bufio.Writer
	body   bool // the current request has a body that has not been read to its end
}

func serveHTTP1(s *Server, l *link) {
	c := &http1Conn{server: s, link: l, in: bufio.NewReader(l), out: bufio.NewWriter(l)}
	for c.serveRequest() {
	}
}

// serveRequest reports whether the connection can serve another.
func (c *http1Conn) serveRequest() bool {
	if _, err := c.in.Peek(1); err != nil {
		return false
	}
	req, err := http.ReadRequest(c.in)
	if err != nil {
		// As servers do; a TLS client sees by it that it is at the wrong port.
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
	if !c.answer(req.Method, &step) {
		return false
	}
	if step.Close || req.Close {
		c.link.finish()
		return false
	}
	// After an early answer the client may go on writing, and then use the
	// connection again.
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

// answer sends the answer, or what the step has in its place, and reports whether
// the connection is still good.
func (c *http1Conn) answer(method string, step *Step) bool {
	body := step.bodyFor(method)
	sent, fails := step.failure(body)
	if sent < 0 {
		c.fail(step.Fault)
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
	chunked = chunked && body != "" // HEAD has the header alone
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
		c.fail(step.Fault)
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

// write sends what is buffered and then data, byte by byte if it is to drip.
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

func (c *http1Conn) fail(fault Fault) {
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
		// A client to which the answer looks whole may even send another
		// request before it leaves.
		io.Copy(io.Discard, c.in)
	}
}

// pause waits for d and reports whether the client is still there.
func (c *http1Conn) pause(d time.Duration) bool {
	if d <= 0 {
		return true
	}
	timer := time.NewTimer(d)
	defer timer.Stop()
	if !c.body {
		// A client that has sent its whole request sends nothing more for now, so
		// reading tells when it leaves.
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
