package webaddr_test

import (
	"net/netip"
	"path"
	"strings"
	"testing"

	"headgate.dev/libs/policy/webaddr"
)

func TestURLs(t *testing.T) {
	for text, want := range map[string]webaddr.URL{
		"https://WWW.Acme.co.uk/a%20b?q#f": {"https", webaddr.Host{Name: "www.acme.co.uk", Domain: "acme.co.uk", Suffix: "co.uk", Class: "name"}, 443, "/a b", ""},
		"http://[::ffff:10.0.0.1]:8080/":   {"http", webaddr.Host{Name: "10.0.0.1", Class: "private"}, 8080, "/", ""},
		"https://bücher.example.":          {"https", webaddr.Host{Name: "xn--bcher-kva.example", Domain: "xn--bcher-kva.example", Suffix: "example", Class: "name"}, 443, "/", ""},
		"https://a.github.io":              {"https", webaddr.Host{Name: "a.github.io", Domain: "a.github.io", Suffix: "github.io", Class: "name"}, 443, "/", ""},
		"ftp://github.io":                  {"ftp", webaddr.Host{Name: "github.io", Suffix: "github.io", Class: "name"}, 21, "/", ""},
		"https://169.254.169.254/latest":   {"https", webaddr.Host{Name: "169.254.169.254", Class: "link-local"}, 443, "/latest", ""},
	} {
		got, err := webaddr.ReadURL(text)
		if err != nil || *got != want {
			t.Errorf("%s: %+v %v", text, got, err)
		}
	}
	for _, text := range []string{
		"", "/a", "//host/a", "https:host", "https://", "https://user@host/", "https://a:b@host/", `https://good.example\@evil.example/`, "https://a b/", "https://a\n/",
		"https://0x7f.1/", "https://2130706433/", "https://127.1/", "https://0177.0.0.1/", "https://a..b/", "https://a:99999/", "https://a:0/", "https://%61.example/",
		"https://[fe80::1%25eth0]/", "https://a_b!.example/", "javascript:alert(1)", "https://" + strings.Repeat("a", 64) + ".example/", "https://" + strings.Repeat("a", 9000),
	} {
		if got, err := webaddr.ReadURL(text); err == nil {
			t.Errorf("%q is %+v", text, got)
		}
	}
}

func TestPathsThatServersReadDifferentlyAreDoubted(t *testing.T) {
	for path, says := range map[string]string{
		"": "", "/": "", "/public/": "", "/public/a.b/..c/...": "", "/a%20b/%C3%BC": "", "/.well-known/x": "", "/a?b=/../;%2f": "", "/a#/../": "",
		"/public/../admin": ". or ..", "/public/./admin": ". or ..", "/public/..": ". or ..", "/public/%2e%2e/admin": ". or ..", "/public/.%2E/admin": ". or ..", "/.": ". or ..",
		"/public/%2e": ". or ..", "/public/..;/admin": "semicolon", "/public/..;a=b/admin": "semicolon", "/admin;": "semicolon", "/public/..%3b/admin": "semicolon",
		"/public%2fadmin": "encoded slash", "/public/..%2Fadmin": "encoded slash", "/public/..%5cadmin": "encoded slash", "/public/%5C..%5C": "encoded slash",
		"/public/%252e%252e/admin": "once more", "/100%25": "once more", "//admin": "beside each other", "/public//admin": "beside each other",
		"/a%00": "control", "/a%0d%0ab": "control", "/%c0%ae%c0%ae/admin": "UTF-8",
	} {
		u, err := webaddr.ReadURL("https://a.example" + path)
		if err != nil || (u.Doubt == "") != (says == "") || !strings.Contains(u.Doubt, says) {
			t.Errorf("%s: %+v %v", path, u, err)
		}
	}
}

func TestUnder(t *testing.T) {
	for _, c := range []struct {
		host, name string
		under      bool
	}{
		{"acme.example", "acme.example", true}, {"a.b.acme.example", "acme.example", true}, {"evilacme.example", "acme.example", false},
		{"acme.example.evil.example", "acme.example", false}, {"A.Acme.Example.", ".acme.example", true}, {"a.acme.example", "ACME.Example.", true},
		{"bücher.example", "bücher.example", true}, {"a.xn--bcher-kva.example", "BÜCHER.example", true}, {"bücher.example", "xn--bcher-kva.example", true},
		{"a.localhost", "localhost", true}, {"wiki.corp", "corp", true}, {"a.github.io", "a.github.io", true},
		{"10.0.0.1", "10.0.0.1", true}, {"10.0.0.1", "10.0.0.2", false}, {"[::1]", "::1", true}, {"::1", "[0::1]", true}, {"10.0.0.1", "acme.example", false},
	} {
		h, err := webaddr.ReadHost(c.host)
		if err != nil {
			t.Errorf("%s: %v", c.host, err)
			continue
		}
		if under, err := h.Under(c.name); err != nil || under != c.under {
			t.Errorf("%s under %s: %v %v", c.host, c.name, under, err)
		}
	}
}

// A name that nothing can be under would make a rule that blocks let everything through.
func TestUnderOfWhatNoHostIsUnderIsAnError(t *testing.T) {
	h, err := webaddr.ReadHost("a.evil.example")
	if err != nil {
		t.Fatal(err)
	}
	for name, says := range map[string]string{
		"": "is not a host name", ".": "is not a host name", "..evil.example": "is not a host name", "a b": "is not a host name", "evil..example": "is not a host name",
		"evil.example:443": "without the port", "[::1]:443": "without the port", "https://evil.example": "without the scheme", "*.evil.example": "without the star", "*": "without the star",
		"evil.example/a": "without a path", "10.0.0.0/8": "inNetwork", "::/0": "inNetwork", "0.1": "as an address", "fe80::1%eth0": "network interface",
		"com": "anybody", "co.uk": "anybody", ".COM.": "anybody", "github.io": "anybody",
	} {
		if under, err := h.Under(name); err == nil || under || !strings.Contains(err.Error(), says) {
			t.Errorf("%q: %v %v", name, under, err)
		}
	}
}

func TestClassesOfAddresses(t *testing.T) {
	for text, want := range map[string]string{
		"8.8.8.8": "public", "10.1.2.3": "private", "172.31.0.1": "private", "172.32.0.1": "public", "192.168.0.1": "private", "127.0.0.53": "loopback", "::1": "loopback",
		"::ffff:127.0.0.1": "loopback", "169.254.169.254": "link-local", "fe80::1": "link-local", "fd00::1": "private", "100.64.0.1": "shared", "0.0.0.0": "unspecified",
		"0.1.2.3": "reserved", "255.255.255.255": "reserved", "224.0.0.1": "multicast", "192.0.2.1": "documentation", "2001:db8::1": "documentation", "2606:4700::1": "public",
		"64:ff9b::a00:1": "private", "2002:a00:1::": "private", "::": "unspecified", "198.18.0.1": "reserved",
		"::127.0.0.1": "loopback", "::ffff:0:127.0.0.1": "loopback", "64:ff9b::169.254.169.254": "link-local", "64:ff9b:1::10.0.0.1": "private", "2002:7f00:1::1": "loopback",
		"2001:0:1:2:3:4:80ff:fffe": "loopback", "::2": "reserved", "::ffff:0:0.0.0.0": "unspecified", "::ffff:8.8.8.8": "public",
		"::8.8.8.8": "translated", "64:ff9b::8.8.8.8": "translated", "2002:808:808::1": "translated", "2001:0:1:2:3:4:f7f7:f7f7": "translated",
		"fec0::1": "reserved", "4000::1": "reserved", "5f00::1": "reserved", "100::1": "reserved", "1fff::1": "reserved", "fe00::1": "reserved", "64:ff9b:2::1": "reserved",
		"2001:2::1": "reserved", "3fff::1": "documentation", "2a00:1450::1": "public", "192.88.99.1": "reserved", "168.63.129.16": "reserved",
	} {
		got := webaddr.Class(netip.MustParseAddr(text))
		if got != want {
			t.Errorf("%s: %s", text, got)
		}
	}
	for name, want := range map[string]string{
		"localhost": "loopback", "LOCALHOST.": "loopback", "a.localhost": "loopback", "localhost.example": "name", "notlocalhost": "name", "[::127.0.0.1]": "loopback",
	} {
		if h, err := webaddr.ReadHost(name); err != nil || h.Class != want {
			t.Errorf("%s: %+v %v", name, h, err)
		}
	}
	for _, text := range []string{"", "10.0.0", "10.0.0.0/33", "10.0.0.1/8", "a/8"} {
		if p, err := webaddr.ReadNetwork(text); err == nil {
			t.Errorf("%q is %v", text, p)
		}
	}
	if _, err := webaddr.ReadIP("fe80::1%eth0"); err == nil {
		t.Error("an address with an interface is read")
	}
}

func FuzzReadURL(f *testing.F) {
	f.Add("https://www.acme.co.uk:8443/a?b")
	f.Add("https://acme.example/public/%2e%2e;/admin")
	f.Fuzz(func(t *testing.T, text string) {
		u, err := webaddr.ReadURL(text)
		if err != nil {
			return
		}
		again, err := webaddr.ReadHost(u.Host.Name)
		if err != nil || *again != u.Host {
			t.Errorf("%q: %+v is then %+v (%v)", text, u.Host, again, err)
		}
		if u.Doubt == "" && path.Clean(u.Path) != strings.TrimSuffix(u.Path, "/") && u.Path != "/" {
			t.Errorf("%q: nothing is doubted in the path %q", text, u.Path)
		}
	})
}
