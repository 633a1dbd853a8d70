package retryablehttp

import (
	"math"
	"math/rand/v2"
	"net/http"
	"strconv"
	"strings"
	"time"
)

// Backoff says how long to wait before the next attempt. min and max are
// [Client.RetryWaitMin] and [Client.RetryWaitMax]; attemptNum counts the
// attempts that have failed so far, less one (0 after the first); resp is the
// response of the last attempt, nil if it got none. A negative answer means no
// wait. A Backoff is called by many goroutines at once. It may read the
// response's header; the body belongs to the client.
type Backoff func(min, max time.Duration, attemptNum int, resp *http.Response) time.Duration

// DefaultBackoff waits as long as Retry-After asks on a 429 or 503 (RFC 9110
// §10.2.3), and otherwise min·2^attemptNum, never more than max. It is exact:
// clients that fail together retry together, which
// [ExponentialJitterBackoff] avoids.
func DefaultBackoff(min, max time.Duration, attemptNum int, resp *http.Response) time.Duration {
	if wait, ok := askedToWait(resp); ok {
		return wait
	}
	return exponential(min, max, attemptNum)
}

// ExponentialJitterBackoff is what [NewClient] sets. It obeys Retry-After as
// [DefaultBackoff] does, and otherwise draws a wait evenly from between
// min·2^attemptNum and min·2^(attemptNum+1). The window never reaches below min
// or above max, and once the exponential has grown past max it stays the upper
// half of what is allowed, so that waits spread at every attempt and do not
// pile up at the cap.
func ExponentialJitterBackoff(min, max time.Duration, attemptNum int, resp *http.Response) time.Duration {
	if wait, ok := askedToWait(resp); ok {
		return wait
	}
	lo, hi := jitterWindow(min, max, attemptNum)
	return between(lo, hi)
}

// LinearJitterBackoff waits a random time between min and max, times
// attemptNum+1; when max is not above min it waits min·(attemptNum+1). The
// product may exceed max, as in the published library, and saturates instead of
// overflowing.
func LinearJitterBackoff(min, max time.Duration, attemptNum int, _ *http.Response) time.Duration {
	min, attemptNum = atLeastZero(min), atLeastZero(attemptNum)
	wait := min
	if max > min {
		wait = between(min, max)
	}
	times := saturatingAdd(time.Duration(attemptNum), 1)
	if wait > 0 && times > math.MaxInt64/wait {
		return math.MaxInt64
	}
	return wait * times
}

// RateLimitLinearJitterBackoff waits as long as Retry-After asks on a 429 or
// 503, and otherwise as [LinearJitterBackoff] does.
func RateLimitLinearJitterBackoff(min, max time.Duration, attemptNum int, resp *http.Response) time.Duration {
	if wait, ok := askedToWait(resp); ok {
		return wait
	}
	return LinearJitterBackoff(min, max, attemptNum, resp)
}

// exponential is min·2^n, held between 0 and max.
func exponential(min, max time.Duration, n int) time.Duration {
	min, max, n = atLeastZero(min), atLeastZero(max), atLeastZero(n)
	// min<<n overflows exactly when min > MaxInt64>>n.
	if n >= 63 && min > 0 || n < 63 && min > math.MaxInt64>>n || min<<n > max {
		return max
	}
	return min << n
}

// jitterWindow gives the bounds of the n-th jittered wait. Both are within
// [min, max], or are max when max is below min.
func jitterWindow(min, max time.Duration, n int) (lo, hi time.Duration) {
	min, max, n = atLeastZero(min), atLeastZero(max), atLeastZero(n)
	if max <= min {
		return max, max
	}
	if n < math.MaxInt {
		n++
	}
	hi = exponential(min, max, n)
	lo = hi / 2
	if lo < min {
		lo = min
	}
	return lo, hi
}

// between draws evenly from [lo, hi], neither negative. The generator behind math/rand/v2's
// functions is kept per thread: no lock, nothing to seed.
func between(lo, hi time.Duration) time.Duration {
	if hi <= lo {
		return lo
	}
	return lo + time.Duration(rand.Uint64N(uint64(hi-lo)+1))
}

// askedToWait reports the wait that a 429 or 503 asks for.
func askedToWait(resp *http.Response) (time.Duration, bool) {
	if resp == nil || resp.StatusCode != http.StatusTooManyRequests && resp.StatusCode != http.StatusServiceUnavailable {
		return 0, false
	}
	return parseRetryAfter(resp.Header.Get("Retry-After"), time.Now)
}

// parseRetryAfter reads a Retry-After value: delay-seconds or an HTTP-date (RFC
// 9110 §10.2.3, §5.6.7), surrounding blanks allowed. A date that has passed asks
// for no wait. A delay too large for a time.Duration is the largest one.
// Everything else, negative numbers included, counts as absent. The clock is
// read only for a date.
func parseRetryAfter(value string, now func() time.Time) (time.Duration, bool) {
	value = strings.Trim(value, " \t")
	if value == "" {
		return 0, false
	}
	if isDigits(value) {
		seconds, err := strconv.ParseInt(value, 10, 64)
		if err != nil || seconds > int64(math.MaxInt64/time.Second) {
			return math.MaxInt64, true
		}
		return time.Duration(seconds) * time.Second, true
	}
	date, err := http.ParseTime(value)
	if err != nil {
		return 0, false
	}
	return atLeastZero(date.Sub(now())), true // Sub saturates
}

func isDigits(s string) bool {
	for i := range len(s) {
		if s[i] < '0' || s[i] > '9' {
			return false
		}
	}
	return true
}

func atLeastZero[T ~int | ~int64](n T) T {
	if n < 0 {
		return 0
	}
	return n
}

// saturatingAdd adds two durations that are not negative.
func saturatingAdd(a, b time.Duration) time.Duration {
	if a > math.MaxInt64-b {
		return math.MaxInt64
	}
	return a + b
}
