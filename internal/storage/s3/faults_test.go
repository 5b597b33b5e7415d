package s3_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/berthregistry/berth/internal/storage"
	"github.com/berthregistry/berth/internal/storage/s3"
)

const (
	mib = 1 << 20
	key = "2026-01-02/session/object"
)

func TestRetriesAfter503(t *testing.T) {
	data := bytes.Repeat([]byte("0123456789abcdef"), 2*mib/16) // memory and disk
	failures := map[string]*atomic.Int32{http.MethodPut: {}, http.MethodGet: {}, http.MethodPost: {}}
	f := newFront(t, s3.Options{}, func(_ *front, w http.ResponseWriter, r *http.Request) bool {
		if n := failures[r.Method]; n != nil && n.Add(1) <= 2 {
			_, _ = io.CopyN(io.Discard, r.Body, 1000) // part of the body is gone: it must be sent anew
			return refuse(w, http.StatusServiceUnavailable, "SlowDown")
		}
		return false
	})
	if err := put(t, f, key, data); err != nil {
		t.Fatalf("put: %v", err)
	}
	got, err := get(t, f, key)
	if err != nil || !bytes.Equal(got, data) {
		t.Fatalf("get = %d bytes, %v", len(got), err)
	}
	if err := f.Delete(t.Context(), key); err != nil {
		t.Fatalf("delete: %v", err)
	}
	for method, n := range failures {
		if n.Load() < 3 {
			t.Errorf("%s was sent %d times", method, n.Load())
		}
	}
}

// TestBackendFailures tries every operation against servers that fail in every way.
func TestBackendFailures(t *testing.T) {
	answers := map[string]func(*front, http.ResponseWriter, *http.Request) bool{
		"503": func(_ *front, w http.ResponseWriter, _ *http.Request) bool { return refuse(w, 503, "SlowDown") },
		"500": func(_ *front, w http.ResponseWriter, _ *http.Request) bool { return refuse(w, 500, "InternalError") },
		"403": func(_ *front, w http.ResponseWriter, _ *http.Request) bool { return refuse(w, 403, "AccessDenied") },
		"409": func(_ *front, w http.ResponseWriter, _ *http.Request) bool {
			return refuse(w, 409, "ConditionalRequestConflict")
		},
		"no bucket": func(_ *front, w http.ResponseWriter, _ *http.Request) bool { return refuse(w, 404, "NoSuchBucket") },
		"not S3": func(_ *front, w http.ResponseWriter, _ *http.Request) bool {
			http.Error(w, "<html><body>404</body></html>", http.StatusNotFound)
			return true
		},
		"hangs up": func(*front, http.ResponseWriter, *http.Request) bool { return hangUp() },
		"hangs":    func(_ *front, _ http.ResponseWriter, r *http.Request) bool { return hang(r) },
	}
	for name, answer := range answers {
		t.Run(name, func(t *testing.T) {
			f := newFront(t, s3.Options{Attempts: 1, IdleTimeout: 100 * time.Millisecond}, answer)
			expectUnavailable(t, f.Store)
		})
	}
	t.Run("refuses connections", func(t *testing.T) {
		t.Setenv("AWS_ACCESS_KEY_ID", "x")
		t.Setenv("AWS_SECRET_ACCESS_KEY", "x")
		loc := s3.Location{Bucket: "bucket", Region: "us-east-1", Endpoint: "http://127.0.0.1:1", PathStyle: true}
		expectUnavailable(t, newStore(t, loc, s3.Options{Attempts: 2, MaxBackoff: time.Millisecond}))
	})
}

func expectUnavailable(t *testing.T, store *s3.Store) {
	t.Helper()
	ctx := t.Context()
	_, openErr := store.Open(ctx, key, 0, -1)
	for op, err := range map[string]error{
		"open":    openErr,
		"commit":  commitOnly(t, store),
		"delete":  store.Delete(ctx, key),
		"list":    store.List(ctx, "2026-01-02", func(storage.Object) error { return nil }),
		"compose": store.Compose(ctx, key, []storage.Part{{Key: "a/b/c", Length: 6 * mib}}),
		"small":   store.Compose(ctx, key, []storage.Part{{Key: "a/b/c", Length: 1}}),
		"check":   store.Check(ctx),
	} {
		if !errors.Is(err, storage.ErrUnavailable) {
			t.Errorf("%s: %v, want ErrUnavailable", op, err)
		}
		if errors.Is(err, storage.ErrNotFound) || errors.Is(err, context.Canceled) {
			t.Errorf("%s: %v says something else as well", op, err)
		}
	}
}

// commitOnly tolerates that Abort cannot clean up on a server that does not answer.
func commitOnly(t *testing.T, store *s3.Store) error {
	t.Helper()
	w, err := store.Create(t.Context(), key, -1)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := w.Write(make([]byte, mib)); err != nil {
		t.Fatal(err)
	}
	err = w.Commit(t.Context())
	if abortErr := w.Abort(); abortErr != nil && !errors.Is(abortErr, storage.ErrUnavailable) {
		t.Errorf("Abort: %v", abortErr)
	}
	return err
}

// TestHangsAreNotRepeated: whoever has waited for as long as a server may take does not wait for that again.
func TestHangsAreNotRepeated(t *testing.T) {
	var sent atomic.Int32
	f := newFront(t, s3.Options{IdleTimeout: 100 * time.Millisecond}, func(_ *front, _ http.ResponseWriter, r *http.Request) bool {
		sent.Add(1)
		return hang(r)
	})
	err := commitOnly(t, f.Store)
	if !errors.Is(err, storage.ErrUnavailable) {
		t.Errorf("put: %v", err)
	}
	puts := sent.Swap(0) // and what Abort sends
	if _, err := f.Open(t.Context(), key, 0, -1); !errors.Is(err, storage.ErrUnavailable) {
		t.Errorf("open: %v", err)
	}
	if gets := sent.Load(); puts != 2 || gets != 1 {
		t.Errorf("a put and its removal were sent %d times, a get %d times", puts, gets)
	}
}

func TestCutBody(t *testing.T) {
	const sent, promised = 100_000, 200_000
	for name, answer := range map[string]func(http.ResponseWriter, *http.Request){
		"cut": func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Length", fmt.Sprint(promised))
			_, _ = w.Write(make([]byte, sent))
			hangUp()
		},
		"cut without a length": func(w http.ResponseWriter, _ *http.Request) {
			_, _ = w.Write(make([]byte, sent))
			_ = http.NewResponseController(w).Flush()
			hangUp()
		},
		"stalled": func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("Content-Length", fmt.Sprint(promised))
			_, _ = w.Write(make([]byte, sent))
			_ = http.NewResponseController(w).Flush()
			hang(r)
		},
	} {
		t.Run(name, func(t *testing.T) {
			f := newFront(t, s3.Options{IdleTimeout: 200 * time.Millisecond}, func(_ *front, w http.ResponseWriter, r *http.Request) bool {
				answer(w, r)
				return true
			})
			got, err := get(t, f, key)
			if !errors.Is(err, io.ErrUnexpectedEOF) || !errors.Is(err, storage.ErrUnavailable) {
				t.Errorf("get = %d bytes, %v; want ErrUnexpectedEOF and ErrUnavailable", len(got), err)
			}
			if len(got) > sent {
				t.Errorf("%d bytes, only %d were sent", len(got), sent)
			}
		})
	}
}

func TestRangeIgnored(t *testing.T) {
	f := newFront(t, s3.Options{}, func(_ *front, w http.ResponseWriter, _ *http.Request) bool {
		_, _ = w.Write([]byte("the whole object"))
		return true
	})
	_, err := f.Open(t.Context(), key, 4, 5)
	if !errors.Is(err, storage.ErrUnavailable) {
		t.Errorf("Open = %v, want ErrUnavailable", err)
	}
}

// TestLostAnswer has the server store an object and lose the answer. The retry finds the key taken.
func TestLostAnswer(t *testing.T) {
	var lost atomic.Bool
	f := newFront(t, s3.Options{}, func(f *front, _ http.ResponseWriter, r *http.Request) bool {
		return r.Method == http.MethodPut && loseAnswer(f, r, &lost)
	})
	if err := put(t, f, key, []byte("data")); err != nil {
		t.Errorf("put: %v", err)
	}
	if got, err := get(t, f.direct, key); string(got) != "data" || err != nil {
		t.Errorf("get = %q, %v", got, err)
	}
	lost.Store(false)
	if err := put(t, f, key, []byte("evil")); !errors.Is(err, storage.ErrExists) {
		t.Errorf("other bytes under a taken key, answer lost: %v, want ErrExists", err)
	}
	if got, err := get(t, f.direct, key); string(got) != "data" || err != nil {
		t.Errorf("get = %q, %v", got, err)
	}
}

// TestUnclearCommit has the answer lost for good: Abort must remove what was stored.
func TestUnclearCommit(t *testing.T) {
	var lost atomic.Bool
	f := newFront(t, s3.Options{Attempts: 1}, func(f *front, _ http.ResponseWriter, r *http.Request) bool {
		return r.Method == http.MethodPut && loseAnswer(f, r, &lost)
	})
	if err := put(t, f, key, []byte("data")); !errors.Is(err, storage.ErrUnavailable) {
		t.Errorf("put: %v, want ErrUnavailable", err)
	}
	if _, err := get(t, f.direct, key); !errors.Is(err, storage.ErrNotFound) {
		t.Errorf("get after Abort: %v, want ErrNotFound", err)
	}
}

func TestLostAnswerOfCompose(t *testing.T) {
	for _, attempts := range []int{1, 3} {
		t.Run(fmt.Sprintf("%d attempts", attempts), func(t *testing.T) {
			var lost atomic.Bool
			f := newFront(t, s3.Options{Attempts: attempts}, func(f *front, _ http.ResponseWriter, r *http.Request) bool {
				return r.Method == http.MethodPost && r.URL.Query().Has("uploadId") && loseAnswer(f, r, &lost)
			})
			source := "2026-01-02/session/source"
			if err := put(t, f.direct, source, make([]byte, 6*mib)); err != nil {
				t.Fatal(err)
			}
			err := f.Compose(t.Context(), key, []storage.Part{{Key: source, Length: 6 * mib}})
			got, getErr := get(t, f.direct, key)
			if attempts > 1 && (err != nil || len(got) != 6*mib) {
				t.Errorf("Compose = %v, get = %d bytes, %v", err, len(got), getErr)
			}
			if attempts == 1 && (!errors.Is(err, storage.ErrUnavailable) || !errors.Is(getErr, storage.ErrNotFound)) {
				t.Errorf("Compose = %v, get = %d bytes, %v; want ErrUnavailable and ErrNotFound", err, len(got), getErr)
			}
		})
	}
}

// TestNoConditionalWrites is about servers that do not know If-None-Match on writes.
func TestNoConditionalWrites(t *testing.T) {
	var conditional, puts atomic.Int32
	f := newFront(t, s3.Options{}, func(_ *front, w http.ResponseWriter, r *http.Request) bool {
		if r.Method != http.MethodPut {
			return false
		}
		puts.Add(1)
		if r.Header.Get("If-None-Match") == "" {
			return false
		}
		conditional.Add(1)
		return refuse(w, http.StatusNotImplemented, "NotImplemented")
	})
	for i := range 3 {
		if err := put(t, f, fmt.Sprintf("%s-%d", key, i), []byte("data")); err != nil {
			t.Fatalf("put: %v", err)
		}
	}
	if conditional.Load() != 1 || puts.Load() != 4 {
		t.Errorf("%d of %d puts were conditional, want 1 of 4", conditional.Load(), puts.Load())
	}
}

// TestPutIsNotHashedTwice holds the cost of a put: one request whose body is covered by a CRC32C only.
func TestPutIsNotHashedTwice(t *testing.T) {
	var puts atomic.Int32
	f := newFront(t, s3.Options{}, func(_ *front, _ http.ResponseWriter, r *http.Request) bool {
		puts.Add(1)
		if got := r.Header.Get("X-Amz-Content-Sha256"); got != "UNSIGNED-PAYLOAD" {
			t.Errorf("X-Amz-Content-Sha256 = %q", got)
		}
		if got := r.Header.Get("X-Amz-Checksum-Crc32c"); got != "4waSgw==" { // of "123456789", as in RFC 3720
			t.Errorf("X-Amz-Checksum-Crc32c = %q", got)
		}
		if got := r.Header.Get("Content-Length"); got != "" && got != "9" || r.ContentLength != 9 {
			t.Errorf("Content-Length = %q, %d", got, r.ContentLength)
		}
		return false
	})
	if err := put(t, f, key, []byte("123456789")); err != nil {
		t.Fatal(err)
	}
	if puts.Load() != 1 {
		t.Errorf("%d requests", puts.Load())
	}
}

// TestCorruptedInTransit flips a bit on the way: the server must refuse what does not match the checksum.
func TestCorruptedInTransit(t *testing.T) {
	f := newFront(t, s3.Options{Attempts: 1}, func(_ *front, _ http.ResponseWriter, r *http.Request) bool {
		if r.Method == http.MethodPut {
			r.Body = io.NopCloser(strings.NewReader("datA"))
		}
		return false
	})
	if err := put(t, f, key, []byte("data")); !errors.Is(err, storage.ErrUnavailable) {
		t.Errorf("put = %v, want ErrUnavailable", err)
	}
	if got, err := get(t, f.direct, key); !errors.Is(err, storage.ErrNotFound) {
		t.Errorf("get = %q, %v; want ErrNotFound", got, err)
	}
}

func TestCancelDuringCommit(t *testing.T) {
	arrived := make(chan struct{})
	f := newFront(t, s3.Options{}, func(_ *front, _ http.ResponseWriter, r *http.Request) bool {
		if r.Method != http.MethodPut {
			return false
		}
		close(arrived)
		return hang(r)
	})
	ctx, cancel := context.WithCancel(t.Context())
	w, err := f.Create(ctx, key, -1)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := w.Write(make([]byte, 2*mib)); err != nil {
		t.Fatal(err)
	}
	go func() {
		<-arrived
		cancel()
	}()
	if err := w.Commit(ctx); !errors.Is(err, context.Canceled) {
		t.Errorf("Commit = %v, want Canceled", err)
	}
	if err := w.Abort(); err != nil {
		t.Errorf("Abort: %v", err)
	}
}
