package paging

import (
	"cmp"
	"context"
	"io"
	"net/http"
	"net/url"
	"time"

	"github.com/a0b132ce/retryablehttp/internal/origin"
	"github.com/a0b132ce/retryablehttp/pipeline"
)

// LinkOptions are the settings of [Links]. The zero value is right for most services.
type LinkOptions struct {
	// Method is the method of the requests after the first. If it differs from the method of
	// the first request, they have no body. "" means the same method, or GET for another origin.
	Method string

	// Statuses are the status codes of a page besides 200. Any other status is an error, a
	// [*pipeline.ResponseError].
	Statuses []int
}

// Links returns a [Fetch] that sends requests through pl and follows the link from each page
// to the next. The cursor of a page is its absolute URL. Nil opts mean the zero LinkOptions.
// Several pagers may share the Fetch if several goroutines may call first and decode at once.
//
// first returns the request for the first page, with the context ctx. It sends nothing. Links
// calls it for every page, so it must return a new request, with a body of its own. For a page
// after the first, Links replaces the URL and keeps all else if the origin (scheme, host and
// port) is the same. At another origin, the request is a GET (or LinkOptions.Method) with no
// body, no credentials, and only the Accept field of the header; [pipeline.CallHeaders] and
// other policies may add fields that hold no secret ([pipeline.New] lists them). The call
// options that first used apply to every page.
//
// decode returns the page of a response and the link to the next page. The link is the URL from
// [NextLink] or what the body has, which Links passes to [Resolve]. An empty link means that the
// page is the last. [pipeline.DecodeJSON] of an empty body is no error: a 200 without a body
// becomes an empty page without a link, which ends the list. So decode should check for what
// the service always sends.
//
// When decode has returned, Links closes the body. If decode has not read it to the end, Links
// first reads up to 64 KiB more, so that the connection can be used again. After 100 ms it ends
// that read by canceling ctx.
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
		ctx, cancel := context.WithCancel(ctx)
		defer cancel()
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
		defer drain(resp.Body, cancel)
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

// Limits of drain.
const (
	drainMax  = 64 << 10
	drainTime = 100 * time.Millisecond
)

// drain reads up to drainMax bytes of a body, so that its connection can be used again, and
// closes it. After drainTime it calls cancel, which must end the read.
func drain(body io.ReadCloser, cancel context.CancelFunc) {
	timer := time.AfterFunc(drainTime, cancel)
	_, _ = io.CopyN(io.Discard, body, drainMax)
	timer.Stop()
	body.Close()
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
