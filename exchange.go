package retryablehttp

import (
	"crypto/tls"
	"fmt"
	"net/http"
	"net/url"
	"strings"
)

// exchange sends one attempt's request and returns what net/http would: a response
// with a body, or an error. Both come together only when a redirect was refused.
func (c *call) exchange(req *http.Request) (*http.Response, error) {
	if !c.follow {
		return roundTrip(c.client.transport(), req)
	}
	hc := c.client.httpClient()
	if needsClient(hc, req) {
		resp, err := hc.Do(req)
		return resp, c.redactURLError(err)
	}
	// What is left of http.Client.Do is to follow redirects. The request is handed
	// to it only when there is one to follow.
	resp, err := roundTrip(c.client.transport(), req)
	if err != nil {
		return nil, c.urlError(req, err)
	}
	if isRedirect(resp.StatusCode) {
		follower := *hc
		follower.Transport = &afterFirst{first: resp, rest: c.client.transport()}
		resp, err = follower.Do(req)
		return resp, c.redactURLError(err)
	}
	return resp, nil
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
	return &url.Error{Op: m[:1] + strings.ToLower(m[1:]), URL: c.client.redact(req.URL), Err: err}
}

func isRedirect(status int) bool {
	switch status {
	case http.StatusMovedPermanently, http.StatusFound, http.StatusSeeOther,
		http.StatusTemporaryRedirect, http.StatusPermanentRedirect:
		return true
	}
	return false
}

// afterFirst is a transport that starts with a response which is already there.
// http.Client follows redirects one after the other, so there is nothing to lock.
type afterFirst struct {
	first *http.Response
	rest  http.RoundTripper
}

func (t *afterFirst) RoundTrip(req *http.Request) (*http.Response, error) {
	if resp := t.first; resp != nil {
		t.first = nil
		return resp, nil
	}
	return t.rest.RoundTrip(req)
}

// redactURLError redacts the error of http.Client.Do, which made it for this call.
func (c *call) redactURLError(err error) error {
	outer, ok := err.(*url.Error)
	if !ok {
		return err
	}
	if u, parseErr := url.Parse(outer.URL); parseErr == nil {
		outer.URL = c.client.redact(u)
	} else {
		outer.URL = redactUnparsable(outer.URL)
	}
	return outer
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
			err = http.ErrSchemeMismatch
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
