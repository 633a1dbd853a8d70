package lro

import (
	"context"
	"fmt"
	"net/http"
	"time"

	"github.com/a0b132ce/retryablehttp/pipeline"
)

// Poller follows one operation to its end. Make it with [New] or [Resume]. It is not safe
// for concurrent use.
//
// It sends requests only within Poll, PollUntilDone, States and Result, one at a time, and
// starts no goroutine. Ending the context of such a call does not end the operation, and
// the Poller can be used again after any error.
type Poller[T any] struct {
	op   operation
	opts Options[T]

	finished bool // result and err are final
	result   T
	err      error
}

// Done reports whether the last status of the operation was terminal. It sends no request.
func (p *Poller[T]) Done() bool { return p.op.last.State != InProgress }

// Poll asks the service for the status and returns it. It sends one request without waiting,
// also if the service has asked for a delay. If the operation has ended, Poll returns the last
// status without a request.
//
// An operation that has failed is not an error of Poll, but of Result. An error of Poll means
// that the status is not known. It is a [*pipeline.ResponseError] for an unexpected HTTP
// status, a [*ProtocolError] for a response that cannot be understood, or an error of the
// pipeline. The Status is then the one before.
func (p *Poller[T]) Poll(ctx context.Context) (Status, error) { return p.op.poll(ctx) }

// URL returns the status URL, without user information. Its query may hold a secret. URL
// returns "" if the operation has ended with its initial response, and if the original URL is
// polled: a DELETE of that would not cancel the operation, but delete the resource.
func (p *Poller[T]) URL() string {
	if p.op.Protocol == protocolBody {
		return ""
	}
	return p.op.PollURL
}

// Result returns the result of an operation that has succeeded. If it is not in the last
// response, Result sends one request for it, without waiting.
//
// The error is ErrNotDone if the operation is in progress, an [*OperationError] if it has
// failed or was canceled, a [*pipeline.ResponseError] if the status of the response to the
// request for the result is not 200, 201 or 204, or an error of the pipeline or of decoding.
//
// A result is kept: the next Result returns it without a request. Errors are kept too, except
// ErrNotDone, errors of the pipeline and of decoding, and the statuses 202, 401, 408, 429, and
// 5xx other than 501. After these, call Result again.
func (p *Poller[T]) Result(ctx context.Context) (T, error) {
	return p.finish(ctx, WaitOptions{MaxFailures: 1})
}

// finish returns the result. It repeats the request for it as the options say.
func (p *Poller[T]) finish(ctx context.Context, options WaitOptions) (T, error) {
	var zero T
	switch {
	case !p.Done():
		return zero, ErrNotDone
	case p.finished:
		return p.result, p.err
	case p.op.last.State != Succeeded:
		p.finished, p.err = true, p.op.failure()
		return zero, p.err
	}
	target, err := p.op.resultURL()
	if err != nil {
		return zero, err
	}
	resp := p.op.last.Response
	var body []byte
	if target == "" {
		body = p.op.resultIn()
	} else {
		p.op.NotBefore = time.Time{} // of the last status response
		err := p.op.repeat(ctx, options, func() (done bool, err error) {
			resp, body, err = p.op.get(ctx, "getting the result", target)
			if err == nil && (!success(resp) || resp.StatusCode == http.StatusAccepted) {
				err = fmt.Errorf("lro: getting the result: %w", pipeline.NewResponseError(resp))
				if !unrelated(resp.StatusCode) {
					p.finished, p.err = true, err
				}
			}
			return true, err
		})
		if err != nil {
			return zero, err
		}
	}
	result := *p.opts.Result
	if len(body) > 0 {
		if err := p.opts.Decode(withBody(resp, body), &result); err != nil {
			return zero, fmt.Errorf("lro: decoding the result: %w", err)
		}
	}
	*p.opts.Result = result
	p.finished, p.result = true, result
	return result, nil
}
