package pipeline

import (
	"bytes"
	"context"
	"io"
	"log/slog"
	"maps"
	"mime"
	"net/http"
	"net/url"
	"os"
	"runtime"
	"slices"
	"strings"
	"time"
	"unicode"

	"github.com/a0b132ce/retryablehttp"
	"github.com/a0b132ce/retryablehttp/internal/redact"
)

// Category is a kind of log record. Each record has it in the attribute "category". A policy
// may use a category of its own, with a name in lower case.
type Category string

// The categories of this package and of package lro.
const (
	// LogRequest is for requests, at level Debug.
	LogRequest Category = "request"

	// LogResponse is for responses, at level Debug, or Warn from status 400 on.
	LogResponse Category = "response"

	// LogError is for requests without a response, at level Warn, and for the errors of
	// [StatusError], at level Error.
	LogError Category = "error"

	// LogRetry is for what [Retry] does, at the levels of [retryablehttp.Client].
	LogRetry Category = "retry"

	// LogLRO is for long-running operations.
	LogLRO Category = "lro"
)

// Bodies says which bodies are logged.
type Bodies int

const (
	// NoBodies logs no body.
	NoBodies Bodies = iota

	// BodiesOnFailure logs the bodies of requests that get a status from 400 on or an error.
	BodiesOnFailure

	// AllBodies logs every body.
	AllBodies
)

// Logging is a Policy that logs each request that passes it, and the response. Most callers
// should put it after [Retry], where it sees each attempt and the headers that the policies
// between the two have added. Before Retry it sees each call, as attempt 1.
//
// Its settings also apply to the records of [StatusError], Retry, [Request.Log] and
// [Pipeline.Log], and to the URLs in errors of the pipeline. With several Loggings,
// the last one's settings are used. Give it to [New] itself, not within another Policy.
//
// Records have the attributes category, method and url, and as far as they apply status,
// duration, attempt, headers (a group), body, request_body and error. They are called
// "request", "response", "request failed" and "service error".
//
// Passwords in URLs are never logged. Header fields and query values are replaced by
// REDACTED unless they are allowed by name. Location, Link and other fields that hold URLs
// are shown as URLs are. Paths, bodies, and secrets in the text of errors other than in URLs
// are logged as they are.
type Logging struct {
	// Logger gets the records. If it is nil, the environment variable RETRYABLEHTTP_LOG
	// decides when New is called. Its value is a list of categories with commas between
	// them, or all. Upper case and blanks do not matter, and a word that is not a category
	// selects nothing. Their records of every level go to stderr as text. If it is unset or
	// empty, nothing is logged.
	Logger *slog.Logger

	// Categories are logged. Nil means all, and an empty list none. Categories is ignored if
	// Logger is nil.
	Categories []Category

	// AllowHeaders are the names of header fields whose values are logged, in upper or lower
	// case, besides common fields that hold no secrets.
	AllowHeaders []string

	// AllowQuery are the names of query parameters whose values are logged, in upper or
	// lower case, besides api-version.
	AllowQuery []string

	// Bodies says which bodies are logged: up to 64 KiB of each, and only text, JSON and XML
	// without a Content-Encoding. The body of a response is logged if it is in memory, as
	// after [BodyDownload], or if the status is at least 400. A request body that can be
	// read only once is not logged. Logging reads up to 64 KiB of an error body before it
	// returns the response.
	Bodies Bodies
}

// Do implements [Policy]. It is not called if the Logging was given to [New] itself, which
// prepares it once.
func (p Logging) Do(req *Request) (*http.Response, error) { return newLog(p).Do(req) }

// Log logs a record with the settings of the pipeline's [Logging]. It does nothing if that
// does not log the category, or if the request is not in a pipeline. attrs are logged as they
// are; see [Pipeline.RedactURL].
func (r *Request) Log(category Category, level slog.Level, msg string, attrs ...slog.Attr) {
	if r == nil || r.raw == nil || r.op.stages == nil {
		return
	}
	r.op.stages.log.record(r.raw.Context(), category, level, msg, attrs...)
}

// Log logs a record as [Request.Log] does.
func (p Pipeline) Log(ctx context.Context, category Category, level slog.Level, msg string, attrs ...slog.Attr) {
	p.get().log.record(ctx, category, level, msg, attrs...)
}

// RedactURL formats u as in log records and errors: without a password, and without the
// query values that the pipeline's [Logging] does not allow.
func (p Pipeline) RedactURL(u *url.URL) string { return p.get().show(u) }

// environment is the variable that turns on the log of pipelines whose Logging has no Logger.
const environment = "RETRYABLEHTTP_LOG"

// maxLogged is how many bytes of a body are logged.
const maxLogged = 64 << 10

// redacted replaces the value of a header field that is not allowed.
const redacted = "REDACTED"

// defaultHeaders are the fields whose values are always logged.
var defaultHeaders = []string{
	"accept", "accept-encoding", "accept-ranges", "allow", "cache-control", "connection",
	"content-encoding", "content-length", "content-range", "content-type", "date", "etag",
	"expires", "if-match", "if-modified-since", "if-none-match", "if-unmodified-since",
	"last-modified", "pragma", "range", "ratelimit", "ratelimit-policy", "request-id",
	"retry-after", "retry-after-ms", "server", "traceparent", "transfer-encoding",
	"user-agent", "vary", "www-authenticate", "x-request-id",
}

// urlHeaders are the fields whose values are URLs.
var urlHeaders = []string{"location", "content-location", "operation-location", "azure-asyncoperation", "referer"}

// log is a Logging whose settings are read.
type log struct {
	handler    slog.Handler // nil logs nothing
	categories []Category   // nil means all
	headers    map[string]bool
	show       redact.Func
	bodies     Bodies
}

func newLog(p Logging) *log {
	l := &log{
		headers: nameSet(defaultHeaders, p.AllowHeaders),
		bodies:  p.Bodies,
	}
	if p.Logger != nil {
		l.handler, l.categories = p.Logger.Handler(), slices.Clone(p.Categories)
	} else if l.categories = categoriesOf(os.Getenv(environment)); len(l.categories) > 0 {
		l.handler = slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: slog.LevelDebug})
		if slices.Contains(l.categories, "all") {
			l.categories = nil
		}
	}
	query := nameSet([]string{"api-version"}, p.AllowQuery)
	l.show = redact.Keeping(func(name string) bool { return query[strings.ToLower(name)] })
	return l
}

// prepare is called by New.
func (p Logging) prepare() *log { return newLog(p) }

// nameSet returns the names in lower case.
func nameSet(lists ...[]string) map[string]bool {
	set := map[string]bool{}
	for _, names := range lists {
		for _, name := range names {
			set[strings.ToLower(name)] = true
		}
	}
	return set
}

// categoriesOf returns the words of a list with commas, in lower case.
func categoriesOf(list string) []Category {
	var categories []Category
	for word := range strings.FieldsFuncSeq(strings.ToLower(list), func(c rune) bool { return c == ',' || unicode.IsSpace(c) }) {
		categories = append(categories, Category(word))
	}
	return categories
}

// forRetries returns the Logger of a client, nil if retries are not logged.
func (l *log) forRetries() any {
	if !l.has(LogRetry) {
		return nil
	}
	return slog.New(l.handler.WithAttrs([]slog.Attr{slog.String("category", string(LogRetry))}))
}

// has reports whether records of a category are logged at any level.
func (l *log) has(category Category) bool {
	return l != nil && l.handler != nil && (l.categories == nil || slices.Contains(l.categories, category))
}

// on reports whether a record would be logged.
func (l *log) on(ctx context.Context, category Category, level slog.Level) bool {
	return l.has(category) && l.handler.Enabled(ctx, level)
}

// record logs a record whose source is the caller's caller.
func (l *log) record(ctx context.Context, category Category, level slog.Level, msg string, attrs ...slog.Attr) {
	if !l.on(ctx, category, level) {
		return
	}
	var caller [1]uintptr
	runtime.Callers(3, caller[:])
	r := slog.NewRecord(time.Now(), level, msg, caller[0])
	r.AddAttrs(slog.String("category", string(category)))
	r.AddAttrs(attrs...)
	_ = l.handler.Handle(ctx, r) // a call does not fail because its log does
}

// Do logs the request and its response or error.
func (l *log) Do(req *Request) (*http.Response, error) {
	if l.handler == nil {
		return req.Next()
	}
	ctx := req.raw.Context()
	if l.on(ctx, LogRequest, slog.LevelDebug) {
		attrs := append(l.attempt(req), l.header(req.raw.Header))
		if l.bodies == AllBodies {
			attrs = appendRequestBody(attrs, "body", req)
		}
		l.record(ctx, LogRequest, slog.LevelDebug, "request", attrs...)
	}
	start := time.Now()
	resp, err := req.Next()
	duration := time.Since(start)
	if seen := responseOf(resp, err); seen != nil {
		l.response(req, duration, seen)
	} else {
		l.failure(req, duration, err)
	}
	return resp, err
}

func (l *log) response(req *Request, duration time.Duration, resp *http.Response) {
	ctx, level := req.raw.Context(), slog.LevelDebug
	failed := resp.StatusCode >= 400
	if failed {
		level = slog.LevelWarn
	}
	if !l.on(ctx, LogResponse, level) {
		return
	}
	attrs := append(l.attempt(req), slog.Int("status", resp.StatusCode), slog.Duration("duration", duration), l.header(resp.Header))
	if failed && l.bodies == BodiesOnFailure {
		attrs = appendRequestBody(attrs, "request_body", req)
	}
	if l.bodies == AllBodies || failed && l.bodies == BodiesOnFailure {
		attrs = appendResponseBody(attrs, resp)
	}
	l.record(ctx, LogResponse, level, "response", attrs...)
}

// failure logs a request that got no response.
func (l *log) failure(req *Request, duration time.Duration, err error) {
	ctx := req.raw.Context()
	if !l.on(ctx, LogError, slog.LevelWarn) {
		return
	}
	attrs := append(l.attempt(req), slog.Duration("duration", duration), slog.String("error", redact.Error(err, l.show).Error()))
	if l.bodies == BodiesOnFailure {
		attrs = appendRequestBody(attrs, "request_body", req)
	}
	l.record(ctx, LogError, slog.LevelWarn, "request failed", attrs...)
}

// serviceError logs an error that was made of a response.
func (l *log) serviceError(req *Request, e *ResponseError) {
	ctx := req.raw.Context()
	if !l.on(ctx, LogError, slog.LevelError) {
		return
	}
	attrs := append(l.target(req), slog.Int("status", e.StatusCode))
	for _, field := range [...]struct{ key, text string }{
		{"code", e.Code}, {"message", e.Message}, {"request_id", e.RequestID},
	} {
		if field.text != "" {
			attrs = append(attrs, slog.String(field.key, redact.Line(field.text, maxErrorMessage, l.show)))
		}
	}
	l.record(ctx, LogError, slog.LevelError, "service error", attrs...)
}

func (l *log) target(req *Request) []slog.Attr {
	return []slog.Attr{slog.String("method", methodOf(req.raw)), slog.String("url", l.show(req.raw.URL))}
}

func (l *log) attempt(req *Request) []slog.Attr {
	return append(l.target(req), slog.Int("attempt", retryablehttp.AttemptNumber(req.raw.Context())))
}

// header returns a group of all fields, sorted by name.
func (l *log) header(header http.Header) slog.Attr {
	var fields []slog.Attr
	for _, name := range slices.Sorted(maps.Keys(header)) {
		fields = append(fields, slog.String(name, l.field(name, header[name])))
	}
	return slog.Attr{Key: "headers", Value: slog.GroupValue(fields...)}
}

// field returns the value of a header field as it is logged.
func (l *log) field(name string, values []string) string {
	name = strings.ToLower(name)
	shown := slices.Clone(values)
	for i, value := range shown {
		switch {
		case name == "link":
			shown[i] = redact.Links(value, l.show)
		case slices.Contains(urlHeaders, name):
			shown[i] = redact.String(value, l.show)
		case !l.headers[name]:
			shown[i] = redacted
		}
	}
	return strings.Join(shown, ", ")
}

// appendRequestBody appends the body of req, read by a reader of its own.
func appendRequestBody(attrs []slog.Attr, key string, req *Request) []slog.Attr {
	if !readable(req.raw.Header) {
		return attrs
	}
	body := req.Body()
	if body == nil {
		return attrs
	}
	defer body.Close()
	data, _ := io.ReadAll(io.LimitReader(body, maxLogged+1)) // the transport gets the error too
	return appendBody(attrs, key, data)
}

// appendResponseBody appends the body of resp if it is in memory, or if resp is an error.
func appendResponseBody(attrs []slog.Attr, resp *http.Response) []slog.Attr {
	if !readable(resp.Header) {
		return attrs
	}
	if p, ok := resp.Body.(*payload); ok {
		return appendBody(attrs, "body", p.data)
	}
	if resp.StatusCode < 400 || resp.Body == nil {
		return attrs
	}
	return appendBody(attrs, "body", peek(resp, maxLogged+1))
}

// peek returns up to n bytes of a response body, which can still be read from its start.
func peek(resp *http.Response, n int64) []byte {
	body := resp.Body
	data, err := io.ReadAll(io.LimitReader(body, n))
	rest := io.Reader(body)
	if err != nil {
		rest = failedBody{err}
	}
	resp.Body = partlyRead{io.MultiReader(bytes.NewReader(data), rest), body}
	return data
}

func appendBody(attrs []slog.Attr, key string, data []byte) []slog.Attr {
	if len(data) == 0 {
		return attrs
	}
	if len(data) <= maxLogged {
		return append(attrs, slog.String(key, string(data)))
	}
	return append(attrs, slog.String(key, string(data[:maxLogged])), slog.Bool(key+"_truncated", true))
}

// readable reports whether a body is text that a person can read.
func readable(header http.Header) bool {
	if coding := header.Get("Content-Encoding"); coding != "" && !strings.EqualFold(coding, "identity") {
		return false
	}
	mediaType, _, _ := mime.ParseMediaType(header.Get("Content-Type"))
	switch mediaType {
	case "application/json", "application/xml":
		return true
	}
	return strings.HasPrefix(mediaType, "text/") || strings.HasSuffix(mediaType, "+json") || strings.HasSuffix(mediaType, "+xml")
}
