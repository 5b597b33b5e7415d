package e2e

import (
	"bytes"
	"encoding/base64"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/berthregistry/berth/internal/testenv"
)

// program is a client program with the credentials that it was given, if any.
type program struct {
	t      *testing.T
	path   string
	before []string // arguments of every run
	env    []string
}

// program finds a client and logs it in with a registry token; "" is no account at all.
func (r *registry) program(t *testing.T, name, token string, before ...string) program {
	t.Helper()
	home := t.TempDir()
	docker, regctl := map[string]any{}, map[string]any{"tls": "disabled", "hostname": r.host}
	if token != "" {
		docker["auths"] = map[string]any{
			r.host: map[string]any{"auth": base64.StdEncoding.EncodeToString([]byte("any:" + token))},
		}
		regctl["user"], regctl["pass"] = "any", token
	}
	// So that regctl sends layers of more than a mebibyte in chunks.
	regctl["blobMax"], regctl["blobChunk"] = 1<<20, 1<<18
	write(t, filepath.Join(home, "config.json"), encode(t, docker))
	write(t, filepath.Join(home, "regctl.json"), encode(t, map[string]any{"hosts": map[string]any{r.host: regctl}}))
	return program{
		t: t, path: testenv.Tool(t, name), before: before,
		env: []string{
			"PATH=" + os.Getenv("PATH"), "HOME=" + home, "XDG_RUNTIME_DIR=" + home, "TMPDIR=" + t.TempDir(),
			"DOCKER_CONFIG=" + home,
			"REGISTRY_AUTH_FILE=" + filepath.Join(home, "config.json"),
			"REGCTL_CONFIG=" + filepath.Join(home, "regctl.json"),
		},
	}
}

func write(t *testing.T, file string, body []byte) {
	t.Helper()
	must(t, os.WriteFile(file, body, 0o600))
}

// try runs the client and gives what it prints.
func (p program) try(stdin []byte, args ...string) (stdout, stderr string, err error) {
	cmd := exec.CommandContext(p.t.Context(), p.path, append(append([]string{}, p.before...), args...)...)
	var out, complaints bytes.Buffer
	cmd.Env, cmd.Stdout, cmd.Stderr = p.env, &out, &complaints
	cmd.Stdin = bytes.NewReader(stdin)
	err = cmd.Run()
	return strings.TrimSpace(out.String()), complaints.String(), err
}

// run is try that fails the test with the client.
func (p program) run(args ...string) string {
	p.t.Helper()
	return p.feed(nil, args...)
}

// feed is run with a standard input.
func (p program) feed(stdin []byte, args ...string) string {
	p.t.Helper()
	out, complaints, err := p.try(stdin, args...)
	if err != nil {
		p.t.Fatalf("%s %s: %v\n%s%s", filepath.Base(p.path), strings.Join(args, " "), err, out, complaints)
	}
	return out
}

// refused runs the client and fails the test unless it fails and says why.
func (p program) refused(why string, args ...string) {
	p.t.Helper()
	out, complaints, err := p.try(nil, args...)
	if err == nil {
		p.t.Errorf("%s %s: not refused\n%s", filepath.Base(p.path), strings.Join(args, " "), out)
	} else if !strings.Contains(strings.ToLower(complaints), strings.ToLower(why)) {
		p.t.Errorf("%s %s: refused with %q, want %q", filepath.Base(p.path), strings.Join(args, " "), complaints, why)
	}
}
