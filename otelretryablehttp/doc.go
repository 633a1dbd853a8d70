// Package otelretryablehttp records the calls of a retryablehttp.Client with
// OpenTelemetry: a span for each call and each attempt, and metrics.
//
// # Usage
//
// Set up the Client, then instrument it:
//
//	client := retryablehttp.Recommended()
//	if err := otelretryablehttp.Instrument(client, otelretryablehttp.Options{}); err != nil {
//		return err
//	}
//
// The zero Options uses the providers and the propagator of package otel. The package is a
// module of its own, because it needs go.opentelemetry.io/otel. It needs no SDK.
//
//	go run ./examples/trace    # prints the spans of a call that is retried twice
//
// # Spans
//
// A call has a span of kind INTERNAL, such as "HTTP GET". It ends when the call returns. Its
// status is Error if the call fails; a status code that the policy accepts is not a failure.
// When a wait for a retry begins, the span gets an event "retryablehttp.retry". A call that
// panics has no span.
//
// Each request that is sent has a span of kind CLIENT below its call's span, such as "GET",
// by the stable semantic conventions for HTTP client spans: each attempt, each hop of a
// redirect, and each of the two attempts of a hedged request (package hedge).
// http.request.resend_count counts all of them, as the conventions say;
// retryablehttp.attempt is the number of the attempt.
//
// The span of a request ends with the header of the response, or an error, as the
// conventions ask for if the body may be left unread. So it ends before its call's span,
// unless it is a hedge that has lost. The Transport of otelhttp, by contrast, ends its spans
// with the body. An error while the body is read is not in the span of the request. If
// Client.BufferMax has the body read, it is in the event of the retry.
//
// A request for the rest of a body (Client.ResumeMax) is a call with a span of its own, below
// the first call's.
//
// # Attributes
//
// Spans of both kinds have http.request.method (and http.request.method_original if the
// method is not known), server.address, server.port and url.full from the beginning, and
// http.response.status_code and error.type at the end, if there are any. Besides:
//
//	span of a request
//	  http.request.resend_count   int     from 1, of each request but the first of its call
//	  network.protocol.version    string  "1.1", "2"
//	  retryablehttp.attempt       int     from 1
//	span of a call
//	  retryablehttp.attempts      int     that were sent
//	  retryablehttp.wait_time     double  seconds waited before attempts: Backoff, Budget, Gate
//	  retryablehttp.reason        string  a retryablehttp.Reason, if the call has failed
//	  retryablehttp.resumption    int     Outcome.Resumption, if it is not 0
//	event retryablehttp.retry
//	  retryablehttp.attempt       int     the attempt that is retried
//	  retryablehttp.reason        string  a retryablehttp.Reason
//	  retryablehttp.wait_time     double  seconds to wait, by Backoff
//	  http.response.status_code   int     if there was a response
//	  exception.message           string  if there was an error; redacted
//
// network.peer.address and network.peer.port, which the conventions recommend, are not
// recorded.
//
// The values of error.type are the status code of a response ("503") and
//
//	canceled         the context was canceled, or another attempt of a hedge has won
//	timeout          a deadline or another time limit
//	name_resolution  the name of the host was not found
//	connect          no connection to the host or the proxy
//	tls              the TLS handshake, certificates included
//	connection       a connection that was reset or closed before a response
//	_OTHER           everything else, errors of HTTP/2 streams included
//
// # Metrics
//
// Each metric has http.request.method, server.address and server.port. No attribute holds
// anything of a path or a query. The number of calls is the count of
// retryablehttp.call.duration.
//
//	http.client.request.duration  s          of each request, as its span; by status code, error.type, version
//	retryablehttp.call.duration   s          of each call, as its span; by error.type and reason
//	retryablehttp.call.attempts   {attempt}  of each call; by error.type and reason
//	retryablehttp.call.wait_time  s          of each call that has waited; by error.type and reason
//	retryablehttp.retries         {retry}    retries that were sent, by reason
//	retryablehttp.hedges          {hedge}    requests that took longer than hedge.Transport.Delay, by
//	                                         retryablehttp.hedge.result: the second attempt has won,
//	                                         has lost, or was not_sent because the budget was used up
//
// [ObserveHosts] adds the state of Client.Budget and Client.Gate for hosts that it is given.
// They have server.address, and server.port if the host has a port.
//
//	retryablehttp.budget.balance  {token}      tokens for retries
//	retryablehttp.gate.closed     s            how long no attempt is sent
//	retryablehttp.gate.rate       {attempt}/s  the greatest rate; 0 means no limit
//	retryablehttp.gate.waiting    {attempt}    attempts that are held back
//
// # Secrets
//
// url.full is what Client.RedactURL returns. If that is nil, user information, query values
// and the fragment become "REDACTED". Texts of errors are those of the Client, which are
// redacted of what they say about URLs. If a transport, a policy or PrepareRetry writes other
// secrets into its errors, they are in the spans of calls. The spans of attempts record only
// the class of an error. Headers and bodies are not recorded.
//
// # Other transports
//
// A failover.Transport sends more than one request for an attempt if it finds connections
// refused. To have a span for each, put a [Transport] into its Base.
//
// # What it costs
//
// Without an SDK a call of one attempt makes 26 allocations more, and about 7 besides if its
// transport was an *http.Transport; together some 5 µs (BenchmarkCall). With an SDK that
// records every span and metric it makes about 50 more.
//
// A Client does more if its transport is an *http.Transport itself. With a [Transport], as
// with any other transport around it, this is different:
//
//   - After a timeout over HTTP/2 the first retry may still take the dead connection. Leave
//     HTTP/2 pings on (http.HTTP2Config.SendPingTimeout), as in NewClient.
//   - The body of a failed response is read by a goroutine, for up to 100 ms. The connection
//     is used again as before.
//   - Files are copied through memory rather than sent by sendfile.
//   - With HTTPClient.Timeout, net/http starts a goroutine for each attempt.
//   - A transport with MaxConnsPerHost may exceed it after a timeout over HTTP/2.
package otelretryablehttp
