package api_test

import (
	"encoding/json"
	"fmt"
	"maps"
	"net/http"
	"slices"
	"strings"
	"testing"

	"github.com/getkin/kin-openapi/openapi3"

	"github.com/berthregistry/berth/internal/api/apitest"
)

// marker is in every bad body: it must get neither into the log nor into the database.
const marker = "hunter2-"

// badBody is one that an operation must refuse.
type badBody struct {
	name    string
	body    any
	headers []string
	status  int
	pointer string // what is wrong; "" for the body as a whole
}

// TestBadBodies sends every kind of bad body to every operation that takes one, as a caller who may do all: the answer
// points at what is wrong, nothing is done, and nothing of it is logged.
func TestBadBodies(t *testing.T) {
	t.Parallel()
	apitest.Each(t, func(t *testing.T, env *apitest.Env) {
		t.Parallel()
		w := newWorld(t, env)
		objects := w.objects("admin")
		for _, op := range apitest.Operations(t) {
			if op.Spec.RequestBody == nil {
				continue
			}
			w.unchanged(op.ID, func() {
				for _, bad := range w.badBodies(op) {
					answer := w.replica.Admin(t).Do(op.Method, op.At(objects[stateFor(op)]), bad.body, bad.headers...)
					if answer.Status != bad.status || !pointsAt(answer, bad.pointer) {
						t.Errorf("%s, %s: %d, want %d pointing at %q: %s", op.ID, bad.name, answer.Status, bad.status, bad.pointer, answer.Body)
					}
				}
			})
		}
		w.expectUnseen(marker)
	})
}

// pointsAt tells whether an answer points at a field, or at something in it.
func pointsAt(answer apitest.Answer, pointer string) bool {
	return pointer == "" || slices.ContainsFunc(answer.Pointers(), func(p string) bool {
		return p == pointer || strings.HasPrefix(p, pointer+"/")
	})
}

// stateFor is the state of a project in which an admin may do an operation.
func stateFor(op apitest.Operation) string {
	switch {
	case !op.Has("project"):
		return ""
	case op.Access == "claim":
		return "unclaimed"
	case op.Access == "restore":
		return "deleted"
	}
	return "private"
}

// expectUnseen fails the test if a text is in the log or in the database.
func (w *world) expectUnseen(texts ...string) {
	w.t.Helper()
	logged, stored := w.env.Log.String(), w.env.Dump(w.t)
	if !strings.Contains(logged, "msg=request") {
		w.t.Error("requests are not logged")
	}
	for _, text := range texts {
		for where, content := range map[string]string{"log": logged, "database": stored} {
			if i := strings.Index(content, text); i >= 0 {
				w.t.Errorf("%q is in the %s: ...%s", text, where, content[max(0, i-300):min(len(content), i+100)])
			}
		}
	}
}

func (w *world) badBodies(op apitest.Operation) []badBody {
	w.t.Helper()
	object := fmt.Sprintf(`{%q: %q}`, marker+"name", marker+"value")
	bad := []badBody{
		{name: "none", status: http.StatusBadRequest},
		{name: "empty", body: "", status: http.StatusBadRequest},
		{name: "no JSON", body: marker, status: http.StatusBadRequest},
		{name: "cut off", body: object[:len(object)-2], status: http.StatusBadRequest},
		{name: "null", body: "null", status: http.StatusUnprocessableEntity},
		{name: "an array", body: `["` + marker + `"]`, status: http.StatusUnprocessableEntity},
		{name: "a text", body: `"` + marker + `"`, status: http.StatusUnprocessableEntity},
		{name: "a form", body: "name=" + marker, headers: []string{"Content-Type", "application/x-www-form-urlencoded"}, status: http.StatusUnsupportedMediaType},
		{name: "no type", body: object, headers: []string{"Content-Type", ""}, status: http.StatusUnsupportedMediaType},
		{name: "another type", body: object, headers: []string{"Content-Type", "text/plain"}, status: http.StatusUnsupportedMediaType},
		{name: "huge", body: `{"` + marker + `": "` + strings.Repeat("x", 200<<10) + `"}`, status: http.StatusRequestEntityTooLarge},
		{name: "deep", body: strings.Repeat(`[`, 60_000) + strings.Repeat(`]`, 60_000), status: http.StatusBadRequest},
	}
	good, _ := w.body(op).(map[string]any)
	once, err := json.Marshal(good)
	apitest.Check(w.t, err)
	bad = append(bad, badBody{name: "twice", body: string(once) + " " + string(once), status: http.StatusBadRequest})
	unknown := maps.Clone(good)
	unknown["nonsense"] = marker
	bad = append(bad, badBody{"an unknown field", unknown, nil, http.StatusUnprocessableEntity, "/nonsense"})
	schema := op.Spec.RequestBody.Value.Content.Get("application/json").Schema.Value
	for _, name := range schema.Required {
		missing := maps.Clone(good)
		delete(missing, name)
		bad = append(bad, badBody{name + " is missing", missing, nil, http.StatusUnprocessableEntity, "/" + name})
	}
	for name, property := range schema.Properties {
		for what, value := range badValues(property.Value) {
			wrong := maps.Clone(good)
			wrong[name] = value
			bad = append(bad, badBody{name + ": " + what, wrong, nil, http.StatusUnprocessableEntity, "/" + name})
		}
	}
	return bad
}

// badValues are some that a property cannot have.
func badValues(schema *openapi3.Schema) map[string]any {
	values := map[string]any{"null": nil, "an object": map[string]any{marker: marker}}
	if !schema.Type.Is("string") {
		values["a text"] = marker
		return values
	}
	values["a number"], values["a list"] = 2, []string{marker}
	if schema.MaxLength != nil {
		values["too long"] = marker + strings.Repeat("x", int(*schema.MaxLength))
	}
	if schema.MinLength > 0 {
		values["too short"] = strings.Repeat("x", int(schema.MinLength)-1)
	}
	if schema.Enum != nil {
		values["another word"] = marker
	}
	if schema.Format == "date-time" {
		values["no time"], values["the past"] = marker, "2001-01-01T00:00:00Z"
	}
	return values
}
