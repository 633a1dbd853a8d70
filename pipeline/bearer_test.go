package pipeline_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptrace"
	"net/url"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/a0b132ce/retryablehttp/pipeline"
)

// tokens makes fetch, which gets the number of the fetch, the Fetch of p.
func tokens(p *pipeline.BearerToken, fetch func(n int, r pipeline.TokenRequest) (pipeline.Token, error)) *pipeline.BearerToken {
	var n atomic.Int32
	p.Fetch = func(_ context.Context, r pipeline.TokenRequest) (pipeline.Token, error) {
		return fetch(int(n.Add(1)), r)
	}
	return p
}

// issuer issues the tokens t1, t2 and so on.
type issuer struct {
	takes    time.Duration // each fetch
	lifetime time.Duration // 0 means for ever
	refresh  time.Duration // after which RefreshAt is, 0 for none
	errs     map[int]error // by the number of the fetch

	mu         sync.Mutex
	challenges []string
}

func (s *issuer) policy() *pipeline.BearerToken { return &pipeline.BearerToken{Fetch: s.fetch} }

func (s *issuer) fetch(ctx context.Context, r pipeline.TokenRequest) (pipeline.Token, error) {
	s.mu.Lock()
	s.challenges = append(s.challenges, r.Challenge)
	n := len(s.challenges)
	s.mu.Unlock()
	if s.takes > 0 {
		timer := time.NewTimer(s.takes)
		defer timer.Stop()
		select {
		case <-timer.C:
		case <-ctx.Done():
			return pipeline.Token{}, ctx.Err()
		}
	}
	if err := s.errs[n]; err != nil {
		return pipeline.Token{}, err
	}
	token := pipeline.Token{Value: fmt.Sprint("t", n)}
	if s.lifetime != 0 {
		token.Expires = time.Now().Add(s.lifetime)
	}
	if s.refresh != 0 {
		token.RefreshAt = time.Now().Add(s.refresh)
	}
	return token, nil
}

func (s *issuer) fetches() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.challenges)
}

// sentToken makes a call and returns the token that the server got.
func sentToken(ctx context.Context, t *testing.T, server *scripted, policies ...pipeline.Policy) (string, error) {
	req := newRequest(t, "GET", "https://h/").Clone(ctx)
	resp, err := over(server, policies...).Do(req)
	if err != nil {
		return "", err
	}
	resp.Body.Close()
	server.mu.Lock()
	defer server.mu.Unlock()
	return strings.TrimPrefix(server.seen[len(server.seen)-1].header.Get("Authorization"), "Bearer "), nil
}

func TestA2ManyRequestsFetchOneToken(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		source := &issuer{takes: time.Second}
		bearer, server := source.policy(), serve(step{status: 200})
		var calls sync.WaitGroup
		for range 50 {
			calls.Go(func() {
				_, err := sentToken(context.Background(), t, server, fast(), bearer)
				assert.NoError(t, err)
			})
		}
		calls.Wait()
		assert.Equal(t, 1, source.fetches())
		require.Equal(t, 50, server.tries())
		for _, got := range server.seen {
			assert.Equal(t, []string{"Bearer t1"}, got.header["Authorization"])
		}
	})
}

func TestWaitersMayLeave(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		source := &issuer{takes: time.Minute}
		bearer, server := source.policy(), serve(step{status: 200})
		var fetcher sync.WaitGroup
		fetcher.Go(func() {
			_, err := sentToken(context.Background(), t, server, bearer)
			assert.NoError(t, err)
		})
		synctest.Wait()
		ctx, cancel := context.WithTimeout(context.Background(), time.Second)
		defer cancel()
		began := time.Now()
		_, err := sentToken(ctx, t, server, bearer)
		require.ErrorIs(t, err, context.DeadlineExceeded)
		assert.ErrorContains(t, err, "waiting for a token")
		assert.Equal(t, time.Second, time.Since(began))
		assert.Zero(t, server.tries())
		fetcher.Wait()
		assert.Equal(t, 1, source.fetches())
	})
}

// The call that fetches is canceled: the next one fetches, and the others wait on.
func TestCanceledFetchDoesNotFailTheOthers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		source := &issuer{takes: time.Minute}
		bearer, server := source.policy(), serve(step{status: 200})
		ctx, cancel := context.WithTimeout(context.Background(), time.Second)
		defer cancel()
		var calls sync.WaitGroup
		calls.Go(func() {
			_, err := sentToken(ctx, t, server, fast(), bearer)
			assert.ErrorIs(t, err, context.DeadlineExceeded)
			assert.NotErrorAs(t, err, new(*pipeline.TokenError))
		})
		synctest.Wait()
		began := time.Now()
		for range 20 {
			calls.Go(func() {
				token, err := sentToken(context.Background(), t, server, bearer)
				assert.NoError(t, err)
				assert.Equal(t, "t2", token)
			})
		}
		calls.Wait()
		assert.Equal(t, time.Second+time.Minute, time.Since(began))
		assert.Equal(t, 2, source.fetches())
	})
}

func TestFailedFetchIsSharedAndNotRetried(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		cause := &url.Error{Op: "Post", URL: "https://login/?client_secret=hush", Err: io.ErrUnexpectedEOF}
		source := &issuer{takes: time.Second, errs: map[int]error{1: cause}}
		bearer, server := source.policy(), serve(step{status: 200})
		var calls sync.WaitGroup
		for i := range 10 {
			policies := []pipeline.Policy{fast(), bearer}[i%2:] // Retry would redact the error too
			calls.Go(func() {
				_, err := sentToken(context.Background(), t, server, policies...)
				var failed *pipeline.TokenError
				if assert.ErrorAs(t, err, &failed) {
					assert.ErrorIs(t, err, io.ErrUnexpectedEOF)
					assert.NotContains(t, err.Error(), "hush")
					assert.NotContains(t, err.Error(), "giving up")
				}
			})
		}
		calls.Wait()
		assert.Equal(t, 1, source.fetches())
		assert.Zero(t, server.tries())
		token, err := sentToken(context.Background(), t, server, bearer)
		require.NoError(t, err)
		assert.Equal(t, "t2", token, "the next call fetches again")
	})
}

func TestTokenLifetime(t *testing.T) {
	type call struct {
		after time.Duration // the first
		want  string
	}
	for _, c := range []struct {
		name   string
		source *issuer
		calls  []call
	}{
		{"no expiry", &issuer{}, []call{{0, "t1"}, {1e6 * time.Hour, "t1"}}},
		{"5 minutes before the expiry", &issuer{lifetime: time.Hour},
			[]call{{0, "t1"}, {55*time.Minute - 1, "t1"}, {55 * time.Minute, "t2"}, {109 * time.Minute, "t2"}, {110 * time.Minute, "t3"}}},
		{"a tenth of a short life", &issuer{lifetime: 10 * time.Second}, []call{{0, "t1"}, {9*time.Second - 1, "t1"}, {9 * time.Second, "t2"}}},
		{"expired", &issuer{lifetime: time.Minute}, []call{{0, "t1"}, {time.Minute, "t2"}}},
		{"RefreshAt", &issuer{lifetime: time.Hour, refresh: time.Minute}, []call{{0, "t1"}, {time.Minute - 1, "t1"}, {time.Minute, "t2"}}},
		{"RefreshAt without an expiry", &issuer{refresh: time.Minute}, []call{{0, "t1"}, {time.Minute, "t2"}}},
		{"RefreshAt is past at once", &issuer{lifetime: time.Hour, refresh: -time.Minute},
			[]call{{0, "t1"}, {time.Second, "t1"}, {30 * time.Second, "t2"}, {31 * time.Second, "t2"}}},
		{"expired at once", &issuer{lifetime: -time.Minute}, []call{{0, "t1"}, {0, "t2"}}},
		{"failed early refresh", &issuer{lifetime: time.Hour, errs: map[int]error{2: io.EOF, 3: io.EOF}}, []call{
			{0, "t1"}, {55 * time.Minute, "t1"}, {55*time.Minute + 30*time.Second - 1, "t1"}, // fetch 2
			{55*time.Minute + 30*time.Second, "t1"}, {55*time.Minute + 59*time.Second, "t1"}, // fetch 3
			{56 * time.Minute, "t4"},
		}},
		{"failed refresh after the expiry", &issuer{lifetime: time.Hour, errs: map[int]error{2: io.EOF, 3: io.EOF}}, []call{
			{0, "t1"}, {59*time.Minute + 50*time.Second, "t1"}, {time.Hour, "error"}, {time.Hour, "t4"},
		}},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				bearer, server := c.source.policy(), serve(step{status: 200})
				began := time.Now()
				for _, call := range c.calls {
					time.Sleep(call.after - time.Since(began))
					got, err := sentToken(context.Background(), t, server, bearer)
					if err != nil {
						got = "error"
					}
					assert.Equal(t, call.want, got, call.after)
				}
			})
		})
	}
}

// One call refreshes while the others use the old token, up to its end.
func TestEarlyRefreshDelaysOneCall(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		source := &issuer{lifetime: time.Hour}
		bearer, server := source.policy(), serve(step{status: 200})
		call := func() (string, time.Duration) {
			began := time.Now()
			token, err := sentToken(context.Background(), t, server, bearer)
			assert.NoError(t, err)
			return token, time.Since(began)
		}
		call()
		source.takes = 10 * time.Minute
		time.Sleep(56 * time.Minute)
		var calls sync.WaitGroup
		calls.Go(func() {
			token, took := call()
			assert.Equal(t, "t2", token)
			assert.Equal(t, 10*time.Minute, took)
		})
		synctest.Wait()
		for range 20 {
			calls.Go(func() {
				token, took := call()
				assert.Equal(t, "t1", token)
				assert.Zero(t, took)
			})
		}
		synctest.Wait()
		time.Sleep(4 * time.Minute) // t1 has expired
		token, took := call()
		assert.Equal(t, "t2", token)
		assert.Equal(t, 6*time.Minute, took)
		calls.Wait()
		assert.Equal(t, 2, source.fetches())
	})
}

// The old token expires while its refresh fails.
func TestEarlyRefreshFailsTooLate(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		source := &issuer{lifetime: time.Hour, errs: map[int]error{2: io.EOF}}
		bearer, server := source.policy(), serve(step{status: 200})
		_, err := sentToken(context.Background(), t, server, bearer)
		require.NoError(t, err)
		source.takes = 10 * time.Minute
		time.Sleep(56 * time.Minute)
		_, err = sentToken(context.Background(), t, server, bearer)
		assert.ErrorIs(t, err, io.EOF)
		assert.Equal(t, 1, server.tries())
	})
}

// A slow refresh costs a call with a short deadline its time, but only one in 30 s.
func TestEarlyRefreshThatIsCanceledPauses(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		source := &issuer{lifetime: time.Hour}
		bearer, server := source.policy(), serve(step{status: 200})
		_, err := sentToken(context.Background(), t, server, bearer)
		require.NoError(t, err)
		source.takes = time.Hour
		time.Sleep(56 * time.Minute)
		for i := range 3 {
			ctx, cancel := context.WithTimeout(context.Background(), time.Second)
			_, err := sentToken(ctx, t, server, bearer)
			assert.Equal(t, i == 0, err != nil)
			cancel()
		}
		assert.Equal(t, 2, source.fetches())
	})
}

// A token that was refused while its refresh was under way is not used again.
func TestEarlyRefreshThatFailsAfterA401(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		source := &issuer{lifetime: time.Hour, errs: map[int]error{2: io.EOF}}
		bearer := source.policy()
		_, err := sentToken(context.Background(), t, serve(step{status: 200}), bearer)
		require.NoError(t, err)
		source.takes = time.Second
		time.Sleep(56 * time.Minute)
		server := serve(step{status: 401}, step{status: 200})
		var refresh sync.WaitGroup
		refresh.Go(func() {
			_, err := sentToken(context.Background(), t, server, bearer)
			assert.ErrorIs(t, err, io.EOF)
		})
		synctest.Wait()
		_, err = sentToken(context.Background(), t, server, bearer)
		require.NoError(t, err)
		refresh.Wait()
		assert.Equal(t, 1, server.tries())
	})
}

const claims = `Bearer realm="", error="insufficient_claims", claims="eyJ9"`

func TestA2ChallengeOfAPOST(t *testing.T) {
	for name, policies := range map[string]func(pipeline.Policy) []pipeline.Policy{
		"alone":        func(p pipeline.Policy) []pipeline.Policy { return []pipeline.Policy{p} },
		"after Retry":  func(p pipeline.Policy) []pipeline.Policy { return []pipeline.Policy{fast(), p} },
		"before Retry": func(p pipeline.Policy) []pipeline.Policy { return []pipeline.Policy{p, fast()} },
	} {
		t.Run(name, func(t *testing.T) {
			source := &issuer{}
			var first *trackedBody
			server := serve(step{status: 401, header: header("WWW-Authenticate", claims, "WWW-Authenticate", "Basic"), body: "no"},
				step{status: 200, body: "ok"}, step{status: 401, body: "no"}, step{status: 200})
			watch := roundTripper(func(r *http.Request) (*http.Response, error) {
				resp, err := server.RoundTrip(r)
				if first == nil {
					first = track(resp)
				}
				return resp, err
			})
			pl := over(watch, policies(source.policy())...)
			body := counted("stuff")
			req := newRequest(t, "POST", "https://h/")
			require.NoError(t, req.SetBody(body, ""))
			resp, err := pl.Do(req)
			require.NoError(t, err)
			assert.Equal(t, "ok", text(t, resp))
			require.Equal(t, 2, server.tries())
			for i, got := range server.seen {
				assert.Equal(t, "stuff", got.body)
				assert.Equal(t, []string{fmt.Sprint("Bearer t", i+1)}, got.header["Authorization"])
			}
			assert.Equal(t, []string{"", claims + ", Basic"}, source.challenges)
			assert.Equal(t, 1, body.closed())
			assert.True(t, first.closed && !first.ended, "the first response is closed and not read")

			resp, err = pl.Do(newRequest(t, "GET", "https://h/"))
			require.NoError(t, err)
			assert.Equal(t, 401, resp.StatusCode, "without a challenge it is returned")
			assert.Equal(t, "no", text(t, resp))
			assert.Equal(t, "Bearer t2", server.seen[2].header.Get("Authorization"))
			_, err = pl.Do(newRequest(t, "GET", "https://h/"))
			require.NoError(t, err)
			assert.Equal(t, "Bearer t3", server.seen[3].header.Get("Authorization"), "the token was dropped")
		})
	}
}

// trackedBody notes whether a body was read, also to its end, and closed.
type trackedBody struct {
	io.ReadCloser
	read, ended, closed bool
}

func track(resp *http.Response) *trackedBody {
	b := &trackedBody{ReadCloser: resp.Body}
	resp.Body = b
	return b
}

func (b *trackedBody) Read(p []byte) (int, error) {
	n, err := b.ReadCloser.Read(p)
	b.read = true
	b.ended = b.ended || err == io.EOF
	return n, err
}

func (b *trackedBody) Close() error {
	b.closed = true
	return b.ReadCloser.Close()
}

func TestSecond401IsReturned(t *testing.T) {
	source := &issuer{}
	server := serve(step{status: 401, header: header("WWW-Authenticate", claims), body: "no"})
	pl := over(server, fast(), source.policy())
	for i := range 2 {
		resp, err := pl.Do(newRequest(t, "GET", "https://h/"))
		require.NoError(t, err)
		assert.Equal(t, 401, resp.StatusCode)
		assert.Equal(t, "no", text(t, resp))
		assert.Equal(t, 2*i+2, server.tries())
	}
	assert.Equal(t, []string{"", claims, "", claims}, source.challenges, "no refused token is sent again")
}

func TestChallengeWithABodyThatCanBeReadOnce(t *testing.T) {
	for _, before := range [][]pipeline.Policy{nil, {fast()}} {
		source := &issuer{}
		server := serve(step{status: 401, header: header("WWW-Authenticate", claims), body: "no"}, step{status: 200})
		raw, err := http.NewRequest("POST", "https://h/", io.NopCloser(io.MultiReader(strings.NewReader("once"))))
		require.NoError(t, err)
		req, err := pipeline.FromRequest(raw)
		require.NoError(t, err)
		resp, err := over(server, append(before, source.policy())...).Do(req)
		require.NoError(t, err)
		assert.Equal(t, 401, resp.StatusCode)
		assert.Equal(t, "no", text(t, resp))
		assert.Equal(t, 1, source.fetches())
	}
}

func TestChallengeThatCannotBeMet(t *testing.T) {
	source := &issuer{errs: map[int]error{2: io.EOF}}
	server := serve(step{status: 401, header: header("WWW-Authenticate", claims)})
	_, err := sentToken(context.Background(), t, server, fast(), source.policy())
	assert.ErrorAs(t, err, new(*pipeline.TokenError))
	assert.Equal(t, 1, server.tries())

	bodyErr := errors.New("cannot be opened again")
	raw, err := http.NewRequest("POST", "https://h/", strings.NewReader("x"))
	require.NoError(t, err)
	raw.GetBody = func() (io.ReadCloser, error) { return nil, bodyErr }
	req, err := pipeline.FromRequest(raw)
	require.NoError(t, err)
	_, err = over(server, source.policy()).Do(req)
	assert.ErrorIs(t, err, bodyErr)
}

// Many requests are refused with the same token: one fetches for the challenge.
func TestManyChallengesFetchOneToken(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		source := &issuer{takes: time.Second}
		bearer := source.policy()
		var n atomic.Int32
		rt := roundTripper(func(r *http.Request) (*http.Response, error) {
			time.Sleep(time.Duration(n.Add(1)/10) * time.Second) // some are refused when t2 is there
			resp := &http.Response{StatusCode: 200, Header: http.Header{}, Request: r}
			if r.Header.Get("Authorization") == "Bearer t1" {
				resp.StatusCode = 401
				resp.Header.Set("WWW-Authenticate", claims)
			}
			return resp, nil
		})
		pl := over(rt, bearer)
		var calls sync.WaitGroup
		for range 50 {
			calls.Go(func() {
				resp, err := pl.Do(newRequest(t, "GET", "https://h/"))
				if assert.NoError(t, err) {
					assert.Equal(t, 200, resp.StatusCode)
				}
			})
		}
		calls.Wait()
		assert.Equal(t, []string{"", claims}, source.challenges)
	})
}

// A challenge is not met by a token that is fetched for another reason at the same time.
func TestChallengeDuringARefresh(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		source := &issuer{lifetime: time.Hour}
		bearer := source.policy()
		_, err := sentToken(context.Background(), t, serve(step{status: 200}), bearer)
		require.NoError(t, err)
		source.takes = time.Minute
		time.Sleep(56 * time.Minute)
		var refresh sync.WaitGroup
		refresh.Go(func() {
			token, err := sentToken(context.Background(), t, serve(step{status: 200}), bearer)
			assert.NoError(t, err)
			assert.Equal(t, "t2", token)
		})
		synctest.Wait()
		server := serve(step{status: 401, header: header("WWW-Authenticate", claims)}, step{status: 200})
		token, err := sentToken(context.Background(), t, server, bearer)
		require.NoError(t, err)
		assert.Equal(t, "t3", token)
		refresh.Wait()
		assert.Equal(t, []string{"", "", claims}, source.challenges)
	})
}

func TestTokensThatCannotBeSent(t *testing.T) {
	for _, value := range []string{"", "secret\n", "secret\r\nX-A: 1", "secret\x00"} {
		server := serve(step{status: 200})
		bearer := tokens(&pipeline.BearerToken{}, func(int, pipeline.TokenRequest) (pipeline.Token, error) {
			return pipeline.Token{Value: value}, nil
		})
		_, err := sentToken(context.Background(), t, server, fast(), bearer)
		require.ErrorIs(t, err, pipeline.ErrCredential)
		assert.NotContains(t, err.Error(), "secret")
		assert.NotContains(t, err.Error(), "giving up", "it is not retried")
		assert.Zero(t, server.tries())
	}
	_, err := sentToken(context.Background(), t, serve(step{status: 200}), &pipeline.BearerToken{})
	assert.ErrorIs(t, err, pipeline.ErrCredential)
}

// Fetch gets the end of the caller's context and nothing else of it.
func TestContextOfFetch(t *testing.T) {
	type key struct{}
	ctx, cancel := context.WithCancel(context.WithValue(context.Background(), key{}, 1))
	ctx = httptrace.WithClientTrace(ctx, &httptrace.ClientTrace{})
	bearer := &pipeline.BearerToken{Fetch: func(ctx context.Context, _ pipeline.TokenRequest) (pipeline.Token, error) {
		assert.Nil(t, ctx.Value(key{}))
		assert.Nil(t, httptrace.ContextClientTrace(ctx))
		assert.NoError(t, ctx.Err())
		cancel()
		assert.ErrorIs(t, ctx.Err(), context.Canceled)
		<-ctx.Done()
		return pipeline.Token{}, ctx.Err()
	}}
	_, err := sentToken(ctx, t, serve(step{status: 200}), fast(), bearer)
	assert.ErrorIs(t, err, context.Canceled)
}

// A Fetch that panics does not block the others.
func TestFetchPanics(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		bearer := tokens(&pipeline.BearerToken{}, func(n int, _ pipeline.TokenRequest) (pipeline.Token, error) {
			if n == 1 {
				time.Sleep(time.Second)
				panic("boom")
			}
			return pipeline.Token{Value: "t2"}, nil
		})
		server := serve(step{status: 200})
		var calls sync.WaitGroup
		calls.Go(func() {
			assert.PanicsWithValue(t, "boom", func() { sentToken(context.Background(), t, server, bearer) })
		})
		synctest.Wait()
		token, err := sentToken(context.Background(), t, server, bearer)
		require.NoError(t, err)
		assert.Equal(t, "t2", token)
		calls.Wait()
	})
}

func ExampleBearerToken() {
	bearer := &pipeline.BearerToken{
		Fetch: func(ctx context.Context, r pipeline.TokenRequest) (pipeline.Token, error) {
			fmt.Println("fetching a token")
			return pipeline.Token{Value: "abc", Expires: time.Now().Add(time.Hour)}, nil
		},
	}
	server := roundTripper(func(r *http.Request) (*http.Response, error) {
		fmt.Println(r.URL.Path, "with", r.Header.Get("Authorization"))
		return &http.Response{StatusCode: http.StatusNoContent, Request: r}, nil
	})
	pl := pipeline.New(&http.Client{Transport: server}, pipeline.Retry{}, bearer)
	for _, path := range []string{"/one", "/two"} {
		req, err := pipeline.NewRequest(context.Background(), http.MethodGet, "https://api.example.com"+path)
		if err != nil {
			fmt.Println(err)
			return
		}
		resp, err := pl.Do(req)
		if err != nil {
			fmt.Println(err)
			return
		}
		resp.Body.Close()
	}
	// Output:
	// fetching a token
	// /one with Bearer abc
	// /two with Bearer abc
}
