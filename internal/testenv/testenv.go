// Package testenv gives tests real servers and pinned tools: PostgreSQL, an S3 server, registry clients.
//
// A server starts once per test process, when the first test asks for it, listens on the loopback interface only and
// ends with the process; each test gets a database or a bucket of its own. What is missing fails the test and says
// what to install: nothing here skips. A package that uses a server hands its TestMain over:
//
//	func TestMain(m *testing.M) { testenv.Main(m) }
//
// TEST_DATABASE_URL and TEST_S3_URL name servers that run already, to be used instead.
package testenv

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"syscall"
	"testing"
	"time"

	"github.com/berthregistry/berth/internal/testenv/tool"
)

const (
	startTimeout   = time.Minute      // a server from its start to its first answer
	probeTimeout   = 5 * time.Second  // one attempt to get that answer
	requestTimeout = 30 * time.Second // one statement or request of ours
	stopTimeout    = 10 * time.Second // a server from its signal to its end; then it is killed
	buildTimeout   = 10 * time.Minute // a tool that is not built yet
)

// Main runs the tests of a package, then stops every server that they started and removes its files, also when the
// process is interrupted or terminated. It does not return.
func Main(m *testing.M) { os.Exit(run(m.Run)) }

func run(tests func() int) int {
	host.open()
	defer host.close()
	signals := make(chan os.Signal, 1)
	signal.Notify(signals, os.Interrupt, syscall.SIGTERM)
	go exitOn(signals)
	return tests()
}

func exitOn(signals <-chan os.Signal) {
	received := <-signals
	host.close()
	code := 1
	if number, ok := received.(syscall.Signal); ok {
		code = 128 + int(number)
	}
	os.Exit(code)
}

// Tool returns the path of a tool: one that tools.versions pins, built first where it is missing, or skopeo or haproxy,
// which are the system's.
func Tool(tb testing.TB, name string) string {
	tb.Helper()
	if name == "skopeo" || name == "haproxy" {
		path, err := exec.LookPath(name)
		if err != nil { // where Debian has daemons, and users do not look
			path, err = exec.LookPath("/usr/sbin/" + name)
		}
		if err != nil {
			tb.Fatalf("%s is missing: install it, on Debian by 'apt-get install -y %s': %v", name, name, err)
		}
		return path
	}
	path, err := buildTool(tb.Context(), name)
	if err != nil {
		tb.Fatal(err)
	}
	return path
}

func buildTool(ctx context.Context, name string) (string, error) {
	root, err := tool.Root()
	if err != nil {
		return "", fmt.Errorf("find the pinned tools: %w", err)
	}
	ctx, cancel := context.WithTimeout(ctx, buildTimeout)
	defer cancel()
	return tool.Path(ctx, root, name)
}

// errNotManaged reports a package whose servers nothing would stop.
var errNotManaged = errors.New("testenv: the package lacks func TestMain(m *testing.M) { testenv.Main(m) }")

// randomName returns a name that no other test, process or machine has.
func randomName(prefix string) string {
	var b [8]byte
	_, _ = rand.Read(b[:]) // never fails, by its documentation
	return prefix + hex.EncodeToString(b[:])
}
