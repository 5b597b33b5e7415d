package e2e

import (
	"bytes"
	"context"
	"encoding/csv"
	"fmt"
	"io"
	"net"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/berthregistry/berth/internal/testenv"
	"github.com/berthregistry/berth/test/children"
)

// haproxyConfig has what docs/durability.md asks for, with times that suit a test. Its parameters are the path of the
// control socket, the address, and the lines of the servers.
const haproxyConfig = `
global
    maxconn 1000
    stats socket %s mode 600 level user
defaults
    mode http
    timeout connect 5s
    timeout client 90s
    timeout server 90s
    timeout http-request 30s
    timeout check 10s
    retries 3
    option redispatch 1
    retry-on conn-failure empty-response
listen registry
    bind %s
    balance roundrobin
    option forwardfor
    option httpchk GET /readyz
    http-check expect status 200
    default-server inter 50ms fastinter 50ms downinter 50ms fall 1 rise 1
%s
`

// haproxy is the balancer itself, before replicas.
type haproxy struct {
	t       *testing.T
	address string
	control string // its socket
}

// startBalancer runs a balancer on an address until the test ends.
func startBalancer(t *testing.T, address string, replicas []string) haproxy {
	t.Helper()
	dir := t.TempDir()
	h := haproxy{t: t, address: address, control: filepath.Join(dir, "control")}
	var lines strings.Builder
	for i, replica := range replicas {
		fmt.Fprintf(&lines, "    server %s %s check\n", replicaName(i), replica)
	}
	file := filepath.Join(dir, "haproxy.cfg")
	write(t, file, fmt.Appendf(nil, haproxyConfig, h.control, address, &lines))
	log := &children.Record{}
	cmd := exec.CommandContext(t.Context(), testenv.Tool(t, "haproxy"), "-db", "-f", file)
	cmd.Stdout, cmd.Stderr = log, log
	must(t, cmd.Start())
	t.Cleanup(func() {
		_ = cmd.Wait() // it is killed with the test's context
		if t.Failed() {
			t.Logf("log of haproxy:\n%s", log)
		}
	})
	return h
}

func replicaName(i int) string { return fmt.Sprintf("replica%d", i) }

// figures asks haproxy for what it knows of its servers and of all together (BACKEND), by name and column.
func (h haproxy) figures() (map[string]map[string]string, error) {
	conn, err := new(net.Dialer).DialContext(h.t.Context(), "unix", h.control)
	if err != nil {
		return nil, err
	}
	defer func() { _ = conn.Close() }()
	if _, err := io.WriteString(conn, "show stat\n"); err != nil {
		return nil, err
	}
	text, err := io.ReadAll(conn)
	if err != nil {
		return nil, err
	}
	rows, err := csv.NewReader(bytes.NewReader(bytes.TrimSpace(text))).ReadAll()
	if err != nil {
		return nil, err
	}
	found := map[string]map[string]string{}
	for _, row := range rows[1:] {
		columns := map[string]string{}
		for i, name := range rows[0] {
			columns[name] = row[i]
		}
		found[columns["svname"]] = columns
	}
	return found, nil
}

// awaitUp waits until haproxy gives requests to all replicas.
func (h haproxy) awaitUp(replicas int) {
	h.t.Helper()
	ctx, cancel := context.WithTimeout(h.t.Context(), patience)
	defer cancel()
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for {
		up := 0
		figures, err := h.figures()
		for i := range replicas {
			// L7OK: before its first check a server counts as up.
			if s := figures[replicaName(i)]; strings.HasPrefix(s["status"], "UP") && strings.Contains(s["check_status"], "L7OK") {
				up++
			}
		}
		if up == replicas {
			return
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			h.t.Fatalf("haproxy: %d of %d replicas are up: %v %v", up, replicas, err, figures)
		}
	}
}

// wantNoFailures fails the test if any client was given an answer of 500 or more, or none.
func (h haproxy) wantNoFailures() {
	h.t.Helper()
	figures, err := h.figures()
	must(h.t, err)
	all := figures["BACKEND"]
	h.t.Logf("haproxy: %s requests, %s answered with 2xx, %s with 5xx, %s sent again, %s to another replica, %s errors of answers",
		all["req_tot"], all["hrsp_2xx"], all["hrsp_5xx"], all["wretr"], all["wredis"], all["eresp"])
	if all["hrsp_5xx"] != "0" || all["hrsp_2xx"] == "0" {
		h.t.Errorf("haproxy: %s answers of 5xx: %v", all["hrsp_5xx"], all)
	}
}
