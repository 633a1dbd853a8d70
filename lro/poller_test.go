package lro_test

import (
	"context"
	"encoding/base64"
	"encoding/xml"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"
	"testing/iotest"
	"unicode/utf8"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/a0b132ce/retryablehttp/lro"
	"github.com/a0b132ce/retryablehttp/pipeline"
)

var errBroken = errors.New("connection reset")

func TestO16ResultBeforeTheEnd(t *testing.T) {
	s := serve(t, answer(202, "", "Location", loc))
	p := begin(t, s, "POST", nil)
	_, err := p.Result(t.Context())
	assert.ErrorIs(t, err, lro.ErrNotDone)
	assert.Empty(t, s.took())
}

func TestO16PresetResult(t *testing.T) {
	for name, steps := range map[string][]step{
		"of the last response": {answer(202, "", "Location", loc), answer(200, sized(3))},
		"of another URL":       {answer(202, "", "Azure-AsyncOperation", status), answer(200, `{"status":"Succeeded"}`), answer(200, sized(3))},
		"empty":                {answer(202, "", "Location", loc), answer(204, "")},
	} {
		t.Run(name, func(t *testing.T) {
			preset := widget{Name: "kept"}
			p := begin(t, serve(t, steps...), "PUT", &lro.Options[widget]{Result: &preset})
			got, err := p.PollUntilDone(t.Context(), quick)
			require.NoError(t, err)
			assert.Equal(t, "kept", got.Name)
			assert.Equal(t, preset, got)
			assert.Equal(t, name != "empty", got.Size == 3)
		})
	}
	t.Run("is unchanged if decoding fails", func(t *testing.T) {
		preset := widget{Size: 1, Name: "kept"}
		s := serve(t, answer(202, "", "Azure-AsyncOperation", status), answer(200, `{"status":"Succeeded"}`),
			answer(200, `{"size":2,"name":5}`), answer(200, `{"size":3}`))
		p := begin(t, s, "PUT", &lro.Options[widget]{Result: &preset})
		_, err := p.PollUntilDone(t.Context(), quick)
		require.ErrorContains(t, err, "lro: decoding the result: ")
		assert.Equal(t, widget{Size: 1, Name: "kept"}, preset)
		_, err = p.Result(t.Context())
		require.NoError(t, err)
		assert.Equal(t, widget{Size: 3, Name: "kept"}, preset)
	})
}

func TestResultMember(t *testing.T) {
	for _, header := range []string{"Azure-AsyncOperation", "Operation-Location"} {
		s := serve(t, answer(202, "", header, status), answer(200, `{"status":"Succeeded","size":1,"output":{"size":2}}`))
		got, err := begin(t, s, "POST", &lro.Options[widget]{ResultMember: "output"}).PollUntilDone(t.Context(), quick)
		require.NoError(t, err)
		assert.Equal(t, 2, got.Size)
	}
	s := serve(t, answer(202, "", "Location", loc), answer(200, `{"size":1,"output":{"size":2}}`))
	got, err := begin(t, s, "POST", &lro.Options[widget]{ResultMember: "output"}).PollUntilDone(t.Context(), quick)
	require.NoError(t, err)
	assert.Equal(t, 1, got.Size, "the last response of the Location protocol is not a status")
}

// What may pass is not kept as the result.
func TestResultIsRetried(t *testing.T) {
	for name, bad := range map[string]step{
		"transport error": failure(errBroken),
		"cut body":        cut(200, `{"size"`),
		"not JSON":        answer(200, "<html>"),
		"wrong type":      answer(200, `{"name":"x","size":"3"}`),
		"202":             answer(202, sized(9)),
		"401":             answer(401, ""),
		"429":             answer(429, ""),
		"503":             answer(503, ""),
	} {
		t.Run(name, func(t *testing.T) {
			s := serve(t, answer(202, "", "Azure-AsyncOperation", status), answer(200, `{"status":"Succeeded"}`), bad, answer(200, sized(3)))
			p := begin(t, s, "PUT", nil)
			_, err := p.Poll(t.Context())
			require.NoError(t, err)
			_, err = p.Result(t.Context())
			require.Error(t, err)
			assert.True(t, p.Done())
			assert.Contains(t, err.Error(), "lro: ")
			got, err := p.PollUntilDone(t.Context(), quick)
			require.NoError(t, err)
			assert.Equal(t, widget{Size: 3}, got)
			assert.Equal(t, []string{status, orig, orig}, s.took())
		})
	}
	t.Run("but 404 is kept", func(t *testing.T) {
		s := serve(t, answer(202, "", "Azure-AsyncOperation", status), answer(200, `{"status":"Succeeded"}`), answer(404, `{"error":{"code":"Gone"}}`))
		p := begin(t, s, "PUT", nil)
		_, first := p.PollUntilDone(t.Context(), quick)
		assert.Equal(t, "Gone", codeOf(t, first))
		var failed *lro.OperationError
		assert.False(t, errors.As(first, &failed), "the operation has succeeded")
		_, second := p.Result(t.Context())
		assert.Same(t, first, second)
		assert.Equal(t, []string{status, orig}, s.took())
	})
	t.Run("and a decode error needs no request", func(t *testing.T) {
		s := serve(t, answer(202, "", "Location", loc), answer(200, "<html>"))
		p := begin(t, s, "PUT", nil)
		for range 2 {
			_, err := p.PollUntilDone(t.Context(), quick)
			assert.ErrorContains(t, err, "lro: decoding the result: ")
		}
		assert.Equal(t, []string{loc}, s.took())
	})
}

func TestURL(t *testing.T) {
	done := answer(200, `{"status":"Succeeded"}`)
	for _, c := range []struct {
		name, method string
		first        step
		want         string
	}{
		{"Operation-Location", "PUT", answer(202, "", "Operation-Location", "https://u:hush@svc.example/st?a=b"), status + "?a=b"},
		{"operations", "POST", answer(202, `{"state":"running"}`, "Location", "/loc"), loc},
		{"Location", "DELETE", answer(202, "", "Location", "/loc"), loc},
		{"the resource is polled", "PUT", answer(202, ""), ""},
		{"ended", "POST", answer(200, ""), ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			s := serve(t, c.first, done)
			p := begin(t, s, c.method, nil)
			assert.Equal(t, c.want, p.URL())
			if p.Done() {
				return
			}
			token, err := p.ResumeToken()
			require.NoError(t, err)
			p, err = lro.Resume[widget](token, home, s.pipeline(), nil)
			require.NoError(t, err)
			assert.Equal(t, c.want, p.URL())
		})
	}
	t.Run("of the next poll", func(t *testing.T) {
		p := begin(t, serve(t, answer(202, "", "Location", loc), answer(202, "", "Location", "/next")), "POST", nil)
		_, err := p.Poll(t.Context())
		require.NoError(t, err)
		assert.Equal(t, home+"/next", p.URL())
	})
	assert.Empty(t, new(lro.Poller[widget]).URL())
}

func TestDecode(t *testing.T) {
	decode := func(resp *http.Response, w *widget) error {
		body, err := io.ReadAll(resp.Body)
		if err != nil {
			return err
		}
		if int64(len(body)) != resp.ContentLength {
			return fmt.Errorf("Content-Length %d, %d bytes", resp.ContentLength, len(body))
		}
		return xml.Unmarshal(body, w)
	}
	s := serve(t, answer(202, "", "Location", loc), answer(200, "<w><Size>4</Size></w>"))
	p := begin(t, s, "POST", &lro.Options[widget]{Decode: decode})
	got, err := p.PollUntilDone(t.Context(), quick)
	require.NoError(t, err)
	assert.Equal(t, 4, got.Size)

	s = serve(t, answer(202, "", "Location", loc), answer(204, ""))
	_, err = begin(t, s, "POST", &lro.Options[widget]{Decode: decode}).PollUntilDone(t.Context(), quick)
	assert.NoError(t, err, "it is not called for an empty body")

	calls := 0
	s = serve(t, answer(202, "", "Location", loc), answer(200, sized(4)))
	p = begin(t, s, "POST", &lro.Options[widget]{Decode: func(resp *http.Response, w *widget) error {
		if calls++; calls == 1 {
			io.Copy(io.Discard, resp.Body)
			return errBroken
		}
		return pipeline.DecodeJSON(resp, w)
	}})
	_, err = p.PollUntilDone(t.Context(), quick)
	require.ErrorIs(t, err, errBroken)
	got, err = p.Result(t.Context())
	require.NoError(t, err)
	assert.Equal(t, 4, got.Size, "the body is whole again")
}

func TestStatusResponseCanBeRead(t *testing.T) {
	s := serve(t, answer(202, "", "Azure-AsyncOperation", status), answer(200, `{"status":"Failed","error":{"code":"Bad"}}`))
	p := begin(t, s, "POST", nil)
	st, err := p.Poll(t.Context())
	require.NoError(t, err)
	io.Copy(io.Discard, st.Response.Body)
	_, err = p.Result(t.Context())
	assert.Equal(t, "Bad", codeOf(t, err), "whatever was read of the response")

	s = serve(t, answer(202, "", "Azure-AsyncOperation", status), answer(200, `{"status":"Running","x":1}`))
	st, err = begin(t, s, "POST", nil).Poll(t.Context())
	require.NoError(t, err)
	for range 2 {
		body, err := pipeline.Payload(st.Response)
		require.NoError(t, err)
		assert.Equal(t, `{"status":"Running","x":1}`, string(body))
	}
}

// statusError is a policy like pipeline.StatusError.
var statusError = pipeline.PolicyFunc(func(req *pipeline.Request) (*http.Response, error) {
	resp, err := req.Next()
	if err == nil && resp.StatusCode >= 400 {
		return nil, pipeline.NewResponseError(resp)
	}
	return resp, err
})

func TestWithAPolicyThatMakesErrorsOfStatuses(t *testing.T) {
	s := serve(t, answer(202, "", "Location", loc), answer(503, ""), answer(409, `{"error":{"code":"Conf"}}`))
	pl := s.pipeline(statusError)
	p, err := lro.New[widget](initial(t, pl, "POST", orig), pl, nil)
	require.NoError(t, err)
	_, err = p.PollUntilDone(t.Context(), quick)
	assert.Equal(t, "Conf", codeOf(t, err))
	var failed *lro.OperationError
	assert.ErrorAs(t, err, &failed)
	assert.True(t, p.Done())
}

// An error of a credential may hold the response of another service.
func TestAnErrorAroundAResponseErrorIsNoStatus(t *testing.T) {
	s := serve(t, answer(202, "", "Location", loc), answer(200, sized(1)))
	forbidden := true
	pl := s.pipeline(pipeline.PolicyFunc(func(req *pipeline.Request) (*http.Response, error) {
		if req.Raw().Method == http.MethodGet && forbidden {
			resp, _ := answer(400, "")(req.Raw())
			return nil, fmt.Errorf("fetching a token: %w", pipeline.NewResponseError(resp))
		}
		return req.Next()
	}))
	p, err := lro.New[widget](initial(t, pl, "POST", orig), pl, nil)
	require.NoError(t, err)
	_, err = p.PollUntilDone(t.Context(), quick)
	require.ErrorContains(t, err, "fetching a token")
	assert.False(t, p.Done())
	forbidden = false
	_, err = p.PollUntilDone(t.Context(), quick)
	require.NoError(t, err)
}

// secret is a policy that adds a credential to every request.
var secret = pipeline.PolicyFunc(func(req *pipeline.Request) (*http.Response, error) {
	req.Raw().Header.Set("X-Api-Key", "hush")
	return req.Next()
})

func TestCredentialsStayAtTheirOrigin(t *testing.T) {
	for _, c := range []struct {
		poll, location string
		want           []string // the credentials of the requests after the first
	}{
		{home + "/st", home + "/loc", []string{"hush", "hush"}},
		{"https://SVC.example:443/st", home + "/loc", []string{"hush", "hush"}},
		{"https://evil.example/st", home + "/loc", []string{"", "hush"}},
		{"http://svc.example/st", "https://svc.example:444/loc", []string{"", ""}},
	} {
		for _, resumed := range []bool{false, true} {
			t.Run(fmt.Sprint(c.poll, resumed), func(t *testing.T) {
				s := serve(t, answer(202, "", "Operation-Location", c.poll, "Location", c.location),
					answer(200, `{"status":"Succeeded"}`), answer(200, sized(1)))
				pl := s.pipeline(secret)
				p, err := lro.New[widget](initial(t, pl, "POST", "https://user:pass@svc.example/orig"), pl, nil)
				require.NoError(t, err)
				if resumed {
					token, err := p.ResumeToken()
					require.NoError(t, err)
					p, err = lro.Resume[widget](token, "https://user:pass@svc.example/v2/", pl, nil)
					require.NoError(t, err)
				}
				s.sent = nil
				_, err = p.PollUntilDone(t.Context(), quick)
				require.NoError(t, err)
				require.Len(t, s.sent, 2)
				for i, want := range c.want {
					assert.Equal(t, want, s.sent[i].Header.Get("X-Api-Key"))
					user, _, _ := s.sent[i].BasicAuth()
					assert.Equal(t, want != "", user == "user", "user information of the original URL")
				}
			})
		}
	}
}

// A redirect of the initial request does not move the credentials.
func TestRedirectedInitialRequest(t *testing.T) {
	s := serve(t, answer(307, "", "Location", "https://other.example/a/orig"),
		answer(202, "", "Operation-Location", "st", "Location", home+"/loc"), answer(200, `{"status":"Succeeded"}`), answer(200, sized(1)))
	pl := s.pipeline(secret)
	p, err := lro.New[widget](initial(t, pl, "PUT", orig), pl, nil)
	require.NoError(t, err)
	s.sent = nil
	_, err = p.PollUntilDone(t.Context(), quick)
	require.NoError(t, err)
	require.Len(t, s.sent, 2)
	assert.Empty(t, s.sent[0].Header.Get("X-Api-Key"))
	assert.Equal(t, "hush", s.sent[1].Header.Get("X-Api-Key"))
	assert.Equal(t, []string{"https://other.example/a/st", orig}, s.took())
}

// The original URL is the first one, which a redirect may have left.
func TestF134OriginalURLOfARedirectedRequest(t *testing.T) {
	accepted := []step{answer(202, "", "Operation-Location", status), answer(200, `{"status":"Succeeded"}`)}
	for name, c := range map[string]struct {
		method string
		steps  []step
		opts   lro.Options[widget]
		want   []string
	}{
		"result of a PUT":             {"PUT", accepted, lro.Options[widget]{}, []string{status, orig}},
		"FinalStateOriginalURL":       {"POST", accepted, lro.Options[widget]{FinalState: lro.FinalStateOriginalURL}, []string{status, orig}},
		"PATCH without a status URL":  {"PATCH", []step{answer(202, "")}, lro.Options[widget]{}, []string{orig}},
		"a relative URL is elsewhere": {"DELETE", []step{answer(202, "", "Location", "loc")}, lro.Options[widget]{}, []string{"https://b.example/y/loc"}},
	} {
		for _, outside := range []bool{false, true} {
			t.Run(fmt.Sprint(name, ", http.Client around the pipeline ", outside), func(t *testing.T) {
				steps := append([]step{answer(307, "", "Location", "https://a.example/x"), answer(308, "", "Location", "https://b.example/y/z")}, c.steps...)
				s := serve(t, append(steps, answer(200, sized(3)))...)
				pl := s.pipeline()
				send := pl
				if outside {
					send = pipeline.New(&http.Client{Transport: pl})
				}
				p, err := lro.New(initial(t, send, c.method, orig), pl, &c.opts)
				require.NoError(t, err)
				s.took()
				got, err := p.PollUntilDone(t.Context(), quick)
				require.NoError(t, err)
				assert.Equal(t, 3, got.Size)
				assert.Equal(t, c.want, s.took())
			})
		}
	}
}

func TestCallOptions(t *testing.T) {
	type mark struct{}
	s := serve(t, answer(202, "", "Azure-AsyncOperation", status), answer(200, `{"status":"Succeeded"}`), answer(200, sized(1)))
	marked := 0
	pl := s.pipeline(pipeline.PolicyFunc(func(req *pipeline.Request) (*http.Response, error) {
		if _, ok := pipeline.Value[mark](req); ok {
			marked++
		}
		return req.Next()
	}))
	p, err := lro.New(initial(t, pl, "PUT", orig), pl, &lro.Options[widget]{CallOptions: []pipeline.CallOption{pipeline.CallValue(mark{})}})
	require.NoError(t, err)
	_, err = p.PollUntilDone(t.Context(), quick)
	require.NoError(t, err)
	assert.Equal(t, 2, marked)
}

// A transport of one's own may leave Response.Request empty, except in the initial response.
func TestPollResponsesWithoutRequest(t *testing.T) {
	bare := func(r step) step {
		return func(req *http.Request) (*http.Response, error) {
			resp, err := r(req)
			resp.Request, resp.Header = nil, http.Header{"Location": resp.Header["Location"]}
			return resp, err
		}
	}
	nothing := func(*http.Request) (*http.Response, error) { return &http.Response{StatusCode: 200}, nil }
	steps := []step{answer(202, "", "Location", "/a/1"), bare(answer(202, "", "Location", "2")), nothing}
	pl := pipeline.New(transporter(func(r *http.Request) (*http.Response, error) {
		next := steps[0]
		steps = steps[1:]
		return next(r)
	}))
	p, err := lro.New[widget](initial(t, pl, "POST", orig), pl, nil)
	require.NoError(t, err)
	got, err := p.PollUntilDone(t.Context(), quick)
	require.NoError(t, err)
	assert.Zero(t, got)
}

type transporter func(*http.Request) (*http.Response, error)

func (f transporter) Do(r *http.Request) (*http.Response, error) { return f(r) }

func TestErrorsHaveNoSecrets(t *testing.T) {
	const at = home + "/loc?sig=hush"
	broken := func(r *http.Request) (*http.Response, error) {
		resp, err := answer(200, "")(r)
		resp.Body = io.NopCloser(iotest.ErrReader(errors.New("reading " + r.URL.String())))
		return resp, err
	}
	for _, bad := range []step{failure(errBroken), broken, answer(404, ""), answer(200, "{")} {
		s := serve(t, answer(202, "", "Operation-Location", at), bad)
		_, err := begin(t, s, "POST", nil).Poll(t.Context())
		require.Error(t, err)
		assert.NotContains(t, err.Error(), "hush")
	}
	s := serve(t, answer(202, "", "Operation-Location", at),
		answer(200, `{"status":"Failed","error":{"code":"Bad","message":"see https://h.example/x?sig=hush`+strings.Repeat("!", 5000)+`"}}`))
	_, err := begin(t, s, "POST", nil).PollUntilDone(t.Context(), quick)
	require.Error(t, err)
	assert.NotContains(t, err.Error(), "hush")

	s = serve(t, answer(202, "", "Location", loc), answer(409, `{"error":{"code":"Long","message":"`+strings.Repeat("ä ", 5000)+`"}}`))
	_, err = begin(t, s, "POST", nil).PollUntilDone(t.Context(), quick)
	require.Error(t, err)
	assert.Less(t, len(err.Error()), 1200)
	assert.True(t, utf8.ValidString(err.Error()))
}

func TestOtherResultTypes(t *testing.T) {
	s := serve(t, answer(202, "", "Location", loc), answer(200, `["a","b"]`))
	pl := s.pipeline()
	list, err := lro.New[[]string](initial(t, pl, "PUT", orig), pl, nil)
	require.NoError(t, err)
	got, err := list.PollUntilDone(t.Context(), quick)
	require.NoError(t, err)
	assert.Equal(t, []string{"a", "b"}, got)

	s = serve(t, answer(201, ""), answer(200, `["a"]`))
	pl = s.pipeline()
	list, err = lro.New[[]string](initial(t, pl, "PUT", orig), pl, nil)
	require.NoError(t, err)
	got, err = list.PollUntilDone(context.Background(), quick)
	require.NoError(t, err)
	assert.Equal(t, []string{"a"}, got, "a resource that is an array has no provisioningState")
}

func TestStateString(t *testing.T) {
	assert.Equal(t, "in progress succeeded failed canceled State(9)",
		fmt.Sprint(lro.InProgress, " ", lro.Succeeded, " ", lro.Failed, " ", lro.Canceled, " ", lro.State(9)))
}

// contents returns the JSON of a token.
func contents(t testing.TB, token string) string {
	t.Helper()
	parts := strings.Split(token, ".")
	require.Len(t, parts, 3)
	text, err := base64.RawURLEncoding.DecodeString(parts[1])
	require.NoError(t, err)
	return string(text)
}
