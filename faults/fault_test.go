package faults_test

import (
	"bufio"
	"bytes"
	"context"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/a0b132ce/retryablehttp"
	"github.com/a0b132ce/retryablehttp/retrytest"
)

var protocols = []retrytest.Protocol{retrytest.HTTP1, retrytest.HTTPS, retrytest.HTTP2}

// faultClient returns a client that sends through server.Client(), retries up to four
// times and waits 2 ms at most.
func faultClient(server *retrytest.Server) *retryablehttp.Client {
	client := retryablehttp.NewClient()
	client.HTTPClient = server.Client()
	client.RetryWaitMin, client.RetryWaitMax = time.Millisecond, 2*time.Millisecond
	return client
}

// onEach runs test against a server of each protocol and checks that no connection
// stays open.
func onEach(t *testing.T, protocols []retrytest.Protocol, steps []retrytest.Step, test func(*testing.T, *retrytest.Server, *retryablehttp.Client)) {
	t.Helper()
	for _, protocol := range protocols {
		t.Run(string(protocol), func(t *testing.T) {
			server := retrytest.NewServer(protocol, steps...)
			defer server.Close()
			test(t, server, faultClient(server))
			requireNoOpenConns(t, server)
		})
	}
}

// requireNoOpenConns fails the test if a connection stays open that no call uses.
func requireNoOpenConns(t *testing.T, server *retrytest.Server) {
	t.Helper()
	require.Eventually(t, func() bool {
		// A connection may need a moment to become idle.
		server.Client().CloseIdleConnections()
		return server.OpenConns() == 0
	}, 10*time.Second, 2*time.Millisecond, "connections leaked")
}

// readBody returns the body of resp and closes it.
func readBody(t *testing.T, resp *http.Response) string {
	t.Helper()
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	require.NoError(t, err)
	return string(body)
}

// randomBytes returns n pseudo-random bytes, the same in every run.
func randomBytes(n int) []byte {
	data := make([]byte, n)
	rand.NewChaCha8([32]byte{1}).Read(data)
	return data
}

// DefaultRetryPolicy retries transport errors. Here the connection is refused.
func TestFaultConnectionRefusedIsRetried(t *testing.T) {
	gone := retrytest.NewServer(retrytest.HTTP1)
	gone.Close()
	server := retrytest.NewServer(retrytest.HTTP1, retrytest.Step{Body: "done"})
	defer server.Close()
	client := faultClient(server)
	t.Run("until somebody listens", func(t *testing.T) {
		var dials atomic.Int32
		var dialer net.Dialer
		transport := &http.Transport{DialContext: func(ctx context.Context, network, addr string) (net.Conn, error) {
			if dials.Add(1) < 3 {
				addr = strings.TrimPrefix(gone.URL, "http://")
			}
			return dialer.DialContext(ctx, network, addr)
		}}
		defer transport.CloseIdleConnections()
		client.HTTPClient = &http.Client{Transport: transport}
		resp, err := client.Post(server.URL, "", "question")
		require.NoError(t, err)
		assert.Equal(t, "done", readBody(t, resp))
		assert.Equal(t, "question", string(server.Attempts()[0].Body))
		assert.EqualValues(t, 3, dials.Load())
	})
	t.Run("until the retries are used up", func(t *testing.T) {
		client.HTTPClient = gone.Client()
		_, err := client.Get(gone.URL)
		requireGiveUp(t, err, retryablehttp.ReasonRetriesUsedUp, 5)
		refused := syscall.ECONNREFUSED
		if runtime.GOOS == "windows" {
			refused = 10061
		}
		assert.ErrorIs(t, err, refused)
	})
}

// requireGiveUp checks that err is a GiveUpError with the given reason and attempts.
func requireGiveUp(t *testing.T, err error, reason retryablehttp.Reason, attempts int) *retryablehttp.GiveUpError {
	t.Helper()
	var giveUp *retryablehttp.GiveUpError
	require.ErrorAs(t, err, &giveUp)
	assert.Equal(t, reason, giveUp.Reason, "%v", err)
	assert.Equal(t, attempts, giveUp.Attempts, "%v", err)
	return giveUp
}

// DefaultRetryPolicy retries transport errors, and each attempt has its own body reader.
func TestFaultBrokenConnectionIsRetriedWithTheWholeBody(t *testing.T) {
	upload := randomBytes(300_000)
	for name, step := range map[string]retrytest.Step{
		"reset before the request is read": {Read: retrytest.HeadersOnly, Fault: retrytest.Reset},
		"reset while the body is written":  {Read: 100_000, Fault: retrytest.Reset},
		"reset after the request":          {Fault: retrytest.Reset},
		"closed before the body is read":   {Read: retrytest.HeadersOnly, Fault: retrytest.Close},
		"closed after the request":         {Fault: retrytest.Close},
	} {
		t.Run(name, func(t *testing.T) {
			// The first failure is on the connection of the GET, the second on a new
			// one.
			step.Times = 2
			onEach(t, protocols, []retrytest.Step{{}, step, {Body: "done"}}, func(t *testing.T, server *retrytest.Server, client *retryablehttp.Client) {
				resp, err := client.Get(server.URL)
				require.NoError(t, err)
				resp.Body.Close()
				resp, err = client.Post(server.URL, "", upload)
				require.NoError(t, err)
				assert.Equal(t, "done", readBody(t, resp))
				attempts := server.Attempts()
				require.Len(t, attempts, 4)
				assert.Equal(t, sha256.Sum256(upload), attempts[3].BodySHA256)
			})
		})
	}
}

// An error response is retried even if its body cannot be read.
func TestFaultErrorBodyThatFailsIsRetried(t *testing.T) {
	body := strings.Repeat("b", 10_000)
	for name, step := range map[string]retrytest.Step{
		"closed after the headers":  {After: retrytest.HeadersOnly, Fault: retrytest.Close},
		"stalled after the headers": {After: retrytest.HeadersOnly, Fault: retrytest.Stall},
		"truncated":                 {After: 5000, Fault: retrytest.Close},
		"broken chunk":              {After: 5000, Fault: retrytest.Close, Chunked: true},
		"reset":                     {After: 5000, Fault: retrytest.Reset},
		"stalled":                   {After: 5000, Fault: retrytest.Stall},
	} {
		t.Run(name, func(t *testing.T) {
			step.Status, step.Body, step.Times = 503, body, 2
			onEach(t, protocols, []retrytest.Step{step, {Body: "done"}}, func(t *testing.T, server *retrytest.Server, client *retryablehttp.Client) {
				resp, err := client.Post(server.URL, "", "question")
				require.NoError(t, err)
				assert.Equal(t, "done", readBody(t, resp))
				attempts := server.Attempts()
				require.Len(t, attempts, 3)
				assert.Equal(t, "question", string(attempts[2].Body))
			})
		})
	}
}

// The error of a ResponseHandler is passed to the policy like a transport error.
func TestFaultTruncatedResponseIsRetriedWhenAHandlerReadsIt(t *testing.T) {
	response := strings.Repeat("a", 10_000)
	steps := []retrytest.Step{
		{Body: response, Fault: retrytest.Close, After: 5000},
		{Body: response, Fault: retrytest.Reset, After: 5000},
		{Body: response},
	}
	onEach(t, protocols, steps, func(t *testing.T, server *retrytest.Server, client *retryablehttp.Client) {
		req, err := retryablehttp.NewRequest("GET", server.URL, nil)
		require.NoError(t, err)
		req.SetResponseHandler(func(resp *http.Response) error {
			body, err := io.ReadAll(resp.Body)
			resp.Body.Close()
			resp.Body = io.NopCloser(bytes.NewReader(body))
			return err
		})
		resp, err := client.Do(req)
		require.NoError(t, err)
		assert.Equal(t, response, readBody(t, resp))
		assert.Len(t, server.Attempts(), 3)
	})
}

// An error while the caller reads the body is returned to the caller, as by net/http.
func TestFaultTruncatedResponseIsSeenByTheCaller(t *testing.T) {
	for _, fault := range []retrytest.Fault{retrytest.Close, retrytest.Reset} {
		t.Run(string(fault), func(t *testing.T) {
			steps := []retrytest.Step{{Body: strings.Repeat("a", 10_000), Fault: fault, After: 5000, Delay: time.Millisecond}}
			onEach(t, protocols[:1], steps, func(t *testing.T, server *retrytest.Server, client *retryablehttp.Client) {
				resp, err := client.Get(server.URL)
				require.NoError(t, err)
				defer resp.Body.Close()
				_, err = io.ReadAll(resp.Body)
				assert.Error(t, err)
				assert.Len(t, server.Attempts(), 1)
			})
		})
	}
}

// A call that fails reads the body of its last response for 1 s at most.
func TestFaultStalledLastBodyDoesNotHoldUpTheError(t *testing.T) {
	steps := []retrytest.Step{{Status: 503, Body: "half", Fault: retrytest.Stall, After: 2}}
	onEach(t, protocols, steps, func(t *testing.T, server *retrytest.Server, client *retryablehttp.Client) {
		client.RetryMax = 0
		start := time.Now()
		_, err := client.Get(server.URL)
		took := time.Since(start)
		giveUp := requireGiveUp(t, err, retryablehttp.ReasonRetriesUsedUp, 1)
		assert.Less(t, took, 1500*time.Millisecond)
		require.NotNil(t, giveUp.Response)
		kept, err := io.ReadAll(giveUp.Response.Body)
		assert.Equal(t, "ha", string(kept))
		assert.Error(t, err)
	})
}

// Reading the body of an error response does not delay the retry.
func TestFaultSlowDripOfAnErrorBodyDoesNotDelayTheRetry(t *testing.T) {
	drip := retrytest.Step{Status: 503, Body: strings.Repeat("d", 4096), Drip: 100 * time.Millisecond, Times: 2}
	for _, wait := range []time.Duration{0, 20 * time.Millisecond} {
		t.Run(fmt.Sprint("after ", wait), func(t *testing.T) {
			onEach(t, protocols, []retrytest.Step{drip, {}}, func(t *testing.T, server *retrytest.Server, client *retryablehttp.Client) {
				client.RetryWaitMin, client.RetryWaitMax = wait, wait
				resp, err := client.Get(server.URL)
				require.NoError(t, err)
				resp.Body.Close()
				attempts := server.Attempts()
				require.Len(t, attempts, 3)
				assert.Less(t, attempts[1].Time.Sub(attempts[0].Time), 150*time.Millisecond)
				assert.Less(t, attempts[2].Time.Sub(attempts[1].Time), 150*time.Millisecond)
			})
		})
	}
	t.Run("to the millisecond", func(t *testing.T) {
		for _, wait := range []time.Duration{50 * time.Millisecond, 100 * time.Millisecond, time.Second, time.Minute} {
			synctest.Test(t, func(t *testing.T) {
				transport := retrytest.NewTransport(drip, retrytest.Step{})
				client := retryablehttp.NewClient()
				client.HTTPClient = &http.Client{Transport: transport}
				client.RetryWaitMin, client.RetryWaitMax = wait, wait
				if wait >= time.Second {
					time.AfterFunc(101*time.Millisecond, func() {
						assert.Zero(t, transport.OpenBodies(), "the body is closed after 100 ms, not only at the retry")
					})
				}
				resp, err := client.Get("http://host")
				require.NoError(t, err)
				resp.Body.Close()
				attempts := transport.Attempts()
				require.Len(t, attempts, 3)
				assert.Equal(t, wait, attempts[1].Time.Sub(attempts[0].Time))
				assert.Equal(t, wait, attempts[2].Time.Sub(attempts[1].Time))
				synctest.Wait() // the body is closed in the background
				assert.Zero(t, transport.OpenBodies())
			})
		}
	})
}

// faultBodies returns a body of each type that NewRequest accepts. The bodies send
// content, except those whose length is 0.
func faultBodies(t *testing.T, content []byte) []faultBody {
	t.Helper()
	prefixed := append([]byte("skipped"), content...)
	const skip = len("skipped")
	name := filepath.Join(t.TempDir(), "body")
	require.NoError(t, os.WriteFile(name, prefixed, 0o600))
	n := int64(len(content))
	skipped := func(s io.Seeker) {
		_, err := s.Seek(int64(skip), io.SeekStart)
		require.NoError(t, err)
	}
	return []faultBody{
		{"nil", 0, func() any { return nil }},
		{"http.NoBody", 0, func() any { return http.NoBody }},
		{"[]byte", n, func() any { return content }},
		{"string", n, func() any { return string(content) }},
		{"*bytes.Buffer", n, func() any { b := bytes.NewBuffer(prefixed); b.Next(skip); return b }},
		{"*bytes.Reader", n, func() any { r := bytes.NewReader(prefixed); skipped(r); return r }},
		{"*strings.Reader", n, func() any { r := strings.NewReader(string(prefixed)); skipped(r); return r }},
		{"*os.File", n, func() any {
			f, err := os.Open(name)
			require.NoError(t, err)
			t.Cleanup(func() { assert.NoError(t, f.Close(), "the caller's file stays open") })
			skipped(f)
			return f
		}},
		{"*io.SectionReader", n, func() any { return io.NewSectionReader(bytes.NewReader(prefixed), int64(skip), n) }},
		{"io.ReadSeeker", n, func() any { r := struct{ io.ReadSeeker }{bytes.NewReader(prefixed)}; skipped(r); return r }},
		{"io.Reader with Len", n, func() any { return &lenReader{Reader: bytes.NewReader(content), n: len(content)} }},
		{"io.Reader", n, func() any { return struct{ io.Reader }{bytes.NewReader(content)} }},
		{"ReaderFunc of known length", n, func() any {
			return retryablehttp.ReaderFunc(func() (io.Reader, error) { return bytes.NewReader(content), nil })
		}},
		{"func of unknown length", -1, func() any {
			return func() (io.Reader, error) { return struct{ io.Reader }{bytes.NewReader(content)}, nil }
		}},
		{"ReaderFunc of files", n, func() any {
			return retryablehttp.ReaderFunc(func() (io.Reader, error) {
				f, err := os.Open(name)
				if err == nil {
					_, err = f.Seek(int64(skip), io.SeekStart)
				}
				return f, err
			})
		}},
	}
}

// A faultBody makes request bodies of one type.
type faultBody struct {
	name   string
	length int64 // Content-Length, -1 if unknown
	make   func() any
}

// want returns the checksum of the bytes that the server receives.
func (b *faultBody) want(content []byte) [sha256.Size]byte {
	if b.length == 0 {
		content = nil
	}
	return sha256.Sum256(content)
}

// lenReader is an io.Reader whose only other method is Len.
type lenReader struct {
	io.Reader
	n int
}

func (r *lenReader) Len() int { return r.n }

func (r *lenReader) Read(p []byte) (int, error) {
	n, err := r.Reader.Read(p)
	r.n -= n
	return n, err
}

// A response can arrive while the request's body is still being written. The writer of
// that attempt takes no bytes from the next one.
func TestFaultEarlyResponseToALargeUploadDoesNotHarmTheRetry(t *testing.T) {
	const trials = 2
	content := randomBytes(32 << 20)
	sum := sha256.Sum256(content)
	kinds := append(faultBodies(t, content), faultBody{"slow io.ReadSeeker", int64(len(content)), func() any {
		return &slowSeeker{bytes.NewReader(content)}
	}})
	for _, name := range []string{"*os.File", "io.Reader with Len", "io.Reader", "io.ReadSeeker", "slow io.ReadSeeker", "func of unknown length", "ReaderFunc of files"} {
		kind := kinds[kindIndex(t, kinds, name)]
		t.Run(name, func(t *testing.T) {
			steps := []retrytest.Step{
				{Read: 1 << 20, Status: 503, Body: "busy"},
				{Read: retrytest.HeadersOnly, Status: 503, Body: "busy", Close: true},
				{Body: "done"},
			}
			for trial := range trials {
				onEach(t, []retrytest.Protocol{retrytest.HTTP1, retrytest.HTTP2}, steps, func(t *testing.T, server *retrytest.Server, client *retryablehttp.Client) {
					if trial > 0 { // the writer of the first attempt may still be reading
						client.RetryWaitMin, client.RetryWaitMax = 0, 0
					}
					client.ReplayMax = int64(len(content)) + 1 // for the bodies that can be read only once
					resp, err := client.Post(server.URL, "application/octet-stream", kind.make())
					require.NoError(t, err)
					assert.Equal(t, "done", readBody(t, resp))
					attempts := server.Attempts()
					require.Len(t, attempts, len(steps))
					accepted := attempts[len(steps)-1]
					assert.NoError(t, accepted.BodyErr, "the retry was cut off")
					assert.EqualValues(t, len(content), accepted.BodySize)
					assert.Equal(t, sum, accepted.BodySHA256)
					length := kind.length
					if name == "io.Reader" {
						length = -1 // it does not end within the first 1 MiB
					}
					assert.Equal(t, length, accepted.ContentLength)
				})
			}
		})
	}
}

// slowSeeker delays each Read, so that the writer of an attempt is still reading when the
// next attempt begins.
type slowSeeker struct{ io.ReadSeeker }

func (s *slowSeeker) Read(p []byte) (int, error) {
	time.Sleep(50 * time.Microsecond)
	return s.ReadSeeker.Read(p)
}

// kindIndex returns the index of the body with the given name.
func kindIndex(t *testing.T, kinds []faultBody, name string) int {
	t.Helper()
	for i := range kinds {
		if kinds[i].name == name {
			return i
		}
	}
	t.Fatalf("no body of kind %s", name)
	return 0
}

// Bodies of every type are sent whole by each attempt and after 307 and 308 redirects.
func TestFaultEveryKindOfBodySurvivesRedirectsAndRetries(t *testing.T) {
	content := randomBytes(100_000)
	for _, kind := range faultBodies(t, content) {
		for _, status := range []int{http.StatusTemporaryRedirect, http.StatusPermanentRedirect} {
			for _, protocol := range []retrytest.Protocol{retrytest.HTTP1, retrytest.HTTP2} {
				t.Run(fmt.Sprintf("%s/%d/%s", kind.name, status, protocol), func(t *testing.T) {
					redirects := func() *retrytest.Server {
						busy := true
						return retrytest.NewServerFunc(protocol, func(a retrytest.Attempt) retrytest.Step {
							if a.URL == "/" {
								return retrytest.Step{Status: status, Header: http.Header{"Location": {"/next"}}, Body: "moved"}
							}
							if busy {
								busy = false
								return retrytest.Step{Status: 503, Body: "busy"}
							}
							return retrytest.Step{Body: "done"}
						})
					}
					check := func(t *testing.T, server *retrytest.Server, resp *http.Response, length func(i int) int64, paths ...string) {
						assert.Equal(t, "done", readBody(t, resp))
						attempts := server.Attempts()
						require.Len(t, attempts, len(paths))
						for i, a := range attempts {
							assert.Equal(t, "PUT", a.Method)
							assert.Equal(t, paths[i], a.URL)
							assert.NoError(t, a.BodyErr)
							assert.Equal(t, kind.want(content), a.BodySHA256, "attempt %d", a.Number)
							assert.Equal(t, length(i), a.ContentLength, "attempt %d", a.Number)
						}
						requireNoOpenConns(t, server)
					}
					t.Run("Do", func(t *testing.T) {
						server := redirects()
						defer server.Close()
						req, err := retryablehttp.NewRequest("PUT", server.URL+"/", kind.make())
						require.NoError(t, err)
						resp, err := faultClient(server).Do(req)
						require.NoError(t, err)
						length := func(int) int64 { return kind.length }
						check(t, server, resp, length, "/", "/next", "/", "/next")
					})
					t.Run("StandardClient", func(t *testing.T) {
						server := redirects()
						defer server.Close()
						req, err := retryablehttp.NewRequest("PUT", server.URL+"/", kind.make())
						require.NoError(t, err)
						resp, err := faultClient(server).StandardClient().Do(req.Request)
						require.NoError(t, err)
						if req.Body != nil && req.GetBody == nil { // http.Client cannot send the body twice and returns the redirect
							assert.Equal(t, status, resp.StatusCode)
							assert.Equal(t, "moved", readBody(t, resp))
							return
						}
						check(t, server, resp, func(int) int64 { return kind.length }, "/", "/next", "/next")
					})
				})
			}
		}
	}
}

// A request of http.NewRequest has a GetBody, which the attempts and redirects of
// StandardClient use.
func TestFaultStandardRequestsSurviveRedirectsAndRetries(t *testing.T) {
	content := randomBytes(100_000)
	for name, body := range map[string]func() io.Reader{
		"*bytes.Buffer":   func() io.Reader { return bytes.NewBuffer(content) },
		"*bytes.Reader":   func() io.Reader { return bytes.NewReader(content) },
		"*strings.Reader": func() io.Reader { return strings.NewReader(string(content)) },
	} {
		t.Run(name, func(t *testing.T) {
			steps := []retrytest.Step{
				{Read: 10_000, Fault: retrytest.Reset},
				{Status: 307, Header: http.Header{"Location": {"/next"}}},
				{Status: 503, Read: retrytest.HeadersOnly},
				{Body: "done"},
			}
			onEach(t, protocols, steps, func(t *testing.T, server *retrytest.Server, client *retryablehttp.Client) {
				req, err := http.NewRequest("POST", server.URL, body())
				require.NoError(t, err)
				resp, err := client.StandardClient().Do(req)
				require.NoError(t, err)
				assert.Equal(t, "done", readBody(t, resp))
				attempts := server.Attempts()
				require.Len(t, attempts, 4)
				assert.Equal(t, sha256.Sum256(content), attempts[1].BodySHA256)
				assert.Equal(t, sha256.Sum256(content), attempts[3].BodySHA256)
			})
		})
	}
}

// An HTTP server at an https URL is a permanent error.
func TestFaultHTTPServerBehindAnHTTPSURLGetsOneAttempt(t *testing.T) {
	server := retrytest.NewServer(retrytest.HTTP1)
	defer server.Close()
	client := faultClient(server)
	url := strings.Replace(server.URL, "http:", "https:", 1)
	for name, do := range clientsOf(client) {
		t.Run(name, func(t *testing.T) {
			before := server.Accepted()
			_, err := do(url)
			requireGiveUp(t, err, retryablehttp.ReasonNotRetryable, 1)
			assert.ErrorIs(t, err, http.ErrSchemeMismatch)
			assert.Equal(t, 1, server.Accepted()-before)
		})
	}
}

// clientsOf returns the Get methods of client and of its StandardClient.
func clientsOf(client *retryablehttp.Client) map[string]func(url string) (*http.Response, error) {
	return map[string]func(string) (*http.Response, error){
		"Client":         client.Get,
		"StandardClient": client.StandardClient().Get,
	}
}

var tlsVersions = map[string]uint16{"TLS 1.2": tls.VersionTLS12, "TLS 1.3": tls.VersionTLS13}

// A certificate that does not verify is a permanent error.
func TestFaultCertificateThatDoesNotVerifyGetsOneAttempt(t *testing.T) {
	for name, version := range tlsVersions {
		for what, config := range map[string]*tls.Config{
			"unknown authority": {RootCAs: x509.NewCertPool()},
			"wrong host":        {ServerName: "wrong.example"},
			"refused by the client": {VerifyConnection: func(tls.ConnectionState) error {
				return &tls.CertificateVerificationError{Err: errors.New("pinned to another")}
			}},
		} {
			for _, protocol := range protocols[1:] {
				t.Run(fmt.Sprintf("%s/%s/%s", name, what, protocol), func(t *testing.T) {
					server := retrytest.NewServer(protocol)
					defer server.Close()
					transport := server.Client().Transport.(*http.Transport)
					config := config.Clone()
					config.MinVersion, config.MaxVersion = version, version
					if config.RootCAs == nil {
						config.RootCAs = transport.TLSClientConfig.RootCAs
					}
					transport.TLSClientConfig = config
					for name, do := range clientsOf(faultClient(server)) {
						t.Run(name, func(t *testing.T) {
							before := server.Accepted()
							_, err := do(server.URL)
							requireGiveUp(t, err, retryablehttp.ReasonNotRetryable, 1)
							assert.Equal(t, 1, server.Accepted()-before)
						})
					}
					requireNoOpenConns(t, server)
				})
			}
		}
	}
}

// testTLS returns two TLS configurations: a server's, and one of a client that trusts it.
func testTLS(t *testing.T) (server, client *tls.Config) {
	t.Helper()
	donor := httptest.NewTLSServer(http.NotFoundHandler()) // has a certificate
	defer donor.Close()
	roots := donor.Client().Transport.(*http.Transport).TLSClientConfig.RootCAs
	return &tls.Config{Certificates: donor.TLS.Certificates}, &tls.Config{RootCAs: roots, ServerName: "example.com"}
}

// tlsPair returns a client, its TLS configuration, and the configuration of a server that
// the client trusts.
func tlsPair(t *testing.T, version uint16) (*retryablehttp.Client, *tls.Config, *tls.Config) {
	t.Helper()
	server, trusting := testTLS(t)
	server.MinVersion, server.MaxVersion = version, version
	trusting.MinVersion, trusting.MaxVersion = version, version
	client := retryablehttp.NewClient()
	client.HTTPClient = &http.Client{Transport: &http.Transport{TLSClientConfig: trusting}}
	client.RetryWaitMin, client.RetryWaitMax = time.Millisecond, time.Millisecond
	return client, trusting, server
}

// listen starts a server on the loopback interface that calls serve for each connection
// in a goroutine of its own. It returns the address and the number of connections so far.
// The connections are closed when the test ends.
func listen(t *testing.T, serve func(conn net.Conn)) (addr string, accepted *atomic.Int32) {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	accepted = new(atomic.Int32)
	var running sync.WaitGroup
	running.Go(func() {
		for {
			conn, err := listener.Accept()
			if err != nil {
				return
			}
			accepted.Add(1)
			running.Go(func() {
				defer conn.Close()
				stop := context.AfterFunc(t.Context(), func() { conn.Close() })
				defer stop()
				serve(conn)
			})
		}
	})
	t.Cleanup(func() { listener.Close(); running.Wait() })
	return listener.Addr().String(), accepted
}

// tlsServer starts a server that makes a TLS handshake with config on each connection and
// then sends a 200. If the handshake fails, it keeps the connection open until the client
// has read the alert.
func tlsServer(t *testing.T, config *tls.Config) (url string, accepted *atomic.Int32) {
	t.Helper()
	addr, accepted := listen(t, func(conn net.Conn) {
		secure := tls.Server(conn, config)
		if secure.Handshake() == nil {
			http.ReadRequest(bufio.NewReader(secure))
			io.WriteString(secure, "HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 0\r\n\r\n")
			secure.CloseWrite()
		}
		conn.(*net.TCPConn).CloseWrite()
		io.Copy(io.Discard, conn) // until the client closes the connection
	})
	return "https://" + addr, accepted
}

// A client certificate that the server rejects is a permanent error.
func TestFaultClientCertificateThatIsRejectedGetsOneAttempt(t *testing.T) {
	for name, version := range tlsVersions {
		for what, auth := range map[string]struct {
			mode tls.ClientAuthType
			send bool
		}{
			"required":          {tls.RequireAnyClientCert, false},
			"unknown authority": {tls.RequireAndVerifyClientCert, true},
		} {
			if version == tls.VersionTLS12 && !auth.send {
				continue // the alert is handshake_failure, which has other causes too
			}
			t.Run(name+"/"+what, func(t *testing.T) {
				client, clientConfig, serverConfig := tlsPair(t, version)
				serverConfig.ClientAuth = auth.mode
				serverConfig.ClientCAs = x509.NewCertPool()
				if auth.send {
					clientConfig.GetClientCertificate = func(*tls.CertificateRequestInfo) (*tls.Certificate, error) {
						return &serverConfig.Certificates[0], nil
					}
				}
				url, accepted := tlsServer(t, serverConfig)
				for name, do := range clientsOf(client) {
					t.Run(name, func(t *testing.T) {
						before := accepted.Load()
						_, err := do(url)
						requireGiveUp(t, err, retryablehttp.ReasonNotRetryable, 1)
						assert.EqualValues(t, 1, accepted.Load()-before)
					})
				}
			})
		}
	}
}

// TLS alerts that are not about a certificate are retried.
func TestFaultOtherTLSAlertsAreRetried(t *testing.T) {
	for name, version := range tlsVersions {
		t.Run(name+"/internal error", func(t *testing.T) {
			client, _, serverConfig := tlsPair(t, version)
			var tries atomic.Int32
			serverConfig.GetConfigForClient = func(*tls.ClientHelloInfo) (*tls.Config, error) {
				if tries.Add(1) < 3 {
					return nil, errors.New("not now") // alert 80
				}
				return nil, nil
			}
			url, accepted := tlsServer(t, serverConfig)
			resp, err := client.Get(url)
			require.NoError(t, err)
			resp.Body.Close()
			assert.EqualValues(t, 3, accepted.Load())
			client.CloseIdleConnections()
		})
	}
	t.Run("protocol version", func(t *testing.T) {
		client, _, serverConfig := tlsPair(t, tls.VersionTLS12)
		serverConfig.MinVersion, serverConfig.MaxVersion = tls.VersionTLS13, tls.VersionTLS13 // alert 70
		url, accepted := tlsServer(t, serverConfig)
		_, err := client.Get(url)
		requireGiveUp(t, err, retryablehttp.ReasonRetriesUsedUp, 5)
		assert.EqualValues(t, 5, accepted.Load())
	})
}

// AttemptTimeout limits the time until the headers of the response, not its body.
func TestFaultAttemptTimeoutEndsAStalledAttemptAndAnotherFollows(t *testing.T) {
	steps := []retrytest.Step{
		{Fault: retrytest.Stall, Times: 2},
		{Body: "done", Drip: 40 * time.Millisecond},
	}
	onEach(t, protocols, steps, func(t *testing.T, server *retrytest.Server, client *retryablehttp.Client) {
		client.AttemptTimeout = 100 * time.Millisecond
		resp, err := client.Post(server.URL, "", "question")
		require.NoError(t, err)
		assert.Equal(t, "done", readBody(t, resp), "reading the body, which takes longer, is not cut")
		attempts := server.Attempts()
		require.Len(t, attempts, 3)
		assert.Equal(t, "question", string(attempts[2].Body))
	})
}

// The error of an attempt that timed out does not match context.DeadlineExceeded.
func TestFaultAttemptTimeoutOfEveryAttemptIsNoDeadline(t *testing.T) {
	steps := []retrytest.Step{{Fault: retrytest.Stall, Times: retrytest.Forever}}
	onEach(t, protocols, steps, func(t *testing.T, server *retrytest.Server, client *retryablehttp.Client) {
		client.AttemptTimeout = 20 * time.Millisecond
		client.RetryMax = 2
		_, err := client.Get(server.URL)
		giveUp := requireGiveUp(t, err, retryablehttp.ReasonRetriesUsedUp, 3)
		assert.ErrorIs(t, err, retryablehttp.ErrAttemptTimeout)
		assert.NotErrorIs(t, err, context.DeadlineExceeded)
		assert.True(t, giveUp.Timeout())
	})
}

// AttemptTimeout ends an attempt whose body the server does not read.
func TestFaultAttemptTimeoutEndsAnUploadThatIsNotRead(t *testing.T) {
	content := randomBytes(12 << 20) // more than the sockets' buffers take
	kinds := faultBodies(t, content)
	for _, name := range []string{"*os.File", "io.ReadSeeker", "io.Reader", "func of unknown length"} {
		kind := kinds[kindIndex(t, kinds, name)]
		for _, protocol := range []retrytest.Protocol{retrytest.HTTP1, retrytest.HTTP2} {
			t.Run(name+"/"+string(protocol), func(t *testing.T) {
				server := retrytest.NewServer(protocol, retrytest.Step{Read: 1 << 10, Fault: retrytest.Stall}, retrytest.Step{Body: "done"})
				defer server.Close()
				client := faultClient(server)
				client.AttemptTimeout = 300 * time.Millisecond
				client.ReplayMax = int64(len(content)) + 1 // for the body that can be read only once
				var first error
				client.OnAttempt = func(a retryablehttp.Attempt) {
					if a.Number == 1 {
						first = a.Err
						client.AttemptTimeout = 0 // on a slow machine the whole upload takes longer
					}
				}
				resp, err := client.Post(server.URL, "", kind.make())
				require.NoError(t, err)
				assert.ErrorIs(t, first, retryablehttp.ErrAttemptTimeout)
				assert.Equal(t, "done", readBody(t, resp))
				attempts := server.Attempts()
				require.Len(t, attempts, 2)
				assert.Equal(t, kind.want(content), attempts[1].BodySHA256)
			})
		}
	}
}

// The deadline of the request's context ends an attempt.
func TestFaultDeadlineEndsACallToAStalledServer(t *testing.T) {
	steps := []retrytest.Step{{Status: 500}, {Fault: retrytest.Stall, Times: retrytest.Forever}}
	onEach(t, protocols, steps, func(t *testing.T, server *retrytest.Server, client *retryablehttp.Client) {
		start := time.Now()
		ctx, cancel := context.WithTimeout(t.Context(), 200*time.Millisecond)
		defer cancel()
		req, err := retryablehttp.NewRequestWithContext(ctx, "POST", server.URL, "question")
		require.NoError(t, err)
		_, err = client.Do(req)
		took := time.Since(start)
		giveUp := requireGiveUp(t, err, retryablehttp.ReasonDeadline, 2)
		assert.ErrorIs(t, err, context.DeadlineExceeded)
		assert.True(t, giveUp.Timeout())
		assert.GreaterOrEqual(t, took, 200*time.Millisecond)
		assert.Less(t, took, 2*time.Second)
	})
}

// A wait that would end after the deadline is not begun.
func TestFaultDeadlineThatAWaitWouldOutlastEndsTheCallAtOnce(t *testing.T) {
	steps := []retrytest.Step{{Status: 503, Header: http.Header{"Retry-After": {"60"}}, Body: "half", Fault: retrytest.Stall, After: 2}}
	onEach(t, protocols, steps, func(t *testing.T, server *retrytest.Server, client *retryablehttp.Client) {
		ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
		defer cancel()
		req, err := retryablehttp.NewRequestWithContext(ctx, "GET", server.URL, nil)
		require.NoError(t, err)
		start := time.Now()
		_, err = client.Do(req)
		assert.Less(t, time.Since(start), 2*time.Second)
		requireGiveUp(t, err, retryablehttp.ReasonDeadline, 1)
		assert.ErrorIs(t, err, context.DeadlineExceeded)
		assert.ErrorContains(t, err, "503")
	})
}

// MaxElapsedTime ends an attempt.
func TestFaultMaxElapsedTimeEndsAStalledAttempt(t *testing.T) {
	steps := []retrytest.Step{{Status: 500}, {Fault: retrytest.Stall, Times: retrytest.Forever}}
	onEach(t, protocols, steps, func(t *testing.T, server *retrytest.Server, client *retryablehttp.Client) {
		client.MaxElapsedTime = 200 * time.Millisecond
		start := time.Now()
		_, err := client.Get(server.URL)
		assert.Less(t, time.Since(start), 2*time.Second)
		giveUp := requireGiveUp(t, err, retryablehttp.ReasonMaxElapsedTime, 2)
		assert.True(t, giveUp.Timeout())
	})
}

// Canceling the request's context ends an attempt.
func TestFaultCancelEndsACallToAStalledServer(t *testing.T) {
	steps := []retrytest.Step{{Fault: retrytest.Stall}}
	onEach(t, protocols, steps, func(t *testing.T, server *retrytest.Server, client *retryablehttp.Client) {
		cause := errors.New("changed my mind")
		ctx, cancel := context.WithCancelCause(t.Context())
		time.AfterFunc(50*time.Millisecond, func() { cancel(cause) })
		req, err := retryablehttp.NewRequestWithContext(ctx, "POST", server.URL, "question")
		require.NoError(t, err)
		_, err = client.Do(req)
		requireGiveUp(t, err, retryablehttp.ReasonCanceled, 1)
		assert.ErrorIs(t, err, context.Canceled)
		assert.ErrorIs(t, err, cause)
	})
}
