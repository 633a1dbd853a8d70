package main

import (
	"errors"
	"io"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
)

// stub is a transport without a network. As a real one does, it reads the body
// through a buffer of its own, closes it, and returns a response of its own.
type stub struct {
	// fails of every fails+1 requests are answered with 503.
	fails int64
	// errorBody is the size of the body of a 503. None is http.NoBody.
	errorBody int
	// memory gives that body the form that most stubs give it: an io.NopCloser around
	// a reader over memory.
	memory bool

	requests atomic.Int64
}

var errorText = strings.Repeat("it does not work ", 64)

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
		if s.errorBody > 0 {
			resp.Body = &stubBody{left: s.errorBody}
			if s.memory {
				resp.Body = io.NopCloser(strings.NewReader(errorText[:s.errorBody]))
			}
			resp.ContentLength = int64(s.errorBody)
		}
	}
	return resp, nil
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

// stubBody is a response body as a network's would be: of a type that nobody knows.
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
