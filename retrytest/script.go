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

// Attempt is the record of a request that reached a Transport or a Server. If net/http
// sends a request again by itself, because an idle connection has failed or an HTTP/2
// stream was refused, that is another Attempt.
type Attempt struct {
	// Number counts the attempts from 1, in the order of their arrival.
	Number int
	// Time is when the attempt arrived. At a Server, that is when its header did.
	Time time.Time
	// Method and URL are those of the request. At a Server, URL is only the path
	// and the query.
	Method string
	URL    string
	// Host is the host that the request is for, with the port if it has one.
	Host string
	// Header is a copy of the request's header.
	Header http.Header
	// ContentLength is the declared length of the request's body, -1 if it has
	// a body of undeclared length.
	ContentLength int64
	// Conn is the number of the Server's connection, counted from 1. It is 0 at a
	// Transport.
	Conn int

	// Body is what was read of the request's body, up to MaxRecorded bytes.
	Body []byte
	// BodySize and BodySHA256 are the number and the checksum of all bytes that
	// were read.
	BodySize   int64
	BodySHA256 [sha256.Size]byte
	// BodyErr is the error that ended the reading before Step.Read bytes, nil if
	// there was none.
	BodyErr error
	// BodyRead reports whether the reading has ended. Until then BodySize,
	// BodySHA256 and BodyErr are not set.
	BodyRead bool
}

// A script chooses the step for each attempt and keeps the records. Its zero value
// has no steps.
type script struct {
	mu       sync.Mutex
	choose   func(Attempt) Step // if nil, steps are used
	steps    []Step
	current  int // index in steps
	served   int // number of attempts that the current step has served
	attempts []*Attempt
}

// next records an attempt and returns its step.
func (s *script) next(a Attempt) (Step, *record, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	a.Number = len(s.attempts) + 1
	a.Time = time.Now()
	s.attempts = append(s.attempts, &a)
	rec := &record{script: s, attempt: &a}
	if s.choose != nil {
		// The lock is held, so that choose needs no lock of its own.
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

// Attempts returns the records of all attempts so far, in the order of their arrival.
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

// A record is an io.Writer that records the body of an attempt. Only one goroutine may
// use it.
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

// end records that the reading of the body has ended with err. It is called once.
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
