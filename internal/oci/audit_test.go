package oci_test

import (
	"net/http"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/opencontainers/go-digest"
	v1 "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/berthregistry/berth/internal/audit"
	"github.com/berthregistry/berth/internal/database"
	"github.com/berthregistry/berth/internal/oci/ocitest"
)

// audited gives the entries of an environment from the one after an ID on.
func audited(t *testing.T, env *ocitest.Env, f audit.Filter, after string) []audit.Record {
	t.Helper()
	found, err := audit.NewLog(env.DB).Oldest(t.Context(), f, database.Page{After: after, Limit: 1000})
	if err != nil {
		t.Fatal(err)
	}
	return found
}

// TestEveryChangingRequestLeavesOneEntry goes through what changes content: each act leaves one entry, with the tags that it
// moved; uploads and reads leave none.
func TestEveryChangingRequestLeavesOneEntry(t *testing.T) {
	ocitest.Each(t, func(t *testing.T, env *ocitest.Env) {
		c := env.Replica(t, ocitest.Options{}).Client
		last := ""
		acts := func(what string, do func(), want ...string) []audit.Record {
			t.Helper()
			do()
			found := audited(t, env, audit.Filter{}, last)
			names := []string{}
			for _, record := range found {
				names = append(names, record.Action)
				last = record.ID.String()
				if record.Outcome != audit.OutcomeDone || record.RemoteIP != "127.0.0.1" && record.Actor != audit.ActorSystem {
					t.Errorf("%s: %+v", what, record)
				}
			}
			if diff := cmp.Diff(want, names); diff != "" && len(want)+len(names) > 0 {
				t.Errorf("%s: -want +got\n%s", what, diff)
			}
			return found
		}
		acts("the first start", func() {}, audit.UserCreate)
		layer := []byte("a layer")
		created := acts("the first upload to a project", func() { c.Push("demo/app", layer) }, audit.ProjectCreate)
		acts("another blob", func() { c.Push("demo/app", []byte("{}")) })
		first, second := imageOf(t, layer, []byte("{}")), imageOf(t, layer, layer)
		var d1, d2 string
		pushed := acts("a push", func() {
			d1 = c.PutManifest("demo/app", "v1", v1.MediaTypeImageManifest, first).String()
		}, audit.ManifestPush)[0]
		if pushed.Project != created[0].Project || pushed.Repository != "app" || pushed.Object != d1 || !strings.HasPrefix(pushed.Actor, "user:") ||
			pushed.Token == [16]byte{} || !cmp.Equal(pushed.Tags, []audit.TagMove{{Name: "v1", New: d1}}) {
			t.Errorf("%+v", pushed)
		}
		moved := acts("a push of two tags", func() {
			d2 = c.PutManifest("demo/app", "v1?tag=v2", v1.MediaTypeImageManifest, second).String()
		}, audit.ManifestPush)[0]
		slices.SortFunc(moved.Tags, func(a, b audit.TagMove) int { return strings.Compare(a.Name, b.Name) })
		if diff := cmp.Diff([]audit.TagMove{{Name: "v1", Old: d1, New: d2}, {Name: "v2", New: d2}}, moved.Tags); diff != "" {
			t.Error(diff)
		}
		if !strings.Contains(string(moved.Detail), `"tags":["v1","v2"]`) {
			t.Errorf("%s", moved.Detail)
		}
		acts("reads", func() {
			c.Want(http.StatusOK, http.MethodGet, manifestURL("demo/app", "v1"), nil)
			c.Want(http.StatusOK, http.MethodGet, "/v2/demo/app/tags/list", nil)
		})
		untagged := acts("a deleted tag", func() {
			c.Want(http.StatusAccepted, http.MethodDelete, manifestURL("demo/app", "v2"), nil)
		}, audit.TagDelete)[0]
		if diff := cmp.Diff([]audit.TagMove{{Name: "v2", Old: d2}}, untagged.Tags); diff != "" || untagged.Object != "v2" {
			t.Errorf("%+v %s", untagged, diff)
		}
		deleted := acts("a deleted manifest", func() {
			c.Want(http.StatusAccepted, http.MethodDelete, manifestURL("demo/app", d2), nil)
		}, audit.ManifestDelete)[0]
		if diff := cmp.Diff([]audit.TagMove{{Name: "v1", Old: d2}}, deleted.Tags); diff != "" {
			t.Error(diff)
		}
		acts("what is not there", func() {
			c.Want(http.StatusNotFound, http.MethodDelete, manifestURL("demo/app", "v9"), nil)
			c.Want(http.StatusNotFound, http.MethodDelete, manifestURL("demo/app", d2), nil)
		})
		acts("a deleted blob", func() {
			c.Want(http.StatusAccepted, http.MethodDelete, manifestURL("demo/app", d1), nil)
			c.Want(http.StatusAccepted, http.MethodDelete, "/v2/demo/app/blobs/"+digest.FromBytes(layer).String(), nil)
		}, audit.ManifestDelete, audit.BlobDelete)
		nobody := c.Bearer(c.Nobody().Token("repository:nobodys/app:pull,push"))
		anonymous := acts("a push without an account", func() { nobody.Push("nobodys/app", layer) }, audit.ProjectCreate)[0]
		if anonymous.Actor != "anonymous" || strings.Contains(string(anonymous.Detail), "owner") {
			t.Errorf("%+v %s", anonymous, anonymous.Detail)
		}
	})
}

// TestRefusedRequestsAreNoted: what a caller was refused, and why; not challenges, nor tokens whose scope is too narrow.
func TestRefusedRequestsAreNoted(t *testing.T) {
	ocitest.Each(t, func(t *testing.T, env *ocitest.Env) {
		recorder := audit.NewRecorder(audit.RecorderConfig{DB: env.DB, First: 5})
		c := env.Replica(t, ocitest.Options{Audit: recorder}).Client
		c.Image("demo/app", "v1", []byte("a layer"))
		nobody := c.Nobody()
		nobody.Want(http.StatusUnauthorized, http.MethodGet, manifestURL("demo/app", "v1"), nil)
		narrow := c.Bearer(c.Token("repository:demo/app:pull"))
		narrow.Want(http.StatusUnauthorized, http.MethodPut, manifestURL("demo/app", "v1"), []byte("{}"))
		if n := recorder.Stats().Queued; n != 0 {
			t.Errorf("%d refusals of challenges", n)
		}
		stranger := c.Bearer(nobody.Token("repository:demo/app:pull,push"))
		stranger.Want(http.StatusUnauthorized, http.MethodPut, manifestURL("demo/app", "v1"), []byte("{}"))
		c.As("berth_pat_no-such-token").Want(http.StatusUnauthorized, http.MethodDelete, manifestURL("demo/app", "v1"), nil)
		c.As("berth_pat_no-such-token").Want(http.StatusUnauthorized, http.MethodGet, "/auth/token?service=berth-test", nil)
		if err := recorder.Flush(t.Context()); err != nil {
			t.Fatal(err)
		}
		project := audited(t, env, audit.Filter{Action: audit.ProjectCreate}, "")[0].Project
		want := []string{audit.ManifestPush, audit.TagDelete, audit.BearerIssue}
		found := audited(t, env, audit.Filter{Outcome: audit.OutcomeRefused}, "")
		names := []string{}
		for _, record := range found {
			names = append(names, record.Action)
			if record.Action != audit.BearerIssue && (record.Project != project || record.Repository != "app" || record.Object != "v1") ||
				record.Actor != "anonymous" || record.RemoteIP != "127.0.0.1" || strings.Contains(string(record.Detail), "no-such-token") {
				t.Errorf("%+v %s", record, record.Detail)
			}
		}
		if diff := cmp.Diff(want, names); diff != "" {
			t.Error(diff)
		}
	})
}
