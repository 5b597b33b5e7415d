package config

import (
	"net"
	"net/url"
	"strings"
)

// Endpoints are the names under which clients know the server.
type Endpoints struct {
	// PublicURL is the URL of the server without a path and without a trailing slash.
	PublicURL string
	// Host is the host, with its port unless that is the scheme's own: the registry's name in an image reference.
	Host string
	// Realm is the URL where clients fetch tokens.
	Realm string
	// Service is the audience of those tokens.
	Service string
}

// Endpoints derives the public names. listening is the host:port that the listener really has, which tells the port
// when Addr asks for any; empty means Addr itself.
func (c Config) Endpoints(listening string) Endpoints {
	e := Endpoints{PublicURL: strings.TrimSuffix(c.HTTP.PublicURL, "/"), Realm: c.Tokens.Realm, Service: c.Tokens.Service}
	if e.PublicURL == "" {
		e.PublicURL = c.localURL(listening)
	}
	if u, err := url.Parse(e.PublicURL); err == nil {
		e.Host = u.Host
	}
	if e.Realm == "" {
		e.Realm = e.PublicURL + "/auth/token"
	}
	if e.Service == "" {
		e.Service = e.Host
	}
	return e
}

// localURL is the URL of the listener as a client on this machine sees it.
func (c Config) localURL(listening string) string {
	host, port, err := net.SplitHostPort(c.HTTP.Addr)
	if err != nil {
		return ""
	}
	if _, actual, err := net.SplitHostPort(listening); err == nil {
		port = actual
	}
	if ip := net.ParseIP(host); host == "" || ip != nil && ip.IsUnspecified() {
		host = "localhost" // an address to listen on, not one to connect to
	}
	scheme := "http"
	if c.TLS.Enabled() {
		scheme = "https"
	}
	if scheme == "http" && port == "80" || scheme == "https" && port == "443" {
		if strings.Contains(host, ":") {
			host = "[" + host + "]"
		}
		return scheme + "://" + host
	}
	return scheme + "://" + net.JoinHostPort(host, port)
}

// isS3 says whether the storage URL means an S3 bucket or access point.
func (s Storage) isS3() bool {
	return strings.HasPrefix(string(s.URL), "s3:") || strings.HasPrefix(string(s.URL), "arn:")
}

// HasCache says whether copies of what is pulled are kept on a local disk. In front of a folder they would be of no use.
func (s Storage) HasCache() bool { return s.Cache != "" && s.isS3() }
