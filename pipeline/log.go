package pipeline

import (
	"net/http"
	"net/url"
)

type Logging struct{}

func (Logging) Do(req *Request) (resp *http.Response, err error) { return req.Next() }

type log struct{}

func newLog(Logging) *log { return nil }

func (l *log) forRetries() any { return nil }

func (l *log) url(u *url.URL) string { return "" }
