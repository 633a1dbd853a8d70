// Download gets an object from a server that breaks the connection again and again, with
// Client.ResumeMax, and checks the SHA-256 of what it got. Then the object is replaced in
// the middle of a download, which is an error and not a mixture of the two.
//
//	go run ./examples/download
package main

import (
	"bytes"
	"crypto/sha256"
	"errors"
	"fmt"
	"hash"
	"io"
	"log"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"time"

	"github.com/a0b132ce/retryablehttp"
)

const size = 8 << 20

func main() {
	log.SetFlags(0)
	store := &store{object: random(1), version: `"1"`, each: 1 << 20}
	server := httptest.NewServer(store)
	defer server.Close()

	client := retryablehttp.NewClient()
	defer client.CloseIdleConnections()
	client.RetryWaitMin, client.RetryWaitMax = time.Millisecond, 4*time.Millisecond
	client.ResumeMax = 20 // for one download, in all
	store.watch(func(status int, asked string) { fmt.Printf("  server  %d  %s\n", status, asked) })

	fmt.Printf("%d MiB, the connection breaks after each MiB\n", size>>20)
	want := sha256.Sum256(store.object)
	sum, n, err := download(client, server.URL, nil)
	must(err == nil, "the download failed: %v", err)
	fmt.Printf("  client  %d bytes, SHA-256 %x…\n\n", n, sum.Sum(nil)[:8])
	must(n == size && bytes.Equal(sum.Sum(nil), want[:]), "the object is not the one that was sent")

	fmt.Println("the same, and the object is replaced after 3 MiB")
	old := bytes.Clone(store.object)
	sum, n, err = download(client, server.URL, func(n int64) {
		if n >= 3<<20 {
			store.replace(random(2), `"2"`)
		}
	})
	fmt.Printf("  client  %d bytes, then: %s\n\n", n, strings.ReplaceAll(fmt.Sprint(err), server.URL, "http://server"))
	var broken *retryablehttp.ResumeError
	must(errors.As(err, &broken) && errors.Is(err, retryablehttp.ErrRepresentationChanged), "not the error that was expected")
	begun := sha256.Sum256(old[:n])
	must(broken.Offset == n && bytes.Equal(sum.Sum(nil), begun[:]), "what was read is not the beginning of the first object")

	fmt.Println("without ResumeMax")
	client.ResumeMax = 0
	_, n, err = download(client, server.URL, nil)
	fmt.Printf("  client  %d bytes, then: %v\n", n, err)
	must(err != nil, "the download did not fail")
}

// download reads an object to its end, or as far as it comes.
func download(client *retryablehttp.Client, url string, progress func(int64)) (hash.Hash, int64, error) {
	sum := sha256.New()
	resp, err := client.Get(url)
	if err != nil {
		return sum, 0, err
	}
	defer resp.Body.Close()
	var n int64
	buf := make([]byte, 64<<10)
	for {
		got, err := resp.Body.Read(buf)
		sum.Write(buf[:got])
		n += int64(got)
		if err == io.EOF {
			return sum, n, nil
		}
		if err != nil {
			return sum, n, err
		}
		if progress != nil {
			progress(n)
		}
	}
}

// store serves one object, and breaks the connection when it has sent so much of it.
type store struct {
	mu      sync.Mutex
	object  []byte
	version string // its strong ETag
	each    int
	seen    func(status int, asked string)
}

func (s *store) watch(seen func(int, string)) { s.seen = seen }

func (s *store) replace(object []byte, version string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.object, s.version = object, version
}

func (s *store) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	s.mu.Lock()
	object, version := s.object, s.version
	s.mu.Unlock()
	w.Header().Set("ETag", version)
	w.Header().Set("Content-Type", "application/octet-stream")
	// ServeContent knows Range and If-Range.
	http.ServeContent(&breaking{ResponseWriter: w, left: s.each, asked: r.Header.Get("Range"), seen: s.seen},
		r, "", time.Time{}, bytes.NewReader(object))
}

// breaking ends the connection when left bytes have been written.
type breaking struct {
	http.ResponseWriter
	left  int
	asked string
	seen  func(int, string)
}

func (w *breaking) WriteHeader(status int) {
	w.seen(status, w.asked)
	w.ResponseWriter.WriteHeader(status)
}

func (w *breaking) Write(p []byte) (int, error) {
	n := min(len(p), w.left)
	written, err := w.ResponseWriter.Write(p[:n])
	w.left -= written
	if err == nil && n < len(p) {
		w.ResponseWriter.(http.Flusher).Flush()
		panic(http.ErrAbortHandler)
	}
	return written, err
}

func random(seed uint64) []byte {
	object := make([]byte, size)
	rand.NewChaCha8([32]byte{byte(seed)}).Read(object)
	return object
}

func must(ok bool, format string, args ...any) {
	if !ok {
		log.Fatalf(format, args...)
	}
}
