package rbac

import (
	"slices"
	"sync/atomic"
)

// The kinds by which decisions are counted, and metrics tell requests apart. They name no tenant.
var (
	principalKinds = []string{"anonymous", "user", "robot", "runner", "admin"}
	projectKinds   = []string{"unclaimed", "active-private", "active-public", "suspended", "absent"}
)

// PrincipalKind is a principal's kind with administrators set apart: anonymous, user, robot, runner or admin.
func PrincipalKind(kind Kind, admin bool) string {
	switch {
	case kind == KindUser && admin:
		return "admin"
	case slices.Contains(principalKinds, string(kind)):
		return string(kind)
	}
	return string(KindAnonymous)
}

// ProjectKind is a project's state with its visibility: unclaimed, active-private, active-public, suspended or absent,
// which is also what a deleted one is to those who ask for it.
func ProjectKind(state State, visibility Visibility) string {
	switch {
	case state == StateUnclaimed || state == StateSuspended:
		return string(state)
	case state == StateActive && visibility == Public:
		return "active-public"
	case state == StateActive:
		return "active-private"
	}
	return string(StateAbsent)
}

// Outcome is what became of a request for a decision.
type Outcome uint8

// The outcomes.
const (
	Allowed    Outcome = iota
	Denied             // by the policy
	OutOfScope         // the policy allows it, and the token's scope does not
	Challenged         // no credential was sent, so nothing was looked at
	outcomes   = iota
)

// String is the outcome as metrics name it.
func (o Outcome) String() string {
	return [outcomes]string{"allowed", "denied", "out_of_scope", "challenged"}[o]
}

// Tally counts decisions. It is safe for concurrent use, and a nil one counts nothing.
type Tally struct {
	counts []atomic.Uint64 // one for each case, so that counting takes no lock and no memory
}

// NewTally makes an empty Tally.
func NewTally() *Tally {
	return &Tally{counts: make([]atomic.Uint64, len(principalKinds)*len(projectKinds)*len(actions)*outcomes)}
}

// Count counts a decision about a question. One about an action that is none is not counted.
func (t *Tally) Count(q Question, outcome Outcome) {
	if t == nil {
		return
	}
	action := slices.Index(actions, q.Action)
	if action < 0 || outcome >= outcomes {
		return
	}
	at := slices.Index(principalKinds, PrincipalKind(q.Kind, q.Admin))
	at = at*len(projectKinds) + slices.Index(projectKinds, ProjectKind(q.State, q.Visibility))
	at = at*len(actions) + action
	t.counts[at*outcomes+int(outcome)].Add(1)
}

// Decisions is how often one case was decided.
type Decisions struct {
	Principal, Project string // kinds
	Action             Action
	Outcome            Outcome
	Count              uint64
}

// Stats lists the cases that were decided since the start.
func (t *Tally) Stats() []Decisions {
	if t == nil {
		return nil
	}
	var stats []Decisions
	for at := range t.counts {
		count := t.counts[at].Load()
		if count == 0 {
			continue
		}
		rest := at
		next := func(n int) int {
			i := rest % n
			rest /= n
			return i
		}
		one := Decisions{Count: count, Outcome: Outcome(next(outcomes)), Action: actions[next(len(actions))]}
		one.Project, one.Principal = projectKinds[next(len(projectKinds))], principalKinds[next(len(principalKinds))]
		stats = append(stats, one)
	}
	return stats
}
