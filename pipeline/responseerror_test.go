package pipeline_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/a0b132ce/retryablehttp/pipeline"
	"github.com/a0b132ce/retryablehttp/problem"
)

// response returns a response to GET http://h/x.
func response(status int, contentType, body string) *http.Response {
	return &http.Response{
		StatusCode: status, Status: fmt.Sprint(status, " ", http.StatusText(status)),
		Header:  header("Content-Type", contentType),
		Body:    io.NopCloser(strings.NewReader(body)),
		Request: &http.Request{Method: "GET", URL: &url.URL{Scheme: "http", Host: "h", Path: "/x"}},
	}
}

func TestCodeAndMessage(t *testing.T) {
	const (
		asJSON    = "application/json"
		asXML     = "application/xml"
		asProblem = "application/problem+json; charset=utf-8"
	)
	for name, tt := range map[string]struct{ contentType, body, code, message string }{
		"object under error":            {asJSON, `{"error":{"code":"NotFound","message":"no such thing"}}`, "NotFound", "no such thing"},
		"top level":                     {asJSON, `{"code":"NotFound","message":"no such thing"}`, "NotFound", "no such thing"},
		"names in upper case":           {asJSON, `{"Code":"NotFound","Message":"no such thing"}`, "NotFound", "no such thing"},
		"number":                        {asJSON, `{"code":40401,"message":"no such thing"}`, "40401", "no such thing"},
		"number under error":            {asJSON, `{"error":{"code":404}}`, "404", ""},
		"rest at the top level":         {asJSON, `{"error":{"details":[]},"code":"NotFound","message":"no such thing"}`, "NotFound", "no such thing"},
		"code of another type":          {asJSON, `{"code":["x"],"message":{"value":"y"}}`, "", ""},
		"null":                          {asJSON, `{"code":null,"error":null,"message":null}`, "", ""},
		"OAuth 2":                       {asJSON, `{"error":"invalid_grant","error_description":"expired"}`, "invalid_grant", "expired"},
		"error is a word":               {asJSON, `{"status":404,"error":"Not Found","message":"no such thing"}`, "Not Found", "no such thing"},
		"error is the text of a code":   {asJSON, `{"error":"no such thing","code":"NotFound"}`, "NotFound", "no such thing"},
		"byte order mark":               {asJSON, "\xef\xbb\xbf" + `{"code":"NotFound"}`, "NotFound", ""},
		"blanks around":                 {asJSON, "\r\n\t {\"code\":\"NotFound\"} \n", "NotFound", ""},
		"without a content type":        {"", `{"code":"NotFound"}`, "NotFound", ""},
		"wrong content type":            {"text/plain", `{"code":"NotFound"}`, "NotFound", ""},
		"malformed JSON":                {asJSON, `{"code":"NotFound"`, "", ""},
		"array":                         {asJSON, `[{"code":"NotFound"}]`, "", ""},
		"string":                        {asJSON, `"NotFound"`, "", ""},
		"empty":                         {asJSON, ``, "", ""},
		"XML":                           {asXML, `<?xml version="1.0"?><Error><Code>NotFound</Code><Message> no such thing </Message></Error>`, "NotFound", "no such thing"},
		"XML with a byte order mark":    {asXML, "\xef\xbb\xbf<Error><Code>NotFound</Code></Error>", "NotFound", ""},
		"XML with namespaces":           {asXML, `<m:error xmlns:m="urn:m"><m:code>Not.Found</m:code><m:message xml:lang="en">no such thing</m:message></m:error>`, "Not.Found", "no such thing"},
		"XML with other elements":       {asXML, `<R><Errors><Error><Message>no</Message><Code>A.B-C</Code><Code>second</Code></Error></Errors></R>`, "A.B-C", "no"},
		"XML with an empty code":        {asXML, `<E><Code><Value>x</Value></Code><Code>y</Code></E>`, "y", ""},
		"XML with two codes":            {asXML, `<E><Code>a</Code><Code>b</Code></E>`, "a", ""},
		"XML that is cut":               {asXML, `<Error><Code>NotFound</Code><Mess`, "NotFound", ""},
		"XML without a content type":    {"", `<Error><Code>NotFound</Code></Error>`, "NotFound", ""},
		"HTML":                          {"text/html", `<html><body><code>rm</code></body></html>`, "", ""},
		"HTML with a doctype":           {"text/html", `<!DOCTYPE HTML><HTML><body><code>rm</code></body></HTML>`, "", ""},
		"text":                          {"text/plain", "code: NotFound", "", ""},
		"problem with a type":           {asProblem, `{"type":"https://e/p/gone","title":"Gone","detail":"no such thing"}`, "https://e/p/gone", "no such thing"},
		"problem with a code":           {asProblem, `{"type":"https://e/p/gone","title":"Gone","code":"G1"}`, "G1", "Gone"},
		"problem with a number as code": {asProblem, `{"code":17}`, "17", ""},
		"problem without a type":        {asProblem, `{"type":"about:blank","title":"Gone"}`, "", "Gone"},
		"problem with a message":        {asProblem, `{"message":"no such thing"}`, "", "no such thing"},
		"malformed problem":             {asProblem, `{"title":`, "", ""},
		"problem of a wrong type":       {asJSON, `{"type":"https://e/p/gone","title":"Gone"}`, "", ""},
	} {
		t.Run(name, func(t *testing.T) {
			resp := response(404, tt.contentType, tt.body)
			e := pipeline.NewResponseError(resp)
			assert.Equal(t, 404, e.StatusCode)
			assert.Equal(t, tt.code, e.Code)
			assert.Equal(t, tt.message, e.Message)
			assert.Same(t, resp, e.Response)
			assert.Equal(t, tt.contentType == asProblem && json.Valid([]byte(tt.body)), e.Problem != nil)
			data, err := pipeline.Payload(resp)
			require.NoError(t, err)
			assert.Equal(t, tt.body, string(data), "the body can still be read")
		})
	}
}

func TestProblemOfAResponseError(t *testing.T) {
	e := pipeline.NewResponseError(response(403, "application/problem+json",
		`{"type":"https://e/p/credit","title":"No credit","status":403,"detail":"Your balance is 30.","instance":"/account/1","balance":30}`))
	require.NotNil(t, e.Problem)
	assert.Equal(t, "https://e/p/credit", e.Problem.Type)
	assert.Equal(t, "No credit", e.Problem.Title)
	assert.Equal(t, 403, e.Problem.Status)
	assert.Equal(t, "Your balance is 30.", e.Problem.Detail)
	assert.Equal(t, "/account/1", e.Problem.Instance)
	assert.Equal(t, "30", fmt.Sprint(e.Problem.Extensions["balance"]))
}

func TestE02Text(t *testing.T) {
	const target = "https://joe:zzz@h/a%20b?sig=zzz#zzz"
	for name, tt := range map[string]struct {
		contentType, body, want string
	}{
		"code and message": {"application/json", `{"error":{"code":"NotFound","message":"no such\nthing"}}`, "GET https://h/a%20b: 404 Not Found: NotFound: no such thing"},
		"code":             {"application/json", `{"code":"NotFound", "n": 1}`, `GET https://h/a%20b: 404 Not Found: NotFound: {"code":"NotFound", "n": 1}`},
		"message":          {"application/json", `{"message":"no such thing"}`, "GET https://h/a%20b: 404 Not Found: no such thing"},
		"other body":       {"text/html", "\xef\xbb\xbf<html>\r\n\r\n  <h1>No\x00\x1b[31m\u202e</h1>\xff\xfe\t</html>\n", "GET https://h/a%20b: 404 Not Found: <html> <h1>No[31m</h1> </html>"},
		"long body":        {"text/plain", strings.Repeat("0123456789", 100), "GET https://h/a%20b: 404 Not Found: " + strings.Repeat("0123456789", 51) + "01…"},
		"long text":        {"text/plain", strings.Repeat("é", 1000), "GET https://h/a%20b: 404 Not Found: " + strings.Repeat("é", 256) + "…"},
		"no body":          {"", "", "GET https://h/a%20b: 404 Not Found"},
		"body with URLs":   {"application/json", `{"message":"see ` + target + `, and \"` + target + `\""}`, `GET https://h/a%20b: 404 Not Found: see https://joe:xxxxx@h/a%20b?sig=REDACTED#REDACTED, and "https://joe:xxxxx@h/a%20b?sig=REDACTED#REDACTED"`},
		"URL behind 512":   {"text/plain", "https://h/?" + strings.Repeat("x=1&", 300) + "sig=zzz", "GET https://h/a%20b: 404 Not Found: https://h/?" + strings.Repeat("x=REDACTED&", 45) + "x=REDA…"},
		"code with a URL":  {"application/json", `{"code":"` + target + `","message":"m"}`, "GET https://h/a%20b: 404 Not Found: https://joe:xxxxx@h/a%20b?sig=REDACTED#REDACTED: m"},
	} {
		t.Run("E02 "+name, func(t *testing.T) {
			resp := response(404, tt.contentType, tt.body)
			var err error
			resp.Request, err = http.NewRequest("GET", target, nil)
			require.NoError(t, err)
			e := pipeline.NewResponseError(resp)
			require.EqualError(t, e, tt.want)
			assert.NotContains(t, e.Error(), "zzz")

			for _, v := range []any{e, struct{ E error }{e}} {
				data, err := json.Marshal(v)
				require.NoError(t, err)
				assert.Contains(t, string(data), `"text":`)
			}
			data, err := json.Marshal(e)
			require.NoError(t, err)
			var read pipeline.ResponseError
			require.NoError(t, json.Unmarshal(data, &read))
			assert.Equal(t, e.Error(), read.Error())
			assert.Equal(t, e.StatusCode, read.StatusCode)
			assert.Equal(t, e.Code, read.Code)
			assert.Equal(t, e.Message, read.Message)
			assert.Nil(t, read.Response)
		})
	}
}

func TestE02JSONKeepsAllFields(t *testing.T) {
	resp := response(503, "application/problem+json", `{"type":"https://e/p/busy","title":"Busy","queue":"a"}`)
	resp.Header.Set("Retry-After", "7")
	resp.Header.Set("X-Request-Id", "r1")
	e := pipeline.NewResponseError(resp)
	data, err := json.Marshal(e)
	require.NoError(t, err)
	assert.JSONEq(t, `{"statusCode":503,"code":"https://e/p/busy","message":"Busy","requestId":"r1","retryAfter":7000000000,
		"problem":{"type":"https://e/p/busy","title":"Busy","queue":"a"},
		"text":"GET http://h/x: 503 Service Unavailable: https://e/p/busy: Busy"}`, string(data))
	read := pipeline.ResponseError{StatusCode: 1, Code: "old", Response: resp}
	require.Error(t, json.Unmarshal([]byte(`{"statusCode":"x"}`), &read))
	assert.Equal(t, pipeline.ResponseError{StatusCode: 1, Code: "old", Response: resp}, read, "left as it was")
	require.NoError(t, json.Unmarshal(data, &read))
	assert.Equal(t, 7*time.Second, read.RetryAfter)
	assert.Equal(t, "r1", read.RequestID)
	assert.Equal(t, &problem.Problem{Type: "https://e/p/busy", Title: "Busy", Extensions: map[string]any{"queue": "a"}}, read.Problem)
	assert.Nil(t, read.Response)
	require.EqualError(t, &read, e.Error())

	require.NoError(t, json.Unmarshal([]byte(`{"statusCode":404,"code":"NotFound"}`), &read))
	assert.EqualError(t, &read, "404 Not Found: NotFound", "without a text")
}

func TestTextOfAnErrorThatIsNotOfAResponse(t *testing.T) {
	assert.EqualError(t, &pipeline.ResponseError{}, "pipeline: service error")
	assert.EqualError(t, &pipeline.ResponseError{StatusCode: 404, Message: "no such thing"}, "404 Not Found: no such thing")
	assert.EqualError(t, &pipeline.ResponseError{Code: "Bad"}, "Bad")
	assert.EqualError(t, pipeline.NewResponseError(&http.Response{StatusCode: 799}), "799")
	assert.EqualError(t, pipeline.NewResponseError(&http.Response{StatusCode: 404, Status: "404 Nope\x00 at all\r\n", Request: &http.Request{}}), "404 Nope at all")
	assert.EqualError(t, pipeline.NewResponseError(&http.Response{StatusCode: 404, Request: &http.Request{URL: &url.URL{Scheme: "http", Host: "h"}}}), "GET http://h: 404 Not Found")
}

func TestResponseErrorOfABodyThatCannotBeRead(t *testing.T) {
	cut := errors.New("cut off")
	closed := false
	resp := response(503, "application/json", "")
	resp.Body = closer{io.NopCloser(io.MultiReader(strings.NewReader(`{"code":"Busy"}`), &once{err: cut})), func() { closed = true }}
	e := pipeline.NewResponseError(resp)
	assert.Equal(t, 503, e.StatusCode)
	assert.Empty(t, e.Code)
	assert.EqualError(t, e, `GET http://h/x: 503 Service Unavailable: {"code":"Busy"}`)
	assert.True(t, closed)
	assert.JSONEq(t, `{"code":"Busy"}`, text(t, resp), "what could be read")
}

func TestResponseErrorReadsALimitedBody(t *testing.T) {
	const limit = 1 << 20
	read, closed := 0, false
	resp := response(500, "application/json", "")
	resp.Body = closer{io.NopCloser(io.TeeReader(endless{}, counter{&read})), func() { closed = true }}
	e := pipeline.NewResponseError(resp)
	assert.Equal(t, limit, read)
	assert.True(t, closed)
	assert.Less(t, len(e.Error()), 1000)
	data, err := pipeline.Payload(resp)
	require.NoError(t, err)
	assert.Len(t, data, limit)

	big := response(500, "application/json", `{"code":"Big","fill":"`+strings.Repeat("x", limit)+`"}`)
	all, err := pipeline.Payload(big)
	require.NoError(t, err)
	assert.Empty(t, pipeline.NewResponseError(big).Code, "not parsed")
	kept, err := pipeline.Payload(big)
	require.NoError(t, err)
	assert.Len(t, kept, len(all), "a body in memory is not cut")
}

type endless struct{}

func (endless) Read(p []byte) (int, error) {
	for i := range p {
		p[i] = 'x'
	}
	return len(p), nil
}

type counter struct{ n *int }

func (c counter) Write(p []byte) (int, error) { *c.n += len(p); return len(p), nil }

func TestRequestIDAndRetryAfter(t *testing.T) {
	for name, tt := range map[string]struct {
		response, request http.Header
		id                string
		wait              time.Duration
	}{
		"X-Request-Id":          {header("X-Request-Id", "a", "Request-Id", "b"), header("X-Request-Id", "c"), "a", 0},
		"Request-Id":            {header("Request-Id", "b", "Retry-After", "3"), header("X-Request-Id", "c"), "b", 3 * time.Second},
		"of the request":        {header("Retry-After-Ms", "20", "Retry-After", "3"), header("X-Request-Id", "c", "Request-Id", "d"), "c", 20 * time.Millisecond},
		"Request-Id of request": {header("Retry-After", "soon"), header("Request-Id", "d"), "d", 0},
		"none":                  {nil, nil, "", 0},
	} {
		resp := response(500, "", "")
		resp.Header, resp.Request.Header = tt.response, tt.request
		e := pipeline.NewResponseError(resp)
		assert.Equal(t, tt.id, e.RequestID, name)
		assert.Equal(t, tt.wait, e.RetryAfter, name)
	}
}

func TestIs(t *testing.T) {
	e := pipeline.NewResponseError(response(404, "application/json", `{"code":"NotFound"}`))
	wrapped := fmt.Errorf("widgets: %w", e)
	for name, tt := range map[string]struct {
		target error
		want   bool
	}{
		"itself":           {e, true},
		"status":           {&pipeline.ResponseError{StatusCode: 404}, true},
		"code":             {&pipeline.ResponseError{Code: "NotFound"}, true},
		"both":             {&pipeline.ResponseError{StatusCode: 404, Code: "NotFound"}, true},
		"other status":     {&pipeline.ResponseError{StatusCode: 403, Code: "NotFound"}, false},
		"other code":       {&pipeline.ResponseError{StatusCode: 404, Code: "Gone"}, false},
		"only other code":  {&pipeline.ResponseError{Code: "Gone"}, false},
		"zero":             {&pipeline.ResponseError{}, false},
		"only a message":   {&pipeline.ResponseError{Message: "m"}, false},
		"nil":              {(*pipeline.ResponseError)(nil), false},
		"of another type":  {io.EOF, false},
		"a wrapped target": {fmt.Errorf("%w", &pipeline.ResponseError{StatusCode: 404}), false},
	} {
		assert.Equal(t, tt.want, errors.Is(wrapped, tt.target), name)
	}
	zero := &pipeline.ResponseError{}
	assert.ErrorIs(t, zero, zero)
	assert.NotErrorIs(t, zero, &pipeline.ResponseError{})
}

func TestVerbose(t *testing.T) {
	resp := response(404, "application/json", `{"code":"NotFound","hint":"see\nbelow"}`)
	resp.Header = header("Server", "s", "Set-Cookie", "hush", "Content-Type", "application/json", "Location", "http://u:hush@h/?q=hush")
	assert.Equal(t, `GET http://h/x: 404 Not Found: NotFound: {"code":"NotFound","hint":"see\nbelow"}
Content-Type: application/json
Location: http://u:xxxxx@h/?q=REDACTED
Server: s
Set-Cookie: REDACTED

{"code":"NotFound","hint":"see\nbelow"}`, pipeline.NewResponseError(resp).Verbose())
	assert.Equal(t, "Bad", (&pipeline.ResponseError{Code: "Bad"}).Verbose())
	assert.Equal(t, "GET http://h/x: 404 Not Found\nContent-Type: text/plain", pipeline.NewResponseError(response(404, "text/plain", "")).Verbose())
	long := pipeline.NewResponseError(response(404, "text/plain", strings.Repeat("x", 1<<20))).Verbose()
	assert.Less(t, len(long), 64<<10+1000)
}

func FuzzNewResponseError(f *testing.F) {
	for _, contentType := range []string{"", "application/json", "application/problem+json", "application/xml", "text/html", "a/b; c=\"", "\x00"} {
		for _, body := range []string{
			"", "{}", `{"error":{"code":1,"message":"https://u:p@h/?q"}}`, `{"error":"x","error_description":"y"}`, `{"type":"t","status":"x"}`,
			"\xef\xbb\xbf<Error><Code>a.b</Code><Message>c</Message></Error>", "<a><code><code>", "<html>", "[[[[", "\xff\x00\u2028\u202e x", "<!DOCTYPE x [<!ENTITY a 'b'>]><code>&a;</code>",
		} {
			f.Add(contentType, "404 Not Found", body)
		}
	}
	f.Fuzz(func(t *testing.T, contentType, status, body string) {
		resp := response(404, contentType, body)
		resp.Status = status
		e := pipeline.NewResponseError(resp)
		text := e.Error()
		switch {
		case len(text) > 900:
			t.Errorf("%d bytes: %q", len(text), text)
		case !utf8.ValidString(text):
			t.Errorf("not UTF-8: %q", text)
		case strings.ContainsFunc(text, func(r rune) bool { return unicode.IsControl(r) || r == '\u2028' || r == '\u2029' }):
			t.Errorf("not one line: %q", text)
		case !strings.HasPrefix(text, "GET http://h/x"):
			t.Errorf("no request: %q", text)
		}
		data, err := json.Marshal(e)
		if err != nil {
			t.Fatal(err)
		}
		var read pipeline.ResponseError
		if err := json.Unmarshal(data, &read); err != nil {
			t.Fatal(err)
		}
		if read.Error() != text || read.StatusCode != 404 || read.Code != strings.ToValidUTF8(e.Code, "\ufffd") {
			t.Errorf("%+v is not %+v", read, e)
		}
		_ = e.Verbose()
	})
}
