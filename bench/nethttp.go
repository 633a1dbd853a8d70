package main

import "net/http"

// netHTTP is net/http as it is, without retries. It is what the others are measured
// against where nothing is retried.
type netHTTP struct{}

func (netHTTP) Name() string { return "net/http" }

func (netHTTP) New(rt http.RoundTripper, _ settings) client {
	return netHTTPClient{&http.Client{Transport: rt}}
}

type netHTTPClient struct{ *http.Client }

func (c netHTTPClient) Prepare(r request) (call, error) { return standardCall(c.Client, r) }
