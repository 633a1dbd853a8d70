package paging_test

import (
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/a0b132ce/retryablehttp/paging"
)

// response returns a response from a URL with lines of a Link header.
func response(t testing.TB, from string, lines ...string) *http.Response {
	t.Helper()
	u, err := url.Parse(from)
	require.NoError(t, err)
	return &http.Response{Header: http.Header{"Link": lines}, Request: &http.Request{URL: u}}
}

// The examples of RFC 8288 §3.5.
func TestNextLinkExamplesOfRFC8288(t *testing.T) {
	const from = "http://example.com/TheBook/chapter3"
	for line, want := range map[string]string{
		`<http://example.com/TheBook/chapter2>; rel="previous"; title="previous chapter"`: "",
		`</>; rel="http://example.net/foo"`:                                               "",
		`</terms>; rel="copyright"; anchor="#foo"`:                                        "",
		`</TheBook/chapter2>; rel="previous"; title*=UTF-8'de'letztes%20Kapitel, ` +
			`</TheBook/chapter4>; rel="next"; title*=UTF-8'de'n%c3%a4chstes%20Kapitel`: "http://example.com/TheBook/chapter4",
		`<http://example.org/>; rel="start http://example.net/relation/other"`:          "",
		`<https://example.org/>; rel="start", <https://example.org/index>; rel="index"`: "",
		// With the relation type that is asked for.
		`<http://example.org/>; rel="start http://example.net/relation/next next"`:     "http://example.org/",
		`<https://example.org/>; rel="start", <https://example.org/index>; rel="next"`: "https://example.org/index",
	} {
		got, err := paging.NextLink(response(t, from, line))
		require.NoError(t, err, line)
		assert.Equal(t, want, got, line)
	}
}

func TestNextLinkSyntax(t *testing.T) {
	const from = "https://e/list?p=1"
	const two = "https://e/2"
	for name, test := range map[string]struct {
		lines []string
		want  string
	}{
		"no header":                    {nil, ""},
		"empty header":                 {[]string{"", " , ,"}, ""},
		"several lines":                {[]string{`</1>; rel=prev`, `</2>; rel=next`}, two},
		"first of two":                 {[]string{`</2>; rel=next, </3>; rel=next`, `</4>; rel=next`}, two},
		"empty elements":               {[]string{`, ,</1>;rel=prev,,	</2>;rel=next,`}, two},
		"token":                        {[]string{`</2>;rel=next`}, two},
		"blanks":                       {[]string{"  </2>\t; \t rel \t= \t\"next\" \t"}, two},
		"blanks after a token":         {[]string{"</2>;rel=next \t;a, </3>"}, two},
		"unquoted list":                {[]string{`</2>; rel=last next ; a`}, two},
		"empty parameters":             {[]string{`</2>;;  ; rel=next`}, two},
		"parameter without a value":    {[]string{`</2>; crossorigin; rel=next`}, two},
		"parameter without a name":     {[]string{`</2>; =a; ="b"; rel=next`}, two},
		"empty value":                  {[]string{`</2>; a=; rel=next`}, two},
		"case":                         {[]string{`</2>; REL="NeXt"`}, two},
		"among other types":            {[]string{"</2>; rel=\"  last\tnext \""}, two},
		"escapes in a quoted string":   {[]string{`</2>; rel="n\e\xt"`}, two},
		"comma in a quoted string":     {[]string{`</1>; title="a, </9>; rel=next, "; rel=prev, </2>; rel=next`}, two},
		"semicolon in a quoted string": {[]string{`</2>; title="; rel=prev"; rel=next`}, two},
		"escaped quote":                {[]string{`</2>; title="\"; rel=prev; \\"; rel=next`}, two},
		"comma in the URL":             {[]string{`</1,2>; rel=prev, </2,;"3>; rel=next`}, "https://e/2,;%223"},

		"no rel":                      {[]string{`</2>`, `</2>; title=next`}, ""},
		"rev":                         {[]string{`</2>; rev=next`}, ""},
		"rel in another encoding":     {[]string{`</2>; rel*=UTF-8''next`}, ""},
		"rel without a value":         {[]string{`</2>; rel`}, ""},
		"longer type":                 {[]string{`</2>; rel="nextish next-page xnext"`}, ""},
		"type with another separator": {[]string{"</2>; rel=\"prev;next\"", "</2>; rel=\"prev\u00a0next\""}, ""},
		"only the first rel counts":   {[]string{`</2>; rel=prev; rel=next`}, ""},
		"even if it has no value":     {[]string{`</2>; rel; rel=next`}, ""},
		"first rel is next":           {[]string{`</2>; rel=next; rel=prev`}, two},

		"single quotes":             {[]string{`</1>; rel='prev', </2>; rel='next'`, `</3>; rel=next`}, two},
		"single quotes and blanks":  {[]string{`</2>; rel = 'last next' ; a`}, two},
		"anchor in single quotes":   {[]string{`</9>; rel=next; anchor='/other', </2>; rel=next; anchor='?p=1'`}, two},
		"single quotes of no value": {[]string{`</2>; rel='`, `</2>; rel=''`, `</2>; rel='next`, `</2>; rel=next'`, `</2>; rel=xnext'`}, ""},

		"anchor is the response":         {[]string{`</2>; rel=next; anchor="https://e/list?p=1"`}, two},
		"anchor is empty":                {[]string{`</2>; rel=next; anchor=""`}, two},
		"anchor is relative":             {[]string{`</2>; rel=next; anchor="?p=1"`}, two},
		"anchor without quotes":          {[]string{`</2>; rel=next; anchor=?p=1 ; a`}, two},
		"anchor is a part":               {[]string{`</2>; rel=next; anchor="#foo"`}, ""},
		"anchor is another":              {[]string{`</9>; rel=next; anchor="/other", </2>; rel=next`}, two},
		"anchor is malformed":            {[]string{`</9>; rel=next; anchor="%zz"`}, ""},
		"only the first anchor counts":   {[]string{`</2>; rel=next; anchor="/x"; anchor=""`}, ""},
		"empty link":                     {[]string{`<>; rel=next, </3>; rel=next`}, ""},
		"malformed text before the link": {[]string{`garbage, </1>; rel=prev`, `</2>; rel=next`}, two},
		"malformed text after the link":  {[]string{`</2>; rel=next, garbage`}, two},
	} {
		t.Run(name, func(t *testing.T) {
			got, err := paging.NextLink(response(t, from, test.lines...))
			require.NoError(t, err)
			assert.Equal(t, test.want, got)
		})
	}
}

// Malformed text may hold the link to the next page, and a list that ends too soon would look
// complete.
func TestNextLinkMalformedHeader(t *testing.T) {
	for _, line := range []string{
		`https://e/2; rel=next`,
		`<https://e/2; rel=next`,
		`<`,
		`<https://e/2> rel=next`,
		`<https://e/2>; rel="next`,
		`<https://e/2>; rel="next\`,
		`<https://e/2>; rel="next" x`,
		`<https://e/2>; rel next`,
		`<https://e/2>; rel=next; title="a`,
		`x, <https://e/2>; rel=next`,
	} {
		got, err := paging.NextLink(response(t, "https://e/", line))
		var failure *paging.LinkError
		require.ErrorAs(t, err, &failure, line)
		assert.Equal(t, "paging: link to the next page: malformed Link header", err.Error())
		assert.Empty(t, got)
	}
}

func TestNextLinkWithUserInfoInTheURLOfTheResponse(t *testing.T) {
	resp := response(t, "https://user:secret@e/list#part", `<2>; rel=next; anchor="https://e/list"`)
	got, err := paging.NextLink(resp)
	require.NoError(t, err)
	assert.Equal(t, "https://e/2", got)
}

func TestResolve(t *testing.T) {
	const from = "https://user:secret@e/a/b?x=y#part"
	for link, want := range map[string]string{
		"":            "",
		"c":           "https://e/a/c",
		"/c":          "https://e/c",
		"../c":        "https://e/c",
		"./c/../d/.":  "https://e/a/d/",
		"?p=2":        "https://e/a/b?p=2",
		"#other":      "https://e/a/b?x=y",
		"//f/c":       "https://f/c",
		"http://f:80": "http://f:80",
		"HTTPS://F/c": "https://F/c",

		"https://u:p@f/c#d":  "https://f/c",
		"https://u@f/c#%zz":  "https://f/c",
		"//u:p@f":            "https://f",
		`/\f/c`:              "https://e/%5Cf/c",
		"/a b":               "https://e/a%20b",
		"/ä":                 "https://e/%C3%A4",
		"/a%2fb%20c+d;e":     "https://e/a%2fb%20c+d;e",
		"https://[::1]:80/c": "https://[::1]:80/c",

		"?filter=a+b":          "https://e/a/b?filter=a%20b",
		"?a=1;2":               "https://e/a/b?a=1%3B2",
		"?z=1&a=2&z=%2b%3b&=&": "https://e/a/b?z=1&a=2&z=%2b%3b&=&",
		"?a=b c":               "https://e/a/b?a=b%20c",
		"?q=ä\"<>'[]|/?:@":     "https://e/a/b?q=%C3%A4%22%3C%3E'[]|/?:@",
		"?":                    "https://e/a/b?",
	} {
		resp := response(t, from)
		got, err := paging.Resolve(resp, link)
		require.NoError(t, err, link)
		assert.Equal(t, want, got, link)
		again, err := paging.Resolve(resp, got)
		require.NoError(t, err)
		assert.Equal(t, got, again, "resolving again changes nothing")
		assert.Equal(t, from, resp.Request.URL.String(), "the request is not modified")
	}
}

func TestResolveRefuses(t *testing.T) {
	for link, text := range map[string]string{
		"?filter=SECRET&b=%zz":              `"?filter=REDACTED&b=REDACTED": invalid percent-encoding in the query`,
		"?a=%":                              `"?a=REDACTED": invalid percent-encoding in the query`,
		"?a=%2":                             `"?a=REDACTED": invalid percent-encoding in the query`,
		"?a=%g0":                            `"?a=REDACTED": invalid percent-encoding in the query`,
		"?a=%0g":                            `"?a=REDACTED": invalid percent-encoding in the query`,
		"%zz?a=SECRET":                      `"%zz?REDACTED": invalid URL escape REDACTED`,
		"https://u:SECRET@e/%zz":            `"https://REDACTED": invalid URL escape REDACTED`,
		"file:///etc/passwd":                `"file:///etc/passwd": URL does not have the scheme http or https`,
		"ftp://u:SECRET@e/":                 `"ftp://u:xxxxx@e/": URL does not have the scheme http or https`,
		"javascript:alert(1)":               `"javascript:alert(1)": URL does not have the scheme http or https`,
		"https:c":                           `"https:c": URL has no host`,
		"https:///c":                        `"https:///c": URL has no host`,
		"https://:80/":                      `"https://:80/": URL has no host`,
		"https://u:SECRET@/":                `"https://u:xxxxx@/": URL has no host`,
		"/a\r\nX: y":                        `"REDACTED": net/url: invalid control character in URL`,
		"https://e:x/":                      `"https://REDACTED": invalid port REDACTED after host`,
		strings.Repeat("x", 16<<10+1):       `URL is longer than 16384 bytes`,
		strings.Repeat("x", 16<<10) + "%zz": `URL is longer than 16384 bytes`,
		strings.Repeat("ä", 5<<10):          `URL is longer than 16384 bytes`, // three times as long when escaped
	} {
		got, err := paging.Resolve(response(t, "https://e/"), link)
		var failure *paging.LinkError
		require.ErrorAs(t, err, &failure, link)
		assert.Contains(t, err.Error(), text)
		assert.NotContains(t, err.Error(), "SECRET")
		assert.NotContains(t, err.Error(), "\n")
		assert.True(t, strings.HasPrefix(err.Error(), "paging: link to the next page"), err)
		assert.Error(t, failure.Unwrap())
		assert.Empty(t, got)
	}
}

func TestResolveLongestLink(t *testing.T) {
	link := "https://e/" + strings.Repeat("x", 16<<10-len("https://e/"))
	got, err := paging.Resolve(response(t, "https://e/"), link)
	require.NoError(t, err)
	assert.Equal(t, link, got)
	_, err = paging.Resolve(response(t, "https://e/"), link+"x")
	assert.Error(t, err)
}

// A response that was not sent by net/http may have no request.
func TestLinksOfAResponseWithoutARequest(t *testing.T) {
	for _, req := range []*http.Request{nil, {}} {
		resp := &http.Response{Header: http.Header{"Link": {`<https://e/2>; rel=next; anchor="#x", <https://e/3>; rel=next`}}, Request: req}
		got, err := paging.NextLink(resp)
		require.NoError(t, err)
		assert.Equal(t, "https://e/3", got)
		_, err = paging.Resolve(resp, "3")
		assert.ErrorContains(t, err, "scheme")
	}
}

func TestNextLinkBoundsTheHeader(t *testing.T) {
	line := `</1>; rel=prev` + strings.Repeat(",", 32<<10-len(`</1>; rel=prev`))
	got, err := paging.NextLink(response(t, "https://e/", line, line[:len(line)-len(`</2>;rel=next`)]+`</2>;rel=next`))
	require.NoError(t, err)
	assert.Equal(t, "https://e/2", got)
	_, err = paging.NextLink(response(t, "https://e/", line, line, "x"))
	var failure *paging.LinkError
	require.ErrorAs(t, err, &failure)
	assert.ErrorContains(t, err, "the Link header is longer than 65536 bytes")
}

// The worst header takes time in proportion to its length.
func TestNextLinkHostileHeader(t *testing.T) {
	const limit = 64 << 10
	long := "https://e/" + strings.Repeat("x", 1<<10)
	for _, pattern := range []string{"<", "<>", "<>,", "<>;", "<>;rel=next;anchor=x,", `<>;a="`, `"\`, "<>;=", "<>;rel=\"a \"", ">", ";", ", "} {
		line := strings.Repeat(pattern, limit/len(pattern))
		start := time.Now()
		got, err := paging.NextLink(response(t, long, line))
		assert.Less(t, time.Since(start), 10*time.Second, pattern)
		if err == nil {
			assert.Empty(t, got, pattern)
		}
	}
}

func FuzzNextLink(f *testing.F) {
	f.Add("https://u:p@e/a?b=c#d", `</2>; rel="next"; title="a, \"b"; anchor="", </3>; rel=prev`)
	f.Add("http://e", `<//u:p@f:80/%20?a+b;c=%zz#d>;rel=next,`)
	f.Add("https://[fe80::1%25en0]/", `<?ä "<>; rel=next`)
	f.Add("https://e", "<HTTP://x/\x00>;rel=next, garbage")
	f.Fuzz(func(t *testing.T, from, line string) {
		base, err := url.Parse(from)
		if err != nil || base.Scheme != "https" && base.Scheme != "http" || base.Host == "" {
			return
		}
		resp := &http.Response{Header: http.Header{"Link": {line}}, Request: &http.Request{URL: base}}
		got, err := paging.NextLink(resp)
		if err != nil {
			if got != "" || strings.ContainsAny(err.Error(), "\r\n") {
				t.Fatalf("got %q, %q", got, err)
			}
			return
		}
		if got == "" {
			return
		}
		u, err := url.Parse(got)
		if err != nil {
			t.Fatal(err)
		}
		if u.Scheme != "http" && u.Scheme != "https" || u.Hostname() == "" || u.User != nil || u.Fragment != "" || len(got) > 16<<10 {
			t.Fatalf("got %q", got)
		}
		for i := range len(got) {
			if got[i] <= ' ' || got[i] >= 0x7f {
				t.Fatalf("got %q", got)
			}
		}
		if again, err := paging.Resolve(resp, got); err != nil || again != got {
			t.Fatalf("%q becomes %q, %v", got, again, err)
		}
	})
}
