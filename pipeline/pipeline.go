package pipeline

import (
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"sync"

	"github.com/a0b132ce/retryablehttp"
	"github.com/a0b132ce/retryablehttp/internal/origin"
	"github.com/a0b132ce/retryablehttp/internal/redact"
)

// A Policy handles each request and each response of a pipeline, for example by adding a
// header. It is called by many goroutines at once.
type Policy interface {
	// Do passes req on by req.Next, after changing req.Raw() as it likes, and returns the
	// response or another one. It may return without calling Next, or call it several times,
	// one after the other. It returns a response or an error, never both, and
	// closes the body of a response that it does not return.
	Do(req *Request) (*http.Response, error)
}

// PolicyFunc makes a Policy of a function.
type PolicyFunc func(*Request) (*http.Response, error)

// Do calls f.
func (f PolicyFunc) Do(req *Request) (*http.Response, error) { return f(req) }

// Transporter sends a request. An [*http.Client] is one. To use an [http.RoundTripper],
// write &http.Client{Transport: rt}.
type Transporter interface {
	Do(*http.Request) (*http.Response, error)
}

// Pipeline sends requests through policies to a transport. It is immutable and may be
// copied and used by any number of goroutines. The zero Pipeline has no policies and the
// shared transport.
type Pipeline struct {
	stages *stages // nil in the zero Pipeline
}

var _ http.RoundTripper = Pipeline{}

// stages holds the policies and transports of a Pipeline.
type stages struct {
	policies []Policy
	follow   Transporter // follows redirects
	hop      Transporter // returns a redirect as the response, if it is an *http.Client
	log      *log        // nil logs nothing
}

// New returns a pipeline. A request passes the policies in the order given and then the
// transport; the response passes them in reverse. A policy before [Retry] sees each call
// once; a policy after it sees each attempt. Policies that are nil are left out.
//
// A nil transport means an http.Client that all such pipelines share. It follows redirects
// as usual, keeps connections for reuse, and has no timeout of its own.
//
// A request to another origin gets no field that may hold a secret, also after a redirect that
// an *http.Client follows. Only the Accept, Content and If fields, Cache-Control, Pragma, Range,
// Prefer and User-Agent are sent there, in the header and in the trailer, and the cookies of the
// client's Jar. Its Host is the host of its URL.
//
// A transport that is not an *http.Client itself, such as a struct that embeds one, must remove
// these fields when it follows a redirect.
func New(transport Transporter, policies ...Policy) Pipeline {
	s := &stages{policies: make([]Policy, 0, len(policies))}
	s.setTransport(transport)
	for _, policy := range policies {
		if policy == nil {
			continue
		}
		if logging, ok := policy.(interface{ prepare() *log }); ok {
			s.log = logging.prepare()
			policy = s.log
		}
		s.policies = append(s.policies, policy)
	}
	for i, policy := range s.policies {
		if b, ok := policy.(binder); ok {
			s.policies[i] = b.bind(s)
		}
	}
	return Pipeline{s}
}

// A binder is a Policy that New replaces by one made for the pipeline. New sets stages.log first.
type binder interface{ bind(*stages) Policy }

// sharedClient is the transport of pipelines that are given none. It is never modified.
var sharedClient = sync.OnceValue(func() *http.Client { return retryablehttp.NewClient().HTTPClient })

func (s *stages) setTransport(transport Transporter) {
	hc, ok := transport.(*http.Client)
	if !ok && transport != nil {
		s.follow, s.hop = transport, transport
		return
	}
	if hc == nil {
		hc = sharedClient()
	}
	follow, hop := *hc, *hc
	follow.CheckRedirect = func(req *http.Request, via []*http.Request) error {
		if origin.Of(req.URL) != origin.Of(via[0].URL) {
			keepPublic(req.Header, nil)
		}
		if hc.CheckRedirect != nil {
			return hc.CheckRedirect(req, via)
		}
		if len(via) >= maxRedirects {
			return fmt.Errorf("stopped after %d redirects", maxRedirects)
		}
		return nil
	}
	hop.CheckRedirect = func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }
	s.follow, s.hop = &follow, &hop
}

// maxRedirects is the limit of net/http.
const maxRedirects = 10

// zeroStages are the stages of the zero Pipeline.
var zeroStages = sync.OnceValue(func() *stages { return New(nil).stages })

func (p Pipeline) get() *stages {
	if p.stages == nil {
		return zeroStages()
	}
	return p.stages
}

// Do sends req through the pipeline and returns the response or an error, never both. The
// caller must close the response's body. Unless a policy such as [StatusError] makes it
// one, a status is not an error.
//
// A Request without a body, or with its body in memory, can be sent again after Do has
// returned. It keeps its values, such as the id of [RequestID]. Do closes any other body once,
// when it is no longer read.
//
// The text of an error has no password of a URL, and no query value that [Logging] does not
// allow. An error of the transport is a [*url.Error].
func (p Pipeline) Do(req *Request) (*http.Response, error) {
	if req == nil || req.raw == nil {
		return nil, errNilRequest
	}
	s := p.get()
	return p.do(req, s.follow, origin.Of(req.raw.URL))
}

// RoundTrip implements [http.RoundTripper], so that a pipeline can be the Transport of an
// [http.Client]. It does not modify r. Each hop of a redirect passes the policies. If a hop goes
// to another origin, RoundTrip sends all header fields of r, but only those fields of policies
// that hold no secret (see [New]).
//
// RoundTrip recognizes such a hop by r.Response, which an http.Client sets. A RoundTripper around
// the pipeline must pass on r or a clone of r. With a new request, which has no Response,
// credentials are sent to the other origin.
func (p Pipeline) RoundTrip(r *http.Request) (*http.Response, error) {
	if r == nil {
		return nil, errNilRequest
	}
	own := r.Clone(r.Context())
	own.RequestURI = "" // of a request that a server has received
	req, err := FromRequest(own)
	if err != nil {
		if r.Body != nil {
			r.Body.Close()
		}
		return nil, err
	}
	req.op.given = r.Header
	resp, err := p.do(req, p.get().hop, origin.Of(origin.FirstRequest(r).URL))
	if err == nil && (resp.Request == nil || resp.Request.Response == r.Response) {
		resp.Request = r
	}
	return resp, withoutURL(err)
}

// withoutURL returns err without the *url.Error around it, which an http.Client adds again.
func withoutURL(err error) error {
	if outer, ok := err.(*url.Error); ok && outer.Err != nil {
		return outer.Err
	}
	return err
}

func (p Pipeline) do(req *Request, transport Transporter, home origin.Origin) (resp *http.Response, err error) {
	op := req.op
	if op.running.Swap(true) {
		return nil, errRunning
	}
	op.stages, op.transport = p.get(), transport
	if op.home == (origin.Origin{}) {
		op.home = home
	}
	req.next = 0
	defer func() { // also if a policy panics
		req.closeUnused()
		op.mu.Lock()
		defer op.mu.Unlock()
		for _, body := range op.bodies {
			body.finish()
		}
		op.running.Store(false)
	}()
	resp, err = req.Next()
	if capture, ok := Value[captured](req); ok {
		*capture.to = responseOf(resp, err)
	}
	if err != nil {
		err = redact.Error(err, op.stages.show)
	}
	return resp, err
}

// Errors of requests that no pipeline can send.
var (
	errNilRequest    = errors.New("pipeline: nil Request")
	errNotInPipeline = errors.New("pipeline: Next was called outside of a pipeline, or after the end of the call")
	errRunning       = errors.New("pipeline: the Request is being sent already; send FromRequest(req.Raw().Clone(ctx)) instead")
	errNothing       = errors.New("pipeline: a policy or the transport returned neither a response nor an error")
)

// public reports whether a field is sent to an origin that is not the request's own. The
// name is canonical.
func public(name string) bool {
	switch name {
	case "Cache-Control", "Pragma", "Range", "Prefer", "User-Agent":
		return true
	}
	return strings.HasPrefix(name, "Accept") || strings.HasPrefix(name, "Content-") || strings.HasPrefix(name, "If-")
}

// keepPublic removes the fields that may hold a secret, except for those that given has too.
func keepPublic(header, given http.Header) {
	for name, values := range header {
		sent, ok := given[name]
		if !public(name) && (name == "Referer" || !ok || !slices.Equal(values, sent)) { // a Referer has the query
			delete(header, name)
		}
	}
}

// asPermanent returns err as one that is not retried. A *url.Error stays outermost.
func asPermanent(err error) error {
	if outer, ok := err.(*url.Error); ok {
		return &url.Error{Op: outer.Op, URL: outer.URL, Err: permanentError{outer.Err}}
	}
	return permanentError{err}
}

// permanentError is an error that is not retried.
type permanentError struct{ error }

func permanent(text string) error { return permanentError{errors.New(text)} }

func (e permanentError) Unwrap() error { return e.error }

// Permanent tells [retryablehttp.DefaultRetryPolicy] not to retry.
func (permanentError) Permanent() bool { return true }

// show formats a URL for errors and log lines.
func (s *stages) show(u *url.URL) string {
	if s == nil || s.log == nil {
		return redact.URL(u)
	}
	return s.log.show(u)
}
