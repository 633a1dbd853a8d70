package redact

import (
	"errors"
	"fmt"
	"net/url"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func TestURL(t *testing.T) {
	for raw, want := range map[string]string{
		"http://host/path":                         "http://host/path",
		"http://host/path?a=1&b=2":                 "http://host/path?a=REDACTED&b=REDACTED",
		"http://host/path?b=2;a=1&&c":              "http://host/path?b=REDACTED;a=REDACTED&&REDACTED",
		"http://host/?token":                       "http://host/?REDACTED",
		"http://host/?a=b=c":                       "http://host/?a=REDACTED",
		"http://host/?a=":                          "http://host/?a=REDACTED",
		"http://host/?":                            "http://host/?",
		"http://user:pass@host/":                   "http://user:xxxxx@host/",
		"http://user:@host/":                       "http://user:xxxxx@host/",
		"https://ghp_token@host/":                  "https://xxxxx@host/",
		"http://host/#access_token=secret":         "http://host/#REDACTED",
		"http:user:secret@host/path?a=b":           "http:xxxxx@host/path?a=REDACTED",
		"http://host/a%2Fb%20c?x=%00":              "http://host/a%2Fb%20c?x=REDACTED",
		"http://user:p%40ss@[::1]:8080/x?y=z#frag": "http://user:xxxxx@[::1]:8080/x?y=REDACTED#REDACTED",
		"": "",
	} {
		u, err := url.Parse(raw)
		require.NoError(t, err)
		before := *u
		assert.Equal(t, want, URL(u))
		assert.Equal(t, before, *u, "the URL is not modified")
	}
	assert.Empty(t, URL(nil))
}

func TestKeeping(t *testing.T) {
	var asked []string
	show := Keeping(func(name string) bool {
		asked = append(asked, name)
		return name == "keep" || name == "a b" || name == "x=y"
	})
	for raw, want := range map[string]string{
		"http://host/?keep=1&a=2":                 "http://host/?keep=1&a=REDACTED",
		"http://host/?a=2;keep=1;b=3":             "http://host/?a=REDACTED;keep=1;b=REDACTED",
		"http://host/?keep=1&keep=a=b":            "http://host/?keep=1&keep=a=b",
		"http://host/?keep&token":                 "http://host/?keep&REDACTED",
		"http://host/?a+b=1&a%20b=2&%6beep=3":     "http://host/?a+b=1&a%20b=2&%6beep=3",
		"http://host/?x%3Dy=1&x=y":                "http://host/?x%3Dy=1&x=REDACTED",
		"http://host/?keep%=1&KEEP=2":             "http://host/?keep%=REDACTED&KEEP=REDACTED",
		"http://user:pass@host/?keep=1#keep=1":    "http://user:xxxxx@host/?keep=1#REDACTED",
		"http:user:secret@host/path?keep=1&a=b&&": "http:xxxxx@host/path?keep=1&a=REDACTED&&",
	} {
		u, err := url.Parse(raw)
		require.NoError(t, err)
		assert.Equal(t, want, show(u))
	}
	assert.Empty(t, show(nil))
	assert.NotContains(t, asked, "", "a name that cannot be decoded is not asked for")
}

func TestLinks(t *testing.T) {
	keep := Keeping(func(name string) bool { return name == "page" })
	for field, want := range map[string]string{
		`<https://h/x?page=2&sig=s>; rel="next"`:                       `<https://h/x?page=2&sig=REDACTED>; rel="next"`,
		`<https://u:s@h/>;rel=next, <?page=2>; rel="prev last"; q="s"`: `<https://u:xxxxx@h/>;rel=next, <?page=REDACTED>; rel="prev last"`,
		`<next?s>`:                      `<next?REDACTED>`,
		`</x#s>; title="s"; rel="next"`: `</x#REDACTED>`,
		`<a?b>c=s>; rel=next`:           `<a?REDACTED>`,
		`<<x?s>`:                        `<x?REDACTED>`,
		`<https://h:s`:                  `REDACTED`,
		`s`:                             `REDACTED`,
		``:                              `REDACTED`,
	} {
		assert.Equal(t, want, Links(field, keep), field)
	}
}

func TestText(t *testing.T) {
	for text, want := range map[string]string{
		`Get "http://host/?q=a b": EOF`:                     `Get "http://host/?q=REDACTED": EOF`,
		`see http://user:pw@host/x?y=z, then http://h/#f.`:  `see http://user:xxxxx@host/x?y=REDACTED, then http://h/#REDACTED.`,
		`redirect to "/callback?code=SECRET" refused`:       `redirect to "/callback?code=REDACTED" refused`,
		`invalid proxy address "user:se%zzcret@proxy:3128"`: `invalid proxy address "user:xxxxx@proxy:3128"`,
		`proxy user:secret@proxy:3128 refused`:              `proxy user:xxxxx@proxy:3128 refused`,
		`at /callback#access_token=S.`:                      `at /callback#REDACTED.`,
		`at /path?SECRET`:                                   `at /path?REDACTED`,
		`path /d?e=f is gone`:                               `path /d?e=REDACTED is gone`,
		`//user:pw@host/`:                                   `//user:xxxxx@host/`,
		`Get "http:user:pw@host": no`:                       `Get "http:xxxxx@host": no`,
		`"try plan #3" failed for bob@example.com`:          `"try plan #3" failed for bob@example.com`,
		`"are you sure?" no`:                                `"are you sure?" no`,
		`"50% #1" of "a@b"`:                                 `"50% #1" of "a@b"`,
		`Location header ":x?s": parse ":x?s": no scheme`:   `Location header "REDACTED": parse "REDACTED": no scheme`,
		`parse "1.2.3.4:5#s": no`:                           `parse "REDACTED": no`,
		`parse "a b\"c#s" or "d#e"`:                         `parse "a%20b%5C%22c#REDACTED" or "d#e"`,
		`dial tcp 127.0.0.1:1: connect: connection refused`: `dial tcp 127.0.0.1:1: connect: connection refused`,
	} {
		assert.Equal(t, want, Text(text, URL))
		assert.Equal(t, want, Text(want, URL), "again")
	}
}

type aggregate []error

func (a aggregate) Error() string   { return fmt.Sprint([]error(a)) }
func (a aggregate) Unwrap() []error { return a }

func TestError(t *testing.T) {
	plain := errors.New("nothing to hide")
	assert.Equal(t, plain, Error(plain, URL))
	assert.NoError(t, Error(nil, URL))

	secret := &url.Error{Op: "Get", URL: "http://host/?token=SECRET", Err: plain}
	for name, err := range map[string]error{
		"itself":         secret,
		"wrapped":        fmt.Errorf("audit: %w", secret),
		"hidden":         hidden{secret},
		"of a slice":     aggregate{plain, nil, secret},
		"path only":      &url.Error{Op: "Get", URL: "/callback?code=SECRET", Err: plain},
		"cause":          &url.Error{Op: "Get", URL: "http://host/", Err: errors.New("see http://x/?SECRET")},
		"without scheme": &url.Error{Op: "Get", URL: "//u:SECRET@host/p", Err: plain},
		"malformed":      &url.Error{Op: "parse", URL: "http://u:SECRET@host:x", Err: plain},
	} {
		shown := Error(err, URL)
		assert.NotContains(t, shown.Error(), "SECRET", name)
		var inner *url.Error
		require.ErrorAs(t, shown, &inner, name)
		assert.NotContains(t, inner.Error(), "SECRET", name)
		if name != "cause" {
			assert.ErrorIs(t, shown, plain, name)
		}
		assert.Equal(t, shown.Error(), Error(shown, URL).Error(), "again")
	}
}

// hidden is an error whose text does not show what it wraps.
type hidden struct{ err error }

func (h hidden) Error() string { return "failed" }
func (h hidden) Unwrap() error { return h.err }

func FuzzURL(f *testing.F) {
	f.Add("user", "path", "key")
	f.Add("", "a?b", "a&b=c;d#e")
	f.Add("a:b", "%2f", "")
	f.Fuzz(func(t *testing.T, user, path, key string) {
		const secret = "s3cr3t-V4lue"
		if strings.Contains(user+path+key, secret) {
			return
		}
		u := &url.URL{Scheme: "https", Host: "host", Path: "/" + path, User: url.UserPassword(user, secret), Fragment: secret}
		u.RawQuery = key + "=" + secret + "&" + secret + ";" + url.QueryEscape(key) + "=" + secret
		if got := URL(u); strings.Contains(got, secret) {
			t.Fatalf("URL(%q) = %q", u, got)
		}
		text := `dial "` + u.String() + `": no`
		if _, err := url.Parse(u.String()); err == nil && !strings.ContainsAny(u.String(), "\"'<> ") {
			if got := Text(text, URL); strings.Contains(got, secret) {
				t.Fatalf("Text(%q) = %q", text, got)
			}
		}
	})
}
