package api

import (
	"context"

	ocidigest "github.com/opencontainers/go-digest"

	"github.com/berthregistry/berth/internal/api/apigen"
	"github.com/berthregistry/berth/internal/oci/content"
)

// place is a repository of the project that the call is about.
func (c *call) place(path string) content.Place {
	return content.Place{Project: c.project.ID, Path: repositoryPath(path)}
}

// DeleteRepository implements the operation deleteRepository.
func (a *API) DeleteRepository(ctx context.Context, request apigen.DeleteRepositoryRequestObject) (apigen.DeleteRepositoryResponseObject, error) {
	one := callOf(ctx)
	return apigen.DeleteRepository204Response{}, a.content.DeleteRepository(ctx, one.place(request.Path), one.user().String(), one.guard)
}

// DeleteManifest implements the operation deleteManifest.
func (a *API) DeleteManifest(ctx context.Context, request apigen.DeleteManifestRequestObject) (apigen.DeleteManifestResponseObject, error) {
	one := callOf(ctx)
	err := a.content.DeleteManifest(ctx, one.place(request.Path), ocidigest.Digest(request.Digest), one.user().String(), one.guard)
	return apigen.DeleteManifest204Response{}, err
}

// DeleteTag implements the operation deleteTag.
func (a *API) DeleteTag(ctx context.Context, request apigen.DeleteTagRequestObject) (apigen.DeleteTagResponseObject, error) {
	one := callOf(ctx)
	return apigen.DeleteTag204Response{}, a.content.DeleteTag(ctx, one.place(request.Path), request.Tag, one.user().String(), one.guard)
}

// RestoreRepository implements the operation restoreRepository.
func (a *API) RestoreRepository(ctx context.Context, request apigen.RestoreRepositoryRequestObject) (apigen.RestoreRepositoryResponseObject, error) {
	one := callOf(ctx)
	restored, err := a.content.RestoreRepository(ctx, one.place(request.Path), one.user().String(), one.guard)
	return apigen.RestoreRepository200JSONResponse(restoredOf(restored)), err
}

// RestoreManifest implements the operation restoreManifest.
func (a *API) RestoreManifest(ctx context.Context, request apigen.RestoreManifestRequestObject) (apigen.RestoreManifestResponseObject, error) {
	one := callOf(ctx)
	restored, err := a.content.RestoreManifest(ctx, one.place(request.Path), ocidigest.Digest(request.Digest), one.user().String(), one.guard)
	return apigen.RestoreManifest200JSONResponse(restoredOf(restored)), err
}

// RestoreTag implements the operation restoreTag.
func (a *API) RestoreTag(ctx context.Context, request apigen.RestoreTagRequestObject) (apigen.RestoreTagResponseObject, error) {
	one := callOf(ctx)
	var err error
	if to := valueOf(request.Body.Digest); to != "" {
		err = a.content.MoveTagBack(ctx, one.place(request.Path), request.Tag, ocidigest.Digest(to), one.user().String(), one.guard)
	} else {
		err = a.content.RestoreTag(ctx, one.place(request.Path), request.Tag, one.user().String(), one.guard)
	}
	return apigen.RestoreTag200JSONResponse(restoredOf(content.Restored{Tags: 1})), err
}

func restoredOf(r content.Restored) apigen.Restored {
	return apigen.Restored{Tags: r.Tags, Manifests: r.Manifests, Blobs: r.Blobs}
}

// ListTagHistory implements the operation listTagHistory.
func (a *API) ListTagHistory(ctx context.Context, request apigen.ListTagHistoryRequestObject) (apigen.ListTagHistoryResponseObject, error) {
	p, err := pageOf(request.Params.Limit, request.Params.Cursor)
	if err != nil {
		return nil, err
	}
	moves, err := a.content.TagHistory(ctx, callOf(ctx).place(request.Path), request.Tag, p.request())
	if err != nil {
		return nil, err
	}
	moves, link := cut(p, moves, content.TagMove.Key, nil)
	return apigen.ListTagHistory200JSONResponse{
		Body: apigen.TagMoveList{Items: each(moves, moveOf)}, Headers: apigen.ListTagHistory200ResponseHeaders{Link: link},
	}, nil
}

func moveOf(m content.TagMove) apigen.TagMove {
	return apigen.TagMove{ID: m.ID, From: optional(string(m.From)), To: optional(string(m.To)), Actor: m.Actor, At: m.At.UTC()}
}

// ListTrash implements the operation listTrash.
func (a *API) ListTrash(ctx context.Context, request apigen.ListTrashRequestObject) (apigen.ListTrashResponseObject, error) {
	p, err := pageOf(request.Params.Limit, request.Params.Cursor)
	if err != nil {
		return nil, err
	}
	found, err := a.content.Trash(ctx, callOf(ctx).project.ID, p.request())
	if err != nil {
		return nil, err
	}
	found, link := cut(p, found, content.Trashed.Key, nil)
	return apigen.ListTrash200JSONResponse{
		Body: apigen.TrashList{Items: each(found, trashOf)}, Headers: apigen.ListTrash200ResponseHeaders{Link: link},
	}, nil
}

func trashOf(t content.Trashed) apigen.TrashItem {
	return apigen.TrashItem{
		Kind: apigen.TrashItemKind(t.Kind), Path: t.Path, Tag: optional(t.Tag), Digest: optional(string(t.Digest)), Tags: texts(t.Tags),
		DeletedAt: t.DeletedAt.UTC(), PurgeAfter: t.PurgeAfter.UTC(),
	}
}
