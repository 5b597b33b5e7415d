package main

import (
	"context"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"net/http"
	"slices"
	"time"

	"github.com/opencontainers/go-digest"

	"github.com/berthregistry/berth/test/crash/history"
)

// worker is a client that goes on drawing what to do next.
type worker struct {
	*client
	catalog *catalog
	notes   int
}

func (h *harness) newWorker(round, id int, c *catalog) *worker {
	return &worker{client: h.newClient(id, h.random(round, fmt.Sprintf("worker %d", id))), catalog: c}
}

// chores are what workers do, with how often of a hundred times.
var chores = []struct {
	percent int
	do      func(w *worker, ctx context.Context, repo string)
}{
	{32, (*worker).pushImage},
	{18, (*worker).moveTag},
	{4, (*worker).pushIndex},
	{6, (*worker).pushArtifact},
	{4, (*worker).leaveUpload},
	{4, (*worker).deleteTag},
	{4, (*worker).deleteManifest},
	{4, (*worker).deleteBlob},
	{14, (*worker).pull},
	{6, (*worker).lookUp},
	{4, (*worker).listTags},
}

func (w *worker) run(ctx context.Context) {
	defer w.transport.CloseIdleConnections()
	for ctx.Err() == nil {
		drawn := w.random.IntN(100)
		for _, chore := range chores {
			if drawn -= chore.percent; drawn < 0 {
				chore.do(w, ctx, w.catalog.repo(w.random))
				break
			}
		}
		if w.h.o.collect && w.id == 0 && w.random.IntN(20) == 0 {
			w.h.collectSometimes(ctx, w.random)
		}
	}
}

// note makes a manifest unlike any other.
func (w *worker) note() string {
	w.notes++
	return fmt.Sprintf("%d of worker %d in round %d", w.notes, w.id, w.catalog.round)
}

// cut is after how many bytes the client gives a body up; mostly never.
func (w *worker) cut(length int) int {
	if length < 2 || w.random.IntN(15) > 0 {
		return 0
	}
	return 1 + w.random.IntN(length-1)
}

// size draws the size of a blob: most are small.
func (w *worker) size() int {
	switch drawn := w.random.IntN(100); {
	case drawn < 70:
		return 2 + w.random.IntN(16<<10)
	case drawn < 95 || !w.h.o.large:
		return 2 + w.random.IntN(256<<10)
	default:
		return w.h.chunk/2 + w.random.IntN(2*w.h.chunk)
	}
}

// content brings a blob into a repository in the way in which clients do: one that they have pushed before they look
// for, or mount from where they know it.
func (w *worker) content(ctx context.Context, repo string) (blob, bool) {
	if w.random.IntN(5) < 2 {
		if b, known := w.catalog.blobOf(repo, w.random); known {
			return b, w.headBlob(ctx, repo, b.digest) == http.StatusOK || w.upload(ctx, repo, b)
		}
	}
	if w.random.IntN(5) == 0 {
		from := w.catalog.other(repo, w.random)
		if b, known := w.catalog.blobOf(from, w.random); known {
			return b, w.mount(ctx, repo, from, b)
		}
	}
	b := newBlob(w.random, w.size())
	return b, w.upload(ctx, repo, b)
}

// pushImage pushes layers, a config and their manifest, by a tag or by its digest.
func (w *worker) pushImage(ctx context.Context, repo string) {
	var layers []blob
	for range 1 + w.random.IntN(3) {
		layer, ok := w.content(ctx, repo)
		if !ok {
			return
		}
		layers = append(layers, layer)
	}
	config := newBlob(w.random, 2+w.random.IntN(2000))
	if w.upload(ctx, repo, config) {
		w.putManifest(ctx, repo, w.reference(), image(config, layers, nil, w.note()))
	}
}

// reference is a tag, or empty for the digest.
func (w *worker) reference() string {
	if w.random.IntN(3) == 0 {
		return ""
	}
	return tagNames[w.random.IntN(len(tagNames))]
}

// moveTag moves a tag: mostly to a manifest of its own with content that is there, at times to one that is known.
func (w *worker) moveTag(ctx context.Context, repo string) {
	m, known := w.catalog.manifestOf(repo, w.random)
	if known && w.random.IntN(5) == 0 {
		w.putManifest(ctx, repo, tagNames[w.random.IntN(len(tagNames))], m)
		return
	}
	if config, known := w.catalog.blobOf(repo, w.random); known {
		w.putManifest(ctx, repo, tagNames[w.random.IntN(len(tagNames))], image(config, nil, nil, w.note()))
	}
}

func (w *worker) pushIndex(ctx context.Context, repo string) {
	var children []manifest
	for range 1 + w.random.IntN(3) {
		if child, known := w.catalog.manifestOf(repo, w.random); known {
			children = append(children, child)
		}
	}
	w.putManifest(ctx, repo, w.reference(), index(children, w.note()))
}

// pushArtifact pushes something that refers to a manifest, then asks who refers to it.
func (w *worker) pushArtifact(ctx context.Context, repo string) {
	subject, known := w.catalog.manifestOf(repo, w.random)
	if !known {
		return
	}
	if config, ok := w.content(ctx, repo); ok {
		w.putManifest(ctx, repo, "", image(config, nil, &subject, w.note()))
	}
	w.referrers(ctx, repo, subject.digest)
}

// putManifest pushes a manifest. Where the answer is lost the client mostly sends it again.
func (w *worker) putManifest(ctx context.Context, repo, tag string, m manifest) {
	w.catalog.addManifest(repo, m)
	reference := tag
	if tag == "" {
		reference = m.digest.String()
	}
	for range mostUploads {
		a := w.do(ctx, request{
			what: "PUT manifest " + repo + ":" + reference + " " + m.digest.String(), method: http.MethodPut,
			path: "/v2/" + repo + "/manifests/" + reference, body: m.content, headers: []string{"Content-Type", m.mediaType},
			cut: w.cut(len(m.content)), step: manifestAnswered, told: w.manifestTold(repo, tag, m),
		})
		if !a.unclear() || ctx.Err() != nil || w.random.IntN(3) == 0 {
			return
		}
	}
}

func (w *worker) manifestTold(repo, tag string, m manifest) func(a answer) (history.Outcome, []history.Step) {
	return func(a answer) (history.Outcome, []history.Step) {
		steps := []history.Step{step(history.Manifest, repo, m.digest.String(), history.Put, history.Present)}
		if tag != "" {
			steps = append(steps, step(history.Tag, repo, tag, history.Put, m.digest.String()))
		}
		switch {
		case a.status == http.StatusCreated:
			for _, d := range m.blobs {
				steps = append(steps, step(history.Blob, repo, d.String(), history.Seen, ""))
			}
			return history.Done, steps
		case a.unclear():
			return history.Unclear, steps
		}
		return history.Done, w.missing(repo, m, a)
	}
}

// missing is what the refusal of a manifest tells of its blobs.
func (w *worker) missing(repo string, m manifest, a answer) []history.Step {
	var refusal struct {
		Errors []struct {
			Code   string          `json:"code"`
			Detail json.RawMessage `json:"detail"`
		} `json:"errors"`
	}
	err := json.Unmarshal(a.body, &refusal)
	if err != nil || len(refusal.Errors) == 0 || refusal.Errors[0].Code != "MANIFEST_BLOB_UNKNOWN" {
		w.h.violated("PUT manifest "+repo+" "+m.digest.String(), "answered %d: %s", a.status, a.body)
		return nil
	}
	if len(refusal.Errors) > 1 || len(m.blobs) > 1 {
		return nil // which of them, and when, several statements have decided
	}
	return []history.Step{step(history.Blob, repo, m.blobs[0].String(), history.Read, history.Absent)}
}

func step(kind history.Kind, repo, name string, do history.Action, value string) history.Step {
	return history.Step{Register: history.Register{Kind: kind, Repo: repo, Name: name}, Do: do, Value: value}
}

// leaveUpload begins an upload and cancels or forgets it.
func (w *worker) leaveUpload(ctx context.Context, repo string) {
	begun := w.do(ctx, request{what: "POST upload " + repo, method: http.MethodPost, path: uploadsOf(repo), step: uploadBegun})
	if begun.status != http.StatusAccepted {
		return
	}
	content := newBlob(w.random, w.size()).content()
	a := w.do(ctx, request{
		what: "PATCH upload " + repo, method: http.MethodPatch, path: begun.location(), body: content, cut: w.cut(len(content)), step: chunkAnswered,
	})
	if location := a.location(); location != "" && w.random.IntN(2) == 0 {
		w.do(ctx, request{what: "DELETE upload " + repo, method: http.MethodDelete, path: location, step: deleteAnswered})
	}
}

func (w *worker) deleteTag(ctx context.Context, repo string) {
	tag := tagNames[w.random.IntN(len(tagNames))]
	w.remove(ctx, "tag", repo, tag, "/v2/"+repo+"/manifests/"+tag, step(history.Tag, repo, tag, history.Delete, ""))
}

func (w *worker) deleteManifest(ctx context.Context, repo string) {
	if m, known := w.catalog.manifestOf(repo, w.random); known {
		d := m.digest.String()
		w.remove(ctx, "manifest", repo, d, "/v2/"+repo+"/manifests/"+d,
			step(history.Manifest, repo, d, history.Delete, ""), step(history.Tag, repo, history.EveryTag, history.DeleteIf, d))
	}
}

func (w *worker) deleteBlob(ctx context.Context, repo string) {
	if b, known := w.catalog.blobOf(repo, w.random); known {
		d := b.digest.String()
		w.remove(ctx, "blob", repo, d, "/v2/"+repo+"/blobs/"+d, step(history.Blob, repo, d, history.Delete, ""))
	}
}

// remove deletes something and looks for it afterwards, now and then.
func (w *worker) remove(ctx context.Context, what, repo, name, path string, steps ...history.Step) {
	register := steps[0].Register
	a := w.do(ctx, request{
		what: "DELETE " + what + " " + repo + ":" + name, method: http.MethodDelete, path: path, step: deleteAnswered,
		told: func(a answer) (history.Outcome, []history.Step) {
			switch {
			case a.status == http.StatusAccepted:
				return history.Done, steps
			case a.status == http.StatusNotFound:
				return history.Done, []history.Step{{Register: register, Do: history.Read, Value: history.Absent}}
			case a.status == http.StatusMethodNotAllowed && register.Kind == history.Blob: // in use
				return history.Done, []history.Step{{Register: register, Do: history.Seen}}
			case a.unclear():
				return history.Unclear, steps
			}
			w.h.violated("DELETE "+register.String(), "answered %d: %s", a.status, a.body)
			return history.Failed, nil
		},
	})
	if a.status == http.StatusAccepted && w.random.IntN(2) == 0 {
		w.getRegister(ctx, register)
	}
}

// lookUp asks for something that was pushed, as clients do before they push again.
func (w *worker) lookUp(ctx context.Context, repo string) {
	if b, known := w.catalog.blobOf(repo, w.random); known && w.random.IntN(2) == 0 {
		w.headBlob(ctx, repo, b.digest)
		return
	}
	if m, known := w.catalog.manifestOf(repo, w.random); known {
		w.getManifest(ctx, repo, m.digest.String())
	}
}

// pull reads an image by a tag or a digest, and its blobs.
func (w *worker) pull(ctx context.Context, repo string) {
	reference := tagNames[w.random.IntN(len(tagNames))]
	if m, known := w.catalog.manifestOf(repo, w.random); known && w.random.IntN(2) == 0 {
		reference = m.digest.String()
	}
	content, ok := w.getManifest(ctx, repo, reference)
	if !ok {
		return
	}
	d := digest.FromBytes(content)
	manifests := w.catalog.of(repo).manifests
	i := slices.IndexFunc(manifests, func(m manifest) bool { return m.digest == d })
	if i < 0 {
		w.h.violated("manifest "+repo+":"+reference, "nobody has pushed what was read: %s", content)
		return
	}
	for _, needed := range manifests[i].blobs {
		w.getBlob(ctx, repo, needed)
	}
}

// collectSometimes runs the collector beside everything else, and kills it half of the time.
func (h *harness) collectSometimes(ctx context.Context, random *rand.Rand) {
	within := requestWithin
	if random.IntN(2) == 0 {
		within = time.Duration(random.Int64N(int64(time.Second)))
	}
	_ = h.collect(ctx, within) // it may be killed, and the faults may stop it; at rest it has to succeed
}
