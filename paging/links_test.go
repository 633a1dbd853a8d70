package paging_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/a0b132ce/retryablehttp"
	"github.com/a0b132ce/retryablehttp/paging"
	"github.com/a0b132ce/retryablehttp/pipeline"
)

// site is a transport in memory. It responds to a URL with the page of that URL.
type site struct {
	pages map[string]page

	mu     sync.Mutex
	sent   []exchange
	opened int
	closed int
}

// page is a response.
type page struct {
	status   int // 0 means 200
	body     string
	link     string // the Link header
	location string
	noOrigin bool // the response does not have its request
}

// exchange is what the site was sent.
type exchange struct {
	method, url, host, body string
	header                  http.Header
	length                  int64 // the ContentLength
}

func newSite(t *testing.T, pages map[string]page) *site {
	s := &site{pages: pages}
	t.Cleanup(func() { assert.Equal(t, s.opened, s.closed, "bodies that were opened and closed") })
	return s
}

func (s *site) RoundTrip(req *http.Request) (*http.Response, error) {
	var body []byte
	if req.Body != nil {
		body, _ = io.ReadAll(req.Body)
		req.Body.Close()
	}
	if req.Body == nil && req.GetBody != nil {
		return nil, errors.New("a redirect would send a body that was removed")
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.sent = append(s.sent, exchange{req.Method, req.URL.String(), req.Host, string(body), req.Header.Clone(), req.ContentLength})
	p, ok := s.pages[req.URL.String()]
	if !ok {
		return nil, fmt.Errorf("no page %s", req.URL)
	}
	if p.status == 0 {
		p.status = http.StatusOK
	}
	resp := &http.Response{StatusCode: p.status, Header: http.Header{}, Body: &countedBody{Reader: strings.NewReader(p.body), site: s}, Request: req}
	if p.noOrigin {
		resp.Request = nil
	}
	if p.link != "" {
		resp.Header.Set("Link", p.link)
	}
	if p.location != "" {
		resp.Header.Set("Location", p.location)
	}
	s.opened++
	return resp, nil
}

type countedBody struct {
	io.Reader
	site *site
	once sync.Once
}

func (b *countedBody) Close() error {
	b.once.Do(func() {
		b.site.mu.Lock()
		defer b.site.mu.Unlock()
		b.site.closed++
	})
	return nil
}

// urls returns the URLs that the site was asked for.
func (s *site) urls() (urls []string) {
	for _, e := range s.sent {
		urls = append(urls, e.url)
	}
	return urls
}

// pipeline returns a pipeline to the site that adds a credential to every request, as a
// careless policy does.
func (s *site) pipeline(policies ...pipeline.Policy) pipeline.Pipeline {
	return pipeline.New(&http.Client{Transport: s}, append(policies, pipeline.PolicyFunc(func(req *pipeline.Request) (*http.Response, error) {
		req.Raw().Header.Set("Authorization", "key")
		return req.Next()
	}))...)
}

// get returns a first function for a GET of a URL.
func get(from string, options ...pipeline.CallOption) func(context.Context) (*pipeline.Request, error) {
	return func(ctx context.Context) (*pipeline.Request, error) {
		return pipeline.NewRequest(ctx, http.MethodGet, from, options...)
	}
}

// text is a decode function that returns the body and the link of the header.
func text(resp *http.Response) (page, next string, err error) {
	data, err := pipeline.Payload(resp)
	if err != nil {
		return "", "", err
	}
	next, err = paging.NextLink(resp)
	return string(data), next, err
}

// bodyLink is a decode function for bodies that are the link.
func bodyLink(resp *http.Response) (page, next string, err error) {
	data, err := pipeline.Payload(resp)
	return resp.Request.URL.Path, string(data), err
}

// all returns the pages of a pager and the error at their end.
func all(t *testing.T, p *paging.Pager[string]) (pages []string, err error) {
	t.Helper()
	for page, err := range p.Pages(t.Context()) {
		if err != nil {
			return pages, err
		}
		pages = append(pages, page)
	}
	return pages, nil
}

func TestLinksG01FollowTheHeader(t *testing.T) {
	s := newSite(t, map[string]page{
		"https://e/list":     {body: "a", link: `<list?p=2>; rel="next"`},
		"https://e/list?p=2": {body: "b", link: `</list>; rel="prev", <?p=3>; rel="next"`},
		"https://e/list?p=3": {body: "c", link: `<?p=2>; rel="prev"`},
	})
	p := paging.New(paging.Links(s.pipeline(), get("https://e/list"), text, nil))
	assert.Empty(t, s.sent, "no I/O before the first page")
	pages, err := all(t, p)
	require.NoError(t, err)
	assert.Equal(t, []string{"a", "b", "c"}, pages)
	assert.Equal(t, []string{"https://e/list", "https://e/list?p=2", "https://e/list?p=3"}, s.urls())
	_, err = p.NextPage(t.Context())
	assert.ErrorIs(t, err, paging.ErrNoMorePages)
	assert.Len(t, s.sent, 3)
}

func TestLinksG04(t *testing.T) {
	for name, test := range map[string]struct {
		link    string // in the body of https://e
		second  page   // at want
		opts    *paging.LinkOptions
		want    string // the URL of the second request; "" means none
		method  string
		wantErr string
	}{
		"G04 relative, plus sign":     {link: "page2?filter=a+b", want: "https://e/page2?filter=a%20b"},
		"G04 absolute":                {link: "https://f/page2?q=1", want: "https://f/page2?q=1"},
		"G04 semicolon":               {link: "page2?a=1;2", want: "https://e/page2?a=1%3B2"},
		"G04 invalid escape":          {link: "page2?a=%zz", wantErr: `paging: link to the next page "page2?a=REDACTED": invalid percent-encoding in the query`},
		"G04 empty link":              {link: ""},
		"G04 304 if listed":           {link: "2", second: page{status: 304}, opts: &paging.LinkOptions{Statuses: []int{204, 304}}, want: "https://e/2"},
		"G04 304 if not listed":       {link: "2", second: page{status: 304}, want: "https://e/2", wantErr: "304"},
		"G04 200 if others are":       {link: "2", opts: &paging.LinkOptions{Statuses: []int{304}}, want: "https://e/2"},
		"G04 POST":                    {link: "2", opts: &paging.LinkOptions{Method: "POST"}, want: "https://e/2", method: "POST"},
		"G04 POST to another origin":  {link: "https://f/2", opts: &paging.LinkOptions{Method: "POST"}, want: "https://f/2", method: "POST"},
		"scheme that is not followed": {link: "ftp://e/2", wantErr: "scheme"},
	} {
		t.Run(name, func(t *testing.T) {
			s := newSite(t, map[string]page{"https://e": {body: test.link}, test.want: test.second})
			p := paging.New(paging.Links(s.pipeline(), get("https://e"), bodyLink, test.opts))
			_, err := all(t, p)
			if test.wantErr == "" {
				require.NoError(t, err)
			} else {
				require.Error(t, err)
				if test.wantErr != "304" {
					assert.ErrorContains(t, err, test.wantErr)
				}
			}
			if test.want == "" {
				assert.Equal(t, []string{"https://e"}, s.urls())
				return
			}
			assert.Equal(t, []string{"https://e", test.want}, s.urls())
			method := test.method
			if method == "" {
				method = http.MethodGet
			}
			assert.Equal(t, http.MethodGet, s.sent[0].method)
			assert.Equal(t, method, s.sent[1].method)
		})
	}
}

func TestLinksStatusIsAResponseError(t *testing.T) {
	s := newSite(t, map[string]page{"https://e/": {status: 404, body: `{"error":{"code":"NotHere"}}`}})
	p := paging.New(paging.Links(s.pipeline(), get("https://e/"), func(*http.Response) (string, string, error) {
		t.Error("decode was called")
		return "", "", nil
	}, nil))
	_, err := p.NextPage(t.Context())
	var failure *pipeline.ResponseError
	require.ErrorAs(t, err, &failure)
	assert.Equal(t, 404, failure.StatusCode)
	assert.Equal(t, "NotHere", failure.Code)
}

// search returns a first function for a POST with headers and a body that can be closed.
func search(from string, bodies *[]*closeCounter) func(context.Context) (*pipeline.Request, error) {
	return func(ctx context.Context) (*pipeline.Request, error) {
		req, err := pipeline.NewRequest(ctx, http.MethodPost, from, pipeline.CallRetry(func(*retryablehttp.Client) {}))
		if err != nil {
			return nil, err
		}
		req.Raw().Header.Set("Accept", "text/csv")
		req.Raw().Header.Set("X-Tenant", "secret")
		req.Raw().Header.Set("If-Match", "x")
		req.Raw().Header.Set("Cookie", "secret")
		req.Raw().Host = "virtual"
		body := &closeCounter{ReadSeeker: strings.NewReader("query")}
		*bodies = append(*bodies, body)
		return req, req.SetBody(body, "text/plain")
	}
}

type closeCounter struct {
	io.ReadSeeker
	closed int
}

func (c *closeCounter) Close() error { c.closed++; return nil }

func TestLinksRequestsForTheNextPage(t *testing.T) {
	var full = http.Header{
		"Accept": {"text/csv"}, "X-Tenant": {"secret"}, "If-Match": {"x"}, "Cookie": {"secret"},
		"Content-Type": {"text/plain"}, "Authorization": {"key"},
	}
	withoutBody := full.Clone()
	withoutBody.Del("Content-Type")
	onlyAccept := http.Header{"Accept": {"text/csv"}}

	for name, test := range map[string]struct {
		link string
		opts paging.LinkOptions
		want exchange
	}{
		"same origin":         {"/2", paging.LinkOptions{}, exchange{"POST", "https://e/2", "virtual", "query", full, 5}},
		"default port":        {"https://E:443/2", paging.LinkOptions{}, exchange{"POST", "https://E:443/2", "virtual", "query", full, 5}},
		"same method":         {"/2", paging.LinkOptions{Method: "POST"}, exchange{"POST", "https://e/2", "virtual", "query", full, 5}},
		"other method":        {"/2", paging.LinkOptions{Method: "GET"}, exchange{"GET", "https://e/2", "virtual", "", withoutBody, 0}},
		"other host":          {"https://f/2", paging.LinkOptions{}, exchange{"GET", "https://f/2", "f", "", onlyAccept, 0}},
		"other port":          {"https://e:8443/2", paging.LinkOptions{}, exchange{"GET", "https://e:8443/2", "e:8443", "", onlyAccept, 0}},
		"other scheme":        {"http://e/2", paging.LinkOptions{}, exchange{"GET", "http://e/2", "e", "", onlyAccept, 0}},
		"other host, POST":    {"https://f/2", paging.LinkOptions{Method: "POST"}, exchange{"POST", "https://f/2", "f", "", onlyAccept, 0}},
		"credentials in link": {"https://e@f/2", paging.LinkOptions{}, exchange{"GET", "https://f/2", "f", "", onlyAccept, 0}},
	} {
		for _, resumed := range []bool{false, true} {
			t.Run(fmt.Sprintf("%s, resumed %t", name, resumed), func(t *testing.T) {
				s := newSite(t, map[string]page{"https://e/1": {body: test.link}, test.want.url: {}})
				var bodies []*closeCounter
				fetch := paging.Links(s.pipeline(), search("https://e/1", &bodies), bodyLink, &test.opts)
				p := paging.New(fetch)
				_, err := p.NextPage(t.Context())
				require.NoError(t, err)
				cursor, ok := p.Cursor()
				require.True(t, ok)
				assert.Equal(t, test.want.url, cursor, "an absolute URL")
				if resumed {
					p = paging.Resume(cursor, fetch)
				}
				_, err = p.NextPage(t.Context())
				require.NoError(t, err)
				require.Len(t, s.sent, 2)
				assert.Equal(t, exchange{"POST", "https://e/1", "virtual", "query", full, 5}, s.sent[0])
				assert.Equal(t, test.want, s.sent[1])
				require.Len(t, bodies, 2)
				for i, body := range bodies {
					assert.Equal(t, 1, body.closed, "closes of request body %d", i)
				}
			})
		}
	}
}

// A request that is made of an http.Request may have a body that nobody else closes.
func TestLinksCloseABodyThatIsNotSent(t *testing.T) {
	for _, cursor := range []string{"https://e/2", "https://f/2"} {
		s := newSite(t, map[string]page{cursor: {}})
		body := &closeCounter{ReadSeeker: strings.NewReader("query")}
		first := func(ctx context.Context) (*pipeline.Request, error) {
			raw, err := http.NewRequestWithContext(ctx, http.MethodPost, "https://e/1", body)
			require.NoError(t, err)
			return pipeline.FromRequest(raw)
		}
		fetch := paging.Links(s.pipeline(), first, text, &paging.LinkOptions{Method: http.MethodGet})
		_, _, err := fetch(t.Context(), cursor)
		require.NoError(t, err)
		assert.Equal(t, 1, body.closed, cursor)
		assert.Empty(t, s.sent[0].body)
	}
}

// A policy must be able to see that a request goes to another origin, before it asks for a
// token.
func TestLinksToAnotherOriginAreForeign(t *testing.T) {
	var foreign []bool
	s := newSite(t, map[string]page{"https://e/1": {body: "https://f/2"}, "https://f/2": {body: "https://e/3"}, "https://e/3": {}})
	pl := s.pipeline(pipeline.PolicyFunc(func(req *pipeline.Request) (*http.Response, error) {
		foreign = append(foreign, req.Foreign())
		return req.Next()
	}))
	_, err := all(t, paging.New(paging.Links(pl, get("https://e/1"), bodyLink, nil)))
	require.NoError(t, err)
	assert.Equal(t, []bool{false, true, false}, foreign)
	assert.Equal(t, "key", s.sent[2].header.Get("Authorization"), "back at the first origin")
}

// If the first request already goes to an origin that credentials do not belong to, neither
// does its next page.
func TestLinksKeepTheCallOrigin(t *testing.T) {
	s := newSite(t, map[string]page{"https://cdn/1": {body: "/2"}, "https://cdn/2": {}})
	home := pipeline.CallOrigin(&url.URL{Scheme: "https", Host: "api"})
	_, err := all(t, paging.New(paging.Links(s.pipeline(), get("https://cdn/1", home), bodyLink, nil)))
	require.NoError(t, err)
	require.Len(t, s.sent, 2)
	for _, e := range s.sent {
		assert.Empty(t, e.header.Get("Authorization"), e.url)
	}
}

func TestLinksAfterARedirect(t *testing.T) {
	for name, test := range map[string]struct {
		location, want, key string
	}{
		"to the same origin": {"/v2/list", "https://e/v2/page2", "key"},
		"to another origin":  {"https://f/v2/list", "https://f/v2/page2", ""},
	} {
		t.Run(name, func(t *testing.T) {
			s := newSite(t, map[string]page{
				"https://e/list":    {status: 302, location: test.location},
				"https://e/v2/list": {body: "a", link: `<page2>; rel=next`},
				"https://f/v2/list": {body: "a", link: `<page2>; rel=next`},
				test.want:           {body: "b"},
			})
			p := paging.New(paging.Links(s.pipeline(pipeline.Retry{}), get("https://e/list"), text, nil))
			pages, err := all(t, p)
			require.NoError(t, err)
			assert.Equal(t, []string{"a", "b"}, pages)
			last := s.sent[len(s.sent)-1]
			assert.Equal(t, test.want, last.url)
			assert.Equal(t, test.key, last.header.Get("Authorization"))
		})
	}
}

// The password of the first URL is a credential: the cursor does not have it.
func TestLinksWithUserInfoInTheFirstURL(t *testing.T) {
	s := newSite(t, map[string]page{
		"https://u:secret@e/1": {body: "2"},
		"https://u:secret@e/2": {body: "https://f/3"},
		"https://f/3":          {},
	})
	pl := pipeline.New(&http.Client{Transport: s})
	p := paging.New(paging.Links(pl, get("https://u:secret@e/1"), bodyLink, nil))
	var cursors []string
	for range p.Pages(t.Context()) {
		cursor, _ := p.Cursor()
		cursors = append(cursors, cursor)
	}
	assert.Equal(t, []string{"https://e/2", "https://f/3", ""}, cursors)
	require.Len(t, s.sent, 3)
	assert.NotEmpty(t, s.sent[1].header.Get("Authorization"))
	assert.Empty(t, s.sent[2].header.Get("Authorization"))
}

// seen is the value of a call option.
type seen int

func TestLinksKeepTheCallOptions(t *testing.T) {
	s := newSite(t, map[string]page{"https://e/1": {body: "https://f/2"}, "https://f/2": {}})
	var got []seen
	pl := s.pipeline(pipeline.PolicyFunc(func(req *pipeline.Request) (*http.Response, error) {
		v, _ := pipeline.Value[seen](req)
		got = append(got, v)
		return req.Next()
	}))
	_, err := all(t, paging.New(paging.Links(pl, get("https://e/1", pipeline.CallValue(seen(7))), bodyLink, nil)))
	require.NoError(t, err)
	assert.Equal(t, []seen{7, 7}, got)
}

// The newSite cleanup checks that each response body is closed.
func TestLinksErrorsCloseTheBody(t *testing.T) {
	for name, test := range map[string]struct {
		page   page
		decode func(*http.Response) (string, string, error)
	}{
		"decode fails": {page{body: "x"}, func(*http.Response) (string, string, error) { return "half", "/2", errService }},
		"decode fails after reading": {page{body: "x"}, func(resp *http.Response) (string, string, error) {
			_, err := pipeline.Payload(resp)
			return "", "", errors.Join(err, errService)
		}},
		"link is refused":  {page{body: "x"}, func(*http.Response) (string, string, error) { return "half", "ftp://e", nil }},
		"status":           {page{status: 500, body: "x"}, nil},
		"malformed header": {page{link: "x"}, text},
	} {
		t.Run(name, func(t *testing.T) {
			s := newSite(t, map[string]page{"https://e/": test.page})
			fetch := paging.Links(s.pipeline(), get("https://e/"), test.decode, nil)
			page, next, err := fetch(t.Context(), "")
			require.Error(t, err)
			assert.Empty(t, page)
			assert.Empty(t, next)
			assert.Equal(t, 1, s.opened)
		})
	}
	t.Run("decode panics", func(t *testing.T) {
		s := newSite(t, map[string]page{"https://e/": {body: "x"}})
		fetch := paging.Links(s.pipeline(), get("https://e/"), func(*http.Response) (string, string, error) { panic("decode") }, nil)
		assert.Panics(t, func() { _, _, _ = fetch(t.Context(), "") })
	})
	t.Run("decode reads nothing", func(t *testing.T) {
		s := newSite(t, map[string]page{"https://e/": {body: "x"}})
		_, err := all(t, paging.New(paging.Links(s.pipeline(), get("https://e/"), func(*http.Response) (string, string, error) { return "", "", nil }, nil)))
		assert.NoError(t, err)
	})
}

func TestF132ConnectionIsUsedAgain(t *testing.T) {
	for name, decode := range map[string]func(*http.Response) (string, string, error){
		"decode reads nothing": func(*http.Response) (string, string, error) { return "", "", nil },
		"decode reads a part": func(resp *http.Response) (string, string, error) {
			_, err := io.ReadFull(resp.Body, make([]byte, 100))
			return "", "", err
		},
		"decode fails": func(*http.Response) (string, string, error) { return "", "", errService },
	} {
		t.Run(name, func(t *testing.T) {
			connections := map[string]bool{}
			server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				connections[r.RemoteAddr] = true
				_, _ = w.Write(make([]byte, 20_000))
			}))
			defer server.Close()
			fetch := paging.Links(pipeline.New(server.Client()), get(server.URL), decode, nil)
			for range 5 {
				_, _, err := fetch(t.Context(), "")
				assert.Equal(t, name == "decode fails", err != nil)
			}
			assert.Len(t, connections, 1)
		})
	}
}

// slowBody has bytes that it returns one KiB at a time, and then stalls until ctx ends.
type slowBody struct {
	ctx        context.Context
	size, read int
	closed     bool
}

func (b *slowBody) Read(p []byte) (int, error) {
	if b.read == b.size {
		<-b.ctx.Done()
		return 0, b.ctx.Err()
	}
	n := min(len(p), 1<<10)
	b.read += n
	return n, nil
}

func (b *slowBody) Close() error {
	b.closed = true
	return nil
}

func TestF132BodyIsReadWithinLimits(t *testing.T) {
	for name, test := range map[string]struct {
		size, read  int
		limit, took time.Duration // the limit is that of the context
	}{
		"long":                         {1 << 20, 64 << 10, time.Hour, 0},
		"stalled":                      {3 << 10, 3 << 10, time.Hour, 100 * time.Millisecond},
		"stalled and the context ends": {3 << 10, 3 << 10, 10 * time.Millisecond, 10 * time.Millisecond},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				body := &slowBody{size: test.size}
				pl := pipeline.New(transporterFunc(func(req *http.Request) (*http.Response, error) {
					body.ctx = req.Context()
					return &http.Response{StatusCode: http.StatusOK, Body: body, Request: req}, nil
				}))
				fetch := paging.Links(pl, get("https://e/"), func(*http.Response) (string, string, error) { return "page", "/2", nil }, nil)
				ctx, cancel := context.WithTimeout(t.Context(), test.limit)
				defer cancel()
				began := time.Now()
				page, next, err := fetch(ctx, "")
				require.NoError(t, err)
				assert.Equal(t, "page", page)
				assert.Equal(t, "https://e/2", next)
				assert.Equal(t, test.took, time.Since(began))
				assert.Equal(t, test.read, body.read)
				assert.True(t, body.closed)
				assert.Error(t, body.ctx.Err(), "nothing of the call is left")
			})
		})
	}
}

func TestLinksFirstFails(t *testing.T) {
	s := newSite(t, nil)
	for name, first := range map[string]func(context.Context) (*pipeline.Request, error){
		"error":        func(context.Context) (*pipeline.Request, error) { return nil, errService },
		"no request":   func(context.Context) (*pipeline.Request, error) { return nil, nil },
		"zero request": func(context.Context) (*pipeline.Request, error) { return &pipeline.Request{}, nil },
	} {
		for _, cursor := range []string{"", "https://e/2"} {
			_, err := paging.Resume(cursor, paging.Links(s.pipeline(), first, text, nil)).NextPage(t.Context())
			require.Error(t, err, name)
			assert.Equal(t, name == "error", errors.Is(err, errService), name)
		}
	}
	assert.Empty(t, s.sent)
}

func TestLinksRefuseABadCursor(t *testing.T) {
	s := newSite(t, nil)
	first := func(context.Context) (*pipeline.Request, error) {
		t.Error("first was called, and nobody closes its body")
		return nil, errService
	}
	for _, cursor := range []string{"2", "/2", "//e/2", "ftp://e/2", "https://e/?a=%zz", "\x00", "https:e", strings.Repeat("x", 1<<20)} {
		_, err := paging.Resume(cursor, paging.Links(s.pipeline(), first, text, nil)).NextPage(t.Context())
		var failure *paging.LinkError
		assert.ErrorAs(t, err, &failure)
	}
	assert.Empty(t, s.sent)
}

func TestLinksToTheSamePage(t *testing.T) {
	s := newSite(t, map[string]page{"https://e/?p=1": {body: "#top"}})
	p := paging.Resume("https://e/?p=1", paging.Links(s.pipeline(), get("https://e/"), bodyLink, nil))
	_, err := p.NextPage(t.Context())
	assert.ErrorIs(t, err, paging.ErrSamePage)
}

func TestLinksOfATransportWithoutRequestInTheResponse(t *testing.T) {
	s := newSite(t, map[string]page{"https://e/a/1": {link: `<2>;rel=next`, noOrigin: true}, "https://e/a/2": {}})
	pl := pipeline.New(transporterFunc(s.RoundTrip))
	_, err := all(t, paging.New(paging.Links(pl, get("https://e/a/1"), text, nil)))
	require.NoError(t, err)
	assert.Equal(t, []string{"https://e/a/1", "https://e/a/2"}, s.urls())
}

type transporterFunc func(*http.Request) (*http.Response, error)

func (f transporterFunc) Do(req *http.Request) (*http.Response, error) { return f(req) }

func TestLinksPassTheContext(t *testing.T) {
	type key struct{}
	s := newSite(t, map[string]page{"https://e/1": {body: "2"}, "https://e/2": {body: "https://f/3"}, "https://f/3": {}})
	var got []any
	pl := s.pipeline(pipeline.PolicyFunc(func(req *pipeline.Request) (*http.Response, error) {
		got = append(got, req.Raw().Context().Value(key{}))
		return req.Next()
	}))
	p := paging.New(paging.Links(pl, get("https://e/1"), bodyLink, nil))
	for i := range 3 {
		_, err := p.NextPage(context.WithValue(t.Context(), key{}, i))
		require.NoError(t, err)
	}
	assert.Equal(t, []any{0, 1, 2}, got)
}

func TestLinksOfAPrimedPager(t *testing.T) {
	s := newSite(t, map[string]page{"https://e/2": {body: "b"}})
	pages, err := all(t, paging.Primed("a", "https://e/2", paging.Links(s.pipeline(), get("https://e/"), text, nil)))
	require.NoError(t, err)
	assert.Equal(t, []string{"a", "b"}, pages)
	assert.Equal(t, []string{"https://e/2"}, s.urls())
}

// Several pagers may share a Fetch, each in a goroutine of its own.
func TestLinksFetchIsShared(t *testing.T) {
	s := newSite(t, map[string]page{"https://e/1": {body: "2"}, "https://e/2": {body: "https://f/3"}, "https://f/3": {}})
	fetch := paging.Links(s.pipeline(), get("https://e/1"), bodyLink, nil)
	var running sync.WaitGroup
	for range 8 {
		running.Go(func() {
			pages, err := all(t, paging.New(fetch))
			assert.NoError(t, err)
			assert.Equal(t, []string{"/1", "/2", "/3"}, pages)
		})
	}
	running.Wait()
}
