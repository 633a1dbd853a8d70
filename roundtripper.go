package retryablehttp

import "net/http"

// RoundTripper is an [http.RoundTripper] that retries. It goes into the Transport
// of an [http.Client], whose redirects, cookies and Timeout work as ever; the
// Timeout then bounds a hop with all its attempts.
//
// Each hop is a call of Client, made on the transport of Client.HTTPClient and with
// Client.HTTPClient.Timeout as a limit on each attempt. The request is not
// modified. A body with a GetBody, as [http.NewRequest] sets it for the usual
// readers, is not read ahead; one without is streamed, and kept to be sent again as far
// as Client.ReplayMax allows. RoundTrip returns a response or an error, never both.
type RoundTripper struct {
	// Client makes the calls. Nil means a shared one with the settings of
	// NewClient.
	Client *Client
}

var _ http.RoundTripper = (*RoundTripper)(nil)

// RoundTrip implements [http.RoundTripper].
func (rt *RoundTripper) RoundTrip(req *http.Request) (*http.Response, error) {
	if req == nil {
		return nil, errNilRequest
	}
	call := call{client: rt.client(), origin: req}
	if ours, ok := req.Body.(interface{ take() bool }); ok { // a Request's
		call.spent = !ours.take()
	}
	if oneShot(req) {
		call.stream = newStream(req.Body, req.ContentLength)
	}
	resp, err := call.do()
	if err != nil && resp != nil { // by an ErrorHandler
		resp.Body.Close()
		resp = nil
	}
	return resp, call.bare(err)
}

// CloseIdleConnections closes the idle connections of the Client. It is what
// [http.Client.CloseIdleConnections] calls.
func (rt *RoundTripper) CloseIdleConnections() {
	rt.client().CloseIdleConnections()
}

func (rt *RoundTripper) client() *Client {
	if rt.Client == nil {
		return defaultClient
	}
	return rt.Client
}
