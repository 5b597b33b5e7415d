package main

import (
	"bytes"
	"database/sql"
	"path/filepath"
	"strings"
	"testing"
)

// TestScrubBesideAnother: who finds another one at it can tell that from damage, and leaves nothing in the audit log.
func TestScrubBesideAnother(t *testing.T) {
	t.Parallel()
	file := filepath.Join(t.TempDir(), "berth.db")
	berth := func(command string) (int, string) {
		var out, complaints bytes.Buffer
		args := []string{command, "--database-url=sqlite:" + file}
		if command == "scrub" {
			args = append(args, "--storage-url=file:"+t.TempDir())
		}
		return run(args, strings.NewReader(""), &out, &complaints), complaints.String()
	}
	if code, complaints := berth("migrate"); code != exitOK {
		t.Fatal(complaints)
	}
	db, err := sql.Open("sqlite", file)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = db.Close() }()
	if _, err := db.ExecContext(t.Context(), `INSERT INTO scrub_runs (id, kind, fraction, rate, started_at, updated_at, lease_until, stage, figures)
		VALUES ('0192f0c1-d2e3-7a4b-8c5d-6e7f80910111', 'command', 1000000, 0, 0, 0, 9000000000000000, 'blobs', '{}')`); err != nil {
		t.Fatal(err)
	}
	if code, complaints := berth("scrub"); code != exitBusy || complaints != "berth: another berth scrub is under way: try again when it has ended, or a minute after it died\n" {
		t.Errorf("exit code %d, %q", code, complaints)
	}
	var entries int
	if err := db.QueryRowContext(t.Context(), `SELECT count(*) FROM audit_log`).Scan(&entries); err != nil || entries != 0 {
		t.Errorf("%d entries, %v", entries, err)
	}
	if _, err := db.ExecContext(t.Context(), `UPDATE scrub_runs SET lease_until = 0`); err != nil {
		t.Fatal(err)
	}
	if code, complaints := berth("scrub"); code != exitOK {
		t.Errorf("exit code %d, %q", code, complaints)
	}
}

// TestPendingMigrationsAreNoObstacle: a server of the version before may be running, so what works beside it neither
// migrates nor refuses.
func TestPendingMigrationsAreNoObstacle(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	file := filepath.Join(dir, "berth.db")
	berth := func(arguments ...string) (int, string) {
		var out, complaints bytes.Buffer
		code := run(append(arguments, "--database-url=sqlite:"+file), strings.NewReader(""), &out, &complaints)
		return code, complaints.String()
	}
	if code, complaints := berth("migrate"); code != exitOK {
		t.Fatal(complaints)
	}
	db, err := sql.Open("sqlite", file)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = db.Close() }()
	if _, err := db.ExecContext(t.Context(), `DELETE FROM goose_db_version WHERE version_id = (SELECT max(version_id) FROM goose_db_version)`); err != nil {
		t.Fatal(err)
	}
	count := func() (n int) {
		if err := db.QueryRowContext(t.Context(), `SELECT count(*) FROM goose_db_version`).Scan(&n); err != nil {
			t.Fatal(err)
		}
		return n
	}
	before := count()
	storage := "--storage-url=file:" + filepath.Join(dir, "objects")
	for _, arguments := range [][]string{
		{"gc", storage}, {"scrub", storage}, {"scrub", "--orphans", storage}, {"backup", "hold", "--for=1h"}, {"backup", "release"},
		{"backup", "database", "--to=" + filepath.Join(dir, "copy.db")},
	} {
		if code, complaints := berth(arguments...); code != exitOK {
			t.Errorf("%v: exit code %d, %s", arguments, code, complaints)
		}
	}
	if after := count(); after != before {
		t.Errorf("%d rows of migrations, then %d", before, after)
	}
}
