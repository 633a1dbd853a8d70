package pipeline

import (
	"net/http"
	"slices"
)

// StatusError is a Policy that turns responses into errors. Do then returns a
// [*ResponseError] in place of the response, whose body is read and closed. The error is
// logged once, in category [LogError].
//
// Put it before [Retry], otherwise Retry treats it as a transport error. Policies that
// stand before it get the error.
type StatusError struct {
	// Statuses are the status codes that become errors. Nil means all from 400 on, and an
	// empty list none.
	Statuses []int
}

// Do implements [Policy].
func (p StatusError) Do(req *Request) (*http.Response, error) {
	resp, err := req.Next()
	if err != nil || !p.lists(resp.StatusCode) {
		return resp, err
	}
	e := NewResponseError(resp)
	req.op.stages.log.serviceError(req, e)
	return nil, e
}

func (p StatusError) lists(status int) bool {
	if p.Statuses == nil {
		return status >= 400
	}
	return slices.Contains(p.Statuses, status)
}
