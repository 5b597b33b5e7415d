-- What the product API adds: its sessions, invitations, idempotency keys, and versions for its entity tags.

-- +goose Up

-- Somebody who logged in to the product API.
CREATE TABLE sessions (
    id           TEXT PRIMARY KEY,
    user_id      TEXT   NOT NULL REFERENCES users (id),
    token_id     TEXT REFERENCES tokens (id), -- with which it was opened; it ends with that
    secret_hash  TEXT   NOT NULL UNIQUE,      -- hex SHA-256
    user_agent   TEXT   NOT NULL DEFAULT '',
    remote_ip    TEXT   NOT NULL DEFAULT '',
    created_at   INTEGER NOT NULL,
    expires_at   INTEGER NOT NULL,
    last_used_at INTEGER,
    revoked_at   INTEGER
) STRICT;
CREATE INDEX sessions_user ON sessions (user_id);
CREATE INDEX sessions_token ON sessions (token_id) WHERE token_id IS NOT NULL;
CREATE INDEX sessions_expiry ON sessions (expires_at);

CREATE TABLE invites (
    id          TEXT PRIMARY KEY,
    secret_hash TEXT   NOT NULL UNIQUE, -- hex SHA-256
    hint        TEXT   NOT NULL DEFAULT '',
    email       TEXT   NOT NULL DEFAULT '', -- empty: for whoever has it
    created_by  TEXT   NOT NULL,
    created_at  INTEGER NOT NULL,
    expires_at  INTEGER NOT NULL,
    used_at     INTEGER,
    used_by     TEXT REFERENCES users (id),
    revoked_at  INTEGER
) STRICT;

-- The answers to requests with an Idempotency-Key, sealed with what only their callers know.
CREATE TABLE idempotency_keys (
    credential   TEXT   NOT NULL, -- token or session of the caller
    key_hash     TEXT   NOT NULL,
    request_hash TEXT   NOT NULL,
    status       INTEGER,          -- NULL until it is answered
    answer       BLOB,
    created_at   INTEGER NOT NULL,
    PRIMARY KEY (credential, key_hash)
) STRICT;
CREATE INDEX idempotency_keys_age ON idempotency_keys (created_at);

ALTER TABLE users ADD COLUMN version INTEGER NOT NULL DEFAULT 1;
ALTER TABLE projects ADD COLUMN version INTEGER NOT NULL DEFAULT 1;
ALTER TABLE projects ADD COLUMN description TEXT NOT NULL DEFAULT '';
ALTER TABLE members ADD COLUMN version INTEGER NOT NULL DEFAULT 1;
ALTER TABLE members ADD COLUMN updated_at INTEGER NOT NULL DEFAULT 0;

-- Lists of the product API go by key.
CREATE INDEX projects_state ON projects (state, id);
CREATE INDEX users_admin ON users (id) WHERE admin;
CREATE INDEX tokens_server_runner ON tokens (id) WHERE kind = 'runner' AND project_id IS NULL;
CREATE INDEX members_user_project ON members (user_id, project_id);

-- Where a deleted project finds its slug again, and reservations that have run out.
CREATE INDEX slug_history_project ON slug_history (project_id);
CREATE INDEX slug_history_reserved ON slug_history (reserved_until);

-- +goose Down
DROP INDEX tokens_server_runner;
DROP INDEX users_admin;
DROP INDEX slug_history_reserved;
DROP INDEX slug_history_project;
DROP INDEX members_user_project;
DROP INDEX projects_state;
ALTER TABLE members DROP COLUMN updated_at;
ALTER TABLE members DROP COLUMN version;
ALTER TABLE projects DROP COLUMN description;
ALTER TABLE projects DROP COLUMN version;
ALTER TABLE users DROP COLUMN version;
DROP TABLE idempotency_keys;
DROP TABLE invites;
DROP TABLE sessions;
