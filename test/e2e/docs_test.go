package e2e

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/goccy/go-yaml"

	"github.com/berthregistry/berth/client"
	"github.com/berthregistry/berth/internal/testenv"
)

// codeBlock is a fenced block of a page, with its language.
var codeBlock = regexp.MustCompile("(?s)(?m:^)```(\\w+)\n(.*?\n)```[ \t]*(?m:$)")

// blocks are those of a page in a language.
func blocks(t *testing.T, page, language string) []string {
	t.Helper()
	content, err := os.ReadFile(filepath.Join("..", "..", page))
	must(t, err)
	var found []string
	for _, block := range codeBlock.FindAllStringSubmatch(string(content), -1) {
		if block[1] == language {
			found = append(found, block[2])
		}
	}
	if len(found) == 0 {
		t.Fatalf("%s has no block of %s", page, language)
	}
	return found
}

// reader is somebody who types what the pages say, in a folder as `make build` leaves it.
type reader struct {
	t    *testing.T
	dir  string
	env  []string
	host string
}

func newReader(t *testing.T, program string, c *child) *reader {
	t.Helper()
	r := &reader{t: t, dir: t.TempDir(), host: strings.TrimPrefix(c.base, "http://")}
	for _, dir := range []string{"bin", "tools", ".config/containers"} {
		must(t, os.MkdirAll(filepath.Join(r.dir, dir), 0o700))
	}
	must(t, os.Symlink(program, filepath.Join(r.dir, "bin", "berth")))
	for name, path := range map[string]string{"berth": program, "crane": testenv.Tool(t, "crane"), "skopeo": testenv.Tool(t, "skopeo")} {
		must(t, os.Symlink(path, filepath.Join(r.dir, "tools", name)))
	}
	write(t, filepath.Join(r.dir, ".config", "containers", "registries.conf"), fmt.Appendf(nil, "[[registry]]\nlocation = %q\ninsecure = true\n", r.host))
	r.env = []string{
		"PATH=" + filepath.Join(r.dir, "tools") + ":" + os.Getenv("PATH"), "HOME=" + r.dir, "TMPDIR=" + t.TempDir(),
		"XDG_RUNTIME_DIR=" + r.dir, "DOCKER_CONFIG=" + filepath.Join(r.dir, ".docker"),
		"REGISTRY_AUTH_FILE=" + filepath.Join(r.dir, "auth.json"),
		"BERTH_ADMIN_TOKEN=" + adminToken, "BERTH_ADMIN_PASSWORD=a long password for tests",
	}
	r.run("an image", "echo content > content.txt; tar -cf content.tar content.txt; crane append -f content.tar -t image:1 -o image.tar")
	return r
}

// strictly makes curl fail for answers that say that something failed.
const strictly = "curl() { command curl --fail-with-body \"$@\"; }\n"

// run runs a script that ends with the first command that fails, and gives what it printed.
func (r *reader) run(what, script string, env ...string) string {
	r.t.Helper()
	cmd := exec.CommandContext(r.t.Context(), "bash", "-euo", "pipefail", "-c", script)
	cmd.Dir, cmd.Env = r.dir, append(append([]string{}, r.env...), env...)
	var out bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &out
	if err := cmd.Run(); err != nil {
		r.t.Fatalf("%s: %v\n%s\n--- printed:\n%s", what, err, script, &out)
	}
	return out.String()
}

// typed is what a reader types of a page: with the address and the token of their own server, which runs already.
func (r *reader) typed(page string) string {
	r.t.Helper()
	return strings.NewReplacer("127.0.0.1:5000", r.host, "make run\n", "", "berth_pat_...", adminToken).
		Replace(strings.Join(blocks(r.t, page, "sh"), "\n"))
}

// testDocs runs the commands of the pages about a running server.
func testDocs(t *testing.T, program string) {
	t.Parallel()
	for page, want := range map[string][]string{
		"README.md":          {"belongs to nobody yet", "claimed project hello", "hello from berth", `"tags":["1"]`, "clean up"},
		"docs/quickstart.md": {"refused, as it should be", "claimed project hello", "hello from berth", "clean up"},
		"docs/claiming.md":   {"claimed project found", "owner"},
		"docs/runners.md":    {"firmware", "refused: runners do not push", "204"},
		"docs/doctor.md":     {"client.token", `"healthy"`, "clean up"},
		"docs/tenants.md":    {"refused: DENIED", "204", "grace@example.org"},
		"docs/api.md":        {"version-mismatch", "idempotency-replayed: true", "urn:berth:problem:invalid", "204"},
	} {
		t.Run(page, func(t *testing.T) {
			t.Parallel()
			b := embedded(t)
			c := startChild(t, program, b, "BERTH_PUBLIC_URL=")
			r := newReader(t, program, c)
			script := r.typed(page)
			if page != "docs/api.md" { // which shows refusals
				script = strictly + script
			}
			out := r.run(page, script, "BERTH_DATABASE_URL="+b.database, "BERTH_STORAGE_URL="+b.storage, "BERTH_ADDR="+r.host)
			for _, text := range want {
				if !strings.Contains(strings.ToLower(out), strings.ToLower(text)) {
					t.Errorf("%s prints no %q:\n%s", page, text, out)
				}
			}
		})
	}
	t.Run("docs/ci.md", func(t *testing.T) { t.Parallel(); testRecipes(t, program) })
}

// recipe is as much of the pipelines of all three services as holds commands.
type recipe struct {
	Jobs map[string]struct {
		Steps []struct{ Run string }
	}
	Publish struct{ Script []string }
	Steps   []struct{ Commands []string }
}

// commands are those of a pipeline, in their order.
func (r recipe) commands() []string {
	commands := r.Publish.Script
	for _, job := range r.Jobs {
		for _, step := range job.Steps {
			commands = append(commands, step.Run)
		}
	}
	for _, step := range r.Steps {
		for _, command := range step.Commands {
			commands = append(commands, strings.ReplaceAll(command, "$$", "$"))
		}
	}
	return commands
}

// testRecipes runs what the pipelines of docs/ci.md run, as a robot, and pulls what they pushed.
func testRecipes(t *testing.T, program string) {
	c := startChild(t, program, embedded(t), "BERTH_PUBLIC_URL=")
	r := newReader(t, program, c)
	r.run("make the project", "berth project create demo", "BERTH_SERVER="+c.base, "BERTH_TOKEN="+adminToken)
	of := &registry{host: r.host}
	robot := newRobot(t, of.api(t, adminToken), "demo", client.RobotCreate{Actions: pullAndPush, Repositories: &[]string{"app/**"}})
	scripts := map[string]string{"shell": r.typed("docs/ci.md")}
	for i, block := range blocks(t, "docs/ci.md", "yaml") {
		var one recipe
		must(t, yaml.Unmarshal([]byte(block), &one))
		if len(one.commands()) == 0 {
			t.Fatalf("a recipe without commands:\n%s", block)
		}
		scripts[fmt.Sprint("yaml", i+1)] = strings.Join(one.commands(), "\n")
	}
	if len(scripts) != 4 {
		t.Errorf("%d recipes", len(scripts))
	}
	for version, script := range scripts {
		r.run(version, script, "REGISTRY="+r.host, "REGISTRY_TOKEN="+robot.Secret, "VERSION="+version, "BUILDKITE_TAG="+version)
		c.want(200, "GET", "/v2/demo/app/manifests/"+version, nil, "Accept", "application/vnd.docker.distribution.manifest.v2+json")
	}
}
