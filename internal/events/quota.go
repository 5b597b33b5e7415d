package events

import (
	"context"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"github.com/google/uuid"

	"github.com/berthregistry/berth/internal/database"
)

const (
	// quietTime is how long a project's webhooks hear nothing more of its quota.
	quietTime = time.Hour
	// maxNotices bounds what waits to be written, and maxRemembered the projects that are known to have been told of.
	maxNotices    = 256
	maxRemembered = 10_000
	// noticeTimeout bounds the writing of one.
	noticeTimeout = 10 * time.Second
)

// OverQuota is the data of events about quotas, in bytes.
type OverQuota struct {
	// Scope is whose quota it is: project or account.
	Scope string `json:"scope"`
	// Held is what is stored, Pending what uploads under way hold besides, Allowed the quota.
	Held    int64 `json:"held"`
	Pending int64 `json:"pending"`
	Allowed int64 `json:"allowed"`
	// Repository is where the push went, Actor who pushed.
	Repository string `json:"repository"`
	Actor      string `json:"actor"`
}

var (
	lockNotices = database.SQL(`SELECT {lock:$1}`)
	appendQuota = database.SQL(insert + `{text:$4}, {text:$5}, {bigint:$6}, {bigint:$6}, NULL
		FROM webhooks w WHERE` + subscribed + ` AND w.quota_event_at <= {bigint:$7}`)
	markQuota = database.SQL(`
		UPDATE webhooks SET quota_event_at = $3
		WHERE project_id = $1 AND enabled AND events LIKE {pattern:$2} AND quota_event_at <= {bigint:$4}`)
)

// QuotaNotices appends an event when a push is refused for a quota: nothing changes then, so there is no transaction to
// be part of. It does so in the background, and for each project once an hour at most. What is under way when the server
// stops is lost; the next refusal says it again.
type QuotaNotices struct {
	db     *database.DB
	now    func() time.Time
	logger *slog.Logger
	queue  chan quotaNotice

	mu   sync.Mutex
	told map[uuid.UUID]time.Time
}

type quotaNotice struct {
	project uuid.UUID
	data    OverQuota
}

// NewQuotaNotices makes QuotaNotices.
func NewQuotaNotices(db *database.DB, now func() time.Time, logger *slog.Logger) *QuotaNotices {
	return &QuotaNotices{
		db: db, now: now, logger: logger, queue: make(chan quotaNotice, maxNotices), told: map[uuid.UUID]time.Time{},
	}
}

// Exceeded notes a refusal. It does not wait: where too much is noted at once, it drops the rest. A nil receiver drops all.
func (q *QuotaNotices) Exceeded(project uuid.UUID, data OverQuota) {
	if q == nil || !q.remember(project) {
		return
	}
	select {
	case q.queue <- quotaNotice{project: project, data: data}:
	default:
		q.forget(project)
	}
}

// remember tells whether a project was not told of for an hour, as far as this replica knows.
func (q *QuotaNotices) remember(project uuid.UUID) bool {
	q.mu.Lock()
	defer q.mu.Unlock()
	now := q.now()
	if at, known := q.told[project]; known && now.Sub(at) < quietTime {
		return false
	}
	if len(q.told) >= maxRemembered {
		clear(q.told) // the rows of the webhooks remember, too
	}
	q.told[project] = now
	return true
}

func (q *QuotaNotices) forget(project uuid.UUID) {
	q.mu.Lock()
	defer q.mu.Unlock()
	delete(q.told, project)
}

// Run writes what is noted until ctx ends. It returns nil: what fails is logged, and said at the next refusal.
func (q *QuotaNotices) Run(ctx context.Context) error {
	for {
		select {
		case <-ctx.Done():
			return nil
		case n := <-q.queue:
			if err := q.write(ctx, n); err != nil && ctx.Err() == nil {
				q.forget(n.project)
				q.logger.WarnContext(ctx, "append an event about a quota", slog.String("error", err.Error()))
			}
		}
	}
}

func (q *QuotaNotices) write(ctx context.Context, n quotaNotice) error {
	ctx, cancel := context.WithTimeout(ctx, noticeTimeout)
	defer cancel()
	now, until := database.ToMicros(q.now()), database.ToMicros(q.now().Add(-quietTime))
	b := &database.Batch{}
	b.Exec(lockNotices, "quota notices "+n.project.String()) // replicas follow each other
	b.Exec(appendQuota, n.project, string(QuotaExceeded), pattern(QuotaExceeded), "quota", Encoded(n.data), now, until)
	b.Exec(markQuota, n.project, pattern(QuotaExceeded), now, until)
	if err := q.db.Run(ctx, b); err != nil {
		return fmt.Errorf("append an event: %w", err)
	}
	return nil
}
