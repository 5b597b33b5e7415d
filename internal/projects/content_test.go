package projects

import (
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/berthregistry/berth/internal/database"
	"github.com/berthregistry/berth/internal/oci/content"
)

// index stores an index of manifests, each for a platform.
func (r registry) index(path string, children map[digest.Digest]*ocispec.Platform, padding int, tags ...string) (digest.Digest, int64) {
	r.f.t.Helper()
	idx := ocispec.Index{MediaType: ocispec.MediaTypeImageIndex, Annotations: map[string]string{"padding": string(make([]byte, padding))}}
	m := content.NewManifest{MediaType: ocispec.MediaTypeImageIndex, ArtifactType: "application/x", Tags: tags, Actor: "user:1"}
	for d, p := range children {
		idx.Manifests = append(idx.Manifests, ocispec.Descriptor{MediaType: ocispec.MediaTypeImageManifest, Digest: d, Platform: p})
		m.Children = append(m.Children, d)
		if p != nil {
			name := strings.TrimSuffix(p.OS+"/"+p.Architecture+"/"+p.Variant, "/")
			m.Platforms = append(m.Platforms, content.Platform{Child: d, Name: name})
		}
	}
	slices.SortFunc(m.Platforms, func(a, b content.Platform) int { return cmpStrings(a.Child.String(), b.Child.String()) })
	slices.SortFunc(idx.Manifests, func(a, b ocispec.Descriptor) int {
		if a.Digest < b.Digest {
			return -1
		}
		return 1
	})
	text, err := json.Marshal(idx)
	r.f.must(err)
	m.Content, m.Digest = text, digest.FromBytes(text)
	r.f.must(r.PutManifest(r.f.t.Context(), r.place(path), m, free{}))
	return m.Digest, int64(len(text))
}

var (
	amd64 = &ocispec.Platform{OS: "linux", Architecture: "amd64"}
	arm   = &ocispec.Platform{OS: "linux", Architecture: "arm", Variant: "v7"}
	none  = &ocispec.Platform{OS: "unknown", Architecture: "unknown"}
)

func TestTagsAndManifestsWithSizesAndPlatforms(t *testing.T) {
	each(t, func(t *testing.T, f *fixture) {
		ctx, p := t.Context(), f.ensure("demo", f.user())
		r := f.registry(p)
		elsewhere := f.registry(f.ensure("elsewhere", f.user()))
		elsewhere.blob("web", "shared", 1000)
		elsewhere.push("web", "1", nil, "a")
		shared, one := r.blob("web", "shared", 1000), r.blob("web", "one", 100)
		first := r.push("web", "1", []digest.Digest{shared, one}, "b-single")
		second := r.push("web", "22", []digest.Digest{shared})
		attestation := r.push("web", "333", nil)
		missing := digest.FromString("not there")
		f.clock.advance(time.Second)
		all3 := map[digest.Digest]*ocispec.Platform{first: amd64, second: arm, attestation: none, missing: nil}
		idx, length := r.index("web", all3, 0, "a-multi", "c-multi")
		nested, nestedLength := r.index("web", map[digest.Digest]*ocispec.Platform{idx: nil}, 0, "d-nested")

		const multi = 1 + 1000 + 100 + 2 + 1000 + 3
		single := Manifest{
			Digest: first.String(), MediaType: "application/json", Tags: []string{"b-single"}, Platforms: []string{"linux/amd64"}, Size: 1101,
			PushedBy: "robot:1", PushedAt: f.clock.Now().Add(-time.Second),
		}
		index := Manifest{
			Digest: idx.String(), MediaType: ocispec.MediaTypeImageIndex, ArtifactType: "application/x", Size: multi + length,
			Tags:     []string{"a-multi", "c-multi"},
			PushedBy: "user:1", PushedAt: f.clock.Now(), Platforms: []string{"linux/amd64", "linux/arm/v7"},
		}
		if second < first {
			index.Platforms = []string{"linux/arm/v7", "linux/amd64"}
		}
		outer := Manifest{
			Digest: nested.String(), MediaType: ocispec.MediaTypeImageIndex, ArtifactType: "application/x",
			Size: multi + length + nestedLength, PushedBy: "user:1", PushedAt: f.clock.Now(), Tags: []string{"d-nested"}, Platforms: []string{},
		}
		tag := func(name string, m Manifest) Tag {
			return Tag{Name: name, Manifest: m, PushedBy: m.PushedBy, CreatedAt: m.PushedAt, PushedAt: m.PushedAt}
		}
		want := []Tag{tag("a-multi", index), tag("b-single", single), tag("c-multi", index), tag("d-nested", outer)}
		tags := all(t, func(page database.Page) ([]Tag, error) { return f.Tags(ctx, p.ID, "web", page) }, func(t Tag) string { return t.Name })
		if diff := cmp.Diff(want, tags); diff != "" {
			t.Errorf("tags (-want +got):\n%s", diff)
		}
		manifests := all(t, func(page database.Page) ([]Manifest, error) { return f.Manifests(ctx, p.ID, "web", page) },
			func(m Manifest) string { return m.Digest })
		byDigest := map[string]Manifest{}
		for _, m := range manifests {
			byDigest[m.Digest] = m
		}
		if len(manifests) != 5 || !slices.IsSortedFunc(manifests, func(a, b Manifest) int { return cmpStrings(a.Digest, b.Digest) }) {
			t.Errorf("%+v", manifests)
		}
		for _, m := range []Manifest{single, index, outer} {
			if diff := cmp.Diff(m, byDigest[m.Digest]); diff != "" {
				t.Errorf("manifests (-want +got):\n%s", diff)
			}
		}
		if got := byDigest[second.String()]; !slices.Equal(got.Platforms, []string{"linux/arm/v7"}) || got.Size != 1002 {
			t.Errorf("%+v", got)
		}
		if got := byDigest[attestation.String()]; len(got.Platforms) > 0 || got.Size != 3 {
			t.Errorf("%+v", got)
		}

		// What is deleted is not listed; what an index holds is told as of its push.
		f.must(r.DeleteManifest(ctx, r.place("web"), first, "test", free{}))
		tags, err := f.Tags(ctx, p.ID, "web", database.Page{Limit: 10})
		if err != nil || len(tags) != 3 || tags[0].Manifest.Size != index.Size {
			t.Errorf("%+v, %v", tags, err)
		}
		f.must(r.DeleteManifest(ctx, r.place("web"), idx, "test", free{}))
		manifests, err = f.Manifests(ctx, p.ID, "web", database.Page{Limit: 10})
		if err != nil || len(manifests) != 3 {
			t.Errorf("%+v, %v", manifests, err)
		}
		for _, m := range manifests {
			if len(m.Platforms) > 0 {
				t.Errorf("an index that is gone tells a platform: %+v", m)
			}
		}
	})
}

func cmpStrings(a, b string) int {
	if a < b {
		return -1
	}
	return 1
}

// TestAPageOfLargeSparseIndexes: what a list costs does not depend on how many manifests its indexes name.
func TestAPageOfLargeSparseIndexes(t *testing.T) {
	each(t, func(t *testing.T, f *fixture) {
		p := f.ensure("demo", f.user())
		r := f.registry(p)
		child := r.push("", "1", nil)
		const indexes, missing = 3, 3000
		for i := range indexes {
			children := map[digest.Digest]*ocispec.Platform{child: amd64}
			for j := range missing {
				children[digest.FromString(fmt.Sprint(i, j))] = &ocispec.Platform{OS: "linux", Architecture: fmt.Sprintf("a%d", j%100)}
			}
			r.index("", children, 0, fmt.Sprint("large-", i))
		}
		manifests, err := f.Manifests(t.Context(), p.ID, "", database.Page{Limit: 10})
		f.must(err)
		if len(manifests) != indexes+1 {
			t.Fatalf("%d manifests", len(manifests))
		}
		for _, m := range manifests {
			switch {
			case m.Digest == child.String():
				if !slices.Equal(m.Platforms, []string{"linux/amd64"}) && len(m.Platforms) != 0 { // it may be past the first 64
					t.Errorf("%+v", m)
				}
			case len(m.Platforms) != 64 || m.Size < missing*64:
				t.Errorf("%d platforms, %d bytes", len(m.Platforms), m.Size)
			}
		}
		if n := f.count(rowsRead, p.ID); n != indexes*(missing+1) {
			t.Errorf("%d children are written down", n)
		}
	})
}

var rowsRead = database.SQL(`
	SELECT count(*) FROM repositories r JOIN manifest_children c ON c.repository_id = r.id WHERE r.project_id = $1`)

// TestWhatWasPushedBeforeIsMeasured: manifests of versions that did not measure at the push get the same figures.
func TestWhatWasPushedBeforeIsMeasured(t *testing.T) {
	each(t, func(t *testing.T, f *fixture) {
		p := f.ensure("demo", f.user())
		r := f.registry(p)
		layer := r.blob("", "layer", 1000)
		one, two := r.push("", "1", []digest.Digest{layer}), r.push("", "22", nil)
		idx, _ := r.index("", map[digest.Digest]*ocispec.Platform{one: amd64, two: arm}, 0, "index")
		r.index("", map[digest.Digest]*ocispec.Platform{idx: nil}, 0, "nested")
		page := database.Page{Limit: 10}
		want, err := f.Manifests(t.Context(), p.ID, "", page)
		f.must(err)
		f.exec(unmeasure)
		f.exec(unplace)
		f.must(r.Measurer().Measure(t.Context()))
		got, err := f.Manifests(t.Context(), p.ID, "", page)
		f.must(err)
		if diff := cmp.Diff(want, got); diff != "" || len(got) != 4 {
			t.Errorf("-want +got:\n%s", diff)
		}
	})
}

var (
	unmeasure = database.SQL(`UPDATE manifests SET total_size = NULL, platforms = ''`)
	unplace   = database.SQL(`UPDATE manifest_children SET platform = ''`)
)

func TestRepositories(t *testing.T) {
	each(t, func(t *testing.T, f *fixture) {
		ctx, p := t.Context(), f.ensure("demo", f.user())
		r := f.registry(p)
		created := f.clock.Now()
		for _, path := range []string{"", "a", "a/b", "b", "c"} {
			layer := r.blob(path, "layer "+path, 10)
			r.push(path, "1", []digest.Digest{layer}, "v1", "v2")
		}
		f.exec(hideRepository, p.ID, "b")
		f.clock.advance(time.Second)
		r.push("c", "1", nil, "v2", "v3") // an old manifest gets a new tag
		f.exec(pulled, p.ID, "c", database.ToMicros(f.clock.Now()))
		got := all(t, func(page database.Page) ([]Repository, error) { return f.Repositories(ctx, p.ID, page) }, Repository.Key)
		want := []Repository{{Path: ""}, {Path: "a"}, {Path: "a/b"}, {Path: "c"}}
		for i := range want {
			w := &want[i]
			w.Tags, w.Manifests, w.Bytes, w.CreatedAt, w.PushedAt = 2, 1, 11, created, created
		}
		want[3].Tags, want[3].PushedAt, want[3].PulledAt = 3, f.clock.Now(), f.clock.Now()
		for i := range got {
			one, err := f.Repository(ctx, p.ID, got[i].Path)
			if err != nil || one != got[i] {
				t.Errorf("%+v, %v; want %+v", one, err, got[i])
			}
			got[i].ID = [16]byte{}
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("-want +got:\n%s", diff)
		}
		if next, err := f.Repositories(ctx, p.ID, database.Page{After: "a", Limit: 1}); err != nil || len(next) != 1 || next[0].Path != "a/b" {
			t.Errorf("after a path: %+v, %v", next, err)
		}
	})
}

var (
	hideRepository = database.SQL(`UPDATE repositories SET deleted_at = 1 WHERE project_id = $1 AND path = $2`)
	pulled         = database.SQL(`UPDATE repositories SET last_pulled_at = $3 WHERE project_id = $1 AND path = $2`)
)

func TestContentOfNoRepository(t *testing.T) {
	each(t, func(t *testing.T, f *fixture) {
		ctx, p, page := t.Context(), f.ensure("demo", f.user()), database.Page{Limit: 10}
		r := f.registry(p)
		r.blob("empty", "layer", 10)
		r.push("gone", "1", nil, "v1")
		f.exec(hideRepository, p.ID, "gone")
		if tags, err := f.Tags(ctx, p.ID, "empty", page); err != nil || tags == nil || len(tags) != 0 {
			t.Errorf("%v, %v", tags, err)
		}
		if manifests, err := f.Manifests(ctx, p.ID, "empty", page); err != nil || manifests == nil || len(manifests) != 0 {
			t.Errorf("%v, %v", manifests, err)
		}
		for _, path := range []string{"gone", "never", ""} {
			_, tags := f.Tags(ctx, p.ID, path, page)
			_, manifests := f.Manifests(ctx, p.ID, path, page)
			_, repository := f.Repository(ctx, p.ID, path)
			for _, err := range []error{tags, manifests, repository} {
				if !errors.Is(err, ErrNoRepository) {
					t.Errorf("%q: %v", path, err)
				}
			}
		}
	})
}
