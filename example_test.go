package retryablehttp_test

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log"
	"log/slog"
	"math"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"syscall"
	"testing/iotest"
	"time"

	"github.com/a0b132ce/retryablehttp"
)

// flaky starts a server that answers status to the first n requests, and from then
// on says what it was sent.
func flaky(n int32, status int) *httptest.Server {
	var requests atomic.Int32
	return httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if requests.Add(1) <= n {
			w.WriteHeader(status)
			return
		}
		body, err := io.ReadAll(r.Body)
		if err != nil {
			log.Panic(err)
		}
		fmt.Fprintf(w, "%s %q", r.Method, body)
	}))
}

// quick is a client that does not wait for long.
func quick() *retryablehttp.Client {
	client := retryablehttp.NewClient()
	client.RetryWaitMin, client.RetryWaitMax = time.Millisecond, 2*time.Millisecond
	return client
}

// show prints status and body of an answer, or the error, without the address of a
// server (nil if there is none), which is another one each time.
func show(server *httptest.Server, resp *http.Response, err error) {
	if err != nil {
		text := err.Error()
		if server != nil {
			text = strings.ReplaceAll(text, server.URL, "http://host")
		}
		fmt.Println("error:", text)
		return
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		log.Panic(err)
	}
	fmt.Println(strings.TrimSpace(fmt.Sprintf("%d %s", resp.StatusCode, body)))
}

// The smallest program: net/http with another import.
func Example() {
	server := flaky(0, 0)
	defer server.Close()

	resp, err := retryablehttp.Get(server.URL)
	if err != nil {
		log.Panic(err)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		log.Panic(err)
	}
	fmt.Println(resp.Status, string(body))
	// Output: 200 OK GET ""
}

func ExampleNewClient() {
	server := flaky(2, http.StatusServiceUnavailable)
	defer server.Close()

	client := retryablehttp.NewClient()
	client.RetryMax = 3
	client.RetryWaitMin = 1 * time.Millisecond // the default is 1 s
	client.RetryWaitMax = 9 * time.Millisecond // the default is 30 s
	resp, err := client.Get(server.URL)
	show(server, resp, err)
	// Output: 200 GET ""
}

func ExampleGet() {
	server := flaky(0, 0)
	defer server.Close()

	resp, err := retryablehttp.Get(server.URL)
	show(server, resp, err)
	// Output: 200 GET ""
}

func ExampleHead() {
	server := flaky(0, 0)
	defer server.Close()

	resp, err := retryablehttp.Head(server.URL)
	if err != nil {
		log.Panic(err)
	}
	defer resp.Body.Close()
	fmt.Println(resp.StatusCode, resp.ContentLength)
	// Output: 200 7
}

func ExamplePost() {
	server := flaky(0, 0)
	defer server.Close()

	resp, err := retryablehttp.Post(server.URL, "text/plain", "a string will do")
	show(server, resp, err)
	// Output: 200 POST "a string will do"
}

func ExamplePostForm() {
	server := flaky(0, 0)
	defer server.Close()

	resp, err := retryablehttp.PostForm(server.URL, url.Values{"name": {"gopher"}})
	show(server, resp, err)
	// Output: 200 POST "name=gopher"
}

func ExampleClient_Do() {
	server := flaky(1, http.StatusBadGateway)
	defer server.Close()

	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	req, err := retryablehttp.NewRequestWithContext(ctx, http.MethodPut, server.URL, []byte(`{"n":1}`))
	if err != nil {
		log.Panic(err)
	}
	req.Header.Set("Content-Type", "application/json")

	resp, err := quick().Do(req)
	show(server, resp, err)
	// Output: 200 PUT "{\"n\":1}"
}

// A file is read from its offset for each attempt, without being copied to memory.
func ExampleClient_Post() {
	server := flaky(2, http.StatusServiceUnavailable)
	defer server.Close()

	name := filepath.Join(os.TempDir(), fmt.Sprintf("retryablehttp-example-%d", os.Getpid()))
	if err := os.WriteFile(name, []byte("header|the part to send"), 0o600); err != nil {
		log.Panic(err)
	}
	defer os.Remove(name)
	file, err := os.Open(name)
	if err != nil {
		log.Panic(err)
	}
	defer file.Close() // the client does not close it
	if _, err := file.Seek(int64(len("header|")), io.SeekStart); err != nil {
		log.Panic(err)
	}

	resp, err := quick().Post(server.URL, "text/plain", file)
	show(server, resp, err)
	// Output: 200 POST "the part to send"
}

func ExampleClient_PostForm() {
	server := flaky(1, http.StatusInternalServerError)
	defer server.Close()

	resp, err := quick().PostForm(server.URL, url.Values{"q": {"retry"}})
	show(server, resp, err)
	// Output: 200 POST "q=retry"
}

// An attempt that has no response headers in time is retried. The context's deadline
// would end the whole call instead.
func ExampleClient_attemptTimeout() {
	client := quick()
	client.AttemptTimeout = 50 * time.Millisecond
	client.HTTPClient = &http.Client{Transport: transport(func(req *http.Request) (*http.Response, error) {
		if retryablehttp.AttemptNumber(req.Context()) == 1 {
			<-req.Context().Done() // hang
			return nil, req.Context().Err()
		}
		return &http.Response{StatusCode: http.StatusOK, Body: http.NoBody}, nil
	})}
	client.OnAttempt = func(a retryablehttp.Attempt) {
		fmt.Println(a.Number, errors.Is(a.Err, retryablehttp.ErrAttemptTimeout), a.Retry)
	}
	resp, err := client.Get("http://host/")
	if err != nil {
		log.Panic(err)
	}
	resp.Body.Close()
	// Output:
	// 1 true true
	// 2 false false
}

func ExampleClient_maxElapsedTime() {
	server := flaky(1000, http.StatusServiceUnavailable)
	defer server.Close()

	client := quick()
	client.RetryMax = 1000
	client.MaxElapsedTime = 20 * time.Millisecond
	_, err := client.Get(server.URL)
	fmt.Println(errors.Is(err, retryablehttp.ErrMaxElapsedTime))
	// Output: true
}

// A server that asks for a long pause is not waited for.
func ExampleClient_retryAfterMax() {
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Retry-After", "86400")
		w.WriteHeader(http.StatusTooManyRequests)
	}))
	defer server.Close()

	client := retryablehttp.NewClient()
	client.RetryAfterMax = time.Minute // the default is 5 minutes
	_, err := client.Get(server.URL)
	var giveUp *retryablehttp.GiveUpError
	if errors.As(err, &giveUp) {
		fmt.Println(giveUp.Attempts, "attempt:", giveUp.Err)
	}
	// Output:
	// 1 attempt: server asks to wait 24h0m0s (Retry-After), longer than Client.RetryAfterMax allows (1m0s); last attempt: unexpected HTTP status 429 Too Many Requests
}

// Any leveled logger will do; a *slog.Logger gets typed attributes and the request's
// context.
func ExampleClient_logger() {
	server := flaky(1, http.StatusServiceUnavailable)
	defer server.Close()

	client := quick()
	client.Logger = slog.New(slog.NewTextHandler(os.Stdout, &slog.HandlerOptions{
		Level: slog.LevelDebug,
		ReplaceAttr: func(_ []string, a slog.Attr) slog.Attr {
			switch a.Key {
			case slog.TimeKey, "timeout": // another one each time
				return slog.Attr{}
			case "url":
				a.Value = slog.StringValue(strings.ReplaceAll(a.Value.String(), server.URL, "http://host"))
			}
			return a
		},
	}))
	resp, err := client.Get(server.URL + "/things?key=s3cret")
	show(server, resp, err)
	// Output:
	// level=DEBUG msg="performing request" method=GET url="http://host/things?key=REDACTED"
	// level=DEBUG msg="retrying request" method=GET url="http://host/things?key=REDACTED" status=503 remaining=4
	// 200 GET ""
}

// By default query values are hidden. A program that needs some of them in its logs
// says which.
func ExampleClient_redactURL() {
	server := flaky(1000, http.StatusServiceUnavailable)
	defer server.Close()

	client := quick()
	_, err := client.Get(server.URL + "/things?page=2&key=s3cret")
	show(server, nil, err)

	client = quick()
	client.RedactURL = func(u *url.URL) string {
		return u.Path + "?page=" + u.Query().Get("page")
	}
	_, err = client.Get(server.URL + "/things?page=2&key=s3cret")
	show(server, nil, err)
	// Output:
	// error: GET http://host/things?page=REDACTED&key=REDACTED giving up after 5 attempt(s)
	// error: GET /things?page=2 giving up after 5 attempt(s)
}

// The hooks see each attempt. A header that the request hook sets is that attempt's
// alone.
func ExampleClient_requestLogHook() {
	server := flaky(1, http.StatusServiceUnavailable)
	defer server.Close()

	client := quick()
	client.RequestLogHook = func(_ retryablehttp.Logger, req *http.Request, index int) {
		req.Header.Add("X-Retry", fmt.Sprint(index))
		fmt.Println("sending", req.Header["X-Retry"])
	}
	client.ResponseLogHook = func(_ retryablehttp.Logger, resp *http.Response) {
		fmt.Println("received", resp.StatusCode)
	}
	resp, err := client.Get(server.URL)
	show(server, resp, err)
	// Output:
	// sending [0]
	// received 503
	// sending [1]
	// received 200
	// 200 GET ""
}

// OnAttempt is for metrics and for traces of what a call went through.
func ExampleClient_onAttempt() {
	server := flaky(2, http.StatusServiceUnavailable)
	defer server.Close()

	client := quick()
	client.OnAttempt = func(a retryablehttp.Attempt) {
		fmt.Printf("attempt %d: %d, retry %t (%s)\n", a.Number, a.Response.StatusCode, a.Retry, a.Reason)
	}
	client.RetryMax = 1
	_, err := client.Get(server.URL)
	show(server, nil, err)
	// Output:
	// attempt 1: 503, retry true (status)
	// attempt 2: 503, retry false (retries used up)
	// error: GET http://host giving up after 2 attempt(s)
}

// The http.Client that the rest of a program, or somebody else's library, expects.
func ExampleClient_StandardClient() {
	server := flaky(1, http.StatusServiceUnavailable)
	defer server.Close()

	standard := quick().StandardClient()
	resp, err := standard.Post(server.URL, "text/plain", strings.NewReader("as ever"))
	show(server, resp, err)
	// Output: 200 POST "as ever"
}

// An existing http.Client keeps its Jar, CheckRedirect and Timeout.
func ExampleRoundTripper() {
	server := flaky(1, http.StatusServiceUnavailable)
	defer server.Close()

	existing := &http.Client{Timeout: 10 * time.Second}
	existing.Transport = &retryablehttp.RoundTripper{Client: quick()}

	resp, err := existing.Get(server.URL)
	show(server, resp, err)
	// Output: 200 GET ""
}

func ExampleNewRequest() {
	server := flaky(1, http.StatusServiceUnavailable)
	defer server.Close()

	req, err := retryablehttp.NewRequest(http.MethodDelete, server.URL+"/things/1", nil)
	if err != nil {
		log.Panic(err)
	}
	resp, err := quick().Do(req)
	show(server, resp, err)
	// Output: 200 DELETE ""
}

func ExampleNewRequestWithContext() {
	server := flaky(1000, http.StatusServiceUnavailable)
	defer server.Close()

	// The wait of at least a second cannot end before the deadline, so the call
	// gives up without waiting.
	ctx, cancel := context.WithTimeout(context.Background(), 500*time.Millisecond)
	defer cancel()
	req, err := retryablehttp.NewRequestWithContext(ctx, http.MethodGet, server.URL, nil)
	if err != nil {
		log.Panic(err)
	}
	start := time.Now()
	_, err = retryablehttp.NewClient().Do(req)
	fmt.Println(errors.Is(err, context.DeadlineExceeded), time.Since(start) < 500*time.Millisecond)
	// Output: true true
}

// A request that was made for net/http can be sent as it is.
func ExampleFromRequest() {
	server := flaky(1, http.StatusServiceUnavailable)
	defer server.Close()

	standard, err := http.NewRequest(http.MethodPost, server.URL, strings.NewReader("made elsewhere"))
	if err != nil {
		log.Panic(err)
	}
	req, err := retryablehttp.FromRequest(standard)
	if err != nil {
		log.Panic(err)
	}
	resp, err := quick().Do(req)
	show(server, resp, err)
	// Output: 200 POST "made elsewhere"
}

func ExampleRequest_SetBody() {
	server := flaky(1, http.StatusServiceUnavailable)
	defer server.Close()

	req, err := retryablehttp.NewRequest(http.MethodPost, server.URL, nil)
	if err != nil {
		log.Panic(err)
	}
	if err := req.SetBody(bytes.NewBufferString("a buffer is not consumed")); err != nil {
		log.Panic(err)
	}
	resp, err := quick().Do(req)
	show(server, resp, err)

	fmt.Println(req.SetBody(42))
	// Output:
	// 200 POST "a buffer is not consumed"
	// cannot handle type int
}

func ExampleRequest_BodyBytes() {
	req, err := retryablehttp.NewRequest(http.MethodPost, "http://host/", strings.NewReader("to be signed"))
	if err != nil {
		log.Panic(err)
	}
	body, err := req.BodyBytes() // the request can still be sent
	fmt.Println(string(body), err)
	// Output: to be signed <nil>
}

func ExampleRequest_WriteTo() {
	req, err := retryablehttp.NewRequest(http.MethodPost, "http://host/", []byte("the body\n"))
	if err != nil {
		log.Panic(err)
	}
	n, err := req.WriteTo(os.Stdout)
	fmt.Println(n, err)
	// Output:
	// the body
	// 9 <nil>
}

// A response that is a 200 but broken can be retried too.
func ExampleRequest_SetResponseHandler() {
	var requests atomic.Int32
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		if requests.Add(1) == 1 {
			io.WriteString(w, `{"n": `)
			return
		}
		io.WriteString(w, `{"n": 7}`)
	}))
	defer server.Close()

	req, err := retryablehttp.NewRequest(http.MethodGet, server.URL, nil)
	if err != nil {
		log.Panic(err)
	}
	var answer struct{ N int }
	req.SetResponseHandler(func(resp *http.Response) error {
		return json.NewDecoder(resp.Body).Decode(&answer)
	})
	resp, err := quick().Do(req)
	if err != nil {
		log.Panic(err)
	}
	resp.Body.Close()
	fmt.Println(answer.N, requests.Load())
	// Output: 7 2
}

// A ReaderFunc makes the body anew for each attempt; the length is taken from the
// reader where it has one.
func ExampleReaderFunc() {
	server := flaky(1, http.StatusServiceUnavailable)
	defer server.Close()

	attempt := 0
	body := retryablehttp.ReaderFunc(func() (io.Reader, error) {
		attempt++
		return strings.NewReader(fmt.Sprintf("body of attempt %d", attempt)), nil
	})
	resp, err := quick().Post(server.URL, "text/plain", body)
	show(server, resp, err)
	// Output: 200 POST "body of attempt 2"
}

// A policy that retries what the default one does, and 404 for things that have just
// been created.
func ExampleCheckRetry() {
	server := flaky(1, http.StatusNotFound)
	defer server.Close()

	client := quick()
	client.CheckRetry = func(ctx context.Context, resp *http.Response, err error) (bool, error) {
		if err == nil && resp.StatusCode == http.StatusNotFound {
			return true, nil
		}
		return retryablehttp.DefaultRetryPolicy(ctx, resp, err)
	}
	resp, err := client.Get(server.URL)
	show(server, resp, err)
	// Output: 200 GET ""
}

// With this policy the status is in the error's text.
func ExampleErrorPropagatedRetryPolicy() {
	server := flaky(1000, http.StatusServiceUnavailable)
	defer server.Close()

	client := quick()
	client.RetryMax = 1
	client.CheckRetry = retryablehttp.ErrorPropagatedRetryPolicy
	_, err := client.Get(server.URL)
	show(server, nil, err)
	// Output: error: GET http://host giving up after 2 attempt(s): unexpected HTTP status 503 Service Unavailable
}

// A backoff is a function of the bounds, the number of failures so far less one, and
// the response.
func ExampleBackoff() {
	server := flaky(2, http.StatusServiceUnavailable)
	defer server.Close()

	client := quick()
	client.Backoff = func(_, _ time.Duration, attemptNum int, _ *http.Response) time.Duration {
		return time.Duration(attemptNum+1) * time.Millisecond
	}
	client.OnAttempt = func(a retryablehttp.Attempt) { fmt.Println(a.Number, a.Wait) }
	resp, err := client.Get(server.URL)
	show(server, resp, err)
	// Output:
	// 1 1ms
	// 2 2ms
	// 3 0s
	// 200 GET ""
}

func ExampleDefaultBackoff() {
	for attempt := range 6 {
		fmt.Print(retryablehttp.DefaultBackoff(time.Second, 10*time.Second, attempt, nil), " ")
	}
	resp := &http.Response{StatusCode: http.StatusTooManyRequests, Header: http.Header{"Retry-After": {"20"}}}
	fmt.Println(retryablehttp.DefaultBackoff(time.Second, 10*time.Second, 0, resp))
	// Output: 1s 2s 4s 8s 10s 10s 20s
}

// What a wait is drawn from: from min·2^n to min·2^(n+1), and at last the upper half
// of what max allows.
func ExampleExponentialJitterBackoff() {
	for attempt := range 5 {
		lo, hi := time.Hour, time.Duration(0)
		for range 10_000 {
			wait := retryablehttp.ExponentialJitterBackoff(time.Second, 10*time.Second, attempt, nil)
			lo, hi = min(lo, wait), max(hi, wait)
		}
		fmt.Println(attempt, lo.Round(100*time.Millisecond), hi.Round(100*time.Millisecond))
	}
	// Output:
	// 0 1s 2s
	// 1 2s 4s
	// 2 4s 8s
	// 3 5s 10s
	// 4 5s 10s
}

// An error handler decides what a call that gives up returns.
func ExampleErrorHandler() {
	server := flaky(1000, http.StatusServiceUnavailable)
	defer server.Close()

	client := quick()
	client.RetryMax = 2
	client.ErrorHandler = func(resp *http.Response, err error, numTries int) (*http.Response, error) {
		if resp == nil {
			return nil, err
		}
		resp.Body.Close()
		return nil, fmt.Errorf("status %d, %d times", resp.StatusCode, numTries)
	}
	_, err := client.Get(server.URL)
	show(server, nil, err)
	// Output: error: status 503, 3 times
}

// The last response as net/http would have returned it, instead of an error.
func ExamplePassthroughErrorHandler() {
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.WriteHeader(http.StatusServiceUnavailable)
		io.WriteString(w, "down for maintenance")
	}))
	defer server.Close()

	client := quick()
	client.RetryMax = 2
	client.ErrorHandler = retryablehttp.PassthroughErrorHandler
	resp, err := client.Get(server.URL)
	show(server, resp, err)
	// Output: 503 down for maintenance
}

func ExampleGiveUpError() {
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.WriteHeader(http.StatusServiceUnavailable)
		io.WriteString(w, "down for maintenance")
	}))
	defer server.Close()

	client := quick()
	client.RetryMax = 2
	_, err := client.Get(server.URL)

	var giveUp *retryablehttp.GiveUpError
	if errors.As(err, &giveUp) {
		fmt.Println(giveUp.Attempts, giveUp.Reason)
		if giveUp.Response != nil {
			body, _ := io.ReadAll(giveUp.Response.Body)
			fmt.Println(giveUp.Response.StatusCode, string(body))
		}
	}
	// Output:
	// 3 retries used up
	// 503 down for maintenance
}

// A signature that must not be used twice is made anew for each retry.
func ExamplePrepareRetry() {
	var requests atomic.Int32
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		fmt.Println(r.Header["Signature"])
		if requests.Add(1) < 3 {
			w.WriteHeader(http.StatusServiceUnavailable)
		}
	}))
	defer server.Close()

	signatures := 1
	client := quick()
	client.PrepareRetry = func(req *http.Request) error {
		signatures++
		req.Header.Set("Signature", fmt.Sprintf("number %d", signatures))
		return nil
	}
	req, err := retryablehttp.NewRequest(http.MethodGet, server.URL, nil)
	if err != nil {
		log.Panic(err)
	}
	req.Header.Set("Signature", "number 1")
	resp, err := client.Do(req)
	show(server, resp, err)
	fmt.Println(req.Header["Signature"])
	// Output:
	// [number 1]
	// [number 2]
	// [number 3]
	// 200
	// [number 1]
}

// transport is an http.RoundTripper made of a function.
type transport func(*http.Request) (*http.Response, error)

func (t transport) RoundTrip(req *http.Request) (*http.Response, error) { return t(req) }

// Any transport below the client can tell which attempt it is sending.
func ExampleAttemptNumber() {
	server := flaky(2, http.StatusServiceUnavailable)
	defer server.Close()

	client := quick()
	pool := client.HTTPClient.Transport
	client.HTTPClient.Transport = transport(func(req *http.Request) (*http.Response, error) {
		fmt.Println("attempt", retryablehttp.AttemptNumber(req.Context()))
		return pool.RoundTrip(req)
	})
	resp, err := client.Get(server.URL)
	show(server, resp, err)
	// Output:
	// attempt 1
	// attempt 2
	// attempt 3
	// 200 GET ""
}

// A step says what happens to one attempt on a scripted transport.
type step struct {
	read int64 // bytes of the request's body to read; 0 means all of it
	err  error // the attempt's error, if it has no response

	status int // 0 means 200
	header http.Header
	body   string
	cut    int // if positive, reading the body fails with errReset after so many bytes
}

var (
	errRefused = &net.OpError{Op: "dial", Net: "tcp", Err: syscall.ECONNREFUSED}
	errReset   = &net.OpError{Op: "read", Net: "tcp", Err: syscall.ECONNRESET}
)

// scripted is an http.RoundTripper that performs its steps in order and repeats the last.
type scripted struct {
	steps    []step
	attempts []http.Header // the header of each attempt so far
}

func (s *scripted) RoundTrip(req *http.Request) (*http.Response, error) {
	now := s.steps[min(len(s.attempts), len(s.steps)-1)]
	s.attempts = append(s.attempts, req.Header.Clone())
	if req.Body != nil {
		defer req.Body.Close()
		if _, err := io.CopyN(io.Discard, req.Body, cmp.Or(now.read, math.MaxInt64)); err != nil && err != io.EOF {
			return nil, err
		}
	}
	if now.err != nil {
		return nil, now.err
	}
	resp := &http.Response{
		StatusCode:    cmp.Or(now.status, http.StatusOK),
		Header:        now.header.Clone(),
		Body:          io.NopCloser(strings.NewReader(now.body)),
		ContentLength: int64(len(now.body)),
		Request:       req,
	}
	if resp.Header == nil {
		resp.Header = http.Header{}
	}
	if now.cut > 0 {
		resp.Body = io.NopCloser(io.MultiReader(strings.NewReader(now.body[:now.cut]), iotest.ErrReader(errReset)))
	}
	return resp, nil
}

// script returns a quick client and its transport, which performs the steps.
func script(steps ...step) (*retryablehttp.Client, *scripted) {
	service := &scripted{steps: steps}
	client := quick()
	client.HTTPClient = &http.Client{Transport: service}
	return client, service
}

// A POST whose connection breaks may have been acted on, so it is not sent again. One
// that found nobody listening is, and so is one that was refused with a Retry-After.
func ExampleSafeRetryPolicy() {
	client, service := script(step{err: errReset})
	client.CheckRetry = retryablehttp.SafeRetryPolicy
	_, err := client.Post("http://host/orders", "text/plain", "one, please")
	var giveUp *retryablehttp.GiveUpError
	if errors.As(err, &giveUp) {
		fmt.Println("reset:", giveUp.Reason, len(service.attempts))
	}

	client, service = script(
		step{err: errRefused},
		step{status: 503, header: http.Header{"Retry-After": {"0"}}},
		step{status: 201},
	)
	client.CheckRetry = retryablehttp.SafeRetryPolicy
	resp, err := client.Post("http://host/orders", "text/plain", "one, please")
	if err != nil {
		log.Panic(err)
	}
	resp.Body.Close()
	fmt.Println("refused twice:", resp.StatusCode, len(service.attempts))
	// Output:
	// reset: not retryable 1
	// refused twice: 201 3
}

// An error does not say by itself whether the server may have acted.
func ExampleUnsent() {
	for _, fault := range []struct {
		name string
		err  error
	}{
		{"refuse", errRefused},
		{"reset", errReset},
	} {
		client, _ := script(step{err: fault.err})
		client.RetryMax = 0
		client.CheckRetry = retryablehttp.SafeRetryPolicy
		_, err := client.Post("http://host/orders", "text/plain", "one, please")
		fmt.Printf("%s: %t\n", fault.name, retryablehttp.Unsent(err))
	}
	// Output:
	// refuse: true
	// reset: false
}

// All attempts of a call carry the same key, by which the server knows them for one
// order.
func ExampleNewIdempotencyKey() {
	client, service := script(
		step{err: errReset},
		step{status: 201},
	)
	client.CheckRetry = retryablehttp.SafeRetryPolicy
	client.IdempotencyKey = retryablehttp.NewIdempotencyKey
	resp, err := client.Post("http://host/orders", "text/plain", "one, please")
	if err != nil {
		log.Panic(err)
	}
	resp.Body.Close()
	attempts := service.attempts
	first, second := attempts[0].Get("Idempotency-Key"), attempts[1].Get("Idempotency-Key")
	fmt.Println(resp.StatusCode, len(first), first == second)
	// Output: 201 36 true
}

// A key that means something to both sides, instead of a random one.
func ExampleClient_idempotencyKey() {
	client, service := script(step{status: 201})
	client.IdempotencyKey = func(req *http.Request) string {
		return "shop-7" + req.URL.Path
	}
	resp, err := client.Post("http://host/orders/12", "text/plain", "one, please")
	if err != nil {
		log.Panic(err)
	}
	resp.Body.Close()
	fmt.Println(service.attempts[0].Get("Idempotency-Key"))
	// Output: shop-7/orders/12
}

// A plain reader is streamed. As much of it as ReplayMax says can be sent again.
func ExampleClient_replayMax() {
	send := func(readBeforeTheReset int64) {
		client, service := script(
			step{read: readBeforeTheReset, err: errReset},
			step{},
		)
		client.ReplayMax = 64 << 10
		source := io.LimitReader(zeros{}, 4<<20)
		resp, err := client.Post("http://host/", "application/octet-stream", source)
		if err != nil {
			fmt.Println(errors.Is(err, retryablehttp.ErrNotReplayable), len(service.attempts))
			return
		}
		resp.Body.Close()
		fmt.Println(resp.StatusCode, len(service.attempts))
	}
	send(16 << 10)
	send(2 << 20)
	// Output:
	// 200 2
	// true 1
}

// zeros is a source without an end.
type zeros struct{}

func (zeros) Read(p []byte) (int, error) {
	clear(p)
	return len(p), nil
}

// The connection breaks in the middle of the body. The reader asks for the rest, and
// its caller does not notice.
func ExampleClient_resumeMax() {
	client, service := script(
		step{header: http.Header{"Etag": {`"1"`}}, body: "hello, world", cut: 7},
		step{
			status: http.StatusPartialContent,
			header: http.Header{"Etag": {`"1"`}, "Content-Range": {"bytes 7-11/12"}},
			body:   "world",
		},
	)
	client.ResumeMax = 5
	resp, err := client.Get("http://host/file")
	show(nil, resp, err)
	second := service.attempts[1]
	fmt.Println(second.Get("Range"), second.Get("If-Range"))
	// Output:
	// 200 hello, world
	// bytes=7-11 "1"
}

// The object was replaced while it was being downloaded. What was read is the beginning
// of the old one, and nothing of the new one is added to it.
func ExampleResumeError() {
	client, _ := script(
		step{header: http.Header{"Etag": {`"1"`}}, body: "hello, world", cut: 7},
		step{header: http.Header{"Etag": {`"2"`}}, body: "good-bye"},
	)
	client.ResumeMax = 5
	resp, err := client.Get("http://host/file")
	if err != nil {
		log.Panic(err)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	fmt.Printf("%q %t\n", body, errors.Is(err, retryablehttp.ErrRepresentationChanged))
	fmt.Println(err)
	// Output:
	// "hello, " true
	// resuming http://host/file after 7 bytes: the representation has changed: 200 for a request with If-Range
}

// A short answer that breaks off is a failed attempt, not an error of the reader's.
func ExampleClient_bodyMax() {
	client, service := script(
		step{body: `{"n": 7}`, cut: 3},
		step{body: `{"n": 7}`},
	)
	client.BodyMax = 1 << 20
	resp, err := client.Get("http://host/")
	show(nil, resp, err)
	fmt.Println(len(service.attempts))
	// Output:
	// 200 {"n": 7}
	// 2
}

// One call that is not to be retried, by a client that retries.
func ExampleWithRetryMax() {
	client, service := script(step{status: 503})
	ctx := retryablehttp.WithRetryMax(context.Background(), 0)
	req, err := retryablehttp.NewRequestWithContext(ctx, http.MethodGet, "http://host/", nil)
	if err != nil {
		log.Panic(err)
	}
	_, err = client.Do(req)
	fmt.Println(err, len(service.attempts))
	// Output: GET http://host/ giving up after 1 attempt(s) 1
}

// Another policy for the calls of a context, here through an http.Client.
func ExampleWithCheckRetry() {
	client, service := script(step{status: 502})
	ctx := retryablehttp.WithCheckRetry(context.Background(), retryablehttp.SafeRetryPolicy)
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, "http://host/", strings.NewReader("one, please"))
	if err != nil {
		log.Panic(err)
	}
	resp, err := client.StandardClient().Do(req)
	if err != nil {
		log.Panic(err)
	}
	resp.Body.Close()
	fmt.Println(resp.StatusCode, len(service.attempts))
	// Output: 502 1
}

// A client that gets its transport from a program that retries already: the attempts do
// not multiply.
func ExampleRoundTripper_nested() {
	inner, service := script(step{status: 503})
	inner.RetryMax = 4
	outer := quick()
	outer.RetryMax = 4
	outer.HTTPClient = inner.StandardClient()
	_, err := outer.Get("http://host/")
	fmt.Println(err, len(service.attempts))
	// Output: GET http://host/ giving up after 5 attempt(s) 5
}
