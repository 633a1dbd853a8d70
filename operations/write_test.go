package operations_test

import (
	"math"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/a0b132ce/retryablehttp/operations"
	"github.com/a0b132ce/retryablehttp/problem"
)

func writeAccepted(config operations.AcceptedConfig) *httptest.ResponseRecorder {
	w := httptest.NewRecorder()
	operations.WriteAccepted(w, config)
	return w
}

func TestWriteAccepted(t *testing.T) {
	for _, test := range []struct {
		name   string
		config operations.AcceptedConfig
		header http.Header // without Content-Type
		body   string
	}{
		{"case 1: all settings",
			operations.AcceptedConfig{ID: "op1", Location: "/operations/op1", RetryAfter: 1500 * time.Millisecond},
			http.Header{"Location": {"/operations/op1"}, "Retry-After": {"2"}},
			`{"id":"op1","state":"pending","location":"/operations/op1"}`},
		{"case 2: nothing set", operations.AcceptedConfig{}, http.Header{}, `{"state":"pending"}`},
		{"the location is trimmed, the id is not",
			operations.AcceptedConfig{ID: " op1 ", Location: " \t/op ?x=1 \n"},
			http.Header{"Location": {"/op ?x=1"}}, `{"id":" op1 ","state":"pending","location":"/op ?x=1"}`},
		{"a location of spaces is none", operations.AcceptedConfig{Location: " \t "}, http.Header{}, `{"state":"pending"}`},
		{"a location with control characters is left out",
			operations.AcceptedConfig{ID: "op1", Location: "/a\r\nSet-Cookie: x=1"}, http.Header{}, `{"id":"op1","state":"pending"}`},
		{"HTML is escaped", operations.AcceptedConfig{ID: "<&>"}, http.Header{}, `{"id":"\u003c\u0026\u003e","state":"pending"}`},
	} {
		t.Run(test.name, func(t *testing.T) {
			w := writeAccepted(test.config)
			assert.Equal(t, http.StatusAccepted, w.Code)
			test.header.Set("Content-Type", "application/json")
			assert.Equal(t, test.header, w.Header())
			assert.Equal(t, test.body+"\n", w.Body.String())
		})
	}
}

func TestRetryAfterIsRoundedUpAndAtMostADay(t *testing.T) {
	for d, want := range map[time.Duration]string{
		math.MinInt64: "", -1: "", 0: "", 1: "1", time.Second: "1", time.Second + 1: "2", 3 * time.Second: "3",
		24*time.Hour - 1: "86400", 24 * time.Hour: "86400", 24*time.Hour + 1: "86400",
		math.MaxInt64: "86400", math.MaxInt64 - time.Duration(time.Second)/2: "86400",
	} {
		w := writeAccepted(operations.AcceptedConfig{RetryAfter: d})
		assert.Equal(t, want, w.Header().Get("Retry-After"), d.String())
	}
}

func TestWriteOperation(t *testing.T) {
	for _, test := range []struct {
		name   string
		status int
		op     operation
		want   int
		body   string
	}{
		{"the status is the caller's", 201, operation{ID: "op1", State: "running"}, 201, `{"id":"op1","state":"running"}`},
		{"no status is 200, no state is pending", 0, operation{}, 200, `{"id":"","state":"pending"}`},
		{"a bad status is 200", 99, operation{State: "failed"}, 200, `{"id":"","state":"failed"}`},
		{"a status that is too large is 200", 1000, operation{State: "failed"}, 200, `{"id":"","state":"failed"}`},
		{"an unknown state is written as it is", 200, operation{State: "paused<"}, 200, `{"id":"","state":"paused\u003c"}`},
		{"all members", 200, operation{ID: "op1", State: "pending", Result: &report{}, Problem: &problem.Problem{Title: "t"},
			Progress: 40, CreatedAt: time.Unix(0, 0).UTC(), UpdatedAt: time.Unix(1, 5e6).UTC(), ExpiresAt: time.Unix(2, 0).UTC(), Version: 3}, 200,
			`{"id":"op1","state":"pending","result":{"rows":0},"problem":{"title":"t"},"progress":40,` +
				`"createdAt":"1970-01-01T00:00:00Z","updatedAt":"1970-01-01T00:00:01.005Z","expiresAt":"1970-01-01T00:00:02Z","version":3}`},
	} {
		t.Run(test.name, func(t *testing.T) {
			w := httptest.NewRecorder()
			operations.WriteOperation(w, test.status, test.op)
			assert.Equal(t, test.want, w.Code)
			assert.Equal(t, http.Header{"Content-Type": {"application/json"}}, w.Header(), "no further headers")
			assert.Equal(t, test.body+"\n", w.Body.String())
		})
	}
}

func TestF110AContentLengthOfAnotherBodyIsRemoved(t *testing.T) {
	for name, write := range map[string]func(http.ResponseWriter){
		"WriteOperation": func(w http.ResponseWriter) { operations.WriteOperation(w, 200, operation{ID: "op1"}) },
		"WriteAccepted":  func(w http.ResponseWriter) { operations.WriteAccepted(w, operations.AcceptedConfig{ID: "op1"}) },
		"PollHandler": func(w http.ResponseWriter) {
			poll(storeOf(operation{})).ServeHTTP(w, newRequest("GET", "/?id=op1", ""))
		},
	} {
		w := httptest.NewRecorder()
		w.Header().Set("Content-Length", "5")
		write(w)
		assert.NotContains(t, w.Header(), "Content-Length", name)
		assert.Contains(t, w.Body.String(), "op1")
	}
}

// badResults are results that encoding/json refuses.
var badResults = map[string]any{
	"a function": func() {}, "a channel": make(chan int), "NaN": math.NaN(),
	"a time after the year 9999": time.Date(10000, 1, 1, 0, 0, 0, 0, time.UTC),
}

func TestWriteOperationThatCannotBeEncodedIsAProblem(t *testing.T) {
	for name, result := range badResults {
		t.Run(name, func(t *testing.T) {
			w := httptest.NewRecorder()
			w.Header().Set("X-Kept", "yes")
			operations.WriteOperation(w, 200, operations.Operation[any]{ID: "op1", Result: &result})
			requireProblem(t, w, 500, "internal-error")
			assert.Equal(t, "yes", w.Header().Get("X-Kept"))
		})
	}
	w := httptest.NewRecorder()
	operations.WriteOperation(w, 200, operation{Problem: &problem.Problem{Extensions: map[string]any{"f": func() {}}}})
	p := requireProblem(t, w, 500, "internal-error")
	require.False(t, strings.Contains(p.Detail, "func"))
}
