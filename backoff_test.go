package retryablehttp

import (
	"math"
	"net/http"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
)

func asking(status int, retryAfter string) *http.Response {
	return &http.Response{StatusCode: status, Header: http.Header{"Retry-After": {retryAfter}}}
}

// docs/spec.md, 2.17: DefaultBackoff waits min·2^attemptNum, never more than max.
func TestDefaultBackoffIsExactAndNeverAboveMax(t *testing.T) {
	const maxDuration = time.Duration(math.MaxInt64)
	for _, tc := range []struct {
		min, max time.Duration
		attempt  int
		want     time.Duration
	}{
		{time.Second, 5 * time.Minute, 0, time.Second},
		{time.Second, 5 * time.Minute, 1, 2 * time.Second},
		{time.Second, 5 * time.Minute, 2, 4 * time.Second},
		{time.Second, 5 * time.Minute, 3, 8 * time.Second},
		{time.Second, 5 * time.Minute, 63, 5 * time.Minute},
		{time.Second, 5 * time.Minute, 128, 5 * time.Minute},
		{time.Second, maxDuration, 33, time.Second << 33},
		{time.Second, maxDuration, 34, maxDuration},
		{1, maxDuration, 62, 1 << 62},
		{1, maxDuration, 63, maxDuration},
		{1, maxDuration, math.MaxInt, maxDuration},
		{0, time.Second, 10, 0},
		{0, time.Second, 70, 0},
		{2 * time.Second, time.Second, 0, time.Second},
		{time.Second, 0, 3, 0},
		{time.Second, time.Minute, -1, time.Second},
		{-time.Second, time.Minute, 1, 0},
	} {
		assert.Equal(t, tc.want, DefaultBackoff(tc.min, tc.max, tc.attempt, nil), "%+v", tc)
	}
}

// docs/spec.md, 2.17 and 2.19: Retry-After counts with the statuses 429 and 503 only.
func TestRetryAfterIsReadFrom429And503Only(t *testing.T) {
	for status, want := range map[int]time.Duration{429: 7 * time.Second, 503: 7 * time.Second, 500: 1, 502: 1, 408: 1, 301: 1} {
		assert.Equal(t, want, DefaultBackoff(1, 1, 0, asking(status, "7")), "DefaultBackoff %d", status)
		jittered := ExponentialJitterBackoff(1, 1, 0, asking(status, "7"))
		assert.True(t, want <= jittered && jittered <= want+want/10, "ExponentialJitterBackoff %d: %s", status, jittered)
		assert.Equal(t, want, RateLimitLinearJitterBackoff(1, 1, 0, asking(status, "7")), "RateLimitLinearJitterBackoff %d", status)
		assert.Equal(t, time.Duration(1), LinearJitterBackoff(1, 1, 0, asking(status, "7")), "LinearJitterBackoff %d", status)
	}
}

// docs/spec.md, 2.18: LinearJitterBackoff.
func TestLinearJitterBackoffStaysInItsWindow(t *testing.T) {
	for attempt := range 5 {
		times := time.Duration(attempt + 1)
		for range 200 {
			wait := LinearJitterBackoff(time.Second, 3*time.Second, attempt, nil)
			assert.GreaterOrEqual(t, wait, times*time.Second)
			assert.LessOrEqual(t, wait, times*3*time.Second)
		}
	}
	assert.Equal(t, 3*time.Second, LinearJitterBackoff(time.Second, time.Second, 2, nil), "max == min")
	assert.Equal(t, 6*time.Second, LinearJitterBackoff(2*time.Second, time.Second, 2, nil), "max < min")
	assert.Equal(t, time.Duration(math.MaxInt64), LinearJitterBackoff(math.MaxInt64-1, math.MaxInt64, 3, nil))
	assert.Equal(t, time.Duration(math.MaxInt64), LinearJitterBackoff(time.Second, time.Second, math.MaxInt, nil))
	assert.Zero(t, LinearJitterBackoff(0, 0, 9, nil))
}

// docs/spec.md, 4.7: the waits of ExponentialJitterBackoff spread at every attempt.
func TestExponentialJitterSpreadsAtEveryAttempt(t *testing.T) {
	const minWait, maxWait = time.Second, 30 * time.Second
	for attempt := range 12 {
		lo, hi := jitterWindow(minWait, maxWait, attempt)
		const draws, buckets = 2000, 10
		var seen [buckets]int
		for range draws {
			wait := ExponentialJitterBackoff(minWait, maxWait, attempt, nil)
			if !assert.True(t, minWait <= lo && lo <= wait && wait <= hi && hi <= maxWait, "attempt %d: %s not in [%s, %s]", attempt, wait, lo, hi) {
				return
			}
			seen[min(int(buckets*(wait-lo)/(hi-lo)), buckets-1)]++
		}
		assert.GreaterOrEqual(t, hi-lo, time.Second, "attempt %d spreads over %s only", attempt, hi-lo)
		for b, n := range seen { // 200 expected, σ ≈ 13
			assert.InDelta(t, draws/buckets, n, 100, "attempt %d: bucket %d holds %d of %d draws", attempt, b, n, draws)
		}
	}
	assert.Equal(t, time.Second, ExponentialJitterBackoff(time.Second, time.Second, 3, nil))
	assert.Equal(t, time.Second, ExponentialJitterBackoff(time.Minute, time.Second, 3, nil), "never above max")
	assert.Zero(t, ExponentialJitterBackoff(0, time.Second, 3, nil), "nothing to multiply")
}

func FuzzBackoff(f *testing.F) {
	f.Add(int64(time.Second), int64(30*time.Second), 0)
	f.Add(int64(1), int64(math.MaxInt64), 62)
	f.Add(int64(math.MaxInt64), int64(math.MaxInt64), math.MaxInt)
	f.Add(int64(math.MinInt64), int64(-1), math.MinInt)
	f.Fuzz(func(t *testing.T, minWait, maxWait int64, attempt int) {
		lo, hi := max(time.Duration(minWait), 0), max(time.Duration(maxWait), 0)
		for name, backoff := range map[string]Backoff{
			"DefaultBackoff":           DefaultBackoff,
			"ExponentialJitterBackoff": ExponentialJitterBackoff,
		} {
			wait := backoff(time.Duration(minWait), time.Duration(maxWait), attempt, nil)
			if wait > hi || wait < min(lo, hi) {
				t.Fatalf("%s(%d, %d, %d) = %d", name, minWait, maxWait, attempt, wait)
			}
		}
		for name, backoff := range map[string]Backoff{
			"LinearJitterBackoff":          LinearJitterBackoff,
			"RateLimitLinearJitterBackoff": RateLimitLinearJitterBackoff,
		} {
			wait := backoff(time.Duration(minWait), time.Duration(maxWait), attempt, nil)
			if wait < lo {
				t.Fatalf("%s(%d, %d, %d) = %d", name, minWait, maxWait, attempt, wait)
			}
		}
	})
}
