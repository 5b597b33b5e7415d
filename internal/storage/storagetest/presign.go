package storagetest

import (
	"bytes"
	"errors"
	"io"
	"net/http"
	"time"

	"github.com/berthregistry/berth/internal/storage"
)

func testPresign(s *suite) {
	data := random(1, 2*mib)
	key := newKey("presign")
	s.put(key, data)
	link, err := s.store.Presign(s.Context(), key, storage.Presign{
		Expires: time.Minute, ContentType: "application/x-berth-test", CacheControl: "private, max-age=60",
	})
	if errors.Is(err, storage.ErrUnsupported) {
		return
	}
	if err != nil {
		s.Fatalf("Presign: %v", err)
	}
	got := s.fetch(link, "")
	if got.status != http.StatusOK || !bytes.Equal(got.body, data) {
		s.Errorf("GET = %d with %s", got.status, describe(got.body))
	}
	if value := got.header.Get("Content-Type"); value != "application/x-berth-test" {
		s.Errorf("Content-Type = %q", value)
	}
	if value := got.header.Get("Cache-Control"); value != "private, max-age=60" {
		s.Errorf("Cache-Control = %q", value)
	}
	got = s.fetch(link, "bytes=5-9")
	if got.status != http.StatusPartialContent || !bytes.Equal(got.body, data[5:10]) {
		s.Errorf("GET of a range = %d with %s", got.status, describe(got.body))
	}
	if got = s.fetch(link+"0", ""); got.status != http.StatusForbidden && got.status != http.StatusBadRequest {
		s.Errorf("GET with a wrong signature = %d", got.status)
	}
	for _, expires := range []time.Duration{0, -time.Second, 7*24*time.Hour + time.Second} {
		_, err := s.store.Presign(s.Context(), key, storage.Presign{Expires: expires})
		s.expectError("Presign for "+expires.String(), err, storage.ErrInvalid)
	}
	_, err = s.store.Presign(s.Context(), "../x", storage.Presign{Expires: time.Minute})
	s.expectError("Presign of an invalid key", err, storage.ErrInvalid)
}

// answer is what a presigned URL yields.
type answer struct {
	status int
	header http.Header
	body   []byte
}

func (s *suite) fetch(link, byteRange string) answer {
	s.Helper()
	req, err := http.NewRequestWithContext(s.Context(), http.MethodGet, link, nil)
	if err != nil {
		s.Fatal(err)
	}
	if byteRange != "" {
		req.Header.Set("Range", byteRange)
	}
	client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
	res, err := client.Do(req)
	if err != nil {
		s.Fatalf("GET: %v", err)
	}
	defer func() { _ = res.Body.Close() }()
	body, err := io.ReadAll(res.Body)
	if err != nil {
		s.Fatalf("GET: %v", err)
	}
	return answer{res.StatusCode, res.Header, body}
}
