-- What scrubbing needs: blobs that are damaged, what was found, and how far a scrub is. And a pause of the sweep.

-- +goose Up

-- A damaged blob is not shown. Pushing its content again gives it other chunks, those of the upload healed_by.
ALTER TABLE blobs ADD COLUMN damaged_at INTEGER;
ALTER TABLE blobs ADD COLUMN healed_by TEXT;
CREATE INDEX blobs_damaged ON blobs (id) WHERE damaged_at IS NOT NULL;

-- Scrubs, the last ones. One without an end is under way, or goes on when somebody takes it.
CREATE TABLE scrub_runs (
    id          TEXT PRIMARY KEY,
    kind        TEXT   NOT NULL CHECK (kind IN ('scheduled', 'requested', 'command')),
    fraction    INTEGER NOT NULL,           -- of the blobs, in millionths
    rate        INTEGER NOT NULL,           -- bytes a second; 0: any number
    started_at  INTEGER NOT NULL,
    updated_at  INTEGER NOT NULL,           -- database time
    finished_at INTEGER,
    holder      TEXT,                      -- of the lease
    lease_until INTEGER NOT NULL DEFAULT 0, -- database time
    stage       TEXT   NOT NULL,
    place       TEXT   NOT NULL DEFAULT '', -- the last of the stage that was looked at
    figures     TEXT   NOT NULL,           -- JSON
    error       TEXT   NOT NULL DEFAULT ''
) STRICT;
CREATE INDEX scrub_runs_open ON scrub_runs (id) WHERE finished_at IS NULL;

CREATE TABLE scrub_findings (
    id         TEXT PRIMARY KEY,
    run_id     TEXT,                     -- NULL: a pull came upon it
    kind       TEXT   NOT NULL CHECK (kind IN ('damaged', 'missing', 'manifest')),
    subject    TEXT   NOT NULL,          -- the digest; of a manifest, after the repository
    digest     TEXT   NOT NULL,
    size       INTEGER NOT NULL,
    object_key TEXT   NOT NULL DEFAULT '', -- where one object is to blame
    detail     TEXT   NOT NULL,
    found_at   INTEGER NOT NULL,
    ended_at   INTEGER,
    outcome    TEXT   NOT NULL DEFAULT '' CHECK (outcome IN ('', 'healed', 'recovered', 'gone'))
) STRICT;
CREATE UNIQUE INDEX scrub_findings_open ON scrub_findings (subject) WHERE ended_at IS NULL;
CREATE INDEX scrub_findings_ended ON scrub_findings (ended_at) WHERE ended_at IS NOT NULL;

-- No object is removed before this instant, by the database's time: somebody copies the storage.
ALTER TABLE collection_schedule ADD COLUMN hold_until INTEGER NOT NULL DEFAULT 0;

-- +goose Down
ALTER TABLE collection_schedule DROP COLUMN hold_until;
DROP TABLE scrub_findings;
DROP TABLE scrub_runs;
DROP INDEX blobs_damaged;
ALTER TABLE blobs DROP COLUMN healed_by;
ALTER TABLE blobs DROP COLUMN damaged_at;
