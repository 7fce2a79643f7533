package embedded_test

import (
	"net/netip"
	"testing"

	"headgate.dev/libs/embedded"
)

func TestAddressesOfIPv4InsideOfIPv6(t *testing.T) {
	for text, want := range map[string]string{
		"::ffff:10.0.0.1": "10.0.0.1", "::10.0.0.1": "10.0.0.1", "::ffff:0:10.0.0.1": "10.0.0.1", "64:ff9b::10.0.0.1": "10.0.0.1", "64:ff9b:1::10.0.0.1": "10.0.0.1",
		"64:ff9b:1:2:3:4:10.0.0.1": "10.0.0.1", "2002:a00:1::1": "10.0.0.1", "2001:0:1:2:3:4:f5ff:fffe": "10.0.0.1", "::2": "0.0.0.2", "::ffff:10.0.0.1%eth0": "10.0.0.1",
		"::": "", "::1": "", "10.0.0.1": "", "fe80::10.0.0.1": "", "2001:db8::10.0.0.1": "", "64:ff9b:2::10.0.0.1": "", "::1:10.0.0.1": "", "": "",
	} {
		addr, _ := netip.ParseAddr(text)
		got := embedded.IPv4(addr)
		if got.IsValid() != (want != "") || got.IsValid() && got.String() != want {
			t.Errorf("%s: %s", text, got)
		}
	}
}
