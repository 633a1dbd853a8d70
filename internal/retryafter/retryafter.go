// Package retryafter reads how long a server asks to wait.
package retryafter

import (
	"math"
	"net/http"
	"strconv"
	"strings"
	"time"
)

// Parse parses a Retry-After value: delay-seconds or an HTTP-date (RFC 9110 §10.2.3,
// §5.6.7), with blanks around it. A date in the past means 0, a delay too large for a
// time.Duration the largest one. Other values, negative numbers included, count as absent.
// now is called only for a date.
func Parse(value string, now func() time.Time) (time.Duration, bool) {
	value = strings.Trim(value, " \t")
	if value == "" {
		return 0, false
	}
	if isDigits(value) {
		return delay(value, time.Second), true
	}
	date, err := http.ParseTime(value)
	if err != nil {
		return 0, false
	}
	return max(date.Sub(now()), 0), true // Sub saturates
}

// Of returns the wait that a header asks for by Retry-After-Ms (milliseconds, of Azure and
// others) or, without that, by Retry-After.
func Of(header http.Header) (time.Duration, bool) {
	if ms := strings.Trim(header.Get("Retry-After-Ms"), " \t"); ms != "" && isDigits(ms) {
		return delay(ms, time.Millisecond), true
	}
	return Parse(header.Get("Retry-After"), time.Now)
}

// delay returns the duration of a number of units, which consists of digits.
func delay(digits string, unit time.Duration) time.Duration {
	n, err := strconv.ParseInt(digits, 10, 64)
	if err != nil || n > int64(math.MaxInt64/unit) {
		return math.MaxInt64
	}
	return time.Duration(n) * unit
}

func isDigits(s string) bool {
	for i := range len(s) {
		if s[i] < '0' || s[i] > '9' {
			return false
		}
	}
	return true
}
