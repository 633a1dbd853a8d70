package retryablehttp

import (
	"bytes"
	"errors"
	"fmt"
	"log"
	"log/slog"
	"net/http"
	"net/url"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// docs/spec.md, 4.8: no error or log line contains a secret, whatever fails.
func TestNoSecretInErrorsAndLogLines(t *testing.T) {
	const target = "http://user:hunter2@host/path?token=hunter2&x=hunter2#hunter2"
	nested := errors.New(`of http://host/?q=it's-hunter2 and http://host/?q=<hunter2> the proxy said: http://a:hunter2@b/?c=hunter2 and /d?e=hunter2 to "http://f/?g=h hunter2"`)
	for name, transport := range map[string]roundTripFunc{
		"status":   func(req *http.Request) (*http.Response, error) { return respond(req, 503, ""), nil },
		"error":    func(*http.Request) (*http.Response, error) { return nil, nested },
		"redirect": func(req *http.Request) (*http.Response, error) { return respond(req, 302, "", "Location", target), nil },
		"bad hop": func(req *http.Request) (*http.Response, error) {
			return respond(req, 302, "", "Location", target+"%zz"), nil
		},
		"URL error": func(*http.Request) (*http.Response, error) {
			return nil, &url.Error{Op: "Get", URL: target, Err: nested}
		},
		"wrapped URL error": func(*http.Request) (*http.Response, error) {
			return nil, fmt.Errorf("middleware: %w", &url.Error{Op: "Get", URL: target, Err: nested})
		},
		"unparsable URL error": func(*http.Request) (*http.Response, error) {
			return nil, fmt.Errorf("middleware: %w", &url.Error{Op: "Get", URL: target + "%zz", Err: nested})
		},
		"permanent": func(*http.Request) (*http.Response, error) { return nil, http.ErrSchemeMismatch },
	} {
		t.Run(name, func(t *testing.T) {
			var out bytes.Buffer
			for _, logger := range []any{
				log.New(&out, "", 0),
				slog.New(slog.NewTextHandler(&out, &slog.HandlerOptions{Level: slog.LevelDebug})),
				leveledOnly{slog.New(slog.NewJSONHandler(&out, &slog.HandlerOptions{Level: slog.LevelDebug}))},
			} {
				var policySaw []error
				client := &Client{RetryMax: 1, Backoff: noWait, Logger: logger, HTTPClient: &http.Client{Transport: transport}}
				client.CheckRetry = func(ctx ctxt, resp *http.Response, err error) (bool, error) {
					if err != nil {
						policySaw = append(policySaw, err)
					}
					return ErrorPropagatedRetryPolicy(ctx, resp, err)
				}
				_, err := client.Get(target)
				require.Error(t, err)
				seen := []error{err}
				client.CheckRetry, client.PrepareRetry = nil, func(*http.Request) error {
					return fmt.Errorf("token: %w", &url.Error{Op: "Get", URL: target, Err: nested})
				}
				_, err = client.Get(target)
				require.Error(t, err)
				seen = append(seen, err)
				client.PrepareRetry = nil
				if _, err = (&RoundTripper{Client: client}).RoundTrip(mustRequest(t, target)); err != nil {
					seen = append(seen, err)
				}
				var nestedURL *url.Error
				for _, e := range append(policySaw, seen...) {
					out.WriteString(e.Error())
					for errors.As(e, &nestedURL) {
						out.WriteString(nestedURL.URL)
						out.WriteString(nestedURL.Error())
						e = nestedURL.Err
					}
				}
			}
			assert.NotContains(t, out.String(), "hunter2")
			assert.Contains(t, out.String(), "host/path", "what is no secret stays")
		})
	}
}

// docs/spec.md, 4.8: net/http quotes a Location that it cannot parse.
func TestNoSecretInTheErrorForABadLocation(t *testing.T) {
	for _, location := range []string{
		"/%zz?hunter2", "/%zz?a=hunter2", "/%zz#access_token=hunter2", "//u:hunter2@h:bad/", "http://u:hunter2@h:bad/", `/%zz?a="hunter2`, "/%zz?a=b hunter2",
	} {
		client, _ := scripted(status(302, "Location", location))
		_, err := client.Get("http://host/")
		require.Error(t, err)
		assert.NotContains(t, err.Error(), "hunter2", location)
		var nested *url.Error
		require.ErrorAs(t, err, &nested)
		assert.NotContains(t, nested.Error(), "hunter2", location)
	}
}

// docs/spec.md, 4.8: url.Parse quotes a URL that it cannot parse.
func TestNoSecretInTheErrorForAnInvalidURL(t *testing.T) {
	for _, target := range []string{
		"http://user:hunter2@host:port/", "http://user:hunter2", "http://user:hun/hunter2@host", "://user:hunter2@host",
		"http://host/%zz?token=hunter2", "http://host/\x7f?token=hunter2", "http://[::1?hunter2=hunter2", "%zzhunter2?a=hunter2",
		"http://us%zzer:hunter2@host/", "http://host/%zz#hunter2",
	} {
		_, err := Get(target)
		require.Error(t, err, target)
		if !strings.HasPrefix(target, "%zz") { // a path is no secret
			assert.NotContains(t, err.Error(), "hunter2", target)
		}
		assert.ErrorAs(t, err, new(*url.Error))
		assert.NotContains(t, err.Error(), "=hunter2")
	}
	_, err := Get("http://host:x1/things")
	assert.ErrorContains(t, err, "parse")
}

// docs/spec.md, 4.9: Client.RedactURL formats URLs.
func TestRedactURLReplacesTheRule(t *testing.T) {
	var out bytes.Buffer
	client := &Client{
		RedactURL: func(u *url.URL) string { return "<" + u.Hostname() + ">" },
		Logger:    log.New(&out, "", 0),
		HTTPClient: &http.Client{Transport: roundTripFunc(func(*http.Request) (*http.Response, error) {
			return nil, errors.New("see http://other/?secret=1")
		})},
	}
	_, err := client.Get("http://host/path")
	assert.EqualError(t, err, `GET <host> giving up after 1 attempt(s): see <other>`)
	assert.Equal(t, "[DEBUG] GET <host>\n[ERR] GET <host> request failed: Get \"<host>\": see <other>\n", out.String())
}

func FuzzRedactInvalidURL(f *testing.F) {
	f.Add("user", "@host:port/", uint8(0))
	f.Add("h/%zz", "", uint8(1))
	f.Add("h/%zz", "@", uint8(2))
	f.Add("us/er", "@host", uint8(3))
	f.Fuzz(func(t *testing.T, before, after string, place uint8) {
		const secret = "s3cr3t"
		if strings.Contains(before+after, "s3c") {
			return
		}
		raw := "http://" + before + []string{":", "?key=", "#", "@"}[place%4] + secret + after
		if place%4 == 3 {
			raw = "http://" + before + secret + "@" + after
		}
		if _, err := url.Parse(raw); err == nil {
			return
		}
		_, err := Get(raw)
		if strings.Contains(err.Error(), secret) {
			t.Fatalf("Get(%q): %v", raw, err)
		}
	})
}
