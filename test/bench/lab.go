package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"sync"

	"github.com/berthregistry/berth/internal/testenv/tool"
)

// lab is where everything is measured: the programs and a folder that goes at the end.
type lab struct {
	settings
	root   string // of the repository
	dir    string
	stderr io.Writer

	mu    sync.Mutex
	tools map[string]string
}

func newLab(ctx context.Context, s settings, stderr io.Writer) (*lab, error) {
	root, err := tool.Root()
	if err != nil {
		return nil, fmt.Errorf("find the sources: %w", err)
	}
	l := &lab{settings: s, root: root, stderr: stderr, tools: map[string]string{}}
	if l.berth == "" {
		l.berth = filepath.Join(root, "bin", "berth")
		err = l.build(ctx)
	} else {
		l.berth, err = filepath.Abs(l.berth)
	}
	if err != nil {
		return nil, err
	}
	if l.dir, err = os.MkdirTemp(s.dir, "berth-bench-"); err != nil {
		return nil, fmt.Errorf("make a folder: %w", err)
	}
	return l, nil
}

// build brings bin/berth up to date, in the way of the Makefile. What has not changed takes no time.
func (l *lab) build(ctx context.Context) error {
	l.say("building %s", l.berth)
	cmd := exec.CommandContext(ctx, "go", "build", "-trimpath", "-tags=nomsgpack", "-ldflags=-s -w", "-o", l.berth, "./cmd/api") //nolint:gosec // our own program
	cmd.Dir = l.root
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("build Berth: %w\n%s", err, out)
	}
	return nil
}

// tool returns the path of a pinned tool, which is built where it is missing.
func (l *lab) tool(ctx context.Context, name string) (string, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if path, ok := l.tools[name]; ok {
		return path, nil
	}
	path, err := tool.Path(ctx, l.root, name)
	if err != nil {
		return "", fmt.Errorf("%s: %w", name, err)
	}
	l.tools[name] = path
	return path, nil
}

// say tells how far the run has come.
func (l *lab) say(format string, args ...any) {
	_, _ = fmt.Fprintf(l.stderr, "bench: "+format+"\n", args...) // nothing depends on it
}

func (l *lab) detail(format string, args ...any) {
	if l.verbose {
		l.say(format, args...)
	}
}

func (l *lab) close() error {
	if err := os.RemoveAll(l.dir); err != nil { //nolint:gosec // newLab made it
		return fmt.Errorf("remove the data: %w", err)
	}
	return nil
}

// onStage runs f with a stage of its own: servers that it starts end with it, and their data goes.
func (l *lab) onStage(f func(*stage) error) (err error) {
	dir, err := os.MkdirTemp(l.dir, "")
	if err != nil {
		return fmt.Errorf("make a folder: %w", err)
	}
	st := &stage{lab: l, dir: dir}
	defer func() { err = errors.Join(err, st.close()) }()
	return f(st)
}

// stage is a folder and the servers that keep their data in it.
type stage struct {
	*lab
	dir      string
	children []*child
	apart    processors // of the registries alone; nil: all share all
}

// folder makes a folder of the stage.
func (st *stage) folder(name string) (string, error) {
	dir := filepath.Join(st.dir, name)
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return "", fmt.Errorf("make a folder: %w", err)
	}
	return dir, nil
}

func (st *stage) close() error {
	for _, c := range st.children {
		c.stop()
	}
	if err := os.RemoveAll(st.dir); err != nil {
		return fmt.Errorf("remove the data of a benchmark: %w", err)
	}
	return nil
}
