package lro

import (
	"context"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"log/slog"
	"net/http"
	"net/url"
	"strings"

	"github.com/a0b132ce/retryablehttp/internal/origin"
	"github.com/a0b132ce/retryablehttp/pipeline"
)

// TokenReason says why a resume token was refused.
type TokenReason string

const (
	// TokenMalformed means that the token is empty, longer than 16 KiB, cut off or changed, or
	// that its contents make no sense.
	TokenMalformed TokenReason = "malformed"
	// TokenVersion means that the token was made by another version of this package.
	TokenVersion TokenReason = "version"
	// TokenOperation means that the token has another Options.Operation.
	TokenOperation TokenReason = "operation"
	// TokenType means that the token is for another type of result.
	TokenType TokenReason = "type"
	// TokenOrigin means that the operation was not started at the origin of the endpoint.
	TokenOrigin TokenReason = "origin"
	// TokenDone means that the operation had ended. Such an error matches ErrDone.
	TokenDone TokenReason = "done"
)

// TokenError is the error for a resume token that Resume refuses.
type TokenError struct {
	Reason TokenReason

	detail string
}

// Error returns one line. It does not quote the token.
func (e *TokenError) Error() string {
	return "lro: resume token refused: " + e.detail
}

// Is reports whether the operation had ended and target is ErrDone.
func (e *TokenError) Is(target error) bool {
	return e.Reason == TokenDone && target == ErrDone
}

func malformed(detail string) error { return &TokenError{TokenMalformed, detail} }

const (
	tokenVersion = "lro1"
	maxToken     = 16 << 10
)

// ResumeToken returns a text from which [Resume] makes a Poller for the same operation, in
// this or another process. It has only letters, digits, '.', '-' and '_', and at most 16 KiB.
// If the URLs of the operation are too long for that, ResumeToken returns an error.
//
// The error is ErrDone if the operation has ended, even if its result has not been fetched. So
// keep the last token until Result has returned the result. A Poller that is resumed with that
// token polls again and then fetches the result.
//
// The token has the URLs of the operation, with their queries but without user information,
// and the time of the next poll if the service has asked for one. It has no header fields.
// Some services put secrets into the query, so treat the token as a secret.
//
// The token is not encrypted or signed. Its checksum detects accidents, not attacks: whoever
// can make a token can choose the URL that is polled, so do not accept one from a client that
// is not trusted.
func (p *Poller[T]) ResumeToken() (string, error) {
	if p.Done() {
		return "", ErrDone
	}
	p.op.Text = p.op.last.Text
	contents, err := json.Marshal(p.op.record)
	if err != nil {
		return "", fmt.Errorf("lro: encoding the resume token: %w", err)
	}
	token := tokenVersion + "." + base64.RawURLEncoding.EncodeToString(contents)
	token += "." + checksum(token)
	if len(token) > maxToken {
		return "", fmt.Errorf("lro: the resume token has more than %d bytes", maxToken)
	}
	return token, nil
}

// checksum returns the first 96 bits of the SHA-256 of text.
func checksum(text string) string {
	sum := sha256.Sum256([]byte(text))
	return base64.RawURLEncoding.EncodeToString(sum[:12])
}

// Resume returns a Poller for the operation of a token that ResumeToken has returned. It
// sends no request. The endpoint is the URL of the service. The operation must have been
// started at its origin, and the credentials of pl are sent only there. User information in
// the endpoint is sent to that origin too.
//
// Options.Operation and T must be the same as for the Poller that made the token. Types are
// compared by their names and package paths, and a type without a name by its parts. Do not
// declare T within a function: its name could change when the program is built again. If the
// token is refused, the error is a [*TokenError].
func Resume[T any](token, endpoint string, pl pipeline.Pipeline, opts *Options[T]) (*Poller[T], error) {
	home, err := pipeline.NewRequest(context.Background(), http.MethodGet, endpoint)
	if err != nil {
		return nil, fmt.Errorf("lro: the endpoint: %w", err)
	}
	p := newPoller(pl, opts)
	saved, err := parseToken(token)
	if err != nil {
		return nil, err
	}
	original, err := saved.check(p.op.record, home.Raw().URL)
	if err != nil {
		return nil, err
	}
	p.op.record = saved
	p.op.home, p.op.user = original, home.Raw().URL.User
	p.op.last.Text = saved.Text
	p.op.log(context.Background(), slog.LevelInfo, "operation resumed",
		slog.String("protocol", string(saved.Protocol)), slog.String("url", p.op.shown()))
	return p, nil
}

// parseToken returns the contents of a token.
func parseToken(token string) (record, error) {
	var saved record
	if len(token) > maxToken {
		return saved, malformed(fmt.Sprintf("it has more than %d bytes", maxToken))
	}
	version, rest, _ := strings.Cut(token, ".")
	if version != tokenVersion {
		digits, ok := strings.CutPrefix(version, "lro")
		if ok && digits != "" && strings.Trim(digits, "0123456789") == "" {
			return saved, &TokenError{TokenVersion, "it was made by another version"}
		}
		return saved, malformed("it is not a token of this package")
	}
	encoded, sum, _ := strings.Cut(rest, ".")
	if sum != checksum(version+"."+encoded) {
		return saved, malformed("it is incomplete or was changed")
	}
	contents, err := base64.RawURLEncoding.DecodeString(encoded)
	if err == nil {
		err = json.Unmarshal(contents, &saved)
	}
	if err != nil {
		return saved, malformed("its contents cannot be decoded")
	}
	return saved, nil
}

// check returns the original URL of r. It returns an error if r is incomplete, if its name
// and type are not those of wants, or if it is not for the endpoint.
func (r *record) check(wants record, endpoint *url.URL) (*url.URL, error) {
	switch {
	case r.Type != wants.Type:
		return nil, &TokenError{TokenType, "it is for another type of result"}
	case r.Name != wants.Name:
		return nil, &TokenError{TokenOperation, "it is for another operation"}
	case r.Protocol == protocolNone, stateOf(r.Text) != InProgress:
		return nil, &TokenError{TokenDone, "the operation had ended"}
	case !r.Protocol.known():
		return nil, malformed("it has an unknown protocol")
	case !r.Final.known():
		return nil, malformed("it has an unknown final state")
	}
	for _, ref := range []*string{&r.OriginalURL, &r.PollURL, &r.LocationURL} {
		if ref == &r.LocationURL && *ref == "" {
			continue
		}
		var err error
		if *ref, err = resolve(nil, *ref); err != nil {
			return nil, malformed("it has an invalid URL")
		}
	}
	original, err := url.Parse(r.OriginalURL)
	if err != nil || origin.Of(original) != origin.Of(endpoint) {
		return nil, &TokenError{TokenOrigin, "the operation was started at another origin"}
	}
	return original, nil
}
