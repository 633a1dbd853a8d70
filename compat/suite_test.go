package compat

import (
	"bytes"
	"encoding/json"
	"errors"
	"go/ast"
	"go/types"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"golang.org/x/tools/go/packages"

	_ "github.com/hashicorp/go-hclog"         // used by the published tests
	_ "github.com/hashicorp/go-retryablehttp" // has the published tests
)

const (
	publishedPath = "github.com/hashicorp/go-retryablehttp"
	rootPath      = "github.com/a0b132ce/retryablehttp"
)

// standIns declares unexported names of the published package that its tests use. Nothing
// reads timeNow; the subtests that set it are skipped.
const standIns = `package retryablehttp

import (
	"net/url"
	"time"
)

func redactURL(u *url.URL) string { return u.Redacted() }

var defaultLogger = NewClient().Logger

var timeNow = time.Now
`

// setClock matches the subtests that set timeNow to read a Retry-After date in the past.
const setClock = "TestClient_DefaultBackoff/.*_date$"

// dropped holds the published test functions that use other unexported names.
var dropped = map[string]string{
	"TestParseRetryAfterHeader": "undefined: parseRetryAfterHeader",
}

// remaining is the number of published test functions that run.
const remaining = 31

// differing lists the published tests that compare the end of the error of a call that
// failed with a status.
var differing = []string{
	"TestClient_Do_fails",
	"TestClient_Do_fails/default_retry_policy",
	"TestClient_Do_fails/default_retry_policy_url_with_basic_auth",
}

// The published tests expect publishedEnd where this library's error has ourEnd.
const (
	publishedEnd = `giving up after 3 attempt(s)"`
	ourEnd       = `giving up after 3 attempt(s): unexpected HTTP status 500 Internal Server Error"`
)

func TestPublishedSuitePassesExceptForTheErrorTextOfAStatus(t *testing.T) {
	dir := publishedSuite(t)
	assert.Equal(t, dropped, dropUncompilable(t, dir))

	actions := runSuite(t, dir)
	var functions, failed []string
	for test, action := range actions {
		if !strings.Contains(test, "/") {
			functions = append(functions, test)
		}
		if action != "pass" {
			failed = append(failed, test)
		}
	}
	assert.Len(t, functions, remaining)
	slices.Sort(failed)
	assert.Equal(t, differing, failed)

	// With ourEnd in place of publishedEnd they pass, so nothing else differs.
	file := filepath.Join(dir, "client_test.go")
	source := readFile(t, file)
	require.Equal(t, 2, strings.Count(source, publishedEnd))
	writeFile(t, file, strings.ReplaceAll(source, publishedEnd, ourEnd))
	actions = runSuite(t, dir, "-run=^TestClient_Do_fails$")
	assert.Subset(t, slices.Collect(maps.Keys(actions)), differing)
	for test, action := range actions {
		assert.Equal(t, "pass", action, test)
	}
}

// publishedSuite copies the forwarding package and the published test files into a new
// module, and returns its directory.
func publishedSuite(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	for _, pattern := range []string{"hashicorp/*.go", load(t, ".", publishedPath).Module.Dir + "/*_test.go"} {
		files, err := filepath.Glob(pattern)
		require.NoError(t, err)
		require.NotEmpty(t, files)
		for _, file := range files {
			writeFile(t, filepath.Join(dir, filepath.Base(file)), readFile(t, file))
		}
	}
	writeFile(t, filepath.Join(dir, "standins_test.go"), standIns)

	writeFile(t, filepath.Join(dir, "go.mod"), readFile(t, "go.mod"))
	writeFile(t, filepath.Join(dir, "go.sum"), readFile(t, "go.sum"))
	root, err := filepath.Abs("..")
	require.NoError(t, err)
	runGo(t, dir, "mod", "edit", "-module="+publishedPath, "-droprequire="+publishedPath,
		"-require="+rootPath+"@v0.0.0", "-replace="+rootPath+"="+root)
	return dir
}

// dropUncompilable removes the functions that do not compile from the test files in dir. It
// returns their names, each with its first error.
func dropUncompilable(t *testing.T, dir string) map[string]string {
	t.Helper()
	removed := make(map[string]string)
	for {
		pkgs, err := packages.Load(&packages.Config{
			Mode:       packages.NeedName | packages.NeedTypes | packages.NeedSyntax,
			Dir:        dir,
			Tests:      true,
			BuildFlags: []string{"-mod=mod"},
		}, ".")
		require.NoError(t, err)
		i := slices.IndexFunc(pkgs, func(p *packages.Package) bool { return strings.HasSuffix(p.ID, ".test]") })
		require.NotEqual(t, -1, i, "no package with the test files")
		if len(pkgs[i].TypeErrors) == 0 {
			require.Empty(t, pkgs[i].Errors)
			return removed
		}
		first := pkgs[i].TypeErrors[0]
		removed[blankFunction(t, pkgs[i].Syntax, first)] = first.Msg
	}
}

// blankFunction overwrites the function around the error with spaces, and returns its name.
func blankFunction(t *testing.T, files []*ast.File, err types.Error) string {
	t.Helper()
	for _, file := range files {
		for _, decl := range file.Decls {
			function, ok := decl.(*ast.FuncDecl)
			if !ok || err.Pos < function.Pos() || function.End() <= err.Pos {
				continue
			}
			name := err.Fset.Position(err.Pos).Filename
			source := []byte(readFile(t, name))
			text := source[err.Fset.Position(function.Pos()).Offset:err.Fset.Position(function.End()).Offset]
			copy(text, bytes.Repeat([]byte(" "), len(text)))
			writeFile(t, name, string(source))
			return function.Name.Name
		}
	}
	require.FailNow(t, "not in a function", "%v", err)
	return ""
}

// runSuite runs the tests in dir and returns the last action of each test and subtest. It logs
// the output of those that fail.
func runSuite(t *testing.T, dir string, args ...string) map[string]string {
	t.Helper()
	cmd := exec.Command("go", append([]string{"test", "-json", "-race", "-mod=mod", "-vet=off", "-skip=" + setClock}, args...)...)
	cmd.Dir = dir
	stdout, err := cmd.Output()
	if exit := (*exec.ExitError)(nil); !errors.As(err, &exit) { // a test that fails is in stdout
		require.NoError(t, err)
	}
	actions, outputs := make(map[string]string), make(map[string]string)
	for line := range bytes.Lines(stdout) {
		var event struct{ Action, Test, Output string }
		require.NoError(t, json.Unmarshal(line, &event), "%s", line)
		actions[event.Test] = event.Action
		outputs[event.Test] += event.Output
	}
	for _, test := range slices.Sorted(maps.Keys(actions)) {
		if actions[test] == "fail" {
			t.Logf("%s failed:\n%s", test, outputs[test])
		}
	}
	delete(actions, "") // the package
	return actions
}

// runGo runs a go command in dir and returns its standard output.
func runGo(t *testing.T, dir string, args ...string) string {
	t.Helper()
	cmd := exec.Command("go", args...)
	cmd.Dir = dir
	var stdout, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	require.NoError(t, cmd.Run(), "%s\n%s%s", cmd, &stdout, &stderr)
	return stdout.String()
}

func readFile(t *testing.T, name string) string {
	t.Helper()
	text, err := os.ReadFile(name)
	require.NoError(t, err)
	return string(text)
}

func writeFile(t *testing.T, name, text string) {
	t.Helper()
	require.NoError(t, os.WriteFile(name, []byte(text), 0o600))
}
