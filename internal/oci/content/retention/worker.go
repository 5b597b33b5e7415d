package retention

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync/atomic"
	"time"

	"github.com/google/uuid"
	"github.com/opencontainers/go-digest"

	"github.com/berthregistry/berth/internal/audit"
	"github.com/berthregistry/berth/internal/database"
	"github.com/berthregistry/berth/internal/events"
	"github.com/berthregistry/berth/internal/projects/quota"
	"github.com/berthregistry/berth/internal/rounds"
)

const (
	// workerPause is about how often a replica looks for projects that are due.
	workerPause = time.Minute
	// leaseLife is how long one replica has a project for itself, before each repository.
	leaseLife = 10 * time.Minute
	// victimsAtOnce is how many go in one transaction, which keeps pushes to the project waiting.
	victimsAtOnce = 100
	// attempts is how often a repository is looked at anew that changes meanwhile. What is left waits for the next time.
	attempts = 3
)

// errMoved says that the repository is not as it was when it was decided what goes.
var errMoved = errors.New("the repository has changed in the meantime")

var (
	takeDue = database.SQL(`
		UPDATE retention_schedule SET lease_until = $2
		WHERE project_id = (SELECT project_id FROM retention_schedule
			WHERE next_run_at <= $1 AND lease_until <= $1 ORDER BY next_run_at, project_id LIMIT 1 {skip})
		RETURNING project_id`)
	prolongLease = database.SQL(`UPDATE retention_schedule SET lease_until = $2 WHERE project_id = $1`)
	finishRun    = database.SQL(`UPDATE retention_schedule SET next_run_at = $2, lease_until = 0 WHERE project_id = $1`)

	activeProject = database.SQL(`SELECT 1 FROM projects WHERE id = $1 AND state IN ('active', 'unclaimed')`)
	requireState  = database.SQL(`
		SELECT 1 FROM (SELECT ` + stateColumns + `) AS now WHERE tags = $2 AND moved = $3 AND manifests = $4 AND pushed = $5`)
	hideTag = database.SQL(`
		UPDATE tags SET deleted_at = $5, purge_after = $6, deletion = $7
		WHERE repository_id = $1 AND name = $2 AND digest = $3 AND updated_at = $4 AND deleted_at IS NULL AND NOT ` + immutable + `
		RETURNING 1`)
	historyOfTag = database.SQL(`
		INSERT INTO tag_history (repository_id, tag, digest, previous_digest, actor, at, audit_id) VALUES ($1, $2, NULL, $3, $4, $5, $6)`)
	hideManifest = database.SQL(`
		UPDATE manifests SET deleted_at = $5, purge_after = $6, deletion = $7
		WHERE repository_id = $1 AND digest = $2 AND pushed_at = $3 AND coalesce(last_pulled_at, 0) = $4 AND deleted_at IS NULL
		  AND NOT EXISTS (SELECT 1 FROM tags t WHERE t.repository_id = $1 AND t.digest = $2 AND t.deleted_at IS NULL)
		RETURNING 1`)
)

type counters struct{ tags, manifests, runs, failures atomic.Int64 }

// Stats is what a Service has done since it was made.
type Stats struct {
	// Tags and Manifests were let go.
	Tags, Manifests int64
	// Runs are projects that the rules were applied to, Failures those of them that failed.
	Runs, Failures int64
}

// Stats tells what the service has done.
func (s *Service) Stats() Stats {
	return Stats{s.stats.tags.Load(), s.stats.manifests.Load(), s.stats.runs.Load(), s.stats.failures.Load()}
}

// Run applies the rules of projects that are due until ctx ends. It returns nil: what fails is logged, and tried again the next
// time. Any number of replicas may do so at once.
func (s *Service) Run(ctx context.Context) error {
	rounds.Every(ctx, workerPause, func(ctx context.Context) {
		if err := s.ApplyDue(ctx); err != nil && ctx.Err() == nil {
			s.Logger.WarnContext(ctx, "apply retention rules", slog.String("error", err.Error()))
		}
	})
	return nil
}

// ApplyDue applies the rules of every project that is due and that no other replica has. Errors: the context's and the
// database's.
func (s *Service) ApplyDue(ctx context.Context) error {
	var failed error
	for {
		project, found, err := s.take(ctx)
		if err != nil || !found {
			return errors.Join(failed, err)
		}
		s.stats.runs.Add(1)
		if err := s.apply(ctx, project); err != nil {
			s.stats.failures.Add(1)
			failed = errors.Join(failed, fmt.Errorf("project %s: %w", project, err))
		}
		b := &database.Batch{}
		b.Exec(finishRun, project, database.ToMicros(s.Clock().Add(s.Interval)))
		if err := s.DB.Run(ctx, b); err != nil {
			return errors.Join(failed, err)
		}
	}
}

func (s *Service) take(ctx context.Context) (project uuid.UUID, found bool, err error) {
	b := &database.Batch{}
	b.Query(func(rows database.Rows) error {
		found = true
		return rows.Scan(&project) //nolint:wrapcheck // below
	}, takeDue, s.now(), database.ToMicros(s.Clock().Add(leaseLife)))
	if err := s.DB.Run(ctx, b); err != nil {
		return uuid.Nil, false, fmt.Errorf("take a project: %w", err)
	}
	return project, found, nil
}

// apply applies the rules of one project.
func (s *Service) apply(ctx context.Context, project uuid.UUID) error {
	rules, err := s.List(ctx, project, database.Page{Limit: s.MaxRules})
	if err != nil {
		return err
	}
	return s.places(ctx, project, func(p place) error {
		if !concerns(rules, p.path) {
			return nil
		}
		b := &database.Batch{}
		b.Exec(prolongLease, project, database.ToMicros(s.Clock().Add(leaseLife)))
		if err := s.DB.Run(ctx, b); err != nil {
			return fmt.Errorf("keep the project: %w", err)
		}
		return s.applyTo(ctx, p, rules)
	})
}

// applyTo applies rules to a repository, anew if it changes meanwhile.
func (s *Service) applyTo(ctx context.Context, p place, rules []Rule) error {
	var err error
	for range attempts {
		if err = s.attempt(ctx, p, rules); !errors.Is(err, errMoved) {
			return err
		}
	}
	s.Logger.InfoContext(ctx, "a repository changes too often to apply its retention rules now", slog.String("repository", p.path))
	return nil
}

func (s *Service) attempt(ctx context.Context, p place, rules []Rule) error {
	r, seen, err := s.read(ctx, p)
	if err != nil {
		return err
	}
	victims, err := Evaluate(rules, r, s.Clock())
	if err != nil {
		return err
	}
	e := newEvaluation(r, s.Clock())
	for len(victims) > 0 {
		n := min(len(victims), victimsAtOnce)
		if seen, err = s.remove(ctx, p, e, seen, victims[:n]); err != nil {
			return err
		}
		victims = victims[n:]
	}
	return nil
}

// remove deletes victims in one transaction, if the repository is still as it was seen, and returns as what it is then to
// be seen. The project's lock keeps away who would change it.
func (s *Service) remove(ctx context.Context, p place, e *evaluation, seen state, victims []Victim) (after state, err error) {
	b := &database.Batch{}
	b.Exec(lockProject, p.project)
	b.Require(errMoved, activeProject, p.project)
	b.Require(errMoved, requireState, p.id, seen.tags, seen.moved, seen.manifests, seen.pushed)
	tags := 0
	for _, v := range victims {
		if v.Tag != "" {
			tags++
			s.removeTag(ctx, b, p, e, v)
		} else {
			s.removeManifest(ctx, b, p, e, v)
		}
	}
	b.Query(after.scan, readState, p.id)
	if err := s.DB.Run(ctx, b); err != nil {
		return state{}, fmt.Errorf("apply retention rules: %w", err)
	}
	s.stats.tags.Add(int64(tags))
	s.stats.manifests.Add(int64(len(victims) - tags))
	return after, nil
}

func (s *Service) purgeAfter() int64 { return database.ToMicros(s.Clock().Add(s.TrashLife)) }

func (s *Service) removeTag(ctx context.Context, b *database.Batch, p place, e *evaluation, v Victim) {
	pushed := e.Tags[e.tagAt(v.Tag)].PushedAt
	b.Require(errMoved, hideTag, p.id, v.Tag, v.Digest, database.ToMicros(pushed), s.now(), s.purgeAfter(), uuid.Must(uuid.NewV7()))
	entry := s.record(ctx, b, p, v, v.Tag)
	b.Exec(historyOfTag, p.id, v.Tag, v.Digest, audit.ActorSystem, s.now(), entry)
	events.AppendTagDeletion(b, p.project, p.path, v.Tag, audit.ActorSystem, s.now())
}

func (s *Service) removeManifest(ctx context.Context, b *database.Batch, p place, e *evaluation, v Victim) {
	m := e.Manifests[e.at[v.Digest]]
	pulled := int64(0)
	if !m.PulledAt.IsZero() {
		pulled = database.ToMicros(m.PulledAt)
	}
	quota.RemoveManifest(b, p.project, p.path, digest.Digest(v.Digest), s.now())
	b.Require(errMoved, hideManifest, p.id, v.Digest, database.ToMicros(m.PushedAt), pulled, s.now(), s.purgeAfter(), uuid.Must(uuid.NewV7()))
	s.record(ctx, b, p, v, v.Digest)
	events.Append(b, events.Event{
		Project: p.project, Kind: events.ManifestDeleted, Object: events.ManifestObject(p.path, v.Digest),
		Data: events.Content{Repository: p.path, Digest: v.Digest, Actor: audit.ActorSystem},
	}, s.now())
}

// record appends who let something go: the server, by a rule.
func (s *Service) record(ctx context.Context, b *database.Batch, p place, v Victim, object string) uuid.UUID {
	ctx = audit.With(ctx, audit.Origin{Actor: audit.ActorSystem})
	return audit.Append(ctx, b, audit.Entry{
		Action: audit.RetentionDelete, Project: p.project, Repository: p.path, Object: object,
		Detail: map[string]string{"rule": v.Rule.String(), "reason": v.Reason, "digest": v.Digest},
	})
}
