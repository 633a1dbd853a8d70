package failover

import (
	"bytes"
	"errors"
	"io"
	"net/http"
	"reflect"
	"sync/atomic"
	"syscall"
)

// watchedBody is a request body whose errors can be told from those of the endpoint.
type watchedBody struct {
	io.ReadCloser
	reading atomic.Bool // a Read has not returned
	failed  atomic.Bool // a Read has failed
	closed  atomic.Bool
}

// watch returns what to send for body, and the watchedBody, nil if there is none. A body in
// memory is not watched, because it cannot fail, nor is a file: net/http looks at the types
// of both in order to send them in one packet, or by sendfile.
func watch(body io.ReadCloser) (io.ReadCloser, *watchedBody) {
	if body == nil || body == http.NoBody {
		return body, nil
	}
	if _, file := body.(syscall.Conn); file {
		return body, nil
	}
	if t := reflect.TypeOf(body); t == nopCloser || t == nopCloserWriterTo {
		return body, nil
	}
	w := &watchedBody{ReadCloser: body}
	return w, w
}

// io.NopCloser has a type of its own for readers with a WriteTo method.
var (
	nopCloser         = reflect.TypeOf(io.NopCloser(struct{ io.Reader }{}))
	nopCloserWriterTo = reflect.TypeOf(io.NopCloser(new(bytes.Buffer)))
)

// atFault reports whether the body has failed, or keeps the transport waiting.
func (b *watchedBody) atFault() bool {
	return b != nil && (b.failed.Load() || b.reading.Load())
}

func (b *watchedBody) Read(p []byte) (int, error) {
	b.reading.Store(true)
	n, err := b.ReadCloser.Read(p)
	if err != nil && err != io.EOF {
		b.failed.Store(true)
	}
	b.reading.Store(false)
	return n, err
}

func (b *watchedBody) Close() error {
	if b.closed.Swap(true) {
		return nil
	}
	return b.ReadCloser.Close()
}

// bodyAgain returns another body for a request whose first one was used.
func bodyAgain(req *http.Request) (io.ReadCloser, error) {
	switch {
	case req.Body == nil || req.Body == http.NoBody:
		return req.Body, nil
	case req.GetBody == nil:
		return nil, errors.New("the body can be sent only once")
	}
	return req.GetBody()
}

func closeBody(body io.ReadCloser) {
	if body != nil {
		body.Close()
	}
}
