package retryablehttp

import (
	"math"
	"net/http"
	"strconv"
	"strings"
	"time"
)

// pause is what a response asks of all callers of a host.
type pause struct {
	wait time.Duration // before the next request
	rate float64       // requests per second from then on, 0 if unknown
}

// pauseOf returns the pause that a response asks for. A refusal asks for one by Retry-After
// (RFC 9110 §10.2.3), Retry-After-Ms (of Azure and others), RateLimit, RateLimit-Reset or
// X-RateLimit-Reset. The last three do not count if requests are left: many servers send
// them with every response. Any other response asks for a pause if its RateLimit says that
// no request is left.
func pauseOf(resp *http.Response, refused bool) (pause, bool) {
	limit, limited := rateLimitOf(resp.Header)
	limited = limited && limit.remaining == 0
	if !refused && !limited {
		return pause{}, false
	}
	if !refused {
		return limit.pause, true
	}
	if wait, ok := retryAfter(resp); ok {
		return pause{wait, limit.rate}, true
	}
	if ms, ok := number(resp.Header.Get("Retry-After-Ms")); ok {
		return pause{scaled(ms, time.Millisecond), limit.rate}, true
	}
	if limited {
		return limit.pause, true
	}
	for _, prefix := range []string{"Ratelimit-", "X-Ratelimit-"} {
		remaining, known := number(resp.Header.Get(prefix + "Remaining"))
		if remaining > 0 || !known && resp.StatusCode != http.StatusTooManyRequests {
			continue
		}
		if reset, ok := number(resp.Header.Get(prefix + "Reset")); ok {
			return pause{wait: untilReset(reset)}, true
		}
	}
	return pause{}, false
}

// untilReset returns the time until a reset: seconds or, as GitHub and others have it, Unix
// time.
func untilReset(reset float64) time.Duration {
	const unix = 3e8 // seconds: the year 1979, or 10 years
	if reset < unix {
		return scaled(reset, time.Second)
	}
	return max(scaled(reset-float64(time.Now().UnixMilli())/1e3, time.Second), 0)
}

// rateLimit is what a RateLimit field says about the policy of which least is left.
type rateLimit struct {
	remaining float64
	pause
}

// rateLimitOf reads the fields of draft-ietf-httpapi-ratelimit-headers-10
//
//	RateLimit: "burst";r=0;t=30
//	RateLimit-Policy: "burst";q=100;w=60
//
// and the RateLimit of its earlier versions: limit=100, remaining=0, reset=30.
func rateLimitOf(header http.Header) (limit rateLimit, ok bool) {
	fields := header["Ratelimit"]
	if len(fields) == 0 {
		return rateLimit{}, false
	}
	name := ""
	early := map[string]float64{}
	for _, member := range parseList(fields) {
		r, hasR := member.params["r"]
		t, hasT := member.params["t"]
		if wait := scaled(t, time.Second); hasR && hasT && (!ok || r < limit.remaining || r == limit.remaining && wait > limit.wait) {
			name, limit, ok = member.name, rateLimit{remaining: r, pause: pause{wait: wait}}, true
		}
		if n, valid := number(member.value); valid {
			early[member.name] = n
		}
	}
	if reset, given := early["reset"]; given && !ok {
		remaining, known := early["remaining"]
		if !known {
			remaining = math.Inf(1)
		}
		return rateLimit{remaining, pause{wait: scaled(reset, time.Second)}}, true
	}
	for _, member := range parseList(header["Ratelimit-Policy"]) {
		if q, w := member.params["q"], member.params["w"]; ok && member.name == name && q > 0 && w > 0 && !math.IsInf(q/w, 0) {
			limit.rate = q / w
		}
	}
	return limit, ok
}

// listMember is a member of a list: name=value;param=number.
type listMember struct {
	name, value string
	params      map[string]float64
}

// parseList parses a list (RFC 9651 §3.1). It leaves out parameters that are not numbers.
func parseList(fields []string) []listMember {
	var list []listMember
	for _, text := range strings.Split(strings.Join(fields, ","), ",") {
		parts := strings.Split(text, ";")
		member := listMember{params: map[string]float64{}}
		member.name, member.value, _ = strings.Cut(strings.TrimSpace(parts[0]), "=")
		for _, param := range parts[1:] {
			key, value, _ := strings.Cut(strings.TrimSpace(param), "=")
			if n, ok := number(value); ok {
				member.params[key] = n
			}
		}
		list = append(list, member)
	}
	return list
}

// number parses a number that is not negative.
func number(value string) (float64, bool) {
	n, err := strconv.ParseFloat(strings.TrimSpace(value), 64)
	return n, err == nil && n >= 0 && !math.IsInf(n, 0)
}

// scaled returns n units, at most the longest duration.
func scaled(n float64, unit time.Duration) time.Duration {
	if n >= float64(math.MaxInt64)/float64(unit) {
		return math.MaxInt64
	}
	return time.Duration(n * float64(unit))
}
