package main

import (
	"bytes"
	"crypto/rand"
	"crypto/sha256"
	"encoding"
	"encoding/hex"
	"fmt"
	"hash"
	"io"
	mathrand "math/rand/v2"
	"sync"
)

// content is a blob that no server has seen. All of a size share their bytes but for a random end, so that making one
// costs next to nothing while a server is measured, and no server can tell.
type content struct {
	size int64
	tail [tailSize]byte
}

const tailSize = 32

// body is the beginning of every content, over and over. It is the same in every run.
var body = sync.OnceValue(func() []byte {
	b := make([]byte, 16<<20)
	_, _ = mathrand.NewChaCha8(sha256.Sum256([]byte("body"))).Read(b) // never fails
	return b
})

// seededContent is the same for the same numbers, in every run.
func seededContent(seed uint64, number int, size int64) content {
	return content{size: size, tail: sha256.Sum256(fmt.Appendf(nil, "%d/%d/%d", seed, number, size))}
}

func newContent(size int64) content {
	c := content{size: size}
	_, _ = rand.Read(c.tail[:]) // never fails
	return c
}

// part returns the bytes from an offset on, n at most.
func (c content) part(offset, n int64) io.Reader {
	return io.LimitReader(&contentReader{content: c, offset: offset}, min(n, c.size-offset))
}

func (c content) reader() io.Reader { return c.part(0, c.size) }

type contentReader struct {
	content content
	offset  int64
}

// Read implements io.Reader.
func (r *contentReader) Read(p []byte) (int, error) {
	shared := r.content.size - tailSize
	var source []byte
	switch {
	case r.offset >= r.content.size:
		return 0, io.EOF
	case r.offset >= shared:
		source = r.content.tail[r.offset-shared:]
	default:
		at := r.offset % int64(len(body()))
		source = body()[at:]
		source = source[:min(int64(len(source)), shared-r.offset)]
	}
	n := copy(p, source)
	r.offset += int64(n)
	return n, nil
}

// beginnings holds, by size, the hash state of what contents of that size share.
var beginnings = struct {
	sync.Mutex
	bySize map[int64][]byte
}{bySize: map[int64][]byte{}}

// digest is the content's SHA-256, as registries write it.
func (c content) digest() (string, error) {
	beginnings.Lock()
	defer beginnings.Unlock()
	h := sha256.New()
	state, known := beginnings.bySize[c.size]
	if known {
		if err := h.(encoding.BinaryUnmarshaler).UnmarshalBinary(state); err != nil { //nolint:errcheck // documented
			return "", fmt.Errorf("restore a hash: %w", err)
		}
	} else {
		if _, err := io.Copy(h, c.part(0, c.size-tailSize)); err != nil {
			return "", fmt.Errorf("hash: %w", err)
		}
		state, err := h.(encoding.BinaryMarshaler).MarshalBinary() //nolint:errcheck // documented
		if err != nil {
			return "", fmt.Errorf("save a hash: %w", err)
		}
		beginnings.bySize[c.size] = state
	}
	_, _ = h.Write(c.tail[:]) // never fails
	return digestOf(h), nil
}

func digestOf(h hash.Hash) string { return "sha256:" + hex.EncodeToString(h.Sum(nil)) }

func digestBytes(b []byte) string {
	h := sha256.New()
	_, _ = io.Copy(h, bytes.NewReader(b)) // never fails
	return digestOf(h)
}
