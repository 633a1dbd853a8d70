package pipeline_test

import (
	"net/http"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/a0b132ce/retryablehttp/pipeline"
)

func TestP11APIVersion(t *testing.T) {
	in := func(where pipeline.VersionLocation) pipeline.APIVersion {
		return pipeline.APIVersion{Name: "api-version", Version: "2", In: where}
	}
	for _, c := range []struct {
		name     string
		policy   pipeline.APIVersion
		url      string
		wantURL  string
		wantHead string
	}{
		{"query: set", in(pipeline.InQuery), "http://h/a", "http://h/a?api-version=2", ""},
		{"query: replaced", in(pipeline.InQuery), "http://h/a?api-version=1", "http://h/a?api-version=2", ""},
		{"query: others are kept as they are", in(pipeline.InQuery), "http://h/a?z=%7e+&api-version=1&a=1;2&flag&&z=%zz",
			"http://h/a?z=%7e+&api-version=2&a=1;2&flag&&z=%zz", ""},
		{"query: at the end", in(pipeline.InQuery), "http://h/a?z=1&b", "http://h/a?z=1&b&api-version=2", ""},
		{"query: once", in(pipeline.InQuery), "http://h/a?api-version=1&b=1&api-version=3&api-version", "http://h/a?api-version=2&b=1", ""},
		{"query: escaped name", in(pipeline.InQuery), "http://h/a?api%2Dversion=1", "http://h/a?api-version=2", ""},
		{"query: other case", in(pipeline.InQuery), "http://h/a?API-Version=1", "http://h/a?API-Version=1&api-version=2", ""},
		{"query: escaped", pipeline.APIVersion{Name: "a b", Version: "2;x&y"}, "http://h/", "http://h/?a+b=2%3Bx%26y", ""},
		{"header: set", in(pipeline.InHeader), "http://h/a?api-version=1", "http://h/a?api-version=1", "2"},
		{"path: unchanged", in(pipeline.InPath), "http://h/v1/a", "http://h/v1/a", ""},
		{"path without a name", pipeline.APIVersion{Version: "2", In: pipeline.InPath}, "http://h/v1/a", "http://h/v1/a", ""},
		{"no version", pipeline.APIVersion{Name: "api-version"}, "http://h/a?api-version=1", "http://h/a?api-version=1", ""},
		{"zero value", pipeline.APIVersion{}, "http://h/a", "http://h/a", ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			for _, policies := range [][]pipeline.Policy{{c.policy, fast()}, {fast(), c.policy}} {
				server := serve(step{status: 503}, step{status: 200})
				_, err := over(server, policies...).Do(newRequest(t, "GET", c.url))
				require.NoError(t, err)
				require.Equal(t, 2, server.tries())
				for _, got := range server.seen {
					assert.Equal(t, c.wantURL, got.url)
					assert.Equal(t, c.wantHead, got.header.Get("Api-Version"))
				}
			}
		})
	}
}

func TestP11APIVersionWithoutAName(t *testing.T) {
	for _, policy := range []pipeline.APIVersion{{Version: "2"}, {Version: "2", In: pipeline.InHeader}, {Name: "n", Version: "2", In: 7}} {
		server := serve(step{status: 200})
		_, err := over(server, fast(), policy).Do(newRequest(t, "GET", "http://h/"))
		require.ErrorIs(t, err, pipeline.ErrAPIVersion)
		assert.NotContains(t, err.Error(), "giving up", "it is not retried")
		assert.Zero(t, server.tries())
	}
}

// A link to another origin may be signed.
func TestAPIVersionLeavesOtherOriginsAlone(t *testing.T) {
	server := serve(step{status: 200})
	elsewhere := pipeline.PolicyFunc(func(req *pipeline.Request) (*http.Response, error) {
		req.Raw().URL.Host = "other"
		return req.Next()
	})
	_, err := over(server, elsewhere, pipeline.APIVersion{Name: "v", Version: "2"}).Do(newRequest(t, "GET", "http://h/?sig=1"))
	require.NoError(t, err)
	assert.Equal(t, "http://other/?sig=1", server.seen[0].url)
}
