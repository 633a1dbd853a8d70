package conformance

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

const smallest = `Spec 2, policy: shown.
-- runners --
run: memory http1 https http2
-- client --
retry-max: 1
-- request --
GET http://example.com/
via: do
-- server --
1: 200
-- want --
attempts: 1
result: 200
`

func TestParseTakesTheSmallest(t *testing.T) {
	s, err := Parse("small.txtar", []byte(smallest))
	require.NoError(t, err)
	assert.Equal(t, []string{"2, policy"}, s.Rows)
	assert.Equal(t, 1, s.Want.Requests)
}

func TestParseRefusesWhatItDoesNotKnow(t *testing.T) {
	for _, test := range []struct{ old, new, want string }{
		{"Spec 2, policy:", "Spec 2, policy", "x.txtar:1: "},
		{"-- client --", "-- clients --", `x.txtar:4: unknown section "clients"`},
		{"-- client --", "-- runners --", `x.txtar:4: section "runners" appears twice`},
		{"retry-max: 1", "retry-maximum: 1", `x.txtar:5: section "client": unknown key "retry-maximum"`},
		{"retry-max: 1", "retry-max: 1\nretry-max: 2", `x.txtar:6: section "client": retry-max is given twice`},
		{"retry-max: 1", "retry-max:", `x.txtar:5: section "client": retry-max has no value`},
		{"retry-max: 1", "policy: save", `x.txtar:5: section "client": policy: "save" is not one of: `},
		{"retry-max: 1", "inner: direct", `x.txtar:5: section "client": inner: direct takes 1 arguments, not 0`},
		{"via: do", "via: magic", `x.txtar:8: section "request": via: "magic" is not one of: `},
		{"via: do", "via: get\nretry-max: 1", "a call via get has no context"},
		{"via: do", "body: reader 3B fail=\"gone\" at=4", `x.txtar:8: section "request": body: at=4 does not lie within the content`},
		{"1: 200", "2: 200", `x.txtar:10: section "server": request 2 comes out of turn`},
		{"1: 200", "1: 200 flaut=reset", `x.txtar:10: section "server": unknown item "flaut"`},
		{"1: 200", "1: fault=refuse", "is for memory only"},
		{"attempts: 1", "attemps: 1", `x.txtar:12: section "want": unknown key "attemps"`},
		{"attempts: 1", "attempts: 2", "there are 1 waits between the requests, 0 are given"},
		{"attempts: 1", "attempts: 1\nheader Range: -, -", "want header Range: 2 values for 1 requests"},
		{"attempts: 1", "attempts: 1\nresumed: 2", "2 of 1 requests cannot be for a resumption"},
		{"attempts: 1", "attempts: 1\nreason: canceled", "want says what an error is like but names none"},
		{"attempts: 1", "attempts: 1\nread-offset: 4", "gives no read-error"},
		{"attempts: 1", "attempts: 1\nread-error: ...", "no result that is broken"},
		{"http2", "", "runner http2 must be named once"},
		{"http2", "http2\nplays: 0", "x.txtar:4: "},
	} {
		_, err := Parse("x.txtar", []byte(strings.Replace(smallest, test.old, test.new, 1)))
		assert.ErrorContains(t, err, test.want, "with %q", test.new)
	}
}

func TestListValues(t *testing.T) {
	items, err := list(`-, plain , "Mon, 02 Jan", "\"v1\"",7`)
	require.NoError(t, err)
	assert.Equal(t, []string{"-", "plain", "Mon, 02 Jan", `"v1"`, "7"}, items)
	for _, bad := range []string{"", "a,,b", `"a" b`, "a,"} {
		_, err := list(bad)
		assert.Error(t, err, bad)
	}
}
