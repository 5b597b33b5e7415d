package doctor

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
)

// volume is the file system of a folder.
type volume struct {
	kind string // what it is known for, or "" for a disk
	free int64  // bytes that the server's user may still write
	size int64
}

// Kinds of file systems that lose what is written to them, or do not keep their promises.
const (
	kindMemory    = "memory"
	kindContainer = "container"
	kindNetwork   = "network"
)

// storageFolder looks at the folder of a file: URL, which opening would create.
func (e *examination) storageFolder(path string) bool {
	info, err := os.Stat(path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		e.warn("storage.folder", "nothing, before the first start: berth serve makes it. Else mount the disk, or correct BERTH_STORAGE_URL; relative paths begin at the working directory",
			"%s does not exist", path)
		return false
	case err != nil:
		e.fail("storage.folder", "let the server's user reach the folder", "%v", err)
		return false
	case !info.IsDir():
		e.fail("storage.folder", "let BERTH_STORAGE_URL name a folder", "%s is no folder", path)
		return false
	case info.Mode().Perm()&0o077 != 0:
		e.warn("storage.folder", "chmod 700 "+path+": whoever reads it reads every tenant's content", "%s is open to other users (%s)", path, info.Mode().Perm())
	default:
		e.ok("storage.folder", "%s is its owner's alone", path)
	}
	e.place("storage", path)
	e.oneFileSystem(path)
	return true
}

// place judges the file system below a folder of the database or the storage.
func (e *examination) place(of, path string) {
	v, err := volumeOf(path)
	if err != nil {
		e.fail(of+".disk", "see that the disk is mounted and healthy", "%s: %v", path, err)
		return
	}
	switch {
	case v.kind == kindMemory:
		e.fail(of+".disk", "put it on a disk", "%s lies in memory: it is gone after a restart", path)
	case v.kind == kindContainer:
		e.fail(of+".disk", "mount a volume there", "%s lies in a container's own layer: it is gone with the container", path)
	case v.kind == kindNetwork && of == "database":
		e.fail(of+".disk", "put the SQLite file on a local disk, or use PostgreSQL: its locks do not work across machines", "%s lies on a network file system", path)
	case v.kind == kindNetwork:
		e.warn(of+".disk", "use a local disk, or S3; see that the export is mounted hard and sync", "%s lies on a network file system", path)
	default:
		e.ok(of+".disk", "%s lies on a disk", path)
	}
	const do = "make room or a larger disk; berth gc removes what nobody can reach. A full disk answers pushes with 503"
	text := "%s has %s of %s free"
	switch {
	case v.free < e.options.MinFree/10:
		e.fail(of+".space", do, text, path, size(v.free), size(v.size))
	case v.free < e.options.MinFree:
		e.warn(of+".space", do, text, path, size(v.free), size(v.size))
	default:
		e.ok(of+".space", text, path, size(v.free), size(v.size))
	}
}

// oneFileSystem sees that no day of the storage was moved to another file system: compaction then copies byte by byte,
// and a snapshot of the disk is not the whole storage.
func (e *examination) oneFileSystem(path string) {
	whole, err := os.Stat(path)
	if err != nil {
		return // it was there a moment ago; what follows will tell
	}
	days, err := os.ReadDir(path)
	if err != nil {
		e.fail("storage.folder", "let the server's user read the folder", "%v", err)
		return
	}
	for _, day := range days {
		info, err := os.Stat(filepath.Join(path, day.Name()))
		if err == nil && info.IsDir() && !sameDevice(whole, info) {
			e.warn("storage.folder", "move it onto the same file system", "%s lies on another file system than %s", filepath.Join(path, day.Name()), path)
		}
	}
}

// spool looks at where uploads to a bucket wait when memory is used up.
func (e *examination) spool() {
	dir := e.cfg.Uploads.SpoolDir
	if dir == "" {
		dir = os.TempDir()
	}
	v, err := volumeOf(dir)
	switch {
	case err != nil:
		e.fail("storage.spool", "set BERTH_UPLOAD_SPOOL_DIR to a folder on a disk", "the folder for spools: %v", err)
	case v.kind == kindMemory:
		e.warn("storage.spool", "set BERTH_UPLOAD_SPOOL_DIR to a folder on a disk", "%s, where uploads wait for the bucket, is memory: up to %s of it", dir, e.cfg.Uploads.SpoolMax)
	case v.free < int64(e.cfg.Uploads.SpoolMax):
		e.warn("storage.spool", "lower BERTH_UPLOAD_SPOOL_MAX, or set BERTH_UPLOAD_SPOOL_DIR to a larger disk", "%s has %s free, less than the %s that uploads may spool there", dir, size(v.free), e.cfg.Uploads.SpoolMax)
	default:
		e.ok("storage.spool", "%s has room for the spools of uploads", dir)
	}
}

// blobCache looks at where copies of what is pulled from a bucket are kept.
func (e *examination) blobCache() {
	if !e.cfg.Storage.HasCache() {
		return
	}
	const name, do = "storage.cache", "set BERTH_BLOB_CACHE to a folder of its own on a local disk, and let the server's user use it"
	dir, most := e.cfg.Storage.Cache, e.cfg.Storage.CacheSize
	info, err := os.Stat(dir)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		e.warn(name, "nothing, before the first start: berth serve makes it. Else mount the disk, or correct BERTH_BLOB_CACHE", "%s does not exist", dir)
		return
	case err == nil && !info.IsDir():
		err = fs.ErrInvalid
	}
	if err != nil {
		e.fail(name, do, "%s, for copies of blobs, is no folder that can be used: %v", dir, err)
		return
	}
	v, err := volumeOf(dir)
	switch {
	case err != nil:
		e.fail(name, do, "the folder for copies of blobs: %v", err)
	case v.kind == kindMemory, v.kind == kindNetwork:
		e.warn(name, do, "%s, where up to %s of copies are kept, is %s", dir, most, v.kind)
	case v.free+occupied(dir) < int64(most):
		e.warn(name, "lower BERTH_BLOB_CACHE_SIZE, or use a larger disk: when it is full, blobs come from the bucket, and whatever else is on it suffers",
			"%s has %s free, less than the %s that copies of blobs may take", dir, size(v.free), most)
	default:
		e.ok(name, "%s has room for %s of copies", dir, most)
	}
}

// occupied is what the files below a folder take, as far as they can be read.
func occupied(dir string) int64 {
	if target, err := filepath.EvalSymlinks(dir); err == nil { // as systemd's folders for a DynamicUser are
		dir = target
	}
	var total int64
	_ = filepath.WalkDir(dir, func(_ string, entry fs.DirEntry, err error) error {
		if err != nil || entry.IsDir() {
			return nil //nolint:nilerr // what cannot be read is not counted
		}
		if info, err := entry.Info(); err == nil {
			total += info.Size()
		}
		return nil
	}) // its only error would be that function's
	return total
}
