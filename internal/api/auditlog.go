package api

import (
	"bytes"
	"context"
	"encoding/json"
	"io"
	"net/http"
	"net/url"
	"time"

	"github.com/google/uuid"

	"github.com/berthregistry/berth/internal/api/apigen"
	"github.com/berthregistry/berth/internal/api/problem"
	"github.com/berthregistry/berth/internal/audit"
	"github.com/berthregistry/berth/internal/database"
	"github.com/berthregistry/berth/internal/telemetry/reqlog"
)

// ListAudit implements the operation listAudit.
func (a *API) ListAudit(ctx context.Context, request apigen.ListAuditRequestObject) (apigen.ListAuditResponseObject, error) {
	p, err := pageOf(request.Params.Limit, request.Params.Cursor)
	if err != nil {
		return nil, err
	}
	q := auditQuery(apigen.ExportAuditParams{
		Actor: request.Params.Actor, Action: request.Params.Action, Outcome: request.Params.Outcome, Object: request.Params.Object,
		Repository: request.Params.Repository, Since: request.Params.Since, Until: request.Params.Until,
	})
	list, link, err := a.auditPage(ctx, q, callOf(ctx).project.ID, p)
	if err != nil {
		return nil, err
	}
	return apigen.ListAudit200JSONResponse{Body: list, Headers: apigen.ListAudit200ResponseHeaders{Link: link}}, nil
}

// ListAllAudit implements the operation listAllAudit.
func (a *API) ListAllAudit(ctx context.Context, request apigen.ListAllAuditRequestObject) (apigen.ListAllAuditResponseObject, error) {
	p, err := pageOf(request.Params.Limit, request.Params.Cursor)
	if err != nil {
		return nil, err
	}
	q := auditQuery(apigen.ExportAuditParams{
		Actor: request.Params.Actor, Action: request.Params.Action, Outcome: request.Params.Outcome, Object: request.Params.Object,
		Repository: request.Params.Repository, Since: request.Params.Since, Until: request.Params.Until,
	})
	list, link, err := a.auditPage(ctx, q, valueOf(request.Params.Project), p)
	if err != nil {
		return nil, err
	}
	return apigen.ListAllAudit200JSONResponse{Body: list, Headers: apigen.ListAllAudit200ResponseHeaders{Link: link}}, nil
}

// ExportAudit implements the operation exportAudit.
func (a *API) ExportAudit(ctx context.Context, request apigen.ExportAuditRequestObject) (apigen.ExportAuditResponseObject, error) {
	body, err := a.export(ctx, auditQuery(request.Params), callOf(ctx).project.ID)
	if err != nil {
		return nil, err
	}
	return apigen.ExportAudit200ApplicationXNdjsonResponse{Body: body}, nil
}

// ExportAllAudit implements the operation exportAllAudit.
func (a *API) ExportAllAudit(ctx context.Context, request apigen.ExportAllAuditRequestObject) (apigen.ExportAllAuditResponseObject, error) {
	q := auditQuery(apigen.ExportAuditParams{
		Actor: request.Params.Actor, Action: request.Params.Action, Outcome: request.Params.Outcome, Object: request.Params.Object,
		Repository: request.Params.Repository, Since: request.Params.Since, Until: request.Params.Until,
	})
	body, err := a.export(ctx, q, valueOf(request.Params.Project))
	if err != nil {
		return nil, err
	}
	return apigen.ExportAllAudit200ApplicationXNdjsonResponse{Body: body}, nil
}

// auditQuery is what an operation is asked to find.
type auditQuery apigen.ExportAuditParams

// filter reads the query. Errors: what is no text.
func (q auditQuery) filter(project uuid.UUID) (audit.Filter, error) {
	f := audit.Filter{
		Project: project, Actor: valueOf(q.Actor), Action: valueOf(q.Action), Outcome: string(valueOf(q.Outcome)),
		Object: valueOf(q.Object), Repository: valueOf(q.Repository), Since: valueOf(q.Since), Until: valueOf(q.Until),
	}
	for name, text := range map[string]string{"actor": f.Actor, "object": f.Object, "repository": f.Repository} {
		if !isText(text) {
			return audit.Filter{}, invalidFields(problem.Field{Pointer: "?" + name, Detail: "is not text"})
		}
	}
	return f, nil
}

// values are the query's, for the link to the next page.
func (q auditQuery) values(project uuid.UUID) url.Values {
	values := url.Values{}
	for name, value := range map[string]string{
		"actor": valueOf(q.Actor), "action": valueOf(q.Action), "outcome": string(valueOf(q.Outcome)), "object": valueOf(q.Object),
		"repository": valueOf(q.Repository), "since": instant(q.Since), "until": instant(q.Until),
	} {
		if value != "" {
			values.Set(name, value)
		}
	}
	if project != uuid.Nil {
		values.Set("project", project.String())
	}
	return values
}

func instant(at *time.Time) string {
	if at == nil {
		return ""
	}
	return at.UTC().Format(time.RFC3339Nano)
}

func (a *API) auditPage(ctx context.Context, q auditQuery, project uuid.UUID, p page) (apigen.AuditEntryList, *string, error) {
	filter, err := q.filter(project)
	if err != nil {
		return apigen.AuditEntryList{}, nil, err
	}
	if _, err := uuid.Parse(p.after); p.after != "" && err != nil {
		return apigen.AuditEntryList{}, nil, badCursor.WithCause(err)
	}
	found, err := a.log.List(ctx, filter, p.request())
	if err != nil {
		return apigen.AuditEntryList{}, nil, err //nolint:wrapcheck // says what it did
	}
	if callOf(ctx).project.ID != uuid.Nil { // it is in the path
		project = uuid.Nil
	}
	found, link := cut(p, found, func(r audit.Record) string { return r.ID.String() }, q.values(project))
	return apigen.AuditEntryList{Items: each(found, auditEntryOf)}, link, nil
}

func auditEntryOf(r audit.Record) apigen.AuditEntry {
	entry := apigen.AuditEntry{
		ID: r.ID, At: r.At.UTC(), Actor: r.Actor, TokenID: optional(r.Token), SessionID: optional(r.Session),
		RemoteIP: optional(r.RemoteIP), UserAgent: optional(r.UserAgent), RequestID: optional(r.RequestID),
		Action: r.Action, Outcome: apigen.AuditOutcome(r.Outcome), ProjectID: optional(r.Project),
		Repository: optional(r.Repository), Object: optional(r.Object),
		Tags: optionalList(each(r.Tags, func(m audit.TagMove) apigen.AuditTag {
			return apigen.AuditTag{Name: m.Name, Old: optional(m.Old), New: optional(m.New)}
		})),
	}
	if r.Detail != nil {
		entry.Detail = r.Detail
	}
	return entry
}

// exportPage is how many entries of an export are in memory at once.
const exportPage = 500

// export is the body of an export. Its first page is read before there is an answer, which may still say what is wrong.
func (a *API) export(ctx context.Context, q auditQuery, project uuid.UUID) (io.Reader, error) {
	filter, err := q.filter(project)
	if err != nil {
		return nil, err
	}
	e := &export{ctx: ctx, log: a.log, filter: filter}
	if err := e.more(); err != nil {
		return nil, err
	}
	return e, nil
}

// export reads the audit log page by page, as lines of JSON.
type export struct {
	ctx    context.Context //nolint:containedctx // of the one request that it answers
	log    *audit.Log
	filter audit.Filter
	after  string
	lines  bytes.Buffer
	ended  bool
}

// Read implements io.Reader. When the database fails in the middle, the connection is cut, so that nobody takes what has been
// sent for the whole.
func (e *export) Read(p []byte) (int, error) {
	for e.lines.Len() == 0 && !e.ended {
		if err := e.more(); err != nil {
			reqlog.Fail(e.ctx, err)
			panic(http.ErrAbortHandler)
		}
	}
	return e.lines.Read(p) //nolint:wrapcheck // io.EOF
}

// more reads the next page.
func (e *export) more() error {
	found, err := e.log.Oldest(e.ctx, e.filter, database.Page{After: e.after, Limit: exportPage})
	if err != nil {
		return err //nolint:wrapcheck // says what it did
	}
	out := json.NewEncoder(&e.lines)
	for i := range found {
		if err := out.Encode(auditEntryOf(found[i])); err != nil {
			return err //nolint:wrapcheck // of memory
		}
		e.after = found[i].ID.String()
	}
	e.ended = len(found) < exportPage
	return nil
}
