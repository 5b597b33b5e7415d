-- What tells replicas that a limit of a single subject has changed, and whose account one is.

-- +goose Up

-- One row, which each change of an override raises: replicas read all overrides only when it has changed.
CREATE TABLE limit_versions (
    id      bigint PRIMARY KEY CHECK (id = 1),
    version bigint NOT NULL
);
INSERT INTO limit_versions (id, version) VALUES (1, 0);

CREATE INDEX users_account ON users (account_id);

-- +goose Down
DROP INDEX users_account;
DROP TABLE limit_versions;
