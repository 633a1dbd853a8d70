package otelretryablehttp

import (
	"cmp"
	"net/http"
	"net/url"
	"strconv"
	"strings"

	"go.opentelemetry.io/otel/attribute"
	semconv "go.opentelemetry.io/otel/semconv/v1.43.0"

	"github.com/a0b132ce/retryablehttp/internal/redact"
)

// Attributes that the semantic conventions do not have.
const (
	attemptKey     = attribute.Key("retryablehttp.attempt")
	attemptsKey    = attribute.Key("retryablehttp.attempts")
	hedgeResultKey = attribute.Key("retryablehttp.hedge.result")
	reasonKey      = attribute.Key("retryablehttp.reason")
	resumptionKey  = attribute.Key("retryablehttp.resumption")
	waitTimeKey    = attribute.Key("retryablehttp.wait_time")
)

// targetOf returns the attributes that say where a request goes. They have few values, so
// that metrics can have them.
func (t *telemetry) targetOf(req *http.Request) []attribute.KeyValue {
	// http.NewRequest and the redirects of net/http set Host; a program may set another one.
	target := serverOf(cmp.Or(req.Host, req.URL.Host), req.URL.Scheme)
	return append(target, semconv.HTTPRequestMethodKey.String(t.method(req)))
}

// describe returns target and, with it, what else is known of a request before it is sent.
func (t *telemetry) describe(req *http.Request) (target, all []attribute.KeyValue) {
	all = t.targetOf(req)
	target = all[:len(all):len(all)]
	all = append(all, semconv.URLFull(t.redact(req.URL)))
	if original := methodOf(req); original != t.method(req) {
		all = append(all, semconv.HTTPRequestMethodOriginal(original))
	}
	return target, all
}

// serverOf returns the attributes of a host, which may have a port. Without one, the port
// is the default of the scheme. There is room for more attributes.
func serverOf(host, scheme string) []attribute.KeyValue {
	const most = 7 // of a request
	u := url.URL{Host: host}
	server := append(make([]attribute.KeyValue, 0, most), semconv.ServerAddress(u.Hostname()))
	port := u.Port()
	if port == "" {
		port = defaultPorts[scheme]
	}
	if number, err := strconv.Atoi(port); err == nil {
		server = append(server, semconv.ServerPort(number))
	}
	return server
}

var defaultPorts = map[string]string{"http": "80", "https": "443"}

// otherMethod is recorded for a method that is not known.
const otherMethod = "_OTHER"

var defaultMethods = []string{
	http.MethodConnect, http.MethodDelete, http.MethodGet, http.MethodHead, http.MethodOptions,
	http.MethodPatch, http.MethodPost, http.MethodPut, "QUERY", http.MethodTrace,
}

func knownMethods(methods []string) map[string]bool {
	if methods == nil {
		methods = defaultMethods
	}
	known := make(map[string]bool, len(methods))
	for _, method := range methods {
		known[method] = true
	}
	return known
}

// method returns the method of req as it is recorded.
func (t *telemetry) method(req *http.Request) string {
	if method := methodOf(req); t.methods[method] {
		return method
	}
	return otherMethod
}

// callName and requestName return the names of spans.
func (t *telemetry) callName(req *http.Request) string {
	if method := t.method(req); method != otherMethod {
		return "HTTP " + method
	}
	return "HTTP"
}

func (t *telemetry) requestName(req *http.Request) string {
	if method := t.method(req); method != otherMethod {
		return method
	}
	return "HTTP"
}

func methodOf(req *http.Request) string { return cmp.Or(req.Method, http.MethodGet) }

// protocolVersion returns the version of HTTP that a response came by, "" if it is not
// known.
func protocolVersion(resp *http.Response) string {
	switch {
	case resp.ProtoMajor == 0:
		return ""
	case resp.ProtoMajor == 1:
		return "1." + strconv.Itoa(resp.ProtoMinor)
	}
	return strconv.Itoa(resp.ProtoMajor)
}

// redactURL removes secrets from a URL as errors of the Client do, and the user name
// besides.
func redactURL(u *url.URL) string {
	if u == nil || u.User == nil {
		return redact.URL(u)
	}
	bare := *u
	bare.User = nil
	return strings.Replace(redact.URL(&bare), "://", "://REDACTED:REDACTED@", 1)
}
