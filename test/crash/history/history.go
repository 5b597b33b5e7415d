// Package history records what clients of a registry did and what they were told, and checks, without knowing anything
// of how the registry works, whether one registry that never failed could have given the same answers.
//
// Every tag, manifest and blob of a repository is a register. A request is one operation, with the time when it was sent
// and the time when its answer had arrived, and one step or more on registers: a push writes, a deletion clears, a pull
// reads. A request whose answer was lost is unclear: it may have happened at any time after it was sent, or never.
package history

import (
	"encoding/json"
	"fmt"
	"io"
	"slices"
	"sync"
	"time"
)

// Kind is what a register holds.
type Kind string

// The kinds of registers.
const (
	// Tag holds the digest that a tag names.
	Tag Kind = "tag"
	// Manifest holds Present while a manifest is visible.
	Manifest Kind = "manifest"
	// Blob holds Present while a blob is visible.
	Blob Kind = "blob"
)

const (
	// Absent is the value of a register that holds nothing.
	Absent = ""
	// Present is the value of manifests and blobs that are there.
	Present = "present"
	// EveryTag is, as the name of a tag, that which stands for all tags of the repository.
	EveryTag = "*"
)

// Register is a thing whose state clients can see.
type Register struct {
	// Kind is what it holds.
	Kind Kind `json:"kind"`
	// Repo is the repository's name.
	Repo string `json:"repo"`
	// Name is the tag, or the digest.
	Name string `json:"name"`
}

// String implements fmt.Stringer.
func (r Register) String() string { return fmt.Sprintf("%s %s:%s", r.Kind, r.Repo, r.Name) }

// Action is what a step does to its register.
type Action string

// The actions.
const (
	// Put gives the register the step's value.
	Put Action = "put"
	// Delete clears the register. An acknowledged one has found something to clear.
	Delete Action = "delete"
	// DeleteIf clears the register if it holds the step's value: the tags of a manifest that is deleted.
	DeleteIf Action = "delete-if"
	// Read has seen exactly the step's value.
	Read Action = "read"
	// Seen has seen that the register is not Absent.
	Seen Action = "seen"
)

func (a Action) reads() bool { return a == Read || a == Seen }

// Step is the part of an operation that concerns one register.
type Step struct {
	Register
	// Do is what it does.
	Do Action `json:"do"`
	// Value is what is written or was read.
	Value string `json:"value,omitempty"`
}

// Outcome is what the client knows of a request.
type Outcome string

// The outcomes.
const (
	// Done is a request that was answered: it took place between its two times.
	Done Outcome = "done"
	// Failed is a request that did nothing.
	Failed Outcome = "failed"
	// Unclear is a request that may have taken place.
	Unclear Outcome = "unclear"
)

// Op is one request.
type Op struct {
	// ID numbers the operations in the order in which they began.
	ID int `json:"id"`
	// Worker is who sent the request.
	Worker int `json:"worker"`
	// Replica is who got it.
	Replica int `json:"replica"`
	// What names the request for people.
	What string `json:"what"`
	// Call is when it was sent, Return when its answer had arrived; nanoseconds since the recording began.
	Call   int64 `json:"call"`
	Return int64 `json:"return"`
	// Outcome is what came of it, Status the HTTP status, 0 without an answer.
	Outcome Outcome `json:"outcome"`
	Status  int     `json:"status,omitempty"`
	// Steps are what it did to which registers.
	Steps []Step `json:"steps,omitempty"`
}

// String tells the operation in one line.
func (o Op) String() string {
	text := fmt.Sprintf("%9.3fs to %9.3fs #%d worker %d at replica %d: %s: %s",
		time.Duration(o.Call).Seconds(), time.Duration(o.Return).Seconds(), o.ID, o.Worker, o.Replica, o.What, o.Outcome)
	if o.Status != 0 {
		text += fmt.Sprintf(" (%d)", o.Status)
	}
	return text
}

// Log records operations. It is safe for concurrent use.
type Log struct {
	began time.Time
	mu    sync.Mutex
	ops   []Op
	last  int
	out   *json.Encoder
	lost  error
}

// NewLog begins a recording. Each operation is also written to out, as a line of JSON, unless that is nil.
func NewLog(out io.Writer) *Log {
	l := &Log{began: time.Now()}
	if out != nil {
		l.out = json.NewEncoder(out)
	}
	return l
}

// Now is the time of the recording.
func (l *Log) Now() int64 { return int64(time.Since(l.began)) }

// Begin numbers an operation that is about to be sent and notes its time.
func (l *Log) Begin(op Op) Op {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.last++
	op.ID, op.Call = l.last, l.Now()
	return op
}

// End keeps an operation whose outcome and steps are known now.
func (l *Log) End(op Op) {
	l.mu.Lock()
	defer l.mu.Unlock()
	op.Return = l.Now()
	l.ops = append(l.ops, op)
	if l.out != nil && l.lost == nil {
		l.lost = l.out.Encode(op)
	}
}

// Doubted tells whether an operation on a register went without an answer: it may yet take effect at any time, which explains
// much.
func (l *Log) Doubted(r Register) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return slices.ContainsFunc(l.ops, func(op Op) bool {
		return op.Outcome == Unclear && slices.ContainsFunc(op.Steps, func(s Step) bool { return s.Register == r })
	})
}

// Take hands out what was recorded and forgets it.
func (l *Log) Take() ([]Op, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	ops := l.ops
	l.ops = nil
	return ops, l.lost
}
