package check

import (
	"bytes"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/moby/buildkit/frontend/dockerfile/instructions"
	"github.com/moby/buildkit/frontend/dockerfile/parser"
	"github.com/moby/patternmatcher"
	"github.com/moby/patternmatcher/ignorefile"
)

const dockerfile = "../docker/Dockerfile"

// stages parses the Dockerfile as BuildKit does, every instruction into its type.
func stages(t *testing.T) []instructions.Stage {
	t.Helper()
	parsed, err := parser.Parse(bytes.NewReader(read(t, dockerfile)))
	if err != nil {
		t.Fatal(err)
	}
	for _, warning := range parsed.Warnings {
		t.Error(warning.Short)
	}
	stages, _, err := instructions.Parse(parsed.AST, nil)
	if err != nil {
		t.Fatal(err)
	}
	return stages
}

// all gives the instructions of one type.
func all[T any](stage instructions.Stage) (found []T) {
	for _, command := range stage.Commands {
		if command, ok := command.(T); ok {
			found = append(found, command)
		}
	}
	return found
}

func TestImageIsSmallAndUnprivileged(t *testing.T) {
	stages := stages(t)
	last := stages[len(stages)-1]
	if last.BaseName != "scratch" || len(stages) != 2 {
		t.Fatalf("%d stages, the last on %s", len(stages), last.BaseName)
	}
	if run := all[*instructions.RunCommand](last); len(run) > 0 {
		t.Errorf("nothing can run in an empty image: %v", run)
	}
	users := all[*instructions.UserCommand](last)
	if len(users) != 1 || !regexp.MustCompile(`^[1-9][0-9]+:[1-9][0-9]+$`).MatchString(users[0].User) {
		t.Fatalf("users %v: want one, by numbers", users)
	}
	copied := map[string]string{}
	for _, one := range all[*instructions.CopyCommand](last) {
		if one.From != "build" || one.Chown != "" || one.Chmod != "" {
			t.Errorf("%v is not from the build stage as it is there", one)
		}
		copied[one.DestPath] = one.SourcePaths[0]
	}
	for _, file := range []string{"/usr/bin/berth", "/etc/ssl/certs/ca-certificates.crt"} {
		if copied[file] == "" {
			t.Errorf("%s is missing", file)
		}
	}
	uid, gid, _ := strings.Cut(users[0].User, ":")
	its := "install -d -o " + uid + " -g " + gid + " -m 0750 "
	for folder, want := range map[string]string{"/var/lib/berth": its, "/var/cache/berth": its, "/tmp": "install -d -m 1777 "} {
		if made := want + copied["/"] + folder; !regexp.MustCompile(regexp.QuoteMeta(made) + `(\s|$)`).MatchString(built(t)) {
			t.Errorf("%s is not made by %q", folder, made)
		}
	}
	checks := all[*instructions.HealthCheckCommand](last)
	if len(checks) != 1 || !slices.Equal(checks[0].Health.Test, []string{"CMD", "/usr/bin/berth", "health"}) {
		t.Errorf("health checks %+v: there is no shell", checks)
	}
	if entry := all[*instructions.EntrypointCommand](last); len(entry) != 1 || entry[0].PrependShell {
		t.Errorf("entry points %+v: there is no shell", entry)
	}
}

// built is what runs in the build stage.
func built(t *testing.T) (run string) {
	t.Helper()
	for _, command := range all[*instructions.RunCommand](stages(t)[0]) {
		run += strings.Join(command.CmdLine, " ") + "\n"
	}
	return run
}

// TestImageIsBuiltAsByMake compares versions and flags, so that both give the same program.
func TestImageIsBuiltAsByMake(t *testing.T) {
	run := built(t)
	for _, want := range []string{"CGO_ENABLED=0", "-trimpath", "-s -w -X main.version=$VERSION -X main.commit=$COMMIT -X main.date=$DATE", "./cmd/api"} {
		if !strings.Contains(run, want) {
			t.Errorf("the build lacks %q:\n%s", want, run)
		}
		if inMake := strings.NewReplacer("$VERSION", "$(VERSION)", "$COMMIT", "$(COMMIT)", "$DATE", "$(DATE)").Replace(want); !strings.Contains(string(read(t, "../../Makefile")), inMake) {
			t.Errorf("the Makefile lacks %q", inMake)
		}
	}
	version := regexp.MustCompile(`(?m)^ARG GO_VERSION=(\d+\.\d+)\.\d+$`).FindSubmatch(read(t, dockerfile))
	module := regexp.MustCompile(`(?m)^go (\d+\.\d+)\.\d+$`).FindSubmatch(read(t, "../../go.mod"))
	if version == nil || module == nil || !bytes.Equal(version[1], module[1]) {
		t.Errorf("the image is built with Go %s, go.mod says %s", version, module)
	}
}

// TestImageSeesTheSourcesAlone applies .dockerignore to this repository.
func TestImageSeesTheSourcesAlone(t *testing.T) {
	patterns, err := ignorefile.ReadAll(bytes.NewReader(read(t, "../../.dockerignore")))
	if err != nil {
		t.Fatal(err)
	}
	matcher, err := patternmatcher.New(patterns)
	if err != nil {
		t.Fatal(err)
	}
	passed := map[string]bool{}
	for _, file := range repository(t) {
		ignored, err := matcher.MatchesOrParentMatches(file)
		if err != nil {
			t.Fatal(err)
		}
		if ignored {
			continue
		}
		passed[file] = true
		top, _, _ := strings.Cut(file, "/")
		if !slices.Contains([]string{"go.mod", "go.sum", "client", "cmd", "internal", "migrations", "web"}, top) || strings.HasSuffix(file, "_test.go") {
			t.Errorf("%s gets into the image's build", file)
		}
	}
	for _, needed := range []string{"go.mod", "go.sum", "cmd/api/main.go", "web/openapi/openapi.yaml", "migrations/postgres/00001_initial.sql", "internal/rbac/policy.csv"} {
		if !passed[needed] {
			t.Errorf("%s is kept from the image's build", needed)
		}
	}
}

// repository lists the files of the repository, but for those of Git and the tools.
func repository(t *testing.T) (files []string) {
	t.Helper()
	root := os.DirFS("../..")
	err := fs.WalkDir(root, ".", func(path string, entry fs.DirEntry, err error) error {
		switch {
		case err != nil:
			return err
		case entry.IsDir() && (path == ".git" || path == ".tools"):
			return fs.SkipDir
		case !entry.IsDir():
			files = append(files, filepath.ToSlash(path))
		}
		return nil
	})
	if err != nil || len(files) == 0 {
		t.Fatal("no files", err)
	}
	return files
}
