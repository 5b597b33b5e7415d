package api_test

import (
	"fmt"
	"maps"
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"

	"github.com/berthregistry/berth/internal/api/apitest"
	"github.com/berthregistry/berth/internal/auth"
	"github.com/berthregistry/berth/internal/config"
	"github.com/berthregistry/berth/internal/database"
	"github.com/berthregistry/berth/internal/projects"
	"github.com/berthregistry/berth/internal/projects/takedown"
	"github.com/berthregistry/berth/internal/rbac"
)

// world is a server with callers of every kind. Projects are made as they are needed.
type world struct {
	t       *testing.T
	env     *apitest.Env
	replica *apitest.Replica
	people  map[string]apitest.Person // by the name of their column
	secrets map[string]string         // of machines
	made    int

	stranger apitest.Person // whose project nobody else has a role in
	target   apitest.Person // a member of every project
}

func newWorld(t *testing.T, env *apitest.Env) *world {
	w := &world{t: t, env: env, people: map[string]apitest.Person{}, secrets: map[string]string{"nobody": ""}}
	w.replica = env.Serve(t, func(c *config.Config) {
		c.Accounts.SignUp = "closed"
		c.Counts.Projects = 0 // a sweep makes one for each question
	})
	for _, name := range users {
		w.people[name] = env.Person(t, name)
	}
	w.stranger, w.target = env.Person(t, "stranger"), env.Person(t, "target")
	admin := true
	_, err := env.Auth.ChangeUser(t.Context(), nil, w.people["admin"].ID, auth.UserChange{Admin: &admin}, 0)
	apitest.Check(t, err)
	w.makeSecrets()
	return w
}

// makeSecrets gives every machine what would let the owner do all, if it were taken for the owner.
func (w *world) makeSecrets() {
	t, env, owner := w.t, w.env, w.people["owner"]
	everything := &auth.Grants{Actions: []rbac.Action{rbac.Pull, rbac.Push, rbac.Delete}}
	w.secrets["restricted token"] = env.Token(t, owner.ID, everything)
	w.secrets["bearer token"] = w.replica.Bearer(t, owner.Secret, "repository:any/app:pull,push,delete")
	w.secrets["bad credential"] = owner.Secret[:len(owner.Secret)-1] + "!"
	w.secrets["robot"], _ = env.Robot(t, env.Project(t, "of-robot", owner).ID)
	w.secrets["runner"], _ = env.Runner(t, uuid.Nil)

	expired := env.Token(t, owner.ID, nil)
	env.Exec(t, `UPDATE tokens SET expires_at = ? WHERE secret_hash = ?`, time.Now().Add(-time.Second).UnixMicro(), digest(expired))
	w.secrets["expired token"] = expired
	revoked := env.Token(t, owner.ID, nil)
	env.Exec(t, `UPDATE tokens SET revoked_at = created_at WHERE secret_hash = ?`, digest(revoked))
	w.secrets["revoked token"] = revoked
	old, _ := env.Session(t, owner.ID)
	env.Exec(t, `UPDATE sessions SET expires_at = ? WHERE secret_hash = ?`, time.Now().Add(-time.Second).UnixMicro(), digest(old))
	w.secrets["expired session"] = old
	ended, session := env.Session(t, owner.ID)
	apitest.Check(t, env.Auth.EndSession(t.Context(), nil, owner.ID, session.ID))
	w.secrets["ended session"] = ended

	locked := env.Person(t, "locked")
	lock := true
	_, err := env.Auth.ChangeUser(t.Context(), nil, locked.ID, auth.UserChange{Admin: &lock, Locked: &lock}, 0)
	apitest.Check(t, err)
	w.secrets["locked user"] = locked.Secret
}

// object is what the parameters of a path name.
type object map[string]string

func (o object) with(name, value string) object {
	other := maps.Clone(o)
	other[name] = value
	return other
}

func (w *world) next() int { w.made++; return w.made }

// project makes a project in a state, with a member of every role and things of every kind in it.
func (w *world) project(state string) object {
	w.t.Helper()
	slug := fmt.Sprintf("p-%s-%d", state, w.next())
	if state == "unclaimed" {
		return w.filled(w.env.Unclaimed(w.t, slug).ID)
	}
	p := w.env.Project(w.t, slug, w.people["owner"])
	for _, role := range []rbac.Role{rbac.RoleViewer, rbac.RoleDeveloper, rbac.RoleMaintainer} {
		w.env.Member(w.t, p.ID, w.people[string(role)], role)
	}
	o := w.filled(p.ID)
	var err error
	switch state {
	case "public":
		public := rbac.Public
		_, err = w.env.Projects.Change(w.t.Context(), nil, p.ID, projects.Change{Visibility: &public}, 0)
	case "suspended":
		_, err = w.env.Projects.Suspend(w.t.Context(), nil, p.ID, "for a test")
	case "deleted":
		_, err = w.env.Projects.Delete(w.t.Context(), nil, p.ID, 0)
	}
	apitest.Check(w.t, err)
	return o
}

// filled puts things into a project. What is no thing of a project belongs to the caller: see ownedBy.
func (w *world) filled(project uuid.UUID) object {
	w.t.Helper()
	w.env.Member(w.t, project, w.target, rbac.RoleViewer)
	w.env.Repository(w.t, project, "app/web", 1)
	tagRule, retentionRule := w.env.Trash(w.t, project)
	_, robot := w.env.Robot(w.t, project)
	_, runner := w.env.Runner(w.t, project)
	_, err := w.env.Projects.GrantRunner(w.t.Context(), nil, project, runner.ID, nil, "test")
	apitest.Check(w.t, err)
	webhook, delivery := w.env.Webhook(w.t, project)
	return object{
		"webhook": webhook.String(), "delivery": delivery.String(),
		"project": project.String(), "path": "app%2Fweb", "user": w.target.ID.String(),
		"robot": robot.ID.String(), "runner": runner.ID.String(), "tag": "v0", "digest": "sha256:" + strings.Repeat("0", 64),
		"tag_rule": tagRule.String(), "retention_rule": retentionRule.String(),
	}
}

// ownedBy makes things that are a person's own, and such as only admins deal with.
func (w *world) ownedBy(p apitest.Person) object {
	w.t.Helper()
	_, token, err := w.env.Auth.CreateToken(w.t.Context(), auth.NewToken{UserID: p.ID, Name: "own"})
	apitest.Check(w.t, err)
	_, session := w.env.Session(w.t, p.ID)
	_, runner := w.env.Runner(w.t, uuid.Nil)
	_, invite, err := w.env.Auth.CreateInvite(w.t.Context(), nil, auth.NewInvite{CreatedBy: "test"})
	apitest.Check(w.t, err)
	return object{
		"token": token.ID.String(), "session": session.ID.String(), "runner": runner.ID.String(), "invite": invite.ID.String(),
		"user": w.env.Person(w.t, fmt.Sprintf("victim-%d", w.next())).ID.String(),
		"kind": "user", "subject": p.ID.String(), "digest": w.blocked(),
	}
}

// blocked is a digest that was taken down.
func (w *world) blocked() string {
	w.t.Helper()
	d := "sha256:" + digest(fmt.Sprint("blocked ", w.next()))
	list := takedown.List{DB: w.env.DB, Clock: w.env.Now}
	_, err := list.Block(w.t.Context(), func(*database.Batch) {}, d, "for a test", "test")
	apitest.Check(w.t, err)
	return d
}

// body is a body that is fit for an operation, whoever sends it.
func (w *world) body(op apitest.Operation) any {
	w.t.Helper()
	switch op.ID {
	case "login":
		return map[string]any{"token": w.stranger.Secret}
	case "createProject":
		return map[string]any{"slug": fmt.Sprintf("new-%d", w.next())}
	case "createUser":
		return map[string]any{"email": fmt.Sprintf("new-%d@example.dev", w.next())}
	case "createTagRule":
		return map[string]any{"repositories": "**", "tags": fmt.Sprintf("new-%d", w.next())}
	case "addMember":
		return map[string]any{"email": w.stranger.Email, "role": "viewer"}
	}
	example, isObject := op.Body().(map[string]any)
	if !isObject {
		return op.Body()
	}
	example = maps.Clone(example)
	delete(example, "expires_at") // which is in the past one day
	return example
}

// restorable is what an operation that restores is about, instead of what all others are: see apitest.Env.Trash.
var restorable = map[string]object{
	"restoreRepository": {"path": "gone"},
	"restoreManifest":   {"digest": "sha256:" + strings.Repeat("a", 64)},
	"restoreTag":        {"tag": "gone"},
}

func (w *world) send(secret string, op apitest.Operation, o object) apitest.Answer {
	w.t.Helper()
	for param, value := range restorable[op.ID] {
		if o["path"] == "app%2Fweb" {
			o = o.with(param, value)
		}
	}
	return w.replica.As(w.t, secret).Do(op.Method, op.At(o), w.body(op))
}

// unchanged fails the test if f changes the database.
func (w *world) unchanged(what string, f func()) {
	w.t.Helper()
	before := w.env.Dump(w.t)
	f()
	if after := w.env.Dump(w.t); before != after {
		w.t.Errorf("%s: a refused request changed something:\n%s", what, difference(before, after))
	}
}

// difference is the lines that only one of two texts has.
func difference(before, after string) string {
	count := map[string]int{}
	for line := range strings.SplitSeq(before, "\n") {
		count["- "+line]++
	}
	var text strings.Builder
	for line := range strings.SplitSeq(after, "\n") {
		if count["- "+line] == 0 {
			text.WriteString("+ " + line + "\n")
			continue
		}
		count["- "+line]--
	}
	for line, n := range count {
		if n > 0 {
			text.WriteString(line + "\n")
		}
	}
	return text.String()
}
