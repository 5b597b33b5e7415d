package database

// Stats are the figures of a database at the moment, and since the start.
type Stats struct {
	// Used and Idle are the connections that are being used and that wait, Max is how many there can be: on SQLite of
	// readers and the writer together.
	Used, Idle, Max int64
	// Trips and Commits are those of the methods of these names.
	Trips, Commits int64
	// Groups is how many transactions of SQLite's one writer have ended, Grouped how many batches were in them: divided,
	// how many became durable together. Both stay 0 on PostgreSQL.
	Groups, Grouped int64
}

// Stats tells how the database is used.
func (db *DB) Stats() Stats {
	s := db.engine.stats()
	s.Trips, s.Commits = db.Trips(), db.Commits()
	return s
}

func (p *postgres) stats() Stats {
	pool := p.pool.Stat()
	return Stats{Used: int64(pool.AcquiredConns()), Idle: int64(pool.IdleConns()), Max: int64(pool.MaxConns())}
}

func (s *sqlite) stats() Stats {
	used, idle, most := s.reading.stats()
	writer := s.writer.Stats()
	return Stats{
		Used: int64(used + writer.InUse), Idle: int64(idle + writer.Idle), Max: int64(most + writer.MaxOpenConnections),
		Groups: s.group.groups.Load(), Grouped: s.group.grouped.Load(),
	}
}
