package doctor

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/berthregistry/berth/internal/database"
)

const (
	// pings is how often the database is asked for its time.
	pings = 15
	// Each request of a client waits for one exchange or two, a push for six.
	latencyWarning = 5 * time.Millisecond
	latencyFailure = 100 * time.Millisecond
	// oldestPostgres is what the tests run on, at the least.
	oldestPostgres = 15
	// spareConns are connections that monitoring, backups and people use.
	spareConns = 5
)

var (
	databaseTime = database.SQL("SELECT {now}")
	// Each setting as the connections of this program have it, not as the server's file does.
	postgresFacts = database.SQL(`SELECT current_setting('server_version_num'), current_setting('server_version'),
		current_setting('fsync'), current_setting('full_page_writes'), current_setting('synchronous_commit'),
		current_setting('max_connections'), current_setting('superuser_reserved_connections'), pg_is_in_recovery()`)
)

// database examines the database, with the clock of its machine.
func (e *examination) database(ctx context.Context) {
	if !valid(e.cfg.Database) {
		return
	}
	if path, ok := strings.CutPrefix(e.cfg.Database.URL.Reveal(), "sqlite:"); ok && !e.databaseFile(path) {
		return
	}
	db, err := database.Open(ctx, database.Config{
		URL: e.cfg.Database.URL.Reveal(), MustExist: true, MaxConns: e.cfg.Database.MaxConns, Logger: slog.New(slog.DiscardHandler),
	})
	if err != nil {
		e.fail("database.reach", "see that the database runs, that this machine reaches it, and that BERTH_DATABASE_URL has its host, port, name, user and password",
			"the database cannot be used: %v", err)
		return
	}
	defer func() { _ = db.Close() }() // nothing was written
	e.ok("database.reach", "the database answers (%s)", db.Dialect())
	e.databaseLatency(ctx, db)
	e.databaseSchema(ctx, db)
	if db.Dialect() == database.Postgres {
		e.postgres(ctx, db)
	}
}

// databaseFile looks at the file of SQLite, which a start would create.
func (e *examination) databaseFile(path string) bool {
	info, err := os.Stat(path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		e.warn("database.file", "nothing, before the first start: berth serve makes it. Else correct BERTH_DATABASE_URL; relative paths begin at the working directory",
			"%s does not exist", path)
		return false
	case err != nil:
		e.fail("database.file", "let the server's user reach the file", "%v", err)
		return false
	case info.Mode().Perm()&0o077 != 0:
		e.warn("database.file", fmt.Sprintf("chmod 600 %s: keys that sign tokens are inside", path), "%s can be read or written by other users (%s)", path, info.Mode().Perm())
	default:
		e.ok("database.file", "%s is its owner's alone", path)
	}
	e.place("database", filepath.Dir(path))
	return true
}

// databaseLatency asks for the time, again and again: the quickest answer tells the clock, the one in the middle what
// requests wait for.
func (e *examination) databaseLatency(ctx context.Context, db *database.DB) {
	var took []time.Duration
	var difference time.Duration
	quickest := time.Duration(-1)
	for range pings {
		var now int64
		began := time.Now()
		if err := db.QueryRow(ctx, databaseTime).Scan(&now); err != nil {
			e.fail("database.latency", "look into the log of the database", "the database does not tell the time: %v", err)
			return
		}
		trip := time.Since(began)
		took = append(took, trip)
		if quickest < 0 || trip < quickest {
			quickest, difference = trip, time.UnixMicro(now).Sub(began.Add(trip/2))
		}
	}
	slices.Sort(took)
	middle := took[len(took)/2]
	const do = "move server and database into one zone of one network; each request waits for one exchange, a push for six"
	switch {
	case middle > latencyFailure:
		e.fail("database.latency", do, "an exchange with the database takes %s", ms(middle))
	case middle > latencyWarning:
		e.warn("database.latency", do, "an exchange with the database takes %s", ms(middle))
	default:
		e.ok("database.latency", "an exchange with the database takes %s", ms(middle))
	}
	e.skew("clock.database", "the database", difference, quickest/2)
}

// databaseSchema compares the migrations.
func (e *examination) databaseSchema(ctx context.Context, db *database.DB) {
	schema, err := db.Schema(ctx)
	if err != nil {
		e.fail("database.schema", "let the user of BERTH_DATABASE_URL own the database, or its schema", "the migrations cannot be read: %v", err)
		return
	}
	if len(schema.Unknown) > 0 {
		e.warn("database.schema", "finish the upgrade with the newer version, and do not go back to this one; docs/operations tells how upgrades go",
			"the database has migrations that this version does not know: %v", schema.Unknown)
	}
	switch {
	case len(schema.Pending) == 0 && len(schema.Unknown) == 0:
		e.ok("database.schema", "the schema is up to date, %d migrations", len(schema.Applied))
	case len(schema.Pending) == 0:
	case e.cfg.Operation.Migrate:
		e.warn("database.schema", "start berth serve, or run berth migrate before", "%d migrations are pending; the next start applies them", len(schema.Pending))
	default:
		e.fail("database.schema", "run berth migrate: BERTH_MIGRATE is off, and servers will not do it", "%d migrations are pending", len(schema.Pending))
	}
}

// facts are what PostgreSQL says of itself.
type facts struct {
	number, version, fsync, fullPages, synchronous, connections, reserved string
	standby                                                               bool
}

func (e *examination) postgres(ctx context.Context, db *database.DB) {
	var f facts
	err := db.QueryRow(ctx, postgresFacts).Scan(
		&f.number, &f.version, &f.fsync, &f.fullPages, &f.synchronous, &f.connections, &f.reserved, &f.standby)
	if err != nil {
		e.fail("database.version", "look into the log of the database", "PostgreSQL does not tell its settings: %v", err)
		return
	}
	e.postgresVersion(f)
	e.durability(f)
	e.connections(f, db.Stats().Max)
}

func (e *examination) postgresVersion(f facts) {
	switch {
	case number(f.number)/10_000 < oldestPostgres:
		e.fail("database.version", fmt.Sprintf("use PostgreSQL %d or newer", oldestPostgres), "PostgreSQL %s is older than what Berth is tested with", f.version)
	case f.standby:
		e.fail("database.version", "let BERTH_DATABASE_URL lead to the primary; with several hosts add target_session_attrs=read-write",
			"this is a standby of PostgreSQL %s, which takes no writes", f.version)
	default:
		e.ok("database.version", "PostgreSQL %s", f.version)
	}
}

// durability looks for settings with which an acknowledged push can be lost.
func (e *examination) durability(f facts) {
	before := len(e.found)
	if f.fsync != "on" {
		e.fail("database.durability", "set fsync = on and restart PostgreSQL: without it a crash of the machine can destroy the database", "fsync is %s", f.fsync)
	}
	if f.fullPages != "on" {
		e.fail("database.durability", "set full_page_writes = on, unless the file system writes whole pages or none (ZFS)", "full_page_writes is %s", f.fullPages)
	}
	if f.synchronous == "off" {
		e.fail("database.durability", "set synchronous_commit = on for this database and its user: clients are told 201 for what a crash then takes back", "synchronous_commit is off")
	}
	if len(e.found) == before {
		e.ok("database.durability", "fsync on, full_page_writes on, synchronous_commit %s", f.synchronous)
	}
}

// connections compares what all replicas may take with what there is.
func (e *examination) connections(f facts, pool int64) {
	replicas := int64(max(1, e.cfg.RateLimit.Replicas))
	room := number(f.connections) - number(f.reserved) - spareConns
	text := fmt.Sprintf("%d replicas take up to %d connections each, the database has %d for them", replicas, pool, max(0, room))
	if replicas*pool > room {
		e.fail("database.connections", "raise max_connections, lower BERTH_DATABASE_MAX_CONNS, or put a pooler in session mode in between (BERTH_RATELIMIT_REPLICAS tells how many replicas there are)", "%s", text)
		return
	}
	e.ok("database.connections", "%s", text)
}

func number(text string) int64 {
	var n int64
	_, _ = fmt.Sscan(text, &n) // PostgreSQL writes its integers as such
	return n
}
