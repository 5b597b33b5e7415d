package main

import (
	"testing"

	"github.com/berthregistry/berth/internal/database"
	"github.com/berthregistry/berth/internal/database/dbtest"
	"github.com/berthregistry/berth/internal/testenv"
)

func TestMain(m *testing.M) { testenv.Main(m) }

// TestWorldIsWhole loads a small world, counts it, and looks for what refers to nothing.
func TestWorldIsWhole(t *testing.T) {
	t.Parallel()
	for dialect, open := range map[string]func(testing.TB) string{
		onSQLite:   func(tb testing.TB) string { tb.Helper(); return "sqlite:" + tb.TempDir() + "/berth.db" },
		onPostgres: testenv.Postgres,
	} {
		t.Run(dialect, func(t *testing.T) {
			t.Parallel()
			url := open(t)
			db := dbtest.Open(t, url)
			w := world{projects: 45}
			if err := w.load(t.Context(), url, t.Logf); err != nil {
				t.Fatal(err)
			}
			for table, want := range map[string]int64{
				"users": 4, "projects": 45, "members": 45, "repositories": 45, "blobs": 135, "repository_blobs": 135, "manifests": 135,
				"manifest_blobs": 225, "tags": 450, "tag_history": 450, "usage_totals": 45, "tokens": 45,
			} {
				var got int64
				if err := db.QueryRow(t.Context(), database.SQL(`SELECT count(*) FROM `+table)).Scan(&got); err != nil || got != want {
					t.Errorf("%s: %d rows (%v), want %d", table, got, err, want)
				}
			}
			for what, dangling := range map[string]string{
				"links":      `SELECT count(*) FROM repository_blobs l LEFT JOIN blobs b ON b.id = l.blob_id AND b.digest = l.digest LEFT JOIN chunks c ON c.owner_id = b.id WHERE c.owner_id IS NULL`,
				"references": `SELECT count(*) FROM manifest_blobs r LEFT JOIN repository_blobs l ON l.repository_id = r.repository_id AND l.digest = r.blob_digest LEFT JOIN manifests m ON m.repository_id = r.repository_id AND m.digest = r.manifest_digest WHERE l.digest IS NULL OR m.digest IS NULL`,
				"tags":       `SELECT count(*) FROM tags t LEFT JOIN manifests m ON m.repository_id = t.repository_id AND m.digest = t.digest LEFT JOIN repositories r ON r.id = t.repository_id LEFT JOIN projects p ON p.id = r.project_id WHERE m.digest IS NULL OR p.id IS NULL`,
				"subjects":   `SELECT count(*) FROM manifests m LEFT JOIN manifests s ON s.repository_id = m.repository_id AND s.digest = m.subject_digest WHERE m.subject_digest IS NOT NULL AND s.digest IS NULL`,
				"owners":     `SELECT count(*) FROM projects p LEFT JOIN members m ON m.project_id = p.id LEFT JOIN users u ON u.id = m.user_id AND u.account_id = p.account_id WHERE u.id IS NULL`,
				"usage":      `SELECT count(*) FROM usage_totals t WHERE t.bytes <> (SELECT sum(b.size) FROM repositories r JOIN repository_blobs l ON l.repository_id = r.id JOIN blobs b ON b.id = l.blob_id WHERE r.project_id = t.project_id)`,
			} {
				var got int64
				if err := db.QueryRow(t.Context(), database.SQL(dangling)).Scan(&got); err != nil || got != 0 {
					t.Errorf("%s: %d are wrong (%v)", what, got, err)
				}
			}
		})
	}
}
