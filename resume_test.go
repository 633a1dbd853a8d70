package retryablehttp

import (
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"math/rand/v2"
	"net/http"
	"net/url"
	"os"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/iotest"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// objectStore is a transport with a server of one object behind it. It serves ranges as
// RFC 9110 §13.1.5 and §14 specify, unless a test changes its responses.
type objectStore struct {
	object    string
	header    http.Header
	chunked   bool            // responses have no Content-Length
	responses []storeResponse // the first, the second, …; all others are whole and honest

	mu     sync.Mutex
	seen   []*http.Request
	bodies []*storeBody
}

// storeResponse is what is not as it should be with an response.
type storeResponse struct {
	delay   time.Duration        // before the header
	fail    error                // instead of a response
	status  int                  // instead of the object
	bend    func(*http.Response) // last change to header and body
	before  time.Duration        // before the first byte of the body
	keep    int                  // with end set, how many bytes of the body come
	stall   time.Duration        // before the end of the body
	end     error                // what the body ends with instead of its end
	handler func(*http.Request) (*http.Response, error)
}

const objectDate = "Tue, 15 Nov 1994 08:12:31 GMT"

// newStore makes a store whose object has a strong ETag unless header says otherwise.
func newStore(object string, header ...string) *objectStore {
	s := &objectStore{object: object, header: http.Header{"Etag": {`"v1"`}, "Date": {objectDate}}}
	for i := 0; i+1 < len(header); i += 2 {
		s.header.Set(header[i], header[i+1])
		if header[i+1] == "" {
			s.header.Del(header[i])
		}
	}
	return s
}

// client gives a client that resumes, without waits.
func (s *objectStore) client(resumeMax int) *Client {
	return &Client{ResumeMax: resumeMax, Backoff: noWait, HTTPClient: &http.Client{Transport: s}}
}

func (s *objectStore) RoundTrip(req *http.Request) (*http.Response, error) {
	s.mu.Lock()
	var a storeResponse
	if n := len(s.seen); n < len(s.responses) {
		a = s.responses[n]
	}
	s.seen = append(s.seen, req)
	s.mu.Unlock()
	if err := sleepOr(req.Context(), nil, a.delay); err != nil {
		return nil, err
	}
	if a.fail != nil {
		return nil, a.fail
	}
	if a.handler != nil {
		return a.handler(req)
	}
	resp := s.serve(req)
	body := resp.Body.(*storeBody)
	if a.status != 0 {
		resp = respond(req, a.status, "")
		*body = storeBody{ctx: req.Context(), data: "an error page", end: io.EOF, closed: body.closed}
		resp.Body, resp.ContentLength = body, int64(len(body.data))
	}
	body.before, body.stall = a.before, a.stall
	if a.end != nil {
		body.data, body.end = body.data[:a.keep], a.end
	}
	if a.bend != nil {
		a.bend(resp)
	}
	return resp, nil
}

// serve gives the object, or the part of it that is asked for.
func (s *objectStore) serve(req *http.Request) *http.Response {
	resp := respond(req, 200, "")
	maps.Copy(resp.Header, s.header.Clone())
	data := s.object
	if first, last, ok := s.span(req); ok && first >= len(data) {
		resp = respond(req, 416, "", "Content-Range", fmt.Sprintf("bytes */%d", len(data)))
		data = ""
	} else if ok {
		resp.StatusCode, resp.Status = 206, "206 Partial Content"
		resp.Header.Set("Content-Range", fmt.Sprintf("bytes %d-%d/%d", first, last, len(data)))
		data = data[first : last+1]
	}
	body := &storeBody{ctx: req.Context(), data: data, end: io.EOF, closed: make(chan struct{})}
	s.mu.Lock()
	s.bodies = append(s.bodies, body)
	s.mu.Unlock()
	resp.Body, resp.ContentLength = body, int64(len(data))
	if s.chunked {
		resp.ContentLength = -1
	}
	if req.Method == http.MethodHead {
		body.data = ""
	}
	return resp
}

// span reads the Range of a request, if it holds.
func (s *objectStore) span(req *http.Request) (first, last int, ok bool) {
	want, ok := strings.CutPrefix(req.Header.Get("Range"), "bytes=")
	if cond := req.Header.Get("If-Range"); !ok || cond != "" && cond != s.header.Get("ETag") && cond != s.header.Get("Last-Modified") {
		return 0, 0, false
	}
	from, to, _ := strings.Cut(want, "-")
	last = len(s.object) - 1
	first, err := strconv.Atoi(from)
	switch {
	case err != nil: // the last so many bytes
		n, _ := strconv.Atoi(to)
		first = max(last+1-n, 0)
	case to != "":
		n, _ := strconv.Atoi(to)
		last = min(last, n)
	}
	return first, last, first <= last || first > len(s.object)-1
}

// ranges lists the Range and If-Range of the requests.
func (s *objectStore) ranges() []string {
	var all []string
	for _, req := range s.seen {
		all = append(all, strings.TrimSpace(req.Header.Get("Range")+" "+req.Header.Get("If-Range")))
	}
	return all
}

// assertClosed checks that every response is closed.
func (s *objectStore) assertClosed(t *testing.T) {
	t.Helper()
	for i, body := range s.bodies {
		assert.True(t, body.isClosed(), "body %d of %d is closed", i+1, len(s.bodies))
	}
}

// storeBody is a body as net/http has it: it obeys Close and the request's context.
type storeBody struct {
	ctx    context.Context
	before time.Duration
	data   string
	piece  int // how much one Read gives at most, 0 for all
	stall  time.Duration
	end    error
	once   sync.Once
	closed chan struct{}
}

func (b *storeBody) Read(p []byte) (int, error) {
	if b.isClosed() {
		return 0, http.ErrBodyReadAfterClose
	}
	if err := sleepOr(b.ctx, b.closed, b.before); err != nil {
		return 0, err
	}
	b.before = 0
	if b.data != "" {
		if b.piece > 0 && len(p) > b.piece {
			p = p[:b.piece]
		}
		n := copy(p, b.data)
		b.data = b.data[n:]
		return n, nil
	}
	if err := sleepOr(b.ctx, b.closed, b.stall); err != nil {
		return 0, err
	}
	return 0, b.end
}

func (b *storeBody) Close() error { b.once.Do(func() { close(b.closed) }); return nil }

func (b *storeBody) isClosed() bool {
	select {
	case <-b.closed:
		return true
	default:
		return false
	}
}

// sleepOr sleeps, unless the context ends or closed is closed.
func sleepOr(ctx context.Context, closed chan struct{}, d time.Duration) error {
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	if d == 0 {
		return nil
	}
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	case <-closed:
		return http.ErrBodyReadAfterClose
	}
}

// download gets the object and reads it to its end.
func download(t *testing.T, client *Client, header ...string) (string, error) {
	t.Helper()
	req, err := NewRequestWithContext(t.Context(), "GET", "http://user:secret@host/object?key=secret", nil)
	require.NoError(t, err)
	for i := 0; i+1 < len(header); i += 2 {
		req.Header.Set(header[i], header[i+1])
	}
	before := req.Header.Clone()
	resp, err := client.Do(req)
	require.NoError(t, err)
	data, err := io.ReadAll(resp.Body)
	assert.NoError(t, resp.Body.Close())
	assert.Equal(t, before, req.Header, "the caller's header is untouched")
	return string(data), err
}

var (
	testObject = strings.Repeat("0123456789abcdefghijklmnopqrstuvwxyz", 3)[:100]
	cutAt40    = storeResponse{keep: 40, end: errLost}
)

// docs/spec.md, 8.1 and 8.6: the rest is requested by Range and If-Range, inside the
// range that the caller requested.
func TestResumptionAsksForTheRest(t *testing.T) {
	const old, recent = "Tue, 15 Nov 1994 08:12:30 GMT", "Mon, 14 Nov 1994 08:12:31 GMT"
	for name, tc := range map[string]struct {
		server  []string
		caller  []string
		chunked bool
		end     error
		want    string
		request string
	}{
		"strong ETag":                   {want: testObject, request: `bytes=40-99 "v1"`},
		"ETag before Last-Modified":     {server: []string{"Last-Modified", recent}, want: testObject, request: `bytes=40-99 "v1"`},
		"empty ETag":                    {server: []string{"ETag", `""`}, want: testObject, request: `bytes=40-99 ""`},
		"Last-Modified, a day old":      {server: []string{"ETag", "", "Last-Modified", recent}, want: testObject, request: "bytes=40-99 " + recent},
		"Last-Modified, a second old":   {server: []string{"ETag", "", "Last-Modified", old}, want: testObject, request: "bytes=40-99 " + old},
		"unknown length":                {chunked: true, want: testObject, request: `bytes=40- "v1"`},
		"end of file before the end":    {end: io.EOF, want: testObject, request: `bytes=40-99 "v1"`},
		"identity encoding":             {server: []string{"Content-Encoding", "identity"}, want: testObject, request: `bytes=40-99 "v1"`},
		"ranges offered":                {server: []string{"Accept-Ranges", "bytes"}, want: testObject, request: `bytes=40-99 "v1"`},
		"own range a-b":                 {caller: []string{"Range", "bytes=10-89"}, want: testObject[10:90], request: `bytes=50-89 "v1"`},
		"own range a-b beyond the end":  {caller: []string{"Range", "bytes=10-500"}, want: testObject[10:], request: `bytes=50-99 "v1"`},
		"own range a-":                  {caller: []string{"Range", "bytes=20-"}, want: testObject[20:], request: `bytes=60-99 "v1"`},
		"own range -n":                  {caller: []string{"Range", "bytes=-70"}, want: testObject[30:], request: `bytes=70-99 "v1"`},
		"own range, own If-Range":       {caller: []string{"Range", "bytes=10-89", "If-Range", `"v1"`}, want: testObject[10:90], request: `bytes=50-89 "v1"`},
		"own range, If-Range has no":    {caller: []string{"Range", "bytes=10-89", "If-Range", `"v0"`}, want: testObject, request: `bytes=40-99 "v1"`},
		"own range, unknown length":     {caller: []string{"Range", "bytes=10-89"}, chunked: true, want: testObject[10:90], request: `bytes=50-89 "v1"`},
		"own range, end of file before": {caller: []string{"Range", "bytes=10-89"}, end: io.EOF, want: testObject[10:90], request: `bytes=50-89 "v1"`},
		"own conditions":                {caller: []string{"If-None-Match", `"v0"`, "If-Modified-Since", old, "If-Match", "*", "If-Unmodified-Since", recent}, want: testObject, request: `bytes=40-99 "v1"`},
	} {
		t.Run(name, func(t *testing.T) {
			store := newStore(testObject, tc.server...)
			store.chunked = tc.chunked
			cut := cutAt40
			if tc.end != nil {
				cut.end = tc.end
			}
			store.responses = []storeResponse{cut}
			got, err := download(t, store.client(1), append(tc.caller, "X-Mine", "m")...)
			require.NoError(t, err)
			assert.Equal(t, tc.want, got)
			require.Len(t, store.seen, 2)
			assert.Equal(t, tc.request, store.ranges()[1])
			rest := store.seen[1]
			for _, condition := range []string{"If-Match", "If-None-Match", "If-Modified-Since", "If-Unmodified-Since"} {
				assert.Empty(t, rest.Header.Values(condition))
			}
			assert.Equal(t, "m", rest.Header.Get("X-Mine"), "the other headers stay")
			assert.Equal(t, store.seen[0].URL.String(), rest.URL.String())
			assert.Equal(t, "GET", rest.Method)
			store.assertClosed(t)
		})
	}
}

// docs/spec.md, 8.3 and 8.4: responses that are not resumed.
func TestResponsesThatAreNotResumed(t *testing.T) {
	set := func(header ...string) func(*http.Response) {
		return func(resp *http.Response) {
			for i := 0; i+1 < len(header); i += 2 {
				resp.Header.Set(header[i], header[i+1])
			}
		}
	}
	const recent = "Tue, 15 Nov 1994 08:12:31 GMT"
	for name, tc := range map[string]struct {
		method string
		server []string
		caller []string
		bend   func(*http.Response)
		off    bool
	}{
		"ResumeMax is 0":                        {off: true},
		"HEAD":                                  {method: "HEAD"},
		"POST":                                  {method: "POST"},
		"PUT":                                   {method: "PUT"},
		"weak ETag":                             {server: []string{"ETag", `W/"v1"`}},
		"weak ETag, old Last-Modified":          {server: []string{"ETag", `W/"v1"`, "Last-Modified", "Mon, 14 Nov 1994 08:12:31 GMT"}},
		"ETag without quotes":                   {server: []string{"ETag", "v1"}},
		"ETag is one quote":                     {server: []string{"ETag", `"`}},
		"no validator":                          {server: []string{"ETag", ""}},
		"Last-Modified as new as the response":  {server: []string{"ETag", "", "Last-Modified", recent}},
		"Last-Modified newer than the response": {server: []string{"ETag", "", "Last-Modified", "Tue, 15 Nov 1994 08:12:32 GMT"}},
		"Last-Modified without Date":            {server: []string{"ETag", "", "Last-Modified", "Mon, 14 Nov 1994 08:12:31 GMT", "Date", ""}},
		"Last-Modified, malformed":              {server: []string{"ETag", "", "Last-Modified", "yesterday"}},
		"Last-Modified, Date malformed":         {server: []string{"ETag", "", "Last-Modified", "Mon, 14 Nov 1994 08:12:31 GMT", "Date", "today"}},
		"Accept-Ranges: none":                   {server: []string{"Accept-Ranges", "none"}},
		"Accept-Ranges: None":                   {server: []string{"Accept-Ranges", " None "}},
		"two ETags":                             {bend: func(r *http.Response) { r.Header.Add("ETag", `"v2"`) }},
		"Accept-Ranges: bytes and none":         {bend: func(r *http.Response) { r.Header["Accept-Ranges"] = []string{"bytes", "none"} }},
		"Accept-Ranges: bytes, none":            {server: []string{"Accept-Ranges", "bytes, none"}},
		"Content-Encoding: identity and gzip":   {bend: func(r *http.Response) { r.Header["Content-Encoding"] = []string{"identity", "gzip"} }},
		"Content-Encoding: gzip":                {server: []string{"Content-Encoding", "gzip"}},
		"transparent gzip":                      {bend: func(resp *http.Response) { resp.Uncompressed, resp.ContentLength = true, -1 }},
		"status 203":                            {bend: func(resp *http.Response) { resp.StatusCode = 203 }},
		"status 404":                            {bend: func(resp *http.Response) { resp.StatusCode = 404 }},
		"several ranges, one returned":          {caller: []string{"Range", "bytes=0-89,95-99"}, bend: func(resp *http.Response) { resp.StatusCode = 206; set("Content-Range", "bytes 0-99/100")(resp) }},
		"several ranges": {caller: []string{"Range", "bytes=0-9,20-29"}, bend: func(resp *http.Response) {
			resp.StatusCode = 206
			set("Content-Type", "multipart/byteranges; boundary=x")(resp)
		}},
		"other range unit":                                        {caller: []string{"Range", "lines=0-9"}, bend: func(resp *http.Response) { resp.StatusCode = 206; set("Content-Range", "lines 0-9/100")(resp) }},
		"206 that nobody asked for":                               {bend: func(resp *http.Response) { resp.StatusCode = 206; set("Content-Range", "bytes 0-99/100")(resp) }},
		"206 without Content-Range":                               {caller: []string{"Range", "bytes=0-"}, bend: func(resp *http.Response) { resp.Header.Del("Content-Range") }},
		"206 with a malformed Content-Range":                      {caller: []string{"Range", "bytes=0-"}, bend: set("Content-Range", "bytes 0-99")},
		"206 whose Content-Length does not fit its Content-Range": {caller: []string{"Range", "bytes=0-89"}, bend: func(resp *http.Response) { resp.ContentLength = 80 }},
	} {
		t.Run(name, func(t *testing.T) {
			store := newStore(testObject, tc.server...)
			store.responses = []storeResponse{{keep: 0, end: errLost, bend: tc.bend}}
			client := store.client(9)
			if tc.off {
				client.ResumeMax = 0
			}
			req, err := NewRequestWithContext(t.Context(), tc.method, "http://host/", nil)
			require.NoError(t, err)
			for i := 0; i+1 < len(tc.caller); i += 2 {
				req.Header.Set(tc.caller[i], tc.caller[i+1])
			}
			resp, err := client.Do(req)
			require.NoError(t, err)
			assert.Same(t, store.bodies[0], resp.Body, "the body is the transport's own")
			_, err = io.ReadAll(resp.Body)
			assert.Equal(t, errLost, err, "the error is the transport's own")
			assert.NoError(t, resp.Body.Close())
			assert.Len(t, store.seen, 1)
		})
	}
}

// docs/spec.md, 8.7 and 8.8: a response that does not contain the rest of the same object
// is refused. The caller gets the bytes before the cut and no others.
func TestWrongResponseIsNeverSplicedIn(t *testing.T) {
	set := func(name, value string) func(*http.Response) {
		return func(resp *http.Response) { resp.Header.Set(name, value) }
	}
	contentRange := func(value string) func(*http.Response) { return set("Content-Range", value) }
	for name, tc := range map[string]struct {
		response storeResponse
		dated    bool // the validator is a Last-Modified
		chunked  bool
		changed  bool
		text     string
	}{
		"no Content-Range":                   {response: storeResponse{bend: func(r *http.Response) { r.Header.Del("Content-Range") }}, text: "no Content-Range"},
		"Content-Range of another unit":      {response: storeResponse{bend: contentRange("lines 40-99/100")}, text: `invalid Content-Range "lines 40-99/100"`},
		"Content-Range without total":        {response: storeResponse{bend: contentRange("bytes 40-99")}, text: "invalid Content-Range"},
		"Content-Range without last":         {response: storeResponse{bend: contentRange("bytes 40-/100")}, text: "invalid Content-Range"},
		"Content-Range without first":        {response: storeResponse{bend: contentRange("bytes -99/100")}, text: "invalid Content-Range"},
		"Content-Range of nothing":           {response: storeResponse{bend: contentRange("bytes */100")}, text: "invalid Content-Range"},
		"Content-Range of stars":             {response: storeResponse{bend: contentRange("bytes *-*/*")}, text: "invalid Content-Range"},
		"Content-Range with a sign":          {response: storeResponse{bend: contentRange("bytes +40-99/100")}, text: "invalid Content-Range"},
		"Content-Range with a minus":         {response: storeResponse{bend: contentRange("bytes 40--99/100")}, text: "invalid Content-Range"},
		"Content-Range with blanks":          {response: storeResponse{bend: contentRange("bytes 40 - 99 / 100")}, text: "invalid Content-Range"},
		"Content-Range in hex":               {response: storeResponse{bend: contentRange("bytes 0x28-99/100")}, text: "invalid Content-Range"},
		"Content-Range too large":            {response: storeResponse{bend: contentRange("bytes 40-99/99999999999999999999")}, text: "invalid Content-Range"},
		"Content-Range backwards":            {response: storeResponse{bend: contentRange("bytes 99-40/100")}, text: "invalid Content-Range"},
		"Content-Range beyond its own total": {response: storeResponse{bend: contentRange("bytes 40-100/100")}, text: "invalid Content-Range"},
		"Content-Range from before":          {response: storeResponse{bend: contentRange("bytes 0-99/100")}, text: "asked for the bytes from 40 on, got those from 0 on"},
		"Content-Range from behind":          {response: storeResponse{bend: contentRange("bytes 41-99/100")}, text: "asked for the bytes from 40 on, got those from 41 on"},
		"Content-Range, other total":         {response: storeResponse{bend: contentRange("bytes 40-99/101")}, changed: true, text: "it has 101 bytes instead of 100"},
		"Content-Range, last beyond":         {response: storeResponse{bend: contentRange("bytes 40-100/*")}, text: "asked for the bytes up to 99, got those up to 100"},
		"Content-Length too long":            {response: storeResponse{bend: func(r *http.Response) { r.ContentLength = 61 }}, text: "Content-Length 61 does not fit"},
		"Content-Length too short":           {response: storeResponse{bend: func(r *http.Response) { r.ContentLength = 59 }}, text: "Content-Length 59 does not fit"},
		"two Content-Ranges":                 {response: storeResponse{bend: func(r *http.Response) { r.Header.Add("Content-Range", "bytes 0-99/100") }}, text: "more than one Content-Range"},
		"two ETags":                          {response: storeResponse{bend: func(r *http.Response) { r.Header.Add("ETag", `"v2"`) }}, text: "more than one ETag"},
		"two Content-Encodings":              {response: storeResponse{bend: func(r *http.Response) { r.Header["Content-Encoding"] = []string{"identity", "gzip"} }}, text: "Content-Encoding"},
		"another ETag":                       {response: storeResponse{bend: set("ETag", `"v2"`)}, changed: true, text: `instead of`},
		"weak ETag of the same text":         {response: storeResponse{bend: set("ETag", `W/"v1"`)}, changed: true, text: `instead of`},
		"no ETag":                            {response: storeResponse{bend: func(r *http.Response) { r.Header.Del("ETag") }}, text: `ETag`},
		"an ETag all of a sudden":            {response: storeResponse{bend: set("ETag", `"v1"`)}, dated: true, changed: true, text: "ETag"},
		"another Last-Modified":              {response: storeResponse{bend: set("Last-Modified", "Mon, 14 Nov 1994 08:12:32 GMT")}, dated: true, changed: true, text: "Last-Modified"},
		"multipart/byteranges": {response: storeResponse{bend: func(r *http.Response) {
			r.Header.Del("Content-Range")
			set("Content-Type", "multipart/byteranges; boundary=x")(r)
		}}, text: "no Content-Range"},
		"multipart with a Content-Range":    {response: storeResponse{bend: set("Content-Type", "multipart/byteranges; boundary=x")}, text: "multipart/byteranges"},
		"Content-Encoding":                  {response: storeResponse{bend: set("Content-Encoding", "gzip")}, text: `Content-Encoding "gzip"`},
		"transparent gzip":                  {response: storeResponse{bend: func(r *http.Response) { r.Uncompressed, r.ContentLength = true, -1 }}, text: `Content-Encoding`},
		"200 with the same ETag":            {response: storeResponse{handler: func(r *http.Request) (*http.Response, error) { return newStore(testObject).serve(withoutRange(r)), nil }}, text: "does not serve ranges"},
		"200 with another ETag":             {response: storeResponse{handler: func(r *http.Request) (*http.Response, error) { return newStore("other", "ETag", `"v2"`).serve(r), nil }}, changed: true, text: "200"},
		"200 without ETag":                  {response: storeResponse{handler: func(r *http.Request) (*http.Response, error) { return newStore("other", "ETag", "").serve(r), nil }}, changed: true, text: "200"},
		"416":                               {response: storeResponse{status: 416}, changed: true, text: "no bytes from 40 on"},
		"412":                               {response: storeResponse{status: 412}, text: "unexpected HTTP status"},
		"404":                               {response: storeResponse{status: 404}, text: "unexpected HTTP status"},
		"304":                               {response: storeResponse{status: 304}, text: "unexpected HTTP status"},
		"204":                               {response: storeResponse{status: 204}, text: "unexpected HTTP status"},
		"302 without Location":              {response: storeResponse{status: 302}, text: "unexpected HTTP status"},
		"unknown length stays unknown":      {response: storeResponse{bend: contentRange("bytes 40-99/*")}, chunked: true, text: "length"},
		"unknown length, now a shorter one": {response: storeResponse{status: 416, bend: contentRange("bytes */30")}, chunked: true, changed: true, text: "no bytes from 40 on"},
		"unknown length, nothing left, another ETag": {response: storeResponse{status: 416, bend: func(r *http.Response) { contentRange("bytes */40")(r); set("ETag", `"v2"`)(r) }}, chunked: true, changed: true, text: ""},
	} {
		t.Run(name, func(t *testing.T) {
			store := newStore(testObject)
			if tc.dated {
				store = newStore(testObject, "ETag", "", "Last-Modified", "Mon, 14 Nov 1994 08:12:31 GMT")
			}
			store.chunked = tc.chunked
			store.responses = []storeResponse{cutAt40, tc.response}
			got, err := download(t, store.client(9))
			assert.Equal(t, testObject[:40], got)
			var resumeErr *ResumeError
			require.ErrorAs(t, err, &resumeErr)
			assert.Contains(t, err.Error(), tc.text)
			assert.EqualValues(t, 40, resumeErr.Offset)
			assert.Equal(t, tc.changed, errors.Is(err, ErrRepresentationChanged))
			assert.NotContains(t, err.Error(), "\n")
			assert.Len(t, store.seen, 2, "it would be the same again")
			store.assertClosed(t)
		})
	}
}

func withoutRange(req *http.Request) *http.Request {
	req = req.Clone(req.Context())
	req.Header.Del("Range")
	return req
}

// docs/spec.md, 8.8: bytes after the end that the header declares are an error and are
// not delivered, in the first response and in later ones.
func TestBodyLongerThanAnnouncedIsAnError(t *testing.T) {
	longer := func(r *http.Response) { r.Body.(*storeBody).data += "and more"; r.ContentLength = -1 }
	for name, tc := range map[string]struct {
		responses []storeResponse
		want      string
	}{
		"200":                           {[]storeResponse{{bend: func(r *http.Response) { r.Body.(*storeBody).data += "and more" }}}, testObject},
		"206":                           {[]storeResponse{cutAt40, {bend: longer}}, testObject},
		"206 of a part of what is left": {[]storeResponse{cutAt40, {bend: func(r *http.Response) { narrow(49)(r); longer(r) }}}, testObject[:50]},
	} {
		t.Run(name, func(t *testing.T) {
			store := newStore(testObject)
			store.responses = tc.responses
			got, err := download(t, store.client(9))
			assert.Equal(t, tc.want, got)
			var resumeErr *ResumeError
			require.ErrorAs(t, err, &resumeErr)
			assert.ErrorContains(t, err, "longer than was announced")
			assert.EqualValues(t, len(tc.want), resumeErr.Offset)
			store.assertClosed(t)
		})
	}
}

// narrow makes a 206 end earlier than was asked for, which a server may do.
func narrow(last int64) func(*http.Response) {
	return func(resp *http.Response) {
		var first, wide, size int64
		if _, err := fmt.Sscanf(resp.Header.Get("Content-Range"), "bytes %d-%d/%d", &first, &wide, &size); err != nil {
			panic(err)
		}
		body := resp.Body.(*storeBody)
		body.data = body.data[:last-first+1]
		resp.ContentLength = int64(len(body.data))
		resp.Header.Set("Content-Range", fmt.Sprintf("bytes %d-%d/%d", first, last, size))
	}
}

// docs/spec.md, 8.1: unusual responses that contain the rest.
func TestUnusualResponsesThatAreValid(t *testing.T) {
	for name, tc := range map[string]struct {
		responses []storeResponse
		chunked   bool
		dated     bool
		caller    string
		want      string
		requests  int
	}{
		"total not told":                      {responses: []storeResponse{cutAt40, {bend: func(r *http.Response) { r.Header.Set("Content-Range", "bytes 40-99/*") }}}, want: testObject, requests: 2},
		"206 without Content-Length":          {responses: []storeResponse{cutAt40, {bend: func(r *http.Response) { r.ContentLength = -1 }}}, want: testObject, requests: 2},
		"less than was asked for":             {responses: []storeResponse{cutAt40, {bend: narrow(59)}, {bend: narrow(69)}}, want: testObject, requests: 4},
		"less, and the length unknown":        {responses: []storeResponse{cutAt40, {bend: narrow(59)}}, chunked: true, want: testObject, requests: 3},
		"206 with no Last-Modified":           {responses: []storeResponse{cutAt40, {bend: func(r *http.Response) { r.Header.Del("Last-Modified") }}}, dated: true, want: testObject, requests: 2},
		"all bytes and then a failure":        {responses: []storeResponse{{keep: 100, end: errLost}}, want: testObject, requests: 1},
		"the range's bytes, then a failure":   {responses: []storeResponse{{keep: 50, end: errLost}}, caller: "bytes=10-59", want: testObject[10:60], requests: 1},
		"unknown length, only the end lacked": {responses: []storeResponse{{keep: 100, end: io.ErrUnexpectedEOF}}, chunked: true, want: testObject, requests: 2},
		"own range of unknown total":          {responses: []storeResponse{{keep: 20, end: errLost, bend: func(r *http.Response) { r.Header.Set("Content-Range", "bytes 10-59/*") }}}, caller: "bytes=10-59", want: testObject[10:60], requests: 2},
	} {
		t.Run(name, func(t *testing.T) {
			store := newStore(testObject)
			if tc.dated {
				store = newStore(testObject, "ETag", "", "Last-Modified", "Mon, 14 Nov 1994 08:12:31 GMT")
			}
			store.responses, store.chunked = tc.responses, tc.chunked
			var header []string
			if tc.caller != "" {
				header = []string{"Range", tc.caller}
			}
			got, err := download(t, store.client(9), header...)
			require.NoError(t, err)
			assert.Equal(t, tc.want, got)
			assert.Len(t, store.seen, tc.requests)
			store.assertClosed(t)
		})
	}
}

// docs/spec.md, 8.4: an empty body is not resumed.
func TestEmptyBodyIsNotResumed(t *testing.T) {
	for _, chunked := range []bool{false, true} {
		store := newStore("")
		store.chunked = chunked
		got, err := download(t, store.client(9))
		require.NoError(t, err)
		assert.Empty(t, got)
		assert.Len(t, store.seen, 1)
	}
}

// docs/spec.md, 8.2: ResumeMax counts all resumptions of one body, whether they brought
// bytes or not, but not the retries within them.
func TestResumeMaxCountsInAll(t *testing.T) {
	for resumeMax := 1; resumeMax <= 5; resumeMax++ {
		store := newStore(testObject)
		for range resumeMax + 1 {
			store.responses = append(store.responses, storeResponse{keep: 10, end: errLost})
		}
		got, err := download(t, store.client(resumeMax))
		assert.Equal(t, testObject[:10*(resumeMax+1)], got)
		var resumeErr *ResumeError
		require.ErrorAs(t, err, &resumeErr)
		assert.EqualError(t, err, fmt.Sprintf("resuming http://user:xxxxx@host/object?key=REDACTED after %d bytes: cut off again after %d resumption(s): connection lost", len(got), resumeMax))
		assert.ErrorIs(t, err, errLost)
		assert.Len(t, store.seen, resumeMax+1)
		store.assertClosed(t)

		store = newStore(testObject)
		for range resumeMax {
			store.responses = append(store.responses, storeResponse{keep: 10, end: errLost})
		}
		got, err = download(t, store.client(resumeMax))
		require.NoError(t, err, "one failure less")
		assert.Equal(t, testObject, got)
	}
}

// docs/spec.md, 8.2: each response has its own count.
func TestEveryResponseIsCountedByItself(t *testing.T) {
	store := newStore(testObject)
	store.responses = []storeResponse{cutAt40, {}, cutAt40, {}, cutAt40, {}}
	client := store.client(1)
	for range 3 {
		got, err := download(t, client)
		require.NoError(t, err)
		assert.Equal(t, testObject, got)
	}
	assert.Len(t, store.seen, 6)
}

// docs/spec.md, 8.2: the client's Backoff gets the number of resumptions since the last
// byte.
func TestResumptionWaitsByTheClientsBackoff(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := newStore(testObject)
		none := storeResponse{keep: 0, end: errLost}
		store.responses = []storeResponse{cutAt40, none, none, {keep: 10, end: errLost}, none}
		client := store.client(9)
		client.RetryWaitMin, client.RetryWaitMax = time.Second, time.Minute
		var asked []int
		client.Backoff = func(lo, hi time.Duration, attempt int, resp *http.Response) time.Duration {
			assert.Nil(t, resp)
			asked = append(asked, attempt)
			return DefaultBackoff(lo, hi, attempt, resp)
		}
		start := time.Now()
		got, err := download(t, client)
		require.NoError(t, err)
		assert.Equal(t, testObject, got)
		assert.Equal(t, []int{0, 1, 2, 0, 1}, asked)
		assert.Equal(t, (1+2+4+1+2)*time.Second, time.Since(start))
	})
}

// docs/spec.md, 8.5: the client's policy is asked before a resumption, with the cause and
// the request.
func TestResumptionFailsByTheClientsPolicy(t *testing.T) {
	errPolicy := errors.New("policy")
	for name, tc := range map[string]struct {
		policy CheckRetry
		cause  error
		check  func(*testing.T, error)
	}{
		"stop": {func(context.Context, *http.Response, error) (bool, error) { return false, nil }, errLost,
			func(t *testing.T, err error) { assert.Equal(t, errLost, err, "the cause as it is") }},
		"stop with an error": {func(context.Context, *http.Response, error) (bool, error) { return false, errPolicy }, errLost,
			func(t *testing.T, err error) {
				assert.ErrorIs(t, err, errPolicy)
				assert.ErrorAs(t, err, new(*ResumeError))
			}},
		"permanent by the default": {nil, ErrBodyLength, func(t *testing.T, err error) { assert.Equal(t, ErrBodyLength, err) }},
		"permanent, propagated":    {ErrorPropagatedRetryPolicy, ErrBodyLength, func(t *testing.T, err error) { assert.ErrorIs(t, err, ErrBodyLength) }},
	} {
		t.Run(name, func(t *testing.T) {
			store := newStore(testObject)
			store.responses = []storeResponse{{keep: 40, end: tc.cause}}
			client := store.client(9)
			if tc.policy != nil {
				client.CheckRetry = func(ctx context.Context, resp *http.Response, err error) (bool, error) {
					if err == nil {
						return DefaultRetryPolicy(ctx, resp, err)
					}
					return tc.policy(ctx, resp, err)
				}
			}
			got, err := download(t, client)
			assert.Equal(t, testObject[:40], got)
			tc.check(t, err)
			assert.Len(t, store.seen, 1)
			store.assertClosed(t)
		})
	}
	t.Run("of the context, too", func(t *testing.T) {
		store := newStore(testObject)
		store.responses = []storeResponse{cutAt40}
		var told []error
		ctx := WithCheckRetry(t.Context(), func(_ context.Context, resp *http.Response, err error) (bool, error) {
			if resp == nil {
				told = append(told, err)
			}
			return false, nil
		})
		req, err := NewRequestWithContext(ctx, "GET", "http://host/", nil)
		require.NoError(t, err)
		resp, err := store.client(9).Do(req)
		require.NoError(t, err)
		_, err = io.ReadAll(resp.Body)
		assert.Equal(t, errLost, err)
		assert.Equal(t, []error{errLost}, told)
		require.NoError(t, resp.Body.Close())
	})
	t.Run("SafeRetryPolicy resumes a GET", func(t *testing.T) {
		store := newStore(testObject)
		store.responses = []storeResponse{cutAt40}
		client := store.client(9)
		client.CheckRetry = SafeRetryPolicy
		got, err := download(t, client)
		require.NoError(t, err)
		assert.Equal(t, testObject, got)
	})
}

// docs/spec.md, 8.5: a resumption is a call of its own with the client's retries, one
// attempt if there are none.
func TestResumptionIsACallOfItsOwn(t *testing.T) {
	busy := storeResponse{status: 503}
	lost := storeResponse{fail: errLost}
	for name, tc := range map[string]struct {
		retryMax  int
		responses []storeResponse
		whole     bool
		requests  int
	}{
		"RetryMax 0, a 503":             {0, []storeResponse{cutAt40, busy}, false, 2},
		"RetryMax 0, no connection":     {0, []storeResponse{cutAt40, lost}, false, 2},
		"RetryMax -1":                   {-1, []storeResponse{cutAt40, lost}, false, 2},
		"RetryMax 2, enough":            {2, []storeResponse{cutAt40, busy, lost}, true, 4},
		"RetryMax 2, not enough":        {2, []storeResponse{cutAt40, busy, lost, busy}, false, 4},
		"RetryMax 2, anew for each one": {2, []storeResponse{busy, lost, cutAt40, busy, lost, {keep: 10, end: errLost}, lost, busy}, true, 9},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				store := newStore(testObject)
				store.responses = tc.responses
				client := store.client(9)
				client.RetryMax = tc.retryMax
				var numbers []int
				client.OnAttempt = func(a Attempt) { numbers = append(numbers, a.Number) }
				got, err := download(t, client)
				assert.Len(t, store.seen, tc.requests)
				assert.Len(t, numbers, tc.requests, "OnAttempt sees each of them")
				synctest.Wait()
				store.assertClosed(t)
				if tc.whole {
					require.NoError(t, err)
					assert.Equal(t, testObject, got)
					return
				}
				assert.Equal(t, testObject[:40], got)
				var resumeErr *ResumeError
				require.ErrorAs(t, err, &resumeErr)
				var giveUp *GiveUpError
				require.ErrorAs(t, err, &giveUp, "as from any call")
				assert.Equal(t, tc.requests-1, giveUp.Attempts)
				assert.Equal(t, max(tc.retryMax, 0)+1, giveUp.Attempts)
				assert.Equal(t, ReasonRetriesUsedUp, giveUp.Reason)
			})
		})
	}
	t.Run("WithRetryMax holds for them", func(t *testing.T) {
		store := newStore(testObject)
		store.responses = []storeResponse{cutAt40, busy, lost}
		req, err := NewRequestWithContext(WithRetryMax(t.Context(), 2), "GET", "http://host/", nil)
		require.NoError(t, err)
		resp, err := store.client(1).Do(req)
		require.NoError(t, err)
		data, err := io.ReadAll(resp.Body)
		require.NoError(t, err)
		assert.Equal(t, testObject, string(data))
		require.NoError(t, resp.Body.Close())
	})
	t.Run("an ErrorHandler that gives the response", func(t *testing.T) {
		store := newStore(testObject)
		store.responses = []storeResponse{cutAt40, busy}
		client := store.client(9)
		client.ErrorHandler = PassthroughErrorHandler
		got, err := download(t, client)
		assert.Equal(t, testObject[:40], got)
		assert.ErrorAs(t, err, new(*ResumeError))
		assert.ErrorContains(t, err, "unexpected HTTP status")
		store.assertClosed(t)
	})
	t.Run("the response handler has seen the response already", func(t *testing.T) {
		store := newStore(testObject)
		store.responses = []storeResponse{cutAt40}
		req, err := NewRequest("GET", "http://host/", nil)
		require.NoError(t, err)
		handled := 0
		req.SetResponseHandler(func(*http.Response) error { handled++; return nil })
		resp, err := store.client(1).Do(req)
		require.NoError(t, err)
		_, err = io.ReadAll(resp.Body)
		require.NoError(t, err)
		require.NoError(t, resp.Body.Close())
		assert.Equal(t, 1, handled)
	})
}

// docs/spec.md, 8.5: OnAttempt gets the attempts of a resumption as those of a call.
func TestOnAttemptSeesResumptions(t *testing.T) {
	store := newStore(testObject)
	store.responses = []storeResponse{cutAt40, {status: 503}}
	client := store.client(9)
	client.RetryMax = 3
	var got []string
	client.OnAttempt = func(a Attempt) {
		assert.Equal(t, a.Number, AttemptNumber(a.Request.Context()))
		got = append(got, fmt.Sprintf("%d %d %t %q", a.Number, a.Response.StatusCode, a.Retry, a.Request.Header.Get("Range")))
	}
	_, err := download(t, client)
	require.NoError(t, err)
	assert.Equal(t, []string{`1 200 false ""`, `1 503 true "bytes=40-99"`, `2 206 false "bytes=40-99"`}, got)
}

// docs/spec.md, 8.8: the fields and the text of a ResumeError.
func TestResumeErrorFields(t *testing.T) {
	store := newStore(testObject)
	store.responses = []storeResponse{cutAt40, {fail: fmt.Errorf("dial http://host/?token=secret: %w", errLost)}}
	client := store.client(9)
	_, err := download(t, client)
	var resumeErr *ResumeError
	require.ErrorAs(t, err, &resumeErr)
	assert.Equal(t, "http://user:xxxxx@host/object?key=REDACTED", resumeErr.URL)
	assert.EqualValues(t, 40, resumeErr.Offset)
	assert.ErrorIs(t, err, errLost)
	assert.NotErrorIs(t, err, ErrRepresentationChanged)
	assert.False(t, resumeErr.Timeout())
	assert.NotContains(t, err.Error(), "secret")
	assert.NotContains(t, err.Error(), "\n")
	assert.Equal(t, resumeErr.Err, errors.Unwrap(err))

	store.seen = nil
	client.RedactURL = func(u *url.URL) string { return u.Scheme + "://" + u.Host }
	_, err = download(t, client, "Range", "bytes=20-")
	require.ErrorAs(t, err, &resumeErr)
	assert.Equal(t, "http://host", resumeErr.URL, "as Client.RedactURL shows it")
	assert.EqualValues(t, 40, resumeErr.Offset, "of the body, not of the object")
	assert.NotContains(t, err.Error(), "secret")

	store.seen, client.RedactURL = nil, nil
	store.responses[1] = storeResponse{keep: 0, end: fmt.Errorf("read from http://u:secret@host/: %w", errLost)}
	client.ResumeMax = 1
	_, err = download(t, client)
	assert.EqualError(t, err, "resuming http://user:xxxxx@host/object?key=REDACTED after 40 bytes: cut off again after 1 resumption(s): read from http://u:xxxxx@host/: connection lost")

	assert.True(t, (&ResumeError{URL: "http://host/", Offset: 7, Err: ErrAttemptTimeout}).Timeout())
}

// docs/spec.md, 8.8: later reads return the same error, and Close returns no other.
func TestReadAfterTheEndGivesTheSameAgain(t *testing.T) {
	for name, responses := range map[string][]storeResponse{
		"end of file": {cutAt40},
		"failure":     {cutAt40, {status: 404}},
	} {
		t.Run(name, func(t *testing.T) {
			store := newStore(testObject)
			store.responses = responses
			resp, err := store.client(1).Get("http://host/")
			require.NoError(t, err)
			_, first := io.Copy(io.Discard, resp.Body)
			if first == nil {
				first = io.EOF
			}
			for range 3 {
				n, err := resp.Body.Read(make([]byte, 10))
				assert.Zero(t, n)
				assert.Equal(t, first, err)
			}
			assert.NoError(t, resp.Body.Close())
			assert.NoError(t, resp.Body.Close(), "a second time")
			n, err := resp.Body.Read(make([]byte, 10))
			assert.Zero(t, n)
			assert.Error(t, err)
			assert.Len(t, store.seen, 2)
			store.assertClosed(t)
		})
	}
	t.Run("Close before the end", func(t *testing.T) {
		store := newStore(testObject)
		store.responses = []storeResponse{cutAt40}
		resp, err := store.client(1).Get("http://host/")
		require.NoError(t, err)
		_, err = io.ReadFull(resp.Body, make([]byte, 40))
		require.NoError(t, err)
		require.NoError(t, resp.Body.Close())
		_, err = resp.Body.Read(make([]byte, 10))
		assert.ErrorIs(t, err, http.ErrBodyReadAfterClose)
		assert.Len(t, store.seen, 1, "nothing is resumed for nobody")
		store.assertClosed(t)
	})
}

// docs/spec.md, section 8: reading to the end releases the resumption, also if the body
// is not closed.
func TestNothingIsLeftOfAResumptionThatWasReadToItsEnd(t *testing.T) {
	store := newStore(testObject)
	store.responses = []storeResponse{cutAt40}
	resp, err := store.client(1).Get("http://host/")
	require.NoError(t, err)
	_, err = io.ReadAll(resp.Body)
	require.NoError(t, err)
	assert.Error(t, store.seen[1].Context().Err(), "its context is released")
	require.NoError(t, resp.Body.Close())
}

// docs/spec.md, 8.5: a cancel, a deadline and Close end the reading at once, at every
// point. synctest fails the test if a goroutine is left.
func TestDownloadEndsAtOnceAtEveryPoint(t *testing.T) {
	const broken = time.Second // then 10 s each of waiting, of awaiting the header, of awaiting the rest
	cause := errors.New("changed my mind")
	for at, where := range map[time.Duration]string{
		500 * time.Millisecond: "the first body",
		5 * time.Second:        "the wait",
		15 * time.Second:       "the call",
		25 * time.Second:       "the rest",
	} {
		for how, ends := range map[string]struct {
			interrupt func(context.Context) (context.Context, func(io.Closer))
			match     []error
		}{
			"cancel": {func(ctx context.Context) (context.Context, func(io.Closer)) {
				ctx, cancel := context.WithCancel(ctx)
				return ctx, func(io.Closer) { cancel() }
			}, []error{context.Canceled}},
			"cancel with a cause": {func(ctx context.Context) (context.Context, func(io.Closer)) {
				ctx, cancel := context.WithCancelCause(ctx)
				return ctx, func(io.Closer) { cancel(cause) }
			}, []error{cause}},
			"deadline": {func(ctx context.Context) (context.Context, func(io.Closer)) {
				ctx, cancel := context.WithTimeout(ctx, at)
				context.AfterFunc(ctx, cancel)
				return ctx, func(io.Closer) {}
			}, []error{context.DeadlineExceeded}},
			"close": {func(ctx context.Context) (context.Context, func(io.Closer)) {
				return ctx, func(body io.Closer) { assert.NoError(t, body.Close()) }
			}, []error{http.ErrBodyReadAfterClose}},
		} {
			t.Run(how+" during "+where, func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					ctx, interrupt := ends.interrupt(t.Context())
					store := newStore(testObject)
					store.responses = []storeResponse{
						{keep: 40, end: errLost, stall: broken},
						{delay: 10 * time.Second, before: 10 * time.Second},
					}
					client := store.client(9)
					client.RetryMax = 4
					client.Backoff = func(time.Duration, time.Duration, int, *http.Response) time.Duration { return 10 * time.Second }
					req, err := NewRequestWithContext(ctx, "GET", "http://host/", nil)
					require.NoError(t, err)
					start := time.Now()
					resp, err := client.Do(req)
					require.NoError(t, err)
					time.AfterFunc(at, func() { interrupt(resp.Body) })
					data, err := io.ReadAll(resp.Body)
					want := at
					if how == "deadline" && where == "the wait" {
						want = broken // a wait that would outlast it is not begun
					}
					assert.Equal(t, want, time.Since(start))
					assert.Equal(t, testObject[:40], string(data))
					for _, match := range ends.match {
						assert.ErrorIs(t, err, match)
					}
					if where == "the wait" && how != "close" {
						assert.ErrorIs(t, err, errLost, "and the last cause")
						if how == "cancel with a cause" {
							assert.ErrorIs(t, err, context.Canceled, "as from any call")
						}
					}
					_, again := resp.Body.Read(make([]byte, 10))
					assert.Error(t, again)
					assert.NotEqual(t, io.EOF, again)
					assert.NoError(t, resp.Body.Close())
					interrupt(resp.Body)
					synctest.Wait()
					store.assertClosed(t)
					if where == "the wait" || where == "the first body" {
						assert.Len(t, store.seen, 1)
					}
				})
			})
		}
	}
}

// docs/spec.md, 8.5: any goroutine may call Close at any time.
func TestCloseWhileReadingIsSafe(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		for range 200 {
			store := newStore(testObject)
			for range 50 {
				store.responses = append(store.responses, storeResponse{keep: 1, end: errLost})
			}
			resp, err := store.client(99).Get("http://host/")
			require.NoError(t, err)
			var readers sync.WaitGroup
			readers.Go(func() { io.Copy(io.Discard, resp.Body) })
			readers.Go(func() { assert.NoError(t, resp.Body.Close()) })
			readers.Wait()
			synctest.Wait() // the body of a response that came too late is closed in a goroutine of its own
			store.assertClosed(t)
		}
	})
}

// docs/spec.md, 8.5: the limits of an attempt apply to the attempts of a resumption.
func TestResumptionKeepsTheLimitsOfAnAttempt(t *testing.T) {
	t.Run("AttemptTimeout bounds the header, not the reading", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			store := newStore(testObject)
			store.responses = []storeResponse{{keep: 40, stall: time.Minute, end: errLost}, {delay: time.Hour}, {before: time.Minute}}
			client := store.client(1)
			client.AttemptTimeout, client.RetryMax = time.Second, 1
			start := time.Now()
			got, err := download(t, client)
			require.NoError(t, err)
			assert.Equal(t, testObject, got)
			assert.Equal(t, 2*time.Minute+time.Second, time.Since(start))
			store.assertClosed(t)
		})
	})
	t.Run("HTTPClient.Timeout bounds each attempt, its reading included, and what is left is resumed", func(t *testing.T) {
		for name, get := range map[string]func(*Client) (*http.Response, error){
			"Client.Do":      func(c *Client) (*http.Response, error) { return c.Get("http://host/") },
			"StandardClient": func(c *Client) (*http.Response, error) { return c.StandardClient().Get("http://host/") },
		} {
			t.Run(name, func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					store := newStore(testObject)
					store.responses = []storeResponse{
						{keep: 40, stall: time.Hour, end: errLost},
						{keep: 30, stall: time.Hour, end: errLost},
					}
					client := store.client(2)
					client.HTTPClient.Timeout = time.Second
					start := time.Now()
					resp, err := get(client)
					require.NoError(t, err)
					data, err := io.ReadAll(resp.Body)
					require.NoError(t, err)
					assert.Equal(t, testObject, string(data))
					assert.Equal(t, 2*time.Second, time.Since(start))
					require.NoError(t, resp.Body.Close())
					store.assertClosed(t)
				})
			})
		}
	})
	t.Run("the Timeout of the http.Client around a RoundTripper bounds it all", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			store := newStore(testObject)
			store.responses = []storeResponse{
				{keep: 40, stall: time.Second, end: errLost},
				{keep: 30, stall: time.Hour, end: errLost},
			}
			hc := store.client(2).StandardClient()
			hc.Timeout = time.Minute
			start := time.Now()
			resp, err := hc.Get("http://host/")
			require.NoError(t, err)
			data, err := io.ReadAll(resp.Body)
			assert.Equal(t, testObject[:70], string(data))
			var timeout interface{ Timeout() bool }
			require.ErrorAs(t, err, &timeout)
			assert.True(t, timeout.Timeout())
			assert.Equal(t, time.Minute, time.Since(start))
			require.NoError(t, resp.Body.Close())
			store.assertClosed(t)
		})
	})
}

// docs/spec.md, section 8: resumption through an http.Client, hop by hop.
func TestResumptionThroughTheStandardClient(t *testing.T) {
	store := newStore(testObject)
	redirect := storeResponse{handler: func(req *http.Request) (*http.Response, error) {
		return respond(req, 302, "", "Location", "http://other/object"), nil
	}}
	store.responses = []storeResponse{redirect, cutAt40, {keep: 30, end: errLost}}
	resp, err := store.client(9).StandardClient().Get("http://host/")
	require.NoError(t, err)
	data, err := io.ReadAll(resp.Body)
	require.NoError(t, err)
	assert.Equal(t, testObject, string(data))
	require.NoError(t, resp.Body.Close())
	assert.Equal(t, []string{"", "", `bytes=40-99 "v1"`, `bytes=70-99 "v1"`}, store.ranges())
	assert.Equal(t, "other", store.seen[3].URL.Host, "a hop is a call")
	store.assertClosed(t)
}

// docs/spec.md, 8.1 and 8.8: a resumption follows a redirect that leads to the same URL.
func TestResumptionFollowsRedirects(t *testing.T) {
	store := newStore(testObject)
	redirect := storeResponse{handler: func(req *http.Request) (*http.Response, error) {
		return respond(req, 302, "", "Location", "http://host/elsewhere"), nil
	}}
	store.responses = []storeResponse{redirect, cutAt40, redirect}
	got, err := download(t, store.client(9))
	require.NoError(t, err)
	assert.Equal(t, testObject, got)
	assert.Equal(t, []string{"", "", `bytes=40-99 "v1"`, `bytes=40-99 "v1"`}, store.ranges())
	assert.Equal(t, "/elsewhere", store.seen[3].URL.Path)
}

// docs/spec.md, section 8 and 10.3: if the outer client resumes, the inner one does not.
func TestNestedClientDoesNotMultiplyResumptions(t *testing.T) {
	store := newStore(testObject)
	for range 10 {
		store.responses = append(store.responses, storeResponse{keep: 1, end: errLost})
	}
	inner := store.client(9)
	outer := &Client{ResumeMax: 2, Backoff: noWait, HTTPClient: inner.StandardClient()}
	got, err := download(t, outer)
	assert.Equal(t, testObject[:3], got)
	assert.ErrorContains(t, err, "after 2 resumption(s)")
	assert.Len(t, store.seen, 3)
	store.assertClosed(t)
}

// docs/spec.md, section 8 and 10.3: if the outer client does not resume, the inner one
// does.
func TestNestedClientResumesWhereTheOuterDoesNot(t *testing.T) {
	store := newStore(testObject)
	store.responses = []storeResponse{cutAt40}
	outer := &Client{Backoff: noWait, HTTPClient: store.client(9).StandardClient()}
	got, err := download(t, outer)
	require.NoError(t, err)
	assert.Equal(t, testObject, got)
	assert.Len(t, store.seen, 2)
	store.assertClosed(t)
}

// docs/spec.md, section 8: the body that was cut off is closed once, also by a Close
// while the rest is requested.
func TestTruncatedBodyIsClosedOnce(t *testing.T) {
	broken := &countedBody{Reader: io.MultiReader(strings.NewReader("0123"), iotest.ErrReader(errLost))}
	asked := make(chan struct{})
	client, _ := scripted(func(req *http.Request) (*http.Response, error) {
		resp := respond(req, 200, "", "ETag", `"v1"`)
		resp.Body, resp.ContentLength = broken, 10
		return resp, nil
	}, func(req *http.Request) (*http.Response, error) {
		close(asked)
		<-req.Context().Done()
		return nil, req.Context().Err()
	})
	client.RetryMax, client.ResumeMax = 0, 1
	resp, err := client.Get("http://host/")
	require.NoError(t, err)
	var closing sync.WaitGroup
	closing.Go(func() { <-asked; resp.Body.Close() })
	_, err = io.ReadAll(resp.Body)
	assert.ErrorIs(t, err, http.ErrBodyReadAfterClose)
	closing.Wait()
	resp.Body.Close()
	assert.EqualValues(t, 1, broken.closes.Load())
}

type countedBody struct {
	io.Reader
	closes atomic.Int32
}

func (b *countedBody) Close() error { b.closes.Add(1); return nil }

// docs/spec.md, 8.1: a resumption sends the body of a GET again.
func TestResumptionSendsTheBodyOfAGetAgain(t *testing.T) {
	for name, make := range map[string]func() (*Request, error){
		"prepared": func() (*Request, error) { return NewRequest("GET", "http://host/", "query") },
		"from a request of net/http": func() (*Request, error) {
			r, err := http.NewRequest("GET", "http://host/", strings.NewReader("query"))
			require.NoError(t, err)
			return FromRequest(r)
		},
		"a stream": func() (*Request, error) {
			return NewRequest("GET", "http://host/", struct{ io.Reader }{strings.NewReader("query")})
		},
	} {
		t.Run(name, func(t *testing.T) {
			store := newStore(testObject)
			var sent []string
			record := func(req *http.Request) (*http.Response, error) {
				data, err := io.ReadAll(req.Body)
				assert.NoError(t, err)
				assert.NoError(t, req.Body.Close())
				sent = append(sent, string(data))
				return store.RoundTrip(req)
			}
			store.responses = []storeResponse{cutAt40, {keep: 30, end: errLost}}
			client := store.client(9)
			client.HTTPClient.Transport = roundTripFunc(record)
			req, err := make()
			require.NoError(t, err)
			resp, err := client.Do(req)
			require.NoError(t, err)
			data, err := io.ReadAll(resp.Body)
			require.NoError(t, err)
			assert.Equal(t, testObject, string(data))
			assert.Equal(t, []string{"query", "query", "query"}, sent)
			require.NoError(t, resp.Body.Close())
		})
	}
}

// docs/spec.md, 8.1: the caller's request keeps its nil header.
func TestResumptionOfARequestWithoutAHeaderMap(t *testing.T) {
	store := newStore(testObject)
	store.responses = []storeResponse{cutAt40}
	r := mustRequest(t, "http://host/")
	r.Method, r.Header = "", nil
	resp, err := (&RoundTripper{Client: store.client(1)}).RoundTrip(r)
	require.NoError(t, err)
	data, err := io.ReadAll(resp.Body)
	require.NoError(t, err)
	assert.Equal(t, testObject, string(data))
	assert.Nil(t, r.Header)
	require.NoError(t, resp.Body.Close())
}

// docs/spec.md, section 8: with random objects and cuts, and servers that respond rightly
// or wrongly, the bytes read are always the start of the object, and an error says when
// they are not all. RESUME_SEED=… repeats a case from the log.
func TestReaderNeverSplicesSilently(t *testing.T) {
	seed, rounds := uint64(time.Now().UnixNano()), 6000
	if s := os.Getenv("RESUME_SEED"); s != "" {
		var err error
		seed, err = strconv.ParseUint(s, 10, 64)
		require.NoError(t, err)
		rounds = 1
	}
	t.Logf("seeds %d and the %d that follow", seed, rounds-1)
	whole, refused := 0, 0
	synctest.Test(t, func(t *testing.T) {
		for range rounds {
			if downloadAtRandom(t, seed) {
				whole++
			} else {
				refused++
			}
			if t.Failed() {
				t.Fatalf("RESUME_SEED=%d", seed)
			}
			seed++
		}
	})
	t.Logf("%d came whole, %d ended in an error", whole, refused)
	if rounds > 1 {
		assert.Greater(t, whole, rounds/10)
		assert.Greater(t, refused, rounds/10)
	}
}

// downloadAtRandom reports whether the object came whole.
func downloadAtRandom(t *testing.T, seed uint64) bool {
	rnd := rand.New(rand.NewPCG(seed, 0))
	text := func(n int) string {
		b := make([]byte, n)
		for i := range b {
			b[i] = byte(rnd.Uint32())
		}
		return string(b)
	}
	store := newStore(text(1 + rnd.IntN(300)))
	store.chunked = rnd.IntN(3) == 0
	want := store.object
	var header []string
	if rnd.IntN(3) == 0 { // the caller's own range
		a := rnd.IntN(len(want))
		b := a + rnd.IntN(len(want)-a)
		switch rnd.IntN(3) {
		case 0:
			want, header = want[a:b+1], []string{"Range", fmt.Sprintf("bytes=%d-%d", a, b)}
		case 1:
			want, header = want[a:], []string{"Range", fmt.Sprintf("bytes=%d-", a)}
		case 2:
			want, header = want[a:], []string{"Range", fmt.Sprintf("bytes=-%d", len(want)-a)}
		}
	}
	liar := rnd.IntN(3) > 0
	for i := range 12 {
		a := storeResponse{bend: func(resp *http.Response) {
			body := resp.Body.(*storeBody)
			body.piece = 1 + rnd.IntN(100)
			if i > 0 && liar && rnd.IntN(4) == 0 {
				lie(rnd, text, store, resp, body)
			}
			if n := len(body.data); rnd.IntN(4) > 0 {
				body.data = body.data[:rnd.IntN(n+1)]
				ends := []error{errLost, io.ErrUnexpectedEOF, context.DeadlineExceeded, io.EOF}
				if resp.ContentLength < 0 && resp.StatusCode == 200 {
					ends = ends[:3] // nothing tells a short body of unknown length from a whole one
				}
				body.end = ends[rnd.IntN(len(ends))]
			}
		}}
		if i > 0 && rnd.IntN(8) == 0 {
			a = storeResponse{status: []int{503, 404, 412, 416, 200, 204}[rnd.IntN(6)]}
			if rnd.IntN(2) == 0 {
				a = storeResponse{fail: errLost}
			}
		}
		store.responses = append(store.responses, a)
	}
	client := store.client(1 + rnd.IntN(12))
	client.RetryMax = rnd.IntN(3)
	got, err := download(t, client, header...)
	assert.LessOrEqual(t, len(store.seen), 1+client.ResumeMax*(1+client.RetryMax))
	synctest.Wait() // for what closes a body behind the call's back
	store.assertClosed(t)
	if err == nil {
		assert.True(t, want == got, "an end without an error is the end of the object: %d of %d bytes", len(got), len(want))
		return true
	}
	assert.True(t, strings.HasPrefix(want, got), "%d bytes are the first of the object's %d (%v)", len(got), len(want), err)
	var resumeErr *ResumeError
	if assert.ErrorAs(t, err, &resumeErr) {
		assert.EqualValues(t, len(got), resumeErr.Offset)
	}
	return false
}

// lie makes a response wrong in one of the ways that can be detected.
func lie(rnd *rand.Rand, text func(int) string, store *objectStore, resp *http.Response, body *storeBody) {
	var part struct{ first, last, total int64 }
	if _, err := fmt.Sscanf(resp.Header.Get("Content-Range"), "bytes %d-%d/%d", &part.first, &part.last, &part.total); err != nil {
		return // not a 206
	}
	set := func(first, last, total int64) {
		resp.Header.Set("Content-Range", fmt.Sprintf("bytes %d-%d/%d", first, last, total))
	}
	junk := text(len(body.data) + 1 + rnd.IntN(20))
	off := 1 + rnd.Int64N(20)
	unknown := rnd.IntN(2) == 0
	switch rnd.IntN(14) {
	case 0: // replaced, and If-Range heeded
		store.object, store.header = text(1+rnd.IntN(300)), http.Header{"Etag": {`"v2"`}}
		body.Close()
		*resp = *store.serve(resp.Request)
		return
	case 1: // replaced, and If-Range ignored
		body.data = junk[:len(body.data)]
		resp.Header.Set("ETag", `"v2"`)
	case 2:
		body.data = junk[:len(body.data)]
		resp.Header.Del("ETag")
	case 3: // from elsewhere
		body.data = junk[:len(body.data)]
		set(part.first+off, part.last+off, part.total+off)
	case 4:
		set(max(part.first-off, 0), max(part.last-off, part.first), part.total)
		if part.first == 0 {
			resp.Header.Del("Content-Range")
		}
		body.data = junk[:len(body.data)]
	case 5:
		body.data = junk
		resp.ContentLength = int64(len(junk))
		return
	case 6: // more than it says
		body.data += junk
		resp.ContentLength = -1
	case 7: // another object by its length
		set(part.first, part.last, part.total+off) // one of unknown length may be as long
	case 8: // another range unit
		body.data = junk[:len(body.data)]
		resp.Header.Set("Content-Range", strings.Replace(resp.Header.Get("Content-Range"), "bytes", "lines", 1))
	case 9:
		body.data = junk
		resp.Header.Set("Content-Encoding", "gzip")
	case 10: // as if there were no ranges
		body.Close()
		*resp = *store.serve(withoutRange(resp.Request))
		return
	case 11: // several parts where one was asked for
		body.data = "--x\r\n\r\n" + body.data
		resp.Header.Set("Content-Type", "multipart/byteranges; boundary=x")
		resp.ContentLength = -1
	case 12, 13: // less than was asked for is no lie; junk behind it is
		last := part.first + rnd.Int64N(part.last-part.first+1)
		body.data = body.data[:last-part.first+1]
		resp.ContentLength = int64(len(body.data))
		if unknown {
			resp.Header.Set("Content-Range", fmt.Sprintf("bytes %d-%d/*", part.first, last))
		} else {
			set(part.first, last, part.total)
		}
		if rnd.IntN(2) == 0 {
			resp.ContentLength = -1
			body.data += junk
		}
		return
	}
	if unknown {
		resp.ContentLength = -1
	}
}

// docs/spec.md, section 8: if a response handler or hook has read a part of a body or
// replaced it, the caller gets the rest of that body.
func TestBodyThatAHandlerOrHookHasReadGoesOnWithTheNextByte(t *testing.T) {
	for name, watch := range map[string]func(*Client, *Request){
		"handler": func(_ *Client, req *Request) {
			req.SetResponseHandler(func(resp *http.Response) error { _, err := io.ReadFull(resp.Body, make([]byte, 3)); return err })
		},
		"hook": func(client *Client, _ *Request) {
			client.ResponseLogHook = func(_ Logger, resp *http.Response) { io.ReadFull(resp.Body, make([]byte, 3)) }
		},
		"handler that replaces it": func(_ *Client, req *Request) {
			req.SetResponseHandler(func(resp *http.Response) error {
				resp.Body = io.NopCloser(strings.NewReader("456789"))
				return nil
			})
		},
	} {
		client, sent := scripted(func(req *http.Request) (*http.Response, error) {
			resp := respond(req, 200, "123456789", "ETag", `"a"`)
			resp.ContentLength = 9
			return resp, nil
		})
		client.ResumeMax = 3
		req, err := NewRequest("GET", "http://host/", nil)
		require.NoError(t, err)
		watch(client, req)
		resp, err := client.Do(req)
		require.NoError(t, err)
		got, err := io.ReadAll(resp.Body)
		require.NoError(t, err)
		assert.Equal(t, "456789", string(got), name)
		assert.Len(t, sent.seen, 1)
	}
}

// The hook sees the responses to requests for the rest too, but cannot take bytes out of
// the middle of a body.
func TestHookTakesNothingFromTheRestOfABody(t *testing.T) {
	store := newStore(testObject)
	store.responses = []storeResponse{cutAt40}
	client := store.client(9)
	var seen []int
	client.ResponseLogHook = func(_ Logger, resp *http.Response) {
		seen = append(seen, resp.StatusCode)
		io.ReadFull(resp.Body, make([]byte, 3))
	}
	got, err := download(t, client)
	require.NoError(t, err)
	assert.Equal(t, testObject[3:], got)
	assert.Equal(t, []int{200, 206}, seen)
}
