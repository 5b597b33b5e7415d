package database_test

import (
	"context"
	"fmt"
	"net/url"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"

	"github.com/berthregistry/berth/internal/database"
	"github.com/berthregistry/berth/internal/database/dbtest"
	"github.com/berthregistry/berth/internal/testenv"
)

// with adds options to a URL.
func with(tb testing.TB, base string, options ...string) string {
	tb.Helper()
	u, err := url.Parse(base)
	if err != nil {
		tb.Fatal(err)
	}
	query := u.Query()
	for i := 0; i < len(options); i += 2 {
		query.Set(options[i], options[i+1])
	}
	u.RawQuery = query.Encode()
	return u.String()
}

// other is another client of a database, which can hold a transaction open.
type other struct {
	tb   testing.TB
	conn *pgx.Conn
}

func newOther(tb testing.TB, url string) *other {
	tb.Helper()
	conn, err := pgx.Connect(tb.Context(), url)
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() { _ = conn.Close(context.Background()) })
	return &other{tb, conn}
}

func (o *other) exec(sql string, args ...any) {
	o.tb.Helper()
	if _, err := o.conn.Exec(o.tb.Context(), sql, args...); err != nil {
		o.tb.Fatal(err)
	}
}

// awaitBlocked returns the process of the one session that waits for a lock.
func (o *other) awaitBlocked() int {
	o.tb.Helper()
	for o.tb.Context().Err() == nil {
		var pid int
		err := o.conn.QueryRow(o.tb.Context(), `SELECT coalesce(max(pid), 0) FROM pg_stat_activity
			WHERE datname = current_database() AND wait_event_type = 'Lock'`).Scan(&pid)
		if err != nil {
			o.tb.Fatal(err)
		}
		if pid != 0 {
			return pid
		}
	}
	o.tb.Fatal("nobody waits for a lock")
	return 0
}

// locked reports whether a project's row is locked against changes.
func (o *other) locked(project uuid.UUID) bool {
	o.tb.Helper()
	_, err := o.conn.Exec(o.tb.Context(), `SELECT 1 FROM projects WHERE id = $1 FOR NO KEY UPDATE NOWAIT`, project)
	return err != nil
}

func runner(ctx context.Context, db *database.DB) func(*database.Batch) error {
	return func(b *database.Batch) error { return db.Run(ctx, b) }
}

// blocked starts a batch that stops at the row of a project, which holder has locked. Its result comes on the channel.
func blocked(run func(*database.Batch) error, holder, watcher *other, project uuid.UUID, fill func(*database.Batch)) <-chan error {
	holder.exec(`BEGIN`)
	holder.exec(`SELECT 1 FROM projects WHERE id = $1 FOR UPDATE`, project)
	var b database.Batch
	fill(&b)
	b.Exec(raiseEpoch, project)
	result := make(chan error, 1)
	go func() { result <- run(&b) }()
	watcher.awaitBlocked()
	return result
}

func TestPostgresSharedLocksHoldUntilTheBatchEnds(t *testing.T) {
	several := database.SQL(`SELECT id FROM projects WHERE id <> $1 {share}`)
	source := testenv.Postgres(t)
	db := dbtest.Open(t, source)
	holder, watcher := newOther(t, source), newOther(t, source)
	gate := newProject(t, db)
	shared := []uuid.UUID{newProject(t, db), newProject(t, db), newProject(t, db)}
	result := blocked(runner(t.Context(), db), holder, watcher, gate, func(b *database.Batch) {
		b.Require(errUnmet, shareProject, shared[0])
		b.Require(errUnmet, several, gate)
	})
	for _, project := range shared {
		if !watcher.locked(project) {
			t.Error("a row that the batch shares can be changed")
		}
	}
	holder.exec(`COMMIT`)
	if err := <-result; err != nil {
		t.Fatal(err)
	}
	for _, project := range shared {
		if watcher.locked(project) {
			t.Error("a row stays locked after the batch")
		}
	}
}

// A guard that had to wait for a lock judges the row as it is after the wait.
func TestPostgresRequirementSeesTheRowAfterItsLock(t *testing.T) {
	active := database.SQL(`SELECT 1 FROM projects WHERE id = $1 AND state = 'active' {share}`)
	source := testenv.Postgres(t)
	db := dbtest.Open(t, source)
	holder, watcher := newOther(t, source), newOther(t, source)
	project := newProject(t, db)
	holder.exec(`BEGIN`)
	holder.exec(`UPDATE projects SET state = 'suspended' WHERE id = $1`, project)
	result := make(chan error, 1)
	go func() {
		var b database.Batch
		b.Require(errUnmet, active, project)
		result <- db.Run(t.Context(), &b)
	}()
	watcher.awaitBlocked()
	holder.exec(`COMMIT`)
	wantIs(t, <-result, errUnmet)
}

func TestPostgresTerminatedInFlight(t *testing.T) {
	noLeaks(t)
	source := testenv.Postgres(t)
	db := dbtest.Open(t, source)
	holder, watcher := newOther(t, source), newOther(t, source)
	gate, raised := newProject(t, db), newProject(t, db)
	result := blocked(runner(t.Context(), db), holder, watcher, gate, func(b *database.Batch) { b.Exec(raiseEpoch, raised) })
	watcher.exec(`SELECT pg_terminate_backend($1)`, watcher.awaitBlocked())
	err := <-result
	wantIs(t, err, database.ErrUnavailable)
	wantIsNot(t, err, database.ErrUnclear) // a statement was refused, so nothing can have committed
	holder.exec(`COMMIT`)
	if got := epochOf(t, db, raised); got != 1 {
		t.Errorf("epoch is %d", got)
	}
}

// Connections that died while they were idle are no error of the calls after.
func TestPostgresTerminatedWhileIdle(t *testing.T) {
	source := testenv.Postgres(t)
	db := dbtest.Open(t, source)
	watcher := newOther(t, source)
	project := newProject(t, db)
	for range 3 {
		watcher.exec(`SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity
			WHERE datname = current_database() AND application_name = 'berth'`)
		if got := epochOf(t, db, project); got != 1 {
			t.Errorf("epoch is %d", got)
		}
		run(t, db, func(b *database.Batch) { b.Require(errUnmet, shareProject, project) })
	}
}

func TestPostgresCancelledInFlight(t *testing.T) {
	source := testenv.Postgres(t)
	db := dbtest.Open(t, source)
	holder, watcher := newOther(t, source), newOther(t, source)
	gate, raised := newProject(t, db), newProject(t, db)
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	result := blocked(runner(ctx, db), holder, watcher, gate, func(b *database.Batch) { b.Exec(raiseEpoch, raised) })
	cancel()
	err := <-result
	wantIs(t, err, context.Canceled)
	wantIsNot(t, err, database.ErrUnavailable) // the server took the cancelling, so the outcome is known
	holder.exec(`COMMIT`)
	for _, project := range []uuid.UUID{gate, raised} {
		if got := epochOf(t, db, project); got != 1 {
			t.Errorf("epoch is %d", got)
		}
	}
}

func TestPostgresTimeoutsAndReadOnly(t *testing.T) {
	source := testenv.Postgres(t)
	project := newProject(t, dbtest.Open(t, source))
	holder := newOther(t, source)
	holder.exec(`BEGIN`)
	holder.exec(`SELECT 1 FROM projects WHERE id = $1 FOR UPDATE`, project)
	for _, option := range [][]string{
		{"lock_timeout", "20"}, {"statement_timeout", "50"}, {"default_transaction_read_only", "on"},
	} {
		db, err := database.Open(t.Context(), database.Config{URL: with(t, source, option...)})
		if err != nil {
			t.Fatal(err)
		}
		var b database.Batch
		b.Exec(raiseEpoch, project)
		err = db.Run(t.Context(), &b)
		wantIs(t, err, database.ErrUnavailable)
		wantIsNot(t, err, database.ErrUnclear)
		wantIs(t, db.Gorm().Exec("UPDATE projects SET epoch = 9 WHERE id = ?", project).Error, database.ErrUnavailable)
		if err := db.Close(); err != nil {
			t.Error(err)
		}
	}
}

func TestPostgresNoFreeConnection(t *testing.T) {
	db := dbtest.Open(t, with(t, testenv.Postgres(t), "pool_max_conns", "1"))
	project := newProject(t, db)
	database.SetPatience(db, time.Millisecond)
	rows, err := db.Query(t.Context(), projectEpoch, project)
	if err != nil {
		t.Fatal(err)
	}
	wantIs(t, db.QueryRow(t.Context(), projectEpoch, project).Scan(new(int64)), database.ErrUnavailable)
	rows.Close()
	rows.Close()
	epochOf(t, db, project)
}

func TestPostgresSettings(t *testing.T) {
	settings := database.SQL(`SELECT current_setting('application_name'), current_setting('statement_timeout'),
		current_setting('lock_timeout'), current_setting('idle_in_transaction_session_timeout')`)
	source := testenv.Postgres(t)
	for _, c := range []struct {
		url  string
		want [4]string
	}{
		{source, [4]string{"berth", "30s", "10s", "1min"}},
		{
			with(t, source, "application_name", "x", "statement_timeout", "1000", "lock_timeout", "0",
				"idle_in_transaction_session_timeout", "2s"), [4]string{"x", "1s", "0", "2s"},
		},
	} {
		db := dbtest.Open(t, c.url)
		var got [4]string
		if err := db.QueryRow(t.Context(), settings).Scan(&got[0], &got[1], &got[2], &got[3]); err != nil {
			t.Fatal(err)
		}
		if got != c.want {
			t.Errorf("got %v, want %v", got, c.want)
		}
	}
}

// A migration by another replica may change what prepared statements return.
func TestPostgresStatementsSurviveASchemaChange(t *testing.T) {
	source := testenv.Postgres(t)
	db := dbtest.Open(t, source)
	whole := database.SQL(`SELECT * FROM digest_blocklist`)
	count := func(database.Rows) error { return nil }
	for i := range 3 {
		wantIs(t, db.QueryRow(t.Context(), whole).Scan(), database.ErrNoRows)
		run(t, db, func(b *database.Batch) { b.Query(count, whole) })
		newOther(t, source).exec(fmt.Sprintf(`ALTER TABLE digest_blocklist ADD COLUMN new%d text`, i))
		if i == 1 {
			run(t, db, func(b *database.Batch) { b.Query(count, whole) })
		}
	}
}

func TestPostgresRetriesDeadlocks(t *testing.T) {
	noLeaks(t)
	db := dbtest.Open(t, with(t, testenv.Postgres(t), "deadlock_timeout", "5ms"))
	const writers, rounds = 4, 10
	a, b := newProject(t, db), newProject(t, db)
	var wg sync.WaitGroup
	for i := range writers {
		wg.Go(func() {
			for range rounds {
				var batch database.Batch
				first, second := a, b
				if i%2 == 1 {
					first, second = b, a
				}
				rows := 0
				batch.Query(func(database.Rows) error { rows++; return nil }, raiseEpoch, first)
				batch.Require(errUnmet, raiseEpoch, second)
				if err := db.Run(t.Context(), &batch); err != nil || rows != 1 {
					t.Errorf("%d rows, %v", rows, err)
				}
			}
		})
	}
	wg.Wait()
	for _, project := range []uuid.UUID{a, b} {
		if got := epochOf(t, db, project); got != 1+writers*rounds {
			t.Errorf("epoch is %d", got)
		}
	}
}

func TestPostgresServerGoesAndComes(t *testing.T) {
	server := testenv.PostgresServer(t)
	db := dbtest.Open(t, server.URL(t))
	project := newProject(t, db)
	for range 2 {
		server.Stop(t)
		var b database.Batch
		b.Exec(raiseEpoch, project)
		wantIs(t, db.QueryRow(t.Context(), projectEpoch, project).Scan(new(int64)), database.ErrUnavailable)
		wantIs(t, db.Run(t.Context(), &b), database.ErrUnavailable)
		wantIs(t, db.Ping(t.Context()), database.ErrUnavailable)
		wantIs(t, db.Gorm().Exec("UPDATE projects SET epoch = 9").Error, database.ErrUnavailable)
		server.Start(t)
		if err := db.Run(t.Context(), &b); err != nil {
			t.Error(err)
		}
	}
	if got := epochOf(t, db, project); got != 3 {
		t.Errorf("epoch is %d", got)
	}
}

// Of the two ways to ask for the time, one can be looked up in an index.
func TestPostgresInstantFindsIndexes(t *testing.T) {
	source := testenv.Postgres(t)
	dbtest.Open(t, source)
	client := newOther(t, source)
	client.exec(`SET enable_seqscan = off`)
	for fragment, want := range map[string]bool{"{now}": false, "{instant}": true} {
		due := database.SQL(`SELECT object_key FROM doomed_objects WHERE delete_after <= ` + fragment)
		rows, err := client.conn.Query(t.Context(), "EXPLAIN "+due.String())
		if err != nil {
			t.Fatal(err)
		}
		plan, err := pgx.CollectRows(rows, pgx.RowTo[string])
		if err != nil {
			t.Fatal(err)
		}
		if got := strings.Contains(strings.Join(plan, "\n"), "Index Cond"); got != want {
			t.Errorf("%s: %s", fragment, strings.Join(plan, "\n"))
		}
	}
}
