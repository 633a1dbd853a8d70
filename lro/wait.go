package lro

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"iter"
	"log/slog"
	"math/rand/v2"
	"time"
)

// WaitOptions says how often an operation is polled if the service does not say when. With the
// zero WaitOptions, the second poll follows after about 1 s. The intervals grow to 30 s.
//
// A service says when it wants the next poll by Retry-After, in seconds or as a date (RFC
// 9110 §10.2.3), or by retry-after-ms. A positive value replaces the interval, however long it
// is. That includes the value of the initial response and of an error.
type WaitOptions struct {
	// Interval is the first interval. 0 means 1 s, or MaxInterval if that is less. There is
	// no minimum. Negative values are errors.
	Interval time.Duration

	// MaxInterval is the longest interval. Each interval is 1.5 times as long as the one
	// before, less up to 25 % at random, so that many clients do not poll at the same time.
	// 0 means 30 s. If Interval is set and MaxInterval is 0, every interval is exactly Interval.
	// Negative values are errors.
	MaxInterval time.Duration

	// MaxFailures is the number of consecutive transient failures that ends the wait. The wait
	// returns the last error. 0 means 5; negative means no limit. Any other failure ends the
	// wait at once.
	//
	// Transient failures are transport errors that are not permanent, and the statuses 408,
	// 429, and 5xx other than 501. A poll is one failure, however many attempts the pipeline's
	// Retry policy has made. Failed requests for the result are counted apart from polls; for
	// them the status 202 is transient too.
	MaxFailures int
}

const (
	defaultInterval    = 1 * time.Second
	defaultMaxInterval = 30 * time.Second
	defaultMaxFailures = 5
)

// pace computes the intervals of one wait.
type pace struct {
	next, max time.Duration
	exact     bool
}

func (o WaitOptions) pace() (pace, error) {
	if o.Interval < 0 || o.MaxInterval < 0 {
		return pace{}, errors.New("lro: negative interval in WaitOptions")
	}
	p := pace{next: cmp.Or(o.Interval, defaultInterval), max: cmp.Or(o.MaxInterval, defaultMaxInterval)}
	if o.Interval > 0 && o.MaxInterval == 0 {
		p.max, p.exact = p.next, true
	}
	p.next = min(p.next, p.max)
	return p, nil
}

// interval returns the next interval.
func (p *pace) interval() time.Duration {
	d := p.next
	if p.exact {
		return d
	}
	p.next += min(p.next/2+1, p.max-p.next)
	return d - rand.N(d/4+1)
}

// PollUntilDone polls until the operation has ended, and returns its result as Result does.
// It polls at once, unless the service has asked for a delay, and waits before each further
// poll as the options say. If a request for the result has a transient failure, PollUntilDone
// waits likewise and repeats it. Nil options mean Options.Wait.
//
// If ctx ends, the error matches ctx.Err(). If the service asks for a delay that goes beyond
// the deadline of ctx, PollUntilDone returns at once an error that matches
// [context.DeadlineExceeded]. It also returns the errors of Poll and Result. After an error that
// is not an [*OperationError], PollUntilDone may be called again.
func (p *Poller[T]) PollUntilDone(ctx context.Context, options *WaitOptions) (T, error) {
	if options == nil {
		options = &p.opts.Wait
	}
	for _, err := range p.op.states(ctx, *options) {
		if err != nil {
			var zero T
			return zero, err
		}
	}
	return p.finish(ctx, *options)
}

// States returns an iterator over the statuses of the operation, one for each successful poll.
// The last status is terminal. If the operation has ended already, that is the only one. An
// error ends the sequence; the Status is then the one before. States waits and fails as
// PollUntilDone does, with Options.Wait. After a break or an error, call States again to go on.
func (p *Poller[T]) States(ctx context.Context) iter.Seq2[Status, error] {
	return p.op.states(ctx, p.opts.Wait)
}

func (op *operation) states(ctx context.Context, options WaitOptions) iter.Seq2[Status, error] {
	return func(yield func(Status, error) bool) {
		if _, err := options.pace(); err != nil || op.last.State != InProgress {
			yield(op.last, err)
			return
		}
		err := op.repeat(ctx, options, func() (done bool, err error) {
			status, err := op.poll(ctx)
			if err != nil {
				return false, err
			}
			return !yield(status, nil) || status.State != InProgress, nil
		})
		if err != nil {
			yield(op.last, err)
		}
	}
}

// repeat calls step, with a pause before each call, until it is done or there is an error that
// ends the wait.
func (op *operation) repeat(ctx context.Context, options WaitOptions, step func() (done bool, err error)) error {
	pace, err := options.pace()
	if err != nil {
		return err
	}
	failures, maxFailures := 0, cmp.Or(options.MaxFailures, defaultMaxFailures)
	for interval := time.Duration(0); ; interval = pace.interval() {
		if err := op.pause(ctx, interval); err != nil {
			return err
		}
		done, err := step()
		switch {
		case err == nil && done:
			return nil
		case err == nil:
			failures = 0
		default:
			failures++
			if ctx.Err() != nil || !transient(err) || failures == maxFailures {
				return ended(ctx, err)
			}
		}
	}
}

// ended returns the error of a wait. It matches ctx.Err().
func ended(ctx context.Context, err error) error {
	if cause := ctx.Err(); cause != nil && !errors.Is(err, cause) {
		return fmt.Errorf("%w: %w", err, cause)
	}
	return err
}

// pause waits for the time that the service has asked for or, if that is over, for interval.
func (op *operation) pause(ctx context.Context, interval time.Duration) error {
	wait := interval
	if asked := time.Until(op.NotBefore); asked > 0 {
		wait = asked
		if deadline, ok := ctx.Deadline(); ok && op.NotBefore.After(deadline) && ctx.Err() == nil {
			return fmt.Errorf("lro: the service asks to wait %v, past the deadline of the context: %w",
				asked.Round(time.Millisecond), context.DeadlineExceeded)
		}
	}
	if wait > 0 {
		op.log(ctx, slog.LevelDebug, "waiting", slog.Duration("wait", wait))
		timer := time.NewTimer(wait)
		defer timer.Stop()
		select {
		case <-timer.C:
		case <-ctx.Done():
		}
	}
	if err := ctx.Err(); err != nil {
		return fmt.Errorf("lro: waiting for the operation: %w", err)
	}
	return nil
}
