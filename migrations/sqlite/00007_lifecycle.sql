-- What is deleted and comes back, which tags stay as they are, what is kept, and what lists tell of a manifest.

-- +goose Up

-- The act of deleting: what went in one act comes back together.
ALTER TABLE repositories ADD COLUMN deletion TEXT;
ALTER TABLE manifests ADD COLUMN deletion TEXT;
ALTER TABLE repository_blobs ADD COLUMN deletion TEXT;
ALTER TABLE tags ADD COLUMN deletion TEXT;
CREATE INDEX manifests_trash ON manifests (repository_id, digest) WHERE deleted_at IS NOT NULL;
CREATE INDEX tags_trash ON tags (repository_id, name) WHERE deleted_at IS NOT NULL;
CREATE INDEX repository_blobs_trash ON repository_blobs (repository_id, deletion) WHERE deletion IS NOT NULL;

-- A rule is about repositories and about tags. Each pattern comes with the regular expression that it is in SQL.
DROP TABLE tag_rules;
CREATE TABLE tag_rules (
    id                    TEXT PRIMARY KEY,
    project_id            TEXT   NOT NULL REFERENCES projects (id),
    kind                  TEXT   NOT NULL CHECK (kind IN ('immutable')),
    repository_pattern    TEXT   NOT NULL,
    repository_expression TEXT   NOT NULL,
    tag_pattern           TEXT   NOT NULL,
    tag_expression        TEXT   NOT NULL,
    created_by            TEXT   NOT NULL,
    created_at            INTEGER NOT NULL,
    UNIQUE (project_id, kind, repository_pattern, tag_pattern)
) STRICT;

CREATE TABLE retention_rules (
    id                 TEXT PRIMARY KEY,
    project_id         TEXT    NOT NULL REFERENCES projects (id),
    repository_pattern TEXT    NOT NULL,
    tag_pattern        TEXT    NOT NULL, -- the tags that it is about
    keep_last          INTEGER,           -- of them, the last so many by time of push; NULL: says nothing
    keep_pushed        INTEGER,           -- what was pushed within so many seconds
    keep_pulled        INTEGER,           -- what was pulled within so many seconds
    keep_tags          TEXT    NOT NULL, -- a pattern; empty: says nothing
    untagged_after     INTEGER,           -- manifests without a tag go so many seconds after their push; NULL: never
    enabled            INTEGER NOT NULL,
    version            INTEGER  NOT NULL DEFAULT 1,
    created_by         TEXT    NOT NULL,
    created_at         INTEGER  NOT NULL,
    updated_at         INTEGER  NOT NULL
) STRICT;
CREATE INDEX retention_rules_project ON retention_rules (project_id, id);

-- When a project's rules are applied next, and by whom they are being applied.
CREATE TABLE retention_schedule (
    project_id  TEXT PRIMARY KEY REFERENCES projects (id),
    next_run_at INTEGER NOT NULL,
    lease_until INTEGER NOT NULL DEFAULT 0
) STRICT;
CREATE INDEX retention_schedule_due ON retention_schedule (next_run_at);

-- What lists tell of a manifest is found out when it is pushed. NULL: not yet, of what was pushed before.
ALTER TABLE manifests ADD COLUMN total_size INTEGER;
ALTER TABLE manifests ADD COLUMN platforms TEXT NOT NULL DEFAULT '';
ALTER TABLE manifests ADD COLUMN pushed_at INTEGER NOT NULL DEFAULT 0; -- the last time
ALTER TABLE manifest_children ADD COLUMN platform TEXT NOT NULL DEFAULT '';
UPDATE manifests SET pushed_at = created_at;
CREATE INDEX manifests_unmeasured ON manifests (repository_id, digest) WHERE total_size IS NULL;
DROP INDEX manifest_children_child;
CREATE INDEX manifest_children_child ON manifest_children (repository_id, child_digest, parent_digest);

-- +goose Down
DROP INDEX manifest_children_child;
CREATE INDEX manifest_children_child ON manifest_children (repository_id, child_digest);
DROP INDEX manifests_unmeasured;
ALTER TABLE manifest_children DROP COLUMN platform;
ALTER TABLE manifests DROP COLUMN pushed_at;
ALTER TABLE manifests DROP COLUMN platforms;
ALTER TABLE manifests DROP COLUMN total_size;
DROP TABLE retention_schedule;
DROP TABLE retention_rules;
DROP TABLE tag_rules;
CREATE TABLE tag_rules (
    id         TEXT PRIMARY KEY,
    project_id TEXT   NOT NULL REFERENCES projects (id),
    pattern    TEXT   NOT NULL,
    kind       TEXT   NOT NULL CHECK (kind IN ('immutable')),
    created_by TEXT   NOT NULL,
    created_at INTEGER NOT NULL,
    UNIQUE (project_id, kind, pattern)
) STRICT;
DROP INDEX repository_blobs_trash;
DROP INDEX tags_trash;
DROP INDEX manifests_trash;
ALTER TABLE tags DROP COLUMN deletion;
ALTER TABLE repository_blobs DROP COLUMN deletion;
ALTER TABLE manifests DROP COLUMN deletion;
ALTER TABLE repositories DROP COLUMN deletion;
