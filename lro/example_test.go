package lro_test

import (
	"context"
	"errors"
	"fmt"
	"log"
	"net/http"
	"net/http/httptest"
	"net/url"
	"time"

	"github.com/a0b132ce/retryablehttp/lro"
	"github.com/a0b132ce/retryablehttp/pipeline"
)

type Disk struct {
	Name string `json:"name"`
	GiB  int    `json:"gib"`
}

// newDiskService starts a service that needs three polls to create a disk.
func newDiskService() *httptest.Server {
	polls := 0
	mux := http.NewServeMux()
	mux.HandleFunc("PUT /disks/{name}", func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Operation-Location", "/operations/7")
		w.WriteHeader(http.StatusAccepted)
	})
	mux.HandleFunc("GET /operations/7", func(w http.ResponseWriter, r *http.Request) {
		state := "Creating"
		if polls++; polls == 3 {
			state = "Succeeded"
		}
		fmt.Fprintf(w, `{"status":%q}`, state)
	})
	mux.HandleFunc("GET /disks/{name}", func(w http.ResponseWriter, r *http.Request) {
		fmt.Fprintf(w, `{"name":%q,"gib":64}`, r.PathValue("name"))
	})
	return httptest.NewServer(mux)
}

// beginCreate sends the request that starts the operation. A client of an API has a method
// like this one for each operation.
func beginCreate(ctx context.Context, pl pipeline.Pipeline, endpoint, name string) (*lro.Poller[Disk], error) {
	req, err := pipeline.NewRequest(ctx, http.MethodPut, endpoint+"/disks/"+name)
	if err != nil {
		return nil, err
	}
	resp, err := pl.Do(req)
	if err != nil {
		return nil, err
	}
	return lro.New(resp, pl, createOptions)
}

var createOptions = &lro.Options[Disk]{
	Operation: "disks.create",
	Wait:      lro.WaitOptions{Interval: 10 * time.Millisecond},
}

func Example() {
	service := newDiskService()
	defer service.Close()
	pl := pipeline.New(service.Client(), pipeline.Retry{})
	ctx := context.Background()

	poller, err := beginCreate(ctx, pl, service.URL, "d1")
	if err != nil {
		log.Panic(err)
	}
	disk, err := poller.PollUntilDone(ctx, nil)
	if err != nil {
		log.Panic(err)
	}
	fmt.Println(disk.Name, disk.GiB)
	// Output: d1 64
}

func ExamplePoller_States() {
	service := newDiskService()
	defer service.Close()
	pl := pipeline.New(service.Client(), pipeline.Retry{})
	ctx := context.Background()

	poller, err := beginCreate(ctx, pl, service.URL, "d1")
	if err != nil {
		log.Panic(err)
	}
	for status, err := range poller.States(ctx) {
		if err != nil {
			log.Panic(err)
		}
		fmt.Println(status.State, status.Text)
	}
	disk, err := poller.Result(ctx)
	fmt.Println(disk.GiB, err)
	// Output:
	// in progress Creating
	// in progress Creating
	// succeeded Succeeded
	// 64 <nil>
}

// The program stops while the operation is in progress. Another one goes on.
func ExampleResume() {
	service := newDiskService()
	defer service.Close()
	pl := pipeline.New(service.Client(), pipeline.Retry{})
	ctx := context.Background()

	poller, err := beginCreate(ctx, pl, service.URL, "d1")
	if err != nil {
		log.Panic(err)
	}
	token, err := poller.ResumeToken()
	if err != nil {
		log.Panic(err)
	}

	poller, err = lro.Resume(token, service.URL, pl, createOptions)
	if err != nil {
		log.Panic(err)
	}
	disk, err := poller.PollUntilDone(ctx, nil)
	fmt.Println(disk.GiB, err)
	// Output: 64 <nil>
}

// A service cancels an operation when it gets a DELETE of the status URL.
func ExamplePoller_URL() {
	state := "Running"
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch r.Method {
		case http.MethodPut:
			w.Header().Set("Operation-Location", "/operations/7")
			w.WriteHeader(http.StatusAccepted)
		case http.MethodDelete:
			state = "Canceled"
			w.WriteHeader(http.StatusNoContent)
		default:
			fmt.Fprintf(w, `{"status":%q}`, state)
		}
	}))
	defer server.Close()
	pl := pipeline.New(server.Client(), pipeline.Retry{})
	ctx := context.Background()

	poller, err := beginCreate(ctx, pl, server.URL, "d1")
	if err != nil {
		log.Panic(err)
	}
	service, err := url.Parse(server.URL)
	if err != nil {
		log.Panic(err)
	}
	req, err := pipeline.NewRequest(ctx, http.MethodDelete, poller.URL(), pipeline.CallOrigin(service))
	if err != nil {
		log.Panic(err)
	}
	resp, err := pl.Do(req)
	if err != nil {
		log.Panic(err)
	}
	resp.Body.Close()
	fmt.Println(resp.StatusCode)
	_, err = poller.PollUntilDone(ctx, nil)
	fmt.Println(err)
	// Output:
	// 204
	// lro: operation canceled
}

func ExampleOperationError() {
	service := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Operation-Location", "/operations/7")
		fmt.Fprint(w, `{"status":"Failed","error":{"code":"QuotaExceeded","message":"too many disks"}}`)
	}))
	defer service.Close()
	pl := pipeline.New(service.Client())
	ctx := context.Background()

	poller, err := beginCreate(ctx, pl, service.URL, "d1")
	if err != nil {
		log.Panic(err)
	}
	_, err = poller.PollUntilDone(ctx, nil)
	fmt.Println(err)
	var failed *lro.OperationError
	fmt.Println(errors.As(err, &failed) && failed.Response.Code == "QuotaExceeded")
	// Output:
	// lro: operation failed: QuotaExceeded: too many disks
	// true
}
