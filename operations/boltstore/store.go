package boltstore

import (
	"bytes"
	"cmp"
	"context"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"iter"
	"time"

	"go.etcd.io/bbolt"
	bolterrors "go.etcd.io/bbolt/errors"

	"github.com/a0b132ce/retryablehttp/operations"
	"github.com/a0b132ce/retryablehttp/operations/internal/watch"
)

// A transaction reads operations until it has pageSize of them, or inputs of pageInput bytes.
const (
	pageSize  = 100
	pageInput = 1 << 20
)

// The buckets in the bucket of a Store.
var (
	recordsBucket = []byte("operations") // id → record
	keysBucket    = []byte("keys")       // Submission.Key → id
	orderBucket   = []byte("order")      // record.Number, 8 bytes, the highest first → id
	inputsBucket  = []byte("inputs")     // id → Operation.Input
)

// CorruptError is returned for an operation whose record cannot be read.
type CorruptError struct {
	ID  string // of the operation
	Err error
}

// Error returns the id and the cause.
func (e *CorruptError) Error() string {
	return fmt.Sprintf("record of operation %q is corrupt: %v", e.ID, e.Err)
}

// Unwrap returns the cause.
func (e *CorruptError) Unwrap() error { return e.Err }

// Store is an operations.Repository in a bucket of a bbolt database, and an
// operations.Watcher. It is safe for concurrent use.
//
// Its errors are those that operations.Repository names, ErrInvalidValue, the error of the
// context, a *CorruptError, or wrap an error of bbolt. If the database is closed, they wrap
// operations.ErrUnavailable. A context that ends during a transaction does not stop it.
type Store[T any] struct {
	db      *bbolt.DB
	name    []byte
	watched watch.Set
}

// record is what is stored of an operation, except its Input. Key and Fingerprint need not be
// UTF-8, which a string in JSON is.
type record[T any] struct {
	Number      uint64                  `json:"number"` // counts in the order of creation
	Key         []byte                  `json:"key,omitempty"`
	Fingerprint []byte                  `json:"fingerprint,omitempty"`
	Operation   operations.Operation[T] `json:"operation"`
}

// New returns a Store in the bucket with this name, which it creates if there is none. It
// leaves other buckets of db alone and does not close db.
func New[T any](db *bbolt.DB, bucket string) (*Store[T], error) {
	if db == nil {
		return nil, errors.New("boltstore: no database")
	}
	s := &Store[T]{db: db, name: []byte(bucket)}
	err := db.Update(func(tx *bbolt.Tx) error {
		top, err := tx.CreateBucketIfNotExists(s.name)
		for _, name := range [][]byte{recordsBucket, keysBucket, orderBucket, inputsBucket} {
			if err == nil {
				_, err = top.CreateBucketIfNotExists(name)
			}
		}
		return err
	})
	if err != nil {
		return nil, wrap(err)
	}
	return s, nil
}

// tables are the buckets of a Store in a transaction.
type tables[T any] struct {
	records, keys, order, inputs *bbolt.Bucket
}

// read calls f in a read-only transaction.
func (s *Store[T]) read(ctx context.Context, f func(tables[T]) error) error {
	return s.run(ctx, s.db.View, f)
}

// write calls f in a transaction that it may share with other calls of write. An error of f
// undoes what f has done. f may be called twice.
func (s *Store[T]) write(ctx context.Context, f func(tables[T]) error) error {
	return s.run(ctx, s.db.Batch, f)
}

func (s *Store[T]) run(ctx context.Context, transact func(func(*bbolt.Tx) error) error, f func(tables[T]) error) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	err := transact(func(tx *bbolt.Tx) error {
		top := tx.Bucket(s.name)
		if top == nil {
			return bolterrors.ErrBucketNotFound
		}
		t := tables[T]{
			top.Bucket(recordsBucket), top.Bucket(keysBucket), top.Bucket(orderBucket), top.Bucket(inputsBucket),
		}
		if t.records == nil || t.keys == nil || t.order == nil || t.inputs == nil {
			return bolterrors.ErrBucketNotFound
		}
		return f(t)
	})
	return wrap(err)
}

// wrap returns err with the name of the package.
func wrap(err error) error {
	switch {
	case err == nil:
		return nil
	case errors.Is(err, bolterrors.ErrDatabaseNotOpen):
		return fmt.Errorf("boltstore: %w: %w", operations.ErrUnavailable, err)
	}
	return fmt.Errorf("boltstore: %w", err)
}

// get returns the record of an operation, ErrNotFound or a *CorruptError.
func (t tables[T]) get(id []byte) (record[T], error) {
	data := t.records.Get(id)
	if data == nil {
		return record[T]{}, operations.ErrNotFound
	}
	var r record[T]
	err := json.Unmarshal(data, &r)
	if err == nil && r.Operation.ID != string(id) {
		err = errors.New("it has another id")
	}
	if err != nil {
		return record[T]{}, &CorruptError{ID: string(id), Err: err}
	}
	r.Operation.Input = append([]byte(nil), t.inputs.Get(id)...) // valid in the transaction only
	return r, nil
}

// indexed returns the record that an entry of another bucket names.
func (t tables[T]) indexed(id []byte) (record[T], error) {
	r, err := t.get(id)
	if errors.Is(err, operations.ErrNotFound) {
		err = &CorruptError{ID: string(id), Err: errors.New("it is missing")}
	}
	return r, err
}

// put stores r under the id of its operation. It refuses what get could not read.
func (t tables[T]) put(r record[T]) error {
	data, err := json.Marshal(r)
	if err == nil {
		err = json.Unmarshal(data, new(record[T]))
	}
	if err != nil {
		return fmt.Errorf("%w: %w", operations.ErrInvalidValue, err)
	}
	id, input := []byte(r.Operation.ID), r.Operation.Input
	if !bytes.Equal(input, t.inputs.Get(id)) {
		err = t.inputs.Put(id, input)
	}
	return cmp.Or(err, t.records.Put(id, data))
}

// add stores r, which is new, with its key and its place in the order.
func (t tables[T]) add(r record[T]) error {
	var err error
	if r.Number, err = t.order.NextSequence(); err != nil {
		return err
	}
	id := []byte(r.Operation.ID)
	if len(r.Key) > 0 {
		err = t.keys.Put(r.Key, id)
	}
	return cmp.Or(err, t.order.Put(orderKey(r.Number), id), t.put(r))
}

// remove removes what add has stored.
func (t tables[T]) remove(r record[T]) error {
	var err error
	if len(r.Key) > 0 {
		err = t.keys.Delete(r.Key)
	}
	id := []byte(r.Operation.ID)
	return cmp.Or(err, t.order.Delete(orderKey(r.Number)), t.inputs.Delete(id), t.records.Delete(id))
}

// orderKey returns a key that sorts as number does.
func orderKey(number uint64) []byte { return binary.BigEndian.AppendUint64(nil, number) }

// GetOperation returns the operation with this id and whether there is one.
func (s *Store[T]) GetOperation(ctx context.Context, id string) (operations.Operation[T], bool, error) {
	var r record[T]
	err := s.read(ctx, func(t tables[T]) (err error) {
		r, err = t.get([]byte(id))
		return err
	})
	if errors.Is(err, operations.ErrNotFound) {
		return operations.Operation[T]{}, false, nil
	}
	return r.Operation, err == nil, err
}

// CreateOperation stores op as operations.Repository describes.
func (s *Store[T]) CreateOperation(
	ctx context.Context, op operations.Operation[T], key operations.Submission,
) (stored operations.Operation[T], created bool, err error) {
	op.State = cmp.Or(op.State, operations.StatePending)
	if err := operations.CheckID(op.ID); err != nil {
		return operations.Operation[T]{}, false, err
	}
	if !op.State.Valid() {
		return operations.Operation[T]{}, false, operations.ErrInvalidState
	}
	err = s.write(ctx, func(t tables[T]) error {
		stored, created = operations.Operation[T]{}, false
		if id := t.keys.Get([]byte(key.Key)); id != nil { // never for an empty key
			r, err := t.indexed(id)
			switch {
			case err != nil:
				return err
			case string(r.Fingerprint) != key.Fingerprint:
				return operations.ErrKeyReused
			}
			stored = r.Operation
			return nil
		}
		if t.records.Get([]byte(op.ID)) != nil {
			return operations.ErrExists
		}
		stored, created = op, true
		stored.Version, stored.CreatedAt = 1, now()
		stored.UpdatedAt = stored.CreatedAt
		return t.add(record[T]{Key: []byte(key.Key), Fingerprint: []byte(key.Fingerprint), Operation: stored})
	})
	if err != nil {
		return operations.Operation[T]{}, false, err
	}
	if created {
		s.watched.Notify(op.ID)
	}
	return stored, created, nil
}

// UpdateOperation replaces an operation as operations.Repository describes.
func (s *Store[T]) UpdateOperation(ctx context.Context, op operations.Operation[T]) (operations.Operation[T], error) {
	op.State = cmp.Or(op.State, operations.StatePending)
	if !op.State.Valid() {
		return operations.Operation[T]{}, operations.ErrInvalidState
	}
	var stored operations.Operation[T]
	err := s.write(ctx, func(t tables[T]) error {
		r, err := t.get([]byte(op.ID))
		switch {
		case err != nil:
			return err
		case r.Operation.Version != op.Version:
			return operations.ErrConflict
		}
		stored = op
		stored.Version++
		stored.CreatedAt, stored.UpdatedAt = r.Operation.CreatedAt, now()
		r.Operation = stored
		return t.put(r)
	})
	if err != nil {
		return operations.Operation[T]{}, err
	}
	s.watched.Notify(op.ID)
	return stored, nil
}

// now returns the time as it is after it was encoded and decoded.
func now() time.Time { return time.Now().UTC() }

// WatchOperation returns a channel that is closed when the operation changes, as
// operations.Watcher describes.
func (s *Store[T]) WatchOperation(id string) (changed <-chan struct{}, stop func()) {
	return s.watched.Watch(id)
}

// Operations returns the operations in the order of their creation. It yields a
// *CorruptError in the place of an operation that cannot be read, and continues. Any other
// error is the last. No transaction is open while the loop body runs, so that it may use the
// store. Operations that are created meanwhile may be among those returned.
func (s *Store[T]) Operations(ctx context.Context) iter.Seq2[operations.Operation[T], error] {
	return func(yield func(operations.Operation[T], error) bool) {
		for from := orderKey(0); from != nil; {
			var page []entry[T]
			var err error
			page, from, err = s.page(ctx, from)
			if err != nil {
				yield(operations.Operation[T]{}, err)
				return
			}
			for _, e := range page {
				if !yield(e.record.Operation, e.err) {
					return
				}
			}
		}
	}
}

// entry is a record, or the error in its place.
type entry[T any] struct {
	record record[T]
	err    error
}

// page returns the first operations in the order from the key on, and the key at which the
// next page begins, which is nil after the last page.
func (s *Store[T]) page(ctx context.Context, from []byte) (page []entry[T], next []byte, err error) {
	err = s.read(ctx, func(t tables[T]) error {
		cursor := t.order.Cursor()
		key, id := cursor.Seek(from)
		for input := 0; key != nil && len(page) < pageSize && input < pageInput; key, id = cursor.Next() {
			r, err := t.indexed(id)
			page = append(page, entry[T]{r, wrap(err)})
			input += len(r.Operation.Input)
		}
		next = bytes.Clone(key) // key is valid in the transaction only
		return nil
	})
	return page, next, err
}

// Prune removes the operations that have expired at the given time, and their keys. It
// returns how many it has removed, also with an error. It leaves records alone that cannot be
// read; see [Store.Operations].
func (s *Store[T]) Prune(ctx context.Context, at time.Time) (int, error) {
	removed := 0
	for from := orderKey(0); from != nil; {
		page, next, err := s.page(ctx, from)
		if err != nil {
			return removed, err
		}
		var ids []string
		for _, e := range page {
			if expired(e.record.Operation, at) {
				ids = append(ids, e.record.Operation.ID)
			}
		}
		ids, err = s.removeExpired(ctx, ids, at)
		for _, id := range ids {
			s.watched.Notify(id)
		}
		removed += len(ids)
		if err != nil {
			return removed, err
		}
		from = next
	}
	return removed, nil
}

// removeExpired removes the operations that are still expired, and returns their ids.
func (s *Store[T]) removeExpired(ctx context.Context, ids []string, at time.Time) (removed []string, err error) {
	if len(ids) == 0 {
		return nil, nil
	}
	err = s.write(ctx, func(t tables[T]) error {
		removed = nil
		for _, id := range ids {
			r, err := t.get([]byte(id))
			if err != nil || !expired(r.Operation, at) {
				continue // it was changed since it was read
			}
			if err := t.remove(r); err != nil {
				return err
			}
			removed = append(removed, id)
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	return removed, nil
}

// expired reports whether op has expired at the given time.
func expired[T any](op operations.Operation[T], at time.Time) bool {
	return !op.ExpiresAt.IsZero() && !at.Before(op.ExpiresAt)
}
