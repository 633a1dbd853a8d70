package faults_test

import (
	"context"
	"net"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"golang.org/x/net/http2"

	"github.com/a0b132ce/retryablehttp"
)

// ways are the ways to send a request through a client.
var ways = map[string]func(*retryablehttp.Client, *http.Request) (*http.Response, error){
	"Do": func(c *retryablehttp.Client, r *http.Request) (*http.Response, error) {
		req, err := retryablehttp.FromRequest(r)
		if err != nil {
			return nil, err
		}
		return c.Do(req)
	},
	"StandardClient": func(c *retryablehttp.Client, r *http.Request) (*http.Response, error) {
		return c.StandardClient().Do(r)
	},
	"RoundTripper": func(c *retryablehttp.Client, r *http.Request) (*http.Response, error) {
		return (&retryablehttp.RoundTripper{Client: c}).RoundTrip(r)
	},
}

// newPost returns a POST request.
func newPost(t *testing.T, url string) *http.Request {
	t.Helper()
	req, err := http.NewRequest("POST", url, strings.NewReader("question"))
	require.NoError(t, err)
	return req
}

func noWait(_, _ time.Duration, _ int, _ *http.Response) time.Duration { return 0 }

// watched returns a client with SafeRetryPolicy and a slice to which the client appends
// the result of Unsent for each attempt.
func watched(rt http.RoundTripper) (*retryablehttp.Client, *[]bool) {
	unsent := new([]bool)
	return &retryablehttp.Client{
		RetryMax:   2,
		Backoff:    noWait,
		HTTPClient: &http.Client{Transport: rt},
		CheckRetry: func(ctx context.Context, resp *http.Response, err error) (bool, error) {
			*unsent = append(*unsent, retryablehttp.Unsent(err))
			return retryablehttp.SafeRetryPolicy(ctx, resp, err)
		},
	}, unsent
}

// Unsent reports true only for the requests that an HTTP/2 server says it has not
// processed. net/http itself sends a refused request up to seven times, and a request
// that a GOAWAY with NO_ERROR excludes again and again.
func TestUnsentOverHTTP2(t *testing.T) {
	const maxStream = 1<<31 - 1
	server, trusting := testTLS(t)
	for name, tc := range map[string]struct {
		request func(p *h2Peer, stream uint32)
		unsent  bool
	}{
		"REFUSED_STREAM": {func(p *h2Peer, stream uint32) {
			p.WriteRSTStream(stream, http2.ErrCodeRefusedStream)
		}, true},
		"GOAWAY below the first stream, with an error": {func(p *h2Peer, _ uint32) {
			p.WriteGoAway(0, http2.ErrCodeInternal, nil)
		}, true},
		"GOAWAY at the stream, then closed": {func(p *h2Peer, stream uint32) {
			p.WriteGoAway(stream, http2.ErrCodeNo, nil)
			p.conn.Close()
		}, false},
		"GOAWAY at the stream, with an error": {func(p *h2Peer, stream uint32) {
			p.WriteGoAway(stream, http2.ErrCodeInternal, nil)
			p.conn.Close()
		}, false},
		"GOAWAY above the stream, then closed": {func(p *h2Peer, _ uint32) {
			p.WriteGoAway(maxStream, http2.ErrCodeNo, nil)
			p.conn.Close()
		}, false},
		"INTERNAL_ERROR": {func(p *h2Peer, stream uint32) {
			p.WriteRSTStream(stream, http2.ErrCodeInternal)
		}, false},
		"CANCEL": {func(p *h2Peer, stream uint32) {
			p.WriteRSTStream(stream, http2.ErrCodeCancel)
		}, false},
		"connection closed": {func(p *h2Peer, _ uint32) {
			p.conn.Close()
		}, false},
		"no response until the ping times out": {func(*h2Peer, uint32) {
			time.Sleep(time.Hour)
		}, false},
		"header of the response, then REFUSED_STREAM": {func(p *h2Peer, stream uint32) {
			p.writeOK(stream, false)
			p.WriteRSTStream(stream, http2.ErrCodeRefusedStream)
		}, false},
	} {
		for way, send := range ways {
			t.Run(name+"/"+way, func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					rt := pipeTransport(t, server, trusting, func(p *h2Peer, _ int) {
						p.serve(func(stream uint32) { tc.request(p, stream) })
					})
					rt.HTTP2 = &http.HTTP2Config{SendPingTimeout: time.Minute, PingTimeout: time.Second}
					defer time.Sleep(2 * time.Hour) // until the peers have ended
					defer rt.CloseIdleConnections()
					client, unsent := watched(rt)
					resp, err := send(client, newPost(t, "https://host"))
					if err == nil { // the header arrived before the reset
						resp.Body.Close()
						assert.Equal(t, []bool{false}, *unsent)
						return
					}
					want := []bool{false}
					if tc.unsent {
						want = []bool{true, true, true}
					}
					assert.Equal(t, want, *unsent, "%v", err)
					assert.Equal(t, tc.unsent, retryablehttp.Unsent(err), "%v", err)
				})
			})
		}
	}
}

// A POST that was not processed is sent once more over a real socket, and gets its
// response.
func TestPostThatAGoAwayExcludesIsSentOnceMore(t *testing.T) {
	server, trusting := testTLS(t)
	for name, refuse := range map[string]func(p *h2Peer, stream uint32){
		"GOAWAY":         func(p *h2Peer, _ uint32) { p.WriteGoAway(0, http2.ErrCodeNo, nil) },
		"REFUSED_STREAM": func(p *h2Peer, stream uint32) { p.WriteRSTStream(stream, http2.ErrCodeRefusedStream) },
	} {
		t.Run(name, func(t *testing.T) {
			var requests atomic.Int32
			addr, _ := listen(t, func(conn net.Conn) {
				p := newH2Peer(conn, server)
				p.serve(func(stream uint32) {
					if requests.Add(1) == 1 {
						refuse(p, stream)
					} else {
						p.writeOK(stream, true)
					}
				})
			})
			client, _ := watched(&http.Transport{ForceAttemptHTTP2: true, TLSClientConfig: trusting.Clone()})
			defer client.CloseIdleConnections()
			resp, err := client.Post("https://"+addr, "", "question")
			require.NoError(t, err)
			resp.Body.Close()
			assert.Equal(t, 2, resp.ProtoMajor)
			assert.EqualValues(t, 2, requests.Load())
		})
	}
}

// An HTTP/2 attempt that times out returns before the goroutine that writes its header has
// ended. Unsent is false, because that goroutine may still send the request. The header is
// so large that the timeout can fall between the last time the goroutine checks the
// context and its first call of an httptrace hook.
func TestTimeoutWhileTheHeaderIsEncodedIsNotUnsent(t *testing.T) {
	server, trusting := testTLS(t)
	var requests atomic.Int32
	addr, _ := listen(t, func(conn net.Conn) {
		p := newH2Peer(conn, server)
		p.serve(func(stream uint32) {
			requests.Add(1)
			p.writeOK(stream, true)
		})
	})
	rt := &http.Transport{ForceAttemptHTTP2: true, TLSClientConfig: trusting}
	defer rt.CloseIdleConnections()
	client, unsent := watched(rt)
	client.RetryMax = 0
	other := &retryablehttp.Client{HTTPClient: client.HTTPClient}
	large := strings.Repeat("x", 8<<20)
	for limit := time.Millisecond; limit < 10*time.Second; limit = limit * 11 / 10 {
		resp, err := other.Get("https://" + addr)
		require.NoError(t, err)
		resp.Body.Close()
		before := requests.Load()
		*unsent, client.AttemptTimeout = nil, limit
		req := newPost(t, "https://"+addr)
		req.Header.Set("Large", large)
		_, err = ways["Do"](client, req)
		resp, otherErr := other.Get("https://" + addr) // is written after the POST, if that is written
		require.NoError(t, otherErr)
		resp.Body.Close()
		if requests.Load()-before > 1 {
			require.ErrorIs(t, err, retryablehttp.ErrAttemptTimeout)
			assert.Equal(t, []bool{false}, *unsent, "the POST has arrived, with a limit of %s", limit)
			return
		}
	}
	t.Error("the POST has never arrived")
}
