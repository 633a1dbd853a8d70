package faults_test

import (
	"crypto/sha256"
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/a0b132ce/retryablehttp"
	"github.com/a0b132ce/retryablehttp/retrytest"
)

// The server has not processed a stream that it refused or that a GOAWAY excludes.
// net/http sends such a request again by itself, with a body from GetBody.
func TestFaultHTTP2ResendsEveryKindOfBody(t *testing.T) {
	content := randomBytes(300_000)
	for _, kind := range faultBodies(t, content) {
		for _, step := range []retrytest.Step{
			{Fault: retrytest.RefuseStream},
			{Fault: retrytest.RefuseStream, Read: 100_000},
			{Fault: retrytest.RefuseStream, Read: retrytest.HeadersOnly},
			{Fault: retrytest.GoAway},
			{Fault: retrytest.GoAway, Read: 100_000},
			{Fault: retrytest.GoAway, Read: retrytest.HeadersOnly},
		} {
			t.Run(fmt.Sprintf("%s/%s/%d", kind.name, step.Fault, step.Read), func(t *testing.T) {
				onEach(t, protocols[2:], []retrytest.Step{step, {Body: "done"}}, func(t *testing.T, server *retrytest.Server, client *retryablehttp.Client) {
					resp, err := client.Post(server.URL, "", kind.make())
					require.NoError(t, err)
					assert.Equal(t, "done", readBody(t, resp))
					attempts := server.Attempts()
					require.Len(t, attempts, 2)
					assert.NoError(t, attempts[1].BodyErr)
					assert.Equal(t, kind.want(content), attempts[1].BodySHA256)
				})
			})
		}
	}
}

// net/http sends the requests of StandardClient again in the same way.
func TestFaultHTTP2ResendsTheBodyOfAStandardRequest(t *testing.T) {
	content := string(randomBytes(300_000))
	for _, fault := range []retrytest.Fault{retrytest.RefuseStream, retrytest.GoAway} {
		t.Run(string(fault), func(t *testing.T) {
			steps := []retrytest.Step{{Fault: fault, Read: 100_000}, {Status: 503}, {Body: "done"}}
			onEach(t, protocols[2:], steps, func(t *testing.T, server *retrytest.Server, client *retryablehttp.Client) {
				req, err := http.NewRequest("POST", server.URL, strings.NewReader(content))
				require.NoError(t, err)
				resp, err := client.StandardClient().Do(req)
				require.NoError(t, err)
				assert.Equal(t, "done", readBody(t, resp))
				attempts := server.Attempts()
				require.Len(t, attempts, 3)
				assert.Equal(t, sha256.Sum256([]byte(content)), attempts[2].BodySHA256)
			})
		})
	}
}

// DefaultRetryPolicy retries the error of a stream that was reset.
func TestFaultHTTP2StreamErrorsAreRetried(t *testing.T) {
	const internalError, cancel, enhanceYourCalm = 2, 8, 11
	upload := randomBytes(300_000)
	for _, code := range []uint32{internalError, cancel, enhanceYourCalm} {
		for name, step := range map[string]retrytest.Step{
			"before the body":   {Read: retrytest.HeadersOnly},
			"in the body":       {Read: 100_000},
			"after the request": {},
		} {
			t.Run(fmt.Sprintf("%d/%s", code, name), func(t *testing.T) {
				step.Fault, step.Code, step.Times = retrytest.ResetStream, code, 2
				onEach(t, protocols[2:], []retrytest.Step{step, {Body: "done"}}, func(t *testing.T, server *retrytest.Server, client *retryablehttp.Client) {
					var numbers []int
					client.OnAttempt = func(a retryablehttp.Attempt) { numbers = append(numbers, a.Number) }
					resp, err := client.Post(server.URL, "", upload)
					require.NoError(t, err)
					assert.Equal(t, "done", readBody(t, resp))
					assert.Equal(t, []int{1, 2, 3}, numbers)
					attempts := server.Attempts()
					require.Len(t, attempts, 3)
					assert.Equal(t, sha256.Sum256(upload), attempts[2].BodySHA256)
				})
			})
		}
	}
}

// A stream that fails does not close its connection.
func TestFaultHTTP2StreamsThatFailDoNotCostTheConnection(t *testing.T) {
	const internalError = 2
	bad := retrytest.Step{Fault: retrytest.ResetStream, Code: internalError}
	early := retrytest.Step{Status: 503, Body: "busy", Read: retrytest.HeadersOnly}
	slow := retrytest.Step{Status: 503, Body: "busy", Fault: retrytest.Stall, After: 2}
	onEach(t, protocols[2:], []retrytest.Step{{}, bad, early, slow, bad, {Body: "done"}}, func(t *testing.T, server *retrytest.Server, client *retryablehttp.Client) {
		resp, err := client.Get(server.URL)
		require.NoError(t, err)
		resp.Body.Close()
		resp, err = client.Post(server.URL, "", randomBytes(300_000))
		require.NoError(t, err)
		assert.Equal(t, "done", readBody(t, resp))
		assert.Len(t, server.Attempts(), 6)
		assert.Equal(t, 1, server.Accepted())
	})
}

// All streams of a connection that breaks fail, and DefaultRetryPolicy retries them.
func TestFaultHTTP2LosesNoCallWhenAConnectionWithManyStreamsBreaks(t *testing.T) {
	const calls = 50
	for _, fault := range []retrytest.Fault{retrytest.Reset, retrytest.Close, retrytest.GoAway} {
		t.Run(string(fault), func(t *testing.T) {
			server := retrytest.NewServerFunc(retrytest.HTTP2, func(a retrytest.Attempt) retrytest.Step {
				if a.Number == calls/2 || a.Number == calls {
					return retrytest.Step{Fault: fault}
				}
				return retrytest.Step{Body: "done " + a.URL}
			})
			defer server.Close()
			client := faultClient(server)
			var running sync.WaitGroup
			for i := range calls {
				running.Go(func() {
					upload := strings.Repeat(fmt.Sprint(i), 20_000)
					req, err := retryablehttp.NewRequest("POST", fmt.Sprintf("%s/%d", server.URL, i), upload)
					if !assert.NoError(t, err) {
						return
					}
					req.SetResponseHandler(func(resp *http.Response) error { // the connection may break while the body is read
						body, err := io.ReadAll(resp.Body)
						if err == nil && string(body) != fmt.Sprintf("done /%d", i) {
							t.Errorf("call %d got the response %q", i, body)
						}
						return err
					})
					resp, err := client.Do(req)
					if assert.NoError(t, err) {
						resp.Body.Close()
					}
				})
			}
			running.Wait()
			for _, a := range server.Attempts() {
				if a.BodyRead && a.BodyErr == nil {
					assert.Equal(t, sha256.Sum256([]byte(strings.Repeat(a.URL[1:], 20_000))), a.BodySHA256)
				}
			}
			requireNoOpenConns(t, server)
		})
	}
}

// An HTTP/2 server responds while a request body that can be read only once has nothing to
// give. net/http waits for a read of the body that is under way, so closing the body must end
// it.
func TestF138ResponseWhileTheRequestBodyWaits(t *testing.T) {
	serverTLS, trusting := testTLS(t)
	for way := range ways {
		for _, status := range []string{"200", "503"} {
			for name, set := range map[string]func(*retryablehttp.Client){
				"no limits":      func(*retryablehttp.Client) {},
				"AttemptTimeout": func(c *retryablehttp.Client) { c.AttemptTimeout = time.Second },
			} {
				t.Run(way+"/"+status+"/"+name, func(t *testing.T) {
					synctest.Test(t, func(t *testing.T) {
						rt := pipeTransport(t, serverTLS, trusting, func(p *h2Peer, _ int) {
							p.serve(func(stream uint32) { p.writeStatus(stream, status, false) })
						})
						defer rt.CloseIdleConnections()
						client := &retryablehttp.Client{RetryMax: 1, Backoff: noWait, HTTPClient: &http.Client{Transport: rt}}
						set(client)
						source, writer := io.Pipe()
						defer writer.Close() // ends the read of the source
						go writer.Write([]byte("question"))
						req, err := http.NewRequest("PUT", "https://host/", source)
						require.NoError(t, err)
						start := time.Now()
						resp, err := ways[way](client, req)
						if status == "503" {
							requireGiveUp(t, err, retryablehttp.ReasonRetriesUsedUp, 2)
						} else {
							require.NoError(t, err)
							resp.Body.Close()
						}
						assert.Less(t, time.Since(start), 2*time.Second)
					})
				})
			}
		}
	}
}
