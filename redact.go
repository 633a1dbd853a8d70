package retryablehttp

import (
	"errors"
	"net/url"
	"regexp"
	"strings"
)

// redacted stands in for a secret. It needs no escaping in a query or a fragment.
const redacted = "REDACTED"

// redactURL is the default of Client.RedactURL. It keeps what tells one endpoint
// from another and hides what may be a secret: the password (or a user name that
// stands alone, which is how tokens are written), every query value, a query
// parameter without a value, and the fragment. The password reads "xxxxx", as in
// [url.URL.Redacted].
func redactURL(u *url.URL) string {
	if u == nil {
		return ""
	}
	shown := *u
	if u.User != nil {
		shown.User = url.User("xxxxx")
		if _, has := u.User.Password(); has {
			shown.User = url.UserPassword(u.User.Username(), "xxxxx")
		}
	}
	if i := strings.LastIndexByte(u.Opaque, '@'); i >= 0 { // http:user:password@host
		shown.Opaque = "xxxxx" + u.Opaque[i:]
	}
	shown.RawQuery = redactQuery(u.RawQuery)
	if u.Fragment != "" {
		shown.Fragment, shown.RawFragment = redacted, ""
	}
	return shown.String()
}

// redactQuery hides the values of a query and keeps the names, their order and
// the separators.
func redactQuery(query string) string {
	var b strings.Builder
	for query != "" {
		pair, sep := query, ""
		if i := strings.IndexAny(query, "&;"); i >= 0 {
			pair, sep = query[:i], query[i:i+1]
		}
		query = query[len(pair)+len(sep):]
		if name, _, ok := strings.Cut(pair, "="); ok {
			b.WriteString(name + "=")
		}
		if pair != "" {
			b.WriteString(redacted)
		}
		b.WriteString(sep)
	}
	return b.String()
}

// redactText applies redact to everything in a text that looks like a URL, and
// hides the query values of anything that looks like a path with a query. It is
// for the messages of errors that were made elsewhere.
func redactText(text string, redact func(*url.URL) string) string {
	if !strings.ContainsAny(text, "?@#") && !strings.Contains(text, "://") {
		return text
	}
	return urlLike.ReplaceAllStringFunc(text, func(found string) string {
		quote := ""
		if found[0] == '"' {
			quote, found = `"`, found[1:len(found)-1]
		}
		u, err := url.Parse(found)
		switch {
		case err != nil:
			found = redactUnparsable(found)
		case u.Host == "": // a path: not what redact is made for
			found = redactURL(u)
		default:
			found = redact(u)
		}
		return quote + found + quote
	})
}

// A URL that is quoted, as *url.Error does it, is taken whole, blanks and all.
var urlLike = regexp.MustCompile(`"(?:[^"\\]|\\.)*[?@#](?:[^"\\]|\\.)*"|//[^\s"/]*@[^\s"]*|[a-zA-Z][a-zA-Z0-9+.-]*://[^\s"]+|[^\s"'<>?]*\?[^\s"]*=[^\s"]*`)

// redactUnparsable shows of a text that should have been a URL what cannot hold a
// secret: the scheme, and the rest only as far as it has no userinfo and no query.
func redactUnparsable(text string) string {
	scheme, rest, absolute := strings.Cut(text, "://")
	if !absolute {
		scheme, rest = "", text
	}
	path, _, _ := strings.Cut(rest, "?")
	// What url.Parse refuses need not split where it seems to: a password may
	// hold the characters that would end it. So an @ or a colon hides it all.
	if path != rest || strings.ContainsAny(rest, "@#:") {
		rest = redacted
		if !strings.ContainsAny(path, "@#:") {
			rest = path + "?" + redacted
		}
	}
	if absolute {
		return scheme + "://" + rest
	}
	return rest
}

// redactParseError hides the URL in the error of url.Parse, which quotes it whole
// and, in what went wrong, in part.
func redactParseError(err error) error {
	var parse *url.Error
	if !errors.As(err, &parse) {
		return err
	}
	return &url.Error{
		Op:  parse.Op,
		URL: redactUnparsable(parse.URL),
		Err: errors.New(quoted.ReplaceAllString(parse.Err.Error(), redacted)),
	}
}

var quoted = regexp.MustCompile(`"(?:[^"\\]|\\.)*"`)

// redactError gives an error that was made elsewhere without the secrets in its text and
// in the *url.Error that it may be or hold. An error that has none is left as it is.
func redactError(err error, redact func(*url.URL) string) error {
	if outer, ok := err.(*url.Error); ok {
		return redactedURLError(outer, redact)
	}
	if text := err.Error(); redactText(text, redact) == text {
		return err
	}
	return &redactedError{err, redact}
}

func redactedURLError(err *url.Error, redact func(*url.URL) string) *url.Error {
	shown := redactUnparsable(err.URL)
	if u, parseErr := url.Parse(err.URL); parseErr == nil && u.Scheme == "" {
		shown = err.URL // a RedactURL has shown it already; a URL that was sent has a scheme
	} else if parseErr == nil {
		shown = redact(u)
	}
	cause := err.Err
	if cause != nil {
		cause = redactError(cause, redact)
	}
	if shown == err.URL && cause == err.Err {
		return err
	}
	return &url.Error{Op: err.Op, URL: shown, Err: cause}
}

// redactedError shows the text of an error without secrets. The error itself is
// behind it.
type redactedError struct {
	err    error
	redact func(*url.URL) string
}

func (e *redactedError) Error() string { return redactText(e.err.Error(), e.redact) }
func (e *redactedError) Unwrap() error { return e.err }

// As gives errors.As a *url.Error without secrets where there is one.
func (e *redactedError) As(target any) bool {
	shown, ok := target.(**url.Error)
	if !ok || !errors.As(e.err, shown) {
		return false
	}
	*shown = redactedURLError(*shown, e.redact)
	return true
}
