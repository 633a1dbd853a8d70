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
	beginTables = "<!-- storm:begin -->\n"
	endTables   = "<!-- storm:end -->\n"
)

// newPage is the page if there is none yet.
//
//go:embed page.md
var newPage string

// writePage replaces the tables of a page, which are between two markers.
func writePage(path, tables string) error {
	page, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		page, err = []byte(newPage), nil
	}
	if err != nil {
		return err
	}
	before, rest, hasBegin := strings.Cut(string(page), beginTables)
	_, after, hasEnd := strings.Cut(rest, endTables)
	if !hasBegin || !hasEnd {
		return fmt.Errorf("%s has no lines %q and %q", path, beginTables, endTables)
	}
	return os.WriteFile(path, []byte(before+beginTables+tables+endTables+after), 0o644)
}
