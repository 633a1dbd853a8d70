package problem_test

import (
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"

	"github.com/a0b132ce/retryablehttp/problem"
)

// findOrder returns a problem as its error.
func findOrder(id string) error {
	p := problem.New(http.StatusNotFound, "there is no order "+id)
	p.Extensions = map[string]any{"code": "ORDER-404"}
	return p
}

// A server writes a problem with an extension member, and its client reads it.
func Example() {
	handler := func(w http.ResponseWriter, r *http.Request) {
		err := findOrder(r.URL.Query().Get("id"))
		var p problem.Problem
		if errors.As(err, &p) {
			problem.Write(w, p.Status, p)
		}
	}
	w := httptest.NewRecorder()
	handler(w, httptest.NewRequest("GET", "/orders?id=7", nil))
	resp := w.Result()
	defer resp.Body.Close()

	fmt.Println(resp.StatusCode, resp.Header.Get("Content-Type"))
	p, err := problem.Decode(resp.Body)
	fmt.Println(p, err)
	fmt.Println(p.Type, p.Extensions["code"])
	// Output:
	// 404 application/problem+json
	// Not Found: there is no order 7 <nil>
	// https://api-toolkit.dev/problems/not-found ORDER-404
}
