package webaddr

import (
	"fmt"
	"net/netip"

	"headgate.dev/libs/embedded"
)

// special is a block of the registries of RFC 6890 and what its addresses are for.
type special struct {
	block netip.Prefix
	class string
}

// specials come before what netip knows by itself; the first block that holds an address decides.
var specials = [...]special{
	{netip.MustParsePrefix("0.0.0.0/8"), reserved},
	{netip.MustParsePrefix("100.64.0.0/10"), "shared"},
	{netip.MustParsePrefix("168.63.129.16/32"), reserved}, // the host of a machine at Azure
	{netip.MustParsePrefix("192.0.0.0/24"), reserved},
	{netip.MustParsePrefix("192.0.2.0/24"), "documentation"},
	{netip.MustParsePrefix("192.88.99.0/24"), reserved}, // relays of 6to4: RFC 7526
	{netip.MustParsePrefix("198.18.0.0/15"), reserved},
	{netip.MustParsePrefix("198.51.100.0/24"), "documentation"},
	{netip.MustParsePrefix("203.0.113.0/24"), "documentation"},
	{netip.MustParsePrefix("240.0.0.0/4"), reserved},
	{netip.MustParsePrefix("2001::/23"), reserved},
	{netip.MustParsePrefix("2001:db8::/32"), "documentation"},
	{netip.MustParsePrefix("3fff::/20"), "documentation"},
}

// globalUnicast is the part of IPv6 from which addresses are given out (RFC 3513, section 4).
var globalUnicast = netip.MustParsePrefix("2000::/3")

const public, loopback, translated, reserved = "public", "loopback", "translated", "reserved"

// Class says what an address is for: public, private, loopback, link-local, multicast, unspecified, shared, documentation, translated or reserved.
// An address of IPv6 that leads to one of IPv4 has the class of that, or is translated where that is public.
func Class(ip netip.Addr) string {
	ip = ip.Unmap()
	if inner := embedded.IPv4(ip); inner.IsValid() {
		if class := Class(inner); class != public {
			return class
		}
		return translated
	}
	switch {
	case ip.IsUnspecified():
		return "unspecified"
	case ip.IsLoopback():
		return loopback
	case ip.IsPrivate():
		return "private"
	case ip.IsLinkLocalUnicast():
		return "link-local"
	case ip.IsMulticast():
		return "multicast"
	}
	for _, s := range specials {
		if s.block.Contains(ip) {
			return s.class
		}
	}
	if ip.Is6() && !globalUnicast.Contains(ip) {
		return reserved
	}
	return public
}

// Classes are all that Class answers.
func Classes() []string {
	return []string{public, "private", loopback, "link-local", "multicast", "unspecified", "shared", "documentation", translated, reserved}
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
