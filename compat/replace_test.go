package compat

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// programFiles holds a program and a module that it depends on. Both import the published
// library, and the program passes a Client to the module.
var programFiles = map[string]string{
	"dependency/go.mod": `module example.com/dependency

go 1.25.0

require github.com/hashicorp/go-retryablehttp v0.7.8
`,
	"dependency/dependency.go": `package dependency

import "github.com/hashicorp/go-retryablehttp"

func RetryMax(c *retryablehttp.Client) int { return c.RetryMax }
`,
	"program/go.mod": `module example.com/program

go 1.25.0

require (
	example.com/dependency v0.0.0
	github.com/hashicorp/go-retryablehttp v0.7.8
)

replace example.com/dependency => ../dependency
`,
	"program/main.go": `package main

import (
	"fmt"
	"reflect"

	"example.com/dependency"
	"github.com/hashicorp/go-retryablehttp"
)

func main() {
	client := retryablehttp.NewClient()
	fmt.Print(reflect.TypeOf(client).Elem().PkgPath(), " ", dependency.RetryMax(client))
}
`,
}

func TestReplaceLinesMoveAProgramAndItsDependencies(t *testing.T) {
	dir := t.TempDir()
	for name, text := range programFiles {
		file := filepath.Join(dir, name)
		require.NoError(t, os.MkdirAll(filepath.Dir(file), 0o700))
		writeFile(t, file, text)
	}
	program := filepath.Join(dir, "program")
	root, err := filepath.Abs("..")
	require.NoError(t, err)

	runGo(t, program, "mod", "tidy")
	assert.Equal(t, "github.com/hashicorp/go-retryablehttp 4", runGo(t, program, "run", "."))

	goMod := filepath.Join(program, "go.mod")
	lines := documentedLines(t)
	require.Len(t, lines, 2)
	writeFile(t, goMod, readFile(t, goMod)+strings.ReplaceAll(strings.Join(lines, "\n"), "../retryablehttp", root))
	runGo(t, program, "mod", "tidy")
	assert.Equal(t, "github.com/a0b132ce/retryablehttp 4", runGo(t, program, "run", "."))
}

// documentedLines returns the replace lines of docs/compatibility.md.
func documentedLines(t *testing.T) []string {
	t.Helper()
	var lines []string
	for line := range strings.Lines(readFile(t, "../docs/compatibility.md")) {
		if strings.HasPrefix(line, "replace ") {
			lines = append(lines, line)
		}
	}
	return lines
}
