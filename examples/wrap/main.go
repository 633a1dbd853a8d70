// Wrap adds retries to an existing http.Client, which keeps its transport, cookie jar,
// redirects and Timeout.
//
//	go run ./examples/wrap
package main

import (
	"fmt"
	"io"
	"log"
	"net/http"
	"net/http/cookiejar"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"time"

	"github.com/a0b132ce/retryablehttp"
)

func main() {
	log.SetFlags(0)
	server := httptest.NewServer(newShop())
	defer server.Close()

	jar, err := cookiejar.New(nil)
	if err != nil {
		log.Fatal(err)
	}
	existing := &http.Client{
		Transport: &http.Transport{MaxIdleConnsPerHost: 10},
		Jar:       jar,
		Timeout:   10 * time.Second, // limits all hops and attempts together
	}
	addRetries(existing)

	// The rest of the program is unchanged.
	resp, err := existing.Post(server.URL+"/login", "text/plain", strings.NewReader("name=gopher"))
	if err != nil {
		log.Fatal(err)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		log.Fatal(err)
	}
	fmt.Printf("%s: %s\n", resp.Status, body)
	if string(body) != "welcome, gopher" {
		log.Fatal("unexpected response")
	}
}

// addRetries puts a RoundTripper in front of the client's transport.
func addRetries(existing *http.Client) {
	retrying := retryablehttp.NewClient()
	retrying.RetryWaitMin, retrying.RetryWaitMax = 10*time.Millisecond, 100*time.Millisecond
	retrying.OnAttempt = func(a retryablehttp.Attempt) {
		outcome := fmt.Sprint(a.Err)
		if a.Response != nil {
			outcome = a.Response.Status
		}
		fmt.Printf("%-4s %-6s attempt %d: %s\n", a.Request.Method, a.Request.URL.Path, a.Number, outcome)
	}
	existing.Transport = &retryablehttp.RoundTripper{Client: retrying, Base: existing.Transport}
}

// newShop returns a handler that fails the first request for each page with a 503.
// /login sets a cookie and redirects.
func newShop() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("/login", failFirst(func(w http.ResponseWriter, r *http.Request) {
		form, _ := io.ReadAll(r.Body)
		http.SetCookie(w, &http.Cookie{Name: "name", Value: strings.TrimPrefix(string(form), "name=")})
		http.Redirect(w, r, "/home", http.StatusSeeOther)
	}))
	mux.HandleFunc("/home", failFirst(func(w http.ResponseWriter, r *http.Request) {
		name, err := r.Cookie("name")
		if err != nil {
			http.Error(w, "who are you?", http.StatusUnauthorized)
			return
		}
		fmt.Fprintf(w, "welcome, %s", name.Value)
	}))
	return mux
}

func failFirst(next http.HandlerFunc) http.HandlerFunc {
	var requests atomic.Int32
	return func(w http.ResponseWriter, r *http.Request) {
		if requests.Add(1) == 1 {
			w.WriteHeader(http.StatusServiceUnavailable)
			return
		}
		next(w, r)
	}
}
