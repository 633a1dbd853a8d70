// Package boltstore stores operations in a bbolt database, so that they survive the end of
// the program. A [Store] is an operations.Repository.
//
// # Usage
//
// With a clone of the repository in ../retryablehttp, a go.mod needs these lines, because Go
// ignores the replace lines of dependencies:
//
//	require (
//		github.com/a0b132ce/retryablehttp v0.1.0
//		github.com/a0b132ce/retryablehttp/operations/boltstore v0.1.0
//	)
//
//	replace (
//		github.com/a0b132ce/retryablehttp => ../retryablehttp
//		github.com/a0b132ce/retryablehttp/operations/boltstore => ../retryablehttp/operations/boltstore
//	)
//
// Then run go mod tidy. Open the database and the store:
//
//	db, err := bbolt.Open("jobs.db", 0o600, &bbolt.Options{Timeout: time.Second})
//	// …
//	defer db.Close()
//	db.MaxBatchDelay = time.Millisecond // see Durability
//	store, err := boltstore.New[Report](db, "reports")
//
// When the program starts, it begins again what the last run has not ended. Start the
// workers first, because the loop waits while the queue is full, and the server afterwards.
// The worker gets Operation.Input from operations.Update:
//
//	for op, err := range store.Operations(ctx) {
//		if err != nil {
//			log.Print(err) // continue with the others
//		} else if !op.State.Terminal() {
//			queue <- op.ID
//		}
//	}
//
// [Store.Prune] removes the operations that have expired. Call it from time to time.
//
// # Durability
//
// A method that changes something returns when the change is on the disk, as far as the
// file system and bbolt.DB.NoSync allow. An operation, its input and its key are written
// in one transaction.
//
// Changes of several goroutines share a transaction (bbolt.DB.Batch). Each change waits up
// to bbolt.DB.MaxBatchDelay for others, which is 10 ms unless the program sets it. 1 ms is
// a good value on a disk that syncs in about that time: 64 goroutines then created about ten
// times as many operations a second as without sharing (BenchmarkCreate).
//
// # Limits
//
// A bbolt database belongs to one process. Use one Store for a bucket.
//
// Operations are stored as JSON, and their inputs beside it as they are. So T must be the
// same after it was encoded and decoded: a result that is encoded as null is read as none,
// and a number in an interface value becomes a float64. T can be json.RawMessage. What could
// not be read again is not stored: the error wraps operations.ErrInvalidValue.
package boltstore
