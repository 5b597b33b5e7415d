-- The manifest of a popular image is in very many repositories. By the digest alone, an index leads through all of them; with the
-- repository in it, whoever asks for the manifest of one finds that one (ADR 16).

-- +goose Up
CREATE INDEX manifests_digest_repository ON manifests (digest, repository_id);
DROP INDEX manifests_digest;

-- +goose Down
CREATE INDEX manifests_digest ON manifests (digest);
DROP INDEX manifests_digest_repository;
