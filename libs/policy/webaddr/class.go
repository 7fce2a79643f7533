package webaddr

import (
	"fmt"
	"net/netip"
)

// special is a block of the registries of RFC 6890 and what its addresses are for.
type special struct{ block, class string }

// specials come before what netip knows by itself; the first block that holds an address decides.
func specials() []special {
	return []special{
		{"0.0.0.0/8", "reserved"}, {"100.64.0.0/10", "shared"}, {"192.0.0.0/24", "reserved"}, {"192.0.2.0/24", "documentation"},
		{"198.18.0.0/15", "reserved"}, {"198.51.100.0/24", "documentation"}, {"203.0.113.0/24", "documentation"}, {"240.0.0.0/4", "reserved"},
		{"64:ff9b::/96", "translated"}, {"64:ff9b:1::/48", "translated"}, {"100::/64", "reserved"}, {"2001::/23", "reserved"}, {"2001:db8::/32", "documentation"},
		{"2002::/16", "translated"}, {"3fff::/20", "documentation"}, {"5f00::/16", "reserved"},
	}
}

// Class says what an address is for: public, private, loopback, link-local, multicast, unspecified, shared, documentation, translated or reserved.
func Class(ip netip.Addr) string {
	ip = ip.Unmap()
	switch {
	case ip.IsUnspecified():
		return "unspecified"
	case ip.IsLoopback():
		return "loopback"
	case ip.IsPrivate():
		return "private"
	case ip.IsLinkLocalUnicast():
		return "link-local"
	case ip.IsMulticast():
		return "multicast"
	}
	for _, s := range specials() {
		if netip.MustParsePrefix(s.block).Contains(ip) {
			return s.class
		}
	}
	return "public"
}

// Classes are all that Class answers.
func Classes() []string {
	return []string{"public", "private", "loopback", "link-local", "multicast", "unspecified", "shared", "documentation", "translated", "reserved"}
}

// ReadIP reads an address; one of IPv4 that is written as IPv6 is one of IPv4.
func ReadIP(text string) (netip.Addr, error) {
	ip, err := netip.ParseAddr(text)
	if err != nil || ip.Zone() != "" {
		return netip.Addr{}, fmt.Errorf("%.60q is not an IP address", text)
	}
	return ip.Unmap(), nil
}

// ReadNetwork reads a network, as 10.0.0.0/8. One with bits behind its length is refused: it is a mistake, or an address.
func ReadNetwork(text string) (netip.Prefix, error) {
	p, err := netip.ParsePrefix(text)
	if err != nil {
		return netip.Prefix{}, fmt.Errorf("%.60q is not a network, as 10.0.0.0/8", text)
	}
	if p != p.Masked() {
		return netip.Prefix{}, fmt.Errorf("the network %s has bits behind its length; write %s", p, p.Masked())
	}
	return p, nil
}
