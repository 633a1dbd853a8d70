package retryablehttp

import (
	"context"
	"errors"
	"net/http"
	"net/url"
)

// CheckRetry decides after each attempt whether another may follow. ctx is derived from
// the request's context; [AttemptNumber] returns the attempt's number for it. resp and
// err are the attempt's result, or a response and the error that its
// [ResponseHandlerFunc] returned for it. Both are non-nil in that case, and when a
// redirect was refused (see [http.Client.Do]); the body is then already closed.
//
// If it returns true, the client waits and tries again, as far as its limits allow. If it
// returns false, the result is the call's: a response without an error is returned. An
// error that it returns is the cause of the call's error, if the call fails. After a
// response handler it is asked again. A CheckRetry may be called by many goroutines at
// once. It must leave the body of a response that it accepts unread.
type CheckRetry func(ctx context.Context, resp *http.Response, err error) (bool, error)

// DefaultRetryPolicy retries transport errors that are not permanent, the statuses 0, 429
// and 500 and above except 501, and 408 if the request is idempotent (RFC 9110 §9.2.2).
// If ctx is done it returns the error of ctx.
//
// Permanent errors are: a certificate that does not verify or that the peer rejects, an
// HTTP server behind an https URL, a proxy that refuses CONNECT with 403 Forbidden or 407
// Proxy Authentication Required (net/http reports only these words), an unsupported
// scheme, a malformed URL, an invalid method, header or trailer, a refused redirect, a
// request body that is shorter or longer than declared or cannot be sent again, and every
// error with a method Permanent() bool that returns true.
func DefaultRetryPolicy(ctx context.Context, resp *http.Response, err error) (bool, error) {
	if ctxErr := ctx.Err(); ctxErr != nil {
		return false, ctxErr
	}
	if err != nil {
		return !permanent(resp, err), nil
	}
	return retryableStatus(ctx, resp), nil
}

// ErrorPropagatedRetryPolicy decides as [DefaultRetryPolicy] does and returns the reason
// as an error, which becomes the cause of the call's error: for a status "unexpected HTTP
// status 503 Service Unavailable", for a permanent error the error itself.
func ErrorPropagatedRetryPolicy(ctx context.Context, resp *http.Response, err error) (bool, error) {
	retry, policyErr := DefaultRetryPolicy(ctx, resp, err)
	switch {
	case policyErr != nil:
		return retry, policyErr
	case err != nil && !retry:
		return false, err
	case err == nil && retry:
		return true, newStatusError(resp)
	}
	return retry, nil
}

// SafeRetryPolicy retries what [DefaultRetryPolicy] retries, but repeats a request that is
// not idempotent only if
//
//   - it was provably not sent (see [Unsent]);
//   - or it carries an Idempotency-Key (see [Client.IdempotencyKey]), by which the
//     server recognizes the repetition;
//   - or the server refused it before acting on it: 429, or 503 with Retry-After, after
//     no redirect other than 307 and 308.
//
// GET, HEAD, OPTIONS, TRACE, PUT and DELETE are idempotent (RFC 9110 §9.2.2). For other
// requests a status that would be retried is accepted: the call returns that response.
func SafeRetryPolicy(ctx context.Context, resp *http.Response, err error) (bool, error) {
	retry, policyErr := DefaultRetryPolicy(ctx, resp, err)
	if !retry || policyErr != nil {
		return retry, policyErr
	}
	switch {
	case repeatable(ctx, resp, err):
		return true, nil
	case resp == nil:
		return Unsent(err), nil
	}
	return err == nil && refusedBeforeActing(resp), nil
}

func refusedBeforeActing(resp *http.Response) bool {
	for req := resp.Request; req != nil && req.Response != nil; req = req.Response.Request {
		if !keepsBody(req.Response.StatusCode) {
			return false // a server that redirects a POST to a GET has acted on it
		}
	}
	_, wait := retryAfter(resp)
	return resp.StatusCode == http.StatusTooManyRequests || resp.StatusCode == http.StatusServiceUnavailable && wait
}

func retryableStatus(ctx context.Context, resp *http.Response) bool {
	switch code := resp.StatusCode; {
	case code == http.StatusRequestTimeout:
		return repeatable(ctx, resp, nil)
	case code == http.StatusTooManyRequests, code == 0:
		return true
	default:
		return code >= 500 && code != http.StatusNotImplemented
	}
}

// repeatable reports whether the request of the call is idempotent. The context of a call
// tells which request that is; without one it depends on what can be seen.
func repeatable(ctx context.Context, resp *http.Response, err error) bool {
	if attempt := attemptOf(ctx); attempt != nil {
		return idempotent(attempt.request)
	}
	if resp != nil {
		return resp.Request != nil && idempotentChain(resp.Request)
	}
	outer, ok := err.(*url.Error)
	return ok && idempotentOp(outer.Op)
}

// idempotentChain reports whether a request and those that were redirected to it are all
// idempotent.
func idempotentChain(req *http.Request) bool {
	for idempotent(req) {
		if req.Response == nil || req.Response.Request == nil {
			return true
		}
		req = req.Response.Request
	}
	return false
}

// permanent reports whether the error of an attempt will be the same next time.
func permanent(resp *http.Response, err error) bool {
	var declared interface{ Permanent() bool }
	return errors.As(err, &declared) && declared.Permanent() ||
		refusedRedirect(resp, err) ||
		certificateError(err) ||
		plainHTTP(err) ||
		refusedByProxy(err) ||
		errors.Is(err, ErrBodyLength) ||
		errors.Is(err, ErrNotReplayable) ||
		invalidRequest(err)
}
