-- Webhooks of projects, and the outbox of events for them.

-- +goose Up

CREATE TABLE webhooks (
    id              TEXT PRIMARY KEY,
    project_id      TEXT NOT NULL REFERENCES projects (id) ON DELETE CASCADE,
    url             TEXT NOT NULL,
    description     TEXT NOT NULL DEFAULT '',
    events          TEXT NOT NULL,              -- kinds, each between blanks
    enabled         INTEGER NOT NULL DEFAULT 1,
    disabled_reason TEXT NOT NULL DEFAULT '',   -- why the server disabled it
    secret          TEXT NOT NULL,              -- base64, in plain as it signs
    previous_secret TEXT NOT NULL DEFAULT '',   -- which signs as well
    previous_until  INTEGER NOT NULL DEFAULT 0,  -- until then
    failing_since   INTEGER,                     -- NULL: the last attempt succeeded, or there was none
    quota_event_at  INTEGER NOT NULL DEFAULT 0,  -- of the last quota.exceeded
    leased_until    INTEGER NOT NULL DEFAULT 0,  -- database time; the replica that has the lease delivers meanwhile
    lease           TEXT,
    created_by      TEXT NOT NULL,
    created_at      INTEGER NOT NULL,
    updated_at      INTEGER NOT NULL,
    version         INTEGER NOT NULL DEFAULT 1
) STRICT;
CREATE INDEX webhooks_project ON webhooks (project_id, id);

-- One row for each event and webhook. The first table was never written. A row does not refer to its webhook: the
-- change that appends it would have to lock that.
DROP TABLE events_outbox;
CREATE TABLE events_outbox (
    seq             INTEGER PRIMARY KEY, -- in the order in which things happened to one object
    id              TEXT NOT NULL UNIQUE,
    webhook_id      TEXT NOT NULL,
    kind            TEXT NOT NULL,
    object          TEXT NOT NULL,             -- events of one object are delivered in order
    data            TEXT NOT NULL,             -- JSON
    previous_digest TEXT,                      -- of tags: what it named before
    state           TEXT NOT NULL DEFAULT 'pending' CHECK (state IN ('pending', 'delivered', 'dead')),
    attempts        INTEGER NOT NULL DEFAULT 0,
    next_attempt_at INTEGER NOT NULL,
    last_status     INTEGER,
    last_error      TEXT NOT NULL DEFAULT '',
    created_at      INTEGER NOT NULL,
    finished_at     INTEGER
) STRICT;
CREATE INDEX events_outbox_due ON events_outbox (webhook_id, next_attempt_at) WHERE state = 'pending';
CREATE INDEX events_outbox_object ON events_outbox (webhook_id, object, seq) WHERE state = 'pending';
CREATE INDEX events_outbox_list ON events_outbox (webhook_id, seq);
CREATE INDEX events_outbox_finished ON events_outbox (finished_at) WHERE finished_at IS NOT NULL;

-- +goose Down
DROP TABLE events_outbox;
DROP TABLE webhooks;
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
