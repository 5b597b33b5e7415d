package api

import (
	"context"
	"errors"
	"net/url"
	"time"

	"github.com/google/uuid"

	"github.com/berthregistry/berth/internal/api/apigen"
	"github.com/berthregistry/berth/internal/database"
)

// ErrScrubOff says that no replica would answer a request for a scrub.
var ErrScrubOff = errors.New("scrubbing is switched off on this server")

// Scrubbing is what reads stored content again.
type Scrubbing interface {
	// Status tells how it stands, over all replicas.
	Status(ctx context.Context) (ScrubStatus, error)
	// Request asks for a scrub of a fraction of all content, after what the guard adds to its transaction. It returns
	// ErrScrubOff where nobody would do it.
	Request(ctx context.Context, fraction float64, guard func(*database.Batch)) error
	// Findings lists what is damaged, or all that is remembered, the newest first. The key is a finding's ID.
	Findings(ctx context.Context, all bool, page database.Page) ([]ScrubFinding, error)
}

// ScrubStatus is how scrubbing stands.
type ScrubStatus struct {
	Enabled bool
	Open    int64
	Runs    []ScrubRun // the newest first
}

// ScrubRun is one scrub. FinishedAt is zero while it is under way.
type ScrubRun struct {
	ID                               uuid.UUID
	Kind                             string
	Fraction                         float64
	Rate                             int64
	StartedAt, UpdatedAt, FinishedAt time.Time
	Active                           bool
	Stage                            string
	Figures                          ScrubFigures
	Error                            string
}

// ScrubFigures are what a scrub has done, as the contract has them.
type ScrubFigures struct {
	TotalBlobs, TotalBytes, Passed, Blobs, Manifests, Bytes        int64
	Damaged, Missing, DamagedManifests, Unread, Changed, Recovered int64
}

// ScrubFinding is something that was found damaged. EndedAt is zero while it is.
type ScrubFinding struct {
	ID, Run          uuid.UUID
	Kind, Digest     string
	Size             int64
	Object, Detail   string
	FoundAt, EndedAt time.Time
	Outcome          string
}

// GetScrub implements the operation getScrub.
func (a *API) GetScrub(ctx context.Context, _ apigen.GetScrubRequestObject) (apigen.GetScrubResponseObject, error) {
	status, err := a.scrubbing.Status(ctx)
	if err != nil {
		return nil, err //nolint:wrapcheck // says what it did
	}
	return apigen.GetScrub200JSONResponse(scrubOf(status)), nil
}

// StartScrub implements the operation startScrub.
func (a *API) StartScrub(ctx context.Context, request apigen.StartScrubRequestObject) (apigen.StartScrubResponseObject, error) {
	fraction := 1.0
	if request.Body.Fraction != nil {
		fraction = *request.Body.Fraction
	}
	if err := a.scrubbing.Request(ctx, fraction, callOf(ctx).guard.Require); err != nil {
		return nil, err //nolint:wrapcheck // says what it did
	}
	status, err := a.scrubbing.Status(ctx)
	if err != nil {
		return nil, err //nolint:wrapcheck // says what it did
	}
	return apigen.StartScrub202JSONResponse(scrubOf(status)), nil
}

// ListScrubFindings implements the operation listScrubFindings.
func (a *API) ListScrubFindings(
	ctx context.Context, request apigen.ListScrubFindingsRequestObject,
) (apigen.ListScrubFindingsResponseObject, error) {
	p, err := pageOf(request.Params.Limit, request.Params.Cursor)
	if err != nil {
		return nil, err
	}
	if _, err := uuid.Parse(p.after); p.after != "" && err != nil {
		return nil, badCursor.WithCause(err)
	}
	state := valueOf(request.Params.State)
	found, err := a.scrubbing.Findings(ctx, state == apigen.All, p.request())
	if err != nil {
		return nil, err //nolint:wrapcheck // says what it did
	}
	query := url.Values{}
	if state != "" {
		query.Set("state", string(state))
	}
	found, link := cut(p, found, func(f ScrubFinding) string { return f.ID.String() }, query)
	return apigen.ListScrubFindings200JSONResponse{
		Body: apigen.ScrubFindingList{Items: each(found, scrubFindingOf)}, Headers: apigen.ListScrubFindings200ResponseHeaders{Link: link},
	}, nil
}

func scrubFindingOf(f ScrubFinding) apigen.ScrubFinding {
	return apigen.ScrubFinding{
		ID: f.ID, Kind: apigen.ScrubFindingKind(f.Kind), Digest: f.Digest, Size: f.Size, Object: optional(f.Object),
		Detail: f.Detail, RunID: optional(f.Run), FoundAt: f.FoundAt.UTC(), EndedAt: optionalTime(f.EndedAt),
		Outcome: optional(apigen.ScrubFindingOutcome(f.Outcome)),
	}
}

func scrubOf(s ScrubStatus) apigen.Scrub {
	return apigen.Scrub{
		Enabled: s.Enabled, OpenFindings: s.Open, Runs: each(s.Runs, func(r ScrubRun) apigen.ScrubRun {
			f := r.Figures
			return apigen.ScrubRun{
				ID: r.ID, Kind: apigen.ScrubRunKind(r.Kind), Fraction: r.Fraction, Rate: r.Rate, StartedAt: r.StartedAt.UTC(),
				UpdatedAt: r.UpdatedAt.UTC(), FinishedAt: optionalTime(r.FinishedAt), Active: r.Active,
				Stage: apigen.ScrubRunStage(r.Stage), Error: optional(r.Error),
				Figures: apigen.ScrubFigures{
					TotalBlobs: f.TotalBlobs, TotalBytes: f.TotalBytes, Passed: f.Passed, Blobs: f.Blobs, Manifests: f.Manifests,
					Bytes: f.Bytes, Damaged: f.Damaged, Missing: f.Missing, DamagedManifests: f.DamagedManifests,
					Unread: f.Unread, Changed: f.Changed, Recovered: f.Recovered,
				},
			}
		}),
	}
}
