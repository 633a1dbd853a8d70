package pipeline_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"sync"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/a0b132ce/retryablehttp/pipeline"
)

func TestP01OrderOfPolicies(t *testing.T) {
	var order []string
	named := func(name string) pipeline.Policy {
		return pipeline.PolicyFunc(func(req *pipeline.Request) (*http.Response, error) {
			order = append(order, name+">")
			defer func() { order = append(order, "<"+name) }()
			return req.Next()
		})
	}
	server := serve(step{status: 500}, step{status: 200})
	pl := over(server, named("A"), named("B"), nil, fast(), named("C"), named("D"))
	resp, err := pl.Do(newRequest(t, "GET", "http://h/"))
	require.NoError(t, err)
	assert.Equal(t, 200, resp.StatusCode)
	assert.Equal(t, "A> B> C> D> <D <C C> D> <D <C <B <A", strings.Join(order, " "))
}

func TestP02WhatCannotBeSent(t *testing.T) {
	server := serve(step{status: 200})
	answer := pipeline.PolicyFunc(func(req *pipeline.Request) (*http.Response, error) {
		return &http.Response{StatusCode: 299}, nil
	})
	t.Run("a policy answers without calling Next", func(t *testing.T) {
		body := counted("stuff")
		req := newRequest(t, "PUT", "http://h/")
		require.NoError(t, req.SetBody(body, ""))
		resp, err := over(server, answer).Do(req)
		require.NoError(t, err)
		assert.Equal(t, 299, resp.StatusCode)
		assert.NoError(t, resp.Body.Close(), "a missing body is an empty one")
		assert.Zero(t, server.tries())
		assert.Equal(t, 1, body.closed())
	})
	t.Run("Next outside of a pipeline", func(t *testing.T) {
		_, err := newRequest(t, "GET", "http://h/").Next()
		assert.ErrorContains(t, err, "outside of a pipeline")
	})
	t.Run("nil", func(t *testing.T) {
		for _, req := range []*pipeline.Request{nil, {}} {
			_, err := over(server).Do(req)
			assert.ErrorContains(t, err, "nil Request")
			_, err = req.Next()
			assert.ErrorContains(t, err, "nil Request")
		}
		_, err := pipeline.FromRequest(nil)
		assert.ErrorContains(t, err, "nil Request")
		_, err = over(server).RoundTrip(nil)
		assert.ErrorContains(t, err, "nil Request")
	})
	t.Run("neither a response nor an error", func(t *testing.T) {
		nothing := pipeline.PolicyFunc(func(*pipeline.Request) (*http.Response, error) { return nil, nil })
		_, err := over(server, nothing).Do(newRequest(t, "GET", "http://h/"))
		assert.ErrorContains(t, err, "neither a response nor an error")
	})
	t.Run("both", func(t *testing.T) {
		closed := false
		both := pipeline.PolicyFunc(func(req *pipeline.Request) (*http.Response, error) {
			resp, err := req.Next()
			resp.Body = closer{resp.Body, func() { closed = true }}
			return resp, errors.Join(err, io.ErrUnexpectedEOF)
		})
		resp, err := over(server, both).Do(newRequest(t, "GET", "http://h/"))
		assert.ErrorIs(t, err, io.ErrUnexpectedEOF)
		assert.Nil(t, resp)
		assert.True(t, closed)
	})
}

type closer struct {
	io.ReadCloser
	close func()
}

func (c closer) Close() error {
	c.close()
	return c.ReadCloser.Close()
}

func TestP03ManyCallsAtOnce(t *testing.T) {
	echo := roundTripper(func(r *http.Request) (*http.Response, error) {
		body, err := io.ReadAll(r.Body)
		r.Body.Close()
		return &http.Response{StatusCode: 200, Body: io.NopCloser(strings.NewReader(string(body))), Request: r}, err
	})
	pl := over(echo, fast())
	var calls sync.WaitGroup
	for i := range 200 {
		calls.Go(func() {
			want := strings.Repeat(fmt.Sprint(i), 100)
			req := newRequest(t, "POST", "http://h/")
			assert.NoError(t, req.SetBody(pipeline.NopCloser(strings.NewReader(want)), "text/plain"))
			resp, err := pl.Do(req)
			if assert.NoError(t, err) {
				assert.Equal(t, want, text(t, resp))
			}
		})
	}
	calls.Wait()
}

type roundTripper func(*http.Request) (*http.Response, error)

func (f roundTripper) RoundTrip(r *http.Request) (*http.Response, error) { return f(r) }

func TestP05CaptureResponse(t *testing.T) {
	var captured *http.Response
	server := serve(step{status: 500}, step{status: 200, body: "abc"})
	resp, err := over(server, fast()).Do(newRequest(t, "GET", "http://h/", pipeline.CaptureResponse(&captured)))
	require.NoError(t, err)
	assert.Same(t, resp, captured)
	assert.Equal(t, "abc", text(t, captured))
}

func TestP09Endpoints(t *testing.T) {
	ctx := context.Background()
	for _, bad := range []string{"/x", "ftp://h", "mailto://a", "://x", "http://", "http://:80", "", "http://h/%zz", "http:h", "http://h:port/"} {
		_, err := pipeline.NewRequest(ctx, "GET", bad)
		assert.Error(t, err, bad)
	}
	for _, good := range []string{"http://h", "HTTP://h", "https://h:8443/a?b", "http://[::1]:80/"} {
		_, err := pipeline.NewRequest(ctx, "GET", good)
		assert.NoError(t, err, good)
	}
	_, err := pipeline.NewRequest(ctx, "bad method", "http://h")
	assert.ErrorContains(t, err, "method")
	_, err = pipeline.NewRequest(ctx, "GET", "gopher://user:secret@h/?sig=secret")
	require.Error(t, err)
	assert.NotContains(t, err.Error(), "secret")
	_, err = pipeline.NewRequest(ctx, "GET", "http://user:secret@h/%zz?sig=secret")
	require.Error(t, err)
	assert.NotContains(t, err.Error(), "secret")
}

func TestCallValuesSurviveTries(t *testing.T) {
	type key string
	server := serve(step{status: 503}, step{status: 503}, step{status: 200})
	var seen []string
	count := pipeline.PolicyFunc(func(req *pipeline.Request) (*http.Response, error) {
		v, ok := pipeline.Value[key](req)
		assert.True(t, ok)
		_, ok = pipeline.Value[string](req)
		assert.False(t, ok, "the type is the key")
		seen = append(seen, string(v))
		pipeline.SetValue(req.Clone(context.Background()), v+"+")
		return req.Next()
	})
	_, err := over(server, fast(), count).Do(newRequest(t, "GET", "http://h/", pipeline.CallValue(key("v")), nil))
	require.NoError(t, err)
	assert.Equal(t, []string{"v", "v+", "v++"}, seen)
}

// Several requests at once are made from clones of one.
func TestClonesMayBeSentAtOnce(t *testing.T) {
	hedged := pipeline.PolicyFunc(func(req *pipeline.Request) (*http.Response, error) {
		results := make(chan *http.Response, 3)
		var sent sync.WaitGroup
		for i := range 3 {
			clone := req.Clone(req.Raw().Context())
			clone.Raw().Header.Set("X-N", fmt.Sprint(i))
			sent.Go(func() {
				resp, err := clone.Next()
				assert.NoError(t, err)
				results <- resp
			})
		}
		sent.Wait()
		return <-results, nil
	})
	add := pipeline.PolicyFunc(func(req *pipeline.Request) (*http.Response, error) {
		pipeline.SetValue(req, 1)
		return req.Next()
	})
	server := serve(step{status: 200})
	body := counted("stuff")
	req := newRequest(t, "PUT", "http://h/")
	require.NoError(t, req.SetBody(body, ""))
	_, err := over(server, hedged, add).Do(req)
	require.NoError(t, err)
	for _, got := range server.seen {
		assert.Equal(t, "stuff", got.body)
	}
	assert.Equal(t, 3, server.tries())
	assert.Equal(t, 1, body.closed())
}

func TestTransportErrorsAreURLErrorsWithoutSecrets(t *testing.T) {
	fails := roundTripper(func(r *http.Request) (*http.Response, error) {
		return nil, fmt.Errorf("no route to %s: %w", r.URL, io.ErrUnexpectedEOF)
	})
	for name, policies := range map[string][]pipeline.Policy{"bare": nil, "with retries": {fast()}} {
		_, err := over(fails, policies...).Do(newRequest(t, "GET", "http://u:secret@h/p?sig=secret"))
		require.ErrorIs(t, err, io.ErrUnexpectedEOF, name)
		assert.NotContains(t, err.Error(), "secret", name)
		var outer *url.Error
		require.ErrorAs(t, err, &outer, name)
		assert.Equal(t, "Get", outer.Op, name)
		assert.Equal(t, "http://u:xxxxx@h/p?sig=REDACTED", outer.URL, name)
		assert.Equal(t, 1, strings.Count(err.Error(), `"http://u`), "%s: %s", name, err)
		assert.Equal(t, name != "bare", strings.Contains(err.Error(), "giving up after 4 attempt(s)"), err.Error())
	}
}

func TestPipelineIsARoundTripper(t *testing.T) {
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/a" {
			http.SetCookie(w, &http.Cookie{Name: "c", Value: "v"})
			http.Redirect(w, r, "/b?x=1", http.StatusTemporaryRedirect)
			return
		}
		body, _ := io.ReadAll(r.Body)
		_, err := r.Cookie("c")
		fmt.Fprintf(w, "%s %s %s %v", r.URL, r.Header.Get("X-Policy"), body, err)
	}))
	defer server.Close()
	hops := 0
	add := pipeline.PolicyFunc(func(req *pipeline.Request) (*http.Response, error) {
		hops++
		req.Raw().Header.Set("X-Policy", "yes")
		return req.Next()
	})
	hc := &http.Client{Transport: pipeline.New(server.Client(), add, fast()), Jar: jar{}}
	req, err := http.NewRequest("PUT", server.URL+"/a", strings.NewReader("stuff"))
	require.NoError(t, err)
	resp, err := hc.Do(req)
	require.NoError(t, err)
	assert.Equal(t, "/b?x=1 yes stuff <nil>", text(t, resp))
	assert.Equal(t, 2, hops, "the http.Client follows redirects, not the pipeline's transport")
	assert.Empty(t, req.Header, "the request is not modified")
	assert.Equal(t, "/b", resp.Request.URL.Path)

	_, err = (&http.Client{Transport: over(roundTripper(func(*http.Request) (*http.Response, error) {
		return nil, io.ErrUnexpectedEOF
	}), fast())}).Get("http://h/?sig=secret")
	require.ErrorIs(t, err, io.ErrUnexpectedEOF)
	assert.Equal(t, 1, strings.Count(err.Error(), "http://h"), err.Error())
}

// jar is a cookie jar for one host.
type jar map[string][]*http.Cookie

func (j jar) SetCookies(u *url.URL, cookies []*http.Cookie) { j[u.Host] = cookies }
func (j jar) Cookies(u *url.URL) []*http.Cookie             { return j[u.Host] }

// What is not read of a body is closed, by whatever way the call ends.
func TestRoundTripClosesTheBody(t *testing.T) {
	refuse := pipeline.PolicyFunc(func(*pipeline.Request) (*http.Response, error) { return nil, io.ErrNoProgress })
	for name, rt := range map[string]http.RoundTripper{
		"policy before retry": over(serve(step{status: 200}), refuse, fast()),
		"policy after retry":  over(serve(step{status: 200}), fast(), refuse),
		"no retry":            over(serve(step{status: 200}), refuse),
		"sent":                over(serve(step{status: 200})),
		"retried":             over(serve(step{status: 503}, step{status: 200}), fast()),
	} {
		for _, target := range []string{"http://h/", "ftp://h/"} {
			closes := 0
			req, err := http.NewRequest("PUT", target, closer{io.NopCloser(strings.NewReader("stuff")), func() { closes++ }})
			require.NoError(t, err)
			resp, err := rt.RoundTrip(req)
			if err == nil {
				resp.Body.Close()
			}
			assert.GreaterOrEqual(t, closes, 1, "%s %s", name, target)
		}
	}
}

func TestRedirectsToAnotherOriginGetNoSecrets(t *testing.T) {
	var got http.Header
	foreign := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { got = r.Header }))
	defer foreign.Close()
	home := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch r.URL.Path {
		case "/away":
			http.Redirect(w, r, foreign.URL+"/x?sig=1", http.StatusTemporaryRedirect)
		case "/home":
			http.Redirect(w, r, "/end", http.StatusFound)
		default:
			got = r.Header
		}
	}))
	defer home.Close()
	secrets := pipeline.PolicyFunc(func(req *pipeline.Request) (*http.Response, error) {
		assert.Equal(t, req.Raw().URL.Host != strings.TrimPrefix(home.URL, "http://"), req.Foreign())
		for _, name := range []string{"Authorization", "X-Api-Key", "Cookie", "X-Anything"} {
			req.Raw().Header.Set(name, "secret")
		}
		req.Raw().Header.Set("Accept", "application/json")
		return req.Next()
	})
	pl := pipeline.New(nil, fast(), secrets)
	defer http.DefaultClient.CloseIdleConnections()
	viaClient := &http.Client{Transport: pl}
	for name, send := range map[string]func(string) (*http.Response, error){
		"followed by the pipeline": func(u string) (*http.Response, error) { return pl.Do(newRequest(t, "GET", u)) },
		"followed by a client":     viaClient.Get,
	} {
		t.Run(name, func(t *testing.T) {
			resp, err := send(home.URL + "/away")
			require.NoError(t, err)
			resp.Body.Close()
			require.NotNil(t, got)
			for name, values := range got {
				assert.NotContains(t, values, "secret", name)
			}
			assert.Empty(t, got.Get("Referer"))
			assert.Equal(t, "application/json", got.Get("Accept"))
			resp, err = send(home.URL + "/home")
			require.NoError(t, err)
			resp.Body.Close()
			assert.Equal(t, "secret", got.Get("X-Api-Key"), "the origin is the same")
		})
	}
	t.Run("a URL that a server gave", func(t *testing.T) {
		first, err := url.Parse(home.URL)
		require.NoError(t, err)
		req := newRequest(t, "GET", foreign.URL, pipeline.CallOrigin(first))
		resp, err := pl.Do(req)
		require.NoError(t, err)
		resp.Body.Close()
		for name, values := range got {
			assert.NotContains(t, values, "secret", name)
		}
	})
	// The shared transport keeps connections; they end with the servers.
	pipeline.CloseShared()
}

func TestOriginsHaveDefaultPorts(t *testing.T) {
	for _, c := range []struct {
		a, b    string
		foreign bool
	}{
		{"http://h/", "http://H:80/x", false},
		{"https://h:443/", "HTTPS://h/", false},
		{"http://h/", "https://h/", true},
		{"http://h:81/", "http://h/", true},
		{"http://h:443/", "https://h/", true},
		{"http://h/", "http://sub.h/", true},
		{"http://[::1]/", "http://[::1]:80/", false},
	} {
		a, err := url.Parse(c.a)
		require.NoError(t, err)
		assert.Equal(t, c.foreign, newRequest(t, "GET", c.b, pipeline.CallOrigin(a)).Foreign(), "%+v", c)
	}
}

func TestRedirectLimitAndCheckRedirectOfTheClientHold(t *testing.T) {
	loop := roundTripper(func(r *http.Request) (*http.Response, error) {
		return &http.Response{StatusCode: 302, Header: header("Location", "/again"), Request: r, Body: http.NoBody}, nil
	})
	_, err := over(loop).Do(newRequest(t, "GET", "http://h/"))
	assert.ErrorContains(t, err, "stopped after 10 redirects")
	hc := &http.Client{Transport: loop, CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
	resp, err := pipeline.New(hc).Do(newRequest(t, "GET", "http://h/"))
	require.NoError(t, err)
	assert.Equal(t, 302, resp.StatusCode)
}

// A Transporter of another type gets the request as it is.
func TestAnyTransporter(t *testing.T) {
	var zero pipeline.Pipeline
	_, err := zero.Do(newRequest(t, "GET", "http://127.0.0.1:1/"))
	assert.ErrorContains(t, err, "refused")
	resp, err := pipeline.New(transporter(func(r *http.Request) (*http.Response, error) {
		return &http.Response{StatusCode: 204, Request: r}, nil
	})).Do(newRequest(t, "GET", "http://h/"))
	require.NoError(t, err)
	assert.Equal(t, 204, resp.StatusCode)
	var none *http.Client
	_, err = pipeline.New(none).Do(newRequest(t, "GET", "http://127.0.0.1:1/"))
	assert.ErrorContains(t, err, "refused")
}

type transporter func(*http.Request) (*http.Response, error)

func (f transporter) Do(r *http.Request) (*http.Response, error) { return f(r) }
