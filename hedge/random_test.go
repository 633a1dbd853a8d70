package hedge_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/a0b132ce/retryablehttp/hedge"
)

// schedule is a race of which every time is known.
type schedule struct {
	first, second step
	delay, cancel time.Duration
}

func randomSchedule(r *rand.Rand) schedule {
	// Times of different kinds differ, so that no two things happen at once.
	at := func(offset time.Duration) time.Duration { return time.Duration(r.IntN(20))*ms + offset }
	kinds := []step{{}, {}, {status: 503}, {err: errLost}}
	s := schedule{
		first: kinds[r.IntN(4)], second: kinds[r.IntN(4)],
		delay:  at(100 * time.Microsecond),
		cancel: at(200*time.Microsecond) + time.Duration(r.IntN(2))*time.Hour,
	}
	s.first.after, s.second.after = at(300*time.Microsecond), at(400*time.Microsecond)
	s.first.body, s.second.body = "first", "second"
	return s
}

func (s step) good() bool { return s.err == nil && s.status < 500 }

// expect returns which result a race has, and when.
func (s schedule) expect() (result string, took time.Duration) {
	first, second := s.first.after, s.delay+s.second.after
	ofFirst := "first"
	if s.first.err != nil {
		ofFirst = errLost.Error()
	}
	hedged := first > s.delay && s.cancel > s.delay
	switch {
	case !hedged && first < s.cancel:
		return ofFirst, first
	case !hedged:
		return context.Canceled.Error(), s.cancel
	case s.first.good() && first < s.cancel && (first < second || !s.second.good()):
		return "first", first
	case s.second.good() && second < s.cancel:
		return "second", second
	case max(first, second) < s.cancel:
		return ofFirst, max(first, second)
	case first < s.cancel:
		return ofFirst, s.cancel
	}
	return context.Canceled.Error(), s.cancel
}

// However two attempts and a cancel follow each other, the right result is returned at the
// right time, every body is closed, and no context goes on.
func TestRandomSchedules(t *testing.T) {
	seed := uint64(time.Now().UnixNano())
	t.Logf("seed %d", seed)
	random := rand.New(rand.NewPCG(seed, 0))
	synctest.Test(t, func(t *testing.T) {
		for range 2000 {
			plan := randomSchedule(random)
			s := newService(plan.first, plan.second)
			transport := &hedge.Transport{Base: s, Delay: plan.delay, Budget: anyLoad()}
			ctx, cancel := context.WithCancel(context.Background())
			timer := time.AfterFunc(plan.cancel, cancel)
			bodies := []*requestBody{newRequestBody("content")}
			req := newRequest(t, "GET").WithContext(ctx)
			req.Body = bodies[0]
			req.GetBody = func() (io.ReadCloser, error) {
				bodies = append(bodies, newRequestBody("content"))
				return bodies[len(bodies)-1], nil
			}
			start := time.Now()
			resp, err := transport.RoundTrip(req)
			took := time.Since(start)

			result, after := plan.expect()
			require.Equal(t, fmt.Sprint(result, " ", after), fmt.Sprint(got(resp, err), " ", took), "%+v", plan)
			timer.Stop()
			if resp != nil {
				resp.Body.Close()
			}
			time.Sleep(time.Second) // the loser is drained
			s.over(t)
			for _, body := range bodies {
				assert.Equal(t, 1, body.closes)
			}
			cancel()
			if t.Failed() {
				t.Fatalf("%+v", plan)
			}
		}
	})
}

func got(resp *http.Response, err error) string {
	if err != nil {
		return err.Error()
	}
	data, err := io.ReadAll(resp.Body)
	if err != nil && !errors.Is(err, context.Canceled) {
		return err.Error()
	}
	if len(data) == 0 {
		return "first" // the caller's cancel has ended its body too
	}
	return string(data)
}
