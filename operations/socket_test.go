package operations_test

import (
	"context"
	"encoding/json"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/a0b132ce/retryablehttp/operations"
	"github.com/a0b132ce/retryablehttp/problem"
)

// signalingStore is a store that tells when a client begins to wait.
type signalingStore struct {
	memory
	waiting chan struct{}
}

func (s *signalingStore) WatchOperation(id string) (<-chan struct{}, func()) {
	close(s.waiting)
	return s.memory.WatchOperation(id)
}

func TestShutdownEndsWaitsIfTheContextsOfTheRequestsEndWithIt(t *testing.T) {
	store := &signalingStore{waiting: make(chan struct{})}
	mustCreate(t, &store.memory, operation{ID: "op1", State: "running"})
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	server := &http.Server{
		Handler:     operations.PollHandler(pollConfig{Store: store, MaxWait: time.Hour}),
		BaseContext: func(net.Listener) context.Context { return ctx },
	}
	server.RegisterOnShutdown(cancel)
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	var running sync.WaitGroup
	defer running.Wait()
	running.Go(func() { assert.ErrorIs(t, server.Serve(listener), http.ErrServerClosed) })

	client := &http.Client{Transport: &http.Transport{}}
	defer client.CloseIdleConnections()
	responses := make(chan *http.Response, 1)
	running.Go(func() {
		r, err := http.NewRequest("GET", "http://"+listener.Addr().String()+"/?id=op1", nil)
		assert.NoError(t, err)
		r.Header.Set("Prefer", "wait=600")
		resp, err := client.Do(r)
		assert.NoError(t, err)
		responses <- resp
	})
	<-store.waiting
	limit, cancelLimit := context.WithTimeout(t.Context(), 10*time.Second) // for a test that fails
	defer cancelLimit()
	err = server.Shutdown(limit)
	server.Close()
	require.NoError(t, err)
	resp := <-responses
	require.NotNil(t, resp)
	defer resp.Body.Close()
	assert.Equal(t, 503, resp.StatusCode)
	assert.Equal(t, "5", resp.Header.Get("Retry-After"))
	p, err := problem.Decode(resp.Body)
	require.NoError(t, err)
	assert.Equal(t, 503, p.Status)
}

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
