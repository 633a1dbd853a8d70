package main

import (
	"context"
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/a0b132ce/retryablehttp/examples/pipeline/widgets"
	"github.com/a0b132ce/retryablehttp/mergepatch"
	"github.com/a0b132ce/retryablehttp/operations"
	"github.com/a0b132ce/retryablehttp/problem"
)

// service is the widget service. It fails every third request, in one of three ways.
type service struct {
	mu       sync.Mutex
	widgets  map[string]widgets.Widget
	requests int
	faults   int
	painted  int // how often a widget was painted
}

func newService() (*service, *httptest.Server) {
	s := &service{widgets: map[string]widgets.Widget{}}
	for i := range 25 {
		id := "w" + strconv.Itoa(i)
		s.widgets[id] = widgets.Widget{ID: id, Color: "white", Tags: []string{"new"}}
	}
	paintings := new(operations.MemoryStore[widgets.Widget])
	mux := http.NewServeMux()
	mux.HandleFunc("GET /widgets/{id}", s.get)
	mux.HandleFunc("PATCH /widgets/{id}", s.update)
	mux.HandleFunc("GET /widgets", s.list)
	mux.Handle("POST /widgets/{id}/paint", operations.SubmitHandler(operations.SubmitConfig[widgets.Widget]{
		Repository: paintings,
		Location:   func(id string) string { return "/paintings/" + id },
		Begin: func(r *http.Request, op operations.Operation[widgets.Widget]) error {
			var body struct{ Color string }
			if err := json.NewDecoder(r.Body).Decode(&body); err != nil {
				return problem.New(http.StatusBadRequest, "the body has no color")
			}
			go s.paint(paintings, op.ID, r.PathValue("id"), body.Color)
			return nil
		},
	}))
	mux.Handle("GET /paintings/{id}", operations.PollHandler(operations.PollConfig[widgets.Widget]{
		Store:       paintings,
		OperationID: func(r *http.Request) string { return r.PathValue("id") },
	}))
	return s, httptest.NewServer(s.failing(mux))
}

// failing checks the key and the version, and makes some requests fail.
func (s *service) failing(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Header.Get("X-Api-Key") != "secret" || r.URL.Query().Get("api-version") != "2026-11-01" {
			problem.Write(w, http.StatusUnauthorized, problem.New(http.StatusUnauthorized, "the key or the version is wrong"))
			return
		}
		s.mu.Lock()
		s.requests++
		fault := 0
		if s.requests%3 == 0 {
			s.faults++
			fault = s.faults%3 + 1
		}
		s.mu.Unlock()
		switch fault {
		case 1:
			w.Header().Set("Retry-After", "0")
			problem.Write(w, http.StatusServiceUnavailable, problem.New(http.StatusServiceUnavailable, "busy"))
		case 2: // the request is done, but the response is lost
			next.ServeHTTP(httptest.NewRecorder(), r)
			panic(http.ErrAbortHandler)
		case 3: // the response is cut off in the middle
			recorder := httptest.NewRecorder()
			next.ServeHTTP(recorder, r)
			for name, values := range recorder.Header() {
				w.Header()[name] = values
			}
			body := recorder.Body.String()
			w.Header().Set("Content-Length", strconv.Itoa(len(body)))
			w.WriteHeader(recorder.Code)
			io.WriteString(w, body[:len(body)/2])
		default:
			next.ServeHTTP(w, r)
		}
	})
}

func (s *service) get(w http.ResponseWriter, r *http.Request) {
	s.mu.Lock()
	defer s.mu.Unlock()
	widget, ok := s.widgets[r.PathValue("id")]
	if !ok {
		problem.Write(w, http.StatusNotFound, problem.New(http.StatusNotFound, "there is no widget "+r.PathValue("id")))
		return
	}
	write(w, widget)
}

func (s *service) update(w http.ResponseWriter, r *http.Request) {
	s.mu.Lock()
	defer s.mu.Unlock()
	id := r.PathValue("id")
	before, _ := json.Marshal(s.widgets[id])
	patch, err := io.ReadAll(r.Body)
	if err == nil {
		before, err = mergepatch.Apply(before, patch)
	}
	var after widgets.Widget
	if err == nil {
		err = json.Unmarshal(before, &after)
	}
	if err != nil {
		problem.Write(w, http.StatusBadRequest, problem.New(http.StatusBadRequest, "the patch cannot be applied"))
		return
	}
	s.widgets[id] = after
	write(w, after)
}

func (s *service) list(w http.ResponseWriter, r *http.Request) {
	s.mu.Lock()
	defer s.mu.Unlock()
	query := r.URL.Query()
	size, _ := strconv.Atoi(query.Get("size"))
	from, _ := strconv.Atoi(query.Get("from"))
	var page widgets.Page
	for i := from; i < min(from+size, len(s.widgets)); i++ {
		page.Widgets = append(page.Widgets, s.widgets["w"+strconv.Itoa(i)])
	}
	if from+size < len(s.widgets) { // relative to the URL of the request
		page.NextLink = "?size=" + strconv.Itoa(size) + "&from=" + strconv.Itoa(from+size)
	}
	write(w, page)
}

// paint paints a widget, which takes a while.
func (s *service) paint(store *operations.MemoryStore[widgets.Widget], operation, id, color string) {
	ctx, change := context.Background(), operations.Change[widgets.Widget]{State: operations.StateRunning}
	if _, err := operations.Update(ctx, store, operation, change); err != nil {
		return // canceled
	}
	time.Sleep(300 * time.Millisecond)
	s.mu.Lock()
	widget := s.widgets[id]
	widget.Color = color
	s.widgets[id] = widget
	s.painted++
	s.mu.Unlock()
	change = operations.Change[widgets.Widget]{State: operations.StateSucceeded, Result: &widget}
	if strings.EqualFold(color, "invisible") {
		cause := problem.New(http.StatusUnprocessableEntity, "there is no such color")
		change = operations.Change[widgets.Widget]{State: operations.StateFailed, Problem: &cause}
	}
	operations.Update(ctx, store, operation, change)
}

func write(w http.ResponseWriter, v any) {
	w.Header().Set("Content-Type", "application/json")
	json.NewEncoder(w).Encode(v)
}
