package operations

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/a0b132ce/retryablehttp/problem"
)

// maxRetryAfter is the longest Retry-After.
const maxRetryAfter = 24 * time.Hour

// Accepted is the JSON of a 202 response.
type Accepted struct {
	ID       string `json:"id,omitempty"`
	State    State  `json:"state"`
	Location string `json:"location,omitempty"`
}

// AcceptedConfig has the settings of WriteAccepted.
type AcceptedConfig struct {
	// ID is the id of the operation. "" is left out.
	ID string

	// Location is the URL at which clients poll the operation. It is written as it is, without
	// the spaces around it. "" is left out. So is a URL with control characters, which a
	// header cannot carry.
	Location string

	// RetryAfter is how long the client should wait before it polls. It is rounded up to
	// seconds, and at most a day. 0 or less means no Retry-After header.
	RetryAfter time.Duration
}

// WriteAccepted responds with 202 Accepted: the operation is pending, and the client finds
// it at config.Location. It removes a Content-Length that was set for another body.
func WriteAccepted(w http.ResponseWriter, config AcceptedConfig) {
	writeAccepted(w, config, StatePending)
}

func writeAccepted(w http.ResponseWriter, config AcceptedConfig, state State) {
	location := strings.TrimSpace(config.Location)
	if hasControl(location) {
		location = ""
	}
	if location != "" {
		w.Header().Set("Location", location)
	}
	setRetryAfter(w, config.RetryAfter)
	body, _ := encode(Accepted{ID: config.ID, State: state, Location: location}) // strings have JSON
	writeJSON(w, http.StatusAccepted, body)
}

// WriteOperation writes operation as the response. A status that is not from 200 to 999
// means 200. An empty state is written as pending and an unknown state as it is. If the
// result cannot be encoded, the response is a problem with status 500. A Content-Length that
// was set for another body is removed.
func WriteOperation[T any](w http.ResponseWriter, status int, operation Operation[T]) {
	operation.State = operation.State.orPending()
	body, err := encode(operation)
	if err != nil {
		writeEncodeProblem(w)
		return
	}
	if status < 200 || status > 999 {
		status = http.StatusOK
	}
	writeJSON(w, status, body)
}

// encode returns value as JSON with a newline at its end.
func encode(value any) ([]byte, error) {
	var b bytes.Buffer
	err := json.NewEncoder(&b).Encode(value)
	return b.Bytes(), err
}

func writeJSON(w http.ResponseWriter, status int, body []byte) {
	w.Header().Del("Content-Length") // of another body
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	w.Write(body)
}

func writeEncodeProblem(w http.ResponseWriter) {
	const status = http.StatusInternalServerError
	problem.Write(w, status, problem.New(status, "the operation could not be encoded"))
}

// setRetryAfter sets the Retry-After header (RFC 9110 §10.2.3) to d unless d <= 0.
func setRetryAfter(w http.ResponseWriter, d time.Duration) {
	if d > 0 {
		w.Header().Set("Retry-After", strconv.FormatInt(wholeSeconds(min(d, maxRetryAfter)), 10))
	}
}

// wholeSeconds returns d in seconds, rounded up. d is not negative.
func wholeSeconds(d time.Duration) int64 {
	seconds := int64(d / time.Second)
	if d%time.Second > 0 {
		seconds++
	}
	return seconds
}

// unavailableRetryAfter is the Retry-After of a 503.
const unavailableRetryAfter = 5 * time.Second

// problemWriter writes the problems of a handler. A nil problemWriter is problem.Write.
type problemWriter func(http.ResponseWriter, int, problem.Problem)

func (write problemWriter) problem(w http.ResponseWriter, status int, detail string) {
	p := problem.New(status, detail)
	p.Status = 0 // known to the writer
	if write == nil {
		write = problem.Write
	}
	write(w, status, p)
}

func (write problemWriter) methodNotAllowed(w http.ResponseWriter, allow string) {
	w.Header().Set("Allow", allow)
	write.problem(w, http.StatusMethodNotAllowed, "the method is not allowed here")
}

func (write problemWriter) notFound(w http.ResponseWriter) {
	write.problem(w, http.StatusNotFound, "there is no such operation")
}

func (write problemWriter) gone(w http.ResponseWriter) {
	write.problem(w, http.StatusGone, "the operation has expired")
}

// storeError writes a response for an error of the store, without the text of err.
func (write problemWriter) storeError(w http.ResponseWriter, r *http.Request, err error) {
	switch {
	case r.Context().Err() != nil, errors.Is(err, context.DeadlineExceeded),
		errors.Is(err, ErrUnavailable), errors.Is(err, ErrConflict):
		setRetryAfter(w, unavailableRetryAfter)
		write.problem(w, http.StatusServiceUnavailable, "the operations are not available at the moment")
	default:
		write.problem(w, http.StatusInternalServerError, "the operation could not be loaded or stored")
	}
}

// forbidCaching sets the header that every response of a handler has.
func forbidCaching(w http.ResponseWriter) { w.Header().Set("Cache-Control", "no-store") }
