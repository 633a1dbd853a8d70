// Package boltstore stores operations in a bbolt database, so that they survive the end of
// the program. A [Store] is an operations.Repository.
//
// # Usage
//
//	db, err := bbolt.Open("jobs.db", 0o600, &bbolt.Options{Timeout: time.Second})
//	// …
//	defer db.Close()
//	db.MaxBatchDelay = time.Millisecond // see Durability
//	store, err := boltstore.New[Report](db, "reports")
//
// When the program starts, it begins again what the last run has not ended. Start the
// workers first, because the loop waits while the queue is full, and the server afterwards:
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
// file system and bbolt.DB.NoSync allow. An operation and its key are written in one
// transaction.
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
// Operations are stored as JSON. So T must be the same after it was encoded and decoded: a
// result that is encoded as null is read as none, and a number in an interface value becomes
// a float64. T can be json.RawMessage.
package boltstore
