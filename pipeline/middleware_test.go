package pipeline_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/a0b132ce/retryablehttp/pipeline"
)

// wrap makes a middleware of a function that gets its base.
func wrap(f func(base http.RoundTripper, r *http.Request) (*http.Response, error)) pipeline.Policy {
	return pipeline.NewMiddleware(func(base http.RoundTripper) http.RoundTripper {
		return roundTripper(func(r *http.Request) (*http.Response, error) { return f(base, r) })
	})
}

// adding returns a middleware that adds a header, to a clone of the request.
func adding(name, value string) pipeline.Policy {
	return wrap(func(base http.RoundTripper, r *http.Request) (*http.Response, error) {
		r = r.Clone(r.Context())
		r.Header.Add(name, value)
		return base.RoundTrip(r)
	})
}

func TestMiddlewareIsMadeOnce(t *testing.T) {
	made := 0
	policy := pipeline.NewMiddleware(func(base http.RoundTripper) http.RoundTripper {
		made++
		return base
	})
	server := serve(step{status: 503}, step{status: 200})
	pl := over(server, policy, fast(), policy)
	for range 3 {
		_, err := pl.Do(newRequest(t, "GET", "http://h/"))
		require.NoError(t, err)
	}
	assert.Equal(t, 1, made)
	assert.Equal(t, 4, server.tries())
}

func TestMiddlewaresAndRetry(t *testing.T) {
	same := adding("X-M", "s")
	for name, c := range map[string]struct {
		policies []pipeline.Policy
		want     []string
	}{
		"after Retry":           {[]pipeline.Policy{fast(), adding("X-M", "a")}, []string{"a"}},
		"before Retry":          {[]pipeline.Policy{adding("X-M", "a"), fast()}, []string{"a"}},
		"nested":                {[]pipeline.Policy{adding("X-M", "a"), fast(), adding("X-M", "b"), adding("X-M", "c")}, []string{"a", "b", "c"}},
		"the same one, nested":  {[]pipeline.Policy{same, same, fast(), same}, []string{"s", "s", "s"}},
		"with policies between": {[]pipeline.Policy{fast(), same, pipeline.RequestID{}, same, pipeline.Headers{}}, []string{"s", "s"}},
	} {
		t.Run(name, func(t *testing.T) {
			server := serve(step{status: 503}, step{status: 200, body: "ok"})
			body := counted("stuff")
			req := withKey(newRequest(t, "POST", "http://h/"))
			require.NoError(t, req.SetBody(body, ""))
			resp, err := over(server, c.policies...).Do(req)
			require.NoError(t, err)
			assert.Equal(t, "ok", text(t, resp))
			require.Equal(t, 2, server.tries())
			for _, got := range server.seen {
				assert.Equal(t, c.want, got.header["X-M"], "tries do not add up")
				assert.Equal(t, "stuff", got.body)
			}
			assert.NotContains(t, req.Raw().Header, "X-M")
			assert.Equal(t, 1, body.closed())
		})
	}
}

// What the middleware passes to its base is what goes on.
func TestMiddlewareChangesTheRequest(t *testing.T) {
	type key struct{}
	policy := wrap(func(base http.RoundTripper, r *http.Request) (*http.Response, error) {
		r.Body.Close()
		ctx := context.WithValue(r.Context(), key{}, "value")
		changed, err := http.NewRequestWithContext(ctx, "PUT", "http://h/changed?a=1", strings.NewReader("changed"))
		if err != nil {
			return nil, err
		}
		changed.Header = nil // a policy may set one all the same
		resp, err := base.RoundTrip(changed)
		assert.Nil(t, changed.Header, "a RoundTripper does not modify its request")
		assert.Equal(t, "a=1", changed.URL.RawQuery)
		resp.StatusCode = 299
		return resp, err
	})
	look := pipeline.PolicyFunc(func(req *pipeline.Request) (*http.Response, error) {
		assert.Equal(t, "value", req.Raw().Context().Value(key{}))
		req.Raw().Header.Set("X-After", "1")
		return req.Next()
	})
	server := serve(step{status: 200})
	body := counted("stuff")
	req := newRequest(t, "POST", "http://h/")
	require.NoError(t, req.SetBody(body, ""))
	resp, err := over(server, policy, look, pipeline.APIVersion{Name: "v", Version: "2"}).Do(req)
	require.NoError(t, err)
	assert.Equal(t, 299, resp.StatusCode)
	got := server.seen[0]
	assert.Equal(t, []string{"PUT", "http://h/changed?a=1&v=2", "changed", "1"}, []string{got.method, got.url, got.body, got.header.Get("X-After")})
	assert.Equal(t, 1, body.closed())
}

// A middleware that leads a request elsewhere takes no credential there.
func TestMiddlewareLeadsElsewhere(t *testing.T) {
	server := serve(step{status: 200})
	away := wrap(func(base http.RoundTripper, r *http.Request) (*http.Response, error) {
		r = r.Clone(r.Context())
		r.URL.Host = "other"
		return base.RoundTrip(r)
	})
	_, err := over(server, away, pipeline.Key{Value: constant("secret")}).Do(newRequest(t, "GET", "https://h/"))
	require.NoError(t, err)
	assert.Equal(t, "https://other/", server.seen[0].url)
	assert.Empty(t, server.seen[0].header)
}

func TestMiddlewareMistakes(t *testing.T) {
	base := func(f func(http.RoundTripper) (*http.Response, error)) pipeline.Policy {
		return wrap(func(base http.RoundTripper, _ *http.Request) (*http.Response, error) { return f(base) })
	}
	for name, c := range map[string]struct {
		policy pipeline.Policy
		want   string
	}{
		"nil function": {pipeline.NewMiddleware(nil), "is nil"},
		"nil RoundTripper": {pipeline.NewMiddleware(func(http.RoundTripper) http.RoundTripper {
			return nil
		}), "is nil"},
		"nothing":     {base(func(http.RoundTripper) (*http.Response, error) { return nil, nil }), "neither a response nor an error"},
		"nil request": {base(func(rt http.RoundTripper) (*http.Response, error) { return rt.RoundTrip(nil) }), "nil Request"},
		"request of no URL": {base(func(rt http.RoundTripper) (*http.Response, error) {
			return rt.RoundTrip(&http.Request{})
		}), "nil Request"},
		"another context": {wrap(func(rt http.RoundTripper, r *http.Request) (*http.Response, error) {
			return rt.RoundTrip(r.WithContext(context.Background()))
		}), "not derived"},
		"context of another middleware": {wrap(func(_ http.RoundTripper, r *http.Request) (resp *http.Response, err error) {
			pipeline.NewMiddleware(func(foreign http.RoundTripper) http.RoundTripper {
				resp, err = foreign.RoundTrip(r)
				return nil
			})
			return resp, err
		}), "not derived"},
	} {
		t.Run(name, func(t *testing.T) {
			server := serve(step{status: 200})
			body := counted("stuff")
			req := newRequest(t, "PUT", "http://h/")
			require.NoError(t, req.SetBody(body, ""))
			_, err := over(server, c.policy).Do(req)
			require.ErrorContains(t, err, c.want)
			assert.Zero(t, server.tries())
			assert.Equal(t, 1, body.closed())
		})
	}
	n := 0
	count := pipeline.PolicyFunc(func(req *pipeline.Request) (*http.Response, error) { n++; return req.Next() })
	lost := wrap(func(rt http.RoundTripper, r *http.Request) (*http.Response, error) {
		return rt.RoundTrip(r.WithContext(context.Background()))
	})
	_, err := over(serve(step{status: 200}), fast(), count, lost).Do(newRequest(t, "GET", "http://h/"))
	require.Error(t, err)
	assert.Equal(t, 1, n, "it is not retried")
}

// Whoever ends the call, the body of the request is closed, once.
func TestMiddlewareAndTheRequestBody(t *testing.T) {
	answer := func(r *http.Request) (*http.Response, error) {
		return &http.Response{StatusCode: 299, Request: r}, nil
	}
	refuse := pipeline.PolicyFunc(func(*pipeline.Request) (*http.Response, error) { return nil, io.ErrClosedPipe })
	pass := wrap(func(base http.RoundTripper, r *http.Request) (*http.Response, error) { return base.RoundTrip(r) })
	for name, policies := range map[string][]pipeline.Policy{
		"passes it on":               {pass},
		"does not call its base":     {wrap(func(_ http.RoundTripper, r *http.Request) (*http.Response, error) { return answer(r) })},
		"a later policy refuses":     {pass, refuse},
		"a later policy refuses, in": {fast(), pass, refuse},
	} {
		t.Run(name, func(t *testing.T) {
			closes := 0
			body := closeWith{strings.NewReader("stuff"), func() error { closes++; return nil }}
			raw, err := http.NewRequest("POST", "http://h/", body)
			require.NoError(t, err)
			req, err := pipeline.FromRequest(raw)
			require.NoError(t, err)
			over(serve(step{status: 200}), policies...).Do(req)
			assert.Equal(t, 1, closes)
		})
	}
	for name, changed := range map[string]func(context.Context) context.Context{
		"a later policy refuses a body of the middleware": func(ctx context.Context) context.Context { return ctx },
		"a body of the middleware without the context":    func(context.Context) context.Context { return context.Background() },
	} {
		t.Run(name, func(t *testing.T) {
			closes := 0
			replace := wrap(func(base http.RoundTripper, r *http.Request) (*http.Response, error) {
				r = r.Clone(changed(r.Context()))
				r.Body = closeWith{strings.NewReader("other"), func() error { closes++; return nil }}
				return base.RoundTrip(r)
			})
			_, err := over(serve(step{status: 200}), replace, refuse).Do(newRequest(t, "PUT", "http://h/"))
			require.Error(t, err)
			assert.Equal(t, 1, closes)
		})
	}
}

// The base may be called several times at once. What it is asked to send after the end of the
// call is refused.
func TestMiddlewareThatSendsTwice(t *testing.T) {
	var late sync.WaitGroup
	twice := wrap(func(base http.RoundTripper, r *http.Request) (*http.Response, error) {
		first := make(chan *http.Response, 2)
		for range 2 {
			late.Go(func() {
				resp, err := base.RoundTrip(r)
				assert.Empty(t, r.Header, "a RoundTripper does not modify its request")
				if err != nil {
					assert.ErrorContains(t, err, "after the end of the call")
				}
				first <- resp
			})
		}
		return <-first, nil
	})
	server := serve(step{status: 200})
	pl := over(server, twice, pipeline.Telemetry{}, pipeline.Key{Value: constant("k")}, pipeline.RequestID{})
	var calls sync.WaitGroup
	for range 20 {
		calls.Go(func() {
			_, err := pl.Do(newRequest(t, "GET", "https://h/"))
			assert.NoError(t, err)
		})
	}
	calls.Wait()
	late.Wait()
	require.GreaterOrEqual(t, server.tries(), 20)
	require.LessOrEqual(t, server.tries(), 40, "a base that is called late does not start over")
	for _, got := range server.seen {
		assert.Equal(t, []string{"k"}, got.header["Authorization"])
	}
}

// A middleware that closes the response of its base and fails.
func TestMiddlewareFailsAfterTheResponse(t *testing.T) {
	broken := errors.New("broken")
	var body *trackedBody
	policy := wrap(func(base http.RoundTripper, r *http.Request) (*http.Response, error) {
		resp, err := base.RoundTrip(r)
		require.NoError(t, err)
		body = track(resp)
		return resp, broken // against its contract
	})
	_, err := over(serve(step{status: 200, body: "abc"}), policy).Do(newRequest(t, "GET", "http://h/"))
	assert.ErrorIs(t, err, broken)
	assert.True(t, body.closed)
}

func ExampleNewMiddleware() {
	trace := func(base http.RoundTripper) http.RoundTripper {
		return roundTripper(func(r *http.Request) (*http.Response, error) {
			resp, err := base.RoundTrip(r)
			if err == nil {
				fmt.Println(r.Method, r.URL, resp.StatusCode)
			}
			return resp, err
		})
	}
	server := roundTripper(func(r *http.Request) (*http.Response, error) {
		return &http.Response{StatusCode: http.StatusNoContent, Request: r}, nil
	})
	pl := pipeline.New(&http.Client{Transport: server}, pipeline.Retry{}, pipeline.NewMiddleware(trace))
	req, err := pipeline.NewRequest(context.Background(), http.MethodGet, "http://example.com/things")
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
	// Output: GET http://example.com/things 204
}
