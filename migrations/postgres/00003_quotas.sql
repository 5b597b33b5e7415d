-- What quotas need: a ledger that replicas can sum together, and the uploads under way of a project.

-- +goose Up

-- Which round of summing has taken a delta; it leaves with that transaction, so nobody else ever sees one.
ALTER TABLE usage_deltas ADD COLUMN fold uuid;
CREATE INDEX usage_deltas_fold ON usage_deltas (fold) WHERE fold IS NOT NULL;

-- Every project that has content begins with what it holds.
DELETE FROM usage_deltas;
DELETE FROM usage_totals;
INSERT INTO usage_totals (project_id, bytes, as_of)
SELECT held.project_id, sum(held.bytes), 0 FROM (
    SELECT r.project_id, m.size AS bytes FROM repositories r
    JOIN manifests m ON m.repository_id = r.id AND m.deleted_at IS NULL
    WHERE r.deleted_at IS NULL
    UNION ALL
    SELECT l.project_id, b.size FROM (
        SELECT DISTINCT r.project_id, l.blob_id FROM repositories r
        JOIN repository_blobs l ON l.repository_id = r.id AND l.deleted_at IS NULL
        WHERE r.deleted_at IS NULL) AS l
    JOIN blobs b ON b.id = l.blob_id) AS held
GROUP BY held.project_id;

-- The bytes of uploads under way.
CREATE INDEX upload_sessions_open ON upload_sessions (project_id) WHERE status = 'open';

-- +goose Down
DROP INDEX upload_sessions_open;
DROP INDEX usage_deltas_fold;
ALTER TABLE usage_deltas DROP COLUMN fold;
