// Package retryablehttp is an HTTP client that retries requests. It has the methods of
// [net/http.Client] and the names of hashicorp/go-retryablehttp v0.7.8.
//
// # Usage
//
// Most programs create one [Client] and share it:
//
//	client := retryablehttp.Recommended()
//	client.RetryMax = 3
//	client.AttemptTimeout = 5 * time.Second
//	resp, err := client.Post(url, "application/json", []byte(`{"n":1}`))
//
// [NewClient] returns a client with the defaults of the published library, which does
// without the limits of Recommended.
//
// [Get], [Head], [Post] and [PostForm] use a shared client with default settings. To add
// retries to an existing [net/http.Client], put a [RoundTripper] around its Transport.
// [Client.StandardClient] returns a new net/http.Client that retries.
//
// # Calls and attempts
//
// A call consists of attempts, numbered from 1. A retry is an attempt after the first.
// Each attempt reads the request body from its start with a reader of its own. After each
// attempt [CheckRetry] decides whether to retry. [DefaultRetryPolicy] retries transport
// errors that may be temporary, 429, every status from 500 up except 501, and 408 if the
// request is idempotent. [Backoff] decides how long to wait. NewClient sets
// [ExponentialJitterBackoff], which obeys Retry-After.
//
// A call returns a response or an error. If the policy accepts the response, the caller
// must close its body, as with net/http. If the call fails, the error is a
// [*GiveUpError], which holds the number of attempts, the reason, the cause and the last
// response. [Client.ErrorHandler] replaces that result.
//
// # Time limits
//
// [Client.AttemptTimeout] limits one attempt, [Client.MaxElapsedTime] all attempts and the
// waits between them, [Client.RetryAfterMax] the wait that a server may ask for, and the
// request's context the whole call. A wait that would pass a limit is not begun.
//
// [Client.BodyIdleTimeout] limits how long a body may stand still.
//
// # Outages
//
// Retries can make an outage longer. A [Budget] limits the retries of all calls that share
// it to a share of the successes, and lets the others wait for their turn. A [Gate] holds
// back all attempts to a host that asks to wait or refuses many of them. [Recommended]
// returns a client with both. Package hedge shortens slow responses, and package failover
// spreads attempts over several endpoints.
//
// # Requests that are not idempotent
//
// DefaultRetryPolicy retries a POST like any other request, as the published library does.
// A server that has acted on the request and whose response was lost then acts twice.
// [SafeRetryPolicy] retries such a request only if the server cannot have acted on it, or
// if it carries an Idempotency-Key. [Client.IdempotencyKey] adds that key. [Unsent]
// reports whether a failed request provably did not reach a server.
//
// # Bodies
//
// See [Request.SetBody] for the kinds of request bodies. A body that can be read only
// once is sent as it is read, and kept for a retry up to [Client.ReplayMax]. If
// [Client.BufferMax] is set, a short response body is read before the call returns, so
// that a truncated one is retried. If [Client.ResumeMax] is set, a download that is cut
// off continues with a request for the rest.
//
// # Contexts and nested clients
//
// [WithRetryMax] and [WithCheckRetry] return a context that overrides settings of the
// client. If the transport of a client contains another client of this package, the outer
// client retries and the inner one makes one attempt each time, so that attempts do not
// multiply. The inner client recognizes the outer one by the request's context. A
// transport in between that drops the context, or changes the method, host or path of the
// request, hides it.
//
// # Guarantees
//
// A call never modifies the caller's request or its header, except that
// [Client.PrepareRetry] may change a [Request]. A failed call does not close idle
// connections of the pool. The package logs nothing unless [Client.Logger] is set.
// Errors and log lines contain no passwords and no query values of URLs. No goroutine
// outlives its call, except to finish reading a body that blocks.
package retryablehttp
