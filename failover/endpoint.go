package failover

import (
	"crypto/tls"
	"encoding/base64"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"
)

// Endpoint describes one of the servers that requests may go to.
type Endpoint struct {
	// URL is the address of the endpoint, such as "https://10.0.0.1:8443/api". Its scheme is
	// http or https. Its path, if any, comes before the path of each request. User
	// information is sent as Basic credentials, as if it were an Authorization field of
	// Header. A query or a fragment is an error.
	URL string

	// Host is the Host header of the requests. "" means the host of URL.
	Host string

	// ServerName is the name that TLS asks for and verifies (tls.Config.ServerName). ""
	// means the host of URL. Otherwise the endpoint uses a copy of Transport.Base, which
	// must then be an *http.Transport, with a connection pool of its own.
	ServerName string

	// Header has fields for this endpoint alone, such as credentials. A request that has a
	// field of the same name keeps its own. No other endpoint is sent these fields.
	Header http.Header

	// Transport sends the requests to this endpoint. Nil means Transport.Base. Set it if the
	// endpoint needs a client certificate, for example.
	Transport http.RoundTripper
}

// endpoint is an Endpoint that was checked. It does not change, apart from its health.
type endpoint struct {
	key        string // tells endpoints apart: scheme, host, port, path and Host header
	url        *url.URL
	shown      string // url
	host       string // the Host header
	serverName string
	header     http.Header
	transport  http.RoundTripper // nil: Transport.Base
	own        *http.Transport   // a copy of Transport.Base for serverName; nil if that is empty

	health *health // shared with the endpoint of the same key that this one replaces
}

const (
	// removedTime is how long after its last request the connections of an endpoint that
	// was removed are closed. A stream of HTTP/2 may end a little later than its request.
	removedTime = 1 * time.Second

	// idleConnTimeout limits how long an idle connection of an endpoint stays if
	// Transport.Base has no IdleConnTimeout. After the endpoint was removed it concerns only
	// a connection that net/http cannot close after removedTime, because the server does not
	// let a stream end or because the handshake ends at that very moment.
	idleConnTimeout = 90 * time.Second
)

// withServerName returns a copy of base that uses serverName for TLS.
func withServerName(base *http.Transport, serverName string) *http.Transport {
	t := base.Clone()
	if t.IdleConnTimeout == 0 {
		t.IdleConnTimeout = idleConnTimeout
	}
	if base.TLSNextProto["h2"] != nil {
		// base speaks HTTP/2. A copy with a TLSClientConfig does so only if it is told to.
		t.TLSNextProto, t.ForceAttemptHTTP2 = nil, true
	}
	if t.TLSClientConfig == nil {
		t.TLSClientConfig = new(tls.Config)
	}
	t.TLSClientConfig.ServerName = serverName
	return t
}

// newEndpoint checks an Endpoint. Its errors do not quote what may be a secret.
func newEndpoint(given Endpoint) (*endpoint, error) {
	u, err := url.Parse(given.URL)
	if err != nil {
		return nil, errors.New("malformed URL") // err quotes it, with the password
	}
	switch {
	case u.Scheme != "http" && u.Scheme != "https":
		return nil, fmt.Errorf("URL has scheme %q, not http or https", u.Scheme)
	case u.Hostname() == "":
		return nil, errors.New("URL has no host")
	case !validPort(u.Port()):
		return nil, fmt.Errorf("URL has invalid port %q", u.Port())
	case u.RawQuery != "" || u.ForceQuery:
		return nil, errors.New("URL has a query")
	case strings.Contains(given.URL, "#"):
		return nil, errors.New("URL has a fragment")
	case given.Host != "" && !validHost(given.Host):
		return nil, fmt.Errorf("invalid Host %q", given.Host)
	case given.ServerName != "" && u.Scheme != "https":
		return nil, errors.New("ServerName is set, but the scheme of URL is not https")
	case given.ServerName != "" && given.Transport != nil:
		return nil, errors.New("both ServerName and Transport are set")
	}
	e := &endpoint{
		url:        &url.URL{Scheme: u.Scheme, Host: u.Host},
		host:       given.Host,
		serverName: given.ServerName,
		header:     http.Header{},
		transport:  given.Transport,
	}
	e.url.Path, e.url.RawPath = strings.TrimRight(u.Path, "/"), strings.TrimRight(u.RawPath, "/")
	e.shown = e.url.String()
	if e.host == "" {
		e.host = u.Host
	}
	if u.User != nil {
		password, _ := u.User.Password()
		e.header.Set("Authorization", "Basic "+base64.StdEncoding.EncodeToString([]byte(u.User.Username()+":"+password)))
	}
	if err := e.setHeader(given.Header); err != nil {
		return nil, err
	}
	e.key = e.url.Scheme + "://" + withPort(e.url.Scheme, e.url.Host) + e.url.EscapedPath() + " " + withPort(e.url.Scheme, e.host)
	return e, nil
}

// setHeader copies the fields of a header.
func (e *endpoint) setHeader(header http.Header) error {
	for name, values := range header {
		name = http.CanonicalHeaderKey(name)
		if name == "Host" {
			return errors.New("set Endpoint.Host instead of a Host in Header")
		}
		if !validField(name, values) {
			return fmt.Errorf("header field %q has an invalid name or value", name)
		}
		e.header[name] = append([]string(nil), values...)
	}
	return nil
}

// validField reports whether net/http sends a header field (RFC 9110 §5.5, §5.6.2).
func validField(name string, values []string) bool {
	const token = "!#$%&'*+-.^_`|~0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"
	for _, value := range values {
		if strings.ContainsFunc(value, func(r rune) bool { return r < ' ' && r != '\t' || r == 0x7f }) {
			return false
		}
	}
	return name != "" && strings.Trim(name, token) == ""
}

func validPort(port string) bool {
	n, err := strconv.ParseUint(port, 10, 16)
	return port == "" || err == nil && n > 0
}

// validHost reports whether host is a name or an address, with or without a port.
func validHost(host string) bool {
	u, err := url.Parse("http://" + host)
	return err == nil && u.Host == host && u.Hostname() != "" && validPort(u.Port())
}

// withPort returns host in lower case and with a port.
func withPort(scheme, host string) string {
	host = strings.TrimSuffix(strings.ToLower(host), ":")
	switch {
	case (&url.URL{Host: host}).Port() != "":
		return host
	case scheme == "https":
		return host + ":443"
	}
	return host + ":80"
}

// resolve sets to, which is the URL of a request, to the URL at the endpoint.
func (e *endpoint) resolve(to *url.URL) {
	if e.url.Path != "" && to.Path != "*" { // OPTIONS * is about the server, not about a path
		path, escaped := to.Path, to.EscapedPath()
		if path != "" && path[0] != '/' {
			path, escaped = "/"+path, "/"+escaped
		}
		// RawPath is a hint: net/url ignores it where it is not an encoding of Path.
		to.Path, to.RawPath = e.url.Path+path, e.url.EscapedPath()+escaped
	}
	to.Scheme, to.Host, to.User = e.url.Scheme, e.url.Host, nil
}

// addHeader adds the endpoint's fields to a request, whose own header is not modified.
func (e *endpoint) addHeader(req *http.Request) {
	if len(e.header) == 0 {
		return
	}
	header := make(http.Header, len(req.Header)+len(e.header))
	for name, values := range e.header {
		header[name] = values
	}
	for name, values := range req.Header {
		delete(header, http.CanonicalHeaderKey(name))
		header[name] = values
	}
	req.Header = header
}

// relocate rewrites the Location of a response of the endpoint for the caller, who knows
// the endpoint by the URL of its request. A Location below the endpoint's URL becomes one
// of the service. Any other becomes absolute, because the caller would resolve it against
// another URL than the endpoint has meant.
func (e *endpoint) relocate(resp *http.Response, sent, original *url.URL) {
	given := resp.Header.Get("Location")
	if given == "" {
		return
	}
	location, err := url.Parse(given)
	if err != nil || location.Opaque != "" || location.Host == "" && e.url.Path == "" {
		return // for http.Client to report, or to resolve
	}
	absolute := location.IsAbs()
	location = sent.ResolveReference(location)
	path, below := e.below(location)
	switch {
	case below:
		location.RawPath = strings.TrimPrefix(location.EscapedPath(), e.url.EscapedPath())
		location.Path = path
		location.Scheme, location.Host, location.User = original.Scheme, original.Host, nil
	case absolute:
		return
	}
	resp.Header = resp.Header.Clone() // a transport may give the same one to many responses
	resp.Header.Set("Location", location.String())
}

// below returns the path of u as the caller writes it, and whether u is below the
// endpoint's URL.
func (e *endpoint) below(u *url.URL) (path string, ok bool) {
	host := withPort(u.Scheme, u.Host)
	if u.Scheme != e.url.Scheme || host != withPort(u.Scheme, e.url.Host) && host != withPort(u.Scheme, e.host) {
		return "", false
	}
	path, ok = strings.CutPrefix(u.Path, e.url.Path)
	return path, ok && (path == "" || path[0] == '/')
}
