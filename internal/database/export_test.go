package database

import "time"

// SetPatience sets how long the calls of a PostgreSQL database wait for a free connection.
func SetPatience(db *DB, d time.Duration) {
	if p, ok := db.engine.(*postgres); ok {
		p.patience = d
	}
}
