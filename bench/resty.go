package main

import (
	"io"
	"net/http"

	"resty.dev/v3"
)

// restyV3 is resty. Its responses are left unparsed, so that they are streams as
// with the others, and it is told to retry every 5xx and every method.
type restyV3 struct{}

func (restyV3) Name() string { return "resty v3" }

func (restyV3) New(rt http.RoundTripper, s settings) client {
	c := resty.NewWithClient(&http.Client{Transport: rt}).
		SetLogger(noLog{}).
		SetResponseDoNotParse(true).
		SetRetryCount(s.Retries).
		SetRetryAllowNonIdempotent(true).
		AddRetryConditions(func(r *resty.Response, err error) bool {
			return err != nil || r.StatusCode() >= 500
		})
	if !s.ObeyRetryAfter {
		c.SetRetryDelayStrategy(resty.RetryConstantDelayStrategy(0))
	}
	return restyClient{c}
}

type restyClient struct{ c *resty.Client }

func (c restyClient) Get(url string) (*http.Response, error) {
	return raw(c.c.R().Get(url))
}

func raw(resp *resty.Response, err error) (*http.Response, error) {
	if resp == nil || resp.RawResponse == nil {
		return nil, err
	}
	return resp.RawResponse, err
}

func (c restyClient) Prepare(r request) (call, error) {
	p := r.Body
	if p != nil && (p.kind == withGetBody || p.chunked && p.kind != opaque) {
		return nil, errUnsupported // no place to put a GetBody
	}
	return func() (*http.Response, error) {
		req := c.c.R() // a request is for one call
		if r.Context != nil {
			req.SetContext(r.Context)
		}
		if p != nil {
			body, done, err := restyBody(p)
			if err != nil {
				return nil, err
			}
			defer done()
			req.SetBody(body).SetHeader("Content-Type", "application/octet-stream")
			if p.kind != inMemory && !p.chunked {
				req.SetContentLength(p.size)
			}
		}
		return raw(req.Execute(r.Method, r.URL))
	}, nil
}

// restyBody gives files and seekers without their Close: a body that the transport
// has closed cannot be rewound for the retry.
func restyBody(p *payload) (body any, done func(), err error) {
	switch p.kind {
	case inMemory:
		return p.bytes, func() {}, nil
	case opaque:
		r, err := p.openOpaque()
		return r, func() { r.Close() }, err
	}
	f, err := p.open()
	return struct{ io.ReadSeeker }{f}, func() { f.Close() }, err
}

type noLog struct{}

func (noLog) Errorf(string, ...any) {}
func (noLog) Warnf(string, ...any)  {}
func (noLog) Debugf(string, ...any) {}
