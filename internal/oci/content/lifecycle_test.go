package content_test

import (
	"errors"
	"fmt"
	"slices"
	"testing"

	"github.com/opencontainers/go-digest"

	"github.com/berthregistry/berth/internal/database"
	"github.com/berthregistry/berth/internal/oci/content"
)

// TestRestoreAgainstPushAndDelete: whatever meets whatever, no deadlock comes up, and what is left is consistent.
func TestRestoreAgainstPushAndDelete(t *testing.T) {
	each(t, func(t *testing.T, w *world) {
		guard, ctx := sharing{w.here.Project}, t.Context()
		other := w.replica()
		layer := w.blob(w.here, "layer")
		m := manifest("manifest", []digest.Digest{layer}, "a", "b")
		for i := range rounds {
			w.show(w.here, layer)
			w.must(w.PutManifest(ctx, w.here, m, guard))
			if i%2 == 0 {
				w.must(w.DeleteManifest(ctx, w.here, m.Digest, "test", guard))
			} else {
				w.must(w.DeleteRepository(ctx, w.here, "test", guard))
			}
			for j, err := range together(
				func() error { return discarded(w.RestoreManifest(ctx, w.here, m.Digest, "test", guard)) },
				func() error { return discarded(other.RestoreManifest(ctx, w.here, m.Digest, "test", guard)) },
				func() error { return discarded(other.RestoreRepository(ctx, w.here, "test", guard)) },
				func() error { return w.RestoreTag(ctx, w.here, "a", "test", guard) },
				func() error { return w.MoveTagBack(ctx, w.here, "b", m.Digest, "test", guard) },
				func() error { return other.DeleteManifest(ctx, w.here, m.Digest, "test", guard) },
				func() error { return other.DeleteRepository(ctx, w.here, "test", guard) },
				func() error { return w.PutManifest(ctx, w.here, m, guard) },
				func() error { return w.DeleteBlob(ctx, w.here, layer, guard) },
			) {
				if !expected(err) && !errors.Is(err, content.ErrNotEarlier) {
					t.Errorf("round %d, %d: %v", i, j, err)
				}
			}
			w.consistent(i)
		}
	})
}

func discarded(_ content.Restored, err error) error { return err }

// TestTwoRestoresOfOne: one of them restores it.
func TestTwoRestoresOfOne(t *testing.T) {
	each(t, func(t *testing.T, w *world) {
		guard, other := sharing{w.here.Project}, w.replica()
		m := manifest("manifest", []digest.Digest{w.blob(w.here, "layer")}, "latest")
		for i := range rounds {
			w.must(w.PutManifest(t.Context(), w.here, m, guard))
			w.must(w.DeleteManifest(t.Context(), w.here, m.Digest, "test", guard))
			errs := together(
				func() error { return discarded(w.RestoreManifest(t.Context(), w.here, m.Digest, "test", guard)) },
				func() error { return discarded(other.RestoreManifest(t.Context(), w.here, m.Digest, "test", guard)) },
			)
			if (errs[0] == nil) == (errs[1] == nil) || notFound(errors.Join(errs...)) != nil {
				t.Errorf("round %d: %v", i, errs)
			}
			if _, err := w.ManifestByTag(t.Context(), w.here, "latest", false); err != nil {
				t.Errorf("round %d: %v", i, err)
			}
			w.consistent(i)
		}
	})
}

// TestRuleAgainstMoves: when the rule is answered, no tag that it is about moves or goes any more, whatever was under way.
func TestRuleAgainstMoves(t *testing.T) {
	each(t, func(t *testing.T, w *world) {
		guard, ctx, other := sharing{w.here.Project}, t.Context(), w.replica()
		for i := range rounds {
			tag := fmt.Sprintf("v%d", i)
			first, second := manifest(name("first", i), nil, tag), manifest(name("second", i), nil, tag)
			w.must(w.PutManifest(ctx, w.here, first, guard))
			var after digest.Digest // what the tag named when the rule was answered
			errs := together(
				func() error {
					_, err := other.CreateTagRule(ctx, w.here.Project, content.TagRule{Repositories: "**", Tags: tag, CreatedBy: "test"}, guard)
					if err != nil {
						return err
					}
					m, err := other.ManifestByTag(ctx, w.here, tag, false)
					after = m.Digest
					return notFound(err)
				},
				func() error { return w.PutManifest(ctx, w.here, second, guard) },
				func() error { return w.DeleteTag(ctx, w.here, tag, "test", guard) },
				func() error { return w.DeleteManifest(ctx, w.here, first.Digest, "test", guard) },
				func() error { return w.DeleteRepository(ctx, w.here, "test", guard) },
			)
			for j, err := range errs {
				if !expected(err) && !errors.Is(err, content.ErrImmutable) {
					t.Errorf("round %d, %d: %v", i, j, err)
				}
			}
			m, err := w.ManifestByTag(ctx, w.here, tag, false)
			w.must(notFound(err))
			if after != "" && m.Digest != after {
				t.Errorf("round %d: the tag named %q after the rule, and names %q", i, after, m.Digest)
			}
			w.consistent(i)
			w.exec(`DELETE FROM tag_rules`)
		}
	})
}

// TestFirstPushesOfAnImmutableTag: of several at once, one names it.
func TestFirstPushesOfAnImmutableTag(t *testing.T) {
	each(t, func(t *testing.T, w *world) {
		guard, ctx := sharing{w.here.Project}, t.Context()
		_, err := w.CreateTagRule(ctx, w.here.Project, content.TagRule{Repositories: "he*", Tags: "v*", CreatedBy: "test"}, guard)
		w.must(err)
		for i := range rounds {
			var pushes []func() error
			for j := range 4 {
				m := manifest(fmt.Sprintf("manifest %d of round %d", j, i), nil, fmt.Sprintf("v%d", i), "free")
				pushes = append(pushes, func() error { return w.PutManifest(ctx, w.here, m, guard) })
			}
			errs := together(pushes...)
			refused := slices.DeleteFunc(slices.Clone(errs), func(err error) bool { return err == nil })
			var immutable *content.ImmutableError
			if len(refused) != 3 || !errors.As(refused[0], &immutable) || immutable.Tag != fmt.Sprintf("v%d", i) {
				t.Errorf("round %d: %v", i, errs)
			}
			w.consistent(i)
		}
	})
}

// TestTrashInPages: every deleted thing is listed once, in pages of any size, unless it comes back with another.
func TestTrashInPages(t *testing.T) {
	each(t, func(t *testing.T, w *world) {
		guard, ctx := sharing{w.here.Project}, t.Context()
		for i := range 3 {
			w.must(w.PutManifest(ctx, w.here, manifest(name("gone", i), nil, fmt.Sprintf("with-%d", i)), guard))
			w.must(w.DeleteManifest(ctx, w.here, manifest(name("gone", i), nil).Digest, "test", guard))
			w.must(w.PutManifest(ctx, w.here, manifest("stays", nil, fmt.Sprintf("tag-%d", i)), guard))
			w.must(w.DeleteTag(ctx, w.here, fmt.Sprintf("tag-%d", i), "test", guard))
			gone := content.Place{Project: w.here.Project, Path: fmt.Sprintf("gone/%d", i)}
			w.must(w.PutManifest(ctx, gone, manifest("within", nil, "within"), guard))
			w.must(w.DeleteRepository(ctx, gone, "test", guard))
		}
		for size := 1; size <= 10; size++ {
			var kinds []string
			for after, more := "", true; more; {
				page, err := w.Trash(ctx, w.here.Project, database.Page{After: after, Limit: size})
				w.must(err)
				for _, item := range page {
					kinds = append(kinds, item.Kind)
					if after >= item.Key() || (item.Kind == content.KindManifest) != (len(item.Tags) == 1) {
						t.Errorf("%+v after %q", item, after)
					}
					after = item.Key()
				}
				more = len(page) > 0
			}
			want := slices.Concat(slices.Repeat([]string{content.KindManifest}, 3),
				slices.Repeat([]string{content.KindRepository}, 3), slices.Repeat([]string{content.KindTag}, 3))
			if !slices.Equal(kinds, want) {
				t.Errorf("pages of %d: %q", size, kinds)
			}
		}
	})
}
