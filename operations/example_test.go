package operations_test

import (
	"context"
	"errors"
	"fmt"
	"log"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"time"

	"github.com/a0b132ce/retryablehttp/operations"
	"github.com/a0b132ce/retryablehttp/problem"
)

// Count is the result of a job.
type Count struct {
	Words int `json:"words"`
}

// worker counts words until the queue is closed.
func worker(store *operations.MemoryStore[Count], queue <-chan string) {
	for id := range queue {
		if err := count(store, id); err != nil && !errors.Is(err, operations.ErrInvalidTransition) {
			log.Print(err) // a store on disk can fail: then try again later
		}
	}
}

// count counts the words of an operation. The error is ErrInvalidTransition if it has ended,
// for example because it was canceled.
func count(store *operations.MemoryStore[Count], id string) error {
	ctx := context.Background()
	op, err := operations.Update(ctx, store, id, operations.Change[Count]{State: operations.StateRunning})
	if err != nil {
		return err
	}
	change := operations.Change[Count]{ExpiresAt: time.Now().Add(time.Hour)}
	if words := len(strings.Fields(string(op.Input))); words > 0 {
		change.State, change.Result = operations.StateSucceeded, &Count{words}
	} else {
		p := problem.New(http.StatusUnprocessableEntity, "the text is empty")
		change.State, change.Problem = operations.StateFailed, &p
	}
	_, err = operations.Update(ctx, store, id, change)
	return err
}

// A server that counts the words of a text in the background, and a client that submits one
// and polls. The store is in memory.
func Example() {
	store := new(operations.MemoryStore[Count])
	queue := make(chan string, 10)

	mux := http.NewServeMux()
	mux.Handle("/counts", operations.SubmitHandler(operations.SubmitConfig[Count]{
		Repository: store,
		Location:   func(id string) string { return "/counts/" + id },
		NewID:      func() string { return "op1" }, // for this example only
		Begin: func(r *http.Request, op operations.Operation[Count]) error {
			queue <- op.ID
			return nil
		},
	}))
	mux.Handle("/counts/{id}", operations.PollHandler(operations.PollConfig[Count]{
		Store:       store,
		OperationID: func(r *http.Request) string { return r.PathValue("id") },
		MaxWait:     10 * time.Second,
	}))

	submit := func() *httptest.ResponseRecorder {
		r := httptest.NewRequest("POST", "/counts", strings.NewReader("one two three"))
		r.Header.Set("Idempotency-Key", "7f0c")
		w := httptest.NewRecorder()
		mux.ServeHTTP(w, r)
		return w
	}
	w := submit()
	fmt.Print(w.Code, " ", w.Body)

	done := make(chan struct{})
	go func() { defer close(done); worker(store, queue) }()
	close(queue)
	<-done

	// The client has not seen the response and submits again.
	w = submit()
	fmt.Print(w.Code, " ", w.Body)

	location := w.Header().Get("Location")
	w = httptest.NewRecorder()
	mux.ServeHTTP(w, httptest.NewRequest("GET", location, nil))
	fmt.Println(w.Code, strings.Split(w.Body.String(), `,"createdAt"`)[0])
	// Output:
	// 202 {"id":"op1","state":"pending","location":"/counts/op1"}
	// 202 {"id":"op1","state":"succeeded","location":"/counts/op1"}
	// 200 {"id":"op1","state":"succeeded","result":{"words":3}
}

// A server whose queue is full refuses a submission before SubmitHandler stores it. So the
// client can submit it again later, with the same key. Many requests may come at once.
func ExampleSubmitHandler() {
	queue := make(chan string, 1)
	var busy atomic.Int64 // requests being served, and operations that have begun and not ended
	submit := operations.SubmitHandler(operations.SubmitConfig[Count]{
		Repository: new(operations.MemoryStore[Count]),
		Begin: func(r *http.Request, op operations.Operation[Count]) error {
			busy.Add(1)
			queue <- op.ID // there is a place
			return nil
		},
	})
	handler := func(w http.ResponseWriter, r *http.Request) {
		defer busy.Add(-1)
		if busy.Add(1) > int64(cap(queue)) {
			w.Header().Set("Retry-After", "5")
			problem.Write(w, http.StatusServiceUnavailable, problem.New(http.StatusServiceUnavailable, "the queue is full"))
			return
		}
		submit.ServeHTTP(w, r)
	}
	post := func(key string) {
		r := httptest.NewRequest("POST", "/counts", strings.NewReader("one two three"))
		r.Header.Set("Idempotency-Key", key)
		w := httptest.NewRecorder()
		handler(w, r)
		fmt.Println(key, w.Code)
	}
	post("first")
	post("second")
	<-queue // a worker takes the first
	busy.Add(-1)
	post("second")
	// Output:
	// first 202
	// second 503
	// second 202
}

// Any function that finds an operation can be polled.
func ExamplePollHandler() {
	find := func(_ context.Context, id string) (operations.Operation[Count], bool, error) {
		op := operations.Operation[Count]{State: operations.StateRunning, Progress: 40}
		return op, id == "op1", nil
	}
	h := operations.PollHandler(operations.PollConfig[Count]{
		Store:     operations.StoreFunc[Count](find),
		PollAfter: func(operations.Operation[Count]) time.Duration { return 2 * time.Second },
	})
	for _, id := range []string{"op1", "op2"} {
		w := httptest.NewRecorder()
		h.ServeHTTP(w, httptest.NewRequest("GET", "/operations?id="+id, nil))
		fmt.Printf("%d %q %s", w.Code, w.Header().Get("Retry-After"), w.Body)
	}
	// Output:
	// 200 "2" {"id":"op1","state":"running","progress":40}
	// 404 "" {"detail":"there is no such operation","status":404,"title":"Not Found","type":"https://api-toolkit.dev/problems/not-found"}
}

// A handler that stores operations in its own way responds with WriteAccepted.
func ExampleWriteAccepted() {
	w := httptest.NewRecorder()
	operations.WriteAccepted(w, operations.AcceptedConfig{
		ID: "op1", Location: "/operations/op1", RetryAfter: 1500 * time.Millisecond,
	})
	fmt.Print(w.Code, " ", w.Header().Get("Retry-After"), " ", w.Body)
	// Output: 202 2 {"id":"op1","state":"pending","location":"/operations/op1"}
}

// Of two workers that end the same operation, one is refused.
func ExampleUpdate() {
	ctx := context.Background()
	store := new(operations.MemoryStore[Count])
	_, _, err := store.CreateOperation(ctx, operations.Operation[Count]{ID: "op1"}, operations.Submission{})
	if err != nil {
		log.Panic(err)
	}
	done := operations.Change[Count]{State: operations.StateSucceeded, Result: &Count{3}}
	_, err = operations.Update(ctx, store, "op1", done)
	fmt.Println("first:", err)
	_, err = operations.Update(ctx, store, "op1", done)
	fmt.Println("again:", err)
	_, err = operations.Update(ctx, store, "op1", operations.Change[Count]{State: operations.StateCanceled})
	fmt.Println("other:", err)
	// Output:
	// first: <nil>
	// again: <nil>
	// other: operations: invalid transition from succeeded to canceled
}
