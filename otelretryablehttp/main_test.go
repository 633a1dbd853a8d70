package otelretryablehttp_test

import (
	"fmt"
	"net/http"
	"os"
	"testing"

	"go.uber.org/goleak"

	"github.com/a0b132ce/retryablehttp"
)

// TestMain checks that every goroutine has ended when the tests have.
func TestMain(m *testing.M) {
	code := m.Run()
	// The pools that outlive a client.
	http.DefaultClient.CloseIdleConnections()
	new(retryablehttp.Client).CloseIdleConnections()
	if err := goleak.Find(); code == 0 && err != nil {
		fmt.Fprintln(os.Stderr, err)
		code = 1
	}
	os.Exit(code)
}
