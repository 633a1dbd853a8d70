package retryablehttp

import (
	"net/http"
	"sync"
)

// RoundTripper is an [http.RoundTripper] that retries. It goes into the Transport of an
// [http.Client], whose redirects, cookies and Timeout work as before:
//
//	existing.Transport = &retryablehttp.RoundTripper{Base: existing.Transport}
//
// Each hop of a redirect is a call of Client. The Timeout of the http.Client limits all
// hops and attempts together; Client.HTTPClient.Timeout limits each attempt, up to the end
// of its response body. The request is not modified. A body is sent as [FromRequest]
// says. RoundTrip returns a response or an error, never both. It may be used by any
// number of goroutines.
type RoundTripper struct {
	// Client makes the calls. If it is nil, the first use sets it to NewClient().
	Client *Client

	// Base sends the attempts. Nil means the transport of Client.HTTPClient.
	Base http.RoundTripper

	once sync.Once
}

var _ http.RoundTripper = (*RoundTripper)(nil)

// RoundTrip implements [http.RoundTripper].
func (rt *RoundTripper) RoundTrip(req *http.Request) (*http.Response, error) {
	if req == nil {
		return nil, errNilRequest
	}
	call := call{settings: settings{client: rt.client(), base: rt.Base}, req: req, body: bodyOf(req)}
	return call.do()
}

// CloseIdleConnections closes the idle connections of Base or, if that is nil, of
// Client. [http.Client.CloseIdleConnections] calls it.
func (rt *RoundTripper) CloseIdleConnections() {
	if rt.Base != nil {
		(&http.Client{Transport: rt.Base}).CloseIdleConnections()
		return
	}
	rt.client().CloseIdleConnections()
}

func (rt *RoundTripper) client() *Client {
	rt.once.Do(func() {
		if rt.Client == nil {
			rt.Client = NewClient()
		}
	})
	return rt.Client
}
