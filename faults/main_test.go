package faults_test

import (
	"fmt"
	"net/http"
	"os"
	"testing"

	"go.uber.org/goleak"

	"github.com/a0b132ce/retryablehttp"
)

// TestMain checks that no goroutine of the client runs after the tests.
func TestMain(m *testing.M) {
	code := m.Run()
	// These connection pools outlive the clients of the tests.
	http.DefaultClient.CloseIdleConnections()
	new(retryablehttp.Client).CloseIdleConnections()
	if err := goleak.Find(); code == 0 && err != nil {
		fmt.Fprintln(os.Stderr, err)
		code = 1
	}
	os.Exit(code)
}
