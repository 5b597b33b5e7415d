-- What is deleted and comes back, which tags stay as they are, what is kept, and what lists tell of a manifest.

-- +goose Up

-- The act of deleting: what went in one act comes back together.
ALTER TABLE repositories ADD COLUMN deletion uuid;
ALTER TABLE manifests ADD COLUMN deletion uuid;
ALTER TABLE repository_blobs ADD COLUMN deletion uuid;
ALTER TABLE tags ADD COLUMN deletion uuid;
CREATE INDEX manifests_trash ON manifests (repository_id, digest) WHERE deleted_at IS NOT NULL;
CREATE INDEX tags_trash ON tags (repository_id, name) WHERE deleted_at IS NOT NULL;
CREATE INDEX repository_blobs_trash ON repository_blobs (repository_id, deletion) WHERE deletion IS NOT NULL;

-- A rule is about repositories and about tags. Each pattern comes with the regular expression that it is in SQL.
DROP TABLE tag_rules;
CREATE TABLE tag_rules (
    id                    uuid PRIMARY KEY,
    project_id            uuid   NOT NULL REFERENCES projects (id),
    kind                  text   NOT NULL CHECK (kind IN ('immutable')),
    repository_pattern    text   NOT NULL,
    repository_expression text   NOT NULL,
    tag_pattern           text   NOT NULL,
    tag_expression        text   NOT NULL,
    created_by            text   NOT NULL,
    created_at            bigint NOT NULL,
    UNIQUE (project_id, kind, repository_pattern, tag_pattern)
);

CREATE TABLE retention_rules (
    id                 uuid PRIMARY KEY,
    project_id         uuid    NOT NULL REFERENCES projects (id),
    repository_pattern text    NOT NULL,
    tag_pattern        text    NOT NULL, -- the tags that it is about
    keep_last          bigint,           -- of them, the last so many by time of push; NULL: says nothing
    keep_pushed        bigint,           -- what was pushed within so many seconds
    keep_pulled        bigint,           -- what was pulled within so many seconds
    keep_tags          text    NOT NULL, -- a pattern; empty: says nothing
    untagged_after     bigint,           -- manifests without a tag go so many seconds after their push; NULL: never
    enabled            boolean NOT NULL,
    version            bigint  NOT NULL DEFAULT 1,
    created_by         text    NOT NULL,
    created_at         bigint  NOT NULL,
    updated_at         bigint  NOT NULL
);
CREATE INDEX retention_rules_project ON retention_rules (project_id, id);

-- When a project's rules are applied next, and by whom they are being applied.
CREATE TABLE retention_schedule (
    project_id  uuid PRIMARY KEY REFERENCES projects (id),
    next_run_at bigint NOT NULL,
    lease_until bigint NOT NULL DEFAULT 0
);
CREATE INDEX retention_schedule_due ON retention_schedule (next_run_at);

-- What lists tell of a manifest is found out when it is pushed. NULL: not yet, of what was pushed before.
ALTER TABLE manifests ADD COLUMN total_size bigint;
ALTER TABLE manifests ADD COLUMN platforms text NOT NULL DEFAULT '';
ALTER TABLE manifests ADD COLUMN pushed_at bigint NOT NULL DEFAULT 0; -- the last time
ALTER TABLE manifest_children ADD COLUMN platform text NOT NULL DEFAULT '';
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
    id         uuid PRIMARY KEY,
    project_id uuid   NOT NULL REFERENCES projects (id),
    pattern    text   NOT NULL,
    kind       text   NOT NULL CHECK (kind IN ('immutable')),
    created_by text   NOT NULL,
    created_at bigint NOT NULL,
    UNIQUE (project_id, kind, pattern)
);
DROP INDEX repository_blobs_trash;
DROP INDEX tags_trash;
DROP INDEX manifests_trash;
ALTER TABLE tags DROP COLUMN deletion;
ALTER TABLE repository_blobs DROP COLUMN deletion;
ALTER TABLE manifests DROP COLUMN deletion;
ALTER TABLE repositories DROP COLUMN deletion;
