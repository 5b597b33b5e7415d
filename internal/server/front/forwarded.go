package front

import (
	"net/netip"
	"strings"

	"github.com/gin-gonic/gin"
)

const forwardedFor = "X-Forwarded-For"

// dropPorts lets the router read the addresses of proxies that name a port with each, as Azure's gateways do. All else
// stays as it was sent, so what is no address still is none.
func dropPorts(c *gin.Context) {
	lines := c.Request.Header[forwardedFor]
	if !strings.Contains(strings.Join(lines, ","), ":") { // no port, and no IPv6 address either
		return
	}
	bare := make([]string, len(lines))
	for i, line := range lines {
		entries := strings.Split(line, ",")
		for j, entry := range entries {
			entries[j] = withoutPort(entry)
		}
		bare[i] = strings.Join(entries, ",")
	}
	c.Request = c.Request.WithContext(c.Request.Context()) // a copy: net/http keeps its own
	c.Request.Header = c.Request.Header.Clone()
	c.Request.Header[forwardedFor] = bare
}

// withoutPort is an entry without its port, where it is an IPv4 address or an IPv6 address in brackets, and has one.
func withoutPort(entry string) string {
	address, err := netip.ParseAddrPort(strings.TrimSpace(entry))
	if err != nil {
		return entry
	}
	return address.Addr().String()
}
