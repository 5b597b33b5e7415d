package main

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"syscall"
	"time"
)

const (
	startTimeout = time.Minute
	probeEvery   = 20 * time.Millisecond
)

// child is a server that runs as a process of its own, or one that somebody else started and that has no command.
type child struct {
	name string
	log  string
	cmd  *exec.Cmd
	// process is its ID; 0: not known.
	process int
	done    chan struct{} // closed when it has ended
}

// start runs a program whose output goes to a log in the stage's folder. Its environment is env and little else.
func (st *stage) start(name string, env []string, path string, args ...string) (*child, error) {
	return st.launch(launch{name: name, env: env, path: path, args: args})
}

// startRegistry is start on the processors that registries have for themselves, if they have any.
func (st *stage) startRegistry(name string, env []string, path string, args ...string) (*child, error) {
	return st.launch(launch{name: name, env: env, path: path, args: args, on: st.apart})
}

// launch is how a program is started.
type launch struct {
	name string
	path string
	args []string
	env  []string
	// user is whom it runs as; nil: as this process.
	user *syscall.Credential
	// on are its processors; nil: those of this process.
	on processors
}

func (st *stage) launch(l launch) (*child, error) {
	name := l.name
	c := &child{name: name, log: filepath.Join(st.dir, name+".log"), done: make(chan struct{})}
	log, err := os.OpenFile(c.log, os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o600)
	if err != nil {
		return nil, fmt.Errorf("open the log of %s: %w", name, err)
	}
	defer func() { _ = log.Close() }()
	scratch, err := st.folder("tmp")
	if err != nil {
		return nil, err
	}
	c.cmd = exec.Command(l.path, l.args...) //nolint:gosec,noctx // our own programs; stop ends them
	c.cmd.Dir, c.cmd.Stdout, c.cmd.Stderr = st.dir, log, log
	c.cmd.Env = append([]string{"PATH=" + os.Getenv("PATH"), "HOME=" + st.dir, "TMPDIR=" + scratch}, l.env...)
	c.cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Credential: l.user} // an interrupt from the terminal is for this process alone
	dieWithParent(c.cmd.SysProcAttr)

	started := make(chan error)
	go c.run(started, l.on)
	if err := <-started; err != nil {
		return nil, fmt.Errorf("start %s: %w", name, err)
	}
	c.process = c.cmd.Process.Pid
	st.children = append(st.children, c)
	return c, nil
}

// run starts the process and waits for its end on one thread: Linux sends the signal of dieWithParent when the thread
// that started a process ends. The process inherits the processors of that thread, which ends with it where they are not
// those of all.
func (c *child) run(started chan<- error, on processors) {
	runtime.LockOSThread()
	err := on.take()
	if on == nil {
		defer runtime.UnlockOSThread()
	}
	if err == nil {
		err = c.cmd.Start()
	}
	started <- err
	if err != nil {
		return
	}
	_ = c.cmd.Wait() // it is killed, or the next request to it tells
	close(c.done)
}

// stop ends the process as a crash would: its data is not wanted.
func (c *child) stop() {
	_ = c.cmd.Process.Kill() // fails only if it has ended
	<-c.done
}

func (c *child) pid() int { return c.process }

// ready waits until the server answers at a URL, with whatever status below 500.
func (c *child) ready(ctx context.Context, url string) error {
	ctx, cancel := context.WithTimeout(ctx, startTimeout)
	defer cancel()
	client := &http.Client{Timeout: time.Second}
	defer client.CloseIdleConnections()
	for {
		err := probe(ctx, client, url)
		if err == nil {
			return nil
		}
		select {
		case <-c.done:
			return c.failed(errors.New("it ended"))
		case <-ctx.Done():
			return c.failed(err)
		case <-time.After(probeEvery):
		}
	}
}

func probe(ctx context.Context, client *http.Client, url string) error {
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return err
	}
	answer, err := client.Do(r)
	if err != nil {
		return err
	}
	defer func() { _ = answer.Body.Close() }()
	if answer.StatusCode >= http.StatusInternalServerError {
		return errors.New(answer.Status)
	}
	return nil
}

// failed adds the end of the log to an error.
func (c *child) failed(err error) error {
	const enough = 4 << 10
	log, rerr := os.ReadFile(c.log)
	if rerr != nil {
		log = []byte(rerr.Error())
	}
	return fmt.Errorf("%s does not serve: %w; it printed:\n%s", c.name, err, log[max(0, len(log)-enough):])
}

// freeAddress returns an address on the loopback interface whose port lies below those that the system hands out.
func freeAddress() (string, error) {
	const attempts = 100
	for range attempts {
		addr := net.JoinHostPort("127.0.0.1", strconv.Itoa(20000+rand.IntN(10000)))
		listener, err := net.Listen("tcp", addr) //nolint:noctx // returns at once
		if err != nil {
			continue
		}
		if err := listener.Close(); err == nil {
			return addr, nil
		}
	}
	return "", errors.New("no free port between 20000 and 30000")
}
