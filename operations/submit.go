package operations

import (
	"bytes"
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"time"

	"github.com/a0b132ce/retryablehttp/problem"
)

const (
	defaultMaxBody   = 1 << 20
	defaultFailedTTL = 24 * time.Hour
	maxKey           = 255 // bytes of an Idempotency-Key

	// failTimeout limits the time in which a failure of Begin must be stored.
	failTimeout = 10 * time.Second
)

// SubmitConfig has the settings of SubmitHandler. Only Repository is required.
type SubmitConfig[T any] struct {
	// Repository stores the operations. If it is nil, the response to POST is 500.
	Repository Repository[T]

	// Begin starts the work of a new operation and returns soon, for example after it has put
	// op.ID into a queue. It is called once for each operation, also if the client has gone.
	// The body of r can be read, and is op.Input. The context of r does not end, but has the
	// values of the request's context.
	//
	// If Begin returns an error, the operation fails with the problem.Problem that the error
	// is or wraps, or else with one that has a fixed text. The response is 202 all the same,
	// and the key belongs to the failed operation. So this is for work that will never
	// begin. To refuse work that a client should submit again later, respond with 503 before
	// SubmitHandler is called. If Begin panics, the operation fails too and the panic goes on.
	// The context for storing the failure ends after 10 seconds. Nil means that workers look
	// for pending operations themselves.
	Begin func(r *http.Request, op Operation[T]) error

	// FailedTTL is the time until an operation expires that has failed because of Begin. 0
	// or less means 24 hours.
	FailedTTL time.Duration

	// Location returns the URL at which clients poll the operation. Nil means no Location.
	Location func(id string) string

	// RetryAfter is how long clients should wait before they poll, as in AcceptedConfig. It
	// is not sent for an operation that has ended.
	RetryAfter time.Duration

	// NewID returns the id of a new operation, which CheckID must accept and which must never
	// be used again. Nil means 128 random bits in hexadecimal digits.
	NewID func() string

	// MaxBody is the size of the largest request body in bytes. A larger one gets 413. 0 or
	// less means 1 MiB.
	MaxBody int64

	// RequireKey refuses requests without an Idempotency-Key with 400.
	RequireKey bool

	// Scope returns whose request it is, such as the name of the user. The same key in
	// another scope is another key. The body of the request can be read. Nil means that all
	// clients share one scope: then any client that knows a key and the request learns the
	// id of the operation.
	Scope func(*http.Request) string

	// ErrorWriter writes problems, as in PollConfig. Nil means problem.Write.
	ErrorWriter func(http.ResponseWriter, int, problem.Problem)
}

// SubmitHandler returns a handler that creates an operation for each POST, with the body as
// its Input, and responds with 202, as WriteAccepted does.
//
// A client can send an Idempotency-Key (draft-ietf-httpapi-idempotency-key-header) and then
// repeat a request whose response it has not seen. The key is any text of 1 to 255 bytes,
// used as it is, with its quotes if it has any. The same key with the same method, path,
// query, Content-Type and body gets the id, the Location and the current state of the same
// operation, and "Idempotency-Replayed: true". Path and query are taken from
// http.Request.RequestURI, without a scheme and a host. The same key with another request
// gets 422. A key is known as long as its operation is stored; after the operation has
// expired, the response is 410.
//
// The context of the request is also the context of CreateOperation. If it ends before the
// operation is stored, the response is 503, and the client can repeat the request. What was
// stored is begun, also if the context has ended.
//
// Only the request that has created the operation calls SubmitConfig.Begin. If the program
// ends between the two, or if Begin fails and that cannot be stored, the operation stays
// pending: a program must begin the pending operations of its repository when it starts.
//
// Other responses are problems (RFC 9457): 400 for a bad key or a body that cannot be read,
// 405 for another method, 413, and 500 or 503 as in [PollHandler].
func SubmitHandler[T any](config SubmitConfig[T]) http.Handler {
	if config.MaxBody <= 0 {
		config.MaxBody = defaultMaxBody
	}
	if config.FailedTTL <= 0 {
		config.FailedTTL = defaultFailedTTL
	}
	if config.NewID == nil {
		config.NewID = newID
	}
	return &submitHandler[T]{SubmitConfig: config, problemWriter: config.ErrorWriter}
}

// newID returns 128 random bits in hexadecimal digits.
func newID() string {
	var bits [16]byte
	rand.Read(bits[:])
	return hex.EncodeToString(bits[:])
}

type submitHandler[T any] struct {
	SubmitConfig[T]
	problemWriter
}

// ServeHTTP serves a request as SubmitHandler describes.
func (h *submitHandler[T]) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	forbidCaching(w)
	if r.Method != http.MethodPost {
		h.methodNotAllowed(w, http.MethodPost)
		return
	}
	if h.Repository == nil {
		h.problem(w, http.StatusInternalServerError, "no repository is configured")
		return
	}
	key, ok := idempotencyKey(r.Header)
	switch {
	case !ok:
		h.problem(w, http.StatusBadRequest, "the Idempotency-Key is invalid")
		return
	case key == "" && h.RequireKey:
		h.problem(w, http.StatusBadRequest, "an Idempotency-Key is required")
		return
	}
	body, ok := h.readBody(w, r)
	if !ok {
		return
	}
	op, created, err := h.create(r, key, body)
	switch {
	case errors.Is(err, ErrKeyReused):
		h.problem(w, http.StatusUnprocessableEntity, "the Idempotency-Key was used for another request")
		return
	case err == nil && !created && op.expired(time.Now()):
		h.gone(w)
		return
	case err == nil && created:
		op, err = h.begin(r, op, body)
	}
	if err != nil {
		h.storeError(w, r, err)
		return
	}
	if !created {
		w.Header().Set("Idempotency-Replayed", "true")
	}
	accepted := AcceptedConfig{ID: op.ID}
	if h.Location != nil {
		accepted.Location = h.Location(op.ID)
	}
	if !op.State.Terminal() {
		accepted.RetryAfter = h.RetryAfter
	}
	writeAccepted(w, accepted, op.State.orPending())
}

// idempotencyKey returns the key of a request, or "" if it has none, and whether it is valid.
func idempotencyKey(header http.Header) (key string, ok bool) {
	keys := header.Values("Idempotency-Key")
	if len(keys) == 0 {
		return "", true
	}
	key = keys[0]
	return key, len(keys) == 1 && key != "" && len(key) <= maxKey && !hasControl(key)
}

// readBody returns the body. If it cannot, it writes the response and reports false.
func (h *submitHandler[T]) readBody(w http.ResponseWriter, r *http.Request) ([]byte, bool) {
	if r.Body == nil {
		return nil, true
	}
	var body []byte
	var err error
	tooLarge := r.ContentLength > h.MaxBody // then the client is not asked for the body by 100 Continue
	if !tooLarge {
		body, err = io.ReadAll(http.MaxBytesReader(w, r.Body, h.MaxBody))
		tooLarge = errors.As(err, new(*http.MaxBytesError))
	}
	switch {
	case tooLarge:
		h.problem(w, http.StatusRequestEntityTooLarge, fmt.Sprintf("the body is larger than %d bytes", h.MaxBody))
	case err == nil:
		return body, true
	case r.Context().Err() != nil:
		h.storeError(w, r, err)
	default:
		h.problem(w, http.StatusBadRequest, "the body could not be read")
	}
	return nil, false
}

// create creates a pending operation, or finds the one that was created with this key.
func (h *submitHandler[T]) create(r *http.Request, key string, body []byte) (Operation[T], bool, error) {
	var submission Submission
	if key != "" {
		scope := ""
		if h.Scope != nil {
			scope = h.Scope(withBody(r.Context(), r, body))
		}
		submission.Key = digest(scope, key)
		submission.Fingerprint = digest(
			r.Method, target(r), r.Header.Get("Content-Type"), string(body))
	}
	return h.Repository.CreateOperation(r.Context(),
		Operation[T]{ID: h.NewID(), State: StatePending, Input: body}, submission)
}

// target returns the path and the query that the client has sent, also if http.StripPrefix
// has changed r.URL. A request target in absolute form (RFC 9112 §3.2.2) has a host too.
func target(r *http.Request) string {
	if sent, err := url.ParseRequestURI(r.RequestURI); err == nil {
		return sent.RequestURI()
	}
	return r.URL.RequestURI()
}

// digest returns the SHA-256 of the texts and their lengths in hexadecimal digits.
func digest(texts ...string) string {
	sum := sha256.New()
	for _, text := range texts {
		fmt.Fprintf(sum, "%d:%s", len(text), text)
	}
	return hex.EncodeToString(sum.Sum(nil))
}

// withBody returns a copy of r with this context and body.
func withBody(ctx context.Context, r *http.Request, body []byte) *http.Request {
	r = r.WithContext(ctx)
	r.Body = io.NopCloser(bytes.NewReader(body))
	r.ContentLength = int64(len(body))
	return r
}

// begin calls Begin and returns the operation, which has failed if Begin has.
func (h *submitHandler[T]) begin(r *http.Request, op Operation[T], body []byte) (Operation[T], error) {
	if h.Begin == nil {
		return op, nil
	}
	ctx := context.WithoutCancel(r.Context())
	panicked := true
	defer func() {
		if panicked {
			h.fail(ctx, op.ID, nil)
		}
	}()
	err := h.Begin(withBody(ctx, r, body), op)
	if err != nil {
		op, err = h.fail(ctx, op.ID, err)
	}
	panicked = false
	return op, err
}

// fail stores that the operation has failed because of cause and returns it. If Begin or a
// worker has ended it already, fail returns it as it is.
func (h *submitHandler[T]) fail(ctx context.Context, id string, cause error) (Operation[T], error) {
	ctx, cancel := context.WithTimeout(ctx, failTimeout)
	defer cancel()
	change := Change[T]{State: StateFailed, Problem: problemOf(cause), ExpiresAt: time.Now().Add(h.FailedTTL)}
	failed, err := Update(ctx, h.Repository, id, change)
	if errors.Is(err, ErrInvalidValue) {
		change.Problem = problemOf(nil)
		failed, err = Update(ctx, h.Repository, id, change)
	}
	if !errors.Is(err, ErrInvalidTransition) {
		return failed, err
	}
	ended, found, err := h.Repository.GetOperation(ctx, id)
	if err == nil && !found {
		err = ErrNotFound
	}
	return ended, err
}

// problemOf returns the problem that err is or wraps, or else one with a fixed text.
func problemOf(err error) *problem.Problem {
	var value problem.Problem
	p := &value
	if errors.As(err, &value) || errors.As(err, &p) && p != nil {
		return p
	}
	value = problem.New(http.StatusInternalServerError, "the operation could not be started")
	return &value
}
