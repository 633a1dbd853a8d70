package pipeline_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math"
	"mime"
	"mime/multipart"
	"net/http"
	"net/http/httptest"
	"os"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/a0b132ce/retryablehttp/pipeline"
)

// formPart is a part as a server reads it.
type formPart struct{ name, file, ctype, body string }

func readForm(t testing.TB, contentType string, body io.Reader) []formPart {
	kind, params, err := mime.ParseMediaType(contentType)
	require.NoError(t, err)
	assert.Equal(t, "multipart/form-data", kind)
	form := multipart.NewReader(body, params["boundary"])
	var parts []formPart
	for {
		part, err := form.NextRawPart()
		if err == io.EOF {
			return parts
		}
		require.NoError(t, err)
		content, err := io.ReadAll(part)
		require.NoError(t, err)
		parts = append(parts, formPart{part.FormName(), part.FileName(), part.Header.Get("Content-Type"), string(content)})
	}
}

func TestP12Multipart(t *testing.T) {
	for _, server := range []*scripted{serve(step{status: 200}), serve(step{status: 503}, step{status: 200})} {
		reader, seeker := counted("reader"), counted("0123456789")
		_, err := seeker.Seek(4, io.SeekStart)
		require.NoError(t, err)
		req := newRequest(t, "PUT", "http://h/")
		req.Raw().Header.Set("Content-Type", "overwritten")
		require.NoError(t, req.SetMultipart(
			pipeline.Part{Name: "bytes", Body: []byte(`{"a":1}`)},
			pipeline.Part{Name: "raw", Body: json.RawMessage(`[]`)},
			pipeline.Part{Name: "string", Body: "text"},
			pipeline.Part{Name: "int", Body: 42},
			pipeline.Part{Name: "empty", Body: ""},
			pipeline.Part{Name: "reader", Body: reader},
			pipeline.Part{Name: "seek only", Body: seekOnly{seeker}},
			pipeline.Part{Name: "no closer", Body: strings.NewReader("s")},
			pipeline.Part{Name: "named", Body: strings.NewReader("<a/>"), ContentType: "text/xml", Filename: "a.xml"},
			pipeline.Part{Name: "named text", Body: "a", ContentType: "text/csv", Filename: "a.csv"},
			pipeline.Part{Name: "int", Body: 43},
		))
		_, err = over(server, fast()).Do(req)
		require.NoError(t, err)
		for _, got := range server.seen {
			assert.EqualValues(t, len(got.body), got.length)
			assert.Equal(t, []formPart{
				{"bytes", "", "application/json", `{"a":1}`},
				{"raw", "", "application/json", `[]`},
				{"string", "", "text/plain", "text"},
				{"int", "", "text/plain", "42"},
				{"empty", "", "text/plain", ""},
				{"reader", "reader", "application/octet-stream", "reader"},
				{"seek only", "seek only", "application/octet-stream", "0123456789"},
				{"no closer", "no closer", "application/octet-stream", "s"},
				{"named", "a.xml", "text/xml", "<a/>"},
				{"named text", "a.csv", "text/csv", "a"},
				{"int", "", "text/plain", "43"},
			}, readForm(t, got.header.Get("Content-Type"), strings.NewReader(got.body)))
		}
		assert.Equal(t, len(server.steps), server.tries())
		assert.Equal(t, []int{1, 1}, []int{reader.closed(), seeker.closed()})
	}
}

func TestP12ContentTypeThatIsSetAlready(t *testing.T) {
	server := serve(step{status: 200})
	req := newRequest(t, "PATCH", "http://h/")
	req.Raw().Header.Set("Content-Type", "application/merge-patch+json")
	require.NoError(t, req.SetJSON(map[string]any{"a": nil}))
	_, err := over(server, fast()).Do(req)
	require.NoError(t, err)
	assert.Equal(t, "application/merge-patch+json", server.seen[0].header.Get("Content-Type"))
}

func TestMultipartNamesAreEscaped(t *testing.T) {
	server := serve(step{status: 200})
	req := newRequest(t, "PUT", "http://h/")
	require.NoError(t, req.SetMultipart(
		pipeline.Part{Name: "a\"b\\c\r\nX-A: 1", Body: "x"},
		pipeline.Part{Name: `; filename=""`, Body: "x"},
		pipeline.Part{Name: "f", Body: "x", Filename: "a\"\r\n\r\nb"},
	))
	_, err := over(server).Do(req)
	require.NoError(t, err)
	body := server.seen[0].body
	assert.Contains(t, body, `form-data; name="a\"b\\c%0D%0AX-A: 1"`+"\r\n")
	assert.Contains(t, body, `form-data; name="; filename=\"\""`+"\r\n")
	assert.Contains(t, body, `form-data; name="f"; filename="a\"%0D%0A%0D%0Ab"`+"\r\n")
	assert.Len(t, readForm(t, server.seen[0].header.Get("Content-Type"), strings.NewReader(body)), 3)
}

type badSeeker struct {
	io.Reader
	size int64
	err  error
}

func (s badSeeker) Seek(int64, int) (int64, error) { return s.size, s.err }

func TestMultipartThatCannotBeSent(t *testing.T) {
	broken := errors.New("broken")
	for name, c := range map[string]struct {
		part pipeline.Part
		want string
	}{
		"no name":                             {pipeline.Part{Body: "x"}, "the name is empty"},
		"nil":                                 {pipeline.Part{Name: "p"}, "nil"},
		"nil file":                            {pipeline.Part{Name: "p", Body: (*os.File)(nil)}, "nil"},
		"nil reader":                          {pipeline.Part{Name: "p", Body: (*bytes.Reader)(nil)}, "nil"},
		"reader without Seek":                 {pipeline.Part{Name: "p", Body: bytes.NewBufferString("x")}, "cannot seek"},
		"line break in a type":                {pipeline.Part{Name: "p", Body: "x", ContentType: "a/b\r\nX-A: 1"}, "control character"},
		"failing Seek":                        {pipeline.Part{Name: "p", Body: badSeeker{nil, 0, broken}}, "broken"},
		"negative size":                       {pipeline.Part{Name: "p", Body: badSeeker{nil, -1, nil}}, "size"},
		"sizes add up to more than there are": {pipeline.Part{Name: "p", Body: badSeeker{nil, math.MaxInt64, nil}}, "size"},
		"size 0, but not empty":               {pipeline.Part{Name: "p", Body: badSeeker{strings.NewReader("x"), 0, nil}}, "size"},
	} {
		t.Run(name, func(t *testing.T) {
			file := counted("stuff")
			req := newRequest(t, "PUT", "http://h/")
			require.NoError(t, req.SetBytes([]byte("before"), "a/b"))
			err := req.SetMultipart(pipeline.Part{Name: "file", Body: file}, c.part)
			require.ErrorContains(t, err, c.want)
			assert.ErrorContains(t, err, "pipeline: part")
			server := serve(step{status: 200})
			_, err = over(server).Do(req)
			require.NoError(t, err)
			assert.Equal(t, "before", server.seen[0].body, "the request is unchanged")
			assert.Equal(t, "a/b", server.seen[0].header.Get("Content-Type"))
			assert.Zero(t, file.closed())
		})
	}
}

// A file that has become shorter, or cannot be read, fails the call.
func TestMultipartPartThatFails(t *testing.T) {
	for name, change := range map[string]func(*os.File) error{
		"shorter": func(f *os.File) error { return os.Truncate(f.Name(), 2) },
		"closed":  func(f *os.File) error { return f.Close() },
	} {
		t.Run(name, func(t *testing.T) {
			var whole atomic.Int32
			server := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
				if _, err := io.ReadAll(r.Body); err == nil {
					whole.Add(1)
				}
			}))
			defer server.Close()
			f := file(t, "stuff")
			req := newRequest(t, "PUT", server.URL)
			require.NoError(t, req.SetMultipart(pipeline.Part{Name: "file", Body: f}))
			require.NoError(t, change(f))
			_, err := pipeline.New(server.Client()).Do(req)
			require.Error(t, err)
			assert.Zero(t, whole.Load())
		})
	}
}

func TestB1B2MultipartFileIsSentAgain(t *testing.T) {
	for name, retry := range map[string]int{"503 then 200": 503, "307 then 200": 307, "308 then 200": 308} {
		t.Run(name, func(t *testing.T) {
			var tries atomic.Int32
			server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				assert.Equal(t, []formPart{
					{"meta", "", "text/plain", "1"},
					{"file", "file", "application/octet-stream", "stuff"},
				}, readForm(t, r.Header.Get("Content-Type"), r.Body))
				assert.Positive(t, r.ContentLength)
				switch {
				case tries.Add(1) > 1:
				case retry == 503:
					w.WriteHeader(503)
				default:
					http.Redirect(w, r, "/next", retry)
				}
			}))
			defer server.Close()
			f := file(t, "stuff")
			req := newRequest(t, "PUT", server.URL)
			require.NoError(t, req.SetMultipart(pipeline.Part{Name: "meta", Body: 1}, pipeline.Part{Name: "file", Body: f}))
			resp, err := pipeline.New(server.Client(), fast()).Do(req)
			require.NoError(t, err)
			resp.Body.Close()
			assert.Equal(t, 200, resp.StatusCode)
			assert.EqualValues(t, 2, tries.Load())
			assert.ErrorIs(t, f.Close(), os.ErrClosed)
		})
	}
}

// A server that refuses early must not get a mix of two tries.
func TestB3MultipartIsAnsweredEarly(t *testing.T) {
	content := bytes.Repeat([]byte("0123456789abcdef"), 8<<20/16)
	for range 2 {
		var tries atomic.Int32
		server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if tries.Add(1) == 1 {
				io.CopyN(io.Discard, r.Body, 1<<20)
				w.WriteHeader(503)
				return
			}
			for _, part := range readForm(t, r.Header.Get("Content-Type"), r.Body) {
				assert.True(t, part.body == string(content))
			}
		}))
		at, seek := &closeCounter{Reader: bytes.NewReader(content)}, &closeCounter{Reader: bytes.NewReader(content)}
		req := newRequest(t, "PUT", server.URL)
		require.NoError(t, req.SetMultipart(pipeline.Part{Name: "s", Body: seekOnly{seek}}, pipeline.Part{Name: "a", Body: at}))
		resp, err := pipeline.New(server.Client(), fast()).Do(req)
		require.NoError(t, err)
		resp.Body.Close()
		assert.Equal(t, 200, resp.StatusCode)
		assert.EqualValues(t, 2, tries.Load())
		server.Close()
		assert.Equal(t, []int{1, 1}, []int{at.closed(), seek.closed()})
	}
}

// A body that can only seek may be read from several places at once, as when a policy looks
// at it while it is sent.
func TestMultipartIsReadAtOnce(t *testing.T) {
	content := strings.Repeat("0123456789abcdef", 4<<10)
	req := newRequest(t, "PUT", "http://h/")
	require.NoError(t, req.SetMultipart(pipeline.Part{Name: "s", Body: yielding{strings.NewReader(content)}}))
	var readers sync.WaitGroup
	for range 4 {
		readers.Go(func() {
			all, err := io.ReadAll(req.Body())
			assert.NoError(t, err)
			assert.Contains(t, string(all), content)
		})
	}
	readers.Wait()
}

// yielding lets others run between Seek and Read.
type yielding struct{ io.ReadSeeker }

func (y yielding) Seek(offset int64, whence int) (int64, error) {
	defer runtime.Gosched()
	return y.ReadSeeker.Seek(offset, whence)
}

// zeros has size bytes without any memory.
type zeros struct{ io.SectionReader }

func newZeros(size int64) *zeros { return &zeros{*io.NewSectionReader(zeroAt{}, 0, size)} }

type zeroAt struct{}

func (zeroAt) ReadAt(p []byte, _ int64) (int, error) { clear(p); return len(p), nil }

func TestLargePartsAreStreamed(t *testing.T) {
	const size = 64 << 20
	var got atomic.Int64
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		buf := make([]byte, 64<<10)
		n, _ := io.CopyBuffer(struct{ io.Writer }{io.Discard}, struct{ io.Reader }{r.Body}, buf)
		if got.Add(n) < 2*size {
			w.WriteHeader(503)
		}
	}))
	defer server.Close()
	runtime.GC()
	before := totalAlloc()
	req := newRequest(t, "PUT", server.URL)
	require.NoError(t, req.SetMultipart(pipeline.Part{Name: "file", Body: newZeros(size)}))
	resp, err := pipeline.New(server.Client(), fast()).Do(req)
	require.NoError(t, err)
	resp.Body.Close()
	assert.Equal(t, 200, resp.StatusCode)
	assert.Less(t, totalAlloc()-before, uint64(2<<20), "bytes allocated for both tries")
}

func ExampleRequest_SetMultipart() {
	server := roundTripper(func(r *http.Request) (*http.Response, error) {
		form, err := r.MultipartReader()
		if err != nil {
			return nil, err
		}
		for {
			part, err := form.NextPart()
			if err != nil {
				break
			}
			content, _ := io.ReadAll(part)
			fmt.Printf("%s %q: %s\n", part.FormName(), part.FileName(), content)
		}
		return &http.Response{StatusCode: http.StatusNoContent, Request: r}, r.Body.Close()
	})
	pl := pipeline.New(&http.Client{Transport: server}, pipeline.Retry{})
	req, err := pipeline.NewRequest(context.Background(), http.MethodPut, "http://example.com/upload")
	if err != nil {
		fmt.Println(err)
		return
	}
	err = req.SetMultipart(
		pipeline.Part{Name: "title", Body: "holiday"},
		pipeline.Part{Name: "photo", Body: strings.NewReader("<image>"), ContentType: "image/png", Filename: "beach.png"}, // or a file
	)
	if err != nil {
		fmt.Println(err)
		return
	}
	resp, err := pl.Do(req)
	if err != nil {
		fmt.Println(err)
		return
	}
	resp.Body.Close()
	// Output:
	// title "": holiday
	// photo "beach.png": <image>
}
