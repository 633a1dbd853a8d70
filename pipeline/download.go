package pipeline

import (
	"bytes"
	"fmt"
	"io"
	"math"
	"net/http"

	"github.com/a0b132ce/retryablehttp/internal/redact"
)

// BodyDownload is a Policy that reads the body of each response before it returns the
// response. So a body that is cut off is a failed attempt, which [Retry] repeats if that is
// safe, and [Payload] needs no further read. Put it last, after Retry.
//
// A body that is larger than Limit is handed on as a stream. A call that expects a large or
// endless one should say so by [Stream].
type BodyDownload struct {
	// Limit is the size in bytes up to which a body is read. 0 means 4 MiB. A negative
	// Limit reads none.
	Limit int64
}

const defaultDownloadLimit = 4 << 20

// Stream returns a CallOption that makes [BodyDownload] leave the body to the caller, who
// must close it. The body of a response whose status is 400 or higher is read all the same.
func Stream() CallOption { return stream }

type streamed struct{}

var stream = CallValue(streamed{})

// Do implements [Policy].
func (p BodyDownload) Do(req *Request) (*http.Response, error) {
	resp, err := req.Next()
	if err != nil || !p.reads(req, resp) {
		return resp, err
	}
	limit := p.Limit
	if limit == 0 {
		limit = defaultDownloadLimit
	}
	if resp.ContentLength > limit {
		return resp, nil
	}
	data, more, err := readUpTo(resp.Body, resp.ContentLength, min(limit, math.MaxInt-1))
	if more {
		resp.Body = partlyRead{io.MultiReader(bytes.NewReader(data), resp.Body), resp.Body}
		return resp, nil
	}
	if closeErr := resp.Body.Close(); err == nil {
		err = closeErr
	}
	if err != nil {
		return nil, fmt.Errorf("pipeline: reading the response body: %w", redact.Error(err, redact.URL))
	}
	resp.Body = newPayload(data)
	return resp, nil
}

// reads reports whether resp has a body that is to be read.
func (p BodyDownload) reads(req *Request, resp *http.Response) bool {
	if p.Limit < 0 || resp.Body == http.NoBody {
		return false
	}
	switch method := req.Raw().Method; {
	case method == http.MethodHead, method == http.MethodConnect,
		resp.StatusCode == http.StatusSwitchingProtocols,
		resp.StatusCode == http.StatusNoContent,
		resp.StatusCode == http.StatusNotModified:
		return false
	}
	_, stream := Value[streamed](req)
	return !stream || resp.StatusCode >= http.StatusBadRequest
}

// firstRead is how much memory is used before anything has come, at most.
const firstRead = 64 << 10

// readUpTo reads a body that announces a length, which is -1 if it is unknown and may be 0
// if it was not set. It reports whether there is more than limit. Else it has read it all,
// and fails if that is less than announced.
func readUpTo(body io.Reader, length, limit int64) (data []byte, more bool, err error) {
	size := min(length, limit) + 1 // one more, to see the end
	if length <= 0 {
		size = 512
	}
	data = make([]byte, 0, min(size, firstRead))
	for err == nil && int64(len(data)) <= limit {
		if len(data) == cap(data) {
			room := min(2*int64(cap(data)), limit+1)
			if int64(len(data)) < size {
				room = min(room, size)
			}
			data = append(make([]byte, 0, room), data...)
		}
		var n int
		n, err = body.Read(data[len(data):min(int64(cap(data)), limit+1)])
		data = data[:len(data)+n]
	}
	switch {
	case err == io.EOF && int64(len(data)) < length:
		return nil, false, io.ErrUnexpectedEOF
	case err != nil && err != io.EOF:
		return nil, false, err
	}
	return data, int64(len(data)) > limit, nil
}

// partlyRead is a body whose beginning was read.
type partlyRead struct {
	io.Reader
	io.Closer
}
