package main

import (
	"context"
	"encoding/json"
	"fmt"
	"net"
	"net/http"
	"time"

	"go.etcd.io/bbolt"

	"github.com/a0b132ce/retryablehttp/operations"
	"github.com/a0b132ce/retryablehttp/operations/boltstore"
	"github.com/a0b132ce/retryablehttp/problem"
)

// Request is the input of a job.
type Request struct {
	Title string `json:"title"`
}

// Report is the result of a job.
type Report struct {
	Title string `json:"title"`
	Pages int    `json:"pages"`
}

// serve accepts jobs at POST /reports and shows them at /reports/{id}.
func serve(database, address string) {
	db := must(bbolt.Open(database, 0o600, &bbolt.Options{Timeout: 5 * time.Second}))
	store := must(boltstore.New[Report](db, "reports"))
	queue := make(chan string, 100)
	go work(store, queue)

	// What the last run of the server has not ended is begun again.
	for op, err := range store.Operations(context.Background()) {
		if check(err); !op.State.Terminal() {
			fmt.Println("goes on with a job of the last run")
			queue <- op.ID
		}
	}

	mux := http.NewServeMux()
	mux.Handle("/reports", operations.SubmitHandler(operations.SubmitConfig[Report]{
		Repository: store,
		Location:   func(id string) string { return "/reports/" + id },
		Begin: func(_ *http.Request, op operations.Operation[Report]) error {
			if err := json.Unmarshal(op.Input, new(Request)); err != nil {
				return problem.New(http.StatusBadRequest, "the request cannot be understood")
			}
			fmt.Println("accepts a job")
			queue <- op.ID
			return nil
		},
	}))
	mux.Handle("/reports/{id}", operations.PollHandler(operations.PollConfig[Report]{
		Store:       store,
		OperationID: func(r *http.Request) string { return r.PathValue("id") },
	}))
	listener := must(net.Listen("tcp", address))
	fmt.Println("ready")
	check(http.Serve(listener, mux))
}

// work does the jobs of the queue. A job may be begun twice, so it must do no harm to repeat
// a part of it. The input was stored with it.
func work(store *boltstore.Store[Report], queue <-chan string) {
	ctx := context.Background()
	for id := range queue {
		op := must(operations.Update(ctx, store, id, operations.Change[Report]{State: operations.StateRunning}))
		var request Request
		check(json.Unmarshal(op.Input, &request))
		for percent := 0; percent < 100; percent += 10 {
			time.Sleep(50 * time.Millisecond)
			must(operations.SetProgress(ctx, store, id, percent))
			if percent == 50 {
				fmt.Println("half of it is done")
			}
		}
		must(operations.Update(ctx, store, id, operations.Change[Report]{
			State:     operations.StateSucceeded,
			Result:    &Report{Title: request.Title, Pages: 7},
			ExpiresAt: time.Now().Add(24 * time.Hour),
		}))
	}
}
