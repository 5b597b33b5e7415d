// Package retention is what is kept of a repository: rules of its project say which tags go, and which manifests without
// one. What a rule takes is deleted as by hand: hidden at once, and to be restored until it is purged.
//
// What goes is a pure function of the rules, a repository and the time ([Evaluate]). A [Service] previews it, and applies
// it in the background, on one replica at a time for each project.
package retention

import (
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/google/uuid"

	"github.com/berthregistry/berth/internal/oci/content"
	"github.com/berthregistry/berth/internal/oci/content/pattern"
)

// ErrVersion says that the rule has changed since the version that the caller has seen.
var ErrVersion = errors.New("the rule has changed in the meantime")

const (
	// minAge is the least age that a rule may name: pushes take time, and those of a multi-platform image come before the
	// index that keeps them.
	minAge = time.Hour
	maxAge = 100 * 365 * 24 * time.Hour
	// maxLast is the most that KeepLast may be.
	maxLast = 1_000_000
)

// Rule says what is kept, and what goes.
//
// It is about the tags that Tags matches, in the repositories that Repositories matches. Of these it keeps each that one of
// its Keep fields keeps, and the others go, unless another rule keeps them. A rule without Keep fields is about no tag.
type Rule struct {
	// ID is a UUIDv7.
	ID uuid.UUID
	// Repositories and Tags are patterns.
	Repositories, Tags string
	// KeepLast keeps as many of the tags, those that were pushed last; 0 says nothing.
	KeepLast int64
	// KeepPushed keeps what was pushed within the time, KeepPulled what was pushed or pulled; 0 says nothing.
	KeepPushed, KeepPulled time.Duration
	// KeepTags is a pattern of tags that are kept; "" says nothing.
	KeepTags string
	// UntaggedAfter lets manifests go that have no tag, so long after they were pushed last; 0: never.
	UntaggedAfter time.Duration
	// Enabled says that the rule is applied. One that is not keeps nothing either.
	Enabled bool
	// Version is raised by every change.
	Version int64
	// CreatedBy is the principal.
	CreatedBy string
	// CreatedAt and UpdatedAt are when.
	CreatedAt, UpdatedAt time.Time
}

// compiled is a rule whose patterns are parsed.
type compiled struct {
	Rule
	repositories, tags, keepTags pattern.Pattern
}

// compile checks a rule. Errors: *content.InputError.
func compile(r Rule) (compiled, error) {
	c := compiled{Rule: r}
	for _, field := range []struct {
		name, text string
		to         *pattern.Pattern
	}{{"repositories", r.Repositories, &c.repositories}, {"tags", r.Tags, &c.tags}, {"keep_tags", r.KeepTags, &c.keepTags}} {
		if field.text == "" && field.name == "keep_tags" {
			continue
		}
		parsed, err := pattern.Parse(field.text)
		if err != nil {
			return compiled{}, &content.InputError{Field: field.name, Reason: err.Error()}
		}
		*field.to = parsed
	}
	for _, field := range []struct {
		name string
		age  time.Duration
	}{{"keep_pushed_hours", r.KeepPushed}, {"keep_pulled_hours", r.KeepPulled}, {"untagged_hours", r.UntaggedAfter}} {
		if field.age != 0 && (field.age < minAge || field.age > maxAge) {
			return compiled{}, &content.InputError{Field: field.name, Reason: "is not between an hour and a hundred years"}
		}
	}
	if r.KeepLast < 0 || r.KeepLast > maxLast {
		return compiled{}, &content.InputError{Field: "keep_last", Reason: fmt.Sprintf("is not between 1 and %d", maxLast)}
	}
	if !c.aboutTags() && r.UntaggedAfter == 0 {
		return compiled{}, &content.InputError{Field: "keep_last", Reason: "or another keep field, or untagged_hours, is needed"}
	}
	return c, nil
}

// check is for a rule that somebody writes: what compiles, and could be about some tag. Rules from before this was asked
// still compile.
func check(r Rule) error {
	if _, err := compile(r); err != nil {
		return err
	}
	for name, text := range map[string]string{"tags": r.Tags, "keep_tags": r.KeepTags} {
		if text == "" { // without keep_tags
			continue
		}
		if _, err := pattern.ParseTags(text); err != nil {
			return &content.InputError{Field: name, Reason: err.Error()}
		}
	}
	return nil
}

// aboutTags tells whether the rule lets any tag go.
func (r Rule) aboutTags() bool {
	return r.KeepLast > 0 || r.KeepPushed > 0 || r.KeepPulled > 0 || r.KeepTags != ""
}

// reason says why the rule lets a tag go.
func (r Rule) reason() string {
	var parts []string
	if r.KeepLast > 0 {
		parts = append(parts, fmt.Sprintf("not among the last %d", r.KeepLast))
	}
	if r.KeepPushed > 0 {
		parts = append(parts, fmt.Sprintf("not pushed for %d hours", hours(r.KeepPushed)))
	}
	if r.KeepPulled > 0 {
		parts = append(parts, fmt.Sprintf("neither pushed nor pulled for %d hours", hours(r.KeepPulled)))
	}
	if r.KeepTags != "" {
		parts = append(parts, "not named "+r.KeepTags)
	}
	return strings.Join(parts, ", ")
}

func (r Rule) untaggedReason() string {
	return fmt.Sprintf("no tag, and not pushed for %d hours", hours(r.UntaggedAfter))
}

func hours(d time.Duration) int64 { return int64(d / time.Hour) }
