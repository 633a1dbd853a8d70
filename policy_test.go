package retryablehttp

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// Spec 2, DefaultRetryPolicy. Spec 4, 408.
func TestDefaultRetryPolicyByStatus(t *testing.T) {
	for status, want := range map[int]bool{
		0: true, 429: true, 500: true, 501: false, 502: true, 503: true, 504: true, 505: true, 599: true, 600: true, 999: true,
		100: false, 101: false, 200: false, 204: false, 301: false, 304: false, 307: false, 400: false, 401: false, 404: false, 409: false, 425: false,
	} {
		resp := &http.Response{StatusCode: status}
		retry, err := DefaultRetryPolicy(t.Context(), resp, nil)
		assert.Equal(t, want, retry, "%d", status)
		assert.NoError(t, err)

		retry, err = ErrorPropagatedRetryPolicy(t.Context(), resp, nil)
		assert.Equal(t, want, retry, "%d", status)
		if want {
			assert.ErrorContains(t, err, fmt.Sprintf("unexpected HTTP status %d", status))
		} else {
			assert.NoError(t, err)
		}
	}
}

// Spec 2, ErrorPropagatedRetryPolicy.
func TestErrorPropagatedRetryPolicyGivesTheReason(t *testing.T) {
	_, err := ErrorPropagatedRetryPolicy(t.Context(), &http.Response{StatusCode: 503, Status: "503 Service Unavailable"}, nil)
	assert.EqualError(t, err, "unexpected HTTP status 503 Service Unavailable")
	_, err = ErrorPropagatedRetryPolicy(t.Context(), &http.Response{StatusCode: 503}, nil)
	assert.EqualError(t, err, "unexpected HTTP status 503 Service Unavailable", "a transport that leaves Status empty")

	permanentErr := x509.HostnameError{Certificate: &x509.Certificate{}, Host: "host"}
	retry, err := ErrorPropagatedRetryPolicy(t.Context(), nil, permanentErr)
	assert.False(t, retry)
	assert.ErrorAs(t, err, new(x509.HostnameError))
	retry, err = ErrorPropagatedRetryPolicy(t.Context(), nil, io.ErrUnexpectedEOF)
	assert.True(t, retry)
	assert.NoError(t, err)

	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	retry, err = ErrorPropagatedRetryPolicy(ctx, nil, io.ErrUnexpectedEOF)
	assert.False(t, retry)
	assert.ErrorIs(t, err, context.Canceled)
}

// Spec 4, 408.
func TestRequestTimeoutIsRetriedWhenTheRequestIsIdempotent(t *testing.T) {
	for method, want := range map[string]bool{
		"": true, "GET": true, "HEAD": true, "OPTIONS": true, "TRACE": true, "PUT": true, "DELETE": true,
		"POST": false, "PATCH": false, "CONNECT": false, "get": false,
	} {
		req := &http.Request{Method: method, Header: http.Header{}}
		resp := &http.Response{StatusCode: 408, Request: req}
		retry, err := DefaultRetryPolicy(t.Context(), resp, nil)
		require.NoError(t, err)
		assert.Equal(t, want, retry, "%q", method)

		req.Header.Set("Idempotency-Key", "k")
		retry, err = DefaultRetryPolicy(t.Context(), resp, nil)
		require.NoError(t, err)
		assert.True(t, retry, "%q with an Idempotency-Key", method)
	}
	retry, err := DefaultRetryPolicy(t.Context(), &http.Response{StatusCode: 408}, nil)
	require.NoError(t, err)
	assert.False(t, retry, "of an unknown request")
}

// Spec 2, permanent errors.
func TestErrorsThatAreNotRetried(t *testing.T) {
	remote := func(alert tls.AlertError) error {
		return &net.OpError{Op: "remote error", Err: errors.New(alert.Error())}
	}
	for name, tc := range map[string]struct {
		err       error
		permanent bool
	}{
		"certificate verification":       {&tls.CertificateVerificationError{Err: errors.New("x")}, true},
		"unknown authority":              {x509.UnknownAuthorityError{}, true},
		"host name":                      {x509.HostnameError{Certificate: &x509.Certificate{}}, true},
		"invalid certificate":            {x509.CertificateInvalidError{}, true},
		"constraint":                     {x509.ConstraintViolationError{}, true},
		"weak signature":                 {x509.InsecureAlgorithmError(0), true},
		"critical extension":             {x509.UnhandledCriticalExtension{}, true},
		"system roots":                   {x509.SystemRootsError{Err: errors.New("x")}, true},
		"alert bad_certificate":          {remote(42), true},
		"alert unsupported_certificate":  {remote(43), true},
		"alert certificate_revoked":      {remote(44), true},
		"alert certificate_expired":      {remote(45), true},
		"alert certificate_unknown":      {remote(46), true},
		"alert unknown_ca":               {remote(48), true},
		"alert certificate_required":     {remote(116), true},
		"alert internal_error":           {remote(80), false},
		"alert handshake_failure":        {remote(40), false},
		"alert close_notify":             {remote(0), false},
		"local error, same words":        {&net.OpError{Op: "read", Err: errors.New(tls.AlertError(42).Error())}, false},
		"plain HTTP, from http.Client":   {http.ErrSchemeMismatch, true},
		"plain HTTP, from the transport": {tls.RecordHeaderError{RecordHeader: [5]byte{'H', 'T', 'T', 'P', '/'}}, true},
		"other garbage":                  {tls.RecordHeaderError{RecordHeader: [5]byte{'S', 'S', 'H', '-', '2'}}, false},
		"body length":                    {lengthError(3, 2), true},
		"malformed URL":                  {&url.Error{Op: "parse", URL: "x", Err: errors.New("x")}, true},
		"bad host":                       {url.InvalidHostError("x"), true},
		"reset":                          {&net.OpError{Op: "read", Err: errors.New("connection reset by peer")}, false},
		"EOF":                            {io.EOF, false},
		"no such host":                   {&net.DNSError{IsNotFound: true}, false},
		"attempt timeout":                {ErrAttemptTimeout, false},
		"words of net/http in a URL":     {fmt.Errorf(`Get "http://h/unsupported protocol scheme": EOF`), false},
	} {
		for _, err := range []error{tc.err, &url.Error{Op: "Get", URL: "https://host/", Err: tc.err}, fmt.Errorf("wrapped: %w", tc.err)} {
			retry, policyErr := DefaultRetryPolicy(t.Context(), nil, err)
			assert.Equal(t, !tc.permanent, retry, "%s: %v", name, err)
			assert.NoError(t, policyErr)
		}
	}
}

// Spec 2, permanent errors: those that net/http makes itself, by its real words.
func TestRequestsThatNetHTTPRefusesAreSentOnce(t *testing.T) {
	for name, spoil := range map[string]func(*http.Request){
		"unsupported scheme":   func(r *http.Request) { r.URL.Scheme = "gopher" },
		"no host":              func(r *http.Request) { r.URL.Host = "" },
		"invalid method":       func(r *http.Request) { r.Method = "GE T" },
		"invalid header name":  func(r *http.Request) { r.Header["Bad Name"] = []string{"x"} },
		"invalid header value": func(r *http.Request) { r.Header["Name"] = []string{"secret\n"} },
		"invalid trailer":      func(r *http.Request) { r.Trailer = http.Header{"Bad Name": {"x"}} },
		"RequestURI":           func(r *http.Request) { r.RequestURI = "/x" },
		"length without body":  func(r *http.Request) { r.ContentLength = 7 },
	} {
		t.Run(name, func(t *testing.T) {
			req, err := NewRequest("GET", "http://"+listen(t), nil)
			require.NoError(t, err)
			spoil(req.Request)
			attempts := 0
			client := NewClient()
			defer client.CloseIdleConnections()
			client.Backoff = noWait
			client.OnAttempt = func(Attempt) { attempts++ }
			_, err = client.Do(req)
			var giveUp *GiveUpError
			require.ErrorAs(t, err, &giveUp)
			assert.Equal(t, 1, attempts, err.Error())
			assert.Equal(t, ReasonNotRetryable, giveUp.Reason)
			assert.NotContains(t, err.Error(), "secret")
		})
	}
}

// listen accepts connections and says nothing.
func listen(t *testing.T) string {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	t.Cleanup(func() { l.Close() })
	return l.Addr().String()
}

// Spec 2, permanent errors: too many redirects, and a redirect that CheckRedirect refuses.
func TestRefusedRedirectsAreNotRetried(t *testing.T) {
	attempts := 0
	transport := roundTripFunc(func(req *http.Request) (*http.Response, error) {
		return respond(req, 302, "", "Location", "/again?key=secret"), nil
	})
	client := &Client{RetryMax: 3, Backoff: noWait, OnAttempt: func(Attempt) { attempts++ }, HTTPClient: &http.Client{Transport: transport}}
	_, err := client.Get("http://host/")
	assert.ErrorContains(t, err, "giving up after 1 attempt(s): Get \"/again?key=REDACTED\": stopped after 10 redirects")
	assert.Equal(t, 1, attempts)

	refused := errors.New("not there")
	client.HTTPClient.CheckRedirect = func(*http.Request, []*http.Request) error { return refused }
	_, err = client.Get("http://host/")
	assert.ErrorIs(t, err, refused)
	assert.Equal(t, 2, attempts)

	client.HTTPClient.Transport = roundTripFunc(func(req *http.Request) (*http.Response, error) {
		return respond(req, 302, "", "Location", "http://u:secret@host/%zz?token=secret"), nil
	})
	_, err = client.Get("http://host/")
	require.Error(t, err)
	assert.Equal(t, 3, attempts, "a Location that cannot be parsed")
	assert.NotContains(t, err.Error(), "secret")

	client.HTTPClient.CheckRedirect = func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }
	client.HTTPClient.Transport = transport
	resp, err := client.Get("http://host/")
	require.NoError(t, err)
	assert.Equal(t, 302, resp.StatusCode)
}

func TestMatchedWordsCannotComeFromTheURL(t *testing.T) {
	for _, words := range invalidRequestWords {
		attempts := 0
		client := &Client{RetryMax: 1, Backoff: noWait, HTTPClient: &http.Client{Transport: roundTripFunc(func(*http.Request) (*http.Response, error) {
			attempts++
			return nil, io.ErrUnexpectedEOF
		})}}
		_, err := client.Get("http://host/" + url.PathEscape(words) + "?" + url.QueryEscape(words))
		require.Error(t, err)
		assert.Equal(t, 2, attempts, strings.TrimSpace(words))
	}
}

// Spec 2, permanent errors, as a policy that is called by others gets them.
func TestDefaultRetryPolicyByErrorAlone(t *testing.T) {
	_, portErr := (&http.Client{}).Get("http://host:99999/")
	require.Error(t, portErr)
	for _, err := range []error{
		&url.Error{Op: "Get", URL: "http://host/", Err: errors.New("stopped after 10 redirects")},
		&url.Error{Op: "Get", URL: "http://host/", Err: tls.AlertError(42)},
		portErr,
		errors.Join(errors.New("context"), errors.New("http: ContentLength=10 with Body length 5")),
	} {
		retry, policyErr := DefaultRetryPolicy(t.Context(), nil, err)
		assert.False(t, retry, err)
		assert.NoError(t, policyErr)
	}
	for _, err := range []error{
		&url.Error{Op: "Get", URL: "http://stopped after 10 redirects", Err: errors.New("connection lost")},
		tls.AlertError(80),
		errors.Join(errors.New("one"), errors.New("two")),
		&net.AddrError{Err: "no suitable address found"},
	} {
		retry, _ := DefaultRetryPolicy(t.Context(), nil, err)
		assert.True(t, retry, err)
	}
}
