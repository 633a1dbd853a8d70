package main

import (
	"errors"
	"io"
	"net/http"
	"sync"
	"sync/atomic"
)

// stub answers requests without a network. As net/http does, it reads the request's body
// through a buffer of its own, closes it, and returns a new response.
type stub struct {
	// fails of every fails+1 requests get a 503.
	fails int64
	// errorBody is the size of the body of a 503. 0 means http.NoBody.
	errorBody int
	// object gives a 200 a body of 1 KiB and an ETag. Otherwise its body is http.NoBody.
	object bool

	requests atomic.Int64
}

// behindTransport returns an *http.Transport, as most programs have it, that hands its
// requests to s instead of a connection.
func (s *stub) behindTransport() http.RoundTripper {
	t := newTransport()
	t.RegisterProtocol("http", s)
	return t
}

// stubURL is where the requests to stubs go.
const stubURL = "http://stub.example/thing"

var stubBuffers = sync.Pool{New: func() any { return new([4096]byte) }}

func (s *stub) RoundTrip(req *http.Request) (*http.Response, error) {
	if req.Body != nil && req.Body != http.NoBody {
		if err := swallow(req.Body, req.ContentLength); err != nil {
			return nil, err
		}
	}
	resp := &http.Response{
		Status:     "200 OK",
		StatusCode: http.StatusOK,
		Proto:      "HTTP/1.1",
		ProtoMajor: 1,
		ProtoMinor: 1,
		Header:     make(http.Header),
		Body:       http.NoBody,
		Request:    req,
	}
	if s.fails > 0 && (s.requests.Add(1)-1)%(s.fails+1) < s.fails {
		resp.Status, resp.StatusCode = "503 Service Unavailable", http.StatusServiceUnavailable
		setBody(resp, s.errorBody)
		return resp, nil
	}
	if s.object {
		resp.Header["Etag"] = []string{`"1"`}
		setBody(resp, 1024)
	}
	return resp, nil
}

func setBody(resp *http.Response, size int) {
	if size > 0 {
		resp.Body, resp.ContentLength = &stubBody{left: size}, int64(size)
	}
}

func swallow(body io.ReadCloser, want int64) error {
	buf := stubBuffers.Get().(*[4096]byte)
	defer stubBuffers.Put(buf)
	var got int64
	for {
		n, err := body.Read(buf[:])
		got += int64(n)
		if err == io.EOF {
			break
		}
		if err != nil {
			return err
		}
	}
	if err := body.Close(); err != nil {
		return err
	}
	if want > 0 && got != want {
		return errors.New("stub: body has the wrong length")
	}
	return nil
}

// stubBody is a response body of a type that no library knows, as the one of a connection
// is.
type stubBody struct{ left int }

func (b *stubBody) Read(p []byte) (int, error) {
	if b.left == 0 {
		return 0, io.EOF
	}
	n := min(len(p), b.left)
	clear(p[:n])
	b.left -= n
	return n, nil
}

func (b *stubBody) Close() error { return nil }
