// Quickstart drives a flaky server through the library in the ways that programs
// use it, shows every attempt, and checks that nothing was lost on the way. It
// needs no network and takes about a second and a half.
//
//	go run ./examples/quickstart
package main

import (
	"bytes"
	"context"
	"crypto/rand"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"os"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/a0b132ce/retryablehttp"
)

func main() {
	if err := run(os.Stdout); err != nil {
		fmt.Fprintln(os.Stderr, "quickstart:", err)
		os.Exit(1)
	}
}

// A scenario is one way to use the library. It returns what it has verified, or
// what went wrong.
type scenario struct {
	title string
	use   func(context.Context, *flakyServer, *trace) (verified string, err error)
}

var scenarios = []scenario{
	{"retryablehttp.Get, against a 503 with Retry-After: 1", packageLevelGet},
	{"Client.Post of a file: a reset, a 503, then a 307", postFile},
	{"Client.AttemptTimeout, against a server that stalls", stalledAttempt},
	{"an http.Client with a RoundTripper: PUT, a 503, then a 307", wrappedClient},
	{"Client.Logger is a *slog.Logger; the query is redacted", logged},
	{"giving up: what the error knows", givingUp},
	{"100 uploads at once, two of three attempts disturbed", crowd},
}

func run(out io.Writer) error {
	server := newFlakyServer()
	defer server.close()

	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()

	// They run at the same time, each with a trace of its own, and are printed in
	// the order in which they are listed.
	start := time.Now()
	traces := make([]trace, len(scenarios))
	verified := make([]string, len(scenarios))
	failures := make([]error, len(scenarios))
	var all sync.WaitGroup
	for i, s := range scenarios {
		traces[i].title = s.title
		all.Go(func() { verified[i], failures[i] = s.use(ctx, server, &traces[i]) })
	}
	all.Wait()
	took := time.Since(start)

	printTraces(out, traces)
	fmt.Fprintln(out)
	failed := 0
	for i := range scenarios {
		if failures[i] != nil {
			failed++
			fmt.Fprintf(out, "LOST  %d  %v\n", i+1, failures[i])
		} else {
			fmt.Fprintf(out, "ok    %d  %s\n", i+1, verified[i])
		}
	}
	fmt.Fprintf(out, "\n%d of %d as expected, in %s\n", len(scenarios)-failed, len(scenarios), took.Round(10*time.Millisecond))
	if failed > 0 {
		return fmt.Errorf("%d of %d scenarios lost something", failed, len(scenarios))
	}
	return nil
}

// newClient is the client of most scenarios: NewClient with shorter waits, and with
// every attempt noted down.
func newClient(t *trace) *retryablehttp.Client {
	client := retryablehttp.NewClient()
	client.RetryWaitMin = 10 * time.Millisecond
	client.RetryWaitMax = 100 * time.Millisecond
	client.OnAttempt = t.add
	return client
}

// The package-level functions use a shared client with the defaults. It has no
// OnAttempt, so what is shown is what the server saw.
func packageLevelGet(_ context.Context, server *flakyServer, t *trace) (string, error) {
	start := time.Now()
	resp, err := retryablehttp.Get(server.url + "/ask-to-wait")
	took := time.Since(start)
	if err != nil {
		return "", err
	}
	body, err := readAndClose(resp)
	if err != nil {
		return "", err
	}
	for i, seen := range server.seen("/ask-to-wait") {
		t.note("request %d reached the server after %s", i+1, milliseconds(seen.Sub(start)))
	}
	if took < time.Second {
		return "", fmt.Errorf("Retry-After: 1 was not obeyed: the call took %s", took)
	}
	return fmt.Sprintf("Retry-After was obeyed: %q after %s", body, milliseconds(took)), nil
}

// A file is streamed from its offset for every attempt, and stays open.
func postFile(_ context.Context, server *flakyServer, t *trace) (string, error) {
	content := make([]byte, 1<<20)
	rand.Read(content)
	file, err := os.CreateTemp("", "quickstart-*")
	if err != nil {
		return "", err
	}
	defer os.Remove(file.Name())
	defer file.Close()
	if _, err := file.Write(content); err != nil {
		return "", err
	}
	if _, err := file.Seek(0, io.SeekStart); err != nil {
		return "", err
	}

	resp, err := newClient(t).Post(server.url+"/upload", "application/octet-stream", file)
	if err != nil {
		return "", err
	}
	got, err := readAndClose(resp)
	if err != nil {
		return "", err
	}
	return verifyHash("the file", content, got)
}

// An attempt that has no response headers in time is a failure like any other. The
// caller's own deadline is not touched by it.
func stalledAttempt(ctx context.Context, server *flakyServer, t *trace) (string, error) {
	client := newClient(t)
	client.AttemptTimeout = 150 * time.Millisecond
	req, err := retryablehttp.NewRequestWithContext(ctx, http.MethodGet, server.url+"/stall", nil)
	if err != nil {
		return "", err
	}
	resp, err := client.Do(req)
	if err != nil {
		return "", err
	}
	body, err := readAndClose(resp)
	return fmt.Sprintf("the second attempt was answered %q", body), err
}

// A program that has an http.Client keeps it. Redirects are followed by that client,
// each hop is a call with attempts of its own.
func wrappedClient(ctx context.Context, server *flakyServer, t *trace) (string, error) {
	content := bytes.Repeat([]byte("hop by hop, "), 5000)
	existing := &http.Client{Timeout: 4 * time.Second}
	existing.Transport = &retryablehttp.RoundTripper{Client: newClient(t)}

	req, err := http.NewRequestWithContext(ctx, http.MethodPut, server.url+"/moved", bytes.NewReader(content))
	if err != nil {
		return "", err
	}
	resp, err := existing.Do(req)
	if err != nil {
		return "", err
	}
	got, err := readAndClose(resp)
	if err != nil {
		return "", err
	}
	return verifyHash("the body", content, got)
}

func logged(ctx context.Context, server *flakyServer, t *trace) (string, error) {
	var lines bytes.Buffer
	client := newClient(t)
	client.Logger = slog.New(slog.NewTextHandler(&lines, &slog.HandlerOptions{
		Level: slog.LevelDebug,
		ReplaceAttr: func(_ []string, a slog.Attr) slog.Attr {
			if a.Key == slog.TimeKey {
				return slog.Attr{} // to keep the lines short
			}
			return a
		},
	}))
	req, err := retryablehttp.NewRequestWithContext(ctx, http.MethodGet, server.url+"/busy?token=s3cret", nil)
	if err != nil {
		return "", err
	}
	resp, err := client.Do(req)
	if err != nil {
		return "", err
	}
	resp.Body.Close()
	for line := range bytes.Lines(lines.Bytes()) {
		t.note("%s", bytes.TrimSpace(line))
	}
	if bytes.Contains(lines.Bytes(), []byte("s3cret")) {
		return "", errors.New("the log has the token")
	}
	return "the log has the attempts and not the token", nil
}

func givingUp(ctx context.Context, server *flakyServer, t *trace) (string, error) {
	client := newClient(t)
	client.RetryMax = 2
	req, err := retryablehttp.NewRequestWithContext(ctx, http.MethodGet, server.url+"/down", nil)
	if err != nil {
		return "", err
	}
	_, err = client.Do(req)
	var giveUp *retryablehttp.GiveUpError
	if !errors.As(err, &giveUp) {
		return "", fmt.Errorf("a *GiveUpError was due, not %v", err)
	}
	t.note("%v", err)
	body, err := io.ReadAll(giveUp.Response.Body)
	if err != nil {
		return "", err
	}
	return fmt.Sprintf("%d attempts, %s, last answer %d %q",
		giveUp.Attempts, giveUp.Reason, giveUp.Response.StatusCode, body), nil
}

// Many goroutines share one client. Each upload has to arrive once, and whole.
func crowd(ctx context.Context, server *flakyServer, t *trace) (string, error) {
	const uploads = 100
	client := newClient(t)
	client.RetryWaitMin, client.RetryWaitMax = time.Millisecond, 20*time.Millisecond
	var attempts, retries atomic.Int64
	client.OnAttempt = func(a retryablehttp.Attempt) {
		attempts.Add(1)
		if a.Retry {
			retries.Add(1)
		}
	}

	failures := make([]error, uploads)
	var all sync.WaitGroup
	for i := range uploads {
		all.Go(func() {
			content := bytes.Repeat([]byte{byte(i)}, 1000+100*i)
			req, err := retryablehttp.NewRequestWithContext(ctx, http.MethodPost, fmt.Sprintf("%s/crowd/%d", server.url, i), content)
			if err != nil {
				failures[i] = err
				return
			}
			resp, err := client.Do(req)
			if err != nil {
				failures[i] = err
				return
			}
			got, err := readAndClose(resp)
			if err == nil {
				_, err = verifyHash("upload", content, got)
			}
			failures[i] = err
		})
	}
	all.Wait()
	t.note("%d attempts for %d uploads, %d of them retried", attempts.Load(), uploads, retries.Load())
	if lost := slices.IndexFunc(failures, func(err error) bool { return err != nil }); lost >= 0 {
		return "", fmt.Errorf("upload %d: %w", lost, failures[lost])
	}
	if n := server.accepted("/crowd/"); n != uploads {
		return "", fmt.Errorf("%d uploads were made and %d accepted", uploads, n)
	}
	return fmt.Sprintf("%d of %d uploads accepted, each once and with its own bytes", uploads, uploads), nil
}

func readAndClose(resp *http.Response) ([]byte, error) {
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err == nil && resp.StatusCode != http.StatusOK {
		err = fmt.Errorf("unexpected status %s", resp.Status)
	}
	return body, err
}

// verifyHash compares what was sent with the server's hash of what it got.
func verifyHash(what string, sent, got []byte) (string, error) {
	if want := describe(sent); string(got) != want {
		return "", fmt.Errorf("%s did not arrive as it was sent: sent %s, arrived %s", what, want, got)
	}
	return fmt.Sprintf("%s arrived whole: %s", what, got), nil
}

// describe is also what the server answers to an upload.
func describe(body []byte) string {
	return fmt.Sprintf("%d bytes, sha256 %.8x…", len(body), sha256.Sum256(body))
}
