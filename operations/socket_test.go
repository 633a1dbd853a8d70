package operations_test

import (
	"context"
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/a0b132ce/retryablehttp/operations"
)

// Over real connections: many clients submit the same job, wait for its end, and some of
// them leave. Their handlers end too.
func TestManyClientsOverSockets(t *testing.T) {
	store := new(memory)
	mux := http.NewServeMux()
	mux.Handle("/jobs", operations.SubmitHandler(submitConfig{Repository: store,
		Location: func(id string) string { return "/jobs/" + id }}))
	mux.Handle("/jobs/{id}", operations.PollHandler(pollConfig{Store: store, MaxWait: time.Hour,
		OperationID: func(r *http.Request) string { return r.PathValue("id") }}))
	server := httptest.NewServer(mux)
	defer server.Close() // waits for the handlers
	client := server.Client()
	defer client.CloseIdleConnections()

	request := func(ctx context.Context, method, path, header, value string) (*http.Response, error) {
		r, err := http.NewRequestWithContext(ctx, method, server.URL+path, strings.NewReader(""))
		require.NoError(t, err)
		r.Header.Set(header, value)
		return client.Do(r)
	}
	resp, err := request(t.Context(), "POST", "/jobs", "Idempotency-Key", "k")
	require.NoError(t, err)
	resp.Body.Close()
	location := resp.Header.Get("Location")
	id := strings.TrimPrefix(location, "/jobs/")

	leaving, leave := context.WithCancel(t.Context())
	var clients, left sync.WaitGroup
	for i := range 20 {
		if i%4 == 0 {
			left.Go(func() {
				resp, err := request(leaving, "GET", location, "Prefer", "wait=600")
				if assert.ErrorIs(t, err, context.Canceled) {
					return
				}
				resp.Body.Close()
			})
			continue
		}
		clients.Go(func() {
			resp, err := request(t.Context(), "GET", location, "Prefer", "wait=600")
			if !assert.NoError(t, err) {
				return
			}
			defer resp.Body.Close()
			var op operation
			assert.NoError(t, json.NewDecoder(resp.Body).Decode(&op))
			assert.Equal(t, &report{Rows: 7}, op.Result)
		})
	}
	leave()
	left.Wait()
	_, err = operations.Update(t.Context(), store, id, change{State: "succeeded", Result: &report{Rows: 7}})
	require.NoError(t, err)
	clients.Wait()
}
