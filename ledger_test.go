package retryablehttp

import (
	"bufio"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"os"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// ledger is a server that writes down each POST it gets, under its path, and kills
// connections at random points.
type ledger struct {
	dedup bool // applies a request with a known Idempotency-Key only once

	mu      sync.Mutex
	random  *rand.Rand
	applied map[string]int // by path
	keys    map[string]bool
	killed  [4]int
}

// Where a connection is killed, of 100 requests.
const (
	killBeforeReading = 6
	killWhileReading  = 6
	killAfterApplying = 6
	killWhileResponse = 6
)

func (l *ledger) roll() (n int, by int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.random.IntN(100), l.random.IntN(2)
}

func (l *ledger) kill(conn net.Conn, where, how int) {
	l.mu.Lock()
	l.killed[where]++
	l.mu.Unlock()
	if how == 0 {
		conn.Close()
	} else {
		resetConn(conn)
	}
}

func (l *ledger) apply(req *http.Request) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if key := req.Header.Get("Idempotency-Key"); key != "" && l.dedup {
		if l.keys[key] {
			return
		}
		l.keys[key] = true
	}
	l.applied[req.URL.Path]++
}

func (l *ledger) serve(conn net.Conn, _ int) {
	in := bufio.NewReader(conn)
	for {
		n, how := l.roll()
		if n -= killBeforeReading; n < 0 {
			l.kill(conn, 0, how)
			return
		}
		if n -= killWhileReading; n < 0 {
			in.Discard(1)
			if in.Buffered() > 0 && how == 1 { // into the body
				http.ReadRequest(in)
				in.Discard(1)
			}
			l.kill(conn, 1, how)
			return
		}
		req, err := http.ReadRequest(in)
		if err != nil {
			return
		}
		body, err := io.ReadAll(req.Body)
		if err != nil || string(body) != content {
			return // not whole: not applied
		}
		l.apply(req)
		if n -= killAfterApplying; n < 0 {
			l.kill(conn, 2, how)
			return
		}
		if n -= killWhileResponse; n < 0 {
			io.WriteString(conn, "HTTP/1.1 200 OK\r\nContent-Le")
			l.kill(conn, 3, how)
			return
		}
		if _, err := io.WriteString(conn, "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"); err != nil {
			return
		}
	}
}

// run makes calls, each with a path of its own, and returns the paths that got a response.
func (l *ledger) run(t *testing.T, calls int, settings func(*Client)) (responded map[string]bool) {
	l.applied, l.keys = map[string]int{}, map[string]bool{}
	addr, shut := serveRaw(t, l.serve)
	target := "http://" + addr
	client := &Client{RetryMax: 50, Backoff: noWait, HTTPClient: &http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: 8}}}
	settings(client)
	responded = map[string]bool{}
	var mu sync.Mutex
	var next atomic.Int64
	var workers sync.WaitGroup
	for range 8 {
		workers.Go(func() {
			for {
				n := next.Add(1)
				if n > int64(calls) {
					return
				}
				path := fmt.Sprintf("/%d", n)
				resp, err := client.Post(target+path, "text/plain", content)
				if err != nil {
					continue
				}
				io.Copy(io.Discard, resp.Body)
				resp.Body.Close()
				mu.Lock()
				responded[path] = true
				mu.Unlock()
			}
		})
	}
	workers.Wait()
	client.CloseIdleConnections()
	shut(false) // what has arrived is still applied
	for where, n := range l.killed {
		require.NotZero(t, n, "connections killed at point %d", where)
	}
	return responded
}

// count says how many of the calls were applied how often.
func (l *ledger) count() (once, more int) {
	for _, n := range l.applied {
		if n == 1 {
			once++
		} else {
			more++
		}
	}
	return once, more
}

func newLedger(t *testing.T) *ledger {
	seed := uint64(time.Now().UnixNano())
	if given := os.Getenv("LEDGER_SEED"); given != "" {
		var err error
		seed, err = strconv.ParseUint(given, 10, 64)
		require.NoError(t, err)
	}
	t.Logf("LEDGER_SEED=%d repeats the server's decisions", seed)
	return &ledger{random: rand.New(rand.NewPCG(seed, 0))}
}

const ledgerCalls = 20_000

// docs/spec.md, section 6: with SafeRetryPolicy no entry is applied twice.
func TestLedgerWithSafeRetryPolicyHasNoDoubles(t *testing.T) {
	l := newLedger(t)
	responded := l.run(t, ledgerCalls, func(c *Client) { c.CheckRetry = SafeRetryPolicy })
	once, more := l.count()
	t.Logf("%d calls: %d applied once, %d more than once; %d with a response; killed %v", ledgerCalls, once, more, len(responded), l.killed)
	assert.Zero(t, more, "applied more than once")
	for path := range responded {
		assert.Equal(t, 1, l.applied[path], "%s got a response", path)
	}
}

// docs/spec.md, section 6: with a key, and a server that knows it, every call is applied
// exactly once.
func TestLedgerWithIdempotencyKeysHasEveryCallOnce(t *testing.T) {
	l := newLedger(t)
	l.dedup = true
	responded := l.run(t, ledgerCalls, func(c *Client) {
		c.CheckRetry, c.IdempotencyKey = SafeRetryPolicy, NewIdempotencyKey
	})
	once, more := l.count()
	t.Logf("%d calls: %d applied once, %d more than once; %d with a response; killed %v", ledgerCalls, once, more, len(responded), l.killed)
	assert.Zero(t, more, "applied more than once")
	assert.Equal(t, ledgerCalls, once)
	assert.Len(t, responded, ledgerCalls)
}

// For comparison: with DefaultRetryPolicy some entries are applied twice.
func TestLedgerWithDefaultRetryPolicyHasDoubles(t *testing.T) {
	l := newLedger(t)
	responded := l.run(t, ledgerCalls, func(c *Client) { c.CheckRetry = DefaultRetryPolicy })
	once, more := l.count()
	t.Logf("%d calls: %d applied once, %d more than once; %d with a response; killed %v", ledgerCalls, once, more, len(responded), l.killed)
	assert.NotZero(t, more, "applied more than once")
	assert.Len(t, responded, ledgerCalls)
}
