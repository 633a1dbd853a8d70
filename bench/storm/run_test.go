package main

import (
	"io"
	"net/http"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// small makes a scenario short: 50 calls/s for 3 s, of which the second is the fault.
func small(s *scenario) *scenario {
	factor := 50 / s.rate
	s.rate = 50
	s.normal.capacity *= factor
	s.fault.capacity *= factor
	s.from, s.to, s.run, s.tail = time.Second, 2*time.Second, 3*time.Second, 0
	s.callers, s.clients = min(s.callers, 20), min(s.clients, 20)
	s.copies = min(s.copies, 2)
	return s
}

func find(t *testing.T, name string) *library {
	i := slices.IndexFunc(libraries, func(l *library) bool { return l.name == name })
	require.GreaterOrEqual(t, i, 0, name)
	return libraries[i]
}

// Every scenario runs with every library, no call and no attempt is lost, and all goroutines
// have ended at the end.
func TestEveryScenarioWithEveryLibrary(t *testing.T) {
	for _, s := range scenarios() {
		t.Run(s.name, func(t *testing.T) {
			s := small(s)
			for _, l := range libraries {
				if !slices.Contains(s.libraries, l.name) {
					continue
				}
				synctest.Test(t, func(t *testing.T) {
					r, err := run(s, l, 1)
					require.NoError(t, err, l.name)
					require.NoError(t, r.check(), l.name)
					if !s.wait {
						assert.Len(t, r.calls, 150*max(1, s.copies), l.name)
					}
					assert.GreaterOrEqual(t, r.sent, len(r.calls), l.name)
					if l.below == nil {
						// After the deadline some libraries still send, but the network does not.
						assert.GreaterOrEqual(t, r.sent, r.attempts(), l.name)
					}
					assert.Positive(t, r.goodput(0, s.from), l.name)
				})
			}
		})
	}
}

// The libraries that are said to retry do.
func TestLibrariesRetry(t *testing.T) {
	for _, l := range libraries {
		t.Run(l.name, func(t *testing.T) {
			r, err := runInBubble(small(outage("outage")), l, 1)
			require.NoError(t, err)
			assert.Equal(t, l.name == "none", r.attempts() == len(r.calls))
		})
	}
}

// The model gives the figures that were found with another model before this one, and those
// that its arithmetic says.
func TestKnownFigures(t *testing.T) {
	for _, test := range []struct {
		scenario  *scenario
		library   string
		metric    metric
		want      float64
		tolerance float64
	}{
		{outage("outage"), "none", saved, 100 * 9.0 / 11, 0.5},
		{outage("outage"), "hashicorp", peakAttempts, 1064, 40},
		{outage("outage"), "hashicorp", goodputAfter, 377, 10},
		{brownout("brownout"), "none", goodputDuring, 104, 4},
		{brownout("brownout"), "none", goodputAfter, 402, 4},
		{brownout("brownout"), "none", saved, 73, 1},
		{brownout("brownout"), "hashicorp", goodputAfter, 0, 0},
		{brownout("brownout-closed").waitingCallers(), "hashicorp", callAttempts, 1.09, 0.02},
		{slowServer(), "hashicorp", callAttempts, 1, 0},
		{slowServer(), "none", slowestCalls, 550, 5},
		{deadConnections(), "none", savedDuring, 50, 3},
		{badEndpoint(), "none", failedCalls, 1600.0 / 3, 2},
		{slowAnswers(), "none", tailLatency, 1090, 20},
		{secondBoundary(), "none", savedDuring, 9, 2},
	} {
		r, err := runInBubble(test.scenario, find(t, test.library), 1)
		require.NoError(t, err)
		assert.InDelta(t, test.want, test.metric.of(r), test.tolerance, "%s, %s: %s", test.scenario.name, test.library, test.metric.title)
	}
}

func TestOwnClients(t *testing.T) {
	for _, s := range []*scenario{outage("outage-clients").ownClients(), brownout("brownout-clients").ownClients()} {
		var rec recorder
		s.run, s.tail = time.Second, 0
		_, err := runInBubble(s, rec.library(), 1)
		require.NoError(t, err)
		assert.Len(t, rec.times, 200)
	}
}

func TestOutageWithoutRetries(t *testing.T) {
	r, err := runInBubble(small(outage("outage")), find(t, "none"), 1)
	require.NoError(t, err)
	assert.InDelta(t, 0, r.success(time.Second, 2*time.Second), 0.03)
	assert.InDelta(t, 1, r.success(2*time.Second, 3*time.Second), 0.03)
	assert.Equal(t, 1.0, callAttempts.of(r))
	assert.InDelta(t, 0, r.recovery(), float64(binWidth))
}

func TestSameSeedSameResult(t *testing.T) {
	for _, name := range []string{"none", "hashicorp", "rehttp"} {
		one, err := runInBubble(small(brownout("brownout")), find(t, name), 1)
		require.NoError(t, err)
		again, err := runInBubble(small(brownout("brownout")), find(t, name), 1)
		require.NoError(t, err)
		other, err := runInBubble(small(brownout("brownout")), find(t, name), 2)
		require.NoError(t, err)
		assert.Equal(t, one.bins, again.bins, name)
		assert.NotEqual(t, one.bins, other.bins, name)
	}
}

// recorder is a library that records when and by which client it is called. Its calls
// take a second.
type recorder struct {
	mu    sync.Mutex
	start time.Time
	times map[int][]time.Duration // of each client
}

func (rec *recorder) library() *library {
	rec.times = make(map[int][]time.Duration)
	clients := 0
	return &library{name: "recorder", new: func(http.RoundTripper) sender {
		clients++
		client := clients
		rec.start = time.Now()
		return senderFunc(func(req *http.Request) (*http.Response, error) {
			rec.mu.Lock()
			defer rec.mu.Unlock()
			rec.times[client] = append(rec.times[client], time.Since(rec.start))
			rec.mu.Unlock()
			time.Sleep(time.Second)
			rec.mu.Lock()
			return response(req, http.StatusOK), nil
		})
	}}
}

func TestClientsShareTheCalls(t *testing.T) {
	var rec recorder
	_, err := runInBubble(&scenario{rate: 100, callers: 20, clients: 10, normal: healthy, fault: healthy, run: time.Second}, rec.library(), 1)
	require.NoError(t, err)
	assert.Len(t, rec.times, 10)
	for client, times := range rec.times {
		assert.Len(t, times, 10, client)
	}
}

func TestCallersThatWait(t *testing.T) {
	var rec recorder
	_, err := runInBubble(&scenario{rate: 100, callers: 5, clients: 5, wait: true, normal: healthy, fault: healthy, run: 10 * time.Second}, rec.library(), 1)
	require.NoError(t, err)
	for client, times := range rec.times {
		assert.Len(t, times, 10, client)
		for i, at := range times[1:] {
			assert.Equal(t, time.Second, at-times[i], "client %d, call %d", client, i+1)
		}
	}
}

func TestCallsTogether(t *testing.T) {
	var rec recorder
	s := small(secondBoundary())
	_, err := runInBubble(s, rec.library(), 1)
	require.NoError(t, err)
	late := make(map[time.Duration]int)
	for _, at := range rec.times[1] {
		if at%time.Second >= 20*time.Millisecond {
			late[at.Truncate(time.Second)]++
		}
	}
	assert.Zero(t, late[time.Second])
	assert.InDelta(t, 49, late[0], 1)
	assert.InDelta(t, 49, late[2*time.Second], 1)
}

// The rates of a scenario with copies are those of one.
func TestCopies(t *testing.T) {
	s := small(growth(100))
	s.copies = 10
	r, err := runInBubble(s, find(t, "none"), 1)
	require.NoError(t, err)
	assert.InDelta(t, 50, r.goodput(2500*time.Millisecond, 3*time.Second), 2)
	assert.InDelta(t, 1, amplificationPerSecond.of(r), 0.05)
}

func TestBelowFailure(t *testing.T) {
	l := &library{name: "x", below: func(http.RoundTripper, []string) (http.RoundTripper, error) {
		return nil, io.ErrUnexpectedEOF
	}}
	_, err := runInBubble(small(badEndpoint()), l, 1)
	assert.ErrorIs(t, err, io.ErrUnexpectedEOF)
}

// What goes below a library is told the endpoints, and what it sends more is counted apart.
func TestBelow(t *testing.T) {
	var urls []string
	l := &library{
		name: "twice",
		below: func(base http.RoundTripper, endpoints []string) (http.RoundTripper, error) {
			urls = endpoints
			return twice{base}, nil
		},
		new: find(t, "none").new,
	}
	r, err := runInBubble(small(badEndpoint()), l, 1)
	require.NoError(t, err)
	assert.Equal(t, []string{"http://endpoint-1.example", "http://endpoint-2.example", "http://endpoint-3.example"}, urls)
	assert.Equal(t, 1.0, sentPerCall.of(r))
	assert.Equal(t, 2.0, requestsPerCall.of(r))
	assert.Equal(t, 100.0, extraRequests.of(r))
}

// twice sends every request twice.
type twice struct{ http.RoundTripper }

func (t twice) RoundTrip(req *http.Request) (*http.Response, error) {
	if resp, err := t.RoundTripper.RoundTrip(req); err == nil {
		resp.Body.Close()
	}
	return t.RoundTripper.RoundTrip(req)
}
