package doctor

import (
	"bufio"
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"os"
	"strings"
	"time"
)

const (
	// foreign is an address that nobody has (RFC 5737), to see whether the server can be made to believe it.
	foreign = "192.0.2.77"
	// foreignHost is a name that nobody has (RFC 2606).
	foreignHost = "elsewhere.invalid"
	// largeBody is the length that the probe for limits announces: a layer of 8 GiB.
	largeBody = 8 << 30
	// A little of it is sent now and then: some proxies pass the head on with the first bytes, and the answer back
	// between two others.
	drop      = 16 << 10
	dropEvery = 50 * time.Millisecond
	// bufferTime is how long the server may take to refuse a body of which it has seen next to nothing.
	bufferTime = 3 * time.Second
	// announcements is how often it is announced before the end of a connection counts.
	announcements = 5
)

// arrival is how a request looked to the server; see /healthz?seen=.
type arrival struct {
	Seen *struct {
		Trusted       bool
		Taken         bool
		Forwarded     int
		Proto         string
		ForwardedHost string `json:"forwarded_host"`
		Host          string
	}
}

// proxy finds out what stands between a client and the server, and whether the server takes it right.
func (e *examination) proxy(ctx context.Context, v *visitor, challenge answer) {
	plain, err := v.arrive(ctx, "seen=127.0.0.1")
	if err != nil {
		e.warn("proxy.probe", "pass /healthz on like everything else, and run one version everywhere; what a proxy does cannot be told without", "%v", err)
		return
	}
	e.location(plain.location)
	e.forwarded(plain, v)
	e.spoofed(ctx, v, challenge)
}

// arrived is what a probe came back with.
type arrived struct {
	arrival
	location string
}

func (v *visitor) arrive(ctx context.Context, query string, headers ...string) (arrived, error) {
	a, err := v.get(ctx, "/healthz?"+query, headers...)
	if err != nil {
		return arrived{}, fmt.Errorf("/healthz does not answer: %w", err)
	}
	var out arrived
	out.location = a.header.Get("Location")
	if err := json.Unmarshal(a.body, &out.arrival); err != nil || out.Seen == nil {
		return arrived{}, fmt.Errorf("/healthz answers %d, and does not say how requests arrive", a.status)
	}
	return out, nil
}

// location sees that relative URLs stay relative: they are right on every host.
func (e *examination) location(location string) {
	if location != "/healthz" {
		e.fail("proxy.location", "let the proxy leave Location as it is (nginx: proxy_redirect off)", "a relative Location arrives as %q", location)
		return
	}
	e.ok("proxy.location", "a relative Location arrives as it is")
}

// forwarded judges X-Forwarded-*, as they arrive when the client sends none.
func (e *examination) forwarded(a arrived, v *visitor) {
	behindTLS := v.base.Scheme == "https" && !e.cfg.TLS.Enabled()
	const trust = "add the proxy's address to BERTH_TRUSTED_PROXIES (the access log has it as remote_ip): until then all clients share the limits of one address"
	switch {
	case a.Seen.Forwarded == 0 && behindTLS:
		e.warn("proxy.forwarded", "let the proxy send X-Forwarded-For with the client's address, and add it to BERTH_TRUSTED_PROXIES", "something ends TLS before the server and sends no X-Forwarded-For: all clients share the limits of one address")
	case a.Seen.Forwarded == 0:
		e.ok("proxy.forwarded", "requests arrive without X-Forwarded-For, as from a client")
	case !a.Seen.Trusted:
		e.warn("proxy.forwarded", trust, "a proxy sends X-Forwarded-For, and is not among BERTH_TRUSTED_PROXIES")
	default:
		e.ok("proxy.forwarded", "a trusted proxy tells the addresses of clients")
	}
	if a.Seen.Forwarded > 0 && a.Seen.Proto != "" && a.Seen.Proto != v.base.Scheme {
		e.warn("proxy.proto", "let the proxy send the scheme that clients use, or correct BERTH_PUBLIC_URL; Berth derives nothing from it, but logs and other programs may",
			"X-Forwarded-Proto says %q, BERTH_PUBLIC_URL is %s", a.Seen.Proto, v.base.Scheme)
	}
	host := a.Seen.Host
	if a.Seen.ForwardedHost != "" {
		host = a.Seen.ForwardedHost
	}
	if a.Seen.Forwarded > 0 && host != v.base.Host {
		e.warn("proxy.host", "let the proxy pass the header Host on (nginx: proxy_set_header Host $http_host); Berth derives nothing from it, but browsers' requests and logs do",
			"the host arrives as %q, clients use %q", host, v.base.Host)
	}
}

// spoofed sees that a client cannot pose as another address, nor change where clients are sent.
func (e *examination) spoofed(ctx context.Context, v *visitor, challenge answer) {
	a, err := v.arrive(ctx, "seen="+foreign, "X-Forwarded-For", foreign)
	switch {
	case err != nil:
		e.warn("proxy.spoof", "run the examination again", "%v", err)
	case a.Seen.Taken && e.trusts(v.local):
		e.ok("proxy.spoof", "this machine is among BERTH_TRUSTED_PROXIES and is believed; run berth doctor from elsewhere to see whether others are not")
	case a.Seen.Taken:
		e.fail("proxy.spoof", "trust only proxies in BERTH_TRUSTED_PROXIES, and let the outermost one overwrite X-Forwarded-For instead of passing it on",
			"a client that sends X-Forwarded-For is taken for any address that it likes")
	default:
		e.ok("proxy.spoof", "a client that sends X-Forwarded-For is not believed")
	}
	other, err := v.get(ctx, "/v2/", "X-Forwarded-Host", foreignHost, "X-Forwarded-Proto", "ftp")
	if err == nil && other.header.Get("WWW-Authenticate") != challenge.header.Get("WWW-Authenticate") {
		e.fail("proxy.realm", "let no proxy rewrite WWW-Authenticate by what clients send: it tells clients where to send their credentials",
			"a client's X-Forwarded-Host changes the challenge to %q", other.header.Get("WWW-Authenticate"))
	}
}

// trusts says whether an address is among the trusted proxies.
func (e *examination) trusts(address string) bool {
	addr, err := netip.ParseAddr(address)
	if err != nil {
		return false
	}
	for _, text := range e.cfg.HTTP.TrustedProxies {
		if prefix, err := netip.ParsePrefix(text); err == nil && prefix.Contains(addr.Unmap()) {
			return true
		}
		if one, err := netip.ParseAddr(text); err == nil && one.Unmap() == addr.Unmap() {
			return true
		}
	}
	return false
}

// body announces a large layer, without a credential, and sends only its beginning. Berth refuses that at once. A proxy that
// limits bodies refuses it in its own words, and one that gathers bodies waits for this one.
func (e *examination) body(ctx context.Context, v *visitor) {
	status, err := v.announced(ctx)
	switch {
	case errors.Is(err, os.ErrDeadlineExceeded):
		e.fail("proxy.buffering", "let the proxy pass bodies on as they come (nginx: proxy_request_buffering off; Traefik: no buffering middleware): layers are otherwise kept by it first, and uploads that break off cannot go on",
			"nobody answers an upload before its body is there: a proxy gathers bodies before it passes them on")
	case err != nil:
		e.warn("proxy.body", "look into the proxy's log", "the connection ends when a layer of %s is announced: %v", size(largeBody), err)
	case status == http.StatusRequestEntityTooLarge:
		e.fail("proxy.body", "lift the proxy's limit (nginx: client_max_body_size 0; others: as deploy/ has it): layers have many gigabytes", "a layer of %s is refused with 413 before Berth sees it", size(largeBody))
	case status != http.StatusUnauthorized && status != http.StatusTooManyRequests:
		e.warn("proxy.body", "pass PATCH, PUT and POST below /v2/ on to the server, bodies of any length", "an upload of %s is answered with %d, not with Berth's 401", size(largeBody), status)
	default:
		e.ok("proxy.body", "large bodies reach the server as they come")
	}
}

// announced announces it again where the connection ends or a gateway fails. A server that refuses a body closes the
// connection after its answer (RFC 9112, section 9.6), and some proxies that are still writing to it then end theirs before
// they have read the answer: only what happens each time is a finding.
func (v *visitor) announced(ctx context.Context) (status int, err error) {
	for range announcements {
		status, err = v.announce(ctx)
		if errors.Is(err, os.ErrDeadlineExceeded) || err == nil && status != http.StatusBadGateway {
			break
		}
	}
	return status, err
}

// announce sends the head of an upload and gives the status of the answer.
func (v *visitor) announce(ctx context.Context) (int, error) {
	ctx, cancel := context.WithTimeout(ctx, answerTime)
	defer cancel()
	conn, err := v.dial(ctx)
	if err != nil {
		return 0, withoutURL(err)
	}
	defer func() { _ = conn.Close() }()
	if err := conn.SetDeadline(time.Now().Add(bufferTime)); err != nil {
		return 0, fmt.Errorf("set a deadline: %w", err)
	}
	target := "/v2/berth-doctor/blobs/uploads/00000000-0000-7000-8000-000000000000"
	head := fmt.Sprintf("PATCH %s HTTP/1.1\r\nHost: %s\r\nUser-Agent: berth-doctor\r\nContent-Type: application/octet-stream\r\nContent-Length: %d\r\n\r\n",
		target, v.base.Host, int64(largeBody))
	if _, err := conn.Write([]byte(head)); err != nil {
		return 0, err //nolint:wrapcheck // of the connection, told as it is
	}
	go trickle(ctx, conn)
	response, err := http.ReadResponse(bufio.NewReader(conn), &http.Request{Method: http.MethodPatch, URL: &url.URL{Path: target}})
	if err != nil {
		return 0, err //nolint:wrapcheck // the same
	}
	return response.StatusCode, response.Body.Close()
}

// trickle sends a little of a body now and then, until the context ends or nobody takes it.
func trickle(ctx context.Context, conn net.Conn) {
	tick := time.NewTicker(dropEvery)
	defer tick.Stop()
	for {
		if _, err := conn.Write(make([]byte, drop)); err != nil {
			return
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return
		}
	}
}

func (v *visitor) dial(ctx context.Context) (net.Conn, error) {
	address := v.base.Host
	if v.base.Port() == "" {
		address = net.JoinHostPort(v.base.Hostname(), map[string]string{"http": "80", "https": "443"}[strings.ToLower(v.base.Scheme)])
	}
	if v.base.Scheme != "https" {
		return (&net.Dialer{}).DialContext(ctx, "tcp", address)
	}
	settings := &tls.Config{InsecureSkipVerify: true, ServerName: v.base.Hostname(), NextProtos: []string{"http/1.1"}} //nolint:gosec // judged before, see certificate; nothing secret is sent
	return (&tls.Dialer{Config: settings}).DialContext(ctx, "tcp", address)
}
