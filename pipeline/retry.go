package pipeline

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"reflect"
	"slices"
	"strings"
	"unicode/utf8"

	"github.com/a0b132ce/retryablehttp"
)

// Retry is a Policy that retries requests, by a [retryablehttp.Client]. The policies
// after it see each attempt: a clone of the request with a body of its own.
//
// If the attempts are used up, the response of the last one is returned, whatever its status.
// An error says how many attempts there were if there was more than one.
//
// The zero Retry makes up to 3 retries, and limits them as [retryablehttp.Recommended] does,
// with a Budget and a Gate for each pipeline that it is given to. It retries transport errors
// and the statuses 408, 429, 500, 502, 503 and 504. A request whose method is not
// idempotent, such as a POST, is repeated only if the server cannot have acted on it or it
// has an Idempotency-Key; see [retryablehttp.SafeRetryPolicy].
//
// [CallRetry], [retryablehttp.WithRetryMax] and [retryablehttp.WithCheckRetry] change the
// settings of one call.
type Retry struct {
	// Client has the settings. Nil means the settings of the zero Retry. Its HTTPClient is
	// not used. A CheckRetry that is nil, or the DefaultRetryPolicy that NewClient sets,
	// means the rules of the zero Retry. If ErrorHandler is nil, a call that fails returns the last response,
	// if there is one, and no error. If Logger is nil or the one of NewClient, the retries are
	// logged as the pipeline's Logging says.
	Client *retryablehttp.Client
}

// Do implements [Policy]. It is not called if the Retry was given to [New] itself, which
// prepares it once.
func (p Retry) Do(req *Request) (*http.Response, error) {
	if req == nil || req.raw == nil || req.op.stages == nil {
		return req.Next() // which fails
	}
	return p.bind(req.op.stages).Do(req)
}

// CallRetry returns a CallOption that changes the retries of one call. change modifies a copy
// of the client's settings. If the option is given more than once, each change is made.
func CallRetry(change func(*retryablehttp.Client)) CallOption {
	return func(r *Request) {
		before, _ := Value[retryChange](r)
		SetValue(r, retryChange(func(c *retryablehttp.Client) {
			if before != nil {
				before(c)
			}
			if change != nil {
				change(c)
			}
		}))
	}
}

type retryChange func(*retryablehttp.Client)

// RetryStatuses returns a CheckRetry that retries the given statuses and no others, and the
// transport errors that are not permanent. Like [retryablehttp.SafeRetryPolicy] it repeats a
// request that is not idempotent only if that is safe.
func RetryStatuses(codes ...int) retryablehttp.CheckRetry {
	codes = slices.Clone(codes)
	return func(ctx context.Context, resp *http.Response, err error) (bool, error) {
		switch {
		case err != nil:
			return retryablehttp.SafeRetryPolicy(ctx, resp, err)
		case !slices.Contains(codes, resp.StatusCode):
			return false, ctx.Err()
		}
		return retryablehttp.SafeRetryPolicy(ctx, asServerError(resp), nil)
	}
}

// asServerError returns a response that SafeRetryPolicy retries as far as that is safe.
func asServerError(resp *http.Response) *http.Response {
	if code := resp.StatusCode; code == http.StatusTooManyRequests || code >= 500 && code != http.StatusNotImplemented {
		return resp
	}
	copied := *resp
	copied.StatusCode = http.StatusInternalServerError
	return &copied
}

var retryDefault = RetryStatuses(http.StatusRequestTimeout, http.StatusTooManyRequests, http.StatusInternalServerError,
	http.StatusBadGateway, http.StatusServiceUnavailable, http.StatusGatewayTimeout)

// defaultRetryMax is the number of retries of the zero Retry.
const defaultRetryMax = 3

// unsafePolicy is the CheckRetry of NewClient, which repeats a POST like a GET.
var unsafePolicy = reflect.ValueOf(retryablehttp.DefaultRetryPolicy).Pointer()

// silentLogger is the type of the Logger of NewClient.
var silentLogger = reflect.TypeOf(retryablehttp.NewClient().Logger)

// bind returns the policy for a pipeline.
func (p Retry) bind(s *stages) Policy {
	given := p.Client
	if given == nil {
		given = retryablehttp.Recommended()
		given.RetryMax, given.CheckRetry = defaultRetryMax, nil
	}
	c := *given
	if c.CheckRetry == nil || reflect.ValueOf(c.CheckRetry).Pointer() == unsafePolicy {
		c.CheckRetry = retryDefault
	}
	if c.ErrorHandler == nil {
		c.ErrorHandler = lastResponse
	}
	if c.Logger == nil || reflect.TypeOf(c.Logger) == silentLogger {
		c.Logger = s.log.forRetries()
	}
	if c.RedactURL == nil {
		c.RedactURL = s.show
	}
	return boundRetry{&c}
}

// lastResponse returns the last response. It returns an error if there is no response, the
// context has ended, or a callback has failed.
func lastResponse(resp *http.Response, err error, n int) (*http.Response, error) {
	ended := errors.Is(err, context.DeadlineExceeded) || errors.Is(err, context.Canceled)
	if resp == nil || !ended {
		resp, err = retryablehttp.PassthroughErrorHandler(resp, err, n)
	}
	if resp != nil && err != nil {
		resp.Body.Close()
		resp = nil
	}
	return resp, err
}

// boundRetry is a Retry whose client has all settings.
type boundRetry struct{ client *retryablehttp.Client }

func (p boundRetry) Do(req *Request) (*http.Response, error) {
	client := p.client
	if change, ok := Value[retryChange](req); ok && change != nil {
		changed := *client
		change(&changed)
		client = &changed
	}
	if err := req.useBody(); err != nil {
		return nil, err
	}
	t := &req.op.attempts
	if req.op.retried.Swap(true) { // by another Retry, or in an earlier call
		t = new(attempts)
	}
	t.req = req
	t.retrying.Client, t.retrying.Base = client, t
	resp, err := t.retrying.RoundTrip(req.raw)
	if err != nil {
		return nil, t.explain(err)
	}
	return resp, nil
}

// attempts is the transport of the client for one call.
type attempts struct {
	retrying retryablehttp.RoundTripper
	req      *Request
	n        int
	current  Request // number n
	firstURL url.URL // of attempt 1
}

// RoundTrip makes one attempt.
func (t *attempts) RoundTrip(raw *http.Request) (*http.Response, error) {
	t.n++
	if raw == t.req.raw { // else it is the own copy of the attempt
		raw = raw.WithContext(raw.Context())
	}
	u := &t.firstURL
	if t.n > 1 { // the attempt before may still be reading that
		u = new(url.URL)
	}
	*u = *raw.URL
	raw.URL, raw.Header = u, ownHeader(raw.Header)
	t.current = Request{raw: raw, op: t.req.op, next: t.req.next, body: bodyOf(raw)}
	t.current.body.once = t.req.body.once || t.req.raw.GetBody == nil
	resp, err := t.current.Next()
	t.current.closeUnused()
	if outer, ok := err.(*url.Error); ok && outer.Op == operationOf(t.req.raw) && outer.URL == t.req.raw.URL.String() {
		err = outer.Err // explain adds these
	}
	return resp, err
}

// ownHeader returns a copy of header that shares the slices of values. The methods of
// http.Header do not modify them.
func ownHeader(header http.Header) http.Header {
	own := make(http.Header, len(header)+4) // some policies add fields
	for name, values := range header {
		own[name] = values[:len(values):len(values)]
	}
	return own
}

// explain adds the method, the URL and the number of attempts to err.
func (t *attempts) explain(err error) error {
	if t.n > 1 {
		err = fmt.Errorf("giving up after %d attempt(s): %w", t.n, withoutURL(err))
	}
	if _, ok := err.(*url.Error); ok {
		return err
	}
	raw := t.req.raw
	return &url.Error{Op: operationOf(raw), URL: t.req.op.stages.show(raw.URL), Err: err}
}

// operationOf returns the Op of a *url.Error as net/http has it.
func operationOf(r *http.Request) string {
	method := methodOf(r)
	_, first := utf8.DecodeRuneInString(method)
	return method[:first] + strings.ToLower(method[first:])
}
