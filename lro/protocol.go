package lro

import (
	"bytes"
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"net/url"
	"slices"
	"strings"

	"github.com/a0b132ce/retryablehttp/internal/redact"
	"github.com/a0b132ce/retryablehttp/internal/urlref"
	"github.com/a0b132ce/retryablehttp/pipeline"
)

// protocol is how a service tells the state of an operation. The values are in resume
// tokens.
type protocol string

const (
	protocolAsync      protocol = "azure-asyncoperation" // a status URL in that header
	protocolMonitor    protocol = "operation-location"   // a status URL in that header
	protocolOperations protocol = "operations"           // Location of an operation with a state
	protocolLocation   protocol = "location"             // Location responds with 202 until the end
	protocolBody       protocol = "body"                 // the resource has a provisioningState
	protocolNone       protocol = "none"                 // the initial response is the last one
)

// known reports whether a resume token can have the protocol p.
func (p protocol) known() bool {
	return slices.Contains([]protocol{protocolAsync, protocolMonitor, protocolOperations, protocolLocation, protocolBody}, p)
}

// statePath is where a JSON body has the state.
func (p protocol) statePath() []string {
	switch p {
	case protocolAsync, protocolMonitor:
		return []string{"status"}
	case protocolOperations:
		return []string{"state"}
	}
	return []string{"properties", "provisioningState"}
}

// stateOf returns the state that a word means. Words are compared without regard to case.
// An unknown word means that the operation is in progress.
func stateOf(word string) State {
	switch strings.ToLower(word) {
	case "succeeded", "completed":
		return Succeeded
	case "failed":
		return Failed
	case "canceled", "cancelled":
		return Canceled
	}
	return InProgress
}

// operationsWord reports whether a word is a state of the operations protocol. Words are
// compared without regard to case.
func operationsWord(word string) bool {
	switch strings.ToLower(word) {
	case "pending", "running", "succeeded", "failed", "canceled":
		return true
	}
	return false
}

// success reports whether a status is one that the responses of an operation have.
func success(resp *http.Response) bool {
	return pipeline.HasStatus(resp, http.StatusOK, http.StatusCreated, http.StatusAccepted, http.StatusNoContent)
}

// detect sets the protocol, the URLs and the initial status of an operation from the initial
// response and its body.
func (op *operation) detect(resp *http.Response, body []byte) error {
	async, err := link(resp, "Azure-AsyncOperation")
	if err != nil {
		return err
	}
	monitor, err := link(resp, "Operation-Location")
	if err != nil {
		return err
	}
	if op.LocationURL, err = link(resp, "Location"); err != nil {
		return err
	}
	word, _ := textMember(body, "properties", "provisioningState")
	switch {
	case async != "":
		op.Protocol, op.PollURL = protocolAsync, async
	case monitor != "":
		op.Protocol, op.PollURL = protocolMonitor, monitor
		word, _ = textMember(body, "status")
	case op.LocationURL != "":
		op.Protocol, op.PollURL = protocolLocation, op.LocationURL
		state, _ := textMember(body, "state")
		if resp.StatusCode == http.StatusAccepted && operationsWord(state) {
			op.Protocol, word = protocolOperations, ""
		}
	case op.Method == http.MethodPut || op.Method == http.MethodPatch:
		op.Protocol, op.PollURL = protocolBody, op.OriginalURL
		if resp.StatusCode == http.StatusAccepted {
			word = ""
		}
	case resp.StatusCode == http.StatusAccepted:
		return &ProtocolError{Reason: "the response 202 Accepted has no status URL", Response: resp}
	default:
		op.Protocol, word = protocolNone, ""
	}
	status := Status{State: stateOf(word), Text: word, Response: resp}
	if op.Protocol == protocolNone ||
		op.Protocol == protocolBody && word == "" && pipeline.HasStatus(resp, http.StatusOK, http.StatusNoContent) {
		status.State = Succeeded
	}
	op.last, op.body = status, body
	return nil
}

// read returns the status that a response to a poll has. An error says nothing about the
// operation.
func (op *operation) read(resp *http.Response, body []byte) (Status, error) {
	code := resp.StatusCode
	switch {
	case success(resp), op.Protocol == protocolLocation && code/100 == 2:
	case op.Protocol == protocolLocation && code >= 400 && !unrelated(code):
		return Status{State: Failed, Response: resp}, nil
	default:
		return Status{}, fmt.Errorf("lro: polling: %w", pipeline.NewResponseError(resp))
	}
	word, err := textMember(body, op.Protocol.statePath()...)
	status := Status{State: stateOf(word), Text: word, Response: resp}
	switch op.Protocol {
	case protocolLocation:
		err = nil // the body may be a result that is not JSON
		if word == "" && code != http.StatusAccepted {
			status.State = Succeeded
		}
	case protocolBody:
		if code == http.StatusNoContent {
			err = nil
		}
		if word == "" {
			status.State = Succeeded
		}
	case protocolOperations:
		status.Progress = progress(body)
		if err == nil && !operationsWord(word) {
			err = fmt.Errorf("the state is %q", redact.Line(word, maxText, redact.URL))
		}
	default:
		if err == nil && word == "" {
			err = errors.New("it has no status")
		}
	}
	if err != nil {
		return Status{}, &ProtocolError{Reason: "the status response cannot be understood: " + err.Error(), Response: resp}
	}
	return status, nil
}

// link returns the URL that a header of a response has, "" if there is none.
func link(resp *http.Response, header string) (string, error) {
	ref := strings.TrimSpace(resp.Header.Get(header))
	if ref == "" {
		return "", nil
	}
	target, err := resolve(resp.Request.URL, ref)
	if err != nil {
		return "", &ProtocolError{Reason: header + ": " + err.Error(), Response: resp}
	}
	return target, nil
}

// resultURL returns the URL of the result, "" if that is in the last response.
func (op *operation) resultURL() (string, error) {
	switch {
	case op.Protocol == protocolBody, op.Protocol == protocolNone, op.Final == FinalStateOperation:
		return "", nil
	case op.Final == FinalStateOriginalURL:
		return op.OriginalURL, nil
	case op.Protocol == protocolLocation, op.Protocol == protocolOperations:
		return "", nil
	case op.Final == FinalStateLocation && op.LocationURL != "":
		return op.LocationURL, nil
	}
	if op.Protocol == protocolMonitor {
		ref, err := textMember(op.body, "resourceLocation")
		if err == nil && ref != "" {
			ref, err = resolve(op.last.Response.Request.URL, ref)
		}
		if err != nil {
			return "", &ProtocolError{Reason: "resourceLocation: " + err.Error(), Response: op.last.Response}
		}
		if ref != "" {
			return ref, nil
		}
	}
	switch op.Method {
	case http.MethodPut, http.MethodPatch:
		return op.OriginalURL, nil
	case http.MethodPost:
		return op.LocationURL, nil
	}
	return "", nil
}

// resultIn returns the part of the last body that is the result.
func (op *operation) resultIn() []byte {
	name := op.Member
	switch op.Protocol {
	case protocolAsync, protocolMonitor:
	case protocolOperations:
		name = cmp.Or(name, "result")
	default:
		return op.body
	}
	if name == "" {
		return op.body
	}
	result, _ := member(op.body, name) // the body was read as JSON before
	return result
}

// failure returns the error of an operation that has not succeeded.
func (op *operation) failure() *OperationError {
	resp := withBody(op.last.Response, op.body)
	if op.Protocol == protocolOperations {
		problem, _ := member(op.body, "problem")
		resp = withBody(resp, problem)
		resp.Header = maps.Clone(resp.Header)
		resp.Header["Content-Type"] = []string{"application/problem+json"}
	}
	return &OperationError{op.last.State, pipeline.NewResponseError(resp)}
}

// errSpace is the error for a text in place of a URL.
var errSpace = errors.New("URL contains a space")

// resolve returns the URL that ref means, as [urlref.Resolve] does.
func resolve(base *url.URL, ref string) (string, error) {
	if strings.Contains(ref, " ") { // which url.Parse accepts, but not control characters
		return "", errSpace
	}
	u, err := urlref.Resolve(base, ref)
	if err != nil {
		return "", err
	}
	return u.String(), nil
}

// utf8BOM is a byte order mark, which some services send before JSON.
var utf8BOM = []byte("\xef\xbb\xbf")

// member returns the value at a path of names in a JSON object. It is nil if there is none, or
// body is JSON but not an object.
func member(body []byte, path ...string) (json.RawMessage, error) {
	value := json.RawMessage(bytes.TrimPrefix(body, utf8BOM))
	for _, name := range path {
		var object map[string]json.RawMessage
		var notObject *json.UnmarshalTypeError
		if err := json.Unmarshal(value, &object); err != nil && !errors.As(err, &notObject) {
			return nil, err
		}
		if value = object[name]; value == nil {
			return nil, nil
		}
	}
	return value, nil
}

// maxWord is the length of the longest text in a status response that is used, in bytes.
const maxWord = 8 << 10

// textMember returns the string at a path of names in a JSON object, "" if there is none.
func textMember(body []byte, path ...string) (string, error) {
	value, err := member(body, path...)
	if err != nil || value == nil {
		return "", err
	}
	var text string
	if err := json.Unmarshal(value, &text); err != nil || len(text) > maxWord {
		return "", fmt.Errorf("member %q is not a string, or too long", strings.Join(path, "."))
	}
	return text, nil
}

// progress returns the member progress of an operation, 0 if it is not a percentage.
func progress(body []byte) int {
	value, _ := member(body, "progress")
	var percent float64
	if json.Unmarshal(value, &percent) != nil || percent < 0 || percent > 100 {
		return 0
	}
	return int(percent)
}
