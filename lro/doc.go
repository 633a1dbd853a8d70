// Package lro is for clients of HTTP APIs whose operations outlive the request that starts
// them. It polls such an operation until it has ended and gets its result.
//
// # Usage
//
// Send the request that starts the operation through a pipeline, and give the response to
// [New]:
//
//	req, err := pipeline.NewRequest(ctx, http.MethodPut, endpoint+"/disks/d1")
//	// …
//	resp, err := pl.Do(req)
//	// …
//	poller, err := lro.New[Disk](resp, pl, nil)
//	// …
//	disk, err := poller.PollUntilDone(ctx, nil)
//
// New reads and closes the body of the response, and fails if it cannot read what it needs;
// see there how such a request is repeated. To show what goes on, use [Poller.States],
// and then [Poller.Result], which sends one request if the result is elsewhere:
//
//	for status, err := range poller.States(ctx) {
//		// … return the err, or show status.Text and status.Progress
//	}
//	disk, err := poller.Result(ctx)
//
// A program that has a schedule of its own calls [Poller.Poll] when it likes.
//
// # Protocols
//
// The service says in its initial response how it tells the state. The first of these that
// applies is used:
//
//   - Azure-AsyncOperation has a URL that responds with a JSON object. Its member status is
//     the state.
//   - Operation-Location is the same.
//   - Location in a 202 whose body is a JSON object with a member state that is pending,
//     running, succeeded, failed or canceled: the operations protocol of package operations.
//     The URL responds with 200 and an object with the members state, result, problem and
//     progress. Without such a body, the next protocol is used.
//   - Location in any other response has a URL that responds with 202 until the operation has
//     ended, and then with the result. A new Location replaces the URL.
//   - PUT and PATCH without these headers: the URL of the request responds with the
//     resource, whose member properties.provisioningState is the state. There is none if the
//     operation has ended.
//   - Otherwise the operation has ended with the initial response. A 202 is an error then.
//
// With Azure-AsyncOperation the provisioningState counts in the initial response too, but not
// in a poll. With Operation-Location the member status of the initial response counts. In
// the Location protocol a provisioningState counts in every response.
//
// Succeeded, Completed, Failed, Canceled and Cancelled are terminal, and any other word means
// that the operation is in progress. In the operations protocol another word than the five is
// a [*ProtocolError]. That, or any other error of a poll, does not end the operation. All words
// are compared without regard to case.
//
// A poll is successful if its status is 200, 201, 202 or 204, or in the Location protocol any
// 2xx.
//
// Relative URLs are resolved against the URL of the request (RFC 3986 §5). A URL with
// spaces or control characters, or of another scheme than http or https, is a *ProtocolError.
//
// # The result
//
// [Options.FinalState] says where the result is. By default it is
//
//   - for Azure-AsyncOperation and Operation-Location at the original URL after a PUT or
//     PATCH, at the Location of the initial response after a POST if it had one, and
//     otherwise in the last status response. For Operation-Location, a member
//     resourceLocation of that response comes first;
//   - for the operations protocol in member result of the last status response;
//   - otherwise in the last response.
//
// An empty or missing result is the zero T. [Options.ResultMember] and [Options.Decode] are
// for services that differ.
//
// # How long it waits
//
// PollUntilDone and States poll at once and then in growing intervals (see [WaitOptions]),
// unless the service says by Retry-After when it wants the next poll. That is obeyed without
// a limit, so give ctx a deadline. It is ignored once the operation has ended.
//
// Ending the context ends the wait and not the operation. The same Poller can wait again,
// and the time that the service has asked for still counts. Another one, perhaps in another
// process, goes on with a token:
//
//	token, err := poller.ResumeToken()
//	// …
//	poller, err := lro.Resume[Disk](token, endpoint, pl, nil)
//
// # Errors
//
// An operation that has failed or was canceled is an [*OperationError]. It wraps the
// [*pipeline.ResponseError] that has the code, the message and the problem details of the
// service:
//
//	var failed *lro.OperationError
//	if errors.As(err, &failed) {
//		log.Print(failed.Response.Code)
//	}
//
// Any other error says nothing about the operation. Failures of polls, and of requests for the
// result, that may pass do not end PollUntilDone until there are several in a row (see
// [WaitOptions.MaxFailures]). A poll that is not successful is an error. In the
// Location protocol a status from 400 on ends the operation, except 401, 408, 429 and 5xx
// other than 501.
//
// # Credentials
//
// All requests are sent through the pipeline. Credentials are sent only to the origin of the
// original request: a URL elsewhere is polled, but without header fields that may hold a
// secret (see [pipeline.CallOrigin]).
package lro
