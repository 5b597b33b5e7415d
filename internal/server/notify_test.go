package server_test

import (
	"net"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/berthregistry/berth/internal/server"
)

// TestTheServiceManagerIsTold: systemd counts a unit of Type=notify as started once the server listens, and no sooner.
func TestTheServiceManagerIsTold(t *testing.T) {
	path := filepath.Join(t.TempDir(), "notify")
	socket, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: path, Net: "unixgram"})
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = socket.Close() }()
	t.Setenv("NOTIFY_SOCKET", path)
	received := make(chan string, 1)
	i := start(t, settings(t.TempDir()), func(o *server.Options) {
		ready := o.Ready
		o.Ready = func(a server.Addresses) {
			buffer := make([]byte, 100)
			if err := socket.SetReadDeadline(time.Now().Add(time.Minute)); err != nil {
				t.Error(err)
			}
			n, err := socket.Read(buffer)
			if err != nil {
				t.Error(err)
			}
			received <- string(buffer[:n])
			ready(a)
		}
	})
	if got := <-received; got != "READY=1" {
		t.Errorf("the manager was told %q", got)
	}
	if err := i.stop(); err != nil {
		t.Error(err)
	}

	t.Setenv("NOTIFY_SOCKET", path+"-gone")
	i = start(t, settings(t.TempDir())) // it starts all the same
	if log := i.log.String(); !strings.Contains(log, "NOTIFY_SOCKET") {
		t.Errorf("the log does not tell:\n%s", log)
	}
}
