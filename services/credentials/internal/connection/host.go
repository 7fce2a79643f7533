package connection

import (
	"errors"
	"net"
	"net/netip"
	"strconv"
	"strings"
)

// Host is where a credential may go: a name or address, lower case and without a final dot, and a port or 0 for any.
type Host struct {
	Name string
	Port uint16
}

// ParseHost reads name, name:port, an IPv4 address with or without port, and an IPv6 address bare, in brackets, or in brackets with a port.
func ParseHost(text string) (Host, error) {
	if addr, err := netip.ParseAddr(text); err == nil {
		return addressHost(addr, 0)
	}
	name, port, err := splitPort(text)
	if err != nil {
		return Host{}, err
	}
	bracketed := strings.HasPrefix(name, "[") && strings.HasSuffix(name, "]")
	addr, addrErr := netip.ParseAddr(strings.TrimSuffix(strings.TrimPrefix(name, "["), "]"))
	switch {
	case addrErr == nil && addr.Is6() == bracketed:
		return addressHost(addr, port)
	case bracketed, strings.ContainsAny(name, "[]:%"):
		return Host{}, errors.New("this is not an address")
	}
	name = strings.ToLower(strings.TrimSuffix(name, "."))
	if err := checkName(name); err != nil {
		return Host{}, err
	}
	return Host{Name: name, Port: port}, nil
}

func addressHost(addr netip.Addr, port uint16) (Host, error) {
	if addr.Zone() != "" {
		return Host{}, errors.New("an address with a zone belongs to one machine")
	}
	return Host{Name: addr.Unmap().String(), Port: port}, nil
}

// splitPort cuts ":port" off. A name without a port keeps port 0.
func splitPort(text string) (string, uint16, error) {
	colon := strings.LastIndexByte(text, ':')
	if colon < 0 || strings.HasSuffix(text, "]") {
		return text, 0, nil
	}
	digits := text[colon+1:]
	port, err := strconv.ParseUint(digits, 10, 16)
	if err != nil || port == 0 || digits[0] == '0' || digits[0] == '+' {
		return "", 0, errors.New("the port must be 1 to 65535")
	}
	return text[:colon], uint16(port), nil
}

// checkName takes DNS names (underscores too, as clusters use them). What looks like a number in another notation is refused: resolvers read
// 0x7f.1 and 2130706433 as addresses.
func checkName(name string) error {
	if name == "" || len(name) > 253 {
		return errors.New("a host name has 1 to 253 characters")
	}
	labels := strings.Split(name, ".")
	for _, label := range labels {
		if label == "" || len(label) > 63 || label[0] == '-' || label[len(label)-1] == '-' {
			return errors.New("a part between two dots has 1 to 63 characters and no hyphen at its ends")
		}
		for i := range len(label) {
			if c := label[i]; (c < 'a' || c > 'z') && (c < '0' || c > '9') && c != '-' && c != '_' {
				return errors.New("a host name holds letters, digits, hyphens, underscores and dots only")
			}
		}
	}
	if last := labels[len(labels)-1]; last[0] >= '0' && last[0] <= '9' {
		return errors.New("its last part begins with a digit, but it is not an address")
	}
	return nil
}

// Covers reports whether asked is within h: the same host, and the same port unless h leaves it open.
func (h Host) Covers(asked Host) bool {
	return h.Name == asked.Name && (h.Port == 0 || h.Port == asked.Port)
}

// String is the form that ParseHost reads.
func (h Host) String() string {
	if h.Port != 0 {
		return net.JoinHostPort(h.Name, strconv.Itoa(int(h.Port)))
	}
	if strings.Contains(h.Name, ":") {
		return "[" + h.Name + "]"
	}
	return h.Name
}
