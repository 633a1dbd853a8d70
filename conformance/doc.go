// Package conformance is the specification of the retry client as plain data: one
// file in testdata for one scenario, each of which names the rule it shows, what
// the client is set to, what the server does and what must be seen.
//
// README.md explains the format for readers and for programs in any language.
// [Load] reads the files for programs in Go; the tests of this package hold the
// client of the parent module against all of them, in virtual time and, where the
// waits are short enough, over real connections.
package conformance
