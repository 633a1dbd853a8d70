package main

import (
	_ "embed"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strings"
)

const (
	pagePath   = "../docs/benchmarks.md"
	beginTable = "<!-- bench:begin -->\n"
	endTable   = "<!-- bench:end -->\n"
)

// newPage is the page if there is none yet.
//
//go:embed page.md
var newPage string

// page is the text around the tables of docs/benchmarks.md.
type page struct{ path, before, after string }

// readPage fails if the page has no place for the tables.
func readPage(path string) (*page, error) {
	text, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		text, err = []byte(newPage), nil
	}
	if err != nil {
		return nil, err
	}
	before, rest, hasBegin := strings.Cut(string(text), beginTable)
	_, after, hasEnd := strings.Cut(rest, endTable)
	if !hasBegin || !hasEnd {
		return nil, fmt.Errorf("%s has no lines %q and %q", path, beginTable, endTable)
	}
	return &page{path, before, after}, nil
}

// write replaces the tables.
func (p *page) write(tables string) error {
	return os.WriteFile(p.path, []byte(p.before+beginTable+tables+endTable+p.after), 0o644)
}
