-- What limits need: those of single subjects, who made projects, and what callers without an account did.

-- +goose Up

-- Limits that differ from the server's. 0 is no limit.
CREATE TABLE limit_overrides (
    subject_id   uuid   NOT NULL, -- of a user, a project or a runner
    subject_kind text   NOT NULL CHECK (subject_kind IN ('user', 'project', 'runner')),
    name         text   NOT NULL,
    value        bigint NOT NULL CHECK (value >= 0),
    created_by   text   NOT NULL,
    created_at   bigint NOT NULL,
    PRIMARY KEY (subject_id, name)
);

-- The quota of an account; NULL: the server's, 0: none.
ALTER TABLE accounts ADD COLUMN quota_bytes bigint;

-- Who made a project, kept for a few days: a principal, or the network of a caller without an account.
CREATE TABLE project_creations (
    project_id uuid PRIMARY KEY, -- no reference: it outlives the project
    creator    text   NOT NULL,
    created_at bigint NOT NULL
);
CREATE INDEX project_creations_creator ON project_creations (creator, created_at);
CREATE INDEX project_creations_age ON project_creations (created_at);

-- The network of a caller without an account; empty: of somebody else.
ALTER TABLE upload_sessions ADD COLUMN network text NOT NULL DEFAULT '';
CREATE INDEX upload_sessions_principal ON upload_sessions (principal, network) WHERE status = 'open';

-- In which repositories a manifest is that is taken down.
CREATE INDEX manifests_digest ON manifests (digest);

CREATE INDEX tags_live ON tags (repository_id, name) WHERE deleted_at IS NULL;

-- What callers without an account did, by the hour. Replicas add to it now and then.
CREATE TABLE anonymous_activity (
    hour       bigint NOT NULL, -- instant at which it begins
    network    text   NOT NULL, -- empty: of many, each of them small
    project_id uuid   NOT NULL, -- the nil UUID: of none, or of many
    bytes      bigint NOT NULL,
    pushes     bigint NOT NULL, -- manifests
    refused    bigint NOT NULL, -- requests over a limit or quota
    PRIMARY KEY (hour, network, project_id)
);

-- Credentials that have ended long ago are removed.
CREATE INDEX tokens_revoked ON tokens (revoked_at) WHERE revoked_at IS NOT NULL;
CREATE INDEX tokens_expiry ON tokens (expires_at) WHERE expires_at IS NOT NULL;
CREATE INDEX invites_expiry ON invites (expires_at);

-- +goose Down
DROP INDEX invites_expiry;
DROP INDEX tokens_expiry;
DROP INDEX tokens_revoked;
DROP TABLE anonymous_activity;
DROP INDEX tags_live;
DROP INDEX manifests_digest;
DROP INDEX upload_sessions_principal;
ALTER TABLE upload_sessions DROP COLUMN network;
DROP TABLE project_creations;
ALTER TABLE accounts DROP COLUMN quota_bytes;
DROP TABLE limit_overrides;
