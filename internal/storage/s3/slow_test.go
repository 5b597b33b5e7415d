package s3_test

import (
	"bytes"
	"fmt"
	"testing"

	"github.com/berthregistry/berth/internal/storage"
	"github.com/berthregistry/berth/internal/storage/s3"
)

// TestSlowWriters has 200 uploads stop half-way. They must neither hold more memory than allowed nor keep a fast one
// from finishing.
func TestSlowWriters(t *testing.T) {
	const memory = 8 * mib
	store := openWith(t, s3.Options{UploadMemory: memory})
	defer func() { _ = store.Close() }()
	half := make([]byte, mib/2)
	var slow []storage.Writer
	for i := range 200 {
		w, err := store.Create(t.Context(), fmt.Sprintf("2026-01-02/slow/%d", i), -1)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = w.Abort() })
		if _, err := w.Write(half); err != nil {
			t.Fatal(err)
		}
		slow = append(slow, w)
	}
	stats := store.SpoolStats()
	if stats.Spools != 200 || stats.MemoryBytes > memory || stats.MemoryBytes+stats.DiskBytes < 200*mib/2 {
		t.Errorf("200 half uploads: %+v", stats)
	}
	data := bytes.Repeat([]byte("fast"), mib)
	if err := put(t, store, key, data); err != nil {
		t.Errorf("put: %v", err)
	}
	if got, err := get(t, store, key); err != nil || !bytes.Equal(got, data) {
		t.Errorf("get = %d bytes, %v", len(got), err)
	}
	for _, w := range slow {
		if err := w.Abort(); err != nil {
			t.Errorf("Abort: %v", err)
		}
	}
	if err := store.Delete(t.Context(), key); err != nil {
		t.Error(err)
	}
}

// TestObjectTooLarge does without 5 GiB of data.
func TestObjectTooLarge(t *testing.T) {
	store := openWith(t, s3.Options{})
	defer func() { _ = store.Close() }()
	if _, err := store.Create(t.Context(), key, 5<<30+1); err == nil {
		t.Error("an object of more than 5 GiB was begun")
	}
	w, err := store.Create(t.Context(), key, 5<<30)
	if err != nil {
		t.Fatal(err)
	}
	if err := w.Abort(); err != nil {
		t.Error(err)
	}
}
