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
// New reads and closes the body of the response. Its documentation says what to do about a
// response that is cut off.
//
// To show the progress, range over [Poller.States] and then call [Poller.Result]. Result sends
// one more request if the service has the result at another URL:
//
//	for status, err := range poller.States(ctx) {
//		// … return the err, or show status.Text and status.Progress
//	}
//	disk, err := poller.Result(ctx)
//
// A program that has a schedule of its own calls [Poller.Poll] in place of States.
//
// # Protocols
//
// The header of the initial response says how the service reports the state of the operation.
// The first of these protocols that applies is used:
//
//   - Azure-AsyncOperation has the status URL, which responds with a JSON object. Its member
//     status is the state.
//   - Operation-Location is the same.
//   - Location in a 202 whose body is a JSON object with a member state that is pending,
//     running, succeeded, failed or canceled: the operations protocol of package operations.
//     Location has the status URL, which responds with 200 and an object with the members
//     state, result, problem and progress.
//   - Location in any other response: the Location protocol. Location has the status URL,
//     which responds with 202 until the operation has ended, and then with the result. Until
//     then, a new Location replaces the URL.
//   - PUT and PATCH without these headers: the original URL responds with the resource. Its
//     member properties.provisioningState is the state. A response without that member means
//     that the operation has ended.
//   - Otherwise the operation has ended with the initial response. A 202 is an error then.
//
// The state may be in other places too. With Azure-AsyncOperation, the initial response may
// have it in properties.provisioningState, and with Operation-Location in status. In the
// Location protocol, every response may have it in properties.provisioningState.
//
// The words Succeeded, Completed, Failed, Canceled and Cancelled mean that the operation has
// ended. Any other word means that it is in progress. The operations protocol has only its five
// words; any other is a [*ProtocolError]. Case does not matter.
//
// A poll is successful if its status is 200, 201, 202 or 204, or in the Location protocol any
// 2xx. A poll that fails does not end the operation (see Errors).
//
// The original URL is the URL of the first request, whether or not that was redirected. A
// relative URL is resolved against the URL that sent the response, after redirects (RFC 3986
// §5). A URL with a space or a control character, or with another scheme than http or https,
// is a *ProtocolError.
//
// lro sends no Prefer: wait (RFC 7240 §4.3). [pipeline.CallHeaders] in Options.CallOptions can
// add it.
//
// # The result
//
// [Options.FinalState] says where the result is. The default is
//
//   - for Azure-AsyncOperation after a PUT or PATCH: the original URL;
//   - for Azure-AsyncOperation after a POST: the Location of the initial response, if any;
//   - for Operation-Location: the URL in member resourceLocation of the last status response
//     or, if there is none, as for Azure-AsyncOperation;
//   - for the operations protocol: member result of the last status response;
//   - otherwise: the last response.
//
// An empty or missing result is the zero T. [Options.ResultMember] and [Options.Decode] are
// for services that differ.
//
// # How long it waits
//
// PollUntilDone and States poll at once and then at growing intervals (see [WaitOptions]). If
// the service says by Retry-After when it wants the next poll, they wait that long instead,
// without a limit: give ctx a deadline. Retry-After is ignored once the operation has ended.
//
// If ctx ends, the wait ends, but not the operation. The same Poller can wait again; it still
// heeds the last Retry-After. A Poller in another process can continue with a token:
//
//	token, err := poller.ResumeToken()
//	// …
//	poller, err := lro.Resume[Disk](token, endpoint, pl, nil)
//
// # Canceling an operation
//
// Many services cancel an operation when they get a DELETE of its status URL. Send it through
// the pipeline. With [pipeline.CallOrigin], credentials are sent only to the service, wherever
// the status URL leads:
//
//	service, err := url.Parse(endpoint)
//	// …
//	req, err := pipeline.NewRequest(ctx, http.MethodDelete, poller.URL(), pipeline.CallOrigin(service))
//	// …
//	resp, err := pl.Do(req)
//	// … check the status, close the body, and go on polling
//
// The operation is canceled when a poll says so, and not before.
//
// # Errors
//
// The error of an operation that has failed or was canceled is an [*OperationError]. It wraps
// the [*pipeline.ResponseError] that has the code, the message and the problem details of the
// service:
//
//	var failed *lro.OperationError
//	if errors.As(err, &failed) {
//		log.Print(failed.Response.Code)
//	}
//
// Any other error says nothing about the operation. PollUntilDone and States go on after a
// transient failure, until there are several in a row (see [WaitOptions.MaxFailures]).
//
// A poll that is not successful is an error, with one exception: in the Location protocol, a
// status of 400 or more says that the operation has failed, unless it is 401, 408, 429, or 5xx
// other than 501.
//
// # Credentials
//
// All requests are sent through the pipeline. Credentials are sent only to the origin (scheme,
// host and port) of the original URL. A URL at another origin is polled without header fields
// that may hold a secret (see [pipeline.CallOrigin]).
package lro
