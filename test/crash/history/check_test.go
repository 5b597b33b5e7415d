package history

import (
	"bytes"
	"encoding/json"
	"strings"
	"testing"
	"time"
)

const (
	patience = 10 * time.Second
	repo     = "r/a"
)

// at is an operation of one step.
func at(call, end int64, outcome Outcome, do Action, kind Kind, name, value string) Op {
	return Op{Call: call, Return: end, Outcome: outcome, Steps: []Step{{Register{kind, repo, name}, do, value}}}
}

func TestCheck(t *testing.T) {
	t.Parallel()
	const d, e = "sha256:d", "sha256:e"
	tests := []struct {
		name    string
		ops     []Op
		illegal bool
	}{
		{"nothing", nil, false},
		{"a blob reads back", []Op{at(1, 2, Done, Put, Blob, d, Present), at(3, 4, Done, Read, Blob, d, Present)}, false},
		{"a lost blob", []Op{at(1, 2, Done, Put, Blob, d, Present), at(3, 4, Done, Read, Blob, d, Absent)}, true},
		{"a lost blob, seen by a refused manifest", []Op{
			at(1, 2, Done, Seen, Blob, d, ""), at(3, 4, Done, Read, Blob, d, Absent),
		}, true},
		{"a blob that was never pushed", []Op{at(1, 2, Done, Read, Blob, d, Present)}, true},
		{"an unclear push that happened", []Op{at(1, 2, Unclear, Put, Blob, d, Present), at(3, 4, Done, Read, Blob, d, Present)}, false},
		{"an unclear push that did not", []Op{at(1, 2, Unclear, Put, Blob, d, Present), at(3, 4, Done, Read, Blob, d, Absent)}, false},
		{"an unclear push that happens late", []Op{
			at(1, 2, Unclear, Put, Blob, d, Present), at(3, 4, Done, Read, Blob, d, Absent), at(5, 6, Done, Read, Blob, d, Present),
		}, false},
		{"an unclear push that is undone", []Op{
			at(1, 2, Unclear, Put, Blob, d, Present), at(3, 4, Done, Read, Blob, d, Present), at(5, 6, Done, Read, Blob, d, Absent),
		}, true},
		{"a failed push that happened", []Op{at(1, 2, Failed, Put, Blob, d, Present), at(3, 4, Done, Read, Blob, d, Present)}, true},
		{"what was unclear is no read", []Op{at(1, 2, Unclear, Read, Blob, d, Present)}, false},

		{"deleted", []Op{
			at(1, 2, Done, Put, Manifest, d, Present), at(3, 4, Done, Delete, Manifest, d, ""), at(5, 6, Done, Read, Manifest, d, Absent),
		}, false},
		{"deleted, and back again", []Op{
			at(1, 2, Done, Put, Manifest, d, Present), at(3, 4, Done, Delete, Manifest, d, ""), at(5, 6, Done, Read, Manifest, d, Absent),
			at(7, 8, Done, Read, Manifest, d, Present),
		}, true},
		{"deleted, and pushed again", []Op{
			at(1, 2, Done, Put, Manifest, d, Present), at(3, 4, Done, Delete, Manifest, d, ""), at(5, 6, Done, Put, Manifest, d, Present),
			at(7, 8, Done, Read, Manifest, d, Present),
		}, false},
		{"deleted by whom the answer was lost", []Op{
			at(1, 2, Done, Put, Manifest, d, Present), at(3, 4, Unclear, Delete, Manifest, d, ""), at(5, 6, Done, Read, Manifest, d, Present),
			at(7, 8, Done, Read, Manifest, d, Absent),
		}, false},
		{"deleted although it was not there", []Op{at(1, 2, Done, Delete, Manifest, d, "")}, true},
		{"deleted twice", []Op{
			at(1, 2, Done, Put, Manifest, d, Present), at(3, 4, Done, Delete, Manifest, d, ""), at(5, 6, Done, Delete, Manifest, d, ""),
		}, true},

		{"moves", []Op{
			at(1, 2, Done, Put, Tag, "t", d), at(3, 4, Done, Put, Tag, "t", e), at(5, 6, Done, Read, Tag, "t", e),
		}, false},
		{"a stale tag", []Op{
			at(1, 2, Done, Put, Tag, "t", d), at(3, 4, Done, Put, Tag, "t", e), at(5, 6, Done, Read, Tag, "t", d),
		}, true},
		{"moves at once, in either order", []Op{
			at(1, 9, Done, Put, Tag, "t", d), at(1, 9, Done, Put, Tag, "t", e), at(10, 11, Done, Read, Tag, "t", d),
		}, false},
		{"moves at once, in both orders", []Op{
			at(1, 9, Done, Put, Tag, "t", d), at(1, 9, Done, Put, Tag, "t", e),
			at(10, 11, Done, Read, Tag, "t", d), at(12, 13, Done, Read, Tag, "t", e),
		}, true},
		{"an old move that comes back", []Op{
			at(1, 2, Unclear, Put, Tag, "t", d), at(3, 4, Done, Put, Tag, "t", e), at(5, 6, Done, Read, Tag, "t", e),
			at(7, 8, Done, Read, Tag, "t", d), at(9, 10, Done, Read, Tag, "t", e),
		}, true},
		{"a tag that is back after its deletion", []Op{
			at(1, 2, Done, Put, Tag, "t", d), at(3, 4, Done, Delete, Tag, "t", ""), at(5, 6, Done, Read, Tag, "t", d),
		}, true},
		{"a tag goes with its manifest", []Op{
			at(1, 2, Done, Put, Tag, "t", d), at(3, 4, Done, DeleteIf, Tag, EveryTag, d), at(5, 6, Done, Read, Tag, "t", Absent),
		}, false},
		{"a tag that outlives its manifest", []Op{
			at(1, 2, Done, Put, Tag, "t", d), at(3, 4, Done, DeleteIf, Tag, EveryTag, d), at(5, 6, Done, Read, Tag, "t", d),
		}, true},
		{"a tag that goes with another manifest", []Op{
			at(1, 2, Done, Put, Tag, "t", e), at(3, 4, Done, DeleteIf, Tag, EveryTag, d), at(5, 6, Done, Read, Tag, "t", Absent),
		}, true},
		{"a listed tag", []Op{at(1, 2, Unclear, Put, Tag, "t", d), at(3, 4, Done, Seen, Tag, "t", "")}, false},
		{"a listed tag that was never pushed", []Op{at(3, 4, Done, Seen, Tag, "t", "")}, true},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			v := Check(tt.ops, patience)
			if len(v.Undecided) > 0 || (len(v.Violations) > 0) != tt.illegal {
				t.Errorf("illegal: %t, found %v", tt.illegal, v)
			}
		})
	}
}

// TestCheckManyUnclear decides about as many unclear writes as a long run leaves on one tag.
func TestCheckManyUnclear(t *testing.T) {
	t.Parallel()
	var ops []Op
	for i := range int64(60) {
		value := string(rune('a' + i))
		ops = append(ops, at(10*i, 10*i+1, Unclear, Put, Tag, "t", value), at(10*i+2, 10*i+3, Done, Put, Tag, "t", "done "+value))
		if i%4 == 0 {
			ops = append(ops, at(10*i+4, 10*i+5, Done, Read, Tag, "t", value))
		}
	}
	if v := Check(ops, patience); len(v.Violations)+len(v.Undecided) > 0 {
		t.Errorf("found %v", v)
	}
	ops = append(ops, at(1000, 1001, Done, Read, Tag, "t", "done a"))
	if v := Check(ops, patience); len(v.Violations) != 1 {
		t.Errorf("a stale read among unclear writes: found %v", v)
	}
}

func TestShortestSlice(t *testing.T) {
	t.Parallel()
	ops := []Op{
		at(1, 2, Done, Put, Tag, "t", "d"), at(3, 4, Done, Read, Tag, "t", "d"), at(5, 6, Done, Put, Tag, "t", "e"),
		at(7, 8, Done, Read, Tag, "t", "e"), at(9, 10, Done, Read, Tag, "t", "d"), at(11, 12, Done, Put, Tag, "t", "f"),
		at(13, 14, Done, Read, Tag, "t", "f"), at(3, 4, Done, Put, Tag, "other", "d"),
	}
	v := Check(ops, patience)
	if len(v.Violations) != 1 {
		t.Fatalf("found %v", v)
	}
	var calls []int64
	for _, op := range v.Violations[0].Slice {
		calls = append(calls, op.Call)
	}
	if len(calls) != 3 || calls[0] != 1 || calls[1] != 5 || calls[2] != 9 {
		t.Errorf("the slice has the operations of %v, want 1, 5 and 9", calls)
	}
	if text := v.Violations[0].String(); !strings.Contains(text, "tag r/a:t") || !strings.Contains(text, "[read d]") {
		t.Errorf("told as %s", text)
	}
}

func TestDangling(t *testing.T) {
	t.Parallel()
	trees := []Tree{{repo, "whole", []string{"a", "b"}}, {repo, "broken", []string{"a", "gone"}}, {repo, "deleted", []string{"gone"}}}
	there := map[Register]bool{
		{Manifest, repo, "whole"}: true, {Manifest, repo, "broken"}: true, {Blob, repo, "a"}: true, {Blob, repo, "b"}: true,
		{Blob, "r/other", "gone"}: true,
	}
	found := Dangling(trees, func(r Register) bool { return there[r] })
	if len(found) != 1 || found[0].About != "manifest r/a:broken" || found[0].Problem != "dangles: it needs gone" {
		t.Errorf("found %v", found)
	}
}

func TestObjects(t *testing.T) {
	t.Parallel()
	o := Objects{
		Stored: map[string]int64{"right": 1, "short": 1, "doomed": 1, "orphan": 1, "both": 1},
		Rows:   map[string]int64{"right": 1, "short": 2, "missing": 1, "both": 1},
		Doomed: map[string]int64{"doomed": 1, "gone": 1, "both": 1},
	}
	var about []string
	for _, v := range o.Missing() {
		about = append(about, v.About)
	}
	if got := strings.Join(about, ", "); got != "object both, object missing, object short" {
		t.Errorf("missing: %s", got)
	}
	if got := strings.Join(o.Orphans(), ", "); got != "orphan" {
		t.Errorf("orphans: %s", got)
	}
}

func TestLog(t *testing.T) {
	t.Parallel()
	var out bytes.Buffer
	l := NewLog(&out)
	first, second := l.Begin(Op{What: "one"}), l.Begin(Op{What: "two"})
	second.Outcome = Done
	l.End(second)
	first.Outcome = Unclear
	l.End(first)
	ops, err := l.Take()
	if err != nil || len(ops) != 2 || ops[0].ID != 2 || ops[1].ID != 1 || ops[1].Return < ops[1].Call {
		t.Errorf("recorded %v, %v", ops, err)
	}
	var read Op
	if err := json.NewDecoder(&out).Decode(&read); err != nil || read.What != "two" || read.Outcome != Done {
		t.Errorf("written %v, %v", read, err)
	}
	if again, _ := l.Take(); len(again) > 0 {
		t.Errorf("not forgotten: %v", again)
	}
}
