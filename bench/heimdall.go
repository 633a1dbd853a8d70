package main

import (
	"net/http"
	"time"

	"github.com/gojek/heimdall/v7"
	"github.com/gojek/heimdall/v7/httpclient"
)

// heimdallV7 is heimdall's plain HTTP client. It does not look at Retry-After.
type heimdallV7 struct{}

func (heimdallV7) Name() string { return "gojek/heimdall" }

func (heimdallV7) New(rt http.RoundTripper, s settings) client {
	return heimdallClient{httpclient.NewClient(
		httpclient.WithHTTPClient(&http.Client{Transport: rt}),
		httpclient.WithRetryCount(s.Retries),
		httpclient.WithRetrier(heimdall.NewRetrierFunc(func(int) time.Duration { return 0 })),
	)}
}

type heimdallClient struct{ c *httpclient.Client }

func (c heimdallClient) Get(url string) (*http.Response, error) { return c.c.Get(url, nil) }

func (c heimdallClient) Prepare(r request) (call, error) { return standardCall(c.c, r) }
