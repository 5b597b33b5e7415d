package api

import (
	"context"
	"errors"
	"time"

	"github.com/google/uuid"

	"github.com/berthregistry/berth/internal/api/apigen"
	"github.com/berthregistry/berth/internal/database"
)

// ErrCollectionOff says that no replica would answer a request for a collection.
var ErrCollectionOff = errors.New("garbage collection is switched off on this server")

// Collection is what gives back what nobody can reach any more.
type Collection interface {
	// Status tells how it stands, over all replicas.
	Status(ctx context.Context) (CollectionStatus, error)
	// Request asks for a collection, after what the guard adds to its transaction. It returns ErrCollectionOff where
	// nobody would do it.
	Request(ctx context.Context, guard func(*database.Batch)) error
}

// CollectionStatus is how collection stands.
type CollectionStatus struct {
	Enabled                      bool
	NextAt                       time.Time
	Requested                    bool
	Runs                         []CollectionRun // the newest first
	RemovedObjects, RemovedBytes int64           // ever
	Backlog                      CollectionBacklog
}

// CollectionRun is one collection. FinishedAt is zero while it is under way.
type CollectionRun struct {
	ID                    uuid.UUID
	Kind                  string
	StartedAt, FinishedAt time.Time
	Figures               CollectionFigures
	Error                 string
}

// CollectionFigures are what a collection has done, as the contract has them.
type CollectionFigures struct {
	Projects, Repositories, Manifests, Tags, Links, Blobs, BlobBytes, RemovedObjects, RemovedBytes int64
	Days, Orphans, OrphanBytes, CompactedBlobs, CompactedBytes                                     int64
}

// CollectionBacklog is what waits, as the contract has it.
type CollectionBacklog struct {
	Manifests, Links, Blobs, Objects, ObjectBytes, Waiting, Days, Compactions int64
}

// GetCollection implements the operation getCollection.
func (a *API) GetCollection(ctx context.Context, _ apigen.GetCollectionRequestObject) (apigen.GetCollectionResponseObject, error) {
	status, err := a.collection.Status(ctx)
	if err != nil {
		return nil, err //nolint:wrapcheck // says what it did
	}
	return apigen.GetCollection200JSONResponse(collectionOf(status)), nil
}

// StartCollection implements the operation startCollection.
func (a *API) StartCollection(ctx context.Context, _ apigen.StartCollectionRequestObject) (apigen.StartCollectionResponseObject, error) {
	if err := a.collection.Request(ctx, callOf(ctx).guard.Require); err != nil {
		return nil, err //nolint:wrapcheck // says what it did
	}
	status, err := a.collection.Status(ctx)
	if err != nil {
		return nil, err //nolint:wrapcheck // says what it did
	}
	return apigen.StartCollection202JSONResponse(collectionOf(status)), nil
}

func collectionOf(s CollectionStatus) apigen.Collection {
	return apigen.Collection{
		Enabled: s.Enabled, NextAt: s.NextAt.UTC(), Requested: s.Requested,
		RemovedObjects: s.RemovedObjects, RemovedBytes: s.RemovedBytes, Backlog: apigen.CollectionBacklog{
			Manifests: s.Backlog.Manifests, Links: s.Backlog.Links, Blobs: s.Backlog.Blobs, Objects: s.Backlog.Objects,
			ObjectBytes: s.Backlog.ObjectBytes, Waiting: s.Backlog.Waiting, Days: s.Backlog.Days, Compactions: s.Backlog.Compactions,
		},
		Runs: each(s.Runs, func(r CollectionRun) apigen.CollectionRun {
			f := r.Figures
			return apigen.CollectionRun{
				ID: r.ID, Kind: apigen.CollectionRunKind(r.Kind), StartedAt: r.StartedAt.UTC(),
				FinishedAt: optionalTime(r.FinishedAt), Error: optional(r.Error),
				Figures: apigen.CollectionFigures{
					Projects: f.Projects, Repositories: f.Repositories, Manifests: f.Manifests, Tags: f.Tags, Links: f.Links,
					Blobs: f.Blobs, BlobBytes: f.BlobBytes, RemovedObjects: f.RemovedObjects, RemovedBytes: f.RemovedBytes,
					Days: f.Days, Orphans: f.Orphans, OrphanBytes: f.OrphanBytes,
					CompactedBlobs: f.CompactedBlobs, CompactedBytes: f.CompactedBytes,
				},
			}
		}),
	}
}
