// Package byterange holds the rules of RFC 9110 by which the rest of a response body
// may be requested after the body was cut off, and by which a response to that request
// is known to hold it.
package byterange

import (
	"errors"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"strings"
	"time"
)

// ErrChanged is matched by the error of [Span.Accept] for a response that is about
// another version of the object.
var ErrChanged = errors.New("the representation has changed")

// Span is the part of an object that a response body holds. Offsets are those of bytes
// in the object, from 0.
type Span struct {
	First int64 // the body's first byte
	Last  int64 // the body's last byte, -1 while it is unknown
	Size  int64 // length of the object, -1 while it is unknown

	// Validator is the value of If-Range for the rest: a strong ETag or a Last-Modified.
	Validator string
}

// Of returns the span of a response to a request with the given Range header, empty for
// none. It reports false if the rest of the body could not be requested safely: the
// response has no strong validator, has a Content-Encoding or trailers, or is not the
// answer to a request for one range or for everything.
func Of(resp *http.Response, requested string) (Span, bool) {
	s := Span{Last: -1, Size: -1, Validator: validator(resp)}
	if s.Validator == "" || encoded(resp) || refusesRanges(resp) || len(resp.Trailer) > 0 {
		return s, false
	}
	switch resp.StatusCode {
	case http.StatusOK:
		if resp.ContentLength >= 0 {
			s.Last, s.Size = resp.ContentLength-1, resp.ContentLength
		}
		return s, true
	case http.StatusPartialContent:
		part, err := parse(resp.Header.Get("Content-Range"))
		s.First, s.Last, s.Size = part.first, part.last, part.size
		return s, err == nil && part.fits(resp.ContentLength) && single(requested)
	}
	return s, false
}

// Header returns the value of the Range header that requests the bytes from offset at to
// the end of the span (RFC 9110 §14.2).
func (s *Span) Header(at int64) string {
	if s.Last < 0 {
		return fmt.Sprintf("bytes=%d-", at)
	}
	return fmt.Sprintf("bytes=%d-%d", at, s.Last)
}

// Accept checks that resp, which answers a request for the bytes from offset at on, holds
// these bytes of the same object. It returns the offset of the last byte that resp
// announces, and completes what is unknown of the span. The error is io.EOF if the
// object ends before at, so that nothing is missing.
func (s *Span) Accept(resp *http.Response, at int64) (last int64, err error) {
	switch resp.StatusCode {
	case http.StatusPartialContent:
	case http.StatusOK:
		if validator(resp) == s.Validator {
			return 0, errors.New("the server does not serve ranges: 200 for a request with Range")
		}
		return 0, fmt.Errorf("%w: 200 for a request with If-Range", ErrChanged)
	case http.StatusRequestedRangeNotSatisfiable:
		tag := resp.Header.Get("ETag")
		if s.Last < 0 && (tag == "" || tag == s.Validator) && resp.Header.Get("Content-Range") == fmt.Sprintf("bytes */%d", at) {
			return 0, io.EOF
		}
		return 0, fmt.Errorf("%w: the server has no bytes from %d on", ErrChanged, at)
	default:
		return 0, fmt.Errorf("unexpected HTTP status %s", resp.Status)
	}
	if err := s.checkValidator(resp); err != nil {
		return 0, err
	}
	part, err := parse(resp.Header.Get("Content-Range"))
	switch {
	case err != nil:
		return 0, err
	case encoded(resp):
		return 0, fmt.Errorf("the rest comes with Content-Encoding %q", resp.Header.Get("Content-Encoding"))
	case strings.HasPrefix(strings.ToLower(resp.Header.Get("Content-Type")), "multipart/byteranges"):
		return 0, errors.New("the rest comes as multipart/byteranges")
	case part.first != at:
		return 0, fmt.Errorf("asked for the bytes from %d on, got those from %d on", at, part.first)
	case s.Size >= 0 && part.size >= 0 && part.size != s.Size:
		return 0, fmt.Errorf("%w: it has %d bytes instead of %d", ErrChanged, part.size, s.Size)
	case s.Last >= 0 && part.last > s.Last:
		return 0, fmt.Errorf("asked for the bytes up to %d, got those up to %d", s.Last, part.last)
	case s.Last < 0 && part.size < 0:
		return 0, errors.New("the length of the object is unknown")
	case !part.fits(resp.ContentLength):
		return 0, fmt.Errorf("Content-Length %d does not fit the Content-Range", resp.ContentLength)
	}
	if s.Size < 0 {
		s.Size = part.size
	}
	if s.Last < 0 {
		s.Last = s.Size - 1
	}
	return part.last, nil
}

// checkValidator checks that a 206 is about the same version of the object.
func (s *Span) checkValidator(resp *http.Response) error {
	for _, name := range []string{"ETag", "Last-Modified", "Content-Range"} {
		if len(resp.Header.Values(name)) > 1 {
			return fmt.Errorf("the rest comes with more than one %s", name)
		}
	}
	tag, modified := resp.Header.Get("ETag"), resp.Header.Get("Last-Modified")
	byTag := s.Validator[0] == '"'
	switch {
	case byTag && tag == "": // a 206 must repeat the ETag (RFC 9110 §15.3.7)
		return errors.New("the rest comes without an ETag")
	case byTag && tag != s.Validator, !byTag && tag != "":
		return fmt.Errorf("%w: ETag %q instead of %q", ErrChanged, tag, s.Validator)
	case !byTag && modified != "" && modified != s.Validator: // it may leave out Last-Modified
		return fmt.Errorf("%w: Last-Modified %q instead of %q", ErrChanged, modified, s.Validator)
	}
	return nil
}

// validator returns what If-Range can carry: a strong ETag or, where there is no ETag, a
// Last-Modified that is strong because it is at least a second older than the response
// (RFC 9110 §8.8.2.2, §13.1.5). It returns "" if there is neither, or more than one.
func validator(resp *http.Response) string {
	if len(resp.Header.Values("ETag")) > 1 || len(resp.Header.Values("Last-Modified")) > 1 {
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

// encoded reports whether the body's bytes are not those that the range counts.
func encoded(resp *http.Response) bool {
	for _, coding := range resp.Header.Values("Content-Encoding") {
		if coding != "" && !strings.EqualFold(coding, "identity") {
			return true
		}
	}
	return resp.Uncompressed
}

// refusesRanges reports whether the response says Accept-Ranges: none.
func refusesRanges(resp *http.Response) bool {
	for _, units := range resp.Header.Values("Accept-Ranges") {
		for unit := range strings.SplitSeq(units, ",") {
			if strings.EqualFold(strings.TrimSpace(unit), "none") {
				return true
			}
		}
	}
	return false
}

// single reports whether a Range header asks for one range of bytes.
func single(header string) bool {
	ranges, ok := strings.CutPrefix(header, "bytes=")
	return ok && !strings.Contains(ranges, ",")
}

// contentRange is a Content-Range: bytes first to last, both included, of size, which is
// -1 if it is unknown.
type contentRange struct{ first, last, size int64 }

// fits reports whether a Content-Length, -1 if there is none, is the length of the range.
func (r contentRange) fits(length int64) bool {
	return length < 0 || length == r.last-r.first+1
}

// parse reads the Content-Range of a 206 (RFC 9110 §14.4).
func parse(header string) (contentRange, error) {
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
	first, last, ok := strings.Cut(span, "-")
	if !ok {
		return contentRange{}, bad
	}
	r := contentRange{size: -1}
	if r.first, ok = number(first); !ok {
		return contentRange{}, bad
	}
	if r.last, ok = number(last); !ok {
		return contentRange{}, bad
	}
	if size != "*" {
		if r.size, ok = number(size); !ok {
			return contentRange{}, bad
		}
	}
	if r.last < r.first || r.size >= 0 && r.last >= r.size {
		return contentRange{}, bad
	}
	return r, nil
}

// number reads a sequence of digits.
func number(s string) (int64, bool) {
	if s == "" || strings.Trim(s, "0123456789") != "" {
		return 0, false
	}
	n, err := strconv.ParseInt(s, 10, 64)
	return n, err == nil
}
