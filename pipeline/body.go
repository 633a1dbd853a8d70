package pipeline

import (
	"bytes"
	"encoding/json"
	"encoding/xml"
	"errors"
	"fmt"
	"io"
	"net/http"
	"reflect"
	"sync"

	"github.com/a0b132ce/retryablehttp"
)

// SetBody sets the body, which is sent from its start, whatever its offset is now, and the
// Content-Type. A nil or empty body means none. If contentType is "", the header is removed.
//
// Each attempt reads the body with a reader of its own. The pipeline closes body once, when the
// call is over and no attempt reads it any more. Do not use it elsewhere before.
func (r *Request) SetBody(body io.ReadSeekCloser, contentType string) error {
	var source any
	var closer io.Closer
	switch b := body.(type) {
	case nil:
	case nopCloser:
		source = b.ReadSeeker
	default:
		source, closer = b, b
	}
	if body != nil {
		if _, err := body.Seek(0, io.SeekStart); err != nil {
			return fmt.Errorf("pipeline: rewinding the request body: %w", err)
		}
	}
	return r.setBody(source, closer, contentType)
}

// NopCloser returns r as a body for [Request.SetBody] that need not be closed.
func NopCloser(r io.ReadSeeker) io.ReadSeekCloser { return nopCloser{r} }

type nopCloser struct{ io.ReadSeeker }

func (nopCloser) Close() error { return nil }

// setBody sets a body of any kind that [retryablehttp.Request.SetBody] takes. closer, if not
// nil, is closed at the end of the call.
func (r *Request) setBody(source any, closer io.Closer, contentType string) error {
	made := retryablehttp.Request{Request: r.raw}
	if err := made.SetBody(source); err != nil {
		return fmt.Errorf("pipeline: %w", err)
	}
	r.raw.Body, r.raw.GetBody, r.raw.ContentLength = made.Body, made.GetBody, made.ContentLength
	if closer != nil {
		body := &callerBody{closer: closer}
		r.op.mu.Lock()
		r.op.bodies = append(r.op.bodies, body)
		r.op.mu.Unlock()
		if hasBody(r.raw) {
			r.raw.GetBody = func() (io.ReadCloser, error) { return body.open(made.GetBody) }
			r.raw.Body, _ = r.raw.GetBody()
		}
	}
	r.newBody(contentType)
	return nil
}

// newBody notes the body of raw as a new one and sets its header fields.
func (r *Request) newBody(contentType string) {
	r.body = bodyOf(r.raw)
	r.raw.Header.Del("Content-Length")
	if contentType == "" {
		r.raw.Header.Del("Content-Type")
	} else {
		r.raw.Header.Set("Content-Type", contentType)
	}
}

// SetBytes sets the body, which must not be changed until the call is over. If contentType
// is "", the Content-Type header stays as it is.
func (r *Request) SetBytes(body []byte, contentType string) error {
	if contentType == "" {
		contentType = r.raw.Header.Get("Content-Type")
	}
	if len(body) == 0 {
		return r.setBody(nil, nil, contentType)
	}
	raw := r.raw
	raw.GetBody = func() (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader(body)), nil }
	raw.Body, _ = raw.GetBody()
	raw.ContentLength = int64(len(body))
	r.newBody(contentType)
	return nil
}

// SetJSON sets the body to the JSON encoding of v. The Content-Type is application/json
// unless one is set already.
func (r *Request) SetJSON(v any) error {
	body, err := json.Marshal(v)
	if err != nil {
		return fmt.Errorf("pipeline: encoding the request body: %w", err)
	}
	contentType := r.raw.Header.Get("Content-Type")
	if contentType == "" {
		contentType = "application/json"
	}
	return r.SetBytes(body, contentType)
}

// SetXML sets the body to the XML encoding of v, with an XML declaration, and the
// Content-Type to application/xml.
func (r *Request) SetXML(v any) error {
	var body bytes.Buffer
	body.WriteString(xml.Header)
	if err := xml.NewEncoder(&body).Encode(v); err != nil {
		return fmt.Errorf("pipeline: encoding the request body: %w", err)
	}
	return r.SetBytes(body.Bytes(), "application/xml")
}

// Body returns a new reader of the whole body. It does not affect the body that is sent. It
// returns nil if there is no body, or one that can be read only once.
func (r *Request) Body() io.ReadCloser {
	r.checkBody()
	if r.body.once || r.raw.GetBody == nil {
		return nil
	}
	return r.open()
}

// open returns a new reader of the body, nil if there is none.
func (r *Request) open() io.ReadCloser {
	switch {
	case !hasBody(r.raw):
		return nil
	case r.raw.GetBody == nil:
		return failedBody{errOneShot}
	}
	body, err := r.raw.GetBody()
	if err != nil {
		return failedBody{err}
	}
	return body
}

func hasBody(raw *http.Request) bool { return raw.Body != nil && raw.Body != http.NoBody }

// body describes the Body of a request.
type body struct {
	reader io.ReadCloser                 // Body
	get    func() (io.ReadCloser, error) // the GetBody that belongs to it; may be nil
	once   bool                          // the body was given as an open reader; get replays what was read
	used   bool                          // reader was sent
}

func bodyOf(raw *http.Request) body { return body{reader: raw.Body, get: raw.GetBody} }

// checkBody updates r.body if Raw().Body was replaced. It removes a GetBody of the old body.
func (r *Request) checkBody() {
	if same(r.raw.Body, r.body.reader) {
		return
	}
	if r.body.get != nil && r.raw.GetBody != nil &&
		reflect.ValueOf(r.body.get).Pointer() == reflect.ValueOf(r.raw.GetBody).Pointer() {
		r.raw.GetBody = nil
	}
	r.body = bodyOf(r.raw)
}

// same reports whether two bodies are the same value. Values of one type without equality
// count as the same.
func same(a, b io.ReadCloser) (same bool) {
	same = true // if == panics
	defer func() { recover() }()
	return a == b
}

// useBody prepares the body for being sent. One that was sent before is opened again.
func (r *Request) useBody() error {
	r.checkBody()
	if r.body.used && hasBody(r.raw) {
		if err := r.RewindBody(); err != nil {
			return err
		}
	}
	r.body.used = true
	return nil
}

// closeUnused closes the body if it was not sent.
func (r *Request) closeUnused() {
	r.checkBody()
	if !r.body.used && r.raw.Body != nil {
		r.raw.Body.Close()
	}
}

// errOneShot is not retried.
var errOneShot error = permanent("pipeline: the request body can be read only once")

// failedBody is a body that cannot be opened.
type failedBody struct{ err error }

func (b failedBody) Read([]byte) (int, error) { return 0, b.err }
func (b failedBody) Close() error             { return nil }

// RewindBody makes the request send its body from the start again, with a new Raw().Body.
// Next does so by itself if the body was sent before.
func (r *Request) RewindBody() error {
	r.checkBody()
	if !hasBody(r.raw) {
		return nil
	}
	if r.raw.GetBody == nil {
		return errOneShot
	}
	reader, err := r.raw.GetBody()
	if err != nil {
		return fmt.Errorf("pipeline: rewinding the request body: %w", err)
	}
	r.raw.Body, r.body.reader, r.body.used = reader, reader, false
	return nil
}

// callerBody is a body given to SetBody. It is closed when the call has ended and no reader is
// open.
type callerBody struct {
	closer io.Closer

	mu      sync.Mutex
	readers int  // that are open: they have begun to read and have not ended
	over    bool // the call
}

// open returns a reader of the body.
func (b *callerBody) open(open func() (io.ReadCloser, error)) (io.ReadCloser, error) {
	body, err := open()
	if err != nil {
		return nil, err
	}
	return &bodyReader{source: b, body: body}, nil
}

// finish marks the call as ended. Open readers can read on.
func (b *callerBody) finish() {
	b.mu.Lock()
	defer b.mu.Unlock()
	if !b.over {
		b.over = true
		b.closeUnused()
	}
}

func (b *callerBody) closeUnused() {
	if b.over && b.readers == 0 {
		b.closer.Close()
	}
}

var errCallOver = errors.New("pipeline: the request body was read after the call")

// bodyReader is one reader of a callerBody. It is open from its first Read on, because net/http
// does not close every body that it opens for a redirect, until it is closed or a Read fails,
// because a policy may replace a body that it has read without closing it.
type bodyReader struct {
	source *callerBody
	body   io.ReadCloser

	// Guarded by source.mu.
	begun, reading bool
	err            error // of the next Read, once the reader has ended
}

func (r *bodyReader) Read(p []byte) (int, error) {
	b := r.source
	b.mu.Lock()
	switch {
	case r.err != nil:
		defer b.mu.Unlock()
		return 0, r.err
	case !r.begun && b.over:
		b.mu.Unlock()
		return 0, errCallOver
	case !r.begun:
		r.begun = true
		b.readers++
	}
	r.reading = true
	b.mu.Unlock()
	n, err := r.body.Read(p)
	b.mu.Lock()
	defer b.mu.Unlock()
	r.reading = false
	if r.err == nil {
		r.err = err
	}
	if r.err != nil {
		r.release()
	}
	return n, err
}

// Close may be called during a Read, which then ends the use of the source.
func (r *bodyReader) Close() error {
	r.source.mu.Lock()
	defer r.source.mu.Unlock()
	open := r.begun && r.err == nil
	r.err = http.ErrBodyReadAfterClose
	if open && !r.reading {
		r.release()
	}
	return nil
}

func (r *bodyReader) release() {
	r.body.Close()
	r.source.readers--
	r.source.closeUnused()
}
