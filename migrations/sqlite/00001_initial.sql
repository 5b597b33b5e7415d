-- The first schema. Instants are Unix microseconds (INTEGER) on both dialects, identifiers UUIDv7.
-- Names that are listed in order compare bytewise (SQLite's default), as the Distribution Specification asks of tags.

-- +goose Up

-- Tenants -----------------------------------------------------------------

CREATE TABLE accounts (
    id         TEXT PRIMARY KEY,
    kind       TEXT   NOT NULL CHECK (kind IN ('personal', 'organisation')),
    name       TEXT   NOT NULL,
    created_at INTEGER NOT NULL
) STRICT;

CREATE TABLE users (
    id            TEXT PRIMARY KEY,
    account_id    TEXT    NOT NULL REFERENCES accounts (id),
    email         TEXT    NOT NULL UNIQUE, -- lower case
    name          TEXT    NOT NULL DEFAULT '',
    password_hash TEXT,                    -- argon2id, PHC string; NULL: no password log-in
    admin         INTEGER NOT NULL DEFAULT 0,
    locked_at     INTEGER,
    created_at    INTEGER  NOT NULL,
    updated_at    INTEGER  NOT NULL
) STRICT;

CREATE TABLE projects (
    id               TEXT PRIMARY KEY,
    account_id       TEXT REFERENCES accounts (id), -- NULL while unclaimed
    slug             TEXT UNIQUE,       -- NULL once deleted: slug_history then holds the reservation
    state            TEXT   NOT NULL CHECK (state IN ('unclaimed', 'active', 'suspended', 'deleted')),
    visibility       TEXT   NOT NULL DEFAULT 'private' CHECK (visibility IN ('private', 'public')),
    epoch            INTEGER NOT NULL DEFAULT 1,     -- raised by claim, suspension and deletion; fences sessions
    quota_bytes      INTEGER,                        -- NULL: the account's
    created_by       TEXT   NOT NULL,               -- principal, as in tag_history.actor
    created_at       INTEGER NOT NULL,
    updated_at       INTEGER NOT NULL,
    claimed_at       INTEGER,
    suspended_at     INTEGER,
    suspended_reason TEXT   NOT NULL DEFAULT '',
    expires_at       INTEGER,                        -- idle life of an unclaimed project
    deleted_at       INTEGER,
    purge_after      INTEGER
) STRICT;
CREATE INDEX projects_account ON projects (account_id);
CREATE INDEX projects_expiry ON projects (expires_at) WHERE expires_at IS NOT NULL;

CREATE TABLE slug_history (
    slug           TEXT PRIMARY KEY,
    project_id     TEXT   NOT NULL,
    account_id     TEXT REFERENCES accounts (id), -- whose it stays until reserved_until
    reserved_until INTEGER NOT NULL,
    created_at     INTEGER NOT NULL
) STRICT;

CREATE TABLE members (
    project_id TEXT   NOT NULL REFERENCES projects (id),
    user_id    TEXT   NOT NULL REFERENCES users (id),
    role       TEXT   NOT NULL CHECK (role IN ('owner', 'maintainer', 'developer', 'viewer')),
    created_by TEXT   NOT NULL,
    created_at INTEGER NOT NULL,
    PRIMARY KEY (project_id, user_id)
) STRICT;
CREATE INDEX members_user ON members (user_id);

-- Credentials ---------------------------------------------------------------

CREATE TABLE tokens (
    id           TEXT PRIMARY KEY,
    kind         TEXT   NOT NULL CHECK (kind IN ('personal', 'robot', 'runner')),
    user_id      TEXT REFERENCES users (id),    -- personal: its owner
    project_id   TEXT REFERENCES projects (id), -- robot, and a runner that belongs to one project
    name         TEXT   NOT NULL,
    secret_hash  TEXT   NOT NULL UNIQUE,        -- hex SHA-256 of the secret, which is 256 random bits
    hint         TEXT   NOT NULL DEFAULT '',    -- first characters of the secret, to recognise it by
    grants       TEXT   NOT NULL DEFAULT '',    -- JSON; empty: all that its owner may do
    created_by   TEXT   NOT NULL,
    created_at   INTEGER NOT NULL,
    expires_at   INTEGER,
    revoked_at   INTEGER,
    last_used_at INTEGER,
    CHECK ((kind = 'personal') = (user_id IS NOT NULL)),
    CHECK (kind <> 'robot' OR project_id IS NOT NULL)
) STRICT;
CREATE INDEX tokens_user ON tokens (user_id);
CREATE INDEX tokens_project ON tokens (project_id);

CREATE TABLE runner_grants (
    project_id TEXT   NOT NULL REFERENCES projects (id),
    token_id   TEXT   NOT NULL REFERENCES tokens (id),
    repository TEXT   NOT NULL DEFAULT '', -- path below the project; with all_repositories it is empty
    all_repositories INTEGER NOT NULL DEFAULT 1,
    created_by TEXT   NOT NULL,
    created_at INTEGER NOT NULL,
    PRIMARY KEY (project_id, token_id, repository)
) STRICT;
CREATE INDEX runner_grants_token ON runner_grants (token_id);

CREATE TABLE signing_keys (
    kid         TEXT PRIMARY KEY,
    purpose     TEXT   NOT NULL CHECK (purpose IN ('token', 'upload')),
    generation  INTEGER NOT NULL,  -- replicas that rotate at once race for the next one; one wins
    algorithm   TEXT   NOT NULL,
    secret      TEXT   NOT NULL,  -- base64: Ed25519 seed or HMAC key
    created_at  INTEGER NOT NULL,
    signs_until INTEGER NOT NULL,  -- no new signature after
    verifies_until INTEGER NOT NULL,
    UNIQUE (purpose, generation)
) STRICT;

-- Content --------------------------------------------------------------------

CREATE TABLE repositories (
    id             TEXT PRIMARY KEY,
    project_id     TEXT   NOT NULL REFERENCES projects (id),
    path           TEXT NOT NULL, -- below the project's segment; may be empty
    created_at     INTEGER NOT NULL,
    last_pushed_at INTEGER,
    last_pulled_at INTEGER,
    deleted_at     INTEGER,
    purge_after    INTEGER,
    UNIQUE (project_id, path)
) STRICT;

-- A blob is an ordered list of chunks; its bytes are stored once for all tenants.
CREATE TABLE blobs (
    id         TEXT PRIMARY KEY,       -- that of the upload session which it was
    digest     TEXT   NOT NULL UNIQUE,
    size       INTEGER NOT NULL CHECK (size >= 0),
    generation INTEGER NOT NULL DEFAULT 1, -- raised when compaction swaps the chunk list
    created_at INTEGER NOT NULL
) STRICT;

-- A chunk is one immutable object. Its owner is an upload session, and the blob of the same id once that is finished.
CREATE TABLE chunks (
    owner_id   TEXT   NOT NULL,
    start      INTEGER NOT NULL CHECK (start >= 0),
    size       INTEGER NOT NULL CHECK (size > 0),
    object_key TEXT   NOT NULL UNIQUE,
    created_at INTEGER NOT NULL,
    PRIMARY KEY (owner_id, start)
) STRICT;

-- A link makes a blob visible in one repository.
CREATE TABLE repository_blobs (
    repository_id TEXT   NOT NULL REFERENCES repositories (id),
    digest        TEXT   NOT NULL,
    blob_id       TEXT   NOT NULL REFERENCES blobs (id),
    created_at    INTEGER NOT NULL,
    keep_until    INTEGER NOT NULL, -- collected no earlier
    deleted_at    INTEGER,
    purge_after   INTEGER,
    PRIMARY KEY (repository_id, digest)
) STRICT;
CREATE INDEX repository_blobs_blob ON repository_blobs (blob_id);
CREATE INDEX repository_blobs_keep ON repository_blobs (keep_until);

CREATE TABLE manifests (
    repository_id  TEXT   NOT NULL REFERENCES repositories (id),
    digest         TEXT NOT NULL,
    media_type     TEXT   NOT NULL, -- the Content-Type as it was pushed
    size           INTEGER NOT NULL,
    content        BLOB  NOT NULL,
    artifact_type  TEXT   NOT NULL DEFAULT '', -- derived as the Distribution Specification says
    subject_digest TEXT,
    annotations    TEXT   NOT NULL DEFAULT '', -- JSON object; empty: none
    pushed_by      TEXT   NOT NULL,
    created_at     INTEGER NOT NULL,
    last_pulled_at INTEGER,
    deleted_at     INTEGER,
    purge_after    INTEGER,
    PRIMARY KEY (repository_id, digest)
) STRICT;
CREATE INDEX manifests_subject ON manifests (repository_id, subject_digest, digest) WHERE subject_digest IS NOT NULL;

CREATE TABLE manifest_blobs (
    repository_id   TEXT NOT NULL,
    manifest_digest TEXT NOT NULL,
    blob_digest     TEXT NOT NULL,
    PRIMARY KEY (repository_id, manifest_digest, blob_digest),
    FOREIGN KEY (repository_id, manifest_digest) REFERENCES manifests (repository_id, digest) ON DELETE CASCADE,
    FOREIGN KEY (repository_id, blob_digest) REFERENCES repository_blobs (repository_id, digest) ON DELETE RESTRICT
) STRICT;
CREATE INDEX manifest_blobs_blob ON manifest_blobs (repository_id, blob_digest);

-- Children of an index. No foreign key on the child: sparse indexes are legal.
CREATE TABLE manifest_children (
    repository_id TEXT NOT NULL,
    parent_digest TEXT NOT NULL,
    child_digest  TEXT NOT NULL,
    PRIMARY KEY (repository_id, parent_digest, child_digest),
    FOREIGN KEY (repository_id, parent_digest) REFERENCES manifests (repository_id, digest) ON DELETE CASCADE
) STRICT;
CREATE INDEX manifest_children_child ON manifest_children (repository_id, child_digest);

CREATE TABLE tags (
    repository_id TEXT   NOT NULL,
    name          TEXT NOT NULL,
    digest        TEXT NOT NULL,
    pushed_by     TEXT   NOT NULL,
    created_at    INTEGER NOT NULL,
    updated_at    INTEGER NOT NULL,
    deleted_at    INTEGER,
    purge_after   INTEGER,
    PRIMARY KEY (repository_id, name),
    FOREIGN KEY (repository_id, digest) REFERENCES manifests (repository_id, digest)
) STRICT;
CREATE INDEX tags_digest ON tags (repository_id, digest);

CREATE TABLE tag_history (
    id            INTEGER PRIMARY KEY,
    repository_id TEXT   NOT NULL REFERENCES repositories (id),
    tag           TEXT NOT NULL,
    digest        TEXT,            -- what the tag names from at on; NULL: the tag was deleted
    actor         TEXT   NOT NULL, -- principal: anonymous, user:<id>, robot:<id>
    at            INTEGER NOT NULL
) STRICT;
CREATE INDEX tag_history_tag ON tag_history (repository_id, tag, id);

CREATE TABLE tag_rules (
    id         TEXT PRIMARY KEY,
    project_id TEXT   NOT NULL REFERENCES projects (id),
    pattern    TEXT   NOT NULL,
    kind       TEXT   NOT NULL CHECK (kind IN ('immutable')),
    created_by TEXT   NOT NULL,
    created_at INTEGER NOT NULL,
    UNIQUE (project_id, kind, pattern)
) STRICT;

-- Uploads ----------------------------------------------------------------------

-- A blob that has no name yet. Two (offset, hash state) pairs: committed, of every chunk that has a row, and base,
-- where the last body began.
CREATE TABLE upload_sessions (
    id               TEXT PRIMARY KEY,
    project_id       TEXT   NOT NULL REFERENCES projects (id),
    repository_path  TEXT   NOT NULL,
    principal        TEXT   NOT NULL,
    epoch            INTEGER NOT NULL,
    algorithm        TEXT   NOT NULL,
    status           TEXT   NOT NULL CHECK (status IN ('open', 'finished', 'cancelled')),
    digest           TEXT   NOT NULL DEFAULT '', -- once finished
    base_offset      INTEGER NOT NULL DEFAULT 0,
    base_state       BLOB,
    committed_offset INTEGER NOT NULL DEFAULT 0,
    committed_state  BLOB,
    chunk_count      INTEGER NOT NULL DEFAULT 0,
    fence            INTEGER NOT NULL DEFAULT 0,
    lease_until      INTEGER NOT NULL DEFAULT 0,  -- database time
    created_at       INTEGER NOT NULL,
    last_activity_at INTEGER NOT NULL
) STRICT;
CREATE INDEX upload_sessions_activity ON upload_sessions (last_activity_at);
CREATE INDEX upload_sessions_project ON upload_sessions (project_id, principal);

-- Objects without a row that a sweeper removes once no reader can still hold them.
CREATE TABLE doomed_objects (
    object_key   TEXT PRIMARY KEY,
    size         INTEGER NOT NULL,
    delete_after INTEGER NOT NULL
) STRICT;
CREATE INDEX doomed_objects_due ON doomed_objects (delete_after);

-- Accounting and abuse -----------------------------------------------------------

-- Append-only; a blob counts once per project. Summed into usage_totals in the background.
CREATE TABLE usage_deltas (
    id         TEXT PRIMARY KEY,
    project_id TEXT   NOT NULL REFERENCES projects (id),
    bytes      INTEGER NOT NULL,
    reason     TEXT   NOT NULL,
    at         INTEGER NOT NULL
) STRICT;
CREATE INDEX usage_deltas_project ON usage_deltas (project_id, at);

CREATE TABLE usage_totals (
    project_id TEXT PRIMARY KEY REFERENCES projects (id),
    bytes      INTEGER NOT NULL,
    as_of      INTEGER NOT NULL
) STRICT;

CREATE TABLE digest_blocklist (
    digest     TEXT PRIMARY KEY,
    reason     TEXT   NOT NULL,
    created_by TEXT   NOT NULL,
    created_at INTEGER NOT NULL
) STRICT;

CREATE TABLE events_outbox (
    id           TEXT PRIMARY KEY,
    project_id   TEXT   NOT NULL REFERENCES projects (id),
    kind         TEXT   NOT NULL,
    payload      TEXT   NOT NULL,
    created_at   INTEGER NOT NULL,
    next_attempt_at INTEGER NOT NULL,
    attempts     INTEGER NOT NULL DEFAULT 0,
    delivered_at INTEGER
) STRICT;
CREATE INDEX events_outbox_due ON events_outbox (next_attempt_at) WHERE delivered_at IS NULL;


-- +goose Down
DROP TABLE events_outbox;
DROP TABLE digest_blocklist;
DROP TABLE usage_totals;
DROP TABLE usage_deltas;
DROP TABLE doomed_objects;
DROP TABLE upload_sessions;
DROP TABLE tag_rules;
DROP TABLE tag_history;
DROP TABLE tags;
DROP TABLE manifest_children;
DROP TABLE manifest_blobs;
DROP TABLE manifests;
DROP TABLE repository_blobs;
DROP TABLE chunks;
DROP TABLE blobs;
DROP TABLE repositories;
DROP TABLE signing_keys;
DROP TABLE runner_grants;
DROP TABLE tokens;
DROP TABLE members;
DROP TABLE slug_history;
DROP TABLE projects;
DROP TABLE users;
DROP TABLE accounts;
