-- What collection needs: queues of what it may have to do, so that nothing looks for that in all there is.

-- +goose Up

-- A manifest needed the link when the collector last looked. It looks again when such a manifest is purged.
ALTER TABLE repository_blobs ADD COLUMN held INTEGER NOT NULL DEFAULT 0;
DROP INDEX repository_blobs_keep;
CREATE INDEX repository_blobs_due ON repository_blobs (keep_until) WHERE NOT held;

-- What was deleted, by the time from which it cannot be brought back.
CREATE INDEX projects_purgeable ON projects (purge_after) WHERE purge_after IS NOT NULL;
CREATE INDEX repositories_purgeable ON repositories (purge_after) WHERE purge_after IS NOT NULL;
CREATE INDEX manifests_purgeable ON manifests (purge_after) WHERE purge_after IS NOT NULL;
CREATE INDEX tags_purgeable ON tags (purge_after) WHERE purge_after IS NOT NULL;

-- Blobs that have lost a link, and may have lost the last one.
CREATE TABLE blob_reviews (
    blob_id    TEXT PRIMARY KEY REFERENCES blobs (id) ON DELETE CASCADE,
    created_at INTEGER NOT NULL,
    claim      TEXT -- which batch has taken it; it leaves with that transaction, so nobody else ever sees one
) STRICT;
CREATE INDEX blob_reviews_created ON blob_reviews (created_at);
CREATE INDEX blob_reviews_claim ON blob_reviews (claim) WHERE claim IS NOT NULL;
INSERT INTO blob_reviews (blob_id, created_at)
SELECT b.id, b.created_at FROM blobs b WHERE NOT EXISTS (SELECT 1 FROM repository_blobs l WHERE l.blob_id = b.id);

-- Blobs of several chunks, which could be one.
CREATE TABLE blob_compactions (
    blob_id TEXT PRIMARY KEY REFERENCES blobs (id) ON DELETE CASCADE,
    chunks  INTEGER NOT NULL,
    due_at  INTEGER NOT NULL -- database time; later while somebody is at it, and after a failure
) STRICT;
CREATE INDEX blob_compactions_due ON blob_compactions (chunks, due_at);
INSERT INTO blob_compactions (blob_id, chunks, due_at)
SELECT c.owner_id, count(*), 0 FROM chunks c JOIN blobs b ON b.id = c.owner_id GROUP BY c.owner_id HAVING count(*) > 1;

-- Days whose objects were, or are about to be, looked through for such as have no row. No chunk of such a day gets one.
CREATE TABLE swept_days (
    day         TEXT PRIMARY KEY,          -- as keys begin
    lease_until INTEGER NOT NULL DEFAULT 0, -- database time
    done_at     INTEGER,
    objects     INTEGER NOT NULL DEFAULT 0,
    orphans     INTEGER NOT NULL DEFAULT 0
) STRICT;
CREATE INDEX swept_days_open ON swept_days (day) WHERE done_at IS NULL;

-- Collections, the last ones.
CREATE TABLE collection_runs (
    id          TEXT PRIMARY KEY,
    kind        TEXT   NOT NULL CHECK (kind IN ('scheduled', 'requested', 'command')),
    started_at  INTEGER NOT NULL,
    updated_at  INTEGER NOT NULL, -- database time
    finished_at INTEGER,
    figures     TEXT   NOT NULL, -- JSON
    error       TEXT   NOT NULL DEFAULT ''
) STRICT;
CREATE INDEX collection_runs_open ON collection_runs (updated_at) WHERE finished_at IS NULL;

-- One row: when the next collection is due, and who is at it.
CREATE TABLE collection_schedule (
    id          INTEGER PRIMARY KEY CHECK (id = 1),
    next_at     INTEGER NOT NULL,
    requested   INTEGER NOT NULL DEFAULT 0,
    run_id      TEXT,                      -- of the lease
    lease_until INTEGER NOT NULL DEFAULT 0, -- database time
    removed_objects INTEGER NOT NULL DEFAULT 0, -- from storage, ever
    removed_bytes   INTEGER NOT NULL DEFAULT 0
) STRICT;
INSERT INTO collection_schedule (id, next_at) VALUES (1, 0);

-- +goose Down
DROP TABLE collection_schedule;
DROP TABLE collection_runs;
DROP TABLE swept_days;
DROP TABLE blob_compactions;
DROP TABLE blob_reviews;
DROP INDEX tags_purgeable;
DROP INDEX manifests_purgeable;
DROP INDEX repositories_purgeable;
DROP INDEX projects_purgeable;
DROP INDEX repository_blobs_due;
CREATE INDEX repository_blobs_keep ON repository_blobs (keep_until);
ALTER TABLE repository_blobs DROP COLUMN held;
