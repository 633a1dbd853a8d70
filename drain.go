package retryablehttp

import (
	"bytes"
	"context"
	"io"
	"net/http"
	"reflect"
	"runtime"
	"slices"
	"strings"
	"sync"
	"time"
)

const (
	// drainMax is how much of a refused response is read, so that its connection
	// can serve again, and kept, in case it turns out to be the last.
	drainMax = 64 << 10

	// drainTime is how long the reading may take before a retry. It runs while
	// the call waits, so it is shorter when the wait is.
	drainTime = 100 * time.Millisecond

	// drainGrace is how long the reading may take even when the wait is shorter, and
	// again for as long as more arrives in it, up to drainGraceMax. Without it, a retry
	// that does not wait could never reuse its connection.
	drainGrace    = 5 * time.Millisecond
	drainGraceMax = 10 * time.Millisecond

	// urgentBodyTime is how long the body of the last response may take when the
	// call is to end at once.
	urgentBodyTime = 5 * time.Millisecond

	// lastBodyTime is how long the body of the last response may take when the
	// call gives up with nothing pressing.
	lastBodyTime = time.Second
)

// A drain reads a response body in the background, whatever that body does: one
// that blocks for good costs its own goroutine and connection, and nobody waits for
// it. What was read is kept until discard.
type drain struct {
	body io.ReadCloser
	done chan struct{} // closed when the body has been read and closed

	mu        sync.Mutex
	kept      []byte
	end       error // why reading ended: io.EOF, also at drainMax, or a failure
	abandoned bool
}

// startDrain returns nil if no connection waits for the body to be read.
func startDrain(resp *http.Response) *drain {
	if resp == nil || resp.Body == http.NoBody || inMemory(resp.Body) {
		return nil
	}
	d := drains.Get().(*drain)
	d.body, d.done = resp.Body, make(chan struct{})
	go d.run()
	return d
}

// inMemory recognises the bodies of responses that no network was needed for: an
// io.NopCloser, as transports for tests and caches give it, around a reader over
// memory. Reading or closing one has no effect on anything else.
func inMemory(body io.ReadCloser) bool {
	t := reflect.TypeOf(body)
	if t != nopCloser && t != nopCloserWriterTo {
		return false
	}
	switch reflect.ValueOf(body).Field(0).Interface().(type) {
	case *strings.Reader, *bytes.Reader, *bytes.Buffer:
		return true
	}
	return false
}

// io.NopCloser gives a type of its own to a reader that has a WriteTo method.
var (
	nopCloser         = reflect.TypeOf(io.NopCloser(struct{ io.Reader }{}))
	nopCloserWriterTo = reflect.TypeOf(io.NopCloser(new(bytes.Buffer)))
)

// drains keeps drains for their buffers.
var drains = sync.Pool{New: func() any { return new(drain) }}

func (d *drain) run() {
	var err error
	for more := true; more && err == nil; {
		more, err = d.readSome()
	}
	d.mu.Lock()
	d.end = err
	if err == nil { // past drainMax
		d.end = io.EOF
	}
	abandoned := d.abandoned
	d.mu.Unlock()
	if !abandoned {
		d.body.Close()
	}
	close(d.done)
}

// readSome reads once. It reports false when no more should be read.
func (d *drain) readSome() (bool, error) {
	// Only this goroutine moves kept, so its spare room can be filled without
	// the lock, which then publishes it.
	if len(d.kept) == cap(d.kept) && len(d.kept) < drainMax {
		grown := slices.Grow(d.kept, max(512, len(d.kept)))
		d.mu.Lock()
		d.kept = grown
		d.mu.Unlock()
	}
	room := d.kept[len(d.kept):min(cap(d.kept), drainMax)]
	if len(room) == 0 {
		// Full. A connection must have seen the end of the body to be reused; reading
		// nothing finds the end that is next.
		_, err := d.body.Read(room)
		return false, err
	}
	n, err := d.body.Read(room)
	d.mu.Lock()
	defer d.mu.Unlock()
	d.kept = d.kept[:len(d.kept)+n]
	return !d.abandoned, err
}

// abandon ends a drain that took too long. It returns at once: closing a body may
// block, as reading it may.
func (d *drain) abandon() {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.end != nil || d.abandoned {
		return
	}
	d.abandoned = true
	go d.body.Close()
}

// arrived is how much has been read so far.
func (d *drain) arrived() int {
	d.mu.Lock()
	defer d.mu.Unlock()
	return len(d.kept)
}

// keep makes what was read the body of resp.
func (d *drain) keep(resp *http.Response) {
	if d == nil {
		return
	}
	d.abandon()
	d.mu.Lock()
	defer d.mu.Unlock()
	end := d.end
	if end == nil {
		end = errBodyCut
	}
	resp.Body = &keptBody{data: d.kept[:len(d.kept):len(d.kept)], end: end}
}

// errBodyCut ends the body of a response that was given up on before it was whole.
var errBodyCut error = &timeoutError{"response body took too long and was cut off"}

// discard gives the memory back. The drain must not be used afterwards.
func (d *drain) discard() {
	if d == nil {
		return
	}
	select {
	case <-d.done:
		*d = drain{kept: d.kept[:0]}
		drains.Put(d)
	default: // still being read into
	}
}

// keptBody serves the bytes that were kept of a body, and then how it ended.
type keptBody struct {
	data []byte
	end  error
}

func (b *keptBody) Read(p []byte) (int, error) {
	if len(b.data) == 0 {
		return 0, b.end
	}
	n := copy(p, b.data)
	b.data = b.data[n:]
	return n, nil
}

func (b *keptBody) Close() error { return nil }

// pause waits until wait is over or ctx is done, draining the response meanwhile. It
// returns the drain, nil if there was nothing to read.
func pause(ctx context.Context, resp *http.Response, wait time.Duration) *drain {
	d := startDrain(resp)
	if d == nil && wait <= 0 {
		return nil
	}
	if d != nil && wait <= 0 {
		runtime.Gosched() // what does not block is read before a timer could be set
		select {
		case <-d.done:
			return d
		default:
		}
	}
	began := time.Now()
	first := wait
	if d != nil {
		first = min(max(wait, drainGrace), drainTime)
	}
	timer := time.NewTimer(first)
	defer timer.Stop()
	if d != nil {
		for arrived := 0; ; {
			select {
			case <-d.done:
			case <-timer.C:
				if n := d.arrived(); wait < drainGrace && n > arrived && time.Since(began) < drainGraceMax {
					arrived = n
					timer.Reset(drainGrace)
					continue
				}
				d.abandon()
			case <-ctx.Done():
				return d
			}
			break
		}
		if wait -= time.Since(began); wait <= 0 {
			return d
		}
		timer.Reset(wait)
	}
	select {
	case <-timer.C:
	case <-ctx.Done():
	}
	return d
}

// holdLast reads the last response's body for an error to carry, for at most limit.
func holdLast(ctx context.Context, resp *http.Response, limit time.Duration) {
	d := startDrain(resp)
	if d == nil {
		return
	}
	timer := time.NewTimer(limit)
	defer timer.Stop()
	done := ctx.Done()
	if ctx.Err() != nil {
		done = nil // it has ended the call already; limit is short
	}
	select {
	case <-d.done:
	case <-timer.C:
	case <-done:
	}
	d.keep(resp)
}
