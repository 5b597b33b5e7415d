package main

import (
	"context"
	"encoding/json"
	"hash"
	"net/http"
	"slices"

	"github.com/opencontainers/go-digest"

	"github.com/berthregistry/berth/test/crash/history"
)

// hashed is where a blob that is read goes.
type hashed struct {
	hash.Hash
	size int64
}

// Size implements sink.
func (h hashed) Size() int64 { return h.size }

// reads is what a read tells of the presence of a manifest or blob.
func reads(kind history.Kind, repo, name string, a answer) (history.Outcome, []history.Step) {
	switch a.status {
	case http.StatusOK:
		return history.Done, []history.Step{step(kind, repo, name, history.Read, history.Present)}
	case http.StatusNotFound:
		return history.Done, []history.Step{step(kind, repo, name, history.Read, history.Absent)}
	}
	return history.Failed, nil
}

func (w *worker) headBlob(ctx context.Context, repo string, d digest.Digest) int {
	return w.do(ctx, request{
		what: "HEAD blob " + repo + " " + d.String(), method: http.MethodHead, path: "/v2/" + repo + "/blobs/" + d.String(),
		told: func(a answer) (history.Outcome, []history.Step) { return reads(history.Blob, repo, d.String(), a) },
	}).status
}

// getBlob reads a blob and holds it against its digest.
func (w *worker) getBlob(ctx context.Context, repo string, d digest.Digest) int {
	size := int64(0)
	for _, b := range w.catalog.of(repo).blobs {
		if b.digest == d {
			size = int64(b.size)
		}
	}
	content := hashed{d.Algorithm().Hash(), size}
	a := w.do(ctx, request{
		what: "GET blob " + repo + " " + d.String(), method: http.MethodGet, path: "/v2/" + repo + "/blobs/" + d.String(), sink: content,
		told: func(a answer) (history.Outcome, []history.Step) { return reads(history.Blob, repo, d.String(), a) },
	})
	if a.status == http.StatusOK {
		if got := digest.NewDigest(d.Algorithm(), content.Hash); got != d {
			w.h.violated("blob "+repo+":"+d.String(), "its content has the digest %s", got)
		}
	}
	return a.status
}

// getManifest reads a manifest by a tag or a digest, and holds it against its digest.
func (w *worker) getManifest(ctx context.Context, repo, reference string) ([]byte, bool) {
	named, err := digest.Parse(reference)
	byDigest := err == nil
	a := w.do(ctx, request{
		what: "GET manifest " + repo + ":" + reference, method: http.MethodGet, path: "/v2/" + repo + "/manifests/" + reference,
		told: func(a answer) (history.Outcome, []history.Step) {
			if byDigest {
				return reads(history.Manifest, repo, reference, a)
			}
			return tagRead(repo, reference, a)
		},
	})
	if a.status != http.StatusOK {
		return nil, false
	}
	d := digest.FromBytes(a.body)
	if byDigest && d != named || a.header.Get("Docker-Content-Digest") != d.String() {
		w.h.violated("manifest "+repo+":"+reference, "its content has the digest %s, its header says %s", d, a.header.Get("Docker-Content-Digest"))
	}
	return a.body, true
}

func tagRead(repo, tag string, a answer) (history.Outcome, []history.Step) {
	switch a.status {
	case http.StatusOK:
		d := digest.FromBytes(a.body).String()
		return history.Done, []history.Step{
			step(history.Tag, repo, tag, history.Read, d), step(history.Manifest, repo, d, history.Seen, ""),
		}
	case http.StatusNotFound:
		return history.Done, []history.Step{step(history.Tag, repo, tag, history.Read, history.Absent)}
	}
	return history.Failed, nil
}

// getRegister reads a register, whatever it is.
func (w *worker) getRegister(ctx context.Context, r history.Register) {
	if r.Kind == history.Blob {
		w.headBlob(ctx, r.Repo, digest.Digest(r.Name))
		return
	}
	w.getManifest(ctx, r.Repo, r.Name)
}

func (w *worker) listTags(ctx context.Context, repo string) {
	w.do(ctx, request{
		what: "GET tags " + repo, method: http.MethodGet, path: "/v2/" + repo + "/tags/list",
		told: func(a answer) (history.Outcome, []history.Step) {
			var list struct {
				Tags []string `json:"tags"`
			}
			if a.status == http.StatusNotFound { // the repository does not exist yet
				a.body = []byte("{}")
			} else if a.status != http.StatusOK {
				return history.Failed, nil
			}
			if err := json.Unmarshal(a.body, &list); err != nil {
				w.h.violated("tags of "+repo, "answered %s: %v", a.body, err)
			}
			var steps []history.Step
			for _, tag := range tagNames {
				steps = append(steps, seen(history.Tag, repo, tag, slices.Contains(list.Tags, tag)))
			}
			return history.Done, steps
		},
	})
}

func seen(kind history.Kind, repo, name string, there bool) history.Step {
	if there {
		return step(kind, repo, name, history.Seen, "")
	}
	return step(kind, repo, name, history.Read, history.Absent)
}

// referrers asks who refers to a manifest: those that were pushed, and are not deleted.
func (w *worker) referrers(ctx context.Context, repo string, subject digest.Digest) {
	var asked []string // those that somebody had begun to push before the question
	for _, m := range w.catalog.of(repo).manifests {
		if m.subject == subject {
			asked = append(asked, m.digest.String())
		}
	}
	w.do(ctx, request{
		what: "GET referrers " + repo, method: http.MethodGet, path: "/v2/" + repo + "/referrers/" + subject.String(),
		told: func(a answer) (history.Outcome, []history.Step) {
			if a.status != http.StatusOK {
				return history.Failed, nil
			}
			var list struct {
				Manifests []struct {
					Digest string `json:"digest"`
				} `json:"manifests"`
			}
			if err := json.Unmarshal(a.body, &list); err != nil {
				w.h.violated("referrers of "+repo, "answered %s: %v", a.body, err)
			}
			var steps []history.Step
			for _, d := range asked {
				there := slices.ContainsFunc(list.Manifests, func(m struct {
					Digest string `json:"digest"`
				}) bool {
					return m.Digest == d
				})
				steps = append(steps, seen(history.Manifest, repo, d, there))
			}
			return history.Done, steps
		},
	})
}
