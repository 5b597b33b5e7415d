package uploads

import (
	"context"
	"encoding/base64"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"

	"github.com/berthregistry/berth/internal/auth"
	"github.com/berthregistry/berth/internal/oci/digests"
)

// fixedKeys sign with one key.
type fixedKeys map[string][]byte

func (k fixedKeys) UploadKey(context.Context) (kid string, key []byte, err error) {
	return "key1", k["key1"], nil
}

func (k fixedKeys) UploadKeyByID(_ context.Context, kid string) ([]byte, error) {
	if key, ok := k[kid]; ok {
		return key, nil
	}
	return nil, auth.ErrUnknownKey
}

// brokenKeys cannot be reached.
type brokenKeys struct{}

var errBroken = errors.New("broken")

func (brokenKeys) UploadKey(context.Context) (kid string, key []byte, err error) {
	return "", nil, errBroken
}

func (brokenKeys) UploadKeyByID(context.Context, string) ([]byte, error) { return nil, errBroken }

var (
	stateKeys = fixedKeys{"key1": []byte("a key for tests"), "key2": []byte("another one")}
	stateTime = time.Unix(1_800_000_000, 0)
	someState = state{
		Session: uuid.MustParse("01900000-0000-7000-8000-000000000001"),
		Project: uuid.MustParse("01900000-0000-7000-8000-000000000002"),
		Path:    "app/web", Principal: "user:1", Epoch: 3, Algorithm: digests.SHA512, Offset: 1 << 40,
		ValidUntil: stateTime.Unix(),
	}
)

func encoded(tb testing.TB, s state) string {
	tb.Helper()
	raw, err := encodeState(context.Background(), stateKeys, s)
	if err != nil {
		tb.Fatal(err)
	}
	return raw
}

// TestState gives back what was signed, as long as it is valid.
func TestState(t *testing.T) {
	raw := encoded(t, someState)
	got, err := decodeState(t.Context(), stateKeys, raw, stateTime)
	if err != nil || got != someState {
		t.Errorf("got %+v, %v", got, err)
	}
	if _, err := decodeState(t.Context(), stateKeys, raw, stateTime.Add(time.Second)); !errors.Is(err, errState) {
		t.Errorf("a state that has expired: %v", err)
	}
	longest := someState
	longest.Path, longest.Principal = strings.Repeat("p", 255), strings.Repeat("u", 255)
	if raw := encoded(t, longest); len(raw) > maxStateLength {
		t.Errorf("the longest state has %d bytes", len(raw))
	}
}

// TestStateForged refuses everything that was not signed as it is.
func TestStateForged(t *testing.T) {
	raw := encoded(t, someState)
	parts := strings.Split(raw, ".")
	negative := someState
	negative.Offset = -1
	forged := map[string]string{
		"empty": "", "dots": "..", "no mac": parts[0] + "." + parts[1], "empty mac": parts[0] + "." + parts[1] + ".",
		"other key": parts[0] + ".key2." + parts[2], "unknown key": parts[0] + ".key3." + parts[2],
		"no key": parts[0] + ".." + parts[2], "longer": raw + "." + parts[2], "shorter mac": raw[:len(raw)-4],
		"negative offset": encoded(t, negative), "too long": strings.Repeat("x", maxStateLength+1),
		"other payload": base64.RawURLEncoding.EncodeToString([]byte("{}")) + "." + parts[1] + "." + parts[2],
	}
	for name, raw := range forged {
		if _, err := decodeState(t.Context(), stateKeys, raw, stateTime); !errors.Is(err, errState) {
			t.Errorf("%s: %v", name, err)
		}
	}
	for i := range len(raw) - 1 { // the last character of a MAC has bits to spare
		changed := []byte(raw)
		changed[i] ^= 1
		if _, err := decodeState(t.Context(), stateKeys, string(changed), stateTime); !errors.Is(err, errState) {
			t.Errorf("byte %d changed: %v", i, err)
		}
	}
}

// TestStateKeysUnavailable tells a key that cannot be read from one that does not exist.
func TestStateKeysUnavailable(t *testing.T) {
	_, err := decodeState(t.Context(), brokenKeys{}, encoded(t, someState), stateTime)
	if !errors.Is(err, errBroken) || errors.Is(err, errState) {
		t.Errorf("decode: %v", err)
	}
	if _, err := encodeState(t.Context(), brokenKeys{}, someState); !errors.Is(err, errBroken) {
		t.Errorf("encode: %v", err)
	}
}

// FuzzDecodeState takes nothing that was not signed, and gives errState for all the rest.
func FuzzDecodeState(f *testing.F) {
	valid := encoded(f, someState)
	f.Add(valid)
	f.Add("")
	f.Add("..")
	f.Add(strings.Replace(valid, "key1", "key2", 1))
	f.Add(valid + "=")
	f.Fuzz(func(t *testing.T, raw string) {
		got, err := decodeState(t.Context(), stateKeys, raw, stateTime)
		if err != nil {
			if !errors.Is(err, errState) || got != (state{}) {
				t.Fatalf("%+v, %v", got, err)
			}
			return
		}
		if signed := raw[:strings.LastIndexByte(raw, '.')]; signed != valid[:strings.LastIndexByte(valid, '.')] || got != someState {
			t.Fatalf("%q was never signed: %+v", raw, got)
		}
	})
}

// FuzzParseState never takes a payload that has expired or lies before the start, whoever signed it.
func FuzzParseState(f *testing.F) {
	f.Add([]byte(`{"o":1,"x":1800000000}`))
	f.Add([]byte(`{"o":-1,"x":1800000000}`))
	f.Add([]byte(`{"s":"x"}`))
	f.Fuzz(func(t *testing.T, payload []byte) {
		got, err := parseState(base64.RawURLEncoding.EncodeToString(payload), stateTime)
		if err != nil && !errors.Is(err, errState) {
			t.Fatal(err)
		}
		if err == nil && (got.Offset < 0 || got.ValidUntil < stateTime.Unix()) {
			t.Fatalf("took %+v", got)
		}
	})
}
