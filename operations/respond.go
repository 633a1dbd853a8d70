package operations

import (
	"context"
	"errors"
	"net/http"
	"time"

	"github.com/a0b132ce/retryablehttp/problem"
)

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
	case r.Context().Err() != nil, errors.Is(err, context.DeadlineExceeded), errors.Is(err, ErrUnavailable):
		setRetryAfter(w, unavailableRetryAfter)
		write.problem(w, http.StatusServiceUnavailable, "the operations are not available at the moment")
	default:
		write.problem(w, http.StatusInternalServerError, "the operation could not be loaded or stored")
	}
}

// forbidCaching sets the header that every response of a handler has.
func forbidCaching(w http.ResponseWriter) { w.Header().Set("Cache-Control", "no-store") }
