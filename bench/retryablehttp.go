package main

import (
	"io"
	"net/http"

	"github.com/a0b132ce/retryablehttp"
)

// ours is this library, called by its own Client.
type ours struct{}

func (ours) Name() string { return "**this library**, Client" }

func (ours) New(rt http.RoundTripper, s settings) client {
	return oursClient{newOurs(rt, s)}
}

func newOurs(rt http.RoundTripper, s settings) *retryablehttp.Client {
	c := retryablehttp.NewClient()
	c.HTTPClient = &http.Client{Transport: rt}
	c.RetryMax = s.Retries
	c.ReplayMax = s.Keep
	if !s.ObeyRetryAfter {
		c.RetryWaitMin, c.RetryWaitMax = 0, 0
	}
	return c
}

type oursClient struct{ *retryablehttp.Client }

func (c oursClient) Prepare(r request) (call, error) {
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
		if p.chunked {
			return nil, errUnsupported // the length is always found out
		}
		return func() (*http.Response, error) {
			f, err := p.open()
			if err != nil {
				return nil, err
			}
			defer f.Close()
			if p.kind == file {
				return post(f)
			}
			return post(seekReader{f})
		}, nil
	case withGetBody:
		if !p.chunked {
			return func() (*http.Response, error) {
				plain, err := r.standard()
				if err != nil {
					return nil, err
				}
				req, err := retryablehttp.FromRequest(plain)
				if err != nil {
					return nil, err
				}
				return c.Do(req)
			}, nil
		}
		return func() (*http.Response, error) {
			return post(retryablehttp.ReaderFunc(func() (io.Reader, error) {
				return p.openOpaque()
			}))
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

// oursRoundTripper is this library inside an http.Client.
type oursRoundTripper struct{}

// ownName returns how goals name a contender that is this library.
func ownName(c contender) (name string, ok bool) {
	switch c.(type) {
	case ours:
		return "client", true
	case oursRoundTripper:
		return "roundtripper", true
	}
	return "", false
}

func (oursRoundTripper) Name() string { return "**this library**, RoundTripper" }

func (oursRoundTripper) New(rt http.RoundTripper, s settings) client {
	return netHTTPClient{&http.Client{Transport: &retryablehttp.RoundTripper{Base: rt, Client: newOurs(rt, s)}}}
}
