package retention

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"
	"pgregory.net/rapid"
)

var noon = time.Date(2030, 1, 2, 12, 0, 0, 0, time.UTC)

// oracle is what Evaluate says, found by asking of each tag and each manifest what the documentation says, however long
// that takes.
type oracle struct {
	rules []Rule
	r     Repository
}

func (o oracle) matches(pattern, text string) bool {
	return pattern == "**" || pattern == text || strings.HasSuffix(pattern, "*") && strings.HasPrefix(text, strings.TrimSuffix(pattern, "*"))
}

func (o oracle) about(rule Rule, t Tag) bool {
	return rule.Enabled && rule.aboutTags() && o.matches(rule.Repositories, o.r.Path) && o.matches(rule.Tags, t.Name) &&
		!t.Immutable && !o.signs(t)
}

func (o oracle) signs(t Tag) bool {
	return slices.ContainsFunc(o.r.Manifests, func(m Manifest) bool {
		form := strings.Replace(m.Digest, ":", "-", 1)
		return t.Name == form || strings.HasPrefix(t.Name, form+".")
	})
}

func (o oracle) manifest(digest string) Manifest {
	for _, m := range o.r.Manifests {
		if m.Digest == digest {
			return m
		}
	}
	return Manifest{}
}

func (o oracle) keeps(rule Rule, t Tag) bool {
	later := 0
	for _, other := range o.r.Tags {
		if o.about(rule, other) && (other.PushedAt.After(t.PushedAt) || other.PushedAt.Equal(t.PushedAt) && other.Name < t.Name) {
			later++
		}
	}
	return int64(later) < rule.KeepLast ||
		rule.KeepPushed > 0 && noon.Sub(t.PushedAt) < rule.KeepPushed ||
		rule.KeepPulled > 0 && (noon.Sub(t.PushedAt) < rule.KeepPulled || noon.Sub(o.manifest(t.Digest).PulledAt) < rule.KeepPulled+pullSlack) ||
		rule.KeepTags != "" && o.matches(rule.KeepTags, t.Name)
}

func (o oracle) tagGoes(t Tag) bool {
	concerned := false
	for _, rule := range o.rules {
		if o.about(rule, t) {
			if concerned = true; o.keeps(rule, t) {
				return false
			}
		}
	}
	return concerned
}

// stays tells whether a manifest stays for a reason of its own, or of what it belongs to.
func (o oracle) stays(m Manifest) bool { return o.staysBut(m, map[string]bool{}) }

// staysBut leaves out those that were asked about already: an index may refer to a manifest of one of its own manifests.
func (o oracle) staysBut(m Manifest, asked map[string]bool) bool {
	if asked[m.Digest] {
		return false
	}
	asked[m.Digest] = true
	untagged := false
	for _, rule := range o.rules {
		if rule.Enabled && rule.UntaggedAfter > 0 && o.matches(rule.Repositories, o.r.Path) {
			untagged = true
			if noon.Sub(m.PushedAt) < rule.UntaggedAfter || rule.KeepPulled > 0 && noon.Sub(m.PulledAt) < rule.KeepPulled+pullSlack {
				return true
			}
		}
	}
	if !untagged || slices.ContainsFunc(o.r.Tags, func(t Tag) bool { return t.Digest == m.Digest && !o.tagGoes(t) }) {
		return true
	}
	for _, other := range o.r.Manifests {
		if (slices.Contains(other.Children, m.Digest) || other.Digest == m.Subject) && o.staysBut(other, asked) {
			return true
		}
	}
	return false
}

func (o oracle) victims() []string {
	var going []string
	for _, t := range o.r.Tags {
		if o.tagGoes(t) {
			going = append(going, "tag "+t.Name)
		}
	}
	for _, m := range o.r.Manifests {
		if !o.stays(m) {
			going = append(going, "manifest "+m.Digest)
		}
	}
	slices.Sort(going)
	return going
}

// drawRepository gives a small repository in which much belongs together. What a manifest names has a smaller number, as with
// digests; belonging together goes both ways, and so in circles.
func drawRepository(t *rapid.T) Repository {
	age := rapid.IntRange(0, 6)
	ago := func(label string) time.Time { return noon.Add(-time.Duration(age.Draw(t, label)) * time.Hour) }
	r := Repository{Path: rapid.SampledFrom([]string{"app", "lib"}).Draw(t, "path")}
	n := rapid.IntRange(1, 8).Draw(t, "manifests")
	for i := range n {
		m := Manifest{Digest: fmt.Sprintf("sha256:%d", i), PushedAt: ago("pushed")}
		if rapid.Bool().Draw(t, "pulled") {
			m.PulledAt = ago("pulled at")
		}
		for j := range i {
			switch rapid.IntRange(0, 5).Draw(t, "belongs") {
			case 0:
				m.Children = append(m.Children, fmt.Sprintf("sha256:%d", j))
			case 1:
				m.Subject = fmt.Sprintf("sha256:%d", j)
			}
		}
		r.Manifests = append(r.Manifests, m)
	}
	names := []string{"v1", "v2", "v3", "pr-1", "pr-2", "latest", "sha256-0", "sha256-1.sig", "sha256-9"}
	for _, name := range rapid.SliceOfDistinct(rapid.SampledFrom(names), rapid.ID[string]).Draw(t, "tags") {
		r.Tags = append(r.Tags, Tag{
			Name: name, Digest: fmt.Sprintf("sha256:%d", rapid.IntRange(0, n-1).Draw(t, "names")), PushedAt: ago("tagged"),
			Immutable: rapid.IntRange(0, 5).Draw(t, "immutable") == 0,
		})
	}
	return r
}

func drawRule(t *rapid.T) Rule {
	hours := rapid.Map(rapid.IntRange(0, 5), func(n int) time.Duration { return time.Duration(n) * time.Hour })
	r := Rule{
		ID: uuid.New(), Repositories: rapid.SampledFrom([]string{"**", "app", "l*"}).Draw(t, "repositories"),
		Tags: rapid.SampledFrom([]string{"**", "v*", "pr-*", "latest"}).Draw(t, "of tags"), Enabled: rapid.IntRange(0, 4).Draw(t, "enabled") > 0,
		KeepLast: rapid.Int64Range(0, 3).Draw(t, "last"), KeepPushed: hours.Draw(t, "keep pushed"), KeepPulled: hours.Draw(t, "keep pulled"),
		KeepTags: rapid.SampledFrom([]string{"", "", "v*", "v2"}).Draw(t, "keep tags"), UntaggedAfter: hours.Draw(t, "untagged"),
	}
	if !r.aboutTags() && r.UntaggedAfter == 0 {
		r.KeepLast = 1
	}
	return r
}

// TestEvaluateIsWhatTheRulesSay compares it with the oracle, and holds what never goes.
func TestEvaluateIsWhatTheRulesSay(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		o := oracle{rules: rapid.SliceOfN(rapid.Custom(drawRule), 0, 3).Draw(t, "rules"), r: drawRepository(t)}
		victims, err := Evaluate(o.rules, o.r, noon)
		if err != nil {
			t.Fatal(err)
		}
		var got []string
		for _, v := range victims {
			if v.Rule == uuid.Nil || v.Reason == "" {
				t.Fatalf("%+v", v)
			}
			if v.Tag != "" {
				got = append(got, "tag "+v.Tag)
			} else {
				got = append(got, "manifest "+v.Digest)
			}
		}
		slices.Sort(got)
		if want := o.victims(); !slices.Equal(got, want) {
			t.Fatalf("%q goes, want %q", got, want)
		}
		again, _ := Evaluate(o.rules, o.r, noon)
		if !slices.Equal(victims, again) {
			t.Fatalf("%v, and then %v", victims, again)
		}
	})
}

func TestRulesThatAreNone(t *testing.T) {
	t.Parallel()
	for _, r := range []Rule{
		{Repositories: "**", Tags: "**"},
		{Repositories: "", Tags: "**", KeepLast: 1},
		{Repositories: "**", Tags: "[a", KeepLast: 1},
		{Repositories: "**", Tags: "**", KeepLast: -1},
		{Repositories: "**", Tags: "**", KeepLast: maxLast + 1},
		{Repositories: "**", Tags: "**", KeepPushed: time.Minute},
		{Repositories: "**", Tags: "**", KeepPulled: maxAge + 1},
		{Repositories: "**", Tags: "**", UntaggedAfter: -time.Hour},
		{Repositories: "**", Tags: "**", KeepTags: "{a}"},
	} {
		if _, err := Evaluate([]Rule{r}, Repository{}, noon); err == nil {
			t.Errorf("%+v is taken", r)
		}
	}
}

// TestWhatIsNewHadNoTimeToBePulled: a rule that only asks for pulls lets no tag go that was pushed a moment ago.
func TestWhatIsNewHadNoTimeToBePulled(t *testing.T) {
	t.Parallel()
	rules := []Rule{{Repositories: "**", Tags: "**", KeepPulled: 30 * 24 * time.Hour, Enabled: true}}
	r := Repository{
		Path: "app", Manifests: []Manifest{{Digest: "sha256:1", PushedAt: noon}},
		Tags: []Tag{{Name: "old", Digest: "sha256:1", PushedAt: noon.AddDate(0, -2, 0)}, {Name: "new", Digest: "sha256:1", PushedAt: noon.Add(-time.Minute)}},
	}
	going, err := Evaluate(rules, r, noon)
	if err != nil || len(going) != 1 || going[0].Tag != "old" {
		t.Errorf("%+v %v", going, err)
	}
}
