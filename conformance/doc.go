// Package conformance is a test kit of plain data for the rules in docs/spec.md. Each
// file in testdata is one scenario: the rule that it shows, the settings of the client,
// what the server does, and what must be seen.
//
// README.md explains the format for readers and for programs in any language.
// [Load] reads the files for programs in Go; the tests of this package hold the
// client of the parent module against all of them, in virtual time and, where the
// waits are short enough, over real connections.
package conformance
