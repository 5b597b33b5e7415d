package s3

import (
	"fmt"

	"github.com/berthregistry/berth/internal/storage"
)

// What S3 allows of a multipart upload, in bytes and parts. Only the last part may be smaller than minPart.
const (
	minPart     = 5 * mib
	maxPart     = 5 * gib
	maxParts    = 10_000
	maxComposed = 5 << 40
)

// step makes one part of a multipart upload: the server copies it from one source, or we read several small sources
// and upload them together.
type step struct {
	sources []storage.Part
	copied  bool
}

func (st step) size() int64 {
	var n int64
	for _, p := range st.sources {
		n += p.Length
	}
	return n
}

// plan cuts the sources into legal parts that cover them exactly and in order, reading as little as it can. It returns
// storage.ErrInvalid for more than 5 TiB.
func plan(parts []storage.Part, total int64) ([]step, error) {
	if total > maxComposed {
		return nil, fmt.Errorf("%w: %d bytes exceed %d", storage.ErrInvalid, total, int64(maxComposed))
	}
	// Every part but the last has the threshold's size at least, so that doubling it ends at 1.25 GiB the latest:
	// 5 TiB then make 4,097 parts at most.
	for threshold := int64(minPart); ; threshold *= 2 {
		if steps := planAt(parts, threshold); len(steps) <= maxParts {
			return steps, nil
		}
	}
}

// planAt has the server copy what is at least threshold long and gathers the rest into parts of that size. A gathered
// part may borrow the head of the source after it, if that stays long enough to be copied.
func planAt(parts []storage.Part, threshold int64) []step {
	var steps []step
	var gathered step
	flush := func() {
		if len(gathered.sources) > 0 {
			steps = append(steps, gathered)
			gathered = step{}
		}
	}
	for _, p := range parts {
		if p.Length == 0 {
			continue
		}
		if have := gathered.size(); have > 0 || p.Length < threshold {
			head := p.Length
			if missing := threshold - have; p.Length-missing >= threshold {
				head = missing
			}
			gathered.sources = append(gathered.sources, storage.Part{Key: p.Key, Offset: p.Offset, Length: head})
			p.Offset, p.Length = p.Offset+head, p.Length-head
			if have+head >= threshold {
				flush()
			}
		}
		steps = append(steps, split(p)...)
	}
	flush()
	return steps
}

// split cuts a source into the fewest parts that the server copies, of nearly equal size.
func split(p storage.Part) []step {
	n := (p.Length + maxPart - 1) / maxPart
	steps := make([]step, 0, n)
	for i := range n {
		from, to := bound(p.Length, i, n), bound(p.Length, i+1, n)
		part := storage.Part{Key: p.Key, Offset: p.Offset + from, Length: to - from}
		steps = append(steps, step{sources: []storage.Part{part}, copied: true})
	}
	return steps
}

// bound is where the i-th of n nearly equal parts of length begins.
func bound(length, i, n int64) int64 {
	return length/n*i + min(i, length%n)
}
