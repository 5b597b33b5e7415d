// Command crash pushes, mounts, moves, deletes and pulls with many clients at once while it kills the registry at every
// step that can be seen from outside and lets its database and its storage fail, and then checks that nothing which was
// acknowledged is lost, nothing dangles, nothing that was deleted is back and nothing is left behind. See
// docs/durability.md.
//
//	go run ./test/crash -backend postgres -kills 1000
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/berthregistry/berth/internal/testenv"
	"github.com/berthregistry/berth/test/children"
)

// options say what to run.
type options struct {
	backend  string        // sqlite or postgres
	kills    int           // how many; 0 is no bound
	duration time.Duration // of the whole run at most; 0 is no bound
	seed     uint64        // of everything that is drawn
	workers  int           // clients at once
	round    int           // kills between two checks
	large    bool          // also blobs of several chunks, whose interrupted sessions stay leased for a while
	collect  bool          // runs "berth gc", too
	program  string        // the registry; built when empty
	history  string        // file for the operations, as lines of JSON
	outage   time.Duration // instead of kills: each server fails once in each way for so long
}

const (
	backendSQLite   = "sqlite"   // and a folder, one process
	backendPostgres = "postgres" // and S3, two replicas
)

func (o options) validate() error {
	switch {
	case o.backend != backendSQLite && o.backend != backendPostgres:
		return fmt.Errorf("-backend is %q, want %s or %s", o.backend, backendSQLite, backendPostgres)
	case o.outage < 0 || o.outage == 0 && o.kills <= 0 && o.duration <= 0:
		return errors.New("neither -kills nor -duration nor -outage bounds the run")
	case o.workers < 1 || o.round < 1:
		return errors.New("-workers and -round have to be 1 or more")
	}
	return nil
}

func main() {
	var o options
	flag.StringVar(&o.backend, "backend", backendSQLite, "sqlite (with a folder, one process) or postgres (with S3, two replicas)")
	flag.IntVar(&o.kills, "kills", 0, "kill so many times; 0: until -duration is over")
	flag.DurationVar(&o.duration, "duration", 0, "begin no further round after this time")
	flag.Uint64Var(&o.seed, "seed", rand.Uint64(), "what to draw everything from; a random one by default")
	flag.IntVar(&o.workers, "workers", 8, "clients at once")
	flag.IntVar(&o.round, "round", 20, "kills between two checks")
	flag.BoolVar(&o.large, "large", true, "also push blobs of several chunks")
	flag.BoolVar(&o.collect, "gc", collectByDefault, "also run the program's gc command")
	flag.StringVar(&o.program, "program", "", "the registry to run; built from these sources by default")
	flag.StringVar(&o.history, "history", "", "write every operation to this file, as a line of JSON")
	flag.DurationVar(&o.outage, "outage", 0, "kill nobody: let database and storage fail in each way for so long")
	flag.Parse()
	if err := o.validate(); err != nil {
		fmt.Fprintln(os.Stderr, "crash:", err)
		os.Exit(2)
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	code := testenv.Program(ctx, func(tb testing.TB) { check(tb, o, os.Stdout) })
	stop()
	os.Exit(code)
}

// check runs the harness and fails where the registry does.
func check(tb testing.TB, o options, out io.Writer) {
	tb.Helper()
	_, _ = fmt.Fprintf(out, "crash: %s, seed %d; the same again: go run ./test/crash -backend %s -seed %d -kills %d -workers %d -round %d -large=%t -outage %s\n",
		o.backend, o.seed, o.backend, o.seed, o.kills, o.workers, o.round, o.large, o.outage)
	dir := tb.TempDir()
	if o.program == "" {
		o.program = filepath.Join(dir, "berth")
		if err := children.Build(tb.Context(), "github.com/berthregistry/berth/cmd/api", o.program); err != nil {
			tb.Fatal(err)
		}
	}
	h, err := newHarness(tb, o, dir, out)
	if err != nil {
		tb.Fatal(err)
	}
	defer h.close()
	work := h.run
	if o.outage > 0 {
		work = h.outages
	}
	err = work(tb.Context())
	h.summarize(out)
	if err != nil {
		tb.Errorf("crash: %v", err)
	}
	if o.outage == 0 && h.stats.killed() == 0 || h.stats.trees == 0 {
		tb.Errorf("crash: %d kills, %d manifests: too little to show anything", h.stats.killed(), h.stats.trees)
	}
	for i, v := range h.violations {
		if i == mostViolations {
			tb.Errorf("... and %d more", len(h.violations)-i)
			break
		}
		tb.Errorf("VIOLATION: %s", v)
	}
	if len(h.undecided) > 0 {
		tb.Errorf("undecided within %s: %s", decideWithin, strings.Join(h.undecided, ", "))
	}
}

// mostViolations is how many are told in full.
const mostViolations = 20
