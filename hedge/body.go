package hedge

import (
	"context"
	"io"
	"net/http"
	"time"
)

const (
	// drainMax and drainTime limit how much of a lost response is read, and for how long,
	// so that its connection can be used again.
	drainMax  = 64 << 10
	drainTime = 100 * time.Millisecond
)

// body is the body of the response that a call returns. The context of its attempt lasts
// until the body has been read to its end or is closed.
type body struct {
	io.ReadCloser
	cancel context.CancelFunc
}

func (b *body) Read(p []byte) (int, error) {
	n, err := b.ReadCloser.Read(p)
	if err != nil {
		b.cancel()
	}
	return n, err
}

func (b *body) Close() error {
	defer b.cancel()
	return b.ReadCloser.Close()
}

// writerToBody is a body for an inner body that is an io.WriterTo.
type writerToBody struct{ *body }

func (b writerToBody) WriteTo(w io.Writer) (int64, error) {
	defer b.cancel()
	return b.ReadCloser.(io.WriterTo).WriteTo(w)
}

// bindContext returns resp, with a body that calls cancel when the context of the attempt
// is no longer needed.
func bindContext(resp *http.Response, cancel context.CancelFunc) *http.Response {
	if resp.Body == http.NoBody || resp.StatusCode == http.StatusSwitchingProtocols {
		cancel() // a connection that has switched protocols does not depend on the context
		return resp
	}
	b := &body{resp.Body, cancel}
	resp.Body = b
	if _, ok := b.ReadCloser.(io.WriterTo); ok {
		resp.Body = writerToBody{b}
	}
	return resp
}

// discard reads the rest of a lost response, if it is short, and closes it. The context
// of its attempt ends with it.
func discard(resp *http.Response, cancel context.CancelFunc) {
	defer cancel()
	defer func() { _ = recover() }() // nobody is there who could be told of a panic
	timer := time.AfterFunc(drainTime, cancel)
	defer timer.Stop()
	defer resp.Body.Close()
	_, _ = io.CopyN(io.Discard, resp.Body, drainMax)
}
