package paging

import (
	"context"
	"errors"
	"iter"
)

// Fetch gets one page of a list. An empty cursor asks for the first page. Any other cursor is
// one that an earlier Fetch of the same list returned as next. An empty next says that the
// page is the last. If err is not nil, page and next are ignored.
type Fetch[T any] func(ctx context.Context, cursor string) (page T, next string, err error)

// Errors of a [Pager].
var (
	// ErrNoMorePages is returned by NextPage after the last page.
	ErrNoMorePages = errors.New("paging: no more pages")

	// ErrSamePage is returned in place of a page whose cursor is also the cursor of the next
	// page, because a loop would never end. A cycle of several pages is not detected.
	ErrSamePage = errors.New("paging: the cursor of the next page is the cursor of this page")
)

// Pager gets the pages of a list in order. It fetches a page only when it is asked for. The
// zero Pager has no pages. A Pager is for one goroutine at a time.
type Pager[T any] struct {
	fetch  Fetch[T] // nil after the last page
	cursor string   // of the page that fetch gets next, or has failed to get
	err    error    // of fetch
}

// New returns a pager that starts at the first page.
func New[T any](fetch Fetch[T]) *Pager[T] { return Resume("", fetch) }

// Resume returns a pager that starts at a cursor that [Pager.Cursor] returned. An empty cursor
// means the first page.
func Resume[T any](cursor string, fetch Fetch[T]) *Pager[T] {
	return &Pager[T]{fetch: fetch, cursor: cursor}
}

// Primed returns a pager whose first page is there already, for example from the call that
// created the list. NextPage returns that page first, without I/O. Before that, the cursor is
// "", with which Resume would fetch the first page. next is the cursor of the second page, or ""
// if there is none. For a Fetch of [Links], it is an absolute URL, as [NextLink] and [Resolve]
// return it.
func Primed[T any](page T, next string, fetch Fetch[T]) *Pager[T] {
	return New(func(ctx context.Context, cursor string) (T, string, error) {
		if cursor == "" {
			return page, next, nil
		}
		return fetch(ctx, cursor)
	})
}

// More reports whether NextPage can return another page. It is true before the first page. It
// is false after the last page and after an error.
func (p *Pager[T]) More() bool { return p.fetch != nil && p.err == nil }

// NextPage fetches and returns the next page. After the last page it returns
// [ErrNoMorePages]. After an error, also one of a canceled context, it returns the same
// error again. In both cases it fetches nothing. To fetch a page that has failed again, use
// [Resume] with the pager's cursor.
func (p *Pager[T]) NextPage(ctx context.Context) (T, error) {
	var none T
	if p.fetch == nil {
		return none, ErrNoMorePages
	}
	if p.err != nil {
		return none, p.err
	}
	page, next, err := p.fetch(ctx, p.cursor)
	if err == nil && next != "" && next == p.cursor {
		err = ErrSamePage
	}
	if err != nil {
		p.err = err
		return none, err
	}
	p.cursor = next
	if next == "" {
		p.fetch = nil
	}
	return page, nil
}

// Cursor returns the cursor of the page that NextPage returns next, for [Resume]. It is "" before
// the first page. After an error it is the cursor of the page that failed. After the last page
// ok is false, and there is nothing to resume.
//
// A program that saves the cursor only after it has handled the pages before it loses no page
// in a crash.
func (p *Pager[T]) Cursor() (cursor string, ok bool) { return p.cursor, p.fetch != nil }

// Pages returns an iterator over the pages that are left. It yields an error at most once, as
// its last element. If the pager has failed already, that is its only element. After a break the
// pager continues with the next page.
func (p *Pager[T]) Pages(ctx context.Context) iter.Seq2[T, error] {
	return func(yield func(T, error) bool) {
		for p.fetch != nil {
			page, err := p.NextPage(ctx)
			if !yield(page, err) || err != nil {
				return
			}
		}
	}
}

// Items returns an iterator over the items of the pages that are left. items returns the items
// of a page. An error is yielded as by [Pager.Pages]. The next page is fetched when the loop
// goes on after the last item of a page.
//
// After a break the remaining items of that page are lost: the pager is at the next page.
func Items[T, I any](ctx context.Context, p *Pager[T], items func(T) []I) iter.Seq2[I, error] {
	return func(yield func(I, error) bool) {
		for page, err := range p.Pages(ctx) {
			if err != nil {
				var none I
				yield(none, err)
				return
			}
			for _, item := range items(page) {
				if !yield(item, nil) {
					return
				}
			}
		}
	}
}
