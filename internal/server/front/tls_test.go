package front

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"math/big"
	"os"
	"path/filepath"
	"testing"
	"time"
)

// certificate is a pair of files with self-signed certificates that its clients trust.
type certificate struct {
	certFile, keyFile string
	roots             *x509.CertPool
	serial            int64
}

func newCertificate(t *testing.T, dir string) *certificate {
	t.Helper()
	return &certificate{
		certFile: filepath.Join(dir, "tls.crt"), keyFile: filepath.Join(dir, "tls.key"), roots: x509.NewCertPool(),
	}
}

// make returns a new certificate for a name, and its key.
func (c *certificate) make(t *testing.T, name string) (certPEM, keyPEM []byte) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	c.serial++
	template := &x509.Certificate{
		SerialNumber: big.NewInt(c.serial), Subject: pkix.Name{CommonName: name}, DNSNames: []string{name},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageDigitalSignature | x509.KeyUsageCertSign,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	pkcs8, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	certPEM = pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})
	c.roots.AppendCertsFromPEM(certPEM)
	return certPEM, pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: pkcs8})
}

// put replaces a file as tools do that write beside it and rename.
func put(t *testing.T, path string, content []byte) {
	t.Helper()
	if err := os.WriteFile(path+".new", content, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Rename(path+".new", path); err != nil {
		t.Fatal(err)
	}
}

func (c *certificate) write(t *testing.T, name string) {
	t.Helper()
	certPEM, keyPEM := c.make(t, name)
	put(t, c.certFile, certPEM)
	put(t, c.keyFile, keyPEM)
}

func (c *certificate) client(name string) *tls.Config {
	return &tls.Config{RootCAs: c.roots, ServerName: name, MinVersion: tls.VersionTLS12}
}

// served returns the name on the certificate of a new connection.
func (c *certificate) served(t *testing.T, addr string) string {
	t.Helper()
	conn, err := tls.Dial("tcp", addr, &tls.Config{InsecureSkipVerify: true})
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = conn.Close() }()
	return conn.ConnectionState().PeerCertificates[0].Subject.CommonName
}

func TestCertificatesAreReadAgainWhenTheyChange(t *testing.T) {
	t.Parallel()
	cert := newCertificate(t, t.TempDir())
	cert.write(t, "one")
	now := &clock{now: time.Unix(1_700_000_000, 0)}
	server, lines := newFront(t, func(c *Config) {
		c.TLS.Cert, c.TLS.Key, c.Clock = cert.certFile, cert.keyFile, now.Now
	})
	addr := serve(t, server, listen(t)).addr
	expect := func(want, when string) {
		t.Helper()
		if got := cert.served(t, addr); got != want {
			t.Errorf("%s: certificate %q, want %q", when, got, want)
		}
	}
	expect("one", "at start")

	cert.write(t, "two")
	expect("one", "before it looks again")
	now.advance(certificateLook)
	expect("two", "after a change")

	certPEM, keyPEM := cert.make(t, "three")
	put(t, cert.certFile, certPEM)
	now.advance(certificateLook)
	expect("two", "with the new certificate and the old key")
	now.advance(certificateLook)
	expect("two", "still")
	put(t, cert.keyFile, keyPEM)
	now.advance(certificateLook)
	expect("three", "with both")

	put(t, cert.certFile, []byte("no certificate"))
	now.advance(certificateLook)
	expect("three", "with a bad file")
	if err := os.Remove(cert.certFile); err != nil {
		t.Fatal(err)
	}
	for range 3 {
		now.advance(certificateLook)
		expect("three", "without a file")
	}
	cert.write(t, "four")
	now.advance(certificateLook)
	expect("four", "at last")

	if n := len(lines.with(t, "new TLS files cannot be used, the old certificate stays")); n != 3 {
		t.Errorf("%d complaints, want one for each bad state:\n%s", n, lines)
	}
	if n := len(lines.with(t, "took new TLS files")); n != 3 {
		t.Errorf("%d changes are logged, want 3", n)
	}
}

func TestTLSVersions(t *testing.T) {
	t.Parallel()
	cert := newCertificate(t, t.TempDir())
	cert.write(t, "localhost")
	server, _ := newFront(t, func(c *Config) { c.TLS.Cert, c.TLS.Key = cert.certFile, cert.keyFile })
	addr := serve(t, server, listen(t)).addr
	for version, allowed := range map[uint16]bool{tls.VersionTLS11: false, tls.VersionTLS12: true, tls.VersionTLS13: true} {
		config := cert.client("localhost")
		config.MinVersion, config.MaxVersion = tls.VersionTLS10, version
		conn, err := tls.Dial("tcp", addr, config)
		if err == nil {
			_ = conn.Close()
		}
		if (err == nil) != allowed {
			t.Errorf("%s: %v", tls.VersionName(version), err)
		}
	}
}

func TestBadTLSFilesAtStart(t *testing.T) {
	t.Parallel()
	cert := newCertificate(t, t.TempDir())
	cfg := Config{Logger: (&logLines{}).logger()}
	cfg.TLS.Cert, cfg.TLS.Key = cert.certFile, cert.keyFile
	if _, err := New(cfg); err == nil {
		t.Error("missing files are accepted")
	}
	cert.write(t, "localhost")
	put(t, cert.keyFile, []byte("no key"))
	if _, err := New(cfg); err == nil {
		t.Error("a bad key is accepted")
	}
}
