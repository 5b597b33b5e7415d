package e2e

import (
	"bufio"
	"context"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"testing"

	"github.com/berthregistry/berth/test/children"
)

// locked runs a program as deploy/ does everywhere: as a user who is nobody, without capabilities, with a file system
// that is read-only but for one folder. What it mounts is seen by itself alone.
const locked = `set -e
mount -t tmpfs -o mode=0755 tmpfs /mnt
install -m 0755 "$1" /mnt/berth
install -d -m 0750 -o 65532 -g 65532 /mnt/data
mount --bind /mnt/data /mnt/data
mount -o remount,bind,ro /mnt
mount -o remount,bind,ro /
if touch /mnt/x /x 2>/dev/null; then echo 'the root can be written to' >&2; exit 1; fi
cd /mnt/data
exec setpriv --reuid=65532 --regid=65532 --clear-groups --no-new-privs --bounding-set=-all --inh-caps=-all /mnt/berth serve`

// asRoot is a command of root's. Without being root, or sudo that asks nothing, the test fails.
func asRoot(ctx context.Context, arguments ...string) *exec.Cmd {
	if os.Geteuid() != 0 {
		arguments = append([]string{"sudo", "-n", "--preserve-env"}, arguments...)
	}
	return exec.CommandContext(ctx, arguments[0], arguments[1:]...)
}

func init() { ofPlatform["unprivileged"] = testUnprivileged }

// testUnprivileged starts the program so, on an empty folder, pushes and pulls, and stops it in good order.
func testUnprivileged(t *testing.T, program string) {
	log := &children.Record{}
	// Its own context: it is stopped by a signal, and killed only if that does not help.
	cmd := asRoot(context.WithoutCancel(t.Context()), "unshare", "--mount", "sh", "-c", locked, "sh", program)
	cmd.Env = []string{
		"PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "BERTH_ADDR=127.0.0.1:0", "BERTH_METRICS_ADDR=",
		"BERTH_DATABASE_URL=sqlite:/mnt/data/berth.db", "BERTH_STORAGE_URL=file:/mnt/data/objects", "BERTH_ADMIN_TOKEN=" + adminToken,
	}
	cmd.Stderr = log
	out, err := cmd.StdoutPipe()
	must(t, err)
	must(t, cmd.Start())
	stop := func(signal string) {
		_ = asRoot(context.WithoutCancel(t.Context()), "kill", "-"+signal, strconv.Itoa(cmd.Process.Pid)).Run() // it may have ended
	}
	t.Cleanup(func() { stop("KILL") })

	address, lines := "", bufio.NewScanner(out)
	for address == "" && lines.Scan() {
		if rest, ok := strings.CutPrefix(lines.Text(), "berth is listening on "); ok {
			address, _, _ = strings.Cut(rest, ",")
		}
	}
	if address == "" {
		t.Fatalf("it does not listen: %v\n%s", cmd.Wait(), log)
	}
	status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", cmd.Process.Pid))
	must(t, err)
	if os.Geteuid() == 0 { // else the process is sudo, and ours its child
		for _, want := range []string{"Uid:\t65532\t65532\t65532\t65532\n", "CapEff:\t0000000000000000\n", "CapBnd:\t0000000000000000\n", "NoNewPrivs:\t1\n"} {
			if !strings.Contains(string(status), want) {
				t.Errorf("the process does not have %q:\n%s", want, status)
			}
		}
	}
	w := wireTo(t, "http://"+address).basic(adminToken)
	w.want(http.StatusOK, http.MethodGet, "/readyz", nil)
	image := w.pushImage("locked/app", "one", content(3<<20))
	if found := w.readBack("locked/app", "one"); len(found) != 3 {
		t.Errorf("%s has the blobs %v", image.Digest, found)
	}
	stop("TERM")
	for lines.Scan() {
	}
	if err := cmd.Wait(); err != nil {
		t.Errorf("it ended with %v\n%s", err, log)
	}
}
