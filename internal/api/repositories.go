package api

import (
	"context"

	"github.com/berthregistry/berth/internal/api/apigen"
	"github.com/berthregistry/berth/internal/projects"
)

// noPath stands for the empty path of a repository, which no segment of a URL can be. It is no component of an OCI name.
const noPath = "_"

func repositoryPath(param string) string {
	if param == noPath {
		return ""
	}
	return param
}

// ListRepositories implements the operation listRepositories.
func (a *API) ListRepositories(ctx context.Context, request apigen.ListRepositoriesRequestObject) (apigen.ListRepositoriesResponseObject, error) {
	p, err := pageOf(request.Params.Limit, request.Params.Cursor)
	if err != nil {
		return nil, err
	}
	one := callOf(ctx)
	found, err := a.projects.Repositories(ctx, one.project.ID, p.request())
	if err != nil {
		return nil, err
	}
	found, link := cut(p, found, projects.Repository.Key, nil)
	items := each(found, func(r projects.Repository) apigen.Repository { return repositoryOf(one, r) })
	return apigen.ListRepositories200JSONResponse{
		Body: apigen.RepositoryList{Items: items}, Headers: apigen.ListRepositories200ResponseHeaders{Link: link},
	}, nil
}

func repositoryOf(one *call, r projects.Repository) apigen.Repository {
	name := one.project.Slug
	if r.Path != "" {
		name += "/" + r.Path
	}
	return apigen.Repository{
		Path: r.Path, Name: name, Tags: r.Tags, Manifests: r.Manifests, Bytes: r.Bytes, CreatedAt: r.CreatedAt.UTC(),
		LastPushedAt: optionalTime(r.PushedAt), LastPulledAt: optionalTime(r.PulledAt),
	}
}

// GetRepository implements the operation getRepository.
func (a *API) GetRepository(ctx context.Context, request apigen.GetRepositoryRequestObject) (apigen.GetRepositoryResponseObject, error) {
	one := callOf(ctx)
	found, err := a.projects.Repository(ctx, one.project.ID, repositoryPath(request.Path))
	if err != nil {
		return nil, noThing(err)
	}
	return apigen.GetRepository200JSONResponse(repositoryOf(one, found)), nil
}

// ListTags implements the operation listTags.
func (a *API) ListTags(ctx context.Context, request apigen.ListTagsRequestObject) (apigen.ListTagsResponseObject, error) {
	p, err := pageOf(request.Params.Limit, request.Params.Cursor)
	if err != nil {
		return nil, err
	}
	tags, err := a.projects.Tags(ctx, callOf(ctx).project.ID, repositoryPath(request.Path), p.request())
	if err != nil {
		return nil, noThing(err)
	}
	tags, link := cut(p, tags, func(t projects.Tag) string { return t.Name }, nil)
	return apigen.ListTags200JSONResponse{
		Body: apigen.TagList{Items: each(tags, tagOf)}, Headers: apigen.ListTags200ResponseHeaders{Link: link},
	}, nil
}

func tagOf(t projects.Tag) apigen.Tag {
	m := t.Manifest
	return apigen.Tag{
		Name: t.Name, Digest: m.Digest, MediaType: m.MediaType, ArtifactType: optional(m.ArtifactType), Size: m.Size,
		Platforms: texts(m.Platforms), PushedBy: t.PushedBy, PushedAt: t.PushedAt.UTC(), LastPulledAt: optionalTime(m.PulledAt),
	}
}

// texts is a list that JSON does not show as null.
func texts(list []string) []string { return append([]string{}, list...) }

// ListManifests implements the operation listManifests.
func (a *API) ListManifests(ctx context.Context, request apigen.ListManifestsRequestObject) (apigen.ListManifestsResponseObject, error) {
	p, err := pageOf(request.Params.Limit, request.Params.Cursor)
	if err != nil {
		return nil, err
	}
	found, err := a.projects.Manifests(ctx, callOf(ctx).project.ID, repositoryPath(request.Path), p.request())
	if err != nil {
		return nil, noThing(err)
	}
	found, link := cut(p, found, func(m projects.Manifest) string { return m.Digest }, nil)
	return apigen.ListManifests200JSONResponse{
		Body: apigen.ManifestList{Items: each(found, manifestOf)}, Headers: apigen.ListManifests200ResponseHeaders{Link: link},
	}, nil
}

func manifestOf(m projects.Manifest) apigen.Manifest {
	return apigen.Manifest{
		Digest: m.Digest, MediaType: m.MediaType, ArtifactType: optional(m.ArtifactType), Size: m.Size, Subject: optional(m.Subject),
		Platforms: texts(m.Platforms), Tags: texts(m.Tags),
		PushedBy: m.PushedBy, PushedAt: m.PushedAt.UTC(), LastPulledAt: optionalTime(m.PulledAt),
	}
}
