package retryablehttp

import (
	"bytes"
	"context"
	"io"
	"net/http"
)

// buffer reads the body of a response before the attempt counts as answered, if the body
// is no longer than Client.BufferMax. One that is cut off is the error of the attempt.
func (c *call) buffer(a *attempt) {
	limit := c.client.BufferMax
	if limit <= 0 || a.err != nil || c.resumption > 0 || a.resp.ContentLength > limit || withoutBody(a.req, a.resp) ||
		retryableStatus(c.policyContext(a), a.resp) {
		return
	}
	ctx := a.req.Context()
	if timeout := c.client.httpClient().Timeout; c.redirects && timeout > 0 {
		var cancel context.CancelFunc
		ctx, cancel = context.WithDeadlineCause(ctx, a.start.Add(timeout), errClientTimeout)
		defer cancel()
	}
	if body := a.transportBody; body != nil {
		// HTTP/2 does not end a read itself while it waits to send more of the request.
		defer context.AfterFunc(ctx, func() { body.Close() })()
	}
	var data bytes.Buffer
	n, err := data.ReadFrom(io.LimitReader(a.resp.Body, max(limit, limit+1))) // MaxInt64 has no successor
	if err == nil && n > limit {
		a.resp.Body = readCloser{io.MultiReader(&data, a.resp.Body), a.resp.Body}
		return
	}
	a.resp.Body.Close()
	if err == nil && n < a.resp.ContentLength {
		err = io.ErrUnexpectedEOF
	}
	if err != nil {
		a.resp, a.err = nil, c.urlError(a.req, err)
		return
	}
	a.resp.Body = io.NopCloser(&data)
}

// withoutBody reports whether a response has no body, whatever its Content-Length says
// (RFC 9110 §6.4.1), or one that is a connection.
func withoutBody(req *http.Request, resp *http.Response) bool {
	switch resp.StatusCode {
	case http.StatusSwitchingProtocols, http.StatusNoContent, http.StatusNotModified:
		return true
	}
	return resp.Body == http.NoBody || req.Method == http.MethodHead
}
