package digests_test

import (
	"bytes"
	"errors"
	"math"
	"testing"

	"github.com/opencontainers/go-digest"
	"pgregory.net/rapid"

	"github.com/berthregistry/berth/internal/oci/digests"
)

var algos = []digests.Algo{digests.SHA256, digests.SHA512}

func reference(algo digests.Algo, content []byte) digest.Digest {
	return digest.Algorithm(algo.String()).FromBytes(content)
}

func TestHasherSurvivesRestore(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		algo := rapid.SampledFrom(algos).Draw(t, "algo")
		pieces := rapid.SliceOfN(rapid.SliceOfN(rapid.Byte(), 0, 300), 0, 8).Draw(t, "pieces")
		hasher := digests.Start(algo)
		for _, piece := range pieces {
			_, _ = hasher.Write(piece)
			state, err := hasher.State()
			if err != nil {
				t.Fatal(err)
			}
			hasher, err = digests.Restore(algo, state, hasher.Offset())
			if err != nil {
				t.Fatal(err)
			}
		}
		content := bytes.Join(pieces, nil)
		if hasher.Offset() != int64(len(content)) || hasher.Algo() != algo {
			t.Fatalf("%s at %d", hasher.Algo(), hasher.Offset())
		}
		if want := reference(algo, content); hasher.Digest() != want || digests.Sum(algo, content) != want {
			t.Fatalf("got %s, want %s", hasher.Digest(), want)
		}
		if want := reference(digests.SHA256, content); hasher.Canonical() != want {
			t.Fatalf("canonical: got %s, want %s", hasher.Canonical(), want)
		}
	})
}

func TestRestoreRefusesOtherStates(t *testing.T) {
	hasher := digests.New(digests.SHA256)
	_, _ = hasher.Write(make([]byte, 100))
	good, err := hasher.State()
	if err != nil {
		t.Fatal(err)
	}
	both, alone := digests.Start(digests.SHA512), digests.New(digests.SHA512)
	_, _ = both.Write(make([]byte, 100))
	_, _ = alone.Write(make([]byte, 100))
	if alone.Canonical() != "" {
		t.Errorf("a canonical digest that nobody computed: %s", alone.Canonical())
	}
	pair, err := both.State()
	if err != nil {
		t.Fatal(err)
	}
	before, err := alone.State() // as earlier versions kept it
	if err != nil {
		t.Fatal(err)
	}
	dirty := bytes.Clone(good)
	dirty[len(dirty)-9] = 1 // behind the 36 buffered bytes
	negative := append(bytes.Clone(good[:len(good)-8]), 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff)
	tests := []struct {
		name   string
		algo   digests.Algo
		state  []byte
		offset int64
	}{
		{"other algorithm", digests.SHA512, good, 100},
		{"other offset", digests.SHA256, good, 101},
		{"negative offset", digests.SHA256, negative, -1},
		{"huge offset", digests.SHA256, good, math.MaxInt64},
		{"short", digests.SHA256, good[:7], 100},
		{"cut at the front", digests.SHA256, good[1:], 100},
		{"longer", digests.SHA256, append([]byte{0}, good...), 100},
		{"not canonical", digests.SHA256, dirty, 100},
		{"missing", digests.SHA256, nil, 100},
		{"without the canonical one", digests.SHA512, before, 100},
		{"a part of the canonical one", digests.SHA512, pair[:len(pair)-1], 100},
		{"the canonical one twice", digests.SHA512, append(bytes.Clone(pair), good...), 100},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			if _, err := digests.Restore(test.algo, test.state, test.offset); !errors.Is(err, digests.ErrState) {
				t.Errorf("got %v", err)
			}
		})
	}
}

func TestRestoreOfNothingIsAFreshStart(t *testing.T) {
	for _, algo := range algos {
		hasher, err := digests.Restore(algo, nil, 0)
		if err != nil || hasher.Digest() != reference(algo, nil) {
			t.Errorf("%s: got %v", algo, err)
		}
	}
}

func FuzzRestore(f *testing.F) {
	for _, algo := range algos {
		hasher := digests.Start(algo)
		_, _ = hasher.Write(make([]byte, 200))
		state, _ := hasher.State()
		f.Add(uint8(algo), state, hasher.Offset())
		f.Add(uint8(algo), state[:8], int64(0))
	}
	f.Fuzz(func(t *testing.T, algo uint8, state []byte, offset int64) {
		hasher, err := digests.Restore(digests.Algo(algo), state, offset)
		if err != nil {
			return
		}
		again, err := hasher.State()
		if err != nil || hasher.Offset() != offset || (len(state) > 0 && !bytes.Equal(again, state)) {
			t.Fatalf("state is not kept: %v", err)
		}
		_, _ = hasher.Write(make([]byte, 300))
		if _, err := digests.Parse(string(hasher.Digest())); err != nil {
			t.Fatal(err)
		}
	})
}

func BenchmarkStateAndRestore(b *testing.B) {
	hasher := digests.New(digests.SHA256)
	_, _ = hasher.Write(make([]byte, 100))
	b.ReportAllocs()
	for b.Loop() {
		state, err := hasher.State()
		if err != nil {
			b.Fatal(err)
		}
		if hasher, err = digests.Restore(digests.SHA256, state, 100); err != nil {
			b.Fatal(err)
		}
	}
}
