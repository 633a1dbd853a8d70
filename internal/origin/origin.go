// Package origin compares the origins of URLs.
package origin

import (
	"net/http"
	"net/url"
	"strings"
	"unicode"
)

// Origin is a scheme, host and port (RFC 6454 §4). URLs have the same origin if their
// Origins are equal. No URL has the zero Origin.
type Origin struct {
	scheme, host string
	set          bool // by Of
}

// Of returns the origin of u, without a port that is the default of the scheme. A nil u counts
// as an empty one. URLs with different Origins may still lead to the same host.
func Of(u *url.URL) Origin {
	if u == nil {
		u = &url.URL{}
	}
	scheme, host := strings.ToLower(u.Scheme), u.Host
	// Transports map other letters than those of ASCII in their own way: "ap\u0130" is not "api"
	// to net/http (UTS #46). The zone of an address (RFC 6874) may depend on the case.
	if !strings.ContainsFunc(host, func(c rune) bool { return c > unicode.MaxASCII || c == '%' }) {
		host = strings.ToLower(host)
	}
	return Origin{scheme, strings.TrimSuffix(host, defaultPort[scheme]), true}
}

var defaultPort = map[string]string{"http": ":80", "https": ":443"}

// FirstRequest returns the request whose redirects have led to r. It returns r if there are none.
func FirstRequest(r *http.Request) *http.Request {
	for r.Response != nil && r.Response.Request != nil {
		r = r.Response.Request
	}
	return r
}
