package main

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"os"
	"time"
)

// A contender is one library, or one way of using it. To add a peer, write a file
// named after it with a contender, and list it in contenders.
type contender interface {
	Name() string
	// New makes a client that sends through rt and retries as s says.
	New(rt http.RoundTripper, s settings) client
}

// settings are the same for all. Loggers are silent.
type settings struct {
	// Retries is how many attempts may follow the first. A retry follows at once,
	// or as soon after as the library can be told to.
	Retries int

	// Keep is how much of a body that can be read once may be kept, for libraries that
	// do not keep all of it by themselves.
	Keep int64

	// ObeyRetryAfter leaves the waiting to what the library does by itself with a
	// Retry-After header.
	ObeyRetryAfter bool
}

type client interface {
	// Get is the library's shortest way to send a GET.
	Get(url string) (*http.Response, error)

	// Prepare does what a program can do once for all calls, and returns the
	// rest. A request without a body is made once if the library lets it be sent
	// again; one with a body is made for each call.
	//
	// It returns errUnsupported for a body that the library cannot take.
	Prepare(r request) (call, error)
}

// A call sends a request to its end. The response's body is the caller's to close.
// It is for one goroutine at a time.
type call func() (*http.Response, error)

type request struct {
	Context context.Context
	Method  string
	URL     string
	Body    *payload // nil: none
}

var errUnsupported = errors.New("not supported")

// contenders are the rows of the tables.
func contenders() []contender {
	return []contender{
		netHTTP{}, loop{},
		ours{}, oursRoundTripper{},
		hashicorp{}, failsafeHTTP{}, azureCore{}, restyV3{}, heimdallV7{}, rehttpV1{},
	}
}

// kind says what an upload is given as.
type kind int

const (
	inMemory kind = iota // a []byte, or a *bytes.Reader over it
	// file is an *os.File, given to http.NewRequest or to the library's own function.
	file
	// seeker is a reader that can seek, and nothing else.
	seeker
	// withGetBody is a reader of an unknown type that can be opened again: by
	// GetBody, or by the library's own kind of function.
	withGetBody
	// opaque is a reader of an unknown type that can be read once.
	opaque
)

func (k kind) String() string {
	return [...]string{"in memory", "file", "seeker", "with GetBody", "opaque"}[k]
}

// A payload is what an upload sends.
type payload struct {
	kind    kind
	bytes   []byte
	path    string // of the file that is sent if bytes is nil
	size    int64
	chunked bool // the length is not given
}

func (p *payload) open() (*os.File, error) { return os.Open(p.path) }

// openOpaque opens the payload as a reader of an unknown type.
func (p *payload) openOpaque() (io.ReadCloser, error) {
	if p.bytes != nil {
		return opaqueReader{io.NopCloser(bytes.NewReader(p.bytes))}, nil
	}
	f, err := p.open()
	if err != nil {
		return nil, err
	}
	return opaqueReader{f}, nil
}

// openSeeker opens the file as a reader that can seek, and nothing else.
func (p *payload) openSeeker() (io.ReadSeekCloser, error) {
	f, err := p.open()
	if err != nil {
		return nil, err
	}
	return seekReader{f}, nil
}

// length is what goes into http.Request.ContentLength.
func (p *payload) length() int64 {
	if p.chunked {
		return -1
	}
	return p.size
}

// opaqueReader and seekReader hide the type of what they read.
type (
	opaqueReader struct{ io.ReadCloser }
	seekReader   struct{ io.ReadSeekCloser }
)

func (r request) context() context.Context {
	if r.Context == nil {
		return context.Background()
	}
	return r.Context
}

// standard makes the request as a user of net/http does. It serves every library
// that takes an *http.Request.
func (r request) standard() (*http.Request, error) {
	ctx, p := r.context(), r.Body
	if p == nil {
		return http.NewRequestWithContext(ctx, r.Method, r.URL, nil)
	}
	var body io.ReadCloser
	var err error
	switch p.kind {
	case inMemory:
		return http.NewRequestWithContext(ctx, r.Method, r.URL, bytes.NewReader(p.bytes))
	case file:
		body, err = p.open()
	case seeker:
		body, err = p.openSeeker()
	case withGetBody, opaque:
		body, err = p.openOpaque()
	}
	if err != nil {
		return nil, err
	}
	req, err := http.NewRequestWithContext(ctx, r.Method, r.URL, body)
	if err != nil {
		body.Close()
		return nil, err
	}
	req.ContentLength = p.length()
	if p.kind == withGetBody {
		req.GetBody = p.openOpaque
	}
	return req, nil
}

// doer is http.Client, and what behaves like it.
type doer interface {
	Do(*http.Request) (*http.Response, error)
}

// standardCall is Prepare for libraries that are used through an *http.Client.
func standardCall(d doer, r request) (call, error) {
	if r.Body != nil {
		return func() (*http.Response, error) {
			req, err := r.standard()
			if err != nil {
				return nil, err
			}
			return d.Do(req)
		}, nil
	}
	req, err := r.standard()
	if err != nil {
		return nil, err
	}
	return func() (*http.Response, error) { return d.Do(req) }, nil
}

// newTransport is the pool that each client gets one of.
func newTransport() *http.Transport {
	return &http.Transport{
		DialContext:         (&net.Dialer{Timeout: 5 * time.Second}).DialContext,
		MaxIdleConns:        64,
		MaxIdleConnsPerHost: 16,
		IdleConnTimeout:     90 * time.Second,
	}
}

// finish makes a call, reads its answer to the end, and wants a 200.
func finish(c call) error {
	resp, err := c()
	if err != nil {
		if resp != nil && resp.Body != nil {
			resp.Body.Close()
		}
		return err
	}
	if resp.Body != http.NoBody {
		_, err = io.Copy(io.Discard, resp.Body)
		if closeErr := resp.Body.Close(); err == nil {
			err = closeErr
		}
	}
	if err == nil && resp.StatusCode != http.StatusOK {
		err = errors.New("status " + resp.Status)
	}
	return err
}
