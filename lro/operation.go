package lro

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math"
	"net/http"
	"net/url"
	"time"

	"github.com/a0b132ce/retryablehttp/internal/origin"
	"github.com/a0b132ce/retryablehttp/internal/redact"
	"github.com/a0b132ce/retryablehttp/internal/retryafter"
	"github.com/a0b132ce/retryablehttp/pipeline"
)

// operation holds the part of a Poller that does not depend on T.
type operation struct {
	record
	pl      pipeline.Pipeline
	options []pipeline.CallOption
	maxBody int64
	home    *url.URL      // the original URL
	user    *url.Userinfo // for requests to the origin of home
	last    Status
	body    []byte // of last.Response
}

// record describes an operation in progress. A resume token contains it.
type record struct {
	Name        string     `json:"name,omitempty"` // Options.Operation
	Type        string     `json:"type"`           // of the result
	Protocol    protocol   `json:"protocol"`
	Method      string     `json:"method"` // of the original request
	OriginalURL string     `json:"original"`
	PollURL     string     `json:"poll"`
	LocationURL string     `json:"location,omitempty"` // of the initial response
	Final       FinalState `json:"final,omitempty"`
	Member      string     `json:"member,omitempty"`
	Text        string     `json:"text,omitempty"`     // of the last status, set by ResumeToken
	NotBefore   time.Time  `json:"notBefore,omitzero"` // when the service wants the next poll
}

// begin sets op from the initial response.
func (op *operation) begin(resp *http.Response) error {
	if resp == nil {
		return errors.New("lro: nil response")
	}
	body, readErr := op.load(resp)
	if !op.Final.known() {
		return fmt.Errorf("lro: unknown FinalState %q", op.Final)
	}
	if resp.Request == nil || resp.Request.URL == nil {
		return errors.New("lro: the response has no Request")
	}
	if !success(resp) {
		return fmt.Errorf("lro: starting the operation: %w", pipeline.NewResponseError(resp))
	}
	first := origin.FirstRequest(resp.Request)
	original, err := resolve(nil, first.URL.String())
	if err != nil {
		return fmt.Errorf("lro: the URL of the original request: %w", err)
	}
	op.Method, op.OriginalURL = first.Method, original
	op.home, op.user = first.URL, first.URL.User
	if err := op.detect(resp, body); err != nil {
		return err
	}
	if readErr != nil {
		switch {
		case op.Protocol == protocolBody: // the URL has the state
			op.last.State = InProgress
		case op.last.State == Succeeded: // the body is the result
			return readErr
		case op.Protocol == protocolLocation && resp.StatusCode == http.StatusAccepted: // the body has the protocol
			return readErr
		}
	}
	op.obey(resp)
	op.log(resp.Request.Context(), slog.LevelInfo, "operation started",
		slog.String("protocol", string(op.Protocol)), slog.String("url", op.shown()), slog.Any("state", op.last.State))
	return nil
}

// poll asks for the status and returns it.
func (op *operation) poll(ctx context.Context) (Status, error) {
	if op.last.State != InProgress {
		return op.last, nil
	}
	err := op.ask(ctx)
	if err != nil {
		op.log(ctx, slog.LevelWarn, "poll failed", slog.String("url", op.shown()), slog.Any("error", err))
	} else {
		op.log(ctx, slog.LevelInfo, "operation polled",
			slog.String("url", op.shown()), slog.Any("state", op.last.State), slog.String("text", op.last.Text))
	}
	return op.last, err
}

// shown returns PollURL without secrets, for log records.
func (op *operation) shown() string {
	u, _ := url.Parse(op.PollURL) // resolve has made it
	return op.pl.RedactURL(u)
}

// ask sends a request for the status and sets it.
func (op *operation) ask(ctx context.Context) error {
	resp, body, err := op.get(ctx, "polling", op.PollURL)
	if err != nil {
		return err
	}
	status, err := op.read(resp, body)
	if err != nil {
		return err
	}
	if op.Protocol == protocolLocation && status.State == InProgress {
		next, err := link(resp, "Location")
		if err != nil {
			return err
		}
		op.PollURL = cmp.Or(next, op.PollURL)
	}
	op.last, op.body = status, body
	return nil
}

// obey sets NotBefore from the Retry-After of resp.
func (op *operation) obey(resp *http.Response) {
	op.NotBefore = time.Time{}
	if wait, ok := retryafter.Of(resp.Header); ok {
		op.NotBefore = time.Now().Add(wait)
	}
}

// get sends a GET request and returns the response, whatever its status, and its body. A body
// that cannot be read is nil, and an error only if the status is 2xx.
func (op *operation) get(ctx context.Context, purpose, target string) (*http.Response, []byte, error) {
	options := append([]pipeline.CallOption{pipeline.CallOrigin(op.home)}, op.options...)
	req, err := pipeline.NewRequest(ctx, http.MethodGet, target, options...)
	if err != nil {
		return nil, nil, fmt.Errorf("lro: %s: %w", purpose, err)
	}
	if !req.Foreign() {
		req.Raw().URL.User = op.user
	}
	resp, err := op.pl.Do(req)
	// A policy such as StatusError returns the response within an error. An error around it
	// is about something else, such as the request for a token.
	if status, ok := err.(*pipeline.ResponseError); ok && status.Response != nil {
		resp, err = status.Response, nil
	}
	if err != nil {
		return nil, nil, fmt.Errorf("lro: %s: %w", purpose, err)
	}
	if resp.Request == nil || resp.Request.URL == nil {
		resp.Request = req.Raw()
	}
	if resp.Header == nil {
		resp.Header = http.Header{}
	}
	op.obey(resp)
	body, err := op.load(resp)
	if err != nil && resp.StatusCode/100 == 2 {
		return nil, nil, err
	}
	return resp, body, nil
}

// load reads the body of a response into memory and closes it.
func (op *operation) load(resp *http.Response) ([]byte, error) {
	if resp.Body == nil {
		resp.Body = http.NoBody
	}
	body, err := io.ReadAll(io.LimitReader(resp.Body, min(op.maxBody, math.MaxInt64-1)+1))
	resp.Body.Close()
	switch {
	case err != nil:
		err = fmt.Errorf("lro: reading the response body: %w", redact.Error(err, redact.URL))
	case int64(len(body)) > op.maxBody:
		err = &ProtocolError{fmt.Sprintf("the response body is larger than %d bytes", op.maxBody), resp}
	}
	if err != nil {
		body = nil
	}
	resp.Body = io.NopCloser(bytes.NewReader(body))
	return body, err
}

// withBody returns a copy of a response with another body.
func withBody(resp *http.Response, body []byte) *http.Response {
	copied := *resp
	copied.Body, copied.ContentLength = io.NopCloser(bytes.NewReader(body)), int64(len(body))
	return &copied
}

// log writes a record in the category lro of the pipeline's log.
func (op *operation) log(ctx context.Context, level slog.Level, message string, attrs ...slog.Attr) {
	op.pl.Log(ctx, pipeline.LogLRO, level, message, attrs...)
}
