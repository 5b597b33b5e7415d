package e2e

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"os"
	"os/exec"
	"strings"
	"testing"

	"github.com/berthregistry/berth/client"
	"github.com/berthregistry/berth/internal/verify"
)

// verified is what berth verify said.
type verified struct {
	code  int
	Steps []verify.Step
}

func runVerify(t *testing.T, program, url, token string, flags ...string) verified {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), program, append([]string{"verify", url, "--output=json"}, flags...)...)
	cmd.Env = append(os.Environ(), "BERTH_TOKEN="+token)
	var out, complaints bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &complaints
	var result verified
	if err := cmd.Run(); err != nil {
		exit, ok := errors.AsType[*exec.ExitError](err)
		if !ok {
			t.Fatal(err)
		}
		result.code = exit.ExitCode()
	}
	if strings.Contains(out.String()+complaints.String(), token) {
		t.Errorf("the token is shown:\n%s%s", &out, &complaints)
	}
	if err := json.Unmarshal(out.Bytes(), &result); err != nil {
		t.Fatalf("no report: %v\n%s%s", err, &out, &complaints)
	}
	return result
}

// failed are the names of the steps that did.
func (v verified) failed() string {
	var names []string
	for _, step := range v.Steps {
		if step.Result == verify.Failed {
			names = append(names, step.Name)
		}
	}
	return strings.Join(names, ", ")
}

func (v verified) step(t *testing.T, name string) verify.Step {
	t.Helper()
	for _, step := range v.Steps {
		if step.Name == name {
			return step
		}
	}
	t.Fatalf("no step %q in %+v", name, v.Steps)
	return verify.Step{}
}

func testVerify(t *testing.T, program string) {
	t.Parallel()
	each(t, func(t *testing.T, b backends) {
		c := startChild(t, program, b, "BERTH_PUBLIC_URL=", "BERTH_UNCLAIMED_SLUGS=random")
		v := runVerify(t, program, c.base, adminToken, "--anonymous=allowed")
		for _, step := range v.Steps {
			if step.Result != verify.Passed {
				t.Errorf("%+v", step)
			}
		}
		if v.code != 0 || len(v.Steps) != 12 {
			t.Errorf("exit code %d, %d steps", v.code, len(v.Steps))
		}
		if a := c.bearer(adminToken).want(200, http.MethodGet, "/api/v1/admin/projects", nil); strings.Contains(string(a.body), "verify-") {
			t.Errorf("projects are left: %s", a.body)
		}
		if v := runVerify(t, program, c.base, "a-token-that-nobody-has"); v.code != 1 || !strings.HasPrefix(v.failed(), "log in") {
			t.Errorf("with a wrong token: exit code %d, failed: %s", v.code, v.failed())
		}
		robotRepository(t, program, c)
	})
	t.Run("faults", func(t *testing.T) { t.Parallel(); testVerifyFaults(t, program) })
}

// robotRepository verifies with what cannot make projects.
func robotRepository(t *testing.T, program string, c *child) {
	t.Helper()
	r := &registry{host: strings.TrimPrefix(c.base, "http://")}
	owner := r.newProject(t, "kept")
	robot := newRobot(t, owner, "kept", client.RobotCreate{Actions: pullAndPush})
	v := runVerify(t, program, c.base, robot.Secret, "--repository=kept/probe", "--anonymous=auto", "--keep")
	if v.code != 0 || v.failed() != "" {
		t.Errorf("as a robot: exit code %d, failed: %s", v.code, v.failed())
	}
	if step := runVerify(t, program, c.base, robot.Secret, "--repository=kept/probe").step(t, "clean up"); step.Result != verify.Failed || !strings.Contains(step.Says, "may not delete") {
		t.Errorf("a robot deletes: %+v", step)
	}
}

// testVerifyFaults plants faults that an installation can have; each fails the step that is about it.
func testVerifyFaults(t *testing.T, program string) {
	f := newFaulty(t, &http.Transport{DisableKeepAlives: true})
	c := startChild(t, program, embedded(t), "BERTH_PUBLIC_URL=http://"+f.address(), "BERTH_UNCLAIMED_PUSH=false")
	f.passTo(t, c.base)
	f.server.Start()
	body := func(when func(*http.Response) bool, change func([]byte) []byte) planted {
		return planted{response: func(a *http.Response) {
			if !when(a) {
				return
			}
			content, _ := io.ReadAll(a.Body) // of a proxy of a test
			a.Body = io.NopCloser(bytes.NewReader(change(content)))
		}}
	}
	layers := func(a *http.Response) bool {
		return a.StatusCode == http.StatusOK && strings.Contains(a.Request.URL.Path, "/blobs/sha256") && a.ContentLength > 1<<19
	}
	for _, tt := range []struct {
		name   string
		fault  planted
		flags  []string
		failed string
	}{
		{"none", planted{}, []string{"--anonymous=refused"}, ""},
		{"anonymous pushes should be allowed", planted{}, []string{"--anonymous=allowed"}, "push without an account"},
		{"no authentication", answers(200, func(r *http.Request) bool { return r.URL.Path == "/v2/" }), nil, "challenge"},
		{"small bodies", answers(413, func(r *http.Request) bool { return r.ContentLength > 1<<20 }), nil, "resume an upload that was cut"},
		{"smaller bodies", answers(413, func(r *http.Request) bool { return r.ContentLength > 1<<10 }), nil, "push, resume an upload that was cut"},
		{"a Location of the inside", planted{response: func(a *http.Response) {
			if a.Header.Get("Location") != "" {
				a.Header.Set("Location", "http://internal:5000"+a.Header.Get("Location"))
			}
		}}, nil, "push, resume an upload that was cut"},
		{"other bytes", body(layers, func(b []byte) []byte { b[0] ^= 1; return b }), nil, "pull, resume an upload that was cut, pull again"},
		{"no conditions", planted{request: func(r *http.Request) { r.Header.Del("If-None-Match") }}, nil, "pull again"},
		{"no ranges", planted{request: func(r *http.Request) { r.Header.Del("Range") }}, nil, "pull again"},
		{"a lost upload", answers(404, func(r *http.Request) bool {
			return r.Method == http.MethodGet && strings.Contains(r.URL.Path, "/uploads/")
		}), nil, "resume an upload that was cut"},
		{"everybody is somebody", planted{request: func(r *http.Request) {
			if r.Header.Get("Authorization") == "" && strings.Contains(r.URL.Path, "/manifests/") {
				r.SetBasicAuth("any", adminToken)
			}
		}}, nil, "refuse a pull without an account"},
		{"everybody may push", answers(202, func(r *http.Request) bool {
			return r.Method == http.MethodPost && strings.HasSuffix(r.URL.Path, "/uploads/") && r.Header.Get("Authorization") == ""
		}), nil, "refuse a push without an account"},
		{"any token logs in", planted{request: func(r *http.Request) {
			if strings.HasPrefix(r.URL.Path, "/auth/") && r.Header.Get("Authorization") != "" {
				r.SetBasicAuth("any", adminToken)
			}
		}}, nil, "refuse a wrong token"},
		{"any scope pushes", planted{request: func(r *http.Request) {
			if r.Method == http.MethodPost && r.Header.Get("Authorization") != "" && strings.HasPrefix(r.URL.Path, "/v2/") {
				r.SetBasicAuth("any", adminToken)
			}
		}}, nil, "refuse a push without an account, refuse a push with a token to pull"},
		{"nothing is deleted", answers(500, func(r *http.Request) bool { return r.Method == http.MethodDelete }), nil, "clean up"},
	} {
		f.plant(tt.fault)
		v := runVerify(t, program, "http://"+f.address(), adminToken, tt.flags...)
		failed := v.failed()
		if failed != tt.failed && (tt.failed == "" || !strings.HasPrefix(failed, tt.failed)) || (v.code != 0) != (failed != "") {
			t.Errorf("%s: exit code %d, failed: %q, want %q\n%+v", tt.name, v.code, failed, tt.failed, v.Steps)
		}
	}
}
