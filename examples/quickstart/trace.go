package main

import (
	"errors"
	"fmt"
	"io"
	"net/http"
	"time"

	"github.com/a0b132ce/retryablehttp"
)

// trace is what happened in one scenario. OnAttempt runs in the goroutine of the
// call, so a scenario with one call at a time needs no lock.
type trace struct {
	title    string
	attempts []retryablehttp.Attempt
	notes    []string
}

func (t *trace) add(a retryablehttp.Attempt) { t.attempts = append(t.attempts, a) }

func (t *trace) note(format string, args ...any) {
	t.notes = append(t.notes, fmt.Sprintf(format, args...))
}

func printTraces(out io.Writer, traces []trace) {
	const row = "%11s  %-26s %9s  %s\n"
	fmt.Fprintf(out, row, "ATTEMPT", "OUTCOME", "TOOK", "THEN")
	for i, t := range traces {
		fmt.Fprintf(out, "%d  %s\n", i+1, t.title)
		for _, a := range t.attempts {
			fmt.Fprintf(out, row, fmt.Sprint(a.Number), outcome(a), milliseconds(a.Duration), then(a))
		}
		for _, n := range t.notes {
			fmt.Fprintf(out, "%13s%s\n", "", n)
		}
	}
}

// outcome is the status, or the innermost error, which has no addresses in it.
func outcome(a retryablehttp.Attempt) string {
	switch {
	case a.Response != nil && a.Response.Request.Response != nil: // the redirect before it
		return fmt.Sprintf("%s (after a %d)", a.Response.Status, a.Response.Request.Response.StatusCode)
	case a.Response != nil:
		return a.Response.Status
	case errors.Is(a.Err, retryablehttp.ErrAttemptTimeout):
		return "no headers in time"
	}
	err := a.Err
	for inner := errors.Unwrap(err); inner != nil; inner = errors.Unwrap(err) {
		err = inner
	}
	return err.Error()
}

func then(a retryablehttp.Attempt) string {
	switch {
	case a.Retry:
		return fmt.Sprintf("retry in %s (%s)", milliseconds(a.Wait), a.Reason)
	case a.Reason != "":
		return fmt.Sprintf("give up (%s)", a.Reason)
	case a.Response.StatusCode == http.StatusTemporaryRedirect:
		return "answer, which http.Client follows by another call"
	}
	return "answer"
}

func milliseconds(d time.Duration) string {
	return fmt.Sprintf("%.1f ms", float64(d)/float64(time.Millisecond))
}
