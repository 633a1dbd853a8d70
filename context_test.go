package retryablehttp

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// docs/spec.md, 10.1: WithRetryMax applies to the calls of its context only.
func TestWithRetryMaxOverridesTheClient(t *testing.T) {
	for way, get := range gets {
		for _, tc := range []struct{ client, call, attempts int }{
			{4, 0, 1}, {4, 1, 2}, {4, 7, 8}, {0, 2, 3}, {4, -3, 1}, {-1, 1, 2},
		} {
			t.Run(fmt.Sprint(way, tc), func(t *testing.T) {
				client, sent := scripted(failure(errLost))
				client.RetryMax = tc.client
				_, err := get(WithRetryMax(t.Context(), tc.call), client)
				var giveUp *GiveUpError
				require.ErrorAs(t, err, &giveUp)
				assert.Equal(t, tc.attempts, giveUp.Attempts)
				assert.Equal(t, ReasonRetriesUsedUp, giveUp.Reason)
				assert.Len(t, sent.seen, tc.attempts)
				assert.Equal(t, tc.client, client.RetryMax, "the client's own")

				sent.seen = nil
				_, err = get(t.Context(), client)
				require.Error(t, err)
				assert.Len(t, sent.seen, max(tc.client, 0)+1, "another call")
			})
		}
	}
}

// docs/spec.md, 10.2: WithCheckRetry replaces the client's policy.
func TestWithCheckRetryOverridesTheClient(t *testing.T) {
	type key struct{}
	for way, get := range gets {
		t.Run(way, func(t *testing.T) {
			client, _ := scripted(status(404), status(503), status(200))
			client.CheckRetry = func(context.Context, *http.Response, error) (bool, error) {
				t.Error("the client's own policy was asked")
				return false, nil
			}
			asked := 0
			policy := func(ctx context.Context, resp *http.Response, err error) (bool, error) {
				asked++
				assert.Equal(t, "value", ctx.Value(key{}), "the caller's context")
				return resp.StatusCode == 404, err
			}
			ctx := WithCheckRetry(context.WithValue(t.Context(), key{}, "value"), policy)
			resp, err := get(ctx, client)
			require.NoError(t, err)
			assert.Equal(t, 503, resp.StatusCode)
			assert.Equal(t, 2, asked)

			client, sent := scripted(status(500), status(200))
			client.CheckRetry = func(context.Context, *http.Response, error) (bool, error) { return false, nil }
			resp, err = get(WithCheckRetry(t.Context(), nil), client)
			require.NoError(t, err)
			assert.Equal(t, 200, resp.StatusCode, "nil is DefaultRetryPolicy")
			assert.Len(t, sent.seen, 2)

			client, sent = scripted(failure(errReset), status(200))
			req := mustRequest(t, "http://host/").WithContext(WithCheckRetry(t.Context(), SafeRetryPolicy))
			req.Method = "POST"
			_, err = (&RoundTripper{Client: client}).RoundTrip(req)
			require.Error(t, err)
			assert.Len(t, sent.seen, 1, "SafeRetryPolicy, with what it has to observe")
		})
	}
}

// docs/spec.md, 10.1 and 10.2: both apply together, the inner context wins, and the outer
// one is unchanged.
func TestOverridesAddUp(t *testing.T) {
	always := func(context.Context, *http.Response, error) (bool, error) { return true, nil }
	never := func(context.Context, *http.Response, error) (bool, error) { return false, nil }
	for way, get := range gets {
		client, sent := scripted(status(200))
		outer := WithRetryMax(WithCheckRetry(t.Context(), always), 2)
		for _, tc := range []struct {
			ctx      context.Context
			attempts int
		}{
			{outer, 3},
			{WithRetryMax(outer, 5), 6},
			{WithCheckRetry(outer, never), 1},
			{WithCheckRetry(WithRetryMax(outer, 1), always), 2},
			{outer, 3},
		} {
			sent.seen = nil
			get(tc.ctx, client)
			assert.Len(t, sent.seen, tc.attempts, way)
		}
	}
}

// docs/spec.md, 10.3: the outer client's RetryMax applies, whatever the inner client's
// is.
func TestNestedClientsDoNotMultiplyAttempts(t *testing.T) {
	steps := map[string]func(*http.Request) (*http.Response, error){"status": status(503), "error": failure(errLost)}
	for nesting, nest := range nestings {
		for outcome, step := range steps {
			for way, get := range gets {
				for _, tc := range []struct{ outer, inner int }{{4, 4}, {4, 0}, {4, 2}, {4, 9}, {0, 4}, {1, 100}} {
					t.Run(fmt.Sprintf("%s/%s/%s/%d over %d", nesting, outcome, way, tc.outer, tc.inner), func(t *testing.T) {
						inner, sent := scripted(step)
						inner.RetryMax = tc.inner
						outer := &Client{RetryMax: tc.outer, Backoff: noWait}
						nest(outer, inner)
						_, err := get(t.Context(), outer)
						var giveUp *GiveUpError
						require.ErrorAs(t, err, &giveUp)
						assert.Equal(t, tc.outer+1, len(sent.seen), "requests")
						assert.Equal(t, tc.outer+1, giveUp.Attempts)
						if outcome == "error" {
							assert.ErrorIs(t, err, errLost)
						}
					})
				}
			}
		}
	}
}

// docs/spec.md, 10.3: three nested clients, and WithRetryMax for all of them.
func TestNestedClientsThreeDeep(t *testing.T) {
	inner, sent := scripted(status(503))
	middle := &Client{RetryMax: 4, Backoff: noWait, HTTPClient: inner.StandardClient()}
	outer := &Client{RetryMax: 4, Backoff: noWait, HTTPClient: middle.StandardClient()}
	_, err := outer.Get("http://host/")
	require.Error(t, err)
	assert.Equal(t, 5, len(sent.seen))
	sent.seen = nil
	_, err = gets["Do"](WithRetryMax(t.Context(), 2), outer)
	require.Error(t, err)
	assert.Len(t, sent.seen, 3)
	sent.seen = nil
	_, err = middle.Get("http://host/")
	require.Error(t, err)
	assert.Len(t, sent.seen, 5, "a client that is not nested retries")
}

// docs/spec.md, 10.3: an inner client with an ErrorHandler.
func TestNestedClientWithAnErrorHandlerDoesNotMultiply(t *testing.T) {
	for nesting, nest := range nestings {
		t.Run(nesting, func(t *testing.T) {
			inner, sent := scripted(status(503))
			inner.ErrorHandler = PassthroughErrorHandler
			outer := &Client{RetryMax: 4, Backoff: noWait}
			nest(outer, inner)
			_, err := outer.Get("http://host/")
			require.Error(t, err)
			assert.Equal(t, 5, len(sent.seen))
		})
	}
}

// docs/spec.md, 10.3: the inner client returns the result of its attempt and does not
// wait.
func TestNestedClientPassesTheOutcomeOn(t *testing.T) {
	inner, sent := scripted(status(503, "A", "b"))
	inner.Backoff = func(time.Duration, time.Duration, int, *http.Response) time.Duration {
		t.Error("the inner client waits")
		return 0
	}
	inner.ErrorHandler = func(*http.Response, error, int) (*http.Response, error) {
		t.Error("the inner client's ErrorHandler is called")
		return nil, errLost
	}
	var reasons []Reason
	inner.OnAttempt = func(a Attempt) { reasons = append(reasons, a.Reason) }
	outer := &Client{HTTPClient: inner.StandardClient(), RetryMax: 2, Backoff: noWait}
	var bodies []string
	var policyErrs []error
	outer.CheckRetry = func(_ context.Context, resp *http.Response, err error) (bool, error) {
		policyErrs = append(policyErrs, err)
		if err != nil {
			return true, nil
		}
		body, _ := io.ReadAll(resp.Body)
		bodies = append(bodies, resp.Header.Get("A")+": "+string(body))
		return true, nil
	}
	_, err := outer.Get("http://host/")
	require.Error(t, err)
	assert.Equal(t, []string{"b: body of a 503", "b: body of a 503", "b: body of a 503"}, bodies)
	assert.Equal(t, []error{nil, nil, nil}, policyErrs)
	assert.Len(t, reasons, 3, "the inner client's attempts are reported too")
	assert.Len(t, sent.seen, 3)
	for i, req := range sent.seen {
		assert.Equal(t, i+1, AttemptNumber(WithRetryMax(outerContext(req), 0)), "the outer client's number")
	}

	inner, _ = scripted(failure(errLost))
	outer.HTTPClient = inner.StandardClient()
	outer.CheckRetry = func(_ context.Context, _ *http.Response, err error) (bool, error) {
		var giveUp *GiveUpError
		assert.NotErrorAs(t, err, &giveUp, "of the inner client")
		assert.EqualError(t, errors.Unwrap(err), "connection lost")
		return false, nil
	}
	_, err = outer.Get("http://host/")
	assert.EqualError(t, err, `GET http://host/ giving up after 1 attempt(s): connection lost`)
}

// outerContext is the context that the outermost client gave its attempt.
func outerContext(req *http.Request) context.Context { return req.Context() }

// docs/spec.md, 10.3: each attempt sends the whole body, and a body that can be read only
// once is read once.
func TestNestedClientsSendTheBodyWhole(t *testing.T) {
	for nesting, nest := range nestings {
		for kind, raw := range map[string]func() any{
			"bytes":    func() any { return []byte(content) },
			"one-shot": func() any { return newOnceSource(content) },
			"long":     func() any { return newOnceSource(strings.Repeat(content, 1000)) },
		} {
			t.Run(nesting+"/"+kind, func(t *testing.T) {
				var got []string
				inner := &Client{RetryMax: 4, Backoff: noWait, HTTPClient: &http.Client{Transport: roundTripFunc(func(req *http.Request) (*http.Response, error) {
					defer req.Body.Close()
					if len(got) < 2 {
						part, err := io.ReadAll(io.LimitReader(req.Body, 10))
						got = append(got, string(part))
						return respond(req, 503, ""), err
					}
					body, err := io.ReadAll(req.Body)
					got = append(got, string(body))
					return respond(req, 200, ""), err
				})}}
				outer := &Client{RetryMax: 4, Backoff: noWait}
				outer.ReplayMax = 20
				inner.ReplayMax = 20
				nest(outer, inner)
				body := raw()
				resp, err := outer.Post("http://host/", "", body)
				require.NoError(t, err)
				assert.Equal(t, 200, resp.StatusCode)
				want := content
				if kind == "long" {
					want = strings.Repeat(content, 1000)
				}
				assert.Equal(t, []string{content[:10], content[:10], want}, got)
				if source, ok := body.(*onceSource); ok {
					assert.Equal(t, len(want), source.read)
					assert.Equal(t, 1, source.closes)
				}
			})
		}
	}
}

// docs/spec.md, 6.2 and 10.3: Unsent of the outer call's error uses what the inner client
// observed.
func TestUnsentThroughNestedClients(t *testing.T) {
	for nesting, nest := range nestings {
		t.Run(nesting, func(t *testing.T) {
			for _, tc := range []struct {
				step     func(*http.Request) (*http.Response, error)
				unsent   bool
				attempts int
			}{{failure(errRefused), true, 3}, {failure(errReset), false, 1}} {
				inner, sent := scripted(tc.step)
				inner.CheckRetry, inner.RetryMax = SafeRetryPolicy, 2
				outer := &Client{RetryMax: 2, Backoff: noWait, CheckRetry: SafeRetryPolicy}
				nest(outer, inner)
				_, err := outer.Post("http://host/", "", content)
				require.Error(t, err)
				assert.Equal(t, tc.unsent, Unsent(err))
				assert.Len(t, sent.seen, tc.attempts)
			}
		})
	}
}

// docs/spec.md, 4.20: the first attempt over *http.Transport has an unchanged context.
func TestPlainTransportIsNotMarked(t *testing.T) {
	server := httptest.NewServer(http.NotFoundHandler())
	defer server.Close()
	rt := &http.Transport{DialContext: func(ctx context.Context, network, addr string) (net.Conn, error) {
		assert.Nil(t, attemptOf(ctx))
		return new(net.Dialer).DialContext(ctx, network, addr)
	}}
	client := &Client{HTTPClient: &http.Client{Transport: rt}}
	resp, err := client.Get(server.URL)
	require.NoError(t, err)
	resp.Body.Close()
	client.CloseIdleConnections()
}

// docs/spec.md, 10.3: the first calls of a client, made at the same time.
func TestHiddenClientIsFoundByConcurrentCalls(t *testing.T) {
	var sent atomic.Int32
	inner := &Client{RetryMax: 9, Backoff: noWait, HTTPClient: &http.Client{Transport: roundTripFunc(func(req *http.Request) (*http.Response, error) {
		sent.Add(1)
		return respond(req, 503, ""), nil
	})}}
	outer := &Client{RetryMax: 4, Backoff: noWait, HTTPClient: &http.Client{Transport: through(&RoundTripper{Client: inner})}}
	var calls sync.WaitGroup
	for range 50 {
		calls.Go(func() {
			_, err := outer.Get("http://host/")
			assert.Error(t, err)
		})
	}
	calls.Wait()
	assert.EqualValues(t, 250, sent.Load())
}

// docs/spec.md, 6.8 and 10.3: the inner client's key is the same in all attempts of the
// outer call, and another for another call and for other requests of a middleware.
func TestNestedClientKeepsItsIdempotencyKey(t *testing.T) {
	for nesting, nest := range nestings {
		t.Run(nesting, func(t *testing.T) {
			inner, sent := scripted(status(503), status(503), status(200))
			inner.IdempotencyKey = NewIdempotencyKey
			outer := &Client{RetryMax: 4, Backoff: noWait}
			nest(outer, inner)
			keys := map[string]bool{}
			for range 3 {
				sent.seen, sent.steps = nil, []func(*http.Request) (*http.Response, error){status(503), status(503), status(200)}
				_, err := outer.Post("http://host/", "", content)
				require.NoError(t, err)
				require.Len(t, sent.seen, 3)
				key := sent.seen[0].Header.Get("Idempotency-Key")
				assert.Len(t, key, 36)
				for _, req := range sent.seen {
					assert.Equal(t, key, req.Header.Get("Idempotency-Key"))
				}
				keys[key] = true
			}
			assert.Len(t, keys, 3, "one for each call")
		})
	}

	inner, sent := scripted(status(200), status(503), status(200), status(200))
	inner.IdempotencyKey = NewIdempotencyKey
	below := &RoundTripper{Client: inner}
	outer := &Client{RetryMax: 4, Backoff: noWait, HTTPClient: &http.Client{Transport: roundTripFunc(func(req *http.Request) (*http.Response, error) {
		token, err := http.NewRequestWithContext(req.Context(), "POST", "http://tokens/", nil)
		if err != nil {
			return nil, err
		}
		if _, err := below.RoundTrip(token); err != nil {
			return nil, err
		}
		return below.RoundTrip(req)
	})}}
	_, err := outer.Post("http://host/", "", content)
	require.NoError(t, err)
	require.Len(t, sent.seen, 4)
	key := func(i int) string { return sent.seen[i].Header.Get("Idempotency-Key") }
	assert.Equal(t, key(1), key(3))
	assert.NotEqual(t, key(0), key(1), "another request")
	assert.NotEqual(t, key(0), key(2), "and each of these is a call of its own")
}

// docs/spec.md, 10.3: a call with an attempt's context, made in a hook or after the outer
// call, is not nested.
func TestContextOfAnAttemptDoesNotNestOtherCalls(t *testing.T) {
	tried := 0
	try := func(ctx context.Context) {
		tried++
		client, sent := scripted(status(503), status(503), status(200))
		resp, err := gets["Do"](ctx, client)
		if assert.NoError(t, err) {
			assert.Equal(t, 200, resp.StatusCode)
		}
		assert.Len(t, sent.seen, 3)
	}
	client, _ := scripted(status(503), status(200))
	client.RequestLogHook = func(_ Logger, req *http.Request, _ int) { try(req.Context()) }
	client.ResponseLogHook = func(_ Logger, resp *http.Response) { try(resp.Request.Context()) }
	client.PrepareRetry = func(req *http.Request) error { try(req.Context()); return nil }
	client.OnAttempt = func(a Attempt) { try(a.Request.Context()) }
	client.CheckRetry = func(ctx context.Context, resp *http.Response, err error) (bool, error) {
		try(ctx)
		return DefaultRetryPolicy(ctx, resp, err)
	}
	req, err := NewRequest("GET", "http://host/", nil)
	require.NoError(t, err)
	req.SetResponseHandler(func(resp *http.Response) error { try(resp.Request.Context()); return nil })
	resp, err := client.Do(req)
	require.NoError(t, err)
	try(resp.Request.Context())
	assert.Equal(t, 2*4+1+1+2, tried, "the policy twice about the second attempt")
}

// docs/spec.md, 10.3: the error of the inner client's policy is returned.
func TestNestedClientPassesOnTheErrorOfItsPolicy(t *testing.T) {
	for nesting, nest := range nestings {
		errMaintenance := errors.New("maintenance page")
		inner, sent := scripted(status(200))
		inner.CheckRetry = func(context.Context, *http.Response, error) (bool, error) { return false, errMaintenance }
		outer := &Client{}
		nest(outer, inner)
		_, err := outer.Get("http://host/")
		assert.ErrorIs(t, err, errMaintenance, nesting)
		assert.Len(t, sent.seen, 1)
	}
}

// docs/spec.md, 10.3: the attempts of an inner client count as its first.
func TestNestedClientNumbersItsOwnAttempts(t *testing.T) {
	inner, _ := scripted(status(503), status(503), status(200))
	var numbers []int
	inner.OnAttempt = func(a Attempt) { numbers = append(numbers, a.Number) }
	outer := &Client{RetryMax: 4, Backoff: noWait, HTTPClient: inner.StandardClient()}
	_, err := outer.Get("http://host/")
	require.NoError(t, err)
	assert.Equal(t, []int{1, 1, 1}, numbers)
}

// docs/spec.md, 10.3: the inner client does not read a stream ahead that the outer client
// keeps.
func TestNestedClientDoesNotReadAStreamAhead(t *testing.T) {
	attempts := 0
	inner := &Client{HTTPClient: &http.Client{Transport: roundTripFunc(func(req *http.Request) (*http.Response, error) {
		defer req.Body.Close()
		if attempts++; attempts == 1 {
			return nil, errRefused
		}
		data, err := io.ReadAll(req.Body)
		return respond(req, 200, string(data)), err
	})}}
	below := &RoundTripper{Client: inner}
	outer := &Client{RetryMax: 4, Backoff: noWait, ReplayMax: 10, HTTPClient: &http.Client{Transport: roundTripFunc(func(req *http.Request) (*http.Response, error) {
		req = req.Clone(req.Context())
		req.GetBody = nil
		return below.RoundTrip(req)
	})}}
	resp, err := outer.Post("http://host/", "", newOnceSource(strings.Repeat(content, 5)))
	require.NoError(t, err)
	data, err := io.ReadAll(resp.Body)
	require.NoError(t, err)
	assert.Equal(t, strings.Repeat(content, 5), string(data))
	assert.Equal(t, 2, attempts)
}

// docs/spec.md, 6.8 and 10.3: other requests of a middleware have keys of their own; a
// request whose URL was signed again keeps its key.
func TestNestedKeysAreOnePerRequest(t *testing.T) {
	inner, sent := scripted(status(200), status(200), status(503), status(200))
	inner.IdempotencyKey = NewIdempotencyKey
	below := &RoundTripper{Client: inner}
	attempt := 0
	outer := &Client{RetryMax: 4, Backoff: noWait, HTTPClient: &http.Client{Transport: roundTripFunc(func(req *http.Request) (*http.Response, error) {
		attempt++
		for range 2 {
			record, err := http.NewRequestWithContext(req.Context(), "POST", "http://audit/records", nil)
			if err != nil {
				return nil, err
			}
			if _, err := below.RoundTrip(record); err != nil {
				return nil, err
			}
		}
		req = req.Clone(req.Context())
		req.URL.RawQuery = fmt.Sprint("signature=", attempt)
		return below.RoundTrip(req)
	})}}
	_, err := outer.Post("http://host/", "", content)
	require.NoError(t, err)
	require.Len(t, sent.seen, 6)
	var keys [6]string
	for i, req := range sent.seen {
		keys[i] = req.Header.Get("Idempotency-Key")
	}
	assert.Equal(t, keys[2], keys[5])
	slices.Sort(keys[:])
	assert.Len(t, slices.Compact(keys[:]), 5)
}

// docs/spec.md, 6.8 and 10.3: a cache that has served the first GET does not affect the
// key of a POST.
func TestKeyOfAClientBehindACache(t *testing.T) {
	inner, sent := scripted(failure(errReset), failure(errReset), failure(errReset), failure(errReset), status(200))
	inner.IdempotencyKey, inner.RetryMax = NewIdempotencyKey, 2
	below := &RoundTripper{Client: inner}
	outer := &Client{RetryMax: 9, Backoff: noWait, HTTPClient: &http.Client{Transport: roundTripFunc(func(req *http.Request) (*http.Response, error) {
		if req.Method == "GET" {
			return respond(req, 200, "cached"), nil
		}
		return below.RoundTrip(req)
	})}}
	_, err := outer.Get("http://host/")
	require.NoError(t, err)
	_, err = outer.Post("http://host/", "", content)
	require.NoError(t, err)
	require.Len(t, sent.seen, 5)
	for _, req := range sent.seen {
		assert.Equal(t, sent.seen[0].Header.Get("Idempotency-Key"), req.Header.Get("Idempotency-Key"))
	}
}

// docs/spec.md, 1.4: a Client may be copied while it is in use. Run with -race.
func TestClientMayBeCopiedInUse(t *testing.T) {
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(503) }))
	defer server.Close()
	client := &Client{RetryMax: 3, Backoff: noWait, HTTPClient: &http.Client{Transport: &http.Transport{}}}
	defer client.CloseIdleConnections()
	var calls sync.WaitGroup
	for range 4 {
		calls.Go(func() {
			copied := *client
			copied.RetryMax = 1
			_, err := copied.Get(server.URL)
			assert.Error(t, err)
			_, err = client.Get(server.URL)
			assert.Error(t, err)
		})
	}
	calls.Wait()
}
