package otelretryablehttp_test

import (
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/a0b132ce/retryablehttp/otelretryablehttp"
	"github.com/a0b132ce/retryablehttp/retrytest"
)

// Over real connections: failed responses with a body do not cost their connection, and the
// version of HTTP is the one that was negotiated.
func TestOverRealConnections(t *testing.T) {
	for name, test := range map[string]struct {
		protocol retrytest.Protocol
		version  string
	}{
		"HTTP/1.1": {retrytest.HTTP1, "1.1"},
		"HTTP/2":   {retrytest.HTTP2, "2"},
	} {
		t.Run(name, func(t *testing.T) {
			server := retrytest.NewServer(test.protocol,
				retrytest.Step{Status: 503, Body: strings.Repeat("x", 10_000), Times: 2},
				retrytest.Step{Body: "done"},
			)
			defer server.Close()
			r := newRecorder(t)
			c := newClient(server.Client().Transport)
			c.Backoff = func(_, _ time.Duration, _ int, _ *http.Response) time.Duration { return time.Millisecond }
			require.NoError(t, otelretryablehttp.Instrument(c, r.options))
			defer c.CloseIdleConnections()
			require.NoError(t, get(c, server.URL))

			assert.Equal(t, 1, server.Accepted())
			spans, sent := r.find("GET"), server.Attempts()
			require.Len(t, spans, 3)
			for i, span := range spans {
				assert.Equal(t, test.version, value(span, "network.protocol.version"))
				assert.Contains(t, sent[i].Header.Get("Traceparent"), span.SpanContext.SpanID().String())
			}
		})
	}
}
