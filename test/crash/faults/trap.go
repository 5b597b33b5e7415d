// Package faults stands between a registry and what it depends on: proxies before PostgreSQL and before an S3 server
// that let everything pass until they are told to fail, and that know the steps of what passes, so that a process can be
// killed exactly at one. The registry itself knows nothing of it.
package faults

import "sync"

// Step names a moment in the life of a request, as it is seen from outside the process.
type Step string

// The steps that the proxies see.
const (
	// StatementSent: a single statement has reached PostgreSQL, its answer has not come back.
	StatementSent Step = "postgres: a statement is sent, its answer withheld"
	// BeforeCommit: all statements of a transaction have reached PostgreSQL, the end of the transaction has not.
	BeforeCommit Step = "postgres: before the commit is forwarded"
	// CommitWithheld: PostgreSQL has committed, the answer is withheld.
	CommitWithheld Step = "postgres: committed, the answer withheld"
	// CommitAnswered: the answer to a commit has been forwarded.
	CommitAnswered Step = "postgres: committed and answered"
	// PutBegun: the headers of an object have reached the S3 server.
	PutBegun Step = "s3: a PUT's headers are forwarded"
	// PutHalf: half of an object has reached the S3 server.
	PutHalf Step = "s3: half of a PUT is forwarded"
	// PutWithheld: the S3 server has the object, the answer is withheld.
	PutWithheld Step = "s3: an object is stored, the answer withheld"
	// PutAnswered: the registry knows that the object is stored, and has no row for it yet.
	PutAnswered Step = "s3: a PUT is answered, its row not committed"
	// GetHalf: half of an object has been sent to the registry.
	GetHalf Step = "s3: half of a GET is answered"
	// DeleteBegun: a removal is about to reach the S3 server.
	DeleteBegun Step = "s3: before a removal is forwarded"
	// DeleteWithheld: the S3 server has removed objects, the answer is withheld.
	DeleteWithheld Step = "s3: objects are removed, the answer withheld"
)

// Traps holds one trap at a time. It is safe for concurrent use.
type Traps struct {
	mu   sync.Mutex
	trap *trap
}

type trap struct {
	step    Step
	replica int
	skip    int
	spring  func(replica int)
}

// AnyReplica is a trap for whichever replica comes to the step.
const AnyReplica = -1

// Arm sets a trap for a step of a replica, after it was passed some times, in place of the last trap. spring runs once,
// where the step is, and must end the replica before it returns.
func (t *Traps) Arm(step Step, replica, skip int, spring func(replica int)) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.trap = &trap{step, replica, skip, spring}
}

// Disarm takes the trap away and says whether it was still there.
func (t *Traps) Disarm() bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	armed := t.trap != nil
	t.trap = nil
	return armed
}

// Waits says whether a step of a replica would spring the trap.
func (t *Traps) Waits(step Step, replica int) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.trap.meets(step, replica) && t.trap.skip == 0
}

// Pass says that a replica is at a step. It is true where the replica was ended there.
func (t *Traps) Pass(step Step, replica int) bool {
	t.mu.Lock()
	sprung := t.trap
	if !sprung.meets(step, replica) {
		t.mu.Unlock()
		return false
	}
	if sprung.skip > 0 {
		sprung.skip--
		t.mu.Unlock()
		return false
	}
	t.trap = nil
	t.mu.Unlock()
	sprung.spring(replica)
	return true
}

func (t *trap) meets(step Step, replica int) bool {
	return t != nil && t.step == step && (t.replica == AnyReplica || t.replica == replica)
}

// Turn moves the trap from a step that a replica is at to its next one: PutAnswered becomes BeforeCommit.
func (t *Traps) Turn(from Step, replica int, to Step) {
	t.mu.Lock()
	defer t.mu.Unlock()
	switch {
	case !t.trap.meets(from, replica):
	case t.trap.skip > 0:
		t.trap.skip--
	default:
		t.trap.step, t.trap.replica = to, replica
	}
}
