package pipeline

import (
	"encoding/json"
	"net/http"
)

// ResponseError is the error of a service: a response whose status says that a request was
// not successful.
type ResponseError struct {
	StatusCode int    `json:"statusCode"`
	Code       string `json:"code,omitempty"` // of the service; "" if the response has none
	Message    string `json:"message,omitempty"`
	RequestID  string `json:"requestId,omitempty"`

	// Response is the response. Its body can be read by Payload.
	Response *http.Response `json:"-"`

	text string
}

// NewResponseError returns an error for a response of a service. It reads and closes the body.
func NewResponseError(resp *http.Response) *ResponseError {
	e := &ResponseError{StatusCode: resp.StatusCode, Response: resp}
	var body struct {
		Error struct{ Code, Message string }
		Code  string
	}
	if data, err := Payload(resp); err == nil && json.Unmarshal(data, &body) == nil {
		e.Code, e.Message = body.Error.Code, body.Error.Message
	}
	return e
}

func (e *ResponseError) Error() string { return e.text }
