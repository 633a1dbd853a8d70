package retryablehttp

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"math"
	"net/http"
	"os"
	"reflect"
	"sync"
	"sync/atomic"
)

// Request is an [http.Request] whose body can be sent again. Everything that holds
// for the embedded request holds here; only the body is different: where the kind of
// body permits it, it is behind GetBody, and each attempt gets a reader of its own. (The
// Body field serves those who send the embedded request without this package.)
//
// Such a Request may be sent again, also at the same time, unless its body is an
// [io.ReadSeeker] that is no [io.ReaderAt]: that one can be read at one place only, and the
// newest reader has it. One whose body can be read only once, and therefore is in the Body
// field alone, can be sent again, but not at the same time, as long as all of it is kept.
type Request struct {
	*http.Request

	responseHandler ResponseHandlerFunc

	// given is what has become of a Body that the caller has given. Copies of the
	// request share the Body, and so they share this.
	given *givenBody
}

// givenBody is the state of a Body that is not one of this package's readers.
type givenBody struct {
	body io.ReadCloser

	// spent tells that the Body, beside a GetBody, was sent: from then on GetBody
	// serves every attempt.
	spent atomic.Bool

	// stream is what a Body without a GetBody becomes.
	once   sync.Once
	stream *stream
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

// FromRequest wraps a request that was made for net/http, without modifying it or
// reading its body. If it has a GetBody, the first attempt sends Body and the later
// ones what GetBody gives. If it has only a Body, that is streamed, and kept to be sent
// again as far as [Client.ReplayMax] allows.
func FromRequest(r *http.Request) (*Request, error) {
	if r == nil {
		return nil, errNilRequest
	}
	req := &Request{Request: r}
	req.share()
	return req, nil
}

// WithContext returns a shallow copy of the request with its context changed to
// ctx, which must not be nil. Body and response handler are those of the original.
func (r *Request) WithContext(ctx context.Context) *Request {
	r.share()
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
//   - any other [io.Reader]: streamed, and kept to be sent again as far as
//     [Client.ReplayMax] allows; closed, once, if it is an [io.Closer] other than an
//     [*os.File]; its length is taken from a Len() int method, or found out if it is
//     no longer than is kept.
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
	r.Request, r.given = own.Request, own.given
	return nil
}

func (r *Request) setBody(rawBody any) error {
	body, getBody, length, err := bodySource(rawBody)
	if err != nil {
		return err
	}
	r.Body, r.GetBody, r.ContentLength = body, getBody, length
	switch {
	case body == nil && getBody != nil:
		r.Body = &lazyBody{getBody: getBody}
	case body == nil:
		r.GetBody = noBody // so that a hook need not ask whether there is one
	}
	r.share()
	return nil
}

// share returns the state of the Body, nil if it needs none, and makes it where it is
// missing or is that of an earlier Body.
func (r *Request) share() *givenBody {
	if _, ours := r.Body.(interface{ take() bool }); ours || r.Body == nil || r.Body == http.NoBody {
		return nil
	}
	if r.given == nil || !sameBody(r.given.body, r.Body) {
		r.given = &givenBody{body: r.Body}
	}
	return r.given
}

func sameBody(a, b io.ReadCloser) (same bool) {
	same = true
	defer func() { recover() }() // from comparing two of a type that has no equality
	return a == b
}

// takeBody reports whether the next attempt may send Body itself: it has not been sent.
func (r *Request) takeBody() bool {
	if ours, ok := r.Body.(interface{ take() bool }); ok {
		return ours.take()
	}
	given := r.share()
	return given == nil || !given.spent.Swap(true)
}

// oneShot returns the stream of a Body without a GetBody, nil if there is none.
func (r *Request) oneShot() *stream {
	if !oneShot(r.Request) {
		return nil
	}
	given := r.share()
	if given == nil {
		return nil
	}
	given.once.Do(func() { given.stream = newStream(r.Body, r.ContentLength) })
	return given.stream
}

// BodyBytes returns the whole body, nil if there is none. The request can still be
// sent: a body that can be read only once is kept whole from then on.
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

// WriteTo writes the whole body to w and returns the number of bytes written. The
// request can still be sent: a body that can be read only once is kept whole from then
// on.
func (r *Request) WriteTo(w io.Writer) (int64, error) {
	if !r.hasBody() {
		return 0, nil
	}
	getBody := r.GetBody
	if stream := r.oneShot(); stream != nil {
		stream.allow(math.MaxInt64)
		getBody = stream.reader
	}
	body, err := open(getBody)
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
	return r.Body != nil && r.Body != http.NoBody
}

// lazyBody stands in the Body field for a body that every attempt opens by GetBody. It
// opens it itself for a transport that is given the request without a call of this
// package. As with other bodies, Close may be called while Read is under way.
type lazyBody struct {
	getBody bodyFunc

	mu   sync.Mutex    // not held while reading
	body io.ReadCloser // once it is read
	err  error         // instead of a body
}

// take reports that no attempt sends the stand-in.
func (b *lazyBody) take() bool { return false }

func (b *lazyBody) Read(p []byte) (int, error) {
	b.mu.Lock()
	if b.body == nil && b.err == nil {
		b.body, b.err = open(b.getBody)
	}
	body, err := b.body, b.err
	b.mu.Unlock()
	if err != nil {
		return 0, err
	}
	return body.Read(p)
}

func (b *lazyBody) Close() error {
	b.mu.Lock()
	body := b.body
	if body == nil {
		b.err = http.ErrBodyReadAfterClose
	}
	b.mu.Unlock()
	if body == nil {
		return nil
	}
	return body.Close()
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
	if measured, ok := body.(*measuredBody); ok {
		if r, ok := measured.source.(*rewindReader); ok {
			r.claim()
		}
	}
	req.Body = body
	fitBody(req)
	return nil
}

// needsFit reports whether fitBody has something to do. The first attempt of a
// RoundTripper sends the bodies that http.NewRequest makes as they are, without a copy of
// the request: unless check is set, what is in memory is taken to have its length.
func needsFit(req *http.Request, check bool) bool {
	switch body := req.Body.(type) {
	case *measuredBody:
		return req.ContentLength == 0 && body.length > 0
	case nil, *sectionBody, *memoryBody[[]byte], *memoryBody[string], *streamBody:
		return false // cannot be shorter or longer than they say
	}
	return req.ContentLength > 0 && req.URL.Scheme == "https" && req.Body != http.NoBody &&
		(check || !inMemory(req.Body))
}

// fitBody makes the body of a request and its declared length fit. A ReaderFunc's length
// is known only now. The body of somebody else's GetBody may turn out shorter than was
// declared: HTTP/1 finds that out, and can use a file as it is; HTTP/2 leaves it to the
// server, whose answer makes net/http send the request again and again.
func fitBody(req *http.Request) {
	if !needsFit(req, true) {
		return
	}
	if measured, ok := req.Body.(*measuredBody); ok {
		req.ContentLength = measured.length
		return
	}
	req.Body = &measuredBody{source: req.Body, length: req.ContentLength}
}

// bodySource turns a raw body into a function that opens it or, where it can be read
// only once, into a body; and its length, which is 0 for none and, with a body or a
// function, for an unknown one (as in http.Request.ContentLength).
func bodySource(rawBody any) (io.ReadCloser, bodyFunc, int64, error) {
	if isNilPointer(rawBody) {
		return nil, nil, 0, fmt.Errorf("cannot handle nil %T", rawBody)
	}
	var getBody bodyFunc
	var length int64
	switch raw := rawBody.(type) {
	case nil:
	case []byte:
		return memory(raw)
	case string:
		return memory(raw)
	case *bytes.Buffer:
		return memory(raw.Bytes())
	case ReaderFunc:
		getBody = fromReaderFunc(raw)
	case func() (io.Reader, error):
		getBody = fromReaderFunc(raw)
	case io.Reader:
		if raw == http.NoBody {
			break
		}
		var ok bool
		if getBody, length, ok = seekable(raw); !ok {
			return readOnce(raw)
		}
	default:
		return nil, nil, 0, fmt.Errorf("cannot handle type %T", rawBody)
	}
	return nil, getBody, length, nil
}

// seekable opens a reader that can be read from the same place again.
func seekable(raw io.Reader) (bodyFunc, int64, bool) {
	seeker, ok := raw.(io.ReadSeeker)
	if !ok {
		return nil, 0, false
	}
	at, remaining, err := extent(seeker)
	if err != nil { // a pipe or a terminal, though an *os.File
		return nil, 0, false
	}
	if file, ok := raw.(*os.File); ok && remaining == 0 {
		if n, _ := file.ReadAt(make([]byte, 1), at); n > 0 { // a device, or a file of /proc
			return nil, 0, false
		}
	}
	var getBody bodyFunc
	if readerAt, ok := raw.(io.ReaderAt); ok {
		getBody, remaining = section(readerAt, at, remaining)
	} else {
		getBody, remaining = rewind(seeker, at, remaining)
	}
	return getBody, remaining, true
}

// readOnce makes a body of a plain reader, as http.NewRequest does.
func readOnce(raw io.Reader) (io.ReadCloser, bodyFunc, int64, error) {
	body, ok := raw.(io.ReadCloser)
	if _, file := raw.(*os.File); !ok || file { // a caller's file stays open, a pipe too
		body = io.NopCloser(raw)
	}
	if sized, ok := raw.(LenReader); ok {
		if sized.Len() == 0 {
			return nil, noBody, 0, body.Close()
		}
		return body, nil, int64(sized.Len()), nil
	}
	return body, nil, 0, nil
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

// ErrInvalidRead is matched by the error of an attempt whose body's Read or ReadAt has
// returned a count that is negative or larger than the buffer.
var ErrInvalidRead = errors.New("request body")

func readError(n, size int) error {
	return fmt.Errorf("%w: Read returned %d for a buffer of %d bytes", ErrInvalidRead, n, size)
}

func lengthError(declared, got int64) error {
	return fmt.Errorf("%w: %d bytes declared, %d found", ErrBodyLength, declared, got)
}

func noBody() (io.ReadCloser, error) { return http.NoBody, nil }

// memory serves data, which it does not copy. With the function comes a first reader,
// for the Body field, so that an attempt can do without a copy of the request.
func memory[T []byte | string](data T) (io.ReadCloser, bodyFunc, int64, error) {
	if len(data) == 0 {
		return nil, noBody, 0, nil
	}
	return &memoryBody[T]{data: data}, func() (io.ReadCloser, error) {
		return &memoryBody[T]{data: data}, nil
	}, int64(len(data)), nil
}

type memoryBody[T []byte | string] struct {
	data  T
	at    int
	taken atomic.Bool
}

// take reserves an unread reader for one attempt. It reports false to all but the first
// call, also of copies of the request, which share it.
func (b *memoryBody[T]) take() bool { return !b.taken.Swap(true) && b.at == 0 }

func (b *memoryBody[T]) Read(p []byte) (int, error) {
	n := copy(p, b.data[b.at:])
	if b.at += n; b.at == len(b.data) {
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
	if n < 0 || n > len(p) {
		return 0, readError(n, len(p))
	}
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
// places at once. Opening a reader waits for a read that is under way and then shuts
// off the reader that made it, so that the transport of an attempt that is over cannot
// take bytes from the next. Within an attempt one that has not begun may begin when no
// newer one is being read: a hook may look at a body through GetBody before it is sent.
func rewind(source io.ReadSeeker, at, n int64) (bodyFunc, int64) {
	if n == 0 {
		return noBody, 0
	}
	shared := &rewindSource{source: source, at: at}
	return func() (io.ReadCloser, error) {
		shared.mu.Lock()
		defer shared.mu.Unlock()
		if err := shared.rewind(); err != nil {
			return nil, err
		}
		shared.active = nil
		shared.opened++
		return &measuredBody{source: &rewindReader{shared: shared, nth: shared.opened}, length: n}, nil
	}, n
}

type rewindSource struct {
	mu     sync.Mutex
	source io.ReadSeeker
	at     int64
	opened int           // readers so far
	oldest int           // of the attempt that is made
	active *rewindReader // the last to have begun
}

func (s *rewindSource) rewind() error {
	if _, err := s.source.Seek(s.at, io.SeekStart); err != nil {
		return fmt.Errorf("rewinding the request body: %w", err)
	}
	return nil
}

type rewindReader struct {
	shared *rewindSource
	nth    int
	begun  bool
	ended  atomic.Bool
}

var errSuperseded = errors.New("request body was rewound for a later attempt")

func (r *rewindReader) Read(p []byte) (int, error) {
	s := r.shared
	s.mu.Lock()
	defer s.mu.Unlock()
	if other := s.active; other != r {
		if r.begun || r.nth < s.oldest || other != nil && other.nth > r.nth && !other.ended.Load() {
			return 0, errSuperseded
		}
		if err := s.rewind(); err != nil {
			return 0, err
		}
		r.begun, s.active = true, r
	}
	n, err := s.source.Read(p)
	if err != nil {
		r.ended.Store(true)
	}
	return n, err
}

// claim shuts off the readers opened before, which are those of earlier attempts.
func (r *rewindReader) claim() {
	r.shared.mu.Lock()
	defer r.shared.mu.Unlock()
	r.shared.oldest = r.nth
}

// Close leaves the source open, which was given as a raw body, and does not wait for a
// read that is under way.
func (r *rewindReader) Close() error {
	r.ended.Store(true)
	return nil
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
		return 0, readError(n, len(p))
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
