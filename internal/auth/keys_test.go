package auth

import (
	"bytes"
	"errors"
	"sync"
	"testing"
	"time"

	"github.com/berthregistry/berth/internal/database"
)

var (
	countKeys   = database.SQL(`SELECT count(*) FROM signing_keys WHERE purpose = $1`)
	deleteKey   = database.SQL(`DELETE FROM signing_keys WHERE kid = $1`)
	spoilKeys   = database.SQL(`UPDATE signing_keys SET secret = 'AAAA'`)
	keyIsStored = database.SQL(`
		SELECT count(*) FROM signing_keys WHERE kid = $1 AND algorithm = $2 AND signs_until - created_at = $3 AND verifies_until - signs_until = $4`)
)

// raceForKey makes ten replicas ask for the signing key at once.
func raceForKey(t *testing.T, f *fixture, p purpose) string {
	t.Helper()
	kids := make([]string, 10)
	var wg sync.WaitGroup
	for i := range kids {
		replica := f.replica()
		wg.Go(func() {
			k, err := replica.signingKey(t.Context(), p)
			if err != nil {
				t.Error(err)
			}
			kids[i] = k.kid
		})
	}
	wg.Wait()
	for _, kid := range kids {
		if kid == "" || kid != kids[0] {
			t.Errorf("%s: the replicas sign with different keys: %q", p, kids)
			break
		}
	}
	return kids[0]
}

func TestReplicasRaceForOneKey(t *testing.T) {
	each(t, func(t *testing.T, f *fixture) {
		for _, p := range []purpose{purposeToken, purposeUpload} {
			first := raceForKey(t, f, p)
			if n := f.count(countKeys, string(p)); n != 1 {
				t.Errorf("%s: %d keys", p, n)
			}
			f.clock.advance(DefaultKeyLifetime)
			if next := raceForKey(t, f, p); next == first {
				t.Errorf("%s: not rotated", p)
			}
			if n := f.count(countKeys, string(p)); n != 2 {
				t.Errorf("%s: %d keys after the rotation", p, n)
			}
		}
	})
}

func TestTheFormOfKeys(t *testing.T) {
	each(t, func(t *testing.T, f *fixture) {
		const month, hour = int64(30 * 24 * time.Hour / time.Microsecond), int64(time.Hour / time.Microsecond)
		token, err := f.signingKey(t.Context(), purposeToken)
		f.must(err)
		if f.count(keyIsStored, token.kid, "EdDSA", month, hour+int64(DefaultTokenTTL/time.Microsecond)) != 1 {
			t.Error("token key")
		}
		kid, key, err := f.UploadKey(t.Context())
		f.must(err)
		if f.count(keyIsStored, kid, "HS256", month, 7*24*hour) != 1 || len(key) != 32 {
			t.Error("upload key")
		}
	})
}

func TestAKeySignsUntilTheVeryEnd(t *testing.T) {
	each(t, func(t *testing.T, f *fixture) {
		first, _, err := f.UploadKey(t.Context())
		f.must(err)
		f.clock.advance(DefaultKeyLifetime - time.Microsecond)
		last, _, err := f.UploadKey(t.Context())
		f.must(err)
		f.clock.advance(time.Microsecond) // the key is cached now
		next, _, err := f.UploadKey(t.Context())
		f.must(err)
		if last != first || next == first {
			t.Errorf("keys %s, %s, %s", first, last, next)
		}
	})
}

func TestUploadKeysVerifyForAnotherWeek(t *testing.T) {
	each(t, func(t *testing.T, f *fixture) {
		kid, key, err := f.UploadKey(t.Context())
		f.must(err)
		f.clock.advance(DefaultKeyLifetime + uploadOverlap - time.Microsecond)
		got, err := f.replica().UploadKeyByID(t.Context(), kid)
		if err != nil || !bytes.Equal(got, key) {
			t.Errorf("just before the end: %v", err)
		}
		_, err = f.UploadKeyByID(t.Context(), kid)
		f.must(err)
		f.clock.advance(time.Microsecond)
		for name, r := range map[string]*fixture{"warm": f, "cold": f.replica()} {
			if _, err := r.UploadKeyByID(t.Context(), kid); !errors.Is(err, ErrUnknownKey) {
				t.Errorf("%s: %v", name, err)
			}
		}
	})
}

func TestOldKeysAreDeletedWhenANewOneIsMade(t *testing.T) {
	each(t, func(t *testing.T, f *fixture) {
		for range 5 {
			_, _, err := f.UploadKey(t.Context())
			f.must(err)
			f.clock.advance(DefaultKeyLifetime + uploadOverlap + time.Second)
		}
		if n := f.count(countKeys, string(purposeUpload)); n != 1 {
			t.Errorf("%d keys", n)
		}
	})
}

func TestAKeyIsFoundOnlyUnderItsPurpose(t *testing.T) {
	each(t, func(t *testing.T, f *fixture) {
		token, err := f.signingKey(t.Context(), purposeToken)
		f.must(err)
		if _, err := f.UploadKeyByID(t.Context(), token.kid); !errors.Is(err, ErrUnknownKey) {
			t.Errorf("a token key signs uploads: %v", err)
		}
		upload, _, err := f.UploadKey(t.Context())
		f.must(err)
		if _, err := f.verifyingKey(t.Context(), keyName{purposeToken, upload}); !errors.Is(err, ErrUnknownKey) {
			t.Errorf("an upload key signs tokens: %v", err)
		}
	})
}

func TestUnknownKeys(t *testing.T) {
	eachCounting(t, func(t *testing.T, f *fixture) {
		for _, kid := range []string{"", "x", randomText(kidBytes - 1), randomText(kidBytes) + "=", "' OR 1=1 --"} {
			trips := f.trips(func() {
				if _, err := f.UploadKeyByID(t.Context(), kid); !errors.Is(err, ErrUnknownKey) {
					t.Errorf("%q: %v", kid, err)
				}
			})
			if trips != 0 {
				t.Errorf("%q cost a query", kid)
			}
		}
		if _, err := f.UploadKeyByID(t.Context(), randomText(kidBytes)); !errors.Is(err, ErrUnknownKey) {
			t.Error(err)
		}
	})
}

// An operator who deletes a key's row ends it within the cache's life.
func TestADeletedKeyIsReplaced(t *testing.T) {
	each(t, func(t *testing.T, f *fixture) {
		kid, _, err := f.UploadKey(t.Context())
		f.must(err)
		f.exec(deleteKey, kid)
		f.clock.advance(DefaultCacheTTL)
		if _, err := f.UploadKeyByID(t.Context(), kid); !errors.Is(err, ErrUnknownKey) {
			t.Errorf("still verifies: %v", err)
		}
		next, _, err := f.UploadKey(t.Context())
		if err != nil || next == kid {
			t.Errorf("%q, %v", next, err)
		}
	})
}

func TestASpoiltKeyIsNotUsed(t *testing.T) {
	each(t, func(t *testing.T, f *fixture) {
		kid, _, err := f.UploadKey(t.Context())
		f.must(err)
		f.exec(spoilKeys)
		f.clock.advance(DefaultCacheTTL)
		if _, _, err := f.UploadKey(t.Context()); err == nil {
			t.Error("signs")
		}
		if _, err := f.UploadKeyByID(t.Context(), kid); err == nil {
			t.Error("verifies")
		}
	})
}

// Callers get copies: one that overwrites its key must not change what others sign with.
func TestKeysAreCopies(t *testing.T) {
	each(t, func(t *testing.T, f *fixture) {
		kid, key, err := f.UploadKey(t.Context())
		f.must(err)
		want := bytes.Clone(key)
		clear(key)
		other, err := f.UploadKeyByID(t.Context(), kid)
		f.must(err)
		clear(other)
		_, again, err := f.UploadKey(t.Context())
		f.must(err)
		byID, err := f.UploadKeyByID(t.Context(), kid)
		f.must(err)
		if !bytes.Equal(again, want) || !bytes.Equal(byID, want) {
			t.Error("the key was overwritten")
		}
	})
}
