package retention

import (
	"cmp"
	"slices"
	"strings"
	"time"

	"github.com/google/uuid"
)

// pullSlack is how late it may be known that something was pulled: see content.Store.Pulled.
const pullSlack = time.Hour + time.Minute

// Repository is what a repository shows, as far as rules look at it.
type Repository struct {
	// Path is the repository's, below the project.
	Path string
	// Tags are in any order.
	Tags []Tag
	// Manifests are those that it shows, each once.
	Manifests []Manifest
}

// Tag is a tag.
type Tag struct {
	// Name is the tag, Digest what it names.
	Name, Digest string
	// PushedAt is when it was pushed or moved last.
	PushedAt time.Time
	// Immutable says that a rule lets it neither move nor go.
	Immutable bool
}

// Manifest is a manifest.
type Manifest struct {
	// Digest is its digest, Subject that of what it refers to or "".
	Digest, Subject string
	// Children are those of an index, as far as the repository shows them.
	Children []string
	// PushedAt and PulledAt are when it was pushed and pulled last; PulledAt may be zero.
	PushedAt, PulledAt time.Time
	// Size is in bytes, with what belongs to it.
	Size int64
}

// Victim is what goes: a tag, or a manifest if Tag is empty.
type Victim struct {
	// Tag is the tag.
	Tag string
	// Digest is what the tag names, or the manifest.
	Digest string
	// Rule is the ID of the rule that lets it go, Reason why.
	Rule   uuid.UUID
	Reason string
	// Size is the manifest's, in bytes.
	Size int64
}

// Evaluate tells what goes from a repository by rules, at a time: first tags and then manifests, each in order. It returns
// the error of a rule that is none.
//
// A tag goes if a rule is about it and none keeps it. Tags that are immutable stay, and so do those in the form sha256-<hex>,
// by which signatures name what they sign, while that is there. A manifest goes if no tag that stays names it, each rule
// with an age for such manifests lets it go, and it does not belong to what stays: in an index that stays, or referring to a
// subject that does.
func Evaluate(rules []Rule, r Repository, now time.Time) ([]Victim, error) {
	var about []compiled
	for _, rule := range rules {
		c, err := compile(rule)
		if err != nil {
			return nil, err
		}
		if rule.Enabled && c.repositories.Match(r.Path) {
			about = append(about, c)
		}
	}
	if len(about) == 0 {
		return nil, nil
	}
	slices.SortFunc(about, func(a, b compiled) int { return slices.Compare(a.ID[:], b.ID[:]) })
	e := newEvaluation(r, now)
	going := e.tags(about)
	return append(going, e.manifests(about, going)...), nil
}

// evaluation is a repository with what is looked up often.
type evaluation struct {
	Repository
	now time.Time
	at  map[string]int // manifests by digest
}

func newEvaluation(r Repository, now time.Time) *evaluation {
	e := &evaluation{Repository: r, now: now, at: make(map[string]int, len(r.Manifests))}
	for i := range r.Manifests {
		e.at[r.Manifests[i].Digest] = i
	}
	e.Tags = slices.Clone(r.Tags)
	slices.SortFunc(e.Tags, func(a, b Tag) int { return cmp.Compare(a.Name, b.Name) })
	return e
}

// tags are the victims among the tags.
func (e *evaluation) tags(rules []compiled) []Victim {
	by := make(map[string]*compiled, len(e.Tags)) // the first rule about each tag
	kept := map[string]bool{}
	for i := range rules {
		rule := &rules[i]
		if !rule.aboutTags() {
			continue
		}
		var concerned []Tag
		for _, t := range e.Tags {
			if rule.tags.Match(t.Name) && !t.Immutable && !e.follows(t.Name) {
				concerned = append(concerned, t)
			}
		}
		for _, t := range concerned {
			if by[t.Name] == nil {
				by[t.Name] = rule
			}
		}
		for _, t := range e.keptBy(rule, concerned) {
			kept[t.Name] = true
		}
	}
	var going []Victim
	for _, t := range e.Tags {
		if rule := by[t.Name]; rule != nil && !kept[t.Name] {
			going = append(going, Victim{Tag: t.Name, Digest: t.Digest, Rule: rule.ID, Reason: rule.reason(), Size: e.size(t.Digest)})
		}
	}
	return going
}

// keptBy are those of the tags that a rule is about which it keeps.
func (e *evaluation) keptBy(rule *compiled, concerned []Tag) []Tag {
	latest := slices.Clone(concerned)
	slices.SortStableFunc(latest, func(a, b Tag) int { return b.PushedAt.Compare(a.PushedAt) })
	kept := latest[:min(rule.KeepLast, int64(len(latest)))]
	for _, t := range latest[len(kept):] {
		switch {
		case rule.KeepPushed > 0 && e.within(t.PushedAt, rule.KeepPushed),
			// What has just been pushed had no time to be pulled yet.
			rule.KeepPulled > 0 && (e.within(t.PushedAt, rule.KeepPulled) || e.pulledWithin(t.Digest, rule.KeepPulled)),
			rule.KeepTags != "" && rule.keepTags.Match(t.Name):
			kept = append(kept, t)
		}
	}
	return kept
}

func (e *evaluation) within(at time.Time, age time.Duration) bool { return at.After(e.now.Add(-age)) }

func (e *evaluation) pulledWithin(digest string, age time.Duration) bool {
	i, shown := e.at[digest]
	return shown && e.within(e.Manifests[i].PulledAt, age+pullSlack)
}

func (e *evaluation) size(digest string) int64 {
	if i, shown := e.at[digest]; shown {
		return e.Manifests[i].Size
	}
	return 0
}

// follows tells whether a tag names its subject (section "Referrers Tag Schema" of the Distribution Specification, and
// cosign's form of it), which is there: it does not go before that.
func (e *evaluation) follows(tag string) bool {
	algorithm, rest, _ := strings.Cut(tag, "-")
	hex, _, _ := strings.Cut(rest, ".")
	_, shown := e.at[algorithm+":"+hex]
	return shown
}

// manifests are the victims among the manifests, once the tags have gone.
func (e *evaluation) manifests(rules []compiled, gone []Victim) []Victim {
	rules = slices.DeleteFunc(slices.Clone(rules), func(r compiled) bool { return r.UntaggedAfter == 0 })
	if len(rules) == 0 {
		return nil
	}
	stays := e.staying(rules, gone)
	var going []Victim
	for i := range e.Manifests {
		if m := &e.Manifests[i]; !stays[i] {
			going = append(going, Victim{Digest: m.Digest, Rule: rules[0].ID, Reason: rules[0].untaggedReason(), Size: m.Size})
		}
	}
	slices.SortFunc(going, func(a, b Victim) int { return cmp.Compare(a.Digest, b.Digest) })
	return going
}

// staying marks the manifests that stay: those that a tag names or that a rule does not let go, and all that belongs to them.
func (e *evaluation) staying(rules []compiled, gone []Victim) []bool {
	stays := make([]bool, len(e.Manifests))
	var reached []int
	reach := func(digest string) {
		if i, shown := e.at[digest]; shown && !stays[i] {
			stays[i] = true
			reached = append(reached, i)
		}
	}
	goes := make(map[string]bool, len(gone))
	for _, v := range gone {
		goes[v.Tag] = true
	}
	for _, t := range e.Tags {
		if !goes[t.Name] {
			reach(t.Digest)
		}
	}
	referrers := make(map[string][]string)
	for i := range e.Manifests {
		m := &e.Manifests[i]
		if m.Subject != "" {
			referrers[m.Subject] = append(referrers[m.Subject], m.Digest)
		}
		if slices.ContainsFunc(rules, func(r compiled) bool { return e.keepsUntagged(&r, m) }) {
			reach(m.Digest)
		}
	}
	for len(reached) > 0 {
		m := &e.Manifests[reached[len(reached)-1]]
		reached = reached[:len(reached)-1]
		for _, child := range m.Children {
			reach(child)
		}
		for _, referrer := range referrers[m.Digest] {
			reach(referrer)
		}
	}
	return stays
}

func (e *evaluation) keepsUntagged(r *compiled, m *Manifest) bool {
	return e.within(m.PushedAt, r.UntaggedAfter) || r.KeepPulled > 0 && e.within(m.PulledAt, r.KeepPulled+pullSlack)
}

// tagAt is the place of a tag that there is.
func (e *evaluation) tagAt(name string) int {
	at, _ := slices.BinarySearchFunc(e.Tags, name, func(t Tag, name string) int { return cmp.Compare(t.Name, name) })
	return at
}
