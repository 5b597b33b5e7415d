package s3_test

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/berthregistry/berth/internal/storage"
	"github.com/berthregistry/berth/internal/storage/s3"
)

const presignWindow = 5 * time.Minute

// elsewhere is a bucket that nobody asks.
func elsewhere(t *testing.T) *s3.Store {
	t.Helper()
	loc, err := s3.ParseLocation("s3://bucket/prefix?endpoint=http://127.0.0.1:1&path_style=true")
	if err != nil {
		t.Fatal(err)
	}
	store := newStore(t, loc, s3.Options{SpoolDir: t.TempDir()})
	t.Cleanup(func() { _ = store.Close() })
	return store
}

func presign(t *testing.T, store *s3.Store, key string, p storage.Presign) string {
	t.Helper()
	url, err := store.Presign(t.Context(), key, p)
	if err != nil {
		t.Fatal(err)
	}
	return url
}

// TestPresignAgain: who asks for the same within five minutes is given the same URL, if it lives for long enough then.
func TestPresignAgain(t *testing.T) {
	t.Setenv("AWS_ACCESS_KEY_ID", "key")
	t.Setenv("AWS_SECRET_ACCESS_KEY", "secret")
	synctest.Test(t, func(t *testing.T) {
		store := elsewhere(t)
		p := storage.Presign{Expires: 15 * time.Minute, ContentType: "a/b"}
		first := presign(t, store, "a", p)
		time.Sleep(5*time.Minute - time.Second)
		if again := presign(t, store, "a", p); again != first {
			t.Errorf("within five minutes it is %s, not %s", again, first)
		}
		// A URL must not tell when others asked, nor that they did.
		if other := presign(t, elsewhere(t), "a", p); other != first || !strings.Contains(first, "X-Amz-Date=20000101T000000Z") {
			t.Errorf("who asks first is told of another time: %s, not %s", other, first)
		}
		for name, other := range map[string]string{
			"another object":       presign(t, store, "b", p),
			"another content type": presign(t, store, "a", storage.Presign{Expires: p.Expires, ContentType: "c/d"}),
			"another life":         presign(t, store, "a", storage.Presign{Expires: 16 * time.Minute, ContentType: "a/b"}),
		} {
			if other == first {
				t.Errorf("%s has the same URL %s", name, other)
			}
		}
		time.Sleep(time.Second)
		if again := presign(t, store, "a", p); again == first {
			t.Errorf("after five minutes it is still %s", again)
		}
		time.Sleep(presignWindow / 2) // in the midst of a window, one has two thirds of its life left
		if late := presign(t, elsewhere(t), "a", p); !strings.Contains(late, "X-Amz-Date=20000101T000500Z") {
			t.Errorf("in a window, a URL is not signed for its beginning: %s", late)
		}
		short := storage.Presign{Expires: 15*time.Minute - time.Second}
		first = presign(t, store, "a", short)
		time.Sleep(time.Second)
		if again := presign(t, store, "a", short); again == first {
			t.Errorf("a URL that lives for less than 15 minutes was given twice: %s", first)
		}
	})
}

// TestPresignWithNewCredentials: no URL is signed with credentials that have been replaced.
func TestPresignWithNewCredentials(t *testing.T) {
	var asked atomic.Int64
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		_, _ = fmt.Fprintf(w, `{"AccessKeyId":"key%d","SecretAccessKey":"secret","Token":"token","Expiration":%q}`,
			asked.Add(1), time.Now().UTC().Format(time.RFC3339)) // expired, so that they are asked for again
	}))
	t.Cleanup(server.Close)
	for name, value := range map[string]string{
		"AWS_ACCESS_KEY_ID": "", "AWS_SECRET_ACCESS_KEY": "", "AWS_SESSION_TOKEN": "", "AWS_PROFILE": "",
		"AWS_SHARED_CREDENTIALS_FILE": "/dev/null", "AWS_CONFIG_FILE": "/dev/null", "AWS_CONTAINER_CREDENTIALS_FULL_URI": server.URL,
	} {
		t.Setenv(name, value)
	}
	store, p := elsewhere(t), storage.Presign{Expires: 15 * time.Minute}
	first := presign(t, store, "a", p)
	again := presign(t, store, "a", p)
	if !strings.Contains(first, "X-Amz-Credential=key") || again == first {
		t.Errorf("with new credentials: %s, then %s", first, again)
	}
}
