package retryablehttp_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"time"

	"github.com/a0b132ce/retryablehttp"
)

// serve starts a server that handles each request by the next handler and repeats the
// last one.
func serve(handlers ...http.HandlerFunc) *httptest.Server {
	var requests atomic.Int32
	return httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		n := int(requests.Add(1))
		handlers[min(n, len(handlers))-1](w, r)
	}))
}

func unavailable(w http.ResponseWriter, _ *http.Request) {
	http.Error(w, "down for maintenance", http.StatusServiceUnavailable)
}

func disconnect(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) }

// cutOff sends the first 5 of 12 bytes.
func cutOff(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("ETag", `"1"`)
	w.Header().Set("Content-Length", "12")
	io.WriteString(w, "hello")
	http.NewResponseController(w).Flush()
	disconnect(w, r)
}

// hello responds with the method and the body of the request.
func hello(w http.ResponseWriter, r *http.Request) {
	body, err := io.ReadAll(r.Body)
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	fmt.Fprintf(w, "hello, %s %s", r.Method, body)
}

// newClient returns a client that waits only briefly.
func newClient() *retryablehttp.Client {
	client := retryablehttp.NewClient()
	client.RetryWaitMin, client.RetryWaitMax = time.Millisecond, 2*time.Millisecond
	return client
}

// show prints the status and the body of resp, or err.
func show(resp *http.Response, err error) {
	if err != nil {
		fmt.Println("error:", err)
		return
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		fmt.Println("error:", err)
		return
	}
	fmt.Println(strings.TrimSpace(fmt.Sprintf("%d %s", resp.StatusCode, body)))
}

// The package-level functions are those of net/http.
func Example() {
	server := serve(hello)
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
	// Output: 200 OK hello, GET
}

func ExampleNewClient() {
	server := serve(unavailable, unavailable, hello)
	defer server.Close()

	client := retryablehttp.NewClient()
	client.RetryMax = 3
	client.RetryWaitMin = 1 * time.Millisecond // the default is 1 s
	client.RetryWaitMax = 9 * time.Millisecond // the default is 30 s
	show(client.Get(server.URL))
	// Output: 200 hello, GET
}

// The deadline of the context limits the whole call: all attempts and the waits between
// them.
func ExampleClient_Do() {
	server := serve(unavailable, hello)
	defer server.Close()

	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	req, err := retryablehttp.NewRequestWithContext(ctx, http.MethodPut, server.URL, []byte(`{"n":1}`))
	if err != nil {
		log.Panic(err)
	}
	req.Header.Set("Content-Type", "application/json")
	show(newClient().Do(req))
	// Output: 200 hello, PUT {"n":1}
}

// Each attempt sends a file from its current offset to its end. The file is not read
// into memory.
func ExampleClient_Post() {
	server := serve(unavailable, unavailable, hello)
	defer server.Close()

	name := filepath.Join(os.TempDir(), fmt.Sprintf("retryablehttp-example-%d", os.Getpid()))
	if err := os.WriteFile(name, []byte("header|content"), 0o600); err != nil {
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

	show(newClient().Post(server.URL, "text/plain", file))
	// Output: 200 hello, POST content
}

// StandardClient returns an *http.Client for packages that need one.
func ExampleClient_StandardClient() {
	server := serve(unavailable, hello)
	defer server.Close()

	standard := newClient().StandardClient()
	show(standard.Post(server.URL, "text/plain", strings.NewReader("world")))
	// Output: 200 hello, POST world
}

// An existing http.Client keeps its transport, Jar, CheckRedirect and Timeout.
func ExampleRoundTripper() {
	server := serve(unavailable, hello)
	defer server.Close()

	existing := &http.Client{
		Transport: &http.Transport{MaxIdleConnsPerHost: 10},
		Timeout:   10 * time.Second,
	}
	defer existing.CloseIdleConnections()

	existing.Transport = &retryablehttp.RoundTripper{
		Base:   existing.Transport,
		Client: newClient(),
	}
	show(existing.Get(server.URL))
	// Output: 200 hello, GET
}

func ExampleFromRequest() {
	server := serve(unavailable, hello)
	defer server.Close()

	standard, err := http.NewRequest(http.MethodPost, server.URL, strings.NewReader("world"))
	if err != nil {
		log.Panic(err)
	}
	req, err := retryablehttp.FromRequest(standard)
	if err != nil {
		log.Panic(err)
	}
	show(newClient().Do(req))
	// Output: 200 hello, POST world
}

// The function is called for each attempt and returns a new reader.
func ExampleReaderFunc() {
	server := serve(unavailable, hello)
	defer server.Close()

	attempt := 0
	body := retryablehttp.ReaderFunc(func() (io.Reader, error) {
		attempt++
		return strings.NewReader(fmt.Sprintf("attempt %d", attempt)), nil
	})
	show(newClient().Post(server.URL, "text/plain", body))
	// Output: 200 hello, POST attempt 2
}

// A response whose body is not valid JSON is retried.
func ExampleRequest_SetResponseHandler() {
	server := serve(
		func(w http.ResponseWriter, _ *http.Request) { io.WriteString(w, `{"n": `) },
		func(w http.ResponseWriter, _ *http.Request) { io.WriteString(w, `{"n": 7}`) },
	)
	defer server.Close()

	req, err := retryablehttp.NewRequest(http.MethodGet, server.URL, nil)
	if err != nil {
		log.Panic(err)
	}
	var result struct{ N int }
	req.SetResponseHandler(func(resp *http.Response) error {
		return json.NewDecoder(resp.Body).Decode(&result)
	})
	resp, err := newClient().Do(req)
	if err != nil {
		log.Panic(err)
	}
	resp.Body.Close()
	fmt.Println(result.N)
	// Output: 7
}

// This policy also retries 404, for an object that was created a moment ago.
func ExampleCheckRetry() {
	server := serve(http.NotFound, hello)
	defer server.Close()

	client := newClient()
	client.CheckRetry = func(ctx context.Context, resp *http.Response, err error) (bool, error) {
		if err == nil && resp.StatusCode == http.StatusNotFound {
			return true, nil
		}
		return retryablehttp.DefaultRetryPolicy(ctx, resp, err)
	}
	show(client.Get(server.URL))
	// Output: 200 hello, GET
}

// The server may have acted on a POST whose response was lost. SafeRetryPolicy does not
// send it again.
func ExampleSafeRetryPolicy() {
	server := serve(disconnect)
	defer server.Close()

	client := newClient()
	client.CheckRetry = retryablehttp.SafeRetryPolicy
	_, err := client.Post(server.URL, "text/plain", "one book")
	var giveUp *retryablehttp.GiveUpError
	if errors.As(err, &giveUp) {
		fmt.Println(giveUp.Attempts, giveUp.Reason)
	}
	// Output: 1 not retryable
}

// With a key SafeRetryPolicy retries a POST: the server recognizes the second request by
// its key.
func ExampleClient_idempotencyKey() {
	printKey := func(r *http.Request) { fmt.Println("Idempotency-Key:", r.Header.Get("Idempotency-Key")) }
	server := serve(
		func(w http.ResponseWriter, r *http.Request) { printKey(r); disconnect(w, r) },
		func(w http.ResponseWriter, r *http.Request) { printKey(r); hello(w, r) },
	)
	defer server.Close()

	client := newClient()
	client.CheckRetry = retryablehttp.SafeRetryPolicy
	client.IdempotencyKey = func(req *http.Request) string { // or retryablehttp.NewIdempotencyKey
		return "order-" + req.URL.Query().Get("order")
	}
	show(client.Post(server.URL+"?order=12", "text/plain", "one book"))
	// Output:
	// Idempotency-Key: order-12
	// Idempotency-Key: order-12
	// 200 hello, POST one book
}

// If the connection is refused, the server cannot have acted on the request.
func ExampleUnsent() {
	refuses := serve(hello)
	refuses.Close()
	disconnects := serve(disconnect)
	defer disconnects.Close()

	client := newClient()
	client.CheckRetry = retryablehttp.SafeRetryPolicy
	_, err := client.Post(refuses.URL, "text/plain", "one book")
	fmt.Println("refused:", retryablehttp.Unsent(err))
	_, err = client.Post(disconnects.URL, "text/plain", "one book")
	fmt.Println("disconnected:", retryablehttp.Unsent(err))
	// Output:
	// refused: true
	// disconnected: false
}

// The third argument is 0 after the first attempt.
func ExampleBackoff() {
	server := serve(unavailable, unavailable, hello)
	defer server.Close()

	client := newClient()
	client.Backoff = func(_, _ time.Duration, attemptNum int, _ *http.Response) time.Duration {
		return time.Duration(attemptNum+1) * time.Millisecond
	}
	client.OnAttempt = func(a retryablehttp.Attempt) { fmt.Println(a.Number, a.Wait) }
	show(client.Get(server.URL))
	// Output:
	// 1 1ms
	// 2 2ms
	// 3 0s
	// 200 hello, GET
}

func ExampleGiveUpError() {
	server := serve(unavailable)
	defer server.Close()

	client := newClient()
	client.RetryMax = 2
	_, err := client.Get(server.URL)
	var giveUp *retryablehttp.GiveUpError
	if errors.As(err, &giveUp) {
		fmt.Println(giveUp.Attempts, "attempts:", giveUp.Reason)
		if giveUp.Response != nil {
			show(giveUp.Response, nil)
		}
	}
	// Output:
	// 3 attempts: retries used up
	// 503 down for maintenance
}

// The call returns the last response instead of an error, as net/http does.
func ExamplePassthroughErrorHandler() {
	server := serve(unavailable)
	defer server.Close()

	client := newClient()
	client.ErrorHandler = retryablehttp.PassthroughErrorHandler
	show(client.Get(server.URL))
	// Output: 503 down for maintenance
}

// Each retry is signed again.
func ExamplePrepareRetry() {
	server := serve(unavailable, func(w http.ResponseWriter, r *http.Request) {
		fmt.Fprint(w, r.Header.Get("Signature"))
	})
	defer server.Close()

	sign := func(req *http.Request) error {
		req.Header.Set("Signature", "signature of "+req.URL.Path) // and of the time
		return nil
	}
	client := newClient()
	client.PrepareRetry = sign
	req, err := retryablehttp.NewRequest(http.MethodGet, server.URL+"/books", nil)
	if err != nil {
		log.Panic(err)
	}
	if err := sign(req.Request); err != nil {
		log.Panic(err)
	}
	show(client.Do(req))
	// Output: 200 signature of /books
}

// OnAttempt can be used for metrics and traces.
func ExampleClient_onAttempt() {
	server := serve(unavailable)
	defer server.Close()

	client := newClient()
	client.RetryMax = 1
	client.OnAttempt = func(a retryablehttp.Attempt) {
		fmt.Printf("attempt %d: %s, retry: %t (%s)\n", a.Number, a.Response.Status, a.Retry, a.Reason)
	}
	if _, err := client.Get(server.URL); err != nil {
		fmt.Println("the call failed")
	}
	// Output:
	// attempt 1: 503 Service Unavailable, retry: true (status)
	// attempt 2: 503 Service Unavailable, retry: false (retries used up)
	// the call failed
}

// Query values are redacted. See Client.RedactURL.
func ExampleClient_logger() {
	server := serve(unavailable, hello)
	defer server.Close()

	client := newClient()
	client.Logger = slog.New(slog.NewTextHandler(os.Stdout, &slog.HandlerOptions{
		Level: slog.LevelDebug,
		ReplaceAttr: func(_ []string, a slog.Attr) slog.Attr {
			switch a.Key {
			case slog.TimeKey, "wait": // differ in each run
				return slog.Attr{}
			case "url":
				a.Value = slog.StringValue(strings.ReplaceAll(a.Value.String(), server.URL, "http://host"))
			}
			return a
		},
	}))
	show(client.Get(server.URL + "/books?key=secret"))
	// Output:
	// level=DEBUG msg="performing request" method=GET url="http://host/books?key=REDACTED"
	// level=WARN msg="retrying request" method=GET url="http://host/books?key=REDACTED" attempt=1 remaining=4 cause="unexpected HTTP status 503 Service Unavailable" status=503
	// level=INFO msg="request succeeded after retries" method=GET url="http://host/books?key=REDACTED" attempts=2 status=200
	// 200 hello, GET
}

// An attempt that gets no response headers in time is retried.
func ExampleClient_attemptTimeout() {
	server := serve(func(_ http.ResponseWriter, r *http.Request) { <-r.Context().Done() })
	defer server.Close()

	client := newClient()
	client.RetryMax = 1
	client.AttemptTimeout = 20 * time.Millisecond
	_, err := client.Get(server.URL)
	var giveUp *retryablehttp.GiveUpError
	if errors.As(err, &giveUp) {
		fmt.Println(giveUp.Attempts, errors.Is(err, retryablehttp.ErrAttemptTimeout))
	}
	// Output: 2 true
}

// A response whose body is cut off is retried before the call returns.
func ExampleClient_bufferMax() {
	server := serve(cutOff, hello)
	defer server.Close()

	client := newClient()
	client.BufferMax = 1 << 20
	show(client.Get(server.URL))
	// Output: 200 hello, GET
}

// The connection is cut off after 5 bytes. The body continues with a request for the
// rest.
func ExampleClient_resumeMax() {
	server := serve(cutOff, func(w http.ResponseWriter, r *http.Request) {
		fmt.Println("Range:", r.Header.Get("Range"))
		w.Header().Set("ETag", `"1"`)
		http.ServeContent(w, r, "", time.Time{}, strings.NewReader("hello, world"))
	})
	defer server.Close()

	client := newClient()
	client.ResumeMax = 5
	show(client.Get(server.URL))
	// Output:
	// Range: bytes=5-11
	// 200 hello, world
}

// The object was replaced between the first request and the request for the rest.
func ExampleResumeError() {
	server := serve(cutOff, func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("ETag", `"2"`)
		http.ServeContent(w, r, "", time.Time{}, strings.NewReader("other content"))
	})
	defer server.Close()

	client := newClient()
	client.ResumeMax = 5
	resp, err := client.Get(server.URL)
	if err != nil {
		log.Panic(err)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	var resumeErr *retryablehttp.ResumeError
	if errors.As(err, &resumeErr) {
		fmt.Println(string(body), resumeErr.Offset, errors.Is(err, retryablehttp.ErrRepresentationChanged))
	}
	// Output: hello 5 true
}

// This call is not retried, although the client retries others.
func ExampleWithRetryMax() {
	server := serve(unavailable)
	defer server.Close()

	ctx := retryablehttp.WithRetryMax(context.Background(), 0)
	req, err := retryablehttp.NewRequestWithContext(ctx, http.MethodGet, server.URL, nil)
	if err != nil {
		log.Panic(err)
	}
	_, err = newClient().Do(req)
	var giveUp *retryablehttp.GiveUpError
	if errors.As(err, &giveUp) {
		fmt.Println("attempts:", giveUp.Attempts)
	}
	// Output: attempts: 1
}

func ExampleRecommended() {
	server := serve(unavailable, hello)
	defer server.Close()

	client := retryablehttp.Recommended()
	client.RetryWaitMin, client.RetryWaitMax = time.Millisecond, 2*time.Millisecond // for the example
	client.OnDone = func(o retryablehttp.Outcome) {
		fmt.Printf("%s: %d attempts, status %d\n", o.Method, o.Attempts, o.Status)
	}
	resp, err := client.Get(server.URL)
	if err != nil {
		log.Fatal(err)
	}
	resp.Body.Close()
	// Output: GET: 2 attempts, status 200
}

// A job that calls two services lets all of its retries share a budget, and fails at once
// if that is used up.
func ExampleBudget() {
	server := serve(unavailable)
	defer server.Close()

	client := newClient()
	client.RetryMax = 100
	client.Budget = &retryablehttp.Budget{MinPerSecond: -1, MaxWaiting: -1}
	_, err := client.Get(server.URL)
	var failed *retryablehttp.GiveUpError
	if errors.As(err, &failed) {
		fmt.Println(failed.Reason, "after", failed.Attempts, "attempts:", errors.Is(err, retryablehttp.ErrBudgetExhausted))
	}
	// Output: budget after 11 attempts: true
}

// After a 429 with Retry-After no call is sent to the host before. A call that has no time
// to wait fails at once.
func ExampleGate() {
	server := serve(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Retry-After", "60")
		w.WriteHeader(http.StatusTooManyRequests)
	})
	defer server.Close()

	client := newClient()
	client.Gate = new(retryablehttp.Gate)
	client.MaxElapsedTime = 10 * time.Second
	_, err := client.Get(server.URL)
	fmt.Println("first call:", reason(err))
	_, err = client.Get(server.URL)
	fmt.Println("second call:", reason(err))
	// Output:
	// first call: max elapsed time after 1 attempts
	// second call: max elapsed time after 0 attempts
}

func reason(err error) string {
	var failed *retryablehttp.GiveUpError
	if !errors.As(err, &failed) {
		return fmt.Sprint(err)
	}
	return fmt.Sprintf("%s after %d attempts", failed.Reason, failed.Attempts)
}
