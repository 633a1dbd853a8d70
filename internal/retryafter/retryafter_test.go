package retryafter

import (
	"math"
	"net/http"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
)

// docs/spec.md, 4.5: the forms of Retry-After, and values that count as absent.
func TestRetryAfterForms(t *testing.T) {
	synctest.Test(t, func(t *testing.T) { // the bubble's clock starts at 2000-01-01 00:00:00 UTC
		const absent = -1
		for value, want := range map[string]time.Duration{
			"0":                                   0,
			"120":                                 2 * time.Minute,
			" 120\t":                              2 * time.Minute,
			"007":                                 7 * time.Second,
			"9223372036":                          9223372036 * time.Second,
			"9223372037":                          math.MaxInt64,
			"999999999999999999":                  math.MaxInt64,
			"99999999999999999999999999999999999": math.MaxInt64,
			"Sat, 01 Jan 2000 00:00:30 GMT":       30 * time.Second,
			" Sat, 01 Jan 2000 00:00:30 GMT ":     30 * time.Second,
			"Saturday, 01-Jan-00 00:01:00 GMT":    time.Minute, // RFC 850
			"Sat Jan  1 00:02:00 2000":            2 * time.Minute,
			"Fri, 31 Dec 1999 23:59:59 GMT":       0,
			"Fri, 31 Dec 9999 23:59:59 GMT":       math.MaxInt64,
			"":                                    absent,
			" ":                                   absent,
			"-1":                                  absent,
			"+1":                                  absent,
			"1.5":                                 absent,
			"1s":                                  absent,
			"0x10":                                absent,
			"soon":                                absent,
			"2000-01-01T00:00:30Z":                absent,
			"12\x00":                              absent,
		} {
			got, ok := Parse(value, time.Now)
			if !ok {
				got = absent
			}
			assert.Equal(t, want, got, "%q", value)
		}
	})
}

func TestMillisecondsComeFirst(t *testing.T) {
	for _, c := range []struct {
		ms, seconds string
		want        time.Duration
		ok          bool
	}{
		{"50", "1", 50 * time.Millisecond, true},
		{" 50\t", "", 50 * time.Millisecond, true},
		{"0", "1", 0, true},
		{"9223372036855", "", math.MaxInt64, true},
		{"-5", "1", time.Second, true},
		{"1.5", "", 0, false},
		{"soon", "2", 2 * time.Second, true},
		{"", "", 0, false},
	} {
		header := http.Header{}
		header.Set("Retry-After-Ms", c.ms)
		header.Set("Retry-After", c.seconds)
		got, ok := Of(header)
		assert.Equal(t, c.want, got, "%+v", c)
		assert.Equal(t, c.ok, ok, "%+v", c)
	}
}

func FuzzParse(f *testing.F) {
	for _, seed := range []string{
		"0", "120", " 7 ", "-1", "999999999999999999", "18446744073709551616",
		"Fri, 31 Dec 9999 23:59:59 GMT", "Sunday, 06-Nov-94 08:49:37 GMT", "Sun Nov  6 08:49:37 1994", "٣", "1e9",
	} {
		f.Add(seed)
	}
	now := func() time.Time { return time.Date(2024, 2, 29, 12, 0, 0, 0, time.UTC) }
	f.Fuzz(func(t *testing.T, value string) {
		wait, ok := Parse(value, now)
		if wait < 0 || !ok && wait != 0 {
			t.Fatalf("Parse(%q) = %d, %t", value, wait, ok)
		}
	})
}
