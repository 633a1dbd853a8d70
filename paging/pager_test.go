package paging_test

import (
	"context"
	"errors"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/a0b132ce/retryablehttp/paging"
)

// book is a list whose pages are slices. The cursor of page i, from 1 on, is "i".
type book struct {
	pages [][]string
	asked []string

	err      error  // of the page that failAt names
	failAt   string // a cursor, or "first"
	failNext string // returned beside err
}

func newBook(pages ...[]string) *book { return &book{pages: pages} }

func (b *book) fetch(ctx context.Context, cursor string) ([]string, string, error) {
	b.asked = append(b.asked, cursor)
	i := 0
	if cursor != "" {
		i = int(cursor[0] - '0')
	}
	if err := ctx.Err(); err != nil {
		return nil, "", err
	}
	if b.err != nil && (cursor == b.failAt || cursor == "" && b.failAt == "first") {
		return []string{"half a page"}, b.failNext, b.err
	}
	next := ""
	if i+1 < len(b.pages) {
		next = string(rune('0' + i + 1))
	}
	return b.pages[i], next, nil
}

var errService = errors.New("service failed")

// rest returns the pages that a pager has left.
func rest(t *testing.T, p *paging.Pager[[]string]) (pages [][]string) {
	t.Helper()
	for p.More() {
		page, err := p.NextPage(t.Context())
		require.NoError(t, err)
		pages = append(pages, page)
	}
	return pages
}

func TestPagerG01LoopsOverAllPages(t *testing.T) {
	for _, pages := range [][][]string{
		{{"a"}, {"b"}, {"c"}},
		{{"a"}},
	} {
		b := newBook(pages...)
		p := paging.New(b.fetch)
		assert.True(t, p.More(), "before the first page")
		assert.Empty(t, b.asked, "no fetch before NextPage")

		assert.Equal(t, pages, rest(t, p))
		assert.Equal(t, []string{"", "1", "2"}[:len(pages)], b.asked)

		for range 2 {
			page, err := p.NextPage(t.Context())
			assert.ErrorIs(t, err, paging.ErrNoMorePages)
			assert.Nil(t, page)
			assert.False(t, p.More())
		}
		assert.Len(t, b.asked, len(pages), "no fetch after the last page")
	}
}

func TestPagerG03EndsAfterAnError(t *testing.T) {
	b := newBook(nil)
	b.err, b.failAt = errService, "first"
	p := paging.New(b.fetch)
	errs := 0
	for p.More() {
		page, err := p.NextPage(t.Context())
		assert.Equal(t, errService, err)
		assert.Nil(t, page, "a page or an error, not both")
		errs++
	}
	assert.Equal(t, 1, errs)
	_, err := p.NextPage(t.Context())
	assert.Equal(t, errService, err, "the same error")
	assert.Len(t, b.asked, 1, "fetched once")
}

func TestResumeAfterAnError(t *testing.T) {
	for _, next := range []string{"7", "1"} { // ignored beside an error
		b := newBook([]string{"a"}, []string{"b"}, []string{"c"})
		b.err, b.failAt, b.failNext = errService, "1", next
		p := paging.New(b.fetch)
		_, err := p.NextPage(t.Context())
		require.NoError(t, err)
		_, err = p.NextPage(t.Context())
		require.ErrorIs(t, err, errService)

		cursor, ok := p.Cursor()
		assert.True(t, ok)
		assert.Equal(t, "1", cursor, "of the page that failed")
		b.err = nil
		assert.Equal(t, [][]string{{"b"}, {"c"}}, rest(t, paging.Resume(cursor, b.fetch)))
	}
}

func TestCanceledContextEndsThePager(t *testing.T) {
	b := newBook([]string{"a"}, []string{"b"})
	p := paging.New(b.fetch)
	_, err := p.NextPage(t.Context())
	require.NoError(t, err)

	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	_, err = p.NextPage(ctx)
	require.ErrorIs(t, err, context.Canceled)
	assert.False(t, p.More())
	_, err = p.NextPage(t.Context())
	assert.ErrorIs(t, err, context.Canceled, "even with another context")

	cursor, _ := p.Cursor()
	assert.Equal(t, [][]string{{"b"}}, rest(t, paging.Resume(cursor, b.fetch)))
}

func TestPrimedB6(t *testing.T) {
	t.Run("last page is delivered", func(t *testing.T) {
		p := paging.Primed([]string{"a"}, "", nil)
		assert.True(t, p.More())
		assert.Equal(t, [][]string{{"a"}}, rest(t, p))
		_, err := p.NextPage(t.Context())
		assert.ErrorIs(t, err, paging.ErrNoMorePages)
	})
	t.Run("first page without a fetch", func(t *testing.T) {
		b := newBook([]string{"not this"}, []string{"b"}, []string{"c"})
		p := paging.Primed([]string{"a"}, "1", b.fetch)
		cursor, ok := p.Cursor()
		assert.True(t, ok)
		assert.Empty(t, cursor)

		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		page, err := p.NextPage(ctx)
		require.NoError(t, err, "no I/O, so the context does not matter")
		assert.Equal(t, []string{"a"}, page)
		assert.Empty(t, b.asked)
		cursor, _ = p.Cursor()
		assert.Equal(t, "1", cursor)
		assert.Equal(t, [][]string{{"b"}, {"c"}}, rest(t, p))
		assert.Equal(t, []string{"1", "2"}, b.asked)
	})
}

func TestResumeContinuesAtEachCursor(t *testing.T) {
	all := [][]string{{"a"}, {"b"}, {"c"}}
	b := newBook(all...)
	p := paging.New(b.fetch)
	for i := range all {
		cursor, ok := p.Cursor()
		require.True(t, ok, "page %d is to come", i)
		assert.Equal(t, all[i:], rest(t, paging.Resume(cursor, b.fetch)))
		_, err := p.NextPage(t.Context())
		require.NoError(t, err)
	}
	_, ok := p.Cursor()
	assert.False(t, ok, "a list that is finished differs from one that is not begun")
}

func TestSameCursorIsAnError(t *testing.T) {
	for name, test := range map[string]struct {
		first string
		want  []int // pages before the error
	}{
		"after a page":   {"", []int{1}},
		"after a resume": {"x", nil},
	} {
		t.Run(name, func(t *testing.T) {
			fetched := 0
			p := paging.Resume(test.first, func(context.Context, string) (int, string, error) {
				fetched++
				return fetched, "x", nil
			})
			var got []int
			var failure error
			for page, err := range p.Pages(t.Context()) {
				if failure = err; err == nil {
					got = append(got, page)
				}
			}
			assert.ErrorIs(t, failure, paging.ErrSamePage)
			assert.Equal(t, test.want, got)
			assert.False(t, p.More())
			cursor, ok := p.Cursor()
			assert.True(t, ok)
			assert.Equal(t, "x", cursor)
		})
	}
}

func TestZeroPagerHasNoPages(t *testing.T) {
	var p paging.Pager[int]
	assert.False(t, p.More())
	_, err := p.NextPage(t.Context())
	assert.ErrorIs(t, err, paging.ErrNoMorePages)
	_, ok := p.Cursor()
	assert.False(t, ok)
	for range p.Pages(t.Context()) {
		t.Error("a page")
	}
}

func TestPagesBreakAndContinue(t *testing.T) {
	b := newBook([]string{"a"}, []string{"b"}, []string{"c"}, []string{"d"})
	p := paging.New(b.fetch)
	pages := p.Pages(t.Context())
	assert.Empty(t, b.asked, "no fetch before the range")

	var got []string
	for page, err := range pages {
		require.NoError(t, err)
		got = append(got, page...)
		break
	}
	assert.Len(t, b.asked, 1, "no fetch after the break")

	page, err := p.NextPage(t.Context())
	require.NoError(t, err)
	got = append(got, page...)

	for page, err := range pages { // the same iterator again
		require.NoError(t, err)
		if page[0] == "c" {
			got = append(got, "C")
			continue
		}
		got = append(got, page...)
	}
	assert.Equal(t, []string{"a", "b", "C", "d"}, got)
	for range pages {
		t.Error("a page after the last")
	}
	assert.Len(t, b.asked, 4)
}

func TestPagesYieldAnErrorOnce(t *testing.T) {
	b := newBook([]string{"a"}, []string{"b"})
	b.err, b.failAt = errService, "1"
	p := paging.New(b.fetch)
	for _, want := range [][]error{
		{nil, errService},
		{errService}, // so that no loop over a pager that has failed seems to be complete
	} {
		var errs []error
		for page, err := range p.Pages(t.Context()) {
			errs = append(errs, err)
			if err != nil {
				assert.Nil(t, page)
			}
		}
		assert.Equal(t, want, errs)
	}
	for _, err := range p.Pages(t.Context()) {
		assert.ErrorIs(t, err, errService)
		break
	}
	assert.Equal(t, []string{"", "1"}, b.asked)
}

func itself(page []string) []string { return page }

func TestItemsAreLazy(t *testing.T) {
	b := newBook([]string{"a", "b"}, nil, []string{"c"}, []string{"d"})
	p := paging.New(b.fetch)
	items := paging.Items(t.Context(), p, itself)
	assert.Empty(t, b.asked, "no fetch before the range")

	fetches := map[string]int{}
	for item, err := range items {
		require.NoError(t, err)
		fetches[item] = len(b.asked)
		if item == "c" {
			break
		}
	}
	assert.Equal(t, map[string]int{"a": 1, "b": 1, "c": 3}, fetches)
	assert.Len(t, b.asked, 3, "no fetch after the break")
}

func TestItemsBreakLosesTheRestOfThePage(t *testing.T) {
	b := newBook([]string{"a", "b"}, []string{"c"})
	p := paging.New(b.fetch)
	for range paging.Items(t.Context(), p, itself) {
		break
	}
	cursor, _ := p.Cursor()
	assert.Equal(t, "1", cursor)
	var got []string
	for item, err := range paging.Items(t.Context(), p, itself) {
		require.NoError(t, err)
		got = append(got, item)
	}
	assert.Equal(t, []string{"c"}, got)
}

func TestItemsYieldAnErrorOnce(t *testing.T) {
	b := newBook([]string{"a", "b"}, []string{"c"})
	b.err, b.failAt = errService, "1"
	p := paging.New(b.fetch)
	var got []string
	var errs []error
	items := func(page []string) []string {
		assert.NotNil(t, page, "items of a page that failed")
		return page
	}
	for item, err := range paging.Items(t.Context(), p, items) {
		got, errs = append(got, item), append(errs, err)
	}
	assert.Equal(t, []string{"a", "b", ""}, got)
	assert.Equal(t, []error{nil, nil, errService}, errs)
}

// Items of another type than the elements of the page.
func TestItemsConvert(t *testing.T) {
	p := paging.Primed("abc", "", nil)
	var got []rune
	for item, err := range paging.Items(t.Context(), p, func(page string) []rune { return []rune(page) }) {
		require.NoError(t, err)
		got = append(got, item)
	}
	assert.Equal(t, []rune("abc"), got)
}
