package operations

import (
	"cmp"
	"context"
	"iter"
	"slices"
	"sync"
	"time"

	"github.com/a0b132ce/retryablehttp/operations/internal/watch"
)

// MemoryStore is a [Repository] that keeps operations in memory, and a [Watcher]. Its
// content is lost when the program ends. The zero MemoryStore is empty and ready for use. It
// is safe for concurrent use and must not be copied.
//
// Operations are copied when they are stored and returned, but not what Result and Problem
// point to. It grows until [MemoryStore.Prune] is called.
type MemoryStore[T any] struct {
	mu      sync.Mutex
	records map[string]*memoryRecord[T] // by the id of the operation
	keys    map[string]*memoryRecord[T] // by Submission.Key
	created uint64                      // how many were created
	watched watch.Set
}

// memoryRecord is an operation with what it was created with. MemoryStore.mu guards it.
type memoryRecord[T any] struct {
	op         Operation[T]
	submission Submission
	number     uint64 // counts in the order of creation
}

// GetOperation returns the operation with this id and whether there is one. It returns
// the error of ctx.
func (s *MemoryStore[T]) GetOperation(ctx context.Context, id string) (Operation[T], bool, error) {
	if err := ctx.Err(); err != nil {
		return Operation[T]{}, false, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	record := s.records[id]
	if record == nil {
		return Operation[T]{}, false, nil
	}
	return record.op, true, nil
}

// CreateOperation stores op as [Repository] describes.
func (s *MemoryStore[T]) CreateOperation(ctx context.Context, op Operation[T], key Submission) (Operation[T], bool, error) {
	op.State = op.State.orPending()
	if err := cmp.Or(ctx.Err(), CheckID(op.ID)); err != nil {
		return Operation[T]{}, false, err
	}
	if !op.State.Valid() {
		return Operation[T]{}, false, ErrInvalidState
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if record := s.keys[key.Key]; record != nil { // never for an empty key
		if record.submission != key {
			return Operation[T]{}, false, ErrKeyReused
		}
		return record.op, false, nil
	}
	if s.records[op.ID] != nil {
		return Operation[T]{}, false, ErrExists
	}
	if s.records == nil {
		s.records = make(map[string]*memoryRecord[T])
		s.keys = make(map[string]*memoryRecord[T])
	}
	op.Version, op.CreatedAt = 1, time.Now().UTC()
	op.UpdatedAt = op.CreatedAt
	s.created++
	record := &memoryRecord[T]{op: op, submission: key, number: s.created}
	s.records[op.ID] = record
	if key.Key != "" {
		s.keys[key.Key] = record
	}
	s.watched.Notify(op.ID)
	return op, true, nil
}

// UpdateOperation replaces an operation as [Repository] describes.
func (s *MemoryStore[T]) UpdateOperation(ctx context.Context, op Operation[T]) (Operation[T], error) {
	op.State = op.State.orPending()
	if err := ctx.Err(); err != nil {
		return Operation[T]{}, err
	}
	if !op.State.Valid() {
		return Operation[T]{}, ErrInvalidState
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	record := s.records[op.ID]
	switch {
	case record == nil:
		return Operation[T]{}, ErrNotFound
	case record.op.Version != op.Version:
		return Operation[T]{}, ErrConflict
	}
	op.Version++
	op.CreatedAt, op.UpdatedAt = record.op.CreatedAt, time.Now().UTC()
	record.op = op
	s.watched.Notify(op.ID)
	return op, nil
}

// WatchOperation returns a channel that is closed when the operation changes, as [Watcher]
// describes.
func (s *MemoryStore[T]) WatchOperation(id string) (changed <-chan struct{}, stop func()) {
	return s.watched.Watch(id)
}

// Operations returns the operations in the order of their creation, as they are when the
// iteration begins. It yields the error of ctx and stops when ctx ends.
func (s *MemoryStore[T]) Operations(ctx context.Context) iter.Seq2[Operation[T], error] {
	return func(yield func(Operation[T], error) bool) {
		for _, record := range s.inOrder() {
			if err := ctx.Err(); err != nil {
				yield(Operation[T]{}, err)
				return
			}
			if !yield(record.op, nil) {
				return
			}
		}
	}
}

// inOrder returns copies of all records in the order of their creation.
func (s *MemoryStore[T]) inOrder() []memoryRecord[T] {
	s.mu.Lock()
	defer s.mu.Unlock()
	records := make([]memoryRecord[T], 0, len(s.records))
	for _, record := range s.records {
		records = append(records, *record)
	}
	slices.SortFunc(records, func(a, b memoryRecord[T]) int { return cmp.Compare(a.number, b.number) })
	return records
}

// Prune removes the operations that have expired at the given time, and their keys. It
// returns how many it has removed. It returns the error of ctx.
func (s *MemoryStore[T]) Prune(ctx context.Context, at time.Time) (int, error) {
	if err := ctx.Err(); err != nil {
		return 0, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	removed := 0
	for id, record := range s.records {
		if !record.op.expired(at) {
			continue
		}
		delete(s.records, id)
		delete(s.keys, record.submission.Key)
		s.watched.Notify(id)
		removed++
	}
	return removed, nil
}
