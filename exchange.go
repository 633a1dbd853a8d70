package retryablehttp

import (
	"crypto/tls"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"sync/atomic"
)

// exchange sends one attempt's request through rt and returns what net/http would: a
// response with a body, or an error. Both come together only when a redirect was
// refused.
func (c *call) exchange(rt http.RoundTripper, req *http.Request) (*http.Response, error) {
	if !c.follow {
		// A policy is told the same as of a Client's attempt. The http.Client around
		// a RoundTripper adds its own layer, so this one is taken off in the end.
		resp, err := roundTrip(rt, req)
		if err != nil {
			err = c.urlError(req, err)
		}
		return resp, err
	}
	hc := c.client.httpClient()
	hops := hopTransport{rest: rt}
	if !needsClient(hc, req) {
		// What is left of http.Client.Do is to follow redirects. The request is
		// handed to it only when there is one to follow.
		resp, err := roundTrip(rt, req)
		if err != nil {
			return nil, c.urlError(req, err)
		}
		if !isRedirect(resp.StatusCode) {
			return resp, nil
		}
		hops.first, hops.answered = resp, true
		if req.Body != nil && req.Body != http.NoBody {
			sent := *req
			sent.Body = io.NopCloser(req.Body) // the transport has closed it, or will
			req = &sent
		}
	}
	return c.followHops(hc, hops, req)
}

func (c *call) followHops(hc *http.Client, hops hopTransport, req *http.Request) (*http.Response, error) {
	follower := *hc
	follower.Transport = &hops
	req, opened := closedOnce(req)
	resp, err := follower.Do(req)
	if last := *opened; last != nil && resp != nil && keepsBody(resp.StatusCode) {
		last.Close() // http.Client opened it for a redirect that it does not follow
	}
	c.seen.answered = hops.answered
	return resp, c.redactError(err)
}

// closedOnce gives a copy of a request whose bodies are closed once: http.Client, when it
// follows a redirect, closes what the transport has closed already. The one that was
// opened last is told, nil if none was.
func closedOnce(req *http.Request) (*http.Request, *io.ReadCloser) {
	opened := new(io.ReadCloser)
	if req.Body == nil || req.Body == http.NoBody {
		return req, opened
	}
	copied := *req
	copied.Body = &onceCloser{ReadCloser: req.Body}
	if req.GetBody != nil {
		copied.GetBody = func() (io.ReadCloser, error) {
			body, err := open(req.GetBody)
			if err != nil || body == http.NoBody {
				return body, err
			}
			*opened = &onceCloser{ReadCloser: body}
			return *opened, nil
		}
	}
	return &copied, opened
}

type onceCloser struct {
	io.ReadCloser
	closed atomic.Bool
}

func (c *onceCloser) Close() error {
	if c.closed.Swap(true) {
		return nil
	}
	return c.ReadCloser.Close()
}

// needsClient reports whether http.Client does more for this request than to follow
// redirects.
func needsClient(hc *http.Client, req *http.Request) bool {
	return hc.Jar != nil || hc.Timeout > 0 ||
		req.URL.User != nil || // becomes an Authorization header
		req.Header == nil || req.RequestURI != "" // to be mended, to be refused
}

// urlError wraps the error of a transport as http.Client does.
func (c *call) urlError(req *http.Request, err error) error {
	m := method(req)
	return &url.Error{Op: m[:1] + strings.ToLower(m[1:]), URL: c.client.redact(req.URL), Err: c.redactError(err)}
}

// bare takes the layer of urlError off an error that a RoundTripper returns. An error that
// names another URL keeps it.
func (c *call) bare(err error) error {
	switch outer := err.(type) {
	case *url.Error:
		if c.origin.URL != nil && outer.URL == c.client.redact(c.origin.URL) {
			return outer.Err
		}
	case *stopError:
		bare := *outer
		bare.why, bare.last = c.bare(outer.why), c.bare(outer.last)
		return &bare
	}
	return err
}

func (c *call) redactError(err error) error {
	if err == nil {
		return nil
	}
	return redactError(err, c.client.redact)
}

func isRedirect(status int) bool {
	switch status {
	case http.StatusMovedPermanently, http.StatusFound, http.StatusSeeOther,
		http.StatusTemporaryRedirect, http.StatusPermanentRedirect:
		return true
	}
	return false
}

// keepsBody reports whether a redirect has the request's body sent again.
func keepsBody(status int) bool {
	return status == http.StatusTemporaryRedirect || status == http.StatusPermanentRedirect
}

// hopTransport is the transport of the hops of one attempt. It starts with the first
// response if that is already there. http.Client sends one hop after the other, so
// there is nothing to lock.
type hopTransport struct {
	first    *http.Response
	rest     http.RoundTripper
	answered bool // by any hop
}

func (t *hopTransport) RoundTrip(req *http.Request) (*http.Response, error) {
	if resp := t.first; resp != nil {
		t.first = nil
		return resp, nil
	}
	resp, err := roundTrip(t.rest, req)
	t.answered = t.answered || resp != nil
	return resp, err
}

// roundTrip calls a transport and holds it to its contract, as http.Client does.
func roundTrip(rt http.RoundTripper, req *http.Request) (*http.Response, error) {
	resp, err := rt.RoundTrip(req)
	switch {
	case err != nil:
		if resp != nil && resp.Body != nil {
			resp.Body.Close()
		}
		if record, ok := err.(tls.RecordHeaderError); ok && string(record.RecordHeader[:]) == "HTTP/" {
			// Conn is there only if it was the server's first record.
			err = mark(http.ErrSchemeMismatch, record.Conn != nil)
		}
		return nil, err
	case resp == nil:
		return nil, fmt.Errorf("http: RoundTripper implementation (%T) returned a nil *Response with a nil error", rt)
	case resp.Body == nil:
		if resp.ContentLength > 0 && req.Method != http.MethodHead {
			return nil, fmt.Errorf("http: RoundTripper implementation (%T) returned a *Response with content length %d but a nil Body", rt, resp.ContentLength)
		}
		resp.Body = http.NoBody
	}
	if resp.Request == nil {
		resp.Request = req
	}
	return resp, nil
}
