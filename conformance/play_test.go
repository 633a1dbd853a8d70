package conformance

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/cookiejar"
	"net/url"
	"reflect"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/a0b132ce/retryablehttp"
	"github.com/a0b132ce/retryablehttp/retrytest"
)

// slack is how late something may come over sockets, where a busy machine adds to
// every wait. Virtual time has none.
const slack = 5 * time.Second

// A play is one performance of a scenario.
type play struct {
	*testing.T
	scenario *Scenario
	virtual  bool
	server   stage
	tap      *tap
	client   *retryablehttp.Client
	errors   map[string]error // those that the scenario makes, by text

	mu        sync.Mutex
	events    []string // of order
	log       []string
	onAttempt []string

	prepared, handled, redirects int
	keys                         int // that were made
	errorHandler                 string
	errorHandlerAttempts         int
	body                         *givenBody
}

// A stage is what a script is played on: a retrytest.Transport or a
// retrytest.Server.
type stage interface{ Attempts() []retrytest.Attempt }

// outcome is what a call has come to.
type outcome struct {
	result  *Result
	err     error
	elapsed time.Duration
	waits   []time.Duration
	readErr error // of the result's body
}

func newPlay(t *testing.T, s *Scenario, virtual bool) *play {
	return &play{T: t, scenario: s, virtual: virtual, errors: map[string]error{}}
}

// choose is the script of the server.
func (p *play) choose(a retrytest.Attempt) retrytest.Step {
	step, ok := p.scenario.Step(a.Number)
	if !ok {
		return retrytest.Step{Status: http.StatusNotImplemented, Body: "the scenario has no line for this request"}
	}
	header := step.Header.Clone()
	for name, values := range header {
		for i, value := range values {
			header[name][i] = date(value)
		}
	}
	return retrytest.Step{
		Status: max(step.Status, 0),
		Header: header,
		Body:   step.Body, Read: step.Read, Delay: step.Delay, Drip: step.Drip,
		Chunked: step.Chunked, Close: step.Close,
		Fault: faults[step.Fault], After: step.At, Code: 2, // INTERNAL_ERROR
		Err: p.stepError(step),
	}
}

var faults = map[string]retrytest.Fault{
	"":       "",
	"refuse": retrytest.Refuse, "reset": retrytest.Reset, "close": retrytest.Close, "stall": retrytest.Stall,
	"refuse-stream": retrytest.RefuseStream, "reset-stream": retrytest.ResetStream, "goaway": retrytest.GoAway,
}

var relativeDate = regexp.MustCompile(`^\$(date850|date|asctime)([+-].*)$`)

// date replaces $date+7s and the like by a date that is so far from now.
func date(value string) string {
	match := relativeDate.FindStringSubmatch(value)
	if match == nil {
		return value
	}
	offset, err := time.ParseDuration(match[2])
	if err != nil {
		return value
	}
	layout := map[string]string{"date": http.TimeFormat, "date850": "Monday, 02-Jan-06 15:04:05 GMT", "asctime": time.ANSIC}[match[1]]
	return time.Now().UTC().Add(offset).Format(layout)
}

// error returns the error of the scenario with the given text, the same each time.
func (p *play) error(text string) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.errors[text] == nil {
		p.errors[text] = errors.New(text)
	}
	return p.errors[text]
}

func (p *play) event(format string, args ...any) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.events = append(p.events, fmt.Sprintf(format, args...))
}

func (p *play) wrote(format string, args ...any) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.log = append(p.log, fmt.Sprintf(format, args...))
}

// newClient makes the client that the scenario describes, on a transport.
func (p *play) newClient(transport http.RoundTripper) *retryablehttp.Client {
	set := p.scenario.Client
	hc := &http.Client{Transport: transport, Timeout: set.ClientTimeout}
	if set.Jar {
		jar, err := cookiejar.New(nil)
		require.NoError(p, err)
		hc.Jar = jar
	}
	switch set.CheckRedirect {
	case "last-response":
		hc.CheckRedirect = func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }
	case "refuse":
		hc.CheckRedirect = func(*http.Request, []*http.Request) error { return p.error("redirect refused") }
	case "count":
		hc.CheckRedirect = func(*http.Request, []*http.Request) error { p.redirects++; return nil }
	}
	client := &retryablehttp.Client{}
	if !set.Zero {
		client = retryablehttp.NewClient()
	}
	client.HTTPClient = hc
	client.ReplayMax, client.ResumeMax, client.BufferMax = set.ReplayMax, set.ResumeMax, set.BodyMax
	p.setIdempotencyKey(client)
	if set.RetryMax != nil {
		client.RetryMax = *set.RetryMax
	}
	if set.WaitMin != nil {
		client.RetryWaitMin = *set.WaitMin
	}
	if set.WaitMax != nil {
		client.RetryWaitMax = *set.WaitMax
	}
	client.RetryAfterMax = set.RetryAfterMax
	client.AttemptTimeout = set.AttemptTimeout
	client.MaxElapsedTime = set.MaxElapsedTime
	if set.RedactURL != "" {
		client.RedactURL = func(*url.URL) string { return set.RedactURL }
	}
	p.setPolicy(client)
	p.setBackoff(client)
	p.setErrorHandler(client)
	p.setInner(client)
	p.setHooks(client)
	p.setLogger(client)
	if p.scenario.Want.OnAttempt != nil {
		client.OnAttempt = func(a retryablehttp.Attempt) {
			p.event("on-attempt %d", a.Number)
			p.onAttempt = append(p.onAttempt, describe(a))
			assert.NotNil(p, a.Request)
			assert.False(p, a.Start.IsZero())
		}
	}
	return client
}

func (p *play) setIdempotencyKey(client *retryablehttp.Client) {
	switch p.scenario.Client.IdempotencyKey {
	case "counted":
		client.IdempotencyKey = func(*http.Request) string {
			p.keys++
			return fmt.Sprintf("key-%d", p.keys)
		}
	case "random":
		client.IdempotencyKey = retryablehttp.NewIdempotencyKey
	case "empty":
		client.IdempotencyKey = func(*http.Request) string { return "" }
	}
}

// setInner puts another client, which waits in the same way, between the client and
// its transport.
func (p *play) setInner(client *retryablehttp.Client) {
	set := p.scenario.Client
	if set.Inner == "" {
		return
	}
	inner := retryablehttp.NewClient()
	inner.HTTPClient = &http.Client{Transport: client.HTTPClient.Transport}
	inner.RetryMax, inner.Backoff = set.InnerRetryMax, client.Backoff
	inner.RetryWaitMin, inner.RetryWaitMax = client.RetryWaitMin, client.RetryWaitMax
	client.HTTPClient.Transport = &retryablehttp.RoundTripper{Client: inner}
	if set.Inner == "hidden" {
		client.HTTPClient.Transport = struct{ http.RoundTripper }{client.HTTPClient.Transport}
	}
}

func describe(a retryablehttp.Attempt) string {
	retry := "no"
	if a.Retry {
		retry = "yes"
	}
	return fmt.Sprintf("%d: status=%s retry=%s wait=%s reason=%q error=%s duration=%s",
		a.Number, status(a.Response), retry, a.Wait, string(a.Reason), text(a.Err), a.Duration)
}

func status(resp *http.Response) string {
	if resp == nil {
		return "none"
	}
	return strconv.Itoa(resp.StatusCode)
}

func text(err error) string {
	if err == nil {
		return "none"
	}
	return err.Error()
}

func (p *play) setPolicy(client *retryablehttp.Client) {
	if check := p.policy(p.scenario.Client.Policy); check != nil {
		client.CheckRetry = check
	}
	if p.scenario.Want.Order == nil {
		return
	}
	check := client.CheckRetry
	client.CheckRetry = func(ctx context.Context, resp *http.Response, err error) (bool, error) {
		switch {
		case err == nil:
			p.event("check %d", resp.StatusCode)
		case resp == nil:
			p.event("check error")
		default:
			p.event("check %d error", resp.StatusCode)
		}
		return check(ctx, resp, err)
	}
}

// policy is the policy of a form, nil if none is given.
func (p *play) policy(cmd Command) retryablehttp.CheckRetry {
	switch cmd.Word {
	case "default":
		return retryablehttp.DefaultRetryPolicy
	case "error-propagated":
		return retryablehttp.ErrorPropagatedRetryPolicy
	case "safe":
		return retryablehttp.SafeRetryPolicy
	case "never":
		return func(context.Context, *http.Response, error) (bool, error) { return false, nil }
	case "always":
		return func(context.Context, *http.Response, error) (bool, error) { return true, nil }
	case "stop-error":
		return func(context.Context, *http.Response, error) (bool, error) { return false, p.error(cmd.Args[0]) }
	case "retry-error":
		return func(context.Context, *http.Response, error) (bool, error) { return true, p.error(cmd.Args[0]) }
	}
	return nil
}

func (p *play) setBackoff(client *retryablehttp.Client) {
	cmd := p.scenario.Client.Backoff
	switch cmd.Word {
	case "exponential":
		client.Backoff = retryablehttp.DefaultBackoff
	case "linear-jitter":
		client.Backoff = retryablehttp.LinearJitterBackoff
	case "rate-limit-linear-jitter":
		client.Backoff = retryablehttp.RateLimitLinearJitterBackoff
	case "fixed":
		wait, err := time.ParseDuration(cmd.Args[0])
		require.NoError(p, err)
		client.Backoff = func(time.Duration, time.Duration, int, *http.Response) time.Duration { return wait }
	}
	if p.scenario.Want.Order == nil {
		return
	}
	backoff := client.Backoff
	client.Backoff = func(min, max time.Duration, attemptNum int, resp *http.Response) time.Duration {
		p.event("backoff %d", attemptNum)
		return backoff(min, max, attemptNum, resp)
	}
}

func (p *play) setErrorHandler(client *retryablehttp.Client) {
	cmd := p.scenario.Client.ErrorHandler
	if cmd.Word == "" {
		return
	}
	client.ErrorHandler = func(resp *http.Response, err error, numTries int) (*http.Response, error) {
		p.event("error-handler %d", numTries)
		assert.Empty(p, p.errorHandler, "the ErrorHandler was called twice")
		p.errorHandler = fmt.Sprintf("attempts=%d status=%s error=%s", numTries, status(resp), text(err))
		p.errorHandlerAttempts = numTries
		switch cmd.Word {
		case "passthrough":
			return retryablehttp.PassthroughErrorHandler(resp, err, numTries)
		case "response":
			return resp, nil
		case "error":
			err = p.error(cmd.Args[0])
		default: // nothing
			err = nil
		}
		if resp != nil {
			resp.Body.Close()
		}
		return nil, err
	}
}

func (p *play) setHooks(client *retryablehttp.Client) {
	set := p.scenario.Client
	if cmd := set.RequestHook; cmd.Word != "" {
		client.RequestLogHook = func(logger retryablehttp.Logger, req *http.Request, n int) {
			p.event("request-hook %d", n)
			switch cmd.Word {
			case "add":
				req.Header.Add(cmd.Args[0], cmd.Args[1])
			case "log":
				logger.Printf("%s", cmd.Args[0])
			}
		}
	}
	if cmd := set.ResponseHook; cmd.Word != "" {
		client.ResponseLogHook = func(logger retryablehttp.Logger, resp *http.Response) {
			p.event("response-hook %d", resp.StatusCode)
			if cmd.Word == "log" {
				logger.Printf("%s", cmd.Args[0])
			}
		}
	}
	if cmd := set.PrepareRetry; cmd.Word != "" {
		client.PrepareRetry = func(req *http.Request) error {
			p.event("prepare-retry")
			p.prepared++
			if cmd.Word == "add" {
				req.Header.Add(cmd.Args[0], cmd.Args[1])
				return nil
			}
			if at := cmd.Options["at"]; at == "" || at == strconv.Itoa(p.prepared) {
				return p.error(cmd.Args[0])
			}
			return nil
		}
	}
}

func (p *play) setLogger(client *retryablehttp.Client) {
	switch p.scenario.Client.Logger {
	case "printf":
		client.Logger = printfLogger{p}
	case "leveled":
		client.Logger = leveledLogger{p}
	case "slog":
		client.Logger = slog.New(slogHandler{p})
	case "unusable":
		client.Logger = 42
	case "nil-pointer":
		client.Logger = (*slog.Logger)(nil)
	}
}

type printfLogger struct{ play *play }

func (l printfLogger) Printf(format string, args ...any) { l.play.wrote(format, args...) }

type leveledLogger struct{ play *play }

func (l leveledLogger) write(level, msg string, pairs []any) {
	line := level + " " + msg
	for i := 0; i+1 < len(pairs); i += 2 {
		line += fmt.Sprintf(" %v=%v", pairs[i], pairs[i+1])
	}
	l.play.wrote("%s", line)
}

func (l leveledLogger) Error(msg string, pairs ...any) { l.write("ERROR", msg, pairs) }
func (l leveledLogger) Warn(msg string, pairs ...any)  { l.write("WARN", msg, pairs) }
func (l leveledLogger) Info(msg string, pairs ...any)  { l.write("INFO", msg, pairs) }
func (l leveledLogger) Debug(msg string, pairs ...any) { l.write("DEBUG", msg, pairs) }

// slogHandler writes the kinds of the attributes, and whether the context came
// along.
type slogHandler struct{ play *play }

type callerKey struct{}

func (h slogHandler) Enabled(context.Context, slog.Level) bool { return true }
func (h slogHandler) WithAttrs([]slog.Attr) slog.Handler       { return h }
func (h slogHandler) WithGroup(string) slog.Handler            { return h }

func (h slogHandler) Handle(ctx context.Context, r slog.Record) error {
	line := r.Level.String() + " " + r.Message
	r.Attrs(func(a slog.Attr) bool {
		line += fmt.Sprintf(" %s=%s:%v", a.Key, a.Value.Kind(), a.Value)
		return true
	})
	if ctx.Value(callerKey{}) != nil {
		line += " context=caller"
	}
	h.play.wrote("%s", line)
	return nil
}

// perform plays the scenario once.
func (p *play) perform() outcome {
	r := p.scenario.Request
	ctx, cancel := context.WithCancelCause(context.WithValue(context.Background(), callerKey{}, true))
	defer cancel(nil)
	if r.Before != "" {
		p.other(ctx, r.Before)
	}
	if r.Deadline > 0 {
		var stop context.CancelFunc
		ctx, stop = context.WithTimeout(ctx, r.Deadline)
		defer stop()
	}
	if r.Cancel != nil {
		var cause error
		if r.Cause != "" {
			cause = p.error(r.Cause)
		}
		if *r.Cancel == 0 {
			cancel(cause)
		} else {
			timer := time.AfterFunc(*r.Cancel, func() { cancel(cause) })
			defer timer.Stop()
		}
	}
	if r.RetryMax != nil {
		ctx = retryablehttp.WithRetryMax(ctx, *r.RetryMax)
	}
	if r.Policy.Word != "" {
		ctx = retryablehttp.WithCheckRetry(ctx, p.policy(r.Policy))
	}
	p.mu.Lock()
	p.events = nil
	p.mu.Unlock()
	first := p.tap.count()

	p.body = p.openBody()
	start := time.Now()
	resp, err := p.call(ctx)
	o := outcome{err: err, elapsed: time.Since(start)}
	if err != nil && resp != nil {
		assert.Contains(p, []string{"passthrough"}, p.scenario.Client.ErrorHandler.Word, "a response together with an error")
	}
	if resp != nil {
		o.result, o.readErr = readResult(resp)
	}
	o.waits = p.tap.waits(first)
	if r.After != "" {
		p.other(ctx, r.After)
	}
	return o
}

// other makes one of the requests before and after the call.
func (p *play) other(ctx context.Context, path string) {
	u, err := url.Parse(p.scenario.Request.URL)
	require.NoError(p, err)
	req, err := retryablehttp.NewRequestWithContext(ctx, http.MethodGet, u.Scheme+"://"+u.Host+path, nil)
	require.NoError(p, err)
	resp, err := p.client.Do(req)
	require.NoError(p, err, "the request for %s", path)
	_, err = io.Copy(io.Discard, resp.Body)
	require.NoError(p, err)
	require.NoError(p, resp.Body.Close())
}

// readResult reads a response, and returns the error that its body ends with.
func readResult(resp *http.Response) (*Result, error) {
	data, err := io.ReadAll(resp.Body)
	resp.Body.Close()
	return &Result{Status: resp.StatusCode, Body: string(data), Broken: err != nil}, err
}

// call makes the call in the way that the scenario says.
func (p *play) call(ctx context.Context) (*http.Response, error) {
	r := p.scenario.Request
	switch r.Via {
	case "get":
		return p.client.Get(r.URL)
	case "head":
		return p.client.Head(r.URL)
	case "post":
		return p.client.Post(r.URL, r.Header.Get("Content-Type"), p.body.raw)
	case "post-form":
		values, err := url.ParseQuery(r.Body.Content)
		require.NoError(p, err)
		return p.client.PostForm(r.URL, values)
	case "do":
		req, err := retryablehttp.NewRequestWithContext(ctx, r.Method, r.URL, p.body.raw)
		if err != nil {
			return nil, err
		}
		defer p.watch(req.Request)()
		req.SetResponseHandler(p.responseHandler())
		return p.client.Do(req)
	}
	httpReq, err := p.httpRequest(ctx)
	require.NoError(p, err)
	defer p.watch(httpReq)()
	switch r.Via {
	case "from-request":
		req, err := retryablehttp.FromRequest(httpReq)
		if err != nil {
			return nil, err
		}
		req.SetResponseHandler(p.responseHandler())
		return p.client.Do(req)
	case "standard-client":
		hc := p.client.StandardClient()
		hc.Timeout = r.OuterTimeout
		return hc.Do(httpReq)
	case "round-tripper":
		hc := &http.Client{Transport: &retryablehttp.RoundTripper{Client: p.client}, Timeout: r.OuterTimeout}
		return hc.Do(httpReq)
	default: // bare-round-tripper
		return (&retryablehttp.RoundTripper{Client: p.client}).RoundTrip(httpReq)
	}
}

// watch gives a request the scenario's header and returns a check that the call has
// left it as it was.
func (p *play) watch(req *http.Request) func() {
	for name, values := range p.scenario.Request.Header {
		req.Header[name] = slices.Clone(values)
	}
	before, header, target := *req, req.Header.Clone(), req.URL.String()
	return func() {
		assert.Equal(p, header, req.Header, "the caller's header")
		assert.Equal(p, target, req.URL.String(), "the caller's URL")
		assert.True(p, reflect.ValueOf(before.Header).Pointer() == reflect.ValueOf(req.Header).Pointer(), "the caller's header map")
		assert.True(p, before.Body == req.Body, "the caller's Body field")
		assert.True(p, before.ContentLength == req.ContentLength && before.Method == req.Method && before.Host == req.Host, "the caller's request")
	}
}

func (p *play) httpRequest(ctx context.Context) (*http.Request, error) {
	r := p.scenario.Request
	var body io.Reader
	switch raw := p.body.raw.(type) {
	case nil:
	case []byte:
		body = bytes.NewReader(raw)
	case io.Reader:
		body = raw
	default:
		require.Failf(p, "body", "an http.Request cannot have a body of the kind %s", r.Body.Kind)
	}
	req, err := http.NewRequestWithContext(ctx, r.Method, r.URL, body)
	if err != nil {
		return nil, err
	}
	switch r.Body.Kind {
	case "replayable":
		req.ContentLength = int64(len(r.Body.Content))
		req.GetBody = p.body.getBody
	}
	if declared := r.Body.Options["declared"]; declared != "" {
		req.ContentLength = int64(atoi(declared))
	}
	return req, nil
}

func (p *play) responseHandler() retryablehttp.ResponseHandlerFunc {
	cmd := p.scenario.Request.ResponseHandler
	if cmd.Word == "" {
		return nil
	}
	return func(resp *http.Response) error {
		p.event("response-handler %d", resp.StatusCode)
		p.handled++
		if times := cmd.Options["times"]; cmd.Word == "fail" && (times == "" || p.handled <= atoi(times)) {
			return p.error(cmd.Args[0])
		}
		return nil
	}
}

// check compares what was seen with what the scenario wants.
func (p *play) check(o outcome) {
	w := p.scenario.Want
	attempts := p.server.Attempts()
	sends := p.tap.all()
	p.checkRequests(attempts, sends)
	p.checkTimes(o)
	p.checkResult(o)
	p.checkError(o.err)
	p.checkReadError(o.readErr)
	p.checkBody()

	p.mu.Lock()
	defer p.mu.Unlock()
	if w.Order != nil {
		assert.Equal(p, w.Order, p.chosenEvents(), "order")
	}
	if w.Log != nil {
		p.like(w.Log, p.log, "log")
	}
	if w.OnAttempt != nil {
		p.like(w.OnAttempt, p.onAttempt, "on-attempt")
	}
	switch w.ErrorHandler {
	case "":
	case "never":
		assert.Empty(p, p.errorHandler, "error-handler")
	default:
		p.like([]string{w.ErrorHandler}, []string{p.errorHandler}, "error-handler")
		assert.Equal(p, w.Attempts, p.errorHandlerAttempts, "error-handler attempts")
	}
	if w.OuterRedirects != "" {
		assert.Equal(p, atoi(w.OuterRedirects), p.redirects, "outer-redirects")
	}
	for _, line := range p.log {
		for _, secret := range w.Lacks {
			assert.NotContains(p, line, secret, "a log line shows what it must not")
		}
	}
}

// chosenEvents is what happened, without the events that the scenario's order says
// nothing of: those of a kind that it never mentions, other than to send.
func (p *play) chosenEvents() []string {
	kind := func(event string) string { return strings.TrimRight(event, "0123456789 ") }
	chosen := []string{}
	for _, event := range p.events {
		if slices.ContainsFunc(p.scenario.Want.Order, func(wanted string) bool {
			return strings.Fields(wanted)[0] == strings.Fields(event)[0]
		}) || kind(event) == "send" {
			chosen = append(chosen, event)
		}
	}
	return chosen
}

func (p *play) checkRequests(attempts []retrytest.Attempt, sends []send) {
	w := p.scenario.Want
	if w.Requests < 0 {
		return
	}
	if !assert.Len(p, attempts, w.Requests, "requests that the server got") || w.Requests == 0 {
		return // what the client tried to send is no request then
	}
	others := p.scenario.Request.Others()
	if own := len(sends) - others; p.scenario.Request.After == "" && len(sends) > 0 && w.Requests > 0 {
		assert.Equal(p, w.Attempts, sends[others+own-1-w.Resumed].attempt, "attempts, by the number of the last request")
	}
	for i, a := range attempts {
		value := func(list []string) string { return list[i] }
		if w.Sent != nil {
			assert.True(p, w.Sent[i] == string(a.Body), "request %d: sent %d bytes %.40q, want %d bytes %.40q", i+1, len(a.Body), a.Body, len(w.Sent[i]), w.Sent[i])
		}
		if w.Bytes != nil {
			assert.Equal(p, value(w.Bytes), strconv.Itoa(int(a.BodySize)), "request %d: bytes", i+1)
		}
		if w.Methods != nil {
			assert.Equal(p, value(w.Methods), a.Method, "request %d: method", i+1)
		}
		if w.Paths != nil {
			u, err := url.Parse(a.URL)
			require.NoError(p, err)
			assert.Equal(p, value(w.Paths), u.Path, "request %d: path", i+1)
		}
		if w.Connections != nil && !p.virtual {
			assert.Equal(p, value(w.Connections), strconv.Itoa(a.Conn), "request %d: connection", i+1)
		}
		if w.UUID != "" {
			seen := a.Header.Values(w.UUID)
			if assert.Len(p, seen, 1, "request %d: header %s", i+1, w.UUID) {
				assert.Regexp(p, uuid, seen[0], "request %d: header %s", i+1, w.UUID)
				assert.Equal(p, attempts[0].Header.Values(w.UUID), seen, "request %d: header %s", i+1, w.UUID)
			}
		}
		for name, list := range w.Header {
			seen := "-"
			if values := a.Header.Values(name); len(values) > 0 {
				seen = strings.Join(values, " | ")
			}
			assert.Equal(p, value(list), seen, "request %d: header %s", i+1, name)
		}
	}
	if !assert.Len(p, sends, w.Sends(), "requests that the client sent") {
		return
	}
	for i, s := range sends {
		if w.ContentLength != nil {
			assert.Equal(p, w.ContentLength[i], s.length, "request %d: content-length", i+1)
		}
		if w.AttemptNumbers != nil {
			assert.Equal(p, w.AttemptNumbers[i], strconv.Itoa(s.attempt), "request %d: attempt-number", i+1)
		}
	}
}

// uuid is a random UUID (RFC 9562, version 4) or one of time and chance (version 7).
var uuid = regexp.MustCompile(`^[0-9a-f]{8}-[0-9a-f]{4}-[47][0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$`)

func (p *play) checkTimes(o outcome) {
	w := p.scenario.Want
	within := func(r Range, got time.Duration, what string) {
		if p.virtual {
			assert.True(p, r.Min <= got && got <= r.Max, "%s: %s, want %s", what, got, r)
			return
		}
		assert.True(p, r.Min-time.Millisecond <= got && got <= r.Max+slack, "%s: %s, want about %s", what, got, r)
	}
	if w.Requests >= 0 && assert.Len(p, o.waits, len(w.Waits), "waits") {
		for i, r := range w.Waits {
			within(r, o.waits[i], fmt.Sprintf("wait %d", i+1))
		}
	}
	if w.Elapsed != nil {
		within(*w.Elapsed, o.elapsed, "elapsed")
	}
}

func (p *play) checkResult(o outcome) {
	w := p.scenario.Want
	if w.Error == "" {
		require.NoError(p, o.err)
	} else {
		require.Error(p, o.err)
	}
	p.sameResult(w.Result, o.result, "result")
}

func (p *play) sameResult(want, got *Result, what string) {
	if want == nil || got == nil {
		assert.True(p, want == nil && got == nil, "%s: got %v, want %v", what, got, want)
		return
	}
	assert.Equal(p, want.Status, got.Status, "%s: status", what)
	assert.True(p, want.Body == got.Body, "%s: body of %d bytes %.60q, want %d bytes %.60q", what, len(got.Body), got.Body, len(want.Body), want.Body)
	assert.Equal(p, want.Broken, got.Broken, "%s: whether the body is truncated", what)
}

func (p *play) checkError(err error) {
	w := p.scenario.Want
	if err == nil {
		return
	}
	p.like([]string{w.Error}, []string{err.Error()}, "error")
	assert.NotContains(p, err.Error(), "\n", "an error is one line")
	for _, name := range w.Matches {
		assert.True(p, p.matches(err, name), "the error does not match %s: %v", name, err)
	}
	for _, name := range w.MatchesNot {
		assert.False(p, p.matches(err, name), "the error matches %s: %v", name, err)
	}
	if w.Timeout != "" {
		var timeout interface{ Timeout() bool }
		is := errors.As(err, &timeout) && timeout.Timeout()
		assert.Equal(p, w.Timeout, strconv.FormatBool(is), "timeout")
	}
	if w.Unsent != "" {
		assert.Equal(p, w.Unsent, strconv.FormatBool(retryablehttp.Unsent(err)), "unsent")
	}
	urlErrors := 0
	walk(err, func(err error) {
		if urlErr, ok := err.(*url.Error); ok {
			urlErrors++
			for _, secret := range w.Lacks {
				assert.NotContains(p, urlErr.URL, secret, "a nested URL error shows what it must not")
			}
		}
	})
	if w.URLErrors != "" {
		assert.Equal(p, w.URLErrors, strconv.Itoa(urlErrors), "layers of url.Error")
	}
	for _, secret := range w.Lacks {
		assert.NotContains(p, err.Error(), secret, "the error shows what it must not")
	}

	var giveUp *retryablehttp.GiveUpError
	if !errors.As(err, &giveUp) {
		assert.True(p, w.Reason == "" && w.LastResponse == nil && !w.NoResponse, "reason and last-response need a GiveUpError, the error is %T: %v", err, err)
		return
	}
	assert.Equal(p, w.Attempts, giveUp.Attempts, "attempts of the error")
	for _, secret := range w.Lacks {
		assert.NotContains(p, giveUp.URL, secret, "the error's URL shows what it must not")
	}
	if w.Reason != "" {
		assert.Equal(p, w.Reason, string(giveUp.Reason), "reason")
	}
	if w.NoResponse {
		assert.Nil(p, giveUp.Response, "last-response")
	}
	if w.LastResponse != nil && assert.NotNil(p, giveUp.Response, "last-response") {
		result, _ := readResult(giveUp.Response)
		p.sameResult(w.LastResponse, result, "last-response")
	}
}

// checkReadError looks at what reading the result's body has ended with.
func (p *play) checkReadError(err error) {
	w := p.scenario.Want
	if err == nil {
		return // that it should be truncated is seen by the result
	}
	assert.NotContains(p, err.Error(), "\n", "an error is one line")
	for _, secret := range w.Lacks {
		assert.NotContains(p, err.Error(), secret, "the error of reading shows what it must not")
	}
	if w.ReadError != "" {
		p.like([]string{w.ReadError}, []string{err.Error()}, "read-error")
	}
	for _, name := range w.ReadMatches {
		assert.True(p, p.matches(err, name), "the error of reading does not match %s: %v", name, err)
	}
	for _, name := range w.ReadMatchesNot {
		assert.False(p, p.matches(err, name), "the error of reading matches %s: %v", name, err)
	}
	if w.ReadOffset != "" {
		var resume *retryablehttp.ResumeError
		if assert.ErrorAs(p, err, &resume, "read-offset") {
			assert.Equal(p, w.ReadOffset, strconv.FormatInt(resume.Offset, 10), "read-offset")
		}
	}
}

// walk visits an error and all that it wraps.
func walk(err error, visit func(error)) {
	if err == nil {
		return
	}
	visit(err)
	switch err := err.(type) {
	case interface{ Unwrap() error }:
		walk(err.Unwrap(), visit)
	case interface{ Unwrap() []error }:
		for _, inner := range err.Unwrap() {
			walk(inner, visit)
		}
	}
}

func (p *play) matches(err error, name string) bool {
	var (
		giveUp   *retryablehttp.GiveUpError
		urlError *url.Error
		resume   *retryablehttp.ResumeError
	)
	switch name {
	case "give-up":
		return errors.As(err, &giveUp)
	case "url-error":
		return errors.As(err, &urlError)
	case "canceled":
		return errors.Is(err, context.Canceled)
	case "deadline-exceeded":
		return errors.Is(err, context.DeadlineExceeded)
	case "attempt-timeout":
		return errors.Is(err, retryablehttp.ErrAttemptTimeout)
	case "max-elapsed-time":
		return errors.Is(err, retryablehttp.ErrMaxElapsedTime)
	case "body-length":
		return errors.Is(err, retryablehttp.ErrBodyLength)
	case "not-replayable":
		return errors.Is(err, retryablehttp.ErrNotReplayable)
	case "resume-error":
		return errors.As(err, &resume)
	case "representation-changed":
		return errors.Is(err, retryablehttp.ErrRepresentationChanged)
	case "unexpected-eof":
		return errors.Is(err, io.ErrUnexpectedEOF)
	case "connection-reset":
		return errors.Is(err, syscall.ECONNRESET)
	case "connection-refused":
		return errors.Is(err, syscall.ECONNREFUSED)
	}
	made, quoteErr := strconv.Unquote(name)
	require.NoError(p, quoteErr)
	return errors.Is(err, p.error(made))
}

func (p *play) checkBody() {
	w, b := p.scenario.Want, p.body
	if w.Closed != "" || w.Opened != "" {
		// Over a socket the transport may close a body a moment after the call.
		settled := func() bool {
			b.mu.Lock()
			defer b.mu.Unlock()
			return w.Closed == "" || b.closed >= atoi(w.Closed)
		}
		if !p.virtual {
			assert.Eventually(p, settled, slack, time.Millisecond, "closed")
		}
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	for what, pair := range map[string]struct {
		want string
		got  int
	}{"opened": {w.Opened, b.opened}, "closed": {w.Closed, b.closed}, "get-body": {w.GetBody, b.gotBody}} {
		if pair.want != "" {
			assert.Equal(p, pair.want, strconv.Itoa(pair.got), what)
		}
	}
	if w.ReadBeforeSend != "" {
		assert.Equal(p, w.ReadBeforeSend == "yes", b.readBeforeSend, "read-before-send")
	}
	if w.SourceOffset != "" && assert.NotNil(p, b.offset, "source-offset of a body without one") {
		assert.Equal(p, w.SourceOffset, strconv.FormatInt(b.offset(), 10), "source-offset")
	}
	if w.FileOpen != "" && assert.NotNil(p, b.file, "file-open of a body that is no file") {
		_, err := b.file.Stat()
		assert.NoError(p, err, "file-open")
	}
	switch w.Late {
	case "own bytes":
		skip := atoi(p.scenario.Request.Body.Options["offset"])
		assert.Equal(p, p.scenario.Request.Body.Content[skip:], p.tap.late, "late")
		assert.Equal(p, io.EOF, p.tap.lateErr, "late")
	case "nothing":
		assert.Empty(p, p.tap.late, "late")
		assert.Error(p, p.tap.lateErr, "late")
	}
}

// like compares lines; "..." in a wanted one stands for any text.
func (p *play) like(want, got []string, what string) {
	if !assert.Len(p, got, len(want), what) {
		return
	}
	for i := range want {
		pattern := strings.ReplaceAll(regexp.QuoteMeta(want[i]), `\.\.\.`, `.*`)
		assert.Regexp(p, "(?s)^"+pattern+"$", got[i], what)
	}
}
