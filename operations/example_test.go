package operations_test

import (
	"context"
	"fmt"
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"strings"
	"time"

	"github.com/a0b132ce/retryablehttp/operations"
	"github.com/a0b132ce/retryablehttp/problem"
)

// Count is the result of a job.
type Count struct {
	Words int `json:"words"`
}

// worker counts words until the queue is closed.
func worker(store *operations.MemoryStore[Count], queue <-chan job) {
	for j := range queue {
		ctx := context.Background()
		change := operations.Change[Count]{State: operations.StateRunning}
		if _, err := operations.Update(ctx, store, j.id, change); err != nil {
			log.Print(err) // ErrInvalidTransition: it was canceled
			continue
		}
		if words := len(strings.Fields(j.text)); words > 0 {
			change = operations.Change[Count]{State: operations.StateSucceeded, Result: &Count{words}}
		} else {
			p := problem.New(http.StatusUnprocessableEntity, "the text is empty")
			change = operations.Change[Count]{State: operations.StateFailed, Problem: &p}
		}
		change.ExpiresAt = time.Now().Add(time.Hour)
		if _, err := operations.Update(ctx, store, j.id, change); err != nil {
			log.Print(err)
		}
	}
}

type job struct{ id, text string }

// A server that counts the words of a text in the background, and a client that submits one
// and polls. The store is in memory.
func Example() {
	store := new(operations.MemoryStore[Count])
	queue := make(chan job, 10)

	mux := http.NewServeMux()
	mux.Handle("/counts", operations.SubmitHandler(operations.SubmitConfig[Count]{
		Repository: store,
		Location:   func(id string) string { return "/counts/" + id },
		NewID:      func() string { return "op1" }, // for this example only
		Begin: func(r *http.Request, op operations.Operation[Count]) error {
			text, err := io.ReadAll(r.Body)
			if err == nil {
				queue <- job{op.ID, string(text)}
			}
			return err
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
// client can submit it again later, with the same key.
func ExampleSubmitHandler() {
	queue := make(chan string, 1)
	submit := operations.SubmitHandler(operations.SubmitConfig[Count]{
		Repository: new(operations.MemoryStore[Count]),
		Begin: func(r *http.Request, op operations.Operation[Count]) error {
			queue <- op.ID // waits if other requests have filled the queue meanwhile
			return nil
		},
	})
	handler := func(w http.ResponseWriter, r *http.Request) {
		if len(queue) == cap(queue) {
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
	// other: operations: invalid transition
}
