package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"regexp"
	"strconv"
	"strings"
	"time"
)

// step does the next operation of one client, and tells which it was and how many bytes it moved.
type step func(ctx context.Context) (op string, bytes int64, err error)

// kase is something that registries are compared in.
type kase struct {
	name string
	// prepare makes the steps of a client of a registry; the argument numbers the clients.
	prepare func(k *catalog, every int) func(client int) step
}

// errUnsupported says that a registry does not have what a case is about.
var errUnsupported = errors.New("not supported")

// mixCase is the mix of production.
const mixCase = "mix"

// kases are all of them, with pushes and pulls of a size.
func kases(size int64) []kase {
	named := " " + sizeName(size)
	return []kase{
		{mixCase, prepareMix},
		{"push" + named, single("push", func(k *catalog, _ *reading, client int) action {
			return func(ctx context.Context) (int64, error) {
				return size, k.repositories[client%catalogRepositories].pushMonolithic(ctx, newContent(size))
			}
		})},
		{"push in chunks" + named, single("push in chunks", func(k *catalog, _ *reading, client int) action {
			return func(ctx context.Context) (int64, error) {
				return size, k.repositories[client%catalogRepositories].pushChunked(ctx, newContent(size), chunkOf(size))
			}
		})},
		{"pull" + named, preparePull(size)},
		{opManifestGet, single(opManifestGet, func(k *catalog, v *reading, client int) action {
			s := k.plan.stream(client)
			return func(ctx context.Context) (int64, error) {
				i := int(s.images.Uint64())
				return v.get(ctx, k.images[i], "manifests", tagOf(i))
			}
		})},
		{opManifestHead, single(opManifestHead, func(k *catalog, v *reading, client int) action {
			s := k.plan.stream(client)
			return func(ctx context.Context) (int64, error) {
				i := int(s.images.Uint64())
				return 0, v.head(ctx, k.images[i], "manifests", tagOf(i))
			}
		})},
		{opManifestPut, single(opManifestPut, func(k *catalog, _ *reading, client int) action {
			s := k.plan.stream(client)
			return func(ctx context.Context) (int64, error) { return k.moveTag(ctx, int(s.images.Uint64()), client) }
		})},
		{"tags", single("tags", func(k *catalog, _ *reading, client int) action {
			return func(ctx context.Context) (int64, error) {
				return k.repositories[client%catalogRepositories].list(ctx, "tags/list?n=100")
			}
		})},
		{"referrers", single("referrers", func(k *catalog, _ *reading, client int) action {
			s := k.plan.stream(client)
			return func(ctx context.Context) (int64, error) {
				i := k.images[s.images.Uint64()]
				return i.list(ctx, "referrers/"+i.digest)
			}
		})},
		{"token", single("token", func(k *catalog, _ *reading, client int) action {
			c := k.repositories[client%catalogRepositories]
			return func(ctx context.Context) (int64, error) {
				if c.auth == nil || c.auth.realm == "" {
					return 0, errUnsupported
				}
				_, err := c.auth.fetch(ctx, c.repository)
				return 0, err
			}
		})},
	}
}

// chosen are the cases whose names match.
func chosen(all []kase, pattern *regexp.Regexp) []kase {
	var some []kase
	for _, one := range all {
		if pattern.MatchString(one.name) {
			some = append(some, one)
		}
	}
	return some
}

// action is the one operation of a case.
type action func(ctx context.Context) (bytes int64, err error)

func single(op string, prepare func(k *catalog, v *reading, client int) action) func(*catalog, int) func(int) step {
	return func(k *catalog, every int) func(int) step {
		return func(client int) step {
			do := prepare(k, &reading{every: every}, client)
			return func(ctx context.Context) (string, int64, error) {
				n, err := do(ctx)
				return op, n, err
			}
		}
	}
}

// prepareMix asks as the plan's streams say.
func prepareMix(k *catalog, every int) func(int) step {
	return func(client int) step {
		s, v := k.plan.stream(client), &reading{every: every}
		return func(ctx context.Context) (string, int64, error) {
			a := s.next()
			n, err := k.answer(ctx, a, v, client)
			return a.op, n, err
		}
	}
}

func (k *catalog) answer(ctx context.Context, a asked, v *reading, client int) (int64, error) {
	switch a.op {
	case opManifestGet:
		return v.get(ctx, k.images[a.image], "manifests", tagOf(a.image))
	case opManifestHead:
		return 0, v.head(ctx, k.images[a.image], "manifests", tagOf(a.image))
	case opManifestPut:
		return k.moveTag(ctx, a.image, client)
	}
	blob := k.blobs[a.class][a.blob]
	switch a.op {
	case opBlobGet:
		return v.get(ctx, blob, "blobs", blob.digest)
	case opBlobHead:
		return 0, v.head(ctx, blob, "blobs", blob.digest)
	case opBlobPush: // what nobody has pushed before
		return blob.size, blob.push(ctx, newContent(blob.size))
	}
	return 0, fmt.Errorf("%q is no operation", a.op)
}

// moveTag pushes another manifest of an image under a tag of the client's own.
func (k *catalog) moveTag(ctx context.Context, image, client int) (int64, error) {
	put, err := k.putImage(ctx, image, "moving-"+strconv.Itoa(client), strconv.FormatInt(time.Now().UnixNano(), 36)+"-"+strconv.Itoa(client))
	return put.size, err
}

// preparePull pushes a blob with the first step, and reads it with all others. It is pushed once for all clients.
func preparePull(size int64) func(*catalog, int) func(int) step {
	return func(k *catalog, every int) func(int) step {
		blob := seededContent(k.plan.seed, -1, size)
		to := k.repositories[0]
		pushed := make(chan error, 1)
		pushed <- errUnpushed
		return func(int) step {
			v := &reading{every: every}
			return func(ctx context.Context) (string, int64, error) {
				d, err := blob.digest()
				if err != nil {
					return "pull", 0, err
				}
				if err = <-pushed; err != nil {
					err = to.push(ctx, blob)
				}
				pushed <- err
				if err != nil {
					return "pull", 0, err
				}
				n, err := v.get(ctx, stored{to, d, size}, "blobs", d)
				return "pull", n, err
			}
		}
	}
}

var errUnpushed = errors.New("not pushed yet")

// pushMonolithic is a POST and a PUT with everything, as containerd does.
func (c *client) pushMonolithic(ctx context.Context, blob content) error {
	d, err := blob.digest()
	if err != nil {
		return err
	}
	location, err := c.begin(ctx)
	if err != nil {
		return err
	}
	return c.finishWith(ctx, location, d, io.NopCloser(blob.reader()), blob.size)
}

// pushChunked is a POST, PATCHes with ranges, and an empty PUT.
func (c *client) pushChunked(ctx context.Context, blob content, chunk int64) error {
	d, err := blob.digest()
	if err != nil {
		return err
	}
	location, err := c.begin(ctx)
	if err != nil {
		return err
	}
	for at := int64(0); at < blob.size; at += chunk {
		n := min(chunk, blob.size-at)
		if location, err = c.patch(ctx, location, blob.part(at, n), n, at); err != nil {
			return err
		}
	}
	return c.finish(ctx, location, d)
}

const (
	chunksOfPush = 4
	// smallestChunk is what S3 takes as a part.
	smallestChunk = 5 << 20
)

// chunkOf is the size of chunks, four of them where they are not too small for S3.
func chunkOf(size int64) int64 {
	return max((size+chunksOfPush-1)/chunksOfPush, min(size, smallestChunk))
}

// list reads a list. A registry that has no such list answers 404 or 405.
func (c *client) list(ctx context.Context, path string) (int64, error) {
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, c.base+"/v2/"+c.repository+"/"+path, nil)
	if err != nil {
		return 0, err
	}
	answer, err := c.do(r, http.StatusOK)
	if err != nil {
		if text := err.Error(); strings.Contains(text, "status 404") || strings.Contains(text, "status 405") {
			err = errors.Join(errUnsupported, err)
		}
		return 0, err
	}
	defer func() { _ = answer.Body.Close() }()
	return copyBody(io.Discard, answer.Body)
}

// sizeName writes a size as it is given on the command line.
func sizeName(size int64) string {
	switch {
	case size >= megabyte && size%megabyte == 0:
		return strconv.FormatInt(size/megabyte, 10) + "MB"
	case size >= 1000 && size%1000 == 0:
		return strconv.FormatInt(size/1000, 10) + "kB"
	}
	return strconv.FormatInt(size, 10) + "B"
}

// parseSize reads what sizeName writes.
func parseSize(text string) (int64, error) {
	for _, unit := range []struct {
		name  string
		bytes int64
	}{{"MB", megabyte}, {"kB", 1000}, {"B", 1}, {"", 1}} {
		if digits, ok := strings.CutSuffix(text, unit.name); ok {
			n, err := strconv.ParseInt(digits, 10, 64)
			if err != nil || n*unit.bytes < smallestBlob {
				return 0, fmt.Errorf("%q is no size of %d bytes or more, such as 10MB", text, smallestBlob)
			}
			return n * unit.bytes, nil
		}
	}
	return 0, fmt.Errorf("%q is no size", text)
}
