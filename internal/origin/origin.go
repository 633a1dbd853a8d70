// Package origin compares the origins of URLs.
package origin

import (
	"net/http"
	"net/url"
	"strings"
)

// Origin is a scheme, host and port (RFC 6454 §4). URLs have the same origin if their
// Origins are equal.
type Origin struct{ scheme, host string }

// Of returns the origin of u, without a port that is the default of the scheme. It returns
// the zero Origin if u is nil.
func Of(u *url.URL) Origin {
	if u == nil {
		return Origin{}
	}
	scheme := strings.ToLower(u.Scheme)
	return Origin{scheme, strings.TrimSuffix(strings.ToLower(u.Host), defaultPort[scheme])}
}

var defaultPort = map[string]string{"http": ":80", "https": ":443"}

// FirstRequest returns the request whose redirects have led to r. It returns r if there are none.
func FirstRequest(r *http.Request) *http.Request {
	for r.Response != nil && r.Response.Request != nil {
		r = r.Response.Request
	}
	return r
}
