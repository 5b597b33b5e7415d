package fs

import (
	"path"
	"strings"
)

const (
	// joint stands for a slash in a file's name; no key has it.
	joint = "+"
	// maxName is the longest name of a file in the usual file systems, in bytes.
	maxName = 255
)

// fileOf is the path of a key's file: its first segment is the folder, the others together are the name. An upload has a
// segment of its own, and most uploads are one object: a folder for each would cost as many inodes, blocks and syncs again as the
// objects themselves. Names that would become too long stay paths.
func fileOf(key string) string {
	folder, rest, _ := strings.Cut(key, "/")
	if len(rest) > maxName {
		return key
	}
	return path.Join(folder, strings.ReplaceAll(rest, "/", joint))
}

// keyOf is the key of a file that fileOf has named, or of one that an earlier version named by its key alone.
func keyOf(file string) string { return strings.ReplaceAll(file, joint, "/") }
