// Package children runs the program itself as a process, for tests that end it in ways in which a server within the
// process of the tests cannot end.
package children

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"time"
)

// startTimeout is how long the program may take until it listens.
const startTimeout = time.Minute

// Build builds the program at a path. The folder is that of cmd/api, as a path or as a package.
func Build(ctx context.Context, folder, path string) error {
	out, err := exec.CommandContext(ctx, "go", "build", "-o", path, folder).CombinedOutput() //nolint:gosec // the go command
	if err != nil {
		return fmt.Errorf("build the program: %w\n%s", err, out)
	}
	return nil
}

// Child is a running server.
type Child struct {
	// Address is where it listens, once Listen has returned.
	Address string
	// Log is the end of what it wrote.
	Log *Record

	cmd     *exec.Cmd
	address chan string
	ended   chan struct{}
	err     error // how it ended; read after ended

	listened atomic.Bool
}

// Start runs "serve" with these variables beside those of this process, and returns when it listens. Whoever starts it
// ends it; it also ends with this process.
func Start(program string, env ...string) (*Child, error) {
	c, err := Launch(program, env...)
	if err != nil {
		return nil, err
	}
	err = c.Listen()
	return c, err
}

// Launch is Start that does not wait: Listen does.
func Launch(program string, env ...string) (*Child, error) {
	c := &Child{Log: &Record{}, ended: make(chan struct{}), address: make(chan string, 1)}
	c.cmd = exec.Command(program, "serve") //nolint:noctx // our own program; Kill ends it
	c.cmd.Env = append(os.Environ(), env...)
	c.cmd.Stderr, c.cmd.SysProcAttr = c.Log, dieTogether()
	out, err := c.cmd.StdoutPipe()
	if err != nil {
		return nil, fmt.Errorf("start the program: %w", err)
	}
	started := make(chan error, 1)
	go c.run(started, bufio.NewScanner(out))
	if err := <-started; err != nil {
		return nil, fmt.Errorf("start the program: %w", err)
	}
	return c, nil
}

// Listen waits until the server listens. One that does not is ended.
func (c *Child) Listen() error {
	timer := time.NewTimer(startTimeout)
	defer timer.Stop()
	select {
	case c.Address = <-c.address:
		c.listened.Store(true)
		return nil
	case <-c.ended:
		return fmt.Errorf("the program ended: %w\n%s", errors.Join(c.err, errNotListening), c.Log)
	case <-timer.C:
		c.Kill()
		return fmt.Errorf("%w\n%s", errNotListening, c.Log)
	}
}

var errNotListening = errors.New("the program does not listen")

// run starts the process and waits for its end on one thread, as the signal of dieTogether needs it.
func (c *Child) run(started chan<- error, out *bufio.Scanner) {
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
			select {
			case c.address <- at:
			default:
			}
		}
	}
	c.err = c.cmd.Wait()
	close(c.ended)
}

// Listened says whether Listen has seen the server listen.
func (c *Child) Listened() bool { return c.listened.Load() }

// Kill ends the process at once and waits for its end.
func (c *Child) Kill() {
	_ = c.cmd.Process.Kill() // it may have ended
	<-c.ended
}

// Signal sends the process a signal.
func (c *Child) Signal(signal syscall.Signal) error {
	if err := c.cmd.Process.Signal(signal); err != nil {
		return fmt.Errorf("signal the program: %w", err)
	}
	return nil
}

// Ended is closed when the process has ended.
func (c *Child) Ended() <-chan struct{} { return c.ended }

// Err is how the process ended; it waits for that.
func (c *Child) Err() error {
	<-c.ended
	return c.err
}

// Record keeps the end of a log.
type Record struct {
	mu   sync.Mutex
	kept []byte
}

// Write implements io.Writer.
func (r *Record) Write(p []byte) (int, error) {
	const most = 16 << 10
	r.mu.Lock()
	defer r.mu.Unlock()
	r.kept = append(r.kept, p...)
	if len(r.kept) > most {
		r.kept = r.kept[len(r.kept)-most:]
	}
	return len(p), nil
}

// String is what is kept.
func (r *Record) String() string {
	r.mu.Lock()
	defer r.mu.Unlock()
	return string(r.kept)
}
