package database_test

import (
	"errors"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/sdk/trace/tracetest"

	"github.com/berthregistry/berth/internal/database"
	"github.com/berthregistry/berth/internal/telemetry/observe"
	"github.com/berthregistry/berth/internal/testenv"
)

var (
	makeThings   = database.SQL(`CREATE TABLE things (name TEXT PRIMARY KEY)`)
	insertThing  = database.SQL(`INSERT INTO things (name) VALUES ($1)`)
	requireThing = database.SQL(`SELECT 1 FROM things WHERE name = $1`)
	allThings    = database.SQL(`SELECT name FROM things ORDER BY name`)
	noTable      = database.SQL(`SELECT name FROM nothings`)
	errMissing   = errors.New("there is no such thing")
)

// TestWatchedCalls holds, on both databases, one span for each call, named by what it does, with no parameter in it; and that
// being watched changes no answer.
func TestWatchedCalls(t *testing.T) {
	t.Parallel()
	for dialect, url := range map[string]string{
		database.SQLite: "sqlite:" + filepath.Join(t.TempDir(), "berth.db"), database.Postgres: testenv.Postgres(t),
	} {
		t.Run(dialect, func(t *testing.T) {
			t.Parallel()
			kept := tracetest.NewInMemoryExporter()
			tracing := sdktrace.NewTracerProvider(sdktrace.WithSyncer(kept))
			db, err := database.Open(t.Context(), database.Config{URL: url, Observer: observe.New(tracing, nil)})
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() { _ = db.Close() })
			if _, err := db.Migrate(t.Context()); err != nil {
				t.Fatal(err)
			}
			ctx, request := tracing.Tracer("test").Start(t.Context(), "request")
			run := func(want error, fill func(*database.Batch)) {
				t.Helper()
				var b database.Batch
				fill(&b)
				if err := db.Run(ctx, &b); !errors.Is(err, want) {
					t.Errorf("Run: %v, want %v", err, want)
				}
			}
			run(nil, func(b *database.Batch) { b.Exec(makeThings) })
			run(nil, func(b *database.Batch) {
				b.Exec(insertThing, "a secret")
				b.Require(errMissing, requireThing, "a secret")
			})
			run(errMissing, func(b *database.Batch) { b.Require(errMissing, requireThing, "nothing") })
			run(database.ErrConflict, func(b *database.Batch) { b.Exec(insertThing, "a secret") })
			var one int
			if err := db.QueryRow(ctx, requireThing, "nothing").Scan(&one); !errors.Is(err, database.ErrNoRows) {
				t.Errorf("QueryRow: %v", err)
			}
			rows, err := db.Query(ctx, allThings)
			if err != nil {
				t.Fatal(err)
			}
			if !rows.Next() || rows.Next() || rows.Err() != nil {
				t.Errorf("rows: %v", rows.Err())
			}
			if rows, err := db.Query(ctx, noTable); err == nil {
				rows.Close()
				t.Error("a table that is not there")
			}
			var count int64
			if err := db.Gorm().WithContext(ctx).Table("things").Count(&count).Error; err != nil || count != 1 {
				t.Errorf("GORM: %d, %v", count, err)
			}
			if err := db.Gorm().WithContext(ctx).Table("nothings").Count(&count).Error; err == nil {
				t.Error("GORM found a table that is not there")
			}
			request.End()

			var got []string
			for _, span := range kept.GetSpans() {
				if span.Name == "request" {
					continue
				}
				if span.Parent.SpanID() != request.SpanContext().SpanID() {
					t.Errorf("%s is not in the request", span.Name)
				}
				text := span.Name + " " + span.Status.Code.String()
				for _, attr := range span.Attributes {
					if attr.Key == "error.type" || attr.Key == "db.query.summary" {
						text += " " + attr.Value.AsString()
					}
					if strings.Contains(attr.Value.String(), "secret") {
						t.Errorf("%s tells a parameter: %v", span.Name, attr)
					}
				}
				got = append(got, text)
			}
			want := []string{
				"BATCH Unset OTHER", "BATCH Unset INSERT things; SELECT things", "BATCH Unset SELECT things",
				"BATCH Unset INSERT things conflict", "SELECT things Unset", "SELECT things Unset", "SELECT nothings Error _OTHER",
				"SELECT things Unset", "SELECT nothings Error _OTHER",
			}
			if !slices.Equal(got, want) {
				t.Errorf("spans\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
			}
		})
	}
}

func TestFiguresOfADatabase(t *testing.T) {
	t.Parallel()
	for dialect, url := range map[string]string{
		database.SQLite: "sqlite:" + filepath.Join(t.TempDir(), "berth.db"), database.Postgres: testenv.Postgres(t),
	} {
		db, err := database.Open(t.Context(), database.Config{URL: url})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = db.Close() })
		for range 3 {
			var b database.Batch
			b.Query(func(database.Rows) error { return nil }, database.SQL(`SELECT 1`))
			if err := db.Run(t.Context(), &b); err != nil {
				t.Fatal(err)
			}
		}
		stats := db.Stats()
		if stats.Max < 2 || stats.Used != 0 || stats.Idle < 1 || stats.Commits != 3 || stats.Trips < 3 {
			t.Errorf("%s: %+v", dialect, stats)
		}
		if grouped := map[string]int64{database.SQLite: 3}[dialect]; stats.Grouped != grouped || stats.Groups != grouped {
			t.Errorf("%s: %+v", dialect, stats)
		}
	}
}
