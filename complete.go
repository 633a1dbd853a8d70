package retryablehttp

import (
	"bytes"
	"io"
	"net/http"
)

// complete reads the body of a response before the attempt counts as answered, if it is
// no longer than Client.BodyMax. A body that breaks off makes the attempt a failed one.
func (c *call) complete(req *http.Request, resp *http.Response, err error) (*http.Response, error) {
	limit := c.client.BodyMax
	if limit == 0 || err != nil || c.resumes ||
		resp.ContentLength > limit || bodiless(req, resp) {
		return resp, err
	}
	if retryableStatus(c.contextForPolicy(), resp) && !c.acceptedUnread(resp) {
		return resp, nil
	}
	c.seen.answered = true
	var data bytes.Buffer
	_, err = data.ReadFrom(io.LimitReader(resp.Body, max(limit, limit+1))) // MaxInt64 has no successor
	if err == nil && int64(data.Len()) > limit {
		resp.Body = &prefixedBody{prefix: data.Bytes(), ReadCloser: resp.Body}
		return resp, nil
	}
	resp.Body.Close()
	if err == nil && int64(data.Len()) < resp.ContentLength {
		err = io.ErrUnexpectedEOF
	}
	if err != nil {
		return nil, c.urlError(req, err)
	}
	resp.Body = &keptBody{data: data.Bytes(), end: io.EOF}
	return resp, nil
}

// A verdict is what the policy says of a response.
type verdict struct {
	retry bool
	err   error
}

// acceptedUnread asks the policy about a response that is likely to be refused, whose body
// is then not worth the time. A body that the policy reads itself is left alone.
func (c *call) acceptedUnread(resp *http.Response) bool {
	body := &watchedBody{ReadCloser: resp.Body}
	resp.Body = body
	var v verdict
	v.retry, v.err = c.ask(resp, nil)
	c.verdict = &v
	resp.Body = body.ReadCloser
	return !v.retry && v.err == nil && !body.read
}

// bodiless reports whether a response has no body, whatever its Content-Length says
// (RFC 9110 §6.4.1), or one that is a connection.
func bodiless(req *http.Request, resp *http.Response) bool {
	switch resp.StatusCode {
	case http.StatusSwitchingProtocols, http.StatusNoContent, http.StatusNotModified:
		return true
	}
	return resp.Body == http.NoBody || req.Method == http.MethodHead
}

// prefixedBody is a body of which something has been read already.
type prefixedBody struct {
	prefix []byte
	io.ReadCloser
}

func (b *prefixedBody) Read(p []byte) (int, error) {
	if len(b.prefix) > 0 {
		n := copy(p, b.prefix)
		b.prefix = b.prefix[n:]
		return n, nil
	}
	return b.ReadCloser.Read(p)
}
