// Package repotest tests what every operations.Repository has to do.
package repotest

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"iter"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/a0b132ce/retryablehttp/operations"
	"github.com/a0b132ce/retryablehttp/problem"
)

// Result is the type of the results.
type Result struct {
	Text  string `json:"text"`
	Count int    `json:"count"`
}

// Operation is an operation of the tests.
type Operation = operations.Operation[Result]

// Repository is what the stores of this module offer.
type Repository interface {
	operations.Repository[Result]
	operations.Watcher
	Operations(ctx context.Context) iter.Seq2[Operation, error]
	Prune(ctx context.Context, at time.Time) (int, error)
}

// none is the Submission of a request without a key.
var none operations.Submission

// Run tests the repositories that open returns. Each of them must be empty.
func Run(t *testing.T, open func(*testing.T) Repository) {
	for name, test := range map[string]func(*testing.T, Repository){
		"an unknown id is not found":                        unknownID,
		"create sets times, version and state":              create,
		"all fields are stored":                             allFields,
		"a zero result is a result":                         zeroResult,
		"an id is created once":                             createTwice,
		"bad ids and states are refused":                    refuse,
		"a key returns its operation":                       keys,
		"keys and fingerprints are bytes":                   keysAreBytes,
		"an update can be repeated":                         repeatUpdate,
		"update needs the version":                          update,
		"update keeps the time of creation":                 updateTimes,
		"an ended context is an error":                      endedContext,
		"operations come in the order of creation":          order,
		"the repository can be used during an iteration":    useWhileIterating,
		"prune removes what has expired, and its key":       prune,
		"a watch ends at each change of its operation only": watch,
		"many submits of one key create one operation":      concurrentCreate,
		"one of many workers ends an operation":             concurrentEnd,
		"no progress is lost":                               concurrentVersions,
		"F101 the input is kept until the operation ends":   input,
		"F103 what cannot be read again is refused":         unreadable,
	} {
		t.Run(name, func(t *testing.T) { test(t, open(t)) })
	}
}

// mustCreate creates an operation without a key.
func mustCreate(t *testing.T, r Repository, op Operation) Operation {
	t.Helper()
	stored, created, err := r.CreateOperation(t.Context(), op, none)
	require.NoError(t, err)
	require.True(t, created)
	return stored
}

// mustGet returns an operation that exists.
func mustGet(t *testing.T, r Repository, id string) Operation {
	t.Helper()
	op, found, err := r.GetOperation(t.Context(), id)
	require.NoError(t, err)
	require.True(t, found)
	return op
}

// ids returns the ids of all operations.
func ids(t *testing.T, r Repository) []string {
	t.Helper()
	var all []string
	for op, err := range r.Operations(t.Context()) {
		require.NoError(t, err)
		all = append(all, op.ID)
	}
	return all
}

func unknownID(t *testing.T, r Repository) {
	for _, id := range []string{"x", "", strings.Repeat("x", 100_000)} {
		op, found, err := r.GetOperation(t.Context(), id)
		require.NoError(t, err)
		assert.False(t, found)
		assert.Zero(t, op)
	}
	_, err := r.UpdateOperation(t.Context(), Operation{ID: "x"})
	require.ErrorIs(t, err, operations.ErrNotFound)
	_, err = operations.Update(t.Context(), r, "x", operations.Change[Result]{State: operations.StateRunning})
	require.ErrorIs(t, err, operations.ErrNotFound)
	assert.Empty(t, ids(t, r))
}

func create(t *testing.T, r Repository) {
	before := time.Now().Round(0)
	op := mustCreate(t, r, Operation{ID: "a", Version: 99, CreatedAt: time.Unix(1, 0), UpdatedAt: time.Unix(2, 0)})
	assert.Equal(t, operations.StatePending, op.State)
	assert.EqualValues(t, 1, op.Version)
	assert.Equal(t, op.CreatedAt, op.UpdatedAt)
	assert.WithinRange(t, op.CreatedAt, before, time.Now())
	assert.Equal(t, op, mustGet(t, r, "a"))
}

func allFields(t *testing.T, r Repository) {
	op := mustCreate(t, r, Operation{
		ID: "ä /?%\x20b", State: operations.StateFailed, Result: &Result{Text: "<&>", Count: 1}, Progress: 40,
		Problem: &problem.Problem{Type: "t", Title: "u", Status: 404, Detail: "d", Instance: "i",
			Extensions: map[string]any{"code": "c", "n": json.Number("12345678901234567890")}},
		ExpiresAt: time.Date(2100, 1, 2, 3, 4, 5, 6, time.UTC),
	})
	assert.Equal(t, "<&>", op.Result.Text)
	assert.Equal(t, op, mustGet(t, r, op.ID))
	encoded, err := json.Marshal(op)
	require.NoError(t, err)
	var decoded Operation
	require.NoError(t, json.Unmarshal(encoded, &decoded))
	assert.Equal(t, op, decoded, "the times are UTC and have no monotonic clock reading")
	op.Problem, op.Result, op.Progress, op.ExpiresAt = nil, nil, 0, time.Time{}
	op, err = r.UpdateOperation(t.Context(), op)
	require.NoError(t, err)
	assert.Equal(t, op, mustGet(t, r, op.ID))
	assert.Equal(t, op.UpdatedAt.UTC().String(), op.UpdatedAt.String())
}

func input(t *testing.T, r Repository) {
	text := []byte("a \xff job")
	first, _, err := r.CreateOperation(t.Context(), Operation{ID: "a", Input: text}, operations.Submission{Key: "k"})
	require.NoError(t, err)
	assert.Equal(t, text, first.Input)
	mustCreate(t, r, Operation{ID: "other"})
	again, created, err := r.CreateOperation(t.Context(), Operation{ID: "b", Input: []byte("b")}, operations.Submission{Key: "k"})
	require.NoError(t, err)
	assert.False(t, created)
	assert.Equal(t, first, again)

	running, err := operations.Update(t.Context(), r, "a", operations.Change[Result]{State: operations.StateRunning})
	require.NoError(t, err)
	assert.Equal(t, text, running.Input)
	running, err = operations.SetProgress(t.Context(), r, "a", 40)
	require.NoError(t, err)
	assert.Equal(t, text, running.Input)
	assert.Equal(t, running, mustGet(t, r, "a"))
	for op, err := range r.Operations(t.Context()) {
		require.NoError(t, err)
		assert.Equal(t, op.ID == "a", string(op.Input) == string(text), op.ID)
	}

	running.Input = []byte("another")
	running, err = r.UpdateOperation(t.Context(), running)
	require.NoError(t, err)
	assert.Equal(t, "another", string(running.Input))
	assert.Equal(t, running, mustGet(t, r, "a"))

	ended, err := operations.Update(t.Context(), r, "a", operations.Change[Result]{State: operations.StateCanceled, ExpiresAt: time.Unix(1, 0)})
	require.NoError(t, err)
	assert.Nil(t, ended.Input)
	assert.Nil(t, mustGet(t, r, "a").Input)

	mustCreate(t, r, Operation{ID: "expired", Input: text, ExpiresAt: time.Unix(1, 0)})
	removed, err := r.Prune(t.Context(), time.Now())
	require.NoError(t, err)
	assert.Equal(t, 2, removed)
	for _, id := range []string{"a", "expired"} {
		assert.Nil(t, mustCreate(t, r, Operation{ID: id}).Input, "the input went with the operation")
	}
}

// unreadable updates an operation with values that encoding/json does not write, or writes
// but does not read.
func unreadable(t *testing.T, r Repository) {
	deep := func(levels int) *problem.Problem {
		value := json.RawMessage(strings.Repeat("[", levels) + strings.Repeat("]", levels))
		return &problem.Problem{Extensions: map[string]any{"e": value}}
	}
	failed := func(p *problem.Problem) operations.Change[Result] {
		return operations.Change[Result]{State: operations.StateFailed, Problem: p}
	}
	op := mustCreate(t, r, Operation{ID: "a"})
	for name, change := range map[string]operations.Change[Result]{
		"a function":             failed(&problem.Problem{Extensions: map[string]any{"f": func() {}}}),
		"nested too deep":        failed(deep(10_000 - 1)),
		"nested too deep to add": failed(deep(20_000)),
		"the year 10000":         {State: operations.StateCanceled, ExpiresAt: time.Date(10_000, 1, 1, 0, 0, 0, 0, time.UTC)},
	} {
		_, err := operations.Update(t.Context(), r, "a", change)
		require.ErrorIs(t, err, operations.ErrInvalidValue, name)
		assert.Equal(t, op, mustGet(t, r, "a"), name)
	}
	for levels := 9_990; levels < 10_000; levels++ { // a store may nest it once more
		id := fmt.Sprint(levels)
		mustCreate(t, r, Operation{ID: id})
		_, err := operations.Update(t.Context(), r, id, failed(deep(levels)))
		if levels < 9_995 {
			require.NoError(t, err)
		}
		assert.Equal(t, err == nil, mustGet(t, r, id).State == operations.StateFailed)
	}
}

func zeroResult(t *testing.T, r Repository) {
	mustCreate(t, r, Operation{ID: "a", State: operations.StateSucceeded, Result: new(Result)})
	assert.Equal(t, new(Result), mustGet(t, r, "a").Result)
}

func createTwice(t *testing.T, r Repository) {
	first := mustCreate(t, r, Operation{ID: "a"})
	key := operations.Submission{Key: "k", Fingerprint: "f"}
	_, created, err := r.CreateOperation(t.Context(), Operation{ID: "a", State: operations.StateRunning}, key)
	require.ErrorIs(t, err, operations.ErrExists)
	assert.False(t, created)
	assert.Equal(t, first, mustGet(t, r, "a"))

	_, created, err = r.CreateOperation(t.Context(), Operation{ID: "b"}, key)
	require.NoError(t, err)
	assert.True(t, created, "the key was stored without an operation")
}

func refuse(t *testing.T, r Repository) {
	for _, id := range []string{"", " a", "a\n", "a\x00", "\xff", strings.Repeat("a", 257)} {
		_, created, err := r.CreateOperation(t.Context(), Operation{ID: id}, none)
		require.ErrorIs(t, err, operations.ErrInvalidID, "%q", id)
		assert.False(t, created)
	}
	_, _, err := r.CreateOperation(t.Context(), Operation{ID: "a", State: "paused"}, none)
	require.ErrorIs(t, err, operations.ErrInvalidState)
	assert.Empty(t, ids(t, r))

	op := mustCreate(t, r, Operation{ID: strings.Repeat("a", 256)})
	op.State = "paused"
	_, err = r.UpdateOperation(t.Context(), op)
	require.ErrorIs(t, err, operations.ErrInvalidState)
	op.State = ""
	op, err = r.UpdateOperation(t.Context(), op)
	require.NoError(t, err)
	assert.Equal(t, operations.StatePending, op.State)
}

func keys(t *testing.T, r Repository) {
	key := operations.Submission{Key: "k", Fingerprint: "f"}
	first, created, err := r.CreateOperation(t.Context(), Operation{ID: "a"}, key)
	require.NoError(t, err)
	require.True(t, created)

	first.State = operations.StateRunning
	first, err = r.UpdateOperation(t.Context(), first)
	require.NoError(t, err)
	again, created, err := r.CreateOperation(t.Context(), Operation{ID: "b"}, key)
	require.NoError(t, err)
	assert.False(t, created)
	assert.Equal(t, first, again, "the operation is returned as it is now")

	_, created, err = r.CreateOperation(t.Context(), Operation{ID: "b"}, operations.Submission{Key: "k", Fingerprint: "g"})
	require.ErrorIs(t, err, operations.ErrKeyReused)
	assert.False(t, created)

	for _, id := range []string{"c", "d"} { // no key is no key, whatever the fingerprint is
		_, created, err = r.CreateOperation(t.Context(), Operation{ID: id}, operations.Submission{Fingerprint: "f"})
		require.NoError(t, err)
		assert.True(t, created)
	}
	assert.Equal(t, []string{"a", "c", "d"}, ids(t, r))
}

// Texts that are no UTF-8 must not be taken for each other, as they are if each bad byte is
// replaced by the same character.
func keysAreBytes(t *testing.T, r Repository) {
	first := operations.Submission{Key: "a\xff", Fingerprint: "f\xff"}
	other := operations.Submission{Key: "a\ufffd", Fingerprint: "f\xff"}
	for id, key := range map[string]operations.Submission{"first": first, "other": other} {
		_, created, err := r.CreateOperation(t.Context(), Operation{ID: id, ExpiresAt: time.Unix(1, 0)}, key)
		require.NoError(t, err)
		require.True(t, created)
		again, created, err := r.CreateOperation(t.Context(), Operation{ID: "x"}, key)
		require.NoError(t, err)
		assert.False(t, created)
		assert.Equal(t, id, again.ID)
		for _, fingerprint := range []string{"f\xfe", "f\ufffd", "f"} {
			_, _, err = r.CreateOperation(t.Context(), Operation{ID: "x"}, operations.Submission{Key: key.Key, Fingerprint: fingerprint})
			require.ErrorIs(t, err, operations.ErrKeyReused)
		}
	}
	op := mustGet(t, r, "other")
	op.ExpiresAt = time.Time{}
	_, err := r.UpdateOperation(t.Context(), op)
	require.NoError(t, err)
	removed, err := r.Prune(t.Context(), time.Now())
	require.NoError(t, err)
	assert.Equal(t, 1, removed)
	_, created, err := r.CreateOperation(t.Context(), Operation{ID: "new"}, first)
	require.NoError(t, err)
	assert.True(t, created, "its key was removed")
	again, created, err := r.CreateOperation(t.Context(), Operation{ID: "x"}, other)
	require.NoError(t, err)
	assert.False(t, created, "the other key was not")
	assert.Equal(t, "other", again.ID)
}

// Values whose JSON changes when it is decoded and encoded are still the same.
func repeatUpdate(t *testing.T, r Repository) {
	failed := func(detail string, extension any) operations.Change[Result] {
		return operations.Change[Result]{State: operations.StateFailed,
			Problem: &problem.Problem{Detail: detail, Extensions: map[string]any{"e": extension}}}
	}
	for id, change := range map[string]operations.Change[Result]{
		"running":           {State: operations.StateRunning},
		"canceled":          {State: operations.StateCanceled},
		"a result":          {State: operations.StateSucceeded, Result: &Result{Text: "open caf\xe9", Count: 1}},
		"no UTF-8":          failed("open caf\xe9", nil),
		"order of members":  failed("x", struct{ B, A int }{1, 2}),
		"numbers":           failed("x", []any{1e21, int64(1 << 62), json.RawMessage(` 1.0 `)}),
		"a problem in it":   failed("<&>", problem.New(400, "x")),
		"a time and binary": failed("x", []any{time.Unix(1, 1), []byte("\xff")}),
	} {
		mustCreate(t, r, Operation{ID: id})
		first, err := operations.Update(t.Context(), r, id, change)
		require.NoError(t, err)
		again, err := operations.Update(t.Context(), r, id, change)
		require.NoError(t, err, id)
		assert.Equal(t, first.Version, again.Version)

		for range 2 { // the second one does not change it
			change.ExpiresAt = time.Unix(7, 7)
			again, err = operations.Update(t.Context(), r, id, change)
			require.NoError(t, err, id)
			assert.Equal(t, first.Version+1, again.Version)
			assert.True(t, change.ExpiresAt.Equal(again.ExpiresAt))
		}
	}
}

func update(t *testing.T, r Repository) {
	first := mustCreate(t, r, Operation{ID: "a"})
	change := first
	change.State = operations.StateRunning
	second, err := r.UpdateOperation(t.Context(), change)
	require.NoError(t, err)
	assert.EqualValues(t, 2, second.Version)
	assert.Equal(t, second, mustGet(t, r, "a"))

	for _, version := range []int64{0, 1, 3} {
		change.Version = version
		_, err = r.UpdateOperation(t.Context(), change)
		require.ErrorIs(t, err, operations.ErrConflict)
	}
	assert.Equal(t, second, mustGet(t, r, "a"))

	second.State = operations.StateCanceled // a copy
	assert.Equal(t, operations.StateRunning, mustGet(t, r, "a").State)
}

func updateTimes(t *testing.T, r Repository) {
	first := mustCreate(t, r, Operation{ID: "a"})
	change := first
	change.CreatedAt, change.UpdatedAt = time.Unix(1, 0), time.Unix(2, 0)
	second, err := r.UpdateOperation(t.Context(), change)
	require.NoError(t, err)
	assert.Equal(t, first.CreatedAt, second.CreatedAt)
	assert.WithinRange(t, second.UpdatedAt, first.UpdatedAt, time.Now())
}

func endedContext(t *testing.T, r Repository) {
	op := mustCreate(t, r, Operation{ID: "a", ExpiresAt: time.Unix(1, 0).UTC()})
	cause := errors.New("a cause")
	ctx, cancel := context.WithCancelCause(t.Context())
	cancel(cause)

	_, found, err := r.GetOperation(ctx, "a")
	require.ErrorIs(t, err, context.Canceled)
	assert.False(t, found)
	_, created, err := r.CreateOperation(ctx, Operation{ID: "b"}, none)
	require.ErrorIs(t, err, context.Canceled)
	assert.False(t, created)
	_, err = r.UpdateOperation(ctx, op)
	require.ErrorIs(t, err, context.Canceled)
	removed, err := r.Prune(ctx, time.Now())
	require.ErrorIs(t, err, context.Canceled)
	assert.Zero(t, removed)
	yielded := 0
	for _, err := range r.Operations(ctx) {
		yielded++
		require.ErrorIs(t, err, context.Canceled)
	}
	assert.Equal(t, 1, yielded)
	assert.Equal(t, []string{"a"}, ids(t, r))
	assert.Equal(t, op, mustGet(t, r, "a"))
}

func order(t *testing.T, r Repository) {
	const n = 300 // more than a byte counts
	var want []string
	for i := range n {
		id := fmt.Sprint((i * 7919) % n) // not sorted
		want = append(want, id)
		mustCreate(t, r, Operation{ID: id})
	}
	assert.Equal(t, want, ids(t, r))
	for op, err := range r.Operations(t.Context()) {
		require.NoError(t, err)
		require.Equal(t, want[0], op.ID)
		break
	}
}

func useWhileIterating(t *testing.T, r Repository) {
	for i := range 150 {
		mustCreate(t, r, Operation{ID: fmt.Sprint(i)})
	}
	updated := 0
	for op, err := range r.Operations(t.Context()) {
		require.NoError(t, err)
		if op.State == operations.StatePending {
			op.State = operations.StateRunning
			_, err = r.UpdateOperation(t.Context(), op)
			require.NoError(t, err)
			updated++
		}
		if updated > 5 {
			break
		}
	}
	assert.Equal(t, 6, updated)
}

func prune(t *testing.T, r Repository) {
	at := time.Date(2030, 1, 1, 0, 0, 0, 0, time.UTC)
	const expired = 230
	for i := range expired {
		_, _, err := r.CreateOperation(t.Context(), Operation{ID: fmt.Sprint("old", i), ExpiresAt: at.Add(-time.Duration(i))},
			operations.Submission{Key: fmt.Sprint("old", i)})
		require.NoError(t, err)
		if i == 100 {
			_, _, err := r.CreateOperation(t.Context(), Operation{ID: "later", ExpiresAt: at.Add(1)}, operations.Submission{Key: "later"})
			require.NoError(t, err)
			mustCreate(t, r, Operation{ID: "never"})
		}
	}
	changed, stop := r.WatchOperation("old7")
	defer stop()

	removed, err := r.Prune(t.Context(), at)
	require.NoError(t, err)
	assert.Equal(t, expired, removed)
	assert.Equal(t, []string{"later", "never"}, ids(t, r))
	assert.True(t, closed(changed), "the watch has ended")

	_, created, err := r.CreateOperation(t.Context(), Operation{ID: "old7"}, operations.Submission{Key: "old7", Fingerprint: "new"})
	require.NoError(t, err)
	assert.True(t, created, "the id and the key can be used again")
	_, created, err = r.CreateOperation(t.Context(), Operation{ID: "x"}, operations.Submission{Key: "later"})
	require.NoError(t, err)
	assert.False(t, created, "a key whose operation is there is kept")

	removed, err = r.Prune(t.Context(), at)
	require.NoError(t, err)
	assert.Zero(t, removed)
}

// closed reports whether c is closed.
func closed(c <-chan struct{}) bool {
	select {
	case <-c:
		return true
	default:
		return false
	}
}

func watch(t *testing.T, r Repository) {
	changed, stop := r.WatchOperation("a")
	defer stop()
	other, stopOther := r.WatchOperation("b")
	defer stopOther()
	op := mustCreate(t, r, Operation{ID: "a"})
	assert.True(t, closed(changed), "after it was created")
	assert.False(t, closed(other))

	changed, stop = r.WatchOperation("a")
	defer stop()
	_, err := r.UpdateOperation(t.Context(), Operation{ID: "a", Version: 7})
	require.Error(t, err)
	assert.False(t, closed(changed), "after an update that has failed")
	_, err = r.UpdateOperation(t.Context(), op)
	require.NoError(t, err)
	assert.True(t, closed(changed), "after an update")
	assert.False(t, closed(other))
}

func concurrentCreate(t *testing.T, r Repository) {
	key := operations.Submission{Key: "k", Fingerprint: "f"}
	var created atomic.Int32
	var group sync.WaitGroup
	got := make([]string, 100)
	for i := range got {
		group.Go(func() {
			op, first, err := r.CreateOperation(t.Context(), Operation{ID: fmt.Sprint("op", i)}, key)
			assert.NoError(t, err)
			if first {
				created.Add(1)
			}
			got[i] = op.ID
		})
	}
	group.Wait()
	assert.EqualValues(t, 1, created.Load())
	all := ids(t, r)
	require.Len(t, all, 1)
	for _, id := range got {
		assert.Equal(t, all[0], id)
	}
}

func concurrentEnd(t *testing.T, r Repository) {
	mustCreate(t, r, Operation{ID: "a", State: operations.StateRunning})
	var won atomic.Int32
	var winner atomic.Value
	var group sync.WaitGroup
	for i := range 60 {
		group.Go(func() {
			change := operations.Change[Result]{State: operations.StateSucceeded, Result: &Result{Count: i}}
			switch i % 3 {
			case 1:
				change = operations.Change[Result]{State: operations.StateFailed, Problem: &problem.Problem{Status: i}}
			case 2:
				if i > 2 { // a second one would be a repeat
					return
				}
				change = operations.Change[Result]{State: operations.StateCanceled}
			}
			op, err := operations.Update(t.Context(), r, "a", change)
			if err == nil {
				won.Add(1)
				winner.Store(op)
				return
			}
			assert.ErrorIs(t, err, operations.ErrInvalidTransition)
		})
	}
	group.Wait()
	require.EqualValues(t, 1, won.Load())
	op := mustGet(t, r, "a")
	assert.Equal(t, winner.Load(), op)
	assert.EqualValues(t, 2, op.Version)
}

func concurrentVersions(t *testing.T, r Repository) {
	mustCreate(t, r, Operation{ID: "a"})
	var stored atomic.Int64
	var group sync.WaitGroup
	for range 8 {
		group.Go(func() {
			for range 10 {
				op, _, err := r.GetOperation(t.Context(), "a")
				assert.NoError(t, err)
				_, err = r.UpdateOperation(t.Context(), op)
				if err == nil {
					stored.Add(1)
				} else {
					assert.ErrorIs(t, err, operations.ErrConflict)
				}
			}
		})
	}
	group.Wait()
	assert.Equal(t, stored.Load()+1, mustGet(t, r, "a").Version)
}
