package retryablehttp

import (
	"io"
	"net/http"
	"os"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// docs/spec.md, 3.12: a file that says it is empty but is not, as in /proc, is sent
// whole.
func TestFileThatSeemsEmpty(t *testing.T) {
	file, err := os.Open("/proc/self/cmdline")
	require.NoError(t, err)
	defer file.Close()
	want, err := os.ReadFile("/proc/self/cmdline")
	require.NoError(t, err)
	require.NotEmpty(t, want)
	var got []string
	client := &Client{RetryMax: 1, Backoff: noWait, HTTPClient: &http.Client{Transport: roundTripFunc(func(req *http.Request) (*http.Response, error) {
		data, err := io.ReadAll(req.Body)
		got = append(got, string(data))
		assert.EqualValues(t, len(want), req.ContentLength)
		return respond(req, 503, ""), err
	})}}
	_, err = client.Post("http://host/", "", file)
	require.Error(t, err)
	assert.Equal(t, []string{string(want), string(want)}, got)
}
