package problem_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"testing/iotest"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/a0b132ce/retryablehttp/problem"
)

const base = "https://api-toolkit.dev/problems/"

func TestNewNamesTheTypeAfterTheStatus(t *testing.T) {
	for status, want := range map[int]string{
		400: "bad-request", 404: "not-found", 405: "method-not-allowed", 409: "conflict", 410: "gone",
		413: "request-entity-too-large", 418: "im-a-teapot", 422: "unprocessable-entity",
		500: "internal-error", 503: "service-unavailable",
	} {
		p := problem.New(status, "d")
		assert.Equal(t, problem.Problem{
			Type: base + want, Title: http.StatusText(status), Status: status, Detail: "d",
		}, p)
	}
	assert.Equal(t, problem.Problem{Status: 599, Detail: "d"}, problem.New(599, "d"), "a status without a text")
}

func TestMarshal(t *testing.T) {
	for _, test := range []struct {
		name string
		p    problem.Problem
		want string
	}{
		{"empty members are left out", problem.Problem{}, `{}`},
		{"members are in alphabetical order",
			problem.Problem{Type: "t", Title: "u", Status: 404, Detail: "d", Instance: "i",
				Extensions: map[string]any{"code": "c", "zone": nil, "a": []int{1}}},
			`{"a":[1],"code":"c","detail":"d","instance":"i","status":404,"title":"u","type":"t","zone":null}`},
		{"an extension does not replace a standard member", // not even one that is left out
			problem.Problem{Title: "u", Extensions: map[string]any{
				"type": "x", "title": "x", "status": 1, "detail": "x", "instance": "x"}},
			`{"title":"u"}`},
		{"an extension without a name is left out",
			problem.Problem{Extensions: map[string]any{"": 1}}, `{}`},
		{"the name of an extension is case sensitive",
			problem.Problem{Title: "u", Extensions: map[string]any{"Title": "x"}}, `{"Title":"x","title":"u"}`},
		{"HTML is escaped",
			problem.Problem{Detail: "<&>", Extensions: map[string]any{"<": 1}},
			`{"\u003c":1,"detail":"\u003c\u0026\u003e"}`},
	} {
		t.Run(test.name, func(t *testing.T) {
			got, err := json.Marshal(test.p)
			require.NoError(t, err)
			assert.Equal(t, test.want, string(got))

			inside, err := json.Marshal(struct{ P *problem.Problem }{&test.p})
			require.NoError(t, err)
			assert.Equal(t, `{"P":`+test.want+`}`, string(inside), "inside another value")
		})
	}
}

func TestDecode(t *testing.T) {
	for _, test := range []struct {
		name, document string
		want           problem.Problem
	}{
		{"all members", `{"type":"t","title":"u","status":404,"detail":"d","instance":"i","code":"c"}`,
			problem.Problem{Type: "t", Title: "u", Status: 404, Detail: "d", Instance: "i",
				Extensions: map[string]any{"code": "c"}}},
		{"members of a wrong type are ignored", `{"type":1,"title":[],"status":"404","detail":{},"instance":true}`, problem.Problem{}},
		{"null members are empty", `{"type":null,"title":null,"status":null,"detail":null,"instance":null}`, problem.Problem{}},
		{"a status that is a fraction is ignored", `{"status":404.5}`, problem.Problem{}},
		{"a status that is too large is ignored", `{"status":99999999999999999999}`, problem.Problem{}},
		{"numbers are kept exactly", `{"n":12345678901234567890.10}`,
			problem.Problem{Extensions: map[string]any{"n": json.Number("12345678901234567890.10")}}},
		{"a null extension is kept", `{"n":null}`, problem.Problem{Extensions: map[string]any{"n": nil}}},
		{"names are case sensitive", `{"TITLE":"u"}`, problem.Problem{Extensions: map[string]any{"TITLE": "u"}}},
		{"an empty name is ignored", `{"":1}`, problem.Problem{}},
		{"null", ` null `, problem.Problem{}},
		{"an empty object", "{}\n", problem.Problem{}},
	} {
		t.Run(test.name, func(t *testing.T) {
			got, err := problem.Decode(strings.NewReader(test.document))
			require.NoError(t, err)
			assert.Equal(t, test.want, got)
		})
	}
}

func TestDecodeErrors(t *testing.T) {
	errRead := errors.New("read failed")
	for _, test := range []struct {
		name string
		r    io.Reader
		want error
	}{
		{"nothing", strings.NewReader(""), problem.ErrMalformed},
		{"text", strings.NewReader("Bad Gateway"), problem.ErrMalformed},
		{"an array", strings.NewReader("[]"), problem.ErrMalformed},
		{"a string", strings.NewReader(`"x"`), problem.ErrMalformed},
		{"cut off", strings.NewReader(`{"title":"x"`), problem.ErrMalformed},
		{"a second value", strings.NewReader(`{} {}`), problem.ErrMalformed},
		{"text after the object", strings.NewReader(`{}x`), problem.ErrMalformed},
		{"nested too deeply", strings.NewReader(`{"a":` + strings.Repeat("[", 10001) + strings.Repeat("]", 10001) + "}"), problem.ErrMalformed},
		{"1 MiB and 1 byte", strings.NewReader(`{}` + strings.Repeat(" ", 1<<20-1)), problem.ErrTooLarge},
		{"a reader that fails", iotest.ErrReader(errRead), errRead},
	} {
		t.Run(test.name, func(t *testing.T) {
			got, err := problem.Decode(test.r)
			require.ErrorIs(t, err, test.want)
			assert.True(t, strings.HasPrefix(err.Error(), "problem: "), err.Error())
			assert.Zero(t, got)
		})
	}
	_, err := problem.Decode(strings.NewReader(`{}` + strings.Repeat(" ", 1<<20-2)))
	assert.NoError(t, err, "1 MiB")
}

func TestUnmarshalReplacesAllMembersAndLeavesThemOnAnError(t *testing.T) {
	p := problem.Problem{Title: "old", Detail: "old", Extensions: map[string]any{"old": 1}}
	require.Error(t, p.UnmarshalJSON([]byte(`[]`)))
	assert.Equal(t, "old", p.Title)
	require.NoError(t, json.Unmarshal([]byte(`{"title":"new"}`), &p))
	assert.Equal(t, problem.Problem{Title: "new"}, p)
}

func TestError(t *testing.T) {
	for want, p := range map[string]problem.Problem{
		"Not Found: no order 7":        {Title: "Not Found", Detail: "no order 7"},
		"Not Found":                    {Title: "Not Found"},
		"no order 7":                   {Detail: "no order 7"},
		"problem about:x (status 404)": {Type: "about:x", Status: 404},
		"problem":                      {},
		"a  b: c d":                    {Title: "a\r\nb", Detail: "c\x1bd"},
	} {
		assert.Equal(t, want, p.Error())
	}
	var target problem.Problem
	err := fmt.Errorf("wrapped: %w", problem.New(404, "x"))
	require.ErrorAs(t, err, &target)
	assert.Equal(t, 404, target.Status)
	var same error = target
	assert.Panics(t, func() { _ = same == error(target) }, "use errors.As")
	assert.NotPanics(t, func() { _ = errors.Is(same, target) })
	assert.Panics(t, func() { _ = (*problem.Problem)(nil).Error() })
}

func TestWrite(t *testing.T) {
	w := httptest.NewRecorder()
	w.Header().Set("X-Kept", "yes")
	w.Header().Set("Content-Length", "5") // of another body
	problem.Write(w, 404, problem.Problem{Status: 1, Title: "<u>", Extensions: map[string]any{"code": 7, "status": 8}})
	assert.Equal(t, 404, w.Code)
	assert.Equal(t, http.Header{"X-Kept": {"yes"}, "Content-Type": {"application/problem+json"}}, w.Header())
	assert.Equal(t, `{"code":7,"status":404,"title":"\u003cu\u003e"}`+"\n", w.Body.String())

	for _, status := range []int{-1, 0, 99, 199, 1000} {
		w := httptest.NewRecorder()
		problem.Write(w, status, problem.Problem{})
		assert.Equal(t, 500, w.Code)
		assert.Equal(t, `{"status":500}`+"\n", w.Body.String())
	}
}

func TestWriteOfAnExtensionThatCannotBeEncodedIsPlainText(t *testing.T) {
	w := httptest.NewRecorder()
	problem.Write(w, 404, problem.Problem{Extensions: map[string]any{"f": func() {}}})
	assert.Equal(t, 500, w.Code)
	assert.Equal(t, "text/plain; charset=utf-8", w.Header().Get("Content-Type"))
	assert.Equal(t, "Internal Server Error\n", w.Body.String())
}

// Decode never panics, and what it has read is encoded so that it reads the same again.
func FuzzDecode(f *testing.F) {
	for _, seed := range []string{
		"", "null", "[]", "{}", `{"status":404,"status":"x"}`, `{"a":{"b":[1e400,null]},"":1}`,
		"{\"\xff\":\"\xfe\",\"\xfd\":\"\\ud800\"}", `{"title":"<&>\u2028","status":-0}`, `{"a":"\u0000"}{}`,
	} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		first, err := problem.Decode(strings.NewReader(string(data)))
		if err != nil {
			require.ErrorIs(t, err, problem.ErrMalformed)
			return
		}
		_ = first.Error()
		encoded, err := json.Marshal(first)
		require.NoError(t, err)
		second, err := problem.Decode(strings.NewReader(string(encoded)))
		require.NoError(t, err)
		require.Equal(t, first, second)
		again, err := json.Marshal(second)
		require.NoError(t, err)
		require.Equal(t, string(encoded), string(again))
	})
}
