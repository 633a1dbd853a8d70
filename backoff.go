package retryablehttp

import (
	"math"
	"math/rand/v2"
	"net/http"
	"time"

	"github.com/a0b132ce/retryablehttp/internal/retryafter"
)

// Backoff returns how long to wait before the next attempt. min and max are
// [Client.RetryWaitMin] and [Client.RetryWaitMax]. attemptNum is 0 after the first attempt,
// 1 after the second, and so on. resp is the response of the last attempt, nil if it got
// none; a Backoff may read its header, not its body. 0 and negative results mean no wait.
// A Backoff may be called by many goroutines at once.
type Backoff func(min, max time.Duration, attemptNum int, resp *http.Response) time.Duration

// DefaultBackoff returns the Retry-After of a 429 or 503 (RFC 9110 §10.2.3), otherwise
// min·2^attemptNum, at most max. It has no jitter, so that clients that fail together
// retry together. Most programs should use [ExponentialJitterBackoff].
func DefaultBackoff(min, max time.Duration, attemptNum int, resp *http.Response) time.Duration {
	if wait, ok := askedToWait(resp); ok {
		return wait
	}
	return exponential(min, max, attemptNum)
}

// ExponentialJitterBackoff returns a random duration, uniformly distributed between
// min·2^attemptNum and twice that. The result is between min and max. When the exponential
// has passed max, the range is the upper half of max, so that waits do not become equal at
// the limit.
//
// For a 429 or 503 with Retry-After the result is what that asks for, but at least min, and up
// to a tenth more, so that clients that were told the same do not come back together.
//
// [NewClient] sets it. A Client shortens the result, but not below min and Retry-After, if
// the call would otherwise end without a further attempt because of its deadline or
// MaxElapsedTime.
func ExponentialJitterBackoff(min, max time.Duration, attemptNum int, resp *http.Response) time.Duration {
	if asked, ok := askedToWait(resp); ok {
		if asked < min {
			asked = min
		}
		return between(asked, saturatingAdd(asked, asked/10))
	}
	lo, hi := jitterWindow(min, max, attemptNum)
	return between(lo, hi)
}

// LinearJitterBackoff returns a random duration between min and max, times attemptNum+1.
// If max is not above min, it returns min·(attemptNum+1). As in the published library the
// result may exceed max.
func LinearJitterBackoff(min, max time.Duration, attemptNum int, _ *http.Response) time.Duration {
	return linear(min, max, attemptNum)
}

// RateLimitLinearJitterBackoff returns the Retry-After of a 429 or 503 as [DefaultBackoff]
// does, otherwise the result of [LinearJitterBackoff].
func RateLimitLinearJitterBackoff(min, max time.Duration, attemptNum int, resp *http.Response) time.Duration {
	if wait, ok := askedToWait(resp); ok {
		return wait
	}
	return LinearJitterBackoff(min, max, attemptNum, resp)
}

// linear returns a random duration between least and most, times n+1.
func linear(least, most time.Duration, n int) time.Duration {
	wait := between(max(least, 0), most)
	times := saturatingAdd(time.Duration(max(n, 0)), 1)
	if wait > 0 && times > math.MaxInt64/wait {
		return math.MaxInt64
	}
	return wait * times
}

// exponential returns least·2^n, at least 0 and at most most.
func exponential(least, most time.Duration, n int) time.Duration {
	least, most, n = max(least, 0), max(most, 0), max(n, 0)
	// least<<n overflows exactly when least > MaxInt64>>n.
	if n >= 63 && least > 0 || n < 63 && least > math.MaxInt64>>n || least<<n > most {
		return most
	}
	return least << n
}

// jitterWindow returns the bounds of the n-th random wait. Both are within [least, most], or
// equal to most if most is below least.
func jitterWindow(least, most time.Duration, n int) (lo, hi time.Duration) {
	least, most, n = max(least, 0), max(most, 0), max(n, 0)
	if most <= least {
		return most, most
	}
	if n < math.MaxInt {
		n++
	}
	hi = exponential(least, most, n)
	return max(hi/2, least), hi
}

// between returns a random duration, uniformly distributed in [lo, hi], or lo if hi is
// below it. lo may not be negative. The functions of math/rand/v2 need no lock and no seed.
func between(lo, hi time.Duration) time.Duration {
	if hi <= lo {
		return lo
	}
	return lo + time.Duration(rand.Uint64N(uint64(hi-lo)+1))
}

// askedToWait returns the Retry-After of a 429 or 503.
func askedToWait(resp *http.Response) (time.Duration, bool) {
	if resp == nil || resp.StatusCode != http.StatusTooManyRequests && resp.StatusCode != http.StatusServiceUnavailable {
		return 0, false
	}
	return retryAfter(resp)
}

// obeyed returns the Retry-After of a response if a backoff has chosen to wait for it. The
// backoffs of this package obey the header of a 429 or 503, and others may add to it. For
// any other status a longer wait may have nothing to do with it.
func obeyed(resp *http.Response, wait time.Duration) (time.Duration, bool) {
	if asked, ok := askedToWait(resp); ok {
		return asked, wait >= asked
	}
	asked, ok := retryAfter(resp)
	return asked, ok && wait == asked
}

// retryAfter returns the wait that the Retry-After header of a response asks for.
func retryAfter(resp *http.Response) (time.Duration, bool) {
	if resp == nil {
		return 0, false
	}
	return retryafter.Parse(resp.Header.Get("Retry-After"), time.Now)
}

// saturatingAdd adds two durations that are not negative.
func saturatingAdd(a, b time.Duration) time.Duration {
	if a > math.MaxInt64-b {
		return math.MaxInt64
	}
	return a + b
}
