package storagetest

import (
	"bytes"
	"context"
	"fmt"

	"golang.org/x/sync/errgroup"

	"github.com/berthregistry/berth/internal/storage"
)

// testConcurrentWriters has many writers commit, abort and delete in two session folders at once, so that a folder
// is emptied and filled again all the time.
func testConcurrentWriters(s *suite) {
	group, ctx := errgroup.WithContext(s.Context())
	for i := range 24 {
		group.Go(func() error {
			for round := range 6 {
				session := fmt.Sprintf("shared-%d", (i+round)%2)
				if err := oneObject(ctx, s.store, session, byte(i), round%3 == 0); err != nil {
					return fmt.Errorf("writer %d, round %d: %w", i, round, err)
				}
			}
			return nil
		})
	}
	if err := group.Wait(); err != nil {
		s.Fatal(err)
	}
	if left := s.list(day); len(left) > 0 {
		s.Errorf("left: %v", left)
	}
}

// oneObject aborts an object, or commits, reads and deletes it.
func oneObject(ctx context.Context, store storage.Store, session string, seed byte, abort bool) error {
	key := newKey(session)
	data := random(seed, int(seed)*16*kib)
	if abort {
		w, err := store.Create(ctx, key, -1)
		if err != nil {
			return fmt.Errorf("create: %w", err)
		}
		if _, err := w.Write(data); err != nil {
			return fmt.Errorf("write: %w", err)
		}
		return w.Abort()
	}
	if err := write(ctx, store, key, int64(len(data)), data); err != nil {
		return err
	}
	got, err := read(ctx, store, key, 0, -1)
	if err != nil {
		return err
	}
	if !bytes.Equal(got, data) {
		return fmt.Errorf("%s = %s, want %s", key, describe(got), describe(data))
	}
	return store.Delete(ctx, key)
}

func testConcurrentReaders(s *suite) {
	data := random(1, 6*mib)
	key := newKey("readers")
	s.put(key, data)
	group, ctx := errgroup.WithContext(s.Context())
	for i := range 16 {
		group.Go(func() error {
			offset := int64(i) * 300 * kib
			got, err := readTo(ctx, s.store, key, offset, mib)
			if err != nil {
				return fmt.Errorf("reader %d: %w", i, err)
			}
			if !bytes.Equal(got, data[offset:offset+mib]) {
				return fmt.Errorf("reader %d got other bytes", i)
			}
			return nil
		})
	}
	if err := group.Wait(); err != nil {
		s.Error(err)
	}
}
