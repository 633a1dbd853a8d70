// Package operations is the server side of asynchronous operations over HTTP: a request
// starts work that takes longer than a response may, and the client polls for its result.
//
// The package has the handlers, the rules for the state of an operation and a store in
// memory. Module operations/boltstore stores operations on disk. Queues, workers and their
// retries are the program's.
//
// # Submit
//
// [SubmitHandler] creates an operation for each POST and responds with 202 and the URL of
// the operation. The body of the request is stored with the operation, as its Input. Begin
// hands the operation to a worker:
//
//	store := new(operations.MemoryStore[Report])
//	queue := make(chan string, 100)
//	var busy atomic.Int64
//	submit := operations.SubmitHandler(operations.SubmitConfig[Report]{
//		Repository: store,
//		Location:   func(id string) string { return "/reports/" + id },
//		RetryAfter: time.Second,
//		Begin: func(r *http.Request, op operations.Operation[Report]) error {
//			busy.Add(1)
//			queue <- op.ID
//			return nil
//		},
//	})
//
// An error of Begin does not refuse the request: the client gets 202 and the URL of an
// operation that has failed, and so does every retry with the same key. If the queue is
// full, respond with 503 before SubmitHandler is called, so that the client submits again.
// busy counts the requests that are being served and the operations that have begun and not
// ended. So Begin never waits, however many requests come at once:
//
//	mux.HandleFunc("POST /reports", func(w http.ResponseWriter, r *http.Request) {
//		defer busy.Add(-1)
//		if busy.Add(1) > int64(cap(queue)) {
//			w.Header().Set("Retry-After", "5")
//			problem.Write(w, 503, problem.New(503, "the queue is full"))
//			return
//		}
//		submit.ServeHTTP(w, r)
//	})
//
// A client that sends an Idempotency-Key can repeat the POST if it has not seen the
// response: it gets the same operation, and the work begins once. A program that creates
// operations in another way responds with [WriteAccepted].
//
// # Work
//
// A worker changes its operation with [Update] and [SetProgress]:
//
//	func work(id string) error {
//		op, err := operations.Update(ctx, store, id, operations.Change[Report]{State: operations.StateRunning})
//		if err != nil {
//			return err
//		}
//		// … make a report from op.Input …
//		_, err = operations.Update(ctx, store, id, operations.Change[Report]{
//			State:     operations.StateSucceeded,
//			Result:    &report,
//			ExpiresAt: time.Now().Add(24 * time.Hour),
//		})
//		return err
//	}
//
// ErrInvalidTransition means that the operation has ended, for example because it was
// canceled, and ErrNotFound that it was removed: skip it. After another error of the store
// the operation is as it was: try again later.
//
//	for id := range queue {
//		err := work(id)
//		if err == nil || errors.Is(err, operations.ErrInvalidTransition) || errors.Is(err, operations.ErrNotFound) {
//			busy.Add(-1)
//			continue
//		}
//		log.Print(err)
//		time.AfterFunc(time.Minute, func() { queue <- id }) // it is still counted in busy
//	}
//
// ErrInvalidValue means that the result cannot be written as JSON. Let the operation fail
// then, because the next attempt would give the same result.
//
// An operation is pending or running until it has succeeded, failed or was canceled. Then
// its state does not change any more, and Update refuses another end with
// [ErrInvalidTransition]. So of two workers with the same operation one wins, and a worker
// learns that a client has canceled its operation. StateRunning does not lock an operation:
// Update returns no error if the operation is running already.
//
// # Poll
//
// [PollHandler] responds with the operation:
//
//	mux.Handle("/reports/{id}", operations.PollHandler(operations.PollConfig[Report]{
//		Store:       store,
//		OperationID: func(r *http.Request) string { return r.PathValue("id") },
//		PollAfter:   func(operations.Operation[Report]) time.Duration { return 2 * time.Second },
//		MaxWait:     20 * time.Second,
//		Authorize:   mayRead,
//		Cancel: func(ctx context.Context, id string) error {
//			_, err := operations.Update(ctx, store, id, operations.Change[Report]{
//				State:     operations.StateCanceled,
//				ExpiresAt: time.Now().Add(24 * time.Hour),
//			})
//			return err
//		},
//	}))
//
// Without OperationID the id is the query parameter "id", as in /reports?id=7f….
//
// The status is 200 as long as the operation can be shown, even if it has failed:
//
//	{"id":"7f…","state":"failed","problem":{"code":"DISK","status":507,"title":"…"},"version":3}
//
// An ETag saves the body of a poll that brings nothing new. With PollConfig.MaxWait a client
// can wait for a change within its request: it sends "Prefer: wait=20", and in If-None-Match
// the ETag that it has. Without If-None-Match it waits for the next change after its
// request, and does not learn of one before. Each change ends the wait, so a worker that sets
// the progress often makes its clients poll often. Package lro does not send Prefer.
//
// PollHandler works with any [Store]; a [StoreFunc] is one. Whoever can guess an id can poll
// it unless PollConfig.Authorize is set. The ids of SubmitHandler cannot be guessed.
//
// # After a restart
//
// An operation that was pending or running when the program ended stays so. A program with a
// store on disk must begin such operations again when it starts. Store.Operations of
// boltstore lists them:
//
//	// … start the workers, so that the queue does not stay full …
//	for op, err := range store.Operations(ctx) {
//		if err != nil {
//			log.Print(err) // continue with the others
//		} else if !op.State.Terminal() {
//			busy.Add(1)
//			queue <- op.ID
//		}
//	}
//	// … start the server, so that Begin does not queue them too …
//
// The worker above does the work again from its beginning, also if the operation was
// running: Update returns the operation with its Input. So the work must do no harm if it is
// done twice, in part. A program with a MemoryStore has forgotten its operations, and clients
// get 404.
//
// # Shutdown
//
// http.Server.Shutdown waits for the clients that wait for a change. End the contexts of
// their requests when it is called. Shut the server down first, then end the workers, and
// close the store last:
//
//	requests, endRequests := context.WithCancel(context.Background())
//	server.BaseContext = func(net.Listener) context.Context { return requests }
//	server.RegisterOnShutdown(endRequests)
//	// … start the workers and the server …
//	for ctx.Err() == nil { // until the program is told to end
//		select {
//		case <-time.After(time.Hour):
//			_, err := store.Prune(ctx, time.Now()) // see Removal
//			// …
//		case <-ctx.Done():
//		}
//	}
//	err := server.Shutdown(limit)
//	// … end the workers: what they have not done is begun again after the restart …
//	db.Close()
//
// These clients then get 503 with Retry-After. So do those that submit, unless their
// operation was stored already. The contexts of all other requests of the server end too.
//
// # Removal
//
// Set Change.ExpiresAt when an operation ends, and call Prune of the store from time to
// time, as above. From ExpiresAt on clients get 410 Gone, and after Prune 404. The
// Idempotency-Key is known until then. Let ExpiresAt be later than the last retry of a
// client. Repeat the Update that has ended an operation to give it another ExpiresAt. An
// operation without one is never removed.
//
// # What is not covered
//
// There is no response that lists operations. A store is one process's own: with several
// processes, implement [Repository] on a database that they share, and see that each
// operation has one worker.
package operations
