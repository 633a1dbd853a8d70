package pipeline

import (
	"net/http"
	"net/url"
	"strings"
)

// APIVersion is a Policy that asks for a version of the API. The zero APIVersion does
// nothing. A request to another origin is left as it is (see [Request.Foreign]), because
// its URL may be signed.
type APIVersion struct {
	// Name is the name of the query parameter or header. If it is needed and "", calls fail
	// with ErrAPIVersion before anything is sent.
	Name string
	// Version is the version. "" does nothing.
	Version string
	// In is where the version is sent. The default is the query.
	In VersionLocation
}

// VersionLocation is where the version of an API is sent.
type VersionLocation int

const (
	// InQuery sets a query parameter. It replaces the first one of that name and removes the
	// others; the rest of the query stays as it is.
	InQuery VersionLocation = iota
	// InHeader sets a header.
	InHeader
	// InPath changes nothing: the path of the request has the version.
	InPath
)

// ErrAPIVersion is returned if [APIVersion] has a Version, but not the Name of a query
// parameter or header, or an unknown location.
var ErrAPIVersion error = permanent("pipeline: APIVersion.Name is empty, or APIVersion.In is unknown")

// Do implements [Policy].
func (p APIVersion) Do(req *Request) (*http.Response, error) {
	raw := req.Raw()
	switch {
	case p.Version == "" || p.In == InPath:
	case p.Name == "" || p.In != InQuery && p.In != InHeader:
		return nil, ErrAPIVersion
	case req.Foreign():
	case p.In == InHeader:
		raw.Header.Set(p.Name, p.Version)
	default:
		raw.URL.RawQuery = setParameter(raw.URL.RawQuery, p.Name, p.Version)
	}
	return req.Next()
}

// setParameter returns a query in which name has one value.
func setParameter(query, name, value string) string {
	pair, set := url.QueryEscape(name)+"="+url.QueryEscape(value), false
	var kept []string
	for part := range strings.SplitSeq(query, "&") {
		key, _, _ := strings.Cut(part, "=")
		if unescaped, err := url.QueryUnescape(key); err == nil && unescaped == name {
			if set {
				continue
			}
			part, set = pair, true
		}
		kept = append(kept, part)
	}
	switch {
	case query == "":
		return pair
	case !set:
		kept = append(kept, pair)
	}
	return strings.Join(kept, "&")
}
