package testenv

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"os"
	"os/exec"
	"runtime"
	"strconv"
	"syscall"
	"time"
)

// errEnded reports a server that ended before it answered.
var errEnded = errors.New("ended before it answered")

// process is a running server.
type process struct {
	name string
	log  string         // file of what it prints
	quit syscall.Signal // ends it at once, as a crash would
	cmd  *exec.Cmd
	done chan struct{} // closed when it has ended
	err  error         // how it ended; read after done
}

// command describes a server to start.
type command struct {
	path string
	args []string
	env  []string
	dir  string
	log  string
	user *syscall.Credential // nil for the user of the tests
	quit syscall.Signal
}

// start runs the command as a process that the host stops.
func (c command) start(name string) (*process, error) {
	log, err := os.OpenFile(c.log, os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o600)
	if err != nil {
		return nil, fmt.Errorf("open the log of %s: %w", name, err)
	}
	defer func() { _ = log.Close() }()

	cmd := exec.Command(c.path, c.args...) //nolint:gosec,noctx // a server outlives the test that asked for it first
	cmd.Env, cmd.Dir, cmd.Stdout, cmd.Stderr = c.env, c.dir, log, log
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: c.user, Setpgid: true}
	dieWithParent(cmd.SysProcAttr, c.quit)

	p := &process{name: name, log: c.log, quit: c.quit, cmd: cmd, done: make(chan struct{})}
	started := make(chan error)
	go p.run(started)
	if err := <-started; err != nil {
		return nil, fmt.Errorf("start %s: %w", name, err)
	}
	if err := host.add(p); err != nil {
		p.stop()
		return nil, err
	}
	return p, nil
}

// run starts the process and waits for its end on one thread: Linux sends the signal of dieWithParent when the thread
// that started a process ends, so that thread has to last.
func (p *process) run(started chan<- error) {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	err := p.cmd.Start()
	started <- err
	if err != nil {
		return
	}
	p.err = p.cmd.Wait()
	close(p.done)
}

// stop ends the process and waits for it.
func (p *process) stop() {
	defer host.remove(p)
	_ = p.cmd.Process.Signal(p.quit) // fails only if it has ended
	timer := time.NewTimer(stopTimeout)
	defer timer.Stop()
	select {
	case <-p.done:
		return
	case <-timer.C:
	}
	_ = p.cmd.Process.Kill()
	<-p.done
}

// ready waits until the server answers the probe.
func (p *process) ready(probe func(context.Context) error) error {
	ctx, cancel := context.WithTimeout(context.Background(), startTimeout)
	defer cancel()
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for {
		err := p.try(ctx, probe)
		if err == nil {
			return nil
		}
		select {
		case <-p.done:
			return fmt.Errorf("%s %w: %w; it printed:\n%s", p.name, errEnded, p.err, p.printed())
		case <-ctx.Done():
			p.stop()
			return fmt.Errorf("%s gave no answer in %s: %w; it printed:\n%s", p.name, startTimeout, err, p.printed())
		case <-tick.C:
		}
	}
}

func (p *process) try(ctx context.Context, probe func(context.Context) error) error {
	ctx, cancel := context.WithTimeout(ctx, probeTimeout)
	defer cancel()
	return probe(ctx)
}

// printed returns the end of the log.
func (p *process) printed() string {
	const enough = 4 << 10
	log, err := os.ReadFile(p.log)
	if err != nil {
		return err.Error()
	}
	return string(log[max(0, len(log)-enough):])
}

// startOnFreePort picks a port, starts a server on it and tries again where another process was faster. The ports lie
// below those that the system hands out by itself, so that a port stays free while its server is down.
func startOnFreePort(start func(port int) (*process, error)) (*process, int, error) {
	const attempts = 3
	var failed error
	for range attempts {
		port, err := freePort()
		if err != nil {
			return nil, 0, err
		}
		p, err := start(port)
		if err == nil {
			return p, port, nil
		}
		failed = err
		if !errors.Is(err, errEnded) {
			break
		}
	}
	return nil, 0, failed
}

func freePort() (int, error) {
	const attempts = 100
	for range attempts {
		if port := 20000 + rand.IntN(10000); free(port) {
			return port, nil
		}
	}
	return 0, errors.New("testenv: no free port between 20000 and 30000")
}

func free(port int) bool {
	listener, err := net.Listen("tcp", address(port)) //nolint:noctx // returns at once
	if err != nil {
		return false
	}
	return listener.Close() == nil
}

func address(port int) string { return net.JoinHostPort("127.0.0.1", strconv.Itoa(port)) }
