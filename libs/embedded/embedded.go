// Package embedded finds the IPv4 address inside of an IPv6 address, where a gateway or the host itself passes packets on to it.
package embedded

import "net/netip"

// form is a part of the IPv6 address space and where in its addresses one of IPv4 stands.
type form struct {
	prefix netip.Prefix
	at     int
	turned bool // its bits are inverted
}

var forms = [...]form{
	{prefix: netip.MustParsePrefix("::ffff:0:0/96"), at: 12},           // mapped: RFC 4291, 2.5.5.2
	{prefix: netip.MustParsePrefix("::/96"), at: 12},                   // compatible: RFC 4291, 2.5.5.1
	{prefix: netip.MustParsePrefix("::ffff:0:0:0/96"), at: 12},         // SIIT: RFC 2765
	{prefix: netip.MustParsePrefix("64:ff9b::/96"), at: 12},            // NAT64: RFC 6052
	{prefix: netip.MustParsePrefix("64:ff9b:1::/48"), at: 12},          // NAT64 of one's own: RFC 8215
	{prefix: netip.MustParsePrefix("2002::/16"), at: 2},                // 6to4: RFC 3056
	{prefix: netip.MustParsePrefix("2001::/32"), at: 12, turned: true}, // Teredo: RFC 4380
}

// IPv4 is the address inside; invalid where there is none, and for :: and ::1.
func IPv4(addr netip.Addr) netip.Addr {
	addr = addr.WithZone("")
	if !addr.Is6() || addr.IsUnspecified() || addr.IsLoopback() {
		return netip.Addr{}
	}
	all := addr.As16()
	for _, f := range forms {
		if !f.contains(addr) {
			continue
		}
		inner := [4]byte(all[f.at:])
		if f.turned {
			for i := range inner {
				inner[i] = ^inner[i]
			}
		}
		return netip.AddrFrom4(inner)
	}
	return netip.Addr{}
}

// contains is for mapped addresses too, which a prefix of netip never holds.
func (f *form) contains(addr netip.Addr) bool {
	if addr.Is4In6() {
		return f.prefix.Addr().Is4In6()
	}
	return f.prefix.Contains(addr)
}
