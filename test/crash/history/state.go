package history

import (
	"fmt"
	"maps"
	"slices"
)

// Tree is a manifest and the blobs that it needs.
type Tree struct {
	// Repo is where it was pushed, Digest its digest.
	Repo, Digest string
	// Blobs are the digests of config and layers.
	Blobs []string
}

// Dangling finds manifests that can be read in a registry at rest while a blob of theirs cannot.
func Dangling(trees []Tree, readable func(Register) bool) []Violation {
	var found []Violation
	for _, tree := range trees {
		if !readable(Register{Kind: Manifest, Repo: tree.Repo, Name: tree.Digest}) {
			continue
		}
		for _, blob := range tree.Blobs {
			if !readable(Register{Kind: Blob, Repo: tree.Repo, Name: blob}) {
				found = append(found, Violation{
					About: fmt.Sprintf("manifest %s:%s", tree.Repo, tree.Digest), Problem: "dangles: it needs " + blob,
				})
			}
		}
	}
	return found
}

// Objects is what a registry at rest has in storage and says about it; sizes by key.
type Objects struct {
	// Stored are the objects, Rows the chunks that the database has, Doomed the objects that it means to remove.
	Stored, Rows, Doomed map[string]int64
}

// Missing finds rows without their object, or with one of another size: content that is lost.
func (o Objects) Missing() []Violation {
	var found []Violation
	for _, key := range slices.Sorted(maps.Keys(o.Rows)) {
		size, stored := o.Stored[key]
		switch {
		case !stored:
			found = append(found, Violation{About: "object " + key, Problem: "a row without an object"})
		case size != o.Rows[key]:
			found = append(found, Violation{
				About: "object " + key, Problem: fmt.Sprintf("has %d bytes, its row says %d", size, o.Rows[key]),
			})
		}
		if _, doomed := o.Doomed[key]; doomed {
			found = append(found, Violation{About: "object " + key, Problem: "will be removed, and has a row"})
		}
	}
	return found
}

// Orphans are the objects that no row names and that nothing is going to remove.
func (o Objects) Orphans() []string {
	var found []string
	for _, key := range slices.Sorted(maps.Keys(o.Stored)) {
		_, row := o.Rows[key]
		_, doomed := o.Doomed[key]
		if !row && !doomed {
			found = append(found, key)
		}
	}
	return found
}
