package digests

import (
	"bytes"
	"crypto/sha256"
	"crypto/sha512"
	"encoding"
	"encoding/binary"
	"errors"
	"fmt"
	"hash"

	"github.com/opencontainers/go-digest"
)

// ErrState is returned by Restore for a state that is not the one of the
// algorithm at the offset. It also stands for a state that another version of
// the Go library has written in another layout: read the content again.
var ErrState = errors.New("digests: invalid hash state")

// Hasher computes a digest over content that arrives in pieces, possibly on
// several replicas: State and Restore carry it across (OCI Distribution
// Specification, section "Pushing a blob in chunks"). It is not safe for
// concurrent use.
type Hasher struct {
	algo   Algo
	hash   hash.Hash
	offset int64
	beside *Hasher // computes the canonical digest; nil where it is the digest itself, or nobody asks
}

// New starts a digest of nothing yet.
func New(algo Algo) *Hasher {
	if algo == SHA512 {
		return &Hasher{algo: SHA512, hash: sha512.New()}
	}
	return &Hasher{algo: SHA256, hash: sha256.New()}
}

// Start is New for content that others may know by another digest: Canonical has it by the canonical algorithm as well, and
// State and Restore carry both.
func Start(algo Algo) *Hasher {
	h := New(algo)
	if algo == SHA512 {
		h.beside = New(SHA256)
	}
	return h
}

// Sum is the digest of content that is at hand.
func Sum(algo Algo, content []byte) digest.Digest {
	hasher := New(algo)
	_, _ = hasher.Write(content) // never fails
	return hasher.Digest()
}

// Write adds content. It never fails.
func (h *Hasher) Write(p []byte) (int, error) {
	n, err := h.hash.Write(p)
	h.offset += int64(n)
	if h.beside != nil && err == nil {
		return h.beside.Write(p)
	}
	return n, err
}

// Algo tells the algorithm.
func (h *Hasher) Algo() Algo { return h.algo }

// Offset tells how many bytes have been written, those before Restore included.
func (h *Hasher) Offset() int64 { return h.offset }

// Digest is the digest of everything written so far; writing may go on.
func (h *Hasher) Digest() digest.Digest {
	return digest.NewDigestFromBytes(digest.Algorithm(h.algo.String()), h.hash.Sum(nil))
}

// Canonical is the sha256 digest of everything written so far. A Hasher of another algorithm that New made has none: "".
func (h *Hasher) Canonical() digest.Digest {
	if h.beside != nil {
		return h.beside.Digest()
	}
	if h.algo == SHA256 {
		return h.Digest()
	}
	return ""
}

// State captures the computation for Restore, in at most 312 bytes.
func (h *Hasher) State() ([]byte, error) {
	marshaler, ok := h.hash.(encoding.BinaryMarshaler)
	if !ok {
		return nil, fmt.Errorf("digests: %s cannot save its state", h.algo)
	}
	state, err := marshaler.MarshalBinary()
	if err != nil || h.beside == nil {
		return state, err
	}
	more, err := h.beside.State()
	return append(state, more...), err
}

// stateSize512 is how long a state of sha512 is, in bytes. What follows it is one of sha256.
const stateSize512 = 204

// Restore goes on where State was taken, of a Hasher from Start, after offset bytes. No state at offset
// zero is a fresh start. Every other state must be, to the byte, one that
// State returns at that offset; else the error is ErrState.
func Restore(algo Algo, state []byte, offset int64) (*Hasher, error) {
	hasher := Start(algo)
	if len(state) == 0 && offset == 0 {
		return hasher, nil
	}
	rest := state
	if hasher.beside != nil {
		if len(state) < stateSize512 {
			return nil, fmt.Errorf("%w: too short", ErrState)
		}
		if err := hasher.beside.restore(state[stateSize512:], offset); err != nil {
			return nil, err
		}
		rest = state[:stateSize512]
	}
	if err := hasher.restore(rest, offset); err != nil {
		return nil, err
	}
	if err := checkCanonical(hasher, state); err != nil {
		return nil, err
	}
	return hasher, nil
}

// restore reads the state of one algorithm.
func (h *Hasher) restore(state []byte, offset int64) error {
	if err := checkOffset(state, offset); err != nil {
		return err
	}
	unmarshaler, ok := h.hash.(encoding.BinaryUnmarshaler)
	if !ok {
		return fmt.Errorf("digests: %s cannot restore a state", h.algo)
	}
	if err := unmarshaler.UnmarshalBinary(state); err != nil {
		return fmt.Errorf("%w: %w", ErrState, err)
	}
	h.offset = offset
	return nil
}

// checkOffset compares the length that both algorithms keep in the last eight
// bytes of their state.
func checkOffset(state []byte, offset int64) error {
	if offset < 0 || len(state) < 8 {
		return fmt.Errorf("%w: too short, or at a negative offset", ErrState)
	}
	length := binary.BigEndian.Uint64(state[len(state)-8:])
	if length != uint64(offset) {
		return fmt.Errorf("%w: taken at offset %d, not %d", ErrState, length, offset)
	}
	return nil
}

// checkCanonical refuses states with bytes that the library ignores.
func checkCanonical(hasher *Hasher, state []byte) error {
	again, err := hasher.State()
	if err != nil {
		return err
	}
	if !bytes.Equal(again, state) {
		return fmt.Errorf("%w: not canonical", ErrState)
	}
	return nil
}
