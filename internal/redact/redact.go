// Package redact removes secrets from URLs, from error texts that quote URLs, and
// from errors that hold URLs.
package redact

import (
	"errors"
	"net/url"
	"regexp"
	"strings"
	"unicode"
	"unicode/utf8"
)

// placeholder replaces a secret. It needs no escaping in a query or a fragment.
const placeholder = "REDACTED"

// Func formats a URL without its secrets.
type Func func(*url.URL) string

// URL returns u as a string that tells one endpoint from another but holds no
// secret. It replaces the password (or a user name without a password, which is
// often a token), every query value, a query parameter without a value, and the
// fragment. The password becomes "xxxxx", as in [url.URL.Redacted].
func URL(u *url.URL) string { return format(u, nil) }

// Keeping returns a Func that formats a URL as [URL] does, but keeps the query parameters
// whose decoded names keep accepts.
func Keeping(keep func(name string) bool) Func {
	return func(u *url.URL) string { return format(u, keep) }
}

// format formats u. A nil keep accepts no name.
func format(u *url.URL, keep func(name string) bool) string {
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
	shown.RawQuery = query(u.RawQuery, keep)
	if u.Fragment != "" {
		shown.Fragment, shown.RawFragment = placeholder, ""
	}
	return shown.String()
}

// query replaces the values of a query and keeps the names, their order and the
// separators. It keeps the parameters that keep accepts.
func query(raw string, keep func(name string) bool) string {
	var b strings.Builder
	for raw != "" {
		pair, sep := raw, ""
		if i := strings.IndexAny(raw, "&;"); i >= 0 {
			pair, sep = raw[:i], raw[i:i+1]
		}
		raw = raw[len(pair)+len(sep):]
		name, _, ok := strings.Cut(pair, "=")
		switch {
		case pair == "":
		case accepts(keep, name):
			b.WriteString(pair)
		case ok:
			b.WriteString(name + "=" + placeholder)
		default:
			b.WriteString(placeholder)
		}
		b.WriteString(sep)
	}
	return b.String()
}

func accepts(keep func(name string) bool, name string) bool {
	if keep == nil {
		return false
	}
	name, err := url.QueryUnescape(name)
	return err == nil && keep(name)
}

// Links returns the targets of a Link field (RFC 8288), formatted as by [String], and their
// relation types. Other parameters are left out. It returns REDACTED if there is no target.
func Links(field string, show Func) string {
	var links []string
	for _, found := range link.FindAllStringSubmatch(field, -1) {
		links = append(links, "<"+String(found[1], show)+">"+found[2])
	}
	if links == nil {
		return placeholder
	}
	return strings.Join(links, ", ")
}

// link matches a target and its relation types if those follow at once.
var link = regexp.MustCompile(`<([^<>]*)>(\s*;\s*rel="?[A-Za-z -]+"?)?`)

// Text returns text with every absolute URL in it formatted by show, and every path
// with a query or user information formatted by [URL].
func Text(text string, show Func) string {
	if !strings.ContainsAny(text, "?@#") && !strings.Contains(text, "://") {
		return text
	}
	return urlLike.ReplaceAllStringFunc(text, func(found string) string {
		if start := strings.IndexByte(found, '"') + 1; start > 0 {
			return found[:start] + String(found[start:len(found)-1], show) + `"`
		}
		bare := strings.TrimRight(found, ".,:;)") // punctuation of the sentence
		return String(bare, show) + found[len(bare):]
	})
}

// Line returns the first n bytes of text in one line, as [OneLine] does, after [Text].
func Line(text string, n int, show Func) string {
	// A URL must be complete to be recognized, so the text is cut after that.
	return OneLine(Text(OneLine(text, 8*n), show), n)
}

// OneLine returns the first n bytes of text, and "…" if there are more. White space is
// replaced by single blanks, and control characters and invalid UTF-8 are removed.
func OneLine(text string, n int) string {
	var b strings.Builder
	blank := ""
	for _, r := range text {
		switch {
		case unicode.IsSpace(r):
			blank = " "
			continue
		case !unicode.IsPrint(r) || r == utf8.RuneError:
			continue
		case b.Len() == 0:
			blank = ""
		}
		if b.Len()+len(blank)+utf8.RuneLen(r) > n {
			b.WriteString("…")
			break
		}
		b.WriteString(blank)
		b.WriteRune(r)
		blank = ""
	}
	return b.String()
}

// urlLike matches what a text may hold of URLs: what net/http and net/url quote because it is
// not a URL; a quoted URL or path, which is taken whole with its blanks, as in the text of a
// *url.Error; user information behind two slashes, or with a password; an absolute URL; a path
// with a query or a fragment.
var urlLike = regexp.MustCompile(`\b(?:parse|Location header) "(?:[^"\\]|\\.)*"` +
	`|"(?:[a-zA-Z][a-zA-Z0-9+.-]*://|https?:|/)(?:[^"\\]|\\.)*"` +
	`|//[^\s"/]*@[^\s"]*` +
	`|[a-zA-Z][a-zA-Z0-9+.-]*://[^\s"]+|https?:[^\s"]*@[^\s"]*` +
	`|[^\s"'/@:]+:[^\s"'/@]+@[^\s"']+` +
	`|[^\s"'<>?]*\?[^\s"]*=[^\s"]*` +
	`|/[^\s"'<>?#]*[?#][^\s"']+`)

// String returns a URL in string form without its secrets: formatted by show if it is
// absolute, else by [URL]. What is not a URL is cut short.
func String(raw string, show Func) string {
	u, err := url.Parse(raw)
	switch {
	case err != nil:
		return invalid(raw)
	case u.Host != "" && u.Scheme != "":
		return show(u)
	case u.User == nil && u.Opaque == "" && u.RawQuery == "" && u.Fragment == "":
		return raw
	}
	return URL(u)
}

// invalid returns the part of a malformed URL that cannot hold a secret: the scheme,
// and the rest if it has neither user information nor a query.
func invalid(text string) string {
	scheme, rest, absolute := strings.Cut(text, "://")
	if !absolute {
		scheme, rest = "", text
	}
	path, _, _ := strings.Cut(rest, "?")
	// A malformed URL may not split where it seems to: a password can hold the
	// characters that would end it. So an @ or a colon hides everything.
	if path != rest || strings.ContainsAny(rest, "@#:") {
		rest = placeholder
		if !strings.ContainsAny(path, "@#:") {
			rest = path + "?" + placeholder
		}
	}
	if absolute {
		return scheme + "://" + rest
	}
	return rest
}

// ParseError returns an error of [url.Parse] without the URL that it quotes.
func ParseError(err error) error {
	var parse *url.Error
	if !errors.As(err, &parse) {
		return err
	}
	return &url.Error{
		Op:  parse.Op,
		URL: invalid(parse.URL),
		Err: errors.New(quoted.ReplaceAllString(parse.Err.Error(), placeholder)),
	}
}

var quoted = regexp.MustCompile(`"(?:[^"\\]|\\.)*"`)

// Error returns an error that matches whatever err matches, with no secret in its text
// and in the *url.Error that it is or wraps. It returns err itself if err has none.
// Other types that [errors.As] finds are as they were.
func Error(err error, show Func) error {
	shown, _ := errorAndChanged(err, show)
	return shown
}

func errorAndChanged(err error, show Func) (shown error, changed bool) {
	if err == nil {
		return nil, false
	}
	if outer, ok := err.(*url.Error); ok {
		return urlError(outer, show)
	}
	text := err.Error()
	e := &redactedError{err: err, text: Text(text, show)}
	changed = e.text != text
	var inner *url.Error
	if errors.As(err, &inner) {
		var innerChanged bool
		e.inner, innerChanged = urlError(inner, show)
		changed = changed || innerChanged
	}
	if !changed {
		return err, false
	}
	return e, true
}

func urlError(err *url.Error, show Func) (shown *url.Error, changed bool) {
	text := String(err.URL, show)
	cause, changed := errorAndChanged(err.Err, show)
	if text == err.URL && !changed {
		return err, false
	}
	return &url.Error{Op: err.Op, URL: text, Err: cause}, true
}

// redactedError is an error with another text. The error itself is behind it.
type redactedError struct {
	err   error
	text  string
	inner *url.Error // of err, without secrets; may be nil
}

func (e *redactedError) Error() string { return e.text }
func (e *redactedError) Unwrap() error { return e.err }

// As sets target to the *url.Error without secrets.
func (e *redactedError) As(target any) bool {
	if to, ok := target.(**url.Error); ok && e.inner != nil {
		*to = e.inner
		return true
	}
	return false
}

// Timeout and Temporary are those of err, which a *url.Error around this one asks for.
func (e *redactedError) Timeout() bool {
	timeout, ok := e.err.(interface{ Timeout() bool })
	return ok && timeout.Timeout()
}

func (e *redactedError) Temporary() bool {
	temporary, ok := e.err.(interface{ Temporary() bool })
	return ok && temporary.Temporary()
}
