package pipeline

import (
	"bytes"
	"cmp"
	"encoding/json"
	"encoding/xml"
	"errors"
	"fmt"
	"io"
	"mime"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/a0b132ce/retryablehttp/internal/redact"
	"github.com/a0b132ce/retryablehttp/internal/retryafter"
	"github.com/a0b132ce/retryablehttp/problem"
)

// ResponseError is the error of a service: a response whose status says that a request was
// not successful. As JSON it keeps everything but Response.
type ResponseError struct {
	// StatusCode is the HTTP status.
	StatusCode int `json:"statusCode"`

	// Code is the code of the service, such as "QuotaExceeded". "" means that the body has
	// none.
	Code string `json:"code,omitempty"`

	// Message is the text of the service, as it was sent. "" means that the body has none.
	Message string `json:"message,omitempty"`

	// RequestID is the X-Request-Id or Request-Id of the response or else of the request.
	RequestID string `json:"requestId,omitempty"`

	// Problem is the body if that is problem details (RFC 9457), else nil.
	Problem *problem.Problem `json:"problem,omitempty"`

	// RetryAfter is how long the service asks to wait, by Retry-After or Retry-After-Ms. 0
	// means that it does not. In JSON it is a number of nanoseconds.
	RetryAfter time.Duration `json:"retryAfter,omitempty"`

	// Response is the response. Its body is in memory, up to 1 MiB or as far as it could be
	// read, and can be read by [Payload]. It is nil in an error decoded from JSON.
	Response *http.Response `json:"-"`

	text string // what Error returns; "" if NewResponseError has not made the error
}

// Limits of what is read and shown of a response.
const (
	maxErrorBody    = 1 << 20
	maxErrorURL     = 2048
	maxErrorMessage = 512
	maxErrorCode    = 128
)

// NewResponseError returns the error for a response, whatever its status is. It reads up to
// 1 MiB of the body and closes it. A body that cannot be read leaves Code and Message empty.
//
// Code and Message are found in JSON members code and message of the object error, or of
// the whole body; in a member error that is a string, with error_description (RFC 6749 §5.2);
// in the first XML elements Code and Message; and in problem details (RFC 9457), where the
// type is the code if there is no member code, and the message is the detail or the title.
func NewResponseError(resp *http.Response) *ResponseError {
	e := &ResponseError{StatusCode: resp.StatusCode, Response: resp, RequestID: requestID(resp)}
	e.RetryAfter, _ = retryafter.Of(resp.Header)
	data, err := errorBody(resp)
	if err == nil {
		e.parse(resp.Header.Get("Content-Type"), bytes.TrimPrefix(data, utf8BOM))
	}
	e.text = e.describe(data)
	return e
}

// errorBody reads the body into memory.
func errorBody(resp *http.Response) ([]byte, error) {
	if p, ok := resp.Body.(*payload); ok {
		return p.data[:min(len(p.data), maxErrorBody)], nil
	}
	if resp.Body == nil {
		return nil, nil
	}
	data, err := io.ReadAll(io.LimitReader(resp.Body, maxErrorBody))
	resp.Body.Close()
	resp.Body = newPayload(data)
	return data, err
}

func requestID(resp *http.Response) string {
	id := requestIDIn(resp.Header)
	if id == "" && resp.Request != nil {
		id = requestIDIn(resp.Request.Header)
	}
	return id
}

func requestIDIn(header http.Header) string {
	return cmp.Or(header.Get("X-Request-Id"), header.Get("Request-Id"))
}

// parse sets Code, Message and Problem.
func (e *ResponseError) parse(contentType string, data []byte) {
	data = bytes.TrimSpace(data)
	switch {
	case bytes.HasPrefix(data, []byte("{")):
		e.Code, e.Message = codeOfJSON(data)
	case bytes.HasPrefix(data, []byte("<")):
		e.Code, e.Message = codeOfXML(data)
	}
	var p problem.Problem
	mediaType, _, _ := mime.ParseMediaType(contentType)
	if mediaType != "application/problem+json" || json.Unmarshal(data, &p) != nil {
		return
	}
	e.Problem = &p
	e.Message = cmp.Or(p.Detail, p.Title, e.Message)
	if e.Code == "" && p.Type != "about:blank" {
		e.Code = p.Type
	}
}

// codeOfJSON returns the code and the message in a JSON object.
func codeOfJSON(data []byte) (code, message string) {
	type object struct {
		Code, Message scalar
		Description   scalar `json:"error_description"`
	}
	var top struct {
		object
		Error json.RawMessage
	}
	var inner object
	var word scalar
	if json.Unmarshal(data, &top) != nil {
		return "", ""
	}
	if json.Unmarshal(top.Error, &inner) != nil {
		_ = json.Unmarshal(top.Error, &word) // never fails, but for a missing member
	}
	message = string(cmp.Or(inner.Message, top.Description, top.Message))
	if code = string(cmp.Or(inner.Code, top.Code)); code == "" {
		return string(word), message
	}
	return code, cmp.Or(message, string(word))
}

// scalar is a JSON string or number as text, and "" for anything else.
type scalar string

func (s *scalar) UnmarshalJSON(data []byte) error {
	var number json.Number
	if json.Unmarshal(data, (*string)(s)) != nil && json.Unmarshal(data, &number) == nil {
		*s = scalar(number)
	}
	return nil
}

// codeOfXML returns the first elements Code and Message in any namespace. A page of HTML has
// none.
func codeOfXML(data []byte) (code, message string) {
	decoder := xml.NewDecoder(bytes.NewReader(data))
	for code == "" || message == "" {
		token, err := decoder.Token()
		if err != nil {
			break
		}
		start, _ := token.(xml.StartElement)
		var text string
		switch name := strings.ToLower(start.Name.Local); {
		case name == "html":
			return code, message
		case name != "code" && name != "message":
		case decoder.DecodeElement(&text, &start) != nil:
			return code, message
		case name == "code":
			code = cmp.Or(code, strings.TrimSpace(text))
		default:
			message = cmp.Or(message, strings.TrimSpace(text))
		}
	}
	return code, message
}

// Error returns one line: the method, the URL without user information and query, the
// status, the code, and the message or, if there is none, the beginning of the body. Query
// values of URLs in the message are replaced.
func (e *ResponseError) Error() string {
	if e.text != "" {
		return e.text
	}
	return e.describe(nil)
}

// Verbose returns several lines: Error, the header fields of the response as the zero
// [Logging] shows them, and up to 64 KiB of the body as it is.
func (e *ResponseError) Verbose() string {
	var b strings.Builder
	b.WriteString(e.Error())
	if e.Response == nil {
		return b.String()
	}
	l := &log{headers: nameSet(defaultHeaders), show: redact.URL}
	for _, field := range l.header(e.Response.Header).Value.Group() {
		fmt.Fprintf(&b, "\n%s: %s", field.Key, field.Value)
	}
	if p, ok := e.Response.Body.(*payload); ok && len(p.data) > 0 {
		b.WriteString("\n\n")
		b.Write(p.data[:min(len(p.data), maxLogged)])
	}
	return b.String()
}

// describe returns the text of the error. body is the response body.
func (e *ResponseError) describe(body []byte) string {
	target, status := "", ""
	if e.StatusCode != 0 {
		status = strconv.Itoa(e.StatusCode) + " " + http.StatusText(e.StatusCode)
	}
	if e.Response != nil {
		status = cmp.Or(e.Response.Status, status)
		if req := e.Response.Request; req != nil && req.URL != nil {
			u := req.URL
			target = methodOf(req) + " " + u.Scheme + "://" + u.Host + u.EscapedPath()
		}
	}
	parts := slices.DeleteFunc([]string{
		redact.OneLine(target, maxErrorURL),
		redact.OneLine(status, maxErrorCode),
		redact.Line(e.Code, maxErrorCode, redact.URL),
		redact.Line(cmp.Or(e.Message, string(body)), maxErrorMessage, redact.URL),
	}, func(part string) bool { return part == "" })
	return cmp.Or(strings.Join(parts, ": "), "pipeline: service error")
}

// methodOf returns the method of a request.
func methodOf(req *http.Request) string { return cmp.Or(req.Method, http.MethodGet) }

// Is reports whether target is a *ResponseError with the same StatusCode and Code. A zero
// StatusCode or an empty Code of target matches any, but not both at once:
//
//	errors.Is(err, &pipeline.ResponseError{StatusCode: http.StatusNotFound})
func (e *ResponseError) Is(target error) bool {
	t, ok := target.(*ResponseError)
	switch {
	case !ok || t == nil || t.StatusCode == 0 && t.Code == "":
		return false
	case t.StatusCode != 0 && t.StatusCode != e.StatusCode:
		return false
	}
	return t.Code == "" || t.Code == e.Code
}

// MarshalJSON returns the fields besides Response, and the text of Error as "text".
func (e *ResponseError) MarshalJSON() ([]byte, error) {
	return json.Marshal(errorJSON{(*errorFields)(e), e.Error()})
}

// UnmarshalJSON sets the fields and the text to what MarshalJSON has written. It leaves e as
// it was if it returns an error.
func (e *ResponseError) UnmarshalJSON(data []byte) error {
	var read ResponseError
	from := errorJSON{errorFields: (*errorFields)(&read)}
	if err := json.Unmarshal(data, &from); err != nil {
		return err
	}
	*e = read
	e.text = from.Text
	return nil
}

// errorJSON is a ResponseError as JSON.
type errorJSON struct {
	*errorFields
	Text string `json:"text"`
}

type errorFields ResponseError // without its methods

// responseOf returns resp or else the response of the ResponseError in err. It returns nil
// if there is none, or if it is a token server's.
func responseOf(resp *http.Response, err error) *http.Response {
	if err == nil {
		return resp
	}
	var token *TokenError
	var e *ResponseError
	if !errors.As(err, &token) && errors.As(err, &e) {
		return e.Response
	}
	return nil
}
