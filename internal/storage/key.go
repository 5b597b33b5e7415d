package storage

import (
	"fmt"
	"strings"
)

const (
	maxKey     = 512 // leaves half of S3's 1,024 bytes to a configured prefix
	maxSegment = 255 // the longest file name of the usual file systems
)

// ValidateKey returns ErrInvalid unless key is one or more segments joined by single slashes, at most 512 bytes in all.
// A segment has 1 to 255 ASCII letters, digits, or any of "-_.=~", and is neither "." nor "..". So a key is at once a
// safe relative path, a safe URL path and a safe S3 key.
func ValidateKey(key string) error {
	if len(key) > maxKey {
		return fmt.Errorf("%w: key of %d bytes exceeds %d", ErrInvalid, len(key), maxKey)
	}
	for segment := range strings.SplitSeq(key, "/") {
		if !validSegment(segment) {
			return fmt.Errorf("%w: key %q", ErrInvalid, key)
		}
	}
	return nil
}

// ValidatePrefix returns the folder that a prefix for List names, without its trailing slash, or ErrInvalid. A prefix
// is a key with or without a slash at its end; it always means whole segments, and never the whole store.
func ValidatePrefix(prefix string) (string, error) {
	folder := strings.TrimSuffix(prefix, "/")
	if err := ValidateKey(folder); err != nil {
		return "", fmt.Errorf("prefix: %w", err)
	}
	return folder, nil
}

// ValidateRange returns ErrInvalid for a range that no object can have: a negative offset, or an end beyond what 63
// bits can count. A negative length means "to the end" and is valid.
func ValidateRange(offset, length int64) error {
	if offset < 0 || (length > 0 && offset+length < 0) {
		return fmt.Errorf("%w: range of %d bytes at %d", ErrInvalid, length, offset)
	}
	return nil
}

// ValidateParts checks the arguments of Compose and returns the size of the object they make, or ErrInvalid.
func ValidateParts(dst string, parts []Part) (int64, error) {
	if err := ValidateKey(dst); err != nil {
		return 0, err
	}
	var total int64
	for i, p := range parts {
		if err := ValidateKey(p.Key); err != nil {
			return 0, fmt.Errorf("part %d: %w", i, err)
		}
		if p.Key == dst {
			return 0, fmt.Errorf("%w: part %d is the object being composed", ErrInvalid, i)
		}
		if err := ValidateRange(p.Offset, p.Length); err != nil || p.Length < 0 {
			return 0, fmt.Errorf("%w: part %d has %d bytes at %d", ErrInvalid, i, p.Length, p.Offset)
		}
		if total += p.Length; total < 0 {
			return 0, fmt.Errorf("%w: parts exceed 63 bits", ErrInvalid)
		}
	}
	return total, nil
}

func validSegment(s string) bool {
	if s == "" || s == "." || s == ".." || len(s) > maxSegment {
		return false
	}
	for i := range len(s) {
		if !validByte(s[i]) {
			return false
		}
	}
	return true
}

func validByte(c byte) bool {
	switch {
	case 'a' <= c && c <= 'z', 'A' <= c && c <= 'Z', '0' <= c && c <= '9':
		return true
	}
	return strings.IndexByte("-_.=~", c) >= 0
}
