package retrytest_test

import (
	"io"
	"net/http"
	"testing"
	"testing/synctest"
	"time"

	"github.com/a0b132ce/retryablehttp"
	"github.com/a0b132ce/retryablehttp/retrytest"
)

// testThreeFailures takes no time although its call takes a minute and a half: in a
// bubble of testing/synctest the clock jumps to the next timer.
func testThreeFailures(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		transport := retrytest.NewTransport(
			retrytest.Step{Status: 503, Header: http.Header{"Retry-After": {"30"}}, Times: 2},
			retrytest.Step{Fault: retrytest.Reset},
			retrytest.Step{Body: "done"},
		)
		client := retryablehttp.NewClient()
		client.HTTPClient = &http.Client{Transport: transport}
		client.RetryWaitMin, client.RetryWaitMax = 30*time.Second, 30*time.Second

		resp, err := client.Post("http://example.com/things", "text/plain", "question")
		if err != nil {
			t.Fatal(err)
		}
		defer resp.Body.Close()
		if answer, err := io.ReadAll(resp.Body); err != nil || string(answer) != "done" {
			t.Errorf("got %q, %v", answer, err)
		}

		attempts := transport.Attempts()
		if len(attempts) != 4 {
			t.Errorf("%d attempts", len(attempts))
		}
		for i, a := range attempts {
			if wait := a.Time.Sub(attempts[0].Time); wait != time.Duration(i)*30*time.Second {
				t.Errorf("attempt %d came after %s", a.Number, wait)
			}
			if string(a.Body) != "question" {
				t.Errorf("attempt %d had the body %q", a.Number, a.Body)
			}
		}
	})
}

func ExampleTransport() {
	var t *testing.T // of the test
	testThreeFailures(t)
}
