package lro_test

import (
	"bytes"
	"log/slog"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/a0b132ce/retryablehttp/lro"
	"github.com/a0b132ce/retryablehttp/pipeline"
)

func TestLog(t *testing.T) {
	var out bytes.Buffer
	s := serve(t, answer(202, "", "Operation-Location", status+"?sig=hush"), answer(200, "{}"), answer(200, `{"status":"Running"}`),
		answer(200, `{"status":"Succeeded"}`))
	pl := s.pipeline(pipeline.Logging{
		Logger:     slog.New(slog.NewTextHandler(&out, &slog.HandlerOptions{Level: slog.LevelDebug})),
		Categories: []pipeline.Category{pipeline.LogLRO},
	})
	p, err := lro.New[widget](initial(t, pl, "DELETE", orig), pl, nil)
	require.NoError(t, err)
	_, err = p.PollUntilDone(t.Context(), quick)
	require.Error(t, err)
	token, err := p.ResumeToken()
	require.NoError(t, err)
	p, err = lro.Resume[widget](token, home, pl, nil)
	require.NoError(t, err)
	_, err = p.PollUntilDone(t.Context(), quick)
	require.NoError(t, err)

	lines := strings.Split(strings.TrimSpace(out.String()), "\n")
	for i, want := range []string{
		`level=INFO msg="operation started" category=lro protocol=operation-location url="https://svc.example/st?sig=REDACTED" state="in progress"`,
		`level=WARN msg="poll failed" category=lro url="https://svc.example/st?sig=REDACTED" error="lro: the status response`,
		`level=INFO msg="operation resumed" category=lro protocol=operation-location url="https://svc.example/st?sig=REDACTED"`,
		`level=INFO msg="operation polled" category=lro url="https://svc.example/st?sig=REDACTED" state="in progress" text=Running`,
		`level=DEBUG msg=waiting category=lro wait=1ms`,
		`level=INFO msg="operation polled" category=lro url="https://svc.example/st?sig=REDACTED" state=succeeded text=Succeeded`,
	} {
		require.Greater(t, len(lines), i)
		assert.Contains(t, lines[i], want)
	}
	assert.NotContains(t, out.String(), "hush")
}
