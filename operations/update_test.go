package operations_test

import (
	"context"
	"errors"
	"strings"
	"testing"

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
		{"running twice", change{State: "running"}, change{State: "running"}, operations.ErrInvalidTransition},
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
		{"15 conflicts", &failingRepository{errs: conflicts(15)}, nil, 16},
		{"16 conflicts", &failingRepository{errs: conflicts(16)}, operations.ErrConflict, 16},
		{"another error", &failingRepository{errs: []error{broken}}, broken, 1},
		{"a look-up that fails", &failingRepository{getErr: broken}, broken, 0},
	} {
		t.Run(test.name, func(t *testing.T) {
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

func TestUpdateOfResultsThatCannotBeCompared(t *testing.T) {
	store := new(operations.MemoryStore[any])
	_, _, err := store.CreateOperation(t.Context(), operations.Operation[any]{ID: "op1"}, operations.Submission{})
	require.NoError(t, err)
	bad := any(func() {})
	c := operations.Change[any]{State: "succeeded", Result: &bad}
	_, err = operations.Update(t.Context(), store, "op1", c)
	require.NoError(t, err)
	_, err = operations.Update(t.Context(), store, "op1", c)
	require.ErrorIs(t, err, operations.ErrInvalidTransition)
}

func TestErrorsAreOneLineAndNamed(t *testing.T) {
	for _, err := range []error{
		operations.ErrConflict, operations.ErrExists, operations.ErrInvalidID, operations.ErrInvalidState,
		operations.ErrInvalidTransition, operations.ErrKeyReused, operations.ErrNotCancelable, operations.ErrNotFound,
		operations.ErrUnavailable,
	} {
		assert.True(t, strings.HasPrefix(err.Error(), "operations: "), err.Error())
	}
}
