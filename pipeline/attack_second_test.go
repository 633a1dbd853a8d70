package pipeline_test

import (
	"context"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"
	"unicode/utf8"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/a0b132ce/retryablehttp"
	"github.com/a0b132ce/retryablehttp/pipeline"
)

// credentials are policies that send the secrets "key" and "token".
func credentials() []pipeline.Policy {
	bearer := &pipeline.BearerToken{AllowHTTP: true}
	return []pipeline.Policy{
		pipeline.Key{Header: "X-Api-Key", Value: constant("key"), AllowHTTP: true},
		tokens(bearer, func(int, pipeline.TokenRequest) (pipeline.Token, error) { return pipeline.Token{Value: "token"}, nil }),
	}
}

// A net/http transport dials xn--api-bec.example for the host apİ.example.
func TestF111HostsThatDifferOutsideOfASCII(t *testing.T) {
	for _, c := range [][2]string{
		{"https://api.example/", "https://ap\u0130.example/x"},
		{"https://ap\u0130.example/", "https://api.example/x"},
		{"https://api.example/", "https://ap%C4%B0.example/x"},
	} {
		policies := append([]pipeline.Policy{fast()}, credentials()...)
		for name, do := range map[string]func(pipeline.Pipeline) (*http.Response, error){
			"Do":     func(pl pipeline.Pipeline) (*http.Response, error) { return pl.Do(newRequest(t, "GET", c[0])) },
			"client": func(pl pipeline.Pipeline) (*http.Response, error) { return (&http.Client{Transport: pl}).Get(c[0]) },
		} {
			server := serve(step{status: 307, header: header("Location", c[1])}, step{status: 200})
			_, err := do(over(server, policies...))
			require.NoError(t, err)
			require.Equal(t, 2, server.tries())
			assert.Equal(t, "key", server.seen[0].header.Get("X-Api-Key"))
			assert.Empty(t, server.seen[1].header.Get("X-Api-Key"), "%s %q", name, c)
			if name == "Do" { // else it is the http.Client's choice, which gets no token
				assert.Empty(t, server.seen[1].header.Get("Authorization"), "%q", c)
			}
			assert.NotContains(t, server.seen[1].header.Get("Authorization"), "token", "%s %q", name, c)
		}
	}
}

func TestF111SchemeThatIsNotHTTPS(t *testing.T) {
	req := newRequest(t, "GET", "https://h/")
	req.Raw().URL.Scheme = "http\u017f" // equal to https under Unicode case-folding
	server := serve(step{status: 200})
	_, err := over(server, pipeline.Key{Value: constant("key")}).Do(req)
	assert.ErrorIs(t, err, pipeline.ErrInsecure)
	assert.Zero(t, server.tries())
}

func TestF112CallOriginOfNoOrigin(t *testing.T) {
	policies := append([]pipeline.Policy{fast()}, credentials()...)
	for _, home := range []*url.URL{nil, {}, {Path: "h"}, {Scheme: "https"}, {Host: "h"}} {
		server := serve(step{status: 200})
		req := newRequest(t, "GET", "https://h/", pipeline.CallOrigin(home))
		assert.True(t, req.Foreign(), "%+v", home)
		_, err := over(server, policies...).Do(req)
		require.NoError(t, err)
		assert.Empty(t, server.seen[0].header.Get("X-Api-Key"), "%+v", home)
		assert.Empty(t, server.seen[0].header.Get("Authorization"), "%+v", home)
	}
	// Nor does a request without a URL get a credential.
	req := newRequest(t, "GET", "https://h/", pipeline.CallOrigin(nil))
	req.Raw().URL = nil
	_, err := over(serve(step{status: 200}), append(policies[1:], pipeline.APIVersion{Name: "v", Version: "1"})...).Do(req)
	assert.Error(t, err)
	// An http.Client sets this to the request of the redirect.
	raw, err := http.NewRequest("GET", "https://h/", nil)
	require.NoError(t, err)
	raw.Response = &http.Response{Request: &http.Request{}}
	server := serve(step{status: 200})
	_, err = over(server, policies...).RoundTrip(raw)
	require.NoError(t, err)
	assert.Empty(t, server.seen[0].header.Get("X-Api-Key"))
}

func TestF113ValueOfANilInterface(t *testing.T) {
	req := newRequest(t, "GET", "http://h/", pipeline.CallValue[error](nil))
	v, ok := pipeline.Value[error](req)
	assert.NoError(t, v)
	assert.True(t, ok)
}

func TestF114BodyThatIsReadAndNotClosed(t *testing.T) {
	replace := func(raw *http.Request) {
		data, err := io.ReadAll(raw.Body)
		require.NoError(t, err)
		raw.Body = io.NopCloser(strings.NewReader(string(data)))
	}
	policy := pipeline.PolicyFunc(func(req *pipeline.Request) (*http.Response, error) {
		replace(req.Raw())
		return req.Next()
	})
	middleware := pipeline.NewMiddleware(func(base http.RoundTripper) http.RoundTripper {
		return roundTripper(func(r *http.Request) (*http.Response, error) {
			r = r.Clone(r.Context())
			replace(r)
			return base.RoundTrip(r)
		})
	})
	for name, reads := range map[string]pipeline.Policy{"policy": policy, "middleware": middleware} {
		for place, policies := range map[string][]pipeline.Policy{"before Retry": {reads, fast()}, "after Retry": {fast(), reads}} {
			server := serve(step{status: 503}, step{status: 307, header: header("Location", "/b")}, step{status: 200})
			body := counted("stuff")
			req := newRequest(t, "PUT", "http://h/")
			require.NoError(t, req.SetBody(body, ""))
			_, err := over(server, policies...).Do(req)
			require.NoError(t, err)
			assert.Equal(t, "stuff", server.seen[len(server.seen)-1].body)
			assert.Equal(t, 1, body.closed(), "%s %s", name, place)
		}
	}
}

func TestF114BodyIsNotClosedUnderALateAttempt(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		early := roundTripper(func(r *http.Request) (*http.Response, error) {
			_, err := r.Body.Read(make([]byte, 2))
			require.NoError(t, err)
			go func() {
				time.Sleep(time.Minute)
				rest, err := io.ReadAll(r.Body)
				assert.NoError(t, err)
				assert.Equal(t, "uff", string(rest))
				_, err = r.Body.Read(make([]byte, 2))
				assert.ErrorIs(t, err, io.EOF)
			}()
			return &http.Response{StatusCode: 200, Request: r}, nil
		})
		both := pipeline.PolicyFunc(func(req *pipeline.Request) (*http.Response, error) {
			_, err := io.ReadAll(req.Raw().Body)
			require.NoError(t, err)
			require.NoError(t, req.RewindBody())
			return req.Next()
		})
		body := counted("stuff")
		req := newRequest(t, "PUT", "http://h/")
		require.NoError(t, req.SetBody(body, ""))
		_, err := over(early, fast(), both).Do(req)
		require.NoError(t, err)
		synctest.Wait()
		assert.Zero(t, body.closed(), "the attempt goes on reading")
		time.Sleep(2 * time.Minute)
		assert.Equal(t, 1, body.closed())
	})
}

func TestF114BodyIsNotClosedDuringARead(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		transport := roundTripper(func(r *http.Request) (*http.Response, error) {
			go func() {
				_, err := r.Body.Read(make([]byte, 2))
				assert.NoError(t, err)
			}()
			synctest.Wait()
			r.Body.Close()
			return &http.Response{StatusCode: 200, Request: r}, nil
		})
		body := slowBody{counted("stuff")}
		req := newRequest(t, "PUT", "http://h/")
		require.NoError(t, req.SetBody(body, ""))
		_, err := over(transport).Do(req)
		require.NoError(t, err)
		assert.Zero(t, body.closed())
		time.Sleep(2 * time.Minute)
		assert.Equal(t, 1, body.closed())
	})
}

type slowBody struct{ *closeCounter }

func (b slowBody) ReadAt(p []byte, off int64) (int, error) {
	time.Sleep(time.Minute)
	return b.closeCounter.ReadAt(p, off)
}

func TestF115RequestWithoutAURL(t *testing.T) {
	for name, change := range map[string]func(*http.Request){
		"nil":  func(r *http.Request) { r.URL = nil },
		"zero": func(r *http.Request) { *r = http.Request{} },
	} {
		policy := pipeline.PolicyFunc(func(req *pipeline.Request) (*http.Response, error) {
			change(req.Raw())
			return req.Next()
		})
		anyway := fast(func(c *retryablehttp.Client) {
			c.CheckRetry = func(_ context.Context, _ *http.Response, err error) (bool, error) { return err != nil, nil }
		})
		for place, policies := range map[string][]pipeline.Policy{
			"before Retry":            {policy, fast()},
			"after Retry":             {fast(), policy},
			"after Retry, with a key": {fast(), policy, pipeline.Key{Value: constant("k")}, pipeline.BodyDownload{}},
			"after a Retry that goes": {anyway, policy},
		} {
			server := serve(step{status: 200})
			_, err := over(server, policies...).Do(newRequest(t, "GET", "https://h/"))
			var outer *url.Error
			require.ErrorAs(t, err, &outer, "%s %s", name, place)
			assert.Equal(t, "Get", outer.Op)
			assert.Zero(t, server.tries(), "%s %s", name, place)
		}
	}
}

func TestF116HostAndTrailersAreNotSentElsewhere(t *testing.T) {
	var got *http.Request
	other := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		io.Copy(io.Discard, r.Body)
		got = r
	}))
	defer other.Close()
	target, err := url.Parse(other.URL)
	require.NoError(t, err)
	policy := func(host string) pipeline.Policy {
		return pipeline.PolicyFunc(func(req *pipeline.Request) (*http.Response, error) {
			raw := req.Raw()
			raw.URL.Host, raw.Host = host, "internal.example"
			raw.Trailer = http.Header{"X-Signature": {"secret"}, "Content-Digest": {"d"}}
			raw.ContentLength = -1
			return req.Next()
		})
	}
	do := func(u string, policies ...pipeline.Policy) {
		req := newRequest(t, "PUT", u)
		require.NoError(t, req.SetBytes([]byte("stuff"), ""))
		resp, err := pipeline.New(other.Client(), policies...).Do(req)
		require.NoError(t, err)
		resp.Body.Close()
	}
	do("http://h/", fast(), policy(target.Host))
	assert.Equal(t, target.Host, got.Host)
	assert.Equal(t, http.Header{"Content-Digest": {"d"}}, got.Trailer)
	do(other.URL, fast(), policy(target.Host))
	assert.Equal(t, "internal.example", got.Host, "at home all is sent")
	assert.Equal(t, http.Header{"X-Signature": {"secret"}, "Content-Digest": {"d"}}, got.Trailer)
}

func TestF117RoundTripperAroundThatClones(t *testing.T) {
	server := serve(step{status: 307, header: header("Location", "https://other/")}, step{status: 200})
	pl := over(server, append([]pipeline.Policy{fast()}, credentials()...)...)
	around := roundTripper(func(r *http.Request) (*http.Response, error) {
		return pl.RoundTrip(r.Clone(context.WithValue(r.Context(), t, 1)))
	})
	_, err := (&http.Client{Transport: around}).Get("https://h/")
	require.NoError(t, err)
	assert.Equal(t, "key", server.seen[0].header.Get("X-Api-Key"))
	assert.Empty(t, server.seen[1].header.Get("X-Api-Key"))
}

func TestF118LocationThatCannotBeParsed(t *testing.T) {
	for _, location := range []string{
		"1.2.3.4:5#token=secret", ":bad?secret", "my app:/cb?code=secret", "http://h:x/?secret", "//u:secret@h:x", `"http://h h/?t=secret`, "/%zz?secret",
	} {
		var logged sink
		server := serve(step{status: 302, header: header("Location", location)})
		_, err := over(server, fast(), pipeline.Logging{Logger: logged.logger()}).Do(newRequest(t, "GET", "http://h/"))
		require.ErrorContains(t, err, "failed to parse Location header")
		assert.NotContains(t, err.Error(), "secret", location)
		assert.NotContains(t, logged.String(), "secret", location)
		assert.Equal(t, 1, server.tries())
	}
}

func TestF119ErrorOfAShortBody(t *testing.T) {
	assign := pipeline.PolicyFunc(func(req *pipeline.Request) (*http.Response, error) {
		req.Raw().Body = io.NopCloser(strings.NewReader("new"))
		return req.Next()
	})
	server := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) { io.Copy(io.Discard, r.Body) }))
	defer server.Close()
	for _, user := range []string{"", "user:secret@"} {
		req := newRequest(t, "PUT", strings.Replace(server.URL, "//", "//"+user, 1))
		require.NoError(t, req.SetBytes([]byte("stuff"), ""))
		_, err := pipeline.New(server.Client(), fast(), assign).Do(req)
		require.ErrorIs(t, err, retryablehttp.ErrBodyLength)
		assert.IsType(t, &url.Error{}, err)
		assert.NotContains(t, err.Error(), "secret")
		if user == "" {
			assert.Equal(t, 1, strings.Count(err.Error(), server.URL), err.Error())
		}
	}
}

func TestF119ErrorsOfChangedRequests(t *testing.T) {
	post := pipeline.PolicyFunc(func(req *pipeline.Request) (*http.Response, error) {
		req.Raw().Method = "POST"
		return req.Next()
	})
	failing := step{err: permanentError{}}
	redirect := step{status: 307, header: header("Location", "http://other/?sig=secret")}
	_, err := over(serve(redirect, failing), fast()).Do(newRequest(t, "GET", "http://h/"))
	assert.EqualError(t, err, `Get "http://other/?sig=REDACTED": of no use`)
	assert.IsType(t, &url.Error{}, err)
	_, err = over(serve(failing), fast(), post).Do(newRequest(t, "GET", "http://h/"))
	assert.EqualError(t, err, `Post "http://h/": of no use`)
}

func TestF119CaptureResponseOfNothing(t *testing.T) {
	server := serve(step{status: 200}, step{err: permanentError{}})
	pl := over(server, fast())
	captured := &http.Response{}
	_, err := pl.Do(newRequest(t, "GET", "http://h/", pipeline.CaptureResponse(&captured), pipeline.CaptureResponse(nil)))
	require.NoError(t, err)
	require.Equal(t, 200, captured.StatusCode)
	_, err = pl.Do(newRequest(t, "GET", "http://h/", pipeline.CaptureResponse(&captured)))
	require.Error(t, err)
	assert.Nil(t, captured)
}

func TestF119KeysInFieldsThatAreNotSent(t *testing.T) {
	for _, name := range []string{"Host", "content-length", "Transfer-Encoding", "trailer", "Connection", "Keep-Alive", "Proxy-Connection", "Upgrade", "TE"} {
		server := serve(step{status: 200})
		_, err := over(server, pipeline.Key{Header: name, Value: constant("secret")}).Do(newRequest(t, "GET", "https://h/"))
		assert.ErrorIs(t, err, pipeline.ErrCredential, name)
		assert.Zero(t, server.tries())
	}
}

func TestF119MethodThatIsNotASCII(t *testing.T) {
	policy := pipeline.PolicyFunc(func(req *pipeline.Request) (*http.Response, error) {
		req.Raw().Method = "éA"
		return req.Next()
	})
	failing := transporter(func(*http.Request) (*http.Response, error) { return nil, errors.New("no") })
	for place, policies := range map[string][]pipeline.Policy{"before Retry": {policy, fast()}, "after Retry": {fast(), policy}} {
		var seen []error
		policies = slices.Insert(policies, 0, pipeline.Policy(pipeline.PolicyFunc(func(req *pipeline.Request) (*http.Response, error) {
			pipeline.CallRetry(func(c *retryablehttp.Client) {
				c.CheckRetry = func(_ context.Context, _ *http.Response, err error) (bool, error) {
					seen = append(seen, err)
					return false, nil
				}
			})(req)
			return req.Next()
		})))
		_, err := pipeline.New(failing, policies...).Do(newRequest(t, "GET", "http://h/"))
		require.NotEmpty(t, seen)
		for _, err := range append(seen, err) {
			require.Error(t, err)
			assert.True(t, utf8.ValidString(err.Error()) && !strings.Contains(err.Error(), "\ufffd"), "%s: %q", place, err)
		}
	}
}

// The response of the token server is not the response of the API.
func TestF120ResponseOfTheTokenServer(t *testing.T) {
	refused := func() error {
		return pipeline.NewResponseError(&http.Response{StatusCode: 400, Header: header("Content-Type", "text/plain"), Body: io.NopCloser(strings.NewReader("wrong"))})
	}
	for _, canceled := range []bool{false, true} {
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		bearer := tokens(&pipeline.BearerToken{}, func(int, pipeline.TokenRequest) (pipeline.Token, error) {
			if canceled {
				cancel()
			}
			return pipeline.Token{}, refused()
		})
		captured := &http.Response{}
		req, err := pipeline.NewRequest(ctx, "GET", "https://h/", pipeline.CaptureResponse(&captured))
		require.NoError(t, err)
		var logged sink
		_, err = over(serve(step{status: 200}), pipeline.Logging{Logger: logged.logger(), Bodies: pipeline.AllBodies}, bearer).Do(req)
		var service *pipeline.ResponseError
		require.ErrorAs(t, err, &service)
		assert.Nil(t, captured)
		assert.NotContains(t, logged.String(), `"category":"response"`)
		assert.Contains(t, logged.String(), "request failed")
	}
}

// A fetch that an attempt has no time for is retried.
func TestF120FetchThatTimesOut(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		source := &issuer{takes: time.Minute}
		limit := pipeline.PolicyFunc(func(req *pipeline.Request) (*http.Response, error) {
			ctx, cancel := context.WithTimeout(req.Raw().Context(), time.Second)
			defer cancel()
			return req.Clone(ctx).Next()
		})
		_, err := sentToken(t.Context(), t, serve(step{status: 200}), fast(), limit, source.policy())
		assert.ErrorIs(t, err, context.DeadlineExceeded)
		assert.Equal(t, 4, source.fetches())
	})
}

func TestF120BodyOfA401IsNotAwaited(t *testing.T) {
	n, closed := 0, false
	transport := roundTripper(func(r *http.Request) (*http.Response, error) {
		if n++; n == 1 {
			stalled, _ := io.Pipe()
			body := closer{stalled, func() { closed = true }}
			return &http.Response{StatusCode: 401, Header: header("WWW-Authenticate", "Bearer"), Request: r, Body: body}, nil
		}
		return &http.Response{StatusCode: 200, Request: r}, nil
	})
	synctest.Test(t, func(t *testing.T) { // which fails if all wait
		resp, err := over(transport, fast(), (&issuer{}).policy()).Do(newRequest(t, "GET", "https://h/"))
		require.NoError(t, err)
		assert.Equal(t, 200, resp.StatusCode)
		assert.True(t, closed)
	})
}
