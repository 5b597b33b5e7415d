package main

import (
	"crypto/rand"
	"encoding/json"
	"fmt"
	"iter"
	"strconv"

	"github.com/google/uuid"
	"github.com/opencontainers/go-digest"
	"github.com/opencontainers/image-spec/specs-go"
	v1 "github.com/opencontainers/image-spec/specs-go/v1"
)

// What a world has at its full size, and for each project.
const (
	worldProjects   = 1_000_000
	tagsPerProject  = 10
	blobsPerProject = 3
	// worldOwned is how many projects a user owns.
	worldOwned = 10
	// worldRepository is the path of each project's repository.
	worldRepository = "app"
	worldBlobSize   = 1000
)

// world is what a database is filled with: projects with all that belongs to them, in the order in which it refers to one
// another. The bytes of blobs are nowhere.
type world struct{ projects int }

func (w world) users() int { return max(1, w.projects/worldOwned) }

// table is one of the tables, with its rows.
type table struct {
	name    string
	columns []string
	rows    iter.Seq[[]any]
}

// id is an identifier. Those of a group are in the order of their numbers, as those of the product are in that of time.
func id(group uint16, n int) uuid.UUID {
	return uuid.MustParse(fmt.Sprintf("01900000-0000-7000-%04x-%012x", 0x8000|group, n))
}

const (
	groupAccount uint16 = iota
	groupUser
	groupProject
	groupRepository
	groupBlob
	groupRobot
)

// blob is the digest of a project's blob.
func blobOf(project, n int) digest.Digest {
	return digest.FromString("world/" + strconv.Itoa(project) + "/" + strconv.Itoa(n))
}

// worldManifest is a manifest of a project: two images, and something that refers to the first.
type worldManifest struct {
	digest  digest.Digest
	content []byte
	subject digest.Digest
	kind    string // artifact type
	blobs   []digest.Digest
}

func manifestsOf(project int) []worldManifest {
	image := func(kind string, subject *v1.Descriptor, blobs ...int) worldManifest {
		m := v1.Manifest{Versioned: specs.Versioned{SchemaVersion: 2}, MediaType: v1.MediaTypeImageManifest, ArtifactType: kind, Subject: subject}
		made := worldManifest{kind: kind}
		for i, n := range blobs {
			d := v1.Descriptor{MediaType: v1.MediaTypeImageLayerGzip, Digest: blobOf(project, n), Size: worldBlobSize}
			if i == 0 {
				d.MediaType = v1.MediaTypeImageConfig
				m.Config = d
			} else {
				m.Layers = append(m.Layers, d)
			}
			made.blobs = append(made.blobs, d.Digest)
		}
		made.content, _ = json.Marshal(m) // of plain strings and numbers
		made.digest = digest.FromBytes(made.content)
		if subject != nil {
			made.subject = subject.Digest
		}
		return made
	}
	first, second := image("", nil, 0, 1), image("", nil, 0, 2)
	subject := &v1.Descriptor{MediaType: v1.MediaTypeImageManifest, Digest: first.digest, Size: int64(len(first.content))}
	return []worldManifest{first, second, image("application/vnd.example.signature", subject, 0)}
}

// each yields the rows that f makes of the numbers from 1 on.
func each(n int, f func(i int, yield func(...any) bool) bool) iter.Seq[[]any] {
	return func(yield func([]any) bool) {
		for i := 1; i <= n; i++ {
			if !f(i, func(row ...any) bool { return yield(row) }) {
				return
			}
		}
	}
}

// one is each for one row of each number.
func one(n int, row func(i int) []any) iter.Seq[[]any] {
	return each(n, func(i int, yield func(...any) bool) bool { return yield(row(i)...) })
}

// tables are all of them.
func (w world) tables() []table {
	owner := func(project int) int { return project%w.users() + 1 }
	return []table{
		{"accounts", []string{"id", "kind", "name", "created_at"}, one(w.users(), func(i int) []any {
			return []any{id(groupAccount, i), "personal", "a", int64(1)}
		})},
		{"users", []string{"id", "account_id", "email", "created_at", "updated_at"}, one(w.users(), func(i int) []any {
			return []any{id(groupUser, i), id(groupAccount, i), fmt.Sprintf("user-%d@example.org", i), int64(1), int64(1)}
		})},
		{"projects", []string{"id", "account_id", "slug", "state", "created_by", "created_at", "updated_at"}, one(w.projects, func(i int) []any {
			return []any{id(groupProject, i), id(groupAccount, owner(i)), "p-" + strconv.Itoa(i), "active", "test", int64(1), int64(1)}
		})},
		{"members", []string{"project_id", "user_id", "role", "created_by", "created_at"}, one(w.projects, func(i int) []any {
			return []any{id(groupProject, i), id(groupUser, owner(i)), "owner", "test", int64(1)}
		})},
		{"tokens", []string{"id", "kind", "project_id", "name", "secret_hash", "created_by", "created_at"}, one(w.projects, func(i int) []any {
			var secret [32]byte
			_, _ = rand.Read(secret[:]) // never fails
			return []any{id(groupRobot, i), "robot", id(groupProject, i), "ci", fmt.Sprintf("%x", secret), "test", int64(1)}
		})},
		{"repositories", []string{"id", "project_id", "path", "created_at"}, one(w.projects, func(i int) []any {
			return []any{id(groupRepository, i), id(groupProject, i), worldRepository, int64(1)}
		})},
		{"usage_totals", []string{"project_id", "bytes", "as_of"}, one(w.projects, func(i int) []any {
			return []any{id(groupProject, i), int64(blobsPerProject * worldBlobSize), int64(1)}
		})},
		{"blobs", []string{"id", "digest", "size", "created_at"}, one(w.projects*blobsPerProject, func(i int) []any {
			return []any{id(groupBlob, i), blobOf(w.of(i)).String(), int64(worldBlobSize), int64(1)}
		})},
		{"chunks", []string{"owner_id", "start", "size", "object_key", "created_at"}, one(w.projects*blobsPerProject, func(i int) []any {
			return []any{id(groupBlob, i), int64(0), int64(worldBlobSize), "2025/01/01/world/" + strconv.Itoa(i), int64(1)}
		})},
		{"repository_blobs", []string{"repository_id", "digest", "blob_id", "created_at", "keep_until", "held"}, one(w.projects*blobsPerProject, func(i int) []any {
			project, n := w.of(i)
			return []any{id(groupRepository, project), blobOf(project, n).String(), id(groupBlob, i), int64(1), int64(1), true}
		})},
		{"manifests", []string{"repository_id", "digest", "media_type", "size", "content", "artifact_type", "subject_digest", "pushed_by", "created_at", "pushed_at", "total_size"}, w.manifests()},
		{"manifest_blobs", []string{"repository_id", "manifest_digest", "blob_digest"}, w.references()},
		{"tags", []string{"repository_id", "name", "digest", "pushed_by", "created_at", "updated_at"}, w.tags(func(i int, tag string, d digest.Digest) []any {
			return []any{id(groupRepository, i), tag, d.String(), "test", int64(1), int64(1)}
		})},
		{"tag_history", []string{"repository_id", "tag", "digest", "actor", "at"}, w.tags(func(i int, tag string, d digest.Digest) []any {
			return []any{id(groupRepository, i), tag, d.String(), "test", int64(1)}
		})},
	}
}

// of gives the project of a blob, and which of its blobs it is.
func (world) of(blob int) (project, n int) {
	return (blob-1)/blobsPerProject + 1, (blob - 1) % blobsPerProject
}

func (w world) manifests() iter.Seq[[]any] {
	return each(w.projects, func(i int, yield func(...any) bool) bool {
		for _, m := range manifestsOf(i) {
			var subject any
			if m.subject != "" {
				subject = m.subject.String()
			}
			size := int64(len(m.content))
			if !yield(id(groupRepository, i), m.digest.String(), v1.MediaTypeImageManifest, size, m.content, m.kind, subject, "test",
				int64(1), int64(1), size+int64(len(m.blobs)*worldBlobSize)) {
				return false
			}
		}
		return true
	})
}

func (w world) references() iter.Seq[[]any] {
	return each(w.projects, func(i int, yield func(...any) bool) bool {
		for _, m := range manifestsOf(i) {
			for _, d := range m.blobs {
				if !yield(id(groupRepository, i), m.digest.String(), d.String()) {
					return false
				}
			}
		}
		return true
	})
}

// tags makes a row of each tag: they name the two images in turns.
func (w world) tags(row func(project int, tag string, d digest.Digest) []any) iter.Seq[[]any] {
	return each(w.projects, func(i int, yield func(...any) bool) bool {
		images := manifestsOf(i)
		for t := range tagsPerProject {
			if !yield(row(i, tagOf(t), images[t%2].digest)...) {
				return false
			}
		}
		return true
	})
}
