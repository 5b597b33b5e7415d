package testenv

import (
	"context"
	"fmt"
	"os"
	"runtime"
	"slices"
	"sync"
	"testing"
)

// Program runs the body of a program that is no test with what tests get: servers, databases, buckets and tools. What
// a test would log goes to standard error. It returns the exit code, 1 after a failure, when all servers have stopped
// and their files are gone, as Main does. Signals are the program's own: one ends the context, and with it the body.
func Program(ctx context.Context, body func(tb testing.TB)) int {
	p := &program{ctx: ctx}
	host.open()
	defer host.close()
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		defer p.cleanUp()
		body(p)
	}()
	<-ended
	if p.Failed() {
		return 1
	}
	return 0
}

// program is the part of a testing.TB that this package, and what it hands its servers to, needs.
type program struct {
	testing.TB // none: what is not below panics

	ctx      context.Context
	mu       sync.Mutex
	failed   bool
	cleanups []func()
}

// Helper implements testing.TB.
func (*program) Helper() {}

// Context implements testing.TB.
func (p *program) Context() context.Context { return p.ctx }

// Cleanup implements testing.TB.
func (p *program) Cleanup(f func()) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.cleanups = append(p.cleanups, f)
}

func (p *program) cleanUp() {
	p.mu.Lock()
	cleanups := p.cleanups
	p.cleanups = nil
	p.mu.Unlock()
	for _, f := range slices.Backward(cleanups) {
		f()
	}
}

// TempDir implements testing.TB.
func (p *program) TempDir() string {
	dir, err := os.MkdirTemp("", scratchPrefix)
	if err != nil {
		p.Fatal(err)
	}
	p.Cleanup(func() {
		if err := os.RemoveAll(dir); err != nil {
			p.Errorf("remove files: %v", err)
		}
	})
	return dir
}

// Failed implements testing.TB.
func (p *program) Failed() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.failed
}

// Fail implements testing.TB.
func (p *program) Fail() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.failed = true
}

// FailNow implements testing.TB.
func (p *program) FailNow() {
	p.Fail()
	runtime.Goexit()
}

// Log implements testing.TB.
func (*program) Log(args ...any) { fmt.Fprintln(os.Stderr, args...) }

// Logf implements testing.TB.
func (*program) Logf(format string, args ...any) { fmt.Fprintf(os.Stderr, format+"\n", args...) }

// Error implements testing.TB.
func (p *program) Error(args ...any) {
	p.Log(args...)
	p.Fail()
}

// Errorf implements testing.TB.
func (p *program) Errorf(format string, args ...any) {
	p.Logf(format, args...)
	p.Fail()
}

// Fatal implements testing.TB.
func (p *program) Fatal(args ...any) {
	p.Log(args...)
	p.FailNow()
}

// Fatalf implements testing.TB.
func (p *program) Fatalf(format string, args ...any) {
	p.Logf(format, args...)
	p.FailNow()
}
