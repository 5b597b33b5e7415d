package s3

import (
	"errors"
	"testing"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/berthregistry/berth/internal/storage"
)

func part(key string, offset, length int64) storage.Part {
	return storage.Part{Key: key, Offset: offset, Length: length}
}

func TestPlan(t *testing.T) {
	const big, min5, kib = 16 * mib, minPart, 1 << 10
	copied := func(p storage.Part) step { return step{sources: []storage.Part{p}, copied: true} }
	gathered := func(p ...storage.Part) step { return step{sources: p} }
	tests := []struct {
		name string
		in   []storage.Part
		want []step
	}{
		{"nothing", nil, nil},
		{"only empty", []storage.Part{part("a", 3, 0)}, nil},
		{"one small", []storage.Part{part("a", 1, 2)}, []step{gathered(part("a", 1, 2))}},
		{"one legal", []storage.Part{part("a", 1, min5)}, []step{copied(part("a", 1, min5))}},
		{"smalls together", []storage.Part{part("a", 0, kib), part("b", 0, 0), part("c", 0, kib)}, []step{gathered(part("a", 0, kib), part("c", 0, kib))}},
		{
			"small borrows from large",
			[]storage.Part{part("a", 0, kib), part("b", 7, big)},
			[]step{gathered(part("a", 0, kib), part("b", 7, min5-kib)), copied(part("b", 7+min5-kib, big-min5+kib))},
		},
		{
			"small swallows what would become too small",
			[]storage.Part{part("a", 0, kib), part("b", 0, min5), part("c", 0, big)},
			[]step{gathered(part("a", 0, kib), part("b", 0, min5)), copied(part("c", 0, big))},
		},
		{
			"last may be small",
			[]storage.Part{part("a", 0, big), part("b", 0, 1)},
			[]step{copied(part("a", 0, big)), gathered(part("b", 0, 1))},
		},
		{"5 GiB in one part", []storage.Part{part("a", 0, maxPart)}, []step{copied(part("a", 0, maxPart))}},
		{
			"5 GiB and a byte in halves",
			[]storage.Part{part("a", 9, maxPart+1)},
			[]step{copied(part("a", 9, maxPart/2+1)), copied(part("a", 9+maxPart/2+1, maxPart/2))},
		},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			got, err := plan(tt.in, total(tt.in))
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(tt.want, got, cmp.AllowUnexported(step{})); diff != "" {
				t.Errorf("plan (-want +got):\n%s", diff)
			}
		})
	}
}

func TestPlanExtremes(t *testing.T) {
	repeat := func(n int, lengths ...int64) []storage.Part {
		var all []storage.Part
		for i := range n {
			all = append(all, part("k", int64(i), lengths[i%len(lengths)]))
		}
		return all
	}
	tests := map[string][]storage.Part{
		"5 TiB from one source":            repeat(1, maxComposed),
		"10,000 chunks of 16 MiB":          repeat(10_000, 16*mib),
		"10,000 single bytes":              repeat(10_000, 1),
		"30,000 sources that are legal":    repeat(30_000, minPart),
		"60,000 alternating":               repeat(60_000, 1, 80*mib),
		"5 TiB from 10,000 sources":        repeat(10_000, maxComposed/10_000),
		"9,999 sources and a very big one": append(repeat(9_999, minPart), part("z", 0, 4<<40)),
	}
	for name, in := range tests {
		t.Run(name, func(t *testing.T) {
			steps, err := plan(in, total(in))
			if err != nil {
				t.Fatal(err)
			}
			checkPlan(t, in, steps)
		})
	}
	if _, err := plan(repeat(1, maxComposed+1), maxComposed+1); !errors.Is(err, storage.ErrInvalid) {
		t.Errorf("plan of more than 5 TiB: %v, want ErrInvalid", err)
	}
}

func TestPlanProperties(t *testing.T) {
	length := rapid.OneOf(
		rapid.Int64Range(0, 100),
		rapid.Int64Range(minPart-2, minPart+2),
		rapid.Int64Range(2*minPart-2, 2*minPart+2),
		rapid.Int64Range(0, 64*mib),
		rapid.Int64Range(maxPart-2, maxPart+2),
		rapid.Int64Range(0, 200*gib),
	)
	source := rapid.Custom(func(t *rapid.T) storage.Part {
		key := rapid.SampledFrom([]string{"a", "b", "c"}).Draw(t, "key")
		return part(key, rapid.Int64Range(0, 1<<40).Draw(t, "offset"), length.Draw(t, "length"))
	})
	rapid.Check(t, func(t *rapid.T) {
		in := rapid.SliceOfN(source, 0, 200).Draw(t, "sources")
		steps, err := plan(in, total(in))
		if total(in) > maxComposed {
			if !errors.Is(err, storage.ErrInvalid) {
				t.Fatalf("plan of %d bytes: %v", total(in), err)
			}
			return
		}
		if err != nil {
			t.Fatal(err)
		}
		checkPlan(t, in, steps)
	})
}

// checkPlan fails unless the steps are legal and cover the sources exactly and in order.
func checkPlan(t interface{ Fatalf(string, ...any) }, in []storage.Part, steps []step) {
	if len(steps) > maxParts {
		t.Fatalf("%d parts", len(steps))
	}
	var got []storage.Part
	for i, st := range steps {
		size := st.size()
		if size > maxPart || size <= 0 || (size < minPart && i < len(steps)-1) {
			t.Fatalf("part %d of %d has %d bytes", i+1, len(steps), size)
		}
		if st.copied && (len(st.sources) != 1 || size < minPart) {
			t.Fatalf("part %d copies %d sources of %d bytes", i+1, len(st.sources), size)
		}
		got = append(got, st.sources...)
	}
	if diff := cmp.Diff(merge(in), merge(got)); diff != "" {
		t.Fatalf("coverage differs (-want +got):\n%s", diff)
	}
}

// merge joins ranges that follow one another in the same source.
func merge(parts []storage.Part) []storage.Part {
	var out []storage.Part
	for _, p := range parts {
		if p.Length == 0 {
			continue
		}
		if n := len(out); n > 0 && out[n-1].Key == p.Key && out[n-1].Offset+out[n-1].Length == p.Offset {
			out[n-1].Length += p.Length
			continue
		}
		out = append(out, p)
	}
	return out
}

func total(parts []storage.Part) int64 {
	var n int64
	for _, p := range parts {
		n += p.Length
	}
	return n
}
