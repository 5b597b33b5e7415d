package webhooks

import (
	"net/netip"
	"net/url"
	"regexp"
	"strconv"
	"strings"
)

// maxURL bounds a URL, in bytes.
const maxURL = 2048

var (
	// hostName is a name of the DNS, without the dot at its end.
	hostName = regexp.MustCompile(`^([A-Za-z0-9_]([A-Za-z0-9_-]{0,61}[A-Za-z0-9_])?\.)*[A-Za-z0-9]([A-Za-z0-9-]{0,61}[A-Za-z0-9])?$`)
	// numeric is the last label of what some programs take for an address: 127.1, 0x7f000001, 2130706433.
	numeric = regexp.MustCompile(`^([0-9]+|0[xX][0-9A-Fa-f]*)$`)
)

// CheckURL judges the text of a webhook's URL. What its name stands for is judged at each connection. Errors:
// *InputError.
func (n Networks) CheckURL(raw string) error {
	bad := func(reason string) error { return &InputError{Field: "url", Reason: reason} }
	if len(raw) > maxURL || strings.ContainsFunc(raw, func(r rune) bool { return r <= ' ' || r > '~' }) {
		return bad("it is not a URL of at most 2048 visible ASCII characters")
	}
	u, err := url.Parse(raw)
	switch {
	case err != nil, u.Opaque != "":
		return bad("it is not a URL")
	case u.Scheme != "https" && u.Scheme != "http":
		return bad("it must begin with https://")
	case u.User != nil:
		return bad("it must not hold a user or password")
	case u.Fragment != "" || strings.Contains(raw, "#"):
		return bad("it must not have a fragment")
	case strings.Contains(raw, `\`):
		return bad("it must not have a backslash")
	}
	port, ok := portOf(u)
	if !ok {
		return bad("it has no port that exists")
	}
	if reason := n.judgeHost(u.Hostname(), u.Scheme == "http", port); reason != "" {
		return bad(reason)
	}
	return nil
}

// portOf is the port of a URL; false for one that does not exist.
func portOf(u *url.URL) (uint16, bool) {
	if strings.HasSuffix(u.Host, ":") {
		return 0, false
	}
	switch text := u.Port(); {
	case text != "":
		port, err := strconv.ParseUint(text, 10, 16)
		return uint16(port), err == nil && port > 0
	case u.Scheme == "http":
		return 80, true
	}
	return 443, true
}

const (
	reasonNetwork = "its host is in a network that webhooks must not reach"
	reasonHost    = "its host is not a name or an address"
)

// judgeHost says what is wrong with the host of a URL, as far as that can be said without resolving it.
func (n Networks) judgeHost(host string, plain bool, port uint16) string {
	if addr, err := netip.ParseAddr(host); err == nil {
		switch {
		case addr.Zone() != "":
			return reasonHost
		case plain && !n.named(addr):
			return "it must begin with https://"
		case n.judge(netip.AddrPortFrom(addr, port), plain) != nil:
			return reasonNetwork
		}
		return ""
	}
	name := strings.ToLower(strings.TrimSuffix(host, "."))
	loopback := name == "localhost" || strings.HasSuffix(name, ".localhost")
	switch {
	case len(name) > 253 || !hostName.MatchString(name) || numeric.MatchString(name[strings.LastIndexByte(name, '.')+1:]):
		return reasonHost
	case plain && len(n.Allowed) == 0:
		return "it must begin with https://"
	case loopback && !n.named(netip.AddrFrom4([4]byte{127, 0, 0, 1})) && !n.named(netip.IPv6Loopback()):
		return reasonNetwork
	case len(n.Allowed) == 0 && !usualPort(port):
		return "its port is not 443, 80, or 1024 or higher"
	}
	return ""
}
