package pipeline_test

import (
	"encoding/json"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/a0b132ce/retryablehttp/pipeline"
)

func constant(key string) func() string { return func() string { return key } }

func TestKeyIsAskedForOnEachTry(t *testing.T) {
	var n atomic.Int32
	server := serve(step{status: 503}, step{status: 200})
	key := pipeline.Key{Prefix: "ApiKey ", Value: func() string { return fmt.Sprint("k", n.Add(1)) }}
	req := newRequest(t, "GET", "https://h/")
	req.Raw().Header["Authorization"] = []string{"old", "older"}
	_, err := over(server, fast(), key).Do(req)
	require.NoError(t, err)
	require.Equal(t, 2, server.tries())
	for i, got := range server.seen {
		assert.Equal(t, []string{fmt.Sprint("ApiKey k", i+1)}, got.header["Authorization"])
	}
}

// insecureCredentials are policies with a credential that must not be asked for.
func insecureCredentials(t *testing.T, allow bool) []pipeline.Policy {
	return []pipeline.Policy{
		pipeline.Key{Header: "X-Api-Key", AllowHTTP: allow, Value: func() string {
			assert.True(t, allow, "the key is asked for")
			return "secret"
		}},
		tokens(&pipeline.BearerToken{AllowHTTP: allow}, func(int, pipeline.TokenRequest) (pipeline.Token, error) {
			assert.True(t, allow, "a token is fetched")
			return pipeline.Token{Value: "secret"}, nil
		}),
	}
}

func TestA1PlainHTTPIsRefused(t *testing.T) {
	for _, credential := range insecureCredentials(t, false) {
		server := serve(step{status: 200})
		tries := 0
		count := pipeline.PolicyFunc(func(req *pipeline.Request) (*http.Response, error) {
			tries++
			return req.Next()
		})
		body := counted("stuff")
		req := newRequest(t, "PUT", "http://h/?sig=hush")
		require.NoError(t, req.SetBody(body, ""))
		_, err := over(server, fast(), count, credential).Do(req)
		require.ErrorIs(t, err, pipeline.ErrInsecure)
		assert.NotContains(t, err.Error(), "hush")
		assert.Zero(t, server.tries())
		assert.Equal(t, 1, tries, "it is not retried")
		assert.Equal(t, 1, body.closed())
	}
	for _, credential := range insecureCredentials(t, true) {
		server := serve(step{status: 200})
		_, err := over(server, fast(), credential).Do(newRequest(t, "GET", "http://h/"))
		require.NoError(t, err)
		assert.Equal(t, 1, server.tries())
	}
	req := newRequest(t, "GET", "https://h/")
	req.Raw().URL.Scheme = "HTTPS"
	_, err := over(serve(step{status: 200}), pipeline.Key{Value: constant("k")}).Do(req)
	assert.NoError(t, err)
}

func TestKeyThatCannotBeSent(t *testing.T) {
	for name, key := range map[string]pipeline.Key{
		"no function":              {},
		"empty":                    {Prefix: "ApiKey ", Value: constant("")},
		"blank":                    {Value: constant(" ")},
		"line break at the end":    {Value: constant("secret\n")},
		"another header":           {Value: constant("secret\r\nX-A: 1")},
		"tab":                      {Value: constant("secret\t")},
		"NUL":                      {Value: constant("secret\x00")},
		"line break in the prefix": {Prefix: "a\n", Value: constant("secret")},
		"bad header":               {Header: "X Key", Value: constant("secret")},
		"sent to other origins":    {Header: "accept-key", Value: constant("secret")},
		"also sent elsewhere":      {Header: "User-Agent", Value: constant("secret")},
	} {
		t.Run(name, func(t *testing.T) {
			server := serve(step{status: 200})
			_, err := over(server, fast(), key).Do(newRequest(t, "GET", "https://h/"))
			require.ErrorIs(t, err, pipeline.ErrCredential)
			assert.NotContains(t, err.Error(), "secret")
			assert.NotContains(t, err.Error(), "giving up", "it is not retried")
			assert.Zero(t, server.tries())
		})
	}
}

func TestPrintingCredentialsRevealsNothing(t *testing.T) {
	server := serve(step{status: 200})
	bearer := tokens(&pipeline.BearerToken{}, func(int, pipeline.TokenRequest) (pipeline.Token, error) {
		return pipeline.Token{Value: "secret"}, nil
	})
	key := pipeline.Key{Value: constant("secret")}
	_, err := over(server, key, bearer).Do(newRequest(t, "GET", "https://h/"))
	require.NoError(t, err)
	require.Equal(t, "Bearer secret", server.seen[0].header.Get("Authorization"))
	token := pipeline.Token{Value: "secret"}
	type holder struct{ Token pipeline.Token }
	for _, v := range []any{bearer, key, &key, token, &token, holder{token}, []pipeline.Token{token}, token.LogValue()} {
		for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q", "%d", "%x"} {
			shown := fmt.Sprintf(verb, v)
			assert.NotContains(t, shown, "secret", verb)
			assert.NotContains(t, shown, "736563726574", verb)
		}
	}
	encoded, err := json.Marshal(token)
	require.NoError(t, err)
	assert.NotContains(t, string(encoded), "secret")
}

// elsewhere is a server that records the headers of its requests.
func elsewhere(t *testing.T, newServer func(http.Handler) *httptest.Server) (*httptest.Server, func() []http.Header) {
	var got []http.Header
	server := newServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		got = append(got, r.Header.Clone())
		if r.URL.Path == "/401" {
			w.Header().Set("WWW-Authenticate", "Bearer give-me-another")
			w.WriteHeader(401)
		}
	}))
	t.Cleanup(server.Close)
	return server, func() []http.Header { return got }
}

// Credentials do not follow a redirect to another origin, however the pipeline is used.
func TestRedirectsGetNoCredentials(t *testing.T) {
	plain, plainGot := elsewhere(t, httptest.NewServer)
	secure, secureGot := elsewhere(t, httptest.NewTLSServer)
	sameHost := func(r *http.Request) string { return "http://" + r.Host + "/" } // https to http
	for _, c := range []struct {
		name   string
		target func(*http.Request) string
		got    func() []http.Header
	}{
		{"https to https", func(*http.Request) string { return secure.URL }, secureGot},
		{"https to http", func(*http.Request) string { return plain.URL }, plainGot},
		{"https to http on the same host and port", sameHost, nil},
		{"401 elsewhere", func(*http.Request) string { return secure.URL + "/401" }, secureGot},
	} {
		var home []http.Header
		origin := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			home = append(home, r.Header.Clone())
			http.Redirect(w, r, c.target(r), http.StatusTemporaryRedirect)
		}))
		origin.Config.ErrorLog = slog.NewLogLogger(slog.DiscardHandler, 0) // for plain HTTP
		origin.StartTLS()
		defer origin.Close()
		// An HTTPS server does not tell what it gets over plain HTTP, so the transport looks.
		var hops []*http.Request
		transport := origin.Client().Transport.(*http.Transport).Clone()
		transport.TLSClientConfig.InsecureSkipVerify = true
		defer transport.CloseIdleConnections()
		look := roundTripper(func(r *http.Request) (*http.Response, error) {
			hops = append(hops, r)
			return transport.RoundTrip(r)
		})
		fetches := 0
		bearer := func() pipeline.Policy {
			return tokens(&pipeline.BearerToken{}, func(_ int, r pipeline.TokenRequest) (pipeline.Token, error) {
				fetches++
				assert.Empty(t, r.Challenge, "of another origin")
				return pipeline.Token{Value: "secret"}, nil
			})
		}
		key := pipeline.Key{Header: "X-Api-Key", Value: constant("secret")}
		for how, client := range map[string]pipeline.Transporter{
			"redirects below the policies":  ownRedirects(over(look, key, bearer(), pipeline.Headers{})),
			"redirects after a retry":       ownRedirects(over(look, fast(), key, bearer(), pipeline.Headers{})),
			"redirects above the policies":  &http.Client{Transport: over(look, key, bearer())},
			"redirects above Retry, inside": &http.Client{Transport: over(look, fast(), key, bearer())},
			"credentials before Retry":      &http.Client{Transport: over(look, key, bearer(), fast())},
		} {
			t.Run(c.name+", "+how, func(t *testing.T) {
				home, hops, fetches = nil, nil, 0
				before := 0
				if c.got != nil {
					before = len(c.got())
				}
				raw, err := http.NewRequest("GET", origin.URL, nil)
				require.NoError(t, err)
				raw.Header.Set("Accept", "a/b")
				resp, err := client.Do(raw)
				require.NoError(t, err)
				resp.Body.Close()
				assert.Equal(t, 1, fetches)
				require.Len(t, home, 1)
				assert.Equal(t, "secret", home[0].Get("X-Api-Key"))
				assert.Equal(t, "Bearer secret", home[0].Get("Authorization"))
				require.Len(t, hops, 2)
				assert.NotContains(t, fmt.Sprint(hops[1].Header), "secret")
				assert.Equal(t, "a/b", hops[1].Header.Get("Accept"))
				if c.got != nil {
					require.Len(t, c.got(), before+1)
					assert.NotContains(t, fmt.Sprint(c.got()[before]), "secret")
				}
			})
		}
	}
}

// ownRedirects makes a pipeline a client whose own transport follows redirects.
func ownRedirects(pl pipeline.Pipeline) pipeline.Transporter {
	return transporter(func(raw *http.Request) (*http.Response, error) {
		req, err := pipeline.FromRequest(raw)
		if err != nil {
			return nil, err
		}
		return pl.Do(req)
	})
}

// A redirect to the origin itself keeps the credential.
func TestRedirectsWithinTheOriginKeepTheKey(t *testing.T) {
	var got []string
	server := httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		got = append(got, r.Header.Get("X-Api-Key"))
		if r.URL.Path == "/" {
			http.Redirect(w, r, "/next", http.StatusFound)
		}
	}))
	defer server.Close()
	key := pipeline.Key{Header: "X-Api-Key", Value: constant("secret")}
	resp, err := pipeline.New(server.Client(), key).Do(newRequest(t, "GET", server.URL))
	require.NoError(t, err)
	resp.Body.Close()
	client := &http.Client{Transport: pipeline.New(server.Client(), key)}
	resp, err = client.Get(server.URL)
	require.NoError(t, err)
	resp.Body.Close()
	assert.Equal(t, []string{"secret", "secret", "secret", "secret"}, got)
}

// A policy may lead a request elsewhere after the credential was set.
func TestForeignRequestsLoseTheCredential(t *testing.T) {
	server := serve(step{status: 200})
	away := pipeline.PolicyFunc(func(req *pipeline.Request) (*http.Response, error) {
		req.Raw().URL.Scheme, req.Raw().URL.Host = "http", "other"
		return req.Next()
	})
	var seen []string
	look := pipeline.PolicyFunc(func(req *pipeline.Request) (*http.Response, error) {
		seen = append(seen, req.Raw().Header.Get("X-Api-Key")+req.Raw().Header.Get("Authorization"))
		return req.Next()
	})
	credentials := insecureCredentials(t, false)
	for _, credential := range credentials {
		req := newRequest(t, "GET", "https://h/")
		req.Raw().Header.Set("X-Api-Key", "secret")
		req.Raw().Header.Set("Authorization", "secret")
		_, err := over(server, away, credential, look).Do(req)
		require.NoError(t, err)
	}
	assert.Equal(t, []string{"secret", "secret"}, seen, "each removes its own header only")
	for _, got := range server.seen {
		assert.NotContains(t, fmt.Sprint(got.header), "secret")
		assert.True(t, strings.HasPrefix(got.url, "http://other"))
	}
}
