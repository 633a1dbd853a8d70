package retryablehttp

import (
	"cmp"
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/hashicorp/go-cleanhttp"
)

// RequestLogHook is called before each attempt with the request that is about to
// be sent, which it may change for this attempt, and the attempt's index, from 0.
type RequestLogHook func(Logger, *http.Request, int)

// ResponseLogHook is called after each attempt that got a response, whether it is
// retried or not, unless the request's response handler refused it. What it reads
// of the body is gone.
type ResponseLogHook func(Logger, *http.Response)

// ErrorHandler is called when a call gives up, with the last attempt's response
// (nil if it got none), the cause (nil if there is none but the status) and the
// number of attempts. What it returns is what the call returns; one of the two
// must not be nil. It is to close the response's body unless it returns the
// response.
type ErrorHandler func(resp *http.Response, err error, numTries int) (*http.Response, error)

// PrepareRetry is called before each retry with a copy of the original request,
// to sign it anew for example. Whatever it changes holds for that attempt alone. The
// body is opened afterwards, by the copy's GetBody. An error ends the call.
type PrepareRetry func(req *http.Request) error

// Defaults of [NewClient].
const (
	defaultRetryWaitMin  = 1 * time.Second
	defaultRetryWaitMax  = 30 * time.Second
	defaultRetryMax      = 4
	defaultRetryAfterMax = 5 * time.Minute

	pingAfter   = 15 * time.Second
	pingTimeout = 5 * time.Second
)

// Client sends requests and retries them. The zero Client makes one attempt on a
// shared connection pool; [NewClient] gives one that retries. Set the fields
// before the first call; from then on any number of goroutines may use the Client.
type Client struct {
	// HTTPClient makes the attempts, redirects included. Its Timeout bounds
	// each of them, with the reading of the body. Nil means the one that the
	// package-level functions use.
	HTTPClient *http.Client

	// Logger is a [Logger], a [LeveledLogger] or a [*slog.Logger]; anything else
	// is an error of the call. Nil logs nothing. URLs are redacted.
	Logger any

	// RetryWaitMin and RetryWaitMax are what Backoff is given, as they are. Only when
	// Backoff is nil does 0 mean 1 s and 30 s.
	RetryWaitMin time.Duration
	RetryWaitMax time.Duration

	// RetryMax is the number of retries after the first attempt. 0 and negative
	// numbers mean none.
	RetryMax int

	// RequestLogHook and ResponseLogHook, if set, see each attempt.
	RequestLogHook  RequestLogHook
	ResponseLogHook ResponseLogHook

	// CheckRetry decides what is retried. Nil means DefaultRetryPolicy.
	CheckRetry CheckRetry

	// Backoff decides how long to wait. Nil means ExponentialJitterBackoff.
	Backoff Backoff

	// ErrorHandler, if set, decides what a call that gives up returns. If nil,
	// that is a *GiveUpError.
	ErrorHandler ErrorHandler

	// PrepareRetry, if set, may change the request before each retry.
	PrepareRetry PrepareRetry

	// RetryAfterMax is the longest wait that a Retry-After header may ask for:
	// beyond it the call gives up at once. 0 means 5 minutes; negative, no
	// limit.
	RetryAfterMax time.Duration

	// AttemptTimeout bounds one attempt, redirects included, from sending it to
	// the headers of its response or, as far as BodyMax has it read, to the end of its
	// body. Reading the body afterwards is not cut. When
	// it expires the attempt has failed with ErrAttemptTimeout and may be
	// retried. 0 means no limit.
	AttemptTimeout time.Duration

	// MaxElapsedTime bounds all attempts and the waits between them, up to the
	// headers of the answer: an attempt still running then is ended, and a wait
	// that would not be over by then is not begun. 0 means no limit.
	MaxElapsedTime time.Duration

	// IdempotencyKey, if set, gives requests that are not idempotent a key, the value
	// of their Idempotency-Key header: once for each call, the same for all its
	// attempts and redirect hops, and for those of a client around this one. A key that
	// the caller has set wins; an empty one is not sent. NewIdempotencyKey is one. With
	// such a header net/http's Transport itself takes a request for replayable, and
	// repeats it when a connection turns out to be dead.
	IdempotencyKey func(*http.Request) string

	// ReplayMax is how many bytes of a body that can be read only once are kept to be
	// sent again. As many are read before the first attempt, so that a body that is
	// no longer has a Content-Length. A call that would have to be retried after more
	// was read gives up with ErrNotReplayable. 0 means 1 MiB; negative, none.
	ReplayMax int64

	// BodyMax is up to what size the body of a response is read before the call
	// returns it, so that one that breaks off or, by AttemptTimeout, stalls is a
	// failed attempt. A longer body is returned as it comes, and one that the policy
	// retries anyway is not read for it. 0 means that all are returned as they come.
	BodyMax int64

	// ResumeMax is how often the body of one response may be resumed after it broke
	// off. The body of a GET that was answered 200, or 206 for a single Range of the
	// caller's, then goes on with a request for the rest (Range and If-Range, RFC 9110
	// §13.1.5, §14.2), after a wait and as long as the policy agrees; that request is a
	// call of its own, with its own retries and limits. It takes a strong ETag, or a
	// Last-Modified that is strong by RFC 9110 §8.8.2.2, and no Content-Encoding,
	// neither seen nor undone by the transport. What is not certain to be the rest of
	// the same object is never delivered: reading ends in a *ResumeError. 0 means that
	// no body is resumed.
	ResumeMax int

	// RedactURL shows a URL in errors and log lines. It must not modify the URL. It is
	// also asked about URLs in the texts of errors, which it may have shown before.
	// Nil means: the password as "xxxxx", query values and fragment as
	// "REDACTED".
	RedactURL func(*url.URL) string

	// OnAttempt, if set, is called after each attempt, once it is known whether
	// another follows, from the goroutine of the call.
	OnAttempt func(Attempt)

	nests [2]int32 // what is known of the transport, see mayNest; atomic
}

// NewClient returns a Client with the published defaults: up to 4 retries with
// waits from 1 s to 30 s, on a connection pool of its own. An HTTP/2 connection that has
// been silent for 15 seconds is pinged, and closed if it does not answer within 5.
func NewClient() *Client {
	hc := cleanhttp.DefaultPooledClient()
	if t, ok := hc.Transport.(*http.Transport); ok {
		t.HTTP2 = &http.HTTP2Config{SendPingTimeout: pingAfter, PingTimeout: pingTimeout}
	}
	return &Client{
		HTTPClient:   hc,
		RetryWaitMin: defaultRetryWaitMin,
		RetryWaitMax: defaultRetryWaitMax,
		RetryMax:     defaultRetryMax,
		CheckRetry:   DefaultRetryPolicy,
		Backoff:      ExponentialJitterBackoff,
	}
}

// defaultClient serves the package-level functions, a RoundTripper without a Client
// and, with its pool, Clients without an HTTPClient. It is never modified.
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

// Get sends a GET request and returns the answer, as [Client.Do] does.
func (c *Client) Get(url string) (*http.Response, error) {
	req, err := NewRequest(http.MethodGet, url, nil)
	if err != nil {
		return nil, err
	}
	return c.Do(req)
}

// Head sends a HEAD request and returns the answer, as [Client.Do] does.
func (c *Client) Head(url string) (*http.Response, error) {
	req, err := NewRequest(http.MethodHead, url, nil)
	if err != nil {
		return nil, err
	}
	return c.Do(req)
}

// Post sends a POST request with a body of any kind that [Request.SetBody] takes,
// bodyType being its Content-Type, and returns the answer, as [Client.Do] does.
func (c *Client) Post(url, bodyType string, body any) (*http.Response, error) {
	req, err := NewRequest(http.MethodPost, url, body)
	if err != nil {
		return nil, err
	}
	req.Header.Set("Content-Type", bodyType)
	return c.Do(req)
}

// PostForm sends a POST request with the values as an
// application/x-www-form-urlencoded body and returns the answer, as [Client.Do]
// does.
func (c *Client) PostForm(url string, data url.Values) (*http.Response, error) {
	return c.Post(url, "application/x-www-form-urlencoded", strings.NewReader(data.Encode()))
}

// Do sends a request, again if need be, and returns the answer. As with
// [http.Client.Do] the response's body is the caller's to close, a status that the
// policy accepts is no error, and the request's context ends the call.
//
// A call that gives up returns what ErrorHandler returns, or a *GiveUpError and no
// response. Settings or a request that cannot work are an error of another kind;
// nothing is sent.
func (c *Client) Do(req *Request) (*http.Response, error) {
	if req == nil || req.Request == nil {
		return nil, errNilRequest
	}
	call := call{client: c, origin: req.Request, follow: true, handler: req.responseHandler}
	if call.stream = req.oneShot(); call.stream == nil {
		call.spent = !req.takeBody()
	}
	return call.do()
}

// StandardClient returns an [http.Client] that sends its requests through c. It has
// the CheckRedirect and the Jar of c.HTTPClient, and follows redirects itself:
// each hop is a call of c.
func (c *Client) StandardClient() *http.Client {
	hc := c.httpClient()
	return &http.Client{
		Transport:     &RoundTripper{Client: c},
		CheckRedirect: hc.CheckRedirect,
		Jar:           hc.Jar,
	}
}

// CloseIdleConnections closes the connections of HTTPClient that are idle now. It
// does not interrupt calls.
func (c *Client) CloseIdleConnections() {
	c.httpClient().CloseIdleConnections()
}

// PassthroughErrorHandler is an [ErrorHandler] that returns the last response and
// the cause as they are: after a status that was retried in vain, the response and
// no error.
func PassthroughErrorHandler(resp *http.Response, err error, _ int) (*http.Response, error) {
	return resp, err
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
		return redactURL(u)
	}
	return c.RedactURL(u)
}

func (c *Client) checkRetry() CheckRetry {
	if c.CheckRetry == nil {
		return DefaultRetryPolicy
	}
	return c.CheckRetry
}

// backoff asks how long to wait after the given number of attempts.
func (c *Client) backoff(attempts int, resp *http.Response) time.Duration {
	backoff, lo, hi := c.Backoff, c.RetryWaitMin, c.RetryWaitMax
	if backoff == nil {
		backoff = ExponentialJitterBackoff
		lo, hi = cmp.Or(lo, defaultRetryWaitMin), cmp.Or(hi, defaultRetryWaitMax)
	}
	return atLeastZero(backoff(lo, hi, attempts-1, resp))
}

func (c *Client) replayMax() int64 {
	if c.ReplayMax == 0 {
		return defaultReplayMax
	}
	return max(c.ReplayMax, 0)
}

func (c *Client) retryAfterMax() time.Duration {
	if c.RetryAfterMax == 0 {
		return defaultRetryAfterMax
	}
	return c.RetryAfterMax
}

// validate reports settings that no call can work with, and says where to log.
func (c *Client) validate() (journal, error) {
	if int64(c.RetryWaitMin|c.RetryWaitMax|c.AttemptTimeout|c.MaxElapsedTime)|c.BodyMax|int64(c.ResumeMax) < 0 { // a sign bit is set
		for _, setting := range []struct {
			name  string
			value int64
		}{
			{"RetryWaitMin", int64(c.RetryWaitMin)},
			{"RetryWaitMax", int64(c.RetryWaitMax)},
			{"AttemptTimeout", int64(c.AttemptTimeout)},
			{"MaxElapsedTime", int64(c.MaxElapsedTime)},
			{"BodyMax", c.BodyMax},
			{"ResumeMax", int64(c.ResumeMax)},
		} {
			if setting.value < 0 {
				return journal{}, &SettingError{setting.name, fmt.Sprintf("is negative: %d", setting.value)}
			}
		}
	}
	if rt, ok := c.transport().(*RoundTripper); ok && rt.client() == c {
		return journal{}, &SettingError{"HTTPClient", "has a RoundTripper of the same Client as its transport"}
	}
	if c.Logger == nil {
		return journal{}, nil
	}
	return newJournal(c.Logger)
}
