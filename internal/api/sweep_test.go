package api_test

import (
	"crypto/sha256"
	"encoding/hex"
	"net/http"
	"strings"
	"testing"

	"github.com/google/uuid"

	"github.com/berthregistry/berth/internal/api/apitest"
)

func digest(text string) string {
	sum := sha256.Sum256([]byte(text))
	return hex.EncodeToString(sum[:])
}

// TestThreat13EveryOperationForEveryCaller asks for every operation of the contract as every kind of caller, about
// projects in every state. The status is that of the table of rights, and what is refused changes nothing.
func TestThreat13EveryOperationForEveryCaller(t *testing.T) {
	t.Parallel()
	apitest.Each(t, func(t *testing.T, env *apitest.Env) {
		t.Parallel()
		w := newWorld(t, env)
		shared := w.objects("owner")
		w.refusals(shared)
		for _, op := range apitest.Operations(t) {
			for _, state := range statesOf(op) {
				w.permissions(op, state, shared[state])
			}
		}
	})
}

// statesOf are those of the projects to try an operation on; "" stands for no project.
func statesOf(op apitest.Operation) []string {
	if op.Has("project") {
		return states
	}
	return []string{""}
}

// objects are projects by state and, without one, somebody's things.
func (w *world) objects(user string) map[string]object {
	w.t.Helper()
	objects := map[string]object{"": w.ownedBy(w.people[user])}
	for _, state := range states {
		objects[state] = w.project(state)
	}
	return objects
}

// refusals tries all that is to be refused.
func (w *world) refusals(objects map[string]object) {
	w.t.Helper()
	for _, op := range apitest.Operations(w.t) {
		w.unchanged(op.ID, func() {
			for _, state := range statesOf(op) {
				w.refused(op, state, objects[state])
			}
		})
	}
}

func (w *world) refused(op apitest.Operation, state string, o object) {
	w.t.Helper()
	for name, status := range machines {
		if op.Access != "open" {
			w.expect(status, name, w.secrets[name], op, state, o)
		}
	}
	for _, user := range users {
		if verdict := right(w.t, op, state, user); verdict != ok {
			w.expect(statusFor(op, verdict), user, w.people[user].Secret, op, state, o)
		}
	}
}

// permissions tries what is to be done. What changes something gets things of its own for each try.
func (w *world) permissions(op apitest.Operation, state string, shared object) {
	w.t.Helper()
	about := func(user string) object {
		switch {
		case op.Method == http.MethodGet && op.Has("project"):
			return shared
		case op.Has("project"):
			return w.project(state)
		}
		return w.ownedBy(w.people[user])
	}
	for _, user := range users {
		if right(w.t, op, state, user) != ok {
			continue
		}
		p := w.people[user]
		w.expect(statusFor(op, ok), user, p.Secret, op, state, about(user))
		if user == "owner" || user == "admin" {
			session, _ := w.env.Session(w.t, p.ID)
			w.expect(statusFor(op, ok), user+" in a session", session, op, state, about(user))
		}
	}
	if op.Access == "open" {
		w.expect(statusFor(op, ok), "nobody", "", op, state, shared)
	}
}

func (w *world) expect(status int, who, secret string, op apitest.Operation, state string, o object) apitest.Answer {
	w.t.Helper()
	answer := w.send(secret, op, o)
	if answer.Status != status {
		w.t.Errorf("%s by %s, %s: %d, want %d: %s", op.ID, who, state, answer.Status, status, answer.Body)
	}
	if challenge := answer.Header.Get("WWW-Authenticate"); (status == http.StatusUnauthorized) != (challenge == `Bearer realm="berth"`) {
		w.t.Errorf("%s by %s, %s: challenge %q", op.ID, who, state, challenge)
	}
	return answer
}

// TestThreat13ForeignProjectsLookAbsent compares, for every operation on a project and every user without a role in it, a
// project of others with ones that do not exist.
func TestThreat13ForeignProjectsLookAbsent(t *testing.T) {
	t.Parallel()
	apitest.Each(t, func(t *testing.T, env *apitest.Env) {
		t.Parallel()
		w := newWorld(t, env)
		p := env.Project(t, "foreign", w.stranger)
		foreign := w.filled(p.ID)
		names := []string{
			"foreign", uuid.NewString(), "absent", "Not-A-Slug", "a", "a..b", strings.ToUpper(p.ID.String()), "foreign%00", "foreign%2Fapp",
			strings.Repeat("a", 65), "%F0%9F%92%A9", "01a1fa3a-2828-77d9-8bdf-bef6a32412f",
		}
		w.unchanged("foreign", func() {
			for _, op := range apitest.Operations(t) {
				if op.Has("project") {
					w.compare(op, foreign, "project", names, "user", "owner")
				}
			}
		})
	})
}

// compare fails the test unless an operation on an object is answered, byte for byte, as with other values of a parameter.
func (w *world) compare(op apitest.Operation, o object, param string, values []string, who ...string) {
	w.t.Helper()
	for _, user := range who {
		secret := w.people[user].Secret
		first := w.send(secret, op, o)
		want := http.StatusNotFound
		if strings.HasPrefix(op.Access, "admin") && user != "admin" {
			want = http.StatusForbidden
		}
		if first.Status != want {
			w.t.Errorf("%s by %s with %s: %d, want %d", op.ID, user, o[param], first.Status, want)
		}
		for _, value := range values {
			if other := w.send(secret, op, o.with(param, value)); other.Stable() != first.Stable() {
				w.t.Errorf("%s by %s: %s %q is answered otherwise than %q:\n%s\n%s",
					op.ID, user, param, value, o[param], other.Stable(), first.Stable())
			}
		}
	}
}

// notIDs are values that no identifier has.
func notIDs() []string {
	return []string{uuid.NewString(), uuid.Nil.String(), "x", "{" + uuid.NewString() + "}", "%00", "1%20OR%201=1"}
}

// TestThreat13ForeignThingsLookAbsent tries what belongs to others below what is the caller's own.
func TestThreat13ForeignThingsLookAbsent(t *testing.T) {
	t.Parallel()
	apitest.Each(t, func(t *testing.T, env *apitest.Env) {
		t.Parallel()
		w := newWorld(t, env)
		own, foreign := w.project("private"), w.filled(env.Project(t, "foreign", w.stranger).ID)
		ofStranger := w.ownedBy(w.stranger)
		bystander := env.Person(t, "bystander").ID.String() // no member
		w.unchanged("foreign things", func() {
			for _, op := range apitest.Operations(t) {
				switch {
				case op.Has("robot"):
					w.compare(op, own.with("robot", foreign["robot"]), "robot", append(notIDs(), own["runner"]), "owner", "admin")
				case op.Has("runner") && op.Has("project"):
					w.compare(op, own.with("runner", foreign["runner"]), "runner", append(notIDs(), own["robot"]), "owner", "admin")
				case op.Has("tag_rule"):
					w.compare(op, own.with("tag_rule", foreign["tag_rule"]), "tag_rule", append(notIDs(), own["retention_rule"]), "owner", "admin")
				case op.Has("retention_rule"):
					w.compare(op, own.with("retention_rule", foreign["retention_rule"]), "retention_rule", append(notIDs(), own["tag_rule"]), "owner", "admin")
				case op.Has("delivery"):
					w.compare(op, own.with("delivery", foreign["delivery"]), "delivery", append(notIDs(), own["webhook"]), "owner", "admin")
					w.compare(op, foreign.with("project", own["project"]), "webhook", append(notIDs(), own["robot"]), "owner", "admin")
				case op.Has("webhook"):
					w.compare(op, own.with("webhook", foreign["webhook"]), "webhook", append(notIDs(), own["delivery"]), "owner", "admin")
				case op.Has("user") && op.Has("project"):
					w.compare(op, own.with("user", bystander), "user", notIDs(), "owner", "admin")
				case op.Has("path"):
					w.compare(op, own.with("path", "absent"), "path", []string{"App", "..", "%2F", "_", strings.Repeat("a", 300), "%FF", "%00"}, "owner")
				case op.Has("token"), op.Has("session"):
					param := op.Params[0]
					w.compare(op, ofStranger, param, append(notIDs(), ofStranger["runner"], own["robot"]), "owner", "admin")
				case op.Access == "admin" && len(op.Params) == 1 && !op.Has("project"):
					param := op.Params[0]
					w.compare(op, object{param: uuid.NewString()}, param, append(notIDs(), own["runner"], own["robot"], own["project"]), "admin")
				}
			}
		})
	})
}
