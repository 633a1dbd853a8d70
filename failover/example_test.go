package failover_test

import (
	"fmt"
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"time"

	"github.com/a0b132ce/retryablehttp"
	"github.com/a0b132ce/retryablehttp/failover"
)

// newBackend starts a server that responds with its name, the Host and the path.
func newBackend(name string) *httptest.Server {
	return httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		fmt.Fprintf(w, "%s: %s %s", name, r.Method, r.URL.Path)
	}))
}

// show prints the body of resp, or err.
func show(resp *http.Response, err error) {
	if err != nil {
		fmt.Println("error:", err)
		return
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		log.Panic(err)
	}
	fmt.Println(string(body))
}

// The first endpoint is down. The call succeeds at its first attempt.
func Example() {
	first, second := newBackend("first"), newBackend("second")
	defer second.Close()
	first.Close()

	client := retryablehttp.NewClient()
	client.CheckRetry = retryablehttp.SafeRetryPolicy
	client.AttemptTimeout = 5 * time.Second
	client.OnAttempt = func(a retryablehttp.Attempt) {
		fmt.Println("attempt", a.Number)
	}
	backends := &failover.Transport{Service: "orders", Base: client.HTTPClient.Transport}
	err := backends.SetEndpoints(
		failover.Endpoint{URL: first.URL + "/v1"},
		failover.Endpoint{URL: second.URL + "/v1"},
	)
	if err != nil {
		log.Panic(err)
	}
	client.HTTPClient.Transport = backends
	defer client.CloseIdleConnections()

	show(client.Post("http://orders/things", "text/plain", "a thing"))
	for _, s := range backends.Endpoints() {
		fmt.Println("failures:", s.Failures)
	}
	// Output:
	// attempt 1
	// second: POST /v1/things
	// failures: 1
	// failures: 0
}

// Endpoints can be replaced at any time, for example when a service discovery reports a
// change.
func ExampleTransport_SetEndpoints() {
	old, new := newBackend("old"), newBackend("new")
	defer old.Close()
	defer new.Close()

	backends := &failover.Transport{Service: "orders"}
	client := &http.Client{Transport: backends}
	defer client.CloseIdleConnections()
	for _, server := range []*httptest.Server{old, new} {
		if err := backends.SetEndpoints(failover.Endpoint{URL: server.URL}); err != nil {
			log.Panic(err)
		}
		show(client.Get("http://orders/things"))
	}
	fmt.Println(backends.SetEndpoints(failover.Endpoint{URL: "orders-1:8080"}))
	// Output:
	// old: GET /things
	// new: GET /things
	// failover: endpoint 1: URL has scheme "orders-1", not http or https
}

// An endpoint that is addressed by its IP address has a name for TLS and for the Host
// header, and credentials that no other endpoint is sent.
func ExampleEndpoint() {
	server := httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		fmt.Fprintln(w, "Host:", r.Host)
		fmt.Fprintln(w, "TLS name:", r.TLS.ServerName)
		fmt.Fprint(w, "credentials: ", r.Header.Get("Authorization"))
	}))
	defer server.Close()

	backends := &failover.Transport{
		Service: "orders",
		Base:    server.Client().Transport, // trusts the server's certificate
	}
	err := backends.SetEndpoints(failover.Endpoint{
		URL:        server.URL, // https://127.0.0.1:port
		Host:       "example.com",
		ServerName: "example.com",
		Header:     http.Header{"Authorization": {"Bearer 123"}},
	})
	if err != nil {
		log.Panic(err)
	}
	client := &http.Client{Transport: backends}
	defer client.CloseIdleConnections()
	show(client.Get("https://orders/things"))
	// Output:
	// Host: example.com
	// TLS name: example.com
	// credentials: Bearer 123
}

// OnChange tells when an endpoint fails and when it is back.
func ExampleTransport_onChange() {
	server := newBackend("server")
	defer server.Close()

	backends := &failover.Transport{
		Service: "orders",
		RestMin: time.Nanosecond, // the default is 1 s
		RestMax: time.Nanosecond,
		OnChange: func(s failover.Status) {
			if s.Failures > 0 {
				fmt.Println("failed:", s.Err)
			} else {
				fmt.Println("is well")
			}
		},
	}
	if err := backends.SetEndpoints(failover.Endpoint{URL: server.URL}); err != nil {
		log.Panic(err)
	}
	client := &http.Client{Transport: backends}
	defer client.CloseIdleConnections()

	serving := server.Config.Handler
	server.Config.Handler = http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		http.Error(w, "down for maintenance", http.StatusServiceUnavailable)
	})
	resp, err := client.Get("http://orders/things")
	if err != nil {
		log.Panic(err)
	}
	resp.Body.Close()
	server.Config.Handler = serving
	show(client.Get("http://orders/things"))
	// Output:
	// failed: HTTP status 503 Service Unavailable
	// is well
	// server: GET /things
}
