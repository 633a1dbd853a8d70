package operations_test

import (
	"context"
	"math"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/a0b132ce/retryablehttp/operations"
)

// beforeChange is the time at which something changes while a client waits. A store that is
// not watched is asked at the next quarter of a second.
const beforeChange = 2400 * time.Millisecond

// stores are a store that can be watched and one that cannot.
func stores() map[string]func(*memory) operations.Store[report] {
	return map[string]func(*memory) operations.Store[report]{
		"watched": func(s *memory) operations.Store[report] { return s },
		"asked":   func(s *memory) operations.Store[report] { return operations.StoreFunc[report](s.GetOperation) },
	}
}

// waited is a response and the virtual time that it took.
type waited struct {
	*httptest.ResponseRecorder
	took time.Duration
}

// waitFor polls op1 in a bubble of synctest. It calls meanwhile after beforeChange.
func waitFor(h http.Handler, r *http.Request, meanwhile func()) waited {
	start := time.Now()
	result := make(chan waited)
	go func() {
		w := serve(h, r)
		result <- waited{w, time.Since(start)}
	}()
	if meanwhile != nil {
		time.Sleep(beforeChange)
		meanwhile()
	}
	return <-result
}

func TestWait(t *testing.T) {
	for kind, storeFor := range stores() {
		for _, test := range []struct {
			name      string
			state     operations.State
			known     string // If-None-Match; "current" is the current ETag
			meanwhile func(*testing.T, *memory)
			took      time.Duration
			status    int
		}{
			{"a change ends it", "running", "current", func(t *testing.T, s *memory) {
				_, err := operations.SetProgress(t.Context(), s, "op1", 50)
				require.NoError(t, err)
			}, beforeChange, 200},
			{"without a tag, a change after the request ends it", "pending", "", func(t *testing.T, s *memory) {
				mustUpdate(t, s, change{State: "running"})
			}, beforeChange, 200},
			{"with any tag, a change after the request ends it", "pending", "*", func(t *testing.T, s *memory) {
				mustUpdate(t, s, change{State: "running"})
			}, beforeChange, 304},
			{"nothing changes: 304", "running", "current", nil, 10 * time.Second, 304},
			{"nothing changes: 200", "running", "", nil, 10 * time.Second, 200},
			{"another operation changes", "running", "", func(t *testing.T, s *memory) {
				mustCreate(t, s, operation{ID: "op2"})
			}, 10 * time.Second, 200},
			{"it differs already", "running", `"old"`, nil, 0, 200},
			{"it has ended already", "failed", "", nil, 0, 200},
			{"it has ended already and is known", "failed", "current", nil, 0, 304},
			{"it is removed", "running", "", func(t *testing.T, s *memory) {
				_, err := s.Prune(t.Context(), time.Now().Add(time.Hour))
				require.NoError(t, err)
			}, beforeChange, 404},
		} {
			t.Run(kind+": "+test.name, func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					store := new(memory)
					mustCreate(t, store, operation{ID: "op1", State: test.state, ExpiresAt: time.Now().Add(time.Minute)})
					h := operations.PollHandler(pollConfig{Store: storeFor(store), MaxWait: time.Minute,
						PollAfter: func(operation) time.Duration { return time.Second }})
					tag := do(h, "GET", "/?id=op1").Header().Get("ETag")
					r := newRequest("GET", "/?id=op1", "", "Prefer", "wait=10")
					switch test.known {
					case "":
					case "current":
						r.Header.Set("If-None-Match", tag)
					default:
						r.Header.Set("If-None-Match", test.known)
					}
					var meanwhile func()
					if test.meanwhile != nil {
						meanwhile = func() { test.meanwhile(t, store) }
					}
					got := waitFor(h, r, meanwhile)
					assert.Equal(t, test.status, got.Code)
					took := test.took
					if kind == "asked" && took == beforeChange {
						took = 2500 * time.Millisecond
					}
					assert.Equal(t, took, got.took)
					assert.Equal(t, "no-store", got.Header().Get("Cache-Control"), "case 22")
					if test.status == 404 {
						return
					}
					assert.Equal(t, "wait=10", got.Header().Get("Preference-Applied"))
					op, _, err := store.GetOperation(t.Context(), "op1")
					require.NoError(t, err)
					assert.Equal(t, !op.State.Terminal(), got.Header().Get("Retry-After") == "1")
					if test.status == 200 {
						assert.Contains(t, got.Body.String(), `"state":"`+string(op.State)+`"`)
					}
				})
			})
		}
	}
}

func TestWaitPreference(t *testing.T) {
	const limit = 20*time.Second + 500*time.Millisecond
	for _, test := range []struct {
		prefer []string
		took   time.Duration
		want   string // Preference-Applied
	}{
		{nil, 0, ""},
		{[]string{"wait=7"}, 7 * time.Second, "wait=7"},
		{[]string{"wait=20"}, 20 * time.Second, "wait=20"},
		{[]string{"wait=21"}, limit, "wait=21"},
		{[]string{"wait=99999999999999999999"}, limit, "wait=21"},
		{[]string{"wait=9223372036854775807"}, limit, "wait=21"},
		{[]string{"WAIT = 7"}, 7 * time.Second, "wait=7"},
		{[]string{`wait="7"; x=1`}, 7 * time.Second, "wait=7"},
		{[]string{"respond-async, wait=7"}, 7 * time.Second, "wait=7"},
		{[]string{"respond-async", "wait=7"}, 7 * time.Second, "wait=7"},
		{[]string{"wait=7, wait=9", "wait=11"}, 7 * time.Second, "wait=7"},
		{[]string{"wait=x, wait=9"}, 0, ""},
		{[]string{"wait=0"}, 0, ""},
		{[]string{"wait=-1"}, 0, ""},
		{[]string{"wait=+1"}, 0, ""},
		{[]string{"wait=1.5"}, 0, ""},
		{[]string{"wait=0x10"}, 0, ""},
		{[]string{"wait="}, 0, ""},
		{[]string{"wait"}, 0, ""},
		{[]string{"waiting=5"}, 0, ""},
		{[]string{"foo; wait=5"}, 0, ""},
		{[]string{"", ",,;=", "=5"}, 0, ""},
		{[]string{`foo="a, wait=1, b"`}, 0, ""},
		{[]string{`foo="a\", wait=1", wait=7`}, 7 * time.Second, "wait=7"},
		{[]string{`foo="\\", wait=7`}, 7 * time.Second, "wait=7"},
		{[]string{`foo; x="a, wait=1; b", wait=7; y="c, wait=2"`}, 7 * time.Second, "wait=7"},
		{[]string{`foo="a, wait=1`}, 0, ""},
		{[]string{`foo="a\`}, 0, ""},
		{[]string{`foo\, wait=7`}, 7 * time.Second, "wait=7"},
	} {
		synctest.Test(t, func(t *testing.T) {
			h := operations.PollHandler(pollConfig{Store: storeOf(operation{}), MaxWait: limit})
			r := newRequest("GET", "/?id=op1", "")
			r.Header["Prefer"] = test.prefer
			got := waitFor(h, r, nil)
			assert.Equal(t, 200, got.Code)
			assert.Equal(t, test.took, got.took, test.prefer)
			assert.Equal(t, test.want, got.Header().Get("Preference-Applied"), test.prefer)
		})
	}
}

func TestF106WaitWithoutALimit(t *testing.T) {
	for _, prefer := range []string{"wait=9223372036", "wait=9223372037", "wait=99999999999999999999"} {
		synctest.Test(t, func(t *testing.T) {
			store := new(memory)
			mustCreate(t, store, operation{ID: "op1"})
			h := operations.PollHandler(pollConfig{Store: store, MaxWait: math.MaxInt64})
			got := waitFor(h, newRequest("GET", "/?id=op1", "", "Prefer", prefer), func() {
				mustUpdate(t, store, change{State: "running"})
			})
			assert.Equal(t, beforeChange, got.took)
			want := "wait=9223372037"
			if strings.HasSuffix(prefer, "6") {
				want = prefer
			}
			assert.Equal(t, want, got.Header().Get("Preference-Applied"))
		})
	}
}

func TestWaitIsIgnoredWithoutMaxWait(t *testing.T) {
	for _, limit := range []time.Duration{0, -time.Second} {
		synctest.Test(t, func(t *testing.T) {
			h := operations.PollHandler(pollConfig{Store: storeOf(operation{}), MaxWait: limit})
			got := waitFor(h, newRequest("GET", "/?id=op1", "", "Prefer", "wait=5"), nil)
			assert.Zero(t, got.took)
			assert.NotContains(t, got.Header(), "Preference-Applied")
		})
	}
}

func TestWaitEndsWhenTheOperationExpires(t *testing.T) {
	for kind, storeFor := range stores() {
		for ttl, want := range map[time.Duration]time.Duration{4900 * time.Millisecond: 4900 * time.Millisecond, time.Minute: 10 * time.Second} {
			t.Run(kind+" "+ttl.String(), func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					store := new(memory)
					mustCreate(t, store, operation{ID: "op1", ExpiresAt: time.Now().Add(ttl)})
					h := operations.PollHandler(pollConfig{Store: storeFor(store), MaxWait: time.Hour})
					got := waitFor(h, newRequest("GET", "/?id=op1", "", "Prefer", "wait=10"), nil)
					assert.Equal(t, want, got.took)
					if want == ttl {
						requireProblem(t, got.ResponseRecorder, 410, "gone")
					}
				})
			})
		}
	}
}

func TestWaitEndsWhenTheContextDoes(t *testing.T) {
	for kind, storeFor := range stores() {
		t.Run(kind, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				store := new(memory)
				mustCreate(t, store, operation{ID: "op1"})
				ctx, cancel := context.WithCancel(t.Context())
				h := operations.PollHandler(pollConfig{Store: storeFor(store), MaxWait: time.Hour})
				r := newRequest("GET", "/?id=op1", "", "Prefer", "wait=600").WithContext(ctx)
				got := waitFor(h, r, cancel)
				assert.Equal(t, beforeChange, got.took)
				requireProblem(t, got.ResponseRecorder, 503, "service-unavailable")
			})
		})
	}
}

// A store that is not watched is asked four times a second, and a watched one only when
// something changes.
func TestWaitAsksTheStoreSeldom(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var asked atomic.Int32
		store := operations.StoreFunc[report](func(context.Context, string) (operation, bool, error) {
			asked.Add(1)
			return operation{}, true, nil
		})
		h := operations.PollHandler(pollConfig{Store: store, MaxWait: time.Hour})
		waitFor(h, newRequest("GET", "/?id=op1", "", "Prefer", "wait=60"), nil)
		assert.InDelta(t, 241, asked.Load(), 1)
	})
	synctest.Test(t, func(t *testing.T) {
		store := &countingStore{}
		mustCreate(t, &store.memory, operation{ID: "op1"})
		h := operations.PollHandler(pollConfig{Store: store, MaxWait: time.Hour})
		waitFor(h, newRequest("GET", "/?id=op1", "", "Prefer", "wait=60"), nil)
		assert.EqualValues(t, 2, store.asked.Load())
		assert.EqualValues(t, 0, store.open.Load(), "every watch was stopped")
		mustUpdate(t, &store.memory, change{State: "running"})
		waitFor(h, newRequest("GET", "/?id=op1", "", "Prefer", "wait=60"), func() {
			mustUpdate(t, &store.memory, change{State: "canceled"})
		})
		assert.EqualValues(t, 0, store.open.Load(), "every watch was stopped")
		waitFor(h, newRequest("GET", "/?id=op2", "", "Prefer", "wait=60"), nil)
		assert.EqualValues(t, 0, store.open.Load(), "every watch was stopped")
	})
}

// countingStore counts the look-ups and the watches that were not stopped.
type countingStore struct {
	memory
	asked, open atomic.Int32
}

func (s *countingStore) GetOperation(ctx context.Context, id string) (operation, bool, error) {
	s.asked.Add(1)
	return s.memory.GetOperation(ctx, id)
}

func (s *countingStore) WatchOperation(id string) (<-chan struct{}, func()) {
	s.open.Add(1)
	changed, stop := s.memory.WatchOperation(id)
	return changed, func() { s.open.Add(-1); stop() }
}

// A change between the look at the store and the watch would be missed.
func TestWaitMissesNoChange(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := &changingStore{}
		mustCreate(t, &store.memory, operation{ID: "op1"})
		h := operations.PollHandler(pollConfig{Store: store, MaxWait: time.Hour})
		got := waitFor(h, newRequest("GET", "/?id=op1", "", "Prefer", "wait=60"), nil)
		assert.Zero(t, got.took)
		assert.Contains(t, got.Body.String(), "running")
	})
}

// changingStore changes the operation right after it was looked up first.
type changingStore struct {
	memory
	asked atomic.Int32
}

func (s *changingStore) GetOperation(ctx context.Context, id string) (operation, bool, error) {
	op, found, err := s.memory.GetOperation(ctx, id)
	if s.asked.Add(1) == 1 {
		next := op
		next.State = "running"
		if _, err := s.memory.UpdateOperation(ctx, next); err != nil {
			return operation{}, false, err
		}
	}
	return op, found, err
}
