//go:build linux

package nginxtest

import (
	"bytes"
	"context"
	"crypto/sha256"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/a0b132ce/retryablehttp"
)

// The size of the object, and how fast nginx gives it to one connection: the download
// takes about five seconds.
const (
	objectSize = 256 << 20
	rate       = 32 << 20 // bytes a second
)

// The configuration: everything below one directory, nothing but one port of 127.0.0.1.
// A reload gives the old workers 100 ms to end what they are at; without that limit they
// would finish the download in peace.
const config = `
daemon off;
worker_processes 2;
worker_shutdown_timeout 100ms;
pid %[1]s/nginx.pid;
error_log stderr notice;
%[3]s
events { worker_connections 64; }
http {
	access_log off;
	client_body_temp_path %[1]s/temp/body;
	proxy_temp_path %[1]s/temp/proxy;
	fastcgi_temp_path %[1]s/temp/fastcgi;
	uwsgi_temp_path %[1]s/temp/uwsgi;
	scgi_temp_path %[1]s/temp/scgi;
	server {
		listen 127.0.0.1:%[2]d;
		root %[1]s/www;
		limit_rate %[4]d;
	}
}
`

// nginx is a running nginx: a master process, which is our child, and its workers.
type nginx struct {
	master *exec.Cmd
	url    string
	root   string
	log    lockedBuffer
}

// startNginx starts nginx with the configuration above, as
//
//	nginx -p DIR -c DIR/nginx.conf
//
// in the foreground, DIR being a temporary directory of the test. It is the nginx that is
// installed or, where none is, Debian's package, unpacked into another temporary
// directory by unpack-nginx.sh. The test ends it; should the test process die first, the
// kernel does.
func startNginx(t *testing.T) *nginx {
	t.Helper()
	// Workers run as the same user as the test, who owns the directory.
	dir, user := t.TempDir(), ""
	if os.Getuid() == 0 {
		user = "user root root;"
	}
	require.NoError(t, os.MkdirAll(filepath.Join(dir, "temp"), 0o700))
	require.NoError(t, os.MkdirAll(filepath.Join(dir, "www"), 0o700))
	port := freePort(t)
	conf := filepath.Join(dir, "nginx.conf")
	require.NoError(t, os.WriteFile(conf, fmt.Appendf(nil, config, dir, port, user, rate), 0o600))

	binary, environ := findNginx(t)
	n := &nginx{url: fmt.Sprintf("http://127.0.0.1:%d", port), root: filepath.Join(dir, "www")}
	n.master = exec.Command(binary, "-p", dir, "-c", conf)
	n.master.Env = environ
	n.master.Stdout, n.master.Stderr = &n.log, &n.log
	n.master.WaitDelay = 5 * time.Second // in case a worker survives with its stderr
	// The kernel signals when the thread ends that started the process, so it has to last.
	runtime.LockOSThread()
	n.master.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGTERM}
	require.NoError(t, n.master.Start())
	t.Cleanup(func() { n.stop(t) })

	for deadline := time.Now().Add(10 * time.Second); ; time.Sleep(10 * time.Millisecond) {
		conn, err := net.Dial("tcp4", fmt.Sprintf("127.0.0.1:%d", port))
		if err == nil {
			require.NoError(t, conn.Close())
			return n
		}
		require.True(t, time.Now().Before(deadline), "nginx does not listen: %v\n%s", err, n.log.String())
	}
}

// findNginx gives the path of nginx and the environment to run it in.
func findNginx(t *testing.T) (string, []string) {
	t.Helper()
	for _, name := range []string{"nginx", "/usr/sbin/nginx"} {
		if path, err := exec.LookPath(name); err == nil {
			return path, nil
		}
	}
	dir := t.TempDir()
	out, err := exec.Command("sh", "unpack-nginx.sh", dir).CombinedOutput()
	if err != nil {
		t.Skipf("SKIPPED, NOT PROVED: there is no nginx here, and unpack-nginx.sh cannot get Debian's: %v\n%s", err, out)
	}
	return filepath.Join(dir, "root/usr/sbin/nginx"), append(os.Environ(), "LD_LIBRARY_PATH="+filepath.Join(dir, "lib"))
}

func freePort(t *testing.T) int {
	t.Helper()
	listener, err := net.Listen("tcp4", "127.0.0.1:0")
	require.NoError(t, err)
	defer listener.Close()
	return listener.Addr().(*net.TCPAddr).Port
}

// stop ends master and workers, the gentle way first.
func (n *nginx) stop(t *testing.T) {
	workers := n.workers()
	assert.NoError(t, n.master.Process.Signal(syscall.SIGTERM))
	kill := time.AfterFunc(5*time.Second, func() {
		n.master.Process.Kill()
		for _, pid := range workers {
			syscall.Kill(pid, syscall.SIGKILL)
		}
	})
	err := n.master.Wait()
	assert.True(t, kill.Stop(), "nginx ends when told to")
	assert.NoError(t, err, n.log.String())
	if t.Failed() {
		t.Logf("nginx said:\n%s", n.log.String())
	}
}

// reload has the master start new workers and end the old.
func (n *nginx) reload() error { return n.master.Process.Signal(syscall.SIGHUP) }

// killWorkers kills the workers, which the master then replaces.
func (n *nginx) killWorkers() int {
	killed := 0
	for _, pid := range n.workers() {
		if syscall.Kill(pid, syscall.SIGKILL) == nil {
			killed++
		}
	}
	return killed
}

// workers lists the children of the master.
func (n *nginx) workers() []int {
	var pids []int
	stats, _ := filepath.Glob("/proc/[0-9]*/stat")
	for _, stat := range stats {
		data, err := os.ReadFile(stat)
		if err != nil {
			continue // it has ended
		}
		// PID (NAME) STATE PPID …, and a name may hold anything.
		fields := strings.Fields(string(data[bytes.LastIndexByte(data, ')')+1:]))
		if len(fields) > 1 && fields[1] == strconv.Itoa(n.master.Process.Pid) {
			pid, _ := strconv.Atoi(filepath.Base(filepath.Dir(stat)))
			pids = append(pids, pid)
		}
	}
	return pids
}

// docs/spec.md, section 8: a download from nginx is whole and right although its workers
// are reloaded and killed meanwhile.
func TestDownloadFromNginxSurvivesReloadsAndKills(t *testing.T) {
	server := startNginx(t)
	want := writeObject(t, filepath.Join(server.root, "object.bin"))

	client := retryablehttp.NewClient()
	defer client.CloseIdleConnections()
	client.RetryWaitMin, client.RetryWaitMax = 10*time.Millisecond, time.Second
	client.RetryMax, client.ResumeMax = 10, 100
	var mu sync.Mutex
	var ranges []string // asked for, beyond the first request
	client.OnAttempt = func(a retryablehttp.Attempt) {
		mu.Lock()
		defer mu.Unlock()
		if asked := a.Request.Header.Get("Range"); asked != "" && a.Err == nil && !a.Retry {
			ranges = append(ranges, asked)
		}
	}

	ctx, finished := context.WithCancel(t.Context())
	var trouble sync.WaitGroup
	reloads, killed := 0, 0
	trouble.Go(func() {
		for i := 0; ; i++ {
			select {
			case <-ctx.Done():
				return
			case <-time.After(500 * time.Millisecond):
			}
			if i%2 == 0 {
				killed += server.killWorkers()
			} else {
				reloads++
				assert.NoError(t, server.reload())
			}
		}
	})

	start := time.Now()
	resp, err := client.Get(server.url + "/object.bin")
	var n int64
	hash := sha256.New()
	if err == nil {
		n, err = io.Copy(hash, resp.Body)
		resp.Body.Close()
	}
	took := time.Since(start)
	finished()
	trouble.Wait()
	require.NoError(t, err)
	assert.Equal(t, "nginx", strings.SplitN(resp.Header.Get("Server"), "/", 2)[0])
	assert.EqualValues(t, objectSize, n)
	assert.Equal(t, want, hash.Sum(nil), "SHA-256")
	mu.Lock()
	defer mu.Unlock()
	t.Logf("%s: %d bytes in %s; %d reloads, %d workers killed, %d resumptions",
		resp.Header.Get("Server"), n, took.Round(time.Millisecond), reloads, killed, len(ranges))
	assert.GreaterOrEqual(t, reloads, 2)
	assert.GreaterOrEqual(t, killed, 4)
	assert.GreaterOrEqual(t, len(ranges), 4, "each of them has cut the download: %v", ranges)
	assert.Equal(t, http.StatusOK, resp.StatusCode)
}

// writeObject writes random bytes and gives their SHA-256.
func writeObject(t *testing.T, name string) []byte {
	t.Helper()
	seed := uint64(time.Now().UnixNano())
	t.Logf("seed %d", seed)
	var key [32]byte
	for i := range 8 {
		key[i] = byte(seed >> (8 * i))
	}
	file, err := os.Create(name)
	require.NoError(t, err)
	hash := sha256.New()
	_, err = io.CopyN(io.MultiWriter(file, hash), rand.NewChaCha8(key), objectSize)
	require.NoError(t, err)
	require.NoError(t, file.Close())
	return hash.Sum(nil)
}

// lockedBuffer is what nginx said so far.
type lockedBuffer struct {
	mu  sync.Mutex
	buf bytes.Buffer
}

func (b *lockedBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.buf.Write(p)
}

func (b *lockedBuffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.buf.String()
}
