package e2e

import (
	"fmt"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"

	"github.com/berthregistry/berth/test/children"
)

const (
	rollingCommands = 200 // of crane and skopeo, half of them pushes
	rollingClients  = 4   // at once
	rollingRestarts = 4   // at least, of the replicas in turn
)

// testRollingRestart restarts two replicas behind haproxy in turn, again and again, while crane and skopeo push and pull.
// None of their commands fails, and haproxy has no bad answer to give.
func testRollingRestart(t *testing.T, program string) {
	b := servers(t)
	addresses := make([]string, 3)
	for i := range addresses {
		var err error
		addresses[i], err = children.FreeAddress()
		must(t, err)
	}
	front, replicas := addresses[2], addresses[:2]
	start := func(i int) *child {
		return startChild(t, program, b, "BERTH_ADDR="+replicas[i], "BERTH_PUBLIC_URL=http://"+front,
			"BERTH_TRUSTED_PROXIES=127.0.0.1/32", "BERTH_DRAIN_DELAY=1s", "BERTH_GC_INTERVAL=1s")
	}
	running := []*child{start(0), start(1)}
	balancer := startBalancer(t, front, replicas)
	balancer.awaitUp(len(running))

	r := &registry{host: front}
	w := newShift(t, r)
	done := make(chan struct{})
	go func() {
		defer close(done)
		w.run()
	}()
	restarts := 0
	for working := true; working || restarts < rollingRestarts; restarts++ {
		i := restarts % len(running)
		must(t, running[i].Signal(syscall.SIGTERM))
		running[i].wantOrderlyEnd()
		running[i] = start(i)
		balancer.awaitUp(len(running))
		if restarts+1 >= rollingRestarts {
			w.enough.Store(true)
		}
		select {
		case <-done:
			working = false
		default:
		}
	}
	<-done
	t.Logf("%d restarts during %d commands", restarts, w.commands.Load())
	balancer.wantNoFailures()
	for i, pushed := range w.layouts {
		same(t, blobsOf(t, pushed), r.admin(t).readBack(fmt.Sprintf("rolling/app%d", i), "crane"))
	}
}

// shift is clients that work until they have done enough and enough has been done to them.
type shift struct {
	t             *testing.T
	r             *registry
	crane, skopeo program
	layouts       []string
	commands      atomic.Int64
	enough        atomic.Bool
}

func newShift(t *testing.T, r *registry) *shift {
	t.Helper()
	w := &shift{t: t, r: r, crane: r.crane(t, adminToken), skopeo: r.skopeo(t, adminToken)}
	shared := content(20_000)
	for range rollingClients {
		w.layouts = append(w.layouts, newLayout(t, newImage(t, "amd64", shared, 1000, 100_000)))
	}
	return w
}

func (w *shift) run() {
	var wg sync.WaitGroup
	for i := range rollingClients {
		pulled := w.t.TempDir()
		wg.Go(func() {
			for turn := 0; w.commands.Load() < rollingCommands || !w.enough.Load(); turn++ {
				w.turn(i, turn, pulled)
			}
		})
	}
	wg.Wait()
}

// turn pushes with one client and pulls with the other one, each in its turn. What is pushed is new to its repository
// every time, so that all of it is sent.
func (w *shift) turn(i, turn int, pulled string) {
	repo, layout := fmt.Sprintf("%s/rolling/app%d", w.r.host, i), w.layouts[i]
	fresh := fmt.Sprintf("%s/rolling/app%d/%d", w.r.host, i, turn)
	into := filepath.Join(pulled, fmt.Sprint(turn))
	if turn%2 == 0 {
		w.command(w.crane, "push", layout, repo+":crane")
		w.command(w.skopeo, "copy", "--src-tls-verify=false", "docker://"+repo+":crane", "oci:"+into+":latest")
		w.command(w.crane, "push", layout, fresh+":crane")
		w.command(w.crane, "pull", "--format=oci", fresh+":crane", into+"-fresh")
	} else {
		w.command(w.skopeo, "copy", "--dest-tls-verify=false", "oci:"+layout+":latest", "docker://"+repo+":skopeo")
		w.command(w.crane, "pull", "--format=oci", repo+":skopeo", into)
		w.command(w.skopeo, "copy", "--dest-tls-verify=false", "oci:"+layout+":latest", "docker://"+fresh+":skopeo")
		w.command(w.skopeo, "copy", "--src-tls-verify=false", "docker://"+fresh+":skopeo", "oci:"+into+"-fresh:latest")
	}
}

// command runs a client once: it must not fail.
func (w *shift) command(p program, args ...string) {
	w.commands.Add(1)
	if out, complaints, err := p.try(nil, args...); err != nil {
		w.t.Errorf("%s %s: %v\n%s%s", filepath.Base(p.path), strings.Join(args, " "), err, out, complaints)
	}
}
