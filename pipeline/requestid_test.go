package pipeline_test

import (
	"crypto/rand"
	"net/http"
	"regexp"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/a0b132ce/retryablehttp/pipeline"
)

var uuid4 = regexp.MustCompile(`^[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$`)

func TestP11RequestIDIsTheSameOnEveryTry(t *testing.T) {
	for name, policies := range map[string][]pipeline.Policy{
		"before Retry":      {pipeline.RequestID{}, fast()},
		"after Retry":       {fast(), pipeline.RequestID{}},
		"twice":             {pipeline.RequestID{}, fast(), pipeline.RequestID{}},
		"of another policy": {retryByClone, pipeline.RequestID{}},
		"canonical name":    {fast(), pipeline.RequestID{Header: "x-request-id"}},
	} {
		t.Run(name, func(t *testing.T) {
			server := serve(step{status: 503}, step{status: 200}, step{status: 200})
			pl := over(server, policies...)
			for range 2 {
				_, err := pl.Do(newRequest(t, "GET", "http://h/"))
				require.NoError(t, err)
			}
			require.Equal(t, 3, server.tries())
			id := func(i int) string { return server.seen[i].header.Get("X-Request-Id") }
			assert.Regexp(t, uuid4, id(0))
			assert.Equal(t, id(0), id(1))
			assert.NotEqual(t, id(0), id(2), "another call has another id")
			assert.Len(t, server.seen[0].header["X-Request-Id"], 1)
		})
	}
}

// retryByClone repeats what is not a success, with a clone for each attempt.
var retryByClone = pipeline.PolicyFunc(func(req *pipeline.Request) (*http.Response, error) {
	for {
		resp, err := req.Clone(req.Raw().Context()).Next()
		if err != nil || resp.StatusCode < 300 {
			return resp, err
		}
		resp.Body.Close()
	}
})

func TestP11RequestIDOfTheCallerIsKept(t *testing.T) {
	for _, policies := range [][]pipeline.Policy{
		{pipeline.RequestID{}, pipeline.RequestID{Header: "X-Other-Id"}, fast()},
		{fast(), pipeline.RequestID{}, pipeline.RequestID{Header: "X-Other-Id"}},
	} {
		server := serve(step{status: 503}, step{status: 200})
		req := newRequest(t, "GET", "http://h/")
		req.Raw().Header.Set("X-Request-Id", "mine")
		_, err := over(server, policies...).Do(req)
		require.NoError(t, err)
		for _, got := range server.seen {
			assert.Equal(t, "mine", got.header.Get("X-Request-Id"))
			assert.Regexp(t, uuid4, got.header.Get("X-Other-Id"))
		}
	}
}

func TestB12UUIDs(t *testing.T) {
	seen := map[string]bool{}
	var set, clear [36]bool // which characters were not always the same
	first := pipeline.NewUUID()
	for range 10_000 {
		id := pipeline.NewUUID()
		require.Regexp(t, uuid4, id)
		require.False(t, seen[id])
		seen[id] = true
		for i := range id {
			set[i], clear[i] = set[i] || id[i] == first[i], clear[i] || id[i] != first[i]
		}
	}
	for i := range first {
		fixed := i == 8 || i == 13 || i == 14 || i == 18 || i == 23
		assert.Equal(t, !fixed, clear[i], i)
		assert.True(t, set[i], i)
	}
	random := testing.AllocsPerRun(100, func() {
		var b [16]byte
		rand.Read(b[:])
	})
	assert.Equal(t, random+1, testing.AllocsPerRun(100, func() { pipeline.NewUUID() }), "the string")
}
