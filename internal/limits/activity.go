package limits

import (
	"context"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"github.com/google/uuid"

	"github.com/berthregistry/berth/internal/database"
	"github.com/berthregistry/berth/internal/rounds"
)

const (
	// activityInterval is about how often a replica writes what it has gathered.
	activityInterval = 10 * time.Second
	// activityKeys is how many pairs of network and project a replica tells apart in that time. What further ones do is
	// counted as that of many.
	activityKeys = 256
	// activityLife is how long activity is kept.
	activityLife = 3 * Day
	// MaxWindow is how far a report may go back.
	MaxWindow = 2 * Day
	// activityWrite is how long the last write may take when the server stops.
	activityWrite = 5 * time.Second
)

// Doing is what one request of a caller without an account did.
type Doing struct {
	Bytes, Pushes, Refused int64
}

type activityKey struct {
	network string
	project uuid.UUID
}

// Activity gathers what callers without an account do and writes it now and then: no request waits for it, no two
// requests for the same row, and a flood of addresses costs no more rows than activityKeys in each interval. A crash
// loses what was not written yet.
type Activity struct {
	db     *database.DB
	now    func() time.Time
	logger *slog.Logger

	mu   sync.Mutex
	done map[activityKey]Doing
}

// NewActivity makes an Activity.
func NewActivity(db *database.DB, now func() time.Time, logger *slog.Logger) *Activity {
	return &Activity{db: db, now: now, logger: logger, done: map[activityKey]Doing{}}
}

// Note notes what a request did. A nil Activity notes nothing.
func (a *Activity) Note(network string, project uuid.UUID, d Doing) {
	if a == nil || d == (Doing{}) {
		return
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	key := activityKey{network, project}
	sum, known := a.done[key]
	if !known && len(a.done) >= activityKeys {
		key = activityKey{}
		sum = a.done[key]
	}
	a.done[key] = Doing{sum.Bytes + d.Bytes, sum.Pushes + d.Pushes, sum.Refused + d.Refused}
}

// Run writes until ctx ends, and once more then. It returns nil: what fails is logged, and tried again with the next.
func (a *Activity) Run(ctx context.Context) error {
	rounds.Every(ctx, activityInterval, a.write)
	a.writeLast(ctx)
	return nil
}

// writeLast is write for a server that stops: its context has ended.
func (a *Activity) writeLast(ctx context.Context) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), activityWrite)
	defer cancel()
	a.write(ctx)
}

func (a *Activity) write(ctx context.Context) {
	if err := a.Flush(ctx); err != nil && ctx.Err() == nil {
		a.logger.WarnContext(ctx, "write the activity of callers without an account", slog.String("error", err.Error()))
	}
}

var (
	addActivity = database.SQL(`
		INSERT INTO anonymous_activity (hour, network, project_id, bytes, pushes, refused) VALUES ($1, $2, $3, $4, $5, $6)
		ON CONFLICT (hour, network, project_id) DO UPDATE SET bytes = anonymous_activity.bytes + excluded.bytes,
			pushes = anonymous_activity.pushes + excluded.pushes, refused = anonymous_activity.refused + excluded.refused`)
	oldActivity  = database.SQL(`DELETE FROM anonymous_activity WHERE hour < $1`)
	oldCreations = database.SQL(`DELETE FROM project_creations WHERE created_at < $1`)
)

// Flush writes what was gathered, one row after the other: replicas that add to the same ones do not wait in a circle. It
// also removes what is too old. Errors: the context's and the database's; what was gathered is kept then.
func (a *Activity) Flush(ctx context.Context) error {
	a.mu.Lock()
	done := a.done
	a.done = map[activityKey]Doing{}
	a.mu.Unlock()
	hour := database.ToMicros(a.now().Truncate(time.Hour))
	for key, d := range done {
		b := &database.Batch{}
		b.Exec(addActivity, hour, key.network, key.project, d.Bytes, d.Pushes, d.Refused)
		if err := a.db.Run(ctx, b); err != nil {
			for key, d := range done {
				a.Note(key.network, key.project, d)
			}
			return fmt.Errorf("write activity: %w", err)
		}
		delete(done, key)
	}
	b := &database.Batch{}
	b.Exec(oldActivity, database.ToMicros(a.now().Add(-activityLife)))
	b.Exec(oldCreations, database.ToMicros(a.now().Add(-activityLife)))
	if err := a.db.Run(ctx, b); err != nil {
		return fmt.Errorf("remove old activity: %w", err)
	}
	return nil
}

// Pusher is what was done from one network, or in one project, without an account.
type Pusher struct {
	// Network is an address or a /64, and Project a project; whichever the list is not by is empty. With both empty it
	// is what many did of whom each did little.
	Network string
	Project uuid.UUID
	// Slug is the project's, if it has one.
	Slug string
	Doing
	// Created is how many projects were created.
	Created int64
}

var (
	pushersByNetwork = database.SQL(`
		SELECT network, CAST(sum(bytes) AS bigint) AS bytes, CAST(sum(pushes) AS bigint), CAST(sum(refused) AS bigint),
			CAST(sum(created) AS bigint) FROM (
			SELECT network, bytes, pushes, refused, 0 AS created FROM anonymous_activity WHERE hour >= $1
			UNION ALL
			SELECT substr(creator, 9), 0, 0, 0, 1 FROM project_creations WHERE created_at >= $1 AND creator LIKE 'address:%') AS done
		GROUP BY network ORDER BY 2 DESC, 3 DESC, 4 DESC, 5 DESC, 1 LIMIT {limit:$2}`)
	pushersByProject = database.SQL(`
		SELECT done.project_id, coalesce((SELECT p.slug FROM projects p WHERE p.id = done.project_id), ''),
			done.bytes, done.pushes, done.refused FROM (
			SELECT project_id, CAST(sum(bytes) AS bigint) AS bytes, CAST(sum(pushes) AS bigint) AS pushes,
				CAST(sum(refused) AS bigint) AS refused
			FROM anonymous_activity WHERE hour >= $1
			GROUP BY project_id ORDER BY 2 DESC, 3 DESC, 4 DESC, 1 LIMIT {limit:$2}) AS done
		ORDER BY 3 DESC, 4 DESC, 5 DESC, 1`)
)

// TopPushers lists who did most without an account since an instant, in whole hours and at most MaxWindow ago, by network
// and by project. Errors: the context's and the database's.
func (s *Store) TopPushers(ctx context.Context, since time.Time, limit int) (networks, projects []Pusher, err error) {
	from := since.Truncate(time.Hour)
	if oldest := s.Clock().Add(-MaxWindow); from.Before(oldest) {
		from = oldest
	}
	networks, err = s.pushers(ctx, pushersByNetwork, from, limit, func(r database.Rows, p *Pusher) error {
		return r.Scan(&p.Network, &p.Bytes, &p.Pushes, &p.Refused, &p.Created)
	})
	if err != nil {
		return nil, nil, err
	}
	projects, err = s.pushers(ctx, pushersByProject, from, limit, func(r database.Rows, p *Pusher) error {
		return r.Scan(&p.Project, &p.Slug, &p.Bytes, &p.Pushes, &p.Refused)
	})
	return networks, projects, err
}

func (s *Store) pushers(
	ctx context.Context, stmt database.Stmt, from time.Time, limit int, scan func(database.Rows, *Pusher) error,
) ([]Pusher, error) {
	rows, err := s.DB.Query(ctx, stmt, database.ToMicros(from), int64(limit))
	if err != nil {
		return nil, fmt.Errorf("list pushers: %w", err)
	}
	defer rows.Close()
	found := []Pusher{}
	for rows.Next() {
		var p Pusher
		if err := scan(rows, &p); err != nil {
			return nil, fmt.Errorf("list pushers: %w", err)
		}
		found = append(found, p)
	}
	if err := rows.Err(); err != nil {
		return nil, fmt.Errorf("list pushers: %w", err)
	}
	return found, nil
}
