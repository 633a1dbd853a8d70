package mergepatch_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log"
	"net/http"
	"net/http/httptest"

	"github.com/a0b132ce/retryablehttp"
	"github.com/a0b132ce/retryablehttp/mergepatch"
)

type ThingPatch struct {
	Name  mergepatch.Field[string]            `json:"name,omitzero"`
	Count mergepatch.Field[int]               `json:"count,omitzero"`
	List  mergepatch.Field[[]string]          `json:"list,omitzero"`
	Tags  mergepatch.Field[map[string]string] `json:"tags,omitzero"`
}

// The name is not set, so it is not in the patch.
func Example() {
	body, err := json.Marshal(ThingPatch{
		Count: mergepatch.Null[int](),
		List:  mergepatch.Of([]string{}),
		Tags:  mergepatch.Null[map[string]string](),
	})
	if err != nil {
		log.Panic(err)
	}
	fmt.Println(string(body))
	// Output: {"count":null,"list":[],"tags":null}
}

// A server reads a patch.
func ExampleField() {
	var patch ThingPatch
	if err := json.Unmarshal([]byte(`{"name":"lamp","count":null}`), &patch); err != nil {
		log.Panic(err)
	}
	if name, ok := patch.Name.Get(); ok {
		fmt.Println("rename to", name)
	}
	if patch.Count.IsNull() {
		fmt.Println("remove the count")
	}
	if patch.Tags.IsZero() {
		fmt.Println("leave the tags alone")
	}
	// Output:
	// rename to lamp
	// remove the count
	// leave the tags alone
}

// A server applies the patches that a client sends to the document that it stores.
func ExampleApply() {
	document := []byte(`{"name":"lamp","count":3,"size":1e400}`)
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Header.Get("Content-Type") != mergepatch.MediaType {
			http.Error(w, "not a merge patch", http.StatusUnsupportedMediaType)
			return
		}
		patch, err := io.ReadAll(http.MaxBytesReader(w, r.Body, 1<<20))
		if err != nil {
			http.Error(w, "cannot read the patch", http.StatusBadRequest)
			return
		}
		result, err := mergepatch.Apply(document, patch)
		switch {
		case errors.Is(err, mergepatch.ErrInvalidPatch):
			http.Error(w, err.Error(), http.StatusBadRequest)
			return
		case err != nil: // the stored document is broken
			http.Error(w, "internal error", http.StatusInternalServerError)
			return
		}
		document = result
		w.Header().Set("Content-Type", "application/json")
		_, _ = w.Write(result)
	}))
	defer server.Close()

	client := retryablehttp.NewClient()
	defer client.CloseIdleConnections()
	for _, patch := range []string{`{"count":null,"tags":{"room":"hall"}}`, `{"count":`} {
		req, err := retryablehttp.NewRequest(http.MethodPatch, server.URL, patch)
		if err != nil {
			log.Panic(err)
		}
		req.Header.Set("Content-Type", mergepatch.MediaType)
		resp, err := client.Do(req)
		if err != nil {
			log.Panic(err)
		}
		body, err := io.ReadAll(resp.Body)
		if err != nil {
			log.Panic(err)
		}
		resp.Body.Close()
		fmt.Println(resp.StatusCode, string(body))
	}
	// Output:
	// 200 {"name":"lamp","size":1e400,"tags":{"room":"hall"}}
	// 400 mergepatch: invalid patch: unexpected end of JSON input
}
