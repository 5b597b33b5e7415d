package uploads

import (
	"context"

	"github.com/berthregistry/berth/internal/database"
)

// Stats are the figures of a Service.
type Stats struct {
	// Writers is how many requests of this replica are writing to a session.
	Writers int
}

// Stats tells what is under way.
func (s *Service) Stats() Stats {
	s.writers.mu.Lock()
	defer s.writers.mu.Unlock()
	return Stats{Writers: len(s.writers.byID)}
}

// mostCounted bounds how many rows OpenSessions looks at. Rows of finished sessions, which stay for a while, are among
// them.
const mostCounted = 50_000

// openSessions looks at the sessions that were active last, along the index.
var openSessions = database.SQL(`
	SELECT count(*) FROM (
		SELECT status FROM upload_sessions WHERE last_activity_at > $1 ORDER BY last_activity_at DESC LIMIT {limit:$2}
	) s WHERE s.status = 'open'`)

// OpenSessions counts, over all replicas, the sessions that hold bytes and wait for more, among the 50,000 that were active
// last. It reads an index: call it now and then, not for each request. Errors are the database's.
func (s *Service) OpenSessions(ctx context.Context) (n int64, err error) {
	active := database.ToMicros(s.Clock().Add(-s.TTL))
	err = s.DB.QueryRow(ctx, openSessions, active, int64(mostCounted)).Scan(&n)
	return n, err //nolint:wrapcheck // says what it did
}
