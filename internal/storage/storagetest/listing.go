package storagetest

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/berthregistry/berth/internal/storage"
)

func testDelete(s *suite) {
	keep, gone := newKey("delete"), newKey("delete")
	s.put(keep, []byte("keep"))
	s.put(gone, []byte("gone"))
	ctx := s.Context()
	if err := s.store.Delete(ctx); err != nil {
		s.Fatalf("Delete of nothing: %v", err)
	}
	for range 2 {
		if err := s.store.Delete(ctx, gone, newKey("delete"), otherDay+"/none/none"); err != nil {
			s.Fatalf("Delete: %v", err)
		}
		s.expectAbsent(gone)
	}
	if err := s.store.Delete(ctx, day, day+"/delete"); err != nil {
		s.Fatalf("Delete of folders, which are no objects: %v", err)
	}
	s.expect(keep, 0, -1, []byte("keep"))
	s.put(gone, []byte("again"))
	s.expect(gone, 0, -1, []byte("again"))
}

// testDeleteMany exceeds what one request to a remote store can delete.
func testDeleteMany(s *suite) {
	keys := make([]string, 0, 1500)
	for i := range 1500 {
		keys = append(keys, fmt.Sprintf("%s/many/%04d", day, i))
	}
	for _, i := range []int{0, 999, 1000, 1499} {
		s.put(keys[i], []byte{1})
	}
	if err := s.store.Delete(s.Context(), keys...); err != nil {
		s.Fatalf("Delete: %v", err)
	}
	if left := s.list(day); len(left) > 0 {
		s.Errorf("left: %v", left)
	}
}

func testListByPrefix(s *suite) {
	before := time.Now().Add(-time.Hour)
	sizes := map[string]int{}
	for i, folder := range []string{day + "/a", day + "/a", day + "/ab", day + "/b", otherDay + "/a"} {
		key := fmt.Sprintf("%s/o%d", folder, i)
		sizes[key] = i * 10
		s.put(key, random(byte(i), i*10))
	}
	for prefix, want := range map[string][]string{
		day + "/":     {day + "/a/o0", day + "/a/o1", day + "/ab/o2", day + "/b/o3"},
		day:           {day + "/a/o0", day + "/a/o1", day + "/ab/o2", day + "/b/o3"},
		day + "/a":    {day + "/a/o0", day + "/a/o1"},
		day + "/a/":   {day + "/a/o0", day + "/a/o1"},
		otherDay:      {otherDay + "/a/o4"},
		"2026-01-0":   nil,
		"2026-01-04/": nil,
		day + "/a/o0": nil,
	} {
		got := map[string]bool{}
		for _, o := range s.list(prefix) {
			got[o.Key] = true
			if o.Size != int64(sizes[o.Key]) {
				s.Errorf("%s has size %d, want %d", o.Key, o.Size, sizes[o.Key])
			}
			if o.Modified.Before(before) || o.Modified.After(time.Now().Add(time.Hour)) {
				s.Errorf("%s was modified at %v", o.Key, o.Modified)
			}
		}
		if keys := slices.Sorted(maps.Keys(got)); !slices.Equal(keys, want) {
			s.Errorf("List(%s) = %v, want %v", prefix, keys, want)
		}
	}
}

func testListErrors(s *suite) {
	for i := range 3 {
		s.put(newKey("errors"), random(byte(i), 10))
	}
	stop := errors.New("stop")
	calls := 0
	err := s.store.List(s.Context(), day, func(storage.Object) error { calls++; return stop })
	s.expectError("List", err, stop)
	if calls != 1 {
		s.Errorf("yield was called %d times after it failed", calls)
	}
}

// testListWhileDeleting deletes what is listed, and other objects too. Each untouched object must appear once.
func testListWhileDeleting(s *suite) {
	const sessions, each = 6, 20
	untouched := map[string]int{}
	var doomed []string
	for i := range sessions * each {
		key := fmt.Sprintf("%s/s%d/%03d", day, i%sessions, i)
		s.put(key, []byte{1})
		if i%3 == 0 {
			untouched[key] = 0
		} else {
			doomed = append(doomed, key)
		}
	}
	ctx, cancel := context.WithCancel(s.Context())
	defer cancel()
	deleted := make(chan error, 1)
	go func() {
		for _, key := range doomed[:len(doomed)/2] {
			if err := s.store.Delete(ctx, key); err != nil {
				deleted <- err
				return
			}
		}
		deleted <- nil
	}()
	err := s.store.List(ctx, day, func(o storage.Object) error {
		if _, ok := untouched[o.Key]; ok {
			untouched[o.Key]++
			return nil
		}
		return s.store.Delete(ctx, o.Key)
	})
	if err != nil {
		s.Errorf("List: %v", err)
	}
	if err := <-deleted; err != nil {
		s.Errorf("Delete: %v", err)
	}
	for key, n := range untouched {
		if n != 1 {
			s.Errorf("%s was listed %d times", key, n)
		}
	}
}
