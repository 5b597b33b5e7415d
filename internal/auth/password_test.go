package auth

import (
	"bytes"
	"context"
	"errors"
	"strings"
	"sync"
	"testing"
	"testing/synctest"

	"golang.org/x/crypto/argon2"
)

func TestAPasswordIsVerified(t *testing.T) {
	h := newHasher(cheapArgon, 0)
	phc, err := h.hash(t.Context(), goodPass)
	if err != nil {
		t.Fatal(err)
	}
	if !strings.HasPrefix(phc, "$argon2id$v=19$m=64,t=1,p=1$") {
		t.Errorf("%s", phc)
	}
	for password, want := range map[string]bool{goodPass: true, "": false, goodPass + " ": false, "Correct horse battery staple": false} {
		if ok, err := h.verify(t.Context(), password, phc); ok != want || err != nil {
			t.Errorf("%q: %t, %v", password, ok, err)
		}
	}
	again, err := h.hash(t.Context(), goodPass)
	if err != nil || again == phc {
		t.Errorf("no fresh salt: %v", err)
	}
}

// A hash is verified with the costs that it was made with.
func TestOldCostsStillVerify(t *testing.T) {
	old, err := newHasher(argonParams{memory: 128, time: 2, threads: 2}, 1).hash(t.Context(), goodPass)
	if err != nil {
		t.Fatal(err)
	}
	if ok, err := newHasher(cheapArgon, 1).verify(t.Context(), goodPass, old); !ok || err != nil {
		t.Error(ok, err)
	}
}

// A test vector of the reference implementation.
func TestTheReferenceHashIsVerified(t *testing.T) {
	const phc = "$argon2id$v=19$m=65536,t=2,p=1$c29tZXNhbHQ$CTFhFdXPJO1aFaMaO6Mm5c8y7cJHAph8ArZWb2GRPPc"
	if ok, err := newHasher(cheapArgon, 1).verify(t.Context(), "password", phc); !ok || err != nil {
		t.Error(ok, err)
	}
}

func TestTheDefaultCosts(t *testing.T) {
	if defaultArgon.memory != 64<<10 || defaultArgon.time < 1 || defaultArgon.threads < 1 {
		t.Errorf("%+v", defaultArgon)
	}
	stored := passwordHash{argonParams: defaultArgon, salt: make([]byte, saltLength), key: make([]byte, keyLength)}
	if _, err := parsePasswordHash(stored.String()); err != nil {
		t.Error(err)
	}
}

func TestWithoutAStoredHashTheAnswerIsNo(t *testing.T) {
	h := newHasher(cheapArgon, 1)
	// The password whose hash a zero key would be is unknown, but must not matter either.
	if ok, err := h.verify(t.Context(), goodPass, ""); ok || err != nil {
		t.Error(ok, err)
	}
}

func TestOnlySoManyPasswordsAreHashedAtOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHasher(cheapArgon, 2)
		h.slots <- struct{}{}
		h.slots <- struct{}{}
		ctx, cancel := context.WithCancel(t.Context())
		var wg sync.WaitGroup
		wg.Go(func() {
			if _, err := h.hash(ctx, goodPass); !errors.Is(err, context.Canceled) {
				t.Errorf("hashed, or failed with %v", err)
			}
		})
		var ok bool
		wg.Go(func() {
			_, err := h.hash(t.Context(), goodPass)
			ok = err == nil
		})
		synctest.Wait()
		if ok {
			t.Error("hashed without a slot")
		}
		cancel()
		<-h.slots
		wg.Wait()
		if !ok || len(h.slots) != 1 {
			t.Errorf("hashed %t, %d slots taken", ok, len(h.slots))
		}
	})
}

func TestMalformedPasswordHashes(t *testing.T) {
	const salt, key = "c29tZXNhbHQ", "AAAAAAAAAAAAAAAAAAAAAA"
	if _, err := parsePasswordHash("$argon2id$v=19$m=64,t=1,p=1$" + salt + "$" + key); err != nil {
		t.Fatal(err)
	}
	for name, text := range map[string]string{
		"empty":            "",
		"no dollar":        "argon2id",
		"argon2i":          "$argon2i$v=19$m=64,t=1,p=1$" + salt + "$" + key,
		"bcrypt":           "$2a$10$N9qo8uLOickgx2ZMRZoMyeIjZAgcfl7p92ldGxad68LJZdL17lhWy",
		"old version":      "$argon2id$v=16$m=64,t=1,p=1$" + salt + "$" + key,
		"no version":       "$argon2id$m=64,t=1,p=1$" + salt + "$" + key,
		"more fields":      "$argon2id$v=19$m=64,t=1,p=1$" + salt + "$" + key + "$",
		"text before":      "x$argon2id$v=19$m=64,t=1,p=1$" + salt + "$" + key,
		"other order":      "$argon2id$v=19$t=1,m=64,p=1$" + salt + "$" + key,
		"keyid":            "$argon2id$v=19$m=64,t=1,p=1,keyid=AA$" + salt + "$" + key,
		"no time":          "$argon2id$v=19$m=64,t=0,p=1$" + salt + "$" + key,
		"no threads":       "$argon2id$v=19$m=64,t=1,p=0$" + salt + "$" + key,
		"threads over 255": "$argon2id$v=19$m=65536,t=1,p=257$" + salt + "$" + key,
		"memory too small": "$argon2id$v=19$m=15,t=1,p=2$" + salt + "$" + key,
		"memory of 4 TiB":  "$argon2id$v=19$m=4294967295,t=1,p=1$" + salt + "$" + key,
		"time without end": "$argon2id$v=19$m=64,t=4294967295,p=1$" + salt + "$" + key,
		"over 32 bits":     "$argon2id$v=19$m=4294967360,t=1,p=1$" + salt + "$" + key,
		"negative":         "$argon2id$v=19$m=-64,t=1,p=1$" + salt + "$" + key,
		"leading zero":     "$argon2id$v=19$m=064,t=1,p=1$" + salt + "$" + key,
		"plus":             "$argon2id$v=19$m=+64,t=1,p=1$" + salt + "$" + key,
		"short salt":       "$argon2id$v=19$m=64,t=1,p=1$AAAA$" + key,
		"short key":        "$argon2id$v=19$m=64,t=1,p=1$" + salt + "$AAAA",
		"long key":         "$argon2id$v=19$m=64,t=1,p=1$" + salt + "$" + strings.Repeat("A", 100),
		"padding":          "$argon2id$v=19$m=64,t=1,p=1$" + salt + "==$" + key,
		"line break":       "$argon2id$v=19$m=64,t=1,p=1$" + salt + "\n$" + key,
		"loose bits":       "$argon2id$v=19$m=64,t=1,p=1$" + salt + "$AAAAAAAAAAAAAAAAAAAAAB",
	} {
		t.Run(name, func(t *testing.T) {
			if h, err := parsePasswordHash(text); err == nil {
				t.Errorf("%q is accepted as %v", text, h)
			}
			if ok, err := newHasher(cheapArgon, 1).verify(t.Context(), "password", text); ok || text != "" && err == nil {
				t.Errorf("verified %t, %v", ok, err)
			}
		})
	}
}

func FuzzParsePasswordHash(f *testing.F) {
	f.Add("$argon2id$v=19$m=65536,t=2,p=1$c29tZXNhbHQ$CTFhFdXPJO1aFaMaO6Mm5c8y7cJHAph8ArZWb2GRPPc")
	f.Add("$argon2id$v=19$m=64,t=1,p=1$$")
	f.Add("$$$$$")
	f.Fuzz(func(t *testing.T, text string) {
		h, err := parsePasswordHash(text)
		if err != nil {
			return
		}
		if h.String() != text {
			t.Errorf("%q reads back as %q", text, h)
		}
		if h.memory > maxArgonMemory || h.time > maxArgonTime || h.threads > maxArgonThreads || h.threads == 0 || h.time == 0 {
			t.Errorf("%q asks for too much", text)
		}
		if h.memory <= 1024 && h.time <= 2 { // cheap enough: it must not panic
			h.compute("password")
		}
	})
}

func TestComputeIsArgon2id(t *testing.T) {
	h := passwordHash{argonParams: cheapArgon, salt: []byte("somesalt"), key: make([]byte, 32)}
	if want := argon2.IDKey([]byte("x"), h.salt, 1, 64, 1, 32); !bytes.Equal(h.compute("x"), want) {
		t.Error("differs")
	}
}

func BenchmarkPassword(b *testing.B) {
	h := newHasher(defaultArgon, 1)
	for b.Loop() {
		if _, err := h.hash(b.Context(), goodPass); err != nil {
			b.Fatal(err)
		}
	}
}
