package hedge_test

import (
	"fmt"
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"sync/atomic"
	"time"

	"github.com/a0b132ce/retryablehttp"
	"github.com/a0b132ce/retryablehttp/hedge"
)

// slowOnce starts a server whose second response never comes.
func slowOnce() *httptest.Server {
	var requests atomic.Int32
	return httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if requests.Add(1) == 2 {
			<-r.Context().Done()
			return
		}
		fmt.Fprint(w, "hello")
	}))
}

// A client whose attempts are hedged. Most programs need only Base; a test with few
// requests needs a fixed Delay and a larger Budget.
func Example() {
	server := slowOnce()
	defer server.Close()

	client := retryablehttp.NewClient()
	defer client.HTTPClient.CloseIdleConnections()
	client.HTTPClient.Transport = &hedge.Transport{
		Base:   client.HTTPClient.Transport,
		Delay:  50 * time.Millisecond,
		Budget: &retryablehttp.Budget{Ratio: 1}, // as many second attempts as good responses
	}
	for range 2 {
		resp, err := client.Get(server.URL)
		if err != nil {
			log.Fatal(err)
		}
		body, err := io.ReadAll(resp.Body)
		if err != nil {
			log.Fatal(err)
		}
		resp.Body.Close()
		fmt.Println(string(body))
	}
	// Output:
	// hello
	// hello
}

// The second attempt goes to a replica. OnHedge counts.
func ExampleTransport() {
	server, replica := slowOnce(), slowOnce()
	defer server.Close()
	defer replica.Close()

	var sent, won atomic.Int32
	transport := &hedge.Transport{
		Alternative: &toHost{replica.Listener.Addr().String()},
		Delay:       50 * time.Millisecond,
		Budget:      &retryablehttp.Budget{Ratio: 1},
		OnHedge: func(h hedge.Hedge) {
			if h.Sent {
				sent.Add(1)
			}
			if h.Won {
				won.Add(1)
			}
		},
	}
	client := &http.Client{Transport: transport}
	for range 3 {
		resp, err := client.Get(server.URL)
		if err != nil {
			log.Fatal(err)
		}
		io.Copy(io.Discard, resp.Body)
		resp.Body.Close()
	}
	fmt.Println(sent.Load(), "second attempts,", won.Load(), "won")
	// Output: 1 second attempts, 1 won
}

// toHost sends requests to another host. It sends a copy of the request, because a
// transport must not modify the request that it is given.
type toHost struct{ host string }

func (t *toHost) RoundTrip(req *http.Request) (*http.Response, error) {
	req = req.Clone(req.Context())
	req.URL.Host = t.host
	return http.DefaultTransport.RoundTrip(req)
}
