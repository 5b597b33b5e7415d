package archtest

import (
	"bytes"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"strings"
	"testing"
)

// source is one Go file of the module.
type source struct {
	path      string // below the module's root, with slashes
	dir       string // its folder
	content   []byte
	test      bool
	generated bool
}

func (s source) lines() int { return bytes.Count(s.content, []byte("\n")) }

// sources reads every Go file of the module, also those that this platform does not build.
func sources(t *testing.T) []source {
	t.Helper()
	var found []source
	root := os.DirFS(moduleRoot(t))
	err := fs.WalkDir(root, ".", func(name string, entry fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if entry.IsDir() {
			if ignored(root, name) {
				return fs.SkipDir
			}
			return nil
		}
		if path.Ext(name) != ".go" {
			return nil
		}
		content, err := fs.ReadFile(root, name)
		if err != nil {
			return err
		}
		found = append(found, source{
			path:      name,
			dir:       path.Dir(name),
			content:   content,
			test:      strings.HasSuffix(name, "_test.go"),
			generated: strings.HasSuffix(name, ".gen.go"),
		})
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	if len(found) == 0 {
		t.Fatal("found no Go files")
	}
	return found
}

// ignored tells whether the Go tool passes over a folder too: by its name, or as a module of its own.
func ignored(root fs.FS, dir string) bool {
	if dir == "." {
		return false
	}
	base := path.Base(dir)
	if strings.HasPrefix(base, ".") || strings.HasPrefix(base, "_") || base == "testdata" || base == "vendor" {
		return true
	}
	_, err := fs.Stat(root, path.Join(dir, "go.mod"))
	return err == nil
}

func moduleRoot(t *testing.T) string {
	t.Helper()
	dir, err := os.Getwd()
	if err != nil {
		t.Fatal(err)
	}
	for {
		if _, err := os.Stat(filepath.Join(dir, "go.mod")); err == nil {
			return dir
		}
		parent := filepath.Dir(dir)
		if parent == dir {
			t.Fatal("no go.mod above the working directory")
		}
		dir = parent
	}
}
