package api

import (
	"context"
	"errors"
	"strconv"
	"strings"

	"github.com/berthregistry/berth/internal/api/problem"
	"github.com/berthregistry/berth/internal/auth"
	"github.com/berthregistry/berth/internal/database"
	"github.com/berthregistry/berth/internal/events/webhooks"
	"github.com/berthregistry/berth/internal/limits"
	"github.com/berthregistry/berth/internal/oci/content"
	"github.com/berthregistry/berth/internal/oci/content/retention"
	"github.com/berthregistry/berth/internal/projects"
	"github.com/berthregistry/berth/internal/projects/quota"
	"github.com/berthregistry/berth/internal/projects/takedown"
	"github.com/berthregistry/berth/internal/ratelimit"
)

// known are the errors of the domain that have an answer of their own, the more special ones first.
var known = []struct {
	err    error
	answer *problem.Error
}{
	{auth.ErrInvalidCredential, notSignedIn.With("The credential is not valid, or not any more.")},
	{auth.ErrRevoked, notSignedIn.With("The credential is not valid any more.")},
	{auth.ErrNotAdmin, noAdmin},
	{auth.ErrBusy, problem.Unavailable.With("Too many log-ins at once; try again.")},
	{projects.ErrRole, problem.Forbidden.With("Your role in the project does not allow this any more.")},
	{projects.ErrClaimed, problem.AlreadyClaimed.With("Somebody else has claimed the project.")},
	{projects.ErrChanged, problem.Conflict.With("The project has changed in the meantime, try again.")},
	{projects.ErrNotFound, noProject},
	{projects.ErrSlugTaken, problem.SlugTaken.With("Another project has this slug.")},
	{projects.ErrSlugReserved, problem.SlugReserved.With("The slug is reserved for the server, or for its last owner.")},
	{projects.ErrSlugInvalid, invalidFields(problem.Field{Pointer: "/slug", Detail: "is not a name that a project can have"})},
	{projects.ErrCreateForbidden, problem.Forbidden.With("You may not create this project.")},
	{projects.ErrLastOwner, problem.LastOwner.With("Make somebody else an owner first.")},
	{projects.ErrMemberExists, problem.AlreadyExists.With("The user is a member already.")},
	{projects.ErrNoSuchUser, invalidFields(problem.Field{Pointer: "/email", Detail: "is not the address of a user"})},
	{projects.ErrState, problem.Conflict.With("The project is in another state.")},
	{projects.ErrVersion, problem.VersionMismatch.With("It has changed since you looked.")},
	{auth.ErrVersion, problem.VersionMismatch.With("It has changed since you looked.")},
	{auth.ErrLastAdmin, problem.LastAdmin.With("Make somebody else an admin first.")},
	{auth.ErrSignUpClosed, problem.Forbidden.With("Users cannot sign up here; ask an admin.")},
	{auth.ErrInvite, invalidFields(problem.Field{Pointer: "/invite", Detail: "is not a valid invitation for this address"})},
	{auth.ErrExists, problem.AlreadyExists.With("There is one already.")},
	{auth.ErrNotFound, noSuchThing},
	{content.ErrNotFound, noSuchThing},
	{content.ErrHidden, problem.Conflict.With("What it needs is deleted itself: restore that first.")},
	{content.ErrNotEarlier, invalidFields(problem.Field{Pointer: "/digest", Detail: "is not one that the tag named earlier"})},
	{content.ErrBlocked, problem.Conflict.With("An administrator has blocked the digest.")},
	{content.ErrRuleExists, problem.AlreadyExists.With("The project has this rule already.")},
	{content.ErrTooManyRules, problem.Conflict.With("The project has as many rules as it may have.")},
	{retention.ErrVersion, problem.VersionMismatch.With("It has changed since you looked.")},
	{limits.ErrNoSubject, noSuchThing},
	{takedown.ErrNotFound, noSuchThing},
	{ErrCollectionOff, problem.Conflict.With("Garbage collection is switched off on this server.")},
	{ErrScrubOff, problem.Conflict.With("Scrubbing is switched off on this server.")},
	{webhooks.ErrNotFound, noSuchThing},
	{webhooks.ErrVersion, problem.VersionMismatch.With("It has changed since you looked.")},
	{webhooks.ErrTooMany, problem.Conflict.With("The project has as many webhooks as it may have.")},
	{webhooks.ErrDisabled, problem.Conflict.With("The webhook is disabled.")},
	{database.ErrUnavailable, problem.Unavailable.With("The database does not answer; try again.")},
	{context.DeadlineExceeded, problem.Unavailable.With("It took too long; try again.")},
	{context.Canceled, problem.Unavailable.With("The request was cut off.")},
}

// problemOf finds the answer for any error. A problem in the chain wins; what nobody knows is an internal error.
func problemOf(err error) *problem.Error {
	if answer, ok := errors.AsType[*problem.Error](err); ok {
		return answer.WithCause(err)
	}
	if input, ok := errors.AsType[*auth.InputError](err); ok {
		return invalidInput(input.Field, input.Reason).WithCause(err)
	}
	if input, ok := errors.AsType[*projects.InputError](err); ok {
		return invalidInput(input.Field, input.Reason).WithCause(err)
	}
	if input, ok := errors.AsType[*content.InputError](err); ok {
		return invalidInput(input.Field, input.Reason).WithCause(err)
	}
	if refused, ok := errors.AsType[*content.ImmutableError](err); ok {
		return problem.Immutable.With("%s", sentence(refused.Error())).WithCause(err)
	}
	if full, ok := errors.AsType[*quota.ExceededError](err); ok {
		return problem.OverQuota.With("%s", sentence(full.Error())).WithCause(err)
	}
	if input, ok := errors.AsType[*webhooks.InputError](err); ok {
		return invalidInput(input.Field, input.Reason).WithCause(err)
	}
	if limited, ok := errors.AsType[*ratelimit.Error](err); ok {
		return tooMany(limited)
	}
	if over, ok := errors.AsType[*limits.ExceededError](err); ok {
		return overLimit(over).WithCause(err)
	}
	if errors.Is(err, limits.ErrUnknown) {
		return invalidFields(problem.Field{Pointer: "/", Detail: err.Error()}).WithCause(err)
	}
	for _, k := range known {
		if errors.Is(err, k.err) {
			return k.answer.WithCause(err)
		}
	}
	return problem.Internal.With("The log has the request ID.").WithCause(err)
}

// sentence is an error's text as one.
func sentence(text string) string { return strings.ToUpper(text[:1]) + text[1:] + "." }

// overLimit answers for one thing too many.
func overLimit(over *limits.ExceededError) *problem.Error {
	if over.Wait > 0 {
		return problem.TooManyRequests.With("%s.", over).WithHeader("Retry-After", strconv.FormatInt(over.RetryAfter(), 10))
	}
	return problem.OverLimit.With("%s.", over)
}

// fieldPath turns the domain's way to name a field (grants.tags[2]) into a JSON pointer.
var fieldPath = strings.NewReplacer(".", "/", "[", "/", "]", "")

// afterField is how the domain names what a list goes on after: what a cursor holds.
const afterField = "after"

func invalidInput(field, reason string) *problem.Error {
	if field == afterField {
		return badCursor
	}
	return invalidFields(problem.Field{Pointer: "/" + fieldPath.Replace(field), Detail: reason})
}
