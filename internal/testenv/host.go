package testenv

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"syscall"
	"time"
)

const (
	scratchPrefix = "berth-testenv-"
	scratchLock   = "lock"
	// abandonedAfter is how old a scratch folder must be before another process looks at it. It only has to outlast
	// the moment between making the folder and locking it.
	abandonedAfter = 10 * time.Minute
)

// host is what this test process holds outside itself.
var host hostState

type hostState struct {
	closing sync.Mutex // held by close from its start to its end; taken before mu
	mu      sync.Mutex // guards what follows
	managed bool       // Main runs the tests and will call close
	closed  bool       // nothing may start any more
	scratch string     // folder of everything that the servers write
	lock    *os.File
	running map[*process]struct{}
}

func (h *hostState) open() {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.managed = true
}

// add takes over a process, so that close stops it.
func (h *hostState) add(p *process) error {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.closed {
		return errors.New("testenv: the test process is ending")
	}
	if h.running == nil {
		h.running = make(map[*process]struct{})
	}
	h.running[p] = struct{}{}
	return nil
}

func (h *hostState) remove(p *process) {
	h.mu.Lock()
	defer h.mu.Unlock()
	delete(h.running, p)
}

// folder makes a new folder for a server.
func (h *hostState) folder(pattern string) (string, error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if !h.managed {
		return "", errNotManaged
	}
	if h.scratch == "" {
		if err := h.makeScratch(); err != nil {
			return "", err
		}
	}
	dir, err := os.MkdirTemp(h.scratch, pattern)
	if err != nil {
		return "", fmt.Errorf("make a folder for a server: %w", err)
	}
	return dir, nil
}

func (h *hostState) makeScratch() error {
	removeAbandoned(os.TempDir())
	dir, err := os.MkdirTemp("", scratchPrefix)
	if err != nil {
		return fmt.Errorf("make the scratch folder: %w", err)
	}
	if err := os.Chmod(dir, 0o711); err != nil { //nolint:gosec // a server's own user must reach its folder below
		return fmt.Errorf("open the scratch folder: %w", err)
	}
	lock, err := os.Create(filepath.Join(dir, scratchLock))
	if err != nil {
		return fmt.Errorf("mark the scratch folder: %w", err)
	}
	if err := syscall.Flock(int(lock.Fd()), syscall.LOCK_EX|syscall.LOCK_NB); err != nil {
		return fmt.Errorf("mark the scratch folder: %w", err)
	}
	h.scratch, h.lock = dir, lock
	return nil
}

// close stops every server and removes what they wrote.
func (h *hostState) close() {
	h.closing.Lock()
	defer h.closing.Unlock()
	h.mu.Lock()
	h.closed = true
	running := make([]*process, 0, len(h.running))
	for p := range h.running {
		running = append(running, p)
	}
	scratch, lock := h.scratch, h.lock
	h.scratch, h.lock = "", nil
	h.mu.Unlock()

	for _, p := range running {
		p.stop()
	}
	if scratch == "" {
		return
	}
	if err := os.RemoveAll(scratch); err != nil {
		fmt.Fprintln(os.Stderr, "testenv:", err)
	}
	_ = lock.Close()
}

// removeAbandoned removes scratch folders of processes that ended without close: killed, or out of time. The kernel
// frees a process's lock whichever way it ends. Failing to tidy up after others is no concern of the tests.
func removeAbandoned(parent string) {
	dirs, err := filepath.Glob(filepath.Join(parent, scratchPrefix+"*"))
	if err != nil {
		return
	}
	for _, dir := range dirs {
		info, err := os.Stat(dir)
		if err != nil || time.Since(info.ModTime()) < abandonedAfter {
			continue
		}
		lock, err := os.Open(filepath.Join(dir, scratchLock))
		if err != nil {
			continue
		}
		if syscall.Flock(int(lock.Fd()), syscall.LOCK_EX|syscall.LOCK_NB) == nil {
			_ = os.RemoveAll(dir)
		}
		_ = lock.Close()
	}
}
