package storagetest

import (
	"fmt"
	"io"
	"strings"

	"github.com/berthregistry/berth/internal/storage"
)

func testRoundTrip(s *suite) {
	for i, size := range []int{0, 1, 128 * kib, 128*kib + 1, 5*mib + 1, 20 * mib} {
		data := random(byte(i), size)
		key := newKey("round-trip")
		s.put(key, data)
		s.expect(key, 0, -1, data)
		s.expect(key, 0, int64(size), data)
	}
}

func testDeclaredSize(s *suite) {
	data := random(1, 300*kib)
	size := int64(len(data))
	key := newKey("declared")
	s.wrote(key)
	if err := write(s.Context(), s.store, key, size, data); err != nil {
		s.Fatalf("exact size: %v", err)
	}
	s.expect(key, 0, -1, data)
	for _, wrong := range []int64{0, size - 1, size + 1} {
		key := newKey("declared")
		s.expectError(fmt.Sprintf("declared %d", wrong), write(s.Context(), s.store, key, wrong, data), storage.ErrInvalid)
		s.expectAbsent(key)
	}
}

func testRanges(s *suite) {
	data := random(1, 5*mib+1)
	size := int64(len(data))
	key := newKey("ranges")
	s.put(key, data)
	for _, r := range [][2]int64{
		{0, 1}, {size - 1, 1}, {1, 1}, {size / 2, 1}, {0, 0}, {size, 0}, {size - 1, 0}, {0, size}, {1, size - 1},
		{mib - 1, 2*mib + 3}, {128*kib - 1, 2},
	} {
		s.expect(key, r[0], r[1], data[r[0]:r[0]+r[1]])
	}
	for _, offset := range []int64{0, 1, size / 2, size - 1, size} {
		s.expect(key, offset, -1, data[offset:])
	}
	s.expect(key, size+1, -1, nil)
	s.expect(key, size+1<<40, -1, nil)
}

func testRangeErrors(s *suite) {
	data := random(1, mib)
	size := int64(len(data))
	key := newKey("ranges")
	s.put(key, data)
	empty := newKey("ranges")
	s.put(empty, nil)
	for _, tt := range []struct {
		key            string
		offset, length int64
		want           []byte
	}{
		{key, 0, size + 1, data}, {key, size - 1, 2, data[size-1:]}, {key, size, 1, nil}, {key, size + 5, 1, nil},
		{empty, 0, 1, nil},
	} {
		for name, how := range readings {
			got, err := how(s.Context(), s.store, tt.key, tt.offset, tt.length)
			s.expectError(fmt.Sprintf("%s [%d, +%d)", name, tt.offset, tt.length), err, io.ErrUnexpectedEOF)
			if len(got) != len(tt.want) {
				s.Errorf("%s [%d, +%d): %d bytes before the error, want %d", name, tt.offset, tt.length, len(got), len(tt.want))
			}
		}
	}
	_, err := s.store.Open(s.Context(), key, -1, 1)
	s.expectError("negative offset", err, storage.ErrInvalid)
	_, err = s.store.Open(s.Context(), key, 1<<62, 1<<62)
	s.expectError("overflow", err, storage.ErrInvalid)
}

func testNotFound(s *suite) {
	s.put(newKey("session"), nil)
	for _, key := range []string{newKey("session"), newKey("other"), otherDay + "/none/none", day + "/session", day} {
		for _, r := range [][2]int64{{0, -1}, {0, 1}, {5, -1}, {0, 0}} {
			_, err := s.store.Open(s.Context(), key, r[0], r[1])
			s.expectError(fmt.Sprintf("open %s [%d, +%d)", key, r[0], r[1]), err, storage.ErrNotFound)
		}
	}
}

// testExists accepts stores that cannot tell; none may damage the first object when it refuses the second.
func testExists(s *suite) {
	first := random(1, 200*kib)
	key := newKey("exists")
	s.put(key, first)
	err := write(s.Context(), s.store, key, -1, random(2, 200*kib))
	if err == nil {
		return
	}
	s.expectError("second object under a key", err, storage.ErrExists)
	s.expect(key, 0, -1, first)

	source := newKey("exists")
	s.put(source, random(3, 100))
	err = s.store.Compose(s.Context(), key, []storage.Part{{Key: source, Length: 100}})
	s.expectError("compose under a taken key", err, storage.ErrExists)
	s.expect(key, 0, -1, first)
}

func testInvalidKeys(s *suite) {
	ctx := s.Context()
	for _, key := range []string{
		"", "/", "/etc/passwd", "../x", "a/../../x", day + "/../x", day + "//x", day + "/s/", ".", "a/./b",
		"a\x00b", `a\b`, `..\x`, "a b", "a%2e%2e/b", "C:x", strings.Repeat("k", 300), strings.Repeat("k/", 300) + "k",
	} {
		_, err := s.store.Create(ctx, key, -1)
		s.expectError(fmt.Sprintf("create %q", key), err, storage.ErrInvalid)
		_, err = s.store.Open(ctx, key, 0, -1)
		s.expectError(fmt.Sprintf("open %q", key), err, storage.ErrInvalid)
		s.expectError(fmt.Sprintf("delete %q", key), s.store.Delete(ctx, key), storage.ErrInvalid)
		err = s.store.Compose(ctx, key, nil)
		s.expectError(fmt.Sprintf("compose %q", key), err, storage.ErrInvalid)
		err = s.store.Compose(ctx, newKey("invalid"), []storage.Part{{Key: key, Length: 1}})
		s.expectError(fmt.Sprintf("compose from %q", key), err, storage.ErrInvalid)
	}
	for _, prefix := range []string{"", "/", "..", "../", "/a", "a//", `a\`} {
		err := s.store.List(ctx, prefix, func(storage.Object) error { return nil })
		s.expectError(fmt.Sprintf("list %q", prefix), err, storage.ErrInvalid)
	}
}
