package retryablehttp

import (
	"context"
	"errors"
	"net/http"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func TestOnDoneTellsHowACallEnded(t *testing.T) {
	second := func(_, _ time.Duration, _ int, _ *http.Response) time.Duration { return time.Second }
	for name, tc := range map[string]struct {
		steps  []func(*http.Request) (*http.Response, error)
		change func(*Client)
		want   Outcome
		fails  error
	}{
		"answered": {
			steps: []func(*http.Request) (*http.Response, error){status(503), failure(errLost), status(404)},
			want:  Outcome{Attempts: 3, Status: 404, Elapsed: 2 * time.Second, Waited: 2 * time.Second},
		},
		"retries used up": {
			steps: []func(*http.Request) (*http.Response, error){status(503)},
			want:  Outcome{Attempts: 5, Status: 503, Reason: ReasonRetriesUsedUp, Elapsed: 4 * time.Second, Waited: 4 * time.Second},
		},
		"no response": {
			steps:  []func(*http.Request) (*http.Response, error){status(503), failure(errLost)},
			change: func(c *Client) { c.RetryMax = 1 },
			want:   Outcome{Attempts: 2, Reason: ReasonRetriesUsedUp, Elapsed: time.Second, Waited: time.Second},
			fails:  errLost,
		},
		"handled": {
			steps:  []func(*http.Request) (*http.Response, error){status(503)},
			change: func(c *Client) { c.RetryMax, c.ErrorHandler = 0, PassthroughErrorHandler },
			want:   Outcome{Attempts: 1, Status: 503, Reason: ReasonRetriesUsedUp},
		},
		"gate": {
			steps: []func(*http.Request) (*http.Response, error){status(200)},
			change: func(c *Client) {
				c.Gate = new(Gate)
				c.Gate.of("host").close(time.Now(), pause{wait: 10 * time.Second}, time.Minute, false)
			},
			want: Outcome{Attempts: 1, Status: 200},
		},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				client, _ := scripted(tc.steps...)
				client.Backoff = second
				if tc.change != nil {
					tc.change(client)
				}
				var got []Outcome
				client.OnDone = func(o Outcome) { got = append(got, o) }
				began := time.Now()
				_, err := client.Get("http://user:secret@host/path?token=secret")
				require.Len(t, got, 1)
				o := got[0]
				assert.Equal(t, "GET", o.Method)
				assert.Equal(t, "http://user:xxxxx@host/path?token=REDACTED", o.URL)
				assert.Equal(t, "/path", o.Request.URL.Path)
				assert.Equal(t, err, o.Err)
				if tc.fails != nil {
					assert.ErrorIs(t, o.Err, tc.fails)
				}
				assert.WithinDuration(t, began, o.Start, 0)
				if name == "gate" {
					assert.Equal(t, time.Since(began), o.Waited)
					assert.GreaterOrEqual(t, o.Waited, 10*time.Second)
					tc.want.Waited, tc.want.Elapsed = o.Waited, o.Waited
				}
				o.Method, o.URL, o.Request, o.Start, o.Err = "", "", nil, time.Time{}, nil
				assert.Equal(t, tc.want, o)
			})
		})
	}
}

func TestOnDoneIsCalledForEveryResumption(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		client, _ := scripted(
			func(req *http.Request) (*http.Response, error) { return silent(req, "12345"), nil },
			status(503),
			func(req *http.Request) (*http.Response, error) {
				resp := respond(req, 206, "67890", "Etag", `"v1"`, "Content-Range", "bytes 5-9/10")
				resp.ContentLength = 5
				return resp, nil
			})
		client.BodyIdleTimeout, client.ResumeMax = time.Second, 1
		var resumptions, attempts []int
		client.OnDone = func(o Outcome) {
			resumptions, attempts = append(resumptions, o.Resumption), append(attempts, o.Attempts)
		}
		resp, err := client.Get("http://host/")
		require.NoError(t, err)
		_, err = resp.Body.Read(make([]byte, 5))
		require.NoError(t, err)
		_, err = resp.Body.Read(make([]byte, 5))
		require.NoError(t, err)
		resp.Body.Close()
		assert.Equal(t, []int{0, 1}, resumptions)
		assert.Equal(t, []int{1, 2}, attempts)
	})
}

func TestOnStartGivesTheContextOfTheCall(t *testing.T) {
	type key struct{}
	for name, send := range ways {
		client, script := scripted(status(503), status(200))
		client.OnStart = func(req *http.Request) context.Context {
			return context.WithValue(req.Context(), key{}, "call")
		}
		var seen []any
		client.OnAttempt = func(a Attempt) { seen = append(seen, a.Request.Context().Value(key{})) }
		client.OnDone = func(o Outcome) { seen = append(seen, o.Request.Context().Value(key{})) }
		req := mustRequest(t, "http://host/")
		_, err := send(client, req)
		require.NoError(t, err, name)
		for _, sent := range script.seen {
			seen = append(seen, sent.Context().Value(key{}))
		}
		assert.Equal(t, []any{"call", "call", "call", "call", "call"}, seen, name)
		assert.Nil(t, req.Context().Value(key{}), name)
	}
}

func TestOnStartMayReturnNil(t *testing.T) {
	client, script := scripted(status(200))
	client.OnStart = func(*http.Request) context.Context { return nil }
	_, err := client.Get("http://host/")
	require.NoError(t, err)
	assert.Len(t, script.seen, 1)
}

func TestOutcomeHasTheErrorThatTheCallReturns(t *testing.T) {
	for name, send := range ways {
		for _, handler := range []ErrorHandler{nil, PassthroughErrorHandler} {
			client, _ := scripted(failure(errLost))
			client.RetryMax, client.ErrorHandler = 1, handler
			var got error
			client.OnDone = func(o Outcome) { got = o.Err }
			_, err := send(client, mustRequest(t, "http://host/?key=secret"))
			require.Error(t, err, name)
			assert.ErrorIs(t, err, got, name)
		}
	}
}

// A wait that the backoff has drawn is shortened rather than to end the call before its time.
func TestDrawnWaitIsShortenedToFitTheDeadline(t *testing.T) {
	for name, tc := range map[string]struct {
		backoff  Backoff
		deadline time.Duration
		elapsed  time.Duration // MaxElapsedTime
		asked    string
		attempts int
		at       [2]time.Duration // of the second attempt, from and to
	}{
		"deadline":            {nil, 1100 * time.Millisecond, 0, "", 2, [2]time.Duration{1000 * time.Millisecond, 1100 * time.Millisecond}},
		"MaxElapsedTime":      {ExponentialJitterBackoff, time.Hour, 1100 * time.Millisecond, "", 2, [2]time.Duration{1000 * time.Millisecond, 1100 * time.Millisecond}},
		"min does not fit":    {nil, 900 * time.Millisecond, 0, "", 1, [2]time.Duration{}},
		"asked for, fits not": {nil, 10 * time.Second, 0, "10", 1, [2]time.Duration{}},
		"asked for, just":     {nil, 10100 * time.Millisecond, 0, "10", 2, [2]time.Duration{10 * time.Second, 10100 * time.Millisecond}},
		"not drawn":           {LinearJitterBackoff, 900 * time.Millisecond, 0, "", 1, [2]time.Duration{}},
		"a program's own": {func(_, _ time.Duration, _ int, _ *http.Response) time.Duration { return time.Minute },
			30 * time.Second, 0, "", 1, [2]time.Duration{}},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				for range 20 {
					h := newHost(unavailable(time.Hour))
					if tc.asked != "" {
						h.respond = unavailable(time.Hour, "Retry-After", tc.asked)
					}
					client := NewClient()
					client.HTTPClient = &http.Client{Transport: h}
					client.Backoff, client.MaxElapsedTime, client.RetryMax = tc.backoff, tc.elapsed, 1
					ctx, cancel := context.WithTimeout(t.Context(), tc.deadline)
					defer cancel()
					req, err := NewRequestWithContext(ctx, "GET", "http://host/", nil)
					require.NoError(t, err)
					_, err = client.Do(req)
					var gaveUp *GiveUpError
					require.True(t, errors.As(err, &gaveUp))
					require.Equal(t, tc.attempts, gaveUp.Attempts)
					if tc.attempts == 2 {
						assert.GreaterOrEqual(t, h.times[1], tc.at[0])
						assert.LessOrEqual(t, h.times[1], tc.at[1]+time.Millisecond)
					}
				}
			})
		})
	}
}

func TestExponentialJitterBackoffTakesRetryAfterAsALowerBound(t *testing.T) {
	for asked, want := range map[string][2]time.Duration{
		"0":   {time.Second, 1100 * time.Millisecond},
		"120": {120 * time.Second, 132 * time.Second},
	} {
		least, most := time.Hour, time.Duration(0)
		for range 1000 {
			wait := ExponentialJitterBackoff(time.Second, 30*time.Second, 3, asking(503, asked))
			least, most = min(least, wait), max(most, wait)
		}
		assert.GreaterOrEqual(t, least, want[0])
		assert.LessOrEqual(t, most, want[1])
		assert.Greater(t, most-least, (want[1]-want[0])*8/10, asked)
	}
}

func TestRecommended(t *testing.T) {
	client := Recommended()
	assert.True(t, sameFunc[CheckRetry](SafeRetryPolicy, client.CheckRetry))
	assert.Equal(t, 500*time.Millisecond, client.RetryWaitMin)
	assert.Equal(t, 30*time.Second, client.AttemptTimeout)
	assert.Equal(t, 2*time.Minute, client.MaxElapsedTime)
	assert.Equal(t, 0.5, client.Budget.Ratio)
	assert.True(t, client.Budget.PerHost)
	assert.NotNil(t, client.Gate)
	assert.NotSame(t, client.Gate, Recommended().Gate)
	published := NewClient()
	assert.Nil(t, published.Budget)
	assert.Nil(t, published.Gate)
	assert.Zero(t, published.AttemptTimeout)
}
