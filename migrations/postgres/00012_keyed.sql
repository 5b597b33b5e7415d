-- +goose NO TRANSACTION

-- The manifest of a popular image is in very many repositories. By the digest alone, an index leads through all of them; with the
-- repository in it, whoever asks for the manifest of one finds that one (ADR 16). Nothing waits for these statements but they for
-- others, and they can be repeated after a cut.

-- +goose Up
DROP INDEX CONCURRENTLY IF EXISTS manifests_digest_repository;
CREATE INDEX CONCURRENTLY manifests_digest_repository ON manifests (digest, repository_id);
DROP INDEX CONCURRENTLY IF EXISTS manifests_digest;

-- +goose Down
DROP INDEX CONCURRENTLY IF EXISTS manifests_digest;
CREATE INDEX CONCURRENTLY manifests_digest ON manifests (digest);
DROP INDEX CONCURRENTLY IF EXISTS manifests_digest_repository;
