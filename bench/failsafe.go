package main

import (
	"net/http"

	"github.com/failsafe-go/failsafe-go/failsafehttp"
)

// failsafeHTTP is failsafe-go's retry policy as a RoundTripper inside an http.Client.
// It has no wait unless Retry-After asks for one.
type failsafeHTTP struct{}

func (failsafeHTTP) Name() string { return "failsafe-go/failsafehttp" }

func (failsafeHTTP) New(rt http.RoundTripper, s settings) client {
	policy := failsafehttp.NewRetryPolicyBuilder().WithMaxRetries(s.Retries).Build()
	return netHTTPClient{&http.Client{Transport: failsafehttp.NewRoundTripper(rt, policy)}}
}
