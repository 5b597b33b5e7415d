package e2e

import (
	"context"
	"net"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/berthregistry/berth/test/children"
)

// patience is how long a process may take for what takes it a moment.
const patience = time.Minute

// ofPlatform are further tests of the program that need what this platform alone has.
var ofPlatform = map[string]func(t *testing.T, program string){}

// TestProcess runs the program itself, to end it in ways that a server in the process of the tests cannot end.
func TestProcess(t *testing.T) {
	t.Parallel()
	program := filepath.Join(t.TempDir(), "berth")
	must(t, children.Build(t.Context(), "../../cmd/api", program))
	t.Run("doctor", func(t *testing.T) { testDoctor(t, program) })
	t.Run("verify", func(t *testing.T) { testVerify(t, program) })
	t.Run("docs", func(t *testing.T) { testDocs(t, program) })
	for name, test := range map[string]func(*testing.T, string, backends){
		"killed":                      testKilled,
		"backed up":                   testBackup,
		"drained, the push finishes":  testDrainedPushFinishes,
		"drained, the chunk is kept":  testDrainedChunkIsKept,
		"drained, everything follows": testDrainedEverythingAgain,
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			each(t, func(t *testing.T, b backends) { test(t, program, b) })
		})
	}
	t.Run("restarted one after the other", func(t *testing.T) {
		t.Parallel()
		testRollingRestart(t, program)
	})
	t.Run("copies of blobs", func(t *testing.T) {
		t.Parallel()
		testCopies(t, program)
	})
	for name, test := range ofPlatform {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			test(t, program)
		})
	}
}

// child is a running program.
type child struct {
	wire // as its administrator
	*children.Child
}

// startChild starts the program, which ends with the test at the latest.
func startChild(t *testing.T, program string, b backends, settings ...string) *child {
	t.Helper()
	process, err := children.Start(program, append([]string{
		"BERTH_ADDR=127.0.0.1:0", "BERTH_METRICS_ADDR=", "BERTH_LOG_LEVEL=warn",
		"BERTH_PUBLIC_URL=http://registry.example.com", // one for all starts, whatever their port
		"BERTH_DATABASE_URL=" + b.database, "BERTH_STORAGE_URL=" + b.storage, "BERTH_CHUNK_SIZE=" + strconv.Itoa(b.chunk),
		"BERTH_ADMIN_PASSWORD=a long password for tests", "BERTH_ADMIN_TOKEN=" + adminToken,
	}, settings...)...)
	must(t, err)
	t.Cleanup(func() {
		process.Kill()
		if t.Failed() {
			t.Logf("log of the program:\n%s", process.Log)
		}
	})
	return &child{wireTo(t, "http://"+process.Address).basic(adminToken), process}
}

// terminate asks the process to end and waits until it takes no connection any more.
func (c *child) terminate() {
	c.t.Helper()
	must(c.t, c.Signal(syscall.SIGTERM))
	ctx, cancel := context.WithTimeout(c.t.Context(), patience)
	defer cancel()
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for {
		conn, err := new(net.Dialer).DialContext(ctx, "tcp", strings.TrimPrefix(c.base, "http://"))
		if err != nil {
			break
		}
		_ = conn.Close()
		select {
		case <-tick.C:
		case <-ctx.Done():
			c.t.Fatal("the program still takes connections")
		}
	}
}

// wantOrderlyEnd waits for the end of the process and fails the test unless it was an orderly one.
func (c *child) wantOrderlyEnd() {
	c.t.Helper()
	timer := time.NewTimer(patience)
	defer timer.Stop()
	select {
	case <-c.Ended():
	case <-timer.C:
		c.t.Fatal("the program does not end")
	}
	if err := c.Err(); err != nil {
		c.t.Errorf("the program ended with %v\n%s", err, c.Log)
	}
}
