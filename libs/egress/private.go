package egress

import (
	"net"
	"net/url"
	"strings"
)

// Private reports whether only the server can read what is sent to a URL: it is https, or http at this machine. Of a name's addresses nothing is
// known here, so that "localhost" is the only name of this machine.
func Private(address string) bool {
	u, err := url.Parse(address)
	switch {
	case err != nil:
		return false
	case u.Scheme == "https":
		return true
	}
	ip := net.ParseIP(u.Hostname())
	return u.Scheme == "http" && (strings.EqualFold(u.Hostname(), "localhost") || ip != nil && ip.IsLoopback())
}
