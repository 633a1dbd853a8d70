package retrytest

import (
	"bufio"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"time"
)

// This file is as much of HTTP/2 (RFC 9113) as a server needs whose client is
// well-behaved while it is not.

// Frame types, flags and settings that occur here (RFC 9113 §6).
const (
	frameData         = 0x0
	frameHeaders      = 0x1
	frameResetStream  = 0x3
	frameSettings     = 0x4
	framePing         = 0x6
	frameGoAway       = 0x7
	frameWindowUpdate = 0x8
	frameContinuation = 0x9

	flagEndStream  = 0x1
	flagAck        = 0x1
	flagEndHeaders = 0x4
	flagPadded     = 0x8
	flagPriority   = 0x20

	settingInitialWindowSize = 0x4

	defaultWindow = 65535
	maxFrame      = 16384 // unless a setting allows more
)

// Error codes that occur here (RFC 9113 §7).
const (
	codeNoError       = 0x0
	codeProtocolError = 0x1
	codeRefusedStream = 0x7
)

var codeNames = [...]string{
	"NO_ERROR", "PROTOCOL_ERROR", "INTERNAL_ERROR", "FLOW_CONTROL_ERROR", "SETTINGS_TIMEOUT",
	"STREAM_CLOSED", "FRAME_SIZE_ERROR", "REFUSED_STREAM", "CANCEL", "COMPRESSION_ERROR",
	"CONNECT_ERROR", "ENHANCE_YOUR_CALM", "INADEQUATE_SECURITY", "HTTP_1_1_REQUIRED",
}

func codeName(code uint32) string {
	if int(code) < len(codeNames) {
		return codeNames[code]
	}
	return fmt.Sprintf("unknown error code %#x", code)
}

const clientPreface = "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"

// http2Conn is a connection of HTTP/2. One goroutine reads its frames; each stream
// has one that serves it.
type http2Conn struct {
	server  *Server
	link    *link
	in      *bufio.Reader
	fields  *hpackDecoder
	serving sync.WaitGroup

	writing sync.Mutex // a frame, or frames that belong together, at a time

	mu            sync.Mutex
	changed       *sync.Cond // whenever one of these has
	streams       map[uint32]*http2Stream
	newest        uint32 // stream
	shut          bool   // takes no new streams
	window        int64  // for sending
	initialWindow int64  // of a stream
}

// http2Stream is a stream; its fields are guarded by the connection's lock.
type http2Stream struct {
	conn     *http2Conn
	id       uint32
	method   string
	declared int64 // length of the request's body, -1 if unknown
	received int64
	unread   []byte
	ended    bool          // by the client: the request is whole
	err      error         // why the stream is over; nil while it is not
	gone     chan struct{} // closed when err is set
	window   int64         // for sending
}

func serveHTTP2(s *Server, l *link) {
	c := &http2Conn{
		server: s, link: l, in: bufio.NewReader(l), fields: newHPACKDecoder(),
		streams: map[uint32]*http2Stream{}, window: defaultWindow, initialWindow: defaultWindow,
	}
	c.changed = sync.NewCond(&c.mu)
	err := c.readFrames()
	if err == io.EOF { // which would pass for the end of a body
		err = io.ErrUnexpectedEOF
	}
	c.mu.Lock()
	c.shut = true
	for _, stream := range c.streams {
		stream.over(err)
	}
	c.mu.Unlock()
	l.Close()
	c.serving.Wait()
}

func (c *http2Conn) readFrames() error {
	preface := make([]byte, len(clientPreface))
	if _, err := io.ReadFull(c.in, preface); err != nil {
		return err
	}
	if string(preface) != clientPreface {
		return errors.New("not an HTTP/2 client")
	}
	c.writeFrame(frameSettings, 0, 0, nil)
	for {
		if err := c.readFrame(); err != nil {
			return err
		}
	}
}

// readFrame reads a frame and does what it says.
func (c *http2Conn) readFrame() error {
	kind, flags, id, payload, err := c.nextFrame()
	if err != nil {
		return err
	}
	switch kind {
	case frameHeaders:
		return c.headers(flags, id, payload)
	case frameData:
		return c.data(flags, id, payload)
	case frameSettings:
		if flags&flagAck != 0 {
			return nil
		}
		c.settings(payload)
		c.writeFrame(frameSettings, flagAck, 0, nil)
	case framePing:
		if flags&flagAck != 0 {
			return nil
		}
		c.writeFrame(framePing, flagAck, 0, payload)
	case frameWindowUpdate:
		if len(payload) != 4 {
			return errors.New("malformed WINDOW_UPDATE")
		}
		c.mu.Lock()
		defer c.mu.Unlock()
		n := int64(binary.BigEndian.Uint32(payload) & 0x7fffffff)
		if id == 0 {
			c.window += n
		} else if stream := c.streams[id]; stream != nil {
			stream.window += n
		}
		c.changed.Broadcast()
	case frameResetStream:
		if len(payload) != 4 {
			return errors.New("malformed RST_STREAM")
		}
		c.mu.Lock()
		defer c.mu.Unlock()
		if stream := c.streams[id]; stream != nil {
			stream.over(fmt.Errorf("stream reset by the client: %s", codeName(binary.BigEndian.Uint32(payload))))
		}
	}
	return nil // GOAWAY is followed by the end; the rest has no effect here
}

func (c *http2Conn) nextFrame() (kind, flags byte, id uint32, payload []byte, err error) {
	var head [9]byte
	if _, err = io.ReadFull(c.in, head[:]); err != nil {
		return
	}
	size := int(head[0])<<16 | int(head[1])<<8 | int(head[2])
	if size > maxFrame {
		err = errors.New("frame too large")
		return
	}
	payload = make([]byte, size)
	_, err = io.ReadFull(c.in, payload)
	return head[3], head[4], binary.BigEndian.Uint32(head[5:]) & 0x7fffffff, payload, err
}

// unpad removes padding and priority from a frame.
func unpad(flags byte, payload []byte) ([]byte, error) {
	padding := 0
	if flags&flagPadded != 0 {
		if len(payload) == 0 {
			return nil, errors.New("malformed padding")
		}
		padding, payload = int(payload[0]), payload[1:]
	}
	if flags&flagPriority != 0 {
		padding += 5
	}
	if padding > len(payload) {
		return nil, errors.New("malformed padding")
	}
	if flags&flagPriority != 0 {
		payload, padding = payload[5:], padding-5
	}
	return payload[:len(payload)-padding], nil
}

func (c *http2Conn) settings(payload []byte) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for ; len(payload) >= 6; payload = payload[6:] {
		if binary.BigEndian.Uint16(payload) != settingInitialWindowSize {
			continue
		}
		size := int64(binary.BigEndian.Uint32(payload[2:]))
		for _, stream := range c.streams {
			stream.window += size - c.initialWindow
		}
		c.initialWindow = size
	}
	c.changed.Broadcast()
}

// headers begins a stream, or ends one with trailers.
func (c *http2Conn) headers(flags byte, id uint32, payload []byte) error {
	block, err := unpad(flags, payload)
	if err != nil {
		return err
	}
	for end := flags&flagEndHeaders != 0; !end; {
		kind, flags, _, more, err := c.nextFrame()
		if err != nil {
			return err
		}
		if kind != frameContinuation {
			return errors.New("missing CONTINUATION")
		}
		block = append(block, more...)
		end = flags&flagEndHeaders != 0
	}
	fields, err := c.fields.decode(block)
	if err != nil {
		return err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if id <= c.newest {
		if stream := c.streams[id]; stream != nil {
			stream.end()
		}
		return nil
	}
	if c.shut {
		return nil // the GOAWAY or the end of the connection speaks for itself
	}
	c.newest = id
	attempt := Attempt{Header: http.Header{}, Conn: c.link.number, ContentLength: -1}
	for _, f := range fields {
		switch f.name {
		case ":method":
			attempt.Method = f.value
		case ":path":
			attempt.URL = f.value
		case ":authority":
			attempt.Host = f.value
		case ":scheme":
		default:
			attempt.Header.Add(f.name, f.value)
		}
	}
	if n, err := strconv.ParseInt(attempt.Header.Get("Content-Length"), 10, 64); err == nil {
		attempt.ContentLength = n
	}
	stream := &http2Stream{
		conn: c, id: id, method: attempt.Method, declared: attempt.ContentLength,
		window: c.initialWindow, gone: make(chan struct{}),
	}
	c.streams[id] = stream
	if flags&flagEndStream != 0 {
		attempt.ContentLength = 0
		stream.end()
	}
	c.serving.Go(func() { stream.serve(attempt) })
	return nil
}

// data takes in a part of a request's body.
func (c *http2Conn) data(flags byte, id uint32, payload []byte) error {
	body, err := unpad(flags&^flagPriority, payload)
	if err != nil {
		return err
	}
	c.mu.Lock()
	if stream := c.streams[id]; stream != nil && stream.err == nil {
		stream.unread = append(stream.unread, body...)
		stream.received += int64(len(body))
		if flags&flagEndStream != 0 {
			stream.end()
		}
		c.changed.Broadcast()
	}
	c.mu.Unlock()
	// The window of the connection never closes; that of the stream opens as
	// its step reads.
	c.writeWindowUpdate(0, len(payload))
	return nil
}

// end marks the request as whole. It is called with the lock held.
func (s *http2Stream) end() {
	s.ended = true
	s.conn.changed.Broadcast()
	if s.declared >= 0 && s.received != s.declared {
		s.over(fmt.Errorf("request body of %d bytes, %d declared", s.received, s.declared))
	}
}

// over ends the stream. It is called with the lock held.
func (s *http2Stream) over(err error) {
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
		s.answer(&step)
	} else {
		s.reset(codeProtocolError) // which a client that has gone ignores
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

// closeWrite tells the client that nothing more will come. Frames are read until it
// has closed its side too.
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
		s.conn.writeHeaders(s.id, 0, appendField(nil, ":status", "100"))
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

// Read implements io.Reader for the request's body.
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
			c.writeWindowUpdate(s.id, n)
		}
		return n, nil
	case err != nil:
		return 0, err
	}
	return 0, io.EOF
}

// answer sends the answer or what the step has in its place.
func (s *http2Stream) answer(step *Step) {
	c := s.conn
	body := step.bodyFor(s.method)
	sent, fails := step.failure(body)
	if sent < 0 {
		s.fail(step)
		return
	}
	block := appendField(nil, ":status", strconv.Itoa(step.status()))
	for name, values := range step.header() {
		switch name {
		case "Connection", "Keep-Alive", "Proxy-Connection", "Upgrade": // not in HTTP/2 (RFC 9113 §8.2.2)
			continue
		}
		for _, value := range values {
			block = appendField(block, strings.ToLower(name), value)
		}
	}
	var last byte
	if body == "" && !fails {
		last = flagEndStream
	}
	c.writeHeaders(s.id, last, block)
	if !s.write(body[:sent], step.Drip, !fails) {
		return
	}
	if fails {
		s.fail(step)
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
		s.reset(codeNoError)
	}
	if step.Close {
		c.writeGoAway(newest)
	}
}

// write sends a part of the body in DATA frames, as the client's windows allow.
func (s *http2Stream) write(data string, drip time.Duration, end bool) bool {
	for len(data) > 0 {
		size := int64(min(len(data), maxFrame))
		if drip > 0 {
			if !s.pause(drip) {
				return false
			}
			size = 1
		}
		if size = s.takeWindow(size); size == 0 {
			return false
		}
		var flags byte
		if end && int(size) == len(data) {
			flags = flagEndStream
		}
		if s.conn.writeFrame(frameData, flags, s.id, []byte(data[:size])) != nil {
			return false
		}
		data = data[size:]
	}
	return true
}

// takeWindow waits until something may be sent, and says how much of size. It is 0
// when the stream is over.
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

func (s *http2Stream) fail(step *Step) {
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
		s.reset(codeRefusedStream)
	case ResetStream:
		s.reset(step.Code)
	case GoAway:
		c.mu.Lock()
		c.shut = true
		for id, stream := range c.streams {
			if id >= s.id {
				stream.over(errors.New("not processed: GOAWAY"))
			}
		}
		c.mu.Unlock()
		c.writeGoAway(max(s.id, 2) - 2) // clients' streams have odd numbers
	}
}

// pause waits for d, or without end if d is negative, and reports whether the client
// is still there.
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

func (s *http2Stream) reset(code uint32) {
	s.conn.writeFrame(frameResetStream, 0, s.id, binary.BigEndian.AppendUint32(nil, code))
}

func (c *http2Conn) writeGoAway(last uint32) {
	payload := binary.BigEndian.AppendUint32(nil, last)
	c.writeFrame(frameGoAway, 0, 0, binary.BigEndian.AppendUint32(payload, codeNoError))
}

func (c *http2Conn) writeWindowUpdate(id uint32, n int) {
	if n > 0 {
		c.writeFrame(frameWindowUpdate, 0, id, binary.BigEndian.AppendUint32(nil, uint32(n)))
	}
}

// writeHeaders writes a header block, in as many frames as it takes.
func (c *http2Conn) writeHeaders(id uint32, flags byte, block []byte) {
	var frames []byte
	kind := byte(frameHeaders)
	for {
		n := min(len(block), maxFrame)
		if n == len(block) {
			flags |= flagEndHeaders
		}
		frames = appendFrame(frames, kind, flags, id, block[:n])
		if block = block[n:]; len(block) == 0 {
			c.write(frames)
			return
		}
		kind, flags = frameContinuation, 0
	}
}

// writeFrame writes a frame. Only who waits for the client needs to look at the error:
// when a connection is lost, the reading of frames ends too.
func (c *http2Conn) writeFrame(kind, flags byte, id uint32, payload []byte) error {
	return c.write(appendFrame(nil, kind, flags, id, payload))
}

func (c *http2Conn) write(frames []byte) error {
	c.writing.Lock()
	defer c.writing.Unlock()
	_, err := c.link.Write(frames)
	return err
}

func appendFrame(b []byte, kind, flags byte, id uint32, payload []byte) []byte {
	n := len(payload)
	b = append(b, byte(n>>16), byte(n>>8), byte(n), kind, flags)
	b = binary.BigEndian.AppendUint32(b, id)
	return append(b, payload...)
}
