package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
)

const (
	rootPath      = "github.com/a0b132ce/retryablehttp"
	publishedPath = "github.com/hashicorp/go-retryablehttp"
	published     = publishedPath + "@v0.7.8"

	reruns = 3 // of the test functions that fail with one library only
)

// A result lists the tests of a module that fail: with both libraries, only with one, or
// not in every run. A test is named by its package and its function or subtest.
type result struct {
	run                          int // test functions and subtests
	both, published, ours, flaky []string
}

// compare runs the tests of m with both libraries.
func compare(m module) (result, error) {
	dir, err := os.MkdirTemp("", "programs")
	if err != nil {
		return result{}, err
	}
	defer os.RemoveAll(dir)
	p, err := newPair(m, dir)
	if err != nil {
		return result{}, err
	}
	packages, err := p.packages(m.patterns)
	if err != nil {
		return result{}, err
	}
	args := strings.Fields(m.args)
	if err := p.test(slices.Concat(args, packages)...); err != nil {
		return result{}, err
	}

	again := make(map[string][]string) // functions by package
	for test, t := range p.tallies {
		if t.published != t.ours {
			pkg, name, _ := strings.Cut(test, " ")
			function, _, _ := strings.Cut(name, "/")
			if function == "" { // the package failed, so all of its tests
				function = ".*"
			}
			again[pkg] = append(again[pkg], function)
		}
	}
	for pkg, functions := range again {
		for range reruns {
			if err := p.test(slices.Concat(args, []string{"-run=^(" + strings.Join(functions, "|") + ")$", pkg})...); err != nil {
				return result{}, err
			}
		}
	}

	r := result{run: len(p.tallies)}
	for _, test := range slices.Sorted(maps.Keys(p.tallies)) {
		name := strings.TrimSpace("." + strings.TrimPrefix(test, m.path)) // as in ./package Test/subtest
		switch t := p.tallies[test]; {
		case t.published == t.runs && t.ours == t.runs:
			r.both = append(r.both, name)
		case t.published == t.runs && t.ours == 0:
			r.published = append(r.published, name)
		case t.published == 0 && t.ours == t.runs:
			r.ours = append(r.ours, name)
		case t.published > 0 || t.ours > 0:
			r.flaky = append(r.flaky, name)
		}
	}
	return r, nil
}

// A pair is two copies of a module. The second one uses this library.
type pair struct {
	published, ours string // directories
	tallies         map[string]tally
}

// A tally counts how often a test ran with each library, and how often it failed.
type tally struct{ runs, published, ours int }

func newPair(m module, dir string) (*pair, error) {
	root, err := filepath.Abs("..")
	if err != nil {
		return nil, err
	}
	out, err := command(dir, "mod", "download", "-json", m.path+"@"+m.version)
	if err != nil {
		return nil, err
	}
	var downloaded struct{ Dir string }
	if err := json.Unmarshal(out, &downloaded); err != nil {
		return nil, err
	}
	p := &pair{filepath.Join(dir, "published"), filepath.Join(dir, "ours"), make(map[string]tally)}
	// Both copies require the same modules, and so have the same versions of all others.
	edit := []string{"mod", "edit", "-require=" + published, "-require=" + rootPath + "@v0.0.0", "-replace=" + rootPath + "=" + root}
	for _, copied := range []string{p.published, p.ours} {
		if err := os.CopyFS(copied, os.DirFS(downloaded.Dir)); err != nil {
			return nil, err
		}
		if _, err := command(copied, edit...); err != nil {
			return nil, err
		}
	}
	_, err = command(p.ours, "mod", "edit", "-replace="+publishedPath+"="+filepath.Join(root, "compat", "hashicorp"))
	return p, err
}

// packages returns the packages that match the patterns and whose tests depend on
// publishedPath.
func (p *pair) packages(patterns string) ([]string, error) {
	args := append([]string{"list", "-test", "-f", `{{.ImportPath}} {{join .Deps " "}}`}, strings.Fields(patterns)...)
	out, err := command(p.published, args...)
	if err != nil {
		return nil, err
	}
	var packages []string
	for line := range strings.Lines(string(out)) {
		fields := strings.Fields(line)
		if pkg, ok := strings.CutSuffix(fields[0], ".test"); ok && slices.Contains(fields, publishedPath) {
			packages = append(packages, pkg)
		}
	}
	if len(packages) == 0 {
		return nil, fmt.Errorf("no tests in %s depend on %s", patterns, publishedPath)
	}
	return packages, nil
}

// test runs go test with args in both copies and adds the outcomes to the tallies.
func (p *pair) test(args ...string) error {
	theirs, err := failures(p.published, args)
	if err != nil {
		return err
	}
	ours, err := failures(p.ours, args)
	if err != nil {
		return err
	}
	names := maps.Clone(theirs)
	maps.Copy(names, ours)
	for name := range names {
		t := p.tallies[name]
		t.runs++
		if theirs[name] {
			t.published++
		}
		if ours[name] {
			t.ours++
		}
		p.tallies[name] = t
	}
	return nil
}

// failures runs go test with args in dir. It reports for each test that was not skipped
// whether it failed. A failure of a subtest is not one of the function around it. A package
// is reported if it failed without a test that failed.
func failures(dir string, args []string) (map[string]bool, error) {
	out, err := command(dir, append([]string{"test", "-json", "-count=1", "-vet=off"}, args...)...)
	if err != nil && len(out) == 0 { // otherwise the failures are in out
		return nil, err
	}
	failed := make(map[string]bool)
	for decoder := json.NewDecoder(bytes.NewReader(out)); decoder.More(); {
		var event struct{ Action, Package, Test string }
		if err := decoder.Decode(&event); err != nil {
			return nil, err
		}
		name := event.Package + " " + event.Test
		switch event.Action {
		case "run", "fail": // a test that was started and did not end has failed
			failed[name] = true
		case "pass":
			failed[name] = false
		case "skip":
			delete(failed, name)
		}
	}
	for name := range failed {
		pkg, test, _ := strings.Cut(name, " ")
		switch {
		case test == "" && !failed[name]:
			delete(failed, name)
		case test != "" && failed[name]:
			delete(failed, pkg+" ")
			for i := range test {
				if test[i] == '/' {
					failed[pkg+" "+test[:i]] = false
				}
			}
		}
	}
	return failed, nil
}

// passed lists the environment variables that the go command gets. Other variables can
// hold credentials, and some tests use those that they find.
var passed = []string{
	"PATH", "HOME", "HTTPS_PROXY", "GOCACHE", "GOMODCACHE", "GOPATH", "GOPROXY", "GOSUMDB", "GOTOOLCHAIN",
}

// command runs a go command in dir and returns its standard output.
func command(dir string, args ...string) ([]byte, error) {
	cmd := exec.Command("go", args...)
	cmd.Dir = dir
	cmd.Env = []string{"GOFLAGS=-mod=mod", "GOWORK=off"}
	for _, name := range passed {
		if value, ok := os.LookupEnv(name); ok {
			cmd.Env = append(cmd.Env, name+"="+value)
		}
	}
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		err = fmt.Errorf("%s: %w\n%s%s", cmd, err, out, &stderr)
	}
	return out, err
}
