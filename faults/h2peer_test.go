package faults_test

import (
	"bytes"
	"context"
	"crypto/tls"
	"io"
	"net"
	"net/http"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/net/http2"
	"golang.org/x/net/http2/hpack"
)

// h2Peer is the server's side of an HTTP/2 connection whose frames the test chooses. Only
// the goroutine of serve uses it.
type h2Peer struct {
	*http2.Framer
	conn *tls.Conn
}

// newH2Peer returns the server's side of an HTTP/2 connection over conn.
func newH2Peer(conn net.Conn, config *tls.Config) *h2Peer {
	config = config.Clone()
	config.NextProtos = []string{"h2"}
	secure := tls.Server(conn, config)
	return &h2Peer{Framer: http2.NewFramer(secure, secure), conn: secure}
}

// serve reads frames until the connection ends. It calls request when the header of a
// request is complete.
func (p *h2Peer) serve(request func(stream uint32)) {
	if _, err := io.CopyN(io.Discard, p.conn, int64(len(http2.ClientPreface))); err != nil {
		return
	}
	p.WriteSettings()
	for {
		frame, err := p.ReadFrame()
		if err != nil {
			return
		}
		switch frame := frame.(type) {
		case *http2.SettingsFrame:
			if !frame.IsAck() {
				p.WriteSettingsAck()
			}
		case *http2.PingFrame:
			if !frame.IsAck() {
				p.WritePing(true, frame.Data)
			}
		case *http2.HeadersFrame:
			if frame.HeadersEnded() {
				request(frame.StreamID)
			}
		case *http2.ContinuationFrame:
			if frame.HeadersEnded() {
				request(frame.StreamID)
			}
		}
	}
}

// writeOK sends the header of a 200 response. If end is true, the response has no body.
func (p *h2Peer) writeOK(stream uint32, end bool) { p.writeStatus(stream, "200", end) }

// writeStatus sends the header of a response. If end is true, the response has no body.
func (p *h2Peer) writeStatus(stream uint32, status string, end bool) {
	var block bytes.Buffer
	hpack.NewEncoder(&block).WriteField(hpack.HeaderField{Name: ":status", Value: status})
	p.WriteHeaders(http2.HeadersFrameParam{StreamID: stream, BlockFragment: block.Bytes(), EndHeaders: true, EndStream: end})
}

// pipeTransport returns a transport for HTTP/2 whose connections are in memory, so that it
// can be used in a synctest bubble. serve is called in a goroutine of its own for each
// connection; n numbers the connections from 1.
func pipeTransport(t *testing.T, server, client *tls.Config, serve func(p *h2Peer, n int)) *http.Transport {
	var conns atomic.Int32
	return &http.Transport{
		ForceAttemptHTTP2: true,
		TLSClientConfig:   client.Clone(),
		DialContext: func(context.Context, string, string) (net.Conn, error) {
			a, b := net.Pipe()
			ours, theirs := newQueuedConn(a), newQueuedConn(b)
			t.Cleanup(func() { ours.Close() })
			n := int(conns.Add(1))
			go func() {
				defer theirs.Close()
				serve(newH2Peer(theirs, server), n)
			}()
			return ours, nil
		},
	}
}

// queuedConn makes the end of a net.Pipe more like a socket: Write does not wait for the
// reader.
type queuedConn struct {
	net.Conn
	queue  chan []byte
	once   sync.Once
	closed chan struct{}
}

// newQueuedConn returns conn with a queue, and starts the goroutine that empties the queue
// until the connection is closed.
func newQueuedConn(conn net.Conn) *queuedConn {
	c := &queuedConn{Conn: conn, queue: make(chan []byte, 1000), closed: make(chan struct{})}
	go func() {
		defer conn.Close()
		for {
			select {
			case p := <-c.queue:
				if _, err := conn.Write(p); err != nil {
					return
				}
			case <-c.closed:
				c.flush()
				return
			}
		}
	}()
	return c
}

// flush writes what is still in the queue when the connection is closed.
func (c *queuedConn) flush() {
	for {
		select {
		case p := <-c.queue:
			if _, err := c.Conn.Write(p); err != nil {
				return
			}
		default:
			return
		}
	}
}

func (c *queuedConn) Write(p []byte) (int, error) {
	select {
	case <-c.closed:
		return 0, net.ErrClosed
	case c.queue <- bytes.Clone(p):
		return len(p), nil
	}
}

// Close ends reads at once. It gives the queue one second to be written.
func (c *queuedConn) Close() error {
	c.once.Do(func() {
		c.SetReadDeadline(time.Now())
		c.SetWriteDeadline(time.Now().Add(time.Second))
		close(c.closed)
	})
	return nil
}
