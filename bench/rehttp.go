package main

import (
	"net/http"

	"github.com/PuerkitoBio/rehttp"
)

// rehttpV1 is rehttp's Transport inside an http.Client. It does not look at
// Retry-After.
type rehttpV1 struct{}

func (rehttpV1) Name() string { return "PuerkitoBio/rehttp" }

func (rehttpV1) New(rt http.RoundTripper, s settings) client {
	return netHTTPClient{&http.Client{Transport: rehttp.NewTransport(rt,
		rehttp.RetryAll(
			rehttp.RetryMaxRetries(s.Retries),
			rehttp.RetryAny(
				rehttp.RetryStatusInterval(500, 600),
				rehttp.RetryIsErr(func(err error) bool { return err != nil }),
			),
		),
		rehttp.ConstDelay(0),
	)}}
}
