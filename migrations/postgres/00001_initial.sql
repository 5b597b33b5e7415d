-- The first schema. Instants are Unix microseconds (bigint) on both dialects, identifiers UUIDv7.
-- Names that are listed in order compare bytewise (COLLATE "C"), as the Distribution Specification asks of tags.

-- +goose Up

-- Tenants -----------------------------------------------------------------

CREATE TABLE accounts (
    id         uuid PRIMARY KEY,
    kind       text   NOT NULL CHECK (kind IN ('personal', 'organisation')),
    name       text   NOT NULL,
    created_at bigint NOT NULL
);

CREATE TABLE users (
    id            uuid PRIMARY KEY,
    account_id    uuid    NOT NULL REFERENCES accounts (id),
    email         text    NOT NULL UNIQUE, -- lower case
    name          text    NOT NULL DEFAULT '',
    password_hash text,                    -- argon2id, PHC string; NULL: no password log-in
    admin         boolean NOT NULL DEFAULT false,
    locked_at     bigint,
    created_at    bigint  NOT NULL,
    updated_at    bigint  NOT NULL
);

CREATE TABLE projects (
    id               uuid PRIMARY KEY,
    account_id       uuid REFERENCES accounts (id), -- NULL while unclaimed
    slug             text COLLATE "C" UNIQUE,       -- NULL once deleted: slug_history then holds the reservation
    state            text   NOT NULL CHECK (state IN ('unclaimed', 'active', 'suspended', 'deleted')),
    visibility       text   NOT NULL DEFAULT 'private' CHECK (visibility IN ('private', 'public')),
    epoch            bigint NOT NULL DEFAULT 1,     -- raised by claim, suspension and deletion; fences sessions
    quota_bytes      bigint,                        -- NULL: the account's
    created_by       text   NOT NULL,               -- principal, as in tag_history.actor
    created_at       bigint NOT NULL,
    updated_at       bigint NOT NULL,
    claimed_at       bigint,
    suspended_at     bigint,
    suspended_reason text   NOT NULL DEFAULT '',
    expires_at       bigint,                        -- idle life of an unclaimed project
    deleted_at       bigint,
    purge_after      bigint
);
CREATE INDEX projects_account ON projects (account_id);
CREATE INDEX projects_expiry ON projects (expires_at) WHERE expires_at IS NOT NULL;

CREATE TABLE slug_history (
    slug           text COLLATE "C" PRIMARY KEY,
    project_id     uuid   NOT NULL,
    account_id     uuid REFERENCES accounts (id), -- whose it stays until reserved_until
    reserved_until bigint NOT NULL,
    created_at     bigint NOT NULL
);

CREATE TABLE members (
    project_id uuid   NOT NULL REFERENCES projects (id),
    user_id    uuid   NOT NULL REFERENCES users (id),
    role       text   NOT NULL CHECK (role IN ('owner', 'maintainer', 'developer', 'viewer')),
    created_by text   NOT NULL,
    created_at bigint NOT NULL,
    PRIMARY KEY (project_id, user_id)
);
CREATE INDEX members_user ON members (user_id);

-- Credentials ---------------------------------------------------------------

CREATE TABLE tokens (
    id           uuid PRIMARY KEY,
    kind         text   NOT NULL CHECK (kind IN ('personal', 'robot', 'runner')),
    user_id      uuid REFERENCES users (id),    -- personal: its owner
    project_id   uuid REFERENCES projects (id), -- robot, and a runner that belongs to one project
    name         text   NOT NULL,
    secret_hash  text   NOT NULL UNIQUE,        -- hex SHA-256 of the secret, which is 256 random bits
    hint         text   NOT NULL DEFAULT '',    -- first characters of the secret, to recognise it by
    grants       text   NOT NULL DEFAULT '',    -- JSON; empty: all that its owner may do
    created_by   text   NOT NULL,
    created_at   bigint NOT NULL,
    expires_at   bigint,
    revoked_at   bigint,
    last_used_at bigint,
    CHECK ((kind = 'personal') = (user_id IS NOT NULL)),
    CHECK (kind <> 'robot' OR project_id IS NOT NULL)
);
CREATE INDEX tokens_user ON tokens (user_id);
CREATE INDEX tokens_project ON tokens (project_id);

CREATE TABLE runner_grants (
    project_id uuid   NOT NULL REFERENCES projects (id),
    token_id   uuid   NOT NULL REFERENCES tokens (id),
    repository text   NOT NULL DEFAULT '', -- path below the project; with all_repositories it is empty
    all_repositories boolean NOT NULL DEFAULT true,
    created_by text   NOT NULL,
    created_at bigint NOT NULL,
    PRIMARY KEY (project_id, token_id, repository)
);
CREATE INDEX runner_grants_token ON runner_grants (token_id);

CREATE TABLE signing_keys (
    kid         text PRIMARY KEY,
    purpose     text   NOT NULL CHECK (purpose IN ('token', 'upload')),
    generation  bigint NOT NULL,  -- replicas that rotate at once race for the next one; one wins
    algorithm   text   NOT NULL,
    secret      text   NOT NULL,  -- base64: Ed25519 seed or HMAC key
    created_at  bigint NOT NULL,
    signs_until bigint NOT NULL,  -- no new signature after
    verifies_until bigint NOT NULL,
    UNIQUE (purpose, generation)
);

-- Content --------------------------------------------------------------------

CREATE TABLE repositories (
    id             uuid PRIMARY KEY,
    project_id     uuid   NOT NULL REFERENCES projects (id),
    path           text COLLATE "C" NOT NULL, -- below the project's segment; may be empty
    created_at     bigint NOT NULL,
    last_pushed_at bigint,
    last_pulled_at bigint,
    deleted_at     bigint,
    purge_after    bigint,
    UNIQUE (project_id, path)
);

-- A blob is an ordered list of chunks; its bytes are stored once for all tenants.
CREATE TABLE blobs (
    id         uuid PRIMARY KEY,       -- that of the upload session which it was
    digest     text   NOT NULL UNIQUE,
    size       bigint NOT NULL CHECK (size >= 0),
    generation bigint NOT NULL DEFAULT 1, -- raised when compaction swaps the chunk list
    created_at bigint NOT NULL
);

-- A chunk is one immutable object. Its owner is an upload session, and the blob of the same id once that is finished.
CREATE TABLE chunks (
    owner_id   uuid   NOT NULL,
    start      bigint NOT NULL CHECK (start >= 0),
    size       bigint NOT NULL CHECK (size > 0),
    object_key text   NOT NULL UNIQUE,
    created_at bigint NOT NULL,
    PRIMARY KEY (owner_id, start)
);

-- A link makes a blob visible in one repository.
CREATE TABLE repository_blobs (
    repository_id uuid   NOT NULL REFERENCES repositories (id),
    digest        text   NOT NULL,
    blob_id       uuid   NOT NULL REFERENCES blobs (id),
    created_at    bigint NOT NULL,
    keep_until    bigint NOT NULL, -- collected no earlier
    deleted_at    bigint,
    purge_after   bigint,
    PRIMARY KEY (repository_id, digest)
);
CREATE INDEX repository_blobs_blob ON repository_blobs (blob_id);
CREATE INDEX repository_blobs_keep ON repository_blobs (keep_until);

CREATE TABLE manifests (
    repository_id  uuid   NOT NULL REFERENCES repositories (id),
    digest         text COLLATE "C" NOT NULL,
    media_type     text   NOT NULL, -- the Content-Type as it was pushed
    size           bigint NOT NULL,
    content        bytea  NOT NULL,
    artifact_type  text   NOT NULL DEFAULT '', -- derived as the Distribution Specification says
    subject_digest text COLLATE "C",
    annotations    text   NOT NULL DEFAULT '', -- JSON object; empty: none
    pushed_by      text   NOT NULL,
    created_at     bigint NOT NULL,
    last_pulled_at bigint,
    deleted_at     bigint,
    purge_after    bigint,
    PRIMARY KEY (repository_id, digest)
);
CREATE INDEX manifests_subject ON manifests (repository_id, subject_digest, digest) WHERE subject_digest IS NOT NULL;

CREATE TABLE manifest_blobs (
    repository_id   uuid NOT NULL,
    manifest_digest text COLLATE "C" NOT NULL,
    blob_digest     text NOT NULL,
    PRIMARY KEY (repository_id, manifest_digest, blob_digest),
    FOREIGN KEY (repository_id, manifest_digest) REFERENCES manifests (repository_id, digest) ON DELETE CASCADE,
    FOREIGN KEY (repository_id, blob_digest) REFERENCES repository_blobs (repository_id, digest) ON DELETE RESTRICT
);
CREATE INDEX manifest_blobs_blob ON manifest_blobs (repository_id, blob_digest);

-- Children of an index. No foreign key on the child: sparse indexes are legal.
CREATE TABLE manifest_children (
    repository_id uuid NOT NULL,
    parent_digest text COLLATE "C" NOT NULL,
    child_digest  text NOT NULL,
    PRIMARY KEY (repository_id, parent_digest, child_digest),
    FOREIGN KEY (repository_id, parent_digest) REFERENCES manifests (repository_id, digest) ON DELETE CASCADE
);
CREATE INDEX manifest_children_child ON manifest_children (repository_id, child_digest);

CREATE TABLE tags (
    repository_id uuid   NOT NULL,
    name          text COLLATE "C" NOT NULL,
    digest        text COLLATE "C" NOT NULL,
    pushed_by     text   NOT NULL,
    created_at    bigint NOT NULL,
    updated_at    bigint NOT NULL,
    deleted_at    bigint,
    purge_after   bigint,
    PRIMARY KEY (repository_id, name),
    FOREIGN KEY (repository_id, digest) REFERENCES manifests (repository_id, digest)
);
CREATE INDEX tags_digest ON tags (repository_id, digest);

CREATE TABLE tag_history (
    id            bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    repository_id uuid   NOT NULL REFERENCES repositories (id),
    tag           text COLLATE "C" NOT NULL,
    digest        text,            -- what the tag names from at on; NULL: the tag was deleted
    actor         text   NOT NULL, -- principal: anonymous, user:<id>, robot:<id>
    at            bigint NOT NULL
);
CREATE INDEX tag_history_tag ON tag_history (repository_id, tag, id);

CREATE TABLE tag_rules (
    id         uuid PRIMARY KEY,
    project_id uuid   NOT NULL REFERENCES projects (id),
    pattern    text   NOT NULL,
    kind       text   NOT NULL CHECK (kind IN ('immutable')),
    created_by text   NOT NULL,
    created_at bigint NOT NULL,
    UNIQUE (project_id, kind, pattern)
);

-- Uploads ----------------------------------------------------------------------

-- A blob that has no name yet. Two (offset, hash state) pairs: committed, of every chunk that has a row, and base,
-- where the last body began.
CREATE TABLE upload_sessions (
    id               uuid PRIMARY KEY,
    project_id       uuid   NOT NULL REFERENCES projects (id),
    repository_path  text   NOT NULL,
    principal        text   NOT NULL,
    epoch            bigint NOT NULL,
    algorithm        text   NOT NULL,
    status           text   NOT NULL CHECK (status IN ('open', 'finished', 'cancelled')),
    digest           text   NOT NULL DEFAULT '', -- once finished
    base_offset      bigint NOT NULL DEFAULT 0,
    base_state       bytea,
    committed_offset bigint NOT NULL DEFAULT 0,
    committed_state  bytea,
    chunk_count      bigint NOT NULL DEFAULT 0,
    fence            bigint NOT NULL DEFAULT 0,
    lease_until      bigint NOT NULL DEFAULT 0,  -- database time
    created_at       bigint NOT NULL,
    last_activity_at bigint NOT NULL
);
CREATE INDEX upload_sessions_activity ON upload_sessions (last_activity_at);
CREATE INDEX upload_sessions_project ON upload_sessions (project_id, principal);

-- Objects without a row that a sweeper removes once no reader can still hold them.
CREATE TABLE doomed_objects (
    object_key   text PRIMARY KEY,
    size         bigint NOT NULL,
    delete_after bigint NOT NULL
);
CREATE INDEX doomed_objects_due ON doomed_objects (delete_after);

-- Accounting and abuse -----------------------------------------------------------

-- Append-only; a blob counts once per project. Summed into usage_totals in the background.
CREATE TABLE usage_deltas (
    id         uuid PRIMARY KEY,
    project_id uuid   NOT NULL REFERENCES projects (id),
    bytes      bigint NOT NULL,
    reason     text   NOT NULL,
    at         bigint NOT NULL
);
CREATE INDEX usage_deltas_project ON usage_deltas (project_id, at);

CREATE TABLE usage_totals (
    project_id uuid PRIMARY KEY REFERENCES projects (id),
    bytes      bigint NOT NULL,
    as_of      bigint NOT NULL
);

CREATE TABLE digest_blocklist (
    digest     text PRIMARY KEY,
    reason     text   NOT NULL,
    created_by text   NOT NULL,
    created_at bigint NOT NULL
);

CREATE TABLE events_outbox (
    id           uuid PRIMARY KEY,
    project_id   uuid   NOT NULL REFERENCES projects (id),
    kind         text   NOT NULL,
    payload      text   NOT NULL,
    created_at   bigint NOT NULL,
    next_attempt_at bigint NOT NULL,
    attempts     bigint NOT NULL DEFAULT 0,
    delivered_at bigint
);
CREATE INDEX events_outbox_due ON events_outbox (next_attempt_at) WHERE delivered_at IS NULL;

-- +goose StatementBegin
-- berth_require ends the transaction unless ok: the guard of a pipelined batch, whose statements cannot wait for
-- the client to look at the ones before.
CREATE FUNCTION berth_require(ok boolean) RETURNS boolean LANGUAGE plpgsql AS $$
BEGIN
    IF ok THEN RETURN true; END IF;
    RAISE EXCEPTION 'requirement not met' USING ERRCODE = 'BR001';
END $$;
-- +goose StatementEnd

-- +goose Down
DROP FUNCTION berth_require(boolean);
DROP TABLE events_outbox, digest_blocklist, usage_totals, usage_deltas, doomed_objects, upload_sessions, tag_rules,
    tag_history, tags, manifest_children, manifest_blobs, manifests, repository_blobs, chunks, blobs, repositories,
    signing_keys, runner_grants, tokens, members, slug_history, projects, users, accounts;
