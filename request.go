package retryablehttp

import (
	"bytes"
	"context"
	"io"
	"math"
	"net/http"
	"sync"
	"sync/atomic"

	"github.com/a0b132ce/retryablehttp/internal/redact"
)

// Request is an [http.Request] whose body can be sent again. Create one with [NewRequest] or
// [FromRequest]; &Request{} is an error of the call. A Request may be sent any number of
// times, also at the same time unless [Client.PrepareRetry] is set. The exceptions are an
// [io.ReadSeeker] that is not an [io.ReaderAt], and a body that can be read only once (see
// [Request.SetBody]): they can be sent again after the call, but not at the same time.
type Request struct {
	*http.Request

	responseHandler ResponseHandlerFunc
	given           *givenBody // state of Body; copies of the request share it
}

// ResponseHandlerFunc examines a response that the policy has accepted, and may read its
// body. The policy is then asked again, with the error that the handler returned; a
// retry may follow.
type ResponseHandlerFunc func(*http.Response) error

// NewRequest is [NewRequestWithContext] with [context.Background].
func NewRequest(method, url string, rawBody any) (req *Request, err error) {
	// This and NewRequestWithContext are short enough to be inlined, so that the Request
	// need not be allocated.
	req = &Request{}
	if err = req.init(background, method, url, rawBody); err != nil {
		req = nil
	}
	return
}

var background = context.Background()

// NewRequestWithContext returns a request as [http.NewRequestWithContext] does, with a
// body of any kind that [Request.SetBody] accepts. URLs in its errors are redacted.
func NewRequestWithContext(ctx context.Context, method, url string, rawBody any) (req *Request, err error) {
	req = &Request{}
	if err = req.init(ctx, method, url, rawBody); err != nil {
		req = nil
	}
	return
}

func (r *Request) init(ctx context.Context, method, url string, rawBody any) error {
	req, err := http.NewRequestWithContext(ctx, method, url, nil)
	if err != nil {
		return redact.ParseError(err)
	}
	r.Request = req
	return r.setBody(rawBody)
}

// FromRequest wraps r, which is not modified; its body is not read. If r has a GetBody,
// the first attempt sends Body and the later ones what GetBody returns. A Body without
// GetBody is sent as [Request.SetBody] says, but never read before it is sent, and
// closed when the call is over.
func FromRequest(r *http.Request) (*Request, error) {
	if r == nil {
		return nil, errNilRequest
	}
	req := &Request{Request: r}
	req.body()
	return req, nil
}

// WithContext returns a shallow copy of the request with its context changed to ctx,
// which must not be nil. The copy has the same body and response handler.
func (r *Request) WithContext(ctx context.Context) *Request {
	return &Request{Request: r.Request.WithContext(ctx), responseHandler: r.responseHandler, given: r.given}
}

// Clone returns a deep copy of the request, as [http.Request.Clone] does, with its
// context changed to ctx, which must not be nil. The copy has the same body and response
// handler.
func (r *Request) Clone(ctx context.Context) *Request {
	return &Request{Request: r.Request.Clone(ctx), responseHandler: r.responseHandler, given: r.given}
}

// SetResponseHandler sets a function that examines each response that the policy accepts
// before the call returns it; nil removes it.
func (r *Request) SetResponseHandler(fn ResponseHandlerFunc) {
	r.responseHandler = fn
}

// SetBody sets the body, and GetBody and ContentLength to match. It accepts
//
//   - nil and [http.NoBody]: no body;
//   - []byte and string: sent without a copy. Do not change the bytes before the call has
//     returned and the response's body is closed, because an attempt that was answered
//     early may still be reading them;
//   - [*bytes.Buffer]: the unread bytes; the buffer is not consumed. The rule for []byte
//     applies;
//   - a reader that is an [io.ReaderAt] and an [io.Seeker], such as
//     [*bytes.Reader], [*strings.Reader], [*io.SectionReader] and a regular
//     [*os.File]: from its current offset to its current end, by ReadAt, without
//     moving the offset. A file at its end is an empty body. It is not closed;
//   - any other [io.ReadSeeker]: from its current offset to its end. It is moved, not
//     closed, and must not be used elsewhere until the call is over;
//   - [ReaderFunc] and func() (io.Reader, error): called for each attempt;
//   - any other [io.Reader], and files without a fixed size such as pipes: streamed,
//     and kept to be sent again as far as [Client.ReplayMax] allows. It is closed once
//     if it is an [io.Closer] but not an [*os.File]. Its Content-Length is its Len()
//     if it has that method, else its length if it ends within the first 1 MiB, or
//     within ReplayMax if that is less. The call reads that much before it sends
//     anything, and stops reading when nothing has come for 200 ms.
//
// Other types, a nil pointer or function of these types, and a directory are an error,
// upon which the request is unchanged.
//
// A Body that is assigned afterwards is sent instead, as a body that can be read only once
// unless GetBody is assigned too.
func (r *Request) SetBody(rawBody any) error {
	// The embedded request may be one that was given to FromRequest.
	copied := *r.Request
	own := Request{Request: &copied, responseHandler: r.responseHandler}
	if err := own.setBody(rawBody); err != nil {
		return err
	}
	*r = own
	return nil
}

func (r *Request) setBody(rawBody any) error {
	body, err := newBody(rawBody)
	if err != nil {
		return err
	}
	r.Body, r.GetBody, r.ContentLength, r.given = body.reader, body.open, body.length, body.given
	return nil
}

// BodyBytes returns the whole body, nil if there is none. The request can still be sent:
// a body that can be read only once is kept whole from then on.
func (r *Request) BodyBytes() ([]byte, error) {
	if !hasBody(r.Request) {
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
	if !hasBody(r.Request) {
		return 0, nil
	}
	given := r.body()
	open := given.getBody(r.Request)
	if open == nil {
		stream := given.asStream()
		stream.keep(math.MaxInt64)
		open = stream.newReader
	}
	body, err := openBody(open)
	if err != nil {
		return 0, err
	}
	n, err := io.Copy(w, body)
	if closeErr := body.Close(); err == nil {
		err = closeErr
	}
	return n, err
}

// givenBody is a request body and what was done with it.
type givenBody struct {
	body      io.ReadCloser
	made      bodyFunc    // the GetBody that SetBody has made, nil if it has made none
	stale     bool        // made belongs to an earlier body
	sent      atomic.Bool // an attempt has sent body itself
	readAhead bool        // a stream may be read before it is sent

	once   sync.Once
	stream *stream // what a body without a GetBody becomes
}

// body returns the state of Body, which is new if Body was assigned after SetBody or
// FromRequest.
func (r *Request) body() *givenBody {
	if r.given != nil && sameBody(r.given.body, r.Body) {
		return r.given
	}
	given := &givenBody{body: r.Body}
	if old := r.given; old != nil && r.GetBody != nil && sameFunc(r.GetBody, old.made) {
		given.made, given.stale = old.made, true
	}
	r.given = given
	return given
}

// getBody returns the GetBody of r, nil if it does not belong to the body.
func (g *givenBody) getBody(r *http.Request) bodyFunc {
	if g.stale {
		return nil
	}
	return getBody(r)
}

func (g *givenBody) asStream() *stream {
	g.once.Do(func() { g.stream = newStream(g.body) })
	return g.stream
}

// callBody opens the request body for the attempts of one call.
type callBody struct {
	asGiven   bool     // the next attempt sends Request.Body as it is
	open      bodyFunc // opens the body of the others, nil if there is none
	stream    *stream  // what open reads, if the body was given as an open reader
	readAhead bool     // the stream may be read before it is sent

	// nextAttempt ends the readers of earlier attempts and reports whether the body can be
	// sent again. It is nil if each reader is independent.
	nextAttempt func() bool
}

// callBody returns the body for a call that sends r.
func (r *Request) callBody() callBody {
	if _, lazy := r.Body.(*lazyBody); lazy || !hasBody(r.Request) {
		return bodyOf(r.Request)
	}
	given := r.body()
	if open := given.getBody(r.Request); open != nil {
		return callBody{asGiven: !given.sent.Swap(true), open: open}
	}
	body := streamBody(given.asStream())
	body.readAhead = given.readAhead
	return body
}

func streamBody(s *stream) callBody {
	return callBody{open: s.newReader, stream: s, nextAttempt: s.nextAttempt}
}

// bodyOf returns the body for a call that sends a request of net/http.
func bodyOf(r *http.Request) callBody {
	if !hasBody(r) {
		return callBody{}
	}
	if lazy, ok := r.Body.(*lazyBody); ok {
		return callBody{open: lazy.open, nextAttempt: lazy.nextAttempt}
	}
	if open := getBody(r); open != nil {
		return callBody{asGiven: true, open: open}
	}
	return streamBody(newStream(r.Body))
}

func method(req *http.Request) string {
	if req.Method == "" {
		return http.MethodGet
	}
	return req.Method
}
