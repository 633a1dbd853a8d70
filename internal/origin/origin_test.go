package origin_test

import (
	"net/http"
	"net/url"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/a0b132ce/retryablehttp/internal/origin"
)

func TestOf(t *testing.T) {
	for _, c := range []struct {
		a, b string
		same bool
	}{
		{"https://api.example/", "https://api.example/x?y#z", true},
		{"https://api.example/", "HTTPS://API.Example/", true},
		{"https://api.example/", "https://u:p@api.example/", true},
		{"https://api.example/", "https://api.example:443/", true},
		{"http://api.example:80/", "http://api.example/", true},
		{"http://[::1]/", "http://[::1]:80/", true},
		{"https://ap%C4%B0.example/", "https://ap\u0130.example/", true},
		{"https://bücher.example/", "https://bücher.example:443/", true},

		{"https://api.example/", "http://api.example/", false},
		{"https://api.example/", "https://api.example:8443/", false},
		{"http://api.example:443/", "https://api.example/", false},
		{"https://api.example/", "https://www.api.example/", false},
		{"https://api.example/", "https://api.example.evil/", false},
		{"https://api.example/", "https://api.example@evil/", false},

		// A transport may map these to the same host or to another one.
		{"https://api.example/", "https://ap\u0130.example/", false},
		{"https://api.example/", "https://ap\u0131.example/", false},
		{"https://k.example/", "https://\u212a.example/", false},
		{"https://s.example/", "https://\u017f.example/", false},
		{"https://api.example/", "https://\uff41pi.example/", false},
		{"https://bücher.example/", "https://BÜCHER.example/", false},
		{"https://bücher.example/", "https://Bücher.example/", false},
		{"https://bücher.example/", "https://xn--bcher-kva.example/", false},
		{"https://a\xff.example/", "https://a\ufffd.example/", false},
		{"https://a%FF.example/", "https://a%FE.example/", false},
		{"https://api.example/", "https://api.example./", false},
		{"https://api.example/", "https://api.example:/", false},
		{"https://api.example/", "https://api.example:0443/", false},
		{"http://[fe80::1%25eth0]/", "http://[fe80::1%25ETH0]/", false},
		{"http://[::1]/", "http://[0:0:0:0:0:0:0:1]/", false},
	} {
		a, err := url.Parse(c.a)
		require.NoError(t, err)
		b, err := url.Parse(c.b)
		require.NoError(t, err)
		assert.Equal(t, c.same, origin.Of(a) == origin.Of(b), "%q", c)
		assert.Equal(t, c.same, origin.Of(b) == origin.Of(a), "%q", c)
	}
}

func TestOfIsNeverZero(t *testing.T) {
	for _, u := range []*url.URL{nil, {}, {Path: "api.example"}} {
		assert.NotZero(t, origin.Of(u))
		assert.NotEqual(t, origin.Of(u), origin.Of(&url.URL{Scheme: "https", Host: "api.example"}))
	}
}

func TestFirstRequest(t *testing.T) {
	first := &http.Request{}
	second := &http.Request{Response: &http.Response{Request: first}}
	third := &http.Request{Response: &http.Response{Request: second}}
	for _, r := range []*http.Request{first, second, third} {
		assert.Same(t, first, origin.FirstRequest(r))
	}
	alone := &http.Request{Response: &http.Response{}}
	assert.Same(t, alone, origin.FirstRequest(alone))
}
