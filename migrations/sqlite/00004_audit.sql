-- The record of who did what.

-- +goose Up

-- Append-only; removed by age. Nothing refers to it and it refers to nothing, so that it outlives what it is about.
CREATE TABLE audit_log (
    id         TEXT PRIMARY KEY, -- UUIDv7: in the order of time
    at         INTEGER NOT NULL,
    actor      TEXT   NOT NULL,  -- principal, as in tag_history.actor; system; operator
    token_id   TEXT,
    session_id TEXT,
    remote_ip  TEXT   NOT NULL,
    user_agent TEXT   NOT NULL,
    request_id TEXT   NOT NULL,
    action     TEXT   NOT NULL,  -- kind of object and what was done to it: robot.create
    outcome    TEXT   NOT NULL CHECK (outcome IN ('done', 'refused')),
    project_id TEXT,
    repository TEXT   NOT NULL,  -- path below the project
    object     TEXT   NOT NULL,  -- ID, digest, tag
    detail     TEXT   NOT NULL   -- JSON; empty: none
) STRICT;
CREATE INDEX audit_log_project ON audit_log (project_id, id) WHERE project_id IS NOT NULL;
CREATE INDEX audit_log_actor ON audit_log (actor, id);
CREATE INDEX audit_log_action ON audit_log (action, id);

-- What the tag named before (NULL: nothing), and the entry that the move belongs to.
ALTER TABLE tag_history ADD COLUMN previous_digest TEXT;
ALTER TABLE tag_history ADD COLUMN audit_id TEXT;
CREATE INDEX tag_history_audit ON tag_history (audit_id, id) WHERE audit_id IS NOT NULL;

-- What has happened is never told otherwise.
-- +goose StatementBegin
CREATE TRIGGER audit_log_append_only BEFORE UPDATE ON audit_log
BEGIN
    SELECT RAISE(ABORT, 'the audit log is append-only');
END;
-- +goose StatementEnd

-- +goose Down
DROP INDEX tag_history_audit;
ALTER TABLE tag_history DROP COLUMN audit_id;
ALTER TABLE tag_history DROP COLUMN previous_digest;
DROP TABLE audit_log;
