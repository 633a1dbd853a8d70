package paging

import (
	"cmp"
	"context"
	"net/http"
	"net/url"

	"github.com/a0b132ce/retryablehttp/internal/origin"
	"github.com/a0b132ce/retryablehttp/pipeline"
)

// LinkOptions are the settings of [Links]. The zero value is right for most services.
type LinkOptions struct {
	// Method is used after the first request. If it differs from the first request's method,
	// these requests have no body. "" means the first request's method.
	Method string

	// Statuses are the status codes of a page besides 200. Any other status is an error, a
	// [*pipeline.ResponseError].
	Statuses []int
}

// Links returns a [Fetch] that sends requests through pl and follows the link from each page
// to the next. The cursor of a page is its absolute URL. Nil opts mean the zero LinkOptions.
// Several pagers may share the Fetch if first and decode may be called by several goroutines.
//
// first returns the request for the first page. It is called for every page and must return a
// new request, with a body of its own, without sending anything. For a page after the first,
// the URL is replaced, and all else is kept if the origin (scheme, host and port) is the same.
// If it is another, the request is a GET (or LinkOptions.Method) with no body, no credentials,
// and no header but Accept and those that [pipeline.CallHeaders] or other policies add, as far
// as the pipeline lets them pass ([pipeline.New] says which). The call options that first used
// apply to every page.
//
// decode returns the page of a response, and the link to the next page: one from [NextLink] or
// one that the body has, which is resolved by [Resolve]. An empty link means that the page is
// the last. The body is closed when decode returns. [pipeline.DecodeJSON] of an empty body is
// no error: a 200 without a body becomes an empty page without a link to the next, which ends
// the list. So decode should check for what the service always sends.
func Links[T any](
	pl pipeline.Pipeline,
	first func(ctx context.Context) (*pipeline.Request, error),
	decode func(resp *http.Response) (page T, next string, err error),
	opts *LinkOptions,
) Fetch[T] {
	var o LinkOptions
	if opts != nil {
		o = *opts
	}
	return func(ctx context.Context, cursor string) (T, string, error) {
		var none T
		var target *url.URL
		if cursor != "" {
			var err error
			if target, err = resolve(&url.URL{}, cursor); err != nil {
				return none, "", err
			}
		}
		req, err := first(ctx)
		if err != nil {
			return none, "", err
		}
		if target != nil && req != nil && req.Raw() != nil { // else Do fails
			follow(req, target, o.Method)
		}
		resp, err := pl.Do(req)
		if err != nil {
			return none, "", err
		}
		defer resp.Body.Close()
		if resp.StatusCode != http.StatusOK && !pipeline.HasStatus(resp, o.Statuses...) {
			return none, "", pipeline.NewResponseError(resp)
		}
		if resp.Request == nil { // some transports in memory
			resp.Request = req.Raw()
		}
		page, link, err := decode(resp)
		if err != nil {
			return none, "", err
		}
		next, err := Resolve(resp, link)
		if err != nil {
			return none, "", err
		}
		return page, next, nil
	}
}

// follow turns the request for the first page into one for target. method may be "".
func follow(req *pipeline.Request, target *url.URL, method string) {
	raw := req.Raw()
	if origin.Of(target) != origin.Of(raw.URL) {
		pipeline.CallOrigin(raw.URL)(req)
		dropBody(raw)
		fresh := &http.Request{
			Method: cmp.Or(method, http.MethodGet),
			URL:    target,
			Host:   target.Host,
			Header: http.Header{},
		}
		if accept := raw.Header["Accept"]; accept != nil {
			fresh.Header["Accept"] = accept
		}
		*raw = *fresh.WithContext(raw.Context())
		return
	}
	target.User = raw.URL.User
	raw.URL = target
	if method != "" && method != raw.Method {
		raw.Method = method
		dropBody(raw)
	}
}

// dropBody removes the body and the fields that describe it.
func dropBody(raw *http.Request) {
	if raw.Body != nil {
		raw.Body.Close()
	}
	raw.Body, raw.GetBody, raw.ContentLength = nil, nil, 0
	raw.TransferEncoding, raw.Trailer = nil, nil
	for _, name := range []string{"Content-Encoding", "Content-Language", "Content-Length", "Content-Type"} {
		raw.Header.Del(name)
	}
}
