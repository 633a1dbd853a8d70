// Package compat tests that programs can use [github.com/a0b132ce/retryablehttp] in place of
// github.com/hashicorp/go-retryablehttp v0.7.8.
//
// The module in the directory hashicorp forwards the published names. The tests of this
// package compare its API with the published one, move a small program to it, and run the
// published tests with it. The command in the directory programs runs the tests of
// published programs with both libraries.
package compat
