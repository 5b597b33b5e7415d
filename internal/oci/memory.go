package oci

import (
	"net/netip"

	"github.com/berthregistry/berth/internal/oci/budget"
	"github.com/berthregistry/berth/internal/rbac"
)

// hold opens the memory of a request, in the name of its caller. It must be released.
func (h *Handler) hold(c *call) *budget.Hold { return h.memory.Open(c.caller()) }

// caller is who the memory of a request counts for: who signed in, wherever they are, or where an anonymous client is.
func (c *call) caller() string {
	principal := c.id.Credential.Principal
	if principal.Kind == rbac.KindAnonymous || principal.Kind == "" {
		return "ip:" + clientNetwork(c.clientIP)
	}
	return principal.String()
}

// ipv6Network is the prefix of an IPv6 address that names a client: within it, anybody has all addresses to choose from.
const ipv6Network = 64

// clientNetwork is the address of a client or, with IPv6, its network. What is no address is one client.
func clientNetwork(ip string) string {
	addr, err := netip.ParseAddr(ip)
	if err != nil {
		return ""
	}
	addr = addr.Unmap().WithZone("")
	if addr.Is4() {
		return addr.String()
	}
	return netip.PrefixFrom(addr, ipv6Network).Masked().String()
}
