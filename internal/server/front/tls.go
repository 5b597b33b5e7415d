package front

import (
	"context"
	"crypto/tls"
	"log/slog"
	"os"
	"sync"
	"time"
)

// certificateLook is how long a certificate serves handshakes before its files are looked at again.
const certificateLook = time.Second

// certificates serves the certificate of two files and takes a new one when they change. Files that do not fit
// together (one of the two is written first) or do not parse leave the old certificate in use.
type certificates struct {
	certFile, keyFile string
	logger            *slog.Logger
	clock             func() time.Time

	mu      sync.Mutex
	current *tls.Certificate
	seen    [2]os.FileInfo // the files that were last tried, good or bad
	looked  time.Time
}

// newCertificates loads the files. At start, unlike later, bad ones are an error.
func newCertificates(certFile, keyFile string, logger *slog.Logger, clock func() time.Time) (*certificates, error) {
	c := &certificates{certFile: certFile, keyFile: keyFile, logger: logger, clock: clock}
	if err := c.reload(); err != nil {
		return nil, err
	}
	return c, nil
}

// tlsConfig is for a server: TLS 1.2 or later, with the cipher suites that Go deems safe.
func (c *certificates) tlsConfig() *tls.Config {
	return &tls.Config{MinVersion: tls.VersionTLS12, GetCertificate: c.get}
}

// get implements the callback of tls.Config.
func (c *certificates) get(hello *tls.ClientHelloInfo) (*tls.Certificate, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if now := c.clock(); now.Sub(c.looked) >= certificateLook {
		if err := c.reload(); err != nil {
			c.logger.Log(helloContext(hello), slog.LevelError, "new TLS files cannot be used, the old certificate stays",
				slog.String("error", err.Error()))
		}
	}
	return c.current, nil
}

func helloContext(hello *tls.ClientHelloInfo) context.Context {
	if hello != nil && hello.Context() != nil {
		return hello.Context()
	}
	return context.Background()
}

// reload reads the files if they are others than the last time. It reports each bad state of them once.
func (c *certificates) reload() error {
	c.looked = c.clock()
	// Looked at before reading: what changes meanwhile is seen the next time.
	var now [2]os.FileInfo
	for i, name := range []string{c.certFile, c.keyFile} {
		info, err := os.Stat(name)
		if err != nil {
			if c.current != nil && c.seen[i] == nil {
				return nil // known to be gone
			}
			c.seen[i] = nil
			return err //nolint:wrapcheck // names the file
		}
		now[i] = info
	}
	if sameFile(now[0], c.seen[0]) && sameFile(now[1], c.seen[1]) {
		return nil
	}
	c.seen = now
	pair, err := tls.LoadX509KeyPair(c.certFile, c.keyFile)
	if err != nil {
		return err //nolint:wrapcheck // names the file or the mismatch
	}
	if c.current != nil {
		c.logger.Info("took new TLS files", slog.Time("not_after", pair.Leaf.NotAfter))
	}
	c.current = &pair
	return nil
}

// sameFile tells whether a path still leads to the same bytes: same file, time and size. Mounted secrets are swapped
// by a symbolic link, which changes the file; others are written in place, which changes the time.
func sameFile(a, b os.FileInfo) bool {
	return a != nil && b != nil && os.SameFile(a, b) && a.ModTime().Equal(b.ModTime()) && a.Size() == b.Size()
}
