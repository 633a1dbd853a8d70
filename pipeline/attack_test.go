package pipeline_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"strings"
	"sync"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/a0b132ce/retryablehttp"
	"github.com/a0b132ce/retryablehttp/pipeline"
)

// oneShot is a request with a body that can be read only once.
func oneShot(t *testing.T, method, url, body string) *pipeline.Request {
	t.Helper()
	raw, err := http.NewRequest(method, url, io.NopCloser(io.MultiReader(strings.NewReader(body))))
	require.NoError(t, err)
	req, err := pipeline.FromRequest(raw)
	require.NoError(t, err)
	return req
}

func TestF79EachCloneHasABodyOfItsOwn(t *testing.T) {
	content := bytes.Repeat([]byte("0123456789"), 30_000)
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Header.Get("X-Early") != "" {
			w.WriteHeader(200) // before the body was read
			return
		}
		got, err := io.ReadAll(r.Body)
		if err == nil && !bytes.Equal(content, got) {
			w.WriteHeader(400)
		}
	}))
	defer server.Close()
	hedge := pipeline.PolicyFunc(func(req *pipeline.Request) (*http.Response, error) {
		var sent sync.WaitGroup
		responses := make([]*http.Response, 3)
		for i := range responses {
			clone := req.Clone(req.Raw().Context())
			if i == 0 {
				clone.Raw().Header.Set("X-Early", "1")
			}
			sent.Go(func() {
				var err error
				responses[i], err = clone.Next()
				assert.NoError(t, err)
			})
		}
		sent.Wait()
		for _, resp := range responses[1:] {
			assert.Equal(t, 200, resp.StatusCode, "the whole body has arrived")
			resp.Body.Close()
		}
		return responses[0], nil
	})
	for range 20 {
		req := newRequest(t, "PUT", server.URL)
		require.NoError(t, req.SetBody(&closeCounter{Reader: bytes.NewReader(content)}, ""))
		resp, err := pipeline.New(server.Client(), hedge, fast()).Do(req)
		require.NoError(t, err)
		resp.Body.Close()
	}
	once := serve(step{status: 200})
	_, err := over(once, pipeline.PolicyFunc(func(req *pipeline.Request) (*http.Response, error) {
		return req.Clone(req.Raw().Context()).Next()
	})).Do(oneShot(t, "PUT", "http://h/", "stuff"))
	assert.ErrorContains(t, err, "only once")
	assert.Zero(t, once.tries())
}

func TestF80AssignedBodyIsSentOnEveryAttempt(t *testing.T) {
	assign := func(withGetBody bool) pipeline.Policy {
		return pipeline.PolicyFunc(func(req *pipeline.Request) (*http.Response, error) {
			raw := req.Raw()
			raw.Body = io.NopCloser(strings.NewReader("NEW"))
			if withGetBody {
				raw.GetBody = func() (io.ReadCloser, error) { return io.NopCloser(strings.NewReader("NEW")), nil }
			}
			return req.Next()
		})
	}
	middleware := pipeline.NewMiddleware(func(base http.RoundTripper) http.RoundTripper {
		return roundTripper(func(r *http.Request) (*http.Response, error) {
			r = r.Clone(r.Context())
			r.Body.Close()
			r.Body = io.NopCloser(strings.NewReader("NEW"))
			return base.RoundTrip(r)
		})
	})
	for name, policy := range map[string]pipeline.Policy{"Body": assign(false), "Body and GetBody": assign(true), "middleware": middleware} {
		for place, policies := range map[string][]pipeline.Policy{"before Retry": {policy, fast()}, "after Retry": {fast(), policy}} {
			server := serve(step{status: 503}, step{status: 307, header: header("Location", "/b")}, step{status: 200})
			req := newRequest(t, "PUT", "http://h/a")
			require.NoError(t, req.SetBody(counted("old"), ""))
			_, err := over(server, policies...).Do(req)
			require.NoError(t, err)
			for _, got := range server.seen {
				assert.Equal(t, "NEW", got.body, "%s %s", name, place)
			}
		}
	}
}

func TestF81NewClientDoesNotDoubleAPost(t *testing.T) {
	client := retryablehttp.NewClient()
	client.RetryWaitMin, client.RetryWaitMax = 1, 1
	server := serve(step{status: 500})
	_, err := over(server, pipeline.Retry{Client: client}).Do(newRequest(t, "POST", "http://h/"))
	require.NoError(t, err)
	assert.Equal(t, 1, server.tries())

	// Who wants that says so. This is R01 and R05 without a key.
	ctx := retryablehttp.WithCheckRetry(t.Context(), retryablehttp.DefaultRetryPolicy)
	for _, outcome := range []step{{status: 500}, {err: io.ErrUnexpectedEOF}} {
		server = serve(outcome)
		req, err := pipeline.NewRequest(ctx, "POST", "http://h/")
		require.NoError(t, err)
		require.NoError(t, req.SetBody(counted("stuff"), ""))
		over(server, fast()).Do(req)
		assert.Equal(t, 4, server.tries())
	}
}

func TestF82NextEndsWithTheCall(t *testing.T) {
	var kept *pipeline.Request
	keep := pipeline.PolicyFunc(func(req *pipeline.Request) (*http.Response, error) {
		kept = req.Clone(context.Background())
		_, err := over(serve(step{status: 200})).Do(req)
		assert.ErrorContains(t, err, "being sent already")
		return req.Next()
	})
	server := serve(step{status: 200})
	req := newRequest(t, "POST", "http://h/")
	_, err := over(server, keep, fast()).Do(req)
	require.NoError(t, err)
	for _, r := range []*pipeline.Request{kept, req} {
		_, err := r.Next()
		assert.ErrorContains(t, err, "after the end of the call")
	}
	assert.Equal(t, 1, server.tries())
}

func TestF83RefusedRedirectIsSentOnce(t *testing.T) {
	server := serve(step{status: 302, header: header("Location", "/b")})
	refused := errors.New("no redirects")
	hc := &http.Client{Transport: server, CheckRedirect: func(*http.Request, []*http.Request) error { return refused }}
	_, err := pipeline.New(hc, fast()).Do(newRequest(t, "GET", "http://h/"))
	assert.ErrorIs(t, err, refused)
	assert.Equal(t, 1, server.tries())
}

func TestF84PanicOfAPolicyClosesTheBody(t *testing.T) {
	panics := pipeline.PolicyFunc(func(*pipeline.Request) (*http.Response, error) { panic("oops") })
	for name, policies := range map[string][]pipeline.Policy{"before": {panics, fast()}, "after": {fast(), panics}} {
		body := counted("stuff")
		req := newRequest(t, "PUT", "http://h/")
		require.NoError(t, req.SetBody(body, ""))
		assert.PanicsWithValue(t, "oops", func() { over(serve(step{status: 200}), policies...).Do(req) }, name)
		assert.Equal(t, 1, body.closed(), name)
	}
}

func TestF85ReverseProxy(t *testing.T) {
	backend := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		io.Copy(w, r.Body)
	}))
	defer backend.Close()
	target, err := url.Parse(backend.URL)
	require.NoError(t, err)
	proxy := &httputil.ReverseProxy{
		Rewrite:   func(r *httputil.ProxyRequest) { r.SetURL(target) },
		Transport: pipeline.New(backend.Client(), fast()),
	}
	front := httptest.NewServer(proxy)
	defer front.Close()
	resp, err := front.Client().Post(front.URL, "text/plain", strings.NewReader("stuff"))
	require.NoError(t, err)
	assert.Equal(t, "stuff", text(t, resp))
}

// What an http.Client around a pipeline sends to another origin is its own choice.
func TestF86ClientAroundAPipelineIsAnOrdinaryClient(t *testing.T) {
	var got http.Header
	other := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { got = r.Header }))
	defer other.Close()
	home := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		http.Redirect(w, r, other.URL+"/login", http.StatusFound)
	}))
	defer home.Close()
	otherURL, err := url.Parse(other.URL)
	require.NoError(t, err)
	cookies := jar{otherURL.Host: {{Name: "session", Value: "of-other"}}}
	hc := &http.Client{
		Transport: over(http.DefaultTransport, fast(), pipeline.Key{Header: "X-Api-Key", Value: constant("secret"), AllowHTTP: true}),
		Jar:       cookies,
		CheckRedirect: func(req *http.Request, _ []*http.Request) error {
			req.Header.Set("X-For-Other", "1")
			return nil
		},
	}
	resp, err := hc.Get(home.URL)
	require.NoError(t, err)
	resp.Body.Close()
	http.DefaultClient.CloseIdleConnections()
	assert.Equal(t, "session=of-other", got.Get("Cookie"))
	assert.Equal(t, "1", got.Get("X-For-Other"))
	assert.Empty(t, got.Get("X-Api-Key"))
}

func TestF87RequestSentTwice(t *testing.T) {
	for name, policies := range map[string][]pipeline.Policy{"bare": nil, "with retries": {fast()}} {
		server := serve(step{status: 200})
		pl := over(server, policies...)
		req := oneShot(t, "PUT", "http://h/", "stuff")
		_, err := pl.Do(req)
		require.NoError(t, err, name)
		_, err = pl.Do(req)
		assert.ErrorContains(t, err, "only once", name)
		assert.Equal(t, 1, server.tries(), name)

		again := newRequest(t, "PUT", "http://h/")
		require.NoError(t, again.SetMultipart(pipeline.Part{Name: "a", Body: "b"}))
		for range 2 {
			_, err = pl.Do(again)
			require.NoError(t, err, name)
		}
		assert.Equal(t, server.seen[1].body, server.seen[2].body, name)
		assert.NotEmpty(t, server.seen[2].body, name)
	}
}

func TestF88ErrorsOfPoliciesAreRedacted(t *testing.T) {
	fails := pipeline.PolicyFunc(func(*pipeline.Request) (*http.Response, error) {
		return nil, fmt.Errorf("fetching: %w", &url.Error{Op: "Post", URL: "http://u:secret@h/token?client_secret=secret", Err: io.ErrUnexpectedEOF})
	})
	_, err := over(serve(step{status: 200}), fails).Do(newRequest(t, "GET", "http://h/"))
	require.ErrorIs(t, err, io.ErrUnexpectedEOF)
	assert.NotContains(t, err.Error(), "=secret")
	assert.NotContains(t, err.Error(), ":secret")
}

func TestF89ErrorsOfCallbacksAreNotLost(t *testing.T) {
	wrong := errors.New("the signature is wrong")
	_, err := over(serve(step{status: 200}), fast(func(c *retryablehttp.Client) {
		c.CheckRetry = func(context.Context, *http.Response, error) (bool, error) { return false, wrong }
	})).Do(newRequest(t, "GET", "http://h/"))
	assert.ErrorIs(t, err, wrong)
	_, err = over(serve(step{status: 503}), fast(func(c *retryablehttp.Client) {
		c.PrepareRetry = func(*http.Request) error { return wrong }
	})).Do(newRequest(t, "GET", "http://h/"))
	assert.ErrorIs(t, err, wrong)
}

func TestF90PoliciesGivenAsPointers(t *testing.T) {
	var logged sink
	server := serve(step{status: 503}, step{status: 200})
	client := &retryablehttp.Client{RetryMax: 1, RetryWaitMin: 1, RetryWaitMax: 1}
	pl := over(server, &pipeline.Telemetry{Module: "a/b"}, &pipeline.Retry{Client: client}, &pipeline.Logging{Logger: logged.logger()})
	_, err := pl.Do(newRequest(t, "GET", "http://h/"))
	require.NoError(t, err)
	assert.True(t, strings.HasPrefix(server.seen[0].header.Get("User-Agent"), "b (go"))
	assert.Contains(t, logged.String(), `"category":"retry"`)
	_, err = pipeline.Retry{}.Do(newRequest(t, "GET", "http://h/"))
	assert.ErrorContains(t, err, "outside of a pipeline")
}

func TestF91CallRetryMayBeGivenTwice(t *testing.T) {
	server := serve(step{status: 503})
	req := newRequest(t, "GET", "http://h/",
		pipeline.CallRetry(func(c *retryablehttp.Client) { c.RetryMax = 6 }),
		pipeline.CallRetry(nil),
		pipeline.CallRetry(func(c *retryablehttp.Client) { c.RetryWaitMax = 1 }))
	_, err := over(server, fast()).Do(req)
	require.NoError(t, err)
	assert.Equal(t, 7, server.tries())
}

func TestF92NextSendsTheBodyAgain(t *testing.T) {
	twice := pipeline.PolicyFunc(func(req *pipeline.Request) (*http.Response, error) {
		resp, err := req.Next()
		require.NoError(t, err)
		resp.Body.Close()
		return req.Next()
	})
	for name, policies := range map[string][]pipeline.Policy{"bare": {twice}, "before Retry": {twice, fast()}, "after Retry": {fast(), twice}} {
		server := serve(step{status: 200})
		body := counted("stuff")
		req := newRequest(t, "PUT", "http://h/")
		require.NoError(t, req.SetBody(body, ""))
		_, err := over(server, policies...).Do(req)
		require.NoError(t, err, name)
		require.Equal(t, 2, server.tries(), name)
		assert.Equal(t, "stuff", server.seen[1].body, name)
		assert.Equal(t, 1, body.closed(), name)
	}
}

func TestPayloadIsLimited(t *testing.T) {
	resp := &http.Response{Body: io.NopCloser(io.LimitReader(unending{}, 65<<20))}
	_, err := pipeline.Payload(resp)
	assert.ErrorIs(t, err, pipeline.ErrPayloadTooLarge)
}

type unending struct{}

func (unending) Read(p []byte) (int, error) { return len(p), nil }
