package projects

import (
	"errors"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/opencontainers/go-digest"

	"github.com/berthregistry/berth/internal/database"
	"github.com/berthregistry/berth/internal/oci/content"
	"github.com/berthregistry/berth/internal/rbac"
)

func (f *fixture) claim(p Project, by Creator, discard bool) Claimed {
	f.t.Helper()
	c, err := f.Claim(f.t.Context(), nil, ClaimRequest{ProjectID: p.ID, Owner: by, DiscardContent: discard})
	f.must(err)
	return c
}

func TestAClaimMakesTheOwner(t *testing.T) {
	each(t, func(t *testing.T, f *fixture) {
		p, owner := f.ensure("demo", anonymous), f.user()
		f.resolve("demo") // remembered
		f.clock.advance(time.Second)
		got := f.claim(p, owner, false)
		want := p
		want.State, want.AccountID, want.Epoch, want.Version = rbac.StateActive, owner.AccountID, p.Epoch+1, p.Version+1
		want.ExpiresAt, want.ClaimedAt, want.UpdatedAt = time.Time{}, f.clock.Now(), f.clock.Now()
		if got.Project != want || len(got.Pushed) != 0 {
			t.Errorf("%+v, want %+v", got, want)
		}
		if r := f.resolve("demo"); r != want {
			t.Errorf("resolved: %+v", r)
		}
		if f.role(p.ID, owner) != rbac.RoleOwner || f.count(countMembersOf, p.ID) != 1 {
			t.Error("not the one owner")
		}
		f.clock.advance(100 * DefaultUnclaimedTTL)
		f.resolve("demo") // does not expire
	})
}

func TestOneOf50ClaimersWins(t *testing.T) {
	each(t, func(t *testing.T, f *fixture) {
		p := f.ensure("demo", anonymous)
		replicas := []*fixture{f, f.replica()}
		var claimers [50]Creator
		for i := range claimers {
			claimers[i] = f.user()
		}
		var winner atomic.Int64
		winner.Store(-1)
		begin := make(chan struct{})
		var wg sync.WaitGroup
		for i, by := range claimers {
			wg.Go(func() {
				<-begin
				c, err := replicas[i%2].Claim(t.Context(), nil, ClaimRequest{ProjectID: p.ID, Owner: by, DiscardContent: i%3 == 0})
				switch {
				case errors.Is(err, ErrClaimed) && c.Project == Project{}:
				case err != nil || c.Project.AccountID != by.AccountID:
					t.Errorf("claimer %d: %+v, %v", i, c, err)
				case !winner.CompareAndSwap(-1, int64(i)):
					t.Errorf("claimer %d wins too", i)
				}
			})
		}
		close(begin)
		wg.Wait()
		if winner.Load() < 0 {
			t.Fatal("nobody has won")
		}
		by := claimers[winner.Load()]
		got := f.resolve("demo")
		if got.AccountID != by.AccountID || got.Epoch != p.Epoch+1 || f.count(countOwner, p.ID, by.UserID, by.Principal) != 1 ||
			f.count(countMembersOf, p.ID) != 1 {
			t.Errorf("%+v, %d members", got, f.count(countMembersOf, p.ID))
		}
	})
}

func TestWhatCannotBeClaimed(t *testing.T) {
	each(t, func(t *testing.T, f *fixture) {
		owner := f.user()
		claim := func(id uuid.UUID, by Creator, guard Guard) error {
			_, err := f.Claim(t.Context(), guard, ClaimRequest{ProjectID: id, Owner: by})
			return err
		}
		active, deleted, suspended := f.ensure("active", owner), f.ensure("deleted", anonymous), f.ensure("suspended", anonymous)
		fresh, expired := f.ensure("fresh", anonymous), f.ensure("expired", anonymous)
		f.exec(deleteProject, deleted.ID)
		f.exec(suspendProject, suspended.ID, "")
		f.clock.advance(DefaultUnclaimedTTL)
		f.exec(prolongTo, fresh.ID, database.ToMicros(f.clock.Now().Add(time.Hour)))
		refused := errors.New("refused")
		for _, c := range []struct {
			name  string
			id    uuid.UUID
			by    Creator
			guard Guard
			want  error
		}{
			{"absent", uuid.Must(uuid.NewV7()), owner, nil, ErrNotFound},
			{"deleted", deleted.ID, owner, nil, ErrNotFound},
			{"expired", expired.ID, owner, nil, ErrNotFound},
			{"active", active.ID, owner, nil, ErrClaimed},
			{"suspended", suspended.ID, owner, nil, ErrClaimed},
			{"by an unknown user", fresh.ID, Creator{Principal: "user:x", UserID: uuid.New(), AccountID: owner.AccountID}, nil, ErrNoSuchUser},
			{"for another's account", fresh.ID, Creator{Principal: "user:x", UserID: owner.UserID, AccountID: f.user().AccountID}, nil, ErrNoSuchUser},
			{"for no account", fresh.ID, Creator{Principal: "user:x", UserID: owner.UserID}, nil, ErrNoSuchUser},
			{"for an unknown account", fresh.ID, Creator{Principal: "user:x", UserID: owner.UserID, AccountID: uuid.New()}, nil, ErrNoSuchUser},
			{"by anonymous", fresh.ID, anonymous, nil, ErrNoSuchUser},
			{"against the guard", fresh.ID, owner, GuardFunc(func(b *database.Batch) { b.Require(refused, never) }), refused},
			{"fresh", fresh.ID, owner, GuardFunc(func(*database.Batch) {}), nil},
		} {
			if err := claim(c.id, c.by, c.guard); !errors.Is(err, c.want) {
				t.Errorf("%s: %v, want %v", c.name, err, c.want)
			}
		}
	})
}

var (
	never       = database.SQL(`SELECT 1 WHERE 1 = 0`)
	prolongTo   = database.SQL(`UPDATE projects SET expires_at = $2 WHERE id = $1`)
	insertToken = database.SQL(`
		INSERT INTO tokens (id, kind, project_id, name, secret_hash, created_by, created_at) VALUES ($1, $2, $3, 'ci', $4, 'test', 1)`)
	countRevoked = database.SQL(`SELECT count(*) FROM tokens WHERE id = $1 AND revoked_at IS NOT NULL`)
	countGrants  = database.SQL(`SELECT count(*) FROM runner_grants WHERE project_id = $1`)
)

// token is a new token of a kind; of no project: the server's.
func (f *fixture) token(kind string, project uuid.UUID) uuid.UUID {
	f.t.Helper()
	id := uuid.Must(uuid.NewV7())
	f.exec(insertToken, id, kind, uuid.NullUUID{UUID: project, Valid: project != uuid.Nil}, id.String())
	return id
}

func TestAClaimVoidsWhatWasSetUpBefore(t *testing.T) {
	each(t, func(t *testing.T, f *fixture) {
		p, planted := f.ensure("demo", anonymous), f.user()
		f.exec(insertMember, p.ID, planted.UserID, "owner")
		robot, runner, server := f.token("robot", p.ID), f.token("runner", p.ID), f.token("runner", uuid.Nil)
		for _, id := range []uuid.UUID{runner, server} {
			_, err := f.GrantRunner(t.Context(), nil, p.ID, id, nil, "test")
			f.must(err)
		}
		f.role(p.ID, planted) // remembered
		f.claim(p, f.user(), false)
		if f.role(p.ID, planted) != rbac.RoleNone || f.count(countGrants, p.ID) != 0 {
			t.Error("a member or a grant is left")
		}
		if f.count(countRevoked, robot) != 1 || f.count(countRevoked, runner) != 1 || f.count(countRevoked, server) != 0 {
			t.Error("not the tokens of the project, and those only, are revoked")
		}
	})
}

// registry is the content of a project.
type registry struct {
	*content.Store
	f *fixture
	p Project
}

func (f *fixture) registry(p Project) registry {
	return registry{f: f, p: p, Store: content.New(content.Config{
		DB: f.db, Clock: f.clock.Now, LinkLife: time.Hour, TrashLife: time.Hour, ManifestCache: 1 << 20,
	})}
}

// free is the guard of one who may do everything.
type free struct{}

func (free) Require(*database.Batch) {}

var insertBlob = database.SQL(`INSERT INTO blobs (id, digest, size, created_at) VALUES ($1, $2, $3, 0) ON CONFLICT DO NOTHING`)

// blob shows a blob of some size.
func (r registry) blob(path, name string, size int64) digest.Digest {
	r.f.t.Helper()
	d, now := digest.FromString(name), database.ToMicros(r.f.clock.Now())
	var b database.Batch
	b.Exec(insertBlob, uuid.Must(uuid.NewV7()), d.String(), size)
	content.EnsureRepository(&b, r.p.ID, path, now)
	content.Link(&b, r.p.ID, path, d, now, now+1e9)
	r.f.must(r.f.db.Run(r.f.t.Context(), &b))
	return d
}

func (r registry) place(path string) content.Place { return content.Place{Project: r.p.ID, Path: path} }

var blobSize = database.SQL(`SELECT size FROM blobs WHERE digest = $1`)

// push stores a manifest with the content text.
func (r registry) push(path, text string, blobs []digest.Digest, tags ...string) digest.Digest {
	r.f.t.Helper()
	m := content.NewManifest{
		Digest: digest.FromString(text), MediaType: "application/json", Content: []byte(text), Blobs: blobs, Tags: tags, Actor: "robot:1",
	}
	for _, d := range blobs {
		m.BlobSize += int64(r.f.count(blobSize, d.String()))
	}
	r.f.must(r.PutManifest(r.f.t.Context(), r.place(path), m, free{}))
	return m.Digest
}

func TestAClaimTellsWhatWasPushed(t *testing.T) {
	each(t, func(t *testing.T, f *fixture) {
		p := f.ensure("demo", anonymous)
		r := f.registry(p)
		layer := r.blob("", "layer", 100)
		r.push("", "12345", []digest.Digest{layer}, "a", "b")
		r.push("web/app", "123", nil)
		r.blob("web/app", "layer", 100)
		f.must(r.DeleteTag(t.Context(), r.place(""), "b", "test", free{}))
		for _, discard := range []bool{false, true} {
			if discard {
				f.exec(unclaim, p.ID)
			}
			got := f.claim(p, f.user(), discard).Pushed
			want := []PushedRepository{{Path: "", Tags: 1, Manifests: 1, Bytes: 105}, {Path: "web/app", Manifests: 1, Bytes: 103}}
			if len(got) != 2 || got[0] != want[0] || got[1] != want[1] {
				t.Errorf("%+v, want %+v", got, want)
			}
		}
	})
}

var unclaim = database.SQL(`UPDATE projects SET state = 'unclaimed', account_id = NULL WHERE id = $1`)

func TestADiscardingClaimEmptiesTheProject(t *testing.T) {
	each(t, func(t *testing.T, f *fixture) {
		p := f.ensure("demo", anonymous)
		r := f.registry(p)
		layer, gone := r.blob("web", "layer", 100), r.blob("web", "gone", 1)
		planted := r.push("web", "planted", []digest.Digest{layer}, "latest", "v1")
		old := r.push("web", "deleted before", nil, "old")
		f.must(r.DeleteManifest(t.Context(), r.place("web"), old, "test", free{}))
		f.must(r.DeleteBlob(t.Context(), r.place("web"), gone, free{}))
		other := f.registry(f.ensure("other", f.user()))
		other.blob("web", "layer", 100)
		other.push("web", "planted", []digest.Digest{layer}, "latest")

		f.clock.advance(time.Second)
		f.claim(p, f.user(), true)
		r.nothingIn("web", layer, planted, old, gone)
		if n := f.count(countUndoable, p.ID, database.ToMicros(f.clock.Now())); n != 0 {
			t.Errorf("%d rows could come back by undoing", n)
		}
		if n := f.count(countTagEnds, p.ID); n != 3 { // two by the claim, one before
			t.Errorf("%d tags have ended", n)
		}
		if _, err := other.ManifestByTag(t.Context(), other.place("web"), "latest", true); err != nil {
			t.Errorf("another project: %v", err)
		}

		// A new push begins with nothing, and shows only what it has brought.
		err := r.PutManifest(t.Context(), r.place("web"), content.NewManifest{
			Digest: planted, MediaType: "application/json", Content: []byte("planted"), Blobs: []digest.Digest{layer}, Actor: "test",
		}, free{})
		if !errors.Is(err, content.ErrBlobsMissing) {
			t.Errorf("a blob from before is still there: %v", err)
		}
		r.nothingIn("web", layer, planted, old, gone)
		if err := r.Mount(t.Context(), r.place("new"), layer, nil, free{}); !errors.Is(err, content.ErrNotFound) {
			t.Errorf("a blob from before was mounted: %v", err)
		}
		r.blob("web", "layer", 100)
		r.push("web", "planted", []digest.Digest{layer}, "v1")
		if m, err := r.ManifestByTag(t.Context(), r.place("web"), "v1", true); err != nil || string(m.Content) != "planted" {
			t.Errorf("%+v, %v", m, err)
		}
		if _, err := r.BlobStat(t.Context(), r.place("web"), layer); err != nil {
			t.Error(err)
		}
		r.nothingIn("web", gone, old)
		if tags, err := r.Tags(t.Context(), r.place("web"), "", 10); err != nil || len(tags) != 1 {
			t.Errorf("%v, %v", tags, err)
		}
	})
}

// nothingIn checks that none of the digests can be read, and none but the tag v1 resolves.
func (r registry) nothingIn(path string, digests ...digest.Digest) {
	r.f.t.Helper()
	ctx := r.f.t.Context()
	for _, d := range digests {
		_, manifest := r.ManifestByDigest(ctx, r.place(path), d, true)
		_, blob := r.Blob(ctx, r.place(path), d)
		if !errors.Is(manifest, content.ErrNotFound) || !errors.Is(blob, content.ErrNotFound) {
			r.f.t.Errorf("%s is readable: %v, %v", d, manifest, blob)
		}
	}
	for _, tag := range []string{"latest", "old"} {
		if _, err := r.ManifestByTag(ctx, r.place(path), tag, true); !errors.Is(err, content.ErrNotFound) {
			r.f.t.Errorf("%s: %v", tag, err)
		}
	}
}

var (
	countUndoable = database.SQL(`
		SELECT (SELECT count(*) FROM repositories WHERE project_id = $1 AND (deleted_at IS NULL OR purge_after > $2))
			+ (SELECT count(*) FROM repositories r JOIN manifests m ON m.repository_id = r.id
				WHERE r.project_id = $1 AND (m.deleted_at IS NULL OR m.purge_after > $2))
			+ (SELECT count(*) FROM repositories r JOIN repository_blobs l ON l.repository_id = r.id
				WHERE r.project_id = $1 AND (l.deleted_at IS NULL OR l.purge_after > $2))
			+ (SELECT count(*) FROM repositories r JOIN tags t ON t.repository_id = r.id
				WHERE r.project_id = $1 AND (t.deleted_at IS NULL OR t.purge_after > $2))`)
	countTagEnds = database.SQL(`
		SELECT count(*) FROM repositories r JOIN tag_history h ON h.repository_id = r.id WHERE r.project_id = $1 AND h.digest IS NULL`)
)

// TestAPushAndADiscardingClaimFollowEachOther: what a push with the old epoch has brought is discarded, or it fails.
func TestAPushAndADiscardingClaimFollowEachOther(t *testing.T) {
	each(t, func(t *testing.T, f *fixture) {
		for range 10 {
			p := f.ensure("demo-"+uuid.Must(uuid.NewV7()).String()[24:], anonymous)
			r := f.registry(p)
			guard := GuardFunc(func(b *database.Batch) {
				f.Prolong(b, p.ID)
				RequireState(b, p.ID, p.Epoch, p.State)
			})
			var wg sync.WaitGroup
			for _, text := range []string{"one", "two", "three", "four"} {
				wg.Go(func() {
					err := r.PutManifest(t.Context(), r.place("web"), content.NewManifest{
						Digest: digest.FromString(text), MediaType: "application/json", Content: []byte(text), Tags: []string{text}, Actor: "anonymous",
					}, guard)
					if err != nil && !errors.Is(err, ErrChanged) {
						t.Error(err)
					}
				})
			}
			wg.Go(func() { f.claim(p, f.user(), true) })
			wg.Wait()
			if n := f.count(countUndoable, p.ID, database.ToMicros(f.clock.Now())); n != 0 {
				t.Fatalf("%d rows of before the claim are left", n)
			}
		}
	})
}
