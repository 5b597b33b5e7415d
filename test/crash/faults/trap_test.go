package faults

import (
	"slices"
	"testing"
)

func TestTraps(t *testing.T) {
	t.Parallel()
	var traps Traps
	var ended []int
	arm := func(step Step, replica, skip int) {
		traps.Arm(step, replica, skip, func(replica int) { ended = append(ended, replica) })
	}
	if traps.Pass(PutHalf, 0) || traps.Disarm() || traps.Waits(PutHalf, 0) {
		t.Error("something springs without a trap")
	}
	arm(PutHalf, AnyReplica, 2)
	passed := []bool{traps.Pass(PutHalf, 0), traps.Pass(GetHalf, 0), traps.Pass(PutHalf, 1)}
	if slices.Contains(passed, true) || !traps.Waits(PutHalf, 1) {
		t.Errorf("passed %v before the trap was to spring", passed)
	}
	if !traps.Pass(PutHalf, 1) || traps.Pass(PutHalf, 1) || !slices.Equal(ended, []int{1}) {
		t.Errorf("ended %v, want replica 1, once", ended)
	}
	arm(BeforeCommit, 0, 0)
	if traps.Pass(BeforeCommit, 1) || !traps.Disarm() || traps.Pass(BeforeCommit, 0) {
		t.Error("a trap for replica 0 has sprung for another one, or after it was taken away")
	}
	arm(PutAnswered, AnyReplica, 1)
	traps.Turn(PutAnswered, 1, BeforeCommit) // skipped
	traps.Turn(PutAnswered, 1, BeforeCommit)
	if traps.Pass(PutAnswered, 1) || traps.Pass(BeforeCommit, 0) || !traps.Pass(BeforeCommit, 1) {
		t.Error("the trap has not turned to the next step of its replica")
	}
}
