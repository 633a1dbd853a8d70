package retrytest

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"time"

	"golang.org/x/net/http2"
	"golang.org/x/net/http2/hpack"
)

// The initial values of HTTP/2 settings (RFC 9113 §6.5.2, RFC 7541 §4.2). The server
// sends no others.
const (
	initialWindow    = 65_535
	initialMaxFrame  = 16_384
	initialTableSize = 4096
)

// http2Conn is an HTTP/2 connection. One goroutine reads its frames, and each stream
// has a goroutine that runs its step.
type http2Conn struct {
	server  *Server
	link    *link
	frames  *http2.Framer // locked by writing for writing; readFrames alone reads
	serving sync.WaitGroup

	writing sync.Mutex     // held while a frame, or a header block, is written
	block   bytes.Buffer   // the header block that is being encoded
	encoder *hpack.Encoder // writes to block

	mu           sync.Mutex
	changed      *sync.Cond // signals changes of the fields below and of the streams
	streams      map[uint32]*http2Stream
	newest       uint32 // the highest ID of a stream so far
	shut         bool   // accepts no new streams
	window       int64  // bytes that may be sent
	streamWindow int64  // bytes that may be sent on a new stream
}

// http2Stream is a stream of an HTTP/2 connection. The connection's mu guards its fields.
type http2Stream struct {
	conn     *http2Conn
	id       uint32
	method   string
	declared int64 // length of the request's body, -1 if unknown
	received int64 // bytes of the body so far
	unread   []byte
	ended    bool          // the client has sent the whole request
	err      error         // why the stream has ended early, nil if it has not
	gone     chan struct{} // closed when err is set
	window   int64         // bytes that may be sent
}

// serveHTTP2 serves the connection l until it ends.
func serveHTTP2(s *Server, l *link) {
	in := bufio.NewReader(l)
	c := &http2Conn{
		server: s, link: l, frames: http2.NewFramer(l, in),
		streams: map[uint32]*http2Stream{}, window: initialWindow, streamWindow: initialWindow,
	}
	c.frames.SetMaxReadFrameSize(initialMaxFrame)
	c.frames.ReadMetaHeaders = hpack.NewDecoder(initialTableSize, nil)
	c.encoder = hpack.NewEncoder(&c.block)
	c.changed = sync.NewCond(&c.mu)
	err := c.readPreface(in)
	for err == nil {
		err = c.readFrame()
	}
	if err == io.EOF { // a body would end normally with it
		err = io.ErrUnexpectedEOF
	}
	c.mu.Lock()
	c.shut = true
	for _, stream := range c.streams {
		stream.fail(err)
	}
	c.mu.Unlock()
	l.Close()
	c.serving.Wait()
}

// readPreface reads the client's connection preface and sends the server's.
func (c *http2Conn) readPreface(in io.Reader) error {
	preface := make([]byte, len(http2.ClientPreface))
	if _, err := io.ReadFull(in, preface); err != nil {
		return err
	}
	if string(preface) != http2.ClientPreface {
		return errors.New("not an HTTP/2 client")
	}
	return c.write(func() error { return c.frames.WriteSettings() })
}

// readFrame reads a frame and acts on it. Frames without a case need no action; after a
// GOAWAY the client closes the connection.
func (c *http2Conn) readFrame() error {
	frame, err := c.frames.ReadFrame()
	if err != nil {
		return err
	}
	switch frame := frame.(type) {
	case *http2.MetaHeadersFrame:
		c.readHeaders(frame)
	case *http2.DataFrame:
		c.readData(frame)
	case *http2.SettingsFrame:
		return c.readSettings(frame)
	case *http2.PingFrame:
		if !frame.IsAck() {
			return c.write(func() error { return c.frames.WritePing(true, frame.Data) })
		}
	case *http2.WindowUpdateFrame:
		c.mu.Lock()
		defer c.mu.Unlock()
		if frame.StreamID == 0 {
			c.window += int64(frame.Increment)
		} else if stream := c.streams[frame.StreamID]; stream != nil {
			stream.window += int64(frame.Increment)
		}
		c.changed.Broadcast()
	case *http2.RSTStreamFrame:
		c.mu.Lock()
		defer c.mu.Unlock()
		if stream := c.streams[frame.StreamID]; stream != nil {
			stream.fail(fmt.Errorf("stream reset by the client: %s", frame.ErrCode))
		}
	}
	return nil
}

// readSettings applies the client's settings and acknowledges them.
func (c *http2Conn) readSettings(frame *http2.SettingsFrame) error {
	if frame.IsAck() {
		return nil
	}
	if size, ok := frame.Value(http2.SettingInitialWindowSize); ok {
		c.mu.Lock()
		for _, stream := range c.streams {
			stream.window += int64(size) - c.streamWindow
		}
		c.streamWindow = int64(size)
		c.changed.Broadcast()
		c.mu.Unlock()
	}
	return c.write(func() error {
		if size, ok := frame.Value(http2.SettingHeaderTableSize); ok {
			c.encoder.SetMaxDynamicTableSize(size)
		}
		return c.frames.WriteSettingsAck()
	})
}

// readHeaders starts a stream, or ends its request if the headers are trailers.
func (c *http2Conn) readHeaders(frame *http2.MetaHeadersFrame) {
	c.mu.Lock()
	defer c.mu.Unlock()
	id := frame.StreamID
	if id <= c.newest {
		if stream := c.streams[id]; stream != nil {
			stream.end()
		}
		return
	}
	if c.shut {
		return // the client learns it from the GOAWAY or from the end of the connection
	}
	c.newest = id
	attempt := Attempt{
		Method:        frame.PseudoValue("method"),
		URL:           frame.PseudoValue("path"),
		Host:          frame.PseudoValue("authority"),
		Header:        http.Header{},
		ContentLength: -1,
		Conn:          c.link.number,
	}
	for _, field := range frame.RegularFields() {
		attempt.Header.Add(field.Name, field.Value)
	}
	if n, err := strconv.ParseInt(attempt.Header.Get("Content-Length"), 10, 64); err == nil {
		attempt.ContentLength = n
	}
	stream := &http2Stream{
		conn: c, id: id, method: attempt.Method, declared: attempt.ContentLength,
		window: c.streamWindow, gone: make(chan struct{}),
	}
	c.streams[id] = stream
	if frame.StreamEnded() {
		attempt.ContentLength = 0
		stream.end()
	}
	c.serving.Go(func() { stream.serve(attempt) })
}

// readData adds a part of a request's body to its stream.
func (c *http2Conn) readData(frame *http2.DataFrame) {
	c.mu.Lock()
	if stream := c.streams[frame.StreamID]; stream != nil && stream.err == nil {
		stream.unread = append(stream.unread, frame.Data()...)
		stream.received += int64(len(frame.Data()))
		if frame.StreamEnded() {
			stream.end()
		}
		c.changed.Broadcast()
	}
	c.mu.Unlock()
	// The connection's window is opened at once, the stream's when its step has read
	// the bytes.
	c.openWindow(0, int(frame.Length))
}

// end marks the request as complete. The caller holds the connection's mu.
func (s *http2Stream) end() {
	s.ended = true
	s.conn.changed.Broadcast()
	if s.declared >= 0 && s.received != s.declared {
		s.fail(fmt.Errorf("request body of %d bytes, %d declared", s.received, s.declared))
	}
}

// fail ends the stream early. The caller holds the connection's mu.
func (s *http2Stream) fail(err error) {
	if s.err == nil {
		s.err = err
		close(s.gone)
		s.conn.changed.Broadcast()
	}
}

// serve runs the step of the stream's request.
func (s *http2Stream) serve(attempt Attempt) {
	step, rec := s.conn.server.next(attempt, true)
	err := s.readBody(attempt, &step, rec)
	rec.end(err)
	if err == nil && s.pause(step.Delay) {
		s.respond(&step)
	} else {
		s.reset(http2.ErrCodeProtocol) // a client that has left ignores it
	}
	c := s.conn
	c.mu.Lock()
	delete(c.streams, s.id)
	last := c.shut && len(c.streams) == 0
	c.mu.Unlock()
	if last {
		c.closeWrite()
	}
}

// closeWrite closes the sending side of the connection. Frames are read until the
// client closes its side.
func (c *http2Conn) closeWrite() {
	c.writing.Lock()
	defer c.writing.Unlock()
	c.link.closeWrite()
}

// readBody reads the request's body as far as the step says.
func (s *http2Stream) readBody(attempt Attempt, step *Step, rec *record) error {
	if step.Read < 0 {
		return nil
	}
	if strings.EqualFold(attempt.Header.Get("Expect"), "100-continue") {
		s.writeHeaders(http.StatusContinue, nil, false)
	}
	if step.Read > 0 {
		if _, err := io.CopyN(rec, s, step.Read); err != io.EOF {
			return err
		}
		return nil
	}
	_, err := io.Copy(rec, s)
	return err
}

// Read implements io.Reader. It reads the request's body.
func (s *http2Stream) Read(p []byte) (int, error) {
	c := s.conn
	c.mu.Lock()
	for len(s.unread) == 0 && !s.ended && s.err == nil {
		c.changed.Wait()
	}
	n := copy(p, s.unread)
	s.unread = s.unread[n:]
	ended, err := s.ended, s.err
	c.mu.Unlock()
	switch {
	case n > 0:
		if !ended {
			c.openWindow(s.id, n)
		}
		return n, nil
	case err != nil:
		return 0, err
	}
	return 0, io.EOF
}

// respond sends the step's response, or makes its fault.
func (s *http2Stream) respond(step *Step) {
	c := s.conn
	body := step.bodyFor(s.method)
	sent, fails := step.failure(body)
	if sent < 0 {
		s.makeFault(step)
		return
	}
	s.writeHeaders(step.status(), step.header(), body == "" && !fails)
	if !s.writeBody(body[:sent], step.Drip, !fails) {
		return
	}
	if fails {
		s.makeFault(step)
		return
	}
	c.mu.Lock()
	whole := s.ended
	newest := c.newest
	if step.Close {
		c.shut = true
	}
	c.mu.Unlock()
	if !whole {
		s.reset(http2.ErrCodeNo)
	}
	if step.Close {
		c.goAway(newest)
	}
}

// writeBody sends a part of the response's body, as fast as the client's windows allow.
// It reports whether the stream can go on.
func (s *http2Stream) writeBody(data string, drip time.Duration, end bool) bool {
	for len(data) > 0 {
		size := int64(min(len(data), initialMaxFrame))
		if drip > 0 {
			if !s.pause(drip) {
				return false
			}
			size = 1
		}
		if size = s.takeWindow(size); size == 0 {
			return false
		}
		part := []byte(data[:size])
		data = data[size:]
		err := s.conn.write(func() error {
			return s.conn.frames.WriteData(s.id, end && data == "", part)
		})
		if err != nil {
			return false
		}
	}
	return true
}

// takeWindow waits until bytes may be sent, and takes up to size of them from the
// windows. It returns their number, which is 0 if the stream has ended.
func (s *http2Stream) takeWindow(size int64) int64 {
	c := s.conn
	c.mu.Lock()
	defer c.mu.Unlock()
	for s.err == nil && (s.window <= 0 || c.window <= 0) {
		c.changed.Wait()
	}
	if s.err != nil {
		return 0
	}
	size = min(size, s.window, c.window)
	s.window -= size
	c.window -= size
	return size
}

// makeFault makes the step's fault.
func (s *http2Stream) makeFault(step *Step) {
	c := s.conn
	switch step.Fault {
	case Reset:
		c.link.reset()
	case Close:
		c.mu.Lock()
		c.shut = true
		c.mu.Unlock()
		c.closeWrite()
	case Stall:
		s.pause(-1)
	case RefuseStream:
		s.reset(http2.ErrCodeRefusedStream)
	case ResetStream:
		s.reset(http2.ErrCode(step.Code))
	case GoAway:
		c.mu.Lock()
		c.shut = true
		for id, stream := range c.streams {
			if id >= s.id {
				stream.fail(errors.New("not processed: GOAWAY"))
			}
		}
		c.mu.Unlock()
		c.goAway(max(s.id, 2) - 2) // the IDs of a client's streams are odd
	}
}

// pause waits for d, or forever if d is negative. It reports whether the client is
// still there.
func (s *http2Stream) pause(d time.Duration) bool {
	var expired <-chan time.Time
	switch {
	case d == 0:
		return true
	case d > 0:
		timer := time.NewTimer(d)
		defer timer.Stop()
		expired = timer.C
	}
	select {
	case <-expired:
		return true
	case <-s.gone:
		return false
	case <-s.conn.server.closing:
		return false
	}
}

// reset sends RST_STREAM.
func (s *http2Stream) reset(code http2.ErrCode) {
	s.conn.write(func() error { return s.conn.frames.WriteRSTStream(s.id, code) })
}

// goAway sends GOAWAY with NO_ERROR. It excludes the streams above last.
func (c *http2Conn) goAway(last uint32) {
	c.write(func() error { return c.frames.WriteGoAway(last, http2.ErrCodeNo, nil) })
}

// openWindow allows the client to send n more bytes on the stream, or on the connection
// if id is 0.
func (c *http2Conn) openWindow(id uint32, n int) {
	if n > 0 {
		c.write(func() error { return c.frames.WriteWindowUpdate(id, uint32(n)) })
	}
}

// writeHeaders sends the header block of a response.
func (s *http2Stream) writeHeaders(status int, header http.Header, end bool) {
	c := s.conn
	c.write(func() error {
		c.block.Reset()
		c.encoder.WriteField(hpack.HeaderField{Name: ":status", Value: strconv.Itoa(status)})
		for name, values := range header {
			switch name {
			case "Connection", "Keep-Alive", "Proxy-Connection", "Upgrade": // not in HTTP/2 (RFC 9113 §8.2.2)
				continue
			}
			for _, value := range values {
				c.encoder.WriteField(hpack.HeaderField{Name: strings.ToLower(name), Value: value})
			}
		}
		fragment := c.block.Next(initialMaxFrame)
		err := c.frames.WriteHeaders(http2.HeadersFrameParam{
			StreamID: s.id, BlockFragment: fragment, EndStream: end, EndHeaders: c.block.Len() == 0,
		})
		for err == nil && c.block.Len() > 0 {
			fragment = c.block.Next(initialMaxFrame)
			err = c.frames.WriteContinuation(s.id, c.block.Len() == 0, fragment)
		}
		return err
	})
}

// write calls f, which writes frames that must not be separated. Most callers can
// ignore the error: a broken connection ends the reading of frames too.
func (c *http2Conn) write(f func() error) error {
	c.writing.Lock()
	defer c.writing.Unlock()
	return f()
}
