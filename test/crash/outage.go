package main

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"sync"
	"syscall"
	"time"
)

const (
	// patiently is how often clients try again while they wait for an outage to end.
	patiently = 1000
	// outageGap is how long everything works before an outage and after it.
	outageGap = 10 * time.Second
	// noticeWithin is how long a replica may take until /readyz tells the truth.
	noticeWithin = 15 * time.Second
	probeEvery   = 250 * time.Millisecond
	probeWithin  = 10 * time.Second
)

// failure is a way in which a server of a replica can fail.
type failure struct {
	name       string
	begin, end func(r *replica)
	paused     bool // the replica itself stands still, and answers no probe
}

var failures = map[string][]failure{
	backendSQLite: {{
		name: "the process stands still", paused: true,
		begin: func(r *replica) { r.signal(syscall.SIGSTOP) }, end: func(r *replica) { r.signal(syscall.SIGCONT) },
	}},
	backendPostgres: {
		{name: "s3: answers 503 SlowDown", begin: func(r *replica) { r.s3.SlowDown(1 << 30) }, end: (*replica).heal},
		{name: "s3: hangs", begin: func(r *replica) { r.s3.Hang(true) }, end: (*replica).heal},
		{name: "s3: refuses connections", begin: func(r *replica) { r.s3.Refuse(true) }, end: (*replica).heal},
		{name: "postgres: hangs", begin: func(r *replica) { r.postgres.Hang(true) }, end: (*replica).heal},
		{name: "postgres: refuses connections, as while it is restarted", begin: func(r *replica) { r.postgres.Refuse(true) }, end: (*replica).heal},
	},
}

// outages has each failure happen once, to all replicas at once and for as long as the options say, while the clients
// work. They wait as they are told and try again until they are done.
func (h *harness) outages(ctx context.Context) error {
	for round, f := range failures[h.o.backend] {
		if err := h.startAll(ctx); err != nil {
			return err
		}
		c := newCatalog(round)
		working, stop := context.WithCancel(ctx)
		var clients sync.WaitGroup
		for i := range h.o.workers {
			w := h.newWorker(round, i, c)
			clients.Go(func() { w.run(working) })
		}
		wait(ctx, outageGap)
		h.stats.fault(f.name)
		h.suffer(ctx, f)
		wait(ctx, outageGap)
		stop()
		clients.Wait()
		if err := h.check(ctx, round, c); err != nil {
			return err
		}
		_, _ = fmt.Fprintf(h.progress, "%8s %s, for %s: checked, %d violations\n",
			time.Since(h.began).Round(time.Second), f.name, h.o.outage, len(h.violations))
	}
	return h.last(ctx)
}

// suffer lets a failure happen and looks at the health of each replica.
func (h *harness) suffer(ctx context.Context, f failure) {
	for _, r := range h.replicas {
		f.begin(r)
	}
	began := time.Now()
	for !f.paused && time.Since(began) < h.o.outage && ctx.Err() == nil {
		for _, r := range h.replicas {
			h.probe(ctx, r, "/healthz", http.StatusOK)
			if time.Since(began) > noticeWithin {
				h.probe(ctx, r, "/readyz", http.StatusServiceUnavailable)
			}
		}
		wait(ctx, probeEvery)
	}
	wait(ctx, h.o.outage-time.Since(began))
	for _, r := range h.replicas {
		f.end(r)
	}
	wait(ctx, noticeWithin)
	for _, r := range h.replicas {
		h.probe(ctx, r, "/readyz", http.StatusOK)
	}
}

func (h *harness) probe(ctx context.Context, r *replica, path string, want int) {
	ctx, cancel := context.WithTimeout(ctx, probeWithin)
	defer cancel()
	out, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+r.address+path, http.NoBody)
	if err != nil {
		h.violated(path, "%v", err)
		return
	}
	answer, err := http.DefaultClient.Do(out)
	if err != nil {
		h.violated(path, "replica %d: %v", r.index, err)
		return
	}
	defer func() { _ = answer.Body.Close() }()
	body, _ := io.ReadAll(answer.Body) // it is only told
	if answer.StatusCode != want {
		h.violated(path, "replica %d answered %d, want %d: %s", r.index, answer.StatusCode, want, body)
	}
}

func (r *replica) signal(signal syscall.Signal) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.child != nil {
		_ = r.child.Signal(signal) // it may have ended
	}
}

// patience is how often a client tries something: so many times, or until an outage is over.
func (h *harness) patience(times int) int {
	if h.o.outage > 0 {
		return patiently
	}
	return times
}

// sessionLife is how long an upload session lives without activity.
func (h *harness) sessionLife() time.Duration { return sessionLife + 3*h.o.outage }

// pauseAfter waits for as long as an answer asks for. Where kills and faults are short, clients are not that patient.
func (h *harness) pauseAfter(ctx context.Context, a answer) {
	if h.o.outage == 0 || a.status != http.StatusServiceUnavailable {
		return
	}
	seconds, err := strconv.Atoi(a.header.Get("Retry-After"))
	if err != nil {
		return // it is a violation already
	}
	wait(ctx, time.Duration(seconds)*time.Second)
}
