package pipeline_test

import (
	"errors"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/a0b132ce/retryablehttp/pipeline"
)

func TestStatusErrorMakesErrorsOfListedStatuses(t *testing.T) {
	for name, tt := range map[string]struct {
		policy pipeline.StatusError
		fails  []int
		passes []int
	}{
		"nil means all from 400 on": {pipeline.StatusError{}, []int{400, 404, 500, 599}, []int{200, 204, 304, 399}},
		"a list":                    {pipeline.StatusError{Statuses: []int{202, 404}}, []int{202, 404}, []int{200, 400, 500}},
		"an empty list means none":  {pipeline.StatusError{Statuses: []int{}}, nil, []int{400, 500}},
	} {
		t.Run(name, func(t *testing.T) {
			for _, status := range append(tt.fails, tt.passes...) {
				closed := false
				pl := over(transport(func(r *http.Request) (*http.Response, error) {
					body := closer{io.NopCloser(strings.NewReader(`{"code":"Bad"}`)), func() { closed = true }}
					return &http.Response{StatusCode: status, Header: http.Header{}, Body: body, Request: r}, nil
				}), tt.policy)
				resp, err := pl.Do(newRequest(t, "GET", "http://h/"))
				assert.Equal(t, resp == nil, err != nil, "a response or an error")
				if !slices.Contains(tt.fails, status) {
					require.NoError(t, err, status)
					assert.False(t, closed, "the body is left to the caller")
					assert.JSONEq(t, `{"code":"Bad"}`, text(t, resp))
					continue
				}
				var service *pipeline.ResponseError
				require.ErrorAs(t, err, &service, status)
				assert.Equal(t, status, service.StatusCode)
				assert.Equal(t, "Bad", service.Code)
				assert.True(t, closed)
				assert.JSONEq(t, `{"code":"Bad"}`, text(t, service.Response), "the body is in memory")
			}
		})
	}
}

func TestStatusErrorPassesTransportErrorsOn(t *testing.T) {
	broken := errors.New("broken")
	err := send(t, over(serve(step{err: broken}), pipeline.StatusError{}), newRequest(t, "GET", "http://h/"))
	require.ErrorIs(t, err, broken)
	var service *pipeline.ResponseError
	assert.NotErrorAs(t, err, &service)
}

func TestPoliciesBeforeStatusErrorGetTheError(t *testing.T) {
	var got error
	outside := pipeline.PolicyFunc(func(req *pipeline.Request) (*http.Response, error) {
		resp, err := req.Next()
		got = err
		return resp, err
	})
	service := serve(step{status: 503})
	err := send(t, over(service, outside, pipeline.StatusError{}, fast()), newRequest(t, "GET", "http://h/"))
	assert.ErrorIs(t, err, &pipeline.ResponseError{StatusCode: 503})
	assert.Equal(t, got, err)
	assert.Equal(t, 4, service.tries(), "Retry has seen the responses")
}

func TestP05ResponseOfAServiceErrorIsCaptured(t *testing.T) {
	var captured *http.Response
	wrap := pipeline.PolicyFunc(func(req *pipeline.Request) (*http.Response, error) {
		resp, err := req.Next()
		if err != nil {
			err = fmt.Errorf("widgets: %w", err)
		}
		return resp, err
	})
	pl := over(serve(step{status: 500}, step{status: 404, body: "gone"}), wrap, pipeline.StatusError{}, fast())
	err := send(t, pl, newRequest(t, "GET", "http://h/", pipeline.CaptureResponse(&captured)))
	var service *pipeline.ResponseError
	require.ErrorAs(t, err, &service)
	require.NotNil(t, captured)
	assert.Same(t, service.Response, captured)
	assert.Equal(t, 404, captured.StatusCode)
	assert.Equal(t, "gone", text(t, captured))
}

func TestStatusErrorUnderAnHTTPClient(t *testing.T) {
	client := &http.Client{Transport: over(serve(step{status: 404, body: `{"code":"Gone"}`}), pipeline.StatusError{})}
	_, err := client.Get("http://h/x")
	assert.ErrorIs(t, err, &pipeline.ResponseError{Code: "Gone"})
}
