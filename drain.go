package retryablehttp

import (
	"io"
	"net/http"
	"sync"
	"time"
)

const (
	// drainMax is how much of a failed response's body is read, so that its connection can
	// be used again, and kept, in case the response turns out to be the last.
	drainMax = 64 << 10

	// drainTime is how long the reading may take before a retry. It overlaps with the
	// wait, so it is shorter when the wait is.
	drainTime = 100 * time.Millisecond

	// drainGrace is how long the reading may take when the wait is shorter. Without it, a
	// retry that does not wait could never use the connection again.
	drainGrace = 5 * time.Millisecond

	// lastBodyTime is how long the body of the last response may take before the call
	// fails, urgentBodyTime how long it may if the call is to end at once.
	lastBodyTime   = time.Second
	urgentBodyTime = 5 * time.Millisecond
)

// drain reads the start of a failed response's body, closes the body, and replaces it by
// what was read. Reading ends at the time limit, or when canceled is closed. A body that
// takes longer costs its connection.
func (c *call) drain(a *attempt, limit time.Duration, canceled <-chan struct{}) {
	if a.resp == nil || a.drained || a.resp.Body == http.NoBody {
		return
	}
	a.drained = true
	start := &bodyStart{buf: c.past.drained.takeBuffer()}
	c.past.drained = start
	if a.transportBody != nil && sameBody(a.transportBody, withoutContext(a.resp.Body)) {
		a.drainHere(start, limit)
	} else {
		a.drainBeside(start, limit, canceled)
	}
	a.resp.Body = start
	if a.ctx != nil {
		a.ctx.release()
	}
}

// drainHere reads a body of *http.Transport in the call's own goroutine. Closing such a
// body ends a read that is under way.
func (a *attempt) drainHere(start *bodyStart, limit time.Duration) {
	body, closer := a.resp.Body, a.transportBody
	timer := time.AfterFunc(limit, func() { closer.Close() })
	start.readFrom(body, a.resp.ContentLength)
	if !timer.Stop() {
		start.cut()
	}
	body.Close()
}

// drainBeside reads any other body in a goroutine of its own. Such a body may not be closed
// while it is read, so a read that takes too long is ended by the attempt's context. Only
// a body that does not heed it is closed after all.
func (a *attempt) drainBeside(start *bodyStart, limit time.Duration, canceled <-chan struct{}) {
	body, announced, done := a.resp.Body, a.resp.ContentLength, make(chan struct{})
	closeBody := sync.OnceFunc(func() { body.Close() })
	var panicked any
	go func() {
		defer close(done)
		defer func() { panicked = recover() }()
		defer closeBody()
		start.readFrom(body, announced)
	}()
	timer := time.NewTimer(limit)
	defer timer.Stop()
	select {
	case <-done:
		if panicked != nil {
			panic(panicked)
		}
		return
	case <-timer.C:
	case <-canceled:
	}
	start.cut()
	if a.ctx != nil {
		a.ctx.end(errBodyCut)
	}
	time.AfterFunc(drainTime, func() {
		select {
		case <-done:
		default:
			closeBody()
		}
	})
}

// bodyStart is what was read of a body, and how it ended. It is the body from then on.
type bodyStart struct {
	buf  []byte // for all that is read
	mu   sync.Mutex
	data []byte // of buf, not yet read from it
	end  error  // nil while it is being read
}

// takeBuffer takes the buffer of a body that nobody needs any more, because another
// attempt has followed. A body that was cut may still be written to.
func (s *bodyStart) takeBuffer() []byte {
	if s == nil {
		return nil
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.end == errBodyCut {
		return nil
	}
	s.data, s.end = nil, http.ErrBodyReadAfterClose
	return s.buf
}

// readFrom reads up to drainMax bytes of a body that announces a length, -1 for none.
func (s *bodyStart) readFrom(body io.Reader, announced int64) {
	if announced < 0 {
		announced = 4 << 10
	}
	buf, size := s.buf, min(announced+1, drainMax) // one more, to see the end
	if buf = buf[:min(cap(buf), drainMax)]; int64(len(buf)) < size {
		buf = make([]byte, size)
	}
	for n, more := 0, true; more; {
		if n == len(buf) && n < drainMax {
			buf = append(buf, make([]byte, min(len(buf), drainMax-len(buf)))...)
		}
		s.buf = buf
		// A connection can be used again when the end of the body was seen. A read of no
		// bytes finds an end that is next.
		read, err := body.Read(buf[n:])
		if n == drainMax && err == nil {
			err = io.EOF // as far as it is kept
		}
		n += min(max(read, 0), len(buf)-n)
		more = s.set(buf[:n], err)
	}
}

// set records what was read so far. It reports whether to go on.
func (s *bodyStart) set(data []byte, end error) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.end != nil {
		return false
	}
	s.data, s.end = data, end
	return end == nil
}

// cut ends the reading, unless it has ended in good order.
func (s *bodyStart) cut() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.end != io.EOF {
		s.end = errBodyCut
	}
}

// Read reads what was kept, and then fails as the reading did.
func (s *bodyStart) Read(p []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	n := copy(p, s.data)
	if n == 0 && len(p) > 0 {
		return 0, s.end
	}
	s.data = s.data[n:]
	return n, nil
}

func (s *bodyStart) Close() error { return nil }
