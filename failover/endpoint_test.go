package failover_test

import (
	"net/http"
	"net/http/cookiejar"
	"net/url"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/a0b132ce/retryablehttp/failover"
)

func TestBadInputIsAnError(t *testing.T) {
	some := []failover.Endpoint{{URL: "http://a"}}
	for name, tc := range map[string]struct {
		transport *failover.Transport // nil: a usable one
		endpoints []failover.Endpoint
		want      string
	}{
		"no endpoints":      {endpoints: nil, want: "failover: no endpoints"},
		"no service":        {transport: &failover.Transport{}, endpoints: some, want: `failover: Transport.Service "" is not a host`},
		"service is a URL":  {transport: &failover.Transport{Service: "http://x"}, endpoints: some, want: `failover: Transport.Service "http://x" is not a host`},
		"service with path": {transport: &failover.Transport{Service: "x/y"}, endpoints: some, want: `failover: Transport.Service "x/y" is not a host`},
		"mode":              {transport: &failover.Transport{Service: "service", Mode: 3}, endpoints: some, want: "failover: invalid Transport.Mode 3"},
		"negative mode":     {transport: &failover.Transport{Service: "service", Mode: -1}, endpoints: some, want: "failover: invalid Transport.Mode -1"},
		"empty URL":         {endpoints: []failover.Endpoint{{}}, want: `failover: endpoint 1: URL has scheme "", not http or https`},
		"malformed URL":     {endpoints: []failover.Endpoint{{URL: "http://a"}, {URL: "http://user:secret/x@a"}}, want: "failover: endpoint 2: malformed URL"},
		"no scheme":         {endpoints: []failover.Endpoint{{URL: "//a/b"}}, want: `failover: endpoint 1: URL has scheme "", not http or https`},
		"only a host":       {endpoints: []failover.Endpoint{{URL: "a:80"}}, want: `failover: endpoint 1: URL has scheme "a", not http or https`},
		"other scheme":      {endpoints: []failover.Endpoint{{URL: "ftp://a"}}, want: `failover: endpoint 1: URL has scheme "ftp", not http or https`},
		"no host":           {endpoints: []failover.Endpoint{{URL: "http:///x"}}, want: "failover: endpoint 1: URL has no host"},
		"only a port":       {endpoints: []failover.Endpoint{{URL: "http://:80"}}, want: "failover: endpoint 1: URL has no host"},
		"opaque":            {endpoints: []failover.Endpoint{{URL: "http:secret@a"}}, want: "failover: endpoint 1: URL has no host"},
		"port 0":            {endpoints: []failover.Endpoint{{URL: "http://a:0"}}, want: `failover: endpoint 1: URL has invalid port "0"`},
		"port 65536":        {endpoints: []failover.Endpoint{{URL: "http://a:65536"}}, want: `failover: endpoint 1: URL has invalid port "65536"`},
		"query":             {endpoints: []failover.Endpoint{{URL: "http://a/?key=secret"}}, want: "failover: endpoint 1: URL has a query"},
		"empty query":       {endpoints: []failover.Endpoint{{URL: "http://a/?"}}, want: "failover: endpoint 1: URL has a query"},
		"fragment":          {endpoints: []failover.Endpoint{{URL: "http://a/#secret"}}, want: "failover: endpoint 1: URL has a fragment"},
		"empty fragment":    {endpoints: []failover.Endpoint{{URL: "http://a/#"}}, want: "failover: endpoint 1: URL has a fragment"},
		"Host":              {endpoints: []failover.Endpoint{{URL: "http://a", Host: "x/y"}}, want: `failover: endpoint 1: invalid Host "x/y"`},
		"Host with a line":  {endpoints: []failover.Endpoint{{URL: "http://a", Host: "x\r\ny"}}, want: `failover: endpoint 1: invalid Host "x\r\ny"`},
		"Host in Header":    {endpoints: []failover.Endpoint{{URL: "http://a", Header: http.Header{"host": {"x"}}}}, want: "failover: endpoint 1: set Endpoint.Host instead of a Host in Header"},
		"value with a line": {endpoints: []failover.Endpoint{{URL: "http://a", Header: http.Header{"X-Key": {"secret\n"}}}}, want: `failover: endpoint 1: header field "X-Key" has an invalid name or value`},
		"name with a blank": {endpoints: []failover.Endpoint{{URL: "http://a", Header: http.Header{"Bad Name": {"x"}}}}, want: `failover: endpoint 1: header field "Bad Name" has an invalid name or value`},
		"ServerName, http":  {endpoints: []failover.Endpoint{{URL: "http://a", ServerName: "x"}}, want: "failover: endpoint 1: ServerName is set, but the scheme of URL is not https"},
		"ServerName, own":   {endpoints: []failover.Endpoint{{URL: "https://a", ServerName: "x", Transport: http.DefaultTransport}}, want: "failover: endpoint 1: both ServerName and Transport are set"},
		"ServerName, Base": {transport: &failover.Transport{Service: "service", Base: newNetwork()}, endpoints: []failover.Endpoint{{URL: "https://a", ServerName: "x"}},
			want: "failover: endpoint 1: ServerName needs Transport.Base to be an *http.Transport"},
		"ServerName, nil": {transport: &failover.Transport{Service: "service", Base: (*http.Transport)(nil)}, endpoints: []failover.Endpoint{{URL: "https://a", ServerName: "x"}},
			want: "failover: endpoint 1: ServerName needs Transport.Base to be an *http.Transport"},
		"the same":         {endpoints: []failover.Endpoint{{URL: "http://a"}, {URL: "http://b"}, {URL: "http://a"}}, want: "failover: endpoints 1 and 3 are the same"},
		"the same, spelt":  {endpoints: []failover.Endpoint{{URL: "HTTP://A:80/"}, {URL: "http://u:secret@a"}}, want: "failover: endpoints 1 and 2 are the same"},
		"the same, https":  {endpoints: []failover.Endpoint{{URL: "https://a:443/x/"}, {URL: "https://a/x"}}, want: "failover: endpoints 1 and 2 are the same"},
		"the same address": {endpoints: []failover.Endpoint{{URL: "http://[::1]:80"}, {URL: "http://[::1]"}}, want: "failover: endpoints 1 and 2 are the same"},
	} {
		t.Run(name, func(t *testing.T) {
			transport := tc.transport
			if transport == nil {
				transport = &failover.Transport{Service: "service"}
			}
			err := transport.SetEndpoints(tc.endpoints...)
			require.EqualError(t, err, tc.want)
			assert.NotContains(t, err.Error(), "secret")
			assert.Empty(t, transport.Endpoints())
		})
	}
}

func TestEndpointsThatDiffer(t *testing.T) {
	transport := &failover.Transport{Service: "service"}
	assert.NoError(t, transport.SetEndpoints(
		failover.Endpoint{URL: "http://a"},
		failover.Endpoint{URL: "https://a"},
		failover.Endpoint{URL: "http://a:8080"},
		failover.Endpoint{URL: "http://a/x"},
		failover.Endpoint{URL: "http://a/X"},
		failover.Endpoint{URL: "http://a", Host: "x"},
		failover.Endpoint{URL: "http://[::1]:8080"},
	))
}

func TestATransportCannotUseItself(t *testing.T) {
	transport := &failover.Transport{Service: "service"}
	assert.EqualError(t, transport.SetEndpoints(failover.Endpoint{URL: "http://service", Transport: transport}),
		"failover: endpoint 1: Endpoint.Transport is the Transport itself")
	transport.Base = transport
	assert.EqualError(t, transport.SetEndpoints(endpoints("a")...), "failover: Transport.Base is the Transport itself")
}

func TestABadSetChangesNothing(t *testing.T) {
	transport := backends(t, newNetwork(), "a", "b")
	before := transport.Endpoints()
	require.Error(t, transport.SetEndpoints(failover.Endpoint{URL: "http://c"}, failover.Endpoint{URL: "c"}))
	assert.Equal(t, before, transport.Endpoints())
	assert.Equal(t, "a", get(t, transport))
}

func TestTheRequestThatAnEndpointGets(t *testing.T) {
	for name, tc := range map[string]struct {
		endpoint  failover.Endpoint
		url       string
		want      string
		host      string
		authority string // the Authorization field
	}{
		"a host":              {failover.Endpoint{URL: "http://a"}, "http://service/x?q=1", "http://a/x?q=1", "a", ""},
		"https":               {failover.Endpoint{URL: "https://a:8443/"}, "http://service/x", "https://a:8443/x", "a:8443", ""},
		"http":                {failover.Endpoint{URL: "http://a"}, "https://service/x", "http://a/x", "a", ""},
		"upper case":          {failover.Endpoint{URL: "http://a"}, "http://SERVICE/x", "http://a/x", "a", ""},
		"no path":             {failover.Endpoint{URL: "http://a"}, "http://service", "http://a", "a", ""},
		"a prefix":            {failover.Endpoint{URL: "http://a/api"}, "http://service/x", "http://a/api/x", "a", ""},
		"a prefix, no path":   {failover.Endpoint{URL: "http://a/api"}, "http://service", "http://a/api", "a", ""},
		"a prefix with slash": {failover.Endpoint{URL: "http://a/api/"}, "http://service/x/", "http://a/api/x/", "a", ""},
		"slashes":             {failover.Endpoint{URL: "http://a/api"}, "http://service//x//y", "http://a/api//x//y", "a", ""},
		"an escaped path":     {failover.Endpoint{URL: "http://a/api"}, "http://service/x%2Fy", "http://a/api/x%2Fy", "a", ""},
		"an escaped prefix":   {failover.Endpoint{URL: "http://a/a%2Fb"}, "http://service/x y", "http://a/a%2Fb/x%20y", "a", ""},
		"both escaped":        {failover.Endpoint{URL: "http://a/a%2Fb/"}, "http://service/x%2Fy", "http://a/a%2Fb/x%2Fy", "a", ""},
		"Host":                {failover.Endpoint{URL: "http://10.0.0.1:8080", Host: "shop.example"}, "http://service/", "http://10.0.0.1:8080/", "shop.example", ""},
		"user information":    {failover.Endpoint{URL: "http://u:p%40@a"}, "http://service/", "http://a/", "a", "Basic dTpwQA=="},
		"a user alone":        {failover.Endpoint{URL: "http://u@a"}, "http://service/", "http://a/", "a", "Basic dTo="},
		"Header":              {failover.Endpoint{URL: "http://u:p@a", Header: http.Header{"authorization": {"Bearer x"}}}, "http://service/", "http://a/", "a", "Bearer x"},
		"of the request":      {failover.Endpoint{URL: "http://u:p@a"}, "http://me:secret@service/", "http://a/", "a", "Basic bWU6c2VjcmV0"},
	} {
		t.Run(name, func(t *testing.T) {
			net := newNetwork()
			transport := &failover.Transport{Service: "service", Base: net}
			require.NoError(t, transport.SetEndpoints(tc.endpoint))
			resp, err := (&http.Client{Transport: transport}).Get(tc.url)
			text(t, resp, err)
			sent := net.last()
			assert.Equal(t, tc.want, sent.URL.String())
			assert.Equal(t, tc.host, sent.Host)
			assert.Equal(t, tc.authority, sent.Header.Get("Authorization"))
		})
	}
}

func TestPathsThatAreNotPaths(t *testing.T) {
	net := newNetwork()
	transport := &failover.Transport{Service: "service", Base: net}
	require.NoError(t, transport.SetEndpoints(failover.Endpoint{URL: "http://a/api"}))
	req := newRequest(t, "OPTIONS", "http://service", nil)
	req.URL.Path = "*"
	resp, err := transport.RoundTrip(req)
	text(t, resp, err)
	assert.Equal(t, "*", net.last().URL.RequestURI())
	req.URL.Path = "x"
	resp, err = transport.RoundTrip(req)
	text(t, resp, err)
	assert.Equal(t, "/api/x", net.last().URL.RequestURI())
}

// The fields of an endpoint reach neither another endpoint nor any other host.
func TestCredentialsStayWithTheirEndpoint(t *testing.T) {
	net := newNetwork()
	net.set("a", refuse)
	net.set("b", status(302, "Location", "http://elsewhere/x"))
	transport := &failover.Transport{Service: "service", Base: net}
	require.NoError(t, transport.SetEndpoints(
		failover.Endpoint{URL: "http://u:secret@a", Header: http.Header{"X-A": {"secret"}}},
		failover.Endpoint{URL: "http://b", Header: http.Header{"X-B": {"1", "2"}, "X-Own": {"b"}}},
	))
	req := newRequest(t, "GET", "http://service/", nil)
	req.Header["x-own"] = []string{"caller"} // net/http sends it like that
	before := req.Clone(t.Context())
	resp, err := (&http.Client{Transport: transport}).Do(req)
	assert.Equal(t, "elsewhere", text(t, resp, err))

	require.Len(t, net.sent, 3)
	a, b, elsewhere := net.sent[0].Header, net.sent[1].Header, net.sent[2].Header
	assert.Equal(t, "secret", a.Get("X-A"))
	assert.NotEmpty(t, a.Get("Authorization"))
	assert.Equal(t, http.Header{"X-B": {"1", "2"}, "x-own": {"caller"}}, b)
	for _, name := range []string{"Authorization", "X-A", "X-B"} {
		assert.Empty(t, elsewhere.Values(name), name)
	}
	assert.Equal(t, before.Header, req.Header)
	assert.Equal(t, before.URL, req.URL)
	assert.Equal(t, before.Host, req.Host)
}

// Later changes of what SetEndpoints was given have no effect.
func TestEndpointsAreCopied(t *testing.T) {
	net := newNetwork()
	transport := &failover.Transport{Service: "service", Base: net}
	header := http.Header{"X-A": {"1"}}
	require.NoError(t, transport.SetEndpoints(failover.Endpoint{URL: "http://a", Header: header}))
	header["X-A"][0] = "2"
	header.Set("X-B", "2")
	get(t, transport)
	assert.Equal(t, http.Header{"X-A": {"1"}}, net.last().Header)
}

func TestTheResponseIsThatOfTheCallersRequest(t *testing.T) {
	transport := backends(t, newNetwork(), "a")
	req := newRequest(t, "GET", "http://service/x", nil)
	resp, err := transport.RoundTrip(req)
	text(t, resp, err)
	assert.Same(t, req, resp.Request)
}

func TestRedirects(t *testing.T) {
	const target = "http://service/r"
	for name, tc := range map[string]struct {
		endpoint failover.Endpoint
		location string
		want     string // the URL of the next request
		sent     string // the URL that it is sent to
	}{
		"relative":                {failover.Endpoint{URL: "http://a"}, "x?q=1", "http://service/x?q=1", "http://a/x?q=1"},
		"a path":                  {failover.Endpoint{URL: "http://a"}, "/x", "http://service/x", "http://a/x"},
		"to the endpoint":         {failover.Endpoint{URL: "http://a"}, "http://a/x?q=1#f", "http://service/x?q=1#f", "http://a/x?q=1"},
		"to the endpoint's port":  {failover.Endpoint{URL: "http://a"}, "http://A:80/x", "http://service/x", "http://a/x"},
		"to the Host":             {failover.Endpoint{URL: "http://a", Host: "b.example"}, "http://b.example/x", "http://service/x", "http://a/x"},
		"to the service":          {failover.Endpoint{URL: "http://a"}, "http://service/x", "http://service/x", "http://a/x"},
		"elsewhere":               {failover.Endpoint{URL: "http://a"}, "http://b/x", "http://b/x", "http://b/x"},
		"to another scheme":       {failover.Endpoint{URL: "http://a"}, "https://a/x", "https://a/x", "https://a/x"},
		"without a scheme":        {failover.Endpoint{URL: "https://a"}, "//b/x", "https://b/x", "https://b/x"},
		"prefix, relative":        {failover.Endpoint{URL: "http://a/api"}, "x", "http://service/x", "http://a/api/x"},
		"prefix, a path":          {failover.Endpoint{URL: "http://a/api"}, "/api/x", "http://service/x", "http://a/api/x"},
		"prefix, itself":          {failover.Endpoint{URL: "http://a/api"}, "/api", "http://service", "http://a/api"},
		"prefix, to the endpoint": {failover.Endpoint{URL: "http://a/api"}, "http://a/api/x", "http://service/x", "http://a/api/x"},
		"prefix, escaped":         {failover.Endpoint{URL: "http://a/api"}, "/api/x%2Fy", "http://service/x%2Fy", "http://a/api/x%2Fy"},
		"outside of the prefix":   {failover.Endpoint{URL: "http://a/api"}, "/login", "http://a/login", "http://a/login"},
		"up from the prefix":      {failover.Endpoint{URL: "http://a/api"}, "/api/../login", "http://a/login", "http://a/login"},
		"a longer prefix":         {failover.Endpoint{URL: "http://a/api"}, "/api2/x", "http://a/api2/x", "http://a/api2/x"},
		"with a user":             {failover.Endpoint{URL: "http://a"}, "http://u:p@a/x", "http://service/x", "http://a/x"},
	} {
		t.Run(name, func(t *testing.T) {
			net := newNetwork()
			shared := http.Header{"Location": {tc.location}}
			net.set("a", func(req *http.Request) (*http.Response, error) {
				resp := respond(req, 200)
				if strings.HasSuffix(req.URL.Path, "/r") {
					resp.StatusCode, resp.Header = 302, shared
				}
				return resp, nil
			})
			transport := &failover.Transport{Service: "service", Base: net}
			require.NoError(t, transport.SetEndpoints(tc.endpoint))
			resp, err := (&http.Client{Transport: transport}).Get(target)
			text(t, resp, err)
			assert.Equal(t, tc.want, resp.Request.URL.String())
			sent := *net.last().URL
			sent.Fragment = ""
			assert.Equal(t, tc.sent, sent.String())
			assert.Equal(t, tc.location, shared.Get("Location"), "the transport's header")

			first, err := transport.RoundTrip(newRequest(t, "GET", target, nil))
			text(t, first, err)
			location, err := first.Location()
			require.NoError(t, err)
			assert.Equal(t, tc.want, location.String())
		})
	}
}

func TestALocationElsewhereIsLeftAsItIs(t *testing.T) {
	net := newNetwork()
	net.set("a", status(201, "Location", "http://b/x/../y"))
	resp, err := backends(t, net, "a").RoundTrip(newRequest(t, "PUT", "http://service/", nil))
	text(t, resp, err)
	assert.Equal(t, "http://b/x/../y", resp.Header.Get("Location"))
}

func TestABadLocationIsLeftToHTTPClient(t *testing.T) {
	net := newNetwork()
	net.set("a", status(302, "Location", "http://a/%zz"))
	transport := backends(t, net, "a")
	_, err := (&http.Client{Transport: transport}).Get("http://service/")
	assert.ErrorContains(t, err, "failed to parse Location header")
}

// Cookies belong to the service, so that a session goes on at another endpoint.
func TestCookiesBelongToTheService(t *testing.T) {
	net := newNetwork()
	net.set("a", status(200, "Set-Cookie", "session=1"))
	jar, err := cookiejar.New(nil)
	require.NoError(t, err)
	transport := backends(t, net, "a", "b")
	client := &http.Client{Transport: transport, Jar: jar}
	resp, err := client.Get("http://service/")
	text(t, resp, err)
	net.set("a", refuse)
	resp, err = client.Get("http://service/")
	assert.Equal(t, "b", text(t, resp, err))
	assert.Equal(t, "session=1", net.last().Header.Get("Cookie"))
	assert.Len(t, jar.Cookies(&url.URL{Scheme: "http", Host: "service"}), 1)
	assert.Empty(t, jar.Cookies(&url.URL{Scheme: "http", Host: "a"}))
}

// A request to another host than the service goes to Base as it is.
func TestOtherHostsAreLeftAlone(t *testing.T) {
	net := newNetwork()
	transport := backends(t, net, "a")
	req := newRequest(t, "GET", "http://service.example/x", nil)
	resp, err := transport.RoundTrip(req)
	assert.Equal(t, "service.example", text(t, resp, err))
	assert.Same(t, req, net.last())
}
