package storagetest

import (
	"context"
	"errors"
	"io"

	"github.com/berthregistry/berth/internal/storage"
)

// compose joins parts, whose bytes are those of want.
func (s *suite) compose(parts []storage.Part, want []byte) {
	s.Helper()
	dst := newKey("composed")
	s.wrote(dst)
	if err := s.store.Compose(s.Context(), dst, parts); err != nil {
		s.Fatalf("Compose: %v", err)
	}
	s.expect(dst, 0, -1, want)
	s.expect(dst, int64(len(want))/2, -1, want[len(want)/2:])
}

// source makes an object to compose from.
func (s *suite) source(seed byte, size int) (string, []byte) {
	s.Helper()
	key, data := newKey("source"), random(seed, size)
	s.put(key, data)
	return key, data
}

func testComposeSmall(s *suite) {
	a, dataA := s.source(1, 10)
	b, dataB := s.source(2, 300*kib)
	empty, _ := s.source(3, 0)
	s.compose(nil, nil)
	s.compose([]storage.Part{{Key: empty}}, nil)
	s.compose([]storage.Part{{Key: a, Length: 10}}, dataA)
	s.compose([]storage.Part{{Key: a, Offset: 3, Length: 4}}, dataA[3:7])
	s.compose([]storage.Part{{Key: a, Length: 10}, {Key: b, Length: 300 * kib}}, concat(dataA, dataB))
	s.compose([]storage.Part{
		{Key: b, Offset: 1, Length: 2}, {Key: empty}, {Key: b, Offset: 1, Length: 2}, {Key: a, Offset: 9, Length: 1},
	}, concat(dataB[1:3], dataB[1:3], dataA[9:]))
	s.expect(a, 0, -1, dataA)
}

func testComposeLarge(s *suite) {
	a, dataA := s.source(1, 7*mib)
	b, dataB := s.source(2, 20*mib)
	c, dataC := s.source(3, 100)
	s.compose([]storage.Part{{Key: a, Length: 7 * mib}}, dataA)
	s.compose([]storage.Part{{Key: a, Length: 7 * mib}, {Key: b, Length: 20 * mib}}, concat(dataA, dataB))
	s.compose([]storage.Part{
		{Key: c, Length: 100}, {Key: b, Offset: 1, Length: 20*mib - 2}, {Key: c, Offset: 50, Length: 50},
	}, concat(dataC, dataB[1:20*mib-1], dataC[50:]))
	s.compose([]storage.Part{
		{Key: a, Offset: 2*mib + 1, Length: 5*mib - 1}, {Key: c, Length: 1}, {Key: a, Offset: 1, Length: 5 * mib},
		{Key: a, Offset: 6 * mib, Length: mib},
	}, concat(dataA[2*mib+1:], dataC[:1], dataA[1:5*mib+1], dataA[6*mib:]))
}

func testComposeMany(s *suite) {
	var parts []storage.Part
	var want []byte
	for i := range 40 {
		size := 1 + i*17*kib
		if i%8 == 5 {
			size = 5*mib + i
		}
		key, data := s.source(byte(i), size)
		from := min(i, size-1)
		parts = append(parts, storage.Part{Key: key, Offset: int64(from), Length: int64(size - from)})
		want = append(want, data[from:]...)
	}
	s.compose(parts, want)
}

func testComposeErrors(s *suite) {
	ctx := s.Context()
	small, _ := s.source(1, 10)
	large, _ := s.source(2, 6*mib)
	missing := newKey("missing")
	for name, tt := range map[string]struct {
		parts []storage.Part
		want  error
	}{
		"missing small source":    {[]storage.Part{{Key: small, Length: 10}, {Key: missing, Length: 1}}, storage.ErrNotFound},
		"missing large source":    {[]storage.Part{{Key: large, Length: 6 * mib}, {Key: missing, Length: 6 * mib}}, storage.ErrNotFound},
		"beyond the end of small": {[]storage.Part{{Key: small, Offset: 1, Length: 10}}, io.ErrUnexpectedEOF},
		"beyond the end of large": {[]storage.Part{{Key: large, Offset: 1, Length: 6 * mib}}, io.ErrUnexpectedEOF},
		"wholly beyond the end":   {[]storage.Part{{Key: large, Offset: 7 * mib, Length: 6 * mib}}, io.ErrUnexpectedEOF},
		"open end":                {[]storage.Part{{Key: small, Length: -1}}, storage.ErrInvalid},
		"negative offset":         {[]storage.Part{{Key: small, Offset: -1, Length: 1}}, storage.ErrInvalid},
	} {
		dst := newKey("composed")
		s.expectError(name, s.store.Compose(ctx, dst, tt.parts), tt.want)
		s.expectAbsent(dst)
	}
	s.expectError("itself", s.store.Compose(ctx, small, []storage.Part{{Key: small, Length: 1}}), storage.ErrInvalid)
}

// testCancelCompose cancels while Compose works. Whatever wins, the answer and the store agree.
func testCancelCompose(s *suite) {
	key, data := s.source(1, 20*mib)
	parts := []storage.Part{{Key: key, Length: 20 * mib}, {Key: key, Length: 20 * mib}, {Key: key, Length: 1}}
	for range 4 {
		dst := newKey("composed")
		ctx, cancel := context.WithCancel(s.Context())
		go cancel()
		err := s.store.Compose(ctx, dst, parts)
		if err == nil {
			s.wrote(dst)
			s.expect(dst, 0, -1, concat(data, data, data[:1]))
			continue
		}
		if !errors.Is(err, context.Canceled) {
			s.Fatalf("Compose: %v", err)
		}
		s.expectAbsent(dst)
	}
}

func concat(pieces ...[]byte) []byte {
	var all []byte
	for _, p := range pieces {
		all = append(all, p...)
	}
	return all
}
