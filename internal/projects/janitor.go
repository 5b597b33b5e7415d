package projects

import (
	"context"
	"errors"
	"log/slog"
	"time"

	"github.com/google/uuid"

	"github.com/berthregistry/berth/internal/audit"
	"github.com/berthregistry/berth/internal/database"
	"github.com/berthregistry/berth/internal/rounds"
)

const (
	// janitorInterval is about how often a replica looks for projects whose time has come.
	janitorInterval = time.Minute
	// janitorBatch is how many it takes at a time.
	janitorBatch = 200
)

var (
	// expiring finds the projects that nobody pushed to or claimed in time.
	expiring = database.SQL(`
		SELECT id, expires_at FROM projects WHERE state = 'unclaimed' AND expires_at <= $1 AND (expires_at, id) > ({bigint:$2}, {uuid:$3})
		ORDER BY expires_at, id LIMIT {limit:$4}`)
	// expire takes one. A row that a push or a claim holds is left for the next round, which sees what became of it; a push
	// that comes later waits, and then finds another state.
	expire = database.SQL(`
		UPDATE projects SET slug = NULL, state = 'deleted', epoch = epoch + 1, version = version + 1, updated_at = $2,
			deleted_at = $2, purge_after = $2, expires_at = NULL
		WHERE id = (SELECT id FROM projects WHERE id = $1 AND state = 'unclaimed' AND expires_at <= $2 {skip})
		RETURNING 1`)
	// endReservations spares the slugs that projects would be restored under.
	endReservations = database.SQL(`
		WITH due AS MATERIALIZED (
			SELECT h.slug FROM slug_history h
			WHERE h.reserved_until <= $1 AND NOT EXISTS (
				SELECT 1 FROM projects p WHERE p.id = h.project_id AND p.state = 'deleted' AND p.purge_after > $1)
			ORDER BY h.reserved_until LIMIT {limit:$2} {skip})
		DELETE FROM slug_history WHERE slug IN (SELECT slug FROM due) AND reserved_until <= $1
		RETURNING slug`)
)

// Janitor clears away projects that nobody claimed in time, and reservations of slugs that have run out. Any number of
// replicas may do so at once.
type Janitor struct {
	service *Service
	logger  *slog.Logger
}

// Janitor makes the service's Janitor.
func (s *Service) Janitor(logger *slog.Logger) *Janitor { return &Janitor{service: s, logger: logger} }

// Run works until ctx ends. It returns nil: what fails is logged and tried again.
func (j *Janitor) Run(ctx context.Context) error {
	rounds.Every(ctx, janitorInterval, func(ctx context.Context) {
		if err := j.Tidy(ctx); err != nil && ctx.Err() == nil {
			j.logger.WarnContext(ctx, "tidy up projects", slog.String("error", err.Error()))
		}
	})
	return nil
}

// Tidy does one round of what Run does: everything that is due when it is called.
func (j *Janitor) Tidy(ctx context.Context) error {
	return errors.Join(
		wrapped("expire unclaimed projects", j.expire(ctx)),
		wrapped("end reservations", j.untilDone(ctx, endReservations, func(database.Rows) error { return nil })),
	)
}

// dueProject is a project whose time has come.
type dueProject struct {
	id        uuid.UUID
	expiresAt int64
}

// expire takes every project that is due.
func (j *Janitor) expire(ctx context.Context) error {
	now := database.ToMicros(j.service.now())
	var last dueProject
	for {
		due, err := collect(ctx, j.service.db, func(r database.Rows) (p dueProject, err error) {
			return p, r.Scan(&p.id, &p.expiresAt)
		}, expiring, now, last.expiresAt, last.id, int64(janitorBatch))
		if err != nil {
			return err
		}
		for _, p := range due {
			if err := j.expireOne(ctx, p.id, now); err != nil {
				return err
			}
		}
		if len(due) < janitorBatch {
			return nil
		}
		last = due[len(due)-1]
	}
}

// errHeld says that a project is no longer due, or that somebody else has its row.
var errHeld = errors.New("somebody else has the project")

// expireOne takes one project, with its entry in the audit log.
func (j *Janitor) expireOne(ctx context.Context, id uuid.UUID, now int64) error {
	b := &database.Batch{}
	b.Require(errHeld, expire, id, now)
	entry(ctx, b, audit.ProjectExpire, id, nil)
	err := j.service.db.Run(ctx, b)
	if errors.Is(err, errHeld) {
		return nil
	}
	j.service.Forget(id)
	return err
}

// untilDone runs stmt with the time and a limit until it returns fewer rows than that.
func (j *Janitor) untilDone(ctx context.Context, stmt database.Stmt, seen func(database.Rows) error) error {
	now := database.ToMicros(j.service.now())
	for {
		n := 0
		b := &database.Batch{}
		b.Query(func(r database.Rows) error {
			n++
			return seen(r)
		}, stmt, now, int64(janitorBatch))
		if err := j.service.db.Run(ctx, b); err != nil {
			return err
		}
		if n < janitorBatch {
			return nil
		}
	}
}
