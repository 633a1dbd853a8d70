package boltstore_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.etcd.io/bbolt"

	"github.com/a0b132ce/retryablehttp"
	"github.com/a0b132ce/retryablehttp/lro"
	"github.com/a0b132ce/retryablehttp/operations"
	"github.com/a0b132ce/retryablehttp/operations/boltstore"
	"github.com/a0b132ce/retryablehttp/pipeline"
)

// Clients of package lro and a server of package operations are joined by a network that
// loses requests and responses and truncates bodies. The server is overloaded at times, and
// it is ended and started again in the middle of its work. Every operation is begun exactly
// once and every client gets its own result.
func TestOperationsAreBegunOnceAndEndWhateverFails(t *testing.T) {
	const count, clients, restartEvery = 2000, 50, 250
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	path := filepath.Join(t.TempDir(), "operations.db")
	synctest.Test(t, func(t *testing.T) {
		jobs := &jobServer{t: t, path: path, begun: map[int]int{}}
		jobs.start()
		network := &faultyNetwork{server: jobs, random: rand.New(rand.NewPCG(seed, 1))}

		client := retryablehttp.Recommended()
		client.RetryMax = 30                  // each attempt fails with a probability of 0.4
		client.Budget, client.Gate = nil, nil // the failures come at random, not from load
		pl := pipeline.New(&http.Client{Transport: network}, pipeline.StatusError{}, pipeline.Retry{Client: client}, pipeline.BodyDownload{})

		numbers := make(chan int)
		var running sync.WaitGroup
		for range clients {
			running.Go(func() {
				for n := range numbers {
					result, err := square(t.Context(), pl, n)
					if assert.NoError(t, err) {
						assert.Equal(t, n*n, result.Square)
					}
				}
			})
		}
		for n := range count {
			if n > 0 && n%restartEvery == 0 {
				jobs.stop()
				time.Sleep(2 * time.Second) // connections are refused
				jobs.start()
			}
			numbers <- n
		}
		close(numbers)
		running.Wait()

		stored := 0
		for op, err := range jobs.store.Operations(t.Context()) {
			require.NoError(t, err)
			assert.Equal(t, operations.StateSucceeded, op.State)
			stored++
		}
		jobs.stop()
		assert.Equal(t, count, stored)
		assert.Len(t, jobs.begun, count)
		for n, times := range jobs.begun {
			assert.Equal(t, 1, times, "operation %d", n)
		}
		assert.Equal(t, count/restartEvery, jobs.starts)
		t.Logf("%v", network.faults)
		for _, fault := range []string{"request lost", "response lost", "body truncated", "503", "refused"} {
			assert.Greater(t, network.faults[fault], count/100, fault)
		}
	})
}

// squared is the result of an operation.
type squared struct {
	Square int `json:"square"`
}

// square has the server compute n².
func square(ctx context.Context, pl pipeline.Pipeline, n int) (squared, error) {
	req, err := pipeline.NewRequest(ctx, http.MethodPost, "http://jobs.example/jobs")
	if err != nil {
		return squared{}, err
	}
	req.Raw().Header.Set("Idempotency-Key", "job-"+strconv.Itoa(n))
	if err := req.SetJSON(n); err != nil {
		return squared{}, err
	}
	resp, err := pl.Do(req)
	if err != nil {
		return squared{}, err
	}
	poller, err := lro.New[squared](resp, pl, nil)
	if err != nil {
		return squared{}, err
	}
	if n%2 == 0 { // in another process
		token, err := poller.ResumeToken()
		if err != nil {
			return squared{}, err
		}
		if poller, err = lro.Resume[squared](token, "http://jobs.example", pl, nil); err != nil {
			return squared{}, err
		}
	}
	return poller.PollUntilDone(ctx, &lro.WaitOptions{MaxFailures: -1})
}

// jobServer is the program of the server.
type jobServer struct {
	t    *testing.T
	path string

	mu      sync.Mutex
	handler http.Handler // nil while it is down
	store   *boltstore.Store[squared]
	db      *bbolt.DB
	ctx     context.Context
	cancel  context.CancelFunc
	workers sync.WaitGroup
	starts  int
	begun   map[int]int // how often, by input
}

func (s *jobServer) start() {
	db, err := bbolt.Open(s.path, 0o600, &bbolt.Options{Timeout: time.Second})
	require.NoError(s.t, err)
	db.MaxBatchDelay = time.Millisecond
	db.NoSync = true // the file is closed in order; the crash tests sync
	store, err := boltstore.New[squared](db, "jobs")
	require.NoError(s.t, err)
	mux := http.NewServeMux()
	mux.Handle("/jobs", operations.SubmitHandler(operations.SubmitConfig[squared]{
		Repository: store, Begin: s.begin, RequireKey: true,
		Location: func(id string) string { return "/jobs/" + id },
	}))
	mux.Handle("/jobs/{id}", operations.PollHandler(operations.PollConfig[squared]{
		Store: store, OperationID: func(r *http.Request) string { return r.PathValue("id") },
		PollAfter: func(operations.Operation[squared]) time.Duration { return time.Second },
	}))
	ctx, cancel := context.WithCancel(context.Background())
	s.mu.Lock()
	defer s.mu.Unlock()
	s.db, s.store, s.ctx, s.cancel, s.handler = db, store, ctx, cancel, mux
	s.starts++
	for op, err := range store.Operations(ctx) {
		require.NoError(s.t, err)
		if !op.State.Terminal() {
			s.work(op)
		}
	}
}

// stop ends the server in the middle of what it does.
func (s *jobServer) stop() {
	s.mu.Lock()
	s.handler = nil
	s.cancel()
	db := s.db
	s.mu.Unlock()
	require.NoError(s.t, db.Close())
	s.workers.Wait()
}

func (s *jobServer) begin(_ *http.Request, op operations.Operation[squared]) error {
	n, err := strconv.Atoi(string(op.Input))
	if err != nil {
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.begun[n]++
	if s.ctx.Err() == nil {
		s.work(op)
	}
	return nil
}

// work starts a worker for an operation. Workers end with the server.
func (s *jobServer) work(op operations.Operation[squared]) {
	ctx, store, id := s.ctx, s.store, op.ID
	s.workers.Go(func() {
		op, err := operations.Update(ctx, store, id, operations.Change[squared]{State: operations.StateRunning})
		if err != nil {
			return
		}
		n, err := strconv.Atoi(string(op.Input))
		if !assert.NoError(s.t, err) {
			return
		}
		select {
		case <-time.After(time.Duration(n%30) * 100 * time.Millisecond):
		case <-ctx.Done():
			return
		}
		_, err = operations.Update(ctx, store, id, operations.Change[squared]{State: operations.StateSucceeded, Result: &squared{n * n}})
		if ctx.Err() == nil {
			assert.NoError(s.t, err)
		}
	})
}

// faultyNetwork is a transport that fails at random.
type faultyNetwork struct {
	server *jobServer

	mu     sync.Mutex
	random *rand.Rand
	faults map[string]int
}

// fault draws what happens to a request.
func (f *faultyNetwork) fault() string {
	f.mu.Lock()
	defer f.mu.Unlock()
	fault := ""
	switch draw := f.random.IntN(100); {
	case draw < 5:
		fault = "request lost"
	case draw < 20:
		fault = "response lost"
	case draw < 30:
		fault = "body truncated"
	case draw < 38:
		fault = "503"
	}
	return fault
}

func (f *faultyNetwork) note(fault string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.faults == nil {
		f.faults = map[string]int{}
	}
	f.faults[fault]++
}

var errReset = errors.New("connection reset by peer")

func (f *faultyNetwork) RoundTrip(r *http.Request) (*http.Response, error) {
	var body []byte
	if r.Body != nil {
		body, _ = io.ReadAll(r.Body)
		r.Body.Close()
	}
	f.server.mu.Lock()
	handler := f.server.handler
	f.server.mu.Unlock()
	if handler == nil {
		f.note("refused")
		return nil, errors.New("connection refused")
	}
	fault := f.fault()
	f.note(fault)
	switch fault {
	case "request lost":
		return nil, errReset
	case "503":
		return &http.Response{
			StatusCode: 503, Header: http.Header{"Retry-After": {"2"}}, Body: http.NoBody, Request: r,
		}, nil
	}
	received := httptest.NewRequest(r.Method, r.URL.String(), strings.NewReader(string(body)))
	received.Header = r.Header.Clone()
	recorder := httptest.NewRecorder()
	handler.ServeHTTP(recorder, received)
	resp := recorder.Result()
	resp.Request = r
	switch fault {
	case "response lost":
		return nil, errReset
	case "body truncated":
		all := recorder.Body.String()
		resp.ContentLength = int64(len(all))
		resp.Body = io.NopCloser(io.MultiReader(strings.NewReader(all[:len(all)/2]), truncated{}))
	}
	return resp, nil
}

// truncated is the end of a body whose connection was cut off.
type truncated struct{}

func (truncated) Read([]byte) (int, error) { return 0, fmt.Errorf("reading: %w", io.ErrUnexpectedEOF) }
