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
// Operations are copied when they are stored and returned, but not Input and what Result and
// Problem point to. It grows until [MemoryStore.Prune] is called.
type MemoryStore[T any] struct {
	mu      sync.Mutex
	records map[string]*memoryRecord[T] // by the id of the operation
	keys    map[string]*memoryRecord[T] // by Submission.Key
	order   []*memoryRecord[T]          // in the order of creation
	watched watch.Set
}

// memoryRecord is an operation with what it was created with. MemoryStore.mu guards it.
type memoryRecord[T any] struct {
	op         Operation[T]
	submission Submission
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
	record := &memoryRecord[T]{op, key}
	s.records[op.ID] = record
	s.order = append(s.order, record)
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
		for _, op := range s.all() {
			if err := ctx.Err(); err != nil {
				yield(Operation[T]{}, err)
				return
			}
			if !yield(op, nil) {
				return
			}
		}
	}
}

func (s *MemoryStore[T]) all() []Operation[T] {
	s.mu.Lock()
	defer s.mu.Unlock()
	ops := make([]Operation[T], len(s.order))
	for i, record := range s.order {
		ops[i] = record.op
	}
	return ops
}

// Prune removes the operations that have expired at the given time, and their keys. It
// returns how many it has removed. It returns the error of ctx.
func (s *MemoryStore[T]) Prune(ctx context.Context, at time.Time) (int, error) {
	if err := ctx.Err(); err != nil {
		return 0, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	before := len(s.order)
	s.order = slices.DeleteFunc(s.order, func(record *memoryRecord[T]) bool {
		expired := record.op.expired(at)
		if expired {
			delete(s.records, record.op.ID)
			delete(s.keys, record.submission.Key)
			s.watched.Notify(record.op.ID)
		}
		return expired
	})
	return before - len(s.order), nil
}
