// Pipeline uses the client of a widget service, which is in the folder widgets, against a
// server of which every third request fails: it is refused, or its response is lost or cut
// off. It shows requests, pages, a merge patch and an operation that takes a while.
//
//	go run ./examples/pipeline
package main

import (
	"context"
	"errors"
	"fmt"
	"log"
	"net/http"
	"time"

	"github.com/a0b132ce/retryablehttp"
	"github.com/a0b132ce/retryablehttp/examples/pipeline/widgets"
	"github.com/a0b132ce/retryablehttp/lro"
	"github.com/a0b132ce/retryablehttp/mergepatch"
	"github.com/a0b132ce/retryablehttp/paging"
	"github.com/a0b132ce/retryablehttp/pipeline"
)

func main() {
	log.SetFlags(0)
	service, server := newService()
	defer server.Close()
	retry := retryablehttp.Recommended()
	retry.RetryWaitMin = 10 * time.Millisecond
	retry.IdempotencyKey = retryablehttp.NewIdempotencyKey
	client := widgets.New(server.URL, "secret", widgets.Options{
		Retry:     retry,
		AllowHTTP: true, // the server of this example has no certificate
	})
	ctx := context.Background()

	fmt.Println("Get: the error of the service has its code and message")
	_, err := client.Get(ctx, "w99")
	fmt.Println("  ", err)
	check(errors.Is(err, &pipeline.ResponseError{StatusCode: http.StatusNotFound}), "the error is a 404")

	fmt.Println("List: 25 widgets in pages of 10")
	count := 0
	page := func(p widgets.Page) []widgets.Widget { return p.Widgets }
	for widget, err := range paging.Items(ctx, client.List(widgets.ListOptions{PageSize: 10}), page) {
		must(widget, err)
		count++
	}
	check(count == 25, "the loop has seen %d widgets", count)

	fmt.Println("Update: a new color, and no tags")
	widget := must(client.Update(ctx, "w7", widgets.Patch{
		Color: mergepatch.Of("blue"),
		Tags:  mergepatch.Null[[]string](),
	}))
	check(widget.Color == "blue" && widget.Tags == nil, "the widget is %+v", widget)

	fmt.Println("BeginPaint: another client resumes the operation")
	poller := must(client.BeginPaint(ctx, "w7", "green"))
	token := must(poller.ResumeToken())
	poller = must(client.ResumePaint(token))
	widget = must(poller.PollUntilDone(ctx, &lro.WaitOptions{Interval: 50 * time.Millisecond}))
	check(widget.Color == "green" && service.painted == 1, "the widget is %s and was painted once", widget.Color)

	fmt.Println("BeginPaint: the operation fails")
	poller = must(client.BeginPaint(ctx, "w8", "invisible"))
	_, err = poller.PollUntilDone(ctx, &lro.WaitOptions{Interval: 50 * time.Millisecond})
	fmt.Println("  ", err)
	var failed *lro.OperationError
	check(errors.As(err, &failed) && failed.State == lro.Failed, "the error says so")

	fmt.Printf("%d of %d requests have failed\n", service.faults, service.requests)
}

// check prints what was found, and ends the program if it is not so.
func check(ok bool, format string, args ...any) {
	if !ok {
		log.Fatalf("   not true: "+format, args...)
	}
	fmt.Printf("   ok: "+format+"\n", args...)
}

func must[T any](v T, err error) T {
	if err != nil {
		log.Fatal(err)
	}
	return v
}
