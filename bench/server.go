package main

import (
	"context"
	"encoding/json"
	"fmt"
	"hash/crc32"
	"io"
	"net"
	"net/http"
	"os"
	"strconv"
	"sync"
	"sync/atomic"
	"time"
)

// serverEnv makes this program the server.
const serverEnv = "RETRYABLEHTTP_BENCH_SERVER"

func isServer() bool { return os.Getenv(serverEnv) != "" }

// addresses is what the server tells the client, one line of JSON on its stdout.
type addresses struct {
	Data    string // the server under test; its connections are counted
	Control string // tells what it has seen
	Reset   string // resets each connection after the first bytes of a request
	Closed  string // nobody listens
}

// seen is what the server knows of one key.
type seen struct {
	Attempts int
	Wrong    int // bodies accepted with a 200 that were not what was to be sent
	Broken   int // bodies that were truncated in an attempt that was to be accepted
	// Retry is the time from the header of the first response to the next request.
	Retry time.Duration

	firstResponse time.Time
}

// server answers requests of all cases. Every path carries a key, for which it
// counts the requests.
type server struct {
	accepted atomic.Int64

	mu   sync.Mutex
	keys map[string]*seen
}

// serve runs the server until stdin is closed, which the death of the parent does.
func serve() {
	listen := func() net.Listener {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			fmt.Fprintln(os.Stderr, "server:", err)
			os.Exit(1)
		}
		return l
	}
	s := &server{keys: map[string]*seen{}}
	data, control, reset, closed := listen(), listen(), listen(), listen()
	closed.Close()
	go resetAll(reset)
	go http.Serve(control, s.controlMux())
	go (&http.Server{
		Handler: s.dataMux(),
		ConnContext: func(ctx context.Context, _ net.Conn) context.Context {
			s.accepted.Add(1)
			return ctx
		},
	}).Serve(data)
	json.NewEncoder(os.Stdout).Encode(addresses{
		Data:    "http://" + data.Addr().String(),
		Control: "http://" + control.Addr().String(),
		Reset:   "http://" + reset.Addr().String(),
		Closed:  "http://" + closed.Addr().String(),
	})
	io.Copy(io.Discard, os.Stdin)
}

func resetAll(l net.Listener) {
	for {
		conn, err := l.Accept()
		if err != nil {
			return
		}
		go func() {
			conn.SetDeadline(time.Now().Add(time.Second))
			conn.Read(make([]byte, 1))
			conn.(*net.TCPConn).SetLinger(0)
			conn.Close()
		}()
	}
}

func (s *server) controlMux() *http.ServeMux {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /accepted", func(w http.ResponseWriter, r *http.Request) {
		json.NewEncoder(w).Encode(s.accepted.Load())
	})
	mux.HandleFunc("GET /seen/{key}", func(w http.ResponseWriter, r *http.Request) {
		s.mu.Lock()
		defer s.mu.Unlock()
		json.NewEncoder(w).Encode(s.key(r))
	})
	return mux
}

func (s *server) dataMux() *http.ServeMux {
	mux := http.NewServeMux()
	mux.HandleFunc("/plain/{key}", s.plain)
	mux.HandleFunc("/flaky/{key}", s.flaky)
	mux.HandleFunc("/upload/{key}", s.upload)
	mux.HandleFunc("/early/{key}", s.early)
	mux.HandleFunc("/drip/{key}", s.drip)
	mux.HandleFunc("/after/{key}", s.after)
	return mux
}

// key wants the lock held.
func (s *server) key(r *http.Request) *seen {
	key := r.PathValue("key")
	k := s.keys[key]
	if k == nil {
		k = &seen{}
		s.keys[key] = k
	}
	return k
}

// arrive counts a request and returns its number, from 1.
func (s *server) arrive(r *http.Request) int {
	s.mu.Lock()
	defer s.mu.Unlock()
	k := s.key(r)
	k.Attempts++
	if k.Attempts == 2 && !k.firstResponse.IsZero() {
		k.Retry = time.Since(k.firstResponse)
	}
	return k.Attempts
}

func (s *server) update(r *http.Request, f func(*seen)) {
	s.mu.Lock()
	defer s.mu.Unlock()
	f(s.key(r))
}

func number(r *http.Request, name string) int64 {
	n, _ := strconv.ParseInt(r.URL.Query().Get(name), 10, 64)
	return n
}

var zeros [256 << 10]byte

func fill(w io.Writer, n int64) {
	for n > 0 {
		m, err := w.Write(zeros[:min(n, int64(len(zeros)))])
		if err != nil {
			return
		}
		n -= int64(m)
	}
}

// plain expects a body of body bytes and responds with size bytes.
func (s *server) plain(w http.ResponseWriter, r *http.Request) {
	if n, _, err := receive(r.Body, false); err != nil || n != number(r, "body") {
		w.WriteHeader(http.StatusBadRequest)
		return
	}
	size := number(r, "size")
	w.Header().Set("Content-Type", "application/octet-stream")
	w.Header().Set("Content-Length", strconv.FormatInt(size, 10))
	fill(w, size)
}

// flaky answers fails of every fails+1 requests with 503 and a body of size bytes.
func (s *server) flaky(w http.ResponseWriter, r *http.Request) {
	fails := number(r, "fails")
	w.Header().Set("Content-Type", "application/octet-stream")
	if int64(s.arrive(r)-1)%(fails+1) == fails {
		w.Header().Set("Content-Length", "2")
		io.WriteString(w, "ok")
		return
	}
	size := number(r, "size")
	w.Header().Set("Content-Length", strconv.FormatInt(size, 10))
	w.WriteHeader(http.StatusServiceUnavailable)
	fill(w, size)
}

var bodyBuffers = sync.Pool{New: func() any { return new([256 << 10]byte) }}

// receive reads a body to its end.
func receive(r io.Reader, sum bool) (n int64, crc uint32, err error) {
	buf := bodyBuffers.Get().(*[256 << 10]byte)
	defer bodyBuffers.Put(buf)
	for {
		m, err := r.Read(buf[:])
		n += int64(m)
		if sum {
			crc = crc32.Update(crc, castagnoli, buf[:m])
		}
		if err == io.EOF {
			return n, crc, nil
		}
		if err != nil {
			return n, crc, err
		}
	}
}

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// upload reads each body whole and then answers: 503 to the first of two, 200 to the
// second, if it had the right size.
func (s *server) upload(w http.ResponseWriter, r *http.Request) {
	first := s.arrive(r)%2 == 1
	n, _, err := receive(r.Body, false)
	switch {
	case err != nil || n != number(r, "size"):
		w.WriteHeader(http.StatusBadRequest)
	case first:
		w.WriteHeader(http.StatusServiceUnavailable)
	}
}

// early answers the first request with 503 when it has read 64 KiB of the body, and
// then either drops the connection or keeps it and reads on. Later requests are
// accepted with a 200 if their body comes to an end, whatever it was.
func (s *server) early(w http.ResponseWriter, r *http.Request) {
	if s.arrive(r) == 1 {
		io.CopyN(io.Discard, r.Body, 64<<10)
		if r.URL.Query().Get("then") == "drop" {
			conn, buf, err := http.NewResponseController(w).Hijack()
			if err != nil {
				return
			}
			buf.WriteString("HTTP/1.1 503 Service Unavailable\r\nContent-Length: 1024\r\nConnection: close\r\n\r\n")
			buf.Write(zeros[:1024])
			buf.Flush()
			conn.Close()
			return
		}
		rc := http.NewResponseController(w)
		rc.EnableFullDuplex()
		w.Header().Set("Content-Length", "1024")
		w.WriteHeader(http.StatusServiceUnavailable)
		w.Write(zeros[:1024])
		rc.Flush()
		receive(r.Body, false)
		return
	}
	n, crc, err := receive(r.Body, true)
	if err != nil {
		s.update(r, func(k *seen) { k.Broken++ })
		panic(http.ErrAbortHandler)
	}
	if n != number(r, "size") || int64(crc) != number(r, "crc") {
		s.update(r, func(k *seen) { k.Wrong++ })
	}
}

// drip answers the first request with 503 and a body of 4 KiB that comes at 1 byte
// per 100 ms.
func (s *server) drip(w http.ResponseWriter, r *http.Request) {
	if s.arrive(r) > 1 {
		return
	}
	w.Header().Set("Content-Length", "4096")
	w.WriteHeader(http.StatusServiceUnavailable)
	rc := http.NewResponseController(w)
	rc.Flush()
	s.update(r, func(k *seen) { k.firstResponse = time.Now() })
	tick := time.NewTicker(100 * time.Millisecond)
	defer tick.Stop()
	for range 4096 {
		select {
		case <-tick.C:
		case <-r.Context().Done():
			return
		}
		w.Write(zeros[:1])
		if rc.Flush() != nil {
			return
		}
	}
}

// after answers 503 with a Retry-After.
func (s *server) after(w http.ResponseWriter, r *http.Request) {
	s.arrive(r)
	w.Header().Set("Retry-After", r.URL.Query().Get("value"))
	w.WriteHeader(http.StatusServiceUnavailable)
}
