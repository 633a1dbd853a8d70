package retryablehttp

import (
	"cmp"
	"context"
	"errors"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/hashicorp/go-cleanhttp"

	"github.com/a0b132ce/retryablehttp/internal/redact"
)

// RequestLogHook is called before each attempt with Client.Logger (nil if it is nil), the
// request that is about to be sent, which it may change for this attempt, and the index
// of the attempt, from 0.
type RequestLogHook func(Logger, *http.Request, int)

// ResponseLogHook is called after each attempt that got a response, whether the attempt is
// retried or not, unless the request's response handler refused the response. The caller
// does not get what the hook reads of the body. The response to a request for the rest of
// a body (see Client.ResumeMax) is shown without its body.
type ResponseLogHook func(Logger, *http.Response)

// ErrorHandler is called when a call fails, with the last attempt's response (nil if it
// got none), the cause (nil if the status is the only one) and the number of attempts.
// What it returns is what the call returns: a response, an error or both. It must close
// the response's body unless it returns the response.
type ErrorHandler func(resp *http.Response, err error, numTries int) (*http.Response, error)

// PrepareRetry is called before each retry, for example to sign the request again. It gets
// a copy of the request, which is private to the call. What it changes persists for the
// attempts that follow; after Client.Do the Request contains that copy. req.Response is
// the response that caused the retry, nil if the attempt got none; its body was read.
// req.Body and req.GetBody read the whole body. A Body that it assigns is sent instead, as
// a body that can be read only once unless GetBody is assigned too. An error ends the
// call.
type PrepareRetry func(req *http.Request) error

// Defaults of [NewClient].
const (
	defaultRetryWaitMin  = 1 * time.Second
	defaultRetryWaitMax  = 30 * time.Second
	defaultRetryMax      = 4
	defaultRetryAfterMax = 5 * time.Minute
	defaultReplayMax     = 32 << 20

	// Half a retry for each success is what it takes while one of three servers behind a
	// load balancer fails. The Gate sees to it that it is not too much for a host that
	// has too much to do.
	recommendedBudgetRatio    = 0.5
	recommendedRetryWaitMin   = 500 * time.Millisecond
	recommendedAttemptTimeout = 30 * time.Second
	recommendedMaxElapsedTime = 2 * time.Minute

	pingAfter   = 15 * time.Second
	pingTimeout = 5 * time.Second
)

// Client sends requests and retries them. The zero Client makes one attempt on a shared
// connection pool; [NewClient] returns a Client that retries. Set the fields before the
// first call. After that any number of goroutines may use the Client, and it may be
// copied: a copy shares the HTTPClient.
//
// For limits and maxima, negative means off, as in net/http. Only an unusable Logger or
// Budget is an error. Functions in the fields may be called by many goroutines at once.
type Client struct {
	// Fields of hashicorp/go-retryablehttp.

	// HTTPClient sends each attempt, redirects included. Its Timeout limits each
	// attempt up to the end of the response's body. Nil means the client of the
	// package-level functions.
	HTTPClient *http.Client

	// Logger is a Logger, a LeveledLogger or a *slog.Logger. Nil logs nothing. Any
	// other value is an error of each call.
	Logger any

	// RetryWaitMin and RetryWaitMax are passed to Backoff. If Backoff is nil, 0 means
	// 1 s and 30 s.
	RetryWaitMin time.Duration
	RetryWaitMax time.Duration

	// RetryMax is the maximum number of retries after the first attempt. 0 means no
	// retries.
	RetryMax int

	// RequestLogHook and ResponseLogHook, if not nil, are called for each attempt.
	RequestLogHook  RequestLogHook
	ResponseLogHook ResponseLogHook

	// CheckRetry decides what is retried. Nil means DefaultRetryPolicy. Most programs
	// that send POST or PATCH requests should set SafeRetryPolicy.
	CheckRetry CheckRetry

	// Backoff decides how long to wait before a retry. Nil means
	// ExponentialJitterBackoff.
	Backoff Backoff

	// ErrorHandler, if not nil, decides what a call that fails returns. Nil means a
	// *GiveUpError and no response.
	ErrorHandler ErrorHandler

	// PrepareRetry, if not nil, may change the request before each retry.
	PrepareRetry PrepareRetry

	// Limits.

	// AttemptTimeout limits one attempt, redirects included, from sending it to the
	// response's headers, or to the end of a body that BufferMax applies to. It does
	// not limit reading the body afterwards. An attempt that takes longer fails with
	// ErrAttemptTimeout and may be retried. 0 means no limit.
	//
	// It includes the time that the request body takes. For large uploads over slow
	// connections set it to 0, and BodyIdleTimeout and the ResponseHeaderTimeout of an
	// *http.Transport instead: these limit silence and not the whole.
	//
	// HTTP/2 keeps using a connection on which an attempt has timed out, which may be
	// dead. If the transport is an *http.Transport, the retries use connections of their
	// own. If another transport is around it, only the first retry may still take the
	// dead connection. If MaxConnsPerHost is set, all may. So a transport of your own
	// should have HTTP/2 pings on (http.HTTP2Config.SendPingTimeout), as the one of
	// NewClient does.
	AttemptTimeout time.Duration

	// BodyIdleTimeout is how long a body may stand still. A response body of which a Read
	// waits longer fails with ErrBodyIdleTimeout; BufferMax makes that a failed attempt,
	// and ResumeMax resumes the body. An attempt fails in the same way if the server
	// takes nothing more of the request body for that long before it responds; bodies of up
	// to 64 KiB in memory are not watched, and files are not sent by sendfile. The operating
	// system buffers what is sent and takes up to some MiB at a time, so the limit must
	// leave time for 4 MiB: 40 s at 100 KiB/s. 0 means no limit.
	BodyIdleTimeout time.Duration

	// MaxElapsedTime limits all attempts and the waits between them, up to the headers
	// of the accepted response. An attempt that is still running then is ended. A wait
	// that would take longer is not begun. 0 means no limit.
	MaxElapsedTime time.Duration

	// RetryAfterMax is the longest wait that a Retry-After header may ask for. The call
	// fails at once if the Backoff would wait longer for that reason. It also limits how
	// long the attempts of a call wait for Gate, all together. 0 means 5 minutes; negative
	// means no limit.
	RetryAfterMax time.Duration

	// Other calls.

	// Budget, if not nil, limits the retries of all the calls that share it. In nested
	// clients set Budget and Gate on the outermost one; the others are not used.
	Budget *Budget

	// Gate, if not nil, holds back the attempts of all the calls that share it to a host
	// that refuses them.
	Gate *Gate

	// Request header and body.

	// IdempotencyKey, if not nil, returns the value of the Idempotency-Key header for
	// requests whose method is not idempotent, for example NewIdempotencyKey. "" means
	// that no key is sent. It is called once for each call; all attempts and redirect hops
	// send the same key. A key in the request's own header wins unless it is blank. In
	// nested clients set it on the outermost one. net/http's Transport itself repeats a
	// request with this header when a connection turns out to be dead.
	IdempotencyKey func(*http.Request) string

	// ReplayMax is the maximum number of bytes that are kept of a body that can be read
	// only once. A call that would have to be retried after more was read fails with
	// ErrNotReplayable. 0 means 32 MiB; negative means that nothing is kept.
	ReplayMax int64

	// Response body.

	// BufferMax is the size up to which a response body is read before the call returns
	// it, so that a body that is cut off or, by AttemptTimeout, stalls fails the attempt.
	// A body that announces a greater length is not read, nor is one whose status
	// DefaultRetryPolicy retries. A body without a length is read up to BufferMax, so do
	// not set BufferMax for event streams. 0 means that no body is read.
	BufferMax int64

	// ResumeMax is the number of times that one response body may be resumed after it
	// was cut off. The body of a GET then goes on with a request for the rest (Range and
	// If-Range, RFC 9110 §13.1.5, §14.2) to the URL that it came from, after a wait and
	// as long as the policy agrees. That request is a call of its own, with its own
	// retries and limits. The response must be a 200, or a 206 for a single Range of the
	// request's, with a strong ETag or a Last-Modified that is strong by RFC 9110
	// §8.8.2.2, without Content-Encoding (the transport's own gzip included) and without
	// trailers. Bytes that are not certain to belong to the same object are never
	// delivered: reading ends in a *ResumeError. 0 means that no body is resumed.
	ResumeMax int

	// Observing.

	// OnAttempt, if not nil, is called after each attempt, once it is decided whether
	// another follows, by the goroutine of the call.
	OnAttempt func(Attempt)

	// OnStart, if not nil, is called at the start of each call and returns the context of
	// the call, which must be derived from the request's. OnAttempt and OnDone find
	// it in their Request. It is for tracing: a span can begin here and end in OnDone.
	OnStart func(*http.Request) context.Context

	// OnDone, if not nil, is called at the end of each call, by its goroutine, before the
	// call returns. A request for the rest of a body (see ResumeMax) is a call too. It is
	// not called if the Logger, another setting or the request is unusable, so that
	// nothing could be sent, nor if a callback or the request body panics.
	OnDone func(Outcome)

	// RedactURL formats URLs for errors and log lines. It must not modify the URL. Nil
	// means that the password becomes "xxxxx", and query values and the fragment become
	// "REDACTED".
	RedactURL func(*url.URL) string
}

// NewClient returns a Client with the published defaults: up to 4 retries after waits of 1
// s to 30 s, a connection pool of its own, and a Logger that discards. An HTTP/2
// connection that has been silent for 15 s is pinged, and closed if no answer comes
// within 5 s.
func NewClient() *Client {
	hc := cleanhttp.DefaultPooledClient()
	if t, ok := hc.Transport.(*http.Transport); ok {
		t.HTTP2 = &http.HTTP2Config{SendPingTimeout: pingAfter, PingTimeout: pingTimeout}
	}
	return &Client{
		HTTPClient:   hc,
		Logger:       discard{},
		RetryWaitMin: defaultRetryWaitMin,
		RetryWaitMax: defaultRetryWaitMax,
		RetryMax:     defaultRetryMax,
		CheckRetry:   DefaultRetryPolicy,
		Backoff:      ExponentialJitterBackoff,
	}
}

// Recommended returns the Client that new programs should take. It has the settings of
// [NewClient] except for SafeRetryPolicy, so that a POST is not applied twice; a Gate and a
// Budget of its own, with a Ratio of 0.5 for each host, so that the calls of an outage are
// saved without making it longer; a RetryWaitMin of 0.5 s, an AttemptTimeout of 30 s and a
// MaxElapsedTime of 2 min.
func Recommended() *Client {
	c := NewClient()
	c.CheckRetry = SafeRetryPolicy
	c.RetryWaitMin = recommendedRetryWaitMin
	c.Budget, c.Gate = &Budget{Ratio: recommendedBudgetRatio, PerHost: true}, new(Gate)
	c.AttemptTimeout = recommendedAttemptTimeout
	c.MaxElapsedTime = recommendedMaxElapsedTime
	return c
}

// defaultClient serves the package-level functions and, with its pool, Clients without an
// HTTPClient. It is never modified.
var defaultClient = NewClient()

// Get is [Client.Get] on a shared client with the settings of [NewClient].
func Get(url string) (*http.Response, error) { return defaultClient.Get(url) }

// Head is [Client.Head] on a shared client with the settings of [NewClient].
func Head(url string) (*http.Response, error) { return defaultClient.Head(url) }

// Post is [Client.Post] on a shared client with the settings of [NewClient].
func Post(url, bodyType string, body any) (*http.Response, error) {
	return defaultClient.Post(url, bodyType, body)
}

// PostForm is [Client.PostForm] on a shared client with the settings of [NewClient].
func PostForm(url string, data url.Values) (*http.Response, error) {
	return defaultClient.PostForm(url, data)
}

// Get sends a GET request, as [Client.Do] does.
func (c *Client) Get(url string) (*http.Response, error) {
	req, err := NewRequest(http.MethodGet, url, nil)
	if err != nil {
		return nil, err
	}
	return c.Do(req)
}

// Head sends a HEAD request, as [Client.Do] does.
func (c *Client) Head(url string) (*http.Response, error) {
	req, err := NewRequest(http.MethodHead, url, nil)
	if err != nil {
		return nil, err
	}
	return c.Do(req)
}

// Post sends a POST request, as [Client.Do] does, with a body of any kind that
// [Request.SetBody] accepts and bodyType as its Content-Type.
func (c *Client) Post(url, bodyType string, body any) (*http.Response, error) {
	req, err := NewRequest(http.MethodPost, url, body)
	if err != nil {
		return nil, err
	}
	req.Header.Set("Content-Type", bodyType)
	return c.Do(req)
}

// PostForm sends a POST request, as [Client.Do] does, with the values as an
// application/x-www-form-urlencoded body.
func (c *Client) PostForm(url string, data url.Values) (*http.Response, error) {
	return c.Post(url, "application/x-www-form-urlencoded", strings.NewReader(data.Encode()))
}

// Do sends req, retrying as configured, and returns the response. As with
// [http.Client.Do] the caller must close the response's body, a response whose status the
// policy accepts is not an error, and the request's context ends the call.
//
// If the call fails, Do returns what ErrorHandler returns; without one it returns a
// *GiveUpError and no response. If the Logger or req is unusable, nothing is sent and the
// error is of another type.
func (c *Client) Do(req *Request) (*http.Response, error) {
	if req == nil || req.Request == nil {
		return nil, errNilRequest
	}
	call := call{settings: settings{client: c, redirects: true}, req: req.Request, body: req.callBody(), handler: req.responseHandler}
	resp, err := call.do()
	if call.private {
		req.Request = call.req
	}
	return resp, err
}

// StandardClient returns an [http.Client] that sends its requests through c. It has the
// CheckRedirect and the Jar of c.HTTPClient and follows redirects itself: each hop is a
// call of c. Cookies of a response that c retries are not stored.
func (c *Client) StandardClient() *http.Client {
	hc := c.httpClient()
	return &http.Client{
		Transport:     &RoundTripper{Client: c},
		CheckRedirect: hc.CheckRedirect,
		Jar:           hc.Jar,
	}
}

// CloseIdleConnections closes the idle connections of HTTPClient. It does not interrupt
// calls.
func (c *Client) CloseIdleConnections() {
	if !c.callsItself() {
		c.httpClient().CloseIdleConnections()
	}
}

// callsItself reports whether the transport of c is a RoundTripper of c.
func (c *Client) callsItself() bool {
	rt, ok := c.transport().(*RoundTripper)
	return ok && rt.Base == nil && rt.client() == c
}

// PassthroughErrorHandler is an [ErrorHandler] that returns the last response without an
// error, as net/http would have returned it, or the error if the last attempt got no
// response. If the caller has canceled the call, it closes the response's body and
// returns the error. If the policy or another callback has returned an error, it returns
// both, as in the published library.
func PassthroughErrorHandler(resp *http.Response, err error, _ int) (*http.Response, error) {
	var stopped *stopError
	if resp == nil || !errors.As(err, &stopped) {
		return resp, err
	}
	if stopped.canceled {
		resp.Body.Close()
		return nil, err
	}
	return resp, nil
}

func (c *Client) httpClient() *http.Client {
	if c.HTTPClient == nil {
		return defaultClient.HTTPClient
	}
	return c.HTTPClient
}

func (c *Client) transport() http.RoundTripper {
	if rt := c.httpClient().Transport; rt != nil {
		return rt
	}
	return http.DefaultTransport
}

func (c *Client) redact(u *url.URL) string {
	if c.RedactURL == nil {
		return redact.URL(u)
	}
	return c.RedactURL(u)
}

// backoff returns how long to wait after the given number of attempts.
func (c *Client) backoff(attempts int, resp *http.Response) time.Duration {
	backoff := c.Backoff
	if backoff == nil {
		backoff = ExponentialJitterBackoff
	}
	least, most := c.waits()
	return max(backoff(least, most, attempts-1, resp), 0)
}

// waits returns what Backoff gets as min and max.
func (c *Client) waits() (least, most time.Duration) {
	if c.Backoff == nil {
		return cmp.Or(c.RetryWaitMin, defaultRetryWaitMin), cmp.Or(c.RetryWaitMax, defaultRetryWaitMax)
	}
	return c.RetryWaitMin, c.RetryWaitMax
}

func (c *Client) replayMax() int64 {
	return max(cmp.Or(c.ReplayMax, defaultReplayMax), 0)
}

func (c *Client) retryAfterMax() time.Duration {
	return cmp.Or(c.RetryAfterMax, defaultRetryAfterMax)
}
