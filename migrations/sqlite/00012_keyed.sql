-- The manifest of a popular image is in very many repositories. With the repository in the index, a planner that takes it for
-- the manifest of one repository does not read them all.

-- +goose Up
DROP INDEX manifests_digest;
CREATE INDEX manifests_digest ON manifests (digest, repository_id);

-- +goose Down
DROP INDEX manifests_digest;
CREATE INDEX manifests_digest ON manifests (digest);
