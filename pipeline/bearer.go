package pipeline

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"strings"
	"sync"
	"time"

	"github.com/a0b132ce/retryablehttp/internal/origin"
	"github.com/a0b132ce/retryablehttp/internal/redact"
)

// BearerToken is a Policy that sends a token in the Authorization header (RFC 6750 §2.1),
// gets a new one before it expires, and keeps it for all calls. It replaces a value that the
// header has. Share one BearerToken, by its address, between the pipelines that use the same
// token. Any number of goroutines may use it; do not copy or change it once it is in use.
//
// The token is sent only to the origin of the call (see [Request.Foreign]): for a request to
// another one nothing is fetched, and an Authorization header that it has is removed.
//
// A token is fetched if there is none, or if it has expired. One call fetches, in its own
// goroutine, and the others wait until it is done or their context ends. If the fetch fails,
// they fail with the same error. If the fetch fails because that call's context has ended,
// one of the waiting calls fetches.
//
// A token is refreshed early from its RefreshAt on. One call does so while the others use
// the old token. An error is ignored while the old token is valid, and the next attempt is
// made after 30 s. That call waits for Fetch, which should limit its own time.
//
// A 401 response drops the token. If it has a WWW-Authenticate header (RFC 9110 §11.6.1), a
// new token is fetched with that challenge, and the request is sent once more within the same
// attempt. If its body can be read only once, the 401 is returned.
//
// The errors are [ErrInsecure], [ErrCredential] and [TokenError], none of which is retried,
// and the error of a context that ends.
//
// A clientcredentials.Config of golang.org/x/oauth2 needs no more than
//
//	Fetch: func(ctx context.Context, _ pipeline.TokenRequest) (pipeline.Token, error) {
//		t, err := config.Token(ctx)
//		if err != nil {
//			return pipeline.Token{}, err
//		}
//		return pipeline.Token{Value: t.AccessToken, Expires: t.Expiry}, nil
//	},
//
// An oauth2.TokenSource gets no context, so its http.Client needs a Timeout. The source must not
// cache tokens. After a 401 it would return the refused token.
//
// For several tenants, write a Policy that picks one of several BearerTokens, for example by
// [Value], and returns the result of its Do.
type BearerToken struct {
	// Fetch gets a token. It is not called again before it has returned. ctx ends when the
	// request's context ends. It has none of its values, because other calls use the token
	// too. The call waits for Fetch, so Fetch must return when ctx ends. A fetch that should
	// be retried does so by itself, for example with a client of package retryablehttp.
	Fetch func(ctx context.Context, r TokenRequest) (Token, error)
	// AllowHTTP sends the token also over plain http, where others can read it.
	AllowHTTP bool

	mu      sync.Mutex
	cached  *cachedToken  // nil if there is none
	pending *pendingToken // nil if no fetch is under way
}

// TokenRequest says which token is needed.
type TokenRequest struct {
	// Challenge is the WWW-Authenticate header of the response that refused the token
	// before, several values joined by ", ". Otherwise it is "".
	Challenge string
}

// Token is what [BearerToken] sends. Printing, logging or encoding it as JSON does not reveal
// the value. Package fmt reveals it only within a struct that has it in an unexported field.
type Token struct {
	Value string `json:"-"`
	// Expires is when the token is no longer accepted. Zero means never.
	Expires time.Time
	// RefreshAt is from when on a new token is fetched while this one can still be used.
	// Zero means 5 minutes before Expires, or a tenth of the lifetime if that is shorter.
	RefreshAt time.Time
}

// Format implements [fmt.Formatter].
func (t Token) Format(f fmt.State, _ rune) { io.WriteString(f, "{REDACTED}") }

// LogValue implements [slog.LogValuer].
func (t Token) LogValue() slog.Value { return slog.StringValue("{REDACTED}") }

// TokenError is returned if [BearerToken] needs a token and Fetch fails. The request was not
// sent, or was refused with a 401. It is not retried, unless the attempt has timed out.
type TokenError struct {
	Err error

	abandoned bool // the context of the attempt has ended
}

func (e *TokenError) Error() string { return "pipeline: fetching a token: " + e.Err.Error() }
func (e *TokenError) Unwrap() error { return e.Err }

// Permanent tells [retryablehttp.DefaultRetryPolicy] whether to retry.
func (e *TokenError) Permanent() bool { return !e.abandoned }

const (
	refreshBefore = 5 * time.Minute  // Expires, at most
	refreshPause  = 30 * time.Second // between early refreshes
)

// cachedToken is a token as it is sent.
type cachedToken struct {
	header     func() string // a function, so that printing a BearerToken does not reveal it
	expires    time.Time     // zero means never
	refreshAt  time.Time     // the same; guarded by BearerToken.mu
	challenged bool          // it was fetched for a challenge
}

// newCachedToken returns a token that was fetched at now.
func newCachedToken(t Token, now time.Time, challenged bool) (*cachedToken, error) {
	header, err := credentialHeader("Bearer ", t.Value)
	if err != nil {
		return nil, err
	}
	refreshAt := t.RefreshAt
	if refreshAt.IsZero() && !t.Expires.IsZero() {
		refreshAt = t.Expires.Add(-min(refreshBefore, t.Expires.Sub(now)/10))
	}
	if !refreshAt.IsZero() && !refreshAt.After(now) {
		refreshAt = now.Add(refreshPause)
	}
	return &cachedToken{func() string { return header }, t.Expires, refreshAt, challenged}, nil
}

func (t *cachedToken) valid(now time.Time) bool { return t.expires.IsZero() || now.Before(t.expires) }

func (t *cachedToken) due(now time.Time) bool {
	return !t.refreshAt.IsZero() && !now.Before(t.refreshAt)
}

// pendingToken is a fetch that is under way. Its fields are set when done is closed.
type pendingToken struct {
	done      chan struct{}
	token     *cachedToken // nil if it failed
	err       error
	abandoned bool // the context of the call that fetched has ended, or Fetch has panicked
}

// Do implements [Policy].
func (p *BearerToken) Do(req *Request) (*http.Response, error) {
	raw := req.Raw()
	switch {
	case req.Foreign():
		raw.Header.Del("Authorization")
		return req.Next()
	case insecure(raw.URL, p.AllowHTTP):
		return nil, ErrInsecure
	case p.Fetch == nil:
		return nil, fmt.Errorf("%w: BearerToken.Fetch is nil", ErrCredential)
	}
	resp, token, err := p.send(req, "")
	if err != nil || !refused(req, resp) {
		return resp, err
	}
	challenge := strings.Join(resp.Header.Values("WWW-Authenticate"), ", ")
	p.drop(token)
	if challenge == "" || hasBody(raw) && (raw.GetBody == nil || req.body.once) {
		return resp, nil
	}
	resp.Body.Close()
	if resp, token, err = p.send(req, challenge); err == nil && refused(req, resp) {
		p.drop(token)
	}
	return resp, err
}

// send sends the request with a token for the challenge.
func (p *BearerToken) send(req *Request, challenge string) (*http.Response, *cachedToken, error) {
	token, err := p.token(req.Raw().Context(), challenge)
	if err != nil {
		return nil, nil, err
	}
	req.Raw().Header.Set("Authorization", token.header())
	resp, err := req.Next()
	return resp, token, err
}

// refused reports whether the origin that got the token has refused it. After a redirect
// another one may have responded.
func refused(req *Request, resp *http.Response) bool {
	return resp.StatusCode == http.StatusUnauthorized &&
		(resp.Request == nil || resp.Request.URL == nil || origin.Of(resp.Request.URL) == req.op.home)
}

// drop forgets a token that was refused.
func (p *BearerToken) drop(token *cachedToken) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.cached == token {
		p.cached = nil
	}
}

// token returns the token to send. If there is a challenge, it is one that was fetched for a
// challenge.
func (p *BearerToken) token(ctx context.Context, challenge string) (*cachedToken, error) {
	for {
		p.mu.Lock()
		cached, pending, now := p.cached, p.pending, time.Now()
		usable := cached != nil && cached.valid(now) && (challenge == "" || cached.challenged)
		switch {
		case usable && (pending != nil || !cached.due(now)):
			p.mu.Unlock()
			return cached, nil
		case pending == nil:
			pending = &pendingToken{done: make(chan struct{})}
			p.pending = pending
			p.mu.Unlock()
			p.fetch(ctx, pending, challenge)
			if pending.err != nil && usable && p.keeps(cached) {
				return cached, nil
			}
			return pending.token, pending.err
		}
		p.mu.Unlock()
		select {
		case <-pending.done:
		case <-ctx.Done():
			return nil, fmt.Errorf("pipeline: waiting for a token: %w", ctx.Err())
		}
		if pending.abandoned || challenge != "" && pending.token != nil && !pending.token.challenged {
			continue
		}
		return pending.token, pending.err
	}
}

// keeps reports whether token is still the cached one and valid.
func (p *BearerToken) keeps(token *cachedToken) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.cached == token && token.valid(time.Now())
}

// fetch calls Fetch and sets the result.
func (p *BearerToken) fetch(ctx context.Context, pending *pendingToken, challenge string) {
	pending.abandoned = true // until Fetch returns
	defer func() {
		p.mu.Lock()
		defer p.mu.Unlock()
		p.pending = nil
		if pending.token != nil {
			p.cached = pending.token
		} else if p.cached != nil {
			p.cached.refreshAt = time.Now().Add(refreshPause)
		}
		close(pending.done)
	}()
	token, err := p.Fetch(withoutValues{ctx}, TokenRequest{Challenge: challenge})
	pending.abandoned = err != nil && ctx.Err() != nil
	if err != nil {
		pending.err = &TokenError{redact.Error(err, redact.URL), pending.abandoned}
	} else {
		pending.token, pending.err = newCachedToken(token, time.Now(), challenge != "")
	}
}

// withoutValues keeps the deadline and the cancellation of its parent, not its values.
type withoutValues struct{ context.Context }

func (withoutValues) Value(any) any { return nil }
