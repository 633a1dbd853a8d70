// Package faults contains tests that attack the retry client over connections that
// fail: resets, truncated and stalled bodies, TLS alerts, refused HTTP/2 streams, GOAWAY
// frames, and random sequences of these. The package exports nothing. It is a module of
// its own, so that the client's module does not require what these tests need.
//
// Run the tests in this directory:
//
//	go test -race .
//
// The tests with random sequences log their seed, which go test prints with -v and when
// a test fails. Set FAULT_SEED to this number to repeat a run:
//
//	FAULT_SEED=1234 go test -run Random .
package faults
