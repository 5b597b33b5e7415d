package api_test

import (
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/berthregistry/berth/internal/api"
	"github.com/berthregistry/berth/internal/api/apitest"
	"github.com/berthregistry/berth/internal/audit"
	"github.com/berthregistry/berth/internal/auth"
	"github.com/berthregistry/berth/internal/config"
	"github.com/berthregistry/berth/internal/rbac"
)

// TestEveryChangeLeavesOneEntry does every operation of the contract that changes something. Each that succeeds leaves exactly
// one entry, which says who did it, with what and in which request, and no secret; each that is refused leaves none.
func TestEveryChangeLeavesOneEntry(t *testing.T) {
	t.Parallel()
	apitest.Each(t, func(t *testing.T, env *apitest.Env) {
		t.Parallel()
		w := newWorld(t, env)
		w.replica = env.Serve(t, func(c *config.Config) {
			c.Accounts.SignUp = "open"
			c.GC.Enabled, c.Scrub.Enabled, c.GC.Interval = true, true, time.Hour
		})
		person, err := env.Auth.CreateUser(t.Context(), auth.NewUser{Email: "typist@example.dev", Password: typed, Admin: true})
		apitest.Check(t, err)
		w.people["typist"] = apitest.Person{User: person}
		var secrets []string
		for _, op := range apitest.Operations(t) {
			if api.ActOf(op.Method, op.ID) == audit.APIRead {
				continue
			}
			secrets = append(secrets, w.act(op)...)
		}
		dump := env.Audited(t, "", "")
		for _, record := range dump {
			text := fmt.Sprintf("%+v %s", record, record.Detail)
			for _, secret := range append(secrets, typed, "another "+typed) {
				if strings.Contains(text, secret) {
					t.Errorf("an entry holds a secret: %s", text)
				}
			}
		}
		if len(secrets) < 5 {
			t.Errorf("only %d secrets were looked for", len(secrets))
		}
	})
}

// typed is a password.
const typed = "what the typist types"

// act does an operation, in a session of an administrator, and fails the test unless it left its entry. It gives the secrets
// that were told.
func (w *world) act(op apitest.Operation) []string {
	w.t.Helper()
	t, typist := w.t, w.people["typist"]
	o := w.ownedBy(typist)
	if op.Has("project") {
		state := stateFor(op)
		if op.ID == "resumeProject" {
			state = "suspended"
		}
		o = w.project(state)
	}
	secret, session := w.env.Session(t, typist.ID)
	body := w.body(op)
	switch op.ID {
	case "signUp":
		body = map[string]any{"email": "signed-up@example.dev", "password": typed}
	case "changePassword":
		body = map[string]any{"current_password": typed, "new_password": "another " + typed}
	}
	for param, value := range restorable[op.ID] {
		o = o.with(param, value)
	}
	actor, with := "user:"+typist.ID.String(), session.ID
	if op.Access == "open" {
		secret, actor, with = "", "user:", [16]byte{}
	}
	w.refusesStranger(op, o, body)
	before := w.env.Audited(t, audit.OutcomeDone, "")
	answer := w.replica.As(t, secret).Do(op.Method, op.At(o), body, "Idempotency-Key", "once-"+op.ID)
	if answer.Status != op.Success {
		t.Errorf("%s: %d: %s", op.ID, answer.Status, answer.Body)
		return nil
	}
	left := w.env.Audited(t, audit.OutcomeDone, before[len(before)-1].ID.String())
	if len(left) != 1 {
		t.Errorf("%s left %d entries: %+v", op.ID, len(left), left)
		return nil
	}
	entry := left[0]
	if entry.Action != api.ActOf(op.Method, op.ID) || entry.Action == audit.APIChange || !strings.HasPrefix(entry.Actor, actor) ||
		entry.Session != with || entry.RequestID != answer.Header.Get("X-Request-Id") || entry.RemoteIP != "127.0.0.1" ||
		entry.UserAgent == "" || entry.Object == "" || op.Has("project") && entry.Project.String() != o["project"] {
		t.Errorf("%s left %+v", op.ID, entry)
	}
	if op.Spec.Parameters.GetByInAndName("header", "Idempotency-Key") != nil {
		w.replica.As(t, secret).Want(op.Success, op.Method, op.At(o), body, "Idempotency-Key", "once-"+op.ID)
		if again := w.env.Audited(t, audit.OutcomeDone, entry.ID.String()); len(again) != 0 {
			t.Errorf("the repetition of %s left %+v", op.ID, again)
		}
	}
	return secretsIn(answer)
}

// refusesStranger fails the test if an operation that is refused leaves an entry of something done.
func (w *world) refusesStranger(op apitest.Operation, o object, body any) {
	w.t.Helper()
	if op.Access == "open" || op.Access == "caller" || op.Access == "claim" { // every user may
		return
	}
	before := len(w.env.Audited(w.t, audit.OutcomeDone, ""))
	answer := w.replica.As(w.t, w.people["user"].Secret).Do(op.Method, op.At(o), body)
	if answer.Status < http.StatusBadRequest {
		w.t.Errorf("%s by a stranger: %d", op.ID, answer.Status)
	}
	if after := len(w.env.Audited(w.t, audit.OutcomeDone, "")); after != before {
		w.t.Errorf("%s, refused, left %d entries", op.ID, after-before)
	}
}

func secretsIn(answer apitest.Answer) []string {
	var created struct{ Secret string }
	_ = json.Unmarshal(answer.Body, &created) // most answers have none
	if created.Secret == "" {
		return nil
	}
	return []string{created.Secret}
}

// TestRefusalsAreNoted: who was refused what, and why; but not challenges to those who sent nothing.
func TestRefusalsAreNoted(t *testing.T) {
	t.Parallel()
	apitest.Each(t, func(t *testing.T, env *apitest.Env) {
		t.Parallel()
		replica := env.Serve(t)
		owner, stranger := env.Person(t, "owner"), env.Person(t, "stranger")
		p := env.Project(t, "demo", owner)
		env.Member(t, p.ID, stranger, rbac.RoleViewer)
		other := env.Project(t, "hidden", owner)
		replica.As(t, "").Want(http.StatusUnauthorized, http.MethodGet, "/me", nil)
		viewer := replica.As(t, stranger.Secret)
		viewer.Want(http.StatusForbidden, http.MethodPost, "/projects/demo/robots", map[string]any{"name": "ci", "actions": []string{"pull"}})
		viewer.Want(http.StatusNotFound, http.MethodGet, "/projects/hidden", nil)
		viewer.Want(http.StatusNotFound, http.MethodGet, "/projects/absent", nil)
		replica.As(t, "").Want(http.StatusUnauthorized, http.MethodPost, "/auth/login", map[string]any{"email": owner.Email, "password": "a wrong password"})

		actor := "user:" + stranger.ID.String()
		robot := env.AwaitRefusal(t, func(r audit.Record) bool { return r.Action == audit.RobotCreate })
		if robot.Actor != actor || robot.Project != p.ID || !strings.Contains(string(robot.Detail), "role") || robot.RequestID == "" {
			t.Errorf("%+v %s", robot, robot.Detail)
		}
		hidden := env.AwaitRefusal(t, func(r audit.Record) bool { return r.Project == other.ID })
		if hidden.Actor != actor || hidden.Action != audit.APIRead || !strings.Contains(string(hidden.Detail), "getProject") {
			t.Errorf("%+v %s", hidden, hidden.Detail)
		}
		login := env.AwaitRefusal(t, func(r audit.Record) bool { return r.Action == audit.SessionOpen })
		if login.Actor != "anonymous" || login.RemoteIP != "127.0.0.1" || !strings.Contains(string(login.Detail), owner.ID.String()) ||
			strings.Contains(string(login.Detail), "a wrong password") {
			t.Errorf("%+v %s", login, login.Detail)
		}
		if all := env.Audited(t, audit.OutcomeRefused, ""); len(all) != 3 {
			t.Errorf("%d refusals: %+v", len(all), all)
		}
	})
}

// TestAuditLists: a project's list has what is about it and nothing else, filtered and in pages; an export has all of it, the
// oldest first; whoever administers the server sees everything.
func TestAuditLists(t *testing.T) {
	t.Parallel()
	apitest.Each(t, func(t *testing.T, env *apitest.Env) {
		t.Parallel()
		replica := env.Serve(t)
		owner, other := env.Person(t, "owner"), env.Person(t, "other")
		env.Project(t, "other", other)
		p := env.Project(t, "demo", owner)
		for range 5 {
			env.Robot(t, p.ID)
		}
		asOwner := replica.As(t, owner.Secret)
		path, pages, seen := "/projects/demo/audit?limit=2", 0, []string{}
		for ; path != ""; pages++ {
			answer := asOwner.Want(http.StatusOK, http.MethodGet, path, nil)
			for _, item := range answer.Items(t) {
				seen = append(seen, fmt.Sprint(item["id"]))
				if item["project_id"] != p.ID.String() {
					t.Errorf("%v", item)
				}
			}
			path = answer.Next(t, path)
		}
		if len(seen) != 6 || pages != 3 {
			t.Errorf("%d entries on %d pages", len(seen), pages)
		}
		for query, n := range map[string]int{
			"action=robot.create": 5, "action=robot.": 5, "action=project.": 1, "outcome=refused": 0, "outcome=done&limit=3": 3,
			"actor=system": 6, "actor=user:x": 0, "object=" + p.ID.String(): 1, "repository=app": 0,
			"since=2001-01-01T00:00:00Z": 6, "until=2001-01-01T00:00:00Z": 0, "since=2101-01-01T00:00:00Z": 0,
		} {
			if items := asOwner.Want(http.StatusOK, http.MethodGet, "/projects/demo/audit?"+query, nil).Items(t); len(items) != n {
				t.Errorf("%s: %d entries, want %d", query, len(items), n)
			}
		}
		for _, query := range []string{"action=x", "outcome=maybe", "actor=%00", "object=%FF", "since=now", "cursor=eA", "limit=0"} {
			asOwner.Want(http.StatusUnprocessableEntity, http.MethodGet, "/projects/demo/audit?"+query, nil)
		}
		lines := exported(t, asOwner, "/projects/demo/audit/export")
		if len(lines) != len(seen) || lines[0]["id"] != seen[len(seen)-1] || lines[0]["action"] != audit.ProjectCreate {
			t.Errorf("%d lines, want %d: %v", len(lines), len(seen), lines)
		}
		if own := exported(t, replica.Admin(t), "/admin/audit/export?action=project.create"); len(own) != 2 {
			t.Errorf("%v", own)
		}
		if own := exported(t, replica.Admin(t), "/admin/audit/export?project="+p.ID.String()); len(own) != 6 {
			t.Errorf("%v", own)
		}
		all := replica.Admin(t).Want(http.StatusOK, http.MethodGet, "/admin/audit?limit=200&project="+p.ID.String(), nil).Items(t)
		if len(all) != 6 {
			t.Errorf("%v", all)
		}
	})
}

func exported(t *testing.T, c *apitest.Caller, path string) []map[string]any {
	t.Helper()
	answer := c.Want(http.StatusOK, http.MethodGet, path, nil)
	if kind := answer.Header.Get("Content-Type"); kind != "application/x-ndjson" {
		t.Errorf("content type %q", kind)
	}
	var lines []map[string]any
	for line := range strings.Lines(string(answer.Body)) {
		var entry map[string]any
		apitest.Check(t, json.Unmarshal([]byte(line), &entry))
		lines = append(lines, entry)
	}
	return lines
}
