package operations

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"reflect"
	"time"
)

var (
	// ErrNotFound means that there is no operation with this id.
	ErrNotFound = errors.New("operations: not found")

	// ErrExists is returned by CreateOperation for an id that is in use.
	ErrExists = errors.New("operations: id exists")

	// ErrKeyReused is returned by CreateOperation for a key that was used with another
	// fingerprint.
	ErrKeyReused = errors.New("operations: key was used for another request")

	// ErrConflict is returned by UpdateOperation if the stored version is another one.
	ErrConflict = errors.New("operations: version conflict")

	// ErrUnavailable can be wrapped by the errors of a store. The handlers then respond with
	// 503 and Retry-After instead of 500.
	ErrUnavailable = errors.New("operations: store is unavailable")
)

// Store finds operations. It must be safe for concurrent use.
type Store[T any] interface {
	// GetOperation returns the operation with this id and whether there is one.
	GetOperation(ctx context.Context, id string) (Operation[T], bool, error)
}

// StoreFunc is a function as a Store. A nil StoreFunc returns an error.
type StoreFunc[T any] func(ctx context.Context, id string) (Operation[T], bool, error)

// GetOperation calls f.
func (f StoreFunc[T]) GetOperation(ctx context.Context, id string) (Operation[T], bool, error) {
	if f == nil {
		return Operation[T]{}, false, errors.New("operations: StoreFunc is nil")
	}
	return f(ctx, id)
}

// Watcher is an optional interface of a Store. PollHandler uses it to learn of changes while
// a client waits. Without it, PollHandler looks at the store four times a second.
type Watcher interface {
	// WatchOperation returns a channel that is closed when the operation with this id is
	// created, updated or removed next. The caller must call stop when it has no more use for
	// the channel.
	WatchOperation(id string) (changed <-chan struct{}, stop func())
}

// Submission identifies the request that creates an operation.
type Submission struct {
	// Key is the same for all attempts of a client to submit the same work. "" means that
	// the request has no key.
	Key string

	// Fingerprint is the same for requests that ask for the same work.
	Fingerprint string
}

// Repository is a Store that can be written to. It must be safe for concurrent use. Most
// programs change operations with [Update] and [SetProgress].
//
// A Repository stores Operation.Input like any other field, as it is given, and every method
// that returns the operation returns it. It is not in the JSON of the operation, so a
// Repository that stores JSON must store it beside that.
type Repository[T any] interface {
	Store[T]

	// CreateOperation stores op and its key, both or neither, and returns what it has stored
	// and true. It sets CreatedAt, UpdatedAt and Version, and an empty state to pending. If
	// the key is in use with the same fingerprint, it returns the operation that was stored
	// with it, as that is now, and false. A key is in use as long as its operation is stored.
	//
	// The error is or wraps ErrKeyReused, ErrExists, ErrInvalidID or ErrInvalidState, or is
	// one of the store. After any error nothing must have been stored, also if ctx has ended:
	// a store that cannot undo a write must finish it. SubmitHandler begins only what was
	// created without an error.
	CreateOperation(ctx context.Context, op Operation[T], key Submission) (stored Operation[T], created bool, err error)

	// UpdateOperation replaces the operation with the id of op if its version is op.Version,
	// and returns what it has stored. It sets UpdatedAt and Version and keeps CreatedAt. It
	// does not check whether the change of state is allowed.
	//
	// The error is or wraps ErrConflict, ErrNotFound or ErrInvalidState, or is one of the
	// store.
	UpdateOperation(ctx context.Context, op Operation[T]) (Operation[T], error)
}

const (
	maxConflict      = 30 * time.Second      // how long Update and SetProgress try again
	maxConflictPause = 32 * time.Millisecond // the longest pause between two attempts
)

// Update applies change to the operation with this id, as [Transition] does, and stores it.
// If the operation was changed by others meanwhile, Update starts over with the new version
// after a random pause of at most 32 ms.
//
// A worker can repeat an Update, because it does not know the outcome or because the program
// was restarted: there is no error if the operation is running already, or has ended with
// the same state and an equal result or problem. Only ExpiresAt is stored then, if it is
// another time. Two values are equal if their JSON is, whatever the order of its members.
//
// The error of any other Update of an operation that has ended wraps ErrInvalidTransition:
// another worker has ended it.
//
// The error is ErrNotFound if there is no such operation, one of Transition, one of repo, the
// error of ctx, or ErrConflict if others have changed the operation again and again for 30
// seconds. It wraps ErrInvalidValue if the operation would have no JSON that a client can
// read.
func Update[T any](ctx context.Context, repo Repository[T], id string, change Change[T]) (Operation[T], error) {
	return modify(ctx, repo, id, func(op Operation[T]) (Operation[T], bool, error) {
		if isRepeat(op, change) {
			changed := !change.ExpiresAt.IsZero() && !change.ExpiresAt.Equal(op.ExpiresAt)
			if changed {
				op.ExpiresAt = change.ExpiresAt
			}
			return op, changed, nil
		}
		next, err := Transition(op, change)
		return next, true, err
	})
}

// isRepeat reports whether op is already running, or has already ended, as change says.
func isRepeat[T any](op Operation[T], change Change[T]) bool {
	if op.State != change.State {
		return false
	}
	if op.State == StateRunning {
		return true
	}
	again, err := Transition(Operation[T]{}, change)
	return err == nil && equal(op.Result, again.Result) && equal(op.Problem, again.Problem)
}

// equal reports whether the values have the same JSON. That of a nil pointer is null.
func equal(a, b any) bool {
	first, errA := jsonValue(a)
	second, errB := jsonValue(b)
	return errA == nil && errB == nil && reflect.DeepEqual(first, second)
}

// jsonValue returns the JSON of value, decoded into maps, slices, strings and json.Numbers.
func jsonValue(value any) (any, error) {
	text, err := encode(value)
	if err != nil {
		return nil, err
	}
	decoder := json.NewDecoder(bytes.NewReader(text))
	decoder.UseNumber()
	var decoded any
	err = decoder.Decode(&decoded)
	return decoded, err
}

// SetProgress sets the progress of a running operation. A percent below 0 means 0, one
// above 100 means 100. The error is ErrInvalidTransition if the operation is not running,
// and otherwise as with [Update]. A worker can use it to see whether its operation was
// canceled.
func SetProgress[T any](ctx context.Context, repo Repository[T], id string, percent int) (Operation[T], error) {
	percent = min(max(percent, 0), 100)
	return modify(ctx, repo, id, func(op Operation[T]) (Operation[T], bool, error) {
		if op.State != StateRunning {
			return op, false, ErrInvalidTransition
		}
		changed := op.Progress != percent
		op.Progress = percent
		return op, changed, nil
	})
}

// modify stores what change returns, if that reports true. It starts over after a conflict,
// until maxConflict has passed or ctx ends.
func modify[T any](
	ctx context.Context, repo Repository[T], id string,
	change func(Operation[T]) (next Operation[T], changed bool, err error),
) (Operation[T], error) {
	end := time.Now().Add(maxConflict)
	for pause := time.Millisecond; ; pause = min(2*pause, maxConflictPause) {
		op, found, err := repo.GetOperation(ctx, id)
		if err == nil && !found {
			err = ErrNotFound
		}
		changed := false
		if err == nil {
			op, changed, err = change(op)
		}
		if err == nil && changed {
			if _, invalid := jsonValue(op); invalid != nil {
				err = fmt.Errorf("%w: %w", ErrInvalidValue, invalid)
			} else {
				op, err = repo.UpdateOperation(ctx, op)
			}
		}
		switch {
		case err == nil:
			return op, nil
		case !errors.Is(err, ErrConflict), time.Now().After(end):
			return Operation[T]{}, err
		}
		select {
		case <-time.After(rand.N(pause)):
		case <-ctx.Done():
			return Operation[T]{}, ctx.Err()
		}
	}
}
