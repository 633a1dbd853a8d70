// Command programs runs the tests of published modules that import
// github.com/hashicorp/go-retryablehttp, once with that library and once with this one. It
// prints a table of the results and writes it to docs/compatibility.md. Run it in the
// directory above with
//
//	go run ./programs
//
// The exit status is 1 if a test fails only with this library, unless it is one of those
// that expect the published text of an error.
package main

import (
	"flag"
	"fmt"
	"os"
	"regexp"
	"slices"
	"strings"
	"time"
)

const (
	page  = "../docs/compatibility.md"
	begin = "<!-- programs:begin -->\n"
	end   = "<!-- programs:end -->\n"
)

// A module is a published module with the version to test.
type module struct {
	path, version string
	patterns      string // of the packages to test; those that do not depend on the library are left out
	args          string // of go test
}

var modules = []module{
	{"github.com/digitalocean/godo", "v1.236.0", "./...", ""},
	{"github.com/hashicorp/go-azure-sdk/sdk", "v0.20260811.1225050", "./...", ""},
	// The other tests of go-tfe need a server with an account.
	{"github.com/hashicorp/go-tfe", "v1.111.2", ".", "-run=^(TestClient|TestLogReader|TestRunTasksIntegration_|Test_) " +
		"-skip=^(TestClient_requestBody|Test_(Default)?Base|Test_(Default)?RegistryBase|Test_NewRequest)"},
	{"github.com/hashicorp/terraform-svchost", "v0.2.1", "./...", ""},
	{"github.com/hashicorp/vault/api", "v1.23.0", "./...", ""},
	{"github.com/openbao/openbao/api/v2", "v2.7.1", "./...", ""},
	{"github.com/opentofu/opentofu", "v1.12.6", "./internal/backend/remote-state/http ./internal/getproviders ./internal/httpclient ./internal/registry", ""},
	{"github.com/ory/x", "v0.0.729", "./cmdx ./fetcher ./httpx ./jwksx ./osx", ""},
	{"github.com/sigstore/rekor", "v1.5.0", "./pkg/client ./cmd/rekor-cli/...", ""},
	{"github.com/vultr/govultr/v3", "v3.34.0", "./...", ""},
	{"gitlab.com/gitlab-org/api/client-go", "v1.46.0", "./...", ""},
}

// expectText are tests that fail only with this library because they compare the text of
// the error of a call that fails with a status. The text of this library names the status.
var expectText = map[string]bool{
	"./internal/getproviders TestLocationRetriesConfiguredCorrectly":           true, // opentofu
	"./internal/getproviders TestHTTPMirrorLocationRetriesConfiguredCorrectly": true,
}

func main() {
	only := flag.String("only", "", "test only the modules whose path matches `regexp`, and do not write the table")
	flag.Parse()
	same, err := run(*only)
	if err != nil {
		fmt.Fprintln(os.Stderr, "programs:", err)
	}
	if err != nil || !same {
		os.Exit(1)
	}
}

// run tests the modules and prints the table. It reports whether no test fails only with
// this library.
func run(only string) (bool, error) {
	chosen, err := regexp.Compile(only)
	if err != nil {
		return false, err
	}
	var rows, notes strings.Builder
	same := true
	for _, m := range modules {
		if !chosen.MatchString(m.path) {
			continue
		}
		start := time.Now()
		r, err := compare(m)
		if err != nil {
			return false, fmt.Errorf("%s: %w", m.path, err)
		}
		fmt.Fprintln(os.Stderr, m.path, time.Since(start).Round(time.Second))

		ours := slices.DeleteFunc(slices.Clone(r.ours), func(test string) bool { return expectText[test] })
		texts := slices.DeleteFunc(slices.Clone(r.ours), func(test string) bool { return !expectText[test] })
		same = same && len(ours) == 0
		fmt.Fprintf(&rows, "| %s | %s | %d | %d | %d |\n",
			m.path, m.version, r.run, len(r.both)+len(r.published), len(r.both)+len(r.ours))
		note(&notes, m, "fails with both libraries", r.both)
		note(&notes, m, "fails only with the published library", r.published)
		note(&notes, m, "fails only with this library", ours)
		note(&notes, m, "fails only with this library, because it expects the error to end before the status", texts)
		note(&notes, m, "fails now and then, and is not counted", r.flaky)
	}
	table := "| module | version | tests run | failures with the published library | failures with this library |\n" +
		"|---|---|---:|---:|---:|\n" + rows.String() + "\n" + notes.String()
	fmt.Print(table)
	if only != "" {
		return same, nil
	}
	return same, writeTable(table)
}

// note writes a line for each test.
func note(notes *strings.Builder, m module, what string, tests []string) {
	for _, test := range tests {
		fmt.Fprintf(notes, "- %s: `%s` %s.\n", m.path, test, what)
	}
}

// writeTable replaces the text between the marker comments of the page.
func writeTable(table string) error {
	text, err := os.ReadFile(page)
	if err != nil {
		return err
	}
	before, rest, ok := strings.Cut(string(text), begin)
	_, after, ok2 := strings.Cut(rest, end)
	if !ok || !ok2 {
		return fmt.Errorf("%s has no %q and %q", page, begin, end)
	}
	return os.WriteFile(page, []byte(before+begin+table+end+after), 0o644)
}
