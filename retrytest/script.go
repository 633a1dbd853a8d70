package retrytest

import (
	"crypto/sha256"
	"errors"
	"fmt"
	"hash"
	"net/http"
	"slices"
	"sync"
	"time"
)

// ErrScriptOver is matched by the error that a Transport returns for an attempt without
// a step. The error has a method Permanent() bool, found with errors.As, which returns
// true: the attempt must not be retried. A Server sends a 501 with the text of the error.
var ErrScriptOver = errors.New("retrytest: the script is over")

// scriptOverError is the error of an attempt without a step. It matches ErrScriptOver.
type scriptOverError struct {
	number      int // of the attempt
	method, url string
}

func (e *scriptOverError) Error() string {
	return fmt.Sprintf("%v: no step for attempt %d (%s %s)", ErrScriptOver, e.number, e.method, e.url)
}

func (e *scriptOverError) Unwrap() error { return ErrScriptOver }

// Permanent reports that the attempt must not be retried.
func (e *scriptOverError) Permanent() bool { return true }

// MaxRecorded is how many bytes of a request's body an Attempt keeps.
const MaxRecorded = 1 << 20

// Attempt is the record of a request that reached a Transport or a Server. One that
// net/http sends again on its own (after a connection that was idle has failed, or
// an HTTP/2 stream was refused) is an attempt of its own here.
type Attempt struct {
	// Number counts the attempts from 1, in the order in which they came.
	Number int
	// Time is when the attempt came: at a Server, with its headers.
	Time time.Time
	// Method and URL are the request's. A Server's URL is the path and query
	// alone.
	Method string
	URL    string
	// Host is the host that the request is for, with the port if it has one.
	Host string
	// Header is a copy of the request's header.
	Header http.Header
	// ContentLength is the declared length of the request's body, -1 if it has
	// a body of undeclared length.
	ContentLength int64
	// Conn tells on which of a Server's connections the attempt came, counted
	// from 1. It is 0 at a Transport.
	Conn int

	// Body is what was read of the request's body, up to MaxRecorded bytes.
	Body []byte
	// BodySize and BodySHA256 are those of all that was read.
	BodySize   int64
	BodySHA256 [sha256.Size]byte
	// BodyErr is what kept the body from being read as far as the step says, nil
	// if it was.
	BodyErr error
	// BodyRead tells that the reading has ended. Until then, BodySize and
	// BodySHA256 are not set.
	BodyRead bool
}

// A script chooses the step for each attempt and keeps the records. Its zero value
// has no steps.
type script struct {
	mu       sync.Mutex
	choose   func(Attempt) Step // nil: from steps
	steps    []Step
	current  int // in steps
	served   int // by the current step
	attempts []*Attempt
}

// next records an attempt and says what is to happen to it.
func (s *script) next(a Attempt) (Step, *record, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	a.Number = len(s.attempts) + 1
	a.Time = time.Now()
	s.attempts = append(s.attempts, &a)
	rec := &record{script: s, attempt: &a}
	if s.choose != nil {
		// The function is called with the lock held, so it need not have one.
		given := a
		given.Header = a.Header.Clone()
		return s.choose(given), rec, nil
	}
	for s.current < len(s.steps) {
		step := s.steps[s.current]
		if s.served < max(step.Times, 1) || step.Times < 0 {
			s.served++
			return step, rec, nil
		}
		s.current, s.served = s.current+1, 0
	}
	return Step{}, rec, &scriptOverError{number: a.Number, method: a.Method, url: a.URL}
}

// Attempts returns the records of all attempts so far, in the order in which they
// came.
func (s *script) Attempts() []Attempt {
	s.mu.Lock()
	defer s.mu.Unlock()
	all := make([]Attempt, len(s.attempts))
	for i, a := range s.attempts {
		all[i] = *a
		all[i].Header = a.Header.Clone()
		all[i].Body = slices.Clone(a.Body)
	}
	return all
}

// A record takes down the body of an attempt. One goroutine writes to it.
type record struct {
	script  *script
	attempt *Attempt
	size    int64
	hash    hash.Hash
}

// Write implements io.Writer.
func (r *record) Write(p []byte) (int, error) {
	if r.hash == nil {
		r.hash = sha256.New()
	}
	r.hash.Write(p)
	r.size += int64(len(p))
	if room := MaxRecorded - len(r.attempt.Body); room > 0 {
		r.script.mu.Lock()
		r.attempt.Body = append(r.attempt.Body, p[:min(room, len(p))]...)
		r.script.mu.Unlock()
	}
	return len(p), nil
}

// end is called once, when the body has been read as far as it will be.
func (r *record) end(err error) {
	var sum [sha256.Size]byte
	if r.hash != nil {
		r.hash.Sum(sum[:0])
	} else {
		sum = sha256.Sum256(nil)
	}
	r.script.mu.Lock()
	defer r.script.mu.Unlock()
	r.attempt.BodySize, r.attempt.BodySHA256, r.attempt.BodyErr, r.attempt.BodyRead = r.size, sum, err, true
}
