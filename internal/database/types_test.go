package database_test

import (
	"bytes"
	"database/sql"
	"math"
	"testing"

	"github.com/google/uuid"

	"github.com/berthregistry/berth/internal/database"
	"github.com/berthregistry/berth/internal/database/dbtest"
)

type role string

type record struct {
	ID          uuid.UUID
	Account     uuid.UUID
	Email       string
	Name        role
	Hash        *string
	NullHash    sql.NullString
	Admin       bool
	Locked      *int64
	NullLocked  sql.NullInt64
	Null        sql.Null[int64]
	Created     int64
	CreatedInt  int
	CreatedText string
	IDText      string
	IDPointer   *uuid.UUID
	NullUUID    uuid.NullUUID
	Missing     *uuid.UUID
}

func (r *record) dest() []any {
	return []any{
		&r.ID, &r.Account, &r.Email, &r.Name, &r.Hash, &r.NullHash, &r.Admin, &r.Locked, &r.NullLocked, &r.Null,
		&r.Created, &r.CreatedInt, &r.CreatedText, &r.IDText, &r.IDPointer, &r.NullUUID, &r.Missing,
	}
}

// Every kind of value goes in and comes out alike, by a read and by a query of a batch.
func TestTypesRoundTrip(t *testing.T) {
	insert := database.SQL(`
		INSERT INTO users (id, account_id, email, name, password_hash, admin, locked_at, created_at, updated_at)
		VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9)`)
	read := database.SQL(`
		SELECT id, account_id, email, name, password_hash, password_hash, admin, locked_at, locked_at, locked_at,
			created_at, updated_at, CAST(created_at AS text), CAST(id AS text), id, id, (SELECT id FROM users WHERE 1 = 0)
		FROM users WHERE id = $1`)
	hash, locked := "hash", int64(math.MaxInt64)
	dbtest.Each(t, func(t *testing.T, db *database.DB) {
		account := uuid.New()
		run(t, db, func(b *database.Batch) { b.Exec(insertAccount, account, "a") })
		for _, want := range []record{
			{Email: "a@b", Name: "zwölf\n", Hash: &hash, Admin: true, Locked: &locked, Created: math.MinInt64, CreatedInt: 7},
			{Email: "", Name: "", Created: -1},
		} {
			want.ID, want.Account = uuid.New(), account
			null := sql.NullInt64{}
			if want.Locked != nil {
				null = sql.NullInt64{Int64: *want.Locked, Valid: true}
			}
			run(t, db, func(b *database.Batch) {
				b.Exec(insert, want.ID, &want.Account, want.Email, want.Name, want.Hash, want.Admin, null, want.Created, want.CreatedInt)
			})
			var read1, read2 record
			if err := db.QueryRow(t.Context(), read, want.ID).Scan(read1.dest()...); err != nil {
				t.Fatal(err)
			}
			run(t, db, func(b *database.Batch) {
				b.Query(func(r database.Rows) error { return r.Scan(read2.dest()...) }, read, want.ID.String())
			})
			for _, got := range []record{read1, read2} {
				checkRecord(t, got, want)
			}
		}
	})
}

func checkRecord(t *testing.T, got, want record) {
	t.Helper()
	if got.ID != want.ID || got.Account != want.Account || got.Email != want.Email || got.Name != want.Name ||
		got.Admin != want.Admin || got.Created != want.Created || got.CreatedInt != want.CreatedInt ||
		got.IDText != want.ID.String() || got.IDPointer == nil || *got.IDPointer != want.ID ||
		got.NullUUID.UUID != want.ID || got.Missing != nil {
		t.Errorf("got %+v, want %+v", got, want)
	}
	if (got.Hash == nil) != (want.Hash == nil) || got.NullHash.Valid != (want.Hash != nil) ||
		want.Hash != nil && (*got.Hash != *want.Hash || got.NullHash.String != *want.Hash) {
		t.Errorf("hash: got %v and %v, want %v", got.Hash, got.NullHash, want.Hash)
	}
	if (got.Locked == nil) != (want.Locked == nil) || got.Null.Valid != (want.Locked != nil) ||
		want.Locked != nil && (*got.Locked != *want.Locked || got.NullLocked.Int64 != *want.Locked || got.Null.V != *want.Locked) {
		t.Errorf("locked: got %v, %v and %v, want %v", got.Locked, got.NullLocked, got.Null, want.Locked)
	}
}

func TestTypesBlobs(t *testing.T) {
	insert := database.SQL(`
		INSERT INTO upload_sessions (id, project_id, repository_path, principal, epoch, algorithm, status, base_state,
			created_at, last_activity_at)
		VALUES ($1, $2, '', 'test', 1, 'sha256', 'open', $3, {now}, {now})`)
	read := database.SQL(`SELECT base_state, base_state IS NULL FROM upload_sessions WHERE id = $1`)
	dbtest.Each(t, func(t *testing.T, db *database.DB) {
		project := newProject(t, db)
		for _, want := range [][]byte{nil, {}, {0}, []byte("text"), bytes.Repeat([]byte{0xff, 0}, 3<<20)} {
			id := uuid.New()
			run(t, db, func(b *database.Batch) { b.Exec(insert, id, project, want) })
			got1, got2 := []byte("stale"), []byte("stale")
			var null1, null2 bool
			if err := db.QueryRow(t.Context(), read, id).Scan(&got1, &null1); err != nil {
				t.Fatal(err)
			}
			run(t, db, func(b *database.Batch) {
				b.Query(func(r database.Rows) error { return r.Scan(&got2, &null2) }, read, id)
			})
			for _, got := range [][]byte{got1, got2} {
				if !bytes.Equal(got, want) || (got == nil) != (want == nil) {
					t.Errorf("got %d bytes (nil: %t), want %d (nil: %t)", len(got), got == nil, len(want), want == nil)
				}
			}
			if null1 != (want == nil) || null2 != null1 {
				t.Errorf("NULL: %t and %t for %d bytes (nil: %t)", null1, null2, len(want), want == nil)
			}
		}
	})
}

// What does not fit is a plain error, and the connection goes on.
func TestTypesThatDoNotFit(t *testing.T) {
	read := database.SQL(`SELECT password_hash, locked_at, email FROM users WHERE id = $1`)
	insert := database.SQL(`
		INSERT INTO users (id, account_id, email, created_at, updated_at) VALUES ($1, $2, 'e', 300, 300)`)
	created := database.SQL(`SELECT created_at FROM users WHERE id = $1`)
	dbtest.Each(t, func(t *testing.T, db *database.DB) {
		id := uuid.New()
		run(t, db, func(b *database.Batch) {
			b.Exec(insertAccount, id, "a")
			b.Exec(insert, id, id)
		})
		var text string
		var number int64
		var small int8
		for name, scan := range map[string]func(r database.Rows) error{
			"NULL text":   func(r database.Rows) error { return r.Scan(&text, new(*int64), &text) },
			"NULL number": func(r database.Rows) error { return r.Scan(new(*string), &number, &text) },
			"no number":   func(r database.Rows) error { return r.Scan(new(*string), new(*int64), &number) },
			"too few":     func(r database.Rows) error { return r.Scan(new(*string)) },
			"no pointer":  func(r database.Rows) error { return r.Scan(new(*string), new(*int64), text) },
		} {
			rows, err := db.Query(t.Context(), read, id)
			if err != nil || !rows.Next() {
				t.Fatal(err)
			}
			err = scan(rows)
			rows.Close()
			wantIsNot(t, err, database.ErrUnavailable, database.ErrNoRows)
			var b database.Batch
			b.Query(scan, read, id)
			t.Log(name, db.Run(t.Context(), &b))
			wantIsNot(t, db.Run(t.Context(), &b), database.ErrUnavailable, database.ErrNoRows)
		}
		wantIsNot(t, db.QueryRow(t.Context(), created, id).Scan(&small), database.ErrUnavailable)
		var b database.Batch
		b.Query(func(r database.Rows) error { return r.Scan(&small) }, created, id)
		wantIsNot(t, db.Run(t.Context(), &b), database.ErrUnavailable)
	})
}

func TestTypesBadArguments(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, db *database.DB) {
		for _, bad := range []any{"nul\x00byte", "not\xffutf8", make(chan int)} {
			var b database.Batch
			b.Exec(insertAccount, uuid.New(), bad)
			wantIsNot(t, db.Run(t.Context(), &b), database.ErrUnavailable)
			wantIsNot(t, db.QueryRow(t.Context(), accountName, bad).Scan(new(string)), database.ErrUnavailable, database.ErrNoRows)
		}
		var b database.Batch
		b.Exec(insertAccount, uuid.New())
		wantIsNot(t, db.Run(t.Context(), &b), database.ErrUnavailable)
	})
}

// A UUID is given to the drivers in types of their own; where a statement wants a text, it is the usual one.
func TestUUIDAsText(t *testing.T) {
	asText := database.SQL("SELECT {text:$1}")
	dbtest.Each(t, func(t *testing.T, db *database.DB) {
		id := uuid.New()
		var read, queried string
		if err := db.QueryRow(t.Context(), asText, id).Scan(&read); err != nil {
			t.Fatal(err)
		}
		run(t, db, func(b *database.Batch) {
			b.Query(func(r database.Rows) error { return r.Scan(&queried) }, asText, id)
		})
		if read != id.String() || queried != read {
			t.Errorf("a read says %q and a batch %q, want %q", read, queried, id)
		}
	})
}
