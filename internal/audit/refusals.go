package audit

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"github.com/google/uuid"

	"github.com/berthregistry/berth/internal/database"
)

const (
	// maxQueue bounds the refusals that wait to be written.
	maxQueue = 4096
	// flushInterval is how long they wait, flushBatch how many are written together.
	flushInterval = time.Second
	flushBatch    = 200
	// lastFlush is how long a stopping server tries to write what still waits.
	lastFlush = 5 * time.Second
)

// Refusal is something that somebody was refused.
type Refusal struct {
	Origin Origin
	// Action is what they tried to do, Operation how the plane calls it, where that says more.
	Action, Operation string
	// Project is what they tried it on; of one that is not known, Segment is what a path has in its place: a slug or ID.
	Project uuid.UUID
	Segment string
	// Repository and Object are as those of an Entry.
	Repository, Object string
	// Reason is why. It must not hold a secret.
	Reason string

	count int // of how many this stands for all; 0: for itself
}

// refusalDetail is the detail of a refusal's entry.
type refusalDetail struct {
	Reason    string `json:"reason,omitempty"`
	Operation string `json:"operation,omitempty"`
	Count     int    `json:"count,omitempty"`
}

// Stats are the refusals that a Recorder has been told of since it was made.
type Stats struct {
	// Queued are those that were to be written one by one, Written the entries that are in the log, Sampled those that were
	// only counted, and Dropped those for which there was no room.
	Queued, Written, Sampled, Dropped int64
}

// RecorderConfig is what a Recorder works with.
type RecorderConfig struct {
	DB *database.DB
	// First is how many refusals of one caller and action are written one by one in a minute.
	First int
	// Clock tells the time; nil: time.Now.
	Clock  func() time.Time
	Logger *slog.Logger
}

// Recorder writes refusals in the background. It is safe for concurrent use, and a nil Recorder records nothing.
type Recorder struct {
	db      *database.DB
	logger  *slog.Logger
	sampler *sampler

	mu    sync.Mutex
	queue []Refusal

	queued, written, sampled, dropped atomic.Int64
}

// NewRecorder makes a Recorder, whose Run has to be called.
func NewRecorder(cfg RecorderConfig) *Recorder {
	if cfg.Clock == nil {
		cfg.Clock = time.Now
	}
	if cfg.Logger == nil {
		cfg.Logger = slog.New(slog.DiscardHandler)
	}
	return &Recorder{db: cfg.DB, logger: cfg.Logger, sampler: newSampler(cfg.First, cfg.Clock)}
}

// Refused notes a refusal. It waits for nothing.
func (r *Recorder) Refused(refusal Refusal) {
	if r == nil {
		return
	}
	switch r.sampler.judge(refusal) {
	case written:
		r.queued.Add(1)
		r.enqueue(refusal)
	case sampled:
		r.sampled.Add(1)
	case dropped:
		r.dropped.Add(1)
	}
}

// enqueue appends what there is room for.
func (r *Recorder) enqueue(refusals ...Refusal) {
	r.mu.Lock()
	defer r.mu.Unlock()
	room := min(len(refusals), maxQueue-len(r.queue))
	r.queue = append(r.queue, refusals[:room]...)
	r.dropped.Add(int64(len(refusals) - room))
}

func (r *Recorder) take() []Refusal {
	r.mu.Lock()
	defer r.mu.Unlock()
	taken := r.queue
	r.queue = nil
	return taken
}

// Stats tells what has become of the refusals so far.
func (r *Recorder) Stats() Stats {
	if r == nil {
		return Stats{}
	}
	return Stats{Queued: r.queued.Load(), Written: r.written.Load(), Sampled: r.sampled.Load(), Dropped: r.dropped.Load()}
}

// Run writes refusals until ctx ends, and then what still waits. It returns nil: what fails is logged and tried again.
func (r *Recorder) Run(ctx context.Context) error {
	ticker := time.NewTicker(flushInterval)
	defer ticker.Stop()
	for ctx.Err() == nil {
		select {
		case <-ticker.C:
			r.enqueue(r.sampler.counts(false)...)
			if err := r.Flush(ctx); err != nil && ctx.Err() == nil {
				r.logger.WarnContext(ctx, "write refusals to the audit log", slog.String("error", err.Error()))
			}
		case <-ctx.Done():
		}
	}
	last, cancel := context.WithTimeout(context.WithoutCancel(ctx), lastFlush)
	defer cancel()
	r.enqueue(r.sampler.counts(true)...)
	if err := r.Flush(last); err != nil {
		r.logger.WarnContext(last, "write the last refusals to the audit log", slog.String("error", err.Error()))
	}
	return nil
}

// A refusal names the project as the path did: who refuses does not always look for it.
var appendRefusal = database.SQL(insertEntry + `
	SELECT {uuid:$1}, {bigint:$2}, {text:$3}, {uuid:$4}, {uuid:$5}, {text:$6}, {text:$7}, {text:$8}, {text:$9}, '` + OutcomeRefused + `',
		coalesce({uuid:$10}, (SELECT p.id FROM projects p WHERE p.slug = {text:$11})), {text:$12}, {text:$13}, {text:$14}`)

// Flush writes what waits. What an error kept from being written waits again, as far as there is room. Errors: the
// context's and the database's.
func (r *Recorder) Flush(ctx context.Context) error {
	waiting := r.take()
	for len(waiting) > 0 {
		n := min(len(waiting), flushBatch)
		b := &database.Batch{}
		for i := range waiting[:n] {
			waiting[i].add(b)
		}
		if err := r.db.Run(ctx, b); err != nil {
			if !errors.Is(err, database.ErrUnclear) {
				r.enqueue(waiting...)
			}
			return fmt.Errorf("audit: %w", err)
		}
		r.written.Add(int64(n))
		waiting = waiting[n:]
	}
	return nil
}

func (r *Refusal) add(b *database.Batch) {
	id, at := newID()
	o, project := r.Origin, r.Project
	if parsed, err := uuid.Parse(r.Segment); err == nil && project == uuid.Nil && len(r.Segment) == 36 {
		project = parsed
	}
	b.Exec(appendRefusal, id, at, o.Actor, nullable(o.Token), nullable(o.Session), text(o.RemoteIP), text(o.UserAgent),
		text(o.RequestID), r.Action, nullable(project), text(r.Segment), text(r.Repository), text(r.Object),
		encoded(refusalDetail{Reason: text(r.Reason), Operation: r.Operation, Count: r.count}))
}
