-- What scrubbing needs: blobs that are damaged, what was found, and how far a scrub is. And a pause of the sweep.

-- +goose Up

-- A damaged blob is not shown. Pushing its content again gives it other chunks, those of the upload healed_by.
ALTER TABLE blobs ADD COLUMN damaged_at bigint;
ALTER TABLE blobs ADD COLUMN healed_by uuid;
CREATE INDEX blobs_damaged ON blobs (id) WHERE damaged_at IS NOT NULL;

-- Scrubs, the last ones. One without an end is under way, or goes on when somebody takes it.
CREATE TABLE scrub_runs (
    id          uuid PRIMARY KEY,
    kind        text   NOT NULL CHECK (kind IN ('scheduled', 'requested', 'command')),
    fraction    bigint NOT NULL,           -- of the blobs, in millionths
    rate        bigint NOT NULL,           -- bytes a second; 0: any number
    started_at  bigint NOT NULL,
    updated_at  bigint NOT NULL,           -- database time
    finished_at bigint,
    holder      uuid,                      -- of the lease
    lease_until bigint NOT NULL DEFAULT 0, -- database time
    stage       text   NOT NULL,
    place       text   NOT NULL DEFAULT '', -- the last of the stage that was looked at
    figures     text   NOT NULL,           -- JSON
    error       text   NOT NULL DEFAULT ''
);
CREATE INDEX scrub_runs_open ON scrub_runs (id) WHERE finished_at IS NULL;

CREATE TABLE scrub_findings (
    id         uuid PRIMARY KEY,
    run_id     uuid,                     -- NULL: a pull came upon it
    kind       text   NOT NULL CHECK (kind IN ('damaged', 'missing', 'manifest')),
    subject    text   NOT NULL,          -- the digest; of a manifest, after the repository
    digest     text   NOT NULL,
    size       bigint NOT NULL,
    object_key text   NOT NULL DEFAULT '', -- where one object is to blame
    detail     text   NOT NULL,
    found_at   bigint NOT NULL,
    ended_at   bigint,
    outcome    text   NOT NULL DEFAULT '' CHECK (outcome IN ('', 'healed', 'recovered', 'gone'))
);
CREATE UNIQUE INDEX scrub_findings_open ON scrub_findings (subject) WHERE ended_at IS NULL;
CREATE INDEX scrub_findings_ended ON scrub_findings (ended_at) WHERE ended_at IS NOT NULL;

-- No object is removed before this instant, by the database's time: somebody copies the storage.
ALTER TABLE collection_schedule ADD COLUMN hold_until bigint NOT NULL DEFAULT 0;

-- +goose Down
ALTER TABLE collection_schedule DROP COLUMN hold_until;
DROP TABLE scrub_findings, scrub_runs;
DROP INDEX blobs_damaged;
ALTER TABLE blobs DROP COLUMN healed_by;
ALTER TABLE blobs DROP COLUMN damaged_at;
