package config

import (
	"net"
	"net/netip"
	"net/url"
	"regexp"
	"strconv"
	"strings"
)

func checkListen(refuse refuseFunc, variable, addr string) {
	host, port, err := net.SplitHostPort(addr)
	if err != nil {
		refuse(variable, "%q is not a listen address: write HOST:PORT, or :PORT for every interface", addr)
		return
	}
	if _, err := strconv.ParseUint(port, 10, 16); err != nil {
		refuse(variable, "%q has no port from 0 to %d", addr, 1<<16-1)
	}
	if strings.ContainsFunc(host, func(r rune) bool { return r <= ' ' || strings.ContainsRune(`/\"'@?#`, r) }) {
		refuse(variable, "%q has no usable host before its port", addr)
	}
}

// checkPublicURL takes http(s)://host[:port], nothing else: clients put their own paths behind it.
func checkPublicURL(refuse refuseFunc, variable, raw string) {
	u, ok := parseWebURL(refuse, variable, raw)
	if !ok {
		return
	}
	if u.Path != "" && u.Path != "/" || u.RawQuery != "" || u.ForceQuery {
		refuse(variable, "has a path or query: registry clients need the server at the root of a host, such as https://registry.example.com")
	}
}

// checkRealm takes any http(s) URL that can stand between quotes in a header.
func checkRealm(refuse refuseFunc, variable, raw string) {
	parseWebURL(refuse, variable, raw)
}

// parseWebURL refuses what is not an absolute http(s) URL fit for a quoted string. Messages leave out the text, which
// may hold a password by mistake.
func parseWebURL(refuse refuseFunc, variable, raw string) (*url.URL, bool) {
	if !checkQuotable(refuse, variable, raw) {
		return nil, false
	}
	u, err := url.Parse(raw)
	switch {
	case err != nil:
		refuse(variable, "is not a URL")
	case u.Scheme != "http" && u.Scheme != "https":
		refuse(variable, "does not begin with http:// or https://")
	case u.Hostname() == "" || strings.HasSuffix(u.Host, ":"):
		refuse(variable, "names no host")
	case !validPort(u.Port()):
		refuse(variable, "has no port from 1 to %d", 1<<16-1)
	case u.User != nil:
		refuse(variable, "carries a user name or password, which every client would be shown")
	case u.Fragment != "" || strings.HasSuffix(raw, "#"):
		refuse(variable, "has a fragment")
	default:
		return u, true
	}
	return nil, false
}

func validPort(port string) bool {
	n, err := strconv.ParseUint(port, 10, 16)
	return port == "" || err == nil && n > 0
}

// checkQuotable refuses what would end or bend the quoted string of a WWW-Authenticate header.
func checkQuotable(refuse refuseFunc, variable, text string) bool {
	if text == "" || !visible(text) || strings.ContainsAny(text, `"'\`) {
		refuse(variable, "is empty or has quotes, backslashes, blanks, control characters or letters beyond ASCII")
		return false
	}
	return true
}

// visible says whether a text consists of printable ASCII without blanks.
func visible(text string) bool {
	return !strings.ContainsFunc(text, func(r rune) bool { return r <= ' ' || r >= 0x7f })
}

func checkNetwork(refuse refuseFunc, variable, cidr string) {
	if _, err := netip.ParsePrefix(cidr); err == nil {
		return
	}
	if addr, err := netip.ParseAddr(cidr); err != nil || addr.Zone() != "" {
		refuse(variable, "%q is neither a network such as 10.0.0.0/8 nor an address", cidr)
	}
}

// checkOrigin takes what a browser sends as Origin: scheme and host, and the port where it is not the scheme's own.
func checkOrigin(refuse refuseFunc, variable, origin string) {
	u, err := url.Parse(origin)
	if err == nil && (u.Scheme == "http" || u.Scheme == "https") && u.Host != "" && visible(origin) &&
		u.Scheme+"://"+strings.ToLower(u.Host) == origin && validPort(u.Port()) && !ownPort(u) {
		return
	}
	refuse(variable, "%q is not an origin: write one as browsers send it, such as https://ui.example.com or http://localhost:3000", origin)
}

func ownPort(u *url.URL) bool {
	return strings.HasSuffix(u.Host, ":") || u.Scheme == "http" && u.Port() == "80" || u.Scheme == "https" && u.Port() == "443"
}

func checkDatabaseURL(refuse refuseFunc, variable, raw string) {
	scheme, rest, _ := strings.Cut(raw, ":")
	switch scheme {
	case "sqlite":
		if rest == "" || strings.HasSuffix(rest, "/") || strings.Contains(rest, ":memory:") || strings.ContainsAny(rest, "?\x00") {
			refuse(variable, "names no file: write sqlite:PATH without options, such as sqlite:data/berth.db")
		}
	case "postgres", "postgresql":
		// The reason of a parse error quotes the URL and so its password: it stays unsaid.
		if u, err := url.Parse(raw); err != nil || !strings.HasPrefix(rest, "//") || u.Host == "" && !u.Query().Has("host") {
			refuse(variable, "is not a URL of PostgreSQL: write postgres://USER:PASSWORD@HOST:PORT/DATABASE and escape special characters")
		}
	default:
		refuse(variable, "begins with neither sqlite: nor postgres://")
	}
}

var (
	// The rules of ParseLocation in internal/storage/s3, which this package may not import; a test of internal/server
	// compares them.
	bucketName     = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9._-]{1,253}[A-Za-z0-9]$`)
	accessPointARN = regexp.MustCompile(`^arn:aws[a-z-]*:s3:[a-z0-9-]+:[0-9]{12}:accesspoint[/:][a-z0-9][a-z0-9-]{1,48}[a-z0-9](/.*)?$`)
)

func checkStorageURL(refuse refuseFunc, variable, raw string) {
	scheme, rest, _ := strings.Cut(raw, ":")
	switch scheme {
	case "file":
		if rest == "" || strings.ContainsAny(rest, "\x00\n") {
			refuse(variable, "names no folder: write file:PATH, such as file:data/objects")
		}
	case "s3":
		if u, err := url.Parse(raw); err != nil || !strings.HasPrefix(rest, "//") || !bucketName.MatchString(u.Host) ||
			u.User != nil || u.Fragment != "" {
			refuse(variable, "is not a URL of a bucket: write s3://BUCKET/PREFIX?region=REGION")
		}
	case "arn":
		if !accessPointARN.MatchString(raw) {
			refuse(variable, "is not the ARN of an S3 access point: write arn:aws:s3:REGION:ACCOUNT:accesspoint/NAME")
		}
	default:
		refuse(variable, "begins with none of file:, s3:// and arn:")
	}
}
