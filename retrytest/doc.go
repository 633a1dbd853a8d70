// Package retrytest makes HTTP servers and transports that fail on purpose, for
// tests of code that retries.
//
// A test writes a script, in which one [Step] says what happens to one attempt: a status,
// a header, a body, a delay, a [Fault]. Two types run a script:
//
//   - a [Transport], an [net/http.RoundTripper] in memory. It opens no socket and
//     waits only on channels and timers, so that in a testing/synctest bubble a test
//     of three failures with waits of 30 seconds takes a millisecond;
//   - a [Server] on a loopback socket, which speaks HTTP/1.1, HTTPS or HTTP/2. Its
//     failures are real TCP resets, broken chunks, RST_STREAM and GOAWAY frames.
//
// Both record every [Attempt] that reaches them:
//
//	transport := retrytest.NewTransport(
//		retrytest.Step{Status: 503, Times: 2},
//		retrytest.Step{Fault: retrytest.Reset},
//		retrytest.Step{Body: "done"},
//	)
//	client.HTTPClient.Transport = transport
//	// … make the call under test …
//	attempts := transport.Attempts() // four, each with its time, request and body
//
// Each step serves one attempt, or as many attempts as [Step.Times] says. An attempt after the end of the script is a mistake of the test or
// of the code under test: a Transport returns an error that matches [ErrScriptOver]
// and is marked as permanent, a Server sends a 501 with the text of the error. When
// attempts come in no fixed order, from many goroutines for example,
// [NewTransportFunc] and [NewServerFunc] take a function that chooses the step.
//
// The package is a module of its own, because it needs golang.org/x/net for HTTP/2.
package retrytest
