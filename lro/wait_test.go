package lro_test

import (
	"context"
	"net/http"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/a0b132ce/retryablehttp/lro"
	"github.com/a0b132ce/retryablehttp/pipeline"
)

const ms = time.Millisecond

// bubble runs a test in virtual time.
func bubble(t *testing.T, name string, test func(t *testing.T)) {
	t.Helper()
	t.Run(name, func(t *testing.T) { synctest.Test(t, test) })
}

func TestO17Waits(t *testing.T) {
	steps := func() []step {
		return []step{answer(202, "", "Location", loc, "Retry-After", "1"), answer(202, ""),
			answer(202, "", "Retry-After-Ms", "50"), answer(200, sized(1))}
	}
	bubble(t, "interval 1.5 s", func(t *testing.T) {
		s := serve(t, steps()...)
		p := begin(t, s, "POST", nil)
		_, err := p.PollUntilDone(t.Context(), &lro.WaitOptions{Interval: 1500 * ms})
		require.NoError(t, err)
		assert.Equal(t, []time.Duration{1000 * ms, 1500 * ms, 50 * ms}, s.gaps())
	})
	bubble(t, "interval 10 ms is accepted", func(t *testing.T) {
		s := serve(t, steps()...)
		_, err := begin(t, s, "POST", nil).PollUntilDone(t.Context(), &lro.WaitOptions{Interval: 10 * ms})
		require.NoError(t, err)
		assert.Equal(t, []time.Duration{1000 * ms, 10 * ms, 50 * ms}, s.gaps())
	})
	bubble(t, "deadline 200 ms, then wait again", func(t *testing.T) {
		s := serve(t, steps()...)
		p := begin(t, s, "POST", nil)
		start := time.Now()
		ctx, cancel := context.WithTimeout(t.Context(), 200*ms)
		defer cancel()
		_, err := p.PollUntilDone(ctx, &lro.WaitOptions{Interval: 1500 * ms})
		require.ErrorIs(t, err, context.DeadlineExceeded)
		assert.LessOrEqual(t, time.Since(start), 200*ms)
		_, err = p.PollUntilDone(t.Context(), &lro.WaitOptions{Interval: 1500 * ms})
		require.NoError(t, err)
		assert.Equal(t, []time.Duration{1000 * ms, 1500 * ms, 50 * ms}, s.gaps())
	})
}

func TestB11NoWaitWhenDone(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		for _, steps := range [][]step{
			{answer(200, sized(1), "Retry-After", "2")},
			{answer(201, provisioning("Succeeded"), "Azure-AsyncOperation", status, "Retry-After", "2"), answer(200, sized(1), "Retry-After", "2")},
			{answer(202, "", "Location", loc), answer(200, sized(1), "Retry-After", "2")},
		} {
			start := time.Now()
			got, err := begin(t, serve(t, steps...), "PUT", nil).PollUntilDone(t.Context(), nil)
			require.NoError(t, err)
			assert.Equal(t, 1, got.Size)
			assert.Zero(t, time.Since(start))
		}
	})
}

// waits returns the gaps between n polls without Retry-After.
func waits(t *testing.T, n int, options *lro.WaitOptions) []time.Duration {
	t.Helper()
	steps := []step{answer(202, "", "Location", loc)}
	for range n - 1 {
		steps = append(steps, answer(202, ""))
	}
	s := serve(t, append(steps, answer(200, ""))...)
	_, err := begin(t, s, "POST", nil).PollUntilDone(t.Context(), options)
	require.NoError(t, err)
	gaps := s.gaps()
	require.Len(t, gaps, n)
	assert.Zero(t, gaps[0], "the first poll is at once")
	return gaps[1:]
}

func TestIntervals(t *testing.T) {
	for _, c := range []struct {
		name       string
		options    *lro.WaitOptions
		first, max time.Duration
	}{
		{"defaults", nil, time.Second, 30 * time.Second},
		{"MaxInterval 4 s", &lro.WaitOptions{MaxInterval: 4 * time.Second}, time.Second, 4 * time.Second},
		{"MaxInterval 10 ms", &lro.WaitOptions{MaxInterval: 10 * ms}, 10 * ms, 10 * ms},
		{"1 ns to 1 ms", &lro.WaitOptions{Interval: 1, MaxInterval: ms}, 1, ms},
		{"Interval above MaxInterval", &lro.WaitOptions{Interval: time.Hour, MaxInterval: ms}, ms, ms},
	} {
		bubble(t, c.name, func(t *testing.T) {
			next, jitter := c.first, false
			for _, gap := range waits(t, 60, c.options) {
				assert.LessOrEqual(t, gap, next)
				assert.GreaterOrEqual(t, gap, next-next/4-1)
				jitter = jitter || gap != next
				next = min(next+next/2+1, c.max)
			}
			assert.Equal(t, c.max, next, "it has reached the maximum")
			assert.True(t, jitter)
		})
	}
	bubble(t, "Interval alone is exact", func(t *testing.T) {
		for _, gap := range waits(t, 20, &lro.WaitOptions{Interval: 7 * time.Second}) {
			assert.Equal(t, 7*time.Second, gap)
		}
	})
	bubble(t, "the longest of all", func(t *testing.T) {
		for _, gap := range waits(t, 3, &lro.WaitOptions{Interval: 1 << 62, MaxInterval: 1<<63 - 1}) {
			assert.GreaterOrEqual(t, gap, time.Duration(1<<61))
		}
	})
	t.Run("negative", func(t *testing.T) {
		for _, options := range []lro.WaitOptions{{Interval: -1}, {MaxInterval: -1}, {Interval: 1, MaxInterval: -1}} {
			for _, s := range []*service{serve(t, answer(202, "", "Location", loc)), serve(t, answer(204, ""))} {
				_, err := begin(t, s, "POST", nil).PollUntilDone(t.Context(), &options)
				assert.Error(t, err)
				assert.Empty(t, s.took())
			}
		}
	})
	bubble(t, "Options.Wait is the default", func(t *testing.T) {
		s := serve(t, answer(202, "", "Location", loc), answer(202, ""), answer(202, ""), answer(202, ""), answer(200, ""))
		p := begin(t, s, "POST", &lro.Options[widget]{Wait: lro.WaitOptions{Interval: 7 * time.Second}})
		for range p.States(t.Context()) {
			if len(s.at) == 3 {
				break
			}
		}
		_, err := p.PollUntilDone(t.Context(), nil)
		require.NoError(t, err)
		assert.Equal(t, []time.Duration{0, 7 * time.Second, 0, 7 * time.Second}, s.gaps())
	})
}

func TestRetryAfter(t *testing.T) {
	inTwoSeconds := func(r *http.Request) (*http.Response, error) {
		return answer(202, "", "Retry-After", time.Now().Add(2*time.Second).UTC().Format(http.TimeFormat))(r)
	}
	for _, c := range []struct {
		name string
		step step
		gap  time.Duration
	}{
		{"seconds", answer(202, "", "Retry-After", "90"), 90 * time.Second},
		{"date", inTwoSeconds, 2 * time.Second},
		{"milliseconds first", answer(202, "", "Retry-After-Ms", "5", "Retry-After", "90"), 5 * ms},
		{"of a 503", answer(503, "", "Retry-After", "90"), 90 * time.Second},
		{"0", answer(202, "", "Retry-After", "0"), 700 * ms},
		{"a date in the past", answer(202, "", "Retry-After", "Wed, 21 Oct 1998 07:28:00 GMT"), 700 * ms},
		{"negative", answer(202, "", "Retry-After", "-5"), 700 * ms},
		{"garbage", answer(202, "", "Retry-After", "soon"), 700 * ms},
	} {
		bubble(t, c.name, func(t *testing.T) {
			s := serve(t, answer(202, "", "Location", loc), c.step, answer(202, ""), answer(200, ""))
			_, err := begin(t, s, "POST", nil).PollUntilDone(t.Context(), &lro.WaitOptions{Interval: 700 * ms})
			require.NoError(t, err)
			assert.Equal(t, []time.Duration{0, c.gap, 700 * ms}, s.gaps())
		})
	}
	bubble(t, "past the deadline is not waited for", func(t *testing.T) {
		for _, wait := range []string{"11", "99999999999999999999"} {
			s := serve(t, answer(202, "", "Location", loc), answer(202, "", "Retry-After", wait))
			start := time.Now()
			ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
			_, err := begin(t, s, "POST", nil).PollUntilDone(ctx, nil)
			require.ErrorIs(t, err, context.DeadlineExceeded)
			assert.ErrorContains(t, err, "lro: the service asks to wait ")
			assert.Zero(t, time.Since(start))
			cancel()
		}
	})
	bubble(t, "of years is obeyed until the context ends", func(t *testing.T) {
		s := serve(t, answer(202, "", "Location", loc, "Retry-After", "99999999999999999999"), answer(200, ""))
		p := begin(t, s, "POST", nil)
		ctx, cancel := context.WithCancel(t.Context())
		time.AfterFunc(1000*time.Hour, cancel)
		start := time.Now()
		_, err := p.PollUntilDone(ctx, nil)
		require.ErrorIs(t, err, context.Canceled)
		assert.Equal(t, 1000*time.Hour, time.Since(start))
		assert.Empty(t, s.took())
		token, err := p.ResumeToken()
		require.NoError(t, err)
		_, err = lro.Resume[widget](token, home, s.pipeline(), nil)
		require.NoError(t, err)
	})
	bubble(t, "does not count for Poll, nor after that", func(t *testing.T) {
		s := serve(t, answer(202, "", "Location", loc, "Retry-After", "90"), answer(202, ""), answer(200, ""))
		p := begin(t, s, "POST", nil)
		_, err := p.Poll(t.Context())
		require.NoError(t, err)
		_, err = p.PollUntilDone(t.Context(), nil)
		require.NoError(t, err)
		assert.Equal(t, []time.Duration{0, 0}, s.gaps())
	})
}

func TestTransientFailures(t *testing.T) {
	// fail returns an operation that begins, fails n times and succeeds.
	fail := func(n int, bad step) []step {
		steps := []step{answer(202, "", "Operation-Location", status)}
		for range n {
			steps = append(steps, bad)
		}
		return append(steps, answer(200, `{"status":"Succeeded"}`))
	}
	for name, bad := range map[string]step{
		"transport error": failure(errBroken), "cut body": cut(200, "{"), "408": answer(408, ""), "429": answer(429, ""),
		"500": answer(500, ""), "503": answer(503, ""), "507": answer(507, ""),
	} {
		for max, polls := range map[int]int{0: 5, 1: 1, 3: 3, -1: 21} {
			bubble(t, name, func(t *testing.T) {
				s := serve(t, fail(20, bad)...)
				p := begin(t, s, "DELETE", &lro.Options[widget]{Wait: lro.WaitOptions{Interval: time.Second, MaxFailures: max}})
				_, err := p.PollUntilDone(t.Context(), nil)
				assert.Equal(t, max < 0, err == nil)
				assert.Equal(t, max < 0, p.Done())
				assert.Len(t, s.took(), polls)
				assert.Len(t, s.gaps(), polls)
				for _, gap := range s.gaps()[1:] {
					assert.Equal(t, time.Second, gap)
				}
			})
		}
	}
	bubble(t, "the count starts again after a success and in a new wait", func(t *testing.T) {
		bad := failure(errBroken)
		s := serve(t, answer(202, "", "Location", loc), bad, bad, answer(202, ""), bad, bad, answer(202, ""), bad, bad, bad, bad, bad, answer(200, ""))
		p := begin(t, s, "POST", nil)
		_, err := p.PollUntilDone(t.Context(), &lro.WaitOptions{MaxFailures: 3})
		require.ErrorIs(t, err, errBroken)
		assert.Len(t, s.took(), 9)
		_, err = p.PollUntilDone(t.Context(), &lro.WaitOptions{MaxFailures: 3})
		require.NoError(t, err)
	})
	for name, bad := range map[string]step{
		"400": answer(400, ""), "401": answer(401, ""), "404": answer(404, ""), "410": answer(410, ""), "501": answer(501, ""),
		"304": answer(304, ""), "not a status": answer(200, "{}"),
		"permanent error":  failure(permanent{errBroken}),
		"endless redirect": answer(302, "", "Location", status),
	} {
		bubble(t, "at once: "+name, func(t *testing.T) {
			s := serve(t, fail(20, bad)...)
			p := begin(t, s, "DELETE", nil)
			start := time.Now()
			_, err := p.PollUntilDone(t.Context(), &lro.WaitOptions{MaxFailures: -1})
			require.Error(t, err)
			assert.Zero(t, time.Since(start))
			assert.False(t, p.Done())
		})
	}
}

// The request for the result is repeated as polls are.
func TestTransientFailuresOfTheResult(t *testing.T) {
	begun := func(bad ...step) []step {
		steps := []step{answer(202, "", "Operation-Location", status, "Location", loc), failure(errBroken),
			answer(200, `{"status":"Succeeded"}`, "Retry-After", "50")}
		return append(append(steps, bad...), answer(200, sized(4)))
	}
	for name, bad := range map[string]step{
		"transport error": failure(errBroken), "cut body": cut(200, `{"size"`), "202": answer(202, sized(9)), "408": answer(408, ""),
		"429": answer(429, ""), "500": answer(500, ""), "503": answer(503, ""),
	} {
		bubble(t, name, func(t *testing.T) {
			s := serve(t, begun(bad, bad)...)
			p := begin(t, s, "POST", nil)
			got, err := p.PollUntilDone(t.Context(), &lro.WaitOptions{Interval: time.Second, MaxFailures: 3})
			require.NoError(t, err)
			assert.Equal(t, 4, got.Size)
			assert.Equal(t, []time.Duration{0, time.Second, 0, time.Second, time.Second}, s.gaps(), "without the Retry-After of the status")
			assert.Equal(t, []string{status, status, loc, loc, loc}, s.took())
		})
		bubble(t, name+", too often", func(t *testing.T) {
			s := serve(t, begun(bad, bad, bad)...)
			p := begin(t, s, "POST", nil)
			_, err := p.PollUntilDone(t.Context(), &lro.WaitOptions{MaxFailures: 3})
			require.Error(t, err)
			assert.Len(t, s.took(), 5)
			assert.True(t, p.Done())
			got, err := p.PollUntilDone(t.Context(), nil)
			require.NoError(t, err)
			assert.Equal(t, 4, got.Size)
		})
	}
	bubble(t, "Retry-After is obeyed", func(t *testing.T) {
		for _, code := range []int{202, 503} {
			s := serve(t, begun(answer(code, "", "Retry-After", "90"))...)
			_, err := begin(t, s, "POST", nil).PollUntilDone(t.Context(), quick)
			require.NoError(t, err)
			assert.Equal(t, []time.Duration{0, ms, 0, 90 * time.Second}, s.gaps())
		}
	})
	bubble(t, "the context ends the wait", func(t *testing.T) {
		s := serve(t, begun(answer(503, "", "Retry-After", "90"))...)
		p := begin(t, s, "POST", nil)
		ctx, cancel := context.WithCancel(t.Context())
		time.AfterFunc(time.Minute, cancel)
		start := time.Now()
		_, err := p.PollUntilDone(ctx, quick)
		require.ErrorIs(t, err, context.Canceled)
		assert.Equal(t, time.Minute, time.Since(start))
		_, err = p.PollUntilDone(t.Context(), quick)
		require.NoError(t, err)
	})
	for name, bad := range map[string]step{
		"400": answer(400, ""), "401": answer(401, ""), "404": answer(404, ""), "501": answer(501, ""), "304": answer(304, ""),
		"not JSON": answer(200, "<html>"), "permanent error": failure(permanent{errBroken}),
	} {
		bubble(t, "at once: "+name, func(t *testing.T) {
			s := serve(t, begun(bad)...)
			_, err := begin(t, s, "POST", nil).PollUntilDone(t.Context(), &lro.WaitOptions{Interval: time.Second, MaxFailures: -1})
			require.Error(t, err)
			assert.Equal(t, []string{status, status, loc}, s.took())
		})
	}
}

type permanent struct{ error }

func (permanent) Permanent() bool { return true }

func TestStates(t *testing.T) {
	running := answer(200, `{"status":"Running"}`)
	bubble(t, "break and go on", func(t *testing.T) {
		s := serve(t, answer(202, "", "Operation-Location", status), running, answer(200, `{"status":"Running"}`, "Retry-After", "3"),
			answer(500, ""), answer(200, `{"status":"Succeeded","size":2}`))
		p := begin(t, s, "POST", nil)
		for range 2 {
			for st, err := range p.States(t.Context()) {
				require.NoError(t, err)
				assert.Equal(t, "Running", st.Text)
				break
			}
		}
		var states []lro.State
		for st, err := range p.States(t.Context()) {
			require.NoError(t, err)
			states = append(states, st.State)
		}
		assert.Equal(t, []lro.State{lro.Succeeded}, states, "a failure that passes is not seen")
		assert.Equal(t, []time.Duration{0, 0, 3 * time.Second}, s.gaps()[:3], "Retry-After counts after a break")
		for st, err := range p.States(t.Context()) {
			require.NoError(t, err)
			states = append(states, st.State)
		}
		assert.Equal(t, []lro.State{lro.Succeeded, lro.Succeeded}, states, "the end can be seen again")
		got, err := p.Result(t.Context())
		require.NoError(t, err)
		assert.Equal(t, 2, got.Size)
		assert.Len(t, s.took(), 4)
	})
	t.Run("a failed operation is a status", func(t *testing.T) {
		p := begin(t, serve(t, answer(202, "", "Operation-Location", status), answer(200, `{"status":"Failed"}`)), "POST", nil)
		n := 0
		for st, err := range p.States(t.Context()) {
			require.NoError(t, err)
			assert.Equal(t, lro.Failed, st.State)
			n++
		}
		assert.Equal(t, 1, n)
	})
	t.Run("an error comes once, with the status before", func(t *testing.T) {
		p := begin(t, serve(t, answer(202, "", "Operation-Location", status), running, answer(404, "")), "POST", &lro.Options[widget]{Wait: *quick})
		var errs []error
		var last lro.Status
		for st, err := range p.States(t.Context()) {
			last, errs = st, append(errs, err)
		}
		require.Len(t, errs, 2)
		require.NoError(t, errs[0])
		require.Error(t, errs[1])
		assert.Equal(t, "Running", last.Text)
	})
}

func TestContextEndsTheWaitOnly(t *testing.T) {
	bubble(t, "during a wait", func(t *testing.T) {
		s := serve(t, answer(202, "", "Location", loc), answer(202, "", "Retry-After", "10"), answer(200, sized(1)))
		p := begin(t, s, "POST", nil)
		ctx, cancel := context.WithCancel(t.Context())
		time.AfterFunc(4*time.Second, cancel)
		start := time.Now()
		_, err := p.PollUntilDone(ctx, nil)
		require.ErrorIs(t, err, context.Canceled)
		assert.Equal(t, "lro: waiting for the operation: context canceled", err.Error())
		assert.Equal(t, 4*time.Second, time.Since(start))
		_, err = p.PollUntilDone(t.Context(), nil)
		require.NoError(t, err)
		assert.Equal(t, []time.Duration{0, 10 * time.Second}, s.gaps(), "what is left of the wait")
	})
	bubble(t, "deadline during an interval", func(t *testing.T) {
		p := begin(t, serve(t, answer(202, "", "Location", loc), answer(202, "")), "POST", nil)
		ctx, cancel := context.WithTimeout(t.Context(), 4*time.Second)
		defer cancel()
		start := time.Now()
		_, err := p.PollUntilDone(ctx, &lro.WaitOptions{Interval: 9 * time.Second})
		require.ErrorIs(t, err, context.DeadlineExceeded)
		assert.Equal(t, 4*time.Second, time.Since(start))
	})
	bubble(t, "during a poll", func(t *testing.T) {
		hang := func(r *http.Request) (*http.Response, error) {
			<-r.Context().Done()
			return nil, errBroken // which does not match the error of the context
		}
		s := serve(t, answer(202, "", "Location", loc), hang, answer(200, sized(1)))
		p := begin(t, s, "POST", nil)
		ctx, cancel := context.WithCancel(t.Context())
		time.AfterFunc(time.Second, cancel)
		_, err := p.PollUntilDone(ctx, nil)
		require.ErrorIs(t, err, context.Canceled)
		require.ErrorIs(t, err, errBroken)
		got, err := p.PollUntilDone(t.Context(), nil)
		require.NoError(t, err)
		assert.Equal(t, 1, got.Size)
	})
	t.Run("before", func(t *testing.T) {
		for _, wait := range []string{"", "90"} {
			s := serve(t, answer(202, "", "Location", loc, "Retry-After", wait))
			p := begin(t, s, "POST", nil)
			ctx, cancel := context.WithTimeout(t.Context(), time.Second)
			cancel()
			_, err := p.PollUntilDone(ctx, nil)
			require.ErrorIs(t, err, context.Canceled)
			assert.Empty(t, s.took())
		}
	})
	t.Run("but a result that is known is returned", func(t *testing.T) {
		p := begin(t, serve(t, answer(200, sized(2))), "POST", nil)
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		got, err := p.PollUntilDone(ctx, nil)
		require.NoError(t, err)
		assert.Equal(t, 2, got.Size)
	})
}

// With Retry, each poll has its own tries, and a Retry-After that it has waited for is not
// waited for again.
func TestWithRetry(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := serve(t, answer(202, "", "Location", loc), answer(503, "", "Retry-After", "3"), answer(200, sized(1)))
		pl := s.pipeline(pipeline.Retry{})
		p, err := lro.New[widget](initial(t, pl, "POST", orig), pl, nil)
		require.NoError(t, err)
		got, err := p.PollUntilDone(t.Context(), &lro.WaitOptions{MaxFailures: 1})
		require.NoError(t, err)
		assert.Equal(t, 1, got.Size)
		assert.GreaterOrEqual(t, s.gaps()[1], 3*time.Second)
	})
}
