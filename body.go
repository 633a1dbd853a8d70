package retryablehttp

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"reflect"
	"sync"
)

// Request is an [http.Request] whose body can be sent again. Everything that holds
// for the embedded request holds here; only the body is different: it is not in
// the Body field but behind GetBody, and each attempt gets a reader of its own.
//
// Sending a Request does not modify it, so it may be sent again, also at the
// same time, unless its body is a one-shot Body that the caller has set.
type Request struct {
	*http.Request

	responseHandler ResponseHandlerFunc

	// bodySpent tells that Request.Body, which can be sent once, has been:
	// from then on GetBody serves every attempt.
	bodySpent bool
}

// ReaderFunc makes a body reader. It is called once for each attempt (and again
// when a redirect or HTTP/2 sends a body a second time) and must give a reader
// that is independent of those given before. A reader that is an [io.Closer] is
// closed when the attempt is through with it. The length of the body is taken from
// a Len() int method, or from the size of a regular file or section; otherwise the
// body goes out without a Content-Length.
type ReaderFunc func() (io.Reader, error)

// LenReader is a reader that knows how many bytes it has left, such as
// [bytes.Reader], [strings.Reader] and [bytes.Buffer].
type LenReader interface {
	Len() int
}

// ResponseHandlerFunc looks at a response that the policy has accepted, and may
// read its body. If it returns an error the policy is asked again, with that
// error; a retry may follow.
type ResponseHandlerFunc func(*http.Response) error

// ErrBodyLength is matched by the error of an attempt whose body turned out
// shorter or longer than its declared length. Such an attempt is not repeated by
// [DefaultRetryPolicy].
var ErrBodyLength = errors.New("request body does not have its declared length")

// NewRequest is [NewRequestWithContext] with [context.Background].
func NewRequest(method, url string, rawBody any) (*Request, error) {
	return NewRequestWithContext(context.Background(), method, url, rawBody)
}

// NewRequestWithContext makes a request as [http.NewRequestWithContext] does,
// with a body of any kind that [Request.SetBody] takes. URLs in its errors are
// redacted.
func NewRequestWithContext(ctx context.Context, method, url string, rawBody any) (*Request, error) {
	httpReq, err := http.NewRequestWithContext(ctx, method, url, nil)
	if err != nil {
		return nil, redactParseError(err)
	}
	req := &Request{Request: httpReq}
	if err := req.setBody(rawBody); err != nil {
		return nil, err
	}
	return req, nil
}

// FromRequest wraps a request that was made for net/http, without modifying it.
// If it has a GetBody, the first attempt sends Body and the later ones what
// GetBody gives, and nothing is read here. If it has only a Body, that is read
// whole and closed here.
func FromRequest(r *http.Request) (*Request, error) {
	if r == nil {
		return nil, errNilRequest
	}
	r, err := replayable(r)
	if err != nil {
		return nil, err
	}
	return &Request{Request: r}, nil
}

// WithContext returns a shallow copy of the request with its context changed to
// ctx, which must not be nil. Body and response handler are those of the original.
func (r *Request) WithContext(ctx context.Context) *Request {
	copied := *r
	copied.Request = r.Request.WithContext(ctx)
	return &copied
}

// SetResponseHandler sets a function that examines each accepted response before
// the call returns it; nil removes it.
func (r *Request) SetResponseHandler(fn ResponseHandlerFunc) {
	r.responseHandler = fn
}

// SetBody gives the request a body, with GetBody and ContentLength to match. It
// takes
//
//   - nil and [http.NoBody]: no body;
//   - []byte and string: sent without a copy, so the caller must leave the bytes
//     alone until the call is over;
//   - [*bytes.Buffer]: the bytes unread now; the buffer is not consumed;
//   - a reader that is an [io.ReaderAt] and an [io.Seeker], such as
//     [*bytes.Reader], [*strings.Reader], [*io.SectionReader] and a regular
//     [*os.File]: from its current offset to its end, by ReadAt, without moving
//     the offset; it is not closed;
//   - any other [io.ReadSeeker]: from its current offset to its end; every
//     attempt seeks back there; it is not closed;
//   - [ReaderFunc] and func() (io.Reader, error): called for each attempt;
//   - any other [io.Reader]: read whole here, and closed if it is an [io.Closer].
//
// Everything else, and a nil pointer or function of these types, is an error,
// upon which the request is as it was.
func (r *Request) SetBody(rawBody any) error {
	// The embedded request may be one that was handed to FromRequest, and that
	// is not ours to change.
	copied := *r.Request
	own := Request{Request: &copied}
	if err := own.setBody(rawBody); err != nil {
		return err
	}
	r.Request, r.bodySpent = own.Request, false
	return nil
}

func (r *Request) setBody(rawBody any) error {
	getBody, length, err := bodySource(rawBody)
	if err != nil {
		return err
	}
	r.Body, r.GetBody, r.ContentLength = nil, getBody, length
	return nil
}

// BodyBytes returns the whole body, nil if there is none. It reads a reader of its
// own, so the request can still be sent.
func (r *Request) BodyBytes() ([]byte, error) {
	if !r.hasBody() {
		return nil, nil
	}
	var buf bytes.Buffer
	if _, err := r.WriteTo(&buf); err != nil {
		return nil, err
	}
	return buf.Bytes(), nil
}

// WriteTo writes the whole body to w and returns the number of bytes written. It
// reads a reader of its own, so the request can still be sent.
func (r *Request) WriteTo(w io.Writer) (int64, error) {
	if !r.hasBody() {
		return 0, nil
	}
	if r.GetBody == nil { // a Body that the caller has set
		buffered, err := replayable(r.Request)
		if err != nil {
			return 0, err
		}
		r.Request = buffered
	}
	body, err := open(r.GetBody)
	if err != nil {
		return 0, err
	}
	n, err := io.Copy(w, body)
	if closeErr := body.Close(); err == nil {
		err = closeErr
	}
	return n, err
}

func (r *Request) hasBody() bool {
	return r.GetBody != nil || r.Body != nil && r.Body != http.NoBody
}

// replayable returns r itself if its body can be sent again, and otherwise a copy
// whose body has been read into memory and is served by GetBody. The body is
// closed on every path.
func replayable(r *http.Request) (*http.Request, error) {
	if r.Body == nil || r.Body == http.NoBody || r.GetBody != nil {
		return r, nil
	}
	data, err := readAll(r.Body)
	if err != nil {
		return nil, err
	}
	if declared := r.ContentLength; declared > 0 && declared != int64(len(data)) {
		return nil, lengthError(declared, int64(len(data)))
	}
	copied := *r
	copied.Body = nil
	copied.GetBody, copied.ContentLength = memory(data)
	return &copied, nil
}

func readAll(body io.Reader) ([]byte, error) {
	data, err := io.ReadAll(body)
	if closer, ok := body.(io.Closer); ok {
		if closeErr := closer.Close(); err == nil {
			err = closeErr
		}
	}
	if err != nil {
		return nil, fmt.Errorf("reading the request body: %w", err)
	}
	return data, nil
}

// bodyFunc is the type of http.Request.GetBody: it opens the body from its start.
type bodyFunc = func() (io.ReadCloser, error)

// open calls a bodyFunc and holds it to its contract.
func open(getBody bodyFunc) (io.ReadCloser, error) {
	body, err := getBody()
	if err != nil {
		return nil, err
	}
	if body == nil {
		return nil, errors.New("GetBody returned neither a body nor an error")
	}
	return body, nil
}

// openBody gives a request that is about to be sent its body.
func openBody(req *http.Request) error {
	body, err := open(req.GetBody)
	if err != nil {
		return err
	}
	req.Body = body
	if measured, ok := body.(*measuredBody); ok && req.ContentLength == 0 && measured.length > 0 {
		req.ContentLength = measured.length // a ReaderFunc's, known only now
	}
	return nil
}

// bodySource turns a raw body into a function that opens it and its length, 0 for
// none or, beside a non-nil function, unknown (as in http.Request.ContentLength).
func bodySource(rawBody any) (bodyFunc, int64, error) {
	if isNilPointer(rawBody) {
		return nil, 0, fmt.Errorf("cannot handle nil %T", rawBody)
	}
	switch raw := rawBody.(type) {
	case nil:
		return nil, 0, nil
	case []byte:
		get, n := memory(raw)
		return get, n, nil
	case string:
		get, n := memory(raw)
		return get, n, nil
	case *bytes.Buffer:
		get, n := memory(raw.Bytes())
		return get, n, nil
	case ReaderFunc:
		return fromReaderFunc(raw), 0, nil
	case func() (io.Reader, error):
		return fromReaderFunc(raw), 0, nil
	case io.Reader:
		if raw == http.NoBody {
			return nil, 0, nil
		}
		return readerSource(raw)
	default:
		return nil, 0, fmt.Errorf("cannot handle type %T", rawBody)
	}
}

func readerSource(raw io.Reader) (bodyFunc, int64, error) {
	// A file that cannot seek (a pipe, a terminal) is a plain reader.
	if seeker, ok := raw.(io.ReadSeeker); ok {
		if at, remaining, err := extent(seeker); err == nil {
			if readerAt, ok := raw.(io.ReaderAt); ok {
				get, n := section(readerAt, at, remaining)
				return get, n, nil
			}
			get, n := rewind(seeker, at, remaining)
			return get, n, nil
		}
	}
	data, err := readAll(raw)
	if err != nil {
		return nil, 0, err
	}
	get, n := memory(data)
	return get, n, nil
}

// extent tells the offset of a seeker and how many bytes follow it.
func extent(s io.Seeker) (at, remaining int64, err error) {
	if at, err = s.Seek(0, io.SeekCurrent); err != nil {
		return 0, 0, err
	}
	end, err := s.Seek(0, io.SeekEnd)
	if err != nil {
		return 0, 0, err
	}
	if _, err = s.Seek(at, io.SeekStart); err != nil {
		return 0, 0, err
	}
	return at, max(end-at, 0), nil
}

func isNilPointer(v any) bool {
	rv := reflect.ValueOf(v)
	switch rv.Kind() {
	case reflect.Pointer, reflect.Func:
		return rv.IsNil()
	}
	return false
}

func lengthError(declared, got int64) error {
	return fmt.Errorf("%w: %d bytes declared, %d found", ErrBodyLength, declared, got)
}

func noBody() (io.ReadCloser, error) { return http.NoBody, nil }

// memory serves data, which it does not copy.
func memory[T []byte | string](data T) (bodyFunc, int64) {
	if len(data) == 0 {
		return noBody, 0
	}
	return func() (io.ReadCloser, error) {
		return &memoryBody[T]{unread: data}, nil
	}, int64(len(data))
}

type memoryBody[T []byte | string] struct{ unread T }

func (b *memoryBody[T]) Read(p []byte) (int, error) {
	n := copy(p, b.unread)
	b.unread = b.unread[n:]
	if len(b.unread) == 0 {
		return n, io.EOF
	}
	return n, nil
}

func (b *memoryBody[T]) Close() error { return nil }

// section serves n bytes of source from offset at. Its readers share nothing
// but source, which an io.ReaderAt allows.
func section(source io.ReaderAt, at, n int64) (bodyFunc, int64) {
	if n == 0 {
		return noBody, 0
	}
	return func() (io.ReadCloser, error) {
		return &sectionBody{source: source, at: at, end: at + n}, nil
	}, n
}

type sectionBody struct {
	source  io.ReaderAt
	at, end int64
}

func (b *sectionBody) Read(p []byte) (int, error) {
	remaining := b.end - b.at
	if remaining <= 0 {
		return 0, io.EOF
	}
	if int64(len(p)) > remaining {
		p = p[:remaining]
	}
	n, err := b.source.ReadAt(p, b.at)
	b.at += int64(n)
	if err == io.EOF && b.at < b.end {
		// The source has shrunk. An EOF here could pass for the end of the
		// body where its length is not checked (HTTP/2 leaves that to the
		// server).
		return n, fmt.Errorf("%w: ended %d bytes early", ErrBodyLength, b.end-b.at)
	}
	if b.at == b.end && (err == nil || err == io.EOF) {
		return n, io.EOF
	}
	return n, err
}

func (b *sectionBody) Close() error { return nil }

// rewind serves n bytes from offset at of a seeker that cannot be read at two
// places at once. Only the newest reader may touch it: opening one waits for a
// read that is under way and then shuts the older readers off, so that the
// transport of an attempt that is over cannot take bytes from the next.
func rewind(source io.ReadSeeker, at, n int64) (bodyFunc, int64) {
	if n == 0 {
		return noBody, 0
	}
	shared := &rewindSource{source: source}
	return func() (io.ReadCloser, error) {
		shared.mu.Lock()
		defer shared.mu.Unlock()
		if _, err := source.Seek(at, io.SeekStart); err != nil {
			return nil, fmt.Errorf("rewinding the request body: %w", err)
		}
		shared.newest = &rewindReader{shared: shared}
		return &measuredBody{source: shared.newest, length: n}, nil
	}, n
}

type rewindSource struct {
	mu     sync.Mutex
	source io.ReadSeeker
	newest *rewindReader
}

// rewindReader has no Close: a seeker given as a raw body stays open.
type rewindReader struct{ shared *rewindSource }

var errSuperseded = errors.New("request body was rewound for a later attempt")

func (r *rewindReader) Read(p []byte) (int, error) {
	r.shared.mu.Lock()
	defer r.shared.mu.Unlock()
	if r.shared.newest != r {
		return 0, errSuperseded
	}
	return r.shared.source.Read(p)
}

// fromReaderFunc opens a body by calling fn, and measures it if it can be measured.
func fromReaderFunc(fn ReaderFunc) bodyFunc {
	return func() (io.ReadCloser, error) {
		reader, err := fn()
		if err != nil {
			return nil, err
		}
		if reader == nil || isNilPointer(reader) {
			return nil, errors.New("body function returned neither a reader nor an error")
		}
		body := &measuredBody{source: reader, length: readerLength(reader)}
		if body.length == 0 {
			return http.NoBody, body.Close()
		}
		return body, nil
	}
}

// readerLength tells how much a reader has left, -1 if it cannot be known.
func readerLength(reader io.Reader) int64 {
	switch reader := reader.(type) {
	case LenReader:
		return int64(reader.Len())
	case io.Seeker:
		if _, remaining, err := extent(reader); err == nil {
			return remaining
		}
	}
	return -1
}

// measuredBody delivers exactly length bytes or an error that matches
// ErrBodyLength. A negative length is unknown and not checked.
type measuredBody struct {
	source io.Reader
	length int64
	read   int64
}

func (b *measuredBody) Read(p []byte) (int, error) {
	n, err := b.source.Read(p)
	if n < 0 || n > len(p) {
		return 0, fmt.Errorf("request body: Read returned %d for a buffer of %d bytes", n, len(p))
	}
	if b.length < 0 {
		return n, err
	}
	before := b.read
	b.read += int64(n)
	if b.read > b.length {
		return int(max(b.length-before, 0)), lengthError(b.length, b.read)
	}
	if err == io.EOF && b.read < b.length {
		return n, lengthError(b.length, b.read)
	}
	return n, err
}

func (b *measuredBody) Close() error {
	if closer, ok := b.source.(io.Closer); ok {
		return closer.Close()
	}
	return nil
}
