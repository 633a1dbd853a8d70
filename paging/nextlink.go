package paging

import (
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strings"

	"github.com/a0b132ce/retryablehttp/internal/redact"
	"github.com/a0b132ce/retryablehttp/internal/urlref"
)

// Limits, in bytes.
const (
	maxLink   = 16 << 10 // of a link, and of the URL that it becomes
	maxHeader = 64 << 10 // of all Link header lines of a response
)

// LinkError is the error of a link that cannot be followed, or of a Link header that cannot be
// read.
type LinkError struct {
	Link string // without query values and passwords; "" if too long or unknown
	Err  error  // says what is wrong
}

// Error returns one line of text.
func (e *LinkError) Error() string {
	if e.Link == "" {
		return fmt.Sprintf("paging: link to the next page: %v", e.Err)
	}
	return fmt.Sprintf("paging: link to the next page %q: %v", e.Link, e.Err)
}

// Unwrap returns e.Err.
func (e *LinkError) Unwrap() error { return e.Err }

var (
	errHeaderSyntax  = errors.New("malformed Link header")
	errHeaderTooLong = fmt.Errorf("the Link header is longer than %d bytes", maxHeader)
	errLinkTooLong   = fmt.Errorf("URL is longer than %d bytes", maxLink)
	errLinkEscape    = errors.New("invalid percent-encoding in the query")
)

// NextLink returns the URL of the first link in the Link header of resp (RFC 8288) that has the
// relation type "next", resolved by [Resolve], or "" if there is none. It ignores a link whose
// anchor parameter is not the URL of the response. Single quotes around a value, as in
// rel='next', are removed.
//
// NextLink skips the rest of a header line after malformed text. If it then finds no link to
// the next page, it returns a [*LinkError], because a list that ends too soon would look
// complete. It also returns one if the header is longer than 64 KiB.
func NextLink(resp *http.Response) (string, error) {
	base, size, malformed := baseOf(resp), 0, false
	for _, rest := range resp.Header.Values("Link") {
		if size += len(rest); size > maxHeader {
			return "", &LinkError{Err: errHeaderTooLong}
		}
		for {
			rest = strings.TrimLeft(rest, " \t,")
			if rest == "" {
				break
			}
			var l link
			var ok bool
			if l, rest, ok = cutLink(rest); !ok {
				malformed = true
				break
			}
			if l.isNext(base) {
				return Resolve(resp, l.target)
			}
		}
	}
	if malformed {
		return "", &LinkError{Err: errHeaderSyntax}
	}
	return "", nil
}

// Resolve returns the absolute URL of a link to the next page. A relative link is resolved
// against the URL of resp.Request, which is the last request after redirects (RFC 3986
// §5). An empty link results in "".
//
// The URL has no user information and no fragment. In its query a plus sign and a space become
// "%20", and a semicolon becomes "%3B", since servers differ in how they read them. The order
// of the query stays. The error is a [*LinkError] if the URL is malformed, longer than 16 KiB,
// has no host, or has another scheme than http or https.
func Resolve(resp *http.Response, link string) (string, error) {
	if link == "" {
		return "", nil
	}
	u, err := resolve(baseOf(resp), link)
	if err != nil {
		return "", err
	}
	return u.String(), nil
}

// baseOf returns the URL that the links of resp are relative to. It is empty if not known.
func baseOf(resp *http.Response) *url.URL {
	if resp.Request == nil || resp.Request.URL == nil {
		return &url.URL{}
	}
	return resp.Request.URL
}

// resolve returns the URL of a link that is not empty. Relative links need a base that is not
// empty.
func resolve(base *url.URL, link string) (*url.URL, error) {
	if len(link) > maxLink {
		return nil, &LinkError{Err: errLinkTooLong}
	}
	u, err := urlref.Resolve(base, link)
	if err == nil {
		if _, escapeErr := url.QueryUnescape(u.RawQuery); escapeErr != nil {
			err = errLinkEscape
		}
	}
	if err != nil {
		return nil, &LinkError{Link: redact.String(link, redact.URL), Err: err}
	}
	u.RawQuery = normalQuery(u.RawQuery)
	if len(u.String()) > maxLink {
		return nil, &LinkError{Err: errLinkTooLong}
	}
	return u, nil
}

// normalQuery escapes the ambiguous and invalid bytes of a query, whose escapes are valid.
func normalQuery(query string) string {
	var b strings.Builder
	for i := range len(query) {
		switch c := query[i]; {
		case c == '+':
			b.WriteString("%20")
		case c <= ' ' || c >= 0x7f || strings.IndexByte(`;"<>`, c) >= 0:
			fmt.Fprintf(&b, "%%%02X", c)
		default:
			b.WriteByte(c)
		}
	}
	return b.String()
}

// link is one link-value of a Link header.
type link struct {
	target      string
	rel, anchor *string // nil if absent; of parameters that are repeated, the first
}

// isNext reports whether the link leads from base to the next page.
func (l link) isNext(base *url.URL) bool {
	if l.rel == nil || !hasNext(*l.rel) {
		return false
	}
	if l.anchor == nil {
		return true
	}
	own := *base
	own.User, own.Fragment, own.RawFragment = nil, "", ""
	context, err := own.Parse(*l.anchor)
	return err == nil && context.String() == own.String()
}

// hasNext reports whether a list of relation types has the type "next".
func hasNext(rel string) bool {
	for _, relation := range strings.FieldsFunc(rel, func(r rune) bool { return r == ' ' || r == '\t' }) {
		if strings.EqualFold(relation, "next") {
			return true
		}
	}
	return false
}

// cutLink parses the link-value at the start of s, which is not empty. It reports false if the
// text is malformed. The parsing follows RFC 8288 Appendix B.2 and B.3.
func cutLink(s string) (l link, rest string, ok bool) {
	if s[0] != '<' {
		return link{}, "", false
	}
	target, s, closed := strings.Cut(s[1:], ">")
	if !closed {
		return link{}, "", false
	}
	l.target = target
	for {
		s = trimBlanks(s)
		if s == "" || s[0] == ',' {
			return l, s, true
		}
		if s[0] != ';' {
			return link{}, "", false
		}
		var name, value string
		if name, value, s, ok = cutParameter(trimBlanks(s[1:])); !ok {
			return link{}, "", false
		}
		switch {
		case strings.EqualFold(name, "rel") && l.rel == nil:
			l.rel = &value
		case strings.EqualFold(name, "anchor") && l.anchor == nil:
			l.anchor = &value
		}
	}
}

// cutParameter parses the parameter at the start of s, which may be empty.
func cutParameter(s string) (name, value, rest string, ok bool) {
	name, s = cutBefore(s, "=;, \t")
	s = trimBlanks(s)
	if s == "" || s[0] != '=' {
		return name, "", s, true
	}
	s = trimBlanks(s[1:])
	if s == "" || s[0] != '"' {
		value, s = cutBefore(s, ";,")
		value = strings.TrimRight(value, " \t")
		if len(value) >= 2 && value[0] == '\'' && value[len(value)-1] == '\'' { // as some services write it
			value = value[1 : len(value)-1]
		}
		return name, value, s, true
	}
	value, rest, ok = cutQuoted(s[1:])
	return name, value, rest, ok
}

// cutQuoted parses the rest of a quoted-string (RFC 9110 §5.6.4), after its first quote.
func cutQuoted(s string) (value, rest string, ok bool) {
	var b strings.Builder
	for i := 0; i < len(s); i++ {
		switch {
		case s[i] == '"':
			return b.String(), s[i+1:], true
		case s[i] == '\\' && i+1 < len(s):
			i++
		}
		b.WriteByte(s[i])
	}
	return "", "", false
}

// cutBefore splits s before the first of some characters.
func cutBefore(s, chars string) (before, after string) {
	if i := strings.IndexAny(s, chars); i >= 0 {
		return s[:i], s[i:]
	}
	return s, ""
}

func trimBlanks(s string) string { return strings.TrimLeft(s, " \t") }
