package database_test

import (
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/berthregistry/berth/internal/database"
	"github.com/berthregistry/berth/internal/database/dbtest"
)

func TestStmtFragments(t *testing.T) {
	var (
		now       = database.SQL(`SELECT {now}, {instant} + 0`)
		each      = database.SQL(`SELECT each.value, length(value) FROM {each:$2} WHERE value <> {text:$1} ORDER BY each.value;`)
		typed     = database.SQL(`SELECT {bigint:$1}, {text:$2}, {uuid:$3}, {bytea:$4}`)
		order     = database.SQL(`SELECT {text:$2}, {text:$1}, {text:$2}`)
		quoted    = database.SQL("SELECT '{now} $1 ; it''s', 1 AS \"{x}\" /* {y} $9 ; */ -- {z} ;\n WHERE 1 = {bigint:$1}")
		forShare  = database.SQL(`SELECT id FROM projects {share}`)
		forUpdate = database.SQL(`SELECT id FROM projects {update}`)
		forKey    = database.SQL(`SELECT id FROM projects {keyshare}`)
		skip      = database.SQL(`SELECT id FROM projects {skip}`)
	)
	dbtest.Each(t, func(t *testing.T, db *database.DB) {
		ctx := t.Context()
		before := time.Now().Add(-time.Second)
		var micros, instant int64
		if err := db.QueryRow(ctx, now).Scan(&micros, &instant); err != nil {
			t.Fatal(err)
		}
		for _, m := range []int64{micros, instant} {
			if at := database.FromMicros(m); at.Before(before) || at.After(time.Now().Add(time.Second)) {
				t.Errorf("the database says it is %v", at)
			}
		}

		values := []string{"b", "", `quo"te\ {x} $1 ü`, "skipped", "a"}
		rows, err := db.Query(ctx, each, "skipped", database.Strings(values))
		if err != nil {
			t.Fatal(err)
		}
		var got []string
		for rows.Next() {
			var value string
			var length int64
			if err := rows.Scan(&value, &length); err != nil {
				t.Fatal(err)
			}
			got = append(got, value)
		}
		if err := rows.Err(); err != nil {
			t.Fatal(err)
		}
		want := slices.DeleteFunc(slices.Clone(values), func(v string) bool { return v == "skipped" })
		slices.Sort(want)
		slices.Sort(got) // each dialect has its own order here
		if !slices.Equal(got, want) {
			t.Errorf("got %q, want %q", got, want)
		}
		var none string
		wantIs(t, db.QueryRow(ctx, each, "", database.Strings(nil)).Scan(&none, &none), database.ErrNoRows)

		var n int64
		var id, a, b, c string
		var bytes []byte
		const uuid = "0198c0de-0000-7000-8000-000000000001"
		if err := db.QueryRow(ctx, typed, 7, "seven", uuid, []byte("x")).Scan(&n, &a, &id, &bytes); err != nil {
			t.Fatal(err)
		}
		if n != 7 || a != "seven" || id != uuid || string(bytes) != "x" {
			t.Errorf("got %d, %q, %q, %q", n, a, id, bytes)
		}
		if err := db.QueryRow(ctx, order, "one", "two").Scan(&a, &b, &c); err != nil {
			t.Fatal(err)
		}
		if a != "two" || b != "one" || c != "two" {
			t.Errorf("got %q, %q, %q", a, b, c)
		}
		if err := db.QueryRow(ctx, quoted, 1).Scan(&a, &n); err != nil {
			t.Fatal(err)
		}
		if a != "{now} $1 ; it's" {
			t.Errorf("got %q", a)
		}
		for _, stmt := range []database.Stmt{forShare, forUpdate, forKey, skip} {
			run(t, db, func(b *database.Batch) { b.Exec(stmt) })
		}
	})
}

func TestStmtMistakesPanic(t *testing.T) {
	for _, text := range []string{
		"", " ; ", "SELECT {nonsense}", "SELECT {now", "SELECT {each}", "SELECT {now:$1}", "SELECT {uuid:}",
		"SELECT {uuid:$}", "SELECT {uuid:1}", "SELECT {uuid:$0}", "SELECT {uuid:$1x}", "SELECT $x", "SELECT $0",
		"SELECT 'open", `SELECT "open`, "SELECT /* open", "SELECT 1; SELECT 2",
	} {
		func() {
			defer func() {
				if recover() == nil {
					t.Errorf("%q did not panic", text)
				}
			}()
			database.SQL(text)
		}()
	}
}

func TestStmtMisusePanics(t *testing.T) {
	for name, misuse := range map[string]func(b *database.Batch){
		"zero":                  func(b *database.Batch) { b.Exec(database.Stmt{}) },
		"require without error": func(b *database.Batch) { b.Require(nil, raiseEpoch) },
		"query without scan":    func(b *database.Batch) { b.Query(nil, raiseEpoch) },
	} {
		func() {
			defer func() {
				if recover() == nil {
					t.Errorf("%s did not panic", name)
				}
			}()
			misuse(&database.Batch{})
		}()
	}
	if text := raiseEpoch.String(); !strings.HasPrefix(text, "UPDATE") {
		t.Errorf("got %q", text)
	}
}

func TestMicros(t *testing.T) {
	at := time.Date(2026, 2, 3, 4, 5, 6, 789123456, time.FixedZone("", 3600))
	if got := database.FromMicros(database.ToMicros(at)); !got.Equal(at.Truncate(time.Microsecond)) || got.Location() != time.UTC {
		t.Errorf("got %v from %v", got, at)
	}
}

func TestLimitsAndPatterns(t *testing.T) {
	limited := database.SQL(`SELECT each.value FROM {each:$1} WHERE each.value LIKE {pattern:$2} ORDER BY each.value LIMIT {limit:$3}`)
	dbtest.Each(t, func(t *testing.T, db *database.DB) {
		for _, tt := range []struct {
			pattern string
			limit   int64
			want    []string
		}{{"a%", 2, []string{"a1", "a2"}}, {"a%", 5, []string{"a1", "a2", "a3"}}, {"%2", 5, []string{"a2", "b2"}}, {"%", 0, nil}} {
			rows, err := db.Query(t.Context(), limited, database.Strings([]string{"b2", "a1", "a3", "a2"}), tt.pattern, tt.limit)
			if err != nil {
				t.Fatal(err)
			}
			var got []string
			for rows.Next() {
				var value string
				if err := rows.Scan(&value); err != nil {
					t.Fatal(err)
				}
				got = append(got, value)
			}
			if err := rows.Err(); err != nil || !slices.Equal(got, tt.want) {
				t.Errorf("LIKE %q LIMIT %d: %q, %v, want %q", tt.pattern, tt.limit, got, err, tt.want)
			}
		}
	})
}
