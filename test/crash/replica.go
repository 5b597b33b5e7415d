package main

import (
	"context"
	"errors"
	"fmt"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/berthregistry/berth/test/children"
	"github.com/berthregistry/berth/test/crash/faults"
)

const (
	adminToken = "an-administrators-token-for-crashes"
	// sessionLife is how long an upload session lives without activity while the clients work.
	sessionLife = 20 * time.Second
	// restartPause is the time between two attempts to start a replica whose database does not answer.
	restartPause = 100 * time.Millisecond
	// startWithin is how long the faults may keep a replica from starting.
	startWithin = time.Minute
)

// replica is one process of the registry with the proxies before its servers.
type replica struct {
	h        *harness
	index    int
	address  string // the same after every start
	postgres *faults.Postgres
	s3       *faults.S3
	env      []string

	starting sync.Mutex // one start at a time
	mu       sync.Mutex
	child    *children.Child              // nil while it is down
	wanted   map[*children.Child]struct{} // those whose end is no surprise
}

func (h *harness) newReplica(index int) (*replica, error) {
	address, err := children.FreeAddress()
	if err != nil {
		return nil, err //nolint:wrapcheck // says what it is about
	}
	r := &replica{h: h, index: index, address: address, wanted: map[*children.Child]struct{}{}}
	database, storage := h.database, h.storage
	if h.o.backend == backendPostgres {
		if database, err = r.proxyDatabase(database); err != nil {
			return nil, err
		}
		if storage, err = r.proxyStorage(storage); err != nil {
			return nil, err
		}
	}
	r.env = []string{
		"BERTH_ADDR=" + address, "BERTH_METRICS_ADDR=", "BERTH_LOG_LEVEL=warn", "BERTH_PUBLIC_URL=http://registry.example.com",
		"BERTH_DATABASE_URL=" + database, "BERTH_STORAGE_URL=" + storage, "BERTH_CHUNK_SIZE=" + strconv.Itoa(h.chunk),
		"BERTH_RATELIMIT_ENABLED=false", "BERTH_MAX_UPLOADS=0", "BERTH_ADMIN_PASSWORD=a long password for tests", "BERTH_ADMIN_TOKEN=" + adminToken,
		"BERTH_UPLOAD_TTL=" + h.sessionLife().String(), "BERTH_SWEEP_DELAY=1s", "BERTH_UPLOAD_SPOOL_DIR=" + h.dir,
	}
	if h.o.collect { // all the time, of what was deleted a moment ago
		r.env = append(r.env, "BERTH_TRASH_TTL=1s", "BERTH_GC_INTERVAL=1s", "BERTH_GC_LEASE=1s", "BERTH_GC_LOAD=100",
			"BERTH_GC_RETRY=1s", "BERTH_GC_COMPACT_CHUNKS=1")
	}
	return r, nil
}

func (r *replica) proxyDatabase(database string) (string, error) {
	u, err := url.Parse(database)
	if err != nil {
		return "", fmt.Errorf("database URL: %w", err)
	}
	if r.postgres, err = faults.NewPostgres(u.Host, r.index, &r.h.traps); err != nil {
		return "", err //nolint:wrapcheck // says what it is about
	}
	u.Host = r.postgres.Address()
	return u.String(), nil
}

func (r *replica) proxyStorage(storage string) (string, error) {
	_, endpoint, found := strings.Cut(storage, "endpoint=http://")
	if !found {
		return "", fmt.Errorf("the storage URL %s names no endpoint over http", storage)
	}
	target, _, _ := strings.Cut(endpoint, "&")
	var err error
	if r.s3, err = faults.NewS3(target, r.index, &r.h.traps); err != nil {
		return "", err //nolint:wrapcheck // says what it is about
	}
	r.s3.Answered = func() { r.h.traps.Turn(faults.PutAnswered, r.index, faults.BeforeCommit) }
	return strings.Replace(storage, target, r.s3.Address(), 1), nil
}

// start runs the replica, again and again while the faults before its database keep it from starting. One that is
// killed while it starts is started again by who killed it. One that runs already stays as it is.
func (r *replica) start(ctx context.Context, settings ...string) error {
	r.starting.Lock()
	defer r.starting.Unlock()
	deadline := time.Now().Add(startWithin)
	for {
		child, err := r.launch(settings)
		if err != nil || child == nil {
			return err
		}
		if err = child.Listen(); err == nil || r.meant(child) {
			return nil
		}
		r.gone(child)
		if r.postgres == nil || time.Now().After(deadline) {
			r.h.violated(fmt.Sprintf("replica %d", r.index), "does not start: %v", err)
			return err //nolint:wrapcheck // says what it is about
		}
		select {
		case <-ctx.Done():
			return ctx.Err() //nolint:wrapcheck // the end of the run
		case <-time.After(restartPause):
		}
	}
}

// launch starts a process, unless there is one, and watches for its end. Whoever kills meanwhile finds it or none.
func (r *replica) launch(settings []string) (*children.Child, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.child != nil {
		return nil, nil //nolint:nilnil // nothing to wait for
	}
	child, err := children.Launch(r.h.o.program, slices.Concat(r.env, settings)...)
	if err != nil {
		return nil, err //nolint:wrapcheck // says what it is about
	}
	r.child = child
	go r.watch(child)
	return child, nil
}

// gone forgets a process that has ended.
func (r *replica) gone(child *children.Child) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.child == child {
		r.child = nil
	}
}

func (r *replica) meant(child *children.Child) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	_, wanted := r.wanted[child]
	return wanted
}

// watch notes a process that served and ended by itself.
func (r *replica) watch(child *children.Child) {
	err := child.Err()
	if child.Listened() && !r.meant(child) {
		r.h.violated(fmt.Sprintf("replica %d", r.index), "ended by itself: %v\n%s", err, child.Log)
	}
}

// kill ends the process at once, and what it had sent but its servers had not read. It says whether there was one.
func (r *replica) kill() bool {
	r.mu.Lock()
	child := r.child
	r.child = nil
	if child != nil {
		r.wanted[child] = struct{}{}
	}
	r.mu.Unlock()
	if child == nil {
		return false
	}
	child.Kill()
	return true
}

// endWithin is how long a process that serves nobody may take to end.
const endWithin = 30 * time.Second

// end stops the process in good order: what it does in the background has then either happened or is noted.
func (r *replica) end() {
	r.mu.Lock()
	child := r.child
	if child != nil {
		r.wanted[child] = struct{}{}
	}
	r.mu.Unlock()
	if child == nil || child.Signal(syscall.SIGTERM) != nil {
		return
	}
	select {
	case <-child.Ended():
	case <-time.After(endWithin):
	}
	r.kill()
}

// pause stops the process for a while, as a machine that swaps does.
func (r *replica) pause(ctx context.Context, d time.Duration) {
	r.mu.Lock()
	child := r.child
	r.mu.Unlock()
	if child == nil || child.Signal(syscall.SIGSTOP) != nil {
		return
	}
	select {
	case <-ctx.Done():
	case <-time.After(d):
	}
	_ = child.Signal(syscall.SIGCONT) // it may have been killed
}

func (r *replica) close() {
	r.kill()
	if r.postgres != nil {
		r.postgres.Close()
	}
	if r.s3 != nil {
		r.s3.Close()
	}
}

// startAll starts every replica that is down.
func (h *harness) startAll(ctx context.Context) error {
	failed := make([]error, len(h.replicas))
	var wg sync.WaitGroup
	for i, r := range h.replicas {
		if i == 0 { // the first one brings the schema and the administrator
			failed[i] = r.startIfDown(ctx)
			continue
		}
		wg.Go(func() { failed[i] = r.startIfDown(ctx) })
	}
	wg.Wait()
	return errors.Join(failed...)
}

func (r *replica) startIfDown(ctx context.Context) error {
	r.mu.Lock()
	up := r.child != nil
	r.mu.Unlock()
	if up {
		return nil
	}
	return r.start(ctx)
}

func (h *harness) killAll() {
	for _, r := range h.replicas {
		r.kill()
	}
}
