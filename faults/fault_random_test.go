package faults_test

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"os"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/a0b132ce/retryablehttp"
	"github.com/a0b132ce/retryablehttp/retrytest"
)

// faultSeed returns the seed for the random schedules of this run: FAULT_SEED if it is
// set, else a random number. It logs the seed.
func faultSeed(t *testing.T) uint64 {
	t.Helper()
	seed := rand.Uint64()
	if given := os.Getenv("FAULT_SEED"); given != "" {
		var err error
		seed, err = strconv.ParseUint(given, 10, 64)
		require.NoError(t, err)
	}
	t.Logf("repeat with FAULT_SEED=%d", seed)
	return seed
}

// A faultCall is one call of a random schedule. Its fields depend on the seed and on its
// id only, not on the other calls.
type faultCall struct {
	id       int
	rnd      *rand.Rand
	content  []byte // nil for a GET without a body
	response string
	steps    []retrytest.Step // one for each attempt that fails; the next gets 200
}

func newFaultCall(seed uint64, id int, http2 bool) *faultCall {
	c := &faultCall{id: id, rnd: rand.New(rand.NewPCG(seed, uint64(id)))}
	c.response = strings.Repeat(fmt.Sprintf("response %d;", id), 1+c.rnd.IntN(50))
	if c.rnd.IntN(4) > 0 {
		size := 1 + c.rnd.IntN(2000)
		if c.rnd.IntN(20) == 0 {
			size = c.rnd.IntN(200_000)
		}
		c.content = make([]byte, size)
		for i := range c.content {
			c.content[i] = byte(c.rnd.Uint32())
		}
	}
	for c.rnd.IntN(100) < 45 && len(c.steps) < 8 {
		c.steps = append(c.steps, c.fault(http2))
	}
	return c
}

// fault returns a random step that fails.
func (c *faultCall) fault(http2 bool) retrytest.Step {
	step := retrytest.Step{
		Status:  []int{429, 500, 502, 503, 504, 600}[c.rnd.IntN(6)],
		Body:    strings.Repeat("error;", 1+c.rnd.IntN(500)),
		Chunked: c.rnd.IntN(2) == 0,
		Close:   c.rnd.IntN(8) == 0,
	}
	switch c.rnd.IntN(4) {
	case 0:
		step.Read = retrytest.HeadersOnly
	case 1:
		step.Read = 1 + c.rnd.Int64N(1+int64(len(c.content)))
	}
	faults := []retrytest.Fault{"", "", "", retrytest.Reset, retrytest.Reset, retrytest.Close, retrytest.Close, retrytest.Stall}
	if http2 && c.rnd.IntN(15) > 0 { // few faults break the connection, which fails its other calls too
		step.Close = false
		faults = []retrytest.Fault{"", "", "", retrytest.Stall, retrytest.ResetStream, retrytest.ResetStream, retrytest.ResetStream, retrytest.RefuseStream}
	} else if http2 {
		faults = append(faults, retrytest.GoAway, retrytest.GoAway)
	}
	step.Fault = faults[c.rnd.IntN(len(faults))]
	if c.rnd.IntN(2) == 0 && step.Fault != retrytest.GoAway && step.Fault != retrytest.RefuseStream { // these mean that the request was not processed
		step.After = 1 + c.rnd.IntN(len(step.Body)-1) // after a whole response the next call would use the connection
		if c.rnd.IntN(4) == 0 {
			step.After = retrytest.HeadersOnly
		}
	}
	switch step.Fault {
	case retrytest.ResetStream:
		step.Code = []uint32{2, 8, 11}[c.rnd.IntN(3)] // INTERNAL_ERROR, CANCEL, ENHANCE_YOUR_CALM
	case retrytest.Stall:
		step.Read = 0 // so that the server notices when the client closes the connection
		if step.After == 0 && c.rnd.IntN(4) > 0 {
			step.After = retrytest.HeadersOnly // few attempts wait until AttemptTimeout
		}
	case "":
		if c.rnd.IntN(20) == 0 {
			step.Drip = time.Millisecond
		}
		if c.rnd.IntN(10) == 0 {
			step.Delay = time.Duration(c.rnd.IntN(3)) * time.Millisecond
		}
	}
	if len(c.steps) > 0 && (step.Fault == retrytest.RefuseStream || step.Fault == retrytest.GoAway) {
		// net/http sends these again by itself. Before the second time in a row it
		// waits one second.
		if last := c.steps[len(c.steps)-1].Fault; last == retrytest.RefuseStream || last == retrytest.GoAway {
			step.Fault = ""
		}
	}
	return step
}

// stalls returns the number of steps that end by AttemptTimeout.
func (c *faultCall) stalls() int {
	n := 0
	for _, step := range c.steps {
		if step.Fault == retrytest.Stall && step.After == 0 {
			n++
		}
	}
	return n
}

// body returns the content as a body of a random type.
func (c *faultCall) body() any {
	if c.content == nil {
		return nil
	}
	switch c.rnd.IntN(8) {
	case 0:
		return string(c.content)
	case 1:
		return bytes.NewBuffer(c.content)
	case 2:
		return bytes.NewReader(c.content)
	case 3:
		return io.NewSectionReader(bytes.NewReader(append([]byte("x"), c.content...)), 1, int64(len(c.content)))
	case 4:
		return struct{ io.ReadSeeker }{bytes.NewReader(c.content)}
	case 5:
		return struct{ io.Reader }{bytes.NewReader(c.content)}
	case 6:
		return func() (io.Reader, error) { return struct{ io.Reader }{bytes.NewReader(c.content)}, nil }
	default:
		return c.content
	}
}

// A faultRun sends the calls of a random schedule to a server and counts their results.
type faultRun struct {
	seed     uint64
	protocol retrytest.Protocol
	calls    []*faultCall

	// Only choose writes these, and no two goroutines call it at the same time.
	served   []int // number of attempts of each call
	accepted []int // numbers of the attempts that got a 200

	done, gaveUp atomic.Int64
	timeouts     []atomic.Int64 // number of attempts of each call that timed out
}

// choose returns the next step of the call that a belongs to.
func (r *faultRun) choose(a retrytest.Attempt) retrytest.Step {
	id, err := strconv.Atoi(strings.TrimPrefix(a.URL, "/"))
	if err != nil {
		return retrytest.Step{Status: 404}
	}
	call := r.calls[id]
	n := r.served[id]
	r.served[id]++
	if n < len(call.steps) {
		return call.steps[n]
	}
	r.accepted = append(r.accepted, a.Number)
	return retrytest.Step{Body: call.response}
}

// run makes one call. It returns an error unless the call got the right response or
// failed with the right GiveUpError.
func (r *faultRun) run(client *retryablehttp.Client, standard *http.Client, url string, call *faultCall) error {
	method := "GET"
	if call.content != nil {
		method = []string{"POST", "PUT"}[call.id%2]
	}
	req, err := retryablehttp.NewRequest(method, fmt.Sprintf("%s/%d", url, call.id), call.body())
	if err != nil {
		return err
	}
	var resp *http.Response
	switch {
	case r.protocol == retrytest.HTTP2:
		// Another call may break the connection while the body is read. The handler
		// makes that an error that is retried.
		req.SetResponseHandler(func(resp *http.Response) error {
			defer resp.Body.Close()
			body, err := io.ReadAll(resp.Body)
			resp.Body = io.NopCloser(bytes.NewReader(body))
			return err
		})
		resp, err = client.Do(req)
	case call.id%5 == 0:
		resp, err = standard.Do(req.Request)
	default:
		resp, err = client.Do(req)
	}
	if err != nil {
		if resp != nil {
			return fmt.Errorf("a response beside the error %w", err)
		}
		return r.checkGaveUp(client, call, err)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	switch {
	case err != nil:
		return fmt.Errorf("reading the response: %w", err)
	case resp.StatusCode != 200 || string(body) != call.response:
		return fmt.Errorf("wrong response: %s %.50q", resp.Status, body)
	}
	r.done.Add(1)
	return nil
}

// checkGaveUp returns an error unless err is the right error for a call that failed.
func (r *faultRun) checkGaveUp(client *retryablehttp.Client, call *faultCall, err error) error {
	var giveUp *retryablehttp.GiveUpError
	switch {
	case !errors.As(err, &giveUp):
		return fmt.Errorf("not a GiveUpError: %w", err)
	case giveUp.Reason != retryablehttp.ReasonRetriesUsedUp || giveUp.Attempts != client.RetryMax+1:
		return fmt.Errorf("failed too early: %w", err)
	case len(call.steps) <= client.RetryMax && r.protocol != retrytest.HTTP2 && int(r.timeouts[call.id].Load()) <= call.stalls():
		// The call had more attempts than faults. This is expected only if further
		// attempts timed out on a slow machine, or if other calls broke its HTTP/2
		// connection.
		return fmt.Errorf("failed a call of %d faults: %w", len(call.steps), err)
	case giveUp.Response != nil && giveUp.Response.StatusCode < 400:
		// It must be one that the handler refused, because another call broke its HTTP/2
		// connection.
		if _, err := io.ReadAll(giveUp.Response.Body); err == nil || r.protocol != retrytest.HTTP2 {
			return fmt.Errorf("the response of the error is a good one: %s", giveUp.Response.Status)
		}
	}
	r.gaveUp.Add(1)
	return nil
}

// Whatever fails, a call ends with the right response or a GiveUpError, the server
// receives the bytes that were sent, and no connection leaks.
func TestFaultRandomSchedulesLoseNothing(t *testing.T) {
	const workers = 16
	for _, test := range []struct {
		protocol retrytest.Protocol
		calls    int
	}{
		{retrytest.HTTP1, 6000},
		{retrytest.HTTPS, 1000},
		{retrytest.HTTP2, 3000},
	} {
		t.Run(string(test.protocol), func(t *testing.T) {
			r := &faultRun{seed: faultSeed(t), protocol: test.protocol, served: make([]int, test.calls), timeouts: make([]atomic.Int64, test.calls)}
			for id := range test.calls {
				r.calls = append(r.calls, newFaultCall(r.seed, id, test.protocol == retrytest.HTTP2))
			}
			server := retrytest.NewServerFunc(test.protocol, r.choose)
			defer server.Close()
			client := faultClient(server)
			client.AttemptTimeout = time.Second // enough for a TLS handshake on a busy machine
			client.OnAttempt = func(a retryablehttp.Attempt) {
				if errors.Is(a.Err, retryablehttp.ErrAttemptTimeout) {
					id, _ := strconv.Atoi(a.Request.URL.Path[1:])
					r.timeouts[id].Add(1)
				}
			}
			if test.protocol == retrytest.HTTP2 {
				client.RetryMax = 8
			}
			standard := client.StandardClient()

			var next atomic.Int64
			var running sync.WaitGroup
			for range workers {
				running.Go(func() {
					for {
						id := int(next.Add(1)) - 1
						if id >= test.calls || t.Failed() {
							return
						}
						if err := r.run(client, standard, server.URL, r.calls[id]); err != nil {
							t.Errorf("FAULT_SEED=%d: call %d: %v", r.seed, id, err)
						}
					}
				})
			}
			running.Wait()
			if t.Failed() {
				return
			}
			assert.EqualValues(t, test.calls, r.done.Load()+r.gaveUp.Load(), "FAULT_SEED=%d: calls accounted for", r.seed)
			assert.Less(t, r.gaveUp.Load(), int64(test.calls/10), "FAULT_SEED=%d: most calls get through", r.seed)
			requireNoOpenConns(t, server)
			server.Close() // waits until every attempt has ended

			attempts := server.Attempts()
			for _, number := range r.accepted {
				a := attempts[number-1]
				id, err := strconv.Atoi(a.URL[1:])
				require.NoError(t, err)
				if a.BodyErr == nil {
					assert.True(t, a.BodyRead)
					assert.Equal(t, sha256.Sum256(r.calls[id].content), a.BodySHA256, "FAULT_SEED=%d: call %d: wrong bytes were accepted", r.seed, id)
				}
			}
			t.Logf("%d calls got their response, %d failed; %d attempts on %d connections",
				r.done.Load(), r.gaveUp.Load(), len(attempts), server.Accepted())
		})
	}
}

// A call that fails does not close the idle connections of other hosts.
func TestFaultFailuresOfOneHostCostNoConnectionToAnother(t *testing.T) {
	const calls = 10_000
	rnd := rand.New(rand.NewPCG(faultSeed(t), 0))
	healthy := retrytest.NewServer(retrytest.HTTP1, retrytest.Step{Body: "done", Times: retrytest.Forever})
	defer healthy.Close()
	failing := retrytest.NewServerFunc(retrytest.HTTP1, func(a retrytest.Attempt) retrytest.Step {
		return []retrytest.Step{
			{Fault: retrytest.Reset},
			{Fault: retrytest.Close},
			{Status: 503, Body: "busy"},
			{Status: 503, Body: "half", Fault: retrytest.Close, After: 2},
		}[a.Number%4]
	})
	defer failing.Close()
	gone := retrytest.NewServer(retrytest.HTTP1)
	gone.Close()

	client := faultClient(healthy)
	client.RetryWaitMin, client.RetryWaitMax, client.RetryMax = 0, 0, 2
	failed := 0
	for i := range calls {
		if rnd.IntN(100) == 0 {
			failed++
			_, err := client.Get([]string{failing.URL, gone.URL}[i%2])
			requireGiveUp(t, err, retryablehttp.ReasonRetriesUsedUp, 3)
			continue
		}
		resp, err := client.Get(healthy.URL)
		require.NoError(t, err)
		assert.Equal(t, "done", readBody(t, resp))
	}
	assert.Positive(t, failed)
	assert.Equal(t, 1, healthy.Accepted(), "connections to the healthy host")
	assert.Len(t, healthy.Attempts(), calls-failed)
}

// The body of an error response is read up to 64 KiB, so that its connection can be used
// again.
func TestFaultErrorBodiesOf64KiBCostNoConnection(t *testing.T) {
	const calls = 10
	body := strings.Repeat("0123456789abcdef", 4096)
	for _, chunked := range []bool{false, true} {
		for _, protocol := range protocols {
			t.Run(fmt.Sprintf("%s/chunked %t", protocol, chunked), func(t *testing.T) {
				server := retrytest.NewServerFunc(protocol, func(a retrytest.Attempt) retrytest.Step {
					if a.Number%3 == 0 {
						return retrytest.Step{Body: "done"}
					}
					return retrytest.Step{Status: 503, Body: body, Chunked: chunked}
				})
				defer server.Close()
				client := faultClient(server)
				// Long enough to read 64 KiB on a busy machine.
				client.RetryWaitMin, client.RetryWaitMax = 20*time.Millisecond, 20*time.Millisecond
				for range calls {
					resp, err := client.Get(server.URL)
					require.NoError(t, err)
					assert.Equal(t, "done", readBody(t, resp))
				}
				assert.Len(t, server.Attempts(), 3*calls)
				assert.Equal(t, 1, server.Accepted(), "connections")
				requireNoOpenConns(t, server)
			})
		}
	}
}

// An error response with a body of more than 64 KiB costs its own connection, and no
// other.
func TestFaultEndlessErrorBodyCostsItsOwnConnectionOnly(t *testing.T) {
	body := strings.Repeat("0123456789abcdef", 1<<20)
	steps := []retrytest.Step{{Status: 503, Body: body, Times: 2}, {Body: "done", Times: 2}}
	onEach(t, protocols[:2], steps, func(t *testing.T, server *retrytest.Server, client *retryablehttp.Client) {
		for range 2 {
			ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
			defer cancel()
			req, err := retryablehttp.NewRequestWithContext(ctx, "GET", server.URL, nil)
			require.NoError(t, err)
			resp, err := client.Do(req)
			require.NoError(t, err)
			assert.Equal(t, "done", readBody(t, resp))
		}
		assert.Equal(t, 3, server.Accepted())
	})
}
