package pipeline

import (
	"net/http"
	"slices"
)

// StatusError is a Policy that turns responses into errors. Do then returns a
// [*ResponseError] in place of the response, whose body is read and closed. The error is
// logged once, in category [LogError].
//
// Put it before [Retry]: it then makes an error of the last response only. After Retry, each
// error counts as a transport error, and a 404 is retried too. The error does not have the number
// of attempts. To get that, set OnAttempt of Retry's Client, or see the records of category
// [LogRetry]. Policies that stand before StatusError get the error.
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
