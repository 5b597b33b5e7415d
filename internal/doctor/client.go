package doctor

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"regexp"
	"strings"
	"time"
)

const (
	// answerTime is how long a server, or a proxy, may take to begin an answer.
	answerTime = 10 * time.Second
	// maxAnswer bounds what is read of an answer, in bytes.
	maxAnswer = 64 << 10
)

// answer is a response that was read.
type answer struct {
	status int
	header http.Header
	body   []byte
	local  string // the address of this end of the connection
	took   time.Duration
}

// visitor speaks to the public URL as clients do, and goes on where a certificate is not to be trusted: it sends no secret.
type visitor struct {
	base   *url.URL
	client *http.Client
	chain  []*x509.Certificate
	local  string
}

func newVisitor(base *url.URL) *visitor {
	v := &visitor{base: base}
	transport := &http.Transport{
		Proxy:           http.ProxyFromEnvironment,
		TLSClientConfig: &tls.Config{InsecureSkipVerify: true, VerifyConnection: v.note}, //nolint:gosec // verified by hand, see certificate; nothing secret is sent
		DialContext: func(ctx context.Context, network, address string) (net.Conn, error) {
			conn, err := (&net.Dialer{Timeout: answerTime}).DialContext(ctx, network, address)
			if err == nil {
				v.local, _, _ = net.SplitHostPort(conn.LocalAddr().String())
			}
			return conn, err
		},
		ResponseHeaderTimeout: answerTime, DisableKeepAlives: true, // one connection after the other
	}
	v.client = &http.Client{Transport: transport, CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
	return v
}

func (v *visitor) note(state tls.ConnectionState) error {
	v.chain = state.PeerCertificates
	return nil
}

// get asks a URL, absolute or below the base.
func (v *visitor) get(ctx context.Context, target string, headers ...string) (answer, error) {
	if strings.HasPrefix(target, "/") {
		target = v.base.String() + target
	}
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, target, http.NoBody)
	if err != nil {
		return answer{}, fmt.Errorf("make a request: %w", err)
	}
	for i := 0; i+1 < len(headers); i += 2 {
		request.Header.Set(headers[i], headers[i+1])
	}
	began := time.Now()
	response, err := v.client.Do(request)
	if err != nil {
		return answer{}, withoutURL(err)
	}
	defer func() { _ = response.Body.Close() }()
	body, err := io.ReadAll(io.LimitReader(response.Body, maxAnswer))
	if err != nil {
		return answer{}, fmt.Errorf("read the answer: %w", err)
	}
	return answer{response.StatusCode, response.Header, body, v.local, time.Since(began)}, nil
}

// client examines the way from a client to the server.
func (e *examination) client(ctx context.Context) {
	if !valid(e.cfg.HTTP, e.cfg.Tokens, e.cfg.TLS) {
		return
	}
	endpoints := e.cfg.Endpoints("")
	base, err := url.Parse(endpoints.PublicURL)
	if err != nil {
		return // the settings say so
	}
	v := newVisitor(base)
	began := time.Now()
	first, err := v.get(ctx, "/v2/")
	if err != nil {
		e.fail("client.reach", "start berth serve; see that the name of BERTH_PUBLIC_URL leads to it, or to the proxy before it, and that no firewall is in between. Before the first start use --local",
			"nothing answers at %s: %v", base, err)
		return
	}
	if date, err := http.ParseTime(first.header.Get("Date")); err == nil {
		e.skew("clock.server", "the server at "+base.Host, date.Add(time.Second/2).Sub(began), first.took+time.Second/2)
	}
	e.certificate(v)
	if !e.challenge(first, endpoints.Realm, endpoints.Service) {
		return
	}
	e.token(ctx, v, endpoints.Realm, endpoints.Service)
	e.proxy(ctx, v, first)
	e.body(ctx, v)
}

// certificate judges what the server, or the proxy before it, shows.
func (e *examination) certificate(v *visitor) {
	if len(v.chain) == 0 {
		return
	}
	others := x509.NewCertPool()
	for _, c := range v.chain[1:] {
		others.AddCert(c)
	}
	leaf := v.chain[0]
	_, err := leaf.Verify(x509.VerifyOptions{DNSName: v.base.Hostname(), Intermediates: others})
	if invalid, ok := errors.AsType[x509.CertificateInvalidError](err); err != nil && (!ok || invalid.Reason != x509.Expired) {
		e.fail("tls.trust", "serve the whole chain, for the name of BERTH_PUBLIC_URL, from an authority that clients trust; or give clients yours (for Docker: /etc/docker/certs.d)",
			"clients do not trust the certificate of %s: %v", v.base.Host, err)
	}
	e.expiry("tls.expiry", "the certificate of "+v.base.Host, leaf.NotAfter)
}

// parameter finds what a challenge says.
var parameter = regexp.MustCompile(`(\w+)="([^"]*)"`)

// challenge judges the first answer of a registry.
func (e *examination) challenge(a answer, realm, service string) bool {
	const another = "let BERTH_PUBLIC_URL lead to this registry, and give all replicas the same settings, those of this command too"
	header := a.header.Get("WWW-Authenticate")
	switch {
	case a.status >= 300 && a.status < 400:
		e.fail("client.challenge", "set BERTH_PUBLIC_URL to the URL that answers by itself; clients lose credentials on redirects",
			"/v2/ redirects to %s", a.header.Get("Location"))
		return false
	case a.status >= 500:
		e.fail("client.challenge", "look into the logs of the proxy and the server", "/v2/ answers %d", a.status)
		return false
	case a.status != http.StatusUnauthorized || !strings.HasPrefix(header, "Bearer "):
		e.fail("client.challenge", "pass /v2/ on as it is, with the header WWW-Authenticate, and let no proxy authenticate by itself",
			"/v2/ answers %d and the challenge %q, not 401 and Bearer", a.status, header)
		return false
	}
	said := map[string]string{}
	for _, m := range parameter.FindAllStringSubmatch(header, -1) {
		said[m[1]] = m[2]
	}
	if said["realm"] != realm {
		e.fail("client.realm", another, "clients are sent to %q for tokens, by these settings it is %q", said["realm"], realm)
		return false
	}
	if said["service"] != service {
		e.fail("client.service", another, "tokens are for the service %q, by these settings it is %q", said["service"], service)
		return false
	}
	e.ok("client.challenge", "/v2/ challenges, with the realm %s and the service %s", realm, service)
	return true
}

// token fetches a token without an account, as every client can.
func (e *examination) token(ctx context.Context, v *visitor, realm, service string) {
	const do = "let the realm lead to /auth/token of this server, through the same proxy; see BERTH_TOKEN_REALM"
	a, err := v.get(ctx, realm+"?"+url.Values{"service": {service}}.Encode())
	var issued struct{ Token string }
	switch {
	case err != nil:
		e.fail("client.token", do, "the realm does not answer: %v", err)
	case a.status == http.StatusTooManyRequests:
		e.warn("client.token", "wait a minute and ask again; behind a proxy see BERTH_TRUSTED_PROXIES", "the token endpoint limits this address")
	case a.status != http.StatusOK || json.Unmarshal(a.body, &issued) != nil || issued.Token == "":
		e.fail("client.token", do, "the realm answers %d and no token", a.status)
	default:
		e.ok("client.token", "the token endpoint gives tokens")
	}
}
