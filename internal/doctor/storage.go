package doctor

import (
	"bytes"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/google/uuid"

	"github.com/berthregistry/berth/internal/storage"
	"github.com/berthregistry/berth/internal/storage/s3"
	"github.com/berthregistry/berth/internal/storage/storeurl"
)

const (
	// writes is how often a small object is written, to see how long that takes.
	writes    = 3
	smallSize = 4 << 10
	// copySize is the smallest range that S3 copies by itself, which compaction relies on.
	copySize = 5 << 20
	// A push waits for one write at least.
	writeWarning = 250 * time.Millisecond
	// presignLife is how long the URL of the probe works.
	presignLife = time.Minute
)

// storage examines the store as uploads, downloads and the compactor use it.
func (e *examination) storage(ctx context.Context) {
	if !valid(e.cfg.Storage, e.cfg.Uploads) {
		return
	}
	target := e.cfg.Storage.URL.Reveal()
	folder, isFolder := strings.CutPrefix(target, "file:")
	if isFolder {
		if !e.storageFolder(strings.TrimPrefix(folder, "//")) {
			return
		}
	} else {
		e.spool()
		e.blobCache()
	}
	store, err := storeurl.Open(ctx, target, storeurl.Options{S3: s3.Options{
		UploadMemory: 8 * copySize, SpoolDir: e.cfg.Uploads.SpoolDir, Attempts: 2, MaxBackoff: time.Second, IdleTimeout: 20 * time.Second,
	}})
	if err != nil {
		e.fail("storage.reach", "correct BERTH_STORAGE_URL, and let the server's user use the folder", "the storage cannot be opened: %v", err)
		return
	}
	defer func() { _ = store.Close() }() // every object was acknowledged by itself
	if err := store.Check(ctx); err != nil {
		e.fail("storage.reach", "see that the storage runs and is reachable, that the bucket of BERTH_STORAGE_URL exists, and that the credentials (the standard AWS chain) allow s3:ListBucket; a folder must be writable",
			"the storage does not answer: %v", err)
		return
	}
	e.ok("storage.reach", "the storage answers")
	p := &probe{examination: e, store: store, folder: time.Now().UTC().Format(time.DateOnly) + "/" + uuid.Must(uuid.NewV7()).String()}
	defer p.remove(ctx)
	p.run(ctx, isFolder)
}

// probe writes objects and reads them back.
type probe struct {
	*examination
	store  storage.Store
	folder string
	keys   []string
	large  []byte // random: what a store makes up is not it
}

func (p *probe) run(ctx context.Context, isFolder bool) {
	p.large = make([]byte, copySize)
	_, _ = rand.Read(p.large) // it never fails
	if !p.write(ctx) {
		return
	}
	p.read(ctx)
	p.list(ctx)
	p.compose(ctx, isFolder)
	p.presign(ctx, isFolder)
}

func (p *probe) put(ctx context.Context, name string, body []byte) error {
	key := p.folder + "/" + name
	p.keys = append(p.keys, key)
	w, err := p.store.Create(ctx, key, int64(len(body)))
	if err != nil {
		return err //nolint:wrapcheck // says what was attempted
	}
	defer func() { _ = w.Abort() }() // does nothing after a commit
	if _, err := w.Write(body); err != nil {
		return err //nolint:wrapcheck // the same
	}
	return w.Commit(ctx) //nolint:wrapcheck // the same
}

func (p *probe) write(ctx context.Context) bool {
	var took []time.Duration
	for i := range writes {
		began := time.Now()
		if err := p.put(ctx, fmt.Sprintf("small-%d", i), p.large[:smallSize]); err != nil {
			p.fail("storage.write", "allow s3:PutObject below the prefix; for a folder: ownership, quota, free space, and no read-only mount", "an object cannot be written: %v", err)
			return false
		}
		took = append(took, time.Since(began))
	}
	if err := p.put(ctx, "large", p.large); err != nil {
		p.fail("storage.write", "see the message; a proxy before the bucket may limit the size of bodies", "an object of %s cannot be written: %v", size(copySize), err)
		return false
	}
	slices.Sort(took)
	if middle := took[writes/2]; middle > writeWarning {
		p.warn("storage.write", "use a faster disk, or a bucket nearer to this machine: each push waits for a write that is durable", "a small object takes %s to be durable", ms(middle))
		return true
	}
	p.ok("storage.write", "objects can be written; a small one takes %s to be durable", ms(took[writes/2]))
	return true
}

func (p *probe) get(ctx context.Context, key string, offset, length int64) ([]byte, error) {
	r, err := p.store.Open(ctx, key, offset, length)
	if err != nil {
		return nil, err //nolint:wrapcheck // says what was attempted
	}
	defer func() { _ = r.Close() }()
	return io.ReadAll(r) //nolint:wrapcheck // the same
}

var errOtherBytes = errors.New("other bytes come back than were written")

// matches reads a range and compares it.
func (p *probe) matches(ctx context.Context, name string, offset, length int64, want []byte) error {
	got, err := p.get(ctx, p.folder+"/"+name, offset, length)
	if err == nil && !bytes.Equal(got, want) {
		return errOtherBytes
	}
	return err
}

func (p *probe) read(ctx context.Context) {
	if err := p.matches(ctx, "large", 0, -1, p.large); err != nil {
		p.fail("storage.read", "allow s3:GetObject below the prefix; look for a cache or a proxy in between", "an object cannot be read back: %v", err)
	} else {
		p.ok("storage.read", "objects come back as they were written")
	}
	const from, length = 100_000, 50_000
	if err := p.matches(ctx, "large", from, length, p.large[from:from+length]); err != nil {
		p.fail("storage.range", "let requests with the header Range reach the bucket as they are: pulls go on by them", "a part of an object cannot be read: %v", err)
	} else {
		p.ok("storage.range", "parts of objects can be read")
	}
}

func (p *probe) list(ctx context.Context) {
	seen := map[string]bool{}
	err := p.store.List(ctx, p.folder, func(o storage.Object) error {
		seen[o.Key] = true
		return nil
	})
	const do = "allow s3:ListBucket: the sweeper lists each day once, to find what no row names"
	switch {
	case err != nil:
		p.fail("storage.list", do, "objects cannot be listed: %v", err)
	case len(seen) != len(p.keys):
		p.fail("storage.list", do, "a listing shows %d of %d objects", len(seen), len(p.keys))
	default:
		p.ok("storage.list", "objects can be listed")
	}
}

// compose does what the compactor does: large ranges are copied inside the store.
func (p *probe) compose(ctx context.Context, isFolder bool) {
	key := p.folder + "/composed"
	p.keys = append(p.keys, key)
	source := p.folder + "/large"
	err := p.store.Compose(ctx, key, []storage.Part{{Key: source, Length: copySize}, {Key: source, Length: copySize}})
	if err == nil {
		err = p.matches(ctx, "composed", copySize-1000, 2000, slices.Concat(p.large[copySize-1000:], p.large[:1000]))
	}
	switch {
	case err == nil:
		p.ok("storage.copy", "objects can be put together inside the store")
	case isFolder:
		p.fail("storage.copy", "see the message; the disk may be full", "objects cannot be put together: %v", err)
	default:
		p.fail("storage.copy", "use a server that knows UploadPartCopy, and allow s3:PutObject and s3:AbortMultipartUpload; else set BERTH_GC_COMPACT_CHUNKS=-1, and large blobs stay many objects",
			"parts cannot be copied inside the bucket: %v", err)
	}
}

// presign fetches an object by a URL as clients get them, and compares the clock of whoever answers.
func (p *probe) presign(ctx context.Context, isFolder bool) {
	if isFolder {
		if p.cfg.Storage.Redirect {
			p.warn("storage.presign", "turn BERTH_STORAGE_REDIRECT off", "BERTH_STORAGE_REDIRECT is on and changes nothing: a folder has no URLs")
		}
		return
	}
	began := time.Now()
	date, err := p.fetch(ctx)
	switch {
	case err != nil && p.cfg.Storage.Redirect:
		p.fail("storage.presign", "let clients reach the bucket's endpoint by the name in BERTH_STORAGE_URL, with credentials that may be presigned; or turn BERTH_STORAGE_REDIRECT off",
			"a presigned URL does not work: %v", err)
	case err == nil && p.cfg.Storage.Redirect:
		p.ok("storage.presign", "presigned URLs work from this machine")
	}
	if !date.IsZero() {
		p.skew("clock.storage", "the storage", date.Add(time.Second/2).Sub(began), time.Since(began)+time.Second/2)
	}
}

func (p *probe) fetch(ctx context.Context) (date time.Time, err error) {
	signed, err := p.store.Presign(ctx, p.folder+"/large", storage.Presign{Expires: presignLife})
	if err != nil {
		return date, err //nolint:wrapcheck // says what was attempted
	}
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, signed, http.NoBody)
	if err != nil {
		return date, withoutURL(err)
	}
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		return date, withoutURL(err)
	}
	defer func() { _ = response.Body.Close() }()
	date, _ = http.ParseTime(response.Header.Get("Date")) // else the zero time: not told
	body, err := io.ReadAll(io.LimitReader(response.Body, copySize+1))
	switch {
	case err != nil:
		return date, fmt.Errorf("read the answer: %w", err)
	case response.StatusCode != http.StatusOK:
		return date, fmt.Errorf("the answer is %s", response.Status)
	case !bytes.Equal(body, p.large):
		return date, errOtherBytes
	}
	return date, nil
}

// withoutURL strips the URL from an error: that of the probe is signed.
func withoutURL(err error) error {
	if wrapped, ok := errors.AsType[*url.Error](err); ok {
		return wrapped.Err
	}
	return err
}

// remove deletes what was written, also when the examination was interrupted.
func (p *probe) remove(ctx context.Context) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), total/6)
	defer cancel()
	const do = "allow s3:DeleteObject: what nobody can reach is removed by it. The sweeper removes what is left of the probe in two days"
	if err := p.store.Delete(ctx, p.keys...); err != nil {
		p.fail("storage.delete", do, "objects cannot be deleted: %v", err)
		return
	}
	for _, key := range p.keys {
		if _, err := p.get(ctx, key, 0, 1); !errors.Is(err, storage.ErrNotFound) {
			p.fail("storage.delete", do, "the object %s is there after it was deleted", key)
			return
		}
	}
	p.ok("storage.delete", "objects can be deleted; the probe is gone")
}

// size shows bytes as people compare them.
func size(n int64) string {
	const unit = 1024
	value, suffix := float64(n), "B"
	for _, next := range []string{"KiB", "MiB", "GiB", "TiB"} {
		if value < unit {
			break
		}
		value, suffix = value/unit, next
	}
	return fmt.Sprintf("%.1f %s", value, suffix)
}
