package api

import (
	"context"
	"errors"
	"time"

	"github.com/google/uuid"

	"github.com/berthregistry/berth/internal/api/apigen"
	"github.com/berthregistry/berth/internal/api/problem"
	"github.com/berthregistry/berth/internal/oci/content"
	"github.com/berthregistry/berth/internal/oci/content/pattern"
	"github.com/berthregistry/berth/internal/oci/content/retention"
)

// previewItems is the most that a preview tells one by one.
const previewItems = 1000

// ListTagRules implements the operation listTagRules.
func (a *API) ListTagRules(ctx context.Context, request apigen.ListTagRulesRequestObject) (apigen.ListTagRulesResponseObject, error) {
	p, err := pageOf(request.Params.Limit, request.Params.Cursor)
	if err != nil {
		return nil, err
	}
	rules, err := a.content.TagRules(ctx, callOf(ctx).project.ID, p.request())
	if err != nil {
		return nil, err
	}
	rules, link := cut(p, rules, func(r content.TagRule) string { return r.ID.String() }, nil)
	return apigen.ListTagRules200JSONResponse{
		Body: apigen.TagRuleList{Items: each(rules, tagRuleOf)}, Headers: apigen.ListTagRules200ResponseHeaders{Link: link},
	}, nil
}

func tagRuleOf(r content.TagRule) apigen.TagRule {
	return apigen.TagRule{ID: r.ID, Repositories: r.Repositories, Tags: r.Tags, CreatedBy: r.CreatedBy, CreatedAt: r.CreatedAt.UTC()}
}

// CreateTagRule implements the operation createTagRule.
func (a *API) CreateTagRule(ctx context.Context, request apigen.CreateTagRuleRequestObject) (apigen.CreateTagRuleResponseObject, error) {
	one := callOf(ctx)
	rule, err := a.content.CreateTagRule(ctx, one.project.ID, content.TagRule{
		Repositories: request.Body.Repositories, Tags: request.Body.Tags, CreatedBy: one.user().String(),
	}, one.guard)
	if err != nil {
		return nil, err
	}
	return apigen.CreateTagRule201JSONResponse{
		Body: tagRuleOf(rule),
		Headers: apigen.CreateTagRule201ResponseHeaders{
			Location: optional(projectPath(one.project) + "/tag-rules/" + rule.ID.String()),
		},
	}, nil
}

// GetTagRule implements the operation getTagRule.
func (a *API) GetTagRule(ctx context.Context, request apigen.GetTagRuleRequestObject) (apigen.GetTagRuleResponseObject, error) {
	rule, err := a.content.TagRule(ctx, callOf(ctx).project.ID, request.TagRule)
	return apigen.GetTagRule200JSONResponse(tagRuleOf(rule)), err
}

// DeleteTagRule implements the operation deleteTagRule.
func (a *API) DeleteTagRule(ctx context.Context, request apigen.DeleteTagRuleRequestObject) (apigen.DeleteTagRuleResponseObject, error) {
	one := callOf(ctx)
	return apigen.DeleteTagRule204Response{}, a.content.DeleteTagRule(ctx, one.project.ID, request.TagRule, one.guard)
}

// ListRetentionRules implements the operation listRetentionRules.
func (a *API) ListRetentionRules(ctx context.Context, request apigen.ListRetentionRulesRequestObject) (apigen.ListRetentionRulesResponseObject, error) {
	p, err := pageOf(request.Params.Limit, request.Params.Cursor)
	if err != nil {
		return nil, err
	}
	rules, err := a.retention.List(ctx, callOf(ctx).project.ID, p.request())
	if err != nil {
		return nil, err
	}
	rules, link := cut(p, rules, func(r retention.Rule) string { return r.ID.String() }, nil)
	return apigen.ListRetentionRules200JSONResponse{
		Body: apigen.RetentionRuleList{Items: each(rules, retentionRuleOf)}, Headers: apigen.ListRetentionRules200ResponseHeaders{Link: link},
	}, nil
}

func retentionRuleOf(r retention.Rule) apigen.RetentionRule {
	return apigen.RetentionRule{
		ID: r.ID, Repositories: r.Repositories, Tags: r.Tags, KeepLast: optional(r.KeepLast), KeepPushedHours: hoursOf(r.KeepPushed),
		KeepPulledHours: hoursOf(r.KeepPulled), KeepTags: optional(r.KeepTags), UntaggedHours: hoursOf(r.UntaggedAfter),
		Enabled: r.Enabled, CreatedBy: r.CreatedBy, CreatedAt: r.CreatedAt.UTC(), UpdatedAt: r.UpdatedAt.UTC(),
	}
}

func hoursOf(d time.Duration) *int64 { return optional(int64(d / time.Hour)) }

func retentionRuleFrom(body *apigen.RetentionRuleSet) retention.Rule {
	hours := func(n *int64) time.Duration { return time.Duration(valueOf(n)) * time.Hour }
	r := retention.Rule{
		Repositories: body.Repositories, Tags: valueOf(body.Tags), KeepLast: valueOf(body.KeepLast), KeepPushed: hours(body.KeepPushedHours),
		KeepPulled: hours(body.KeepPulledHours), KeepTags: valueOf(body.KeepTags), UntaggedAfter: hours(body.UntaggedHours),
		Enabled: body.Enabled == nil || *body.Enabled,
	}
	if body.Tags == nil {
		r.Tags = pattern.All
	}
	return r
}

// CreateRetentionRule implements the operation createRetentionRule.
func (a *API) CreateRetentionRule(ctx context.Context, request apigen.CreateRetentionRuleRequestObject) (apigen.CreateRetentionRuleResponseObject, error) {
	one := callOf(ctx)
	rule := retentionRuleFrom(request.Body)
	rule.CreatedBy = one.user().String()
	rule, err := a.retention.Create(ctx, one.project.ID, rule, one.guard)
	if err != nil {
		return nil, err
	}
	return apigen.CreateRetentionRule201JSONResponse{
		Body: retentionRuleOf(rule),
		Headers: apigen.CreateRetentionRule201ResponseHeaders{
			ETag: etag(rule.Version), Location: optional(projectPath(one.project) + "/retention/rules/" + rule.ID.String()),
		},
	}, nil
}

// GetRetentionRule implements the operation getRetentionRule.
func (a *API) GetRetentionRule(ctx context.Context, request apigen.GetRetentionRuleRequestObject) (apigen.GetRetentionRuleResponseObject, error) {
	rule, err := a.retention.Get(ctx, callOf(ctx).project.ID, request.RetentionRule)
	if err != nil {
		return nil, err
	}
	return apigen.GetRetentionRule200JSONResponse{
		Body: retentionRuleOf(rule), Headers: apigen.GetRetentionRule200ResponseHeaders{ETag: etag(rule.Version)},
	}, nil
}

// ReplaceRetentionRule implements the operation replaceRetentionRule.
func (a *API) ReplaceRetentionRule(ctx context.Context, request apigen.ReplaceRetentionRuleRequestObject) (apigen.ReplaceRetentionRuleResponseObject, error) {
	version, err := ifMatch(request.Params.IfMatch)
	if err != nil {
		return nil, err
	}
	one := callOf(ctx)
	rule := retentionRuleFrom(request.Body)
	rule.ID = request.RetentionRule
	if rule, err = a.retention.Replace(ctx, one.project.ID, rule, version, one.guard); err != nil {
		return nil, err
	}
	return apigen.ReplaceRetentionRule200JSONResponse{
		Body: retentionRuleOf(rule), Headers: apigen.ReplaceRetentionRule200ResponseHeaders{ETag: etag(rule.Version)},
	}, nil
}

// DeleteRetentionRule implements the operation deleteRetentionRule.
func (a *API) DeleteRetentionRule(ctx context.Context, request apigen.DeleteRetentionRuleRequestObject) (apigen.DeleteRetentionRuleResponseObject, error) {
	one := callOf(ctx)
	return apigen.DeleteRetentionRule204Response{}, a.retention.Delete(ctx, one.project.ID, request.RetentionRule, 0, one.guard)
}

// PreviewRetention implements the operation previewRetention.
func (a *API) PreviewRetention(ctx context.Context, request apigen.PreviewRetentionRequestObject) (apigen.PreviewRetentionResponseObject, error) {
	asked := retention.PreviewRequest{Limit: previewItems}
	switch replaces := request.Body.Replaces; {
	case replaces != nil && request.Body.Rule == nil:
		return nil, invalidFields(problem.Field{Pointer: "/replaces", Detail: "needs a rule that it is replaced by"})
	case replaces != nil && *replaces == uuid.Nil: // which would stand for one more
		return nil, noSuchThing
	}
	if request.Body.Rule != nil {
		rule := retentionRuleFrom(request.Body.Rule)
		rule.ID = valueOf(request.Body.Replaces)
		asked.Rule = &rule
	}
	preview, err := a.retention.Preview(ctx, callOf(ctx).project.ID, asked)
	if input, ok := errors.AsType[*content.InputError](err); ok { // the fields of a rule that is previewed are below it
		return nil, invalidInput("rule."+input.Field, input.Reason).WithCause(err)
	}
	if err != nil {
		return nil, err
	}
	return apigen.PreviewRetention200JSONResponse{
		Items: each(preview.Items, victimOf), Tags: preview.Tags, Manifests: preview.Manifests,
	}, nil
}

func victimOf(v retention.PreviewItem) apigen.RetentionVictim {
	kind := content.KindManifest
	if v.Tag != "" {
		kind = content.KindTag
	}
	return apigen.RetentionVictim{
		Kind: apigen.RetentionVictimKind(kind), Path: v.Path, Tag: optional(v.Tag), Digest: v.Digest, Size: v.Size,
		Rule: v.Rule, Reason: v.Reason,
	}
}
