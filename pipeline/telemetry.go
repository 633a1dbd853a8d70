package pipeline

import (
	"cmp"
	"net/http"
	"path"
	"regexp"
	"runtime"
	"strings"
)

// Telemetry is a Policy that sends a User-Agent (RFC 9110 §10.1.5) with the name and version
// of an API client, for example
//
//	my/app widgets/v1.2.3 (go1.26.0; linux)
//
// A User-Agent that the request has already follows after a blank. Characters that a
// product token cannot have are replaced by "-". The zero Telemetry names this package.
type Telemetry struct {
	// Module is the path of the client's Go module. The last element is sent, without a
	// major version such as v2. "" means retryablehttp.
	Module string
	// Version is the version of the module. "" sends none.
	Version string
	// ApplicationID, if not "", comes first. Each blank becomes "/", and what follows the
	// first 24 bytes is cut off.
	ApplicationID string
	// Disabled leaves the User-Agent as it is.
	Disabled bool
}

const applicationIDMax = 24

// Do implements [Policy].
func (p Telemetry) Do(req *Request) (*http.Response, error) { return p.bind(nil).Do(req) }

// bind returns a policy that has made the header already.
func (p Telemetry) bind(*stages) Policy {
	if p.Disabled {
		return PolicyFunc((*Request).Next)
	}
	module := cmp.Or(strings.Trim(p.Module, "/"), "retryablehttp")
	if parent, last := path.Split(module); parent != "" && majorVersion.MatchString(last) {
		module = parent
	}
	product := productText(path.Base(module))
	if p.Version != "" {
		product += "/" + productText(p.Version)
	}
	version, _, _ := strings.Cut(runtime.Version(), " ") // no experiments
	product += " (" + version + "; " + runtime.GOOS + ")"
	id := strings.ReplaceAll(strings.TrimSpace(p.ApplicationID), " ", "/")
	if id = id[:min(len(id), applicationIDMax)]; id != "" {
		product = productText(id) + " " + product
	}
	return userAgent{[]string{product}}
}

var majorVersion = regexp.MustCompile(`^v[0-9]+$`)

// productText returns s with all characters replaced that a product cannot have.
func productText(s string) string {
	return strings.Map(func(c rune) rune {
		if c == '/' || strings.ContainsRune(tokenChars, c) {
			return c
		}
		return '-'
	}, s)
}

// userAgent is a Telemetry that has made its header, which all requests share.
type userAgent struct{ header []string }

func (p userAgent) Do(req *Request) (*http.Response, error) {
	header, own := req.Raw().Header, p.header[0]
	switch given := header.Get("User-Agent"); {
	case given == "":
		header["User-Agent"] = p.header
	case given != own && !strings.HasPrefix(given, own+" "): // else the request is sent again
		header.Set("User-Agent", own+" "+given)
	}
	return req.Next()
}
