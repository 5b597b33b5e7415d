package history

import (
	"cmp"
	"fmt"
	"maps"
	"math"
	"slices"
	"strings"
	"time"

	"github.com/anishathalye/porcupine"
)

// Violation is something that a registry which keeps its promises would never have answered.
type Violation struct {
	// About is what it concerns.
	About string
	// Problem says what is wrong.
	Problem string
	// Slice is the shortest part of the history that shows it.
	Slice []Op
}

// String tells the violation with its slice.
func (v Violation) String() string {
	var text strings.Builder
	fmt.Fprintf(&text, "%s: %s", v.About, v.Problem)
	for _, op := range v.Slice {
		fmt.Fprintf(&text, "\n    %s", op)
		for _, step := range op.Steps {
			fmt.Fprintf(&text, " [%s %s]", step.Do, cmp.Or(step.Value, "nothing"))
		}
	}
	return text.String()
}

// Verdict is what a check found.
type Verdict struct {
	// Registers is how many were checked, Steps how many steps they had.
	Registers, Steps int
	// Undecided are registers whose histories could not be checked within the limit.
	Undecided []Register
	// Violations are what was wrong.
	Violations []Violation
}

// Check holds a history in which every register began as Absent, and no request was under way at the end, against
// linearizability, register by register: there must be an order of all that was acknowledged, and of any part of what
// was unclear, that agrees with the times and in which each answer is right. limit bounds the search for one register.
func Check(ops []Op, limit time.Duration) Verdict {
	var v Verdict
	for register, history := range split(ops) {
		v.Registers++
		v.Steps += len(history)
		switch linearizable(history, limit) {
		case porcupine.Ok:
		case porcupine.Unknown:
			v.Undecided = append(v.Undecided, register)
		case porcupine.Illegal:
			v.Violations = append(v.Violations, Violation{
				About: register.String(), Problem: "no order of what was acknowledged explains the answers", Slice: shortest(history, limit),
			})
		}
	}
	slices.SortFunc(v.Violations, func(a, b Violation) int { return cmp.Compare(a.About, b.About) })
	return v
}

// split gives each register its part of the history: operations of one step.
func split(ops []Op) map[Register][]Op {
	parts := map[Register][]Op{}
	held := map[Register]map[string]bool{} // which digests a tag was ever asked to name
	for _, op := range ops {
		if op.Outcome == Failed {
			continue
		}
		for _, step := range op.Steps {
			if step.Name == EveryTag || op.Outcome == Unclear && step.Do.reads() {
				continue
			}
			parts[step.Register] = append(parts[step.Register], narrowed(op, step))
			if step.Kind == Tag && step.Do == Put {
				if held[step.Register] == nil {
					held[step.Register] = map[string]bool{}
				}
				held[step.Register][step.Value] = true
			}
		}
	}
	for _, op := range ops {
		for _, step := range op.Steps {
			if op.Outcome == Failed || step.Name != EveryTag {
				continue
			}
			for register, values := range held {
				if register.Repo == step.Repo && values[step.Value] {
					step.Register = register
					parts[register] = append(parts[register], narrowed(op, step))
				}
			}
		}
	}
	for register := range maps.Keys(parts) {
		slices.SortFunc(parts[register], func(a, b Op) int { return cmp.Compare(a.Call, b.Call) })
	}
	return parts
}

func narrowed(op Op, step Step) Op {
	op.Steps = []Step{step}
	return op
}

// linearizable decides about one register. What is unclear may always have happened never, so a history that is right
// without it is right; only where it is not, the search includes what anybody may have seen of it.
func linearizable(history []Op, limit time.Duration) porcupine.CheckResult {
	acknowledged := slices.DeleteFunc(slices.Clone(history), func(op Op) bool { return op.Outcome == Unclear })
	if search(acknowledged, limit) == porcupine.Ok {
		return porcupine.Ok
	}
	return search(possible(history), limit)
}

// possible leaves out the unclear writes that no answer can tell of, and bounds those that one answer does tell of: what
// was read had been written.
func possible(history []Op) []Op {
	var kept []Op
	for _, op := range history {
		step := op.Steps[0]
		if op.Outcome != Unclear || step.Do != Put {
			kept = append(kept, op)
			continue
		}
		writers, readBy, seen := 0, int64(math.MaxInt64), false
		for _, other := range history {
			switch at := other.Steps[0]; {
			case at.Do == Put && at.Value == step.Value:
				writers++
			case at.Do == Read && at.Value == step.Value:
				readBy = min(readBy, other.Return)
			case at.Do == Seen, at.Do == Delete && other.Outcome == Done:
				seen = true
			}
		}
		read := readBy < math.MaxInt64
		if read && writers == 1 {
			op.Outcome, op.Return = Done, max(op.Call, readBy)
		}
		if read || seen {
			kept = append(kept, op)
		}
	}
	return kept
}

func search(history []Op, limit time.Duration) porcupine.CheckResult {
	operations := make([]porcupine.Operation, len(history))
	for i, op := range history {
		returned := op.Return
		if op.Outcome == Unclear {
			returned = math.MaxInt64
		}
		operations[i] = porcupine.Operation{ClientId: op.Worker, Input: op, Call: op.Call, Return: returned}
	}
	return porcupine.CheckOperationsTimeout(model, operations, limit)
}

var model = porcupine.Model{
	Init: func() any { return Absent },
	Step: func(state, input, _ any) (bool, any) {
		held, isText := state.(string)
		op, isOp := input.(Op)
		if !isText || !isOp {
			return false, state
		}
		return apply(held, op.Steps[0], op.Outcome == Unclear)
	},
	Equal: func(a, b any) bool { return a == b },
}

// apply does a step on a register that holds a value, and says whether it could have been answered as it was.
func apply(held string, step Step, unclear bool) (possible bool, then string) {
	switch step.Do {
	case Put:
		return true, step.Value
	case Delete:
		return unclear || held != Absent, Absent
	case DeleteIf:
		if held == step.Value {
			return true, Absent
		}
		return true, held
	case Read:
		return held == step.Value, held
	case Seen:
		return held != Absent, held
	}
	return false, held
}

// shortest cuts a history that cannot be right down to what shows it: it ends at the first answer that cannot be
// explained, and has no read without which the rest can be explained as little. Writes stay, for without them more
// would be wrong than is.
func shortest(history []Op, limit time.Duration) []Op {
	ends := make([]int64, 0, len(history))
	for _, op := range history {
		ends = append(ends, op.Return)
	}
	slices.Sort(ends)
	first, _ := slices.BinarySearchFunc(ends, true, func(end int64, _ bool) int {
		if linearizable(until(history, end), limit) == porcupine.Illegal {
			return 0
		}
		return -1
	})
	slice := history
	if first < len(ends) {
		slice = until(history, ends[first])
	}
	for i := len(slice) - 1; i >= 0; i-- {
		if !slice[i].Steps[0].Do.reads() {
			continue
		}
		without := slices.Delete(slices.Clone(slice), i, i+1)
		if linearizable(without, limit) == porcupine.Illegal {
			slice = without
		}
	}
	return slice
}

// until is the history as it was known at a time.
func until(history []Op, end int64) []Op {
	var known []Op
	for _, op := range history {
		switch {
		case op.Call > end:
		case op.Return <= end:
			known = append(known, op)
		case !op.Steps[0].Do.reads():
			op.Outcome = Unclear
			known = append(known, op)
		}
	}
	return known
}
