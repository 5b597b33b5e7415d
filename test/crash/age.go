package main

import (
	"context"
	"fmt"

	"github.com/berthregistry/berth/internal/database"
	"github.com/berthregistry/berth/test/crash/history"
)

// forgetPromises lets the time come in which blobs that no manifest needs may go.
var forgetPromises = database.SQL(`UPDATE repository_blobs SET keep_until = 0`)

// age has the collector work after all promises to pushers have run out: what manifests need stays, everything else
// goes, in the repositories and in storage.
func (h *harness) age(ctx context.Context) error {
	h.killAll()
	a, err := h.openAudit(ctx)
	if err != nil {
		return err
	}
	b := &database.Batch{}
	b.Exec(forgetPromises)
	err = a.db.Run(ctx, b)
	a.close()
	if err != nil {
		return fmt.Errorf("forget promises: %w", err)
	}
	if err := h.rest(ctx, true); err != nil {
		return err
	}
	if err := h.startAll(ctx); err != nil {
		return err
	}
	for round, f := range h.finals {
		h.compareAged(f, h.readAll(ctx, round, f.catalog))
	}
	return nil
}

// compareAged holds what is left of a round against what manifests need.
func (h *harness) compareAged(f final, now map[history.Register]string) {
	needed := map[history.Register]bool{}
	for _, tree := range f.catalog.trees() {
		if f.state[history.Register{Kind: history.Manifest, Repo: tree.Repo, Name: tree.Digest}] != history.Present {
			continue
		}
		for _, blob := range tree.Blobs {
			needed[history.Register{Kind: history.Blob, Repo: tree.Repo, Name: blob}] = true
		}
	}
	for register, value := range now {
		want := f.state[register]
		if register.Kind == history.Blob && !needed[register] {
			want = history.Absent
		}
		if value != want {
			h.violated(register.String(), "after the collection it holds %q, want %q", value, want)
		}
	}
}
