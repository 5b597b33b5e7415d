package e2e

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"math/big"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/berthregistry/berth/test/children"
)

const (
	// frontHost is an address of the loopback network that nothing else uses, so a free port stays free.
	frontHost = "127.0.0.77"
	// strangerHost is where a client comes from that claims to come from elsewhere.
	strangerHost = "127.0.0.9"
)

// frontend is a reverse proxy with its example configuration in deploy/proxy, as it stands there but for addresses and
// the paths of the certificate.
type frontend struct {
	host string // host:port
	dir  string // of its files, the certificate's among them
	root *x509.Certificate
	next []string // host:port of the replicas
}

// TestFrontends runs the example configurations before two replicas.
func TestFrontends(t *testing.T) {
	t.Parallel()
	for name, start := range map[string]func(*testing.T, frontend){"nginx": startNginx, "haproxy": startHAProxy} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b := servers(t)
			f := newFrontend(t)
			r := &registry{host: f.host}
			for range 2 {
				cfg := b.settings()
				cfg.HTTP.PublicURL = "https://" + f.host
				cfg.HTTP.TrustedProxies = []string{"127.0.0.1"}
				url := run(t, cfg)
				r.replicas, f.next = append(r.replicas, url), append(f.next, strings.TrimPrefix(url, "http://"))
			}
			start(t, f)
			testFrontendNames(t, f)
			testFrontendCarriesImages(t, f, r, b)
			testFrontendPassesBodiesOn(t, f, b)
			testFrontendTellsWhoAsks(t, f)
		})
	}
}

func newFrontend(t *testing.T) frontend {
	t.Helper()
	l, err := net.Listen("tcp", frontHost+":0")
	must(t, err)
	must(t, l.Close())
	f := frontend{host: l.Addr().String(), dir: t.TempDir()}
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	must(t, err)
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		IPAddresses: []net.IP{net.ParseIP(frontHost)}, IsCA: true, BasicConstraintsValid: true,
		KeyUsage: x509.KeyUsageDigitalSignature | x509.KeyUsageCertSign, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	must(t, err)
	f.root, err = x509.ParseCertificate(der)
	must(t, err)
	secret, err := x509.MarshalPKCS8PrivateKey(key)
	must(t, err)
	chain := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})
	private := pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: secret})
	write(t, filepath.Join(f.dir, "tls.crt"), chain)
	write(t, filepath.Join(f.dir, "tls.key"), private)
	write(t, filepath.Join(f.dir, "bundle.pem"), append(chain, private...))
	return f
}

// wire speaks to the proxy, from an address of the loopback network.
func (f frontend) wire(t *testing.T, from string) wire {
	t.Helper()
	w := wireTo(t, "https://"+f.host)
	roots := x509.NewCertPool()
	roots.AddCert(f.root)
	w.transport.TLSClientConfig = &tls.Config{RootCAs: roots, MinVersion: tls.VersionTLS12}
	dialer := &net.Dialer{LocalAddr: &net.TCPAddr{IP: net.ParseIP(from)}}
	w.transport.DialContext = dialer.DialContext
	return w.basic(adminToken)
}

// startNginx checks the configuration by nginx itself and starts it, as one process.
func startNginx(t *testing.T, f frontend) {
	t.Helper()
	example, err := os.ReadFile("../../deploy/proxy/nginx.conf")
	must(t, err)
	text := string(example)
	for from, to := range map[string]string{
		"127.0.0.1:5001": f.next[0], "127.0.0.1:5002": f.next[1], "listen 443 ssl": "listen " + f.host + " ssl", "/etc/berth/tls": f.dir,
	} {
		if !strings.Contains(text, from) {
			t.Fatalf("the example has no %q", from)
		}
		text = strings.ReplaceAll(text, from, to)
	}
	write(t, filepath.Join(f.dir, "berth.conf"), []byte(text))
	main := "daemon off;\nmaster_process off;\npid " + f.dir + "/pid;\nerror_log stderr warn;\nevents {}\nhttp {\naccess_log off;\n"
	for _, kind := range []string{"client_body", "proxy", "fastcgi", "uwsgi", "scgi"} {
		main += kind + "_temp_path " + f.dir + "/" + kind + ";\n"
	}
	write(t, filepath.Join(f.dir, "nginx.conf"), []byte(main+"include "+f.dir+"/berth.conf;\n}\n"))
	arguments := []string{"-p", f.dir, "-e", "stderr", "-c", filepath.Join(f.dir, "nginx.conf")}
	f.launch(t, "nginx", nil, append(arguments, "-t"), arguments)
}

// startHAProxy is the same for HAProxy, whose example takes what differs from the environment.
func startHAProxy(t *testing.T, f frontend) {
	t.Helper()
	env := []string{
		"REGISTRY_BIND=" + f.host, "REGISTRY_CERT=" + filepath.Join(f.dir, "bundle.pem"), "REPLICA_ONE=" + f.next[0], "REPLICA_TWO=" + f.next[1],
	}
	arguments := []string{"-db", "-f", "../../deploy/proxy/haproxy.cfg"}
	f.launch(t, "haproxy", env, append(arguments, "-c"), arguments)
}

// launch checks a configuration, starts the program with it until the test ends, and waits until it answers.
func (f frontend) launch(t *testing.T, name string, env, check, serve []string) {
	t.Helper()
	path, err := exec.LookPath(name)
	if err != nil {
		path, err = exec.LookPath("/usr/sbin/" + name)
	}
	if err != nil {
		t.Fatalf("%s is missing: install it, on Debian by 'apt-get install -y %s': %v", name, name, err)
	}
	checking := exec.CommandContext(t.Context(), path, check...)
	checking.Env = append(os.Environ(), env...)
	if out, err := checking.CombinedOutput(); err != nil {
		t.Fatalf("%s does not accept its configuration: %v\n%s", name, err, out)
	}
	log, ended := &children.Record{}, make(chan struct{})
	serving := exec.CommandContext(t.Context(), path, serve...)
	serving.Env, serving.Stdout, serving.Stderr = checking.Env, log, log
	must(t, serving.Start())
	go func() { _ = serving.Wait(); close(ended) }()
	t.Cleanup(func() {
		<-ended // with the context of the test
		if t.Failed() {
			t.Logf("log of %s:\n%s", name, log)
		}
	})
	f.await(t, func(w wire) bool {
		a, err := w.try(http.MethodGet, "/readyz", nil)
		return err == nil && a.status == http.StatusOK
	}, ended)
}

// await asks again and again until something holds, and fails the test when it does not for long, or at the end of ended.
func (f frontend) await(t *testing.T, holds func(wire) bool, ended <-chan struct{}) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for w := f.wire(t, "127.0.0.1"); !holds(w); {
		select {
		case <-tick.C:
		case <-ended:
			t.Fatal("the proxy ended")
		case <-ctx.Done():
			t.Fatal("waited in vain")
		}
	}
}

// testFrontendNames: what clients are told leads back to the proxy.
func testFrontendNames(t *testing.T, f frontend) {
	t.Helper()
	w := f.wire(t, "127.0.0.1")
	anonymous := w
	anonymous.authorization = ""
	challenge := anonymous.want(http.StatusUnauthorized, http.MethodGet, "/v2/", nil).challenge(t)
	if realm := challenge["realm"]; realm != "https://"+f.host+"/auth/token" || challenge["service"] != f.host {
		t.Errorf("the challenge is %v", challenge)
	}
	begun := w.want(http.StatusAccepted, http.MethodPost, "/v2/front/names/blobs/uploads/", nil)
	if location := begun.location(); !strings.HasPrefix(location, "/v2/front/names/blobs/uploads/") {
		t.Errorf("the Location is %s, want it relative", location)
	}
	w.want(http.StatusCreated, http.MethodPut, query(begun.location(), "digest", "sha256:"+sha256OfNothing), []byte{})
}

const sha256OfNothing = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"

// testFrontendCarriesImages: a layer of 40 MB, by a real client and back.
func testFrontendCarriesImages(t *testing.T, f frontend, r *registry, b backends) {
	t.Helper()
	layout := newLayout(t, newImage(t, "amd64", nil, 40_000_000, b.chunk/2, 1))
	crane := r.crane(t, adminToken)
	crane.env = append(crane.env, "SSL_CERT_FILE="+filepath.Join(f.dir, "tls.crt"))
	crane.run("push", layout, f.host+"/front/app:one")
	pulled := filepath.Join(t.TempDir(), "pulled")
	crane.run("pull", "--format=oci", f.host+"/front/app:one", pulled)
	same(t, blobsOf(t, layout), blobsOf(t, pulled))
}

// testFrontendPassesBodiesOn: what has come of a body is with a replica before the rest is sent.
func testFrontendPassesBodiesOn(t *testing.T, f frontend, b backends) {
	t.Helper()
	w := f.wire(t, "127.0.0.1")
	blob := content(moreThanBuffered + 2*b.chunk)
	location := w.begin("front/slow")
	half := len(blob) - 100
	flow := startFlow(w, t, http.MethodPatch, location, blob[:half], len(blob))
	f.await(t, func(w wire) bool {
		a, err := w.try(http.MethodGet, location, nil)
		return err == nil && a.status == http.StatusNoContent && committed(t, a) >= b.chunk
	}, nil)
	_, err := flow.body.Write(blob[half:])
	must(t, err)
	must(t, flow.body.Close())
	if a := <-flow.answer; a.status != http.StatusAccepted {
		t.Errorf("the chunk was answered %d: %s", a.status, a.body)
	}
}

// testFrontendTellsWhoAsks: replicas learn the client's address from the proxy, whatever the client says about it.
func testFrontendTellsWhoAsks(t *testing.T, f frontend) {
	t.Helper()
	stranger := f.wire(t, strangerHost)
	stranger.authorization = "Bearer " + adminToken
	stranger.want(http.StatusCreated, http.MethodPost, "/api/v1/projects", encode(t, map[string]string{"slug": "spoofed"}),
		"Content-Type", "application/json", "X-Forwarded-For", "203.0.113.9", "X-Forwarded-For", "127.0.0.1",
		"X-Real-Ip", "203.0.113.9", "Forwarded", "for=203.0.113.9", "X-Forwarded-Host", "evil.example", "X-Forwarded-Proto", "http")
	var log struct {
		Items []struct {
			Action   string `json:"action"`
			RemoteIP string `json:"remote_ip"`
		} `json:"items"`
	}
	a := stranger.want(http.StatusOK, http.MethodGet, "/api/v1/projects/spoofed/audit", nil)
	must(t, json.NewDecoder(bytes.NewReader(a.body)).Decode(&log))
	if len(log.Items) != 1 || log.Items[0].Action != "project.create" || log.Items[0].RemoteIP != strangerHost {
		t.Errorf("the audit log says %+v, the client is at %s", log.Items, strangerHost)
	}
}
