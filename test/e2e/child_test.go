package e2e

import (
	"bufio"
	"context"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"
)

// patience is how long a process may take for what takes it a moment.
const patience = time.Minute

// TestProcess runs the program itself, to end it in ways that a server in the process of the tests cannot end.
func TestProcess(t *testing.T) {
	t.Parallel()
	program := filepath.Join(t.TempDir(), "berth")
	build := exec.CommandContext(t.Context(), "go", "build", "-o", program, "../../cmd/api")
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("build the program: %v\n%s", err, out)
	}
	for name, test := range map[string]func(*testing.T, string, backends){
		"killed":                      testKilled,
		"drained, the push finishes":  testDrainedPushFinishes,
		"drained, the chunk is kept":  testDrainedChunkIsKept,
		"drained, everything follows": testDrainedEverythingAgain,
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			each(t, func(t *testing.T, b backends) { test(t, program, b) })
		})
	}
}

// child is a running program.
type child struct {
	wire  // as its administrator
	cmd   *exec.Cmd
	log   *record
	ended chan struct{}
	err   error // how it ended; read after ended
}

// startChild starts the program and waits until it listens.
func startChild(t *testing.T, program string, b backends, settings ...string) *child {
	t.Helper()
	c := &child{log: &record{}, ended: make(chan struct{})}
	c.cmd = exec.CommandContext(context.WithoutCancel(t.Context()), program, "serve")
	c.cmd.Env = append(os.Environ(),
		"BERTH_ADDR=127.0.0.1:0", "BERTH_METRICS_ADDR=", "BERTH_LOG_LEVEL=warn",
		"BERTH_PUBLIC_URL=http://registry.example.com", // one for all starts, whatever their port
		"BERTH_DATABASE_URL="+b.database, "BERTH_STORAGE_URL="+b.storage, "BERTH_CHUNK_SIZE="+strconv.Itoa(b.chunk),
		"BERTH_ADMIN_PASSWORD=a long password for tests", "BERTH_ADMIN_TOKEN="+adminToken,
	)
	c.cmd.Env = append(c.cmd.Env, settings...)
	c.cmd.Stderr, c.cmd.SysProcAttr = c.log, dieTogether()
	out, err := c.cmd.StdoutPipe()
	must(t, err)
	started, address := make(chan error, 1), make(chan string, 1)
	go c.run(started, address, bufio.NewScanner(out))
	must(t, <-started)
	t.Cleanup(func() {
		c.kill()
		if t.Failed() {
			t.Logf("log of the program:\n%s", c.log)
		}
	})
	timer := time.NewTimer(patience)
	defer timer.Stop()
	select {
	case at := <-address:
		c.wire = wireTo(t, "http://"+at).basic(adminToken)
	case <-c.ended:
		t.Fatalf("the program ended: %v\n%s", c.err, c.log)
	case <-timer.C:
		t.Fatalf("the program does not listen\n%s", c.log)
	}
	return c
}

// run starts the process and waits for its end on one thread, as the signal of dieTogether needs it.
func (c *child) run(started chan<- error, address chan<- string, out *bufio.Scanner) {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	err := c.cmd.Start()
	started <- err
	if err != nil {
		return
	}
	for out.Scan() {
		if rest, ok := strings.CutPrefix(out.Text(), "berth is listening on "); ok {
			at, _, _ := strings.Cut(rest, ",")
			address <- at
		}
	}
	c.err = c.cmd.Wait()
	close(c.ended)
}

// kill ends the process at once.
func (c *child) kill() {
	_ = c.cmd.Process.Kill() // it may have ended
	<-c.ended
}

// terminate asks the process to end and waits until it takes no connection any more.
func (c *child) terminate() {
	c.t.Helper()
	must(c.t, c.cmd.Process.Signal(syscall.SIGTERM))
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
	case <-c.ended:
	case <-timer.C:
		c.t.Fatal("the program does not end")
	}
	if c.err != nil {
		c.t.Errorf("the program ended with %v\n%s", c.err, c.log)
	}
}
