package pipeline

import (
	"cmp"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"unicode"
)

// Key is a Policy that sends an API key in a header. It replaces a value that the header
// has. The key is sent only to the origin of the call (see [Request.Foreign]): a request to
// another one gets none, and loses the header if it has it.
//
// The errors are [ErrInsecure] and [ErrCredential]. Neither is retried, and neither has the
// key in its text.
type Key struct {
	// Header is the name of the header. "" means Authorization. A header that is sent to
	// other origins too (see New), such as Accept-Key, or that net/http does not send as it is,
	// such as Host, is refused with ErrCredential.
	Header string
	// Prefix comes before the key, for example "ApiKey ".
	Prefix string
	// Value returns the key. It is called for each attempt, if the policy stands after Retry, by
	// many goroutines at once. So a key may change at any time.
	Value func() string
	// AllowHTTP sends the key also over plain http, where others can read it.
	AllowHTTP bool
}

var (
	// ErrInsecure is returned for a credential that would be sent over plain http.
	ErrInsecure error = permanent("pipeline: a credential is not sent over plain http, unless AllowHTTP is set")

	// ErrCredential is matched by the error for a credential that cannot be sent: it is
	// empty, or has a control character such as a line break at the end.
	ErrCredential error = permanent("pipeline: the credential cannot be sent")
)

// Do implements [Policy].
func (p Key) Do(req *Request) (*http.Response, error) {
	raw, name := req.Raw(), http.CanonicalHeaderKey(cmp.Or(p.Header, "Authorization"))
	if req.Foreign() {
		raw.Header.Del(name)
		return req.Next()
	}
	switch {
	case insecure(raw.URL, p.AllowHTTP):
		return nil, ErrInsecure
	case !validName(name) || public(name) || slices.Contains(notSent, name):
		return nil, fmt.Errorf("%w in the header %q", ErrCredential, name)
	case p.Value == nil:
		return nil, fmt.Errorf("%w: Key.Value is nil", ErrCredential)
	}
	value, err := credentialHeader(p.Prefix, p.Value())
	if err != nil {
		return nil, err
	}
	raw.Header.Set(name, value)
	return req.Next()
}

// notSent are fields that net/http sets itself or does not send over HTTP/2 (RFC 9113 §8.2.2).
var notSent = []string{
	"Host", "Trailer", "Transfer-Encoding", "Connection", "Keep-Alive", "Proxy-Connection", "Te", "Upgrade",
}

// insecure reports whether a credential must not be sent to u.
func insecure(u *url.URL, allowHTTP bool) bool {
	return !allowHTTP && strings.ToLower(u.Scheme) != "https"
}

// credentialHeader returns the value of a header with a key or token.
func credentialHeader(prefix, secret string) (string, error) {
	value := prefix + secret
	switch {
	case strings.TrimSpace(secret) == "":
		return "", fmt.Errorf("%w: it is empty", ErrCredential)
	case strings.ContainsFunc(value, unicode.IsControl):
		return "", fmt.Errorf("%w: it has a control character", ErrCredential)
	}
	return value, nil
}
