package conformance

import (
	"bytes"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"

	"github.com/stretchr/testify/require"

	"github.com/a0b132ce/retryablehttp"
)

// givenBody is a body as the scenario's caller has it, and what is seen of it.
type givenBody struct {
	raw     any
	getBody func() (io.ReadCloser, error)
	offset  func() int64 // of the source; nil if it has none
	file    *os.File

	mu                      sync.Mutex
	opened, closed, gotBody int
	readBeforeSend          bool
}

func (b *givenBody) count(n *int) {
	b.mu.Lock()
	defer b.mu.Unlock()
	*n++
}

// Readers that have nothing but the methods that the kind of body speaks of.
type (
	onlyReader     struct{ io.Reader }
	onlyReadSeeker struct{ io.ReadSeeker }
	countedLen     struct {
		io.Reader
		length int
	}
	watchedBody struct {
		io.Reader
		onRead, onClose func()
	}
)

// failingReader gives an error in place of the end.
type failingReader struct {
	io.Reader
	err error
}

func (r failingReader) Read(p []byte) (int, error) {
	n, err := r.Reader.Read(p)
	if err == io.EOF {
		err = r.err
	}
	return n, err
}

// overfullReader claims to have read more than there was room for.
type overfullReader struct{}

func (overfullReader) Read(p []byte) (int, error) { return len(p) + 1, nil }

func (r countedLen) Len() int { return r.length }

func (b *watchedBody) Read(p []byte) (int, error) {
	b.onRead()
	return b.Reader.Read(p)
}

func (b *watchedBody) Close() error {
	b.onClose()
	return nil
}

// openBody makes the body that the scenario's caller gives.
func (p *play) openBody() *givenBody {
	spec := p.scenario.Request.Body
	b := &givenBody{}
	skip := int64(atoi(spec.Options["offset"]))
	// once is what a body that can be read only once is read from.
	once := func() io.Reader {
		fail := spec.Options["fail"]
		if fail == "" {
			return strings.NewReader(spec.Content)
		}
		return failingReader{strings.NewReader(spec.Content[:atoi(spec.Options["at"])]), p.error(fail)}
	}
	watched := func() io.ReadCloser {
		return &watchedBody{once(), func() {
			if p.tap.count() == 0 {
				b.mu.Lock()
				b.readBeforeSend = true
				b.mu.Unlock()
			}
		}, func() { b.count(&b.closed) }}
	}
	seekable := func(s io.Seeker) {
		_, err := s.Seek(skip, io.SeekStart)
		require.NoError(p, err)
		b.offset = func() int64 {
			at, err := s.Seek(0, io.SeekCurrent)
			require.NoError(p, err)
			return at
		}
	}
	function := func(open func() io.Reader) func() (io.Reader, error) {
		return func() (io.Reader, error) {
			p.event("open body")
			b.count(&b.opened)
			if fail := spec.Options["fail"]; fail != "" && atoi(spec.Options["at"]) == b.opened {
				return nil, p.error(fail)
			}
			return open(), nil
		}
	}
	tempFile := func() *os.File {
		name := filepath.Join(p.TempDir(), "body")
		require.NoError(p, os.WriteFile(name, []byte(spec.Content), 0o600))
		file, err := os.Open(name)
		require.NoError(p, err)
		p.Cleanup(func() { file.Close() })
		return file
	}
	switch spec.Kind {
	case "none":
	case "no-body":
		b.raw = http.NoBody
	case "bytes":
		b.raw = []byte(spec.Content)
	case "string":
		b.raw = spec.Content
	case "buffer":
		buffer := bytes.NewBufferString(spec.Content)
		buffer.Next(int(skip))
		b.raw, b.offset = buffer, func() int64 { return int64(len(spec.Content) - buffer.Len()) }
	case "bytes-reader":
		r := bytes.NewReader([]byte(spec.Content))
		seekable(r)
		b.raw = r
	case "strings-reader":
		r := strings.NewReader(spec.Content)
		seekable(r)
		b.raw = r
	case "section-reader":
		// What surrounds the section must never be seen.
		r := io.NewSectionReader(strings.NewReader("<"+spec.Content+">"), 1, int64(len(spec.Content)))
		seekable(r)
		b.raw = r
	case "file":
		b.file = tempFile()
		seekable(b.file)
		b.raw = b.file
	case "read-seeker":
		r := onlyReadSeeker{strings.NewReader(spec.Content)}
		seekable(r)
		b.raw = r
	case "reader":
		b.raw = onlyReader{once()}
	case "overfull-reader":
		b.raw = overfullReader{}
	case "read-closer", "stream":
		b.raw = watched()
	case "replayable":
		b.raw = watched()
		b.getBody = func() (io.ReadCloser, error) {
			b.count(&b.gotBody)
			return watched(), nil
		}
	case "func":
		b.raw = retryablehttp.ReaderFunc(function(func() io.Reader { return onlyReader{strings.NewReader(spec.Content)} }))
	case "plain-func":
		b.raw = function(func() io.Reader { return onlyReader{strings.NewReader(spec.Content)} })
	case "func-len":
		length := len(spec.Content)
		if declared := spec.Options["declared"]; declared != "" {
			length = atoi(declared)
		}
		b.raw = retryablehttp.ReaderFunc(function(func() io.Reader { return countedLen{strings.NewReader(spec.Content), length} }))
	case "func-section":
		b.raw = retryablehttp.ReaderFunc(function(func() io.Reader {
			return io.NewSectionReader(strings.NewReader("<"+spec.Content+">"), 1, int64(len(spec.Content)))
		}))
	case "func-file":
		b.raw = retryablehttp.ReaderFunc(function(func() io.Reader { return tempFile() }))
	case "func-closer":
		b.raw = retryablehttp.ReaderFunc(function(func() io.Reader { return watched() }))
	case "int":
		b.raw = 42
	default:
		require.Failf(p, "body", "the kind %q is not known here", spec.Kind)
	}
	return b
}

// atoi reads a number that the scenario has been checked to hold; none is 0.
func atoi(digits string) int {
	n, _ := strconv.Atoi(digits)
	return n
}
