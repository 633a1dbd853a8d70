// Package problem encodes, decodes and writes problem details for HTTP APIs (RFC 9457).
//
// # Writing
//
// A handler that fails writes a [Problem]:
//
//	p := problem.New(http.StatusNotFound, "there is no order 7")
//	p.Extensions = map[string]any{"code": "ORDER-404"}
//	problem.Write(w, http.StatusNotFound, p)
//
// The response has the media type application/problem+json and this body:
//
//	{"code":"ORDER-404","detail":"there is no order 7","status":404,
//	 "title":"Not Found","type":"https://api-toolkit.dev/problems/not-found"}
//
// A Problem is an error, so that a function of the server can return one and errors.As
// finds it there. On the client, the field Problem of a pipeline.ResponseError has it.
//
// # Reading
//
// [Decode] reads the body of a response. Members that RFC 9457 does not name are kept in
// Problem.Extensions:
//
//	p, err := problem.Decode(resp.Body)
//	if err == nil && p.Extensions["code"] == "ORDER-404" {
//		// …
//	}
//
// # JSON
//
// The same JSON is written wherever a Problem is part of a larger value. Its members are in
// alphabetical order and extension members are at the top level.
package problem
