// Testing is a small program with a test that needs no server and no patience: see
// main_test.go, in which a stub transport answers and the waits take virtual time.
//
//	go test -v ./examples/testing
//	go run ./examples/testing
package main

import (
	"encoding/json"
	"fmt"
	"log"
	"net/http"
	"net/http/httptest"
	"time"

	"github.com/a0b132ce/retryablehttp"
)

// stock asks a service how many of an item there are. It takes its client as an
// argument, and that is all that a test needs.
func stock(client *retryablehttp.Client, url string) (int, error) {
	resp, err := client.Get(url)
	if err != nil {
		return 0, fmt.Errorf("asking for the stock: %w", err)
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		return 0, fmt.Errorf("asking for the stock: status %d", resp.StatusCode)
	}
	var answer struct{ Stock int }
	if err := json.NewDecoder(resp.Body).Decode(&answer); err != nil {
		return 0, fmt.Errorf("reading the stock: %w", err)
	}
	return answer.Stock, nil
}

func main() {
	log.SetFlags(0)
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		fmt.Fprint(w, `{"stock": 7}`)
	}))
	defer server.Close()

	client := retryablehttp.NewClient()
	client.RetryWaitMin, client.RetryWaitMax = time.Millisecond, 10*time.Millisecond
	n, err := stock(client, server.URL)
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println(n, "in stock; now run go test -v ./examples/testing")
}
