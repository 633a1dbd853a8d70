package lro

import (
	"fmt"
	"net/http"
	"slices"
	"strings"

	"github.com/a0b132ce/retryablehttp/pipeline"
)

// State is the state of an operation.
type State int

const (
	InProgress State = iota
	Succeeded        // terminal
	Failed           // terminal
	Canceled         // terminal
)

// String returns the name of the state, such as "in progress".
func (s State) String() string {
	switch s {
	case InProgress:
		return "in progress"
	case Succeeded:
		return "succeeded"
	case Failed:
		return "failed"
	case Canceled:
		return "canceled"
	}
	return fmt.Sprintf("State(%d)", int(s))
}

// Status is the state of an operation as reported by a response.
type Status struct {
	State State

	// Text is the service's word for the state, such as "Provisioning". It is "" if the
	// response does not have one.
	Text string

	// Progress is how much of the work is done, from 0 to 100 percent. 0 also means unknown.
	// Only the operations protocol has it.
	Progress int

	// Response is the response. Its body is in memory and can be read by
	// [pipeline.Payload]. It is nil after Resume, until a poll succeeds.
	Response *http.Response
}

// FinalState says where the result of an operation that has succeeded is.
type FinalState string

const (
	// FinalStateDefault is the place that the protocol prescribes (see the package
	// comment).
	FinalStateDefault FinalState = ""
	// FinalStateLocation is the URL in the Location header of the initial response. Without
	// that header, the default applies.
	FinalStateLocation FinalState = "location"
	// FinalStateOriginalURL is the URL of the first request, before any redirect.
	FinalStateOriginalURL FinalState = "original"
	// FinalStateOperation is the last status response.
	FinalStateOperation FinalState = "operation"
)

// known reports whether f is one of the constants.
func (f FinalState) known() bool {
	return slices.Contains([]FinalState{FinalStateDefault, FinalStateLocation, FinalStateOriginalURL, FinalStateOperation}, f)
}

// DefaultMaxBody is the limit of response bodies if Options.MaxBody is 0: 4 MiB.
const DefaultMaxBody = 4 << 20

// Options has the settings of a Poller. The zero Options, and a nil one, are right for a
// service that follows its protocol and sends the result as JSON. Pollers may share Options
// whose Result is nil.
type Options[T any] struct {
	// Operation is a name for the operation, such as "things.create". Resume refuses a token
	// that was made with another name.
	Operation string

	// FinalState says where the result is. It has no effect on operations without a status
	// URL: their result is the last response. Resume ignores it, because the token has it.
	FinalState FinalState

	// ResultMember is the name of the top-level member that holds the result, if that is in
	// the last status response. "" means the whole body, or member "result" in the operations
	// protocol. Resume ignores it, because the token has it.
	ResultMember string

	// Result, if not nil, is what the result is decoded into. Fields that the JSON lacks
	// keep their values. If decoding fails, *Result stays as it is, except for what its
	// pointers, maps and slices refer to.
	Result *T

	// Decode decodes the result. The body of the response is in memory. If the result is a
	// member of the response, the body is that member only. Decode is not called for an empty
	// body: the result is then *Result or the zero T. Nil means JSON.
	Decode func(*http.Response, *T) error

	// MaxBody is the largest size of a response body, in bytes. A larger one is a
	// *ProtocolError. 0 or less means DefaultMaxBody.
	MaxBody int64

	// Wait has the settings for States, and for PollUntilDone if its own are nil.
	Wait WaitOptions

	// CallOptions apply to each request of the Poller.
	CallOptions []pipeline.CallOption
}

// New returns a Poller for an operation. resp is the response to the request that has started
// it; New reads and closes its body. The Poller sends its requests through pl, which should be
// the pipeline that has sent that request.
//
// If the status of resp is not 200, 201, 202 or 204, the error is a
// [*pipeline.ResponseError]. If a status URL is not an http or https URL, or a 202 has none,
// the error is a [*ProtocolError].
//
// New also fails if it cannot read a body that it needs: the body that is the result because
// there is no URL to poll, and the body of a 202 whose only status URL is its Location, because
// that body tells the protocol. The error is what the read returned, or a *ProtocolError if the
// body is larger than Options.MaxBody.
//
// The operation may have started even if the response was cut off. To repeat such a request,
// have [pipeline.Retry] and [pipeline.BodyDownload] in the pipeline, and send a POST or PATCH
// with an Idempotency-Key if the API knows that header.
func New[T any](resp *http.Response, pl pipeline.Pipeline, opts *Options[T]) (*Poller[T], error) {
	p := newPoller(pl, opts)
	if err := p.op.begin(resp); err != nil {
		return nil, err
	}
	return p, nil
}

func newPoller[T any](pl pipeline.Pipeline, opts *Options[T]) *Poller[T] {
	p := new(Poller[T])
	if opts != nil {
		p.opts = *opts
	}
	if p.opts.Result == nil {
		p.opts.Result = new(T)
	}
	if p.opts.Decode == nil {
		p.opts.Decode = func(resp *http.Response, v *T) error { return pipeline.DecodeJSON(resp, v) }
	}
	p.op = operation{
		record: record{
			Name:   p.opts.Operation,
			Type:   typeName[T](),
			Final:  p.opts.FinalState,
			Member: p.opts.ResultMember,
		},
		pl:      pl,
		options: p.opts.CallOptions,
		maxBody: p.opts.MaxBody,
	}
	if p.op.maxBody <= 0 {
		p.op.maxBody = DefaultMaxBody
	}
	return p
}

// typeName returns the name of T with the paths of all packages in it. The name that fmt and
// reflect have for T lacks these; the name of a type with the type argument T has them.
func typeName[T any]() string {
	_, name, _ := strings.Cut(fmt.Sprintf("%T", argument[T]{}), "[")
	return strings.TrimSuffix(name, "]")
}

type argument[T any] struct{}
