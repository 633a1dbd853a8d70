// Package pipeline sends HTTP requests through a chain of policies. It is for people who
// write the client of an HTTP API.
//
// # A client
//
// A client of an API keeps a [Pipeline] and makes a [Request] in each of its methods:
//
//	type Client struct {
//		endpoint string
//		pl       pipeline.Pipeline
//	}
//
//	func NewClient(endpoint, key string) *Client {
//		return &Client{endpoint, pipeline.New(nil,
//			pipeline.Telemetry{Module: "example.com/widgets", Version: "v1.0.0"},
//			pipeline.StatusError{},
//			pipeline.Retry{},
//			pipeline.Headers{},
//			pipeline.Key{Header: "X-Api-Key", Value: func() string { return key }},
//			pipeline.Logging{},
//			pipeline.BodyDownload{},
//		)}
//	}
//
//	func (c *Client) Widget(ctx context.Context, id string, opts ...pipeline.CallOption) (w Widget, err error) {
//		req, err := pipeline.NewRequest(ctx, http.MethodGet, c.endpoint+"/widgets/"+url.PathEscape(id), opts...)
//		if err != nil {
//			return w, err
//		}
//		resp, err := c.pl.Do(req)
//		if err != nil {
//			return w, err
//		}
//		err = pipeline.DecodeJSON(resp, &w)
//		return w, err
//	}
//
// The packages paging and lro go on from there, with lists and with operations that outlive
// a request.
//
// # Policies
//
// A [Policy] gets the request, changes it, calls [Request.Next], and returns the response.
// Requests pass the policies in the order in which [New] is given them; responses come back
// in reverse. A policy before [Retry] sees a call once. A policy after it sees each attempt, with
// a header, a URL and a body of its own. This order is a good one; leave out what is not
// needed:
//
//	Telemetry     User-Agent
//	RequestID     X-Request-Id, the same for all attempts
//	APIVersion    the version of the API, in the query or a header
//	StatusError   turns a status from 400 on into a *ResponseError
//	Retry         makes the attempts, by a client of package retryablehttp
//	Headers       headers that CallHeaders sets for one call
//	Key           an API key, or BearerToken for tokens that expire
//	Logging       logs each request and response
//	BodyDownload  reads the response, so that a truncated one is a failed attempt
//
// A policy of your own is a function:
//
//	tenant := pipeline.PolicyFunc(func(req *pipeline.Request) (*http.Response, error) {
//		req.Raw().Header.Set("X-Tenant", "blue")
//		return req.Next()
//	})
//
// # Options of one call
//
// A [CallOption] changes one call. The methods of a client take them as their last argument
// and pass them to [NewRequest]: [CallHeaders], [CallRetry], [CaptureResponse], [Stream].
// Policies of your own find their options with [Value], set by [CallValue]. The context of a
// call is for its deadline and for tracing.
//
// # Bodies
//
// Each attempt reads the request body with a reader of its own, from the start. So an attempt with
// an early response does not affect the next one, and a file can be logged, redirected and
// retried. Files are read in place, not into memory. The pipeline closes the
// body once, when nobody reads it any more.
//
// [BodyDownload] reads responses of up to 4 MiB into memory. Larger ones are streams, and so
// is every response of a call with [Stream].
//
// # Writes
//
// [Retry] repeats a POST or PATCH only if the server has certainly not acted on it, or if
// the request has an Idempotency-Key. If the API knows that header, set it:
//
//	client := retryablehttp.Recommended()
//	client.IdempotencyKey = retryablehttp.NewIdempotencyKey
//	pl := pipeline.New(nil, pipeline.Retry{Client: client})
//
// # Secrets
//
// Credentials are sent only to the origin of the call's first request. If a redirect or a
// link leads to another scheme, host or port, only header fields that hold no secret are
// sent there. URLs in errors and log lines have no password and no query values; headers in
// log lines are replaced by REDACTED unless they are known to be harmless.
//
// # With net/http
//
// A Pipeline is an [http.RoundTripper]: &http.Client{Transport: pl} is an ordinary client
// whose requests pass the policies. Any RoundTripper can be the transport of a pipeline, as
// &http.Client{Transport: rt}. [NewMiddleware] makes a policy of a function that wraps a
// RoundTripper.
package pipeline
