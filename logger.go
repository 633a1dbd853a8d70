package retryablehttp

import (
	"context"
	"fmt"
	"log/slog"
	"net/http"
	"reflect"
	"time"
)

// Logger takes formatted lines; a [*log.Logger] is one.
type Logger interface {
	Printf(format string, args ...any)
}

// LeveledLogger takes messages with alternating keys and values; a
// [*slog.Logger] is one.
type LeveledLogger interface {
	Error(msg string, keysAndValues ...any)
	Info(msg string, keysAndValues ...any)
	Debug(msg string, keysAndValues ...any)
	Warn(msg string, keysAndValues ...any)
}

// discard is the Logger of NewClient.
type discard struct{}

func (discard) Printf(string, ...any) {}

// callLog is where a call logs. At most one field is set. Loggers of the published kinds
// get the published lines; a *slog.Logger gets more.
type callLog struct {
	printf  Logger
	leveled LeveledLogger
	slog    *slog.Logger
}

// newCallLog returns the log for a value of Client.Logger.
func newCallLog(logger any) (callLog, error) {
	switch logger.(type) {
	case nil, discard:
		return callLog{}, nil
	}
	switch v := reflect.ValueOf(logger); v.Kind() {
	case reflect.Pointer, reflect.Func, reflect.Map, reflect.Chan, reflect.Slice:
		if v.IsNil() {
			return callLog{}, fmt.Errorf("retryablehttp: Client.Logger is a nil %T", logger)
		}
	}
	switch l := logger.(type) {
	case *slog.Logger:
		return callLog{slog: l}, nil
	case LeveledLogger:
		return callLog{leveled: l}, nil
	case Logger:
		return callLog{printf: l}, nil
	}
	return callLog{}, fmt.Errorf("retryablehttp: Client.Logger is a %T, which is neither a Logger nor a LeveledLogger nor a *slog.Logger", logger)
}

func (l callLog) silent() bool {
	return l.printf == nil && l.leveled == nil && l.slog == nil
}

// sending logs the start of a call.
func (l callLog) sending(req *http.Request, url string) {
	switch {
	case l.slog != nil:
		l.slog.LogAttrs(req.Context(), slog.LevelDebug, "performing request",
			slog.String("method", method(req)), slog.String("url", url))
	case l.leveled != nil:
		l.leveled.Debug("performing request", "method", method(req), "url", url)
	case l.printf != nil:
		l.printf.Printf("[DEBUG] %s %s", method(req), url)
	}
}

// attemptFailed logs the error of an attempt. A *slog.Logger gets it with the retry or
// the failure of the call.
func (l callLog) attemptFailed(req *http.Request, url string, err error) {
	switch {
	case l.leveled != nil:
		l.leveled.Error("request failed", "error", err, "method", method(req), "url", url)
	case l.printf != nil:
		l.printf.Printf("[ERR] %s %s request failed: %v", method(req), url, err)
	}
}

// retrying logs that another attempt follows attempt number n, which failed with cause.
// resp is nil if there was no response.
func (l callLog) retrying(req *http.Request, url string, resp *http.Response, cause error, n int, wait time.Duration, left int) {
	request := method(req) + " " + url
	if resp != nil {
		request = fmt.Sprintf("%s (status: %d)", request, resp.StatusCode)
	}
	switch {
	case l.slog != nil:
		attrs := []slog.Attr{
			slog.String("method", method(req)), slog.String("url", url),
			slog.Int("attempt", n), slog.Duration("wait", wait), slog.Int("remaining", left),
			slog.Any("cause", withoutURL(cause, url)),
		}
		if resp != nil {
			attrs = append(attrs, slog.Int("status", resp.StatusCode))
		}
		l.slog.LogAttrs(req.Context(), slog.LevelWarn, "retrying request", attrs...)
	case l.leveled != nil:
		l.leveled.Debug("retrying request", "request", request, "timeout", wait, "remaining", left)
	case l.printf != nil:
		l.printf.Printf("[DEBUG] %s: retrying in %s (%d left)", request, wait, left)
	}
}

// succeeded logs that a call succeeded after retries.
func (l callLog) succeeded(req *http.Request, url string, resp *http.Response, attempts int) {
	if l.slog != nil {
		l.slog.LogAttrs(req.Context(), slog.LevelInfo, "request succeeded after retries",
			slog.String("method", method(req)), slog.String("url", url),
			slog.Int("attempts", attempts), slog.Int("status", resp.StatusCode))
	}
}

// callFailed logs the failure of a call.
func (l callLog) callFailed(req *http.Request, url string, attempts int, reason Reason, cause error) {
	if l.slog != nil {
		l.slog.LogAttrs(req.Context(), slog.LevelError, "request failed",
			slog.String("method", method(req)), slog.String("url", url),
			slog.Int("attempts", attempts), slog.String("reason", string(reason)), slog.Any("cause", withoutURL(cause, url)))
	}
}

// resuming logs that the rest of a response body is requested from offset at on.
func (l callLog) resuming(req *http.Request, url string, at int64, cause error) {
	if l.slog != nil {
		l.slog.LogAttrs(req.Context(), slog.LevelInfo, "resuming response body",
			slog.String("method", method(req)), slog.String("url", url),
			slog.Int64("offset", at), slog.Any("cause", cause))
	}
}

// paused logs that a host asks all callers to wait, and for how long its gate is closed.
func (l callLog) paused(req *http.Request, host string, asked, wait time.Duration) {
	if l.slog != nil {
		l.slog.LogAttrs(req.Context(), slog.LevelInfo, "host asks to wait",
			slog.String("host", host), slog.Duration("asked", asked), slog.Duration("wait", wait))
	}
}

// unreadable logs a field that is ignored.
func (l callLog) unreadable(req *http.Request, field, value string) {
	if l.slog != nil {
		l.slog.LogAttrs(req.Context(), slog.LevelDebug, "ignoring a field that cannot be read",
			slog.String("field", field), slog.String("value", value))
	}
}

// hookLogger returns what the log hooks are given for a value of Client.Logger: a Logger
// itself, nil for nil, an adapter at the info level for other kinds.
func hookLogger(ctx context.Context, logger any) Logger {
	switch l := logger.(type) {
	case Logger:
		return l
	case *slog.Logger:
		return printfFunc(func(format string, args ...any) { l.InfoContext(ctx, fmt.Sprintf(format, args...)) })
	case LeveledLogger:
		return printfFunc(func(format string, args ...any) { l.Info(fmt.Sprintf(format, args...)) })
	}
	return nil
}

type printfFunc func(format string, args ...any)

func (f printfFunc) Printf(format string, args ...any) { f(format, args...) }
