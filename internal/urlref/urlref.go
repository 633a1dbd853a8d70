// Package urlref resolves the URLs that a server sends.
package urlref

import (
	"errors"
	"net/url"
	"strings"

	"github.com/a0b132ce/retryablehttp/internal/redact"
)

// Resolve returns the http or https URL that ref means in a response to a request to base
// (RFC 3986 §5), without user information and fragment. If base is nil, ref must be absolute
// and keeps its dot segments. The text of an error does not quote ref.
func Resolve(base *url.URL, ref string) (*url.URL, error) {
	ref, _, _ = strings.Cut(ref, "#")
	u, err := url.Parse(ref)
	if err != nil {
		return nil, errors.Unwrap(redact.ParseError(err))
	}
	if base != nil {
		u = base.ResolveReference(u)
	}
	u.User, u.Fragment, u.RawFragment = nil, "", "" // also of base, if ref is empty
	switch {
	case u.Scheme != "http" && u.Scheme != "https":
		return nil, errScheme
	case u.Hostname() == "":
		return nil, errHost
	}
	return u, nil
}

var (
	errScheme = errors.New("URL does not have the scheme http or https")
	errHost   = errors.New("URL has no host")
)
