// Wrap gives retries to an http.Client that a program has already: with its
// cookies, its redirects and its Timeout.
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
		Jar:     jar,
		Timeout: 10 * time.Second, // now bounds a hop with all its attempts
	}
	addRetries(existing)

	// From here on the program is as it was: a plain http.Client.
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
		log.Fatal("the cookie or the body was lost on the way")
	}
}

// addRetries puts a RoundTripper between the client and the transport it had.
func addRetries(hc *http.Client) {
	retrying := retryablehttp.NewClient()
	retrying.HTTPClient = &http.Client{Transport: hc.Transport} // nil is http.DefaultTransport
	retrying.RetryWaitMin, retrying.RetryWaitMax = 10*time.Millisecond, 100*time.Millisecond
	retrying.OnAttempt = func(a retryablehttp.Attempt) {
		outcome := fmt.Sprint(a.Err)
		if a.Response != nil {
			outcome = a.Response.Status
		}
		fmt.Printf("%-4s %-6s attempt %d: %s\n", a.Request.Method, a.Request.URL.Path, a.Number, outcome)
	}
	hc.Transport = &retryablehttp.RoundTripper{Client: retrying}
}

// newShop answers every page with a 503 first. /login sets a cookie and redirects.
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
