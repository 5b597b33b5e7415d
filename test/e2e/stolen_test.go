package e2e

import (
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/opencontainers/go-digest"
	specs "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/berthregistry/berth/client"
	"github.com/berthregistry/berth/internal/database"
	"github.com/berthregistry/berth/internal/database/dbtest"
)

// contents is how much of everything a push adds to the database has.
type contents struct {
	Chunks, Appended, Sessions, Finished, Blobs, Links, Manifests, Tags int64
}

var countContents = database.SQL(`
	SELECT (SELECT count(*) FROM chunks), (SELECT coalesce(sum(committed_offset), 0) FROM upload_sessions),
		(SELECT count(*) FROM upload_sessions), (SELECT count(*) FROM upload_sessions WHERE status = 'finished'),
		(SELECT count(*) FROM blobs), (SELECT count(*) FROM repository_blobs),
		(SELECT count(*) FROM manifests), (SELECT count(*) FROM tags)`)

func contentsOf(t *testing.T, db *database.DB) (c contents) {
	t.Helper()
	must(t, db.QueryRow(t.Context(), countContents).
		Scan(&c.Chunks, &c.Appended, &c.Sessions, &c.Finished, &c.Blobs, &c.Links, &c.Manifests, &c.Tags))
	return c
}

// awaitChunks waits until uploads under way have committed their first chunks.
func awaitChunks(t *testing.T, db *database.DB, uploads int64) {
	t.Helper()
	started := database.SQL(`SELECT count(*) FROM upload_sessions WHERE status = 'open' AND lease_until > 0 AND committed_offset > 0`)
	late := time.NewTimer(patience)
	defer late.Stop()
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for {
		var n int64
		must(t, db.QueryRow(t.Context(), started).Scan(&n))
		if n >= uploads {
			return
		}
		select {
		case <-tick.C:
		case <-late.C:
			t.Fatalf("%d uploads have a chunk, want %d", n, uploads)
		}
	}
}

// replicasOf is how many replicas a pair of backends can serve.
func (b backends) replicasOf() int {
	if strings.HasPrefix(b.database, "sqlite:") {
		return 1
	}
	return 2
}

// TestARevokedRobotPushesNoMore is the second story of Berth: a robot's token was stolen, and is revoked while the thief pushes with it,
// on every replica at once. From the moment that the revocation is answered, not a byte of theirs is committed anywhere.
func TestARevokedRobotPushesNoMore(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, b backends) {
		r := start(t, b, b.replicasOf())
		owner := r.newProject(t, "demo")
		robot := newRobot(t, owner, "demo", client.RobotCreate{Actions: pullAndPush})
		db := dbtest.Open(t, b.database)
		bearer := r.nobody(t).basic(robot.Secret).token("repository:demo/app:pull,push")
		r.nobody(t).bearer(bearer).pushImage("demo/app", "before", content(1000))
		manifest := r.admin(t).want(http.StatusOK, http.MethodGet, "/v2/demo/app/manifests/before", nil).body

		var pushes []*running
		for i := range r.replicas {
			for _, w := range []wire{wireTo(t, r.replicas[i]).bearer(bearer), wireTo(t, r.replicas[i]).basic(robot.Secret)} {
				pushes = append(pushes, startPush(w, "demo/app", 4*b.chunk, 2*b.chunk+100))
			}
		}
		awaitChunks(t, db, int64(len(pushes)))
		_, err := r.replicaAPI(t, 0, adminToken).RevokeRobotWithResponse(t.Context(), "demo", robot.Robot.ID)
		must(t, err)
		revoked := contentsOf(t, db)

		for _, push := range pushes {
			push.wantRefused()
		}
		for i := range r.replicas {
			for _, w := range []wire{wireTo(t, r.replicas[i]).bearer(bearer), wireTo(t, r.replicas[i]).basic(robot.Secret)} {
				wantNoPush(w, "demo/app", pushes, manifest)
			}
		}
		if now := contentsOf(t, db); now != revoked {
			t.Errorf("when the revocation was answered there was %+v, now there is %+v", revoked, now)
		}
		r.admin(t).wantTags("demo/app", "before")
		again := newRobot(t, owner, "demo", client.RobotCreate{Actions: pullAndPush})
		r.nobody(t).basic(again.Secret).pushImage("demo/app", "after", content(1000)) // it was this token alone
	})
}

// running is a PATCH whose body is still being sent.
type running struct {
	wire
	location string
	blob     []byte
	sent     int
	body     *io.PipeWriter
	answered chan answer
}

// startPush opens a session and sends the beginning of a blob. When it returns, the registry is reading the body.
func startPush(w wire, repo string, size, sent int) *running {
	w.t.Helper()
	from, to := io.Pipe()
	p := &running{wire: w, location: w.begin(repo), blob: content(size), sent: sent, body: to, answered: make(chan answer, 1)}
	go func() {
		// With this header the body waits until the registry, which has let the request in by then, asks for it.
		a, err := w.send(http.MethodPatch, p.location, from, -1, "Expect", "100-continue")
		if err != nil {
			a.status = 0
		}
		p.answered <- a
	}()
	_, err := to.Write(p.blob[:sent])
	if err != nil {
		w.t.Fatalf("PATCH: %v", err)
	}
	return p
}

// wantRefused sends the rest.
func (p *running) wantRefused() {
	p.t.Helper()
	_, _ = p.body.Write(p.blob[p.sent:]) // the registry may have ended the request by now
	_ = p.body.Close()
	// A registry that does not read a long body to its end cuts the connection, and the client may not get to see the answer.
	if a := <-p.answered; a.status != http.StatusUnauthorized && a.status != 0 {
		p.t.Errorf("the PATCH that was running got %d, want 401: %s", a.status, a.body)
	}
}

// wantNoPush tries every other way to finish a push. Sessions and a manifest whose blobs are all there make sure that only the
// credential is in the way.
func wantNoPush(w wire, repo string, pushes []*running, manifest []byte) {
	w.t.Helper()
	for _, push := range pushes {
		d := digest.FromBytes(push.blob).String()
		w.want(http.StatusUnauthorized, http.MethodPut, query(push.location, "digest", d), push.blob)
		w.want(http.StatusUnauthorized, http.MethodPatch, push.location, push.blob)
	}
	w.want(http.StatusUnauthorized, http.MethodPut, "/v2/"+repo+"/manifests/after", manifest, "Content-Type", specs.MediaTypeImageManifest)
	small := content(10)
	if a, err := w.try(http.MethodPost, "/v2/"+repo+"/blobs/uploads/", nil); err != nil {
		w.t.Error(err)
	} else if a.status == http.StatusAccepted { // a replica that has not heard of it yet; this commits nothing
		w.want(http.StatusUnauthorized, http.MethodPut, query(a.location(), "digest", digest.FromBytes(small).String()), small)
	}
	w.want(http.StatusUnauthorized, http.MethodPost, "/v2/"+repo+"/blobs/uploads/?digest="+digest.FromBytes(small).String(), small)
}

// TestARevokedRobotCannotFinishItsPush has crane in the middle of a layer when the token is revoked.
func TestARevokedRobotCannotFinishItsPush(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, b backends) {
		r, held := startBehindGate(t, b, 2*b.chunk+100)
		owner := r.newProject(t, "demo")
		robot := newRobot(t, owner, "demo", client.RobotCreate{Actions: pullAndPush})
		db := dbtest.Open(t, b.database)
		layout := newLayout(t, newImage(t, "amd64", nil, 4*b.chunk))

		ended := make(chan struct{})
		crane := r.crane(t, robot.Secret)
		go func() {
			if out, _, err := crane.try(nil, "push", layout, r.host+"/demo/app:stolen"); err == nil {
				t.Errorf("crane push finished: %s", out)
			}
			close(ended)
		}()
		<-held.reached
		awaitChunks(t, db, 1)
		_, err := owner.RevokeRobotWithResponse(t.Context(), "demo", robot.Robot.ID)
		must(t, err)
		revoked := contentsOf(t, db)
		close(held.open)
		<-ended

		if now := contentsOf(t, db); now != revoked {
			t.Errorf("when the revocation was answered there was %+v, now there is %+v", revoked, now)
		}
		r.admin(t).want(http.StatusNotFound, http.MethodGet, "/v2/demo/app/manifests/stolen", nil)
		crane.refused("unauthorized", "push", layout, r.host+"/demo/app:stolen")
	})
}

// startBehindGate is start with a gate in front that holds the first long PATCH.
func startBehindGate(t *testing.T, b backends, after int) (*registry, *gate) {
	t.Helper()
	held := newGate(t, http.MethodPatch, after)
	r := &registry{host: strings.TrimPrefix(held.url(), "http://")}
	for range b.replicasOf() {
		cfg := b.settings()
		cfg.HTTP.PublicURL = held.url()
		r.replicas = append(r.replicas, run(t, cfg))
	}
	held.serve(t, r.replicas)
	return r, held
}
