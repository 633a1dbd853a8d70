package retryablehttp

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"reflect"
	"strings"
	"sync"
	"sync/atomic"
)

// ReaderFunc opens a body. It is called once for each attempt, and again when a redirect
// or HTTP/2 sends the body a second time. Each reader must be independent of the others;
// it is closed after the attempt if it is an [io.Closer]. The length of the body is the
// reader's Len(), or what follows its offset if it is an [io.Seeker]; otherwise the body
// is sent without a Content-Length.
type ReaderFunc func() (io.Reader, error)

// LenReader is a reader that knows how many bytes it has left, such as
// [bytes.Reader], [strings.Reader] and [bytes.Buffer].
type LenReader interface {
	Len() int
}

// ErrBodyLength is matched by the error of an attempt whose body was shorter or longer
// than its declared length. [DefaultRetryPolicy] does not retry it.
var ErrBodyLength = errors.New("request body does not have its declared length")

func lengthError(declared, got int64) error {
	return fmt.Errorf("%w: %d bytes declared, %d found", ErrBodyLength, declared, got)
}

// ErrInvalidRead is matched by the error of an attempt whose body returned a count from
// Read or ReadAt that is negative or larger than the buffer.
var ErrInvalidRead = errors.New("invalid read of the request body")

func invalidCount(n, size int) error {
	return fmt.Errorf("%w: it returned %d for a buffer of %d bytes", ErrInvalidRead, n, size)
}

// bodyFunc is the type of http.Request.GetBody: it opens the body from its start.
type bodyFunc = func() (io.ReadCloser, error)

// openBody calls a bodyFunc and holds it to its contract.
func openBody(open bodyFunc) (io.ReadCloser, error) {
	body, err := open()
	if err != nil {
		return nil, err
	}
	if body == nil {
		return nil, errors.New("GetBody returned neither a body nor an error")
	}
	return body, nil
}

// requestBody holds the values of http.Request's fields Body, GetBody and ContentLength.
type requestBody struct {
	reader io.ReadCloser
	open   bodyFunc
	length int64      // 0 beside a reader means unknown
	given  *givenBody // of reader, nil if there is none
}

// noBody is the GetBody of a request that was made without a body. A hook may call it.
func noBody() (io.ReadCloser, error) { return http.NoBody, nil }

// getBody returns r.GetBody, nil if it does not belong to r.Body because that was set
// after a request was made without a body.
func getBody(r *http.Request) bodyFunc {
	if r.GetBody == nil || sameFunc(r.GetBody, noBody) {
		return nil
	}
	return r.GetBody
}

// sameFunc reports whether two functions have the same code. What they captured may
// differ.
func sameFunc[F any](a, b F) bool {
	return reflect.ValueOf(a).Pointer() == reflect.ValueOf(b).Pointer()
}

// newBody returns the request body for a value that Request.SetBody accepts.
func newBody(rawBody any) (requestBody, error) {
	if isNil(rawBody) {
		return requestBody{}, fmt.Errorf("retryablehttp: cannot handle nil %T", rawBody)
	}
	switch raw := rawBody.(type) {
	case nil:
		return requestBody{open: noBody}, nil
	case []byte:
		return inMemory(*bytes.NewReader(raw)), nil
	case *bytes.Buffer:
		return inMemory(*bytes.NewReader(raw.Bytes())), nil
	case *bytes.Reader:
		return inMemory(*raw), nil
	case string:
		return inMemory(*strings.NewReader(raw)), nil
	case *strings.Reader:
		return inMemory(*raw), nil
	case ReaderFunc:
		return fromFunc(raw), nil
	case func() (io.Reader, error):
		return fromFunc(raw), nil
	case io.Reader:
		if raw == http.NoBody {
			return requestBody{reader: http.NoBody, open: noBody}, nil
		}
		return fromReader(raw)
	}
	return requestBody{}, fmt.Errorf("retryablehttp: cannot handle type %T, want a []byte, a string, an io.Reader or a function that returns one", rawBody)
}

func isNil(v any) bool {
	switch value := reflect.ValueOf(v); value.Kind() {
	case reflect.Pointer, reflect.Func:
		return value.IsNil()
	}
	return false
}

// inMemory returns a body of one of the standard library's in-memory readers, which
// net/http recognizes and sends in one write with the header.
func inMemory[R any, P interface {
	*R
	io.Reader
	LenReader
}](start R) requestBody {
	length := P(&start).Len()
	if length == 0 {
		return requestBody{reader: http.NoBody, open: noBody}
	}
	open := func() (io.ReadCloser, error) {
		r := start
		return io.NopCloser(P(&r)), nil
	}
	first, _ := open()
	return requestBody{reader: first, open: open, length: int64(length), given: &givenBody{body: first, made: open}}
}

// fromFunc returns a body that is opened by fn.
func fromFunc(fn ReaderFunc) requestBody {
	return lazily(func() (io.ReadCloser, error) {
		reader, err := fn()
		if err != nil {
			return nil, err
		}
		if reader == nil || isNil(reader) {
			return nil, errors.New("body function returned neither a reader nor an error")
		}
		body, ok := reader.(io.ReadCloser)
		if !ok {
			body = io.NopCloser(reader)
		}
		return measured(body), nil
	}, 0)
}

// fromReader returns a body of a reader that is not one of the standard library's
// in-memory readers.
func fromReader(raw io.Reader) (requestBody, error) {
	seeker, ok := raw.(io.ReadSeeker)
	if !ok {
		return fromPlainReader(raw), nil
	}
	if file, ok := raw.(*os.File); ok {
		if info, err := file.Stat(); err == nil && info.IsDir() {
			return requestBody{}, fmt.Errorf("retryablehttp: cannot send directory %s", file.Name())
		}
	}
	start, size, err := remaining(seeker)
	switch {
	case err != nil: // a pipe, for example
		return fromPlainReader(raw), nil
	case size == 0:
		return requestBody{reader: http.NoBody, open: noBody}, nil
	}
	if readerAt, ok := raw.(io.ReaderAt); ok {
		return lazily(func() (io.ReadCloser, error) {
			return io.NopCloser(io.NewSectionReader(readerAt, start, size)), nil
		}, size), nil
	}
	source := &seekerAt{source: seeker, start: start, turn: make(turn, 1)}
	body := lazily(func() (io.ReadCloser, error) {
		return io.NopCloser(io.NewSectionReader(source.forAttempt(), start, size)), nil
	}, size)
	body.reader.(*lazyBody).nextAttempt = source.nextAttempt
	return body, nil
}

// fromPlainReader returns a body that can be read only once.
func fromPlainReader(raw io.Reader) requestBody {
	body, ok := raw.(io.ReadCloser)
	if _, file := raw.(*os.File); !ok || file { // a caller's file stays open
		body = io.NopCloser(raw)
	}
	var length int64
	if sized, ok := raw.(LenReader); ok {
		length = int64(sized.Len())
	}
	return requestBody{reader: body, length: length, given: &givenBody{body: body, readAhead: true}}
}

// sectionOf returns the part of body from its current offset to its end, nil if it cannot
// be read from more than one place at once.
func sectionOf(body io.Reader) *io.SectionReader {
	readerAt, ok := body.(io.ReaderAt)
	seeker, isSeeker := body.(io.Seeker)
	if !ok || !isSeeker {
		return nil
	}
	start, size, err := remaining(seeker)
	if err != nil {
		return nil
	}
	return io.NewSectionReader(readerAt, start, size)
}

var errUnknownSize = errors.New("size is unknown")

// remaining returns the offset of s and the number of bytes from there to its end. It
// fails for files that have another size than they say, as in /proc and /sys.
func remaining(s io.Seeker) (start, size int64, err error) {
	if start, err = s.Seek(0, io.SeekCurrent); err != nil {
		return 0, 0, err
	}
	end, err := s.Seek(0, io.SeekEnd)
	if err != nil {
		return 0, 0, err
	}
	if _, err = s.Seek(start, io.SeekStart); err != nil {
		return 0, 0, err
	}
	size = max(end-start, 0)
	if file, ok := s.(*os.File); ok {
		// The last byte must be there, and none may follow if there is none at all.
		n, err := file.ReadAt(make([]byte, 1), max(end-1, start))
		if hasByte := n == 1; hasByte != (size > 0) && (err == nil || err == io.EOF) {
			return 0, 0, errUnknownSize
		}
	}
	return start, size, nil
}

// seekerAt reads an io.ReadSeeker at any offset, for the current attempt.
type seekerAt struct {
	source  io.ReadSeeker
	start   int64        // where every attempt begins
	attempt atomic.Int32 // whose readers may read
	turn    turn         // held to seek and read
	at      int64        // the offset of source
}

// forAttempt returns a reader that fails when the attempt is over.
func (s *seekerAt) forAttempt() io.ReaderAt {
	attempt := s.attempt.Load()
	return readerAtFunc(func(p []byte, offset int64) (int, error) {
		s.turn.take()
		defer s.turn.release()
		if s.attempt.Load() != attempt {
			return 0, errSuperseded
		}
		return s.readAt(p, offset)
	})
}

func (s *seekerAt) nextAttempt() bool {
	s.attempt.Add(1)
	return true
}

func (s *seekerAt) readAt(p []byte, offset int64) (int, error) {
	if offset != s.at || offset == s.start {
		if _, err := s.source.Seek(offset, io.SeekStart); err != nil {
			return 0, fmt.Errorf("rewinding the request body: %w", err)
		}
	}
	n, err := s.source.Read(p)
	s.at = offset + int64(n)
	return n, err
}

type readerAtFunc func(p []byte, offset int64) (int, error)

func (f readerAtFunc) ReadAt(p []byte, offset int64) (int, error) { return f(p, offset) }

// lazyBody is the Body field of a request whose every attempt opens the body. It opens
// the body itself for those who send the request without this package.
type lazyBody struct {
	open        bodyFunc
	nextAttempt func() bool // as in callBody
	once        sync.Once   // sets the rest, at the first Read or Close
	body        io.ReadCloser
	err         error
}

func lazily(open bodyFunc, length int64) requestBody {
	lazy := &lazyBody{open: open}
	return requestBody{reader: lazy, open: open, length: length, given: &givenBody{body: lazy, made: open}}
}

func (b *lazyBody) Read(p []byte) (int, error) {
	b.once.Do(func() { b.body, b.err = openBody(b.open) })
	if b.err != nil {
		return 0, b.err
	}
	return b.body.Read(p)
}

func (b *lazyBody) Close() error {
	b.once.Do(func() { b.err = http.ErrBodyReadAfterClose })
	if b.body == nil {
		return nil
	}
	return b.body.Close()
}

// measured returns a body that knows its length, as far as a ReaderFunc's reader tells it.
// A file that grows is sent up to the size it has now.
func measured(body io.ReadCloser) io.ReadCloser {
	reader := withoutNopCloser(body)
	var size int64
	known := false
	if sized, ok := reader.(LenReader); ok {
		size = int64(sized.Len())
		known = size > 0 || standardReader(reader) // others may have more later
	} else if seeker, ok := reader.(io.Seeker); ok {
		start, n, err := remaining(seeker)
		size, known = n, err == nil
		if file, ok := reader.(*os.File); ok && known {
			body = &fileBody{Closer: body, file: file, end: start + size}
		}
	}
	if known && size == 0 {
		body.Close()
		return http.NoBody
	}
	return &sentBody{ReadCloser: body, length: size, ofFunc: true}
}

// readCloser is a body that is read from one value and closed by another.
type readCloser struct {
	io.Reader
	io.Closer
}

// standardReader reports whether r is one of the in-memory readers that net/http sends in
// one write with the header. Reading one never blocks.
func standardReader(r io.Reader) bool {
	switch r.(type) {
	case *bytes.Reader, *strings.Reader, *bytes.Buffer:
		return true
	}
	return false
}

// sameBody reports whether a and b are the same value. Values of a type without
// equality are not.
func sameBody(a, b io.ReadCloser) (same bool) {
	defer func() { recover() }()
	return a == b
}

func hasBody(r *http.Request) bool { return r.Body != nil && r.Body != http.NoBody }
