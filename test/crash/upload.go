package main

import (
	"context"
	"fmt"
	"net/http"
	"net/url"
	"time"

	"github.com/berthregistry/berth/test/crash/history"
)

// style is how a client pushes a blob.
type style int

const (
	stylePost   style = iota // one POST with everything
	stylePut                 // POST, PUT with everything
	styleStream              // POST, PATCH with everything, PUT
	styleChunks              // POST, PATCH, PATCH, ..., PUT
	styles
)

const (
	mostUploads  = 6 // of one blob, from the beginning
	mostAttempts = 8 // in one session
)

// upload pushes a blob until that is acknowledged, and says whether it was.
func (w *worker) upload(ctx context.Context, repo string, b blob) bool {
	w.catalog.addBlob(repo, b)
	s := style(w.random.IntN(int(styles)))
	for range w.h.patience(mostUploads) {
		if ctx.Err() != nil {
			return false
		}
		if s == stylePost {
			if w.finish(ctx, repo, b, http.MethodPost, uploadsOf(repo)+"?digest="+b.digest.String(), b.content()).status == http.StatusCreated {
				return true
			}
			continue
		}
		begun := w.do(ctx, request{what: "POST upload " + repo + " " + b.digest.String(), method: http.MethodPost, path: uploadsOf(repo), step: uploadBegun})
		if begun.status != http.StatusAccepted {
			continue
		}
		u := &upload{w: w, repo: repo, blob: b, content: b.content(), style: s, location: begun.location(), active: time.Now()}
		if u.run(ctx) {
			return true
		}
	}
	return false
}

func uploadsOf(repo string) string { return "/v2/" + repo + "/blobs/uploads/" }

// finish sends what makes a blob visible.
func (w *worker) finish(ctx context.Context, repo string, b blob, method, path string, body []byte) answer {
	a := w.do(ctx, request{
		what: method + " blob " + repo + " " + b.digest.String(), method: method, path: path, body: body, cut: w.cut(len(body)),
		step: blobAnswered, told: shows(history.Register{Kind: history.Blob, Repo: repo, Name: b.digest.String()}, http.StatusCreated),
	})
	if a.status == http.StatusCreated {
		w.h.stats.change(func(s *stats) { s.bytes += int64(b.size) })
	}
	return a
}

// shows is what a request tells that makes something visible where it is answered with a status.
func shows(r history.Register, status int) func(a answer) (history.Outcome, []history.Step) {
	return func(a answer) (history.Outcome, []history.Step) {
		put := []history.Step{{Register: r, Do: history.Put, Value: history.Present}}
		switch {
		case a.status == status:
			return history.Done, put
		case a.unclear():
			return history.Unclear, put
		}
		return history.Failed, nil
	}
}

// upload is one session.
type upload struct {
	w        *worker
	repo     string
	blob     blob
	content  []byte
	style    style
	location string
	sent     int  // where the next body begins
	acked    int  // bytes of acknowledged chunks
	ranged   bool // the session was resumed, bodies say where they begin
	named    bool // a closing PUT was sent
	active   time.Time
}

// run goes on until the session is finished, or lost, or too much trouble.
func (u *upload) run(ctx context.Context) bool {
	for range u.w.h.patience(mostAttempts) {
		if ctx.Err() != nil {
			return false
		}
		if !u.chunks(ctx) {
			if !u.resume(ctx) {
				return false
			}
			continue
		}
		u.named = true
		path := u.location + "&" + url.Values{"digest": {u.blob.digest.String()}}.Encode()
		a := u.w.finish(ctx, u.repo, u.blob, http.MethodPut, path, u.content[u.sent:])
		switch {
		case a.status == http.StatusCreated:
			return true
		case a.status == http.StatusNotFound:
			return false // it was finished by the last attempt, and the blob deleted by another client
		case !a.unclear() && a.status != http.StatusRequestedRangeNotSatisfiable:
			u.w.h.violated(u.what("PUT"), "answered %d: %s", a.status, a.body)
			return false
		}
		if u.w.random.IntN(2) == 0 || a.status == http.StatusRequestedRangeNotSatisfiable {
			if !u.resume(ctx) { // or else send the same again
				return false
			}
		}
	}
	return false
}

func (u *upload) what(method string) string {
	return fmt.Sprintf("%s upload %s of %s by worker %d", method, u.repo, u.blob.digest, u.w.id)
}

// chunks sends what the style wants to be sent before the closing PUT.
func (u *upload) chunks(ctx context.Context) bool {
	for u.style != stylePut && u.sent < len(u.content) {
		part := len(u.content) - u.sent
		if u.style == styleChunks {
			part = min(part, max(2, len(u.content)/4))
		}
		r := request{
			what: "PATCH upload " + u.repo + " " + u.blob.digest.String(), method: http.MethodPatch, path: u.location, body: u.content[u.sent : u.sent+part],
			cut: u.w.cut(part), step: chunkAnswered,
		}
		if u.ranged {
			r.headers = []string{"Content-Range", fmt.Sprintf("%d-%d", u.sent, u.sent+part-1)}
		}
		a := u.w.do(ctx, r)
		if a.status != http.StatusAccepted {
			if !a.unclear() && a.status != http.StatusRequestedRangeNotSatisfiable && a.status != http.StatusNotFound {
				u.w.h.violated(u.what("PATCH"), "answered %d: %s", a.status, a.body)
			}
			return false
		}
		u.sent += part
		u.acked, u.location, u.active = u.sent, a.location(), time.Now()
	}
	return true
}

// resume asks the session how much it holds, and says whether it goes on from there.
func (u *upload) resume(ctx context.Context) bool {
	for range u.w.h.patience(mostAttempts) {
		if ctx.Err() != nil {
			return false
		}
		a := u.w.do(ctx, request{what: "GET upload " + u.repo + " " + u.blob.digest.String(), method: http.MethodGet, path: u.location})
		switch {
		case a.unclear():
			continue
		case a.status == http.StatusNoContent:
			return u.goOn(a)
		case a.status != http.StatusNotFound:
			u.w.h.violated(u.what("GET"), "answered %d: %s", a.status, a.body)
		case !u.named && time.Since(u.active) < u.w.h.sessionLife()/2:
			u.w.h.violated(u.what("GET"), "the session is lost, %d bytes of it were acknowledged", u.acked)
		}
		return false
	}
	return false
}

func (u *upload) goOn(a answer) bool {
	var end int
	if _, err := fmt.Sscanf(a.header.Get("Range"), "0-%d", &end); err != nil {
		u.w.h.violated(u.what("GET"), "answered with the Range %q", a.header.Get("Range"))
		return false
	}
	if end > 0 {
		end++
	}
	if end < u.acked || end > len(u.content) {
		u.w.h.violated(u.what("GET"), "the session holds %d bytes, %d of %d were acknowledged", end, u.acked, len(u.content))
		return false
	}
	u.sent, u.location, u.ranged = end, a.location(), true
	if u.style == stylePut {
		u.style = styleStream
	}
	return true
}

// mount shows a blob of another repository of the project, or uploads it where that one does not show it.
func (w *worker) mount(ctx context.Context, repo, from string, b blob) bool {
	w.catalog.addBlob(repo, b)
	query := url.Values{"mount": {b.digest.String()}}
	if w.random.IntN(3) > 0 {
		query.Set("from", from)
	}
	register := history.Register{Kind: history.Blob, Repo: repo, Name: b.digest.String()}
	a := w.do(ctx, request{
		what: "POST mount " + repo + " " + b.digest.String(), method: http.MethodPost, path: uploadsOf(repo) + "?" + query.Encode(),
		step: mountAnswered, told: shows(register, http.StatusCreated),
	})
	if a.status == http.StatusCreated {
		return true
	}
	return w.upload(ctx, repo, b)
}
