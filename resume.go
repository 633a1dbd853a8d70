package retryablehttp

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"time"
)

// ErrRepresentationChanged is matched by the [*ResumeError] of a body that cannot be
// resumed because the server has another version of the object by now.
var ErrRepresentationChanged = errors.New("the representation has changed")

// ResumeError is what reading a response's body ends with when the body broke off and
// could not be resumed: the bytes read so far are right, the rest is missing. See
// [Client.ResumeMax].
type ResumeError struct {
	// URL is the request's URL as Client.RedactURL shows it.
	URL string
	// Offset is how many bytes of the body were read.
	Offset int64
	// Err tells why the rest could not be had.
	Err error

	redact func(text string) string
}

// Error gives one line of text. URLs in the text of the cause are redacted.
func (e *ResumeError) Error() string {
	redact := e.redact
	if redact == nil {
		redact = func(text string) string { return redactText(text, redactURL) }
	}
	return fmt.Sprintf("resuming %s after %d bytes: %s", e.URL, e.Offset, redact(e.Err.Error()))
}

// Unwrap returns Err.
func (e *ResumeError) Unwrap() error { return e.Err }

// Timeout reports whether Err is a timeout.
func (e *ResumeError) Timeout() bool {
	var timeout interface{ Timeout() bool }
	return errors.As(e.Err, &timeout) && timeout.Timeout()
}

// resumable gives the answer of a call a body that survives a cut, if Client.ResumeMax
// allows it and the response says how to recognise the rest.
func (c *call) resumable(resp *http.Response) *http.Response {
	if c.client.ResumeMax == 0 || c.resumes || resp.Body == http.NoBody || method(c.origin) != http.MethodGet {
		return resp
	}
	if c.watchesReads() {
		body, ok := resp.Body.(*watchedBody)
		if !ok || body.read {
			return resp // what the caller gets does not begin where the response's body does
		}
		resp.Body = body.ReadCloser
	}
	validator := strongValidator(resp)
	if validator == "" || resp.Uncompressed || !identity(resp) || noRanges(resp) {
		return resp
	}
	b := &resumedBody{call: c.forResumption(), validator: validator, last: -1, body: resp.Body}
	switch resp.StatusCode {
	case http.StatusOK:
		if resp.ContentLength >= 0 {
			b.last = resp.ContentLength - 1
			b.total = resp.ContentLength
		} else {
			b.total = -1
		}
	case http.StatusPartialContent:
		part, err := parseContentRange(resp.Header.Get("Content-Range"))
		if err != nil || !part.fits(resp.ContentLength) || !singleRange(c.origin.Header.Get("Range")) {
			return resp
		}
		b.first, b.last, b.total = part.first, part.last, part.total
	default:
		return resp
	}
	b.at, b.due = b.first, b.last
	resp.Body = b
	return resp
}

// watchesReads reports whether something may read an answer that could be resumed before
// the caller gets it.
func (c *call) watchesReads() bool {
	return c.client.ResumeMax > 0 && !c.resumes && method(c.origin) == http.MethodGet &&
		(c.handler != nil || c.client.ResponseLogHook != nil)
}

// watchedBody tells whether something of a body has been read.
type watchedBody struct {
	io.ReadCloser
	read bool
}

func (b *watchedBody) Read(p []byte) (int, error) {
	b.read = true
	return b.ReadCloser.Read(p)
}

// forResumption is the part of a call that the calls for the rest of its answer share.
func (c *call) forResumption() *call {
	return &call{client: c.client, origin: c.origin, follow: c.follow, resumes: true, spent: true, check: c.check, ctx: c.ctx}
}

// strongValidator returns what If-Range can carry: a strong ETag or, where there is no
// ETag, a Last-Modified that is strong because it is at least a second older than the
// response (RFC 9110 §8.8.2.2, §13.1.5).
func strongValidator(resp *http.Response) string {
	if repeated(resp, "ETag") || repeated(resp, "Last-Modified") {
		return ""
	}
	if tag := resp.Header.Get("ETag"); tag != "" {
		if len(tag) >= 2 && tag[0] == '"' && tag[len(tag)-1] == '"' {
			return tag
		}
		return ""
	}
	value := resp.Header.Get("Last-Modified")
	if value == "" {
		return ""
	}
	modified, err := http.ParseTime(value)
	if err != nil {
		return ""
	}
	date, err := http.ParseTime(resp.Header.Get("Date"))
	if err != nil || date.Sub(modified) < time.Second {
		return ""
	}
	return value
}

// repeated reports whether a header that has one value comes more than once, so that no
// value of it can be relied on.
func repeated(resp *http.Response, header string) bool {
	return len(resp.Header.Values(header)) > 1
}

func identity(resp *http.Response) bool {
	for _, coding := range resp.Header.Values("Content-Encoding") {
		if coding != "" && !strings.EqualFold(coding, "identity") {
			return false
		}
	}
	return true
}

func noRanges(resp *http.Response) bool {
	for _, units := range resp.Header.Values("Accept-Ranges") {
		for unit := range strings.SplitSeq(units, ",") {
			if strings.EqualFold(strings.TrimSpace(unit), "none") {
				return true
			}
		}
	}
	return false
}

// singleRange reports whether a Range header asks for one range of bytes.
func singleRange(header string) bool {
	ranges, ok := strings.CutPrefix(header, "bytes=")
	return ok && !strings.Contains(ranges, ",")
}

// contentRange is a Content-Range: bytes first to last, both included, of total, which
// is -1 if it is unknown.
type contentRange struct{ first, last, total int64 }

// fits reports whether a Content-Length, -1 if there is none, is that of the range.
func (r contentRange) fits(length int64) bool {
	return length < 0 || length == r.last-r.first+1
}

// parseContentRange reads a Content-Range of a 206 (RFC 9110 §14.4).
func parseContentRange(header string) (contentRange, error) {
	bad := fmt.Errorf("invalid Content-Range %q", header)
	if header == "" {
		bad = errors.New("no Content-Range")
	}
	span, ok := strings.CutPrefix(header, "bytes ")
	if !ok {
		return contentRange{}, bad
	}
	span, size, ok := strings.Cut(span, "/")
	if !ok {
		return contentRange{}, bad
	}
	from, to, ok := strings.Cut(span, "-")
	if !ok {
		return contentRange{}, bad
	}
	r := contentRange{total: -1}
	for _, field := range []struct {
		text  string
		value *int64
	}{{from, &r.first}, {to, &r.last}, {size, &r.total}} {
		if field.text == "*" && field.value == &r.total {
			continue
		}
		n, err := strconv.ParseInt(field.text, 10, 64)
		if err != nil || !isDigits(field.text) {
			return contentRange{}, bad
		}
		*field.value = n
	}
	if r.last < r.first || r.total >= 0 && r.last >= r.total {
		return contentRange{}, bad
	}
	return r, nil
}

// resumedBody is a response's body that goes on with the rest when it breaks off. As with
// the bodies of net/http, Close may be called while Read is under way.
type resumedBody struct {
	call      *call
	validator string
	first     int64 // offset of the body in the object
	last      int64 // offset of its last byte, -1 as long as that is unknown
	total     int64 // length of the object, -1 as long as that is unknown
	due       int64 // offset of the last byte that the header of body announces, -1 if it does not
	at        int64 // offset of the next byte
	resumed   int   // how often
	fruitless int   // how often since the last byte came
	broken    error // how body ended too early; to be resumed
	failed    error // what Read returns from now on

	mu     sync.Mutex // guards the rest
	body   io.ReadCloser
	closed bool
	stop   context.CancelFunc // ends a resumption under way
}

func (b *resumedBody) Read(p []byte) (int, error) {
	for b.failed == nil {
		if cause := b.broken; cause != nil {
			b.broken = nil
			b.failed = b.resume(cause)
			continue
		}
		b.mu.Lock()
		body, closed := b.body, b.closed
		b.mu.Unlock()
		if closed {
			return 0, http.ErrBodyReadAfterClose
		}
		n, err := body.Read(p)
		b.at += int64(n)
		if n > 0 {
			b.fruitless = 0
		}
		switch over := b.at - b.due - 1; {
		case b.due >= 0 && over > 0:
			n, b.at = n-int(over), b.due+1
			b.failed = b.error(errors.New("the body is longer than was announced"))
		case err == nil:
		case b.last >= 0 && b.at > b.last, b.last < 0 && err == io.EOF:
			b.failed = io.EOF // whatever came after the last byte
		case err == io.EOF:
			b.broken = io.ErrUnexpectedEOF
		default:
			b.broken = err
		}
		if n > 0 || err == nil {
			return n, nil
		}
	}
	return 0, b.failed
}

// Close ends the reading, also of a resumption that is just being made.
func (b *resumedBody) Close() error {
	b.mu.Lock()
	b.closed = true
	body, stop := b.body, b.stop
	b.mu.Unlock()
	if stop != nil {
		stop()
	}
	return body.Close()
}

func (b *resumedBody) error(err error) error {
	c := b.call.client
	return &ResumeError{
		URL:    c.redact(b.call.origin.URL),
		Offset: b.at - b.first,
		Err:    err,
		redact: func(text string) string { return redactText(text, c.redact) },
	}
}

// resume replaces a body that broke off with one that holds the rest. It returns what
// reading ends with if that cannot be.
func (b *resumedBody) resume(cause error) error {
	ctx, stop := context.WithCancel(b.call.ctx)
	b.mu.Lock()
	old, closed := b.body, b.closed
	if !closed && ctx.Err() == nil {
		b.body = http.NoBody // so that Close leaves the old one to this
	}
	b.stop = stop
	b.mu.Unlock()
	if closed {
		stop()
		return http.ErrBodyReadAfterClose
	}
	if ctx.Err() != nil {
		stop()
		return cause
	}
	old.Close()
	rest, err := b.fetch(ctx, cause)
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.closed { // which has ended the fetching, or come just behind it
		if err == nil {
			rest.Close()
		}
		err = http.ErrBodyReadAfterClose
	}
	if err != nil {
		stop()
		return err
	}
	b.body = &stoppedBody{rest, stop}
	return nil
}

// stoppedBody releases the context it was read under.
type stoppedBody struct {
	io.ReadCloser
	stop context.CancelFunc
}

func (b *stoppedBody) Read(p []byte) (int, error) {
	n, err := b.ReadCloser.Read(p)
	if err != nil {
		b.stop()
	}
	return n, err
}

func (b *stoppedBody) Close() error {
	defer b.stop()
	return b.ReadCloser.Close()
}

// fetch waits, as before any retry, and asks for the rest.
func (b *resumedBody) fetch(ctx context.Context, cause error) (io.ReadCloser, error) {
	again, policyErr := b.call.check(&policyContext{ctx, b.call.origin}, nil, cause)
	switch {
	case policyErr != nil:
		return nil, b.error(policyErr)
	case !again:
		return nil, cause
	case b.resumed >= b.call.client.ResumeMax:
		return nil, b.error(fmt.Errorf("broken off again after %d resumption(s): %w", b.resumed, cause))
	}
	b.resumed++
	b.fruitless++
	wait := b.call.client.backoff(b.fruitless, nil)
	if deadline, ok := ctx.Deadline(); ok && wait >= time.Until(deadline) {
		return nil, b.error(&stopError{why: context.DeadlineExceeded, detail: "the next attempt is due in " + wait.String(), last: cause})
	}
	pause(ctx, nil, wait)
	switch {
	case b.call.ctx.Err() != nil:
		return nil, b.error(b.call.interrupted(&outcome{err: cause}).err)
	case ctx.Err() != nil: // by Close
		return nil, cause
	}
	call := *b.call
	call.origin = b.request(ctx)
	call.suspect = suspicious(nil, cause)
	resp, err := call.do()
	if err != nil {
		if resp != nil {
			resp.Body.Close()
		}
		return nil, b.error(err)
	}
	if err := b.accept(resp); err != nil {
		resp.Body.Close()
		if err != io.EOF {
			err = b.error(err)
		}
		return nil, err
	}
	return resp.Body, nil
}

// request asks for the rest, on condition that the object is still the same.
func (b *resumedBody) request(ctx context.Context) *http.Request {
	req := b.call.origin.Clone(ctx)
	for _, condition := range []string{"If-Match", "If-None-Match", "If-Modified-Since", "If-Unmodified-Since"} {
		req.Header.Del(condition)
	}
	if req.Header == nil {
		req.Header = http.Header{}
	}
	end := ""
	if b.last >= 0 {
		end = strconv.FormatInt(b.last, 10)
	}
	req.Header.Set("Range", fmt.Sprintf("bytes=%d-%s", b.at, end))
	req.Header.Set("If-Range", b.validator)
	return req
}

// accept checks that a response holds the rest of the very object. It returns io.EOF if
// there is no rest.
func (b *resumedBody) accept(resp *http.Response) error {
	switch resp.StatusCode {
	case http.StatusPartialContent:
	case http.StatusOK:
		if strongValidator(resp) == b.validator {
			return errors.New("the server does not serve ranges: 200 for a request with Range")
		}
		return fmt.Errorf("%w: 200 for a request with If-Range", ErrRepresentationChanged)
	case http.StatusRequestedRangeNotSatisfiable:
		tag := resp.Header.Get("ETag")
		if b.last < 0 && (tag == "" || tag == b.validator) && resp.Header.Get("Content-Range") == fmt.Sprintf("bytes */%d", b.at) {
			return io.EOF // all of a body of unknown length had come but its end
		}
		return fmt.Errorf("%w: the server has no bytes from %d on", ErrRepresentationChanged, b.at)
	default:
		return statusError(resp)
	}
	for _, header := range []string{"ETag", "Last-Modified", "Content-Range"} {
		if repeated(resp, header) {
			return fmt.Errorf("the rest comes with more than one %s", header)
		}
	}
	// Last-Modified may be left out of a 206 that ETag or Date would not be.
	if tag := resp.Header.Get("ETag"); b.validator[0] == '"' && tag == "" {
		return errors.New("the rest comes without an ETag")
	} else if b.validator[0] == '"' && tag != b.validator || b.validator[0] != '"' && tag != "" {
		return fmt.Errorf("%w: ETag %q instead of %q", ErrRepresentationChanged, tag, b.validator)
	} else if modified := resp.Header.Get("Last-Modified"); b.validator[0] != '"' && modified != "" && modified != b.validator {
		return fmt.Errorf("%w: Last-Modified %q instead of %q", ErrRepresentationChanged, modified, b.validator)
	}
	part, err := parseContentRange(resp.Header.Get("Content-Range"))
	switch {
	case err != nil:
		return err
	case !identity(resp) || resp.Uncompressed:
		return fmt.Errorf("the rest comes with Content-Encoding %q", resp.Header.Get("Content-Encoding"))
	case strings.HasPrefix(strings.ToLower(resp.Header.Get("Content-Type")), "multipart/byteranges"):
		return errors.New("the rest comes as multipart/byteranges")
	case part.first != b.at:
		return fmt.Errorf("asked for the bytes from %d on, got those from %d on", b.at, part.first)
	case b.total >= 0 && part.total >= 0 && part.total != b.total:
		return fmt.Errorf("%w: it has %d bytes instead of %d", ErrRepresentationChanged, part.total, b.total)
	case b.last >= 0 && part.last > b.last:
		return fmt.Errorf("asked for the bytes up to %d, got those up to %d", b.last, part.last)
	case b.last < 0 && part.total < 0:
		return errors.New("the length of the object is unknown")
	case !part.fits(resp.ContentLength):
		return fmt.Errorf("Content-Length %d does not fit the Content-Range", resp.ContentLength)
	}
	if b.total < 0 && part.total >= 0 {
		b.total = part.total
	}
	if b.last < 0 {
		b.last = b.total - 1
	}
	b.due = part.last
	return nil
}
