package mergepatch_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/a0b132ce/retryablehttp/mergepatch"
)

// The examples of RFC 7396, appendix A.
func TestApplyRFC7396AppendixA(t *testing.T) {
	for i, test := range []struct{ document, patch, want string }{
		{`{"a":"b"}`, `{"a":"c"}`, `{"a":"c"}`},
		{`{"a":"b"}`, `{"b":"c"}`, `{"a":"b","b":"c"}`},
		{`{"a":"b"}`, `{"a":null}`, `{}`},
		{`{"a":"b","b":"c"}`, `{"a":null}`, `{"b":"c"}`},
		{`{"a":["b"]}`, `{"a":"c"}`, `{"a":"c"}`},
		{`{"a":"c"}`, `{"a":["b"]}`, `{"a":["b"]}`},
		{`{"a": {"b": "c"}}`, `{"a": {"b": "d", "c": null}}`, `{"a":{"b":"d"}}`},
		{`{"a": [{"b":"c"}]}`, `{"a": [1]}`, `{"a":[1]}`},
		{`["a","b"]`, `["c","d"]`, `["c","d"]`},
		{`{"a":"b"}`, `["c"]`, `["c"]`},
		{`{"a":"foo"}`, `null`, `null`},
		{`{"a":"foo"}`, `"bar"`, `"bar"`},
		{`{"e":null}`, `{"a":1}`, `{"e":null,"a":1}`},
		{`[1,2]`, `{"a":"b", "c":null}`, `{"a":"b"}`},
		{`{}`, `{"a": {"bb": {"ccc": null}}}`, `{"a":{"bb":{}}}`},
	} {
		t.Run(fmt.Sprint(i+1), func(t *testing.T) {
			checkApply(t, test.document, test.patch, test.want)
		})
	}
}

func TestApply(t *testing.T) {
	for _, test := range []struct{ name, document, patch, want string }{
		{"numbers keep their text", `{"a":1e400,"b":12345678901234567890,"c":-0}`, `{"d":1.50E+2,"b":1.0}`, `{"a":1e400,"b":1.0,"c":-0,"d":1.50E+2}`},
		{"strings keep their text", `{"a":"<\u003c\/\ud800"}`, `{"b":"&\u0026"}`, `{"a":"<\u003c\/\ud800","b":"&\u0026"}`},
		{"names keep their text", `{"<\u003e":1}`, `{"\u003d":2}`, `{"<\u003e":1,"\u003d":2}`},
		{"invalid UTF-8 is kept", "{\"a\":\"\xff\"}", `{"b":1}`, "{\"a\":\"\xff\",\"b\":1}"},
		{"brackets and quotes in strings", `{"a}\"],":"{[:,\\","b":["]\\\"}",{"c":"}"}]}`, `{"a}\"],":{"d":"\\"}}`, `{"a}\"],":{"d":"\\"},"b":["]\\\"}",{"c":"}"}]}`},
		{"names are compared decoded", `{"\u0061":1,"b":2}`, `{"a":3,"\u0062":null}`, `{"\u0061":3}`},
		{"order of the document, then of the patch", `{"z":1,"y":2,"x":3}`, `{"b":4,"x":5,"z":null,"a":6}`, `{"y":2,"x":5,"b":4,"a":6}`},
		{"the last of equal names in the document", `{"a":1,"b":2,"a":{"c":3}}`, `{}`, `{"a":{"c":3},"b":2}`},
		{"the last of equal names in the patch", `{"a":1}`, `{"a":null,"a":2,"b":3,"b":null}`, `{"a":2}`},
		{"equal names are not merged", `{"a":{"b":1},"a":{"c":2}}`, `{"a":{"d":3},"a":{"e":4}}`, `{"a":{"c":2,"e":4}}`},
		{"null in the document stays", `{"a":null,"b":{"c":null}}`, `{"b":{"d":1}}`, `{"a":null,"b":{"c":null,"d":1}}`},
		{"null in an array of the patch stays", `{}`, `{"a":[null,{"b":null}]}`, `{"a":[null,{"b":null}]}`},
		{"the string null is a value", `{"a":1}`, `{"a":"null"}`, `{"a":"null"}`},
		{"an object replaces null", `{"a":null}`, `{"a":{"b":null}}`, `{"a":{}}`},
		{"an object replaces a number", `7`, `{"a":{"b":1}}`, `{"a":{"b":1}}`},
		{"an empty name", `{"":{"":1}}`, `{"":{"":null}}`, `{"":{}}`},
		{"white space is removed, but not in strings", " { \"a b\" : [ 1 , \" \" ] }\r\n", "\t{\"c\" :\n{ } } ", `{"a b":[1," "],"c":{}}`},
		{"no white space but a number", `1`, `2`, `2`},
	} {
		t.Run(test.name, func(t *testing.T) {
			checkApply(t, test.document, test.patch, test.want)
		})
	}
}

// checkApply checks the result of Apply, that a second Apply of the patch changes nothing,
// and that the arguments are not changed.
func checkApply(t *testing.T, document, patch, want string) {
	t.Helper()
	d, p := []byte(document), []byte(patch)
	got, err := mergepatch.Apply(d, p)
	require.NoError(t, err)
	assert.Equal(t, want, string(got))

	again, err := mergepatch.Apply(got, p)
	require.NoError(t, err)
	assert.Equal(t, want, string(again))

	for i := range got {
		got[i] = 'x' // the result does not share memory with the arguments
	}
	assert.Equal(t, document, string(d))
	assert.Equal(t, patch, string(p))
}

func TestApplyError(t *testing.T) {
	deep := strings.Repeat(`{"a":`, 100_000)
	for _, test := range []struct {
		name, text string
		offset     int64
	}{
		{"empty", "", 0},
		{"white space", " \n", 2},
		{"truncated", `{"a":`, 5},
		{"trailing data", `{} {}`, 4},
		{"a trailing comma", `{"a":1,}`, 8},
		{"not JSON", `{a:1}`, 2},
		{"a byte order mark", "\ufeff{}", 1},
		{"nested without end", deep, 50_001},
		{"nested too deep", deep + "1" + strings.Repeat("}", 100_000), 50_001},
		{"arrays nested too deep", strings.Repeat("[", 10_001) + strings.Repeat("]", 10_001), 10_001},
	} {
		t.Run(test.name, func(t *testing.T) {
			for _, at := range []struct {
				document, patch string
				is, isNot       error
				text            string
			}{
				{test.text, `{}`, mergepatch.ErrInvalidDocument, mergepatch.ErrInvalidPatch, "mergepatch: invalid document: "},
				{`{}`, test.text, mergepatch.ErrInvalidPatch, mergepatch.ErrInvalidDocument, "mergepatch: invalid patch: "},
			} {
				got, err := mergepatch.Apply([]byte(at.document), []byte(at.patch))
				assert.Nil(t, got)
				require.ErrorIs(t, err, at.is)
				assert.False(t, errors.Is(err, at.isNot))
				assert.Contains(t, err.Error(), at.text)
				assert.NotContains(t, err.Error(), "\n")
				var syntax *json.SyntaxError
				require.ErrorAs(t, err, &syntax)
				assert.InDelta(t, test.offset, syntax.Offset, 1, "with or without the byte that is wrong")
			}
		})
	}
}

func TestMediaType(t *testing.T) {
	assert.Equal(t, "application/merge-patch+json", mergepatch.MediaType)
}

func TestApplyNil(t *testing.T) {
	_, err := mergepatch.Apply(nil, []byte(`{}`))
	assert.ErrorIs(t, err, mergepatch.ErrInvalidDocument)
	_, err = mergepatch.Apply([]byte(`{}`), nil)
	assert.ErrorIs(t, err, mergepatch.ErrInvalidPatch)
}

// 10,000 levels are the limit of encoding/json, on which Apply relies.
func TestApplyToDeeplyNestedObjects(t *testing.T) {
	nested := func(inner string, levels int) string {
		return strings.Repeat(`{"a":`, levels-1) + inner + strings.Repeat("}", levels-1)
	}
	checkApply(t, nested(`{"b":1}`, 10_000), nested(`{"c":2}`, 10_000), nested(`{"b":1,"c":2}`, 10_000))
	checkApply(t, `1`, nested(`{"c":null}`, 10_000), nested(`{}`, 10_000))
}

// Eight times the size takes some 8 times as long; 64 times if a level or a member were
// read again for each other one.
func TestApplyTakesLinearTime(t *testing.T) {
	deep := func(n int) string {
		return strings.Repeat(`{"a":`, n) + `"` + strings.Repeat("x", 100*n) + `"` + strings.Repeat("}", n)
	}
	wide := func(n int) string {
		var text strings.Builder
		text.WriteString(`{"":0`)
		for i := range 5 * n {
			fmt.Fprintf(&text, `,"%d":%d`, i, i)
		}
		return text.String() + "}"
	}
	for name, document := range map[string]func(n int) string{"deep": deep, "wide": wide} {
		t.Run(name, func(t *testing.T) {
			fastest := func(n int) time.Duration {
				text := []byte(document(n))
				best := time.Duration(math.MaxInt64)
				for range 5 {
					start := time.Now()
					_, err := mergepatch.Apply(text, text)
					require.NoError(t, err)
					best = min(best, time.Since(start))
				}
				return best
			}
			assert.Less(t, fastest(8_000), 24*fastest(1_000))
		})
	}
}
