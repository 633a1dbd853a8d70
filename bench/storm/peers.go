package main

import (
	"net/http"
	"time"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore/policy"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore/runtime"
	"github.com/PuerkitoBio/rehttp"
	"github.com/failsafe-go/failsafe-go/failsafehttp"
	"github.com/gojek/heimdall/v7"
	"github.com/gojek/heimdall/v7/httpclient"
	"github.com/hashicorp/go-retryablehttp"
	"resty.dev/v3"
)

func newHashicorp(rt http.RoundTripper) sender {
	c := retryablehttp.NewClient()
	c.HTTPClient.Transport = rt
	c.Logger = nil
	return senderFunc(func(plain *http.Request) (*http.Response, error) {
		req, err := retryablehttp.FromRequest(plain)
		if err != nil {
			return nil, err
		}
		return c.Do(req)
	})
}

func newAzcore(rt http.RoundTripper) sender {
	pipeline := runtime.NewPipeline("storm", "v0.0.0", runtime.PipelineOptions{}, &policy.ClientOptions{
		Transport: &http.Client{Transport: rt},
	})
	return senderFunc(func(plain *http.Request) (*http.Response, error) {
		req, err := runtime.NewRequest(plain.Context(), plain.Method, plain.URL.String())
		if err != nil {
			return nil, err
		}
		return pipeline.Do(req)
	})
}

func newFailsafe(rt http.RoundTripper) sender {
	return &http.Client{Transport: failsafehttp.NewRoundTripper(rt, failsafehttp.NewRetryPolicyBuilder().Build())}
}

func newHeimdall(rt http.RoundTripper) sender {
	backoff := heimdall.NewConstantBackoff(2*time.Millisecond, 5*time.Millisecond)
	return httpclient.NewClient(
		httpclient.WithHTTPClient(&http.Client{Transport: rt}),
		httpclient.WithRetrier(heimdall.NewRetrier(backoff)),
		httpclient.WithRetryCount(4),
	)
}

func newResty(rt http.RoundTripper) sender {
	c := resty.NewWithClient(&http.Client{Transport: rt}).
		SetLogger(noLog{}).
		SetRetryCount(3).
		AddRetryConditions(func(resp *resty.Response, err error) bool {
			return err != nil || resp.StatusCode() >= 500
		})
	return senderFunc(func(plain *http.Request) (*http.Response, error) {
		resp, err := c.R().SetContext(plain.Context()).Execute(plain.Method, plain.URL.String())
		if resp == nil {
			return nil, err
		}
		return resp.RawResponse, err
	})
}

// noLog is a logger for resty that discards.
type noLog struct{}

func (noLog) Errorf(string, ...any) {}
func (noLog) Warnf(string, ...any)  {}
func (noLog) Debugf(string, ...any) {}

func newRehttp(rt http.RoundTripper) sender {
	return &http.Client{Transport: rehttp.NewTransport(rt,
		rehttp.RetryAll(
			rehttp.RetryMaxRetries(3),
			rehttp.RetryAny(
				rehttp.RetryStatusInterval(500, 600),
				rehttp.RetryIsErr(func(err error) bool { return err != nil }),
			),
		),
		rehttp.ConstDelay(time.Second),
	)}
}
