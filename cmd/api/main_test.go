package main

import (
	"bufio"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"testing"

	"github.com/rogpeppe/go-internal/testscript"
)

func TestMain(m *testing.M) { testscript.Main(m, map[string]func(){"berth": main}) }

func TestScripts(t *testing.T) {
	testscript.Run(t, testscript.Params{Dir: "testdata", RequireExplicitExec: true})
}

// program is a running `berth serve`.
type program struct {
	*exec.Cmd
	stdout, stderr *bufio.Reader
	addr           string
}

// serve starts the program in a folder of its own and waits until it listens.
func serve(t *testing.T, flags ...string) *program {
	t.Helper()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	berth := filepath.Join(dir, "berth") // under this name the test binary is the program
	if err := os.Symlink(self, berth); err != nil {
		t.Fatal(err)
	}
	p := &program{Cmd: exec.Command(berth, append([]string{"serve", "--addr=127.0.0.1:0", "--metrics-addr="}, flags...)...)}
	p.Dir = dir
	stdout, err := p.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	stderr, err := p.StderrPipe()
	if err != nil {
		t.Fatal(err)
	}
	p.stdout, p.stderr = bufio.NewReader(stdout), bufio.NewReader(stderr)
	if err := p.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = p.Process.Kill() })
	line := await(t, p.stdout, "berth is listening on ")
	p.addr, _, _ = strings.Cut(strings.TrimPrefix(line, "berth is listening on "), ",")
	return p
}

// await reads until a line that holds a text.
func await(t *testing.T, from *bufio.Reader, text string) string {
	t.Helper()
	for {
		line, err := from.ReadString('\n')
		if strings.Contains(line, text) {
			return line
		}
		if err != nil {
			t.Fatalf("no %q: %v", text, err)
		}
	}
}

func (p *program) signal(t *testing.T, signal os.Signal) {
	t.Helper()
	if err := p.Process.Signal(signal); err != nil {
		t.Fatal(err)
	}
}

func TestOneSignalStopsInGoodOrder(t *testing.T) {
	t.Parallel()
	for _, signal := range []os.Signal{os.Interrupt, syscall.SIGTERM} {
		p := serve(t)
		p.signal(t, signal)
		await(t, p.stderr, "every request finished")
		if _, err := io.Copy(io.Discard, p.stderr); err != nil {
			t.Error(err)
		}
		if err := p.Wait(); err != nil {
			t.Errorf("%s: %v", signal, err)
		}
	}
}

func TestASecondSignalEndsAtOnce(t *testing.T) {
	t.Parallel()
	p := serve(t, "--drain-timeout=1h", "--body-idle-timeout=1h")
	conn, err := net.Dial("tcp", p.addr)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = conn.Close() }()
	// The server says "100 Continue" when the handler waits for the body, which never comes.
	const request = "POST /auth/token HTTP/1.1\r\nHost: x\r\nExpect: 100-continue\r\nContent-Length: 100\r\n" +
		"Content-Type: application/x-www-form-urlencoded\r\n\r\n"
	if _, err := io.WriteString(conn, request); err != nil {
		t.Fatal(err)
	}
	await(t, bufio.NewReader(conn), "100 Continue")
	p.signal(t, syscall.SIGTERM)
	await(t, p.stderr, "stopping")
	p.signal(t, syscall.SIGTERM)
	if err := p.Wait(); err == nil || p.ProcessState.ExitCode() != exitSignal {
		t.Errorf("the program ended with %v", err)
	}
}

func TestHeapGrowth(t *testing.T) {
	for name, c := range map[string]struct{ asked, want string }{
		"by default": {"", "200"},
		"as asked":   {"50", "50"},
	} {
		t.Setenv("GOGC", c.asked) // the program inherits it
		p := serve(t, "--metrics-addr=127.0.0.1:0")
		line := await(t, p.stderr, "metrics_address=")
		_, rest, _ := strings.Cut(line, "metrics_address=")
		addr, _, _ := strings.Cut(rest, " ")
		request, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "http://"+addr+"/metrics", nil)
		if err != nil {
			t.Fatal(err)
		}
		answer, err := http.DefaultClient.Do(request)
		if err != nil {
			t.Fatal(err)
		}
		body, err := io.ReadAll(answer.Body)
		_ = answer.Body.Close()
		if err != nil {
			t.Fatal(err)
		}
		if !regexp.MustCompile(`(?m)^go_config_gogc_percent(\{.*\})? ` + c.want + `$`).Match(body) {
			t.Errorf("%s, the heap does not grow by %s%%", name, c.want)
		}
	}
}

func TestVersionFlagsOfTheLinkerWin(t *testing.T) {
	t.Parallel()
	b := buildInfo{version: "v1.2.3", commit: "abc"}.filled()
	if text := b.String(); !strings.HasPrefix(text, "v1.2.3 (commit abc, built unknown, go") {
		t.Errorf("version %q", text)
	}
}
