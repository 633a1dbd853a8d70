package retryablehttp

import (
	"context"
	"crypto/aes"
	"crypto/cipher"
	"crypto/sha256"
	"encoding/binary"
	"fmt"
	"hash"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"slices"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// bigObject is an object that is made as it is read: the key stream of AES-CTR, which can
// be had from any offset on and is nowhere like elsewhere, so that no wrong splice can
// pass for a right one.
type bigObject struct {
	key    byte
	size   int64
	offset int64
	stream cipher.Stream // from offset on
}

var zeroBlock [64 << 10]byte

func (o *bigObject) Read(p []byte) (int, error) {
	if o.offset >= o.size {
		return 0, io.EOF
	}
	if o.stream == nil {
		block, err := aes.NewCipher(append(make([]byte, 15), o.key))
		if err != nil {
			return 0, err
		}
		var counter [aes.BlockSize]byte
		binary.BigEndian.PutUint64(counter[8:], uint64(o.offset/aes.BlockSize))
		o.stream = cipher.NewCTR(block, counter[:])
		skip := zeroBlock[:o.offset%aes.BlockSize]
		o.stream.XORKeyStream(make([]byte, len(skip)), skip)
	}
	p = p[:min(int64(len(p)), int64(len(zeroBlock)), o.size-o.offset)]
	o.stream.XORKeyStream(p, zeroBlock[:len(p)])
	o.offset += int64(len(p))
	return len(p), nil
}

func (o *bigObject) Seek(offset int64, whence int) (int64, error) {
	switch whence {
	case io.SeekCurrent:
		offset += o.offset
	case io.SeekEnd:
		offset += o.size
	}
	o.offset, o.stream = offset, nil
	return offset, nil
}

func (o *bigObject) sum() []byte {
	h := sha256.New()
	io.CopyBuffer(h, &bigObject{key: o.key, size: o.size}, make([]byte, len(zeroBlock)))
	return h.Sum(nil)
}

// cutter serves an object by http.ServeContent, which knows all of ranges and If-Range,
// and cuts the connection whenever the next of its cuts is reached: one time after what
// was sent, the other throwing away what is still under way.
type cutter struct {
	object  bigObject
	replace int // from this request on (from 1) there is another object; 0: never

	mu       sync.Mutex
	cuts     []int64 // offsets in the object, ascending
	made     int
	requests int
}

func (c *cutter) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	c.mu.Lock()
	c.requests++
	object := c.object
	if c.replace > 0 && c.requests >= c.replace {
		object.key++
	}
	c.mu.Unlock()
	w.Header().Set("ETag", fmt.Sprintf(`"object-%d"`, object.key))
	content := &cutContent{bigObject: object, cutter: c}
	http.ServeContent(w, r, "object.bin", time.Time{}, content)
	if content.cut {
		if conn, ok := r.Context().Value(cutterConn{}).(*countingConn); ok && content.hard {
			conn.Conn.(*net.TCPConn).SetLinger(0)
		}
		panic(http.ErrAbortHandler)
	}
}

// next says where to cut, if that is between from and to.
func (c *cutter) next(from, to int64) (at int64, cut, hard bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if len(c.cuts) == 0 || c.cuts[0] >= to {
		return to, false, false
	}
	at = max(c.cuts[0], from)
	c.cuts = c.cuts[1:]
	c.made++
	return at, true, c.made%2 == 0
}

type cutContent struct {
	bigObject
	cutter *cutter
	cut    bool
	hard   bool // throwing away what is under way
}

func (c *cutContent) Read(p []byte) (int, error) {
	if c.cut {
		return 0, io.ErrUnexpectedEOF
	}
	p = p[:min(int64(len(p)), c.size-c.offset)]
	to, cut, hard := c.cutter.next(c.offset, c.offset+int64(len(p)))
	if cut {
		c.cut, c.hard = true, hard
		p = p[:to-c.offset]
		if len(p) == 0 {
			return 0, io.ErrUnexpectedEOF
		}
	}
	return c.bigObject.Read(p)
}

// countingListener counts what its connections write, and keeps little of it under way.
type countingListener struct {
	net.Listener
	written atomic.Int64
}

// socketBuffer bounds what is under way at a cut; the kernel takes twice as much.
const socketBuffer = 32 << 10

func (l *countingListener) Accept() (net.Conn, error) {
	conn, err := l.Listener.Accept()
	if err != nil {
		return nil, err
	}
	if err := conn.(*net.TCPConn).SetWriteBuffer(socketBuffer); err != nil {
		return nil, err
	}
	return &countingConn{conn, &l.written}, nil
}

type countingConn struct {
	net.Conn
	written *atomic.Int64
}

func (c *countingConn) Write(p []byte) (int, error) {
	n, err := c.Conn.Write(p)
	c.written.Add(int64(n))
	return n, err
}

type cutterConn struct{}

// serveCuts starts a server and makes a client for it.
func serveCuts(t *testing.T, c *cutter, http2 bool) (*Client, string, *countingListener) {
	t.Helper()
	server := httptest.NewUnstartedServer(c)
	listener := &countingListener{Listener: server.Listener}
	server.Listener = listener
	server.Config.ConnContext = func(ctx context.Context, conn net.Conn) context.Context {
		return context.WithValue(ctx, cutterConn{}, conn)
	}
	if server.EnableHTTP2 = http2; http2 {
		server.StartTLS()
	} else {
		server.Start()
	}
	t.Cleanup(server.Close)
	transport := server.Client().Transport.(*http.Transport)
	transport.DialContext = func(ctx context.Context, network, addr string) (net.Conn, error) {
		conn, err := new(net.Dialer).DialContext(ctx, network, addr)
		if err == nil {
			err = conn.(*net.TCPConn).SetReadBuffer(socketBuffer)
		}
		return conn, err
	}
	client := &Client{Backoff: noWait, RetryMax: 1, HTTPClient: server.Client()}
	return client, server.URL, listener
}

// docs/spec.md, section 8: an object is downloaded whole although the connection is cut
// at random places, and few bytes are sent twice. RESUME_SEED=… repeats a run.
func TestDownloadSurvivesCutsAtRandomPlaces(t *testing.T) {
	const mib = 1 << 20
	for name, tc := range map[string]struct {
		size  int64
		cuts  int
		http2 bool
	}{
		"1 GiB over HTTP/1.1": {1024 * mib, 50, false},
		"128 MiB over HTTP/2": {128 * mib, 10, true},
	} {
		t.Run(name, func(t *testing.T) {
			seed := uint64(time.Now().UnixNano())
			if s := os.Getenv("RESUME_SEED"); s != "" {
				var err error
				seed, err = strconv.ParseUint(s, 10, 64)
				require.NoError(t, err)
			}
			rnd := rand.New(rand.NewPCG(seed, 0))
			server := &cutter{object: bigObject{key: 1, size: tc.size}}
			for range tc.cuts {
				server.cuts = append(server.cuts, rnd.Int64N(tc.size))
			}
			slices.Sort(server.cuts)
			want := make(chan []byte, 1)
			go func() { want <- server.object.sum() }()

			client, url, listener := serveCuts(t, server, tc.http2)
			client.ResumeMax = tc.cuts
			start := time.Now()
			resp, err := client.Get(url)
			require.NoError(t, err)
			assert.Equal(t, tc.size, resp.ContentLength)
			h, n, err := hashAll(resp.Body)
			require.NoError(t, err, "seed %d", seed)
			require.NoError(t, resp.Body.Close())
			took := time.Since(start)

			assert.Equal(t, tc.size, n)
			assert.Equal(t, <-want, h.Sum(nil), "SHA-256, seed %d", seed)
			assert.Equal(t, tc.cuts, server.made)
			assert.LessOrEqual(t, server.requests, 2*tc.cuts+1)
			written := listener.written.Load()
			// What a cut can lose was written and is in the buffers of the two sockets.
			underway := int64(tc.cuts) * 4 * socketBuffer
			t.Logf("seed %d: %d bytes, %d cuts, %d requests; %d bytes written, %.4f %% more than the object (%.1f KiB a cut); %s",
				seed, tc.size, server.made, server.requests, written, 100*float64(written-tc.size)/float64(tc.size),
				float64(written-tc.size)/1024/float64(tc.cuts), took.Round(time.Millisecond))
			assert.LessOrEqual(t, written, tc.size+tc.size/100+underway, "seed %d", seed)
		})
	}
}

// docs/spec.md, 8.7: the download of an object that is replaced fails with
// ErrRepresentationChanged, and the bytes read are the start of the first version.
func TestDownloadOfAnObjectThatIsReplacedMidway(t *testing.T) {
	const size = 16 << 20
	for _, http2 := range []bool{false, true} {
		for _, replaced := range []int{2, 4} {
			server := &cutter{object: bigObject{key: 1, size: size}, replace: replaced}
			server.cuts = []int64{3 << 20, 5 << 20, 11 << 20}
			client, url, _ := serveCuts(t, server, http2)
			client.ResumeMax = 9
			resp, err := client.Get(url)
			require.NoError(t, err)
			h, n, err := hashAll(resp.Body)
			require.NoError(t, resp.Body.Close())
			assert.ErrorIs(t, err, ErrRepresentationChanged)
			var resumeErr *ResumeError
			require.ErrorAs(t, err, &resumeErr)
			assert.Equal(t, n, resumeErr.Offset)
			assert.LessOrEqual(t, n, []int64{3 << 20, 5 << 20, 11 << 20}[replaced-2])
			first := &bigObject{key: 1, size: n}
			assert.Equal(t, first.sum(), h.Sum(nil), "the beginning of the first")
			assert.Equal(t, replaced, server.requests)
		}
	}
}

func hashAll(r io.Reader) (hash.Hash, int64, error) {
	h := sha256.New()
	n, err := io.CopyBuffer(h, r, make([]byte, 256<<10))
	return h, n, err
}
