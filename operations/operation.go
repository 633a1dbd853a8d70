package operations

import (
	"errors"
	"fmt"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/a0b132ce/retryablehttp/problem"
)

var (
	// ErrInvalidState is returned or wrapped for a State that is not one of the five.
	ErrInvalidState = errors.New("operations: invalid state")

	// ErrInvalidTransition is returned or wrapped for a change of state that is not allowed,
	// and for a change to StateFailed without a problem.
	ErrInvalidTransition = errors.New("operations: invalid transition")

	// ErrInvalidValue is wrapped by the error of Update for an operation that cannot be written
	// as JSON, or not be read again: encoding/json refuses a value, such as a NaN or a time after
	// the year 9999, or it is nested some 10,000 levels deep. A Repository may return it too.
	ErrInvalidValue = errors.New("operations: value cannot be stored as JSON")

	// ErrInvalidID is returned by CheckID.
	ErrInvalidID = errors.New("operations: invalid id")
)

// State is the state of an operation. An empty State that is read counts as
// StatePending.
type State string

// The five states.
const (
	StatePending   State = "pending"   // accepted, not begun
	StateRunning   State = "running"   // in progress
	StateSucceeded State = "succeeded" // terminal
	StateFailed    State = "failed"    // terminal: ended with a problem
	StateCanceled  State = "canceled"  // terminal: stopped before success
)

// Valid reports whether s is one of the five states. The empty State is not.
func (s State) Valid() bool {
	return s == StatePending || s == StateRunning || s.Terminal()
}

// Terminal reports whether s is a state that never changes again.
func (s State) Terminal() bool {
	return s == StateSucceeded || s == StateFailed || s == StateCanceled
}

// orPending returns s, or StatePending if s is empty.
func (s State) orPending() State {
	if s == "" {
		return StatePending
	}
	return s
}

// CanTransition reports whether an operation may change from one state to another: from
// pending to running or a terminal state, and from running to a terminal state. An empty
// from counts as pending.
func CanTransition(from, to State) bool {
	switch from.orPending() {
	case StatePending:
		return to == StateRunning || to.Terminal()
	case StateRunning:
		return to.Terminal()
	}
	return false
}

// Operation is a piece of work that may outlive the request that asked for it, and the JSON
// that clients see of it. T is the type of its result. A copy of an Operation shares Input
// and what Result and Problem point to: do not modify them.
type Operation[T any] struct {
	// ID identifies the operation. See CheckID.
	ID string `json:"id"`

	State State `json:"state"`

	// Input is what a worker needs to do the work: SubmitHandler sets it to the body of the
	// request. It is not in the JSON, so clients do not see it. Transition removes it when the
	// operation ends. Empty means none.
	Input []byte `json:"-"`

	// Result is the result of an operation that has succeeded. Nil means none.
	Result *T `json:"result,omitempty"`

	// Problem describes why an operation has failed. Nil means none.
	Problem *problem.Problem `json:"problem,omitempty"`

	// Progress is how much of the work is done, from 0 to 100 percent. 0 also means that it
	// is not known. See SetProgress. Transition sets it to 100 when an operation succeeds
	// whose progress is known.
	Progress int `json:"progress,omitempty"`

	// CreatedAt and UpdatedAt are set by a Repository. Zero means not known.
	CreatedAt time.Time `json:"createdAt,omitzero"`
	UpdatedAt time.Time `json:"updatedAt,omitzero"`

	// ExpiresAt is when PollHandler begins to respond with 410 Gone, and a Repository may
	// remove the operation. Zero means never.
	ExpiresAt time.Time `json:"expiresAt,omitzero"`

	// Version is set by a Repository: 1 at first, and larger by 1 after each update.
	Version int64 `json:"version,omitempty"`
}

// expired reports whether op has expired at now.
func (op Operation[T]) expired(now time.Time) bool {
	return !op.ExpiresAt.IsZero() && !now.Before(op.ExpiresAt)
}

// Change describes a change of the state of an operation.
type Change[T any] struct {
	// State is the new state.
	State State

	// Result is used if State is StateSucceeded. Nil means that there is none.
	Result *T

	// Problem is used if State is StateFailed, and required then.
	Problem *problem.Problem

	// ExpiresAt replaces Operation.ExpiresAt unless it is zero.
	ExpiresAt time.Time
}

// Transition returns a copy of op with change applied. The copy has change.Result if it has
// succeeded, change.Problem if it has failed, and otherwise neither. It has no Input if it
// has ended. The error wraps ErrInvalidState if the state of op or change is not one of the
// five, and ErrInvalidTransition if CanTransition reports false or the problem of a failure is missing.
func Transition[T any](op Operation[T], change Change[T]) (Operation[T], error) {
	switch {
	case !op.State.orPending().Valid():
		return Operation[T]{}, fmt.Errorf("%w %q of the operation", ErrInvalidState, op.State)
	case !change.State.Valid():
		return Operation[T]{}, fmt.Errorf("%w %q of the Change", ErrInvalidState, change.State)
	case !CanTransition(op.State, change.State):
		return Operation[T]{}, fmt.Errorf("%w from %s to %s", ErrInvalidTransition, op.State.orPending(), change.State)
	case change.State == StateFailed && change.Problem == nil:
		return Operation[T]{}, fmt.Errorf("%w: a Change to %s needs a Problem", ErrInvalidTransition, change.State)
	}
	op.State, op.Result, op.Problem = change.State, nil, nil
	if op.State.Terminal() {
		op.Input = nil
	}
	switch change.State {
	case StateSucceeded:
		op.Result = change.Result
		if op.Progress != 0 {
			op.Progress = 100
		}
	case StateFailed:
		op.Problem = change.Problem
	}
	if !change.ExpiresAt.IsZero() {
		op.ExpiresAt = change.ExpiresAt
	}
	return op, nil
}

// maxID is the length of the longest id in bytes.
const maxID = 256

// CheckID returns ErrInvalidID unless id can be polled: it has 1 to 256 bytes of UTF-8,
// without control characters and without spaces around it.
func CheckID(id string) error {
	if id == "" || len(id) > maxID || !utf8.ValidString(id) || hasControl(id) ||
		id != strings.TrimSpace(id) {
		return ErrInvalidID
	}
	return nil
}

// hasControl reports whether text contains a control character.
func hasControl(text string) bool { return strings.ContainsFunc(text, unicode.IsControl) }
