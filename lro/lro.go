package lro

import (
	"fmt"
	"net/http"
	"reflect"
	"slices"

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

// Status is what a response said about an operation.
type Status struct {
	State State

	// Text is the service's word for the state, such as "Provisioning". It is "" if the
	// response had none.
	Text string

	// Progress is how much of the work is done, from 0 to 100 percent. 0 also means that it
	// is not known. Only the operations protocol has it.
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
	// FinalStateLocation is the URL of the Location header of the initial response. If it
	// had none, the default applies.
	FinalStateLocation FinalState = "location"
	// FinalStateOriginalURL is the URL of the original request.
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
	// Operation is a name for the operation, such as "things.create". A resume token has
	// it, and Resume refuses a token with another name.
	Operation string

	// FinalState says where the result is. A resume token has it; Resume ignores the one
	// here. It has no effect on operations without a status URL: their result is the last
	// response.
	FinalState FinalState

	// ResultMember is the name of the top-level member of the status response that holds the
	// result. "" means the whole body, or member "result" in the operations protocol. It is
	// used if the result is in the status response. A resume token has it; Resume ignores
	// the one here.
	ResultMember string

	// Result, if not nil, is what the result is decoded into. Fields that the JSON lacks
	// keep their values. *Result is set only if decoding succeeds, but what its pointers, maps
	// and slices refer to may change even if it fails.
	Result *T

	// Decode decodes the result. The body of the response is in memory, and is only the
	// result if that is a member of the status response. Decode is not called for an empty
	// body: the result is then *Result or the zero T. Nil means JSON.
	Decode func(*http.Response, *T) error

	// MaxBody is the size in bytes of the largest response body. A larger one is a
	// *ProtocolError. 0 or less means DefaultMaxBody.
	MaxBody int64

	// Wait has the settings of States, and of PollUntilDone if that is given none.
	Wait WaitOptions

	// CallOptions apply to each request of the Poller.
	CallOptions []pipeline.CallOption
}

// New returns a Poller for the operation that resp, the response to the initial request,
// has started. It reads and closes the body of resp. The Poller sends its requests through
// pl, which should be the pipeline that has sent the initial request.
//
// If the status of resp is not 200, 201, 202 or 204, the error is a
// [*pipeline.ResponseError]. If resp names a status URL that is not an http or https URL, or
// is a 202 without any, the error is a [*ProtocolError].
//
// New also fails if it cannot read the body and needs it: as the result or, in a 202 whose only
// status URL is its Location, to tell the protocol. It then returns the error of the read, or a
// *ProtocolError if the body is larger than Options.MaxBody. The operation may have started
// nevertheless. So send a POST or PATCH with an Idempotency-Key, if the API knows that header,
// and have [pipeline.BodyDownload] in the pipeline: [pipeline.Retry] then repeats a request
// whose response was cut off.
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
			Type:   typeName(reflect.TypeFor[T]()),
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

// typeName returns the name of a type with the paths of packages.
func typeName(t reflect.Type) string {
	if t.PkgPath() != "" {
		return t.PkgPath() + "." + t.Name()
	}
	switch t.Kind() {
	case reflect.Pointer:
		return "*" + typeName(t.Elem())
	case reflect.Slice:
		return "[]" + typeName(t.Elem())
	case reflect.Array:
		return fmt.Sprintf("[%d]%s", t.Len(), typeName(t.Elem()))
	case reflect.Map:
		return fmt.Sprintf("map[%s]%s", typeName(t.Key()), typeName(t.Elem()))
	}
	return t.String()
}
