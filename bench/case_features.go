package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"time"

	"github.com/a0b132ce/retryablehttp"
)

// A feature is one that can be on or off. Its cost is that of a call beside the same call
// of the same library without it.
type feature struct {
	name, title string
	method      string
	newBody     func() any // for each call; nil: none, with a request that is prepared once
	answer      func() *http.Response
	ctx         context.Context
	set         func(*retryablehttp.Client)
	limit       float64 // allocations that the feature may add
}

// features measures what each feature costs where it is on, and that it costs nothing
// where it is off.
func (b *bench) features() error {
	if err := b.featuresOff(); err != nil {
		return err
	}
	return b.featuresOn()
}

// featuresOff compares calls to which the features would apply with those of net/http.
// NewClient sets none of them.
func (b *bench) featuresOff() error {
	t := &table{
		title:  "Features that are off, 200 at once, stub transport",
		note:   "Each row is a call for which the feature could do something, by a RoundTripper on which it is not set. Beside it is the same call by net/http.",
		header: []string{"", "time per call", "ratio", "allocations", "above"},
	}
	get := func(do func(*http.Request) (*http.Response, error)) (call, error) {
		req, err := http.NewRequest(http.MethodGet, featureURL, nil)
		return func() (*http.Response, error) { return do(req) }, err
	}
	post := func(do func(*http.Request) (*http.Response, error)) (call, error) {
		return func() (*http.Response, error) {
			req, err := http.NewRequest(http.MethodPost, featureURL, strings.NewReader(featureBody))
			if err != nil {
				return nil, err
			}
			return do(req)
		}, nil
	}
	for _, row := range []struct {
		name, title string
		prepare     func(func(*http.Request) (*http.Response, error)) (call, error)
		answer      func() *http.Response
	}{
		{"idempotency-key", "`IdempotencyKey`, `SafeRetryPolicy`: POST of 1 KiB", post, nil},
		{"body-max", "`BodyMax`: GET, a body of 1 KiB", get, objectAnswer},
		{"resume-max", "`ResumeMax`: GET, a body of 1 KiB with an ETag", get, objectAnswer},
		{"overrides", "`WithRetryMax`, `WithCheckRetry`: GET", get, nil},
		{"replay-max", "`ReplayMax`: POST of 1 KiB with a GetBody", post, nil},
	} {
		plain := &http.Client{Transport: &featureStub{answer: row.answer}}
		ours := newOurs(&featureStub{answer: row.answer}, settings{Retries: 2}).StandardClient()
		rows, err := b.featureRace(
			func() (call, error) { return row.prepare(plain.Do) },
			func() (call, error) { return row.prepare(ours.Do) })
		if err != nil {
			return err
		}
		writeFeature(t, row.title, rows)
		b.atMost("feature-off-"+row.name+"-allocs", float64(rows[1].allocs-rows[0].allocs), 0, "allocations above net/http", rows[1].err)
	}
	t.write(b.out)
	return nil
}

func (b *bench) featuresOn() error {
	t := &table{
		title:  "Features that are on, 200 at once, stub transport",
		note:   "Beside each is the same call by the same client without the feature.",
		header: []string{"", "time per call", "ratio", "allocations", "above"},
	}
	bytes := func() any { return []byte(featureBody) }
	overridden := retryablehttp.WithCheckRetry(retryablehttp.WithRetryMax(context.Background(), 1), retryablehttp.DefaultRetryPolicy)
	for _, f := range []feature{
		{
			name: "safe-policy-get", title: "`SafeRetryPolicy`, GET", method: http.MethodGet,
			set: func(c *retryablehttp.Client) { c.CheckRetry = retryablehttp.SafeRetryPolicy }, limit: 0,
		},
		{
			name: "safe-policy-post", title: "`SafeRetryPolicy`, POST of 1 KiB", method: http.MethodPost, newBody: bytes,
			set: func(c *retryablehttp.Client) { c.CheckRetry = retryablehttp.SafeRetryPolicy }, limit: 12,
		},
		{
			name: "idempotency-key-post", title: "`IdempotencyKey`, `NewIdempotencyKey`, POST of 1 KiB", method: http.MethodPost, newBody: bytes,
			set: func(c *retryablehttp.Client) { c.IdempotencyKey = retryablehttp.NewIdempotencyKey }, limit: 16,
		},
		{
			name: "safe-policy-and-key-post", title: "`SafeRetryPolicy` and `IdempotencyKey`, POST of 1 KiB", method: http.MethodPost, newBody: bytes,
			set: func(c *retryablehttp.Client) {
				c.CheckRetry, c.IdempotencyKey = retryablehttp.SafeRetryPolicy, retryablehttp.NewIdempotencyKey
			}, limit: 16,
		},
		{
			name: "body-max", title: "`BodyMax`, GET, a body of 1 KiB", method: http.MethodGet, answer: objectAnswer,
			set: func(c *retryablehttp.Client) { c.BodyMax = 1 << 20 }, limit: 8,
		},
		{
			name: "body-max-longer", title: "`BodyMax`, GET, a body that is announced as longer", method: http.MethodGet, answer: objectAnswer,
			set: func(c *retryablehttp.Client) { c.BodyMax = 16 }, limit: 0,
		},
		{
			name: "resume-max", title: "`ResumeMax`, GET, a body of 1 KiB with an ETag", method: http.MethodGet, answer: objectAnswer,
			set: func(c *retryablehttp.Client) { c.ResumeMax = 10 }, limit: 2,
		},
		{
			name: "overrides", title: "`WithRetryMax` and `WithCheckRetry` in the context, GET", method: http.MethodGet,
			ctx: overridden, limit: 0,
		},
		{
			name: "replay-max-negative", title: "POST of 1 KiB from a reader that can be read once, nothing kept", method: http.MethodPost,
			newBody: func() any { return onceReader{strings.NewReader(featureBody)} },
			set:     func(c *retryablehttp.Client) { c.ReplayMax = -1 }, limit: 0,
		},
	} {
		rows, err := b.featureRace(
			func() (call, error) { return f.prepare(false) },
			func() (call, error) { return f.prepare(true) })
		if err != nil {
			return err
		}
		writeFeature(t, f.title, rows)
		b.atMost("feature-on-"+f.name+"-allocs", float64(rows[1].allocs-rows[0].allocs), f.limit, "allocations above the same client without it", rows[1].err)
	}
	// A body that can be read once has no form without ReplayMax; it is compared with the same
	// bytes given as such.
	once := feature{method: http.MethodPost, newBody: func() any { return onceReader{strings.NewReader(featureBody)} }}
	memory := feature{method: http.MethodPost, newBody: bytes}
	rows, err := b.featureRace(
		func() (call, error) { return memory.prepare(false) },
		func() (call, error) { return once.prepare(true) })
	if err != nil {
		return err
	}
	writeFeature(t, "POST of 1 KiB from a reader that can be read once, kept (beside it a []byte)", rows)
	b.atMost("feature-on-replay-max-allocs", float64(rows[1].allocs-rows[0].allocs), 15, "allocations above a []byte", rows[1].err)
	t.write(b.out)
	return nil
}

const featureURL = "http://stub.example/thing"

var featureBody = strings.Repeat("x", 1024)

// objectAnswer is an answer that BodyMax and ResumeMax have something to do with.
func objectAnswer() *http.Response {
	return &http.Response{
		StatusCode:    http.StatusOK,
		Header:        http.Header{"Etag": {`"1"`}},
		ContentLength: 1024,
		Body:          &stubBody{left: 1024},
	}
}

// featureStub is a stub with an answer of its own.
type featureStub struct {
	stub
	answer func() *http.Response
}

func (s *featureStub) RoundTrip(req *http.Request) (*http.Response, error) {
	resp, err := s.stub.RoundTrip(req)
	if err != nil || s.answer == nil {
		return resp, err
	}
	resp = s.answer()
	resp.Request = req
	return resp, nil
}

// onceReader hides what else its reader can do.
type onceReader struct{ r io.Reader }

func (r onceReader) Read(p []byte) (int, error) { return r.r.Read(p) }

func (f *feature) prepare(on bool) (call, error) {
	client := newOurs(&featureStub{answer: f.answer}, settings{Retries: 2})
	ctx := context.Background()
	if on && f.set != nil {
		f.set(client)
	}
	if on && f.ctx != nil {
		ctx = f.ctx
	}
	if f.newBody == nil {
		req, err := retryablehttp.NewRequestWithContext(ctx, f.method, featureURL, nil)
		return func() (*http.Response, error) { return client.Do(req) }, err
	}
	return func() (*http.Response, error) {
		req, err := retryablehttp.NewRequestWithContext(ctx, f.method, featureURL, f.newBody())
		if err != nil {
			return nil, err
		}
		return client.Do(req)
	}, nil
}

// featureRace times two calls beside each other and counts their allocations.
func (b *bench) featureRace(prepare ...func() (call, error)) ([]stubRow, error) {
	rows := make([]stubRow, len(prepare))
	racers := make([]racer, len(prepare))
	for i, p := range prepare {
		c, err := p()
		if err != nil {
			return nil, err
		}
		if rows[i].allocs, err = allocs(c); err != nil {
			return nil, errors.Join(errors.New("counting allocations"), err)
		}
		racers[i] = racer{fmt.Sprint(i), times(c)}
	}
	for i, t := range b.race(racers, pick(b, 2*b.rounds, 3), pick(b, 5*time.Millisecond, 2*time.Millisecond)) {
		rows[i].timing = t
	}
	return rows, nil
}

func writeFeature(t *table, title string, rows []stubRow) {
	row := rows[1]
	if row.err != nil {
		t.addFailed(title, row.err)
		return
	}
	t.add(title, formatDuration(row.perOp), fmt.Sprintf("%.3f", row.ratio), row.allocs, fmt.Sprintf("%+d", row.allocs-rows[0].allocs))
}
