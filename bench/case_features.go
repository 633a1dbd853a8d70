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

// A feature is optional. Its cost is the difference between a call of this library with
// it and the same call without it.
type feature struct {
	title   string
	newBody func() any // called for each POST; nil means a GET with a request that is prepared once
	without func() any // newBody of the call without the feature; nil means the same
	object  bool       // as in stub
	ctx     context.Context
	set     func(*retryablehttp.Client)
}

// features measures what a call that succeeds at once pays for each feature that is on. A
// call without features is in the tables of success.
func (b *bench) features() error {
	data := strings.Repeat("x", 1024)
	memory := func() any { return []byte(data) }
	reader := func() any { return opaqueReader{io.NopCloser(strings.NewReader(data))} }
	overridden := retryablehttp.WithCheckRetry(retryablehttp.WithRetryMax(context.Background(), 1), retryablehttp.DefaultRetryPolicy)
	t := &table{
		title:  "200 at the first attempt, no network",
		note:   "`Client`, beside the same call of the same `Client` without the feature.",
		header: []string{"", "time per call", "ratio", "allocations", "more"},
	}
	for _, f := range []feature{
		{
			title: "`SafeRetryPolicy`, GET",
			set:   func(c *retryablehttp.Client) { c.CheckRetry = retryablehttp.SafeRetryPolicy },
		},
		{
			title: "`SafeRetryPolicy`, POST of 1 KiB", newBody: memory,
			set: func(c *retryablehttp.Client) { c.CheckRetry = retryablehttp.SafeRetryPolicy },
		},
		{
			title: "`IdempotencyKey: NewIdempotencyKey`, POST of 1 KiB", newBody: memory,
			set: func(c *retryablehttp.Client) { c.IdempotencyKey = retryablehttp.NewIdempotencyKey },
		},
		{
			title: "`AttemptTimeout`, GET",
			set:   func(c *retryablehttp.Client) { c.AttemptTimeout = time.Minute },
		},
		{
			title: "`OnAttempt`, GET",
			set:   func(c *retryablehttp.Client) { c.OnAttempt = func(retryablehttp.Attempt) {} },
		},
		{
			title: "`BufferMax`, GET, response body of 1 KiB", object: true,
			set: func(c *retryablehttp.Client) { c.BufferMax = 1 << 20 },
		},
		{
			title: "`BufferMax`, GET, response body with a larger Content-Length", object: true,
			set: func(c *retryablehttp.Client) { c.BufferMax = 16 },
		},
		{
			title: "`ResumeMax`, GET, response body of 1 KiB with an ETag", object: true,
			set: func(c *retryablehttp.Client) { c.ResumeMax = 10 },
		},
		{
			title: "`WithRetryMax` and `WithCheckRetry` in the context, GET",
			ctx:   overridden,
		},
		{
			title:   "POST of 1 KiB from a reader that can be read only once, beside a `[]byte`",
			newBody: reader, without: memory,
		},
		{
			title: "`ReplayMax: -1`, POST of 1 KiB from a reader that can be read only once", newBody: reader,
			set: func(c *retryablehttp.Client) { c.ReplayMax = -1 },
		},
	} {
		rows, err := b.featureRace(f)
		if err != nil {
			return err
		}
		without, with := rows[0], rows[1]
		if with.err != nil {
			t.addFailed(f.title, with.err)
		} else {
			t.add(f.title, formatDuration(with.perOp), formatRatio(with.ratio), with.allocs, fmt.Sprintf("%+d", with.allocs-without.allocs))
		}
	}
	t.write(b.out)
	return nil
}

func (f feature) prepare() (call, error) {
	client := newOurs((&stub{object: f.object}).behindTransport(), settings{Retries: 2})
	if f.set != nil {
		f.set(client)
	}
	ctx := request{Context: f.ctx}.context()
	if f.newBody == nil {
		req, err := retryablehttp.NewRequestWithContext(ctx, http.MethodGet, stubURL, nil)
		return func() (*http.Response, error) { return client.Do(req) }, err
	}
	return func() (*http.Response, error) {
		req, err := retryablehttp.NewRequestWithContext(ctx, http.MethodPost, stubURL, f.newBody())
		if err != nil {
			return nil, err
		}
		return client.Do(req)
	}, nil
}

// featureRace times a call without and with the feature and counts the allocations.
func (b *bench) featureRace(f feature) ([]stubRow, error) {
	off := f
	off.set, off.ctx = nil, nil
	if f.without != nil {
		off.newBody = f.without
	}
	rows := make([]stubRow, 2)
	racers := make([]racer, 2)
	for i, variant := range []feature{off, f} {
		c, err := variant.prepare()
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
