package operations

import (
	"cmp"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"net/http"
	"regexp"
	"strconv"
	"strings"
	"time"

	"github.com/a0b132ce/retryablehttp/problem"
)

// ErrNotCancelable is returned by PollConfig.Cancel for an operation that cannot be
// canceled. The response is then 409.
var ErrNotCancelable = errors.New("operations: not cancelable")

// lookInterval is how often the store is asked while a client waits, unless it is a Watcher.
const lookInterval = 250 * time.Millisecond

// PollConfig has the settings of PollHandler. Only Store is required.
type PollConfig[T any] struct {
	// Store finds the operation. If it is nil, the response to each method that needs it is
	// 500. If it is a Watcher, clients that wait learn of a change at once.
	Store Store[T]

	// OperationID returns the id that a request asks for. Spaces around it are removed. Nil
	// means the first query parameter "id". For a pattern of a mux such as "/reports/{id}"
	// it must be set, to return r.PathValue("id").
	OperationID func(*http.Request) string

	// ErrorWriter writes problems. The Status of the problem is 0; the second argument has
	// it. Header fields such as Retry-After and Allow are set before. Nil means
	// problem.Write.
	ErrorWriter func(http.ResponseWriter, int, problem.Problem)

	// PollAfter returns how long the client should wait before it polls again. It is called
	// for operations that have not ended, and is rounded up to seconds, at most a day. Nil,
	// or 0 or less, means no Retry-After header.
	PollAfter func(Operation[T]) time.Duration

	// MaxWait is the longest time that a response is delayed if the client sends
	// "Prefer: wait=N" (RFC 7240 §4.3). The wait ends when the ETag differs from If-None-Match,
	// or without If-None-Match at the next change of the operation. A change of its progress
	// counts. The wait also ends when the operation expires. MaxWait must be shorter than the
	// WriteTimeout of the server. http.Server.Shutdown takes up to MaxWait unless the contexts
	// of the requests end with it: see Shutdown in the package documentation. 0 or less means
	// that the preference is ignored.
	MaxWait time.Duration

	// Authorize reports whether the sender of the request may know the operation. If not, the
	// response is 404, as if there were none. Nil allows all.
	Authorize func(r *http.Request, id string) bool

	// Cancel asks for the cancellation of an operation that has not ended, and need not wait
	// for it. It can be a call of Update with StateCanceled. The response is 404 if the error
	// is ErrNotFound. It is 409 if the error is ErrNotCancelable or ErrInvalidTransition and
	// the operation has not ended by then. Nil means that DELETE is not allowed.
	Cancel func(ctx context.Context, id string) error
}

// PollHandler returns a handler that responds with the state of an operation.
//
// GET and HEAD respond with 200 and the operation in any state, also if it has failed or was
// canceled, or with 304 if the ETag is one of If-None-Match (RFC 9110 §13.1.2). DELETE asks
// for cancellation if PollConfig.Cancel is set: the response is 200 with the operation if it
// has ended, and 202 otherwise. OPTIONS responds with 204. Other
// methods get 405 with an Allow header.
//
// Other responses are problems (RFC 9457): 400 for an id that CheckID refuses, 404, 409, 410
// for an operation that has expired, 500 if the store or Cancel fails, and 503 with
// Retry-After if the error is context.DeadlineExceeded, ErrUnavailable or ErrConflict or the
// request's context has ended. The text of an error is never written.
//
// An operation without an ID gets the one that was asked for. An empty state is written as
// pending, and an unknown one as it is.
func PollHandler[T any](config PollConfig[T]) http.Handler {
	if config.OperationID == nil {
		config.OperationID = func(r *http.Request) string { return r.URL.Query().Get("id") }
	}
	return &pollHandler[T]{PollConfig: config, problemWriter: config.ErrorWriter}
}

type pollHandler[T any] struct {
	PollConfig[T]
	problemWriter
}

// ServeHTTP serves a request as PollHandler describes.
func (h *pollHandler[T]) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	forbidCaching(w)
	allow := "GET, HEAD, OPTIONS"
	if h.Cancel != nil {
		allow = "GET, HEAD, DELETE, OPTIONS"
	}
	serve := h.poll
	switch {
	case r.Method == http.MethodGet, r.Method == http.MethodHead:
	case r.Method == http.MethodDelete && h.Cancel != nil:
		serve = h.cancel
	case r.Method == http.MethodOptions:
		w.Header().Set("Allow", allow)
		w.WriteHeader(http.StatusNoContent)
		return
	default:
		h.methodNotAllowed(w, allow)
		return
	}
	if h.Store == nil {
		h.problem(w, http.StatusInternalServerError, "no store is configured")
		return
	}
	id := strings.TrimSpace(h.OperationID(r))
	switch {
	case CheckID(id) != nil:
		h.problem(w, http.StatusBadRequest, "the id of the operation is missing or invalid")
	case h.Authorize != nil && !h.Authorize(r, id):
		h.notFound(w)
	default:
		serve(w, r, id)
	}
}

// view is an operation as clients see it.
type view[T any] struct {
	op   Operation[T]
	body []byte
	tag  string // ETag
}

// look returns a view of the operation. If it cannot be shown, look writes the response and
// reports false.
func (h *pollHandler[T]) look(w http.ResponseWriter, r *http.Request, id string) (view[T], bool) {
	op, found, err := h.Store.GetOperation(r.Context(), id)
	switch {
	case err != nil:
		h.storeError(w, r, err)
	case !found:
		h.notFound(w)
	case op.expired(time.Now()):
		h.gone(w)
	default:
		op.ID, op.State = cmp.Or(op.ID, id), op.State.orPending()
		body, err := encode(op)
		if err == nil {
			sum := sha256.Sum256(body)
			return view[T]{op, body, fmt.Sprintf(`"%x"`, sum[:16])}, true
		}
		writeEncodeProblem(w)
	}
	return view[T]{}, false
}

// poll serves GET and HEAD.
func (h *pollHandler[T]) poll(w http.ResponseWriter, r *http.Request, id string) {
	known := strings.Join(r.Header.Values("If-None-Match"), ",")
	wait := preferredWait(r.Header, h.MaxWait)
	current, ok := h.lookUntilChanged(w, r, id, known, wait)
	if !ok {
		return
	}
	if wait > 0 {
		w.Header().Set("Preference-Applied", "wait="+strconv.FormatInt(wholeSeconds(wait), 10))
	}
	w.Header().Set("ETag", current.tag)
	h.setPollAfter(w, current.op)
	if etagMatches(known, current.tag) {
		w.WriteHeader(http.StatusNotModified)
		return
	}
	writeJSON(w, http.StatusOK, current.body)
}

// lookUntilChanged returns a view of the operation when it has ended or differs from what
// the client knows, and otherwise after wait or when it expires. known is the
// If-None-Match header: the versions that the client has. If it is empty, the client has the
// version at the beginning.
func (h *pollHandler[T]) lookUntilChanged(
	w http.ResponseWriter, r *http.Request, id, known string, wait time.Duration,
) (view[T], bool) {
	if wait <= 0 {
		return h.look(w, r, id)
	}
	watch := func() (changed <-chan struct{}, stop func()) {
		look := make(chan struct{})
		timer := time.AfterFunc(lookInterval, func() { close(look) })
		return look, func() { timer.Stop() }
	}
	if watcher, ok := h.Store.(Watcher); ok {
		watch = func() (changed <-chan struct{}, stop func()) { return watcher.WatchOperation(id) }
	}
	var changed <-chan struct{}
	stop := func() {}
	defer func() { stop() }()

	end, first := time.Now().Add(wait), ""
	for waiting := true; ; {
		stop()
		changed, stop = watch() // before look, so that no change goes unnoticed
		current, ok := h.look(w, r, id)
		first = cmp.Or(first, current.tag)
		if !ok || !waiting || current.op.State.Terminal() || current.tag != first || known != "" && !etagMatches(known, first) {
			return current, ok
		}
		if expires := current.op.ExpiresAt; !expires.IsZero() && expires.Before(end) {
			end = expires
		}
		select {
		case <-changed:
		case <-time.After(time.Until(end)):
			waiting = false
		case <-r.Context().Done():
			h.storeError(w, r, r.Context().Err())
			return view[T]{}, false
		}
	}
}

// cancel serves DELETE.
func (h *pollHandler[T]) cancel(w http.ResponseWriter, r *http.Request, id string) {
	current, ok := h.look(w, r, id)
	if !ok {
		return
	}
	if !current.op.State.Terminal() {
		err := h.Cancel(r.Context(), id)
		refused := errors.Is(err, ErrNotCancelable) || errors.Is(err, ErrInvalidTransition)
		switch {
		case errors.Is(err, ErrNotFound):
			h.notFound(w)
			return
		case err != nil && !refused:
			h.storeError(w, r, err)
			return
		}
		if current, ok = h.look(w, r, id); !ok {
			return
		}
		if refused && !current.op.State.Terminal() {
			h.problem(w, http.StatusConflict, "the operation cannot be canceled")
			return
		}
	}
	status := http.StatusOK
	if !current.op.State.Terminal() {
		status = http.StatusAccepted
	}
	h.setPollAfter(w, current.op)
	writeJSON(w, status, current.body)
}

// setPollAfter sets Retry-After unless op has ended.
func (h *pollHandler[T]) setPollAfter(w http.ResponseWriter, op Operation[T]) {
	if h.PollAfter != nil && !op.State.Terminal() {
		setRetryAfter(w, h.PollAfter(op))
	}
}

// preferredWait returns the time that the client wants to wait for the response (RFC 7240
// §4.3), at most limit. It is 0 if there is no such preference or it is malformed. Only the
// first one counts.
func preferredWait(header http.Header, limit time.Duration) time.Duration {
	if limit <= 0 {
		return 0
	}
	for _, preference := range listMember.FindAllString(strings.Join(header.Values("Prefer"), ","), -1) {
		preference, _, _ = strings.Cut(preference, ";") // parameters
		name, value, _ := strings.Cut(preference, "=")
		if !strings.EqualFold(strings.TrimSpace(name), "wait") {
			continue
		}
		seconds, err := strconv.ParseUint(strings.Trim(strings.TrimSpace(value), `"`), 10, 64)
		switch {
		case errors.Is(err, strconv.ErrRange), err == nil && seconds > uint64(limit/time.Second):
			return limit
		case err != nil:
			return 0
		}
		return time.Duration(seconds) * time.Second
	}
	return 0
}

// listMember matches a member of a list. A comma in a quoted string (RFC 9110 §5.6.4) does not
// end it.
var listMember = regexp.MustCompile(`(?:[^,"]|"(?:[^"\\]|\\.)*"?)+`)

// etagMatches reports whether list, the value of If-None-Match, is "*" or has tag. Weak tags
// match too (RFC 9110 §13.1.2).
func etagMatches(list, tag string) bool {
	for member := range strings.SplitSeq(list, ",") {
		if strings.TrimPrefix(strings.TrimSpace(member), "W/") == tag {
			return true
		}
	}
	return strings.TrimSpace(list) == "*"
}
