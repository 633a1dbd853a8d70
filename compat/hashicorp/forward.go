package retryablehttp

import (
	"context"
	"net/http"
	"net/url"
	"time"

	"github.com/a0b132ce/retryablehttp"
)

// Types of the published package.
type (
	Backoff             = retryablehttp.Backoff
	CheckRetry          = retryablehttp.CheckRetry
	Client              = retryablehttp.Client
	ErrorHandler        = retryablehttp.ErrorHandler
	LenReader           = retryablehttp.LenReader
	LeveledLogger       = retryablehttp.LeveledLogger
	Logger              = retryablehttp.Logger
	PrepareRetry        = retryablehttp.PrepareRetry
	ReaderFunc          = retryablehttp.ReaderFunc
	Request             = retryablehttp.Request
	RequestLogHook      = retryablehttp.RequestLogHook
	ResponseHandlerFunc = retryablehttp.ResponseHandlerFunc
	ResponseLogHook     = retryablehttp.ResponseLogHook
	RoundTripper        = retryablehttp.RoundTripper
)

// NewClient calls [retryablehttp.NewClient].
func NewClient() *Client { return retryablehttp.NewClient() }

// NewRequest calls [retryablehttp.NewRequest].
func NewRequest(method, url string, rawBody any) (*Request, error) {
	return retryablehttp.NewRequest(method, url, rawBody)
}

// NewRequestWithContext calls [retryablehttp.NewRequestWithContext].
func NewRequestWithContext(ctx context.Context, method, url string, rawBody any) (*Request, error) {
	return retryablehttp.NewRequestWithContext(ctx, method, url, rawBody)
}

// FromRequest calls [retryablehttp.FromRequest].
func FromRequest(r *http.Request) (*Request, error) { return retryablehttp.FromRequest(r) }

// Get calls [retryablehttp.Get].
func Get(url string) (*http.Response, error) { return retryablehttp.Get(url) }

// Head calls [retryablehttp.Head].
func Head(url string) (*http.Response, error) { return retryablehttp.Head(url) }

// Post calls [retryablehttp.Post].
func Post(url, bodyType string, body any) (*http.Response, error) {
	return retryablehttp.Post(url, bodyType, body)
}

// PostForm calls [retryablehttp.PostForm].
func PostForm(url string, data url.Values) (*http.Response, error) {
	return retryablehttp.PostForm(url, data)
}

// DefaultRetryPolicy calls [retryablehttp.DefaultRetryPolicy]. A Client cannot tell it from
// a policy that calls [retryablehttp.Unsent], so a POST or PATCH request costs 14 more
// allocations with it, less than 1 KiB.
func DefaultRetryPolicy(ctx context.Context, resp *http.Response, err error) (bool, error) {
	return retryablehttp.DefaultRetryPolicy(ctx, resp, err)
}

// ErrorPropagatedRetryPolicy calls [retryablehttp.ErrorPropagatedRetryPolicy]. It costs
// what DefaultRetryPolicy does.
func ErrorPropagatedRetryPolicy(ctx context.Context, resp *http.Response, err error) (bool, error) {
	return retryablehttp.ErrorPropagatedRetryPolicy(ctx, resp, err)
}

// DefaultBackoff calls [retryablehttp.DefaultBackoff].
func DefaultBackoff(min, max time.Duration, attemptNum int, resp *http.Response) time.Duration {
	return retryablehttp.DefaultBackoff(min, max, attemptNum, resp)
}

// LinearJitterBackoff calls [retryablehttp.LinearJitterBackoff].
func LinearJitterBackoff(min, max time.Duration, attemptNum int, resp *http.Response) time.Duration {
	return retryablehttp.LinearJitterBackoff(min, max, attemptNum, resp)
}

// RateLimitLinearJitterBackoff calls [retryablehttp.RateLimitLinearJitterBackoff].
func RateLimitLinearJitterBackoff(min, max time.Duration, attemptNum int, resp *http.Response) time.Duration {
	return retryablehttp.RateLimitLinearJitterBackoff(min, max, attemptNum, resp)
}

// PassthroughErrorHandler calls [retryablehttp.PassthroughErrorHandler].
func PassthroughErrorHandler(resp *http.Response, err error, numTries int) (*http.Response, error) {
	return retryablehttp.PassthroughErrorHandler(resp, err, numTries)
}
