package main

import (
	"io"
	"net/http"

	"github.com/hashicorp/go-retryablehttp"
)

// hashicorp is hashicorp/go-retryablehttp, called by its own Client.
type hashicorp struct{}

func (hashicorp) Name() string { return "hashicorp/go-retryablehttp" }

func (hashicorp) New(rt http.RoundTripper, s settings) client {
	c := retryablehttp.NewClient()
	c.HTTPClient = &http.Client{Transport: rt}
	c.Logger = nil
	c.RetryMax = s.Retries
	if !s.ObeyRetryAfter {
		c.RetryWaitMin, c.RetryWaitMax = 0, 0
	}
	return hashicorpClient{c}
}

type hashicorpClient struct{ *retryablehttp.Client }

func (c hashicorpClient) Prepare(r request) (call, error) {
	p := r.Body
	if p == nil {
		plain, err := r.standard()
		if err != nil {
			return nil, err
		}
		req, err := retryablehttp.FromRequest(plain)
		if err != nil {
			return nil, err
		}
		return func() (*http.Response, error) { return c.Do(req) }, nil
	}
	post := func(raw any) (*http.Response, error) {
		req, err := retryablehttp.NewRequestWithContext(r.context(), r.Method, r.URL, raw)
		if err != nil {
			return nil, err
		}
		return c.Do(req)
	}
	switch p.kind {
	case inMemory:
		return func() (*http.Response, error) { return post(p.bytes) }, nil
	case file, seeker:
		return func() (*http.Response, error) {
			f, err := p.open()
			if err != nil {
				return nil, err
			}
			defer f.Close()
			var raw any = f
			if p.kind == seeker {
				raw = seekReader{f}
			}
			req, err := retryablehttp.NewRequestWithContext(r.context(), r.Method, r.URL, raw)
			if err != nil {
				return nil, err
			}
			// It does not determine the length of a seeker.
			req.ContentLength = p.length()
			return c.Do(req)
		}, nil
	case withGetBody:
		return func() (*http.Response, error) {
			req, err := retryablehttp.NewRequestWithContext(r.context(), r.Method, r.URL, retryablehttp.ReaderFunc(func() (io.Reader, error) {
				return p.openOpaque()
			}))
			if err != nil {
				return nil, err
			}
			req.ContentLength = p.length()
			return c.Do(req)
		}, nil
	case opaque:
		return func() (*http.Response, error) {
			body, err := p.openOpaque()
			if err != nil {
				return nil, err
			}
			return post(body)
		}, nil
	}
	return nil, errUnsupported
}
