-- A row for each table, as the version writes them whose last migration upgrade_test.go names. {n} is one digit, which
-- makes the rows of one run differ from those of another; {bytes} is some bytes in the words of the dialect. The table
-- collection_schedule has its one row from its migration.

INSERT INTO accounts (id, kind, name, created_at) VALUES ('{n}0000000-0000-7000-8000-000000000001', 'personal', 'account {n}', 1);
INSERT INTO users (id, account_id, email, name, password_hash, admin, created_at, updated_at)
    VALUES ('{n}0000000-0000-7000-8000-000000000002', '{n}0000000-0000-7000-8000-000000000001', 'user{n}@example.com', 'name', 'hash', true, 1, 2);
INSERT INTO projects (id, account_id, slug, state, created_by, created_at, updated_at)
    VALUES ('{n}0000000-0000-7000-8000-000000000003', '{n}0000000-0000-7000-8000-000000000001', 'project{n}', 'active', 'user:1', 1, 2);
INSERT INTO slug_history (slug, project_id, account_id, reserved_until, created_at)
    VALUES ('former{n}', '{n}0000000-0000-7000-8000-000000000003', '{n}0000000-0000-7000-8000-000000000001', 3, 1);
INSERT INTO members (project_id, user_id, role, created_by, created_at)
    VALUES ('{n}0000000-0000-7000-8000-000000000003', '{n}0000000-0000-7000-8000-000000000002', 'owner', 'user:1', 1);
INSERT INTO tokens (id, kind, project_id, name, secret_hash, created_by, created_at)
    VALUES ('{n}0000000-0000-7000-8000-000000000004', 'runner', '{n}0000000-0000-7000-8000-000000000003', 'rack', 'hash{n}', 'user:1', 1);
INSERT INTO runner_grants (project_id, token_id, repository, all_repositories, created_by, created_at)
    VALUES ('{n}0000000-0000-7000-8000-000000000003', '{n}0000000-0000-7000-8000-000000000004', 'app', false, 'user:1', 1);
INSERT INTO signing_keys (kid, purpose, generation, algorithm, secret, created_at, signs_until, verifies_until)
    VALUES ('kid{n}', 'token', {n}, 'EdDSA', 'c2VjcmV0', 1, 2, 3);
INSERT INTO sessions (id, user_id, secret_hash, created_at, expires_at)
    VALUES ('{n}0000000-0000-7000-8000-000000000005', '{n}0000000-0000-7000-8000-000000000002', 'session{n}', 1, 2);
INSERT INTO invites (id, secret_hash, created_by, created_at, expires_at)
    VALUES ('{n}0000000-0000-7000-8000-000000000006', 'invite{n}', 'user:1', 1, 2);
INSERT INTO idempotency_keys (credential, key_hash, request_hash, status, answer, created_at)
    VALUES ('{n}0000000-0000-7000-8000-000000000004', 'key', 'request', 201, {bytes}, 1);

INSERT INTO repositories (id, project_id, path, created_at)
    VALUES ('{n}0000000-0000-7000-8000-000000000007', '{n}0000000-0000-7000-8000-000000000003', 'app', 1);
INSERT INTO blobs (id, digest, size, created_at) VALUES ('{n}0000000-0000-7000-8000-000000000008', 'sha256:b{n}', 3, 1);
INSERT INTO chunks (owner_id, start, size, object_key, created_at)
    VALUES ('{n}0000000-0000-7000-8000-000000000008', 0, 3, '20260101/a/{n}', 1);
INSERT INTO repository_blobs (repository_id, digest, blob_id, created_at, keep_until, held)
    VALUES ('{n}0000000-0000-7000-8000-000000000007', 'sha256:b{n}', '{n}0000000-0000-7000-8000-000000000008', 1, 2, true);
INSERT INTO manifests (repository_id, digest, media_type, size, content, pushed_by, created_at, total_size, platforms, pushed_at)
    VALUES ('{n}0000000-0000-7000-8000-000000000007', 'sha256:m{n}', 'application/json', 1, {bytes}, 'user:1', 1, 4, 'linux/amd64', 1);
INSERT INTO manifest_blobs (repository_id, manifest_digest, blob_digest)
    VALUES ('{n}0000000-0000-7000-8000-000000000007', 'sha256:m{n}', 'sha256:b{n}');
INSERT INTO manifest_children (repository_id, parent_digest, child_digest, platform)
    VALUES ('{n}0000000-0000-7000-8000-000000000007', 'sha256:m{n}', 'sha256:c{n}', 'linux/amd64');
INSERT INTO tags (repository_id, name, digest, pushed_by, created_at, updated_at)
    VALUES ('{n}0000000-0000-7000-8000-000000000007', 'v1', 'sha256:m{n}', 'user:1', 1, 1);
INSERT INTO tag_history (repository_id, tag, digest, actor, at, previous_digest)
    VALUES ('{n}0000000-0000-7000-8000-000000000007', 'v1', 'sha256:m{n}', 'user:1', 1, NULL);
INSERT INTO tag_rules (id, project_id, kind, repository_pattern, repository_expression, tag_pattern, tag_expression, created_by, created_at)
    VALUES ('{n}0000000-0000-7000-8000-000000000009', '{n}0000000-0000-7000-8000-000000000003', 'immutable', '**', '.*', 'v*', 'v.*', 'user:1', 1);
INSERT INTO retention_rules (id, project_id, repository_pattern, tag_pattern, keep_last, keep_tags, enabled, created_by, created_at, updated_at)
    VALUES ('{n}0000000-0000-7000-8000-000000000010', '{n}0000000-0000-7000-8000-000000000003', '**', '*', 10, '', true, 'user:1', 1, 1);
INSERT INTO retention_schedule (project_id, next_run_at) VALUES ('{n}0000000-0000-7000-8000-000000000003', 1);

INSERT INTO upload_sessions (id, project_id, repository_path, principal, epoch, algorithm, status, committed_state, created_at, last_activity_at, network)
    VALUES ('{n}0000000-0000-7000-8000-000000000011', '{n}0000000-0000-7000-8000-000000000003', 'app', 'user:1', 1, 'sha256', 'open', {bytes}, 1, 1, '');
INSERT INTO doomed_objects (object_key, size, delete_after) VALUES ('20260101/b/{n}', 1, 2);
INSERT INTO usage_deltas (id, project_id, bytes, reason, at)
    VALUES ('{n}0000000-0000-7000-8000-000000000012', '{n}0000000-0000-7000-8000-000000000003', 3, 'link', 1);
INSERT INTO usage_totals (project_id, bytes, as_of) VALUES ('{n}0000000-0000-7000-8000-000000000003', 3, 1);
INSERT INTO digest_blocklist (digest, reason, created_by, created_at) VALUES ('sha256:x{n}', 'malware', 'user:1', 1);

INSERT INTO audit_log (id, at, actor, remote_ip, user_agent, request_id, action, outcome, repository, object, detail)
    VALUES ('{n}0000000-0000-7000-8000-000000000013', 1, 'user:1', '192.0.2.1', 'curl', 'r', 'project.create', 'done', '', 'project{n}', '');
INSERT INTO webhooks (id, project_id, url, events, secret, created_by, created_at, updated_at)
    VALUES ('{n}0000000-0000-7000-8000-000000000014', '{n}0000000-0000-7000-8000-000000000003', 'https://example.com', ' tag.push ', 'c2VjcmV0', 'user:1', 1, 1);
INSERT INTO events_outbox (id, webhook_id, kind, object, data, next_attempt_at, created_at)
    VALUES ('{n}0000000-0000-7000-8000-000000000015', '{n}0000000-0000-7000-8000-000000000014', 'tag.push', 'app:v1', '{}', 1, 1);

INSERT INTO limit_overrides (subject_id, subject_kind, name, value, created_by, created_at)
    VALUES ('{n}0000000-0000-7000-8000-000000000002', 'user', 'tokens', 10, 'user:1', 1);
INSERT INTO project_creations (project_id, creator, created_at) VALUES ('{n}0000000-0000-7000-8000-000000000003', 'user:1', 1);
INSERT INTO anonymous_activity (hour, network, project_id, bytes, pushes, refused)
    VALUES ({n}, '192.0.2.1', '{n}0000000-0000-7000-8000-000000000003', 1, 1, 0);

INSERT INTO blob_reviews (blob_id, created_at) VALUES ('{n}0000000-0000-7000-8000-000000000008', 1);
INSERT INTO blob_compactions (blob_id, chunks, due_at) VALUES ('{n}0000000-0000-7000-8000-000000000008', 4, 1);
INSERT INTO swept_days (day, done_at) VALUES ('2026010{n}', 1);
INSERT INTO collection_runs (id, kind, started_at, updated_at, figures)
    VALUES ('{n}0000000-0000-7000-8000-000000000016', 'scheduled', 1, 2, '{}');
