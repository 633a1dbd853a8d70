package main

import (
	"context"
	"errors"
	"math/rand/v2"
	"net/http"
	"sync"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func send(n *network, ctx context.Context, host string) (*http.Response, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+host+"/", nil)
	if err != nil {
		return nil, err
	}
	return n.RoundTrip(req)
}

// inNetwork runs a test in a bubble with three servers, of which the first has a fault
// for the second second.
func inNetwork(t *testing.T, fault condition, test func(t *testing.T, n *network)) {
	s := &scenario{normal: healthy, fault: fault, from: time.Second, to: 2 * time.Second, endpoints: 3}
	synctest.Test(t, func(t *testing.T) {
		n := newNetwork(s, &meter{}, rand.New(rand.NewPCG(1, 1)))
		var fault sync.WaitGroup
		fault.Go(n.fail)
		test(t, n)
		fault.Wait()
	})
}

func TestNetworkFailsTheFirstServerForAWhile(t *testing.T) {
	fault := healthy
	fault.down = true
	inNetwork(t, fault, func(t *testing.T, n *network) {
		for range 3 {
			time.Sleep(500 * time.Millisecond)
			for i := range n.servers {
				resp, err := send(n, t.Context(), hostName(i))
				require.NoError(t, err)
				failing := n.now() > time.Second && n.now() < 2*time.Second
				assert.Equal(t, failing && i == 0, resp.StatusCode == http.StatusServiceUnavailable, "server %d at %s", i, n.now())
			}
			time.Sleep(500*time.Millisecond - n.now()%(500*time.Millisecond))
		}
	})
}

func TestNetworkBalances(t *testing.T) {
	fault := healthy
	fault.gone = true
	inNetwork(t, fault, func(t *testing.T, n *network) {
		time.Sleep(1500 * time.Millisecond)
		failed := 0
		for range 30 {
			resp, err := send(n, t.Context(), balancedHost)
			if err != nil {
				assert.Nil(t, resp)
				require.ErrorIs(t, err, syscall.ECONNREFUSED)
				failed++
			}
		}
		assert.Equal(t, 10, failed)
	})
}

func TestNetworkHeedsTheContext(t *testing.T) {
	fault := healthy
	fault.lost = 1
	inNetwork(t, fault, func(t *testing.T, n *network) {
		time.Sleep(1500 * time.Millisecond)
		ctx, cancel := context.WithTimeout(t.Context(), 3*time.Second)
		defer cancel()
		resp, err := send(n, ctx, hostName(0))
		assert.Nil(t, resp)
		require.ErrorIs(t, err, context.DeadlineExceeded)
		assert.Equal(t, 4500*time.Millisecond, n.now(), "no response came")

		_, err = send(n, ctx, hostName(1))
		require.ErrorIs(t, err, context.DeadlineExceeded)
		r := result{bins: n.meter.bins}
		assert.Equal(t, 1, r.attempts(), "after the deadline nothing is sent")
		assert.NoError(t, r.check())
	})
}

func TestNetworkEndsAnAttemptWithItsContext(t *testing.T) {
	slow := healthy
	slow.latency = time.Minute
	inNetwork(t, slow, func(t *testing.T, n *network) {
		time.Sleep(1500 * time.Millisecond)
		ctx, cancel := context.WithCancelCause(t.Context())
		cause := errors.New("not needed any more")
		time.AfterFunc(time.Second, func() { cancel(cause) })
		resp, err := send(n, ctx, hostName(0))
		assert.Nil(t, resp)
		require.ErrorIs(t, err, cause)
		assert.Equal(t, 2500*time.Millisecond, n.now())
	})
}

func TestNetworkDoesNotKnowOtherHosts(t *testing.T) {
	inNetwork(t, healthy, func(t *testing.T, n *network) {
		_, err := send(n, t.Context(), "other.example")
		assert.Error(t, err)
	})
}
