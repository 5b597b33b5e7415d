package check

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"
)

// exposure is the most that systemd may find, in tenths of 10: what is left is that it talks on the network.
const exposure = 15

// unit puts the unit where its program exists, and returns its path.
func unit(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	program := filepath.Join(dir, "berth")
	if err := os.WriteFile(program, []byte("#!/bin/true\n"), 0o755); err != nil {
		t.Fatal(err)
	}
	content := bytes.ReplaceAll(read(t, "../systemd/berth.service"), []byte("/usr/local/bin/berth"), []byte(program))
	file := filepath.Join(dir, "berth.service")
	if err := os.WriteFile(file, content, 0o600); err != nil {
		t.Fatal(err)
	}
	return file
}

// analyze runs systemd-analyze, which needs no running systemd for this.
func analyze(t *testing.T, args ...string) (output string, err error) {
	t.Helper()
	path, err := exec.LookPath("systemd-analyze")
	if err != nil {
		t.Fatalf("systemd-analyze is missing: install it, on Debian by 'apt-get install -y systemd': %v", err)
	}
	cmd := exec.CommandContext(t.Context(), path, args...)
	cmd.Env = append(os.Environ(), "SYSTEMD_LOG_LEVEL=warning")
	out, err := cmd.CombinedOutput()
	return string(out), err
}

func TestUnitIsValid(t *testing.T) {
	file := unit(t)
	if out, err := analyze(t, "verify", "--man=no", file); err != nil || strings.Contains(out, "berth.service") {
		t.Errorf("systemd-analyze verify: %v\n%s", err, out)
	}
	// The same with its addition for TLS.
	additions := file + ".d"
	if err := os.Mkdir(additions, 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(additions, "tls.conf"), read(t, "../systemd/tls.conf"), 0o600); err != nil {
		t.Fatal(err)
	}
	if out, err := analyze(t, "verify", "--man=no", file); err != nil || strings.Contains(out, "berth.service") {
		t.Errorf("systemd-analyze verify, with tls.conf: %v\n%s", err, out)
	}
	broken := append(read(t, file), "\n[Service]\nProtectSistem=strict\n"...)
	if err := os.WriteFile(file, broken, 0o600); err != nil {
		t.Fatal(err)
	}
	if out, _ := analyze(t, "verify", "--man=no", file); !strings.Contains(out, "ProtectSistem") {
		t.Errorf("systemd-analyze verify finds no mistake in a unit that has one:\n%s", out)
	}
}

func TestUnitIsHardened(t *testing.T) {
	if out, err := analyze(t, "security", "--offline=true", "--no-pager", fmt.Sprintf("--threshold=%d", exposure), unit(t)); err != nil {
		t.Errorf("systemd-analyze security: %v\n%s", err, out)
	}
}

// TestUnitHasTimeToDrain: the settings beside it, and the 15 s that the program may take beyond them.
func TestUnitHasTimeToDrain(t *testing.T) {
	duration := func(file, name string) time.Duration {
		found := regexp.MustCompile(`(?m)^` + name + `=(\S+)$`).FindSubmatch(read(t, file))
		if found == nil {
			t.Fatalf("%s has no %s", file, name)
		}
		d, err := time.ParseDuration(string(found[1]))
		if err != nil {
			t.Fatal(err)
		}
		return d
	}
	const settings = "../systemd/berth.env"
	want := duration(settings, "BERTH_DRAIN_DELAY") + duration(settings, "BERTH_DRAIN_TIMEOUT") + 15*time.Second
	if got := duration("../systemd/berth.service", "TimeoutStopSec"); got != want {
		t.Errorf("TimeoutStopSec is %s, want %s", got, want)
	}
}

// TestUnitKnowsTheProgram: the server tells when it listens, and ends with 2 where its settings are wrong.
func TestUnitKnowsTheProgram(t *testing.T) {
	for _, line := range []string{"Type=notify", "RestartPreventExitStatus=2", "StateDirectory=berth", "CacheDirectory=berth"} {
		if !regexp.MustCompile("(?m)^" + line + "$").Match(read(t, "../systemd/berth.service")) {
			t.Errorf("the unit has no %s", line)
		}
	}
}
