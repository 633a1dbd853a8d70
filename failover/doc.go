// Package failover sends HTTP requests to one of several equivalent endpoints, and to
// another one if that fails.
//
// # Usage
//
// A [Transport] takes the place of the transport of a client. Requests name a service, which
// need not exist, and the Transport replaces it by an endpoint:
//
//	client := retryablehttp.Recommended()
//	client.Gate = nil // it would let one endpoint's Retry-After speak for all
//	client.AttemptTimeout = 5 * time.Second
//
//	backends := &failover.Transport{
//		Service: "orders",
//		Base:    client.HTTPClient.Transport, // the connection pool
//		Mode:    failover.RoundRobin,
//	}
//	err := backends.SetEndpoints(
//		failover.Endpoint{URL: "https://orders-1.example.com/v1"},
//		failover.Endpoint{URL: "https://orders-2.example.com/v1"},
//	)
//	// …
//	client.HTTPClient.Transport = backends
//	resp, err := client.Get("https://orders/things/7")
//
// The endpoint decides whether TLS is used, whatever the scheme of the request is. Write
// https if the endpoints do, because a cookie jar looks at it.
//
// Put the client that retries around the Transport, as above. Without a client of package
// retryablehttp, a Transport can be the transport of any http.Client: a request that is
// refused still goes to the next endpoint, and health is the same.
//
// # Which endpoint a request goes to
//
// [Mode] picks among the endpoints that are well: the first one, each in turn, or the less
// loaded of two. If the connection is refused, or the request is otherwise known to be
// unsent (see [retryablehttp.Unsent]), the Transport sends it to the next endpoint at once,
// within the same attempt. A request whose body can be read only once, and has no GetBody,
// is the exception. Any other failure is returned. If the client retries, the next attempt
// goes to an endpoint that the call has not tried, as long as there is one that is well or
// whose rest is over. All requests of a call are known by the context of its attempts (see
// [retryablehttp.CallValue]), so that two which are sent at the same time, as by a hedging
// transport in between, go to different endpoints too.
//
// A retry comes after the wait of Client.Backoff, and most backoffs wait as long as a
// Retry-After says, although the retry goes to another endpoint. If the endpoints are
// overloaded independently of each other, use [retryablehttp.LinearJitterBackoff], which
// does not look at the header, with a RetryWaitMax of about a second: its waits are spread
// up to that.
//
// A hedging transport around this one cancels requests that are slow, and a cancel says
// nothing about an endpoint. So an endpoint that hangs does not rest; the Budget of the
// hedging transport limits what that costs.
//
// # Health
//
// An endpoint has failed if the connection to it could not be made or has broken, if it
// has not responded before the AttemptTimeout, the timeout of the client or the deadline of
// the context, or if it has responded with 502, 503 or 504. It has not if the caller cancels the
// request or the request itself is bad. An endpoint that has failed rests for a random time
// between RestMin and twice that, for each failure in a row twice as long, up to RestMax. A
// longer Retry-After of the 503 lengthens the rest, up to RestMax. When the rest is over,
// the endpoint may be picked for one request, its probe, and others avoid it until that has
// got a response. Any other response makes the endpoint well again. If all endpoints
// rest, a request goes to the one whose rest ends first.
//
// The Transport sends no requests of its own. An endpoint that hangs costs each of its
// probes the AttemptTimeout. Only a call that has not failed before makes a probe, unless no
// endpoint that it has not tried is well.
//
// # Requests that are not idempotent
//
// GET, HEAD, OPTIONS, TRACE, PUT and DELETE may go to any endpoint (RFC 9110 §9.2.2). Any
// other request goes to a second endpoint only if the first one cannot have acted on it: the
// request was provably not sent, or the response was 429, or 503 with Retry-After. Otherwise
// all later requests of the call that are not idempotent go to the same endpoint, even if it
// rests; if it was removed, they fail with [ErrEndpointRemoved]. An Idempotency-Key makes no
// difference, because another endpoint may not know the key, unless [Transport.SharedKeys]
// is set. What happens in one call is not known to another: a program that repeats a POST by
// calling again may reach another endpoint.
//
// # What an endpoint gets
//
// The scheme and host of the URL become the endpoint's, and the path of the endpoint is put
// before the request's. The Host header is the endpoint's, and so are the TLS name and
// the credentials if they are set (see [Endpoint]). The caller's request is not modified, so
// that the credentials of an endpoint reach no other host.
//
// # Redirects and cookies
//
// The request of a response is the caller's, and so cookies belong to the service. A
// Location below the URL of the endpoint that has sent it becomes one of the service: its
// host becomes Transport.Service and the endpoint's path is removed. Any other host is left
// as it is. A request to a host other than Transport.Service, which may come from a
// redirect, goes to Transport.Base unchanged.
package failover
