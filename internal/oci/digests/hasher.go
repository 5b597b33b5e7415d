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
}

// New starts a digest of nothing yet.
func New(algo Algo) *Hasher {
	if algo == SHA512 {
		return &Hasher{algo: SHA512, hash: sha512.New()}
	}
	return &Hasher{algo: SHA256, hash: sha256.New()}
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

// State captures the computation for Restore, in at most 204 bytes.
func (h *Hasher) State() ([]byte, error) {
	marshaler, ok := h.hash.(encoding.BinaryMarshaler)
	if !ok {
		return nil, fmt.Errorf("digests: %s cannot save its state", h.algo)
	}
	return marshaler.MarshalBinary()
}

// Restore goes on where State was taken after offset bytes. No state at offset
// zero is a fresh start. Every other state must be, to the byte, one that
// State returns at that offset; else the error is ErrState.
func Restore(algo Algo, state []byte, offset int64) (*Hasher, error) {
	hasher := New(algo)
	if len(state) == 0 && offset == 0 {
		return hasher, nil
	}
	if err := checkOffset(state, offset); err != nil {
		return nil, err
	}
	unmarshaler, ok := hasher.hash.(encoding.BinaryUnmarshaler)
	if !ok {
		return nil, fmt.Errorf("digests: %s cannot restore a state", algo)
	}
	if err := unmarshaler.UnmarshalBinary(state); err != nil {
		return nil, fmt.Errorf("%w: %w", ErrState, err)
	}
	hasher.offset = offset
	if err := checkCanonical(hasher, state); err != nil {
		return nil, err
	}
	return hasher, nil
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
