// Package widgets is the client of an imaginary widget service, written as its author would
// write it. It has a client with options, methods for one request, a list in pages, a change
// by a merge patch, and an operation that takes a while.
package widgets

import (
	"context"
	"log/slog"
	"net/http"
	"net/url"
	"strconv"
	"strings"

	"github.com/a0b132ce/retryablehttp"
	"github.com/a0b132ce/retryablehttp/lro"
	"github.com/a0b132ce/retryablehttp/mergepatch"
	"github.com/a0b132ce/retryablehttp/paging"
	"github.com/a0b132ce/retryablehttp/pipeline"
)

// Widget is a widget of the service.
type Widget struct {
	ID    string   `json:"id"`
	Color string   `json:"color"`
	Tags  []string `json:"tags,omitempty"`
}

// Patch says what to change of a widget. A Field that is not set stays as it is, and one
// that is null is removed.
type Patch struct {
	Color mergepatch.Field[string]   `json:"color,omitzero"`
	Tags  mergepatch.Field[[]string] `json:"tags,omitzero"`
}

// Options are the settings of a Client. The zero value is right for most programs.
type Options struct {
	// ApplicationID is sent in the User-Agent.
	ApplicationID string
	// Logger logs requests and responses. Nil means that RETRYABLEHTTP_LOG decides.
	Logger *slog.Logger
	// Retry has the settings for retries. Nil means the recommended ones, with an
	// Idempotency-Key, which the service knows.
	Retry *retryablehttp.Client
	// Transport sends the requests. Nil means a shared http.Client.
	Transport pipeline.Transporter
	// Policies are called for each try. They can change the requests in any way.
	Policies []pipeline.Policy
	// AllowHTTP sends the key over plain http, for tests.
	AllowHTTP bool
}

// Client is a client of the service. Any number of goroutines may use it.
type Client struct {
	endpoint string
	pl       pipeline.Pipeline
}

// New returns a Client for an endpoint such as https://widgets.example.com.
func New(endpoint, key string, opts Options) *Client {
	retry := opts.Retry
	if retry == nil {
		retry = retryablehttp.Recommended()
		retry.IdempotencyKey = retryablehttp.NewIdempotencyKey
	}
	policies := []pipeline.Policy{
		pipeline.Telemetry{Module: "example.com/widgets", Version: "v1.0.0", ApplicationID: opts.ApplicationID},
		pipeline.RequestID{},
		pipeline.APIVersion{Name: "api-version", Version: "2026-11-01"},
		pipeline.StatusError{},
		pipeline.Retry{Client: retry},
		pipeline.Headers{},
		pipeline.Key{Header: "X-Api-Key", Value: func() string { return key }, AllowHTTP: opts.AllowHTTP},
	}
	policies = append(policies, opts.Policies...)
	policies = append(policies, pipeline.Logging{Logger: opts.Logger}, pipeline.BodyDownload{})
	return &Client{strings.TrimRight(endpoint, "/"), pipeline.New(opts.Transport, policies...)}
}

// Get returns a widget.
func (c *Client) Get(ctx context.Context, id string, opts ...pipeline.CallOption) (w Widget, err error) {
	req, err := c.newRequest(ctx, http.MethodGet, "/widgets/"+url.PathEscape(id), nil, opts)
	if err != nil {
		return w, err
	}
	err = c.do(req, &w)
	return w, err
}

// Update changes a widget and returns it.
func (c *Client) Update(ctx context.Context, id string, patch Patch, opts ...pipeline.CallOption) (w Widget, err error) {
	req, err := c.newRequest(ctx, http.MethodPatch, "/widgets/"+url.PathEscape(id), nil, opts)
	if err != nil {
		return w, err
	}
	req.Raw().Header.Set("Content-Type", mergepatch.MediaType)
	if err := req.SetJSON(patch); err != nil {
		return w, err
	}
	err = c.do(req, &w)
	return w, err
}

// ListOptions are the settings of List.
type ListOptions struct {
	// PageSize is the number of widgets of a page. 0 leaves it to the service.
	PageSize int
}

// Page is a page of widgets.
type Page struct {
	Widgets  []Widget `json:"widgets"`
	NextLink string   `json:"nextLink"`
}

// List returns a pager over all widgets.
func (c *Client) List(list ListOptions, opts ...pipeline.CallOption) *paging.Pager[Page] {
	query := url.Values{}
	if list.PageSize > 0 {
		query.Set("size", strconv.Itoa(list.PageSize))
	}
	return paging.New(paging.Links(c.pl,
		func(ctx context.Context) (*pipeline.Request, error) {
			return c.newRequest(ctx, http.MethodGet, "/widgets", query, opts)
		},
		func(resp *http.Response) (page Page, next string, err error) {
			err = pipeline.DecodeJSON(resp, &page)
			return page, page.NextLink, err
		}, nil))
}

// BeginPaint begins to paint a widget. The result is the painted widget.
func (c *Client) BeginPaint(ctx context.Context, id, color string, opts ...pipeline.CallOption) (*lro.Poller[Widget], error) {
	req, err := c.newRequest(ctx, http.MethodPost, "/widgets/"+url.PathEscape(id)+"/paint", nil, opts)
	if err != nil {
		return nil, err
	}
	if err := req.SetJSON(map[string]string{"color": color}); err != nil {
		return nil, err
	}
	resp, err := c.pl.Do(req)
	if err != nil {
		return nil, err
	}
	return lro.New[Widget](resp, c.pl, &lro.Options[Widget]{Operation: paint})
}

// ResumePaint returns a poller for the token of one that BeginPaint has returned.
func (c *Client) ResumePaint(token string) (*lro.Poller[Widget], error) {
	return lro.Resume[Widget](token, c.endpoint, c.pl, &lro.Options[Widget]{Operation: paint})
}

const paint = "widgets.paint"

func (c *Client) newRequest(ctx context.Context, method, path string, query url.Values, opts []pipeline.CallOption) (*pipeline.Request, error) {
	req, err := pipeline.NewRequest(ctx, method, c.endpoint+path, opts...)
	if err != nil {
		return nil, err
	}
	req.Raw().URL.RawQuery = query.Encode()
	req.Raw().Header.Set("Accept", "application/json")
	return req, nil
}

func (c *Client) do(req *pipeline.Request, v any) error {
	resp, err := c.pl.Do(req)
	if err != nil {
		return err
	}
	return pipeline.DecodeJSON(resp, v)
}
