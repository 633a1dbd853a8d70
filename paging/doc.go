// Package paging reads lists that a service sends page by page.
//
// # Pages
//
// A [Pager] gets the pages of a list, one at a time. It needs a [Fetch], a function that gets
// one page and says where the next one is:
//
//	users := paging.New(func(ctx context.Context, cursor string) ([]User, string, error) {
//		list, err := client.ListUsers(ctx, cursor) // "" asks for the first page
//		if err != nil {
//			return nil, "", err
//		}
//		return list.Users, list.NextCursor, nil // "" says that this page is the last
//	})
//	for page, err := range users.Pages(ctx) {
//		if err != nil {
//			return err
//		}
//		// …
//	}
//
// [Items] ranges over the items of all pages. [Pager.More] and [Pager.NextPage] are for code
// that does not range. A page is fetched only when the loop comes to it.
//
// # Links
//
// Many services send the URL of the next page, in the Link header (RFC 8288) or in the body.
// [Links] returns a Fetch that sends requests to these URLs through a pipeline. Its arguments
// are a function that makes the request for the first page and one that decodes a page:
//
//	fetch := paging.Links(pl,
//		func(ctx context.Context) (*pipeline.Request, error) {
//			return pipeline.NewRequest(ctx, http.MethodGet, "https://api.example.com/users")
//		},
//		func(resp *http.Response) (users []User, next string, err error) {
//			if err := pipeline.DecodeJSON(resp, &users); err != nil {
//				return nil, "", err
//			}
//			next, err = paging.NextLink(resp)
//			return users, next, err
//		}, nil)
//	users := paging.New(fetch)
//
// If the body has the link, return that in place of NextLink, whether it is relative or not.
//
// # Credentials
//
// A link may lead anywhere. Links sends the header and the body of the first request only to
// the origin (scheme, host and port) of that request, also after a redirect and with a resumed
// cursor. Another origin gets a new GET request without a body. From the first request it has
// only the Accept field. [pipeline.CallHeaders] and other policies may add fields that hold no
// secret ([pipeline.New] lists them). To refuse other origins, compare the host of the link in
// the function that decodes a page.
//
// # Errors
//
// An error, also one of a canceled context, ends the pager: More returns false, and
// NextPage returns the same error again without fetching. To retry a page that fails, do that
// in the Fetch, for example with a pipeline that has [pipeline.Retry], or resume at its cursor.
//
// # Saved cursors
//
// [Pager.Cursor] returns the cursor of the page that comes next, or of the page that failed.
// [Resume] returns a pager that starts there, after an error or in another process.
//
//	if cursor, ok := users.Cursor(); ok {
//		users = paging.Resume(cursor, fetch)
//	}
//
// A cursor of Links is a URL, to which the resumed pager sends a request. Its query may hold a
// secret of the service. Keep cursors where only the program can read and change them.
package paging
