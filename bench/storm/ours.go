package main

import (
	"net/http"

	"github.com/a0b132ce/retryablehttp"
	"github.com/a0b132ce/retryablehttp/failover"
	"github.com/a0b132ce/retryablehttp/hedge"
)

// newRecommended makes the client that the goals are about.
func newRecommended(rt http.RoundTripper) sender { return newOurs(retryablehttp.Recommended(), rt) }

// newRecommendedWithoutGate makes the one that is recommended over a failover.Transport.
func newRecommendedWithoutGate(rt http.RoundTripper) sender {
	c := retryablehttp.Recommended()
	c.Gate = nil
	return newOurs(c, rt)
}

// failoverBelow makes a transport that sends the requests for balancedHost to the endpoints.
func failoverBelow(base http.RoundTripper, endpoints []string) (http.RoundTripper, error) {
	t := &failover.Transport{Service: balancedHost, Base: base, Mode: failover.RoundRobin}
	var set []failover.Endpoint
	for _, url := range endpoints {
		set = append(set, failover.Endpoint{URL: url})
	}
	return t, t.SetEndpoints(set...)
}

// hedgeBelow makes a transport that hedges.
func hedgeBelow(base http.RoundTripper, _ []string) (http.RoundTripper, error) {
	return &hedge.Transport{Base: base}, nil
}

// newOurs makes c send through rt.
func newOurs(c *retryablehttp.Client, rt http.RoundTripper) sender {
	c.HTTPClient.Transport = rt
	return senderFunc(func(plain *http.Request) (*http.Response, error) {
		req, err := retryablehttp.FromRequest(plain)
		if err != nil {
			return nil, err
		}
		return c.Do(req)
	})
}
