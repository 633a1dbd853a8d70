package lro_test

import (
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"fmt"
	rand1 "math/rand"
	rand2 "math/rand/v2"
	"net/http"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/a0b132ce/retryablehttp/lro"
	"github.com/a0b132ce/retryablehttp/pipeline"
)

// sign returns a token of the version with contents and the right checksum.
func sign(version, contents string) string {
	token := version + "." + base64.RawURLEncoding.EncodeToString([]byte(contents))
	sum := sha256.Sum256([]byte(token))
	return token + "." + base64.RawURLEncoding.EncodeToString(sum[:12])
}

// edit returns a token with members of the contents replaced, and the right checksum. Nil
// removes a member.
func edit(t testing.TB, token string, members map[string]any) string {
	t.Helper()
	var object map[string]any
	require.NoError(t, json.Unmarshal([]byte(contents(t, token)), &object))
	for name, value := range members {
		if object[name] = value; value == nil {
			delete(object, name)
		}
	}
	text, err := json.Marshal(object)
	require.NoError(t, err)
	return sign("lro1", string(text))
}

// offline is a pipeline that must not be used.
func offline(t testing.TB) pipeline.Pipeline {
	return pipeline.New(transporter(func(*http.Request) (*http.Response, error) {
		t.Error("a request was sent")
		return nil, errBroken
	}))
}

func newToken(t testing.TB) string {
	t.Helper()
	s := serve(t, answer(202, "", "Operation-Location", status, "Location", loc))
	token, err := begin(t, s, "POST", &lro.Options[widget]{Operation: "widgets.create"}).ResumeToken()
	require.NoError(t, err)
	return token
}

func TestResume(t *testing.T) {
	for _, c := range []struct {
		name   string
		method string
		first  step
		rest   []step
		opts   lro.Options[widget]
		urls   []string
	}{
		{"Azure-AsyncOperation", "PUT", answer(201, "", "Azure-AsyncOperation", status+"?a=b&c=d"),
			[]step{answer(200, `{"status":"Succeeded"}`), answer(200, sized(3))}, lro.Options[widget]{}, []string{status + "?a=b&c=d", orig}},
		{"Azure-AsyncOperation with a final state", "PUT", answer(201, "", "Azure-AsyncOperation", status, "Location", loc),
			[]step{answer(200, `{"status":"Succeeded"}`), answer(200, sized(3))}, lro.Options[widget]{FinalState: lro.FinalStateLocation}, []string{status, loc}},
		{"Operation-Location with a member", "DELETE", answer(202, "", "Operation-Location", status),
			[]step{answer(200, `{"status":"Succeeded","it":{"size":3}}`)}, lro.Options[widget]{ResultMember: "it"}, []string{status}},
		{"operations", "POST", answer(202, `{"state":"pending"}`, "Location", loc),
			[]step{answer(200, `{"state":"succeeded","result":{"size":3}}`)}, lro.Options[widget]{}, []string{loc}},
		{"operations, with a token from a 202 that says succeeded", "POST", answer(202, `{"state":"succeeded"}`, "Location", loc),
			[]step{answer(200, `{"state":"succeeded","result":{"size":3}}`)}, lro.Options[widget]{}, []string{loc}},
		{"Location", "POST", answer(202, "", "Location", "/a/loc"), []step{answer(200, sized(3))}, lro.Options[widget]{}, []string{home + "/a/loc"}},
		{"body", "PATCH", answer(202, provisioning("Succeeded")), []step{answer(200, sized(3))}, lro.Options[widget]{}, []string{orig}},
	} {
		t.Run(c.name, func(t *testing.T) {
			c.opts.Operation = "widgets.create"
			token, err := begin(t, serve(t, c.first), c.method, &c.opts).ResumeToken()
			require.NoError(t, err)
			s := serve(t, c.rest...)
			p, err := lro.Resume(token, home+"/any/path", s.pipeline(), &lro.Options[widget]{Operation: "widgets.create", Wait: *quick})
			require.NoError(t, err)
			assert.False(t, p.Done())
			assert.Empty(t, s.took())
			again, err := p.ResumeToken()
			require.NoError(t, err)
			assert.Equal(t, token, again)
			got, err := p.PollUntilDone(t.Context(), nil)
			require.NoError(t, err)
			assert.Equal(t, 3, got.Size)
			assert.Equal(t, c.urls, s.took())
		})
	}
	t.Run("with the Location that the last poll has set", func(t *testing.T) {
		s := serve(t, answer(202, "", "Location", loc), answer(202, provisioning("Creating"), "Location", "/next"), answer(200, sized(1)))
		p := begin(t, s, "POST", nil)
		_, err := p.Poll(t.Context())
		require.NoError(t, err)
		token, err := p.ResumeToken()
		require.NoError(t, err)
		p, err = lro.Resume[widget](token, home, s.pipeline(), nil)
		require.NoError(t, err)
		again, err := p.ResumeToken()
		require.NoError(t, err)
		assert.Equal(t, token, again)
		assert.Contains(t, contents(t, again), "Creating")
		s.took()
		_, err = p.PollUntilDone(t.Context(), quick)
		require.NoError(t, err)
		assert.Equal(t, []string{home + "/next"}, s.took())
	})
}

func TestResumeKeepsRetryAfter(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := serve(t, answer(202, "", "Location", loc, "Retry-After", "60"), answer(200, ""))
		token, err := begin(t, s, "POST", nil).ResumeToken()
		require.NoError(t, err)
		time.Sleep(20 * time.Second)
		p, err := lro.Resume[widget](token, home, s.pipeline(), nil)
		require.NoError(t, err)
		_, err = p.PollUntilDone(t.Context(), nil)
		require.NoError(t, err)
		assert.Equal(t, []time.Duration{60 * time.Second}, s.gaps())
	})
}

func TestTypesOfOnePackageNameDiffer(t *testing.T) {
	t.Run("named", differ[rand1.Rand, rand2.Rand])
	t.Run("pointer", differ[*rand1.Rand, *rand2.Rand])
	t.Run("slice", differ[[]rand1.Rand, []rand2.Rand])
	t.Run("array", differ[[3]rand1.Rand, [3]rand2.Rand])
	t.Run("length of an array", differ[[3]rand1.Rand, [4]rand1.Rand])
	t.Run("element of a map", differ[map[string]rand1.Rand, map[string]rand2.Rand])
	t.Run("key of a map", differ[map[rand1.Source]int, map[rand2.Source]int])
	t.Run("argument", differ[generic[rand1.Rand], generic[rand2.Rand]])
	t.Run("pointer and not", differ[rand1.Rand, *rand1.Rand])
}

type generic[T any] struct{ Value T }

// differ tests that a token for the type A is for no other.
func differ[A, B any](t *testing.T) {
	pl := serve(t, answer(202, "", "Location", loc)).pipeline()
	token := tokenFor[A](t, pl)
	_, err := lro.Resume[A](token, home, pl, nil)
	require.NoError(t, err)
	_, err = lro.Resume[B](token, home, pl, nil)
	var refused *lro.TokenError
	require.ErrorAs(t, err, &refused)
	assert.Equal(t, lro.TokenType, refused.Reason)
}

// tokenFor returns a token for a result of type T.
func tokenFor[T any](t *testing.T, pl pipeline.Pipeline) string {
	t.Helper()
	p, err := lro.New[T](initial(t, pl, "POST", orig), pl, nil)
	require.NoError(t, err)
	token, err := p.ResumeToken()
	require.NoError(t, err)
	return token
}

func TestF131UnnamedAndLocalTypesDiffer(t *testing.T) {
	type (
		one = struct{ X rand1.Rand }
		two = struct{ X rand2.Rand }
	)
	t.Run("struct", differ[one, two])
	t.Run("slice of structs", differ[[]one, []two])
	t.Run("pointer to a struct", differ[*one, *two])
	t.Run("map of structs", differ[map[string]one, map[string]two])
	t.Run("struct in a struct", differ[struct{ Y one }, struct{ Y two }])
	t.Run("argument", differ[generic[one], generic[two]])
	t.Run("function", differ[func(rand1.Rand), func(rand2.Rand)])
	t.Run("channel", differ[chan rand1.Rand, chan rand2.Rand])
	t.Run("interface", differ[interface{ M(rand1.Rand) }, interface{ M(rand2.Rand) }])
	t.Run("tags", differ[struct {
		X int `json:"a[b.c"`
	}, struct {
		X int `json:"a].c"`
	}])
	t.Run("types of functions", func(t *testing.T) {
		type local struct{ A int }
		func() {
			type outer = local
			type local struct{ B string }
			differ[outer, local](t)
		}()
	})
}

// A token of one build must be good for the next one.
func TestF131TypeInAToken(t *testing.T) {
	const path = "github.com/a0b132ce/retryablehttp/lro_test."
	pl := serve(t, answer(202, "", "Location", loc)).pipeline()
	for want, token := range map[string]string{
		path + "widget": tokenFor[widget](t, pl),
		"map[string][]*" + path + "generic[" + path + "widget]": tokenFor[map[string][]*generic[widget]](t, pl),
		"struct { X math/rand/v2.Rand }":                        tokenFor[struct{ X rand2.Rand }](t, pl),
		"interface {}":                                          tokenFor[any](t, pl),
	} {
		assert.Contains(t, contents(t, token), `"type":"`+want+`"`)
	}
}

// The result cannot be had, and the operation has no token any more. The one before the last
// poll is still good.
func TestF135TokenBeforeTheLastPoll(t *testing.T) {
	s := serve(t, answer(202, "", "Operation-Location", status), answer(200, `{"status":"Succeeded"}`), answer(503, ""),
		answer(200, `{"status":"Succeeded"}`), answer(200, sized(3)))
	p := begin(t, s, "PUT", nil)
	token, err := p.ResumeToken()
	require.NoError(t, err)
	_, err = p.Poll(t.Context())
	require.NoError(t, err)
	_, err = p.Result(t.Context())
	require.Error(t, err)
	_, err = p.ResumeToken()
	assert.ErrorIs(t, err, lro.ErrDone)

	p, err = lro.Resume[widget](token, home, s.pipeline(), nil)
	require.NoError(t, err)
	got, err := p.PollUntilDone(t.Context(), nil)
	require.NoError(t, err)
	assert.Equal(t, 3, got.Size)
	assert.Equal(t, []string{status, orig, status, orig}, s.took())
}

func TestTokenHoldsNoCredentials(t *testing.T) {
	s := serve(t, answer(202, "", "Operation-Location", "https://u:hush@svc.example/st", "Location", "loc"))
	pl := s.pipeline(secret)
	p, err := lro.New[widget](initial(t, pl, "POST", "https://u:hush@svc.example/orig"), pl, nil)
	require.NoError(t, err)
	token, err := p.ResumeToken()
	require.NoError(t, err)
	assert.NotContains(t, contents(t, token), "hush")
	assert.NotContains(t, contents(t, token), "@")
	assert.Regexp(t, `^[A-Za-z0-9._-]+$`, token)
}

func TestO16RefusedTokens(t *testing.T) {
	good := newToken(t)
	_, err := lro.Resume(good, home, offline(t), &lro.Options[widget]{Operation: "widgets.create"})
	require.NoError(t, err)

	changed := func(name string, value any) string { return edit(t, good, map[string]any{name: value}) }
	type refused struct {
		name, token string
		reason      lro.TokenReason
	}
	cases := []refused{
		{"empty", "", lro.TokenMalformed},
		{"x", "x", lro.TokenMalformed},
		{"another format", `{"type":"widget","token":{}}`, lro.TokenMalformed},
		{"prefix only", "lro1", lro.TokenMalformed},
		{"no contents", "lro1..", lro.TokenMalformed},
		{"empty contents", sign("lro1", ""), lro.TokenMalformed},
		{"another version", sign("lro2", contents(t, good)), lro.TokenVersion},
		{"another version without a checksum", "lro10." + good[5:], lro.TokenVersion},
		{"no number as version", sign("lrox", contents(t, good)), lro.TokenMalformed},
		{"oversized", good + strings.Repeat("A", 16<<10), lro.TokenMalformed},
		{"oversized with a checksum", sign("lro1", contents(t, good)+strings.Repeat(" ", 16<<10)), lro.TokenMalformed},
		{"not base64", func() string {
			s := sha256.Sum256([]byte("lro1.*"))
			return "lro1.*." + base64.RawURLEncoding.EncodeToString(s[:12])
		}(), lro.TokenMalformed},
		{"a blank after it", good + " ", lro.TokenMalformed},
		{"another operation", changed("name", "widgets.delete"), lro.TokenOperation},
		{"no operation", changed("name", nil), lro.TokenOperation},
		{"another type", changed("type", "string"), lro.TokenType},
		{"no type", changed("type", nil), lro.TokenType},
		{"another host", changed("original", "https://other.example/orig"), lro.TokenOrigin},
		{"another scheme", changed("original", "http://svc.example/orig"), lro.TokenOrigin},
		{"another port", changed("original", "https://svc.example:444/orig"), lro.TokenOrigin},
		{"B7 succeeded", changed("text", "Succeeded"), lro.TokenDone},
		{"B7 failed", changed("text", "failed"), lro.TokenDone},
		{"B7 canceled", changed("text", "Canceled"), lro.TokenDone},
		{"B7 protocol none", changed("protocol", "none"), lro.TokenDone},
		{"unknown protocol", changed("protocol", "carrier-pigeon"), lro.TokenMalformed},
		{"no protocol", changed("protocol", nil), lro.TokenMalformed},
		{"unknown final state", changed("final", "somewhere"), lro.TokenMalformed},
		{"no original URL", changed("original", nil), lro.TokenMalformed},
		{"no URL to poll", changed("poll", ""), lro.TokenMalformed},
		{"relative URL to poll", changed("poll", "/st"), lro.TokenMalformed},
		{"file to poll", changed("poll", "file:///etc/passwd"), lro.TokenMalformed},
		{"Location that is not a URL", changed("location", "this is invalid"), lro.TokenMalformed},
		{"a time that is none", changed("notBefore", "soon"), lro.TokenMalformed},
	}
	for _, text := range []string{"{}", "[]", "null", `"x"`, "5", "{", `{"type":[],"name":{},"protocol":1}`, `{"poll":{"a":[1]}}`, contents(t, good) + "{}"} {
		reason := lro.TokenMalformed
		if text == "{}" || text == "null" {
			reason = lro.TokenType
		}
		cases = append(cases, refused{text, sign("lro1", text), reason})
	}
	for name := range map[string]bool{"name": true, "type": true, "protocol": true, "method": true, "original": true, "poll": true, "final": true, "member": true, "text": true, "notBefore": true} {
		cases = append(cases, refused{"wrong type of " + name, changed(name, []int{1}), lro.TokenMalformed})
	}
	for i := range len(good) {
		cases = append(cases, refused{fmt.Sprint("cut at ", i), good[:i], lro.TokenMalformed})
		if i >= len("lro1") {
			other := byte('A')
			if good[i] == other {
				other = 'B'
			}
			cases = append(cases, refused{fmt.Sprint("edited at ", i), good[:i] + string(other) + good[i+1:], lro.TokenMalformed})
		}
	}
	for _, c := range cases {
		p, err := lro.Resume(c.token, home, offline(t), &lro.Options[widget]{Operation: "widgets.create"})
		require.Nil(t, p, c.name)
		var refused *lro.TokenError
		require.ErrorAs(t, err, &refused, c.name)
		assert.Equal(t, c.reason, refused.Reason, c.name)
		assert.NotContains(t, err.Error(), "svc.example")
		assert.Equal(t, c.reason == lro.TokenDone, errIs(err, lro.ErrDone), c.name)
	}

	_, err = lro.Resume(good, home, offline(t), &lro.Options[string]{Operation: "widgets.create"})
	var mismatch *lro.TokenError
	require.ErrorAs(t, err, &mismatch)
	assert.Equal(t, lro.TokenType, mismatch.Reason)
	_, err = lro.Resume[widget](good, home, offline(t), nil)
	require.ErrorAs(t, err, &mismatch)
	assert.Equal(t, lro.TokenOperation, mismatch.Reason)
	_, err = lro.Resume(good, "HTTPS://SVC.example:443", offline(t), &lro.Options[widget]{Operation: "widgets.create"})
	assert.NoError(t, err, "the same origin")
	for _, endpoint := range []string{"", "svc.example", "ftp://svc.example", "https://", "https://svc.example/%zz?sig=hush"} {
		_, err = lro.Resume(good, endpoint, offline(t), &lro.Options[widget]{Operation: "widgets.create"})
		require.Error(t, err)
		assert.NotErrorAs(t, err, new(*lro.TokenError))
		assert.NotContains(t, err.Error(), "hush")
	}
}

func errIs(err, target error) bool {
	is, ok := err.(interface{ Is(error) bool })
	return ok && is.Is(target)
}

func TestTokenTooLong(t *testing.T) {
	s := serve(t, answer(202, "", "Location", "/"+strings.Repeat("x", 8<<10)))
	_, err := begin(t, s, "POST", nil).ResumeToken()
	assert.EqualError(t, err, "lro: the resume token has more than 16384 bytes")
}

func FuzzResume(f *testing.F) {
	good := newToken(f)
	f.Add(good, false)
	f.Add(good[:40], false)
	f.Add("lro1.e30.AAAA", false)
	for _, text := range []string{contents(f, good), "{}", "null", `{"type":"lro_test.widget","protocol":"body","original":"https://svc.example","poll":"https://h"}`} {
		f.Add(text, true)
	}
	f.Fuzz(func(t *testing.T, text string, signed bool) {
		token := text
		if signed {
			token = sign("lro1", text)
		}
		p, err := lro.Resume(token, home, offline(t), &lro.Options[widget]{Operation: "widgets.create"})
		if err != nil {
			require.Nil(t, p)
			require.ErrorAs(t, err, new(*lro.TokenError))
			return
		}
		require.False(t, p.Done())
		again, err := p.ResumeToken()
		if err != nil {
			return // too long
		}
		_, err = lro.Resume(again, home, offline(t), &lro.Options[widget]{Operation: "widgets.create"})
		require.NoError(t, err)
	})
}
