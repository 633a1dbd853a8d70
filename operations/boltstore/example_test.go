package boltstore_test

import (
	"context"
	"fmt"
	"log"
	"os"
	"path/filepath"
	"time"

	"go.etcd.io/bbolt"

	"github.com/a0b132ce/retryablehttp/operations"
	"github.com/a0b132ce/retryablehttp/operations/boltstore"
)

// Report is the result of an operation.
type Report struct {
	Rows int `json:"rows"`
}

// runProgram is a program that adds an operation each time it runs, and begins those that
// its last run has left.
func runProgram(path, id string) error {
	ctx := context.Background()
	db, err := bbolt.Open(path, 0o600, &bbolt.Options{Timeout: time.Second})
	if err != nil {
		return err
	}
	defer db.Close()
	db.MaxBatchDelay = time.Millisecond
	store, err := boltstore.New[Report](db, "reports")
	if err != nil {
		return err
	}
	for op, err := range store.Operations(ctx) {
		if err != nil {
			return err
		}
		if !op.State.Terminal() {
			fmt.Printf("begin again: %s, input %q\n", op.ID, op.Input)
			done := operations.Change[Report]{
				State:     operations.StateSucceeded,
				Result:    &Report{Rows: 7},
				ExpiresAt: time.Now().Add(24 * time.Hour),
			}
			if _, err := operations.Update(ctx, store, op.ID, done); err != nil {
				return err
			}
		}
	}
	op := operations.Operation[Report]{ID: id, Input: []byte("title of " + id)}
	_, _, err = store.CreateOperation(ctx, op, operations.Submission{})
	return err
}

func Example() {
	dir, err := os.MkdirTemp("", "boltstore")
	if err != nil {
		log.Panic(err)
	}
	defer os.RemoveAll(dir)
	for _, id := range []string{"op1", "op2", "op3"} {
		fmt.Println("run")
		if err := runProgram(filepath.Join(dir, "jobs.db"), id); err != nil {
			log.Panic(err)
		}
	}
	// Output:
	// run
	// run
	// begin again: op1, input "title of op1"
	// run
	// begin again: op2, input "title of op2"
}
