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
// [Items] ranges over the items of all pages. [Pager.More] and [Pager.NextPage] do the same
// by hand. Each page is fetched when it is asked for, so a loop that breaks fetches no more
// than it has used.
//
// # Links
//
// Many services send the URL of the next page, in the Link header (RFC 8288) or in the body.
// [Links] makes a Fetch that follows these links through a pipeline:
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
// If the body has the link, return it from the second function as it is, relative or not.
//
// # Credentials
//
// A link may lead anywhere. Links sends the headers and the body of the first request only to
// its own origin, which is its scheme, host and port. It does so also if a page came from
// another origin by a redirect, and if a cursor is resumed. Another origin gets a new GET
// request. It has no header but Accept and those that [pipeline.CallHeaders] or other policies
// add, as far as the pipeline lets them pass: [pipeline.New] says which, and credentials are
// not among them. To refuse other origins, compare the host in the function that decodes the
// page.
//
// # Errors
//
// An error ends the pager: More is false, and NextPage returns the same error again without
// fetching, also if the context was canceled. So a loop over More ends after an
// error. To retry a page before that, retry in the Fetch, for example with a pipeline that has
// [pipeline.Retry].
//
// # Saved cursors
//
// [Pager.Cursor] returns the cursor of the page that comes next, or of the page that failed.
// [Resume] continues there: after an error, after a canceled context, or in another process.
//
//	if cursor, ok := users.Cursor(); ok {
//		users = paging.Resume(cursor, fetch)
//	}
//
// The cursor of Links is a URL, which is requested. Its query may hold a secret of the
// service. Keep cursors where only the program can read and change them.
package paging
