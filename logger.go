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

// journal is where one call writes what happens. At most one field is set; the
// zero journal is silent.
type journal struct {
	printf  Logger
	leveled LeveledLogger
	slog    *slog.Logger
}

// newJournal tells what kind of logger the value of Client.Logger is.
func newJournal(logger any) (journal, error) {
	if logger == nil {
		return journal{}, nil
	}
	if v := reflect.ValueOf(logger); v.Kind() == reflect.Pointer && v.IsNil() {
		return journal{}, &SettingError{"Logger", fmt.Sprintf("is a nil %T", logger)}
	}
	switch l := logger.(type) {
	case *slog.Logger:
		return journal{slog: l}, nil
	case Logger:
		return journal{printf: l}, nil
	case LeveledLogger:
		return journal{leveled: l}, nil
	}
	return journal{}, &SettingError{"Logger", fmt.Sprintf("is a %T, which is neither a Logger nor a LeveledLogger", logger)}
}

func (j journal) silent() bool {
	return j.printf == nil && j.leveled == nil && j.slog == nil
}

func (j journal) sending(req *http.Request, url string) {
	switch {
	case j.slog != nil:
		j.slog.LogAttrs(req.Context(), slog.LevelDebug, "performing request",
			slog.String("method", method(req)), slog.String("url", url))
	case j.leveled != nil:
		j.leveled.Debug("performing request", "method", method(req), "url", url)
	case j.printf != nil:
		j.printf.Printf("[DEBUG] %s %s", method(req), url)
	}
}

func (j journal) failed(req *http.Request, url string, err error) {
	switch {
	case j.slog != nil:
		j.slog.LogAttrs(req.Context(), slog.LevelError, "request failed",
			slog.Any("error", err), slog.String("method", method(req)), slog.String("url", url))
	case j.leveled != nil:
		j.leveled.Error("request failed", "error", err, "method", method(req), "url", url)
	case j.printf != nil:
		j.printf.Printf("[ERR] %s %s request failed: %v", method(req), url, err)
	}
}

// retrying tells that another attempt follows after wait. status is 0 when the
// attempt got no response.
func (j journal) retrying(req *http.Request, url string, status int, wait time.Duration, left int) {
	request := method(req) + " " + url
	if status != 0 {
		request = fmt.Sprintf("%s (status: %d)", request, status)
	}
	switch {
	case j.slog != nil:
		attrs := []slog.Attr{slog.String("method", method(req)), slog.String("url", url)}
		if status != 0 {
			attrs = append(attrs, slog.Int("status", status))
		}
		attrs = append(attrs, slog.Duration("timeout", wait), slog.Int("remaining", left))
		j.slog.LogAttrs(req.Context(), slog.LevelDebug, "retrying request", attrs...)
	case j.leveled != nil:
		j.leveled.Debug("retrying request", "request", request, "timeout", wait, "remaining", left)
	case j.printf != nil:
		j.printf.Printf("[DEBUG] %s: retrying in %s (%d left)", request, wait, left)
	}
}

// hookLogger is what the log hooks are given: a Logger as it was set, a leveled one
// behind Printf at the info level, or one that discards.
func (j journal) hookLogger(ctx context.Context) Logger {
	if j.printf != nil {
		return j.printf
	}
	return printfFunc(func(format string, args ...any) {
		switch {
		case j.slog != nil:
			j.slog.InfoContext(ctx, fmt.Sprintf(format, args...))
		case j.leveled != nil:
			j.leveled.Info(fmt.Sprintf(format, args...))
		}
	})
}

type printfFunc func(format string, args ...any)

func (f printfFunc) Printf(format string, args ...any) { f(format, args...) }

func method(req *http.Request) string {
	if req.Method == "" {
		return http.MethodGet
	}
	return req.Method
}
