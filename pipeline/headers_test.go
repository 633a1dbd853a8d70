package pipeline_test

import (
	"context"
	"fmt"
	"net/http"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/a0b132ce/retryablehttp/pipeline"
)

func TestP04CallHeaders(t *testing.T) {
	server := serve(step{status: 503}, step{status: 200})
	given := http.Header{"accept": {"z"}, "x-multi": {"1", "2"}, "X-Copied": {"before"}}
	option := pipeline.CallHeaders(given)
	given["X-Copied"][0] = "after"
	given.Set("X-Late", "1")
	req := newRequest(t, "GET", "http://h/", option)
	req.Raw().Header["Accept"] = []string{"orig", "orig2"}
	req.Raw().Header.Set("X-Kept", "yes")
	_, err := over(server, fast(), pipeline.Headers{}).Do(req)
	require.NoError(t, err)
	require.Equal(t, 2, server.tries())
	for _, got := range server.seen {
		assert.Equal(t, http.Header{"Accept": {"z"}, "X-Multi": {"1", "2"}, "X-Copied": {"before"}, "X-Kept": {"yes"}}, got.header)
	}
}

func TestB8HeaderWithoutValuesIsIgnored(t *testing.T) {
	server := serve(step{status: 200})
	option := pipeline.CallHeaders(http.Header{"X-None": {}, "X-Nil": nil, "Accept": {}, "Host": nil})
	req := newRequest(t, "GET", "http://h/", option, pipeline.CallHeaders(nil))
	req.Raw().Header.Set("Accept", "orig")
	_, err := over(server, pipeline.Headers{}).Do(req)
	require.NoError(t, err)
	assert.Equal(t, http.Header{"Accept": {"orig"}}, server.seen[0].header)
}

func TestCallHeadersAreMerged(t *testing.T) {
	server := serve(step{status: 200})
	pl := over(server, pipeline.Headers{}, pipeline.PolicyFunc(func(req *pipeline.Request) (*http.Response, error) {
		req.Raw().Header["X-A"][0] += "!" // which stays in this call
		return req.Next()
	}))
	first := pipeline.CallHeaders(header("X-A", "1", "X-B", "1"))
	second := pipeline.CallHeaders(header("x-a", "2", "X-C", "2"))
	for _, c := range []struct {
		options []pipeline.CallOption
		want    http.Header
	}{
		{[]pipeline.CallOption{first, second}, header("X-A", "2!", "X-B", "1", "X-C", "2")},
		{[]pipeline.CallOption{second, first}, header("X-A", "1!", "X-B", "1", "X-C", "2")},
		{[]pipeline.CallOption{first}, header("X-A", "1!", "X-B", "1")},
	} {
		_, err := pl.Do(newRequest(t, "GET", "http://h/", c.options...))
		require.NoError(t, err)
		assert.Equal(t, c.want, server.seen[len(server.seen)-1].header)
	}
}

func TestCallHeadersThatCannotBeSent(t *testing.T) {
	for name, header := range map[string]http.Header{
		"no name":         {"": {"secret"}},
		"blank in a name": {"X A": {"secret"}},
		"colon":           {"X:A": {"secret"}},
		"not ASCII":       {"X-Ä": {"secret"}},
		"line break":      {"X-A": {"fine", "secret\r\nX-B: 1"}},
		"NUL":             {"X-A": {"secret\x00"}},
		"DEL":             {"X-A": {"secret\x7f"}},
	} {
		t.Run(name, func(t *testing.T) {
			server := serve(step{status: 200})
			_, err := over(server, fast(), pipeline.Headers{}).Do(newRequest(t, "GET", "http://h/", pipeline.CallHeaders(header)))
			require.ErrorIs(t, err, pipeline.ErrHeader)
			assert.NotContains(t, err.Error(), "secret")
			assert.NotContains(t, err.Error(), "giving up", "it is not retried")
			assert.Zero(t, server.tries())
		})
	}
	server := serve(step{status: 200})
	fine := header("X!#$%&'*+-.^_`|~09azAZ", "tab\tand ä")
	_, err := over(server, pipeline.Headers{}).Do(newRequest(t, "GET", "http://h/", pipeline.CallHeaders(fine)))
	require.NoError(t, err)
	assert.Equal(t, fine, server.seen[0].header)
}

func TestCallHeadersHost(t *testing.T) {
	var hosts []string
	rt := roundTripper(func(r *http.Request) (*http.Response, error) {
		hosts = append(hosts, r.Host)
		assert.NotContains(t, r.Header, "Host")
		return &http.Response{StatusCode: 200, Request: r}, nil
	})
	elsewhere := pipeline.PolicyFunc(func(req *pipeline.Request) (*http.Response, error) {
		req.Raw().URL.Host = "other"
		req.Raw().Host = "other"
		return req.Next()
	})
	for _, pl := range []pipeline.Pipeline{over(rt, pipeline.Headers{}), over(rt, elsewhere, pipeline.Headers{})} {
		_, err := pl.Do(newRequest(t, "GET", "http://h/", pipeline.CallHeaders(header("host", "virtual"))))
		require.NoError(t, err)
	}
	assert.Equal(t, []string{"virtual", "other"}, hosts)
}

func ExampleCallHeaders() {
	server := roundTripper(func(r *http.Request) (*http.Response, error) {
		fmt.Println(r.Header.Get("If-Match"))
		return &http.Response{StatusCode: http.StatusNoContent, Request: r}, nil
	})
	pl := pipeline.New(&http.Client{Transport: server}, pipeline.Retry{}, pipeline.Headers{})
	option := pipeline.CallHeaders(http.Header{"If-Match": {`"v1"`}})
	req, err := pipeline.NewRequest(context.Background(), http.MethodDelete, "http://example.com/things/1", option)
	if err != nil {
		fmt.Println(err)
		return
	}
	resp, err := pl.Do(req)
	if err != nil {
		fmt.Println(err)
		return
	}
	resp.Body.Close()
	// Output: "v1"
}
