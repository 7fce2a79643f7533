// Package webaddr reads URLs, host names and addresses that somebody else will connect to, for rules such as url(args.url).domain == "acme.example".
//
// What programs read differently is an error and not a guess: user names in a URL, backslashes, percent signs in a host, numbers that some
// take for an IPv4 address.
package webaddr

import (
	"cmp"
	"errors"
	"fmt"
	"net/netip"
	"net/url"
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"

	"golang.org/x/net/idna"
	"golang.org/x/net/publicsuffix"
)

const (
	maxURL  = 8 << 10
	maxHost = 253
)

// Host is a name or an address.
type Host struct {
	// Name is in lower case, ASCII (RFC 5891), without a dot at its end; an address is in its shortest form.
	Name string
	// Domain is what somebody registered, as acme.co.uk of www.acme.co.uk by the public suffix list; empty for an address or a bare suffix.
	Domain string
	// Suffix is the public suffix, as co.uk; empty for an address.
	Suffix string
	// Class is loopback for localhost and what is below it (RFC 6761, 6.3), name for another name, otherwise that of the address.
	Class string
}

// URL is an absolute URL.
type URL struct {
	// Scheme is in lower case.
	Scheme string
	Host   Host
	// Port is the one that is given or the scheme's own; 0 when it has none.
	Port int
	// Path is decoded; an empty one is / (RFC 9110, 4.2.3).
	Path string
	// Doubt says why a server may read another path; empty for a path that all read alike.
	Doubt string
}

// ReadURL reads an absolute URL with a host.
func ReadURL(text string) (*URL, error) {
	if len(text) > maxURL {
		return nil, fmt.Errorf("the URL is longer than %d bytes", maxURL)
	}
	for i := range len(text) {
		if c := text[i]; c <= ' ' || c == 0x7f || c == '\\' {
			return nil, errors.New("the URL has a backslash, a space or a control character")
		}
	}
	if _, rest, ok := strings.Cut(text, "://"); ok && strings.Contains(rest[:authority(rest)], "%") {
		return nil, errors.New("the host of the URL has a percent sign in it")
	}
	parsed, err := url.Parse(text)
	if err != nil {
		return nil, errors.New("the URL cannot be read")
	}
	switch {
	case parsed.Scheme == "" || parsed.Host == "" || parsed.Opaque != "":
		return nil, errors.New("the URL is not absolute, as https://host/path")
	case parsed.User != nil:
		return nil, errors.New("the URL has a user name or a password in it")
	}
	host, err := ReadHost(parsed.Hostname())
	if err != nil {
		return nil, err
	}
	out := &URL{Scheme: strings.ToLower(parsed.Scheme), Host: *host, Path: cmp.Or(parsed.Path, "/"), Doubt: doubt(parsed)}
	if out.Port, err = port(out.Scheme, parsed.Port()); err != nil {
		return nil, err
	}
	return out, nil
}

// authority is how long the part is that names the host.
func authority(rest string) int {
	if at := strings.IndexAny(rest, "/?#"); at >= 0 {
		return at
	}
	return len(rest)
}

// doubt says why servers and what stands before them read a path differently: some resolve dots, drop parameters, merge slashes or decode
// once more, and others do not (RFC 3986, 6.2.2).
func doubt(u *url.URL) string {
	raw := strings.ToLower(u.EscapedPath())
	switch {
	case strings.Contains(raw, "%2f") || strings.ContainsRune(u.Path, '\\'):
		return "the path of the URL has an encoded slash or a backslash"
	case strings.Contains(raw, "%25"):
		return "the path of the URL has an encoded percent sign, which some decode once more"
	case strings.ContainsRune(u.Path, ';'):
		return "the path of the URL has parameters behind a semicolon, which some leave out"
	case strings.Contains(u.Path, "//"):
		return "the path of the URL has slashes beside each other, which some make one"
	case !utf8.ValidString(u.Path) || strings.ContainsFunc(u.Path, unicode.IsControl):
		return "the path of the URL has control characters or is not valid UTF-8"
	}
	for segment := range strings.SplitSeq(u.Path, "/") {
		if segment == "." || segment == ".." {
			return "the path of the URL has . or .. in it"
		}
	}
	return ""
}

func port(scheme, text string) (int, error) {
	if text == "" {
		return map[string]int{"http": 80, "https": 443, "ws": 80, "wss": 443, "ftp": 21, "ssh": 22, "sftp": 22}[scheme], nil
	}
	n, err := strconv.ParseUint(text, 10, 16)
	if err != nil || n == 0 {
		return 0, errors.New("the URL has no valid port")
	}
	return int(n), nil
}

// ReadHost reads a host name or an address without a port.
func ReadHost(text string) (*Host, error) {
	bare := text
	if strings.HasPrefix(bare, "[") && strings.HasSuffix(bare, "]") {
		bare = bare[1 : len(bare)-1]
	}
	if ip, err := netip.ParseAddr(bare); err == nil {
		if ip.Zone() != "" {
			return nil, errors.New("the address names a network interface")
		}
		ip = ip.Unmap()
		return &Host{Name: ip.String(), Class: Class(ip)}, nil
	}
	name, err := idna.Lookup.ToASCII(strings.TrimSuffix(text, "."))
	if err != nil || name == "" || len(name) > maxHost || !utf8.ValidString(text) {
		return nil, fmt.Errorf("%.80q is not a host name", text)
	}
	if err := checkLabels(name); err != nil {
		return nil, err
	}
	out := &Host{Name: name, Class: "name"}
	if name == "localhost" || strings.HasSuffix(name, ".localhost") {
		out.Class = loopback
	}
	out.Suffix, _ = publicsuffix.PublicSuffix(name)
	if domain, err := publicsuffix.EffectiveTLDPlusOne(name); err == nil {
		out.Domain = domain
	}
	return out, nil
}

// checkLabels refuses what is no host name, and names whose last label is a number, which some programs take for an IPv4 address (RFC 3696,
// WHATWG URL).
func checkLabels(name string) error {
	last := ""
	for label := range strings.SplitSeq(name, ".") {
		if label == "" || len(label) > 63 {
			return fmt.Errorf("%.80q is not a host name", name)
		}
		for i := range len(label) {
			if !hostByte(label[i]) {
				return fmt.Errorf("%.80q is not a host name", name)
			}
		}
		last = label
	}
	if last[0] >= '0' && last[0] <= '9' {
		return fmt.Errorf("%.80q could be read as a host name or as an address", name)
	}
	return nil
}

func hostByte(c byte) bool {
	return c >= 'a' && c <= 'z' || c >= '0' && c <= '9' || c == '-' || c == '_'
}

// Under says whether the host is a name or lies below it. Addresses are under nothing but themselves. A name that no host can be under, or that is
// a public suffix, which many strangers are under, is an error.
func (h *Host) Under(name string) (bool, error) {
	parent, err := ReadParent(name)
	if err != nil {
		return false, err
	}
	return h.Name == parent.Name || h.Suffix != "" && strings.HasSuffix(h.Name, "."+parent.Name), nil
}

// ReadParent reads the name that hosts are under; a dot before it changes nothing.
func ReadParent(text string) (*Host, error) {
	if instead := mistaken(text); instead != "" {
		return nil, fmt.Errorf("%.80q is not a name that hosts are under; %s", text, instead)
	}
	h, err := ReadHost(strings.TrimPrefix(text, "."))
	if err != nil {
		return nil, fmt.Errorf("%w; write a name as acme.example", err)
	}
	if _, listed := publicsuffix.PublicSuffix(h.Name); h.Suffix == h.Name && (listed || strings.Contains(h.Suffix, ".")) {
		return nil, fmt.Errorf("anybody can have a name under %.80q; name what somebody registered, or compare host(…).suffix", h.Name)
	}
	return h, nil
}

// mistaken says what to write instead of something else than a name.
func mistaken(text string) string {
	name := strings.Trim(text, "[]")
	if _, err := netip.ParseAddr(name); err == nil {
		return ""
	}
	if _, err := netip.ParsePrefix(text); err == nil {
		return "ask inNetwork(…) about a network"
	}
	switch {
	case strings.Contains(text, "://"):
		return "write the host alone, without the scheme"
	case strings.Contains(text, "*"):
		return "write it without the star: names below it are under it"
	case strings.ContainsAny(text, "/?#"):
		return "write the host alone, without a path"
	case strings.Contains(text, ":"):
		return "write the host alone, without the port, and compare url(…).port"
	}
	return ""
}
