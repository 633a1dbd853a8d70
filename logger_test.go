package retryablehttp

import (
	"bytes"
	"context"
	"errors"
	"log"
	"log/slog"
	"net/http"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

type ctxt = context.Context

// leveledOnly hides that the logger behind it is a *slog.Logger.
type leveledOnly struct{ l *slog.Logger }

func (o leveledOnly) Error(msg string, kv ...any) { o.l.Error(msg, kv...) }
func (o leveledOnly) Info(msg string, kv ...any)  { o.l.Info(msg, kv...) }
func (o leveledOnly) Debug(msg string, kv ...any) { o.l.Debug(msg, kv...) }
func (o leveledOnly) Warn(msg string, kv ...any)  { o.l.Warn(msg, kv...) }

// lines logs as text without times.
func lines(out *bytes.Buffer) *slog.Logger {
	return slog.New(slog.NewTextHandler(out, &slog.HandlerOptions{Level: slog.LevelDebug, ReplaceAttr: func(_ []string, a slog.Attr) slog.Attr {
		if a.Key == slog.TimeKey {
			return slog.Attr{}
		}
		return a
	}}))
}

// docs/spec.md, 4.10: the lines that each kind of logger gets.
func TestLogLines(t *testing.T) {
	var out bytes.Buffer
	for name, tc := range map[string]struct {
		logger any
		want   []string
	}{
		"Printf": {log.New(&out, "", 0), []string{
			"[DEBUG] GET http://host/",
			"[DEBUG] GET http://host/ (status: 503): retrying in 2s (2 left)",
			`[ERR] GET http://host/ request failed: Get "http://host/": lost`,
			"[DEBUG] GET http://host/: retrying in 2s (1 left)",
		}},
		"leveled": {leveledOnly{lines(&out)}, []string{
			`level=DEBUG msg="performing request" method=GET url=http://host/`,
			`level=DEBUG msg="retrying request" request="GET http://host/ (status: 503)" timeout=2s remaining=2`,
			`level=ERROR msg="request failed" error="Get \"http://host/\": lost" method=GET url=http://host/`,
			`level=DEBUG msg="retrying request" request="GET http://host/" timeout=2s remaining=1`,
		}},
		"slog": {lines(&out), []string{
			`level=DEBUG msg="performing request" method=GET url=http://host/`,
			`level=WARN msg="retrying request" method=GET url=http://host/ attempt=1 wait=2s remaining=2 cause="unexpected HTTP status 503 Service Unavailable" status=503`,
			`level=WARN msg="retrying request" method=GET url=http://host/ attempt=2 wait=2s remaining=1 cause=lost`,
			`level=INFO msg="request succeeded after retries" method=GET url=http://host/ attempts=3 status=200`,
		}},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				out.Reset()
				n := 0
				client := &Client{RetryMax: 2, Logger: tc.logger, Backoff: func(_, _ time.Duration, _ int, _ *http.Response) time.Duration { return 2 * time.Second }}
				client.HTTPClient = &http.Client{Transport: roundTripFunc(func(req *http.Request) (*http.Response, error) {
					switch n++; n {
					case 1:
						return respond(req, 503, ""), nil
					case 2:
						return nil, errors.New("lost")
					}
					return respond(req, 200, ""), nil
				})}
				_, err := client.Get("http://host/")
				require.NoError(t, err)
				assert.Equal(t, tc.want, strings.Split(strings.TrimSpace(out.String()), "\n"))
			})
		})
	}
}

// docs/spec.md, 4.10: a *slog.Logger gets one record at the error level for a call that
// fails.
func TestSlogGetsTheFailureOfACallOnce(t *testing.T) {
	var out bytes.Buffer
	for want, steps := range map[string][]func(*http.Request) (*http.Response, error){
		`level=ERROR msg="request failed" method=GET url=http://host/ attempts=2 reason="retries used up" cause="unexpected HTTP status 503 Service Unavailable"`: {status(503), status(503)},
		`level=ERROR msg="request failed" method=GET url=http://host/ attempts=2 reason="retries used up" cause="connection lost"`:                                {status(503), failure(errLost)},
	} {
		out.Reset()
		client, _ := scripted(steps...)
		client.RetryMax, client.Logger = 1, lines(&out)
		_, err := client.Get("http://host/")
		require.Error(t, err)
		got := strings.Split(strings.TrimSpace(out.String()), "\n")
		require.Len(t, got, 3, "performing, retrying, failed")
		assert.Equal(t, want, got[2])
	}
}

// docs/spec.md, 4.10: nothing is logged by default.
func TestNewClientLogsNothing(t *testing.T) {
	var out bytes.Buffer
	log.SetOutput(&out)
	defer log.SetOutput(log.Default().Writer())
	client := NewClient()
	client.RetryMax, client.Backoff = 1, noWait
	client.HTTPClient.Transport = roundTripFunc(func(*http.Request) (*http.Response, error) { return nil, errors.New("lost") })
	_, err := client.Get("http://host/")
	require.Error(t, err)
	assert.Empty(t, out.String())
}

// docs/spec.md, 4.10: a *slog.Logger gets the request's context.
func TestSlogGetsTheContextOfTheRequest(t *testing.T) {
	type key struct{}
	var got []any
	client := &Client{Logger: slog.New(contextHandler{func(ctx context.Context) { got = append(got, ctx.Value(key{})) }})}
	client.HTTPClient = &http.Client{Transport: roundTripFunc(func(*http.Request) (*http.Response, error) { return nil, errors.New("lost") })}
	req, err := NewRequestWithContext(context.WithValue(t.Context(), key{}, "here"), "GET", "http://host/", nil)
	require.NoError(t, err)
	_, err = client.Do(req)
	require.Error(t, err)
	assert.Equal(t, []any{"here", "here"}, got)
}

type contextHandler struct{ saw func(context.Context) }

func (h contextHandler) Enabled(context.Context, slog.Level) bool { return true }
func (h contextHandler) Handle(ctx context.Context, _ slog.Record) error {
	h.saw(ctx)
	return nil
}
func (h contextHandler) WithAttrs([]slog.Attr) slog.Handler { return h }
func (h contextHandler) WithGroup(string) slog.Handler      { return h }

// docs/spec.md, 4.11: an unusable Logger is an error of the call.
func TestUnusableLoggersAreAnError(t *testing.T) {
	var nilLogger *log.Logger
	var nilSlog *slog.Logger
	for want, logger := range map[string]any{
		"retryablehttp: Client.Logger is a int, which is neither a Logger nor a LeveledLogger nor a *slog.Logger":       1,
		"retryablehttp: Client.Logger is a struct {}, which is neither a Logger nor a LeveledLogger nor a *slog.Logger": struct{}{},
		"retryablehttp: Client.Logger is a nil *log.Logger":                                                             nilLogger,
		"retryablehttp: Client.Logger is a nil *slog.Logger":                                                            nilSlog,
	} {
		client := &Client{Logger: logger, HTTPClient: &http.Client{Transport: roundTripFunc(func(*http.Request) (*http.Response, error) {
			t.Error("nothing may be sent")
			return nil, nil
		})}}
		_, err := client.Get("http://host/")
		assert.EqualError(t, err, want)
		_, err = client.StandardClient().Get("http://host/")
		assert.ErrorContains(t, err, want)
	}
}

// docs/spec.md, 2.6: the Logger that hooks get.
func TestHooksGetALogger(t *testing.T) {
	var out bytes.Buffer
	printf := log.New(&out, "", 0)
	for name, tc := range map[string]struct {
		logger any
		want   string
	}{
		"none":    {nil, ""},
		"default": {NewClient().Logger, ""},
		"Printf":  {printf, "hello 0\nbye 200\n"},
		"leveled": {leveledOnly{lines(&out)}, "level=INFO msg=\"hello 0\"\nlevel=INFO msg=\"bye 200\"\n"},
		"slog":    {lines(&out), "level=INFO msg=\"hello 0\"\nlevel=INFO msg=\"bye 200\"\n"},
	} {
		out.Reset()
		client := &Client{
			Logger: tc.logger,
			RequestLogHook: func(l Logger, _ *http.Request, n int) {
				if tc.logger == any(printf) {
					assert.Same(t, printf, l, "a Logger is passed on as it is")
				}
				if tc.logger == nil {
					assert.Nil(t, l)
					return
				}
				l.Printf("hello %d", n)
			},
			ResponseLogHook: func(l Logger, resp *http.Response) {
				if tc.logger != nil {
					l.Printf("bye %d", resp.StatusCode)
				}
			},
			HTTPClient: &http.Client{Transport: roundTripFunc(func(req *http.Request) (*http.Response, error) {
				return respond(req, 200, ""), nil
			})},
		}
		_, err := client.Get("http://host/")
		require.NoError(t, err)
		var kept []string
		for line := range strings.Lines(out.String()) {
			if !strings.Contains(line, "GET") {
				kept = append(kept, line)
			}
		}
		assert.Equal(t, tc.want, strings.Join(kept, ""), name)
	}
}
