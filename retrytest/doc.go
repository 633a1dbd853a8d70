// Package retrytest makes HTTP servers and transports that fail on purpose, for
// tests of code that retries.
//
// A test writes down, one [Step] for each attempt, what shall happen: a status, a
// header, a body, a delay, a [Fault]. Two things can run such a script:
//
//   - a [Transport], an [net/http.RoundTripper] in memory. It opens no socket and
//     waits only on timers, so that inside a bubble of testing/synctest a test of
//     three failures with 30 seconds between them takes a millisecond;
//   - a [Server] on a loopback socket, which speaks HTTP/1.1, HTTPS or HTTP/2 and
//     fails for real: TCP resets, broken chunks, RST_STREAM and GOAWAY frames.
//
// Both record every [Attempt] that reached them:
//
//	transport := retrytest.NewTransport(
//		retrytest.Step{Status: 503, Times: 2},
//		retrytest.Step{Fault: retrytest.Reset},
//		retrytest.Step{Body: "done"},
//	)
//	client.HTTPClient.Transport = transport
//	// … make the call under test …
//	attempts := transport.Attempts() // four: when, what, with which body
//
// A script serves each step once, or as many times as the step says
// ([Step.Times]). An attempt after the end of the script is a mistake of the test or
// of the code under test: a Transport returns an error that matches [ErrScriptOver]
// and is marked as permanent, a Server sends a 501 with the text of the error. When
// attempts come in no fixed order, from many goroutines for example,
// [NewTransportFunc] and [NewServerFunc] take a function that chooses the step.
//
// The package is a module of its own, because it needs golang.org/x/net for HTTP/2.
package retrytest
