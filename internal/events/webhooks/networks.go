package webhooks

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strconv"
	"syscall"
)

// ErrAddress says that a webhook's host has an address that webhooks must not reach.
var ErrAddress = errors.New("the address is in a network that webhooks must not reach")

// Networks says which addresses webhooks may reach: those of the public internet, and those that are allowed besides.
type Networks struct {
	// Allowed are reachable whatever they are. Only they may be spoken to without TLS, and on any port.
	Allowed []netip.Prefix
}

// refused are the networks of IPv4 that are not the public internet, and those of IPv6 that are not although they are in
// the part of it that is assigned. The registries of special-purpose addresses of IANA are the source.
var refused = prefixes(
	"0.0.0.0/8", "10.0.0.0/8", "100.64.0.0/10", "127.0.0.0/8", "169.254.0.0/16", "172.16.0.0/12", "192.0.0.0/24",
	"192.0.2.0/24", "192.31.196.0/24", "192.52.193.0/24", "192.88.99.0/24", "192.168.0.0/16", "192.175.48.0/24",
	"198.18.0.0/15", "198.51.100.0/24", "203.0.113.0/24", "224.0.0.0/4", "240.0.0.0/4",
	"2001::/23", "2001:db8::/32", "2620:4f:8000::/48", "3fff::/20",
)

var (
	globalUnicast = netip.MustParsePrefix("2000::/3") // all of IPv6 that is assigned
	nat64         = netip.MustParsePrefix("64:ff9b::/96")
	sixToFour     = netip.MustParsePrefix("2002::/16")
)

func prefixes(texts ...string) []netip.Prefix {
	all := make([]netip.Prefix, len(texts))
	for i, text := range texts {
		all[i] = netip.MustParsePrefix(text)
	}
	return all
}

// named tells whether an address is among those that are allowed by name.
func (n Networks) named(addr netip.Addr) bool {
	addr = addr.Unmap().WithZone("")
	return slices.ContainsFunc(n.Allowed, func(p netip.Prefix) bool { return p.Contains(addr) })
}

// reachable tells whether webhooks may reach an address. One that carries an address of IPv4 is that.
func (n Networks) reachable(addr netip.Addr) bool {
	addr = addr.Unmap().WithZone("")
	if n.named(addr) {
		return true
	}
	if inner, ok := carried(addr); ok {
		return n.reachable(inner)
	}
	if addr.Is6() && !globalUnicast.Contains(addr) {
		return false
	}
	return addr.IsValid() && !slices.ContainsFunc(refused, func(p netip.Prefix) bool { return p.Contains(addr) })
}

// carried is the IPv4 address to which a gateway sends what is sent to addr.
func carried(addr netip.Addr) (netip.Addr, bool) {
	bytes := addr.As16()
	switch {
	case nat64.Contains(addr):
		return netip.AddrFrom4([4]byte(bytes[12:])), true
	case sixToFour.Contains(addr):
		return netip.AddrFrom4([4]byte(bytes[2:6])), true
	}
	return netip.Addr{}, false
}

// usualPort tells whether a port is one of the web, or free for all to use: a webhook is no way to talk to mail servers.
func usualPort(port uint16) bool { return port == 80 || port == 443 || port >= 1024 }

// plainKey marks the context of a connection without TLS.
type plainKey struct{}

// control refuses to connect to what webhooks must not reach. The dialer calls it with each address that it tries, after
// the name was resolved, so that no answer of a name server gets past it.
func (n Networks) control(ctx context.Context, _, address string, _ syscall.RawConn) error {
	target, err := netip.ParseAddrPort(address)
	if err != nil {
		return fmt.Errorf("%w: %q is no address", ErrAddress, address)
	}
	return n.judge(target, ctx.Value(plainKey{}) != nil)
}

func (n Networks) judge(target netip.AddrPort, plain bool) error {
	switch {
	case n.named(target.Addr()):
		return nil
	case plain:
		return fmt.Errorf("%w: without TLS", ErrAddress)
	case !usualPort(target.Port()):
		return fmt.Errorf("%w: port %s", ErrAddress, strconv.Itoa(int(target.Port())))
	case !n.reachable(target.Addr()):
		return ErrAddress
	}
	return nil
}
