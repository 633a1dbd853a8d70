// Download reads an object from a server that closes the connection after each MiB. With
// Client.ResumeMax the client requests the rest. If the object is replaced during the
// download, reading fails instead of mixing the two objects.
//
//	go run ./examples/download
package main

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"log"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"sync"
	"time"

	"github.com/a0b132ce/retryablehttp"
)

func main() {
	log.SetFlags(0)
	first, second := randomObject(1), randomObject(2)
	store := &store{}
	server := httptest.NewServer(store)
	defer server.Close()

	client := retryablehttp.NewClient()
	defer client.CloseIdleConnections()
	client.RetryWaitMin, client.RetryWaitMax = time.Millisecond, 4*time.Millisecond
	client.ResumeMax = 20 // for each download

	fmt.Println("8 MiB, the connection is closed after each MiB")
	store.put(first, `"1"`)
	got, err := download(client, server.URL, nil)
	check(err == nil && bytes.Equal(got, first), "the download failed: %v", err)
	fmt.Printf("  client  received all %d bytes\n\n", len(got))

	fmt.Println("the same, and the object is replaced after 3 MiB")
	got, err = download(client, server.URL, func(n int) {
		if n == 3<<20 {
			store.put(second, `"2"`)
		}
	})
	fmt.Printf("  client  received %d bytes, then: %v\n\n", len(got), err)
	var resumeErr *retryablehttp.ResumeError
	check(errors.As(err, &resumeErr) && errors.Is(err, retryablehttp.ErrRepresentationChanged), "unexpected error")
	check(resumeErr.Offset == int64(len(got)) && bytes.HasPrefix(first, got), "received bytes that are not of the first object")

	fmt.Println("without ResumeMax")
	client.ResumeMax = 0
	got, err = download(client, server.URL, nil)
	fmt.Printf("  client  received %d bytes, then: %v\n", len(got), err)
	check(err != nil, "the download did not fail")
}

// download returns what it could read, and calls progress with the number of bytes.
func download(client *retryablehttp.Client, url string, progress func(int)) ([]byte, error) {
	resp, err := client.Get(url)
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	var got bytes.Buffer
	for {
		_, err := io.CopyN(&got, resp.Body, 64<<10)
		if err == io.EOF {
			return got.Bytes(), nil
		}
		if err != nil {
			return got.Bytes(), err
		}
		if progress != nil {
			progress(got.Len())
		}
	}
}

// store serves one object and closes the connection after each MiB.
type store struct {
	mu     sync.Mutex
	object []byte
	etag   string
}

func (s *store) put(object []byte, etag string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.object, s.etag = object, etag
}

func (s *store) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	s.mu.Lock()
	object, etag := s.object, s.etag
	s.mu.Unlock()
	w.Header().Set("ETag", etag)
	w.Header().Set("Content-Type", "application/octet-stream")
	// ServeContent implements Range and If-Range.
	http.ServeContent(&limitedWriter{w, r, 1 << 20}, r, "", time.Time{}, bytes.NewReader(object))
}

// limitedWriter closes the connection after the given number of bytes.
type limitedWriter struct {
	http.ResponseWriter
	request   *http.Request
	remaining int
}

func (w *limitedWriter) WriteHeader(status int) {
	fmt.Printf("  server  %d  %s\n", status, w.request.Header.Get("Range"))
	w.ResponseWriter.WriteHeader(status)
}

func (w *limitedWriter) Write(p []byte) (int, error) {
	n, err := w.ResponseWriter.Write(p[:min(len(p), w.remaining)])
	w.remaining -= n
	if err == nil && n < len(p) {
		w.ResponseWriter.(http.Flusher).Flush()
		panic(http.ErrAbortHandler)
	}
	return n, err
}

func randomObject(seed byte) []byte {
	object := make([]byte, 8<<20)
	rand.NewChaCha8([32]byte{seed}).Read(object)
	return object
}

func check(ok bool, format string, args ...any) {
	if !ok {
		log.Fatalf(format, args...)
	}
}
