-- The record of who did what.

-- +goose Up

-- Append-only; removed by age. Nothing refers to it and it refers to nothing, so that it outlives what it is about.
CREATE TABLE audit_log (
    id         uuid PRIMARY KEY, -- UUIDv7: in the order of time
    at         bigint NOT NULL,
    actor      text   NOT NULL,  -- principal, as in tag_history.actor; system; operator
    token_id   uuid,
    session_id uuid,
    remote_ip  text   NOT NULL,
    user_agent text   NOT NULL,
    request_id text   NOT NULL,
    action     text   NOT NULL,  -- kind of object and what was done to it: robot.create
    outcome    text   NOT NULL CHECK (outcome IN ('done', 'refused')),
    project_id uuid,
    repository text   NOT NULL,  -- path below the project
    object     text   NOT NULL,  -- ID, digest, tag
    detail     text   NOT NULL   -- JSON; empty: none
);
CREATE INDEX audit_log_project ON audit_log (project_id, id) WHERE project_id IS NOT NULL;
CREATE INDEX audit_log_actor ON audit_log (actor, id);
CREATE INDEX audit_log_action ON audit_log (action, id);

-- What the tag named before (NULL: nothing), and the entry that the move belongs to.
ALTER TABLE tag_history ADD COLUMN previous_digest text;
ALTER TABLE tag_history ADD COLUMN audit_id uuid;
CREATE INDEX tag_history_audit ON tag_history (audit_id, id) WHERE audit_id IS NOT NULL;

-- What has happened is never told otherwise.
-- +goose StatementBegin
CREATE FUNCTION berth_append_only() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION 'the audit log is append-only';
END
$$;
-- +goose StatementEnd
CREATE TRIGGER audit_log_append_only BEFORE UPDATE ON audit_log
    FOR EACH STATEMENT EXECUTE FUNCTION berth_append_only();

-- +goose Down
DROP INDEX tag_history_audit;
ALTER TABLE tag_history DROP COLUMN audit_id;
ALTER TABLE tag_history DROP COLUMN previous_digest;
DROP TABLE audit_log;
DROP FUNCTION berth_append_only;
