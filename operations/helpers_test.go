package operations_test

import (
	"context"
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/a0b132ce/retryablehttp/operations"
	"github.com/a0b132ce/retryablehttp/problem"
)

const problems = "https://api-toolkit.dev/problems/"

// report is the result of the operations in these tests.
type report struct {
	Rows int `json:"rows"`
}

type (
	operation  = operations.Operation[report]
	change     = operations.Change[report]
	memory     = operations.MemoryStore[report]
	pollConfig = operations.PollConfig[report]
)

// storeOf returns a store that has one operation, with the id op1.
func storeOf(op operation) operations.StoreFunc[report] {
	return func(_ context.Context, id string) (operation, bool, error) {
		return op, id == "op1", nil
	}
}

// storeError returns a store that fails.
func storeError(err error) operations.StoreFunc[report] {
	return func(context.Context, string) (operation, bool, error) { return operation{ID: "op1"}, true, err }
}

// unusedStore returns a store that must not be called.
func unusedStore(t *testing.T) operations.StoreFunc[report] {
	return func(_ context.Context, id string) (operation, bool, error) {
		assert.Failf(t, "the store was called", "id %q", id)
		return operation{}, false, nil
	}
}

// do sends a request to h. The header is a list of names and values.
func do(h http.Handler, method, target string, header ...string) *httptest.ResponseRecorder {
	return serve(h, newRequest(method, target, "", header...))
}

func serve(h http.Handler, r *http.Request) *httptest.ResponseRecorder {
	w := httptest.NewRecorder()
	h.ServeHTTP(w, r)
	return w
}

func newRequest(method, target, body string, header ...string) *http.Request {
	r := httptest.NewRequest(method, target, strings.NewReader(body))
	for i := 0; i < len(header); i += 2 {
		r.Header.Add(header[i], header[i+1])
	}
	return r
}

// requireProblem checks that w is a problem with this status and type.
func requireProblem(t *testing.T, w *httptest.ResponseRecorder, status int, name string) problem.Problem {
	t.Helper()
	require.Equal(t, status, w.Code, w.Body.String())
	assert.Equal(t, "application/problem+json", w.Header().Get("Content-Type"))
	assert.True(t, strings.HasSuffix(w.Body.String(), "}\n"))
	p, err := problem.Decode(w.Body)
	require.NoError(t, err)
	assert.Equal(t, status, p.Status)
	assert.Equal(t, problems+name, p.Type)
	assert.Equal(t, http.StatusText(status), p.Title)
	assert.NotEmpty(t, p.Detail)
	return p
}

// mustCreate creates an operation in store.
func mustCreate(t *testing.T, store *memory, op operation) operation {
	t.Helper()
	op, created, err := store.CreateOperation(t.Context(), op, operations.Submission{})
	require.NoError(t, err)
	require.True(t, created)
	return op
}

// mustUpdate changes the operation op1.
func mustUpdate(t *testing.T, store operations.Repository[report], c change) operation {
	t.Helper()
	op, err := operations.Update(t.Context(), store, "op1", c)
	require.NoError(t, err)
	return op
}

// accepted returns the body of a 202.
func accepted(t *testing.T, w *httptest.ResponseRecorder) operations.Accepted {
	t.Helper()
	require.Equal(t, http.StatusAccepted, w.Code, w.Body.String())
	var a operations.Accepted
	require.NoError(t, json.Unmarshal(w.Body.Bytes(), &a))
	return a
}
