package retryablehttp

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"sync"
	"sync/atomic"
	"time"
)

// ErrNotReplayable is matched by the error of a call that could not be retried because
// more of its body had been read than [Client.ReplayMax] allows to keep.
var ErrNotReplayable = errors.New("request body cannot be sent again")

const (
	// readAheadMax is how much of a stream is read before the first attempt, so that a
	// short one has a Content-Length.
	readAheadMax = 1 << 20

	// readAheadPatience is how long reading ahead waits for a source that has nothing to
	// give: its writer may be waiting for the server's reaction.
	readAheadPatience = 200 * time.Millisecond
)

// stream is a request body that the caller has given as an open reader. It is read under
// one lock and kept as it is read, so that each attempt has a reader that begins at its
// start. It is closed once, when the call is over and no attempt reads it.
type stream struct {
	source  io.ReadCloser
	section *io.SectionReader // source, if it can be read at any offset: nothing is kept

	turn turn // held to read source

	mu      sync.Mutex // guards the rest; not held while source is read or closed
	max     int64      // how much may be kept
	kept    chunks
	read    int64         // bytes read from source
	end     error         // why source has no more: io.EOF or a failure
	sole    *streamReader // the one reader that can go on, once nothing is kept
	attempt int           // whose readers may read
	readers int           // of that attempt, which are open
	reading int           // reads of source that are under way; more than one only of sections
	over    bool          // the call is; a reader may still be sending
	closed  bool          // source is, or is about to be
	unwatch func() bool   // ends what watch began, nil if there is nothing
}

func newStream(body io.ReadCloser) *stream {
	return &stream{source: body, section: sectionOf(withoutNopCloser(body)), turn: make(turn, 1)}
}

// keep allows n bytes to be kept, unless more were allowed before.
func (s *stream) keep(n int64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.max = max(s.max, n)
}

// newReader returns a reader of the whole body. It serves as GetBody. net/http may drop such
// a reader without closing it, so a reader counts as open from its first Read, or from use.
func (s *stream) newReader() (io.ReadCloser, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	switch {
	case s.sole != nil, s.closed && s.end == nil:
		return nil, s.gone()
	case s.section == nil && s.end == io.EOF && len(s.kept) <= 1:
		// Short and complete: net/http sends it in one write with the header.
		return io.NopCloser(bytes.NewReader(s.kept.first())), nil
	}
	r := &streamReader{stream: s, attempt: s.attempt}
	if s.section != nil {
		r.section = io.NewSectionReader(s.section.Outer())
	}
	return r, nil
}

func (s *stream) gone() error {
	return fmt.Errorf("%w: %d bytes of it have been read", ErrNotReplayable, s.read)
}

// nextAttempt ends the readers of earlier attempts and reports whether the body can be
// sent again.
func (s *stream) nextAttempt() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.attempt++
	s.readers = 0
	return s.sole == nil
}

// sourceErr returns the error of source, which every attempt would meet again.
func (s *stream) sourceErr() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.end == io.EOF {
		return nil
	}
	return s.end
}

// complete returns the length of the body if it has been read to its end.
func (s *stream) complete() (length int64, ok bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.read, s.end == io.EOF
}

// finish ends the call. If it was answered, its transport may still be sending and closes
// the source when it is through. Otherwise the source is closed: at once if interrupt is
// set, else after a read that is under way.
func (s *stream) finish(answered, interrupt bool) {
	if !answered {
		s.nextAttempt()
	}
	s.mu.Lock()
	s.over = true
	s.mu.Unlock()
	s.closeUnused(interrupt)
}

// watch makes the end of ctx close source, also if a transport is still sending it. Only
// that ends a read that has nothing to give.
func (s *stream) watch(ctx context.Context) {
	if ctx.Done() == nil {
		return
	}
	stop := context.AfterFunc(ctx, func() { s.finish(false, true) })
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.unwatch != nil {
		s.unwatch()
	}
	s.unwatch = stop
}

// closeUnused closes source if the call is over and nothing reads it.
func (s *stream) closeUnused(interrupt bool) error {
	s.mu.Lock()
	unused := s.over && !s.closed && s.readers == 0 && (s.reading == 0 || interrupt)
	s.closed = s.closed || unused
	if s.closed && s.over && s.unwatch != nil {
		s.unwatch()
		s.unwatch = nil
	}
	s.mu.Unlock()
	if !unused {
		return nil
	}
	return s.source.Close()
}

// readAhead reads up to limit bytes of source, and one more, which shows whether that was
// all. It returns early when ctx is done or source has nothing to give; reading goes on
// then, and what is read is kept. It panics if source does.
func (s *stream) readAhead(ctx context.Context, limit int64) error {
	r := &streamReader{stream: s, ahead: true}
	done := make(chan error, 1)
	var last atomic.Int64 // when source gave something
	last.Store(int64(now()))
	go func() {
		buf := make([]byte, 4<<10)
		var err error
		for read := int64(0); read <= limit && err == nil; {
			var n int
			if n, err = r.Read(buf[:min(limit-read+1, int64(len(buf)))]); n > 0 {
				last.Store(int64(now()))
			}
			read += int64(n)
		}
		done <- err
	}()
	timer := time.NewTimer(readAheadPatience)
	defer timer.Stop()
	for {
		select {
		case err := <-done:
			repanic(err)
			return s.sourceErr()
		case <-ctx.Done():
			return ctx.Err()
		case <-timer.C:
			silent := now() - time.Duration(last.Load())
			if silent >= readAheadPatience {
				return nil
			}
			timer.Reset(readAheadPatience - silent)
		}
	}
}

// streamReader reads the body from its start, for one attempt.
type streamReader struct {
	stream  *stream
	section *io.SectionReader // of the whole stream; nil if it has no sections
	attempt int
	ahead   bool // reads ahead, for no attempt

	at     int64 // guarded by stream.mu, as are the others
	open   bool
	closed bool
}

var errSuperseded = errors.New("request body is read by a later attempt")

// use counts the reader as open.
func (r *streamReader) use() {
	r.stream.mu.Lock()
	defer r.stream.mu.Unlock()
	if !r.open && !r.closed && !r.ahead && r.attempt == r.stream.attempt {
		r.open = true
		r.stream.readers++
	}
}

func (r *streamReader) Read(p []byte) (int, error) {
	r.use()
	if r.section != nil {
		r.stream.setReading(1)
		defer r.stream.closeUnused(false)
		defer r.stream.setReading(-1)
		return r.section.Read(p)
	}
	if n, err, ok := r.readKept(p); ok {
		return n, err
	}
	r.stream.turn.take()
	defer r.stream.turn.release()
	if n, err, ok := r.readKept(p); ok { // by another reader, meanwhile
		return n, err
	}
	return r.readSource(p)
}

// readKept reads what is kept. It reports false if source has to be read.
func (r *streamReader) readKept(p []byte) (n int, err error, ok bool) {
	s := r.stream
	s.mu.Lock()
	defer s.mu.Unlock()
	switch {
	case r.attempt != s.attempt:
		return 0, errSuperseded, true
	case r.closed && s.over, s.closed && s.end == nil:
		return 0, http.ErrBodyReadAfterClose, true
	case s.sole != nil && s.sole != r:
		return 0, s.gone(), true
	case r.at < s.read:
		n = s.kept.readAt(p, r.at)
		r.at += int64(n)
		s.takes(r)
		return n, nil, true
	}
	return 0, s.end, s.end != nil || len(p) == 0
}

// takes records that a reader has read up to r.at. When that is more than may be kept, no
// other reader can be served.
func (s *stream) takes(r *streamReader) {
	if r.at > s.max && !r.ahead {
		s.sole = r
	}
}

// readSource reads from source, whose turn is held.
func (r *streamReader) readSource(p []byte) (n int, err error) {
	s := r.stream
	s.setReading(1)
	defer s.closeUnused(false)
	defer s.setReading(-1)
	result := readSafely(s.source, p)
	n, err = result.n, result.err
	if n < 0 || n > len(p) {
		n, err = 0, invalidCount(n, len(p))
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.read += int64(n)
	s.end = err
	if current := r.attempt == s.attempt; !current {
		r.stream.kept.append(p[:n]) // for the attempt that is current now
		return 0, errSuperseded
	}
	r.at = s.read
	if s.takes(r); s.sole == nil {
		s.kept.append(p[:n])
	} else {
		s.kept = nil
	}
	return n, err
}

func (s *stream) setReading(change int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.reading += change
}

// Close ends the use of the body by the attempt. The source is closed when the call is over
// and no reader is open.
func (r *streamReader) Close() error {
	s := r.stream
	s.mu.Lock()
	if r.open && r.attempt == s.attempt {
		s.readers--
	}
	r.open, r.closed = false, true
	s.mu.Unlock()
	return s.closeUnused(false)
}

// turn is a lock to be held while somebody else's code runs: unlike waiting for a
// sync.Mutex, waiting for it lets the time of a testing/synctest bubble go on.
type turn chan struct{}

func (t turn) take()    { t <- struct{}{} }
func (t turn) release() { <-t }

// chunks holds bytes in pieces of chunkSize, of which only the last is shorter, so that
// they need not be copied when more come.
type chunks [][]byte

const chunkSize = 64 << 10

func (c *chunks) append(p []byte) {
	for len(p) > 0 {
		last := len(*c) - 1
		if last < 0 || len((*c)[last]) == chunkSize {
			*c = append(*c, make([]byte, 0, min(chunkSize, max(len(p), len(*c)*chunkSize))))
			last++
		}
		n := min(chunkSize-len((*c)[last]), len(p))
		(*c)[last] = append((*c)[last], p[:n]...)
		p = p[n:]
	}
}

// readAt copies bytes from offset on, as far as they are in one chunk.
func (c chunks) readAt(p []byte, offset int64) int {
	return copy(p, c[offset/chunkSize][offset%chunkSize:])
}

func (c chunks) first() []byte {
	if len(c) == 0 {
		return nil
	}
	return c[0]
}
