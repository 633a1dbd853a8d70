package pipeline_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/a0b132ce/retryablehttp"
	"github.com/a0b132ce/retryablehttp/pipeline"
)

// sink keeps log records of all levels.
type sink struct {
	mu  sync.Mutex
	buf bytes.Buffer
}

func (s *sink) Write(p []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.buf.Write(p)
}

func (s *sink) String() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.buf.String()
}

func (s *sink) logger() *slog.Logger {
	return slog.New(slog.NewJSONHandler(s, &slog.HandlerOptions{Level: slog.LevelDebug}))
}

// records returns the records, without those whose category is not listed.
func (s *sink) records(t testing.TB, categories ...string) []map[string]any {
	t.Helper()
	var records []map[string]any
	for line := range strings.Lines(s.String()) {
		var record map[string]any
		require.NoError(t, json.Unmarshal([]byte(line), &record))
		if len(categories) == 0 || slices.Contains(categories, record["category"].(string)) {
			records = append(records, record)
		}
	}
	return records
}

// one returns the only record of a category.
func (s *sink) one(t testing.TB, category string) map[string]any {
	t.Helper()
	records := s.records(t, category)
	require.Len(t, records, 1, s.String())
	return records[0]
}

// send sends a request and returns the error. It reads and closes the response.
func send(t testing.TB, pl pipeline.Pipeline, req *pipeline.Request) error {
	t.Helper()
	resp, err := pl.Do(req)
	if err == nil {
		text(t, resp)
	}
	return err
}

const childVariable = "PIPELINE_TEST_CHILD"

// TestEnvironmentChild is the child process of TestL01Environment.
func TestEnvironmentChild(t *testing.T) {
	logging := pipeline.Logging{}
	switch os.Getenv(childVariable) {
	case "": // it is not the child process
		return
	case "with a logger":
		logging.Logger = new(sink).logger()
	case "with categories":
		logging.Categories = []pipeline.Category{pipeline.LogLRO}
	}
	pl := over(serve(step{status: 503}, step{status: 200}), fast(), logging)
	os.Unsetenv("RETRYABLEHTTP_LOG") // New has read it
	require.NoError(t, send(t, pl, newRequest(t, "GET", "http://u:hush@h/?sig=hush")))
	pl.Log(t.Context(), pipeline.LogLRO, slog.LevelDebug, "polling")
}

func TestL01Environment(t *testing.T) {
	everything := []string{"retry", "request", "response", "retry", "request", "response", "retry", "lro"}
	for name, tt := range map[string]struct {
		env, child string // env "-" means that the variable is unset
		want       []string
	}{
		"unset logs nothing":                        {env: "-"},
		"empty logs nothing":                        {env: ""},
		"blanks and commas log nothing":             {env: " , ,"},
		"all":                                       {env: "all", want: everything},
		"ALL logs as all does":                      {env: "ALL", want: everything},
		"a list with upper case and blanks":         {env: " Response,LRO ,", want: []string{"response", "response", "lro"}},
		"a word that is not a category":             {env: "bogus,request", want: []string{"request", "request"}},
		"only words that are not categories":        {env: "1,true"},
		"all among others":                          {env: "request,all", want: everything},
		"a Logger takes the place of the variable":  {env: "all", child: "with a logger"},
		"Categories count only with a Logger":       {env: "request", child: "with categories", want: []string{"request", "request"}},
		"Categories without a Logger log by itself": {env: "-", child: "with categories"},
	} {
		t.Run("L01 "+name, func(t *testing.T) {
			t.Parallel()
			cmd := exec.Command(os.Args[0], "-test.run=^TestEnvironmentChild$")
			cmd.Env = slices.DeleteFunc(os.Environ(), func(v string) bool { return strings.HasPrefix(v, "RETRYABLEHTTP_LOG=") })
			cmd.Env = append(cmd.Env, childVariable+"=yes")
			if tt.child != "" {
				cmd.Env = append(cmd.Env, childVariable+"="+tt.child)
			}
			if tt.env != "-" {
				cmd.Env = append(cmd.Env, "RETRYABLEHTTP_LOG="+tt.env)
			}
			var stdout, stderr bytes.Buffer
			cmd.Stdout, cmd.Stderr = &stdout, &stderr
			require.NoError(t, cmd.Run(), stdout.String())
			var got []string
			for line := range strings.Lines(stderr.String()) {
				_, after, ok := strings.Cut(line, " category=")
				require.True(t, ok, line)
				category, _, _ := strings.Cut(strings.TrimSpace(after), " ")
				got = append(got, category)
			}
			assert.Equal(t, tt.want, got)
			assert.NotContains(t, stderr.String(), "hush")
		})
	}
}

func TestL02OnlyServiceErrors(t *testing.T) {
	for name, steps := range map[string][]step{
		"404":           {{status: 404, header: header("X-Request-Id", "r7"), body: `{"error":{"code":"NotFound","message":"no\nsuch thing, see https://u:hush@h/?sig=hush"}}`}},
		"after 4 tries": {{status: 503, header: header("X-Request-Id", "r7"), body: `{"code":"NotFound","message":"no such thing, see https://u:hush@h/?sig=hush"}`}},
	} {
		t.Run("L02 "+name, func(t *testing.T) {
			var logged sink
			service := serve(steps...)
			pl := over(service, pipeline.StatusError{}, fast(),
				pipeline.Logging{Logger: logged.logger(), Categories: []pipeline.Category{pipeline.LogError}})
			require.Error(t, send(t, pl, newRequest(t, "GET", "https://h/x?sig=hush")))
			require.Len(t, logged.records(t), 1, logged.String())
			record := logged.one(t, "error")
			delete(record, "time")
			assert.Equal(t, map[string]any{
				"level": "ERROR", "msg": "service error", "category": "error", "method": "GET",
				"url": "https://h/x?sig=REDACTED", "status": float64(steps[0].status), "code": "NotFound",
				"message": "no such thing, see https://u:xxxxx@h/?sig=REDACTED", "request_id": "r7",
			}, record)
		})
	}
}

// TestL03NoSecretInAnyRecord looks for secrets in all records of calls that fail in all ways.
func TestL03NoSecretInAnyRecord(t *testing.T) {
	const target = "https://joe:hush@h/x?api-version=1&sig=hush&keep=me&hush#hush"
	secret := header("X-Secret", "hush", "X-Ok", "fine", "Content-Type", "text/plain; v=9", "Set-Cookie", "hush", "Www-Other", "hush",
		"Location", "https://u:hush@other/cb?code=hush#hush", "Content-Location", "/cb?hush", "Operation-Location", "cb?hush",
		"Azure-Asyncoperation", "https://hush@other/", "Refresh", "0; url=/cb?hush", "Retry-After", "0",
		"Link", `<https://u:hush@h/?page=2&sig=hush>; rel="next"; title="hush"`, "Link", `<next?hush>; rel=prev`, "Link", "hush")
	quoted := fmt.Errorf(`see %s, and again "%s", and user joe:hush@h, and /cb?hush`, target, target)
	binary := secret.Clone()
	binary.Set("Content-Type", "application/octet-stream") // whose body is not logged as it is
	steps := map[string][]step{
		"statuses":           {{status: 503, header: secret}, {status: 404, header: binary, body: `{"message":"` + target + `"}`}},
		"a success":          {{status: 200, header: secret}},
		"errors":             {{err: quoted}},
		"a url.Error":        {{err: &url.Error{Op: "Get", URL: target, Err: quoted}}, {status: 200}},
		"a malformed URL":    {{err: &url.Error{Op: "Get", URL: "https://u:hush@h:port/%zz?hush", Err: quoted}}, {status: 200}},
		"limits of requests": {{status: 429, header: header("Retry-After", "0", "Ratelimit", "not a limit")}, {status: 200}},
	}
	for name, steps := range steps {
		for _, bodies := range []pipeline.Bodies{pipeline.NoBodies, pipeline.BodiesOnFailure, pipeline.AllBodies} {
			t.Run(fmt.Sprint("L03 B9 ", name, " ", bodies), func(t *testing.T) {
				var asJSON, asText sink
				headers, query := []string{"x-ok"}, []string{"KEEP"}
				logging := pipeline.Logging{Logger: slog.New(both{
					slog.NewJSONHandler(&asJSON, &slog.HandlerOptions{Level: slog.LevelDebug}),
					slog.NewTextHandler(&asText, &slog.HandlerOptions{Level: slog.LevelDebug}),
				}), AllowHeaders: headers, AllowQuery: query, Bodies: bodies}
				outside := pipeline.Logging{Logger: logging.Logger, Bodies: bodies}
				below := pipeline.PolicyFunc(func(req *pipeline.Request) (*http.Response, error) {
					resp, err := req.Next()
					if err != nil {
						err = fmt.Errorf("below, for %s: %w", target, err)
					}
					return resp, err
				})
				pl := over(serve(steps...), outside, pipeline.StatusError{}, fast(func(c *retryablehttp.Client) {
					c.Gate = &retryablehttp.Gate{}
					c.Logger = retryablehttp.NewClient().Logger
				}), logging, below)
				assert.Equal(t, []string{"x-ok"}, headers, "not modified")
				assert.Equal(t, []string{"KEEP"}, query, "not modified")
				headers[0], query[0] = "x-secret", "sig" // without effect
				req := newRequest(t, "GET", target)
				for _, name := range []string{"Authorization", "Proxy-Authorization", "Cookie", "X-Api-Key", "X-Auth-Token"} {
					req.Raw().Header.Set(name, "Bearer hush")
				}
				req.Raw().Header.Set("Referer", target)
				err := send(t, pl, req)
				for form, out := range map[string]string{"JSON": asJSON.String(), "text": asText.String()} {
					assert.NotContains(t, out, "hush", form)
					assert.Contains(t, out, "api-version=1", form)
					assert.Contains(t, out, "keep=me", form)
					assert.Contains(t, out, "https://joe:xxxxx@h/x", form)
					for _, category := range []string{"request", "retry"} {
						assert.Contains(t, out, category, form)
					}
					if steps[0].header.Get("X-Ok") != "" {
						for _, shown := range []string{"fine", "text/plain; v=9", "https://u:xxxxx@other/cb?code=REDACTED#REDACTED",
							"<https://u:xxxxx@h/?page=REDACTED&sig=REDACTED>; rel=", "<next?REDACTED>; rel=prev"} {
							assert.Contains(t, strings.ReplaceAll(out, `\u0026`, "&"), strings.ReplaceAll(shown, "<", ""), form)
						}
					}
				}
				if err != nil {
					assert.NotContains(t, err.Error(), "hush")
				}
			})
		}
	}
}

// both is a handler for two.
type both [2]slog.Handler

func (b both) Enabled(context.Context, slog.Level) bool { return true }
func (b both) Handle(ctx context.Context, r slog.Record) error {
	return errors.Join(b[0].Handle(ctx, r.Clone()), b[1].Handle(ctx, r.Clone()))
}
func (b both) WithAttrs(attrs []slog.Attr) slog.Handler {
	return both{b[0].WithAttrs(attrs), b[1].WithAttrs(attrs)}
}
func (b both) WithGroup(name string) slog.Handler {
	return both{b[0].WithGroup(name), b[1].WithGroup(name)}
}

// echo is a transport that sends each request body back, with the same Content-Type.
type echo struct {
	status int
	header http.Header
}

func (e echo) RoundTrip(r *http.Request) (*http.Response, error) {
	data, err := io.ReadAll(r.Body)
	r.Body.Close()
	h := e.header.Clone()
	if h == nil {
		h = http.Header{}
	}
	h.Set("Content-Type", r.Header.Get("Content-Type"))
	return &http.Response{StatusCode: e.status, Header: h, Body: io.NopCloser(bytes.NewReader(data)), Request: r}, err
}

// inMemory reads the response into memory.
var inMemory = pipeline.PolicyFunc(func(req *pipeline.Request) (*http.Response, error) {
	resp, err := req.Next()
	if err == nil {
		_, err = pipeline.Payload(resp)
	}
	return resp, err
})

func TestL05Bodies(t *testing.T) {
	const sent = "payload of the test"
	for _, contentType := range []struct {
		name     string
		readable bool
	}{
		{"application/json", true}, {"Application/JSON; charset=utf-8", true}, {"application/problem+json", true},
		{"text/plain", true}, {"text/csv; header=present", true}, {"application/xml", true}, {"application/atom+xml", true},
		{"application/octet-stream", false}, {"application/x-www-form-urlencoded", false}, {"image/png", false}, {"application/xml-dtd", false}, {"application/jsonish", false},
		{"", false}, {"/;", false},
	} {
		for _, bodies := range []pipeline.Bodies{pipeline.NoBodies, pipeline.BodiesOnFailure, pipeline.AllBodies} {
			for _, status := range []int{200, 399, 400} {
				for _, streamed := range []bool{false, true} {
					t.Run(fmt.Sprintf("L05 %q bodies %d status %d streamed %v", contentType.name, bodies, status, streamed), func(t *testing.T) {
						var logged sink
						policies := []pipeline.Policy{pipeline.Logging{Logger: logged.logger(), Bodies: bodies}}
						if !streamed {
							policies = append(policies, inMemory)
						}
						req := newRequest(t, "POST", "http://h/")
						require.NoError(t, req.SetBytes([]byte(sent), contentType.name))
						resp, err := over(echo{status: status}, policies...).Do(req)
						require.NoError(t, err)
						assert.Equal(t, sent, text(t, resp), "the body was sent and received unharmed")

						attr := func(on bool) any {
							if on && contentType.readable {
								return sent
							}
							return nil
						}
						all, onFailure := bodies == pipeline.AllBodies, bodies == pipeline.BodiesOnFailure && status >= 400
						request, response := logged.one(t, "request"), logged.one(t, "response")
						assert.Equal(t, attr(all), request["body"])
						assert.Equal(t, attr(onFailure), response["request_body"])
						assert.Equal(t, attr(all && (!streamed || status >= 400) || onFailure), response["body"])
						assert.NotContains(t, logged.String(), "truncated")
					})
				}
			}
		}
	}
}

func TestHarmlessHeadersAreShown(t *testing.T) {
	var logged sink
	names := []string{"Accept", "Cache-Control", "Connection", "Content-Length", "Content-Type", "Date", "Etag", "Expires", "If-Match",
		"If-Modified-Since", "If-None-Match", "If-Unmodified-Since", "Last-Modified", "Pragma", "Ratelimit", "Request-Id", "Retry-After",
		"Retry-After-Ms", "Server", "Traceparent", "Transfer-Encoding", "User-Agent", "Www-Authenticate", "X-Request-Id"}
	sent, want := http.Header{"lower": {"hush"}}, map[string]any{"lower": "REDACTED"}
	for _, name := range names {
		sent.Set(name, "shown")
		want[name] = "shown"
	}
	require.NoError(t, send(t, over(serve(step{status: 200, header: sent}), pipeline.Logging{Logger: logged.logger()}), newRequest(t, "GET", "http://h/")))
	assert.Equal(t, want, logged.one(t, "response")["headers"])
}

// untouchable is a response body that fails the test if it is read.
type untouchable struct{ t *testing.T }

func (u untouchable) Read([]byte) (int, error) { u.t.Error("read"); return 0, io.EOF }
func (u untouchable) Close() error             { return nil }

func TestL05StreamedSuccessIsNotRead(t *testing.T) {
	var logged sink
	pl := over(transport(func(r *http.Request) (*http.Response, error) {
		return &http.Response{StatusCode: 200, Header: header("Content-Type", "text/event-stream"), Body: untouchable{t}, Request: r}, nil
	}), pipeline.Logging{Logger: logged.logger(), Bodies: pipeline.AllBodies})
	resp, err := pl.Do(newRequest(t, "GET", "http://h/"))
	require.NoError(t, err)
	resp.Body.Close()
	assert.NotContains(t, logged.one(t, "response"), "body")
}

type transport func(*http.Request) (*http.Response, error)

func (f transport) RoundTrip(r *http.Request) (*http.Response, error) { return f(r) }

func TestLoggedBodiesAreCut(t *testing.T) {
	const limit = 64 << 10
	for _, size := range []int{limit, limit + 1, 10 * limit} {
		for _, status := range []int{200, 500} {
			t.Run(fmt.Sprint(size, " ", status), func(t *testing.T) {
				var logged sink
				sent := strings.Repeat("x", size)
				policies := []pipeline.Policy{pipeline.Logging{Logger: logged.logger(), Bodies: pipeline.AllBodies}}
				if status == 200 {
					policies = append(policies, inMemory)
				}
				req := newRequest(t, "POST", "http://h/")
				require.NoError(t, req.SetBytes([]byte(sent), "text/plain"))
				resp, err := over(echo{status: status}, policies...).Do(req)
				require.NoError(t, err)
				assert.Equal(t, sent, text(t, resp), "all of it was sent, and can be read")
				for _, category := range []string{"request", "response"} {
					record := logged.one(t, category)
					assert.Equal(t, sent[:limit], record["body"])
					if size > limit {
						assert.Equal(t, true, record["body_truncated"])
					} else {
						assert.NotContains(t, record, "body_truncated")
					}
				}
			})
		}
	}
}

func TestEncodedBodiesAreNotLogged(t *testing.T) {
	for coding, want := range map[string]any{"gzip": nil, "identity": "hello", "": "hello"} {
		var logged sink
		req := newRequest(t, "POST", "http://h/")
		require.NoError(t, req.SetBytes([]byte("hello"), "text/plain"))
		req.Raw().Header.Set("Content-Encoding", coding)
		require.NoError(t, send(t, over(echo{400, header("Content-Encoding", coding)},
			pipeline.Logging{Logger: logged.logger(), Bodies: pipeline.AllBodies}), req))
		assert.Equal(t, want, logged.one(t, "request")["body"], coding)
		assert.Equal(t, want, logged.one(t, "response")["body"], coding)
	}
}

func TestLoggedErrorBodyKeepsItsError(t *testing.T) {
	var logged sink
	broken := errors.New("cut off")
	closes := 0
	pl := over(transport(func(r *http.Request) (*http.Response, error) {
		body := struct {
			io.Reader
			io.Closer
		}{io.MultiReader(strings.NewReader("half"), &once{err: broken}), closeFunc(func() error { closes++; return nil })}
		return &http.Response{StatusCode: 502, Header: header("Content-Type", "text/plain"), Body: body, Request: r}, nil
	}), pipeline.Logging{Logger: logged.logger(), Bodies: pipeline.BodiesOnFailure})
	resp, err := pl.Do(newRequest(t, "GET", "http://h/"))
	require.NoError(t, err)
	assert.Equal(t, "half", logged.one(t, "response")["body"])
	data, err := io.ReadAll(resp.Body)
	assert.Equal(t, "half", string(data))
	require.ErrorIs(t, err, broken)
	require.NoError(t, resp.Body.Close())
	assert.Equal(t, 1, closes)
}

// once fails the first Read, and is at its end afterwards.
type once struct{ err error }

func (o *once) Read([]byte) (int, error) {
	err := o.err
	o.err = io.EOF
	return 0, err
}

type closeFunc func() error

func (c closeFunc) Close() error { return c() }

// TestB1LoggedRequestBodies logs bodies of all kinds in each of two tries.
func TestB1LoggedRequestBodies(t *testing.T) {
	file := filepath.Join(t.TempDir(), "body.json")
	require.NoError(t, os.WriteFile(file, []byte(`{"a":1}`), 0o600))
	for name, tt := range map[string]struct {
		set  func(*testing.T, *pipeline.Request)
		want any
	}{
		"a file": {func(t *testing.T, req *pipeline.Request) {
			f, err := os.Open(file)
			require.NoError(t, err)
			require.NoError(t, req.SetBody(f, "application/json"))
		}, `{"a":1}`},
		"JSON": {func(t *testing.T, req *pipeline.Request) { require.NoError(t, req.SetJSON(map[string]int{"a": 1})) }, `{"a":1}`},
		"a reader that is closed": {func(t *testing.T, req *pipeline.Request) {
			body := counted(`{"a":1}`)
			t.Cleanup(func() { assert.Equal(t, 1, body.closed()) })
			require.NoError(t, req.SetBody(seekOnly{body}, "text/json"))
		}, `{"a":1}`},
		"a long body that can be read once": {func(t *testing.T, req *pipeline.Request) {
			req.Raw().Body = io.NopCloser(io.MultiReader(strings.NewReader(`{"a":1}`), strings.NewReader(strings.Repeat(" ", 1<<20))))
			req.Raw().ContentLength = 7 + 1<<20
			req.Raw().Header.Set("Content-Type", "application/json")
		}, nil},
		"a body that can be read once": {func(t *testing.T, req *pipeline.Request) {
			req.Raw().Body = io.NopCloser(io.MultiReader(strings.NewReader(`{"a"`), strings.NewReader(`:1}`)))
			req.Raw().ContentLength = 7
			req.Raw().Header.Set("Content-Type", "application/json")
		}, nil},
	} {
		t.Run("B1 "+name, func(t *testing.T) {
			var logged sink
			service := serve(step{status: 503}, step{status: 200})
			pl := over(service, fast(), pipeline.Logging{Logger: logged.logger(), Bodies: pipeline.AllBodies})
			req := withKey(newRequest(t, "PUT", "http://h/"))
			tt.set(t, req)
			require.NoError(t, send(t, pl, req))
			require.Equal(t, 2, service.tries())
			for _, seen := range service.seen {
				assert.JSONEq(t, `{"a":1}`, seen.body)
			}
			records := logged.records(t, "request")
			require.Len(t, records, 2)
			for _, record := range records {
				assert.Equal(t, tt.want, record["body"])
			}
		})
	}
}

func TestRecords(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var logged sink
		calls := 0
		pl := over(transport(func(r *http.Request) (*http.Response, error) {
			time.Sleep(3 * time.Second)
			calls++
			status := map[int]int{1: 503, 3: 200}[calls]
			if status == 0 {
				return nil, errors.New("broken")
			}
			return &http.Response{StatusCode: status, Header: header("Server", "s", "A", "1"), Request: r}, nil
		}), fast(), pipeline.Logging{Logger: logged.logger()})
		req := newRequest(t, "GET", "http://h/x?q=1")
		req.Raw().Header = header("X-B", "1", "X-B", "2", "Accept", "a", "Accept", "b")
		require.NoError(t, send(t, pl, req))
		records := logged.records(t, "request", "response", "error")
		for _, record := range records {
			delete(record, "time")
		}
		sent := func(attempt float64) map[string]any {
			return map[string]any{"level": "DEBUG", "msg": "request", "category": "request", "method": "GET",
				"url": "http://h/x?q=REDACTED", "attempt": attempt, "headers": map[string]any{"Accept": "a, b", "X-B": "REDACTED, REDACTED"}}
		}
		received := func(level string, attempt, status float64) map[string]any {
			return map[string]any{"level": level, "msg": "response", "category": "response", "method": "GET", "url": "http://h/x?q=REDACTED",
				"attempt": attempt, "status": status, "duration": 3e9, "headers": map[string]any{"A": "REDACTED", "Server": "s"}}
		}
		assert.Equal(t, []map[string]any{
			sent(1), received("WARN", 1, 503),
			sent(2), {"level": "WARN", "msg": "request failed", "category": "error", "method": "GET", "url": "http://h/x?q=REDACTED",
				"attempt": 2.0, "duration": 3e9, "error": `Get "http://h/x?q=REDACTED": broken`},
			sent(3), received("DEBUG", 3, 200),
		}, records)
		var levels []any
		for _, record := range logged.records(t, "retry") {
			levels = append(levels, record["level"], record["msg"])
		}
		assert.Equal(t, []any{"DEBUG", "performing request", "WARN", "retrying request", "WARN", "retrying request",
			"INFO", "request succeeded after retries"}, levels)
		assert.Less(t, strings.Index(logged.String(), `"A":`), strings.Index(logged.String(), `"Server":`), "headers are sorted")
	})
}

func TestFailedRequestIsLoggedWithItsBody(t *testing.T) {
	for bodies, want := range map[pipeline.Bodies]any{pipeline.NoBodies: nil, pipeline.BodiesOnFailure: `"b"`, pipeline.AllBodies: nil} {
		var logged sink
		req := newRequest(t, "PUT", "http://h/")
		require.NoError(t, req.SetJSON("b"))
		require.Error(t, send(t, over(serve(step{err: errors.New("broken")}), pipeline.Logging{Logger: logged.logger(), Bodies: bodies}), req))
		assert.Equal(t, want, logged.one(t, "error")["request_body"], bodies)
	}
}

func TestLevelsAndCategoriesAreObeyed(t *testing.T) {
	for name, tt := range map[string]struct {
		level      slog.Level
		categories []pipeline.Category
		want       []string
	}{
		"nil means all":     {slog.LevelDebug, nil, []string{"DEBUG retry", "DEBUG request", "WARN response", "WARN retry", "DEBUG request", "WARN error", "WARN retry", "DEBUG request", "WARN response", "INFO retry", "ERROR error", "INFO lro", "DEBUG mine"}},
		"level warn":        {slog.LevelWarn, nil, []string{"WARN response", "WARN retry", "WARN error", "WARN retry", "WARN response", "ERROR error"}},
		"level error":       {slog.LevelError, nil, []string{"ERROR error"}},
		"none":              {slog.LevelDebug, []pipeline.Category{}, nil},
		"one":               {slog.LevelDebug, []pipeline.Category{pipeline.LogRetry}, []string{"DEBUG retry", "WARN retry", "WARN retry", "INFO retry"}},
		"two":               {slog.LevelDebug, []pipeline.Category{pipeline.LogLRO, pipeline.LogRequest}, []string{"DEBUG request", "DEBUG request", "DEBUG request", "INFO lro"}},
		"one of a policy":   {slog.LevelDebug, []pipeline.Category{"mine"}, []string{"DEBUG mine"}},
		"errors from level": {slog.LevelError, []pipeline.Category{pipeline.LogResponse}, nil},
	} {
		t.Run(name, func(t *testing.T) {
			var logged sink
			logger := slog.New(slog.NewJSONHandler(&logged, &slog.HandlerOptions{Level: tt.level}))
			categories := slices.Clone(tt.categories)
			pl := over(serve(step{status: 503}, step{err: errors.New("broken")}, step{status: 404}),
				pipeline.StatusError{}, fast(), pipeline.Logging{Logger: logger, Categories: categories})
			for i := range categories {
				categories[i] = "changed later"
			}
			require.Error(t, send(t, pl, newRequest(t, "GET", "http://h/")))
			pl.Log(t.Context(), pipeline.LogLRO, slog.LevelInfo, "polling")
			pl.Log(t.Context(), "mine", slog.LevelDebug, "hello")
			var got []string
			for _, record := range logged.records(t) {
				got = append(got, fmt.Sprint(record["level"], " ", record["category"]))
			}
			assert.Equal(t, tt.want, got)
		})
	}
}

func TestLoggingBeforeRetryLogsCalls(t *testing.T) {
	var logged sink
	pl := over(serve(step{status: 503, header: header("Content-Type", "application/json"), body: `{"code":"Busy"}`}),
		pipeline.Logging{Logger: logged.logger(), Bodies: pipeline.BodiesOnFailure}, pipeline.StatusError{}, fast())
	require.Error(t, send(t, pl, newRequest(t, "GET", "http://h/")))
	logged.one(t, "request")
	response := logged.one(t, "response")
	assert.InDelta(t, 503, response["status"], 0, "of the error")
	assert.InDelta(t, 1, response["attempt"], 0)
	assert.JSONEq(t, `{"code":"Busy"}`, response["body"].(string))
	assert.Equal(t, "service error", logged.one(t, "error")["msg"], "not a failed request too")
}

func TestServiceErrorOfAPolicyIsLoggedAsAResponse(t *testing.T) {
	for name, e := range map[string]*pipeline.ResponseError{
		"without a response": {StatusCode: 404},
		"without a body":     {StatusCode: 404, Response: &http.Response{StatusCode: 404, Header: header("Content-Type", "text/plain")}},
	} {
		var logged sink
		fails := pipeline.PolicyFunc(func(*pipeline.Request) (*http.Response, error) { return nil, e })
		pl := over(nil, pipeline.Logging{Logger: logged.logger(), Bodies: pipeline.AllBodies}, fails)
		require.ErrorIs(t, send(t, pl, newRequest(t, "GET", "http://h/")), e)
		category := "response"
		if e.Response == nil {
			category = "error"
		}
		logged.one(t, category)
		assert.Len(t, logged.records(t), 2, name)
	}
}

func TestOnePipelineWithSeveralLoggings(t *testing.T) {
	var calls, tries sink
	pl := over(serve(step{status: 503}, step{status: 404}),
		pipeline.Logging{Logger: calls.logger(), Categories: []pipeline.Category{pipeline.LogResponse}}, pipeline.StatusError{}, fast(),
		pipeline.Logging{Logger: tries.logger(), AllowQuery: []string{"q"}})
	require.Error(t, send(t, pl, newRequest(t, "GET", "http://h/?q=1")))
	assert.Len(t, calls.records(t), 1)
	assert.Len(t, tries.records(t, "response"), 2)
	assert.Len(t, tries.records(t, "error"), 1, "the last one has the settings of StatusError")
	assert.NotEmpty(t, tries.records(t, "retry"), "and of Retry")
	assert.Equal(t, "http://h/?q=REDACTED", calls.one(t, "response")["url"])
	assert.Equal(t, "http://h/?q=1", tries.one(t, "error")["url"])
}

func TestLoggingWithinAnotherPolicy(t *testing.T) {
	var logged sink
	pl := over(serve(step{status: 200}), pipeline.PolicyFunc(pipeline.Logging{Logger: logged.logger()}.Do))
	require.NoError(t, send(t, pl, newRequest(t, "GET", "http://h/")))
	logged.one(t, "request")
	logged.one(t, "response")
}

func TestLogOfPolicies(t *testing.T) {
	var logged sink
	type key struct{}
	logger := slog.New(withContext{slog.NewJSONHandler(&logged, &slog.HandlerOptions{AddSource: true, Level: slog.LevelDebug}), key{}})
	mine := pipeline.PolicyFunc(func(req *pipeline.Request) (*http.Response, error) {
		req.Log("auth", slog.LevelInfo, "token refreshed", slog.Int("n", 7))
		return req.Next()
	})
	pl := over(serve(step{status: 200}), mine, pipeline.Logging{Logger: logger, Categories: []pipeline.Category{"auth", pipeline.LogLRO}})
	ctx := context.WithValue(t.Context(), key{}, "from the context")
	req, err := pipeline.NewRequest(ctx, "GET", "http://h/")
	require.NoError(t, err)
	req.Log("auth", slog.LevelInfo, "not in a pipeline")
	(*pipeline.Request)(nil).Log("auth", slog.LevelInfo, "nil")
	require.NoError(t, send(t, pl, req))
	pl.Log(ctx, pipeline.LogLRO, slog.LevelDebug, "polling", slog.String("state", "Running"))
	pl.Log(ctx, pipeline.LogRetry, slog.LevelError, "off")
	pipeline.Pipeline{}.Log(ctx, pipeline.LogLRO, slog.LevelError, "no Logging")
	require.Len(t, logged.records(t), 2, logged.String())
	auth, lro := logged.one(t, "auth"), logged.one(t, "lro")
	assert.Equal(t, []any{"token refreshed", "INFO", 7.0, "from the context"}, []any{auth["msg"], auth["level"], auth["n"], auth["value"]})
	assert.Equal(t, []any{"polling", "DEBUG", "Running", "from the context"}, []any{lro["msg"], lro["level"], lro["state"], lro["value"]})
	for _, record := range []map[string]any{auth, lro} {
		assert.Contains(t, record["source"].(map[string]any)["file"], "logging_test.go", "the source is the caller")
	}
}

// withContext is a handler that logs a value of the context.
type withContext struct {
	slog.Handler
	key any
}

func (h withContext) Handle(ctx context.Context, r slog.Record) error {
	r.AddAttrs(slog.Any("value", ctx.Value(h.key)))
	return h.Handler.Handle(ctx, r)
}

func TestRedactURL(t *testing.T) {
	u, err := url.Parse("https://joe:hush@h/x?api-version=2&Keep=1&sig=hush#hush")
	require.NoError(t, err)
	for want, pl := range map[string]pipeline.Pipeline{
		"https://joe:xxxxx@h/x?api-version=REDACTED&Keep=REDACTED&sig=REDACTED#REDACTED": {},
		"https://joe:xxxxx@h/x?api-version=2&Keep=REDACTED&sig=REDACTED#REDACTED":        over(nil, pipeline.Logging{}),
		"https://joe:xxxxx@h/x?api-version=2&Keep=1&sig=REDACTED#REDACTED":               over(nil, pipeline.Logging{AllowQuery: []string{"kEEP"}}),
	} {
		assert.Equal(t, want, pl.RedactURL(u))
	}
	assert.Empty(t, pipeline.Pipeline{}.RedactURL(nil))
}

func TestAllowedQueryIsShownInErrors(t *testing.T) {
	const want = `Get "http://h/?api-version=2&q=REDACTED": broken`
	var logged sink
	pl := over(serve(step{err: errors.New("broken")}), pipeline.Logging{Logger: logged.logger()})
	require.EqualError(t, send(t, pl, newRequest(t, "GET", "http://h/?api-version=2&q=hush")), want)
	assert.Equal(t, want, logged.one(t, "error")["error"])
}

func TestLoggingOffAllocatesNothing(t *testing.T) {
	t.Setenv("RETRYABLEHTTP_LOG", "")
	u := &url.URL{Scheme: "http", Host: "h", Path: "/"}
	raw := &http.Request{Method: "GET", URL: u, Header: http.Header{}}
	resp := &http.Response{StatusCode: 200, Body: http.NoBody}
	allocations := func(policies ...pipeline.Policy) float64 {
		pl := pipeline.New(transporter(func(*http.Request) (*http.Response, error) { return resp, nil }), policies...)
		return testing.AllocsPerRun(100, func() {
			req, err := pipeline.FromRequest(raw)
			if err != nil {
				t.Error(err)
			}
			if _, err := pl.Do(req); err != nil {
				t.Error(err)
			}
		})
	}
	writes := pipeline.PolicyFunc(func(req *pipeline.Request) (*http.Response, error) {
		req.Log(pipeline.LogRequest, slog.LevelError, "hello", slog.String("a", "b"), slog.Int("n", 1))
		return req.Next()
	})
	none := allocations()
	for name, logging := range map[string]pipeline.Logging{
		"no Logger":       {Bodies: pipeline.AllBodies},
		"silent Logger":   {Logger: slog.New(slog.DiscardHandler), Bodies: pipeline.AllBodies},
		"other category":  {Logger: new(sink).logger(), Categories: []pipeline.Category{pipeline.LogLRO}},
		"no categories":   {Logger: new(sink).logger(), Categories: []pipeline.Category{}},
		"level not shown": {Logger: slog.New(slog.NewTextHandler(io.Discard, &slog.HandlerOptions{Level: slog.LevelError + 1}))},
	} {
		assert.Equal(t, none, allocations(pipeline.StatusError{}, writes, logging), name)
	}
	pl, ctx := pipeline.New(nil, pipeline.Logging{}), t.Context()
	assert.Zero(t, testing.AllocsPerRun(100, func() {
		pl.Log(ctx, pipeline.LogLRO, slog.LevelError, "hello", slog.String("a", "b"), slog.Int("n", 1))
	}))
}

func TestManyCallsLogAtOnce(t *testing.T) {
	var logged sink
	pl := over(echo{status: 500}, pipeline.StatusError{}, fast(func(c *retryablehttp.Client) { c.RetryMax = 1 }),
		pipeline.Logging{Logger: logged.logger(), Bodies: pipeline.AllBodies})
	var wg sync.WaitGroup
	const n = 200
	for i := range n {
		wg.Go(func() {
			req, err := pipeline.NewRequest(context.Background(), "PUT", fmt.Sprint("http://h/?sig=hush&n=", i))
			if assert.NoError(t, err) && assert.NoError(t, req.SetBytes(fmt.Append(nil, "body ", i), "text/plain")) {
				_, err = pl.Do(req)
				assert.ErrorContains(t, err, fmt.Sprint("body ", i))
			}
		})
	}
	wg.Wait()
	assert.Len(t, logged.records(t, "request"), 2*n)
	assert.Len(t, logged.records(t, "response"), 2*n)
	assert.Len(t, logged.records(t, "error"), n)
	assert.NotContains(t, logged.String(), "hush")
}
