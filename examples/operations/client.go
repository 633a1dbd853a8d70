package main

import (
	"context"
	"fmt"
	"net/http"
	"os"
	"time"

	"github.com/a0b132ce/retryablehttp"
	"github.com/a0b132ce/retryablehttp/lro"
	"github.com/a0b132ce/retryablehttp/pipeline"
)

// newPipeline returns a pipeline that repeats a POST with the same Idempotency-Key, so that
// a job is begun once even if a response is lost.
func newPipeline() pipeline.Pipeline {
	client := retryablehttp.Recommended()
	client.RetryWaitMin = 50 * time.Millisecond
	client.IdempotencyKey = retryablehttp.NewIdempotencyKey
	return pipeline.New(nil, pipeline.StatusError{}, pipeline.Retry{Client: client}, pipeline.BodyDownload{})
}

// begin asks for a report, saves the token of the operation, and waits.
func begin(endpoint, file string) {
	ctx, pl := context.Background(), newPipeline()
	req := must(pipeline.NewRequest(ctx, http.MethodPost, endpoint+"/reports"))
	check(req.SetJSON(Request{Title: "The year"}))
	poller := must(lro.New[Report](must(pl.Do(req)), pl, nil))
	token := must(poller.ResumeToken())
	check(os.WriteFile(file, []byte(token), 0o600)) // it may hold secrets of the URL
	fmt.Println("token saved")
	must(poller.PollUntilDone(ctx, nil))
}

// resume waits for the operation whose token is in the file.
func resume(endpoint, file string) {
	token := string(must(os.ReadFile(file)))
	options := &lro.Options[Report]{Wait: lro.WaitOptions{Interval: 100 * time.Millisecond}}
	poller := must(lro.Resume(token, endpoint, newPipeline(), options))
	for status, err := range poller.States(context.Background()) {
		check(err)
		if status.State == lro.InProgress {
			fmt.Printf("in progress, %d %%\n", status.Progress)
		}
	}
	report := must(poller.Result(context.Background()))
	fmt.Printf("the report %q has %d pages\n", report.Title, report.Pages)
}
