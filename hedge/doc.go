// Package hedge shortens the slowest responses: if a request has no response after a
// delay, it is sent a second time, and the first good response is returned. The other
// attempt is canceled. The technique is described as hedged requests in J. Dean and
// L. A. Barroso, "The Tail at Scale", CACM 56(2), 2013.
//
// # Usage
//
// Put a [Transport] around the transport of a client. It needs no settings:
//
//	client := retryablehttp.NewClient()
//	client.HTTPClient.Transport = &hedge.Transport{Base: client.HTTPClient.Transport}
//
// It works in the same way in an http.Client without retries:
//
//	client := &http.Client{Transport: &hedge.Transport{}}
//
// Hedging helps if a request is slow by chance, such as by a lost packet, a garbage
// collection or a queue on one of several servers. It does not help against a host that
// is slow for every request; then it adds no more load than its budget allows.
//
// # Which requests
//
// A request is hedged only if it is safe to send it twice: GET, HEAD, OPTIONS and TRACE,
// with no body or with a GetBody, and without an Upgrade header. Others are passed on as
// they are. A Transport should not be used for requests whose response is meant to take
// long, such as long polls: they make the Transport believe that the host is slow.
//
// # Which response
//
// A good response is one that is neither a 429 nor a 5xx. The first good one is returned.
// If there is none, the result of the first attempt is. A bad result that comes before the
// delay is returned at once: retrying it is the task of the client above.
//
// The body of the response can be read to its end, whichever attempt it comes from. Close
// it, as with net/http. The caller's context ends both attempts.
//
// # The delay
//
// By default the delay is the 98.5th percentile of the host's recent response times. It
// follows the host when that becomes slower or faster. Before a host has sent 100 good
// responses, its requests are not hedged. A Transport remembers 1,024 hosts; an arbitrary
// one makes room for a new one. If there are few requests, or a time that is known to be
// too long, set [Transport.Delay].
//
// # The load
//
// Second attempts add at most 2 % to the requests by default. If more than 1.5 % of the
// responses are slow, the delay becomes as long as they take, and they are not hedged. To
// hedge more, set a lower [Transport.Percentile] and a larger [Transport.Budget], and leave
// some room between them: with the 95th percentile about 5 % of the requests are
// candidates, so a Budget with a Ratio of 0.06 and a MinPerSecond of -1 fits. [Transport.OnHedge] reports what the Budget refused.
//
// In a simulation in which 1 % of the responses are 100 times slower (TestStorm), the
// defaults lower the 99.9th percentile to between 0.02 and 0.06 times, for 0.9 to 1.7 %
// more requests, depending on how the other response times are distributed.
//
// # Together with retries
//
// The recommended order is the one above: the client retries, and the Transport hedges
// each attempt. Then Client.AttemptTimeout limits both attempts of a race, a retry waits
// until both have failed, and [retryablehttp.AttemptNumber] is the same for both. The other
// order, a Transport whose Base is a [retryablehttp.RoundTripper], sends a whole call a
// second time, with its retries; the waits between them count as response time. Give the
// Transport a Budget of its own in both cases.
//
// # Connections
//
// Over HTTP/1 a second attempt uses another connection than the first, and a loser whose
// response has not come costs its connection: net/http closes it. Over HTTP/2 both share a
// connection, which stays open. So over HTTP/2 a connection that loses packets delays both;
// a [Transport.Alternative] with connections of its own helps:
//
//	&hedge.Transport{Base: transport, Alternative: transport.Clone()} // of an *http.Transport
//
// A bad response that has lost is read up to 64 KiB and for up to 100 ms, so that its
// connection can be used again. RoundTrip does not wait for that, nor for the end of a
// second attempt that it has canceled.
//
// # Observing
//
// [Transport.OnHedge] is called for each request that passed the delay. A trace in the
// request's context (net/http/httptrace) gets the events of both attempts, at the same
// time and without telling which is which.
//
// # Cost
//
// A request whose response comes in time costs a copy of it, a context and a timer: about
// 10 allocations and 2 to 3 µs, little more than a deadline costs (BenchmarkNoHedge). It
// starts no goroutine.
package hedge
