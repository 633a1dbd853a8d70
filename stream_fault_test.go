package retryablehttp

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"os/exec"
	"runtime"
	"runtime/debug"
	"runtime/metrics"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// pattern is what generated bodies consist of, again and again. Its length has nothing in
// common with the sizes of buffers, so that a lost or doubled buffer shows.
var pattern = sync.OnceValue(func() []byte {
	p := make([]byte, 1<<20-3)
	rand.NewChaCha8([32]byte{1}).Read(p)
	return p
})

// generated is a one-shot body of which the byte at any offset is known, and that can be
// made and checked at the speed of copying.
type generated struct{ at, size int64 }

// It is one goroutine's, so there is nothing for the race detector to see, who would take
// half of the time.
//
//go:norace
func (g *generated) Read(p []byte) (int, error) {
	if g.at == g.size {
		return 0, io.EOF
	}
	p = p[:min(int64(len(p)), g.size-g.at)]
	n := copy(p, pattern()[g.at%int64(len(pattern())):])
	g.at += int64(n)
	return n, nil
}

// checker is a writer that accepts what a generated body gives.
type checker struct{ at int64 }

// It is one goroutine's too.
//
//go:norace
func (c *checker) Write(p []byte) (int, error) {
	for rest := p; len(rest) > 0; {
		want := pattern()[c.at%int64(len(pattern())):]
		n := min(len(want), len(rest))
		if !bytes.Equal(want[:n], rest[:n]) {
			return 0, fmt.Errorf("wrong bytes between %d and %d", c.at, c.at+int64(n))
		}
		c.at += int64(n)
		rest = rest[n:]
	}
	return len(p), nil
}

// TestStreamServerProcess is not a test. The tests below start it as their server in a
// process of its own, so that its memory is not measured. Path /N resets the first
// request after N bytes and reads the whole of the next.
func TestStreamServerProcess(*testing.T) {
	if os.Getenv("STREAM_SERVER") == "" {
		return
	}
	type connKey struct{}
	var requests atomic.Int32
	server := &http.Server{
		Protocols: new(http.Protocols),
		ConnContext: func(ctx context.Context, conn net.Conn) context.Context {
			return context.WithValue(ctx, connKey{}, conn)
		},
		Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			var check checker
			buf := make([]byte, 256<<10)
			if requests.Add(1) == 1 {
				after, _ := strconv.ParseInt(r.URL.Path[1:], 10, 64)
				if _, err := io.CopyBuffer(&check, io.LimitReader(r.Body, after), buf); err == nil {
					if conn, ok := r.Context().Value(connKey{}).(*net.TCPConn); ok && r.ProtoMajor == 1 {
						conn.SetLinger(0)
					}
					panic(http.ErrAbortHandler) // a RST of the connection or, with HTTP/2, of the stream
				}
			}
			if _, err := io.CopyBuffer(struct{ io.Writer }{&check}, r.Body, buf); err != nil {
				http.Error(w, err.Error(), http.StatusConflict)
				return
			}
			fmt.Fprint(w, check.at)
		}),
	}
	server.Protocols.SetHTTP1(true)
	server.Protocols.SetUnencryptedHTTP2(true)
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		panic(err)
	}
	go server.Serve(listener)
	fmt.Println("listening on", listener.Addr())
	io.Copy(io.Discard, os.Stdin) // until the parent closes it or is gone
	os.Exit(0)
}

// startStreamServer starts TestStreamServerProcess and gives its URL.
func startStreamServer(t *testing.T) string {
	cmd := exec.Command(os.Args[0], "-test.run=^TestStreamServerProcess$")
	cmd.Env = append(os.Environ(), "STREAM_SERVER=1")
	stdin, err := cmd.StdinPipe()
	require.NoError(t, err)
	stdout, err := cmd.StdoutPipe()
	require.NoError(t, err)
	require.NoError(t, cmd.Start())
	t.Cleanup(func() {
		stdin.Close()
		cmd.Wait()
	})
	line, err := bufio.NewReader(stdout).ReadString('\n')
	require.NoError(t, err)
	addr, ok := strings.CutPrefix(strings.TrimSpace(line), "listening on ")
	require.True(t, ok, line)
	return "http://" + addr
}

// peakHeap runs f and tells by how much the heap grew meanwhile, at most: the bytes of
// all objects, those included that are garbage but not collected yet, sampled every
// millisecond. The collector runs often, so that it is not its laziness that is measured.
func peakHeap(f func()) int64 {
	defer debug.SetGCPercent(debug.SetGCPercent(10))
	objects := func() int64 {
		sample := []metrics.Sample{{Name: "/memory/classes/heap/objects:bytes"}}
		metrics.Read(sample)
		return int64(sample[0].Value.Uint64())
	}
	runtime.GC()
	before, peak := objects(), int64(0)
	stop := make(chan struct{})
	var sampling sync.WaitGroup
	sampling.Go(func() {
		tick := time.NewTicker(time.Millisecond)
		defer tick.Stop()
		for {
			peak = max(peak, objects())
			select {
			case <-tick.C:
			case <-stop:
				return
			}
		}
	})
	f()
	close(stop)
	sampling.Wait()
	return peak - before
}

func protocolTransport(major int) *http.Transport {
	rt := &http.Transport{Protocols: new(http.Protocols)}
	rt.Protocols.SetHTTP1(major == 1)
	rt.Protocols.SetUnencryptedHTTP2(major == 2)
	return rt
}

const (
	kib = 1 << 10
	mib = 1 << 20
	gib = 1 << 30
)

// docs/spec.md, 7.3 and 7.4: a 4 GiB stream is sent again after a failure near its start;
// after a failure in the middle the call fails. Neither is kept in memory.
func TestFourGiBStream(t *testing.T) {
	for _, tc := range []struct {
		name  string
		major int
		after int64
		gives bool
	}{
		{"HTTP 1.1, failure after 100 KiB", 1, 100 * kib, false},
		{"HTTP 2, failure after 100 KiB", 2, 100 * kib, false},
		{"HTTP 1.1, failure after 2 GiB", 1, 2 * gib, true},
		{"HTTP 2, failure after 2 GiB", 2, 2 * gib, true},
	} {
		t.Run(tc.name, func(t *testing.T) {
			target := startStreamServer(t)
			rt := protocolTransport(tc.major)
			defer rt.CloseIdleConnections()
			client := &Client{RetryMax: 4, Backoff: noWait, ReplayMax: 16 * mib, HTTPClient: &http.Client{Transport: rt}}
			attempts := 0
			client.OnAttempt = func(a Attempt) { attempts = a.Number }
			source := &generated{size: 4 * gib}
			pattern()
			var resp *http.Response
			var err error
			start := time.Now()
			peak := peakHeap(func() {
				resp, err = client.Post(fmt.Sprintf("%s/%d", target, tc.after), "application/octet-stream", source)
			})
			took := time.Since(start)
			t.Logf("%.1f MiB of extra heap at most; %.1f GiB read in %s; %d attempt(s)", float64(peak)/mib, float64(source.at)/gib, took.Round(time.Millisecond), attempts)
			assert.Less(t, peak, int64(20*mib))
			if !tc.gives {
				require.NoError(t, err)
				defer resp.Body.Close()
				body, err := io.ReadAll(resp.Body)
				require.NoError(t, err)
				assert.Equal(t, strconv.Itoa(4*gib), string(body), "bytes that the server has checked")
				assert.Equal(t, tc.major, resp.ProtoMajor)
				assert.Equal(t, 2, attempts)
				return
			}
			var giveUp *GiveUpError
			require.ErrorAs(t, err, &giveUp)
			assert.Equal(t, ReasonNotReplayable, giveUp.Reason)
			assert.Equal(t, 1, giveUp.Attempts)
			assert.ErrorIs(t, err, ErrNotReplayable)
			if tc.major == 1 {
				assert.True(t, errors.Is(err, connReset) || errors.Is(err, syscall.EPIPE) || errors.Is(err, net.ErrClosed), "%v", err)
			} else {
				var reset http2StreamError
				require.ErrorAs(t, err, &reset)
				assert.EqualValues(t, 2, reset.Code, "INTERNAL_ERROR")
			}
			assert.GreaterOrEqual(t, source.at, int64(2*gib))
			assert.Less(t, source.at, int64(2*gib+64*mib), "it was not read on")
		})
	}
}

// meteredSource is a one-shot body that gives its data in pieces of random sizes and
// knows whether it is used as it may be.
type meteredSource struct {
	data   []byte
	random *rand.Rand
	end    error // in place of io.EOF
	block  chan struct{}

	reading atomic.Bool
	misuse  atomic.Bool
	read    atomic.Int64
	closes  atomic.Int32
	closed  chan struct{}
}

func newMeteredSource(data []byte, seed uint64) *meteredSource {
	return &meteredSource{data: data, random: rand.New(rand.NewPCG(seed, 1)), closed: make(chan struct{})}
}

func (s *meteredSource) Read(p []byte) (int, error) {
	if !s.reading.CompareAndSwap(false, true) {
		s.misuse.Store(true)
	}
	defer s.reading.Store(false)
	for range s.random.IntN(3) {
		runtime.Gosched()
	}
	at := int(s.read.Load())
	if at == len(s.data) {
		if s.block != nil {
			<-s.block
		}
		if s.end != nil {
			return 0, s.end
		}
		return 0, io.EOF
	}
	n := copy(p[:min(len(p), 1+s.random.IntN(3000))], s.data[at:])
	s.read.Add(int64(n))
	if s.end == nil && s.block == nil && at+n == len(s.data) && s.random.IntN(2) == 0 {
		return n, io.EOF
	}
	return n, nil
}

func (s *meteredSource) Close() error {
	if s.closes.Add(1) == 1 {
		close(s.closed)
	}
	return nil
}

// check waits until the source is closed; no other call may close it again.
func (s *meteredSource) check(t *testing.T, what any) {
	t.Helper()
	select {
	case <-s.closed:
	case <-time.After(10 * time.Second):
		t.Errorf("%v: the source was not closed", what)
	}
	assert.EqualValues(t, 1, s.closes.Load(), "%v: closed", what)
	assert.False(t, s.misuse.Load(), "%v: read by two at once", what)
}

// streamSeed prints a seed, or takes the one in STREAM_SEED.
func streamSeed(t *testing.T) uint64 {
	seed := uint64(time.Now().UnixNano())
	if given := os.Getenv("STREAM_SEED"); given != "" {
		var err error
		seed, err = strconv.ParseUint(given, 10, 64)
		require.NoError(t, err)
	}
	t.Logf("STREAM_SEED=%d", seed)
	return seed
}

// docs/spec.md, 7.3: after early responses, resets, late reads and redirects, a body that
// the server reads whole is the one that was given.
func TestRandomFaultsNeverChangeAStream(t *testing.T) {
	const calls = 300
	for _, major := range []int{1, 2} {
		t.Run(fmt.Sprint("HTTP ", major), func(t *testing.T) {
			seed := streamSeed(t)
			random := rand.New(rand.NewPCG(seed, uint64(major)))
			var mu sync.Mutex
			data := map[string][]byte{}
			roll := func(n int) int {
				mu.Lock()
				defer mu.Unlock()
				return random.IntN(n)
			}
			server := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				mu.Lock()
				want := data[r.URL.Path]
				mu.Unlock()
				some := int64(roll(len(want) + 1))
				if roll(3) == 0 {
					some = int64(roll(20))
				}
				switch roll(10) {
				case 0: // responds at once
					w.WriteHeader(503)
				case 1: // responds midway
					io.CopyN(io.Discard, r.Body, some)
					w.WriteHeader(503)
				case 2: // responds midway and reads on
					http.NewResponseController(w).EnableFullDuplex()
					io.CopyN(io.Discard, r.Body, some)
					w.WriteHeader(503)
					http.NewResponseController(w).Flush()
					io.Copy(io.Discard, r.Body)
				case 3, 4: // cuts the connection
					io.CopyN(io.Discard, r.Body, some)
					panic(http.ErrAbortHandler)
				case 5:
					io.CopyN(io.Discard, r.Body, some)
					http.Redirect(w, r, r.URL.Path, http.StatusTemporaryRedirect)
				default:
					got, err := io.ReadAll(r.Body)
					if err != nil {
						panic(http.ErrAbortHandler)
					}
					if !bytes.Equal(want, got) {
						t.Errorf("%s: %d bytes taken for the %d given", r.URL.Path, len(got), len(want))
					}
				}
			}))
			server.Config.ErrorLog = nil
			server.EnableHTTP2 = major == 2
			server.StartTLS()
			defer server.Close()
			client := &Client{RetryMax: 200, Backoff: noWait, HTTPClient: server.Client()}
			client.ReplayMax = 20_000
			accepted, notReplayable := 0, 0
			for call := range calls {
				body := make([]byte, roll(60_000))
				if call%2 == 0 {
					body = body[:min(len(body), 200)]
				}
				rand.NewChaCha8([32]byte{byte(call), byte(call >> 8)}).Read(body)
				path := fmt.Sprintf("/%d", call)
				mu.Lock()
				data[path] = body
				mu.Unlock()
				for _, way := range []string{"NewRequest", "FromRequest", "RoundTripper"}[call%3 : call%3+1] {
					source := newMeteredSource(body, seed+uint64(call))
					resp, err := streamings[way](t.Context(), client, server.URL+path, 0, source)
					switch {
					case err != nil:
						var giveUp *GiveUpError
						require.ErrorAs(t, err, &giveUp, path)
						require.Contains(t, []Reason{ReasonNotReplayable, ReasonNotRetryable}, giveUp.Reason, "%s: %v", path, err)
						if giveUp.Reason == ReasonNotReplayable {
							require.ErrorIs(t, err, ErrNotReplayable)
							notReplayable++
						}
					default:
						resp.Body.Close()
						if resp.StatusCode == 200 {
							accepted++
						}
					}
					source.check(t, path+" "+way)
					require.LessOrEqual(t, source.read.Load(), int64(len(body)))
				}
			}
			t.Logf("%d calls: %d accepted, %d not replayable", calls, accepted, notReplayable)
			assert.NotZero(t, accepted)
			assert.NotZero(t, notReplayable)
		})
	}
}

// docs/spec.md, 3.10: writers of earlier attempts that go on reading take no bytes from
// later ones.
func TestWritersOfEarlierAttemptsStealNothing(t *testing.T) {
	const calls = 2000
	seed := streamSeed(t)
	accepted := 0
	for call := range calls {
		seed := seed + uint64(call)
		random := rand.New(rand.NewPCG(seed, 2))
		body := make([]byte, random.IntN(5000))
		rand.NewChaCha8([32]byte{byte(call), byte(call >> 8)}).Read(body)
		var writers sync.WaitGroup
		attempts := 0
		failures := random.IntN(6)
		ways := []string{"NewRequest", "FromRequest", "RoundTripper"}
		client := &Client{RetryMax: 10, Backoff: noWait, ReplayMax: int64(random.IntN(6000)) - 1}
		var got []byte
		var gotErr error
		client.HTTPClient = &http.Client{Transport: roundTripFunc(func(req *http.Request) (*http.Response, error) {
			attempts++
			part := make([]byte, 1+random.IntN(2000))
			if random.IntN(2) == 0 {
				part = part[:1]
			}
			if attempts <= failures {
				late := random.IntN(3)
				n := random.IntN(3)
				writers.Go(func() { // as net/http's transport, which may be slow to stop
					defer req.Body.Close()
					for range n {
						if _, err := req.Body.Read(part); err != nil {
							return
						}
					}
					if late > 0 {
						io.Copy(io.Discard, req.Body)
					}
				})
				for range random.IntN(20) {
					runtime.Gosched()
				}
				if random.IntN(2) == 0 {
					return nil, errLost
				}
				return respond(req, 503, ""), nil
			}
			got, gotErr = io.ReadAll(req.Body)
			return respond(req, 200, ""), req.Body.Close()
		})}
		source := newMeteredSource(body, seed)
		_, err := streamings[ways[call%3]](t.Context(), client, "http://host/", 0, source)
		writers.Wait()
		source.check(t, seed)
		if err == nil {
			accepted++
			require.NoError(t, gotErr, "STREAM_SEED=%d", seed)
			require.True(t, bytes.Equal(body, got), "STREAM_SEED=%d: %d bytes of %d", seed, len(got), len(body))
			require.EqualValues(t, len(body), source.read.Load())
			continue
		}
		require.ErrorIs(t, err, ErrNotReplayable, "STREAM_SEED=%d", seed)
	}
	t.Logf("%d of %d calls were accepted", accepted, calls)
	assert.Greater(t, accepted, calls/10)
	assert.Less(t, accepted, calls)
}

// docs/spec.md, 3.15: the source is closed exactly once on every path.
func TestStreamIsClosedOnceOnEveryPath(t *testing.T) {
	boom := errors.New("boom")
	takes := func(n int64, step func(*http.Request) (*http.Response, error)) roundTripFunc {
		return func(req *http.Request) (*http.Response, error) {
			io.CopyN(io.Discard, req.Body, n)
			req.Body.Close()
			return step(req)
		}
	}
	data := bytes.Repeat([]byte(content), 100)
	for name, tc := range map[string]struct {
		transport http.RoundTripper
		settings  func(*Client, context.CancelFunc)
		source    func(*meteredSource)
		target    string
		sendTwice bool
	}{
		"success":                        {transport: takes(1<<20, status(200))},
		"response before it was read":    {transport: takes(0, status(200))},
		"response midway":                {transport: takes(50, status(200))},
		"not retryable":                  {transport: takes(50, status(404))},
		"retries used up":                {transport: takes(50, status(503))},
		"retries used up by errors":      {transport: takes(50, failure(errLost))},
		"not replayable":                 {transport: takes(1000, status(503))},
		"redirect that needs it again":   {transport: takes(50, redirect(307, "/"))},
		"redirect that does not need it": {transport: &hops{responses: map[string][]func(*http.Request) (*http.Response, error){"/": {redirect(303, "/2")}, "/2": {status(200)}}}},
		"redirect refused": {transport: takes(50, redirect(307, "/")), settings: func(c *Client, _ context.CancelFunc) {
			c.HTTPClient.CheckRedirect = func(*http.Request, []*http.Request) error { return boom }
		}},
		"bad setting": {transport: takes(0, status(200)), settings: func(c *Client, _ context.CancelFunc) { c.RetryWaitMin = -1 }},
		"bad setting, sent again": {transport: takes(0, status(200)), settings: func(c *Client, _ context.CancelFunc) {
			c.RetryWaitMin = -1
		}, sendTwice: true},
		"sent again after success": {transport: takes(1<<20, status(200)), sendTwice: true},
		"bad logger":               {transport: takes(0, status(200)), settings: func(c *Client, _ context.CancelFunc) { c.Logger = 1 }},
		"own transport": {transport: takes(0, status(200)), settings: func(c *Client, _ context.CancelFunc) {
			c.HTTPClient.Transport = &RoundTripper{Client: c}
		}},
		"canceled in an attempt": {transport: takes(50, failure(errLost)), settings: func(c *Client, cancel context.CancelFunc) {
			c.RequestLogHook = func(Logger, *http.Request, int) { cancel() }
		}},
		"canceled in the wait": {transport: takes(50, failure(errLost)), settings: func(c *Client, cancel context.CancelFunc) {
			c.Backoff = func(time.Duration, time.Duration, int, *http.Response) time.Duration { cancel(); return time.Hour }
		}},
		"canceled before":    {transport: takes(50, failure(errLost)), settings: func(_ *Client, cancel context.CancelFunc) { cancel() }},
		"source fails":       {transport: takes(1<<20, status(200)), source: func(s *meteredSource) { s.end = boom }},
		"source fails early": {transport: takes(1<<20, status(200)), source: func(s *meteredSource) { s.end, s.data = boom, s.data[:10] }},
		"short":              {transport: takes(1<<20, status(503)), source: func(s *meteredSource) { s.data = s.data[:10] }},
		"empty":              {transport: takes(0, status(200)), source: func(s *meteredSource) { s.data = nil }},
		"PrepareRetry fails": {transport: takes(50, status(503)), settings: func(c *Client, _ context.CancelFunc) { c.PrepareRetry = func(*http.Request) error { return boom } }},
		"PrepareRetry drops it": {transport: roundTripFunc(status(503)), settings: func(c *Client, _ context.CancelFunc) {
			c.PrepareRetry = func(r *http.Request) error { r.GetBody = nil; return boom }
		}},
		"policy fails": {transport: takes(50, status(503)), settings: func(c *Client, _ context.CancelFunc) {
			c.CheckRetry = func(context.Context, *http.Response, error) (bool, error) { return false, boom }
		}},
		"handled":                {transport: takes(50, status(503)), settings: func(c *Client, _ context.CancelFunc) { c.ErrorHandler = PassthroughErrorHandler }},
		"handled, body not read": {transport: takes(0, status(503)), settings: func(c *Client, _ context.CancelFunc) { c.ErrorHandler = PassthroughErrorHandler }},
		"Retry-After too long":   {transport: takes(50, status(503, "Retry-After", "9999"))},
		"transport that keeps the body open": {transport: roundTripFunc(func(req *http.Request) (*http.Response, error) {
			return nil, errLost
		})},
	} {
		for way, send := range streamings {
			for _, limit := range []int64{100, -1, 0} {
				t.Run(fmt.Sprintf("%s/%s/%d", name, way, limit), func(t *testing.T) {
					ctx, cancel := context.WithCancel(t.Context())
					defer cancel()
					client := &Client{RetryMax: 2, Backoff: noWait, ReplayMax: limit, HTTPClient: &http.Client{Transport: tc.transport}}
					if h, ok := tc.transport.(*hops); ok {
						client.HTTPClient.Transport = &hops{responses: h.responses}
					}
					if tc.settings != nil {
						tc.settings(client, cancel)
					}
					source := newMeteredSource(data, 1)
					if tc.source != nil {
						tc.source(source)
					}
					if tc.sendTwice && way != "RoundTripper" {
						req, err := NewRequestWithContext(ctx, "POST", "http://host/", source)
						require.NoError(t, err)
						client.Do(req)
						client.Do(req)
					} else {
						send(ctx, client, "http://host/", 0, source)
					}
					source.check(t, name)
				})
			}
		}
	}
}

// docs/spec.md, 3.15 and 4.24: a source that stalls in an attempt does not outlast the
// context, and is closed during its Read. net/http alone waits, over HTTP/1.1, until that
// Read returns.
func TestStalledStreamHeedsTheContext(t *testing.T) {
	for _, major := range []int{1, 2} {
		server := httptest.NewUnstartedServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
			io.Copy(io.Discard, r.Body)
		}))
		server.EnableHTTP2 = major == 2
		server.StartTLS()
		for way, send := range streamings {
			t.Run(fmt.Sprintf("HTTP %d/%s", major, way), func(t *testing.T) {
				ctx, cancel := context.WithCancel(t.Context())
				reader, writer := io.Pipe()
				client := &Client{RetryMax: 2, Backoff: noWait, ReplayMax: 100, HTTPClient: server.Client()}
				result := make(chan error, 1)
				go func() {
					_, err := send(ctx, client, server.URL, 0, reader)
					result <- err
				}()
				writer.Write(bytes.Repeat([]byte(content), 100)) // returns when all was read
				cancel()
				select {
				case err := <-result:
					assert.ErrorIs(t, err, context.Canceled)
				case <-time.After(5 * time.Second):
					t.Error("the call goes on after its context is done")
					writer.Close()
					<-result
				}
				_, err := writer.Write([]byte("x"))
				assert.ErrorIs(t, err, io.ErrClosedPipe, "the source is closed")
			})
		}
		server.Close()
	}
}

// wrongCount returns more than it was asked for, after some good bytes.
type wrongCount struct {
	good io.Reader
	n    func(p []byte) int
}

func (r wrongCount) Read(p []byte) (int, error) {
	if n, err := r.good.Read(p); err == nil {
		return n, nil
	}
	return r.n(p), nil
}

// docs/spec.md, 7.6: a source whose Read returns an impossible count in an attempt.
func TestStreamThatReturnsAWrongCount(t *testing.T) {
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if _, err := io.ReadAll(r.Body); err == nil {
			t.Error("the body was taken for whole")
		}
	}))
	defer server.Close()
	for name, n := range map[string]func(p []byte) int{
		"more than asked for": func(p []byte) int { return len(p) + 1 },
		"less than nothing":   func([]byte) int { return -1 },
	} {
		for way, send := range streamings {
			t.Run(name+"/"+way, func(t *testing.T) {
				client := &Client{RetryMax: 2, Backoff: noWait, ReplayMax: 100, HTTPClient: server.Client()}
				_, err := send(t.Context(), client, server.URL, 0, wrongCount{strings.NewReader(strings.Repeat(content, 1000)), n})
				var giveUp *GiveUpError
				require.ErrorAs(t, err, &giveUp)
				assert.Equal(t, ReasonBody, giveUp.Reason)
				assert.Equal(t, 1, giveUp.Attempts)
				assert.Regexp(t, `invalid read of the request body: it returned -?\d+ for a buffer of \d+ bytes`, err.Error())
			})
		}
	}
}

// A GetBody that fails on its second call.
func TestGetBodyThatFailsOnItsSecondCall(t *testing.T) {
	boom := errors.New("boom")
	for way, send := range sends {
		t.Run(way, func(t *testing.T) {
			client, sent := scripted(failure(errLost))
			given := &closeCounter{Reader: strings.NewReader(content)}
			req, err := http.NewRequest("POST", "http://host/", given)
			require.NoError(t, err)
			calls := 0
			req.GetBody = func() (io.ReadCloser, error) {
				if calls++; calls > 1 {
					return nil, boom
				}
				return io.NopCloser(strings.NewReader(content)), nil
			}
			err = send(client, req)
			var giveUp *GiveUpError
			require.ErrorAs(t, err, &giveUp)
			assert.Equal(t, ReasonBody, giveUp.Reason)
			assert.Equal(t, 2, giveUp.Attempts)
			assert.ErrorIs(t, err, boom)
			assert.ErrorIs(t, err, errLost, "what the retry was for")
			assert.Len(t, sent.seen, 2)
			assert.Equal(t, 1, given.closed)
		})
	}
}

// docs/spec.md, 3.19: a stream with a wrong Content-Length.
func TestStreamWithAWrongContentLength(t *testing.T) {
	for _, major := range []int{1, 2} {
		var whole atomic.Int32
		server := httptest.NewUnstartedServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
			if _, err := io.ReadAll(r.Body); err == nil && !strings.HasPrefix(r.URL.Path, "/long") { // net/http finds that out behind the last byte

				whole.Add(1)
			}
		}))
		server.EnableHTTP2 = major == 2
		server.StartTLS()
		for name, tc := range map[string]struct{ has, declared int }{
			"shorter":       {5000, 6000},
			"much shorter":  {5000, 500_000},
			"longer":        {5000, 4000},
			"short":         {50, 60},
			"long, short":   {50, 40},
			"empty":         {0, 10},
			"empty, longer": {0, 10_000},
		} {
			for _, way := range []string{"FromRequest", "RoundTripper"} {
				t.Run(fmt.Sprintf("HTTP %d/%s/%s", major, name, way), func(t *testing.T) {
					client := &Client{RetryMax: 2, Backoff: noWait, ReplayMax: 100, HTTPClient: server.Client()}
					source := newMeteredSource(make([]byte, tc.has), 1)
					_, err := streamings[way](t.Context(), client, server.URL+"/"+url.PathEscape(name), int64(tc.declared), source)
					if name != "longer" || err != nil { // the server may have responded to the first 4000 bytes
						assert.ErrorIs(t, err, ErrBodyLength)
						var giveUp *GiveUpError
						require.ErrorAs(t, err, &giveUp)
						assert.LessOrEqual(t, giveUp.Attempts, 1)
						assert.Contains(t, []Reason{ReasonBody, ReasonNotRetryable}, giveUp.Reason)
					}
					assert.Zero(t, whole.Load(), "taken for whole")
					source.check(t, name)
				})
			}
		}
		server.Close()
	}
}

// docs/spec.md, 3.17: a stream follows a 307 if it was kept. A RoundTripper leaves the
// redirect to the http.Client around it, which has no GetBody.
func TestStreamIsRedirected(t *testing.T) {
	data := strings.Repeat(content, 1000)
	for _, tc := range []struct {
		takes int64
		ok    bool
	}{{0, true}, {100, true}, {5000, false}} {
		for _, code := range []int{307, 308} {
			var got string
			rt := roundTripFunc(func(req *http.Request) (*http.Response, error) {
				defer req.Body.Close()
				if req.URL.Path == "/" {
					io.CopyN(io.Discard, req.Body, tc.takes)
					return redirect(code, "/2")(req)
				}
				body, err := io.ReadAll(req.Body)
				got = string(body)
				return respond(req, 200, ""), err
			})
			for _, way := range []string{"NewRequest", "FromRequest"} {
				client := &Client{RetryMax: 2, Backoff: noWait, ReplayMax: 200, HTTPClient: &http.Client{Transport: rt}}
				source := newMeteredSource([]byte(data), 1)
				resp, err := streamings[way](t.Context(), client, "http://host/", 0, source)
				if tc.ok {
					require.NoError(t, err)
					assert.Equal(t, 200, resp.StatusCode)
					assert.Equal(t, data, got)
				} else {
					var giveUp *GiveUpError
					require.ErrorAs(t, err, &giveUp)
					assert.Equal(t, ReasonNotReplayable, giveUp.Reason)
					assert.ErrorIs(t, err, ErrNotReplayable)
				}
				source.check(t, way)
			}
			client := &Client{RetryMax: 2, Backoff: noWait, ReplayMax: 200, HTTPClient: &http.Client{Transport: rt}}
			source := newMeteredSource([]byte(data), 1)
			resp, err := client.StandardClient().Post("http://host/", "", source)
			require.NoError(t, err)
			assert.Equal(t, code, resp.StatusCode)
			source.check(t, "StandardClient")
		}
	}
}

// endless is a source without an end that says when it is closed.
type endless struct {
	generated
	closed chan struct{}
	once   sync.Once
}

func newEndless() *endless {
	return &endless{generated: generated{size: 1 << 62}, closed: make(chan struct{})}
}

func (e *endless) Close() error {
	e.once.Do(func() { close(e.closed) })
	return nil
}

// docs/spec.md, 7.3: an endless stream is sent again after refused connections and an
// early 503, and may get a response before its end.
func TestUnboundedStreamSurvivesWhatHappensAtItsStart(t *testing.T) {
	for _, major := range []int{1, 2} {
		for way, send := range streamings {
			t.Run(fmt.Sprintf("HTTP %d/%s", major, way), func(t *testing.T) {
				var requests atomic.Int32
				server := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
					if requests.Add(1) == 1 {
						w.WriteHeader(503)
						return
					}
					var check checker
					if _, err := io.CopyN(&check, r.Body, 4*mib); err != nil {
						t.Error(err)
					}
					fmt.Fprint(w, check.at)
				}))
				server.EnableHTTP2 = major == 2
				server.StartTLS()
				defer server.Close()
				rt := server.Client().Transport.(*http.Transport).Clone()
				var dials atomic.Int32
				rt.DialContext = func(ctx context.Context, network, addr string) (net.Conn, error) {
					if dials.Add(1) <= 2 {
						return nil, errRefused
					}
					return new(net.Dialer).DialContext(ctx, network, addr)
				}
				defer rt.CloseIdleConnections()
				client := &Client{RetryMax: 4, Backoff: noWait, ReplayMax: 16 * mib, HTTPClient: &http.Client{Transport: rt}}
				source := newEndless()
				resp, err := send(t.Context(), client, server.URL, 0, source)
				require.NoError(t, err)
				body, err := io.ReadAll(resp.Body)
				require.NoError(t, err)
				resp.Body.Close()
				assert.Equal(t, strconv.Itoa(4*mib), string(body))
				rt.CloseIdleConnections()
				<-source.closed
				assert.EqualValues(t, 2, requests.Load())
			})
		}
	}
}

// docs/spec.md, 7.2: with a negative ReplayMax nothing is read ahead and nothing is kept.
func TestNegativeReplayMaxKeepsNothing(t *testing.T) {
	for way, send := range streamings {
		source := newMeteredSource([]byte(content), 1)
		attempts := 0
		client := &Client{RetryMax: 4, Backoff: noWait, ReplayMax: -1}
		client.HTTPClient = &http.Client{Transport: roundTripFunc(func(req *http.Request) (*http.Response, error) {
			assert.Zero(t, source.read.Load(), "nothing is read before it is asked for")
			assert.Zero(t, req.ContentLength)
			defer req.Body.Close()
			if attempts++; attempts < 3 {
				return nil, errRefused
			}
			_, err := io.CopyN(io.Discard, req.Body, 1)
			assert.NoError(t, err)
			return nil, errLost
		})}
		_, err := send(t.Context(), client, "http://host/", 0, source)
		var giveUp *GiveUpError
		require.ErrorAs(t, err, &giveUp, way)
		assert.Equal(t, ReasonNotReplayable, giveUp.Reason)
		assert.ErrorIs(t, err, ErrNotReplayable)
		assert.ErrorIs(t, err, errLost)
		assert.Equal(t, 3, giveUp.Attempts)
		source.check(t, way)
	}
}
