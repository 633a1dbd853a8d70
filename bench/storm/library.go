package main

import (
	"net/http"

	"github.com/a0b132ce/retryablehttp"
)

// A library is a contender: one library with one policy.
type library struct {
	name   string // for -library
	title  string
	policy string // what it does, and where the numbers come from
	// below, if not nil, makes a transport that goes below the library, for servers with these
	// URLs.
	below func(base http.RoundTripper, endpoints []string) (http.RoundTripper, error)
	// new makes a client that sends its attempts through rt.
	new func(rt http.RoundTripper) sender
}

// A sender sends a request, with retries. It may be used by any number of goroutines.
type sender interface {
	Do(*http.Request) (*http.Response, error)
}

// senderFunc is a function that is a sender.
type senderFunc func(*http.Request) (*http.Response, error)

func (f senderFunc) Do(req *http.Request) (*http.Response, error) { return f(req) }

// libraries are the rows of the tables, in this order. To add one, write a function that
// makes its client, and list it here and in everyLibrary.
var libraries = []*library{
	{
		name: "recommended", title: "**this library**, `Recommended()`",
		policy: "4 retries after 0.5, 1, 2 and 4 s, each times 1 to 2 at random, with a `Budget` and a `Gate`",
		new:    newRecommended,
	},
	{
		name: "failover", title: "**this library**, `Recommended()` over `failover`",
		policy: "the same without the `Gate`, over a `failover.Transport` with the three servers",
		below:  failoverBelow, new: newRecommendedWithoutGate,
	},
	{
		name: "hedge", title: "**this library**, `Recommended()` over `hedge`",
		policy: "the same over the zero `hedge.Transport`",
		below:  hedgeBelow, new: newRecommended,
	},
	{
		name: "default", title: "**this library**, `NewClient()`",
		policy: "4 retries after 1, 2, 4 and 8 s, each times 1 to 2 at random",
		new:    func(rt http.RoundTripper) sender { return newOurs(retryablehttp.NewClient(), rt) },
	},
	{
		name: "none", title: "net/http",
		policy: "no retries",
		new:    func(rt http.RoundTripper) sender { return &http.Client{Transport: rt} },
	},
	{
		name: "hashicorp", title: "hashicorp/go-retryablehttp",
		policy: "`NewClient`: 4 retries after 1, 2, 4 and 8 s",
		new:    newHashicorp,
	},
	{
		name: "azcore", title: "Azure azcore",
		policy: "`RetryOptions{}`: 3 retries after 0.8, 1.6 and 3.2 s, each times 0.8 to 1.3 at random",
		new:    newAzcore,
	},
	{
		name: "failsafe", title: "failsafe-go/failsafehttp",
		policy: "`NewRetryPolicyBuilder`: 2 retries at once",
		new:    newFailsafe,
	},
	{
		name: "heimdall", title: "gojek/heimdall",
		policy: "retries only if told to. As its README shows: 4 retries after 2 to 7 ms",
		new:    newHeimdall,
	},
	{
		name: "resty", title: "resty v3",
		policy: "retries only if told to. 3 retries, as its documentation shows, of errors and 5xx, with its default waits from 0.1 to 2 s with jitter",
		new:    newResty,
	},
	{
		name: "rehttp", title: "PuerkitoBio/rehttp",
		policy: "has no default. As its example shows, 3 retries after 1 s each, here of errors and 5xx",
		new:    newRehttp,
	},
}

// everyLibrary are the names of those that take part in most scenarios.
var everyLibrary = []string{"recommended", "default", "none", "hashicorp", "azcore", "failsafe", "heimdall", "resty", "rehttp"}
