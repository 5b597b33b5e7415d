package tool

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestParse(t *testing.T) {
	t.Parallel()
	got, err := parse([]byte("# comment\n\ncrane  example.org/cmd/crane   v1.2.3\n"))
	if err != nil {
		t.Fatal(err)
	}
	want := []Spec{{Name: "crane", Package: "example.org/cmd/crane", Version: "v1.2.3"}}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("parse: -want +got\n%s", diff)
	}
	if _, err := parse([]byte("crane v1.2.3\n")); err == nil || !strings.Contains(err.Error(), ":1:") {
		t.Errorf("a line without package: error %v, want one that names line 1", err)
	}
}

func TestPinnedVersionsAreExact(t *testing.T) {
	t.Parallel()
	root, err := Root()
	if err != nil {
		t.Fatal(err)
	}
	specs, err := List(root)
	if err != nil {
		t.Fatal(err)
	}
	seen := map[string]bool{}
	for _, spec := range specs {
		if seen[spec.Name] {
			t.Errorf("%s is listed twice", spec.Name)
		}
		seen[spec.Name] = true
		if !strings.HasPrefix(spec.Version, "v") {
			t.Errorf("%s is pinned to %q, want an exact version", spec.Name, spec.Version)
		}
	}
}

func TestPathFindsWhatIsBuilt(t *testing.T) {
	t.Parallel()
	root := repository(t, "crane example.org/cmd/crane v1.2.3\n")
	want := filepath.Join(root, ".tools", "bin", Spec{Name: "crane", Version: "v1.2.3"}.binary())
	write(t, want, "")

	got, err := Path(t.Context(), root, "crane")
	if err != nil {
		t.Fatal(err)
	}
	if got != want {
		t.Errorf("path %q, want %q", got, want)
	}
	if _, err := Path(t.Context(), root, "drane"); !errors.Is(err, ErrUnknown) {
		t.Errorf("a tool that is not listed: error %v, want %v", err, ErrUnknown)
	}
}

func TestPathReportsAFailedBuildAndLeavesNothing(t *testing.T) {
	t.Parallel()
	root := repository(t, "broken ./no/such/package v0.0.1\n")
	if _, err := Path(t.Context(), root, "broken"); err == nil {
		t.Fatal("a package that does not exist was built")
	}
	left, err := os.ReadDir(filepath.Join(root, ".tools", "bin"))
	if err != nil {
		t.Fatal(err)
	}
	if len(left) != 0 {
		t.Errorf("a failed build left %v", left)
	}
}

func TestPathStopsWithItsContext(t *testing.T) {
	t.Parallel()
	root := repository(t, "crane example.org/cmd/crane v1.2.3\n")
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := Path(ctx, root, "crane"); !errors.Is(err, context.Canceled) {
		t.Errorf("error %v, want %v", err, context.Canceled)
	}
}

func TestBuildEnvironment(t *testing.T) {
	t.Parallel()
	got := buildEnv([]string{"PATH=/bin", "GOOS=plan9", "GOBIN=/x", "GOFLAGS=-buildvcs=false"})
	if diff := cmp.Diff([]string{"PATH=/bin", "GOFLAGS=-buildvcs=false"}, got); diff != "" {
		t.Errorf("environment: -want +got\n%s", diff)
	}
}

func repository(t *testing.T, versions string) string {
	t.Helper()
	root := t.TempDir()
	write(t, filepath.Join(root, VersionsFile), versions)
	return root
}

func write(t *testing.T, file, content string) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(file, []byte(content), 0o600); err != nil {
		t.Fatal(err)
	}
}
