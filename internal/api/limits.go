package api

import (
	"context"
	"errors"
	"time"

	"github.com/google/uuid"

	"github.com/berthregistry/berth/internal/api/apigen"
	"github.com/berthregistry/berth/internal/api/problem"
	"github.com/berthregistry/berth/internal/limits"
	"github.com/berthregistry/berth/internal/projects/quota"
	"github.com/berthregistry/berth/internal/projects/takedown"
	"github.com/berthregistry/berth/internal/ratelimit"
)

// GetLimits implements the operation getLimits.
func (a *API) GetLimits(ctx context.Context, request apigen.GetLimitsRequestObject) (apigen.GetLimitsResponseObject, error) {
	answer, err := a.limitsOf(ctx, limits.Kind(request.Kind), request.Subject)
	return apigen.GetLimits200JSONResponse(answer), err
}

// SetLimits implements the operation setLimits.
func (a *API) SetLimits(ctx context.Context, request apigen.SetLimitsRequestObject) (apigen.SetLimitsResponseObject, error) {
	one, kind, body := callOf(ctx), limits.Kind(request.Kind), request.Body
	own := limits.Overrides{Rates: map[string]limits.Rate{}, Counts: valueOf(body.Counts), QuotaBytes: body.QuotaBytes}
	if rates := body.Rates; rates != nil {
		for class, rate := range map[string]*apigen.Rate{"token": rates.Token, "read": rates.Read, "write": rates.Write, "api": rates.API} {
			if rate != nil {
				own.Rates[class] = limits.Rate{PerMinute: rate.PerMinute, Burst: rate.Burst}
			}
		}
	}
	if err := a.overrides.Set(ctx, one.guard.Require, kind, request.Subject, own, one.user().String()); err != nil {
		return nil, err
	}
	if kind == limits.KindProject {
		a.projects.Forget(request.Subject)
	}
	answer, err := a.limitsOf(ctx, kind, request.Subject)
	return apigen.SetLimits200JSONResponse(answer), err
}

func (a *API) limitsOf(ctx context.Context, kind limits.Kind, id uuid.UUID) (apigen.Limits, error) {
	own, err := a.overrides.Get(ctx, kind, id)
	if err != nil {
		return apigen.Limits{}, err //nolint:wrapcheck // says what it is about
	}
	uses, err := a.overrides.Used(ctx, kind, id)
	if err != nil {
		return apigen.Limits{}, err //nolint:wrapcheck // says what it is about
	}
	return apigen.Limits{
		Kind: string(kind), ID: id, Rates: a.ratesOf(kind, id, own), QuotaBytes: own.QuotaBytes,
		Counts: each(uses, func(u limits.Use) apigen.CountUse { return countUseOf(u, own) }),
	}, nil
}

func countUseOf(u limits.Use, own limits.Overrides) apigen.CountUse {
	_, has := own.Counts[u.Name]
	return apigen.CountUse{Name: u.Name, Used: u.Used, Allowed: u.Allowed, Own: optional(has)}
}

// ratesOf tells what holds: what the subject has of its own may be on its way to the limiter still.
func (a *API) ratesOf(kind limits.Kind, id uuid.UUID, own limits.Overrides) []apigen.RateUse {
	key := map[limits.Kind]ratelimit.Key{
		limits.KindUser: ratelimit.User(id), limits.KindProject: ratelimit.Project(id), limits.KindRunner: ratelimit.Runner(id),
	}[kind]
	server := a.limits.LimitsOf(key)
	rates := []apigen.RateUse{}
	for _, one := range []struct {
		class ratelimit.Class
		limit ratelimit.Limit
	}{
		{ratelimit.Token, server.Token}, {ratelimit.Read, server.Read}, {ratelimit.Write, server.Write}, {ratelimit.API, server.API},
	} {
		use := apigen.RateUse{Class: one.class.String(), PerMinute: int64(one.limit.PerMinute), Burst: int64(one.limit.Burst)}
		if rate, has := own.Rates[use.Class]; has {
			use.PerMinute, use.Burst, use.Own = rate.PerMinute, rate.Burst, optional(true)
		}
		if left, limited := a.limits.Left(one.class, key); limited {
			number := int64(left)
			use.Left = &number
		}
		rates = append(rates, use)
	}
	return rates
}

// quotaOf is what a project holds and may hold by its quota.
func (a *API) quotaOf(ctx context.Context, one *call) (*apigen.QuotaUse, error) {
	var room quota.ExceededError
	room, _, err := a.quota.Room(ctx, one.project.ID)
	if err != nil {
		return nil, err //nolint:wrapcheck // says what it is about
	}
	return &apigen.QuotaUse{
		Used: room.Held, Pending: room.Pending, Allowed: room.Allowed, Own: optional(one.project.QuotaBytes != nil),
	}, nil
}

// GetUsage implements the operation getUsage.
func (a *API) GetUsage(ctx context.Context, _ apigen.GetUsageRequestObject) (apigen.GetUsageResponseObject, error) {
	one := callOf(ctx)
	u, err := a.projects.Usage(ctx, one.project.ID)
	if err != nil {
		return nil, err
	}
	uses, err := a.overrides.Used(ctx, limits.KindProject, one.project.ID)
	if err != nil {
		return nil, err //nolint:wrapcheck // says what it is about
	}
	room, err := a.quotaOf(ctx, one)
	counts := each(uses, func(u limits.Use) apigen.CountUse { return countUseOf(u, limits.Overrides{}) })
	return apigen.GetUsage200JSONResponse{
		Bytes: u.Bytes, Repositories: u.Repositories, Manifests: u.Manifests, Tags: u.Tags, Quota: room, Counts: &counts,
	}, err
}

// ListBlocked implements the operation listBlocked.
func (a *API) ListBlocked(ctx context.Context, request apigen.ListBlockedRequestObject) (apigen.ListBlockedResponseObject, error) {
	p, err := pageOf(request.Params.Limit, request.Params.Cursor)
	if err != nil {
		return nil, err
	}
	blocked, err := a.blocklist.Page(ctx, p.request())
	if errors.Is(err, takedown.ErrDigest) {
		return nil, badCursor.WithCause(err)
	}
	if err != nil {
		return nil, err //nolint:wrapcheck // says what it is about
	}
	blocked, link := cut(p, blocked, func(b takedown.Blocked) string { return b.Digest }, nil)
	return apigen.ListBlocked200JSONResponse{
		Body: apigen.BlockedList{Items: each(blocked, blockedOf)}, Headers: apigen.ListBlocked200ResponseHeaders{Link: link},
	}, nil
}

func blockedOf(b takedown.Blocked) apigen.Blocked {
	return apigen.Blocked{
		Digest: b.Digest, Reason: b.Reason, CreatedBy: b.CreatedBy, CreatedAt: b.CreatedAt.UTC(), Projects: b.Projects,
		Repositories: b.Repositories,
	}
}

// BlockDigest implements the operation blockDigest.
func (a *API) BlockDigest(ctx context.Context, request apigen.BlockDigestRequestObject) (apigen.BlockDigestResponseObject, error) {
	one := callOf(ctx)
	if !isText(request.Body.Reason) {
		return nil, invalidFields(problem.Field{Pointer: "/reason", Detail: "is not text without NUL"})
	}
	blocked, err := a.blocklist.Block(ctx, one.guard.Require, request.Body.Digest, request.Body.Reason, one.user().String())
	if errors.Is(err, takedown.ErrDigest) {
		return nil, invalidFields(problem.Field{Pointer: "/digest", Detail: "is not a digest"}).WithCause(err)
	}
	if err != nil {
		return nil, err //nolint:wrapcheck // says what it is about
	}
	return apigen.BlockDigest201JSONResponse{
		Body:    blockedOf(blocked),
		Headers: apigen.BlockDigest201ResponseHeaders{Location: optional(Prefix + "/admin/blocklist/" + blocked.Digest)},
	}, nil
}

// UnblockDigest implements the operation unblockDigest.
func (a *API) UnblockDigest(ctx context.Context, request apigen.UnblockDigestRequestObject) (apigen.UnblockDigestResponseObject, error) {
	return apigen.UnblockDigest204Response{}, a.blocklist.Unblock(ctx, callOf(ctx).guard.Require, request.Digest) //nolint:wrapcheck // says what it is about
}

// ReportAnonymousPushers implements the operation reportAnonymousPushers.
func (a *API) ReportAnonymousPushers(
	ctx context.Context, request apigen.ReportAnonymousPushersRequestObject,
) (apigen.ReportAnonymousPushersResponseObject, error) {
	since, limit := a.now().Add(-limits.Day), defaultLimit
	if request.Params.Since != nil {
		since = *request.Params.Since
	}
	if request.Params.Limit != nil {
		limit = *request.Params.Limit
	}
	if since.After(a.now()) || since.Before(time.Unix(0, 0)) {
		return nil, invalidFields(problem.Field{Pointer: "?since", Detail: "is not in the past"})
	}
	networks, projects, err := a.overrides.TopPushers(ctx, since, limit)
	if err != nil {
		return nil, err //nolint:wrapcheck // says what it is about
	}
	return apigen.ReportAnonymousPushers200JSONResponse{
		Networks: each(networks, func(p limits.Pusher) apigen.NetworkActivity {
			return apigen.NetworkActivity{
				Network: optional(p.Network), Bytes: p.Bytes, Pushes: p.Pushes, Refused: p.Refused, ProjectsCreated: p.Created,
			}
		}),
		Projects: each(projects, func(p limits.Pusher) apigen.ProjectActivity {
			return apigen.ProjectActivity{
				Project: optional(p.Project), Slug: optional(p.Slug), Bytes: p.Bytes, Pushes: p.Pushes, Refused: p.Refused,
			}
		}),
	}, nil
}
