package retryablehttp

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"reflect"
	"sync"
)

// ErrNotReplayable is matched by the error of a call that would have been retried, had
// more of its one-shot body not been read than [Client.ReplayMax] lets it keep.
var ErrNotReplayable = errors.New("request body cannot be sent again")

// defaultReplayMax is what Client.ReplayMax means by 0.
const defaultReplayMax = 1 << 20

// A stream is a request body that can be read only once. What has been read of it is
// kept, as long as that is not more than max, so that the next attempt can send it
// again and go on from there.
//
// The readers of successive attempts share the source, and those of an attempt that is
// over have no say. Within an attempt there may be several, when a hook looks at the
// body before it is sent, or a redirect sends it again: the last one to have started
// reads on, and opening another shuts it off. A read that is still under way then is not
// lost: its bytes are kept for the next.
type stream struct {
	source *measuredBody

	turn sync.Mutex // held to read from source

	mu      sync.Mutex // guards the rest; never held while reading or closing source
	max     int64
	kept    chunks
	read    int64       // from source, so far
	lost    bool        // an attempt has taken more than may be kept
	end     error       // why there is no more to read: io.EOF or a failure
	attempt int         // whose readers have a say
	open    int         // readers of the attempt that are not closed
	active  *streamBody // the last of them to have started reading
	over    bool        // the call is; a reader may still be sending
	closed  bool        // source is, or is about to be
}

// newStream makes a stream of a body whose declared length is 0 if it is unknown.
func newStream(body io.ReadCloser, length int64) *stream {
	if length <= 0 {
		length = -1
	}
	return &stream{source: &measuredBody{source: body, length: length}}
}

// oneShot reports whether r has a body that can be sent only once: there is no GetBody,
// or that of a request that was made without a body and was given one since.
func oneShot(r *http.Request) bool {
	return r.Body != nil && r.Body != http.NoBody &&
		(r.GetBody == nil || reflect.ValueOf(r.GetBody).Pointer() == noBodyFunc)
}

var noBodyFunc = reflect.ValueOf(noBody).Pointer()

// allow lets maxKept bytes be kept, unless more were allowed before.
func (s *stream) allow(maxKept int64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.max = max(s.max, maxKept)
}

// attach gives a copy of r that has the stream as its body.
func (s *stream) attach(r *http.Request) *http.Request {
	s.mu.Lock()
	defer s.mu.Unlock()
	copied := *r
	copied.Body, copied.GetBody = &lazyBody{getBody: s.reader}, s.reader
	if s.end == io.EOF && len(r.Trailer) == 0 { // trailers go out in chunks only
		if copied.ContentLength = s.read; s.read == 0 {
			copied.Body, copied.GetBody = http.NoBody, noBody
		}
	}
	return &copied
}

// readAhead reads as much as may be kept, so that a body that is no longer is known
// whole. When ctx is done it stops waiting for a source that has nothing to give.
func (s *stream) readAhead(ctx context.Context) error {
	body, err := s.reader()
	if err != nil {
		return err
	}
	defer body.Close()
	body.(*streamBody).ahead = true
	if ctx.Done() == nil {
		return s.fill(body)
	}
	done := make(chan error, 1)
	go func() { done <- s.fill(body) }()
	select {
	case err := <-done:
		return err
	case <-ctx.Done():
		return ctx.Err()
	}
}

// fill reads until no more may be kept, and then one byte besides, which shows whether
// that was all.
func (s *stream) fill(body io.Reader) error {
	buf := make([]byte, 16<<10)
	for probed := false; !probed; {
		s.mu.Lock()
		most, room, end := s.max, s.max-s.read, s.end
		s.mu.Unlock()
		if end != nil && end != io.EOF {
			return end
		}
		if end == io.EOF || most == 0 {
			return nil
		}
		if probed = room <= 0; probed {
			room = 1
		}
		if _, err := body.Read(buf[:min(room, int64(len(buf)))]); err == errSuperseded {
			return err
		}
	}
	return nil
}

// reader gives a reader of the whole body. It is a bodyFunc.
func (s *stream) reader() (io.ReadCloser, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.lost || s.closed && s.end == nil {
		return nil, s.gone()
	}
	s.active = nil
	s.open++
	return &streamBody{stream: s, attempt: s.attempt}, nil
}

func (s *stream) gone() error {
	return fmt.Errorf("%w: %d bytes of it have been read", ErrNotReplayable, s.read)
}

// hold shuts all readers off, before a retry, and reports whether there can be one.
func (s *stream) hold() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.shutOff()
	return !s.lost
}

func (s *stream) shutOff() {
	s.attempt++
	s.open, s.active = 0, nil
}

// failure is the error that the source has given, which it will give to every attempt.
func (s *stream) failure() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.end == io.EOF {
		return nil
	}
	return s.end
}

// finish ends the call. One that is answered early may still be sending; otherwise
// nobody reads on.
func (s *stream) finish(answered bool) {
	s.mu.Lock()
	s.over = true
	if !answered {
		s.shutOff()
	}
	unread := s.open == 0
	s.mu.Unlock()
	if unread {
		s.close()
	}
}

func (s *stream) close() error {
	s.mu.Lock()
	closed := s.closed
	s.closed = true
	s.mu.Unlock()
	if closed {
		return nil
	}
	return s.source.Close()
}

// streamBody is a body of one attempt.
type streamBody struct {
	stream  *stream
	attempt int
	ahead   bool // reads ahead, for no attempt

	at      position // guarded by stream.mu, as are the rest
	started bool
	closed  bool
}

func (b *streamBody) Read(p []byte) (int, error) {
	if n, err, done := b.replay(p); done {
		return n, err
	}
	b.stream.turn.Lock()
	defer b.stream.turn.Unlock()
	if n, err, done := b.replay(p); done { // what a shut-off reader still had under way
		return n, err
	}
	return b.advance(p)
}

// replay reads what is kept. It reports false when the source has to be read.
func (b *streamBody) replay(p []byte) (n int, err error, done bool) {
	s := b.stream
	s.mu.Lock()
	defer s.mu.Unlock()
	switch {
	case s.attempt != b.attempt || b.started && s.active != b:
		return 0, errSuperseded, true
	case b.closed && s.over:
		return 0, http.ErrBodyReadAfterClose, true
	}
	b.started, s.active = true, b
	switch {
	case s.lost && b.at.n < s.read:
		return 0, s.gone(), true
	case b.at.n < s.read:
		n = s.kept.read(p, &b.at)
		s.lost = s.lost || b.at.n > s.max
		if b.at.n == s.read && s.end == io.EOF {
			err = io.EOF
		}
		return n, err, true
	}
	return 0, s.end, s.end != nil || len(p) == 0
}

// advance reads from the source, whose turn is held.
func (b *streamBody) advance(p []byte) (int, error) {
	s := b.stream
	n, err := s.source.Read(p)
	s.mu.Lock()
	s.read += int64(n)
	s.end = err
	current := s.active == b
	if s.lost = s.lost || s.read > s.max && current && !b.ahead; s.lost {
		s.kept = chunks{}
		b.at.n = s.read
	} else {
		s.kept.append(p[:n])
		s.kept.skip(&b.at, n)
	}
	s.mu.Unlock()
	if err != nil {
		s.close()
	}
	if !current {
		return 0, errSuperseded
	}
	return n, err
}

// Close tells that the attempt is through with the body. The source stays open for
// another, unless the call is over.
func (b *streamBody) Close() error {
	s := b.stream
	s.mu.Lock()
	if !b.closed && s.attempt == b.attempt {
		s.open--
	}
	b.closed = true
	last := s.over && s.attempt == b.attempt && s.open == 0
	s.mu.Unlock()
	if last {
		return s.close()
	}
	return nil
}

// chunks keeps bytes without ever copying them to grow.
type chunks struct{ list [][]byte }

const (
	minChunk = 512
	maxChunk = 256 << 10
)

func (c *chunks) append(p []byte) {
	for len(p) > 0 {
		if len(c.list) == 0 || len(c.list[len(c.list)-1]) == cap(c.list[len(c.list)-1]) {
			size := minChunk
			if len(c.list) > 0 {
				size = min(2*cap(c.list[len(c.list)-1]), maxChunk)
			}
			c.list = append(c.list, make([]byte, 0, max(size, min(len(p), maxChunk))))
		}
		last := &c.list[len(c.list)-1]
		n := min(cap(*last)-len(*last), len(p))
		*last = append(*last, p[:n]...)
		p = p[n:]
	}
}

// position is a place in chunks; n is its distance from the start.
type position struct {
	chunk, offset int
	n             int64
}

// read copies from one chunk.
func (c *chunks) read(p []byte, at *position) int {
	c.settle(at)
	n := copy(p, c.list[at.chunk][at.offset:])
	at.offset += n
	at.n += int64(n)
	return n
}

// skip moves over n bytes.
func (c *chunks) skip(at *position, n int) {
	at.n += int64(n)
	for n > 0 {
		c.settle(at)
		step := min(len(c.list[at.chunk])-at.offset, n)
		at.offset += step
		n -= step
	}
}

// settle moves from the end of a full chunk to the start of the next.
func (c *chunks) settle(at *position) {
	if at.offset == len(c.list[at.chunk]) && at.chunk+1 < len(c.list) {
		at.chunk, at.offset = at.chunk+1, 0
	}
}
