package pipeline

import (
	"fmt"
	"maps"
	"net/http"
	"slices"
	"strings"
)

// Headers is a Policy that sets the headers of [CallHeaders]. Without it in the pipeline
// they are ignored. The policies after it may replace them.
type Headers struct{}

// ErrHeader is matched by the error of a call whose [CallHeaders] cannot be sent.
var ErrHeader error = permanent("pipeline: invalid header")

// CallHeaders returns a CallOption that sets the headers of one call, on each attempt. They
// replace values that the request has under the same name, whatever the case of the name. All
// values of a name are sent. A name without values is ignored. If the option is given more
// than once, the later one wins for the names that both have. The header is copied.
//
// Host sets the Host of the request, not where it is sent. Requests to another origin get
// their own (see [Request.Foreign]).
//
// A name that is not a token (RFC 9110 §5.1) or a value with a control character fails the
// call with [ErrHeader] before anything is sent.
func CallHeaders(header http.Header) CallOption {
	set := callHeaders{}
	for name, values := range header {
		if len(values) > 0 {
			name = http.CanonicalHeaderKey(name)
			set[name] = slices.Concat(set[name], values)
		}
	}
	return func(r *Request) {
		if before, ok := Value[callHeaders](r); ok {
			merged := maps.Clone(before)
			maps.Copy(merged, set)
			SetValue(r, merged)
		} else {
			SetValue(r, set)
		}
	}
}

// callHeaders are never modified.
type callHeaders http.Header

// Do implements [Policy].
func (Headers) Do(req *Request) (*http.Response, error) {
	header, _ := Value[callHeaders](req)
	for name, values := range header {
		switch {
		case !validName(name):
			return nil, fmt.Errorf("%w: the name is %q", ErrHeader, name)
		case slices.ContainsFunc(values, hasControl):
			return nil, fmt.Errorf("%w: %s has a control character", ErrHeader, name)
		}
	}
	raw := req.Raw()
	for name, values := range header {
		switch {
		case name != "Host":
			raw.Header[name] = slices.Clone(values)
		case !req.Foreign():
			raw.Host = values[0]
		}
	}
	return req.Next()
}

// tokenChars are the characters of a token (RFC 9110 §5.6.2).
const tokenChars = "!#$%&'*+-.^_`|~0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"

// validName reports whether s can be the name of a header, which is a token.
func validName(s string) bool { return s != "" && strings.Trim(s, tokenChars) == "" }

// hasControl reports whether s has a control character other than a tab, which no value of a
// header may have (RFC 9110 §5.5).
func hasControl(s string) bool {
	return strings.ContainsFunc(s, func(c rune) bool { return c < ' ' && c != '\t' || c == 0x7f })
}
