package operations_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"
	"testing/iotest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/a0b132ce/retryablehttp/operations"
	"github.com/a0b132ce/retryablehttp/problem"
)

func poll(store operations.Store[report]) http.Handler {
	return operations.PollHandler(pollConfig{Store: store})
}

func TestPollOperation(t *testing.T) {
	for _, test := range []struct {
		name string
		op   operation
		body string
	}{
		{"case 4: pending", operation{ID: "op1", State: "pending"}, `{"id":"op1","state":"pending"}`},
		{"case 5: running", operation{ID: "op1", State: "running"}, `{"id":"op1","state":"running"}`},
		{"case 5: canceled", operation{ID: "op1", State: "canceled"}, `{"id":"op1","state":"canceled"}`},
		{"case 6: a result", operation{ID: "op1", State: "succeeded", Result: &report{7}}, `{"id":"op1","state":"succeeded","result":{"rows":7}}`},
		{"case 6: a zero result", operation{ID: "op1", State: "succeeded", Result: &report{}}, `{"id":"op1","state":"succeeded","result":{"rows":0}}`},
		{"case 6: no result", operation{ID: "op1", State: "succeeded"}, `{"id":"op1","state":"succeeded"}`},
		{"failed is 200", operation{ID: "op1", State: "failed", Problem: &problem.Problem{Title: "no"}}, `{"id":"op1","state":"failed","problem":{"title":"no"}}`},
		{"case 24: extensions survive", operation{ID: "op1", State: "failed",
			Problem: &problem.Problem{Title: "no", Extensions: map[string]any{"code": "c"}}},
			`{"id":"op1","state":"failed","problem":{"code":"c","title":"no"}}`},
		{"an empty id is the one asked for", operation{State: "running"}, `{"id":"op1","state":"running"}`},
		{"another stored id is shown", operation{ID: "op2", State: "running"}, `{"id":"op2","state":"running"}`},
		{"an empty state is pending", operation{}, `{"id":"op1","state":"pending"}`},
		{"an unknown state is written as it is", operation{State: "paused"}, `{"id":"op1","state":"paused"}`},
	} {
		t.Run(test.name, func(t *testing.T) {
			w := do(poll(storeOf(test.op)), "GET", "/?id=%20op1%20")
			assert.Equal(t, 200, w.Code)
			assert.Equal(t, "application/json", w.Header().Get("Content-Type"))
			assert.Equal(t, "no-store", w.Header().Get("Cache-Control"), "case 22")
			assert.NotContains(t, w.Header(), "Retry-After")
			assert.NotContains(t, w.Header(), "Location")
			assert.NotContains(t, w.Header(), "Preference-Applied")
			assert.Equal(t, test.body+"\n", w.Body.String())
		})
	}
}

// errOutage is an error of a driver that says that it is temporary.
var errOutage = fmt.Errorf("secret: %w", operations.ErrUnavailable)

func TestPollProblems(t *testing.T) {
	deny := func(*http.Request, string) bool { return false }
	for _, test := range []struct {
		name, target string
		config       pollConfig
		status       int
		problem      string
		retryAfter   string
	}{
		{"case 8: an unknown id", "/?id=op2", pollConfig{Store: storeOf(operation{})}, 404, "not-found", ""},
		{"case 9: no id", "/", pollConfig{Store: unusedStore(t)}, 400, "bad-request", ""},
		{"case 9: an id of blanks", "/?id=%20%09", pollConfig{Store: unusedStore(t)}, 400, "bad-request", ""},
		{"case 10: a store error", "/?id=op1", pollConfig{Store: storeError(errors.New("secret"))}, 500, "internal-error", ""},
		{"case 12: no store, no id", "/", pollConfig{}, 500, "internal-error", ""},
		{"case 24: a deadline of the store", "/?id=op1",
			pollConfig{Store: storeError(fmt.Errorf("secret: %w", context.DeadlineExceeded))}, 503, "service-unavailable", "5"},
		{"an unavailable store", "/?id=op1", pollConfig{Store: storeError(errOutage)}, 503, "service-unavailable", "5"},
		{"a store that was canceled, the client was not", "/?id=op1", pollConfig{Store: storeError(context.Canceled)}, 500, "internal-error", ""},
		{"a nil function is a failing store", "/?id=op1", pollConfig{Store: operations.StoreFunc[report](nil)}, 500, "internal-error", ""},
		{"a nil function, no id", "/", pollConfig{Store: operations.StoreFunc[report](nil)}, 400, "bad-request", ""},
		{"an id of 257 bytes", "/?id=" + strings.Repeat("x", 257), pollConfig{Store: unusedStore(t)}, 400, "bad-request", ""},
		{"an id with a line break", "/?id=a%0d%0ab", pollConfig{Store: unusedStore(t)}, 400, "bad-request", ""},
		{"an id with a NUL", "/?id=a%00", pollConfig{Store: unusedStore(t)}, 400, "bad-request", ""},
		{"an id that is no UTF-8", "/?id=a%ff", pollConfig{Store: unusedStore(t)}, 400, "bad-request", ""},
		{"a malformed query", "/?id=%zz", pollConfig{Store: unusedStore(t)}, 400, "bad-request", ""},
		{"not authorized", "/?id=op1", pollConfig{Store: unusedStore(t), Authorize: deny}, 404, "not-found", ""},
		{"expired", "/?id=op1", pollConfig{Store: storeOf(operation{State: "succeeded", ExpiresAt: time.Now()})}, 410, "gone", ""},
	} {
		t.Run(test.name, func(t *testing.T) {
			w := do(operations.PollHandler(test.config), "GET", test.target)
			assert.NotContains(t, w.Body.String(), "secret")
			requireProblem(t, w, test.status, test.problem)
			assert.Equal(t, "no-store", w.Header().Get("Cache-Control"), "case 22")
			assert.Equal(t, test.retryAfter, w.Header().Get("Retry-After"))
			assert.NotContains(t, w.Header(), "Etag")

			// The same with an ErrorWriter.
			called := 0
			test.config.ErrorWriter = func(_ http.ResponseWriter, status int, p problem.Problem) {
				called++
				assert.Equal(t, test.status, status)
				assert.Zero(t, p.Status)
				assert.Equal(t, problems+test.problem, p.Type)
			}
			w = do(operations.PollHandler(test.config), "GET", test.target)
			assert.Equal(t, 1, called)
			assert.Zero(t, w.Body.Len())
			assert.Equal(t, test.retryAfter, w.Header().Get("Retry-After"))
		})
	}
}

func TestPollNotAuthorizedLooksLikeNotFound(t *testing.T) {
	var asked []string
	h := operations.PollHandler(pollConfig{Store: storeOf(operation{}), Authorize: func(r *http.Request, id string) bool {
		asked = append(asked, id)
		return r.Header.Get("User") == "owner"
	}})
	foreign, unknown := do(h, "GET", "/?id=op1"), do(h, "GET", "/?id=op2", "User", "owner")
	assert.Equal(t, unknown.Code, foreign.Code)
	assert.Equal(t, unknown.Header(), foreign.Header())
	assert.Equal(t, unknown.Body.String(), foreign.Body.String())
	assert.Equal(t, 200, do(h, "GET", "/?id=%20op1", "User", "owner").Code)
	assert.Equal(t, []string{"op1", "op2", "op1"}, asked)
}

func TestPollOperationID(t *testing.T) {
	t.Run("case 14: own source", func(t *testing.T) {
		h := operations.PollHandler(pollConfig{Store: storeOf(operation{}), OperationID: func(r *http.Request) string {
			return " " + r.PathValue("id") + " "
		}})
		mux := http.NewServeMux()
		mux.Handle("/operations/{id}", h)
		w := do(mux, "GET", "/operations/op1?id=op2")
		assert.Equal(t, 200, w.Code)
		assert.Equal(t, `{"id":"op1","state":"pending"}`+"\n", w.Body.String())
	})
	t.Run("case 14: the first of two parameters", func(t *testing.T) {
		assert.Equal(t, 200, do(poll(storeOf(operation{})), "GET", "/?id=op1&id=op2").Code)
		assert.Equal(t, 404, do(poll(storeOf(operation{})), "GET", "/?id=op2&id=op1").Code)
	})
}

func TestPollErrorWriter(t *testing.T) {
	t.Run("case 15: it is called once and nothing else is written", func(t *testing.T) {
		var got []problem.Problem
		h := operations.PollHandler(pollConfig{Store: storeOf(operation{}), ErrorWriter: func(_ http.ResponseWriter, status int, p problem.Problem) {
			assert.Equal(t, 404, status)
			got = append(got, p)
		}})
		w := do(h, "GET", "/?id=op2")
		require.Len(t, got, 1)
		assert.Equal(t, problems+"not-found", got[0].Type)
		assert.Equal(t, "Not Found", got[0].Title)
		assert.NotEmpty(t, got[0].Detail)
		assert.Zero(t, got[0].Status)
		assert.Zero(t, w.Body.Len())
	})
	t.Run("a result that cannot be encoded does not use it", func(t *testing.T) {
		for name, result := range badResults {
			h := operations.PollHandler(operations.PollConfig[any]{
				Store: operations.StoreFunc[any](func(context.Context, string) (operations.Operation[any], bool, error) {
					return operations.Operation[any]{Result: &result}, true, nil
				}),
				ErrorWriter: func(http.ResponseWriter, int, problem.Problem) { assert.Fail(t, name) },
			})
			w := do(h, "GET", "/?id=op1")
			requireProblem(t, w, 500, "internal-error")
			assert.Equal(t, "no-store", w.Header().Get("Cache-Control"))
			assert.NotContains(t, w.Header(), "Etag")
		}
	})
}

func TestPollMethods(t *testing.T) {
	t.Run("case 18: HEAD is GET without a body", func(t *testing.T) {
		server := httptest.NewServer(poll(storeOf(operation{})))
		defer server.Close()
		client := server.Client()
		defer client.CloseIdleConnections()
		for _, id := range []string{"op1", "op2"} {
			get, err := client.Get(server.URL + "?id=" + id)
			require.NoError(t, err)
			body, err := io.ReadAll(get.Body)
			require.NoError(t, err)
			get.Body.Close()
			assert.NotEmpty(t, body)
			head, err := client.Head(server.URL + "?id=" + id)
			require.NoError(t, err)
			body, err = io.ReadAll(head.Body)
			require.NoError(t, err)
			head.Body.Close()
			assert.Empty(t, body)
			assert.Equal(t, get.StatusCode, head.StatusCode)
			get.Header.Del("Date")
			head.Header.Del("Date")
			assert.Equal(t, get.Header, head.Header)
		}
	})
	for _, test := range []struct{ cancel, allow string }{
		{"", "GET, HEAD, OPTIONS"}, {"cancel", "GET, HEAD, DELETE, OPTIONS"},
	} {
		config := pollConfig{Store: unusedStore(t)}
		methods := []string{"POST", "PUT", "PATCH", "TRACE", "get", "PROPFIND"}
		if test.cancel == "" {
			methods = append(methods, "DELETE")
		} else {
			config.Cancel = func(context.Context, string) error { return nil }
		}
		h := operations.PollHandler(config)
		for _, method := range methods {
			t.Run("case 18: "+method+" is refused "+test.cancel, func(t *testing.T) {
				w := do(h, method, "/?id=op1")
				requireProblem(t, w, 405, "method-not-allowed")
				assert.Equal(t, test.allow, w.Header().Get("Allow"))
				assert.Equal(t, "no-store", w.Header().Get("Cache-Control"), "case 22")
			})
		}
		t.Run("OPTIONS "+test.cancel, func(t *testing.T) {
			w := do(h, "OPTIONS", "/")
			assert.Equal(t, 204, w.Code)
			assert.Equal(t, test.allow, w.Header().Get("Allow"))
			assert.Equal(t, "no-store", w.Header().Get("Cache-Control"), "case 22")
			assert.Zero(t, w.Body.Len())
		})
	}
}

func TestF109WithoutAStoreOnlyWhatNeedsItFails(t *testing.T) {
	cancel := func(context.Context, string) error { return nil }
	for _, test := range []struct {
		h       http.Handler
		methods string
		want    int
	}{
		{operations.PollHandler(pollConfig{Cancel: cancel}), "GET HEAD DELETE", 500},
		{operations.PollHandler(pollConfig{Cancel: cancel}), "OPTIONS", 204},
		{operations.PollHandler(pollConfig{}), "DELETE PUT", 405},
		{operations.SubmitHandler(submitConfig{}), "POST", 500},
		{operations.SubmitHandler(submitConfig{}), "GET OPTIONS", 405},
	} {
		for _, method := range strings.Fields(test.methods) {
			assert.Equal(t, test.want, do(test.h, method, "/?id=op1").Code, method)
		}
	}
}

func TestPollAfter(t *testing.T) {
	for state, want := range map[operations.State]string{
		"pending": "2", "running": "2", "": "2", "paused": "2", "succeeded": "", "failed": "", "canceled": "",
	} {
		t.Run("case 19: "+string(state), func(t *testing.T) {
			h := operations.PollHandler(pollConfig{Store: storeOf(operation{State: state}),
				PollAfter: func(op operation) time.Duration {
					assert.Equal(t, "op1", op.ID)
					assert.False(t, op.State.Terminal())
					return 1500 * time.Millisecond
				}})
			w := do(h, "GET", "/?id=op1")
			assert.Equal(t, want, w.Header().Get("Retry-After"))
			w = do(h, "GET", "/?id=op1", "If-None-Match", w.Header().Get("ETag"))
			assert.Equal(t, 304, w.Code)
			assert.Equal(t, want, w.Header().Get("Retry-After"))
		})
	}
}

func TestPollETag(t *testing.T) {
	t.Run("case 20: 304 until the operation changes", func(t *testing.T) {
		store := new(memory)
		mustCreate(t, store, operation{ID: "op1"})
		h := poll(store)
		first := do(h, "GET", "/?id=op1")
		tag := first.Header().Get("ETag")
		assert.Regexp(t, `^"[0-9a-f]{32}"$`, tag)
		same := do(h, "GET", "/?id=op1", "If-None-Match", tag)
		assert.Equal(t, 304, same.Code)
		assert.Zero(t, same.Body.Len())
		assert.Equal(t, http.Header{"Etag": {tag}, "Cache-Control": {"no-store"}}, same.Header())

		mustUpdate(t, store, change{State: "running"})
		second := do(h, "GET", "/?id=op1", "If-None-Match", tag)
		assert.Equal(t, 200, second.Code)
		assert.NotEqual(t, tag, second.Header().Get("ETag"))
		assert.Contains(t, second.Body.String(), "running")
	})
	h := poll(storeOf(operation{State: "running"}))
	tag := do(h, "GET", "/?id=op1").Header().Get("ETag")
	for _, test := range []struct {
		name  string
		lines []string
		want  int
	}{
		{"none", nil, 200},
		{"empty", []string{""}, 200},
		{"a list", []string{`"a", ` + tag}, 304},
		{"a list without blanks", []string{`"a","b,c",` + tag + `,"d"`}, 304},
		{"two lines", []string{`"a"`, tag}, 304},
		{"empty members", []string{`, ,` + tag}, 304},
		{"a weak tag", []string{"W/" + tag}, 304},
		{"any", []string{" * "}, 304},
		{"any is no member of a list", []string{`"a", *`}, 200},
		{"another tag", []string{`"` + strings.Repeat("0", 32) + `"`}, 200},
		{"within another tag", []string{`"x` + strings.Trim(tag, `"`) + `"`}, 200},
		{"without quotes", []string{strings.Trim(tag, `"`)}, 200},
		{"an open quote", []string{`"a`}, 200},
		{"a quote only", []string{`"`}, 200},
		{"a small w", []string{"w/" + tag}, 200},
		{"the tag after something malformed", []string{`a, ` + tag}, 304},
	} {
		t.Run("If-None-Match: "+test.name, func(t *testing.T) {
			r := newRequest("GET", "/?id=op1", "")
			r.Header["If-None-Match"] = test.lines
			assert.Equal(t, test.want, serve(h, r).Code)
		})
	}
	t.Run("an unknown operation is 404 for any tag", func(t *testing.T) {
		assert.Equal(t, 404, do(h, "GET", "/?id=op2", "If-None-Match", "*").Code)
	})
}

// net/http sends 200 if a handler writes nothing.
func TestAnEndedContextIsA503WhateverHasEndedIt(t *testing.T) {
	for name, end := range map[string]func(context.Context) (context.Context, context.CancelFunc){
		"it was canceled":     context.WithCancel,
		"its deadline passed": func(ctx context.Context) (context.Context, context.CancelFunc) { return context.WithTimeout(ctx, 0) },
		"it was canceled with a cause": func(ctx context.Context) (context.Context, context.CancelFunc) {
			ctx, cancel := context.WithCancelCause(ctx)
			return ctx, func() { cancel(errors.New("shutdown")) }
		},
	} {
		ctx, cancel := end(t.Context())
		cancel()
		for request, r := range map[string]*http.Request{
			"poll": newRequest("GET", "/?id=op1", ""), "cancel": newRequest("DELETE", "/?id=op1", ""),
			"submit": newRequest("POST", "/", "x"), "submit, body not read": httptest.NewRequest("POST", "/", iotest.ErrReader(errors.New("reset"))),
		} {
			t.Run(name+": "+request, func(t *testing.T) {
				store := new(memory)
				h := operations.PollHandler(pollConfig{Store: store, Cancel: func(context.Context, string) error { return nil }})
				if r.Method == "POST" {
					h = operations.SubmitHandler(submitConfig{Repository: store, Begin: new(begun).begin})
				}
				w := serve(h, r.WithContext(ctx))
				requireProblem(t, w, 503, "service-unavailable")
				assert.Equal(t, "5", w.Header().Get("Retry-After"))
				assert.Equal(t, "no-store", w.Header().Get("Cache-Control"))
				assert.Empty(t, all(t, store))
			})
		}
	}
}

func TestPollIDReachesTheStoreTrimmed(t *testing.T) {
	type key struct{}
	ctx := context.WithValue(t.Context(), key{}, "value")
	called := 0
	store := operations.StoreFunc[report](func(ctx context.Context, id string) (operation, bool, error) {
		called++
		assert.Equal(t, "a b", id)
		assert.Equal(t, "value", ctx.Value(key{}))
		return operation{}, true, nil
	})
	serve(poll(store), newRequest("GET", "/?id="+url.QueryEscape("\t a b\n"), "").WithContext(ctx))
	assert.Equal(t, 1, called)
}

func TestPollExpiry(t *testing.T) {
	for d, want := range map[time.Duration]int{-time.Hour: 410, 0: 410, time.Hour: 200} {
		w := do(poll(storeOf(operation{State: "pending", ExpiresAt: time.Now().Add(d)})), "GET", "/?id=op1")
		assert.Equal(t, want, w.Code, d.String())
	}
}

func TestCancel(t *testing.T) {
	cancelNow := func(t *testing.T, s *memory) error {
		_, err := operations.Update(t.Context(), s, "op1", change{State: "canceled"})
		return err
	}
	for _, test := range []struct {
		name       string
		state      operations.State
		cancel     func(t *testing.T, s *memory) error // nil: must not be called
		status     int
		want       string // the state, or the type of the problem
		retryAfter string
	}{
		{"it is asked for", "running", func(*testing.T, *memory) error { return nil }, 202, "running", "2"},
		{"it is done at once", "running", cancelNow, 200, "canceled", ""},
		{"it has ended already", "succeeded", nil, 200, "succeeded", ""},
		{"it was canceled already", "canceled", nil, 200, "canceled", ""},
		{"it cannot be canceled", "running", func(*testing.T, *memory) error {
			return fmt.Errorf("secret: %w", operations.ErrNotCancelable)
		}, 409, "conflict", ""},
		{"it ends meanwhile", "running", func(t *testing.T, s *memory) error {
			mustUpdate(t, s, change{State: "succeeded"})
			return cancelNow(t, s)
		}, 200, "succeeded", ""},
		{"the function does not find it", "running", func(*testing.T, *memory) error { return operations.ErrNotFound }, 404, "not-found", ""},
		{"it was removed meanwhile", "running", func(t *testing.T, s *memory) error {
			_, err := s.Prune(t.Context(), time.Now().Add(2*time.Hour))
			return err
		}, 404, "not-found", ""},
		{"the function fails", "running", func(*testing.T, *memory) error { return errors.New("secret") }, 500, "internal-error", ""},
		{"F104: the function loses against other changes", "running",
			func(*testing.T, *memory) error { return fmt.Errorf("secret: %w", operations.ErrConflict) }, 503, "service-unavailable", "5"},
		{"the function is unavailable", "running", func(*testing.T, *memory) error { return errOutage }, 503, "service-unavailable", "5"},
	} {
		t.Run(test.name, func(t *testing.T) {
			store := new(memory)
			mustCreate(t, store, operation{ID: "op1", State: test.state, ExpiresAt: time.Now().Add(time.Hour)})
			h := operations.PollHandler(pollConfig{Store: store,
				PollAfter: func(operation) time.Duration { return 2 * time.Second },
				Cancel: func(_ context.Context, id string) error {
					assert.Equal(t, "op1", id)
					if !assert.NotNil(t, test.cancel, "Cancel was called") {
						return nil
					}
					return test.cancel(t, store)
				}})
			w := do(h, "DELETE", "/?id=op1")
			assert.NotContains(t, w.Body.String(), "secret")
			assert.Equal(t, "no-store", w.Header().Get("Cache-Control"), "case 22")
			assert.Equal(t, test.retryAfter, w.Header().Get("Retry-After"))
			if test.status >= 400 {
				requireProblem(t, w, test.status, test.want)
				return
			}
			assert.Equal(t, test.status, w.Code)
			assert.Contains(t, w.Body.String(), `"state":"`+test.want+`"`)
		})
	}
	unused := func(context.Context, string) error { assert.Fail(t, "Cancel was called"); return nil }
	for target, want := range map[string]int{"/?id=op2": 404, "/?id=": 400} {
		h := operations.PollHandler(pollConfig{Store: storeOf(operation{}), Cancel: unused})
		assert.Equal(t, want, do(h, "DELETE", target).Code)
	}
	h := operations.PollHandler(pollConfig{Store: unusedStore(t), Cancel: unused, Authorize: func(*http.Request, string) bool { return false }})
	requireProblem(t, do(h, "DELETE", "/?id=op1"), 404, "not-found")
}
