package config

import (
	"net"
	"net/netip"
	"net/url"
	"time"
)

// shortToken is the life of a token below which old clients, which assume a minute, run into expired ones.
const shortToken = time.Minute

// Warnings lists what works but is probably not meant, one sentence each. The settings must be valid.
func (c Config) Warnings() []string {
	var out []string
	e := c.Endpoints("")
	public, err := url.Parse(e.PublicURL)
	if err != nil {
		return nil // not valid settings
	}
	if realm, err := url.Parse(e.Realm); err == nil && realm.Host != public.Host {
		out = append(out, "BERTH_TOKEN_REALM has the host "+realm.Host+", BERTH_PUBLIC_URL "+public.Host+
			": clients send their credentials to the realm's host")
	}
	if public.Scheme == "http" && !loopback(public.Hostname()) {
		out = append(out, "BERTH_PUBLIC_URL is http: credentials cross the network unencrypted, and most clients refuse such a registry")
	}
	exposed := !loopbackListener(c.HTTP.Addr)
	if exposed && !c.TLS.Enabled() && public.Scheme != "https" {
		out = append(out, "BERTH_ADDR "+c.HTTP.Addr+" is reachable from other machines without TLS: "+
			"set BERTH_TLS_CERT and BERTH_TLS_KEY, or put a proxy that speaks TLS in front and its URL into BERTH_PUBLIC_URL")
	}
	if exposed && c.HTTP.PublicURL == "" {
		out = append(out, "BERTH_PUBLIC_URL is not set: clients on other machines are sent to "+e.Realm+" for their tokens")
	}
	if c.Operation.MetricsAddr != "" && !loopbackListener(c.Operation.MetricsAddr) {
		out = append(out, "BERTH_METRICS_ADDR "+c.Operation.MetricsAddr+" is reachable from other machines without authentication")
	}
	for _, cidr := range c.HTTP.TrustedProxies {
		if prefix, err := netip.ParsePrefix(cidr); err == nil && prefix.Bits() == 0 {
			out = append(out, "BERTH_TRUSTED_PROXIES "+cidr+" believes everybody's X-Forwarded-For: any client can pose as any address")
		}
	}
	out = append(out, c.Storage.warnings()...)
	out = append(out, c.Webhooks.warnings()...)
	if c.GC.Enabled && c.GC.OrphanAge == 0 {
		out = append(out, "BERTH_GC_ORPHAN_AGE is 0: what is being uploaded may be taken for garbage")
	}
	if c.Tokens.TTL < shortToken {
		out = append(out, "BERTH_TOKEN_TTL "+c.Tokens.TTL.String()+" is less than the minute that some clients take for granted")
	}
	return out
}

func (s Storage) warnings() []string {
	switch {
	case s.Cache != "" && !s.isS3():
		return []string{"BERTH_BLOB_CACHE changes nothing: the blobs are in a folder already"}
	case s.HasCache() && s.Redirect:
		return []string{"BERTH_BLOB_CACHE has next to no use with BERTH_STORAGE_REDIRECT, which sends clients to the bucket"}
	}
	return nil
}

func loopback(host string) bool {
	addr, err := netip.ParseAddr(host)
	return host == "localhost" || err == nil && addr.Unmap().IsLoopback()
}

func loopbackListener(addr string) bool {
	host, _, err := net.SplitHostPort(addr)
	return err == nil && loopback(host)
}
