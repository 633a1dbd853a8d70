// Package retryablehttp is an HTTP client for calls that must get through: it
// has the methods of [net/http.Client] and the names of
// hashicorp/go-retryablehttp, and it retries what is worth retrying.
//
// # First steps
//
// Swap the import and go on:
//
//	resp, err := retryablehttp.Get("https://api.example.com/things")
//
// That is the package-level helper on a shared default client. A client of
// your own carries your settings, and sends bodies that can be sent again:
//
//	client := retryablehttp.NewClient()
//	client.RetryMax = 3
//	resp, err := client.Post(url, "application/json", []byte(`{"n":1}`))
//
// An existing [net/http.Client] keeps its type and gains the retries when a
// [RoundTripper] is put in its Transport, or by [Client.StandardClient].
//
// # What a call does
//
// A call is made of attempts, numbered from 1; a retry is an attempt after the
// first. Each attempt gets a body reader of its own, so that an earlier attempt
// that is still writing can neither take bytes from a later one nor give it
// wrong ones. After each attempt [CheckRetry] decides whether the outcome
// stands; [DefaultRetryPolicy] retries transport errors that may pass,
// 429, every status from 500 up but 501, and 408 for idempotent requests.
// [Backoff] then says how long to wait; the client of [NewClient] uses
// [ExponentialJitterBackoff], which obeys Retry-After.
//
// A call ends with a response or an error. A response that the policy accepts is
// returned with its body unread, unless [Client.BodyMax] or a response handler asks
// for more, and the caller closes it as with net/http. When the call gives up the
// error is a [*GiveUpError], which says how many attempts were made, why it ended, and
// what the last answer was; if [Client.ErrorHandler] is set, its answer is the call's
// answer.
//
// # Limits
//
// [Client.RetryMax] bounds the number of retries, [Client.AttemptTimeout] the
// time of one attempt, [Client.MaxElapsedTime] the time of all of them and the
// waits between, [Client.RetryAfterMax] the wait that a server may ask for, and
// the request's context everything. A wait that could not end in time is never
// begun.
//
// # Repeating without harm
//
// By default a POST is retried like any other request, as in the published library: a
// server that has acted on it and whose answer was lost acts again. [SafeRetryPolicy]
// repeats such a request only where that cannot happen, and [Client.IdempotencyKey]
// gives it a key by which the server recognises the repetition. [Unsent] tells of an
// error whether the request can have reached a server.
//
// # Both bodies
//
// A request body that can be read only once is streamed; [Client.ReplayMax] bounds what
// is kept of it for a retry. On the way back [Client.BodyMax] makes a response whose
// body breaks off a failed attempt, and [Client.ResumeMax] lets a long download go on
// where it was cut.
//
// # One call, and clients within clients
//
// [WithRetryMax] and [WithCheckRetry] change the client's settings for the calls of a
// context. When a client's transport is, or wraps, another client of this package, the
// outer one retries and the inner one makes one attempt each time: attempts do not
// multiply.
//
// # What it leaves alone
//
// The caller's *http.Request, its header map and a file given as a body are
// never modified; idle connections of the pool are never closed by a failed
// call; and nothing is logged unless [Client.Logger] is set. URLs in errors and
// log lines of this package are stripped of passwords and query values, also where the
// text is that of a transport's error.
package retryablehttp
