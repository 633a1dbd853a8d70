package operations_test

import (
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/a0b132ce/retryablehttp/operations"
	"github.com/a0b132ce/retryablehttp/problem"
)

func TestStates(t *testing.T) {
	for state, want := range map[operations.State]struct{ valid, terminal bool }{
		"pending": {true, false}, "running": {true, false},
		"succeeded": {true, true}, "failed": {true, true}, "canceled": {true, true},
		"": {false, false}, "paused": {false, false}, "Pending": {false, false}, "cancelled": {false, false},
	} {
		assert.Equal(t, want.valid, state.Valid(), "%q", state)
		assert.Equal(t, want.terminal, state.Terminal(), "%q", state)
	}
}

// The full table: from each of the five states, the empty and an unknown one, to each.
func TestTransitions(t *testing.T) {
	states := []operations.State{"", "pending", "running", "succeeded", "failed", "canceled", "paused"}
	const (
		no = '-' // invalid transition
		ok = '+'
		is = '!' // invalid state
	)
	table := map[operations.State]string{
		//             ""  pen run suc fai can pau
		"":          "! - + + + + !",
		"pending":   "! - + + + + !",
		"running":   "! - - + + + !",
		"succeeded": "! - - - - - !",
		"failed":    "! - - - - - !",
		"canceled":  "! - - - - - !",
		"paused":    "! ! ! ! ! ! !",
	}
	p, oldProblem := &problem.Problem{Title: "new"}, &problem.Problem{Title: "old"}
	result, oldResult := &report{Rows: 1}, &report{Rows: 2}
	expires, oldExpires := time.Unix(2, 0), time.Unix(1, 0)
	for _, from := range states {
		row := strings.Fields(table[from])
		for i, to := range states {
			want := row[i][0]
			op := operation{ID: "op1", State: from, Input: []byte("x"), Result: oldResult, Problem: oldProblem,
				Progress: 40, CreatedAt: oldExpires, UpdatedAt: oldExpires, ExpiresAt: oldExpires, Version: 7}
			before := op
			got, err := operations.Transition(op, change{State: to, Result: result, Problem: p, ExpiresAt: expires})
			assert.Equal(t, want == ok, operations.CanTransition(from, to), "%q to %q", from, to)
			assert.Equal(t, before, op)
			switch want {
			case is:
				assert.ErrorIs(t, err, operations.ErrInvalidState, "%q to %q", from, to)
				assert.Zero(t, got)
			case no:
				assert.ErrorIs(t, err, operations.ErrInvalidTransition, "%q to %q", from, to)
				assert.Zero(t, got)
			case ok:
				require.NoError(t, err, "%q to %q", from, to)
				wanted := before
				wanted.State, wanted.Result, wanted.Problem, wanted.ExpiresAt = to, nil, nil, expires
				if to.Terminal() {
					wanted.Input = nil // F101
				}
				switch to {
				case operations.StateSucceeded:
					wanted.Result, wanted.Progress = result, 100
				case operations.StateFailed:
					wanted.Problem = p
				}
				assert.Equal(t, wanted, got, "%q to %q", from, to)
			}
		}
	}
}

func TestTransitionDetails(t *testing.T) {
	_, err := operations.Transition(operation{}, change{State: operations.StateFailed})
	assert.ErrorIs(t, err, operations.ErrInvalidTransition, "a failure without a problem")
	assert.EqualError(t, err, "operations: invalid transition: a Change to failed needs a Problem")
	_, err = operations.Transition(operation{State: operations.StateCanceled}, change{State: operations.StateRunning})
	assert.EqualError(t, err, "operations: invalid transition from canceled to running")
	_, err = operations.Transition(operation{}, change{})
	assert.EqualError(t, err, `operations: invalid state "" of the Change`)
	_, err = operations.Transition(operation{State: "paused"}, change{State: operations.StateFailed})
	assert.EqualError(t, err, `operations: invalid state "paused" of the operation`)

	op, err := operations.Transition(operation{ExpiresAt: time.Unix(1, 0)}, change{State: operations.StateSucceeded})
	require.NoError(t, err)
	assert.Nil(t, op.Result, "success without a result")
	assert.Zero(t, op.Progress, "progress that is not known stays so")
	assert.Equal(t, time.Unix(1, 0), op.ExpiresAt, "a zero ExpiresAt changes nothing")
}

func TestCheckID(t *testing.T) {
	for _, id := range []string{"a", "a b", "é", strings.Repeat("a", 256)} {
		assert.NoError(t, operations.CheckID(id), "%q", id)
	}
	for _, id := range []string{"", " ", "a ", "\ta", "a\nb", "a\x00b", "a\x7fb", "a\u0085b", "a\xff", strings.Repeat("a", 257)} {
		assert.Equal(t, operations.ErrInvalidID, operations.CheckID(id), "%q", id)
	}
}
