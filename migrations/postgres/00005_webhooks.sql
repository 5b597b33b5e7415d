-- Webhooks of projects, and the outbox of events for them.

-- +goose Up

CREATE TABLE webhooks (
    id              uuid PRIMARY KEY,
    project_id      uuid NOT NULL REFERENCES projects (id) ON DELETE CASCADE,
    url             text NOT NULL,
    description     text NOT NULL DEFAULT '',
    events          text NOT NULL,              -- kinds, each between blanks
    enabled         boolean NOT NULL DEFAULT true,
    disabled_reason text NOT NULL DEFAULT '',   -- why the server disabled it
    secret          text NOT NULL,              -- base64, in plain as it signs
    previous_secret text NOT NULL DEFAULT '',   -- which signs as well
    previous_until  bigint NOT NULL DEFAULT 0,  -- until then
    failing_since   bigint,                     -- NULL: the last attempt succeeded, or there was none
    quota_event_at  bigint NOT NULL DEFAULT 0,  -- of the last quota.exceeded
    leased_until    bigint NOT NULL DEFAULT 0,  -- database time; the replica that has the lease delivers meanwhile
    lease           uuid,
    created_by      text NOT NULL,
    created_at      bigint NOT NULL,
    updated_at      bigint NOT NULL,
    version         bigint NOT NULL DEFAULT 1
);
CREATE INDEX webhooks_project ON webhooks (project_id, id);

-- One row for each event and webhook. The first table was never written. A row does not refer to its webhook: the
-- change that appends it would have to lock that.
DROP TABLE events_outbox;
CREATE TABLE events_outbox (
    seq             bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, -- in the order in which things happened to one object
    id              uuid NOT NULL UNIQUE,
    webhook_id      uuid NOT NULL,
    kind            text NOT NULL,
    object          text NOT NULL,             -- events of one object are delivered in order
    data            text NOT NULL,             -- JSON
    previous_digest text,                      -- of tags: what it named before
    state           text NOT NULL DEFAULT 'pending' CHECK (state IN ('pending', 'delivered', 'dead')),
    attempts        bigint NOT NULL DEFAULT 0,
    next_attempt_at bigint NOT NULL,
    last_status     bigint,
    last_error      text NOT NULL DEFAULT '',
    created_at      bigint NOT NULL,
    finished_at     bigint
);
CREATE INDEX events_outbox_due ON events_outbox (webhook_id, next_attempt_at) WHERE state = 'pending';
CREATE INDEX events_outbox_object ON events_outbox (webhook_id, object, seq) WHERE state = 'pending';
CREATE INDEX events_outbox_list ON events_outbox (webhook_id, seq);
CREATE INDEX events_outbox_finished ON events_outbox (finished_at) WHERE finished_at IS NOT NULL;

-- +goose Down
DROP TABLE events_outbox;
DROP TABLE webhooks;
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
