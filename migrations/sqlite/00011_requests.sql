-- A collection that somebody has asked for is owed until it has ended.

-- +goose Up

-- The request that the last collection took: who collects next takes it again, unless that collection has ended.
ALTER TABLE collection_schedule ADD COLUMN request_taken INTEGER NOT NULL DEFAULT 0;

-- +goose Down
ALTER TABLE collection_schedule DROP COLUMN request_taken;
