package front

import (
	"net/netip"
	"strings"

	"github.com/gin-gonic/gin"
)

// seenParam is the parameter of /healthz that asks how a request arrives. Its value is an address; see [seen].
const seenParam = "seen"

// maxSeen bounds what is repeated of a header, in bytes.
const maxSeen = 256

// seen is how a request looks when it arrives, so that `berth doctor` learns what stands between it and the server. It
// repeats what the caller, or a proxy, sent, and confirms an address that the caller names: nobody learns from it the
// address of a proxy.
type seen struct {
	// Trusted says whether the peer is among BERTH_TRUSTED_PROXIES.
	Trusted bool `json:"trusted"`
	// Taken says whether the address that was asked for is the one that limits and logs take for the caller's.
	Taken bool `json:"taken"`
	// Forwarded is how many addresses X-Forwarded-For had.
	Forwarded int `json:"forwarded"`
	// Proto and ForwardedHost are X-Forwarded-Proto and X-Forwarded-Host; Host is the header Host.
	Proto         string `json:"proto,omitempty"`
	ForwardedHost string `json:"forwarded_host,omitempty"`
	Host          string `json:"host"`
}

// look describes the request of a caller who asks for it, else nil. The answer also has a relative Location, for the
// caller to see whether a proxy leaves it as it is.
func (h *health) look(c *gin.Context) *seen {
	asked := c.Query(seenParam)
	if asked == "" {
		return nil
	}
	c.Header("Location", livePath)
	header := c.Request.Header
	return &seen{
		Trusted: h.trusts(c.RemoteIP()), Taken: sameAddress(asked, c.ClientIP()),
		Forwarded: countAddresses(header.Values(forwardedFor)),
		Proto:     clip(header.Get("X-Forwarded-Proto")), ForwardedHost: clip(header.Get("X-Forwarded-Host")), Host: clip(c.Request.Host),
	}
}

func (h *health) trusts(peer string) bool {
	addr, err := netip.ParseAddr(peer)
	if err != nil {
		return false
	}
	for _, text := range h.trusted {
		if prefix, err := netip.ParsePrefix(text); err == nil && prefix.Contains(addr.Unmap()) {
			return true
		}
		if one, err := netip.ParseAddr(text); err == nil && one.Unmap() == addr.Unmap() {
			return true
		}
	}
	return false
}

func sameAddress(a, b string) bool {
	one, errOne := netip.ParseAddr(a)
	other, errOther := netip.ParseAddr(b)
	return errOne == nil && errOther == nil && one.Unmap() == other.Unmap()
}

func countAddresses(values []string) int {
	n := 0
	for text := range strings.SplitSeq(strings.Join(values, ","), ",") {
		if strings.TrimSpace(text) != "" {
			n++
		}
	}
	return n
}

func clip(text string) string { return text[:min(len(text), maxSeen)] }
