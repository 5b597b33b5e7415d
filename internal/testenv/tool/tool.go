// Package tool builds the pinned command-line tools that the tests and the Makefile use.
//
// Versions stand in one file, tools.versions at the root of the repository. A binary carries its version and that of
// the Go toolchain in its name, so that raising either builds it anew.
package tool

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"
)

// VersionsFile is the name of the file, at the root of the repository, that pins the tools.
const VersionsFile = "tools.versions"

// ErrUnknown says that the versions file does not list a tool.
var ErrUnknown = errors.New("tool is not listed in " + VersionsFile)

// Spec is one pinned tool: a line of the versions file.
type Spec struct {
	Name    string
	Package string
	Version string
}

// Root finds the root of the repository: the closest folder, from the working directory upwards, that holds the
// versions file. It returns an error that is fs.ErrNotExist where there is none.
func Root() (string, error) {
	dir, err := os.Getwd()
	if err != nil {
		return "", fmt.Errorf("find the repository: %w", err)
	}
	for {
		if _, err := os.Stat(filepath.Join(dir, VersionsFile)); err == nil {
			return dir, nil
		}
		parent := filepath.Dir(dir)
		if parent == dir {
			return "", fmt.Errorf("no %s above the working directory: %w", VersionsFile, fs.ErrNotExist)
		}
		dir = parent
	}
}

// List reads the pinned tools of the repository at root.
func List(root string) ([]Spec, error) {
	data, err := os.ReadFile(filepath.Join(root, VersionsFile))
	if err != nil {
		return nil, fmt.Errorf("read the pinned versions: %w", err)
	}
	return parse(data)
}

func parse(data []byte) ([]Spec, error) {
	var specs []Spec
	lines := bufio.NewScanner(bytes.NewReader(data))
	for number := 1; lines.Scan(); number++ {
		line := strings.TrimSpace(lines.Text())
		if line == "" || strings.HasPrefix(line, "#") {
			continue
		}
		fields := strings.Fields(line)
		if len(fields) != 3 {
			return nil, fmt.Errorf("%s:%d: want name, package and version: %q", VersionsFile, number, line)
		}
		specs = append(specs, Spec{Name: fields[0], Package: fields[1], Version: fields[2]})
	}
	if err := lines.Err(); err != nil {
		return nil, fmt.Errorf("read %s: %w", VersionsFile, err)
	}
	return specs, nil
}

// Path returns the path of the named tool in the .tools/bin folder of the repository at root, and builds it first
// where it is missing. Processes that ask at the same time build one after the other. It returns ErrUnknown for a
// name that the versions file does not list.
func Path(ctx context.Context, root, name string) (string, error) {
	spec, err := find(root, name)
	if err != nil {
		return "", err
	}
	bin := filepath.Join(root, ".tools", "bin")
	file := filepath.Join(bin, spec.binary())
	if exists(file) {
		return file, nil
	}
	if err := os.MkdirAll(bin, 0o755); err != nil { //nolint:gosec // binaries are no secret
		return "", fmt.Errorf("make the folder of the tools: %w", err)
	}
	unlock, err := lock(filepath.Join(root, ".tools", "lock"))
	if err != nil {
		return "", err
	}
	defer unlock()
	if exists(file) { // another process built it meanwhile
		return file, nil
	}
	if err := install(ctx, spec, file); err != nil {
		return "", err
	}
	return file, nil
}

func find(root, name string) (Spec, error) {
	specs, err := List(root)
	if err != nil {
		return Spec{}, err
	}
	for _, spec := range specs {
		if spec.Name == name {
			return spec, nil
		}
	}
	return Spec{}, fmt.Errorf("%s: %w", name, ErrUnknown)
}

// binary names the file of a tool. The toolchain belongs to it: linters refuse code newer than what built them.
func (s Spec) binary() string {
	return strings.Join([]string{s.Name, s.Version, strings.Fields(runtime.Version())[0]}, "_")
}

func exists(file string) bool {
	info, err := os.Stat(file)
	return err == nil && info.Mode().IsRegular()
}

// lock waits until no other process holds the lock file. The kernel frees it when its holder ends, however that ends.
func lock(file string) (unlock func(), err error) {
	f, err := os.OpenFile(file, os.O_CREATE|os.O_RDWR, 0o644) //nolint:gosec // an empty file
	if err != nil {
		return nil, fmt.Errorf("open the lock of the tools: %w", err)
	}
	for {
		err = syscall.Flock(int(f.Fd()), syscall.LOCK_EX)
		if !errors.Is(err, syscall.EINTR) {
			break
		}
	}
	if err != nil {
		_ = f.Close()
		return nil, fmt.Errorf("take the lock of the tools: %w", err)
	}
	return func() { _ = f.Close() }, nil
}

// install builds a tool in a folder of its own and moves it to file when it is whole.
func install(ctx context.Context, spec Spec, file string) error {
	build, err := os.MkdirTemp(filepath.Dir(file), ".build-")
	if err != nil {
		return fmt.Errorf("make a folder to build in: %w", err)
	}
	defer func() { _ = os.RemoveAll(build) }()

	//nolint:gosec // package and version come from the repository's own file
	cmd := exec.CommandContext(ctx, "go", "install", "-trimpath", "-ldflags=-s -w", spec.Package+"@"+spec.Version)
	cmd.Dir = build // away from this module, whose go.mod is no concern of the tool's
	cmd.Env = append(buildEnv(os.Environ()), "GOBIN="+build, "GOWORK=off", "CGO_ENABLED=0")
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("go install %s@%s: %w\n%s", spec.Package, spec.Version, err, out)
	}
	if err := os.Rename(filepath.Join(build, path.Base(spec.Package)), file); err != nil {
		return fmt.Errorf("put %s in its place: %w", spec.Name, err)
	}
	return nil
}

// buildEnv drops what is meant for building Berth itself: a tool runs on this machine, whatever is cross-compiled here.
func buildEnv(environ []string) []string {
	kept := make([]string, 0, len(environ))
	for _, entry := range environ {
		switch name, _, _ := strings.Cut(entry, "="); name {
		case "GOOS", "GOARCH", "GOAMD64", "GOARM64", "GOARM", "GOBIN", "GOWORK", "CGO_ENABLED":
		default:
			kept = append(kept, entry)
		}
	}
	return kept
}
