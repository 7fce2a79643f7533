package egress_test

import (
	"errors"
	"net"
	"net/netip"
	"strings"
	"testing"

	"go.uber.org/goleak"

	"headgate.dev/libs/egress"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func TestT13AddressesThatAreNeverDialed(t *testing.T) {
	for addr, why := range map[string]string{
		"169.254.169.254": "link-local", "169.254.170.2": "link-local", "169.254.0.1": "link-local", "fe80::1": "link-local", "fe80::1%eth0": "link-local",
		"febf::1": "link-local", "fd00:ec2::254": "credentials", "fd00:ec2::23": "credentials", "fd20:ce::254": "credentials",
		"100.100.100.200": "credentials", "168.63.129.16": "credentials", "192.0.0.192": "credentials",
		"0.0.0.0": "this machine", "0.1.2.3": "this machine", "::": "this machine", "224.0.0.1": "many hosts", "239.255.255.255": "many hosts",
		"ff02::1": "many hosts", "255.255.255.255": "many hosts",
		"::ffff:169.254.169.254": "link-local", "::ffff:0.0.0.0": "this machine", "::169.254.169.254": "leads to",
		"64:ff9b::169.254.169.254": "leads to", "64:ff9b::a9fe:a9fe": "leads to", "64:ff9b:1::a9fe:a9fe": "leads to", "2002:a9fe:a9fe::1": "leads to",
		"2001:0:1:2:3:4:5601:5601": "leads to", "64:ff9b::6464:64c8": "leads to",
		"::ffff:0:169.254.169.254": "leads to",
		// What an administrator may declare.
		"127.0.0.1": "", "127.255.0.1": "", "::1": "", "10.0.0.1": "", "172.16.0.1": "", "192.168.1.1": "", "100.64.0.1": "", "fd12::1": "",
		"::ffff:10.0.0.1": "", "64:ff9b::0a00:1": "", "2002:0a00:1::1": "", "8.8.8.8": "", "2606:4700::1111": "", "169.253.255.255": "", "169.255.0.0": "",
		"100.100.100.201": "", "192.0.2.1": "", "198.18.0.1": "", "fec0::1": "", "2001:db8::1": "", "255.255.255.254": "",
	} {
		if got := egress.Refused(netip.MustParseAddr(addr)); (got == "") != (why == "") || !strings.Contains(got, why) {
			t.Errorf("%s: %q", addr, got)
		}
	}
}

func TestT13ARefusedAddressIsNotDialedByNameOrNumber(t *testing.T) {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	_, port, err := net.SplitHostPort(ln.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	for _, host := range []string{"0.0.0.0", "169.254.169.254", "::ffff:169.254.169.254", "fd00:ec2::254", "fe80::1%lo"} {
		c, err := egress.Dial(t.Context(), "tcp", net.JoinHostPort(host, port))
		if err == nil {
			_ = c.Close()
			t.Errorf("%s was dialed", host)
		}
		var refused *egress.RefusedError
		if !errors.As(err, &refused) || !strings.Contains(egress.Explain(err), refused.Address.String()) {
			t.Errorf("%s: %v, explained as %q", host, err, egress.Explain(err))
		}
	}
	for _, host := range []string{"127.0.0.1", "localhost"} {
		c, err := egress.Dial(t.Context(), "tcp", net.JoinHostPort(host, port))
		if err != nil {
			t.Errorf("%s: %v", host, err)
			continue
		}
		_ = c.Close()
	}
}

// An address that is refused is refused in every form in which a gateway could pass it on.
func FuzzRefused(f *testing.F) {
	f.Add([]byte{169, 254, 169, 254})
	f.Add([]byte{10, 0, 0, 1})
	f.Add(netip.MustParseAddr("64:ff9b::a9fe:a9fe").AsSlice())
	f.Fuzz(func(t *testing.T, raw []byte) {
		addr, ok := netip.AddrFromSlice(raw)
		if !ok || !addr.Is4() {
			return
		}
		v4 := addr.As4()
		mapped := netip.AddrFrom16([16]byte{10: 0xff, 11: 0xff, 12: v4[0], 13: v4[1], 14: v4[2], 15: v4[3]})
		translated := netip.AddrFrom16([16]byte{1: 0x64, 2: 0xff, 3: 0x9b, 12: v4[0], 13: v4[1], 14: v4[2], 15: v4[3]})
		siit := netip.AddrFrom16([16]byte{8: 0xff, 9: 0xff, 12: v4[0], 13: v4[1], 14: v4[2], 15: v4[3]})
		tunnelled := netip.AddrFrom16([16]byte{0x20, 0x02, v4[0], v4[1], v4[2], v4[3]})
		for _, form := range []netip.Addr{mapped, translated, siit, tunnelled} {
			if (egress.Refused(addr) == "") != (egress.Refused(form) == "") {
				t.Errorf("%s and %s are judged differently", addr, form)
			}
		}
	})
}
