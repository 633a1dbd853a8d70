package operations_test

import (
	"context"
	"encoding/json"
	"errors"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/a0b132ce/retryablehttp/operations"
	"github.com/a0b132ce/retryablehttp/problem"
)

func TestUpdateOfAnOperationThatHasEnded(t *testing.T) {
	p := func(detail string) *problem.Problem {
		return &problem.Problem{Detail: detail, Extensions: map[string]any{"n": 1}}
	}
	success, failure := change{State: "succeeded", Result: &report{1}}, change{State: "failed", Problem: p("a")}
	empty := change{State: "succeeded"}
	for _, test := range []struct {
		name        string
		first, then change
		want        error
	}{
		{"the same success", success, change{State: "succeeded", Result: &report{1}}, nil},
		{"another result", success, change{State: "succeeded", Result: &report{2}}, operations.ErrInvalidTransition},
		{"no result", success, empty, operations.ErrInvalidTransition},
		{"no result twice", empty, empty, nil},
		{"a result now", empty, change{State: "succeeded", Result: &report{}}, operations.ErrInvalidTransition},
		{"the same failure", failure, change{State: "failed", Problem: p("a")}, nil},
		{"the same success, with a problem that is not used", success, change{State: "succeeded", Result: &report{1}, Problem: p("b")}, nil},
		{"another problem", failure, change{State: "failed", Problem: p("b")}, operations.ErrInvalidTransition},
		{"a failure without a problem", failure, change{State: "failed"}, operations.ErrInvalidTransition},
		{"canceled twice", change{State: "canceled"}, change{State: "canceled"}, nil},
		{"success after failure", failure, success, operations.ErrInvalidTransition},
		{"running after success", success, change{State: "running"}, operations.ErrInvalidTransition},
		{"running twice", change{State: "running"}, change{State: "running"}, nil},
		{"pending again", change{State: "running"}, change{State: "pending"}, operations.ErrInvalidTransition},
		{"an unknown state", success, change{State: "paused"}, operations.ErrInvalidState},
	} {
		t.Run(test.name, func(t *testing.T) {
			store := new(memory)
			mustCreate(t, store, operation{ID: "op1"})
			first := mustUpdate(t, store, test.first)
			got, err := operations.Update(t.Context(), store, "op1", test.then)
			stored, _, _ := store.GetOperation(t.Context(), "op1")
			assert.Equal(t, first, stored, "nothing was stored")
			if test.want == nil {
				require.NoError(t, err)
				assert.Equal(t, first, got)
				return
			}
			require.ErrorIs(t, err, test.want)
			assert.Zero(t, got)
		})
	}
}

// A worker begins again with an operation that was running when the program ended. It may
// have stored a part of the result itself.
func TestUpdateToRunningLeavesARunningOperationAsItIs(t *testing.T) {
	store := new(memory)
	first := mustCreate(t, store, operation{ID: "op1", State: "running", Result: &report{1}, Progress: 40})
	assert.Equal(t, first, mustUpdate(t, store, change{State: "running"}))
	assert.ErrorIs(t, second(operations.Transition(first, change{State: "running"})), operations.ErrInvalidTransition)
}

func second[T any](_ T, err error) error { return err }

func TestARepeatedUpdateStoresAnotherExpiresAt(t *testing.T) {
	at, later := time.Unix(1_000, 0), time.Unix(2_000, 0)
	p := &problem.Problem{Detail: "a"}
	for _, test := range []struct {
		name        string
		first, then change
		want        time.Time
		version     int64
		err         error
	}{
		{"a success without one", change{State: "succeeded", Result: &report{1}}, change{State: "succeeded", Result: &report{1}, ExpiresAt: at}, at, 3, nil},
		{"a failure without one", change{State: "failed", Problem: p}, change{State: "failed", Problem: p, ExpiresAt: at}, at, 3, nil},
		{"canceled, later", change{State: "canceled", ExpiresAt: at}, change{State: "canceled", ExpiresAt: later}, later, 3, nil},
		{"canceled, earlier", change{State: "canceled", ExpiresAt: later}, change{State: "canceled", ExpiresAt: at}, at, 3, nil},
		{"running", change{State: "running"}, change{State: "running", ExpiresAt: at}, at, 3, nil},
		{"the same time", change{State: "canceled", ExpiresAt: at}, change{State: "canceled", ExpiresAt: at.UTC()}, at, 2, nil},
		{"none", change{State: "canceled", ExpiresAt: at}, change{State: "canceled"}, at, 2, nil},
		{"another end", change{State: "succeeded", ExpiresAt: at}, change{State: "canceled", ExpiresAt: later}, at, 2, operations.ErrInvalidTransition},
		{"another result", change{State: "succeeded", ExpiresAt: at}, change{State: "succeeded", Result: &report{1}, ExpiresAt: later}, at, 2, operations.ErrInvalidTransition},
	} {
		t.Run(test.name, func(t *testing.T) {
			store := new(memory)
			mustCreate(t, store, operation{ID: "op1"})
			ended := mustUpdate(t, store, test.first)
			got, err := operations.Update(t.Context(), store, "op1", test.then)
			require.ErrorIs(t, err, test.err)
			stored := all(t, store)[0]
			assert.True(t, stored.ExpiresAt.Equal(test.want), stored.ExpiresAt)
			assert.Equal(t, test.version, stored.Version)
			if err == nil {
				assert.Equal(t, stored, got)
			}
			stored.ExpiresAt, stored.Version, stored.UpdatedAt = ended.ExpiresAt, ended.Version, ended.UpdatedAt
			assert.Equal(t, ended, stored, "nothing else is stored")
		})
	}
}

func TestUpdateComparesJSONValues(t *testing.T) {
	type pair struct {
		B int64 `json:"b"`
		A any   `json:"a"`
	}
	const large = 1<<62 + 1
	for _, test := range []struct {
		name        string
		first, then any
		same        bool
	}{
		{"another order of members", pair{1, "x"}, map[string]any{"a": "x", "b": 1}, true},
		{"white space", json.RawMessage(` {"b": 1, "a" : null}`), pair{B: 1}, true},
		{"text that is no UTF-8", "caf\xe9", "caf\ufffd", true},
		{"null and none", json.RawMessage("null"), nil, true},
		{"large numbers", pair{B: large}, pair{B: large}, true},
		{"large numbers that differ", pair{B: large}, pair{B: large + 1}, false},
		{"another value", pair{A: []int{1, 2}}, pair{A: []int{2, 1}}, false},
		{"a number and a text", 1, "1", false},
	} {
		t.Run(test.name, func(t *testing.T) {
			store := new(operations.MemoryStore[any])
			_, _, err := store.CreateOperation(t.Context(), operations.Operation[any]{ID: "op1"}, operations.Submission{})
			require.NoError(t, err)
			_, err = operations.Update(t.Context(), store, "op1", operations.Change[any]{State: "succeeded", Result: &test.first})
			require.NoError(t, err)
			again := operations.Change[any]{State: "succeeded", Result: &test.then}
			if test.then == nil {
				again.Result = nil
			}
			_, err = operations.Update(t.Context(), store, "op1", again)
			if test.same {
				require.NoError(t, err)
				return
			}
			require.ErrorIs(t, err, operations.ErrInvalidTransition)
		})
	}
}

// failingRepository fails its updates.
type failingRepository struct {
	memory
	errs    []error // nil: succeed
	updates int
	getErr  error
}

func (r *failingRepository) GetOperation(ctx context.Context, id string) (operation, bool, error) {
	op, found, err := r.memory.GetOperation(ctx, id)
	return op, found, errors.Join(err, r.getErr)
}

func (r *failingRepository) UpdateOperation(ctx context.Context, op operation) (operation, error) {
	r.updates++
	if i := r.updates - 1; i < len(r.errs) && r.errs[i] != nil {
		return operation{}, r.errs[i]
	}
	return r.memory.UpdateOperation(ctx, op)
}

func TestUpdateTriesAgainAfterAConflict(t *testing.T) {
	conflicts := func(n int) []error {
		errs := make([]error, n)
		for i := range errs {
			errs[i] = operations.ErrConflict
		}
		return errs
	}
	broken := errors.New("broken")
	for _, test := range []struct {
		name    string
		repo    *failingRepository
		want    error
		updates int
	}{
		{"3 conflicts", &failingRepository{errs: conflicts(3)}, nil, 4},
		{"F104: 40 conflicts", &failingRepository{errs: conflicts(40)}, nil, 41},
		{"another error", &failingRepository{errs: []error{broken}}, broken, 1},
		{"a look-up that fails", &failingRepository{getErr: broken}, broken, 0},
	} {
		t.Run(test.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				mustCreate(t, &test.repo.memory, operation{ID: "op1", State: "running"})
				op, err := operations.Update(t.Context(), test.repo, "op1", change{State: "canceled"})
				assert.Equal(t, test.updates, test.repo.updates)
				if test.want != nil {
					require.ErrorIs(t, err, test.want)
					assert.Zero(t, op)
					return
				}
				require.NoError(t, err)
				assert.EqualValues(t, "canceled", op.State)
			})
		})
	}
}

// conflictingStore takes no update, and does not look at the context.
type conflictingStore struct{ memory }

func (s *conflictingStore) GetOperation(ctx context.Context, id string) (operation, bool, error) {
	return s.memory.GetOperation(context.WithoutCancel(ctx), id)
}

func (s *conflictingStore) UpdateOperation(context.Context, operation) (operation, error) {
	return operation{}, operations.ErrConflict
}

func TestF104ConflictsWithoutEnd(t *testing.T) {
	for _, test := range []struct {
		name  string
		limit time.Duration // of the context
		want  error
		took  time.Duration
	}{
		{"Update returns ErrConflict after 30 seconds", time.Hour, operations.ErrConflict, 30 * time.Second},
		{"Update ends with the context", 2 * time.Second, context.DeadlineExceeded, 2 * time.Second},
	} {
		t.Run(test.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				store := &conflictingStore{}
				mustCreate(t, &store.memory, operation{ID: "op1", State: "running"})
				ctx, cancel := context.WithTimeout(t.Context(), test.limit)
				defer cancel()
				start := time.Now()
				_, err := operations.Update(ctx, store, "op1", change{State: "canceled"})
				require.ErrorIs(t, err, test.want)
				assert.InDelta(t, test.took, time.Since(start), float64(50*time.Millisecond))

				start = time.Now()
				h := operations.PollHandler(pollConfig{Store: store, Cancel: func(ctx context.Context, id string) error {
					_, err := operations.Update(ctx, store, id, change{State: "canceled"})
					return err
				}})
				w := do(h, "DELETE", "/?id=op1")
				requireProblem(t, w, 503, "service-unavailable")
				assert.Equal(t, "5", w.Header().Get("Retry-After"))
				assert.InDelta(t, 30*time.Second, time.Since(start), float64(50*time.Millisecond))
			})
		})
	}
}

func TestSetProgress(t *testing.T) {
	for percent, want := range map[int]int{-1: 0, 0: 0, 40: 40, 100: 100, 101: 100} {
		store := new(memory)
		first := mustCreate(t, store, operation{ID: "op1", State: "running", Progress: 10})
		got, err := operations.SetProgress(t.Context(), store, "op1", percent)
		require.NoError(t, err)
		first.Progress, first.Version, first.UpdatedAt = want, 2, got.UpdatedAt
		assert.Equal(t, first, got)
	}
	for _, state := range []operations.State{"pending", "succeeded", "failed", "canceled"} {
		store := new(memory)
		mustCreate(t, store, operation{ID: "op1", State: state})
		_, err := operations.SetProgress(t.Context(), store, "op1", 40)
		require.ErrorIs(t, err, operations.ErrInvalidTransition, state)
	}
	repo := &failingRepository{}
	mustCreate(t, &repo.memory, operation{ID: "op1", State: "running", Progress: 40})
	_, err := operations.SetProgress(t.Context(), repo, "op1", 40)
	require.NoError(t, err)
	assert.Zero(t, repo.updates, "the same progress is not stored again")
	_, err = operations.SetProgress(t.Context(), repo, "op2", 40)
	require.ErrorIs(t, err, operations.ErrNotFound)
}

func TestF103ResultsThatClientsCannotGetAreRefused(t *testing.T) {
	for name, bad := range badResults {
		t.Run(name, func(t *testing.T) {
			store := new(operations.MemoryStore[any])
			first, _, err := store.CreateOperation(t.Context(), operations.Operation[any]{ID: "op1"}, operations.Submission{})
			require.NoError(t, err)
			c := operations.Change[any]{State: "succeeded", Result: &bad}
			op, err := operations.Update(t.Context(), store, "op1", c)
			require.ErrorIs(t, err, operations.ErrInvalidValue)
			assert.Zero(t, op)
			stored, _, err := store.GetOperation(t.Context(), "op1")
			require.NoError(t, err)
			assert.Equal(t, first, stored)

			// As the result of an operation that was stored in another way it equals nothing.
			first.State, first.Result = "succeeded", &bad
			_, err = store.UpdateOperation(t.Context(), first)
			require.NoError(t, err)
			for _, again := range []operations.Change[any]{c, {State: "succeeded"}} {
				_, err = operations.Update(t.Context(), store, "op1", again)
				require.ErrorIs(t, err, operations.ErrInvalidTransition)
			}
		})
	}
}

func TestErrorsAreOneLineAndNamed(t *testing.T) {
	for _, err := range []error{
		operations.ErrConflict, operations.ErrExists, operations.ErrInvalidID, operations.ErrInvalidState,
		operations.ErrInvalidTransition, operations.ErrInvalidValue, operations.ErrKeyReused, operations.ErrNotCancelable, operations.ErrNotFound,
		operations.ErrUnavailable,
	} {
		assert.True(t, strings.HasPrefix(err.Error(), "operations: "), err.Error())
	}
}
