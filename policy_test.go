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

// docs/spec.md, 2.15 and 4.16: DefaultRetryPolicy by status.
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

// docs/spec.md, 2.16: ErrorPropagatedRetryPolicy returns the reason.
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

// docs/spec.md, 4.16: a 408 is retried if the request is idempotent.
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

// docs/spec.md, 2.20: permanent errors.
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

// docs/spec.md, 2.20: permanent errors that net/http returns.
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

// docs/spec.md, 2.20: too many redirects, and a redirect that CheckRedirect refuses.
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
	for _, words := range invalidRequestTexts {
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

// docs/spec.md, 2.20: DefaultRetryPolicy called with a plain context, as another package
// calls it.
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

// docs/spec.md, 6.4, 6.5 and 6.7: which statuses SafeRetryPolicy retries, with and
// without a key.
func TestSafeRetryPolicyByStatus(t *testing.T) {
	retryAfter := []string{"Retry-After", "0"}
	for _, tc := range []struct {
		status                int
		header                []string
		get, post, postWithID bool
	}{
		{status: 200},
		{status: 400},
		{status: 501},
		{status: 408, get: true, postWithID: true},
		{status: 408, header: retryAfter, get: true, postWithID: true},
		{status: 429, get: true, post: true, postWithID: true},
		{status: 429, header: retryAfter, get: true, post: true, postWithID: true},
		{status: 500, get: true, postWithID: true},
		{status: 500, header: retryAfter, get: true, postWithID: true},
		{status: 502, get: true, postWithID: true},
		{status: 503, get: true, postWithID: true},
		{status: 503, header: retryAfter, get: true, post: true, postWithID: true},
		{status: 504, header: retryAfter, get: true, postWithID: true},
		{status: 999, header: retryAfter, get: true, postWithID: true},
	} {
		for _, method := range []string{"GET", "HEAD", "OPTIONS", "TRACE", "PUT", "DELETE", "POST", "PATCH", "CONNECT", "LOCK", "post"} {
			for key, header := range map[string]http.Header{
				"":      {},
				"key":   {"Idempotency-Key": {"1"}},
				"X-key": {"X-Idempotency-Key": {"1"}},
			} {
				want := tc.post
				switch method {
				case "GET", "HEAD", "OPTIONS", "TRACE", "PUT", "DELETE":
					want = tc.get
				default:
					if key != "" {
						want = tc.postWithID
					}
				}
				client, sent := scripted(status(tc.status, tc.header...))
				client.CheckRetry, client.RetryMax = SafeRetryPolicy, 1
				req, err := NewRequest(method, "http://host/", nil)
				require.NoError(t, err)
				req.Header = header
				attempts := 1
				if want {
					attempts = 2
				}
				client.Do(req)
				assert.Len(t, sent.seen, attempts, "Do: %s, %d %v, %s", method, tc.status, tc.header, key)
				sent.seen = nil
				(&RoundTripper{Client: client}).RoundTrip(req.Request)
				assert.Len(t, sent.seen, attempts, "RoundTripper: %s, %d %v, %s", method, tc.status, tc.header, key)
			}
		}
	}
}

// docs/spec.md, 6.5: the call returns a status that is not retried, with its body.
func TestResponseThatSafeRetryPolicyDoesNotRetryIsReturned(t *testing.T) {
	client, sent := scripted(status(500))
	client.CheckRetry = SafeRetryPolicy
	resp, err := client.Post("http://host/", "", content)
	require.NoError(t, err)
	body, err := io.ReadAll(resp.Body)
	require.NoError(t, err)
	assert.Equal(t, "body of a 500", string(body))
	assert.Len(t, sent.seen, 1)
}

// docs/spec.md, 6.1: idempotent requests are retried as DefaultRetryPolicy does.
func TestSafeRetryPolicyRetriesIdempotentRequests(t *testing.T) {
	for _, method := range []string{"GET", "HEAD", "OPTIONS", "TRACE", "PUT", "DELETE", "POST+key"} {
		method, keyed := strings.CutSuffix(method, "+key")
		client, sent := scripted(failure(errReset), status(500), status(200))
		client.CheckRetry = SafeRetryPolicy
		req, err := NewRequest(method, "http://host/", nil)
		require.NoError(t, err)
		if keyed {
			req.Header.Set("Idempotency-Key", "1")
		}
		_, err = client.Do(req)
		require.NoError(t, err, method)
		assert.Len(t, sent.seen, 3, method)
		sent.seen = nil
		_, err = client.StandardClient().Do(req.Request)
		require.NoError(t, err, method)
		assert.Len(t, sent.seen, 3, method)
	}
	// What DefaultRetryPolicy does not retry is not retried here either.
	client, sent := scripted(failure(ErrBodyLength))
	client.CheckRetry = SafeRetryPolicy
	_, err := client.Get("http://host/")
	require.Error(t, err)
	assert.Len(t, sent.seen, 1)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	retry, err := SafeRetryPolicy(ctx, nil, errRefused)
	assert.False(t, retry)
	assert.ErrorIs(t, err, context.Canceled)
}

// docs/spec.md, 6.6: a request that was redirected was sent.
func TestRedirectedPostIsNotRepeatedFromItsStart(t *testing.T) {
	type steps = []func(*http.Request) (*http.Response, error)
	later := status(503, "Retry-After", "0")
	for _, tc := range []struct {
		name     string
		code     int
		then     steps // of /2
		do       []string
		standard []string // where each hop is a call of its own
	}{
		{name: "see other, refused", code: 303, then: steps{failure(errRefused), status(200)},
			do: []string{"POST /1", "GET /2"}, standard: []string{"POST /1", "GET /2", "GET /2"}},
		{name: "see other, reset", code: 303, then: steps{failure(errReset), status(200)},
			do: []string{"POST /1", "GET /2"}, standard: []string{"POST /1", "GET /2", "GET /2"}},
		{name: "see other, 503", code: 303, then: steps{later, status(200)},
			do: []string{"POST /1", "GET /2"}, standard: []string{"POST /1", "GET /2", "GET /2"}},
		{name: "found, 429", code: 302, then: steps{status(429), status(200)},
			do: []string{"POST /1", "GET /2"}, standard: []string{"POST /1", "GET /2", "GET /2"}},
		{name: "temporary, refused", code: 307, then: steps{failure(errRefused), status(200)},
			do: []string{"POST /1", "POST /2"}, standard: []string{"POST /1", "POST /2", "POST /2"}},
		{name: "temporary, reset", code: 307, then: steps{failure(errReset), status(200)},
			do: []string{"POST /1", "POST /2"}, standard: []string{"POST /1", "POST /2"}},
		{name: "permanent, 503 with Retry-After", code: 308, then: steps{later, status(200)},
			do: []string{"POST /1", "POST /2", "POST /1", "POST /2"}, standard: []string{"POST /1", "POST /2", "POST /2"}},
		{name: "temporary, 500", code: 307, then: steps{status(500), status(200)},
			do: []string{"POST /1", "POST /2"}, standard: []string{"POST /1", "POST /2"}},
	} {
		for _, way := range []string{"Do", "StandardClient"} {
			t.Run(tc.name+"/"+way, func(t *testing.T) {
				transport := &hops{responses: map[string]steps{"/1": {redirect(tc.code, "/2")}, "/2": tc.then}}
				client, unsent := watched(transport)
				_, err := posts[way](client, "http://host/1", http.Header{})
				want := tc.do
				if way == "StandardClient" {
					want = tc.standard
				}
				assert.Equal(t, want, transport.seen)
				if err != nil {
					assert.False(t, (*unsent)[0] && way == "Do", "the first hop got a response")
					if way == "Do" {
						assert.False(t, Unsent(err))
					}
				}
			})
		}
	}
}
