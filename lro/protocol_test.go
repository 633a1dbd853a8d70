package lro_test

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"
	"testing/synctest"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/a0b132ce/retryablehttp/lro"
	"github.com/a0b132ce/retryablehttp/pipeline"
)

func provisioning(state string) string {
	return fmt.Sprintf(`{"properties":{"provisioningState":%q}}`, state)
}

func sized(n int) string { return fmt.Sprintf(`{"size":%d}`, n) }

// TestWait waits for operations of every protocol. urls are the requests after the first.
func TestWait(t *testing.T) {
	accepted := answer(202, "", "Location", loc)
	for _, c := range []struct {
		name   string
		method string
		steps  []step
		size   int
		urls   []string
	}{
		{"O01 POST Location", "POST", []step{accepted, answer(202, ""), answer(202, ""), answer(200, sized(3))},
			3, []string{loc, loc, loc}},
		{"O01 DELETE Location 204", "DELETE", []step{accepted, answer(204, "")}, 0, []string{loc}},
		{"O04 DELETE Location with provisioningState", "DELETE",
			[]step{accepted, answer(200, provisioning("Deleting")), answer(200, `{"properties":{"provisioningState":"Succeeded"},"size":4}`)},
			4, []string{loc, loc}},
		{"O05 PUT Azure-AsyncOperation", "PUT",
			[]step{answer(201, provisioning("Started"), "Azure-AsyncOperation", status), answer(200, `{"status":"InProgress"}`),
				answer(200, `{"status":"Succeeded"}`), answer(200, sized(7))},
			7, []string{status, status, orig}},
		{"O09 all three headers", "DELETE",
			[]step{answer(202, "", "Azure-AsyncOperation", status, "Operation-Location", home+"/op", "Location", loc),
				answer(200, `{"status":"Succeeded","size":1}`)},
			1, []string{status}},
		{"O09 Operation-Location and Location", "DELETE",
			[]step{answer(202, "", "Operation-Location", home+"/op", "Location", loc), answer(200, `{"status":"Succeeded","size":1}`)},
			1, []string{home + "/op"}},
		{"O11 PUT body", "PUT",
			[]step{answer(201, provisioning("Started")), answer(200, provisioning("Updating")),
				answer(200, `{"properties":{"provisioningState":"Succeeded"},"size":6}`)},
			6, []string{orig, orig}},
		{"O11 PATCH body 204", "PATCH", []step{answer(201, provisioning("Started")), answer(204, "")}, 0, []string{orig}},
		{"O11 PUT 201 without state", "PUT", []step{answer(201, `{}`), answer(200, sized(6))}, 6, []string{orig}},
		{"O11 PUT 202", "PUT", []step{answer(202, ""), answer(200, sized(6))}, 6, []string{orig}},
		{"PUT 202 is in progress whatever its body says", "PUT",
			[]step{answer(202, provisioning("Succeeded")), answer(200, sized(6))}, 6, []string{orig}},
		{"PUT 200 in progress", "PUT", []step{answer(200, provisioning("Updating")), answer(200, sized(6))}, 6, []string{orig}},
		{"a Location of a status response is ignored", "DELETE",
			[]step{answer(202, "", "Operation-Location", status), answer(200, `{"status":"Running"}`, "Location", loc),
				answer(200, `{"status":"Succeeded","size":1}`)}, 1, []string{status, status}},
		{"O12 PUT 200", "PUT", []step{answer(200, sized(9))}, 9, []string{}},
		{"O12 POST 200", "POST", []step{answer(200, sized(9))}, 9, []string{}},
		{"O12 DELETE 204", "DELETE", []step{answer(204, "")}, 0, []string{}},
		{"O12 PUT 201 Azure-AsyncOperation and Succeeded", "PUT",
			[]step{answer(201, provisioning("Succeeded"), "Azure-AsyncOperation", status), answer(200, sized(7))}, 7, []string{orig}},
		{"PUT 204", "PUT", []step{answer(204, "")}, 0, []string{}},
		{"PUT 201 Succeeded", "PUT", []step{answer(201, `{"properties":{"provisioningState":"succeeded"},"size":2}`)}, 2, []string{}},
		{"Location in a 201 is polled once", "POST", []step{answer(201, "", "Location", loc), answer(200, sized(3))}, 3, []string{loc}},
		{"Location responds with another 2xx", "POST", []step{accepted, answer(203, sized(3))}, 3, []string{loc}},
		{"Operation-Location with a status in the initial body", "POST",
			[]step{answer(200, `{"status":"succeeded","size":5}`, "Operation-Location", status)}, 5, []string{}},
		{"a byte order mark is ignored", "DELETE",
			[]step{answer(202, "", "Operation-Location", status), answer(200, "\xef\xbb\xbf"+`{"status":"Succeeded","size":5}`)}, 5, []string{status}},
		{"an initial body that is not JSON does not matter", "DELETE",
			[]step{answer(202, "accepted", "Operation-Location", status), answer(200, `{"status":"Succeeded"}`)}, 0, []string{status}},
		{"an initial body that is cut off does not matter", "PUT",
			[]step{cut(200, `{"size":`), answer(200, sized(6))}, 6, []string{orig}},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := serve(t, c.steps...)
				p := begin(t, s, c.method, nil)
				if len(c.urls) == 0 || c.urls[0] == orig && strings.Contains(c.name, "O12") {
					assert.True(t, p.Done())
					_, err := p.ResumeToken()
					assert.ErrorIs(t, err, lro.ErrDone)
				} else {
					assert.False(t, p.Done())
				}
				got, err := p.PollUntilDone(t.Context(), quick)
				require.NoError(t, err)
				assert.Equal(t, widget{Size: c.size}, got)
				assert.Equal(t, c.urls, s.took())
				assert.True(t, p.Done())

				again, err := p.Result(t.Context())
				require.NoError(t, err)
				assert.Equal(t, got, again)
				assert.Empty(t, s.took(), "the result is cached")
			})
		})
	}
}

// cut is a response whose body is cut off.
func cut(code int, body string, header ...string) step {
	return func(r *http.Request) (*http.Response, error) {
		resp, err := answer(code, "", header...)(r)
		resp.Body = io.NopCloser(io.MultiReader(strings.NewReader(body), brokenReader{}))
		return resp, err
	}
}

type brokenReader struct{}

func (brokenReader) Read([]byte) (int, error) { return 0, io.ErrUnexpectedEOF }

func TestO03LocationFailure(t *testing.T) {
	s := serve(t, answer(202, "", "Location", loc), answer(409, `{"error":{"code":"Conf","message":"in use"}}`))
	p := begin(t, s, "POST", nil)
	st, err := p.Poll(t.Context())
	require.NoError(t, err)
	assert.Equal(t, lro.Failed, st.State)
	assert.True(t, p.Done())
	_, first := p.Result(t.Context())
	assert.Equal(t, "Conf", codeOf(t, first))
	var failed *lro.OperationError
	require.ErrorAs(t, first, &failed)
	assert.Equal(t, 409, failed.Response.StatusCode)
	assert.Equal(t, "lro: operation failed: Conf: in use", first.Error())
	_, second := p.Result(t.Context())
	assert.Same(t, first, second)
	again, err := p.Poll(t.Context())
	require.NoError(t, err)
	assert.Equal(t, st, again)
	_, err = p.ResumeToken()
	assert.ErrorIs(t, err, lro.ErrDone)
	assert.Equal(t, []string{loc}, s.took())
}

// A status that is about the request, not the operation, does not end it.
func TestLocationStatuses(t *testing.T) {
	for code, ends := range map[int]bool{
		400: true, 403: true, 404: true, 409: true, 410: true, 412: true, 501: true,
		401: false, 408: false, 429: false, 500: false, 502: false, 503: false, 504: false,
	} {
		t.Run(fmt.Sprint(code), func(t *testing.T) {
			s := serve(t, answer(202, "", "Location", loc), answer(code, ""), answer(200, sized(1)))
			p := begin(t, s, "POST", nil)
			st, err := p.Poll(t.Context())
			assert.Equal(t, ends, p.Done())
			if ends {
				require.NoError(t, err)
				assert.Equal(t, lro.Failed, st.State)
				_, err = p.Result(t.Context())
				assert.Equal(t, fmt.Sprintf("lro: operation failed: %d %s", code, http.StatusText(code)), err.Error())
				return
			}
			var e *pipeline.ResponseError
			require.ErrorAs(t, err, &e)
			assert.Equal(t, code, e.StatusCode)
			assert.Equal(t, lro.InProgress, st.State)
			st, err = p.Poll(t.Context())
			require.NoError(t, err)
			assert.Equal(t, lro.Succeeded, st.State)
		})
	}
}

func TestO07StateWords(t *testing.T) {
	for word, state := range map[string]lro.State{
		"Failed": lro.Failed, "failed": lro.Failed, "Canceled": lro.Canceled, "cancelled": lro.Canceled,
		"succeeded": lro.Succeeded, "COMPLETED": lro.Succeeded, "Accepted": lro.InProgress, "weird": lro.InProgress,
	} {
		for _, header := range []string{"Azure-AsyncOperation", "Operation-Location"} {
			t.Run(header+" "+word, func(t *testing.T) {
				s := serve(t, answer(202, "", header, status), answer(200, `{"status":"`+word+`","error":{"code":"Bad"}}`))
				p := begin(t, s, "DELETE", nil)
				st, err := p.Poll(t.Context())
				require.NoError(t, err)
				assert.Equal(t, state, st.State)
				assert.Equal(t, word, st.Text)
				assert.Equal(t, state != lro.InProgress, p.Done())
				_, err = p.Result(t.Context())
				var failed *lro.OperationError
				switch state {
				case lro.Succeeded:
					assert.NoError(t, err)
				case lro.InProgress:
					assert.ErrorIs(t, err, lro.ErrNotDone)
				default:
					require.ErrorAs(t, err, &failed)
					assert.Equal(t, state, failed.State)
					assert.Equal(t, "Bad", codeOf(t, err))
				}
				assert.Equal(t, []string{status}, s.took())
			})
		}
	}
}

func TestO08BadStatusResponses(t *testing.T) {
	s := serve(t, answer(202, "", "Azure-AsyncOperation", status),
		answer(404, `{"error":{"code":"NotFound"}}`), answer(200, `{"x":1}`), answer(200, ""), answer(200, "text"),
		answer(200, `{"status":"Succeeded"}`))
	p := begin(t, s, "DELETE", nil)
	_, err := p.Poll(t.Context())
	assert.Equal(t, "NotFound", codeOf(t, err))
	assert.False(t, p.Done())
	for range 3 {
		st, err := p.Poll(t.Context())
		var e *lro.ProtocolError
		require.ErrorAs(t, err, &e)
		assert.Equal(t, 200, e.Response.StatusCode)
		assert.Equal(t, lro.InProgress, st.State)
		assert.False(t, p.Done())
	}
	_, err = p.Poll(t.Context())
	require.NoError(t, err)
	assert.True(t, p.Done())
}

func TestO11BodyErrors(t *testing.T) {
	s := serve(t, answer(201, provisioning("Started")), answer(200, ""), answer(404, ""),
		answer(200, `{"properties":{"provisioningState":"Failed"},"error":{"code":"E1"}}`))
	p := begin(t, s, "PUT", nil)
	var malformed *lro.ProtocolError
	_, err := p.Poll(t.Context())
	require.ErrorAs(t, err, &malformed)
	assert.False(t, p.Done())
	var e *pipeline.ResponseError
	_, err = p.Poll(t.Context())
	require.ErrorAs(t, err, &e)
	assert.Equal(t, 404, e.StatusCode)
	assert.False(t, p.Done())
	_, err = p.Poll(t.Context())
	require.NoError(t, err)
	_, err = p.Result(t.Context())
	assert.Equal(t, "E1", codeOf(t, err))
	assert.Equal(t, []string{orig, orig, orig}, s.took())
}

func TestO13CreationErrors(t *testing.T) {
	for _, c := range []struct {
		name   string
		method string
		step   step
		status int // of a ResponseError; 0 means a ProtocolError
	}{
		{"DELETE 202 without headers", "DELETE", answer(202, ""), 0},
		{"POST 202 without headers", "POST", answer(202, ""), 0},
		{"PUT 400", "PUT", answer(400, `{"error":{"code":"C"}}`), 400},
		{"PUT 500", "PUT", answer(500, `{"error":{"code":"C"}}`), 500},
		{"POST 203", "POST", answer(203, `{"error":{"code":"C"}}`), 203},
		{"Azure-AsyncOperation", "PUT", answer(202, "", "Azure-AsyncOperation", "this is invalid"), 0},
		{"Operation-Location", "PUT", answer(202, "", "Operation-Location", "this is invalid"), 0},
		{"Location", "PUT", answer(202, "", "Location", "this is invalid"), 0},
		{"Location with Operation-Location", "PUT", answer(202, "", "Operation-Location", status, "Location", "this is invalid"), 0},
		{"Location with Azure-AsyncOperation", "PUT", answer(202, "", "Azure-AsyncOperation", status, "Location", "mailto:a@b"), 0},
		{"another scheme", "PUT", answer(202, "", "Location", "ftp://svc.example/loc"), 0},
		{"no host", "PUT", answer(202, "", "Location", "http:///loc"), 0},
		{"opaque", "PUT", answer(202, "", "Location", "https:loc"), 0},
		{"control character", "PUT", answer(202, "", "Location", "/lo\x01c"), 0},
		{"bad escape", "PUT", answer(202, "", "Location", "/lo%zzc?sig=hush"), 0},
	} {
		t.Run(c.name, func(t *testing.T) {
			s := serve(t, c.step) // which checks that the body is closed
			pl := s.pipeline()
			p, err := lro.New[widget](initial(t, pl, c.method, orig), pl, nil)
			require.Error(t, err)
			assert.Nil(t, p)
			assert.NotContains(t, err.Error(), "hush")
			var protocol *lro.ProtocolError
			if c.status == 0 {
				require.ErrorAs(t, err, &protocol)
				assert.NotNil(t, protocol.Response)
				return
			}
			var e *pipeline.ResponseError
			require.ErrorAs(t, err, &e)
			assert.Equal(t, c.status, e.StatusCode)
			assert.Equal(t, "C", e.Code)
		})
	}
}

func TestB5FailedStatusIsTheError(t *testing.T) {
	s := serve(t, answer(202, "", "Operation-Location", status), answer(200, `{"status":"Failed","error":{"code":"Bad","message":"no\nroom"}}`),
		answer(200, sized(1)))
	p := begin(t, s, "PUT", nil)
	_, err := p.PollUntilDone(t.Context(), quick)
	assert.Equal(t, "Bad", codeOf(t, err))
	assert.Equal(t, "lro: operation failed: Bad: no room", err.Error())
	assert.Equal(t, []string{status}, s.took())
}

func TestB10RelativeURLs(t *testing.T) {
	for ref, want := range map[string]string{
		"/loc":                       home + "/loc",
		"loc":                        home + "/a/loc",
		"../loc":                     home + "/loc",
		"?op=1":                      home + "/a/orig?op=1",
		"//other.example/loc":        "https://other.example/loc",
		"HTTP://u:p@other.example/x": "http://other.example/x",
		" /loc ":                     home + "/loc",
		"/loc?a=b#part":              home + "/loc?a=b",
	} {
		for _, header := range []string{"Location", "Operation-Location", "Azure-AsyncOperation"} {
			t.Run(header+" "+ref, func(t *testing.T) {
				s := serve(t, answer(202, "", header, ref), answer(200, `{"status":"Succeeded"}`))
				pl := s.pipeline()
				p, err := lro.New[widget](initial(t, pl, "DELETE", home+"/a/orig"), pl, nil)
				require.NoError(t, err)
				s.took()
				_, err = p.PollUntilDone(t.Context(), quick)
				require.NoError(t, err)
				assert.Equal(t, []string{want}, s.took())
			})
		}
	}
	t.Run("midway, relative to the URL that was polled", func(t *testing.T) {
		s := serve(t, answer(202, "", "Location", "/ops/1"), answer(202, "", "Location", "2?x=y"), answer(202, ""), answer(200, sized(8)))
		p := begin(t, s, "POST", nil)
		got, err := p.PollUntilDone(t.Context(), quick)
		require.NoError(t, err)
		assert.Equal(t, 8, got.Size)
		assert.Equal(t, []string{home + "/ops/1", home + "/ops/2?x=y", home + "/ops/2?x=y"}, s.took())
	})
	t.Run("midway, what is not a URL is an error and not followed", func(t *testing.T) {
		s := serve(t, answer(202, "", "Location", loc), answer(202, "", "Location", "this is invalid"), answer(200, sized(8), "Location", "nor is this"))
		p := begin(t, s, "POST", nil)
		_, err := p.Poll(t.Context())
		var malformed *lro.ProtocolError
		require.ErrorAs(t, err, &malformed)
		assert.False(t, p.Done())
		st, err := p.Poll(t.Context())
		require.NoError(t, err)
		assert.Equal(t, lro.Succeeded, st.State)
		assert.Equal(t, []string{loc, loc}, s.took())
	})
}

func TestF133StatusOfAFailedPollIsTheOneBefore(t *testing.T) {
	s := serve(t, answer(202, provisioning("Creating"), "Location", loc), answer(202, provisioning("Updating"), "Location", "ftp://x/"),
		answer(202, provisioning("Updating"), "Location", "/next"))
	p := begin(t, s, "POST", nil)
	token, err := p.ResumeToken()
	require.NoError(t, err)
	st, err := p.Poll(t.Context())
	require.ErrorAs(t, err, new(*lro.ProtocolError))
	assert.Equal(t, "Creating", st.Text)
	assert.Equal(t, orig, st.Response.Request.URL.String())
	again, err := p.ResumeToken()
	require.NoError(t, err)
	assert.Equal(t, token, again)

	st, err = p.Poll(t.Context())
	require.NoError(t, err)
	assert.Equal(t, "Updating", st.Text)
	assert.Equal(t, home+"/next", p.URL())
}

// Servers differ in what they make of dot segments.
func TestOriginalURLIsKept(t *testing.T) {
	for _, path := range []string{"", "/", "/a/./b", "/a/../b", "/%2e%2e/c", "/a%2Fb/", "//a//b", "/a?", "/a?x=1;y=2&z=+", "/a..;/b"} {
		for _, resumed := range []bool{false, true} {
			s := serve(t, answer(202, "", "Operation-Location", "/st"), answer(200, `{"status":"Succeeded"}`), answer(200, sized(1)))
			pl := s.pipeline()
			p, err := lro.New[widget](initial(t, pl, "PUT", home+path), pl, nil)
			require.NoError(t, err)
			if resumed {
				token, err := p.ResumeToken()
				require.NoError(t, err)
				p, err = lro.Resume[widget](token, home, pl, nil)
				require.NoError(t, err)
			}
			_, err = p.PollUntilDone(t.Context(), quick)
			require.NoError(t, err)
			assert.Equal(t, []string{"PUT " + home + path, status, home + path}, s.took())
		}
	}
}

// TestResultURL tests where the result is requested. "" means nowhere.
func TestResultURL(t *testing.T) {
	const res = home + "/res"
	done := `{"status":"Succeeded"}`
	doneWithResource := `{"status":"Succeeded","resourceLocation":"/res"}`
	for _, c := range []struct {
		header, method string
		location       bool // in the initial response
		final          lro.FinalState
		last           string
		want           string
	}{
		{"Azure-AsyncOperation", "PUT", true, "", done, orig},
		{"Azure-AsyncOperation", "PATCH", false, "", done, orig},
		{"Azure-AsyncOperation", "PUT", true, lro.FinalStateLocation, done, loc},
		{"Azure-AsyncOperation", "PUT", false, lro.FinalStateLocation, done, orig},
		{"Azure-AsyncOperation", "PATCH", true, lro.FinalStateOperation, done, ""},
		{"Azure-AsyncOperation", "POST", true, "", done, loc},
		{"Azure-AsyncOperation", "POST", false, "", done, ""},
		{"Azure-AsyncOperation", "POST", true, lro.FinalStateOriginalURL, done, orig},
		{"Azure-AsyncOperation", "POST", true, lro.FinalStateOperation, done, ""},
		{"Azure-AsyncOperation", "POST", false, "", doneWithResource, ""},
		{"Azure-AsyncOperation", "DELETE", true, "", done, ""},
		{"Azure-AsyncOperation", "DELETE", true, lro.FinalStateLocation, done, loc},
		{"Operation-Location", "PUT", true, "", doneWithResource, res},
		{"Operation-Location", "PUT", true, lro.FinalStateLocation, doneWithResource, loc},
		{"Operation-Location", "PUT", false, lro.FinalStateLocation, doneWithResource, res},
		{"Operation-Location", "PUT", true, lro.FinalStateOriginalURL, doneWithResource, orig},
		{"Operation-Location", "PUT", true, lro.FinalStateOperation, doneWithResource, ""},
		{"Operation-Location", "PUT", true, "", done, orig},
		{"Operation-Location", "PATCH", false, "", done, orig},
		{"Operation-Location", "POST", true, "", done, loc},
		{"Operation-Location", "POST", false, "", done, ""},
		{"Operation-Location", "DELETE", true, "", done, ""},
		{"Location", "PUT", true, "", done, ""},
		{"Location", "PUT", true, lro.FinalStateLocation, done, ""},
		{"Location", "PUT", true, lro.FinalStateOriginalURL, done, orig},
		{"none", "PUT", false, lro.FinalStateOriginalURL, done, ""},
	} {
		t.Run(fmt.Sprint(c.header, c.method, c.location, c.final), func(t *testing.T) {
			header := []string{c.header, status}
			if c.location && c.header != "Location" {
				header = append(header, "Location", loc)
			}
			s := serve(t, answer(202, "", header...), answer(200, c.last), answer(200, sized(5)))
			p := begin(t, s, c.method, &lro.Options[widget]{FinalState: c.final})
			_, err := p.Poll(t.Context())
			require.NoError(t, err)
			s.took()
			got, err := p.Result(t.Context())
			require.NoError(t, err)
			if c.want == "" {
				assert.Empty(t, s.took())
				return
			}
			assert.Equal(t, []string{c.want}, s.took())
			assert.Equal(t, 5, got.Size)
		})
	}
	t.Run("nothing is requested if the initial response is the result", func(t *testing.T) {
		s := serve(t, answer(200, sized(5)))
		got, err := begin(t, s, "POST", &lro.Options[widget]{FinalState: lro.FinalStateOriginalURL}).Result(t.Context())
		require.NoError(t, err)
		assert.Equal(t, 5, got.Size)
		assert.Empty(t, s.took())
	})
	t.Run("a resourceLocation that is not a URL", func(t *testing.T) {
		for _, bad := range []string{`"this is invalid"`, `5`} {
			s := serve(t, answer(202, "", "Operation-Location", status), answer(200, `{"status":"Succeeded","resourceLocation":`+bad+`}`))
			_, err := begin(t, s, "PUT", nil).PollUntilDone(t.Context(), quick)
			var malformed *lro.ProtocolError
			assert.ErrorAs(t, err, &malformed)
		}
	})
	t.Run("an unknown FinalState", func(t *testing.T) {
		s := serve(t, answer(202, "", "Location", loc))
		pl := s.pipeline()
		_, err := lro.New(initial(t, pl, "POST", orig), pl, &lro.Options[widget]{FinalState: "somewhere"})
		assert.Error(t, err)
	})
}

func TestOperationsProtocol(t *testing.T) {
	accepted := answer(202, `{"id":"op1","state":"pending","location":"/operations/op1"}`, "Location", "/operations/op1")
	const url = home + "/operations/op1"

	t.Run("to success", func(t *testing.T) {
		s := serve(t, accepted, answer(200, `{"id":"op1","state":"pending"}`), answer(200, `{"id":"op1","state":"running","progress":40}`),
			answer(200, `{"id":"op1","state":"succeeded","result":{"size":3},"progress":100}`))
		p := begin(t, s, "POST", &lro.Options[widget]{Wait: *quick})
		var seen []string
		for st, err := range p.States(t.Context()) {
			require.NoError(t, err)
			seen = append(seen, fmt.Sprint(st.State, " ", st.Text, " ", st.Progress))
		}
		assert.Equal(t, []string{"in progress pending 0", "in progress running 40", "succeeded succeeded 100"}, seen)
		got, err := p.Result(t.Context())
		require.NoError(t, err)
		assert.Equal(t, 3, got.Size)
		assert.Equal(t, []string{url, url, url}, s.took())
	})
	t.Run("the method and FinalStateLocation make no difference", func(t *testing.T) {
		s := serve(t, accepted, answer(200, `{"state":"succeeded","result":{"size":3}}`))
		got, err := begin(t, s, "PUT", &lro.Options[widget]{FinalState: lro.FinalStateLocation}).PollUntilDone(t.Context(), quick)
		require.NoError(t, err)
		assert.Equal(t, 3, got.Size)
		assert.Equal(t, []string{url}, s.took())
	})
	t.Run("results that are absent, null or elsewhere", func(t *testing.T) {
		for body, size := range map[string]int{
			`{"state":"succeeded"}`:                                          0,
			`{"state":"succeeded","result":null,"size":4}`:                   0,
			`{"state":"succeeded","result":{"size":1},"it":{"size":2}}`:      1,
			`{"state":"succeeded","result":{"size":1},"other":{"size":"x"}}`: 1,
		} {
			got, err := begin(t, serve(t, accepted, answer(200, body)), "POST", nil).PollUntilDone(t.Context(), quick)
			require.NoError(t, err, body)
			assert.Equal(t, size, got.Size, body)
		}
		got, err := begin(t, serve(t, accepted, answer(200, `{"state":"succeeded","result":{"size":1},"it":{"size":2}}`)), "POST",
			&lro.Options[widget]{ResultMember: "it"}).PollUntilDone(t.Context(), quick)
		require.NoError(t, err)
		assert.Equal(t, 2, got.Size)
	})
	t.Run("a 202 that says succeeded is polled for the result", func(t *testing.T) {
		s := serve(t, answer(202, `{"state":"succeeded","properties":{"provisioningState":"Succeeded"}}`, "Location", url), answer(200, `{"state":"succeeded","result":{"size":3}}`))
		got, err := begin(t, s, "POST", nil).PollUntilDone(t.Context(), quick)
		require.NoError(t, err)
		assert.Equal(t, 3, got.Size)
	})
	t.Run("states that are missing or unknown end nothing", func(t *testing.T) {
		for _, body := range []string{`{}`, `{"state":""}`, `{"state":"paused"}`, `{"state":"completed"}`, `{"state":1}`, `[]`, `null`, ``, `{`} {
			s := serve(t, accepted, answer(200, body), answer(200, `{"state":"succeeded"}`))
			p := begin(t, s, "POST", nil)
			_, err := p.Poll(t.Context())
			var malformed *lro.ProtocolError
			require.ErrorAs(t, err, &malformed, body)
			assert.NotContains(t, err.Error(), "\n")
			assert.False(t, p.Done())
			_, err = p.PollUntilDone(t.Context(), quick)
			assert.NoError(t, err)
		}
	})
	t.Run("failed and canceled", func(t *testing.T) {
		for _, c := range []struct {
			body, text, code string
			state            lro.State
		}{
			{`{"state":"failed","problem":{"type":"https://p.example/disk-full","title":"Disk full","detail":"no room on d1","status":507,"code":"DISK"},"error":{"code":"X"}}`,
				"lro: operation failed: DISK: no room on d1", "DISK", lro.Failed},
			{`{"state":"failed","problem":{"title":"Disk full"}}`, "lro: operation failed: Disk full", "", lro.Failed},
			{`{"state":"failed"}`, "lro: operation failed", "", lro.Failed},
			{`{"state":"failed","problem":7}`, "lro: operation failed", "", lro.Failed},
			{`{"state":"canceled"}`, "lro: operation canceled", "", lro.Canceled},
		} {
			s := serve(t, accepted, answer(200, c.body, "X-Request-Id", "r1"))
			p := begin(t, s, "POST", nil)
			_, err := p.PollUntilDone(t.Context(), quick)
			var failed *lro.OperationError
			require.ErrorAs(t, err, &failed)
			st, pollErr := p.Poll(t.Context())
			require.NoError(t, pollErr)
			assert.Empty(t, st.Response.Header.Get("Content-Type"), "the response is as it came")
			assert.Equal(t, c.text, err.Error())
			assert.Equal(t, c.state, failed.State)
			assert.Equal(t, c.code, failed.Response.Code)
			assert.Equal(t, 200, failed.Response.StatusCode)
			assert.Equal(t, "r1", failed.Response.RequestID)
		}
	})
	t.Run("404 and 410 end the wait and not the operation", func(t *testing.T) {
		for _, code := range []int{404, 410} {
			s := serve(t, accepted, answer(code, ""))
			p := begin(t, s, "POST", nil)
			_, err := p.PollUntilDone(t.Context(), quick)
			var e *pipeline.ResponseError
			require.ErrorAs(t, err, &e)
			assert.Equal(t, code, e.StatusCode)
			assert.False(t, p.Done())
			assert.Len(t, s.took(), 1)
		}
	})
	t.Run("only a 202 with one of the five words begins it", func(t *testing.T) {
		for _, first := range []step{
			answer(201, `{"state":"pending"}`, "Location", url), answer(202, `{"state":"accepted"}`, "Location", url),
			answer(202, `{"state":["pending"]}`, "Location", url), answer(202, `"pending"`, "Location", url),
		} {
			got, err := begin(t, serve(t, first, answer(200, sized(3))), "POST", nil).PollUntilDone(t.Context(), quick)
			require.NoError(t, err)
			assert.Equal(t, 3, got.Size, "by the Location protocol")
		}
	})
	t.Run("words in any case", func(t *testing.T) {
		for _, first := range []string{"Pending", "RUNNING", "Succeeded"} {
			s := serve(t, answer(202, `{"state":"`+first+`"}`, "Location", url), answer(200, `{"state":"Running"}`), answer(200, `{"state":"FAILED","problem":{"title":"Disk full"}}`))
			_, err := begin(t, s, "POST", nil).PollUntilDone(t.Context(), quick)
			assert.EqualError(t, err, "lro: operation failed: Disk full")
		}
	})
	t.Run("progress that is not a percentage", func(t *testing.T) {
		for _, progress := range []string{`-1`, `101`, `"40"`, `null`, `{}`, `1e999`} {
			p := begin(t, serve(t, accepted, answer(200, `{"state":"running","progress":`+progress+`}`)), "POST", nil)
			st, err := p.Poll(t.Context())
			require.NoError(t, err)
			assert.Zero(t, st.Progress)
		}
	})
}

func TestHostileStatusResponses(t *testing.T) {
	for name, body := range map[string]string{
		"a number as the state":  `{"status":5}`,
		"an object as the state": `{"status":{"status":"Succeeded"}}`,
		"null as the state":      `{"status":null}`,
		"an array":               `[{"status":"Succeeded"}]`,
		"deep nesting":           strings.Repeat(`{"status":`, 100_000),
		"a long state":           `{"status":"` + strings.Repeat("x", 1<<20) + `"}`,
		"two documents":          `{"status":"Succeeded"}{"status":"Failed"}`,
	} {
		t.Run(name, func(t *testing.T) {
			s := serve(t, answer(202, "", "Azure-AsyncOperation", status), answer(200, body))
			p := begin(t, s, "DELETE", nil)
			_, err := p.PollUntilDone(t.Context(), quick)
			var malformed *lro.ProtocolError
			require.ErrorAs(t, err, &malformed)
			assert.Less(t, len(err.Error()), 2000)
			assert.False(t, p.Done())
			assert.Len(t, s.took(), 1)
		})
	}
}

// endless is a body without an end. It counts what is read.
type endless struct{ n *int64 }

func (e endless) Read(p []byte) (int, error) {
	*e.n += int64(len(p))
	for i := range p {
		p[i] = ' '
	}
	return len(p), nil
}

// untilDone is a body that blocks until a context ends.
type untilDone struct{ ctx context.Context }

func (u untilDone) Read([]byte) (int, error) {
	<-u.ctx.Done()
	return 0, u.ctx.Err()
}

func TestBodyLimit(t *testing.T) {
	huge := func(code int, read *int64, header ...string) step {
		return func(r *http.Request) (*http.Response, error) {
			resp, err := answer(code, "", header...)(r)
			resp.Body = io.NopCloser(endless{read})
			return resp, err
		}
	}
	t.Run("of a poll", func(t *testing.T) {
		var read int64
		s := serve(t, answer(202, "", "Location", loc), huge(200, &read), answer(200, sized(1)))
		p := begin(t, s, "POST", nil)
		_, err := p.PollUntilDone(t.Context(), quick)
		var large *lro.ProtocolError
		require.ErrorAs(t, err, &large)
		assert.Equal(t, "lro: the response body is larger than 4194304 bytes", err.Error())
		assert.False(t, p.Done())
		assert.Less(t, read, int64(3*lro.DefaultMaxBody))
		_, err = p.PollUntilDone(t.Context(), quick)
		assert.NoError(t, err)
	})
	t.Run("of the result", func(t *testing.T) {
		var read int64
		s := serve(t, answer(202, "", "Azure-AsyncOperation", status), answer(200, `{"status":"Succeeded"}`), huge(200, &read), answer(200, sized(1)))
		p := begin(t, s, "PUT", &lro.Options[widget]{MaxBody: 1000})
		_, err := p.PollUntilDone(t.Context(), quick)
		var large *lro.ProtocolError
		require.ErrorAs(t, err, &large)
		assert.Less(t, read, int64(3000))
		_, err = p.Result(t.Context())
		assert.NoError(t, err, "such an error is not kept")
	})
	t.Run("of a failure", func(t *testing.T) {
		var read int64
		s := serve(t, answer(202, "", "Location", loc), huge(409, &read))
		_, err := begin(t, s, "PUT", nil).PollUntilDone(t.Context(), quick)
		assert.Equal(t, "lro: operation failed: 409 Conflict", err.Error())
	})
	t.Run("of an initial response with a status URL does not matter", func(t *testing.T) {
		for _, method := range []string{"POST", "PUT"} {
			for name, first := range map[string]func(header ...string) step{
				"huge": func(header ...string) step { return huge(202, new(int64), header...) },
				"cut":  func(header ...string) step { return cut(202, `{"sta`, header...) },
			} {
				s := serve(t, first("Operation-Location", status, "Location", loc), answer(200, `{"status":"Failed","error":{"code":"Bad"}}`))
				_, err := begin(t, s, method, nil).PollUntilDone(t.Context(), quick)
				assert.Equal(t, "Bad", codeOf(t, err), name)
			}
		}
		s := serve(t, cut(201, "{", "Location", loc), answer(200, sized(1)))
		_, err := begin(t, s, "POST", nil).PollUntilDone(t.Context(), quick)
		assert.NoError(t, err, "the protocol does not depend on the body of a 201")
	})
	t.Run("of an initial response that is the result or has the protocol", func(t *testing.T) {
		for name, c := range map[string]struct {
			code   int
			header []string
		}{
			"result":   {200, nil},
			"protocol": {202, []string{"Location", loc}},
		} {
			pl := serve(t, huge(c.code, new(int64), c.header...)).pipeline()
			_, err := lro.New[widget](initial(t, pl, "POST", orig), pl, nil)
			var large *lro.ProtocolError
			assert.ErrorAs(t, err, &large, name)
			pl = serve(t, cut(c.code, `{"sta`, c.header...)).pipeline()
			p, err := lro.New[widget](initial(t, pl, "POST", orig), pl, nil)
			assert.ErrorIs(t, err, io.ErrUnexpectedEOF, name)
			assert.Nil(t, p)
		}
	})
	t.Run("that is read after the context has ended", func(t *testing.T) {
		hanging := func(r *http.Request) (*http.Response, error) {
			resp, err := answer(202, "", "Location", loc)(r)
			resp.Body = io.NopCloser(untilDone{r.Context()})
			return resp, err
		}
		ctx, cancel := context.WithCancel(t.Context())
		pl := serve(t, hanging).pipeline()
		req, err := pipeline.NewRequest(ctx, "POST", orig)
		require.NoError(t, err)
		resp, err := pl.Do(req)
		require.NoError(t, err)
		cancel()
		_, err = lro.New[widget](resp, pl, nil)
		assert.ErrorIs(t, err, context.Canceled)
	})
	t.Run("is the size that is still allowed", func(t *testing.T) {
		for limit, ok := range map[int64]bool{11: true, 10: false, 1<<63 - 1: true} {
			s := serve(t, answer(202, "", "Location", loc), answer(200, sized(10)))
			got, err := begin(t, s, "POST", &lro.Options[widget]{MaxBody: limit}).PollUntilDone(t.Context(), quick)
			assert.Equal(t, ok, err == nil, limit)
			assert.Equal(t, ok, got.Size == 10, limit)
		}
	})
}

func TestBadInitialResponses(t *testing.T) {
	_, err := lro.New[widget](nil, pipeline.Pipeline{}, nil)
	require.Error(t, err)
	_, err = lro.New[widget](&http.Response{StatusCode: 200}, pipeline.Pipeline{}, nil)
	require.Error(t, err)
	_, err = lro.New[widget](&http.Response{StatusCode: 200, Request: &http.Request{}}, pipeline.Pipeline{}, nil)
	require.Error(t, err)
	_, err = new(lro.Poller[widget]).Poll(context.Background())
	require.Error(t, err)
}
