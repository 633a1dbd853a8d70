package paging_test

import (
	"context"
	"errors"
	"fmt"
	"log"
	"net/http"
	"net/http/httptest"

	"github.com/a0b132ce/retryablehttp/paging"
	"github.com/a0b132ce/retryablehttp/pipeline"
)

// userList is what a service responds with.
type userList struct {
	Users []string `json:"users"`
	Next  string   `json:"next"`
}

// listUsers is a method of an API client that lists with a cursor.
func listUsers(_ context.Context, cursor string) (userList, error) {
	switch cursor {
	case "":
		return userList{[]string{"ann", "bob"}, "c1"}, nil
	case "c1":
		return userList{[]string{"cyd", "dan"}, "c2"}, nil
	}
	return userList{[]string{"eve"}, ""}, nil
}

// fetchUsers is a Fetch.
func fetchUsers(ctx context.Context, cursor string) ([]string, string, error) {
	list, err := listUsers(ctx, cursor)
	return list.Users, list.Next, err
}

func ExampleNew() {
	for page, err := range paging.New(fetchUsers).Pages(context.Background()) {
		if err != nil {
			log.Panic(err)
		}
		fmt.Println(page)
	}
	// Output:
	// [ann bob]
	// [cyd dan]
	// [eve]
}

// The third page is not fetched.
func ExampleItems() {
	users := paging.Items(context.Background(), paging.New(fetchUsers), func(page []string) []string { return page })
	for user, err := range users {
		if err != nil {
			log.Panic(err)
		}
		fmt.Println(user)
		if user == "cyd" {
			break
		}
	}
	// Output:
	// ann
	// bob
	// cyd
}

// A program saves the cursor and continues later, perhaps in another process.
func ExampleResume() {
	ctx := context.Background()
	users := paging.New(fetchUsers)
	page, err := users.NextPage(ctx)
	fmt.Println(page, err)
	saved, ok := users.Cursor()
	fmt.Println("saved:", saved, ok)

	users = paging.Resume(saved, fetchUsers)
	for users.More() {
		page, err := users.NextPage(ctx)
		if err != nil {
			log.Panic(err)
		}
		fmt.Println(page)
	}
	_, ok = users.Cursor()
	fmt.Println("more to resume:", ok)
	// Output:
	// [ann bob] <nil>
	// saved: c1 true
	// [cyd dan]
	// [eve]
	// more to resume: false
}

// The response that created the list has its first page.
func ExamplePrimed() {
	users := paging.Primed([]string{"zoe"}, "c2", fetchUsers)
	for page, err := range users.Pages(context.Background()) {
		fmt.Println(page, err)
	}
	// Output:
	// [zoe] <nil>
	// [eve] <nil>
}

// The service names the next page in the Link header.
func ExampleLinks() {
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch r.FormValue("page") {
		case "":
			w.Header().Set("Link", `</users?page=2>; rel="next", </users?page=2>; rel="last"`)
			fmt.Fprint(w, `["ann", "bob"]`)
		case "2":
			w.Header().Set("Link", `</users>; rel="first"`)
			fmt.Fprint(w, `["cyd"]`)
		}
	}))
	defer server.Close()

	users := paging.New(paging.Links(
		pipeline.New(server.Client(), pipeline.Retry{}),
		func(ctx context.Context) (*pipeline.Request, error) {
			return pipeline.NewRequest(ctx, http.MethodGet, server.URL+"/users")
		},
		func(resp *http.Response) (page []string, next string, err error) {
			if err := pipeline.DecodeJSON(resp, &page); err != nil {
				return nil, "", err
			}
			next, err = paging.NextLink(resp)
			return page, next, err
		},
		nil,
	))
	for page, err := range users.Pages(context.Background()) {
		if err != nil {
			log.Panic(err)
		}
		fmt.Println(page)
	}
	// Output:
	// [ann bob]
	// [cyd]
}

// The body has the link to the next page, here a relative one. It is invalid in this example.
func ExampleLinkError() {
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		fmt.Fprint(w, `{"users": ["ann"], "next": "users?after=%zz"}`)
	}))
	defer server.Close()

	users := paging.New(paging.Links(
		pipeline.New(server.Client()),
		func(ctx context.Context) (*pipeline.Request, error) {
			return pipeline.NewRequest(ctx, http.MethodGet, server.URL+"/users")
		},
		func(resp *http.Response) ([]string, string, error) {
			var list userList
			err := pipeline.DecodeJSON(resp, &list)
			return list.Users, list.Next, err
		},
		nil,
	))
	_, err := users.NextPage(context.Background())
	var bad *paging.LinkError
	fmt.Println(errors.As(err, &bad))
	fmt.Println(err)
	// Output:
	// true
	// paging: link to the next page "users?after=REDACTED": invalid percent-encoding in the query
}
