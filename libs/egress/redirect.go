package egress

import (
	"net/http"
	"net/url"
	"strings"
)

// longestPath is how much of where a server redirects to is told.
const longestPath = 200

// Redirects reports whether a status of HTTP sends the client to another address (RFC 9110, 15.4).
func Redirects(status int) bool {
	switch status {
	case http.StatusMovedPermanently, http.StatusFound, http.StatusSeeOther, http.StatusTemporaryRedirect, http.StatusPermanentRedirect:
		return true
	}
	return false
}

// RedirectedTo says where a server at an address redirects to with its Location: the path when scheme, host and port are the declared ones and the path
// is plain, and "another origin" or "another address" otherwise. What the server says is read by people and models, so no more of it is told.
func RedirectedTo(at *url.URL, location string) string {
	to, err := at.Parse(location)
	if err != nil || location == "" {
		return "another address"
	}
	if !sameOrigin(at, to) {
		return "another origin"
	}
	path := to.EscapedPath()
	if path == "" || len(path) > longestPath || strings.Trim(strings.ToLower(path), "abcdefghijklmnopqrstuvwxyz0123456789-_.~/") != "" {
		return "another address"
	}
	return path
}

func sameOrigin(a, b *url.URL) bool {
	return strings.EqualFold(a.Scheme, b.Scheme) && strings.EqualFold(a.Hostname(), b.Hostname()) && portOf(a) == portOf(b)
}

func portOf(u *url.URL) string {
	switch port := u.Port(); {
	case port != "":
		return port
	case strings.EqualFold(u.Scheme, "https"):
		return "443"
	default:
		return "80"
	}
}
