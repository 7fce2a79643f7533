// Package egress is how Headgate reaches the servers that administrators declare: which addresses it never dials, whom it believes to be there,
// and as whom it shows itself.
package egress

import (
	"context"
	"fmt"
	"net"
	"net/netip"
	"syscall"

	"headgate.dev/libs/embedded"
)

// Dial connects to host:port for a server that an administrator declared. The host may be in a private network, or this machine: that is for
// the administrator to say. A name is resolved anew for each dial and every address is judged when it is dialed, so no answer of DNS leads to
// where Refused says no. Nothing of the environment, as a proxy, is asked. The time is ctx's.
func Dial(ctx context.Context, network, address string) (net.Conn, error) {
	dialer := net.Dialer{ControlContext: func(_ context.Context, _, address string, _ syscall.RawConn) error {
		to, err := netip.ParseAddrPort(address)
		if err != nil {
			return err
		}
		if why := Refused(to.Addr()); why != "" {
			return &RefusedError{Address: to.Addr(), Why: why}
		}
		return nil
	}}
	return dialer.DialContext(ctx, network, address)
}

// RefusedError says that an address was not dialed.
type RefusedError struct {
	Address netip.Addr
	Why     string
}

// Error implements error.
func (e *RefusedError) Error() string {
	return fmt.Sprintf("%s is never dialed: it %s", e.Address, e.Why)
}

// What stands at networks that nothing is dialed in.
const (
	thisHost   = "stands for this machine or for no host at all"
	linkLocal  = "is link-local, where machines find the services of their own cloud and no MCP server is"
	cloudsOwn  = "is where machines of a cloud find their own credentials"
	manyHosts  = "stands for many hosts"
	wholeChain = "leads to an address that is never dialed"
)

// network is a part of the address space with what is there.
type network struct {
	prefix netip.Prefix
	holds  string
}

// never are the networks that no declared server is in, whoever declares it. What listens at a machine's metadata address answers anyone on the
// machine with the machine's own credentials; a person who administers a tenant must not get those of the platform by declaring a server.
var never = [...]network{
	{netip.MustParsePrefix("0.0.0.0/8"), thisHost},
	{netip.MustParsePrefix("::/128"), thisHost},
	{netip.MustParsePrefix("169.254.0.0/16"), linkLocal},     // RFC 3927; 169.254.169.254 and 169.254.170.2 of most clouds
	{netip.MustParsePrefix("fe80::/10"), linkLocal},          // RFC 4291
	{netip.MustParsePrefix("fd00:ec2::/32"), cloudsOwn},      // AWS
	{netip.MustParsePrefix("fd20:ce::254/128"), cloudsOwn},   // Google Cloud
	{netip.MustParsePrefix("100.100.100.200/32"), cloudsOwn}, // Alibaba Cloud
	{netip.MustParsePrefix("168.63.129.16/32"), cloudsOwn},   // Azure
	{netip.MustParsePrefix("192.0.0.192/32"), cloudsOwn},     // Oracle Cloud
	{netip.MustParsePrefix("224.0.0.0/4"), manyHosts},
	{netip.MustParsePrefix("ff00::/8"), manyHosts},
	{netip.MustParsePrefix("255.255.255.255/32"), manyHosts},
}

// Refused says why an address is never dialed, in words that follow the address; empty for one that may be.
func Refused(addr netip.Addr) string {
	addr = addr.WithZone("").Unmap()
	for _, n := range never {
		if n.prefix.Contains(addr) {
			return n.holds
		}
	}
	if inner := embedded.IPv4(addr); inner.IsValid() && Refused(inner) != "" {
		return wholeChain
	}
	return ""
}
