package main

import (
	"context"
	"errors"
	"io"
	"net/http"
	"strconv"
	"time"
)

// loop is what a careful programmer writes around net/http for one kind of call. It
// is the limit: nothing general can be expected to cost less.
type loop struct{}

func (loop) Name() string { return "hand-written loop" }

func (loop) New(rt http.RoundTripper, s settings) client {
	return &loopClient{&http.Client{Transport: rt}, s}
}

type loopClient struct {
	*http.Client
	settings
}

func (c *loopClient) Get(url string) (*http.Response, error) {
	req, err := http.NewRequest(http.MethodGet, url, nil)
	if err != nil {
		return nil, err
	}
	return c.Do(req)
}

func (c *loopClient) Prepare(r request) (call, error) {
	if r.Body != nil && (r.Body.kind == seeker || r.Body.kind == opaque) {
		return nil, errUnsupported // no GetBody
	}
	if p := r.Body; p != nil && p.kind == file {
		return func() (*http.Response, error) {
			req, err := r.standard()
			if err != nil {
				return nil, err
			}
			// Every attempt gets an *os.File, which net/http sends by sendfile.
			req.GetBody = func() (io.ReadCloser, error) { return p.open() }
			return c.Do(req)
		}, nil
	}
	return standardCall(c, r)
}

func (c *loopClient) Do(req *http.Request) (*http.Response, error) {
	for attempt := 0; ; attempt++ {
		resp, err := c.Client.Do(req)
		if err == nil && resp.StatusCode < 500 || attempt == c.Retries {
			return resp, err
		}
		var wait time.Duration
		if err == nil {
			if c.ObeyRetryAfter {
				wait = retryAfter(resp)
			}
			// So that the connection can serve again.
			io.CopyN(io.Discard, resp.Body, 64<<10)
			resp.Body.Close()
		}
		if err := sleep(req.Context(), wait); err != nil {
			return nil, err
		}
		if req.GetBody != nil {
			body, err := req.GetBody()
			if err != nil {
				return nil, err
			}
			again := *req
			again.Body = body
			req = &again
		} else if req.Body != nil && req.Body != http.NoBody {
			return nil, errors.New("request body cannot be sent again")
		}
	}
}

func sleep(ctx context.Context, d time.Duration) error {
	if d <= 0 {
		return ctx.Err()
	}
	if deadline, ok := ctx.Deadline(); ok && time.Until(deadline) <= d {
		return context.DeadlineExceeded
	}
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

func retryAfter(resp *http.Response) time.Duration {
	value := resp.Header.Get("Retry-After")
	if seconds, err := strconv.ParseInt(value, 10, 64); err == nil {
		const most = int64(365 * 24 * time.Hour / time.Second)
		return time.Duration(min(max(seconds, 0), most)) * time.Second
	}
	if date, err := http.ParseTime(value); err == nil {
		return time.Until(date)
	}
	return 0
}
