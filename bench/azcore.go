package main

import (
	"bytes"
	"io"
	"net/http"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore/policy"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore/runtime"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore/streaming"
)

// azureCore is the pipeline of the Azure SDK, telemetry off. It would read every
// response body into memory; SkipBodyDownload has it hand out a stream as the others do.
type azureCore struct{}

func (azureCore) Name() string { return "Azure azcore" }

func (azureCore) New(rt http.RoundTripper, s settings) client {
	opts := &policy.ClientOptions{
		Transport: &http.Client{Transport: rt},
		Telemetry: policy.TelemetryOptions{Disabled: true},
		Retry:     policy.RetryOptions{MaxRetries: int32(s.Retries)},
	}
	if s.Retries == 0 {
		opts.Retry.MaxRetries = -1
	}
	if !s.ObeyRetryAfter {
		opts.Retry.RetryDelay = 1 // none (-1) is taken for an overflow and becomes 60 s
	}
	return azureClient{runtime.NewPipeline("bench", "v0.0.0", runtime.PipelineOptions{}, opts)}
}

type azureClient struct{ pipeline runtime.Pipeline }

func (c azureClient) Get(url string) (*http.Response, error) {
	req, err := newAzureRequest(request{Method: http.MethodGet, URL: url})
	if err != nil {
		return nil, err
	}
	return c.pipeline.Do(req)
}

func newAzureRequest(r request) (*policy.Request, error) {
	req, err := runtime.NewRequest(r.context(), r.Method, r.URL)
	if err != nil {
		return nil, err
	}
	runtime.SkipBodyDownload(req)
	return req, nil
}

func (c azureClient) Prepare(r request) (call, error) {
	p := r.Body
	if p == nil {
		req, err := newAzureRequest(r)
		if err != nil {
			return nil, err
		}
		return func() (*http.Response, error) { return c.pipeline.Do(req) }, nil
	}
	send := func(body io.ReadSeekCloser) (*http.Response, error) {
		req, err := newAzureRequest(r)
		if err != nil {
			return nil, err
		}
		if err := req.SetBody(body, "application/octet-stream"); err != nil {
			return nil, err
		}
		return c.pipeline.Do(req)
	}
	switch {
	case p.kind == inMemory:
		return func() (*http.Response, error) {
			return send(streaming.NopCloser(bytes.NewReader(p.bytes)))
		}, nil
	case p.kind == file && !p.chunked:
		return func() (*http.Response, error) {
			f, err := p.open()
			if err != nil {
				return nil, err
			}
			return send(f)
		}, nil
	case p.kind == seeker && !p.chunked:
		return func() (*http.Response, error) {
			f, err := p.openSeeker()
			if err != nil {
				return nil, err
			}
			return send(f)
		}, nil
	}
	return nil, errUnsupported // it takes seekers only
}
