package oci_test

import (
	"context"
	"net/http"
	"testing"
	"time"

	v1 "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/berthregistry/berth/internal/oci/ocitest"
)

// stuckAfter is how long a push takes at the most that waits for nobody.
const stuckAfter = time.Minute

// TestThreat18PushesQueueBehindNoRow: while one push is in the middle of its transaction, and a worker adds the ledger up,
// others into the same project and repository go through, and nobody waits for a lock.
func TestThreat18PushesQueueBehindNoRow(t *testing.T) {
	t.Parallel()
	env := ocitest.Servers(t)
	c := env.Replica(t, ocitest.Options{ProjectQuota: 1 << 20, AccountQuota: 1 << 20}).Client
	c.Image("demo/app", "v1", noise(1000, 1))
	ctx, cancel := context.WithTimeout(t.Context(), stuckAfter)
	defer cancel()
	open := env.DB.Gorm().WithContext(ctx).Begin()
	defer open.Rollback()
	for _, statement := range []string{
		`SELECT 1 FROM projects WHERE slug = 'demo' FOR SHARE`, // as every guard does
		`INSERT INTO usage_deltas (id, project_id, bytes, reason, at) SELECT gen_random_uuid(), id, 1, 'test', 1 FROM projects WHERE slug = 'demo'`,
		`INSERT INTO usage_totals (project_id, bytes, as_of) SELECT id, 0, 1 FROM projects WHERE slug = 'demo'
			ON CONFLICT (project_id) DO UPDATE SET bytes = usage_totals.bytes + 1`, // as the worker does
		`SELECT 1 FROM manifests FOR KEY SHARE`,
		`SELECT 1 FROM repository_blobs FOR SHARE`,
	} {
		if err := open.Exec(statement).Error; err != nil {
			t.Fatalf("%s: %v", statement, err)
		}
	}
	layer := noise(1000, 2)
	c.Image("demo/app", "v2", layer)
	c.Image("demo/other", "v1", layer)
	send := func(method, path string, body []byte) {
		t.Helper()
		if answer := c.Do(method, path, body, "Content-Type", v1.MediaTypeImageIndex); answer.Status != http.StatusCreated {
			t.Errorf("%s %s: %d %s", method, path, answer.Status, answer.Body)
		}
	}
	send(http.MethodPut, manifestURL("demo/app", "v3"), []byte(`{"schemaVersion":2,"mediaType":"`+v1.MediaTypeImageIndex+`","manifests":[]}`))
	if n := rows(t, env, `SELECT count(*) FROM pg_locks WHERE NOT granted AND database = (SELECT oid FROM pg_database WHERE datname = current_database())`); n != 0 {
		t.Errorf("%d wait for a lock", n)
	}
	if err := ctx.Err(); err != nil {
		t.Errorf("pushes waited for the transaction of another: %v", err)
	}
}
