package retryablehttp

import (
	"errors"
	"net/http"
)

// suspicious reports whether an outcome casts doubt on the connection it came from: it
// may be one on which nothing arrives any more, or one that the server is tired of.
// HTTP/1.1 closes a connection upon a timeout; HTTP/2 goes on using it.
func suspicious(resp *http.Response, err error) bool {
	if err == nil {
		return resp.StatusCode == http.StatusRequestTimeout
	}
	var timeout interface{ Timeout() bool }
	return errors.As(err, &timeout) && timeout.Timeout()
}

// fresh gives a transport that makes a new connection for one request, closes it
// afterwards, and leaves the connections of rt alone. Only an http.Transport can be
// told so, and its clone does not have the schemes that were registered with it; any other
// is used as it is.
func fresh(rt http.RoundTripper, req *http.Request) http.RoundTripper {
	t, ok := rt.(*http.Transport)
	if !ok || req.URL.Scheme != "http" && req.URL.Scheme != "https" {
		return rt
	}
	once := t.Clone()
	once.DisableKeepAlives = true
	if once.TLSNextProto["h2"] != nil {
		// golang.org/x/net/http2.ConfigureTransport put it there. It would find the
		// suspect connection in that package's pool; net/http's own HTTP/2 does not.
		once.TLSNextProto, once.ForceAttemptHTTP2 = nil, true
	}
	return once
}
