package token

import (
	"net"
	"net/url"
	"strings"
)

// Covers reports whether a resource (RFC 8707) is the audience itself or lies below it: same scheme, host and port, and the audience's path is the
// beginning of the resource's, segment by segment. What is not a plain absolute http or https URL is covered by nothing.
func Covers(audience, resource string) bool {
	a, okA := parseResource(audience)
	r, okR := parseResource(resource)
	if !okA || !okR || a.origin != r.origin {
		return false
	}
	return r.path == a.path || strings.HasPrefix(r.path, a.path+"/")
}

// ValidResource reports whether a text can be an audience: an absolute http or https URL without user, query or fragment, and with a plain path.
func ValidResource(resource string) bool {
	_, ok := parseResource(resource)
	return ok
}

type resourceID struct {
	origin string
	path   string // without the slash at the end
}

func parseResource(text string) (resourceID, bool) {
	u, err := url.Parse(text)
	if err != nil || u.User != nil || u.RawQuery != "" || u.ForceQuery || u.Fragment != "" || u.Opaque != "" || u.Hostname() == "" {
		return resourceID{}, false
	}
	if strings.HasSuffix(text, "#") || strings.ContainsAny(u.EscapedPath(), `%\`) {
		return resourceID{}, false // an escaped path has more than one reading
	}
	scheme, port := strings.ToLower(u.Scheme), u.Port()
	switch {
	case scheme != "http" && scheme != "https":
		return resourceID{}, false
	case port == "" && scheme == "http":
		port = "80"
	case port == "":
		port = "443"
	}
	for segment := range strings.SplitSeq(u.Path, "/") {
		if segment == "." || segment == ".." {
			return resourceID{}, false
		}
	}
	if strings.Contains(u.Path, "//") {
		return resourceID{}, false
	}
	origin := scheme + "://" + net.JoinHostPort(strings.ToLower(u.Hostname()), port)
	return resourceID{origin: origin, path: strings.TrimSuffix(u.Path, "/")}, true
}
