package boltstore_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.etcd.io/bbolt"

	"github.com/a0b132ce/retryablehttp/operations"
	"github.com/a0b132ce/retryablehttp/operations/boltstore"
	"github.com/a0b132ce/retryablehttp/operations/internal/repotest"
	"github.com/a0b132ce/retryablehttp/problem"
)

type store = boltstore.Store[repotest.Result]

// openDB opens a database that is closed when the test ends.
func openDB(t testing.TB, path string) *bbolt.DB {
	t.Helper()
	db, err := bbolt.Open(path, 0o600, &bbolt.Options{Timeout: time.Second})
	require.NoError(t, err)
	t.Cleanup(func() { db.Close() })
	db.MaxBatchDelay = time.Millisecond
	return db
}

func newPath(t testing.TB) string { return filepath.Join(t.TempDir(), "jobs.db") }

func newStore(t testing.TB, db *bbolt.DB) *store {
	t.Helper()
	s, err := boltstore.New[repotest.Result](db, "jobs")
	require.NoError(t, err)
	return s
}

// submit creates an operation with a key of the same name.
func submit(t testing.TB, s *store, id string) {
	t.Helper()
	_, created, err := s.CreateOperation(t.Context(), repotest.Operation{ID: id},
		operations.Submission{Key: "key of " + id, Fingerprint: "f"})
	require.NoError(t, err)
	require.True(t, created)
}

// all returns the operations that can be read and the errors in the place of others.
func all(t testing.TB, s *store) (ops []repotest.Operation, errs []error) {
	t.Helper()
	for op, err := range s.Operations(t.Context()) {
		if err != nil {
			errs = append(errs, err)
			continue
		}
		ops = append(ops, op)
	}
	return ops, errs
}

func TestStore(t *testing.T) {
	repotest.Run(t, func(t *testing.T) repotest.Repository {
		db := openDB(t, newPath(t))
		db.NoSync = true // faster
		return newStore(t, db)
	})
}

func TestEverythingIsFoundAfterReopening(t *testing.T) {
	path := newPath(t)
	db := openDB(t, path)
	s := newStore(t, db)
	for i := range 5 {
		submit(t, s, fmt.Sprint("op", 5-i))
	}
	_, err := operations.Update(t.Context(), s, "op3", operations.Change[repotest.Result]{
		State: operations.StateFailed, Problem: &problem.Problem{Extensions: map[string]any{"code": "c"}}})
	require.NoError(t, err)
	_, err = operations.Update(t.Context(), s, "op1", operations.Change[repotest.Result]{
		State: operations.StateSucceeded, Result: &repotest.Result{Count: 7}})
	require.NoError(t, err)
	want, errs := all(t, s)
	require.Empty(t, errs)
	require.Len(t, want, 5)
	require.NoError(t, db.Close())

	s = newStore(t, openDB(t, path))
	got, errs := all(t, s)
	require.Empty(t, errs)
	assert.Equal(t, want, got)

	replayed, created, err := s.CreateOperation(t.Context(), repotest.Operation{ID: "new"},
		operations.Submission{Key: "key of op1", Fingerprint: "f"})
	require.NoError(t, err)
	assert.False(t, created)
	assert.Equal(t, 7, replayed.Result.Count)
	_, _, err = s.CreateOperation(t.Context(), repotest.Operation{ID: "new"},
		operations.Submission{Key: "key of op1", Fingerprint: "g"})
	require.ErrorIs(t, err, operations.ErrKeyReused)
	submit(t, s, "op0")
	got, _ = all(t, s)
	assert.Equal(t, "op0", got[5].ID, "the order goes on after reopening")
}

// The file is copied as a process that is killed leaves it: without Close.
func TestWhatWasAcknowledgedSurvivesACrash(t *testing.T) {
	path := newPath(t)
	s := newStore(t, openDB(t, path))
	for i := range 20 {
		submit(t, s, fmt.Sprint("op", i))
		_, err := operations.Update(t.Context(), s, fmt.Sprint("op", i),
			operations.Change[repotest.Result]{State: operations.StateRunning})
		require.NoError(t, err)
	}
	want, _ := all(t, s)
	data, err := os.ReadFile(path)
	require.NoError(t, err)
	left := newPath(t)
	require.NoError(t, os.WriteFile(left, data, 0o600))

	got, errs := all(t, newStore(t, openDB(t, left)))
	require.Empty(t, errs)
	require.Len(t, got, 20)
	assert.Equal(t, want, got)
}

// The program is killed after the operation was stored and before Begin has taken the body.
func TestF101TheInputSurvivesACrash(t *testing.T) {
	path, left := newPath(t), newPath(t)
	h := operations.SubmitHandler(operations.SubmitConfig[repotest.Result]{
		Repository: newStore(t, openDB(t, path)),
		Begin: func(*http.Request, repotest.Operation) error {
			data, err := os.ReadFile(path)
			require.NoError(t, err)
			return os.WriteFile(left, data, 0o600)
		},
	})
	h.ServeHTTP(httptest.NewRecorder(), httptest.NewRequest(http.MethodPost, "/", strings.NewReader("a \xff job")))

	s := newStore(t, openDB(t, left))
	ops, errs := all(t, s)
	require.Empty(t, errs)
	require.Len(t, ops, 1)
	assert.Equal(t, "a \xff job", string(ops[0].Input))
	running, err := operations.Update(t.Context(), s, ops[0].ID, operations.Change[repotest.Result]{State: operations.StateRunning})
	require.NoError(t, err)
	assert.Equal(t, "a \xff job", string(running.Input))
}

// A file from before there were inputs.
func TestF101AFileWithoutInputsOpens(t *testing.T) {
	db := openDB(t, newPath(t))
	submit(t, newStore(t, db), "op1")
	change(t, db, func(top *bbolt.Bucket) error { return top.DeleteBucket([]byte("inputs")) })

	s := newStore(t, db)
	running, err := operations.Update(t.Context(), s, "op1", operations.Change[repotest.Result]{State: operations.StateRunning})
	require.NoError(t, err)
	assert.Empty(t, running.Input)
	running.Input = []byte("x")
	_, err = s.UpdateOperation(t.Context(), running)
	require.NoError(t, err)
	ops, _ := all(t, s)
	assert.Equal(t, "x", string(ops[0].Input))
}

// Nothing but the progress is written for the progress of an operation with a large input,
// and inputs are removed with their operations.
func TestF101InputsAreWrittenOnceAndRemoved(t *testing.T) {
	db := openDB(t, newPath(t))
	s := newStore(t, db)
	written := func() int64 {
		stats := db.Stats().TxStats
		return stats.GetPageAlloc()
	}
	const size = 1 << 20
	_, _, err := s.CreateOperation(t.Context(), repotest.Operation{ID: "a", State: operations.StateRunning, Input: make([]byte, size)}, operations.Submission{})
	require.NoError(t, err)
	before := written()
	for percent := range 50 {
		_, err := operations.SetProgress(t.Context(), s, "a", percent+1)
		require.NoError(t, err)
	}
	assert.Less(t, written()-before, int64(size))

	_, err = operations.Update(t.Context(), s, "a", operations.Change[repotest.Result]{State: operations.StateCanceled, ExpiresAt: time.Unix(1, 0)})
	require.NoError(t, err)
	kept := func() (inputs int) {
		require.NoError(t, db.View(func(tx *bbolt.Tx) error {
			return tx.Bucket([]byte("jobs")).Bucket([]byte("inputs")).ForEach(func(_, input []byte) error {
				inputs++
				assert.Empty(t, input)
				return nil
			})
		}))
		return inputs
	}
	kept()
	_, err = s.Prune(t.Context(), time.Now())
	require.NoError(t, err)
	assert.Zero(t, kept())
}

// More than fits into memory at once may be left when the program starts.
func TestF101OperationsAreReadInPartsOfLimitedSize(t *testing.T) {
	db := openDB(t, newPath(t))
	db.NoSync = true
	s := newStore(t, db)
	const count, size = 60, 1 << 20
	for i := range count {
		_, _, err := s.CreateOperation(t.Context(), repotest.Operation{ID: fmt.Sprint(i), Input: make([]byte, size)}, operations.Submission{})
		require.NoError(t, err)
	}
	var before, after runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&before)
	for _, err := range s.Operations(t.Context()) {
		require.NoError(t, err)
		runtime.ReadMemStats(&after) // after the first part
		break
	}
	assert.Less(t, after.TotalAlloc-before.TotalAlloc, uint64(10*size))
	ops, errs := all(t, s)
	assert.Empty(t, errs)
	assert.Len(t, ops, count)
}

// Many reporters of the progress change an operation in each commit.
func TestF104AnEndIsStoredWhileOthersReportProgress(t *testing.T) {
	const reporters, times = 32, 20
	synctest.Test(t, func(t *testing.T) {
		db := openDB(t, newPath(t))
		db.NoSync = true
		s := newStore(t, db)
		var ended atomic.Bool
		for i := range times {
			id := fmt.Sprint(i)
			submit(t, s, id)
			_, err := operations.Update(t.Context(), s, id, operations.Change[repotest.Result]{State: operations.StateRunning})
			require.NoError(t, err)
			ended.Store(false)
			var running sync.WaitGroup
			for r := range reporters {
				running.Go(func() {
					for n := 0; !ended.Load(); n++ {
						_, err := operations.SetProgress(t.Context(), s, id, (n*reporters+r)%99+1)
						time.Sleep(rand.N(4 * time.Millisecond))
						if !errors.Is(err, operations.ErrInvalidTransition) { // it has ended
							assert.NoError(t, err)
						}
					}
				})
			}
			time.Sleep(10 * time.Millisecond)
			_, err = operations.Update(t.Context(), s, id, operations.Change[repotest.Result]{State: operations.StateCanceled})
			ended.Store(true)
			running.Wait()
			require.NoError(t, err)
		}
	})
}

func TestF103ARecordThatCannotBeReadAgainIsNotStored(t *testing.T) {
	s, err := boltstore.New[json.RawMessage](openDB(t, newPath(t)), "jobs")
	require.NoError(t, err)
	for levels, storable := range map[int]bool{9_998: true, 9_999: false, 10_000: false} {
		id := fmt.Sprint(levels)
		deep := json.RawMessage(strings.Repeat("[", levels) + strings.Repeat("]", levels))
		_, _, err := s.CreateOperation(t.Context(), operations.Operation[json.RawMessage]{ID: id, Result: &deep}, operations.Submission{Key: id})
		if storable {
			require.NoError(t, err)
			continue
		}
		require.ErrorIs(t, err, operations.ErrInvalidValue)
		assert.ErrorContains(t, err, "boltstore: operations: value cannot be stored as JSON: ")
		op, created, err := s.CreateOperation(t.Context(), operations.Operation[json.RawMessage]{ID: id}, operations.Submission{Key: id})
		require.NoError(t, err)
		require.True(t, created, "nothing was stored")
		op.Result = &deep
		_, err = s.UpdateOperation(t.Context(), op)
		require.ErrorIs(t, err, operations.ErrInvalidValue)
	}
	for _, err := range s.Operations(t.Context()) {
		require.NoError(t, err)
	}
}

// The problem of Begin can be read by a client, but not in a record, which has one more level.
func TestF103BeginFailsWithAProblemThatIsNestedTooDeep(t *testing.T) {
	for _, levels := range []int{9_996, 9_997, 9_998, 9_999} {
		s := newStore(t, openDB(t, newPath(t)))
		p := problem.New(503, "no")
		p.Extensions = map[string]any{"a": json.RawMessage(strings.Repeat("[", levels) + strings.Repeat("]", levels))}
		h := operations.SubmitHandler(operations.SubmitConfig[repotest.Result]{Repository: s,
			Begin: func(*http.Request, repotest.Operation) error { return p }})
		for range 2 {
			r := httptest.NewRequest(http.MethodPost, "/", nil)
			r.Header.Set("Idempotency-Key", "k")
			w := httptest.NewRecorder()
			h.ServeHTTP(w, r)
			assert.Equal(t, 202, w.Code)
			assert.Contains(t, w.Body.String(), "failed")
		}
		ops, errs := all(t, s)
		require.Empty(t, errs)
		assert.Equal(t, levels <= 9_997, ops[0].Problem.Detail == "no", levels)
	}
}

// Copies that are made while goroutines write have each operation with its key, or neither.
func TestACopyDuringWritesIsConsistent(t *testing.T) {
	db := openDB(t, newPath(t))
	s := newStore(t, db)
	var mu sync.Mutex
	var acknowledged []string
	var writers sync.WaitGroup
	for g := range 4 {
		writers.Go(func() {
			for i := range 25 {
				id := fmt.Sprint(g, "-", i)
				submit(t, s, id)
				mu.Lock()
				acknowledged = append(acknowledged, id)
				mu.Unlock()
			}
		})
	}
	for range 5 {
		mu.Lock()
		want := acknowledged[:len(acknowledged):len(acknowledged)]
		mu.Unlock()
		path := newPath(t)
		require.NoError(t, db.View(func(tx *bbolt.Tx) error { return tx.CopyFile(path, 0o600) }))
		checkCopy(t, newStore(t, openDB(t, path)), want)
	}
	writers.Wait()
	path := newPath(t)
	require.NoError(t, db.View(func(tx *bbolt.Tx) error { return tx.CopyFile(path, 0o600) }))
	checkCopy(t, newStore(t, openDB(t, path)), acknowledged)
	assert.Len(t, acknowledged, 100)
}

// checkCopy checks that s has at least the operations in want, and that each has its key.
func checkCopy(t *testing.T, s *store, want []string) {
	t.Helper()
	ops, errs := all(t, s)
	require.Empty(t, errs)
	var got []string
	for _, op := range ops {
		got = append(got, op.ID)
		_, created, err := s.CreateOperation(t.Context(), repotest.Operation{ID: "again"},
			operations.Submission{Key: "key of " + op.ID, Fingerprint: "f"})
		require.NoError(t, err)
		require.False(t, created)
	}
	require.Subset(t, got, want)
}

// change changes the database behind the back of a Store.
func change(t *testing.T, db *bbolt.DB, f func(top *bbolt.Bucket) error) {
	t.Helper()
	require.NoError(t, db.Update(func(tx *bbolt.Tx) error { return f(tx.Bucket([]byte("jobs"))) }))
}

func TestCorruptRecords(t *testing.T) {
	for name, record := range map[string]string{
		"cut off":      `{"operation":{"id":"op1","st`,
		"empty":        ``,
		"a bad state":  `{"operation":{"id":"op1","state":1}}`,
		"another id":   `{"operation":{"id":"op2","state":"pending"}}`,
		"not a record": `[]`,
	} {
		t.Run(name, func(t *testing.T) {
			db := openDB(t, newPath(t))
			s := newStore(t, db)
			for i := range 3 {
				submit(t, s, fmt.Sprint("op", i))
			}
			change(t, db, func(top *bbolt.Bucket) error {
				return top.Bucket([]byte("operations")).Put([]byte("op1"), []byte(record))
			})
			check := func(err error) {
				t.Helper()
				var corrupt *boltstore.CorruptError
				require.ErrorAs(t, err, &corrupt)
				assert.Equal(t, "op1", corrupt.ID)
				assert.ErrorContains(t, err, `boltstore: record of operation "op1" is corrupt: `)
				assert.Error(t, errors.Unwrap(corrupt))
			}
			_, found, err := s.GetOperation(t.Context(), "op1")
			check(err)
			assert.False(t, found)
			_, err = s.UpdateOperation(t.Context(), repotest.Operation{ID: "op1"})
			check(err)
			_, _, err = s.CreateOperation(t.Context(), repotest.Operation{ID: "x"}, operations.Submission{Key: "key of op1", Fingerprint: "f"})
			check(err)
			_, _, err = s.CreateOperation(t.Context(), repotest.Operation{ID: "op1"}, operations.Submission{})
			require.ErrorIs(t, err, operations.ErrExists)

			ops, errs := all(t, s)
			require.Len(t, ops, 2, "the others are read")
			require.Len(t, errs, 1)
			check(errs[0])
			removed, err := s.Prune(t.Context(), time.Now())
			require.NoError(t, err)
			assert.Zero(t, removed)
		})
	}
}

func TestAMissingRecordIsCorrupt(t *testing.T) {
	db := openDB(t, newPath(t))
	s := newStore(t, db)
	submit(t, s, "op1")
	change(t, db, func(top *bbolt.Bucket) error { return top.Bucket([]byte("operations")).Delete([]byte("op1")) })
	_, _, err := s.CreateOperation(t.Context(), repotest.Operation{ID: "x"}, operations.Submission{Key: "key of op1", Fingerprint: "f"})
	require.ErrorContains(t, err, `record of operation "op1" is corrupt: it is missing`)
	_, errs := all(t, s)
	require.Len(t, errs, 1)
}

func TestAMissingBucketIsAnError(t *testing.T) {
	for _, name := range []string{"operations", "keys", "order", "inputs"} {
		db := openDB(t, newPath(t))
		s := newStore(t, db)
		change(t, db, func(top *bbolt.Bucket) error { return top.DeleteBucket([]byte(name)) })
		_, _, err := s.GetOperation(t.Context(), "x")
		require.ErrorContains(t, err, "boltstore: ")
	}
	db := openDB(t, newPath(t))
	s := newStore(t, db)
	require.NoError(t, db.Update(func(tx *bbolt.Tx) error { return tx.DeleteBucket([]byte("jobs")) }))
	_, _, err := s.GetOperation(t.Context(), "x")
	require.ErrorContains(t, err, "boltstore: ")
	_, errs := all(t, s)
	require.Len(t, errs, 1)
}

func TestNewErrors(t *testing.T) {
	_, err := boltstore.New[int](nil, "jobs")
	require.EqualError(t, err, "boltstore: no database")
	_, err = boltstore.New[int](openDB(t, newPath(t)), "")
	require.ErrorContains(t, err, "boltstore: ")
}

func TestStoresInOtherBucketsDoNotMeet(t *testing.T) {
	db := openDB(t, newPath(t))
	s := newStore(t, db)
	submit(t, s, "op1")
	other, err := boltstore.New[int](db, "other")
	require.NoError(t, err)
	_, found, err := other.GetOperation(t.Context(), "op1")
	require.NoError(t, err)
	assert.False(t, found)
}

// A program that is about to end closes its database before its last request has ended.
func TestAClosedDatabaseIsUnavailable(t *testing.T) {
	db := openDB(t, newPath(t))
	s := newStore(t, db)
	require.NoError(t, db.Close())
	_, _, err := s.CreateOperation(t.Context(), repotest.Operation{ID: "x"}, operations.Submission{})
	require.ErrorIs(t, err, operations.ErrUnavailable)

	w := httptest.NewRecorder()
	operations.PollHandler(operations.PollConfig[repotest.Result]{Store: s}).
		ServeHTTP(w, httptest.NewRequest(http.MethodGet, "/?id=x", nil))
	assert.Equal(t, 503, w.Code)
}

func TestAResultThatCannotBeEncodedIsAnErrorAndStoresNothing(t *testing.T) {
	s, err := boltstore.New[any](openDB(t, newPath(t)), "jobs")
	require.NoError(t, err)
	bad := any(func() {})
	key := operations.Submission{Key: "k"}
	_, created, err := s.CreateOperation(t.Context(), operations.Operation[any]{ID: "a", Result: &bad}, key)
	var unsupported *json.UnsupportedTypeError
	require.ErrorAs(t, err, &unsupported)
	assert.False(t, created)
	_, created, err = s.CreateOperation(t.Context(), operations.Operation[any]{ID: "a"}, key)
	require.NoError(t, err)
	assert.True(t, created)
}

func TestAKeyThatIsTooLongForTheDatabaseStoresNothing(t *testing.T) {
	s := newStore(t, openDB(t, newPath(t)))
	_, _, err := s.CreateOperation(t.Context(), repotest.Operation{ID: "a"},
		operations.Submission{Key: string(make([]byte, bbolt.MaxKeySize+1))})
	require.ErrorContains(t, err, "boltstore: ")
	_, found, err := s.GetOperation(t.Context(), "a")
	require.NoError(t, err)
	assert.False(t, found)
}

// A repeated Update finds that the stored result is equal, although it was read from JSON.
func TestUpdateCanBeRepeated(t *testing.T) {
	s, err := boltstore.New[any](openDB(t, newPath(t)), "jobs")
	require.NoError(t, err)
	for i, result := range []any{struct{ B, A int }{7, 8}, "caf\xe9", nil} {
		id := fmt.Sprint(i)
		_, _, err = s.CreateOperation(t.Context(), operations.Operation[any]{ID: id}, operations.Submission{})
		require.NoError(t, err)
		change := operations.Change[any]{State: operations.StateSucceeded, Result: &result}
		first, err := operations.Update(t.Context(), s, id, change)
		require.NoError(t, err)
		again, err := operations.Update(t.Context(), s, id, change)
		require.NoError(t, err, id)
		assert.Equal(t, first.Version, again.Version)
	}
}
