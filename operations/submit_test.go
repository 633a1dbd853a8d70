package operations_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/iotest"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/a0b132ce/retryablehttp/operations"
	"github.com/a0b132ce/retryablehttp/problem"
)

type submitConfig = operations.SubmitConfig[report]

// begun records the calls of Begin.
type begun struct {
	mu     sync.Mutex
	ids    []string
	bodies []string
}

func (b *begun) begin(r *http.Request, op operation) error {
	body, err := io.ReadAll(r.Body)
	b.mu.Lock()
	defer b.mu.Unlock()
	b.ids = append(b.ids, op.ID)
	b.bodies = append(b.bodies, string(body))
	return err
}

// submit posts body with this Idempotency-Key, or none if it is "".
func submit(h http.Handler, key, body string) *httptest.ResponseRecorder {
	r := newRequest("POST", "/jobs?x=1", body, "Content-Type", "text/plain")
	if key != "" {
		r.Header.Set("Idempotency-Key", key)
	}
	return serve(h, r)
}

// all returns the operations of store.
func all(t *testing.T, store *memory) []operation {
	t.Helper()
	var ops []operation
	for op, err := range store.Operations(t.Context()) {
		require.NoError(t, err)
		ops = append(ops, op)
	}
	return ops
}

func TestSubmit(t *testing.T) {
	store, work := new(memory), new(begun)
	h := operations.SubmitHandler(submitConfig{Repository: store, Begin: work.begin, RetryAfter: 1500 * time.Millisecond,
		Location: func(id string) string { return "/jobs/" + id }})
	w := submit(h, "", "a job")
	ops := all(t, store)
	require.Len(t, ops, 1)
	id := ops[0].ID
	assert.Regexp(t, "^[0-9a-f]{32}$", id)
	assert.EqualValues(t, "pending", ops[0].State)
	assert.Equal(t, 202, w.Code)
	assert.Equal(t, http.Header{"Content-Type": {"application/json"}, "Cache-Control": {"no-store"},
		"Location": {"/jobs/" + id}, "Retry-After": {"2"}}, w.Header())
	assert.Equal(t, `{"id":"`+id+`","state":"pending","location":"/jobs/`+id+`"}`+"\n", w.Body.String())
	assert.Equal(t, []string{id}, work.ids)
	assert.Equal(t, []string{"a job"}, work.bodies)

	assert.NotEqual(t, id, accepted(t, submit(h, "", "a job")).ID, "without a key, each request is new work")
	assert.Len(t, work.ids, 2)
}

func TestSubmitWithOnlyARepository(t *testing.T) {
	store := new(memory)
	w := submit(operations.SubmitHandler(submitConfig{Repository: store}), "", "")
	assert.Equal(t, all(t, store)[0].ID, accepted(t, w).ID)
	assert.Equal(t, http.Header{"Content-Type": {"application/json"}, "Cache-Control": {"no-store"}}, w.Header())
}

func TestSubmitReplay(t *testing.T) {
	store, work := new(memory), new(begun)
	h := operations.SubmitHandler(submitConfig{Repository: store, Begin: work.begin, RetryAfter: time.Second,
		NewID: func() string { return fmt.Sprint("op", len(work.ids)+1) }, Location: func(id string) string { return "/jobs/" + id }})
	first := submit(h, "k", "a job")
	assert.NotContains(t, first.Header(), "Idempotency-Replayed")
	for _, state := range []operations.State{"pending", "running", "succeeded"} {
		if state != "pending" {
			mustUpdate(t, store, change{State: state})
		}
		again := submit(h, "k", "a job")
		assert.Equal(t, operations.Accepted{ID: "op1", State: state, Location: "/jobs/op1"}, accepted(t, again))
		assert.Equal(t, "true", again.Header().Get("Idempotency-Replayed"))
		assert.Equal(t, first.Header().Get("Location"), again.Header().Get("Location"))
		assert.Equal(t, !state.Terminal(), again.Header().Get("Retry-After") == "1")
		assert.Equal(t, "no-store", again.Header().Get("Cache-Control"))
	}
	assert.Equal(t, []string{"op1"}, work.ids, "it was begun once")
}

func TestSubmitSameKeyForAnotherRequest(t *testing.T) {
	store, work := new(memory), new(begun)
	h := operations.SubmitHandler(submitConfig{Repository: store, Begin: work.begin})
	send := func(target, contentType, body string) *httptest.ResponseRecorder {
		return serve(h, newRequest("POST", target, body, "Content-Type", contentType, "Idempotency-Key", "k"))
	}
	id := accepted(t, send("/jobs?x=1", "text/plain", "a job")).ID
	for _, test := range []struct{ name, target, contentType, body string }{
		{"another body", "/jobs?x=1", "text/plain", "a job "},
		{"another path", "/job?x=1", "text/plain", "a job"},
		{"another query", "/jobs?x=2", "text/plain", "a job"},
		{"another type", "/jobs?x=1", "text/html", "a job"},
		{"no type", "/jobs?x=1", "", "a job"},
		{"the same text in other parts", "/jobs?x=1", "text/plaina", " job"},
	} {
		t.Run(test.name, func(t *testing.T) {
			w := send(test.target, test.contentType, test.body)
			requireProblem(t, w, 422, "unprocessable-entity")
			assert.Equal(t, "no-store", w.Header().Get("Cache-Control"))
			assert.NotContains(t, w.Header(), "Idempotency-Replayed")
		})
	}
	assert.Equal(t, id, accepted(t, send("/jobs?x=1", "text/plain", "a job")).ID)
	assert.Equal(t, []string{id}, work.ids)
}

func TestSubmitScope(t *testing.T) {
	store := new(memory)
	h := operations.SubmitHandler(submitConfig{Repository: store, Scope: func(r *http.Request) string { return r.Header.Get("User") }})
	send := func(user, key string) string {
		return accepted(t, serve(h, newRequest("POST", "/", "x", "User", user, "Idempotency-Key", key))).ID
	}
	a := send("a", "bc")
	assert.Equal(t, a, send("a", "bc"))
	assert.NotEqual(t, a, send("", "bc"))
	assert.NotEqual(t, a, send("ab", "c"), "scope and key do not run into each other")
	assert.NotEqual(t, a, send("a\x00b", "c"))
}

func TestSubmitScopeCanReadTheBody(t *testing.T) {
	const body = "user=a&amount=1"
	store, work := new(memory), new(begun)
	h := operations.SubmitHandler(submitConfig{Repository: store, Begin: work.begin,
		Scope: func(r *http.Request) string {
			assert.EqualValues(t, len(body), r.ContentLength)
			return r.FormValue("user")
		}})
	send := func(body string) string {
		return accepted(t, serve(h, newRequest("POST", "/", body,
			"Content-Type", "application/x-www-form-urlencoded", "Idempotency-Key", "k"))).ID
	}
	a := send(body)
	assert.Equal(t, a, send(body))
	assert.NotEqual(t, a, send("user=b&amount=1"))
	assert.Equal(t, []string{body, "user=b&amount=1"}, work.bodies, "Begin reads it again")
}

// A handler behind http.StripPrefix sees the same URL for different resources.
func TestSubmitComparesThePathThatTheClientHasSent(t *testing.T) {
	h := operations.SubmitHandler(submitConfig{Repository: new(memory)})
	mux := http.NewServeMux()
	mux.Handle("/red/", http.StripPrefix("/red", h))
	mux.Handle("/blue/", http.StripPrefix("/blue", h))
	id := accepted(t, do(mux, "POST", "/red/x", "Idempotency-Key", "k")).ID
	assert.Equal(t, id, accepted(t, do(mux, "POST", "/red/x", "Idempotency-Key", "k")).ID)
	requireProblem(t, do(mux, "POST", "/blue/x", "Idempotency-Key", "k"), 422, "unprocessable-entity")

	for path, want := range map[string]int{"/red/x": 202, "/blue/x": 422} { // a request that no server has read
		r := newRequest("POST", path, "", "Idempotency-Key", "k")
		r.RequestURI = ""
		assert.Equal(t, want, serve(h, r).Code)
	}
}

// seenKeys records the submissions that reach a store.
type seenKeys struct {
	memory
	keys []operations.Submission
}

func (s *seenKeys) CreateOperation(ctx context.Context, op operation, key operations.Submission) (operation, bool, error) {
	s.keys = append(s.keys, key)
	return s.memory.CreateOperation(ctx, op, key)
}

func TestSubmitStoresDigestsOnly(t *testing.T) {
	store := &seenKeys{}
	h := operations.SubmitHandler(submitConfig{Repository: store, Scope: func(*http.Request) string { return "secret token" }})
	submit(h, "secret key", "secret body")
	submit(h, "", "secret body")
	require.Len(t, store.keys, 2)
	assert.Regexp(t, "^[0-9a-f]{64}$", store.keys[0].Key)
	assert.Regexp(t, "^[0-9a-f]{64}$", store.keys[0].Fingerprint)
	assert.Zero(t, store.keys[1])
}

func TestSubmitRefusesAKey(t *testing.T) {
	for _, test := range []struct {
		name    string
		lines   []string
		require bool
		status  int
	}{
		{"none", nil, false, 202},
		{"none, but required", nil, true, 400},
		{"required and given", []string{"k"}, true, 202},
		{"255 bytes", []string{strings.Repeat("k", 255)}, false, 202},
		{"256 bytes", []string{strings.Repeat("k", 256)}, false, 400},
		{"quotes", []string{`"k"`}, false, 202},
		{"not ASCII", []string{"schlüssel"}, false, 202},
		{"empty", []string{""}, false, 400},
		{"two", []string{"k", "k"}, false, 400},
		{"a line break", []string{"a\nb"}, false, 400},
		{"a NUL", []string{"a\x00"}, false, 400},
		{"a tab", []string{"a\tb"}, false, 400},
	} {
		t.Run(test.name, func(t *testing.T) {
			store := new(memory)
			h := operations.SubmitHandler(submitConfig{Repository: store, RequireKey: test.require})
			r := newRequest("POST", "/", "x")
			r.Header["Idempotency-Key"] = test.lines
			w := serve(h, r)
			if test.status == 202 {
				accepted(t, w)
				return
			}
			requireProblem(t, w, test.status, "bad-request")
			assert.Empty(t, all(t, store))
		})
	}
}

func TestSubmitKeysAreOpaque(t *testing.T) {
	h := operations.SubmitHandler(submitConfig{Repository: new(memory)})
	ids := map[string]bool{}
	for _, key := range []string{"k", "K", `"k"`, "k,k"} {
		ids[accepted(t, submit(h, key, "x")).ID] = true
	}
	assert.Len(t, ids, 4)
}

func TestSubmitMethods(t *testing.T) {
	store := new(memory)
	h := operations.SubmitHandler(submitConfig{Repository: store})
	for _, method := range []string{"GET", "HEAD", "PUT", "PATCH", "DELETE", "OPTIONS", "post"} {
		w := do(h, method, "/")
		requireProblem(t, w, 405, "method-not-allowed")
		assert.Equal(t, "POST", w.Header().Get("Allow"))
		assert.Equal(t, "no-store", w.Header().Get("Cache-Control"))
	}
	assert.Empty(t, all(t, store))
}

func TestSubmitBody(t *testing.T) {
	for _, test := range []struct {
		name   string
		limit  int64
		body   io.Reader // nil: Request.Body is nil
		status int
	}{
		{"no body", 0, nil, 202},
		{"1 MiB", 0, bytes.NewReader(make([]byte, 1<<20)), 202},
		{"1 MiB and a byte", 0, bytes.NewReader(make([]byte, 1<<20+1)), 413},
		{"a negative limit is the default", -1, bytes.NewReader(make([]byte, 1<<20+1)), 413},
		{"at an own limit", 3, strings.NewReader("abc"), 202},
		{"above an own limit", 3, strings.NewReader("abcd"), 413},
		{"the largest limit", math.MaxInt64, strings.NewReader("abcd"), 202},
		{"a body of unknown length", 0, io.MultiReader(strings.NewReader("abc")), 202},
		{"it is cut off", 0, io.MultiReader(strings.NewReader("abc"), iotest.ErrReader(io.ErrUnexpectedEOF)), 400},
	} {
		t.Run(test.name, func(t *testing.T) {
			store, work := new(memory), new(begun)
			h := operations.SubmitHandler(submitConfig{Repository: store, MaxBody: test.limit,
				Begin: func(r *http.Request, op operation) error {
					assert.NotNil(t, r.Body)
					err := work.begin(r, op)
					assert.Len(t, work.bodies[0], int(r.ContentLength))
					return err
				}})
			r := httptest.NewRequest("POST", "/", test.body)
			if test.body == nil {
				r.Body = nil
			}
			w := serve(h, r)
			if test.status == 202 {
				accepted(t, w)
				assert.Len(t, work.ids, 1)
				return
			}
			requireProblem(t, w, test.status, map[int]string{400: "bad-request", 413: "request-entity-too-large"}[test.status])
			assert.Empty(t, all(t, store))
			assert.Empty(t, work.ids)
		})
	}
}

// A client that sends "Expect: 100-continue" then does not send the body.
func TestSubmitDoesNotReadABodyWhoseDeclaredLengthIsTooLarge(t *testing.T) {
	for length, want := range map[int64]int{3: 202, 4: 413} {
		body := &countingReader{r: strings.NewReader("abcd"[:length])}
		r := httptest.NewRequest("POST", "/", body)
		r.ContentLength = length
		w := serve(operations.SubmitHandler(submitConfig{Repository: new(memory), MaxBody: 3}), r)
		assert.Equal(t, want, w.Code)
		assert.Equal(t, want == 202, body.reads > 0)
	}
}

// countingReader counts the calls of Read.
type countingReader struct {
	r     io.Reader
	reads int
}

func (c *countingReader) Read(p []byte) (int, error) {
	c.reads++
	return c.r.Read(p)
}

// brokenRepository fails to create or to change operations.
type brokenRepository struct {
	memory
	create, update error
}

func (b *brokenRepository) CreateOperation(ctx context.Context, op operation, key operations.Submission) (operation, bool, error) {
	if b.create != nil {
		return operation{}, true, b.create
	}
	return b.memory.CreateOperation(ctx, op, key)
}

func (b *brokenRepository) UpdateOperation(ctx context.Context, op operation) (operation, error) {
	if b.update != nil {
		return operation{}, b.update
	}
	return b.memory.UpdateOperation(ctx, op)
}

func TestSubmitRepositoryErrors(t *testing.T) {
	fail := func(*http.Request, operation) error { return errors.New("secret") }
	secret := errors.New("secret")
	for _, test := range []struct {
		name   string
		config submitConfig
		status int
	}{
		{"none", submitConfig{}, 500},
		{"an error", submitConfig{Repository: &brokenRepository{create: secret}}, 500},
		{"a deadline", submitConfig{Repository: &brokenRepository{create: fmt.Errorf("secret: %w", context.DeadlineExceeded)}}, 503},
		{"unavailable", submitConfig{Repository: &brokenRepository{create: errOutage}}, 503},
		{"an id that is in use", submitConfig{Repository: &brokenRepository{create: operations.ErrExists}}, 500},
		{"a bad id", submitConfig{Repository: new(memory), NewID: func() string { return "" }}, 500},
		{"a failure to begin cannot be stored", submitConfig{Repository: &brokenRepository{update: secret}, Begin: fail}, 500},
		{"a failure to begin cannot be stored now", submitConfig{Repository: &brokenRepository{update: errOutage}, Begin: fail}, 503},
	} {
		t.Run(test.name, func(t *testing.T) {
			began := 0
			if begin := test.config.Begin; begin == nil {
				test.config.Begin = func(*http.Request, operation) error { began++; return nil }
			}
			w := submit(operations.SubmitHandler(test.config), "k", "x")
			assert.NotContains(t, w.Body.String(), "secret")
			name := map[int]string{500: "internal-error", 503: "service-unavailable"}[test.status]
			requireProblem(t, w, test.status, name)
			assert.Equal(t, test.status == 503, w.Header().Get("Retry-After") == "5")
			assert.Equal(t, "no-store", w.Header().Get("Cache-Control"))
			assert.Zero(t, began)

			called := 0
			test.config.ErrorWriter = func(_ http.ResponseWriter, status int, p problem.Problem) {
				called++
				assert.Equal(t, test.status, status)
				assert.Zero(t, p.Status)
			}
			w = submit(operations.SubmitHandler(test.config), "k2", "x")
			assert.Equal(t, 1, called)
			assert.Zero(t, w.Body.Len())
		})
	}
}

func TestSubmitThatCannotBegin(t *testing.T) {
	full := problem.New(503, "there is no worker for it")
	full.Extensions = map[string]any{"code": "QUEUE"}
	bad := problem.New(503, "secret")
	bad.Extensions = map[string]any{"f": func() {}}
	deep := problem.New(503, "secret")
	deep.Extensions = map[string]any{"a": json.RawMessage(strings.Repeat("[", 9_999) + strings.Repeat("]", 9_999))}
	fixed := problem.New(500, "the operation could not be started")
	for _, test := range []struct {
		name string
		err  error
		want problem.Problem
	}{
		{"an error", errors.New("secret"), fixed},
		{"a problem that cannot be encoded", bad, fixed},
		{"a pointer to one", &bad, fixed},
		{"F103: a problem that is nested too deep for a client", deep, fixed},
		{"a problem", full, full},
		{"a wrapped problem", fmt.Errorf("secret: %w", full), full},
		{"a pointer to a problem", &full, full},
		{"a nil pointer", fmt.Errorf("%w", (*problem.Problem)(nil)), fixed},
	} {
		t.Run(test.name, func(t *testing.T) {
			store, calls := new(memory), 0
			h := operations.SubmitHandler(submitConfig{Repository: store, RetryAfter: time.Second,
				Begin: func(*http.Request, operation) error { calls++; return test.err }})
			w := submit(h, "k", "x")
			a := accepted(t, w)
			assert.EqualValues(t, "failed", a.State)
			assert.NotContains(t, w.Header(), "Retry-After")
			ops := all(t, store)
			require.Len(t, ops, 1)
			assert.EqualValues(t, "failed", ops[0].State)
			assert.Equal(t, &test.want, ops[0].Problem)

			again := accepted(t, submit(h, "k", "x"))
			assert.Equal(t, a, again)
			assert.Equal(t, 1, calls)
		})
	}
	t.Run("the operation has ended meanwhile", func(t *testing.T) {
		store := new(memory)
		h := operations.SubmitHandler(submitConfig{Repository: store, Begin: func(r *http.Request, op operation) error {
			_, err := operations.Update(r.Context(), store, op.ID, change{State: "succeeded"})
			return errors.Join(err, errors.New("too late"))
		}})
		assert.EqualValues(t, "succeeded", accepted(t, submit(h, "", "x")).State)
	})
}

func TestSubmitFailsTheOperationIfBeginPanics(t *testing.T) {
	for name, begin := range map[string]func(*http.Request, operation) error{
		"Begin": func(*http.Request, operation) error { panic("secret") },
		"its problem": func(*http.Request, operation) error {
			return problem.Problem{Extensions: map[string]any{"p": panicking{}}}
		},
	} {
		t.Run(name, func(t *testing.T) {
			store := new(memory)
			h := operations.SubmitHandler(submitConfig{Repository: store, Begin: begin})
			assert.PanicsWithValue(t, "secret", func() { submit(h, "k", "x") })
			fixed := problem.New(500, "the operation could not be started")
			ops := all(t, store)
			require.Len(t, ops, 1)
			assert.EqualValues(t, "failed", ops[0].State)
			assert.Equal(t, &fixed, ops[0].Problem)
			assert.NotZero(t, ops[0].ExpiresAt)
			assert.EqualValues(t, "failed", accepted(t, submit(h, "k", "x")).State)
		})
	}
}

// panicking panics when it is encoded.
type panicking struct{}

func (panicking) MarshalJSON() ([]byte, error) { panic("secret") }

func TestAnOperationThatCannotBeginExpires(t *testing.T) {
	for ttl, want := range map[time.Duration]time.Duration{0: 24 * time.Hour, -1: 24 * time.Hour, time.Minute: time.Minute} {
		synctest.Test(t, func(t *testing.T) {
			store := new(memory)
			h := operations.SubmitHandler(submitConfig{Repository: store, FailedTTL: ttl,
				Begin: func(*http.Request, operation) error { return errors.New("no") }})
			submit(h, "k", "x")
			assert.True(t, all(t, store)[0].ExpiresAt.Equal(time.Now().Add(want)), ttl)
			removed, err := store.Prune(t.Context(), time.Now().Add(want))
			require.NoError(t, err)
			assert.Equal(t, 1, removed)
		})
	}
}

// The client leaves when the operation was stored. It is begun nevertheless, because a retry
// of the request would not begin it.
func TestSubmitBeginsWhenTheClientHasGone(t *testing.T) {
	type key struct{}
	ctx, cancel := context.WithCancel(context.WithValue(t.Context(), key{}, "value"))
	store, began := &leavingStore{leave: cancel}, 0
	h := operations.SubmitHandler(submitConfig{Repository: store, Begin: func(r *http.Request, op operation) error {
		began++
		assert.NoError(t, r.Context().Err())
		assert.Equal(t, "value", r.Context().Value(key{}))
		return errors.New("no")
	}})
	serve(h, newRequest("POST", "/", "x").WithContext(ctx))
	assert.Equal(t, 1, began)
	assert.EqualValues(t, "failed", all(t, &store.memory)[0].State)
}

// leavingStore ends the context of the request when it has created the operation.
type leavingStore struct {
	memory
	leave context.CancelFunc
}

func (s *leavingStore) CreateOperation(ctx context.Context, op operation, key operations.Submission) (operation, bool, error) {
	defer s.leave()
	return s.memory.CreateOperation(ctx, op, key)
}

// hangingStore waits until the context ends, as a store does whose database is gone.
type hangingStore struct {
	memory
	create, update bool
}

func (s *hangingStore) CreateOperation(ctx context.Context, op operation, key operations.Submission) (operation, bool, error) {
	if s.create {
		<-ctx.Done()
		return operation{}, false, ctx.Err()
	}
	return s.memory.CreateOperation(ctx, op, key)
}

func (s *hangingStore) UpdateOperation(ctx context.Context, op operation) (operation, error) {
	if s.update {
		<-ctx.Done()
		return operation{}, ctx.Err()
	}
	return s.memory.UpdateOperation(ctx, op)
}

func TestF102AStoreThatHangsHoldsNoRequest(t *testing.T) {
	for _, test := range []struct {
		name  string
		store *hangingStore
		took  time.Duration
		began int
	}{
		{"creation ends with the request", &hangingStore{create: true}, 200 * time.Millisecond, 0},
		{"a failure of Begin is stored within 10 seconds", &hangingStore{update: true}, 10 * time.Second, 1},
	} {
		t.Run(test.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				began := 0
				h := operations.SubmitHandler(submitConfig{Repository: test.store, Begin: func(*http.Request, operation) error {
					began++
					return errors.New("no")
				}})
				limit := 200 * time.Millisecond
				if !test.store.create {
					limit = time.Hour // the client waits
				}
				ctx, cancel := context.WithTimeout(t.Context(), limit)
				defer cancel()
				start := time.Now()
				w := serve(h, newRequest("POST", "/", "x", "Idempotency-Key", "k").WithContext(ctx))
				assert.Equal(t, test.took, time.Since(start))
				requireProblem(t, w, 503, "service-unavailable")
				assert.Equal(t, "5", w.Header().Get("Retry-After"))
				assert.Equal(t, test.began, began)

				test.store.create, test.store.update = false, false // a retry
				accepted(t, serve(h, newRequest("POST", "/", "x", "Idempotency-Key", "k")))
				assert.Equal(t, 1, began)
			})
		})
	}
}

func TestF101TheBodyIsTheInputUntilTheOperationEnds(t *testing.T) {
	store := new(memory)
	var seen []byte
	h := operations.SubmitHandler(submitConfig{Repository: store, NewID: func() string { return "op1" },
		Begin: func(_ *http.Request, op operation) error { seen = op.Input; return nil }})
	w := submit(h, "k", "secret job")
	assert.Equal(t, "secret job", string(seen))
	for _, w := range []*httptest.ResponseRecorder{w, submit(h, "k", "secret job"), do(poll(store), "GET", "/?id=op1")} {
		assert.Contains(t, w.Body.String(), "op1")
		assert.NotContains(t, strings.ToLower(w.Body.String()), "input", "clients do not see it")
	}

	for op, err := range store.Operations(t.Context()) { // after a restart
		require.NoError(t, err)
		assert.Equal(t, "secret job", string(op.Input))
	}
	assert.Equal(t, "secret job", string(mustUpdate(t, store, change{State: "running"}).Input))
	assert.Empty(t, mustUpdate(t, store, change{State: "succeeded"}).Input)
	assert.Empty(t, all(t, store)[0].Input)
}

// The pattern of the package documentation. Fifty clients come at once, and no worker takes
// an operation from the queue.
func TestF105AFullQueueRefusesClientsThatComeAtOnce(t *testing.T) {
	const places = 4
	queue := make(chan string, places)
	var busy atomic.Int64
	submit := operations.SubmitHandler(submitConfig{Repository: new(memory), Begin: func(_ *http.Request, op operation) error {
		busy.Add(1)
		select {
		case queue <- op.ID:
			return nil
		default:
			return errors.New("Begin would wait")
		}
	}})
	h := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		defer busy.Add(-1)
		if busy.Add(1) > int64(cap(queue)) {
			problem.Write(w, 503, problem.New(503, "the queue is full"))
			return
		}
		submit.ServeHTTP(w, r)
	})
	for range 200 {
		var pending, refused atomic.Int32
		var clients sync.WaitGroup
		for range 50 {
			clients.Go(func() {
				w := do(h, "POST", "/")
				if w.Code == 503 {
					refused.Add(1)
				} else if accepted(t, w).State == "pending" {
					pending.Add(1)
				}
			})
		}
		clients.Wait()
		require.EqualValues(t, 50, pending.Load()+refused.Load(), "no operation was stored without a place")
		require.Len(t, queue, int(pending.Load()))
		for len(queue) < places { // what is left can be used
			require.Equal(t, 202, do(h, "POST", "/").Code)
		}
		require.Equal(t, 503, do(h, "POST", "/").Code)
		for range places { // workers take them
			<-queue
			busy.Add(-1)
		}
	}
}

func TestF107AbsoluteAndOriginFormAreTheSameRequest(t *testing.T) {
	h := operations.SubmitHandler(submitConfig{Repository: new(memory)})
	mux := http.NewServeMux()
	mux.Handle("/red/", http.StripPrefix("/red", h))
	send := func(target string) *httptest.ResponseRecorder {
		return do(mux, "POST", target, "Idempotency-Key", "k")
	}
	id := accepted(t, send("/red/a%2Fb?x=1")).ID
	for _, target := range []string{"http://example.com/red/a%2Fb?x=1", "HTTP://other.example/red/a%2Fb?x=1"} {
		assert.Equal(t, id, accepted(t, send(target)).ID)
	}
	for _, target := range []string{"/red/a%2Fb", "/red/a/b?x=1", "/red/a%2Fb?x=1&", "http://example.com/red/a%2Fb", "http://example.com/red/?x=1"} {
		requireProblem(t, send(target), 422, "unprocessable-entity")
	}
}

func TestSubmitOneKeyFromManyGoroutinesBeginsOnce(t *testing.T) {
	store := new(memory)
	var began, replayed atomic.Int32
	h := operations.SubmitHandler(submitConfig{Repository: store, Begin: func(*http.Request, operation) error {
		began.Add(1)
		return nil
	}})
	ids := make([]string, 100)
	var group sync.WaitGroup
	for i := range ids {
		group.Go(func() {
			w := submit(h, "k", "a job")
			ids[i] = accepted(t, w).ID
			if w.Header().Get("Idempotency-Replayed") == "true" {
				replayed.Add(1)
			}
		})
	}
	group.Wait()
	assert.EqualValues(t, 1, began.Load())
	assert.EqualValues(t, 99, replayed.Load())
	ops := all(t, store)
	require.Len(t, ops, 1)
	for _, id := range ids {
		assert.Equal(t, ops[0].ID, id)
	}
}

func TestSubmitKeyIsFreeWhenItsOperationIsRemoved(t *testing.T) {
	store := new(memory)
	h := operations.SubmitHandler(submitConfig{Repository: store})
	id := accepted(t, submit(h, "k", "x")).ID
	_, err := operations.Update(t.Context(), store, id, change{State: "succeeded", ExpiresAt: time.Now()})
	require.NoError(t, err)
	requireProblem(t, submit(h, "k", "x"), 410, "gone")
	requireProblem(t, submit(h, "k", "y"), 422, "unprocessable-entity")
	removed, err := store.Prune(t.Context(), time.Now())
	require.NoError(t, err)
	assert.Equal(t, 1, removed)
	assert.NotEqual(t, id, accepted(t, submit(h, "k", "y")).ID)
}
